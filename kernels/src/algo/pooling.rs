//! Pooling on NCHW16c, NHWC and plain NCHW: maximum, average, global average, Lp, stochastic.
//!
//! Each output is made from the part of its window that lies inside the input; which part that is, is
//! known per row and column, so no element is tested in the inner loop. A NaN in a window makes its
//! output NaN, also a maximum, as in PyTorch. What a mean divides by is defined in [`crate::problem::PoolKind`].
//!
//! On NCHW16c and NHWC lanes are channels ([`crate::micro::pool`]), on plain NCHW pixels of a row
//! ([`crate::micro::pool_nchw`]). Where rows are narrow, most of those would be idle: there 16 maps at a time are
//! transposed to a block, pooled as such, and transposed back, all within a cache.

use crate::blocking::CHANNEL_BLOCK;
use crate::cost::Accuracy;
use crate::exec::{Grid, RowsMut, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::micro::draw::DrawPixels;
use crate::micro::fold::Reduce;
use crate::micro::pool::{Axis, ChannelMeans, MapMeans, PoolPixels, Window};
use crate::micro::pool_nchw::{PlainMeans, PoolMaps, column_scales, scratch_len};
use crate::micro::transpose::{Rows, Transpose};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_pool,
};
use crate::problem::{Pad, PoolKind, PoolShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use std::ops::Range;

/// A pooling on one layout.
#[derive(Debug)]
pub struct Pooling {
    makes: Makes,
    layout: Layout,
    meta: &'static AlgorithmMeta,
}

/// What it makes of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Makes {
    Maxima,
    Means,
    MeansOfMaps,
    Norms,
    Expectations,
    Draws,
}

const fn meta(id: &'static str, summary: &'static str, accuracy: Accuracy) -> AlgorithmMeta {
    AlgorithmMeta {
        id,
        summary,
        isas: &Isa::ALL,
        accuracy,
    }
}

/// Maximum, on NCHW16c.
pub static MAX: Pooling = Pooling {
    makes: Makes::Maxima,
    layout: Layout::NCHW16C,
    meta: &meta(
        "maxpool",
        "max pooling on NCHW16c, any window, stride, padding and dilation; NaN wins",
        Accuracy::Exact,
    ),
};

/// Maximum, on NHWC.
pub static MAX_NHWC: Pooling = Pooling {
    makes: Makes::Maxima,
    layout: Layout::Nhwc,
    meta: &meta(
        "maxpool-nhwc",
        "max pooling on NHWC, any window, stride, padding and dilation; NaN wins",
        Accuracy::Exact,
    ),
};

/// Maximum, on plain NCHW.
pub static MAX_NCHW: Pooling = Pooling {
    makes: Makes::Maxima,
    layout: Layout::Nchw,
    meta: &meta(
        "maxpool-nchw",
        "max pooling on plain NCHW, any window, stride, padding and dilation; NaN wins",
        Accuracy::Exact,
    ),
};

/// Average, with or without the padding, on NCHW16c.
pub static AVG: Pooling = Pooling {
    makes: Makes::Means,
    layout: Layout::NCHW16C,
    meta: &meta(
        "avgpool",
        "average pooling on NCHW16c, padding counted or not, any window, stride and dilation",
        Accuracy::Mean,
    ),
};

/// Average, with or without the padding, on NHWC.
pub static AVG_NHWC: Pooling = Pooling {
    makes: Makes::Means,
    layout: Layout::Nhwc,
    meta: &meta(
        "avgpool-nhwc",
        "average pooling on NHWC, padding counted or not, any window, stride and dilation",
        Accuracy::Mean,
    ),
};

/// Average, with or without the padding, on plain NCHW.
pub static AVG_NCHW: Pooling = Pooling {
    makes: Makes::Means,
    layout: Layout::Nchw,
    meta: &meta(
        "avgpool-nchw",
        "average pooling on plain NCHW, padding counted or not, any window, stride and dilation",
        Accuracy::Mean,
    ),
};

/// The average of a whole map, on NCHW16c.
pub static GLOBAL_AVG: Pooling = Pooling {
    makes: Makes::MeansOfMaps,
    layout: Layout::NCHW16C,
    meta: &meta(
        "global-avgpool",
        "the average of whole maps on NCHW16c",
        Accuracy::Mean,
    ),
};

/// The average of a whole map, on NHWC.
pub static GLOBAL_AVG_NHWC: Pooling = Pooling {
    makes: Makes::MeansOfMaps,
    layout: Layout::Nhwc,
    meta: &meta(
        "global-avgpool-nhwc",
        "the average of whole maps on NHWC",
        Accuracy::Mean,
    ),
};

/// The average of a whole map, on plain NCHW.
pub static GLOBAL_AVG_NCHW: Pooling = Pooling {
    makes: Makes::MeansOfMaps,
    layout: Layout::Nchw,
    meta: &meta(
        "global-avgpool-nchw",
        "the average of whole maps on plain NCHW",
        Accuracy::Mean,
    ),
};

/// Lp norm, p = 1, 2, 3 .. and infinity; its sum or its mean form, on NCHW16c.
pub static LP: Pooling = Pooling {
    makes: Makes::Norms,
    layout: Layout::NCHW16C,
    meta: &meta(
        "lppool",
        "Lp pooling on NCHW16c, sum and mean form, any p from 1 and infinity",
        Accuracy::Mean,
    ),
};

/// Lp norm, p = 1, 2, 3 .. and infinity; its sum or its mean form, on NHWC.
pub static LP_NHWC: Pooling = Pooling {
    makes: Makes::Norms,
    layout: Layout::Nhwc,
    meta: &meta(
        "lppool-nhwc",
        "Lp pooling on NHWC, sum and mean form, any p from 1 and infinity",
        Accuracy::Mean,
    ),
};

/// Lp norm, p = 1, 2, 3 .. and infinity; its sum or its mean form, on plain NCHW.
pub static LP_NCHW: Pooling = Pooling {
    makes: Makes::Norms,
    layout: Layout::Nchw,
    meta: &meta(
        "lppool-nchw",
        "Lp pooling on plain NCHW, sum and mean form, any p from 1 and infinity",
        Accuracy::Mean,
    ),
};

/// Stochastic pooling at inference, on NCHW16c.
pub static STOCHASTIC: Pooling = Pooling {
    makes: Makes::Expectations,
    layout: Layout::NCHW16C,
    meta: &meta(
        "stochastic-pool",
        "stochastic pooling on NCHW16c as at inference: sum a^2 / sum a, a = max(x, 0)",
        Accuracy::Mean,
    ),
};

/// Stochastic pooling at inference, on NHWC.
pub static STOCHASTIC_NHWC: Pooling = Pooling {
    makes: Makes::Expectations,
    layout: Layout::Nhwc,
    meta: &meta(
        "stochastic-pool-nhwc",
        "stochastic pooling on NHWC as at inference: sum a^2 / sum a, a = max(x, 0)",
        Accuracy::Mean,
    ),
};

/// Stochastic pooling at inference, on plain NCHW.
pub static STOCHASTIC_NCHW: Pooling = Pooling {
    makes: Makes::Expectations,
    layout: Layout::Nchw,
    meta: &meta(
        "stochastic-pool-nchw",
        "stochastic pooling on plain NCHW as at inference: sum a^2 / sum a, a = max(x, 0)",
        Accuracy::Mean,
    ),
};

/// Stochastic pooling in training, on NHWC.
pub static DRAW_NHWC: Pooling = Pooling {
    makes: Makes::Draws,
    layout: Layout::Nhwc,
    meta: &meta(
        "stochastic-draw-nhwc",
        "stochastic pooling on NHWC as in training: elements drawn by a seed, or their indices",
        Accuracy::Exact,
    ),
};

impl Algorithm for Pooling {
    fn meta(&self) -> &'static AlgorithmMeta {
        self.meta
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let pool = *f32_pool(problem)?;
        let work = match (self.makes, pool.kind) {
            (Makes::Maxima, PoolKind::Max) => Work::Fold(Reduce::Max),
            (Makes::Maxima, _) => return Err(Unsupported::new("computes maxima only")),
            (
                Makes::Means | Makes::MeansOfMaps,
                PoolKind::AvgIncludePad | PoolKind::AvgExcludePad,
            ) => Work::Fold(Reduce::Mean),
            (Makes::Norms, PoolKind::Lp { p, .. }) => Work::Fold(Reduce::Powers(p)),
            (Makes::Norms, PoolKind::LInf) => Work::Fold(Reduce::Magnitude),
            (Makes::Norms, _) => return Err(Unsupported::new("computes Lp norms only")),
            (Makes::Expectations, PoolKind::Stochastic) => Work::Fold(Reduce::Expectation),
            (Makes::Draws, PoolKind::Draw { seed, index }) => Work::Draw { seed, index },
            (Makes::Draws, _) => return Err(Unsupported::new("draws elements only")),
            (Makes::Expectations, _) => {
                return Err(Unsupported::new("computes stochastic pooling only"));
            }
            _ => return Err(Unsupported::new("computes averages only")),
        };
        let whole = pool.kernel == [pool.h, pool.w] && pool.pad == Pad::default();
        match self.makes {
            Makes::MeansOfMaps if !whole => {
                Err(Unsupported::new("the window is not the whole map"))
            }
            Makes::MeansOfMaps => Ok(Box::new(GlobalPlan::new(problem, pool, self.layout, cx))),
            _ => Ok(Box::new(PoolPlan::new(
                problem,
                pool,
                self.layout,
                work,
                cx,
            ))),
        }
    }
}

/// Maps of an image and channels of a map, as they lie in memory.
fn maps(pool: &PoolShape, layout: Layout) -> (usize, usize) {
    match layout {
        Layout::Nhwc => (1, pool.c),
        Layout::NchwC(_) => (pool.c.div_ceil(CHANNEL_BLOCK), CHANNEL_BLOCK),
        _ => (pool.c, 1),
    }
}

fn spec(
    problem: &Problem,
    layout: Layout,
    workspace_lines_per_worker: usize,
    executed: usize,
    cx: &PlanCx<'_>,
) -> PlanSpec {
    PlanSpec {
        workspace_lines_per_worker,
        granularity: match layout {
            Layout::Nchw => Granularity {
                c_in: CHANNEL_BLOCK,
                w_out: narrow(cx.isa.isa()),
                ..Granularity::default()
            },
            _ => Granularity {
                c_in: CHANNEL_BLOCK,
                w_out: 4,
                ..Granularity::default()
            },
        },
        ..PlanSpec::new(problem, layout, cx, executed as u64)
    }
}

/// What a plan does with each window.
#[derive(Clone, Copy)]
enum Work {
    Fold(Reduce),
    /// See [`PoolKind::Draw`].
    Draw {
        seed: u64,
        index: bool,
    },
}

struct PoolPlan {
    spec: PlanSpec,
    work: Work,
    vertical: Axis,
    horizontal: Axis,
    /// Maps of the batch.
    maps: usize,
    /// Their channels.
    channels: usize,
    /// Maps in a task.
    task_maps: usize,
    /// Output rows in a task.
    task_rows: usize,
    lanes: Lanes,
    isa: IsaToken,
}

/// What the lanes of a vector are.
enum Lanes {
    /// Channels of a pixel.
    Channels,
    /// Pixels of a plain map's row; see [`PoolMaps::scales`].
    Pixels { scales: Vec<f32> },
    /// Plain maps, of whose outputs each task makes a band.
    Maps(Vec<Band>),
}

/// Rows of the outputs, and those of the input that their windows see.
struct Band {
    vertical: Axis,
    rows: Range<usize>,
}

/// From how many outputs in a row on lanes are pixels of plain NCHW. By maps, Zen 3 is 1.9 to 2.6 times as fast for 5 to 14
/// outputs, 1.3 to 1.6 times for 26 and 28, and slower for 56; AVX-512, which parts even and odd columns by one instruction,
/// came by pixels to 1.2 to 1.4 of the blocked layout's time for 14 and more, to 2.2 and more for fewer and for 27.
fn narrow(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => CHANNEL_BLOCK,
        _ => 2 * CHANNEL_BLOCK,
    }
}

/// Rows of outputs of a band, and the bands: `most` rows, or as many as `cache` bytes hold of 16 maps with their outputs,
/// but one at least.
fn bands(down: &Axis, across: &Axis, most: usize, cache: usize) -> (usize, Vec<Band>) {
    let (down_window, across_window) = (down.window(), across.window());
    let row = |pixels: usize| pixels * CHANNEL_BLOCK * size_of::<f32>();
    let extent = (down_window.kernel - 1) * down_window.dilation + 1;
    let first = extent * row(across_window.size) + row(across_window.out);
    let next = down_window.stride * row(across_window.size) + row(across_window.out);
    let fit = cache.saturating_sub(first) / next + 1;
    let height = fit.min(most).clamp(1, down_window.out);
    let bands = (0..down_window.out).step_by(height).map(|start| {
        let (vertical, rows) = down.part(start..(start + height).min(down_window.out));
        Band { vertical, rows }
    });
    (height, bands.collect())
}

impl PoolPlan {
    fn new(
        problem: &Problem,
        pool: PoolShape,
        layout: Layout,
        work: Work,
        cx: &PlanCx<'_>,
    ) -> Self {
        let [over_h, over_w] = pool.overhang();
        let sum = matches!(pool.kind, PoolKind::Lp { mean: false, .. });
        let axis = |axis: usize, size, out, before, after, overhang| {
            let window = Window {
                size,
                out,
                kernel: pool.kernel[axis],
                stride: pool.stride[axis],
                dilation: pool.dilation[axis],
                before,
                counted: (pool.kind == PoolKind::AvgIncludePad)
                    .then_some(before + size + after - overhang),
            };
            Axis::new(window, !sum)
        };
        let Pad {
            top,
            left,
            bottom,
            right,
        } = pool.pad;
        let vertical = axis(0, pool.h, pool.h_out(), top, bottom, over_h);
        let horizontal = axis(1, pool.w, pool.w_out(), left, right, over_w);
        let (per_image, channels) = maps(&pool, layout);
        let maps = pool.n * per_image;
        // A task is some maps, or some rows of one where there are few.
        let parts = if cx.threads == 1 { 1 } else { 4 * cx.threads };
        let split = parts.div_ceil(maps).min(pool.h_out());
        let (task_maps, task_rows) = match cx.tuning.mc {
            Some(rows) => (1, rows.min(pool.h_out())),
            None if split > 1 => (1, pool.h_out().div_ceil(split)),
            None => (maps.div_ceil(parts), pool.h_out()),
        };
        let (lanes, tasks, scratch) = match layout {
            Layout::Nchw if pool.w_out() < narrow(cx.isa.isa()) => {
                let parts = parts.div_ceil(maps.div_ceil(CHANNEL_BLOCK));
                let most = cx.tuning.mc.unwrap_or(pool.h_out().div_ceil(parts));
                let (height, bands) = bands(&vertical, &horizontal, most, cx.caches.l2 / 4);
                let rows = bands.iter().map(|band| band.rows.len()).max().unwrap_or(0);
                let floats = (rows * pool.w + height * pool.w_out()) * CHANNEL_BLOCK;
                (Lanes::Maps(bands), (CHANNEL_BLOCK, height), floats)
            }
            Layout::Nchw => {
                let scales = column_scales(&horizontal);
                let floats = scratch_len(horizontal.window());
                (Lanes::Pixels { scales }, (task_maps, task_rows), floats)
            }
            _ => (Lanes::Channels, (task_maps, task_rows), 0),
        };
        // Maps that fill up the last block are folded, too.
        let folded = match lanes {
            Lanes::Maps(_) => maps.next_multiple_of(CHANNEL_BLOCK),
            _ => maps * channels,
        };
        let executed = folded * elements_inside(&vertical) * elements_inside(&horizontal);
        PoolPlan {
            spec: spec(problem, layout, CacheLine::for_f32s(scratch), executed, cx),
            work,
            vertical,
            horizontal,
            maps,
            channels,
            task_maps: tasks.0,
            task_rows: tasks.1,
            lanes,
            isa: cx.isa,
        }
    }
}

/// Input positions that all windows of an axis cover.
fn elements_inside(axis: &Axis) -> usize {
    axis.spans().iter().map(|span| span.len).sum()
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
                        Lanes::Channels => self.isa.dispatch(PoolPixels {
                            maps,
                            channels: self.channels,
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
    /// A band of up to 16 plain maps.
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
        let (channels, outputs) = (out.rows(), out.len());
        let pixels = band.rows.len() * width;
        let (input, rest) = scratch.split_at_mut(pixels * CHANNEL_BLOCK);
        let output = &mut rest[..outputs * CHANNEL_BLOCK];
        if self.isa.moves_data() {
            self.isa.dispatch(Transpose {
                src: Rows::new(&maps[band.rows.start * width..], channels, pixels, map),
                dst: RowsMut::new(input, CHANNEL_BLOCK),
            });
        }
        self.isa.dispatch(PoolPixels {
            maps: input,
            channels: CHANNEL_BLOCK,
            vertical: &band.vertical,
            horizontal: &self.horizontal,
            first: 0,
            out: RowsMut::new(output, outputs * CHANNEL_BLOCK),
            reduce,
        });
        if self.isa.moves_data() {
            self.isa.dispatch(Transpose {
                src: Rows::new(output, outputs, channels, CHANNEL_BLOCK),
                dst: out,
            });
        }
    }
}

struct GlobalPlan {
    spec: PlanSpec,
    layout: Layout,
    /// Maps of the batch, and their channels.
    maps: usize,
    channels: usize,
    /// Floats of a map.
    map: usize,
    /// Means in a task.
    task: usize,
    isa: IsaToken,
}

impl GlobalPlan {
    fn new(problem: &Problem, pool: PoolShape, layout: Layout, cx: &PlanCx<'_>) -> Self {
        let (per_image, channels) = maps(&pool, layout);
        let maps = pool.n * per_image;
        let map = pool.h * pool.w * channels;
        // Whole lines of means.
        let means = maps * channels;
        let parts = if cx.threads == 1 { 1 } else { 2 * cx.threads };
        let task = means.div_ceil(parts).next_multiple_of(CacheLine::F32S);
        GlobalPlan {
            spec: spec(problem, layout, 0, maps * map, cx),
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
