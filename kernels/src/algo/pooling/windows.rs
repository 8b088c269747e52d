//! Poolings of windows.

use crate::exec::{Grid, RowsMut, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::draw::DrawPixels;
use crate::micro::fold::Reduce;
use crate::micro::pool::PoolPixels;
use crate::micro::pool_nchw::{PoolMaps, column_scales, scales_bytes, scratch_len};
use crate::micro::transpose::{StridedRows, Transpose};
use crate::micro::windows::Axis;
use crate::plan::{Granularity, Plan, PlanSpec, RunArgs, Target, Unsupported};
use crate::problem::{PoolKind, PoolShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use crate::window::Window;
use std::ops::Range;

/// Maps of an image, and channels of a map, in memory.
pub(super) fn maps(pool: &PoolShape, layout: Layout) -> (usize, usize) {
    match layout {
        Layout::Nhwc => (1, pool.c),
        Layout::NchwC(_) => (pool.c.div_ceil(CHANNEL_BLOCK), CHANNEL_BLOCK),
        _ => (pool.c, 1),
    }
}

/// Tasks that a plan aims at.
pub(super) fn parts(cx: &Target<'_>) -> usize {
    if cx.threads == 1 { 1 } else { 4 * cx.threads }
}

/// Maps and output rows of a task: some maps, or some rows of one map if there are few maps.
pub(super) fn task(cx: &Target<'_>, maps: usize, h_out: usize) -> (usize, usize) {
    let split = parts(cx).div_ceil(maps).min(h_out);
    match cx.tuning.mc {
        Some(rows) => (1, rows.min(h_out)),
        None if split > 1 => (1, h_out.div_ceil(split)),
        None => (maps.div_ceil(parts(cx)), h_out),
    }
}

/// Operation on each window.
#[derive(Clone, Copy)]
pub(super) enum Work {
    Fold(Reduce),
    /// See [`PoolKind::Draw`].
    Draw {
        seed: u64,
        index: bool,
    },
}

pub(super) struct PoolPlan {
    spec: PlanSpec,
    work: Work,
    vertical: Axis,
    horizontal: Axis,
    /// Maps of the batch.
    maps: usize,
    /// Channels per map.
    channels: usize,
    /// Maps per task.
    task_maps: usize,
    /// Output rows per task.
    task_rows: usize,
    lanes: Lanes,
    isa: IsaToken,
}

/// Meaning of a vector's lanes.
enum Lanes {
    /// Channels of a pixel; see [`PoolPixels::strip`].
    Channels { strip: usize },
    /// Pixels of a plain map's row; see [`PoolMaps::scales`].
    Pixels { scales: Vec<f32> },
    /// Plain maps, in bands of output rows. A task is one band of 16 maps.
    Maps(Vec<Band>),
}

/// Rows of outputs, and the rows of the input that their windows read.
struct Band {
    vertical: Axis,
    rows: Range<usize>,
}

/// Minimum outputs per row for which lanes are pixels of plain NCHW. In narrower rows too many lanes would be idle.
/// (Measured: docs/measurements.md, 'narrow rows'.) With AVX-512 twice as many lanes are idle, so its limit is higher.
fn narrow(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => CHANNEL_BLOCK,
        _ => 13,
    }
}

/// Output rows per band, at least one: at most `most`, and at most as many as `cache` bytes hold of 16 maps with their
/// outputs.
fn band_height(down: &Window, across: &Window, most: usize, cache: usize) -> usize {
    let row = |pixels: usize| pixels * CHANNEL_BLOCK * size_of::<f32>();
    let extent = (down.kernel - 1) * down.dilation + 1;
    let first = extent * row(across.size) + row(across.out);
    let next = down.stride * row(across.size) + row(across.out);
    let fit = cache.saturating_sub(first) / next + 1;
    fit.min(most).clamp(1, down.out)
}

/// Bands of `height` output rows each.
fn bands(down: &Axis, height: usize) -> Vec<Band> {
    let out = down.window().out;
    let bands = (0..out).step_by(height).map(|start| {
        let (vertical, rows) = down.part(start..(start + height).min(out));
        Band { vertical, rows }
    });
    bands.collect()
}

/// Windows that are folded before the next channels of their pixels: two if they share no column, else more. Each pixel
/// is a stream of lines. Lines that are a power of two apart map to few sets of L1. So the windows' lines may take a
/// quarter of these sets, or prefetched lines of the next channels would be evicted. `pixel` is in bytes. (Measured:
/// docs/measurements.md, 'strips of windows'.)
pub(super) fn strip(pixel: usize, down: &Window, across: &Window, l1d: usize) -> usize {
    // A page's lines: all L1 caches have this many sets.
    const SETS: usize = 64;
    const PAGE: usize = SETS * size_of::<CacheLine>();
    if across.stride >= across.kernel {
        return 2;
    }
    let sets = (PAGE >> pixel.trailing_zeros()).clamp(1, SETS);
    let lines = l1d / PAGE * sets / 4;
    let columns = lines / down.kernel;
    (columns.saturating_sub(across.kernel) / across.stride + 1).clamp(2, 16)
}

impl PoolPlan {
    pub(super) fn new(
        problem: &Problem,
        pool: PoolShape,
        layout: Layout,
        work: Work,
        cx: &Target<'_>,
    ) -> Result<Self, Unsupported> {
        let sum = matches!(pool.kind, PoolKind::Lp { mean: false, .. });
        let [down, across] = pool.windows();
        let (per_image, channels) = maps(&pool, layout);
        let maps = pool.n * per_image;
        let (task_maps, task_rows) = task(cx, maps, pool.h_out());
        let in_bands =
            layout == Layout::Nchw && pool.w_out() < narrow(cx.isa.isa()) && maps >= CHANNEL_BLOCK;
        let height = {
            let parts = parts(cx).div_ceil(maps.div_ceil(CHANNEL_BLOCK));
            let most = cx.tuning.mc.unwrap_or(pool.h_out().div_ceil(parts));
            band_height(&down, &across, most, cx.caches.l2 / 4)
        };
        let mut table_bytes = Axis::bytes(down.out) + Axis::bytes(across.out);
        if in_bands {
            table_bytes += Axis::bytes(down.out) + down.out.div_ceil(height) * size_of::<Band>();
        } else if layout == Layout::Nchw {
            table_bytes += scales_bytes(&across);
        }
        cx.tables(table_bytes)?;
        let [vertical, horizontal] = [down, across].map(|window| Axis::new(window, !sum));
        let (lanes, tasks, scratch) = match layout {
            Layout::Nchw if in_bands => {
                let bands = bands(&vertical, height);
                let rows = bands.iter().map(|band| band.rows.len()).max().unwrap_or(0);
                let floats = (rows * pool.w + height * pool.w_out()) * CHANNEL_BLOCK;
                (Lanes::Maps(bands), (CHANNEL_BLOCK, height), floats)
            }
            Layout::Nchw => {
                let scales = column_scales(&horizontal);
                let floats = scratch_len(horizontal.window());
                (Lanes::Pixels { scales }, (task_maps, task_rows), floats)
            }
            _ => {
                let strip = strip(channels * size_of::<f32>(), &down, &across, cx.caches.l1d);
                (Lanes::Channels { strip }, (task_maps, task_rows), 0)
            }
        };
        // Maps that fill up the last block are folded, too.
        let folded = match lanes {
            Lanes::Maps(_) => maps.next_multiple_of(CHANNEL_BLOCK),
            _ => maps * channels,
        };
        let executed = folded as u64 * down.elements_inside() * across.elements_inside();
        Ok(PoolPlan {
            spec: PlanSpec {
                table_bytes,
                workspace_lines_per_worker: CacheLine::for_f32s(scratch),
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK,
                    w_out: match layout {
                        Layout::Nchw => narrow(cx.isa.isa()),
                        _ => 4,
                    },
                    ..Granularity::default()
                },
                ..PlanSpec::new(problem, layout, cx, executed)
            },
            work,
            vertical,
            horizontal,
            maps,
            channels,
            task_maps: tasks.0,
            task_rows: tasks.1,
            lanes,
            isa: cx.isa,
        })
    }
}

impl Plan for PoolPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let (vertical, horizontal) = (&self.vertical, &self.horizontal);
        let row = horizontal.window().out * self.channels;
        let map = vertical.window().size * horizontal.window().size * self.channels;
        let grid = Grid {
            rows: self.maps,
            cols: vertical.window().out * row,
            block_rows: self.task_maps,
            block_cols: self.task_rows * row,
            band: self.maps,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, out, scratch| {
                let (maps, first) = (&io.src[at.row * map..], at.col / row);
                match self.work {
                    Work::Fold(reduce) => match &self.lanes {
                        Lanes::Channels { strip } => self.isa.dispatch(PoolPixels {
                            maps,
                            channels: self.channels,
                            strip: *strip,
                            vertical,
                            horizontal,
                            first,
                            out,
                            reduce,
                        }),
                        Lanes::Pixels { scales } => self.isa.dispatch(PoolMaps {
                            maps,
                            vertical,
                            horizontal,
                            scales,
                            first,
                            out,
                            reduce,
                            scratch: as_f32s_mut(scratch),
                        }),
                        Lanes::Maps(bands) => {
                            // An incomplete last block is filled up with maps before it.
                            let again = CHANNEL_BLOCK - out.rows();
                            let maps = &io.src[(at.row - again) * map..];
                            let band = &bands[first / self.task_rows];
                            self.transposed(band, reduce, maps, out, as_f32s_mut(scratch));
                        }
                    },
                    Work::Draw { seed, index } => self.isa.dispatch(DrawPixels {
                        images: maps,
                        channels: self.channels,
                        vertical,
                        horizontal,
                        image: at.row,
                        first,
                        out,
                        seed,
                        index,
                    }),
                }
            },
        );
    }
}

impl PoolPlan {
    /// Computes a band of the last `out.rows()` of 16 plain maps.
    fn transposed(
        &self,
        band: &Band,
        reduce: Reduce,
        maps: &[f32],
        out: RowsMut<'_, f32>,
        scratch: &mut [f32],
    ) {
        let width = self.horizontal.window().size;
        let map = self.vertical.window().size * width;
        let (again, outputs) = (CHANNEL_BLOCK - out.rows(), out.len());
        let pixels = band.rows.len() * width;
        let (input, rest) = scratch.split_at_mut(pixels * CHANNEL_BLOCK);
        let output = &mut rest[..outputs * CHANNEL_BLOCK];
        if self.isa.moves_data() {
            self.isa.dispatch(Transpose {
                src: StridedRows::new(&maps[band.rows.start * width..], CHANNEL_BLOCK, pixels, map),
                dst: RowsMut::new(input, CHANNEL_BLOCK),
            });
        }
        self.isa.dispatch(PoolPixels {
            maps: input,
            channels: CHANNEL_BLOCK,
            strip: usize::MAX,
            vertical: &band.vertical,
            horizontal: &self.horizontal,
            first: 0,
            out: RowsMut::new(output, outputs * CHANNEL_BLOCK),
            reduce,
        });
        if self.isa.moves_data() {
            self.isa.dispatch(Transpose {
                src: StridedRows::new(&output[again..], outputs, out.rows(), CHANNEL_BLOCK),
                dst: out,
            });
        }
    }
}
