//! Convolution through an indirection buffer. Taps are read from the input itself, without a packed copy. Direct
//! convolution on NCHW16c, implicit GEMM on NHWC and strided 1x1 use this plan.

use super::blocked::BlockedConv;
use crate::cost::Efficiency;
use crate::exec::Executor;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::indirection::IndirectionBuffer;
use crate::micro::outputs::{Blocked, Matrix};
use crate::micro::pixels::{BlockedPixels, PixelOffsets};
use crate::plan::{Params, Plan, PlanSpec, RunArgs, Target, Unsupported};
use crate::problem::{ConvShape, Pad, Problem};
use crate::tensor::{CacheLine, Layout};

/// Blocks of pixels, each with its part of the buffer, times every panel of weights.
pub(super) struct IndirectPlan {
    spec: PlanSpec,
    blocked: BlockedConv,
    buffer: IndirectionBuffer,
    /// The pixels of NCHW16c are read in their order, each by one tap: no offset has to be looked up.
    in_order: bool,
}

impl IndirectPlan {
    /// Plan with `layout`, NCHW16c or NHWC, for source and destination.
    pub(super) fn new(
        problem: &Problem,
        conv: &ConvShape,
        layout: Layout,
        cx: &Target<'_>,
    ) -> Result<Self, Unsupported> {
        // New input bytes per pixel. Neighbouring pixels share the others.
        let step = |axis: usize| conv.stride[axis].min(conv.kernel[axis]);
        let bytes_per_pixel = conv.c_in * step(0) * step(1) * size_of::<f32>();
        let mut blocked = BlockedConv::new(problem, conv, layout, bytes_per_pixel, cx)?;
        blocked.add_buffer(conv.kernel[0] * conv.kernel[1], cx)?;
        let buffer = IndirectionBuffer::of_conv(
            conv,
            blocked.pixel_blocks(),
            blocked.tile.pixels,
            blocked.pixel_stride(),
        )?;
        let one_tap = conv.kernel == [1, 1] && conv.stride == [1, 1];
        let in_order = one_tap && conv.pad == Pad::default() && layout == Layout::NCHW16C;
        Ok(IndirectPlan {
            spec: blocked.spec(buffer.computed(), 0),
            blocked,
            buffer,
            in_order,
        })
    }

    /// Replaces the fractions of the ceilings that a register tile usually reaches.
    pub(super) fn with_efficiency(mut self, efficiency: Efficiency) -> Self {
        self.spec.efficiency = efficiency;
        self
    }
}

impl Plan for IndirectPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        self.blocked.prepare(params, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        self.blocked.each_block(&self.spec, args, |task, _| {
            let mut src = self.blocked.source(task.image);
            if self.in_order {
                src.data = &src.data[task.pixels.start * CHANNEL_BLOCK..];
                let pixels = task.pixels.len();
                return task.multiply::<Blocked, _>(src, BlockedPixels { pixels });
            }
            let pixels = PixelOffsets::Indirect(self.buffer.block(task.index));
            match self.spec.layouts.dst {
                Layout::Nhwc => task.multiply::<Matrix, _>(src, pixels),
                _ => task.multiply::<Blocked, _>(src, pixels),
            }
        });
    }
}
