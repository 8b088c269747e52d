//! 1x1 convolution as a matrix product: pixels x c_in times c_in x c_out.
//!
//! With stride 1, the pixels of an image are the rows of a matrix, whatever its height and width. Rows are 16 floats
//! apart on NCHW16c, c_in floats apart on NHWC. With a larger stride, the pixels are found through an indirection
//! buffer. For many output channels they are copied to consecutive memory first. Without the copy, a strided block of
//! pixels on NCHW16c has only half of the caches' sets, since it uses every other line. On NHWC, pixels a multiple of 4
//! KB apart map to one set of L1. A set has fewer ways than a tile has pixels, so they are copied too, with any stride.
//! (Measured: docs/measurements.md, 'copies of strided inputs'.) Plain NCHW has another loop: [`super::gemm_1x1_nchw`].

use super::blocked::{BlockTask, BlockedConv, copies_rows};
use super::indirect::IndirectPlan;
use super::narrow;
use crate::cost::Accuracy;
use crate::exec::Executor;
use crate::isa::Isa;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::Source;
use crate::micro::outputs::{Blocked, Matrix};
use crate::micro::pixels::{BlockedPixels, StridedPixels};
use crate::phase::{Laps, Phase, PhaseCost};
use crate::plan::{
    Algorithm, AlgorithmMeta, Params, Plan, PlanCx, PlanSpec, RunArgs, Target, Unsupported,
    f32_conv,
};
use crate::problem::{ConvShape, DType, Pad, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use std::ops::Range;

/// 1x1 convolution on blocked channels.
#[derive(Debug)]
pub struct Gemm1x1;

/// 1x1 convolution on contiguous channels.
#[derive(Debug)]
pub struct Gemm1x1Nhwc;

static BLOCKED: AlgorithmMeta = AlgorithmMeta {
    id: "gemm-1x1",
    summary: "1x1 convolution on NCHW16c as a matrix product with packed weights, any stride",
    isas: &Isa::F32,
    accuracy: Accuracy::Sum,
};

static NHWC: AlgorithmMeta = AlgorithmMeta {
    id: "gemm-1x1-nhwc",
    summary: "1x1 convolution on NHWC as a matrix product with packed weights, any stride; also bf16, u8, s8",
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

impl Algorithm for Gemm1x1 {
    fn meta(&self) -> &'static AlgorithmMeta {
        &BLOCKED
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        plan(problem, Layout::NCHW16C, cx)
    }
}

impl Algorithm for Gemm1x1Nhwc {
    fn meta(&self) -> &'static AlgorithmMeta {
        &NHWC
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        if problem.dtypes.src != DType::F32 {
            if let Some(conv) = problem.op.shape() {
                is_1x1(conv)?;
            }
            return narrow::plan(problem, cx);
        }
        cx.without_extension(DType::F32)?;
        plan(problem, Layout::Nhwc, cx)
    }
}

/// Convolution of the problem, if it is 1x1 without padding: a matrix product.
pub(super) fn conv_1x1(problem: &Problem) -> Result<&ConvShape, Unsupported> {
    let conv = f32_conv(problem)?;
    is_1x1(conv)?;
    Ok(conv)
}

/// Checks that a convolution is a matrix product.
fn is_1x1(conv: &ConvShape) -> Result<(), Unsupported> {
    if conv.kernel != [1, 1] {
        return Err(Unsupported::new("the kernel is not 1x1"));
    }
    if conv.pad != Pad::default() {
        return Err(Unsupported::new(
            "a 1x1 convolution with padding is not a matrix product",
        ));
    }
    Ok(())
}

fn plan(problem: &Problem, layout: Layout, cx: &Target<'_>) -> Result<Box<dyn Plan>, Unsupported> {
    let conv = conv_1x1(problem)?;
    let strided = conv.stride != [1, 1];
    let outputs = conv.c_out / conv.groups;
    let copies = match layout {
        Layout::Nhwc => {
            let apart = conv.stride[1] * conv.c_in * size_of::<f32>();
            copies_rows(apart, conv.h_out() * conv.w_out(), outputs)
        }
        _ => strided && outputs >= COPIED_FOR,
    };
    if strided && !copies {
        return Ok(Box::new(IndirectPlan::new(problem, conv, layout, cx)?));
    }
    let blocked = BlockedConv::new(problem, conv, layout, conv.c_in * size_of::<f32>(), cx)?;
    let scratch = match layout {
        _ if !copies => 0,
        Layout::Nhwc => CacheLine::for_f32s(blocked.blocking.mc * row_apart(conv)),
        _ => blocked.blocking.mc * conv.c_in.div_ceil(CHANNEL_BLOCK),
    };
    let spec = blocked.spec(blocked.pixels(), scratch);
    Ok(Box::new(Gemm1x1Plan {
        spec,
        blocked,
        copies,
    }))
}

/// Minimum output channels for a copy of a strided input on NCHW16c.
const COPIED_FOR: usize = 512;

/// Elements between neighbouring copied pixels on NHWC. One extra line separates them: at a power of two, all would map
/// to the same cache set.
fn row_apart(conv: &ConvShape) -> usize {
    conv.c_in.next_multiple_of(CacheLine::F32S) + CacheLine::F32S
}

/// Plan for pixels in order: with stride 1, or copied.
struct Gemm1x1Plan {
    spec: PlanSpec,
    blocked: BlockedConv,
    /// A task copies its inputs first.
    copies: bool,
}

impl Plan for Gemm1x1Plan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn phases(&self) -> Vec<PhaseCost> {
        if !self.copies {
            return Vec::new();
        }
        let channels = self.blocked.conv.c_in.next_multiple_of(CHANNEL_BLOCK);
        let read = channels * self.blocked.pixels();
        self.blocked
            .copied_phases(&self.spec, read, channels)
            .into()
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        self.blocked.prepare(params, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        let step = self.blocked.pixel_stride();
        let clock = args.phases;
        self.blocked.each_block(&self.spec, args, |task, scratch| {
            let pixels = task.pixels.len();
            if self.copies {
                let mut laps = Laps::start(clock);
                self.multiply_copied(task, as_f32s_mut(scratch), &mut laps);
                laps.lap(Phase::Multiply);
                return;
            }
            let mut src = self.blocked.source(task.image);
            src.data = &src.data[task.pixels.start * step..];
            match self.spec.layouts.src {
                Layout::Nhwc => {
                    task.multiply::<Matrix, _>(src, StridedPixels { pixels, step });
                }
                _ => task.multiply::<Blocked, _>(src, BlockedPixels { pixels }),
            }
        });
    }
}

impl Gemm1x1Plan {
    fn multiply_copied(&self, task: BlockTask<'_, '_>, copied: &mut [f32], laps: &mut Laps<'_>) {
        let (conv, mc) = (&self.blocked.conv, self.blocked.blocking.mc);
        let (pixels, step) = (task.pixels.clone(), row_apart(conv));
        let nhwc = self.spec.layouts.src == Layout::Nhwc;
        if task.copies && nhwc {
            copy_rows(conv, task.image, pixels.clone(), copied, step);
        } else if task.copies {
            copy_strided(conv, task.image, pixels.clone(), copied, mc);
        }
        laps.lap(Phase::Pack);
        let pixels = pixels.len();
        if nhwc {
            let src = Source {
                data: copied,
                block: conv.c_in,
                block_stride: 0,
            };
            task.multiply::<Matrix, _>(src, StridedPixels { pixels, step });
        } else {
            let src = Source {
                data: copied,
                block: CHANNEL_BLOCK,
                block_stride: mc * CHANNEL_BLOCK,
            };
            task.multiply::<Blocked, _>(src, BlockedPixels { pixels });
        }
    }
}

/// Copies the inputs of some output pixels on NHWC. Copies are `apart` elements apart.
fn copy_rows(
    conv: &ConvShape,
    image: &[f32],
    pixels: Range<usize>,
    copied: &mut [f32],
    apart: usize,
) {
    let ([sh, sw], w_out) = (conv.stride, conv.w_out());
    for (pixel, to) in pixels.zip(copied.chunks_mut(apart)) {
        let (y, x) = (pixel / w_out * sh, pixel % w_out * sw);
        let from = &image[(y * conv.w + x) * conv.c_in..];
        to[..conv.c_in].copy_from_slice(&from[..conv.c_in]);
    }
}

/// Copies the inputs of some output pixels on NCHW16c, one block of channels after another. Blocks are `apart` pixels
/// apart.
pub(super) fn copy_strided(
    conv: &ConvShape,
    image: &[f32],
    pixels: Range<usize>,
    copied: &mut [f32],
    apart: usize,
) {
    let ([sh, sw], w_out) = (conv.stride, conv.w_out());
    let lines = image.as_chunks::<CHANNEL_BLOCK>().0;
    let copied = copied.as_chunks_mut::<CHANNEL_BLOCK>().0;
    let blocks = lines.chunks_exact(conv.h * conv.w);
    for (block, to) in blocks.zip(copied.chunks_mut(apart)) {
        let mut to = to.iter_mut();
        for y in pixels.start / w_out..pixels.end.div_ceil(w_out) {
            let row = pixels.start.max(y * w_out)..pixels.end.min((y + 1) * w_out);
            let from = &block[y * sh * conv.w + row.start % w_out * sw..];
            for (from, to) in from.iter().step_by(sw).zip(to.by_ref().take(row.len())) {
                *to = *from;
            }
        }
    }
}
