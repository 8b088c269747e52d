//! 1x1 convolution as a matrix product: pixels x c_in times c_in x c_out.
//!
//! With stride 1 the pixels of an image are rows of a matrix, whatever its height and width: 16 floats
//! apart on NCHW16c, c_in apart on NHWC. With a larger stride they are picked through an indirection
//! buffer, or, on NCHW16c for many output channels, copied together first: left where they are, every other line, a
//! block of pixels has but half of the caches' sets (256-512 @56 s2: 0.60 of the peak, and the copy a line for each
//! 16 * 512 FMAs). Plain NCHW is another loop: [`super::gemm_1x1_nchw`].

use super::blocked::BlockedConv;
use super::indirect::IndirectPlan;
use crate::blocking::CHANNEL_BLOCK;
use crate::cost::Accuracy;
use crate::exec::Executor;
use crate::isa::Isa;
use crate::micro::gemm::Source;
use crate::micro::pixels::{BlockedPixels, MatrixRows};
use crate::phase::{Laps, Phase, PhaseCost};
use crate::plan::{
    Algorithm, AlgorithmMeta, Params, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_conv,
};
use crate::problem::{ConvShape, Pad, Problem};
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
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

static NHWC: AlgorithmMeta = AlgorithmMeta {
    id: "gemm-1x1-nhwc",
    summary: "1x1 convolution on NHWC as a matrix product with packed weights, any stride",
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

impl Algorithm for Gemm1x1 {
    fn meta(&self) -> &'static AlgorithmMeta {
        &BLOCKED
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        plan(problem, Layout::NCHW16C, cx)
    }
}

impl Algorithm for Gemm1x1Nhwc {
    fn meta(&self) -> &'static AlgorithmMeta {
        &NHWC
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        plan(problem, Layout::Nhwc, cx)
    }
}

/// The convolution, if it is 1x1 and a matrix product.
pub(super) fn conv_1x1(problem: &Problem) -> Result<&ConvShape, Unsupported> {
    let conv = f32_conv(problem)?;
    if conv.kernel != [1, 1] {
        return Err(Unsupported::new("the kernel is not 1x1"));
    }
    if conv.pad != Pad::default() {
        return Err(Unsupported::new(
            "a 1x1 convolution with padding is not a matrix product",
        ));
    }
    Ok(conv)
}

fn plan(problem: &Problem, layout: Layout, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
    let conv = conv_1x1(problem)?;
    let strided = conv.stride != [1, 1];
    let copies = strided && layout == Layout::NCHW16C && conv.c_out / conv.groups >= COPIED_FOR;
    if strided && !copies {
        return Ok(Box::new(IndirectPlan::new(problem, conv, layout, cx)?));
    }
    let blocked = BlockedConv::new(problem, conv, layout, conv.c_in * 4, cx)?;
    let scratch = if copies {
        blocked.blocking.mc * conv.c_in.div_ceil(CHANNEL_BLOCK)
    } else {
        0
    };
    let spec = blocked.spec(blocked.pixels(), scratch);
    Ok(Box::new(Gemm1x1Plan { spec, blocked }))
}

/// Output channels from which on a strided input is copied first.
const COPIED_FOR: usize = 512;

/// Pixels in order: those of stride 1, or copied.
struct Gemm1x1Plan {
    spec: PlanSpec,
    blocked: BlockedConv,
}

impl Plan for Gemm1x1Plan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn phases(&self) -> Vec<PhaseCost> {
        if !self.copies() {
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
            if self.copies() {
                let mut laps = Laps::start(clock);
                let copied = as_f32s_mut(scratch);
                if task.copies() {
                    let apart = self.blocked.blocking.mc;
                    copy_strided(
                        &self.blocked.conv,
                        task.image,
                        task.pixels.clone(),
                        copied,
                        apart,
                    );
                }
                laps.lap(Phase::Pack);
                let src = Source {
                    data: copied,
                    block: CHANNEL_BLOCK,
                    block_stride: self.blocked.blocking.mc * CHANNEL_BLOCK,
                };
                task.multiply_blocked(src, BlockedPixels { pixels });
                laps.lap(Phase::Multiply);
                return;
            }
            let mut src = self.blocked.source(task.image);
            src.data = &src.data[task.pixels.start * step..];
            match self.spec.layouts.src {
                Layout::Nhwc => task.multiply_rows(src, MatrixRows { pixels, step }),
                _ => task.multiply_blocked(src, BlockedPixels { pixels }),
            }
        });
    }
}

impl Gemm1x1Plan {
    /// Whether a task copies its inputs: strided ones, as those that stay where they are have another plan.
    fn copies(&self) -> bool {
        self.blocked.conv.stride != [1, 1]
    }
}

/// Copies the inputs of some output pixels, each block of channels by itself: `apart` pixels from one to the next.
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
