//! Direct convolution on NCHW16c: every tap read where it lies in the input, nothing materialised.
//!
//! out[n, k, y, x] = sum over c, r, s of in[n, c, y sh + r dh - top, x sw + s dw - left] * w[k, c, r, s]
//!
//! Pixels of consecutive rows are joined to fill register tiles. A block of pixels first writes
//! down where its taps lie ([`Indirection`]); then each panel of weights passes over it. Taps outside
//! the input read zeros, or are skipped where a whole tile falls outside. Images of up to four channels
//! are taken as plain NCHW ([`super::image`]).

use super::blocked::BlockedConv;
use super::image::ImagePlan;
use crate::blocking::CHANNEL_BLOCK;
use crate::cost::Accuracy;
use crate::exec::Executor;
use crate::isa::Isa;
use crate::micro::gemm::Source;
use crate::micro::indirection::Indirection;
use crate::plan::{
    Algorithm, AlgorithmMeta, Params, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_conv,
};
use crate::problem::Problem;
use crate::tensor::CacheLine;

/// Direct convolution on blocked channels.
#[derive(Debug)]
pub struct Direct;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "direct",
    summary: "direct convolution on NCHW16c (images of up to 4 channels from NCHW), any kernel, stride, padding, dilation and groups",
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

struct DirectPlan {
    spec: PlanSpec,
    blocked: BlockedConv,
}

impl Algorithm for Direct {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let conv = f32_conv(problem)?;
        if ImagePlan::suits(conv) {
            return Ok(Box::new(ImagePlan::new(problem, conv, cx)?));
        }
        let bytes_per_pixel = conv.c_in * conv.stride[0] * conv.stride[1] * 4;
        let blocked = BlockedConv::new(problem, conv, bytes_per_pixel, cx)?;
        let entries = blocked.taps() * blocked.blocking.mc;
        let mut table = vec![0; entries];
        let computed = blocked
            .pixel_blocks()
            .map(|block| {
                Indirection::of_conv(&mut table, conv, block, CHANNEL_BLOCK)
                    .computed(blocked.tile.pixels)
            })
            .sum();
        // A table of 4-byte offsets, in lines of 16.
        let spec = blocked.spec(computed, CacheLine::for_f32s(entries));
        Ok(Box::new(DirectPlan { spec, blocked }))
    }
}

impl Plan for DirectPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        self.blocked.prepare(params, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        let BlockedConv { conv, .. } = &self.blocked;
        self.blocked.each_block(&self.spec, args, |task, scratch| {
            let table = bytemuck::must_cast_slice_mut(scratch);
            let pixels = Indirection::of_conv(table, conv, task.pixels.clone(), CHANNEL_BLOCK);
            let block_stride = self.blocked.src_plane();
            let src = Source {
                data: task.image,
                block: CHANNEL_BLOCK,
                block_stride,
            };
            task.multiply(src, pixels);
        });
    }
}
