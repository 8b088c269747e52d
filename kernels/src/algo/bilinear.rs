//! Bilinear pooling on NCHW16c: X^T X, where X has a row per position and a column per channel.
//!
//! The register tile computes it like any other product. Its pixels are channels, its lanes are the channels of one or
//! two blocks, and the sum is over positions. Both operands are copied first, to panels and to rows of one channel
//! each. That is a load and a store for an element that takes part in c multiply-adds. For the symmetric half, only
//! tiles on and above the diagonal are computed. They go to a matrix whose rows are compacted afterwards.
//!
//! A NaN makes all sums of its channel NaN, and with the L2 norm all outputs of its image. Norms whose squares overflow
//! or underflow an f32 are computed in f64.

use crate::blocking::RegisterTile;
use crate::cost::{Accuracy, Cost};
use crate::exec::{Executor, Grid, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::bilinear::{PackPanel, SignedRoots, SumOfSquares};
use crate::micro::gemm::{F32, PanelTimesPixels, Prefetch, Source, TileEpilogue};
use crate::micro::outputs::Outputs;
use crate::micro::pixels::StridedPixels;
use crate::micro::transpose::{StridedRows, Transpose};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_layer,
};
use crate::problem::{BilinearShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use std::ops::RangeInclusive;

/// Bilinear pooling: plain sums, or with roots and norms.
#[derive(Debug)]
pub struct Bilinear {
    meta: &'static AlgorithmMeta,
    normalised: bool,
}

/// Plain sums.
pub static SUMS: Bilinear = Bilinear {
    meta: &AlgorithmMeta {
        id: "bilinear-pool",
        summary: "bilinear pooling on NCHW16c, all pairs of channels or the symmetric half",
        isas: &Isa::F32,
        accuracy: Accuracy::Sum,
    },
    normalised: false,
};

/// Sums with signed roots, the L2 norm, or both.
pub static NORMALISED: Bilinear = Bilinear {
    meta: &AlgorithmMeta {
        id: "bilinear-pool-normalised",
        summary: "bilinear pooling on NCHW16c with signed square roots, the L2 norm, or both",
        isas: &Isa::F32,
        accuracy: Accuracy::Scaled,
    },
    normalised: true,
};

/// Outputs whose squares one task sums. The sums of all parts are added in order.
const PART: usize = 4096;

impl Algorithm for Bilinear {
    fn meta(&self) -> &'static AlgorithmMeta {
        self.meta
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?.without_twins()?;
        let bilinear = *f32_layer::<BilinearShape>(problem)?;
        let kind = bilinear.kind();
        match (self.normalised, kind.root || kind.l2) {
            (false, true) => return Err(Unsupported::new("takes no roots and no norm")),
            (true, false) => return Err(Unsupported::new("takes roots, the norm, or both")),
            _ => {}
        }
        let [n, c, _, _] = bilinear.maps().dims();
        let positions = bilinear.positions();
        let tile = RegisterTile::of(cx.isa.isa());
        let blocks = c.div_ceil(CHANNEL_BLOCK);
        // One extra line: rows a power of two apart would map to few sets of L1.
        let row = positions.next_multiple_of(CacheLine::F32S) + CacheLine::F32S;
        // Channels whose rows fill a third of L2, beside a panel, and some tasks for each thread.
        let near = cx.caches.l2 / 3 / (row * size_of::<f32>()) / tile.pixels * tile.pixels;
        let parts = if cx.threads == 1 { 1 } else { 4 * cx.threads };
        let share = c.div_ceil(parts).next_multiple_of(tile.pixels);
        let task = cx
            .tuning
            .mc
            .unwrap_or(near.max(tile.pixels).min(share))
            .min(c);
        let regions = Regions {
            rows: blocks * CHANNEL_BLOCK * row,
            panels: blocks * CHANNEL_BLOCK * (positions + 1),
            matrix: if kind.half { c * c } else { 0 },
            norms: if kind.l2 {
                bilinear.outputs().div_ceil(PART)
            } else {
                0
            },
        };
        let mut plan = BilinearPlan {
            spec: PlanSpec {
                workspace_lines_per_worker: regions.lines().div_ceil(cx.threads),
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK * tile.blocks,
                    ..Granularity::default()
                },
                ..PlanSpec::new(problem, Layout::NCHW16C, cx, 0)
            },
            bilinear,
            regions,
            row,
            task,
            tile,
            isa: cx.isa,
        };
        let tasks = (0..c).step_by(task);
        let products: usize = tasks.map(|at| plan.lanes(at) * task.min(c - at)).sum();
        let roots = bilinear.outputs() * (usize::from(kind.root) + 3 * usize::from(kind.l2));
        plan.spec.cost = Cost::new(problem, (n * (2 * positions * products + roots)) as u64);
        Ok(Box::new(plan))
    }
}

/// Floats in each part of the workspace.
#[derive(Clone, Copy)]
struct Regions {
    /// The image, a row per channel.
    rows: usize,
    /// The image in panels.
    panels: usize,
    /// Sums of all pairs, if only the half is output.
    matrix: usize,
    /// Partial sums of squares.
    norms: usize,
}

impl Regions {
    fn lines(&self) -> usize {
        let Regions {
            rows,
            panels,
            matrix,
            norms,
        } = *self;
        [rows, panels, matrix, norms]
            .map(CacheLine::for_f32s)
            .iter()
            .sum()
    }

    /// Splits a workspace into the parts.
    fn of<'a>(&self, workspace: &'a mut [CacheLine]) -> [&'a mut [f32]; 4] {
        let mut rest = workspace;
        [self.rows, self.panels, self.matrix, self.norms].map(|floats| {
            let (region, behind) =
                std::mem::take(&mut rest).split_at_mut(CacheLine::for_f32s(floats));
            rest = behind;
            &mut as_f32s_mut(region)[..floats]
        })
    }
}

struct BilinearPlan {
    spec: PlanSpec,
    bilinear: BilinearShape,
    regions: Regions,
    /// Floats from a channel's row to the next.
    row: usize,
    /// Channels per task, which are rows of the result.
    task: usize,
    tile: RegisterTile,
    isa: IsaToken,
}

impl Plan for BilinearPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let n = self.spec.problem.src_dims()[0];
        let outputs = self.bilinear.outputs();
        let images = io.src.chunks_exact(io.src.len() / n);
        let dst = io.dst.f32s_mut();
        let results = dst.chunks_exact_mut(outputs.next_multiple_of(CHANNEL_BLOCK));
        for (image, result) in images.zip(results) {
            let (result, padding) = result.split_at_mut(outputs);
            padding.fill(0.0);
            self.image(image, io.workspace, result, io.exec);
        }
    }
}

impl BilinearPlan {
    fn channels(&self) -> usize {
        self.spec.problem.src_dims()[1]
    }

    /// Index of the first panel that a row of the result needs.
    fn first_panel(&self, channel: usize) -> usize {
        let width = self.tile.blocks * CHANNEL_BLOCK;
        if self.bilinear.kind().half {
            channel / width
        } else {
            0
        }
    }

    /// Number of lanes in a row of the result.
    fn lanes(&self, channel: usize) -> usize {
        let all = self.channels().next_multiple_of(CHANNEL_BLOCK);
        let task = channel / self.task * self.task;
        all - self.first_panel(task) * self.tile.blocks * CHANNEL_BLOCK
    }

    fn image(
        &self,
        image: &[f32],
        workspace: &mut [CacheLine],
        result: &mut [f32],
        exec: &dyn Executor,
    ) {
        let [rows, panels, matrix, norms] = self.regions.of(workspace);
        self.operands(image, rows, panels, exec);
        let kind = self.bilinear.kind();
        if kind.half {
            self.multiply(rows, panels, matrix, exec);
            self.join(matrix, result, exec);
        } else {
            self.multiply(rows, panels, result, exec);
        }
        if kind.root {
            each_part(result, exec, |y| self.isa.dispatch(SignedRoots { y }));
        }
        if kind.l2 {
            let squares = &*result;
            each_part_of(norms, 1, exec, |part, sum| {
                let y = &squares[part * PART..squares.len().min((part + 1) * PART)];
                sum[0] = self.isa.dispatch(SumOfSquares { y });
            });
            let squares = norms.iter().sum::<f32>();
            if SAFE_SQUARES.contains(&squares) {
                let scale = 1.0 / squares.sqrt();
                each_part(result, exec, |y| y.iter_mut().for_each(|y| *y *= scale));
            } else {
                over_norm_in_f64(result, exec);
            }
        }
    }

    /// Copies the image to rows and to panels.
    fn operands(&self, image: &[f32], rows: &mut [f32], panels: &mut [f32], exec: &dyn Executor) {
        let map = self.bilinear.positions() * CHANNEL_BLOCK;
        let blocks = image.len() / map;
        let of_rows = Grid {
            rows: blocks * CHANNEL_BLOCK,
            cols: self.row,
            block_rows: CHANNEL_BLOCK,
            block_cols: self.row,
            band: blocks * CHANNEL_BLOCK,
        };
        par_rows(exec, rows, of_rows, &mut [], |at, mut out, _| {
            let map = &image[at.row / CHANNEL_BLOCK * map..][..map];
            let positions = self.bilinear.positions();
            self.isa.dispatch(Transpose {
                src: StridedRows::new(map, positions, CHANNEL_BLOCK, CHANNEL_BLOCK),
                dst: out.part(0..CHANNEL_BLOCK, 0..positions),
            });
        });
        let panel = self.panel_len();
        each_part_of(panels, panel, exec, |index, out| {
            let first = index * self.tile.blocks;
            let blocks = self.tile.blocks.min(blocks - first);
            self.isa.dispatch(PackPanel {
                maps: &image[first * map..][..blocks * map],
                blocks,
                out,
            });
        });
    }

    /// Floats per panel. The last may have fewer.
    fn panel_len(&self) -> usize {
        (self.bilinear.positions() + 1) * self.tile.blocks * CHANNEL_BLOCK
    }

    /// Computes all sums, or those on and above the diagonal and a few more.
    fn multiply(&self, rows: &[f32], panels: &[f32], matrix: &mut [f32], exec: &dyn Executor) {
        let (c, positions) = (self.channels(), self.bilinear.positions());
        let grid = Grid {
            rows: c,
            cols: c,
            block_rows: self.task,
            block_cols: c,
            band: c,
        };
        par_rows(exec, matrix, grid, &mut [], |at, mut out, _| {
            let first = self.first_panel(at.row);
            let panels = panels.chunks(self.panel_len()).enumerate().skip(first);
            let channels = out.rows();
            for (index, panel) in panels {
                let lane = index * self.tile.blocks * CHANNEL_BLOCK;
                let lanes = lane..c.min(lane + self.tile.blocks * CHANNEL_BLOCK);
                self.isa.dispatch(PanelTimesPixels {
                    src: Source {
                        data: &rows[at.row * self.row..],
                        block: positions,
                        block_stride: 0,
                    },
                    pixels: StridedPixels {
                        pixels: channels,
                        step: self.row,
                    },
                    channels: 0..positions,
                    panel,
                    epilogue: TileEpilogue::default(),
                    prefetch: Prefetch::Nothing,
                    out: Outputs::matrix(out.part(0..channels, lanes)),
                    dot: F32,
                });
            }
        });
    }

    /// Compacts the upper triangle, row by row.
    fn join(&self, matrix: &[f32], result: &mut [f32], exec: &dyn Executor) {
        let c = self.channels();
        each_part_of(result, PART, exec, |part, out| {
            let [mut row, mut col] = self.bilinear.pair(part * PART);
            let mut rest = out;
            while !rest.is_empty() {
                let len = rest.len().min(c - col);
                let (to, behind) = rest.split_at_mut(len);
                to.copy_from_slice(&matrix[row * c + col..][..len]);
                (row, col, rest) = (row + 1, row + 1, behind);
            }
        });
    }
}

/// Sums of squares that are correct in f32. Below, squares that underflowed may matter. Above, some overflowed.
const SAFE_SQUARES: RangeInclusive<f32> = 1e-20..=f32::MAX;

/// Divides values by their L2 norm, whatever their size: an f64 holds the square of every f32. Leaves zeros as they
/// are.
#[cold]
fn over_norm_in_f64(y: &mut [f32], exec: &dyn Executor) {
    let norm = y.iter().map(|&y| f64::from(y).powi(2)).sum::<f64>().sqrt();
    if norm != 0.0 {
        let divide = |y: &mut f32| *y = (f64::from(*y) / norm) as f32;
        each_part(y, exec, |part| part.iter_mut().for_each(divide));
    }
}

/// Calls `f` for parts of `data`, of `len` elements each (fewer in the last).
fn each_part_of(
    data: &mut [f32],
    len: usize,
    exec: &dyn Executor,
    f: impl Fn(usize, &mut [f32]) + Sync,
) {
    let grid = Grid {
        rows: 1,
        cols: data.len(),
        block_rows: 1,
        block_cols: len,
        band: 1,
    };
    par_rows(exec, data, grid, &mut [], |at, mut out, _| {
        f(at.col / len, out.row(0));
    });
}

fn each_part(data: &mut [f32], exec: &dyn Executor, f: impl Fn(&mut [f32]) + Sync) {
    each_part_of(data, PART, exec, |_, part| f(part));
}
