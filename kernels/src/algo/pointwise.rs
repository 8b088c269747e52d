//! Unfused layers between convolutions, on NCHW16c: copy, ReLU, residual add, bias, batch normalisation. Copies, ReLUs and
//! sums of u8, s8 and bf16 have a plan of their own (`pointwise_narrow.rs`), on NHWC.
//!
//! One loop computes them all: `max(floor, x * scale + shift + residual)`. The arithmetic costs no time if data come
//! from beyond L1. Each layer also has a variant with non-temporal stores. An ordinary store first reads the line that
//! it overwrites (write-allocate), a third of a copy's traffic. A non-temporal store doesn't, but then the output is in
//! memory, not in the cache for the next layer.

use super::pointwise_narrow::NarrowPointwise;
use crate::cost::{Accuracy, Cost};
use crate::exec::{Executor, Grid, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::pointwise::PointwiseRows;
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Params, Plan, PlanCx, PlanSpec, RunArgs, Unsupported,
    f32_only,
};
use crate::problem::{BATCH_NORM_EPSILON, DTypes, Epilogue, Op, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};

/// One of these layers, with ordinary or with non-temporal stores.
#[derive(Debug)]
pub struct Pointwise {
    meta: &'static AlgorithmMeta,
    kind: Kind,
    stream: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Copy,
    Relu,
    Add,
    Bias,
    BatchNorm,
}

macro_rules! pointwise {
    ($($name:ident $stream:ident $kind:ident $id:literal $accuracy:ident $what:literal $layouts:literal;)*) => {$(
        #[doc = $what]
        pub static $name: Pointwise = Pointwise {
            meta: &AlgorithmMeta {
                id: $id,
                summary: concat!($what, $layouts),
                isas: &Isa::F32,
                accuracy: Accuracy::$accuracy,
            },
            kind: Kind::$kind,
            stream: false,
        };
        #[doc = concat!($what, ", with streaming stores")]
        pub static $stream: Pointwise = Pointwise {
            meta: &AlgorithmMeta {
                id: concat!($id, "-stream"),
                summary: concat!($what, $layouts, ", with streaming stores"),
                isas: &Isa::F32,
                accuracy: Accuracy::$accuracy,
            },
            kind: Kind::$kind,
            stream: true,
        };
    )*};
}

pointwise! {
    COPY COPY_STREAM Copy "copy" Exact
        "copy" ", on NCHW16c; of u8, s8 and bf16 on NHWC";
    RELU RELU_STREAM Relu "relu" Exact
        "ReLU; a NaN stays one" ", on NCHW16c; of u8, s8 and bf16 on NHWC";
    ADD ADD_STREAM Add "add" Sum
        "residual add, and ReLU" ", on NCHW16c; of u8, s8 and bf16 on NHWC";
    BIAS BIAS_STREAM Bias "bias" Sum
        "bias, residual add and ReLU" ", on NCHW16c";
    BATCH_NORM BATCH_NORM_STREAM BatchNorm "batchnorm" Scaled
        "batch normalisation at inference, residual add and ReLU" ", on NCHW16c";
}

impl Pointwise {
    /// Refuses layers of another kind.
    fn check(&self, problem: &Problem) -> Result<(), Unsupported> {
        let Epilogue {
            bias,
            relu,
            residual,
        } = problem.epilogue;
        let identity = matches!(problem.op, Op::Identity(_));
        let (fits, what) = match self.kind {
            Kind::Copy => (
                identity && !bias && !relu && !residual,
                "computes copies only",
            ),
            Kind::Relu => (
                identity && !bias && relu && !residual,
                "computes a ReLU only",
            ),
            Kind::Add => (
                identity && !bias && residual,
                "adds a residual, and no bias",
            ),
            Kind::Bias => (identity && bias, "adds a bias"),
            Kind::BatchNorm => (
                matches!(problem.op, Op::BatchNorm(_)),
                "computes batch normalisations only",
            ),
        };
        fits.then_some(()).ok_or_else(|| Unsupported::new(what))
    }
}

impl Algorithm for Pointwise {
    fn meta(&self) -> &'static AlgorithmMeta {
        self.meta
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        self.check(problem)?;
        if problem.dtypes != DTypes::default()
            && matches!(self.kind, Kind::Copy | Kind::Relu | Kind::Add)
        {
            let plan = NarrowPointwise::new(problem, self.stream, cx)?;
            return Ok(Box::new(plan));
        }
        f32_only(problem)?;
        let [n, c, h, w] = problem.src_dims();
        let blocks = c.div_ceil(CHANNEL_BLOCK);
        // Without parameters per channel, the tensor is one map.
        let per_channel = matches!(self.kind, Kind::Bias | Kind::BatchNorm);
        let (maps, pixels, blocks) = match per_channel {
            true => (n * blocks, h * w, blocks),
            false => (1, n * blocks * h * w, 1),
        };
        // A task is some maps, one task per worker. If such shares would be unequal, a task is part of a map.
        let even = maps.is_multiple_of(cx.threads) || maps >= 8 * cx.threads;
        let (task_maps, task_pixels) = match cx.tuning.mc {
            Some(mc) => (1, mc),
            None if even => (maps.div_ceil(cx.threads), pixels),
            None => (1, pixels.div_ceil(cx.threads)),
        };
        let flops = Cost::new(problem, 0).flops_nominal / c as u64;
        let spec = PlanSpec {
            packed_lines: 2 * blocks,
            granularity: Granularity {
                c_in: CHANNEL_BLOCK,
                pixels: 4,
                ..Granularity::default()
            },
            ..PlanSpec::new(
                problem,
                Layout::NCHW16C,
                cx,
                flops * c.next_multiple_of(CHANNEL_BLOCK) as u64,
            )
        };
        Ok(Box::new(PointwisePlan {
            spec,
            grid: Grid {
                rows: maps,
                cols: pixels * CHANNEL_BLOCK,
                block_rows: task_maps,
                block_cols: task_pixels.min(pixels) * CHANNEL_BLOCK,
                band: maps,
            },
            blocks,
            stream: self.stream,
            isa: cx.isa,
        }))
    }
}

struct PointwisePlan {
    spec: PlanSpec,
    /// Maps as rows.
    grid: Grid,
    /// Channel blocks with different parameters.
    blocks: usize,
    stream: bool,
    isa: IsaToken,
}

impl Plan for PointwisePlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    /// Packs the scales of all channels, then the shifts. Channels beyond the last have a scale of 0.
    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let packed = as_f32s_mut(&mut packed[..self.spec.packed_lines]);
        let (scale, shift) = packed.split_at_mut(self.blocks * CHANNEL_BLOCK);
        scale.fill(1.0);
        shift.fill(0.0);
        if let Some(weights) = params.weights {
            scale.fill(0.0);
            let weights = weights.f32s();
            let c = weights.len() / 4;
            for channel in 0..c {
                let [gamma, beta, mean, variance] =
                    [0, 1, 2, 3].map(|row| f64::from(weights[row * c + channel]));
                let factor = gamma / (variance + BATCH_NORM_EPSILON).sqrt();
                scale[channel] = factor as f32;
                shift[channel] = (beta - factor * mean) as f32;
            }
        }
        if let Some(bias) = params.bias {
            for (shift, bias) in shift.iter_mut().zip(bias.f32s()) {
                *shift += bias;
            }
        }
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let (packed, _) = io.packed.as_chunks::<CHANNEL_BLOCK>();
        let (scale, shift) = packed.split_at(self.blocks);
        let floor = match self.spec.problem.epilogue.relu {
            true => 0.0,
            false => f32::NEG_INFINITY,
        };
        let cols = self.grid.cols;
        let (src, residual) = (io.src, io.residual);
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            self.grid,
            &mut [],
            |at, out, _| {
                let from = at.row * cols + at.col;
                self.isa.dispatch(PointwiseRows {
                    src: &src[from..],
                    residual: residual.map(|r| &r[from..]),
                    scale,
                    shift,
                    block: at.row % self.blocks,
                    floor,
                    stream: self.stream,
                    out,
                });
            },
        );
    }
}
