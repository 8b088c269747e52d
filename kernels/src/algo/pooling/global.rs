//! Averages of whole maps.

use super::windows::maps;
use crate::exec::{Grid, par_rows};
use crate::isa::IsaToken;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::map_means::{ChannelMeans, MapMeans, PlainMeans};
use crate::plan::{Granularity, Plan, PlanSpec, RunArgs, Target};
use crate::problem::{PoolShape, Problem};
use crate::tensor::{CacheLine, Layout};

pub(super) struct GlobalPlan {
    spec: PlanSpec,
    layout: Layout,
    /// Maps of the batch, and channels per map.
    maps: usize,
    channels: usize,
    /// Floats per map.
    map: usize,
    /// Means per task.
    task: usize,
    isa: IsaToken,
}

impl GlobalPlan {
    pub(super) fn new(problem: &Problem, pool: PoolShape, layout: Layout, cx: &Target<'_>) -> Self {
        let (per_image, channels) = maps(&pool, layout);
        let maps = pool.n * per_image;
        let map = pool.h * pool.w * channels;
        // Whole cache lines of means.
        let means = maps * channels;
        let parts = if cx.threads == 1 { 1 } else { 2 * cx.threads };
        let task = means.div_ceil(parts).next_multiple_of(CacheLine::F32S);
        GlobalPlan {
            spec: PlanSpec {
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK,
                    ..Granularity::default()
                },
                ..PlanSpec::new(problem, layout, cx, (maps * map) as u64)
            },
            layout,
            maps,
            channels,
            map,
            task: task.min(if layout == Layout::Nhwc {
                channels
            } else {
                means
            }),
            isa: cx.isa,
        }
    }
}

impl Plan for GlobalPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let (rows, cols) = match self.layout {
            Layout::Nhwc => (self.maps, self.channels),
            _ => (1, self.maps * self.channels),
        };
        let grid = Grid {
            rows,
            cols,
            block_rows: 1,
            block_cols: self.task,
            band: rows,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, mut out, _| {
                let (out, per_mean) = (out.row(0), self.map / self.channels);
                let len = out.len() * per_mean;
                let maps = || &io.src[at.col * per_mean..][..len];
                match self.layout {
                    Layout::Nhwc => self.isa.dispatch(ChannelMeans {
                        image: &io.src[at.row * self.map..][..self.map],
                        channels: self.channels,
                        first: at.col,
                        out,
                    }),
                    Layout::NchwC(_) => self.isa.dispatch(MapMeans { maps: maps(), out }),
                    _ => self.isa.dispatch(PlainMeans { maps: maps(), out }),
                }
            },
        );
    }
}
