//! Messages between suite and host: a line of JSON, then as many floats as it announces, little
//! endian. The host says [`Reply::Hello`] first; then each request has one reply.
//!
//! The suite trusts no host: lines have a limit, an output has as many floats as the request lets expect, and times are
//! positive and not longer than the suite waited.

use crate::process::line;
use convroof_kernels::Problem;
use convroof_kernels::problem::{Op, Pad, PoolKind};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};

/// Bytes of a reply's line at most.
pub const REPLY: usize = 64 << 10;

/// Bytes of a request's line at most: a network has a few hundred nodes.
pub const REQUEST: usize = 16 << 20;

/// From the suite. Plans are numbered in the order in which they were made, from 0.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Make a plan; what comes back is `Planned` or `Refused`.
    Plan {
        /// The problem's text form.
        problem: String,
        /// The same, for hosts that don't know that form.
        layer: Layer,
        /// Which of the library's forms.
        form: String,
    },
    /// Make a plan of a whole network, each node behind its inputs; what comes back is as for `Plan`. Its
    /// weights and biases are loaded one node's behind the other's.
    Network {
        /// Input and output, as if it were one layer.
        layer: Layer,
        /// In order.
        nodes: Vec<NetworkNode>,
    },
    /// Take operands in plain NCHW and OIHW, in this order; empty where there are none. Weights and
    /// bias are empty when only the inputs change.
    Load {
        /// Which plan.
        plan: usize,
        /// Elements.
        src: usize,
        /// Elements.
        weights: usize,
        /// Elements.
        bias: usize,
        /// Elements.
        residual: usize,
    },
    /// Run once untimed, poison the output, run `runs` times; what comes back is `Took`.
    Time {
        /// Which plan.
        plan: usize,
        /// How often.
        runs: usize,
    },
    /// What comes back is `Output`, and the output in plain NCHW.
    Output {
        /// Which plan.
        plan: usize,
    },
    /// Forget every plan.
    Clear,
}

/// From the host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Reply {
    /// Who the library is.
    Hello {
        /// Its name.
        library: String,
        /// Its version.
        version: String,
        /// Threads that it will really use.
        threads: usize,
    },
    /// A plan was made.
    Planned {
        /// The name that the library has for what it will run.
        implementation: String,
        /// Bytes of weights as the library keeps them.
        packed_bytes: u64,
        /// Bytes of scratch.
        workspace_bytes: u64,
    },
    /// The library can't, and why.
    Refused {
        /// A phrase.
        reason: String,
    },
    /// Something went wrong that should not.
    Failed {
        /// A phrase.
        reason: String,
    },
    /// Done.
    Done,
    /// How long.
    Took {
        /// Of all runs.
        ns: f64,
    },
    /// Floats follow.
    Output {
        /// How many.
        len: usize,
    },
}

/// A problem in fields.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Layer {
    /// `conv`, `max`, `avg_np` (padding not counted), `avg_p`, `lrn`, `softmax`, or `network`.
    pub op: String,
    pub n: usize,
    pub c_in: usize,
    pub h: usize,
    pub w: usize,
    pub c_out: usize,
    pub h_out: usize,
    pub w_out: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Top, left, bottom, right.
    pub pad: [usize; 4],
    pub dilation: [usize; 2],
    pub groups: usize,
    pub ceil: bool,
    pub bias: bool,
    pub relu: bool,
    pub residual: bool,
    /// Size, alpha (over the size), beta and k of a local response normalisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lrn: Option<(usize, f32, f32, f32)>,
}

/// A node of a network. Tensors are numbered: 0 is the input, n + 1 the output of node n.
#[derive(Debug, Serialize, Deserialize)]
pub struct NetworkNode {
    /// What it computes; none if it joins its inputs along the channels.
    pub layer: Option<Layer>,
    /// What it takes.
    pub inputs: Vec<usize>,
    /// What it adds.
    pub residual: Option<usize>,
    /// How many weights it has.
    pub weights: usize,
    /// How many biases.
    pub bias: usize,
}

impl Layer {
    /// Input and output of a whole network.
    pub fn around([n, c_in, h, w]: [usize; 4], [_, c_out, h_out, w_out]: [usize; 4]) -> Layer {
        Layer {
            op: "network".into(),
            n,
            c_in,
            h,
            w,
            c_out,
            h_out,
            w_out,
            kernel: [1, 1],
            stride: [1, 1],
            pad: [0; 4],
            dilation: [1, 1],
            groups: 1,
            ceil: false,
            bias: false,
            relu: false,
            residual: false,
            lrn: None,
        }
    }

    /// Floats of its output.
    pub fn outputs(&self) -> usize {
        self.n * self.c_out * self.h_out * self.w_out
    }

    /// The fields of a problem; none of an operation that peers are not asked for.
    pub fn of(problem: &Problem) -> Option<Layer> {
        let [n, c_in, h, w] = problem.src_dims();
        let [_, c_out, h_out, w_out] = problem.dst_dims();
        let mut lrn = None;
        let one_tap = |op| (op, [1, 1], [1, 1], Pad::default(), [1, 1], 1, false);
        let (op, kernel, stride, pad, dilation, groups, ceil) = match &problem.op {
            Op::Conv(c) if !c.flip => (
                "conv", c.kernel, c.stride, c.pad, c.dilation, c.groups, false,
            ),
            Op::Pool(p) => {
                let op = match p.kind {
                    PoolKind::Max => "max",
                    PoolKind::AvgIncludePad => "avg_p",
                    PoolKind::AvgExcludePad => "avg_np",
                    _ => return None,
                };
                (op, p.kernel, p.stride, p.pad, p.dilation, 1, p.ceil)
            }
            Op::Softmax(_) => one_tap("softmax"),
            Op::Lrn(of) => {
                let of = of.spec();
                lrn = Some((of.size, of.alpha, of.beta, of.k));
                one_tap("lrn")
            }
            _ => return None,
        };
        Some(Layer {
            lrn,
            op: op.into(),
            n,
            c_in,
            h,
            w,
            c_out,
            h_out,
            w_out,
            kernel,
            stride,
            pad: [pad.top, pad.left, pad.bottom, pad.right],
            dilation,
            groups,
            ceil,
            bias: problem.epilogue.bias,
            relu: problem.epilogue.relu,
            residual: problem.epilogue.residual,
        })
    }
}

/// Sends a message and the floats that go with it.
///
/// # Errors
/// When the other side is gone.
pub fn send(to: &mut impl Write, message: &impl Serialize, floats: &[&[f32]]) -> io::Result<()> {
    serde_json::to_writer(&mut *to, message)?;
    to.write_all(b"\n")?;
    for part in floats {
        to.write_all(bytemuck::cast_slice(part))?;
    }
    to.flush()
}

/// The next message, whose line has at most `limit` bytes; none at the end.
///
/// # Errors
/// When it is no message.
pub fn receive<T: for<'de> Deserialize<'de>>(
    from: &mut impl BufRead,
    limit: usize,
) -> io::Result<Option<T>> {
    match line(from, limit)? {
        Some(line) => Ok(Some(serde_json::from_slice(&line)?)),
        None => Ok(None),
    }
}

/// The floats that follow a message.
///
/// # Errors
/// When there are fewer.
pub fn floats(from: &mut impl BufRead, len: usize) -> io::Result<Vec<f32>> {
    // Memory grows with what really comes.
    let mut floats = Vec::new();
    while floats.len() < len {
        let start = floats.len();
        floats.resize(len.min(start + PART), 0.0f32);
        from.read_exact(bytemuck::cast_slice_mut(&mut floats[start..]))?;
    }
    Ok(floats)
}

/// Floats that are read at a time.
const PART: usize = 1 << 20;
