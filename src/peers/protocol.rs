//! Messages between suite and host: a line of JSON, then the numbers that it announces, little endian. The host sends
//! [`Reply::Hello`] first. Then each request has one reply.
//!
//! Operands are f32s, whatever the types of the layer. The host converts them to the nearest elements. Outputs are exact:
//! an f32 holds every element but those of s32, which are sent as integers.
//!
//! The suite checks every reply. Lines have a limit, an output has exactly the requested size, and times are positive
//! and not longer than the suite waited.

use crate::process::line;
use bytemuck::Pod;
use convroof_kernels::Problem;
use convroof_kernels::problem::{DTypes, Op, Pad, PoolKind};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};

/// Upper limit for the bytes of a reply's line.
pub const REPLY: usize = 64 << 10;

/// Upper limit for the bytes of a request's line: a network has a few hundred nodes.
pub const REQUEST: usize = 16 << 20;

/// A request of the suite. Plans are numbered from 0, in the order in which they were made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Makes a plan. The reply is `Planned` or `Refused`.
    Plan {
        /// The problem's text form.
        problem: String,
        /// The problem in fields, for hosts that can't parse the text form.
        layer: LayerShape,
        /// One of the library's forms.
        form: String,
    },
    /// Makes a plan of a whole network. Each node comes after its inputs. The reply is as for `Plan`. Weights and
    /// biases of all nodes are loaded in the order of the nodes.
    Network {
        /// Input and output of the whole network, as one layer.
        layer: LayerShape,
        /// Nodes in order.
        nodes: Vec<NetworkNode>,
    },
    /// Loads operands in plain NCHW and OIHW, in the order of these fields. Operands that don't exist are empty.
    /// Weights, bias and scales are also empty when only the inputs change.
    Load {
        /// Index of the plan.
        plan: usize,
        /// Elements.
        src: usize,
        /// Elements.
        weights: usize,
        /// Elements.
        bias: usize,
        /// Elements.
        residual: usize,
        /// Scales of the weights, one for each output channel, where they are data.
        #[serde(default, skip_serializing_if = "is_default")]
        scales: usize,
    },
    /// Runs once untimed, poisons the output, then runs `runs` times. The reply is `Took`.
    Time {
        /// Index of the plan.
        plan: usize,
        /// Number of timed runs.
        runs: usize,
    },
    /// Asks for the output. The reply is `Output`, then the output in plain NCHW.
    Output {
        /// Index of the plan.
        plan: usize,
    },
    /// Deletes every plan.
    Clear,
}

/// A reply of the host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Reply {
    /// Name and version of the library; the first message.
    Hello {
        /// Its name.
        library: String,
        /// Its version.
        version: String,
        /// Number of threads that it uses.
        threads: usize,
    },
    /// A plan was made.
    Planned {
        /// The library's own name for its implementation.
        implementation: String,
        /// Bytes of the weights in the library's layout.
        packed_bytes: u64,
        /// Bytes of scratch.
        workspace_bytes: u64,
    },
    /// The library can't do the problem.
    Refused {
        /// Reason, a phrase.
        reason: String,
    },
    /// An error.
    Failed {
        /// Description, a phrase.
        reason: String,
    },
    /// Done.
    Done,
    /// Time of a request.
    Took {
        /// Nanoseconds of all runs together.
        ns: f64,
    },
    /// Numbers of an output follow.
    Output {
        /// How many.
        len: usize,
        /// Their type.
        #[serde(default, skip_serializing_if = "is_default")]
        numbers: NumberType,
    },
}

/// Type of an output's numbers. Each has 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberType {
    /// For elements of f32, bf16, s8 and u8.
    #[default]
    F32,
    /// For elements of s32.
    S32,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A problem in fields, whose names are those of the messages.
#[derive(Debug, Serialize, Deserialize)]
pub struct LayerShape {
    /// `conv`, `max`, `avg_np` (padding not counted), `avg_p`, `lrn`, `softmax`, or `network`.
    pub op: String,
    /// Images.
    pub n: usize,
    /// Input channels.
    pub c_in: usize,
    /// Height of the input.
    pub h: usize,
    /// Width of the input.
    pub w: usize,
    /// Output channels.
    pub c_out: usize,
    /// Height of the output.
    pub h_out: usize,
    /// Width of the output.
    pub w_out: usize,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Top, left, bottom, right.
    pub pad: [usize; 4],
    /// Vertical and horizontal distance of the taps; 1 is dense.
    pub dilation: [usize; 2],
    /// Groups of channels.
    pub groups: usize,
    /// True if the size of a pooling's output is rounded up.
    pub ceil: bool,
    /// True if the epilogue adds a bias.
    pub bias: bool,
    /// True if the epilogue ends with a ReLU.
    pub relu: bool,
    /// True if the epilogue adds a residual.
    pub residual: bool,
    /// Size, alpha (over the size), beta and k of a local response normalisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lrn: Option<(usize, f32, f32, f32)>,
    /// Element types of source, weights and destination, joined by colons; none for a layer of f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dt: Option<String>,
}

/// A node of a network. Tensors are numbered: 0 is the input, n + 1 the output of node n.
#[derive(Debug, Serialize, Deserialize)]
pub struct NetworkNode {
    /// The layer; none for a concatenation of the inputs along the channels.
    pub layer: Option<LayerShape>,
    /// Tensors that it reads.
    pub inputs: Vec<usize>,
    /// Tensor that it adds.
    pub residual: Option<usize>,
    /// Number of weights.
    pub weights: usize,
    /// Number of biases.
    pub bias: usize,
}

impl LayerShape {
    /// Input and output of a whole network.
    pub fn around([n, c_in, h, w]: [usize; 4], [_, c_out, h_out, w_out]: [usize; 4]) -> LayerShape {
        LayerShape {
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
            dt: None,
        }
    }

    /// Elements of its output.
    pub fn outputs(&self) -> usize {
        self.n * self.c_out * self.h_out * self.w_out
    }

    /// The fields of a problem; none of an operation that peers don't take part in.
    pub fn of(problem: &Problem) -> Option<LayerShape> {
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
        let types = problem.dtypes;
        let DTypes {
            src, weights, dst, ..
        } = types;
        Some(LayerShape {
            lrn,
            dt: (types != DTypes::default()).then(|| format!("{src}:{weights}:{dst}")),
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

/// Sends a message and the bytes of the numbers that go with it.
///
/// # Errors
/// When the pipe is broken.
pub fn send(to: &mut impl Write, message: &impl Serialize, numbers: &[&[u8]]) -> io::Result<()> {
    serde_json::to_writer(&mut *to, message)?;
    to.write_all(b"\n")?;
    for part in numbers {
        to.write_all(part)?;
    }
    to.flush()
}

/// The next message, whose line has at most `limit` bytes; none at the end of the stream.
///
/// # Errors
/// When the line is too long or is no message.
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
/// When the stream ends before.
pub fn floats(from: &mut impl BufRead, len: usize) -> io::Result<Vec<f32>> {
    read(from, len)
}

/// The numbers that follow [`Reply::Output`], exactly.
///
/// # Errors
/// When the stream ends before.
pub fn outputs(from: &mut impl BufRead, len: usize, numbers: NumberType) -> io::Result<Vec<f64>> {
    match numbers {
        NumberType::F32 => exact::<f32>(from, len),
        NumberType::S32 => exact::<i32>(from, len),
    }
}

fn exact<T: Pod + Into<f64>>(from: &mut impl BufRead, len: usize) -> io::Result<Vec<f64>> {
    Ok(read::<T>(from, len)?.into_iter().map(T::into).collect())
}

fn read<T: Pod>(from: &mut impl BufRead, len: usize) -> io::Result<Vec<T>> {
    // The buffer grows with the bytes that arrive, not with the announced length.
    let mut numbers = Vec::new();
    while numbers.len() < len {
        let start = numbers.len();
        numbers.resize(len.min(start + PART), T::zeroed());
        from.read_exact(bytemuck::cast_slice_mut(&mut numbers[start..]))?;
    }
    Ok(numbers)
}

/// Numbers per read.
const PART: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: &str = r#"{"do":"load","plan":3,"src":4,"weights":2,"bias":0,"residual":1}"#;

    fn loads(scales: usize) -> Request {
        Request::Load {
            plan: 3,
            src: 4,
            weights: 2,
            bias: 0,
            residual: 1,
            scales,
        }
    }

    #[test]
    fn a_layer_of_f32_has_the_messages_that_it_always_had() {
        assert_eq!(serde_json::to_string(&loads(0)).expect("JSON"), LOAD);
        let Ok(Request::Load { scales, .. }) = serde_json::from_str(LOAD) else {
            panic!("{LOAD} is a request");
        };
        assert_eq!(scales, 0);
        let output = r#"{"is":"output","len":7}"#;
        let Ok(Reply::Output { len, numbers }) = serde_json::from_str(output) else {
            panic!("{output} is a reply");
        };
        assert_eq!((len, numbers), (7, NumberType::F32));
        let reply = Reply::Output { len, numbers };
        assert_eq!(serde_json::to_string(&reply).expect("JSON"), output);
        let layer = LayerShape::of(&"mb1ic3ih5oc4kh1".parse().expect("a problem"));
        let layer = serde_json::to_string(&layer.expect("a layer")).expect("JSON");
        assert!(!layer.contains("dt"), "{layer}");
    }

    #[test]
    fn scales_and_types_travel() {
        let mut pipe = Vec::new();
        let scales: [f32; 2] = [0.25, 3.0];
        send(&mut pipe, &loads(2), &[bytemuck::cast_slice(&scales)]).expect("sent");
        let mut from = pipe.as_slice();
        let Ok(Some(Request::Load { scales: 2, .. })) = receive(&mut from, REQUEST) else {
            panic!("a request with two scales");
        };
        assert_eq!(floats(&mut from, 2).expect("scales"), scales);
        assert!(from.is_empty());
        let problem = "--dt=u8:s8:s32 mb1ic3ih5oc4kh1".parse().expect("a problem");
        let layer = LayerShape::of(&problem).expect("a layer");
        assert_eq!(layer.dt.as_deref(), Some("u8:s8:s32"));
    }

    /// An f32 would round the first two.
    #[test]
    fn integers_arrive_exactly() {
        let sent = [i32::MAX, (1 << 24) + 1, -7, i32::MIN];
        let reply = Reply::Output {
            len: sent.len(),
            numbers: NumberType::S32,
        };
        let mut pipe = Vec::new();
        send(&mut pipe, &reply, &[bytemuck::cast_slice(&sent)]).expect("sent");
        let mut from = pipe.as_slice();
        let Ok(Some(Reply::Output { len, numbers })) = receive(&mut from, REPLY) else {
            panic!("a reply");
        };
        let arrived = outputs(&mut from, len, numbers).expect("numbers");
        assert_eq!(arrived, sent.map(f64::from));
        assert!(outputs(&mut from, 1, numbers).is_err(), "the stream ended");
    }
}
