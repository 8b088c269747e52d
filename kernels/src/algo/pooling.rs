//! Pooling on NCHW16c: maximum, average, global average.
//!
//! Each output is made from the part of its window that lies inside the input; which part that is, is
//! known per row and column, so no element is tested in the inner loop. A NaN in a window makes its
//! maximum NaN, as in PyTorch. What a mean divides by is defined in [`crate::problem::PoolKind`].

use crate::blocking::CHANNEL_BLOCK;
use crate::cost::{Accuracy, Cost};
use crate::exec::{Executor, Grid, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::micro::pool::{MapMean, PoolRows, Reduce, Window};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Layouts, Params, Plan, PlanCx, PlanSpec, RunArgs,
    Unsupported, f32_pool,
};
use crate::problem::{Pad, PoolKind, PoolShape, Problem};
use crate::tensor::{CacheLine, Layout};

/// Maximum.
#[derive(Debug)]
pub struct MaxPool;

/// Average, with or without the padding.
#[derive(Debug)]
pub struct AvgPool;

/// The average of a whole map.
#[derive(Debug)]
pub struct GlobalAvgPool;

static MAX: AlgorithmMeta = AlgorithmMeta {
    id: "maxpool",
    summary: "max pooling on NCHW16c, any window, stride, padding and dilation; NaN wins",
    isas: &Isa::ALL,
    accuracy: Accuracy::Exact,
};

static AVG: AlgorithmMeta = AlgorithmMeta {
    id: "avgpool",
    summary: "average pooling on NCHW16c, padding counted or not, any window, stride and dilation",
    isas: &Isa::ALL,
    accuracy: Accuracy::Mean,
};

static GLOBAL: AlgorithmMeta = AlgorithmMeta {
    id: "global-avgpool",
    summary: "the average of whole maps on NCHW16c",
    isas: &Isa::ALL,
    accuracy: Accuracy::Mean,
};

impl Algorithm for MaxPool {
    fn meta(&self) -> &'static AlgorithmMeta {
        &MAX
    }
    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let pool = *f32_pool(problem)?;
        if pool.kind != PoolKind::Max {
            return Err(Unsupported::new("computes maxima only"));
        }
        let inside =
            |vertical: Window, horizontal: Window| elements_inside(&pool, vertical, horizontal);
        Ok(Box::new(PoolPlan::new(
            problem,
            pool,
            Reduce::Max,
            inside,
            cx,
        )))
    }
}

impl Algorithm for AvgPool {
    fn meta(&self) -> &'static AlgorithmMeta {
        &AVG
    }
    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let pool = *f32_pool(problem)?;
        if pool.kind == PoolKind::Max {
            return Err(Unsupported::new("computes averages only"));
        }
        let inside =
            |vertical: Window, horizontal: Window| elements_inside(&pool, vertical, horizontal);
        Ok(Box::new(PoolPlan::new(
            problem,
            pool,
            Reduce::Mean,
            inside,
            cx,
        )))
    }
}

impl Algorithm for GlobalAvgPool {
    fn meta(&self) -> &'static AlgorithmMeta {
        &GLOBAL
    }
    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let pool = *f32_pool(problem)?;
        if pool.kind == PoolKind::Max {
            return Err(Unsupported::new("computes averages only"));
        }
        if pool.kernel != [pool.h, pool.w] || pool.pad != Pad::default() {
            return Err(Unsupported::new("the window is not the whole map"));
        }
        let elements = pool.n * pool.c.next_multiple_of(CHANNEL_BLOCK) * pool.h * pool.w;
        let spec = spec(problem, elements as u64, cx);
        Ok(Box::new(GlobalPlan {
            spec,
            pool,
            isa: cx.isa,
        }))
    }
}

/// Input elements that all windows cover, in the channels that are computed.
fn elements_inside(pool: &PoolShape, vertical: Window, horizontal: Window) -> u64 {
    let rows: usize = (0..vertical.out).map(|y| vertical.inside(y).len()).sum();
    let cols: usize = (0..horizontal.out)
        .map(|x| horizontal.inside(x).len())
        .sum();
    (pool.n * pool.c.next_multiple_of(CHANNEL_BLOCK)) as u64 * rows as u64 * cols as u64
}

fn spec(problem: &Problem, executed: u64, cx: &PlanCx<'_>) -> PlanSpec {
    PlanSpec {
        problem: *problem,
        layouts: Layouts {
            src: Layout::NCHW16C,
            dst: Layout::NCHW16C,
        },
        packed_lines: 0,
        workspace_lines_per_worker: 0,
        threads: cx.threads,
        granularity: Granularity {
            c_in: CHANNEL_BLOCK,
            w_out: 4,
            ..Granularity::default()
        },
        cost: Cost::new(problem, executed),
    }
}

struct PoolPlan {
    spec: PlanSpec,
    pool: PoolShape,
    reduce: Reduce,
    vertical: Window,
    horizontal: Window,
    rows: usize,
    isa: IsaToken,
}

impl PoolPlan {
    fn new(
        problem: &Problem,
        pool: PoolShape,
        reduce: Reduce,
        executed: impl Fn(Window, Window) -> u64,
        cx: &PlanCx<'_>,
    ) -> Self {
        let [over_h, over_w] = pool.overhang();
        let window = |axis: usize, size, out, before, after, overhang| Window {
            size,
            out,
            kernel: pool.kernel[axis],
            stride: pool.stride[axis],
            dilation: pool.dilation[axis],
            before,
            counted: (pool.kind == PoolKind::AvgIncludePad)
                .then_some(before + size + after - overhang),
        };
        let Pad {
            top,
            left,
            bottom,
            right,
        } = pool.pad;
        let vertical = window(0, pool.h, pool.h_out(), top, bottom, over_h);
        let horizontal = window(1, pool.w, pool.w_out(), left, right, over_w);
        // A task is some rows of one block of channels: a whole map unless there are few of them.
        let maps = pool.n * pool.c.div_ceil(CHANNEL_BLOCK);
        let parts = (4 * cx.threads).div_ceil(maps).min(pool.h_out());
        let parts = if cx.threads == 1 { 1 } else { parts };
        let rows = cx
            .tuning
            .mc
            .unwrap_or(pool.h_out().div_ceil(parts))
            .min(pool.h_out());
        let spec = spec(problem, executed(vertical, horizontal), cx);
        PoolPlan {
            spec,
            pool,
            reduce,
            vertical,
            horizontal,
            rows,
            isa: cx.isa,
        }
    }
}

impl Plan for PoolPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, _: Params<'_>, _: &mut [CacheLine], _: &dyn Executor) {}

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let pool = &self.pool;
        let maps = pool.n * pool.c.div_ceil(CHANNEL_BLOCK);
        let row = pool.w_out() * CHANNEL_BLOCK;
        let src_map = pool.h * pool.w * CHANNEL_BLOCK;
        let grid = Grid {
            rows: maps,
            cols: pool.h_out() * row,
            block_rows: 1,
            block_cols: self.rows * row,
            band: 1,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, mut out, _| {
                self.isa.dispatch(PoolRows {
                    map: &io.src[at.row * src_map..][..src_map],
                    vertical: self.vertical,
                    horizontal: self.horizontal,
                    first: at.col / row,
                    out: out.row(0),
                    reduce: self.reduce,
                });
            },
        );
    }
}

struct GlobalPlan {
    spec: PlanSpec,
    pool: PoolShape,
    isa: IsaToken,
}

impl Plan for GlobalPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, _: Params<'_>, _: &mut [CacheLine], _: &dyn Executor) {}

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let map = self.pool.h * self.pool.w * CHANNEL_BLOCK;
        let maps = self.pool.n * self.pool.c.div_ceil(CHANNEL_BLOCK);
        let grid = Grid {
            rows: maps,
            cols: CHANNEL_BLOCK,
            block_rows: 1,
            block_cols: CHANNEL_BLOCK,
            band: maps,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, mut out, _| {
                let out = out.row(0).first_chunk_mut().expect("16 means");
                self.isa.dispatch(MapMean {
                    map: &io.src[at.row * map..][..map],
                    out,
                });
            },
        );
    }
}
