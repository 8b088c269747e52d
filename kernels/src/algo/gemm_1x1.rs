//! 1x1 convolution as a matrix product: pixels x c_in times c_in x c_out.
//!
//! With stride 1 the pixels of an image are rows of a matrix, whatever its height and width: 16 floats
//! apart on NCHW16c, c_in apart on NHWC; with a larger stride they are picked through an indirection
//! buffer. Plain NCHW is another loop: [`super::gemm_1x1_nchw`].

use super::blocked::BlockedConv;
use super::indirect::IndirectPlan;
use crate::cost::Accuracy;
use crate::exec::Executor;
use crate::isa::Isa;
use crate::micro::pixels::{BlockedPixels, MatrixRows};
use crate::plan::{
    Algorithm, AlgorithmMeta, Params, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_conv,
};
use crate::problem::{ConvShape, Pad, Problem};
use crate::tensor::{CacheLine, Layout};

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
    if conv.stride != [1, 1] {
        return Ok(Box::new(IndirectPlan::new(problem, conv, layout, cx)?));
    }
    let blocked = BlockedConv::new(problem, conv, layout, conv.c_in * 4, cx)?;
    let spec = blocked.spec(blocked.pixels(), 0);
    Ok(Box::new(Gemm1x1Plan { spec, blocked }))
}

/// Stride 1.
struct Gemm1x1Plan {
    spec: PlanSpec,
    blocked: BlockedConv,
}

impl Plan for Gemm1x1Plan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        self.blocked.prepare(params, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        let step = self.blocked.pixel_stride();
        self.blocked.each_block(&self.spec, args, |task, _| {
            let mut src = self.blocked.source(task.image);
            src.data = &src.data[task.pixels.start * step..];
            let pixels = task.pixels.len();
            match self.spec.layouts.src {
                Layout::Nhwc => task.multiply_rows(src, MatrixRows { pixels, step }),
                _ => task.multiply_blocked(src, BlockedPixels { pixels }),
            }
        });
    }
}
