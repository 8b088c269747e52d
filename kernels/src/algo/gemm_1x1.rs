//! 1x1 convolution as a matrix product: pixels x c_in times c_in x c_out.
//!
//! With stride 1 the pixels of an image are rows of a matrix 16 floats apart, whatever its height
//! and width, and no table of offsets is needed; with a larger stride the pixels are picked through
//! one.

use super::blocked::BlockedConv;
use crate::blocking::CHANNEL_BLOCK;
use crate::cost::Accuracy;
use crate::exec::Executor;
use crate::isa::Isa;
use crate::micro::gemm::{Source, Strided};
use crate::micro::indirection::Indirection;
use crate::plan::{
    Algorithm, AlgorithmMeta, Params, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_conv,
};
use crate::problem::{Pad, Problem};
use crate::tensor::CacheLine;

/// 1x1 convolution on blocked channels.
#[derive(Debug)]
pub struct Gemm1x1;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "gemm-1x1",
    summary: "1x1 convolution on NCHW16c as a matrix product with packed weights, any stride",
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

struct Gemm1x1Plan {
    spec: PlanSpec,
    blocked: BlockedConv,
}

impl Algorithm for Gemm1x1 {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let conv = f32_conv(problem)?;
        if conv.kernel != [1, 1] {
            return Err(Unsupported::new("the kernel is not 1x1"));
        }
        if conv.pad != Pad::default() {
            return Err(Unsupported::new(
                "a 1x1 convolution with padding is not a matrix product",
            ));
        }
        let bytes_per_pixel = conv.c_in * conv.stride[0] * 4;
        let blocked = BlockedConv::new(problem, conv, bytes_per_pixel, cx)?;
        let offsets = if conv.stride == [1, 1] {
            0
        } else {
            blocked.blocking.mc
        };
        let spec = blocked.spec(blocked.pixels(), CacheLine::for_f32s(offsets));
        Ok(Box::new(Gemm1x1Plan { spec, blocked }))
    }
}

impl Plan for Gemm1x1Plan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        self.blocked.prepare(params, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        let BlockedConv { conv, .. } = &self.blocked;
        let block_stride = self.blocked.src_plane();
        self.blocked.each_block(&self.spec, args, |task, scratch| {
            if conv.stride == [1, 1] {
                let data = &task.image[task.pixels.start * CHANNEL_BLOCK..];
                let pixels = Strided::<CHANNEL_BLOCK> {
                    pixels: task.pixels.len(),
                };
                task.multiply(
                    Source {
                        data,
                        block: CHANNEL_BLOCK,
                        block_stride,
                    },
                    pixels,
                );
            } else {
                let table = bytemuck::must_cast_slice_mut(scratch);
                let pixels = Indirection::of_conv(table, conv, task.pixels.clone(), CHANNEL_BLOCK);
                let src = Source {
                    data: task.image,
                    block: CHANNEL_BLOCK,
                    block_stride,
                };
                task.multiply(src, pixels);
            }
        });
    }
}
