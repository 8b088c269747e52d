//! Direct convolution on plain NCHW, scalar: the loops of the definition, with the inner one along a row. It is written
//! for readers, and is the baseline of speed-ups.

use crate::cost::{Accuracy, Efficiency};
use crate::exec::{Executor, Grid, par_rows};
use crate::isa::Isa;
use crate::plan::{
    Algorithm, AlgorithmMeta, Params, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_conv,
};
use crate::problem::{ConvShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};

/// Direct convolution on plain NCHW.
#[derive(Debug)]
pub struct DirectNchw;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "direct-nchw",
    summary: "direct convolution on plain NCHW, scalar, for reading",
    isas: &[Isa::Scalar],
    accuracy: Accuracy::Sum,
};

struct DirectNchwPlan {
    spec: PlanSpec,
    conv: ConvShape,
}

impl Algorithm for DirectNchw {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        let conv = *f32_conv(problem)?;
        let weights = conv.c_out * conv.reduction_len();
        let spec = PlanSpec {
            packed_lines: CacheLine::for_f32s(conv.c_out + weights),
            // Loops that the compiler may or may not vectorise.
            efficiency: Efficiency {
                of_peak: 0.1,
                ..Efficiency::TILE
            },
            ..PlanSpec::new(problem, Layout::Nchw, cx, executed(&conv))
        };
        Ok(Box::new(DirectNchwPlan { spec, conv }))
    }
}

/// Operations on taps inside the input. Padding is skipped.
fn executed(conv: &ConvShape) -> u64 {
    let [rows, cols] = conv.windows().map(|axis| axis.elements_inside());
    let channels = conv.n * conv.c_out * (conv.c_in / conv.groups);
    2 * rows * cols * channels as u64
}

/// Outputs along an axis (0: rows, 1: columns) whose tap `tap` lies inside the input.
fn span(conv: &ConvShape, axis: usize, tap: usize) -> std::ops::Range<usize> {
    let (size, out, pad) = match axis {
        0 => (conv.h, conv.h_out(), conv.pad.top),
        _ => (conv.w, conv.w_out(), conv.pad.left),
    };
    let (stride, shift) = (conv.stride[axis], tap * conv.dilation[axis]);
    let lo = pad.saturating_sub(shift).div_ceil(stride).min(out);
    let hi = (size + pad)
        .saturating_sub(shift)
        .div_ceil(stride)
        .clamp(lo, out);
    lo..hi
}

impl Plan for DirectNchwPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    /// Copies the bias (or zeros), then the weights in their order.
    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let weights = params.filters(&self.conv);
        let (bias, rest) = as_f32s_mut(packed).split_at_mut(self.conv.c_out);
        bias.fill(0.0);
        if let Some(given) = params.bias {
            bias.copy_from_slice(given.f32s());
        }
        rest[..weights.len()].copy_from_slice(&weights);
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let conv = &self.conv;
        let ([kh, kw], [sh, sw], [dh, dw]) = (conv.kernel, conv.stride, conv.dilation);
        let (h_out, w_out) = (conv.h_out(), conv.w_out());
        let (per_in, per_out) = (conv.c_in / conv.groups, conv.c_out / conv.groups);
        let (bias, weights) = io.packed.split_at(conv.c_out);
        let relu = self.spec.problem.epilogue.relu;

        // A task is one row of one output channel's map.
        let grid = Grid {
            rows: conv.n * conv.c_out,
            cols: h_out * w_out,
            block_rows: 1,
            block_cols: w_out,
            band: conv.n * conv.c_out,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, mut out, _| {
                let (n, k, y) = (at.row / conv.c_out, at.row % conv.c_out, at.col / w_out);
                let out = out.row(0);
                out.fill(bias[k]);
                for c in 0..per_in {
                    let plane = (n * conv.c_in + k / per_out * per_in + c) * conv.h * conv.w;
                    for r in 0..kh {
                        if !span(conv, 0, r).contains(&y) {
                            continue;
                        }
                        let row = plane + (y * sh + r * dh - conv.pad.top) * conv.w;
                        for s in 0..kw {
                            let w = weights[((k * per_in + c) * kh + r) * kw + s];
                            let span = span(conv, 1, s);
                            let Some(first) = span.clone().next() else {
                                continue;
                            };
                            let inputs = io.src[row + first * sw + s * dw - conv.pad.left..].iter();
                            for (y, x) in out[span].iter_mut().zip(inputs.step_by(sw)) {
                                *y += w * x;
                            }
                        }
                    }
                }
                if let Some(residual) = io.residual {
                    let residual = &residual[at.row * h_out * w_out + at.col..];
                    out.iter_mut().zip(residual).for_each(|(y, r)| *y += r);
                }
                if relu {
                    out.iter_mut().filter(|y| **y < 0.0).for_each(|y| *y = 0.0);
                }
            },
        );
    }
}
