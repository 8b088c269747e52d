//! Softmax over the channels, on NCHW16c.
//!
//! A typical network ends with it: e^x (`micro/exp.rs`) of 1000 channels of one pixel. Threads divide the pixels. The
//! sum of one pixel is never divided.

use crate::cost::Accuracy;
use crate::exec::{Grid, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::softmax::{FLOPS, SoftmaxPixels};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_layer,
};
use crate::problem::{Problem, SoftmaxShape};
use crate::tensor::Layout;

/// Softmax.
#[derive(Debug)]
pub struct Softmax;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "softmax",
    summary: "softmax over the channels on NCHW16c",
    isas: &Isa::F32,
    accuracy: Accuracy::Mean,
};

impl Algorithm for Softmax {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?.without_twins()?;
        let SoftmaxShape(maps) = *f32_layer(problem)?;
        let [n, c, h, w] = maps.dims();
        let (blocks, pixels) = (c.div_ceil(CHANNEL_BLOCK), h * w);
        let task = match cx.tuning.mc {
            Some(mc) => mc.min(pixels),
            None => pixels.div_ceil(cx.threads.div_ceil(n)),
        };
        Ok(Box::new(SoftmaxPlan {
            spec: PlanSpec {
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK,
                    ..Granularity::default()
                },
                ..PlanSpec::new(
                    problem,
                    Layout::NCHW16C,
                    cx,
                    FLOPS * (n * blocks * CHANNEL_BLOCK * pixels) as u64,
                )
            },
            grid: Grid::of_pixels(n, blocks, pixels, task),
            channels: c,
            isa: cx.isa,
        }))
    }
}

struct SoftmaxPlan {
    spec: PlanSpec,
    grid: Grid,
    channels: usize,
    isa: IsaToken,
}

impl Plan for SoftmaxPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let (src, cols) = (io.src, self.grid.cols);
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            self.grid,
            &mut [],
            |at, out, _| {
                self.isa.dispatch(SoftmaxPixels {
                    src: &src[at.row * cols + at.col..],
                    channels: self.channels,
                    out,
                });
            },
        );
    }
}
