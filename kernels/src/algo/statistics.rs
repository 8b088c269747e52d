//! Statistics that a batch normalisation in training needs: mean and variance of each channel over all images.
//!
//! There is a variant in two passes, and one in a single pass by Welford's recurrence. The single pass has more
//! arithmetic, but half the bytes if a channel's maps don't stay in a cache between the passes.

use crate::cost::Accuracy;
use crate::exec::{Grid, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::statistics::{Method, Moments};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Plan, PlanCx, PlanSpec, RunArgs, Target, Unsupported,
    f32_layer,
};
use crate::problem::{Problem, StatisticsShape};
use crate::tensor::Layout;

/// Mean and variance in two passes.
#[derive(Debug)]
pub struct TwoPass;

/// Mean and variance in one pass, by Welford's recurrence.
#[derive(Debug)]
pub struct Welford;

static TWO_PASS: AlgorithmMeta = AlgorithmMeta {
    id: "statistics",
    summary: "mean and variance of each channel on NCHW16c, in two passes",
    isas: &Isa::F32,
    accuracy: Accuracy::Moments,
};

static WELFORD: AlgorithmMeta = AlgorithmMeta {
    id: "statistics-welford",
    summary: "mean and variance of each channel on NCHW16c, in one pass",
    isas: &Isa::F32,
    accuracy: Accuracy::Moments,
};

impl Algorithm for TwoPass {
    fn meta(&self) -> &'static AlgorithmMeta {
        &TWO_PASS
    }
    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?.without_twins()?;
        plan(problem, Method::TwoPass, cx)
    }
}

impl Algorithm for Welford {
    fn meta(&self) -> &'static AlgorithmMeta {
        &WELFORD
    }
    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?.without_twins()?;
        plan(problem, Method::Welford, cx)
    }
}

fn plan(problem: &Problem, method: Method, cx: &Target<'_>) -> Result<Box<dyn Plan>, Unsupported> {
    let StatisticsShape(maps) = *f32_layer(problem)?;
    let [n, c, h, w] = maps.dims();
    // Welford: two differences and two multiply-adds.
    let flops = match method {
        Method::TwoPass => 4,
        Method::Welford => 6,
    };
    let elements = n * c.next_multiple_of(CHANNEL_BLOCK) * h * w;
    Ok(Box::new(StatisticsPlan {
        spec: PlanSpec {
            granularity: Granularity {
                c_in: CHANNEL_BLOCK,
                pixels: 4,
                ..Granularity::default()
            },
            ..PlanSpec::new(problem, Layout::NCHW16C, cx, flops * elements as u64)
        },
        method,
        isa: cx.isa,
    }))
}

struct StatisticsPlan {
    spec: PlanSpec,
    method: Method,
    isa: IsaToken,
}

impl Plan for StatisticsPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let [images, c, h, w] = self.spec.problem.src_dims();
        let (map, channels) = (h * w * CHANNEL_BLOCK, c.next_multiple_of(CHANNEL_BLOCK));
        // A row of means and a row of variances. A task is a block of channels.
        let grid = Grid {
            rows: 2,
            cols: channels,
            block_rows: 2,
            block_cols: CHANNEL_BLOCK,
            band: 2,
        };
        let src = io.src;
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            &mut [],
            |at, mut out, _| {
                let (mut mean, mut variance) = ([0.0; CHANNEL_BLOCK], [0.0; CHANNEL_BLOCK]);
                self.isa.dispatch(Moments {
                    src: &src[at.col / CHANNEL_BLOCK * map..],
                    map,
                    stride: h * w * channels,
                    images,
                    method: self.method,
                    mean: &mut mean,
                    variance: &mut variance,
                });
                out.row(0).copy_from_slice(&mean);
                out.row(1).copy_from_slice(&variance);
            },
        );
    }
}
