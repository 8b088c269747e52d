//! The first convolution of a network fused with the max pooling after it, in strips of rows. The tensor between them
//! is the largest of many networks (ResNet's 64 maps of 112x112, 3.2 MB). Here it never leaves L2.
//!
//! A task is a range of pooled rows, computed in strips of a few rows (`algo/rows.rs`). For each strip, the
//! convolution's rows that its windows cover are computed into the worker's scratch, in NCHW16c. Rows that the previous
//! strip computed (one of three, for windows of 3 rows with stride 2) are moved to the start of the scratch.
//!
//! The convolution is that of [`super::image`]: input rows are copied, channels innermost, with their padding.
//!
//! The gain is small, since such convolutions are compute bound. On several threads, rows at the border of two tasks
//! are computed twice. Winograd's algorithm on the image's phases ([`super::winograd`]) needs fewer operations and is
//! faster. (Measured: docs/measurements.md, 'fused stem'.)

use super::image::{MOST_CHANNELS, Strip, suits};
use super::panels::PanelLoop;
use super::rows::{RowWindows, Step, task_rows};
use crate::blocking::RegisterTile;
use crate::cost::{Accuracy, Cost, Efficiency};
use crate::exec::{Executor, Grid, RowsMut, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::fold::Reduce;
use crate::micro::gemm::{Prefetch, Source, TileEpilogue};
use crate::micro::indirection::IndirectionBuffer;
use crate::micro::outputs::Blocked;
use crate::micro::pack::Panels;
use crate::micro::pixels::PixelOffsets;
use crate::micro::pool::PoolPixels;
use crate::micro::windows::Axis;
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Layouts, Params, Plan, PlanCx, PlanSpec, RunArgs,
    Target, Unsupported, f32_layer,
};
use crate::problem::{ConvPoolShape, PoolKind, PoolShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use crate::window::Window;
use std::collections::BTreeSet;

/// Fused convolution of an image and max pooling.
#[derive(Debug)]
pub struct DirectMaxPool;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "direct-maxpool",
    summary: "direct convolution of an image with up to 4 channels, max pooled in strips of rows, into NCHW16c",
    isas: &Isa::F32,
    accuracy: Accuracy::Sum,
};

impl Algorithm for DirectMaxPool {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        Ok(Box::new(StemPlan::new(problem, stem(problem)?, cx)?))
    }
}

/// Convolution and pooling of the problem, if the kernel supports them.
fn stem(problem: &Problem) -> Result<ConvPoolShape, Unsupported> {
    let stem = *f32_layer::<ConvPoolShape>(problem)?;
    if problem.epilogue.residual {
        return Err(Unsupported::new("no residual is added between the two"));
    }
    if stem.pool().kind != PoolKind::Max {
        return Err(Unsupported::new("pools maxima only"));
    }
    suits(stem.conv())?;
    Ok(stem)
}

impl StemPlan {
    fn new(problem: &Problem, stem: ConvPoolShape, cx: &Target<'_>) -> Result<Self, Unsupported> {
        let (conv, pool) = (stem.conv(), stem.pool());
        let strip = Strip::of(conv);
        let tile = RegisterTile::of(cx.isa.isa());
        let table_bytes = cx.tables(Panels::bytes(conv, tile))?;
        let panels = Panels::new(conv, tile).with_joined_taps(conv.kernel[0] * conv.kernel[1]);
        let blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        let row = conv.w_out() * CHANNEL_BLOCK;
        let windows = RowWindows {
            rows: conv.h_out(),
            kernel: pool.kernel[0],
            stride: pool.stride[0],
            dilation: pool.dilation[0],
            above: pool.pad.top,
        };
        // The strip's rows take a third of L2.
        let fit = windows.rows_out(cx.caches.l2 / 3 / (blocks * row * size_of::<f32>()));
        let strip_rows = cx.tuning.mc.unwrap_or(fit).min(pool.h_out());
        let task_rows = task_rows(pool.h_out(), conv.n, cx.threads);
        let steps = pool.h_out().div_ceil(strip_rows) + pool.h_out().div_ceil(task_rows);
        let spans = Axis::bytes(pool.w_out()) + Axis::bytes(pool.h_out());
        let table_bytes = cx.tables(table_bytes + steps * size_of::<PoolStep>() + spans)?;
        let steps = |steps: Vec<Step>| steps.into_iter().map(|step| PoolStep::new(pool, step));
        let tasks = windows.tasks(pool.h_out(), task_rows, strip_rows);
        let tasks: Vec<Vec<PoolStep>> = tasks.map(|task| steps(task).collect()).collect();
        let all = || tasks.iter().flatten().map(|step| &step.rows);
        let rows = all().map(|step| step.rows.len()).max().unwrap_or(0);
        let most = all().map(|step| step.new.len()).max().unwrap_or(0).max(1);
        let w_out = conv.w_out();
        // Numbers of rows that steps compute.
        let made: BTreeSet<usize> = all().map(|step| step.new.len()).collect();
        let made: Vec<usize> = made.into_iter().filter(|&rows| rows > 0).collect();
        let pixels = made.iter().sum::<usize>() * w_out;
        let input_rows = strip.input_rows(0..most).len();
        strip.offsets_fit(input_rows)?;
        let of_buffer = IndirectionBuffer::bytes(1, pixels, most * w_out);
        let table_bytes = cx.tables(table_bytes + of_buffer)?;
        let blocks_of = made.iter().map(|rows| 0..rows * w_out);
        let buffer = IndirectionBuffer::new(1, pixels, blocks_of, tile.pixels, |_| {
            move |pixel| strip.offset(pixel, 0..0)
        })?;
        let computed: usize = all().map(|step| step.new.len() * w_out).sum();
        let (input, between) = (input_rows * strip.row, blocks * rows * row);
        let spec = PlanSpec {
            problem: *problem,
            layouts: Layouts {
                src: Layout::Nchw,
                dst: Layout::NCHW16C,
            },
            packed_lines: panels.lines(),
            workspace_lines_per_worker: CacheLine::for_f32s(input) + CacheLine::for_f32s(between),
            table_bytes,
            threads: cx.threads,
            granularity: Granularity {
                c_in: MOST_CHANNELS,
                c_out: CHANNEL_BLOCK * tile.blocks,
                h_out: 3,
                w_out: 4,
                ..Granularity::default()
            },
            cost: Cost::new(problem, executed(&stem, computed, &panels)),
            efficiency: Efficiency::usual(&problem.op),
        };
        Ok(StemPlan {
            spec,
            horizontal: Axis::new(columns(pool), true),
            stem,
            strip,
            panels,
            buffer,
            made,
            tasks,
            task_rows,
            rows,
            input,
            isa: cx.isa,
        })
    }
}

/// Operations executed, if the convolution computes `computed` pixels of each image.
fn executed(stem: &ConvPoolShape, computed: usize, panels: &Panels) -> u64 {
    let (conv, pool) = (stem.conv(), stem.pool());
    let window = pool.kernel[0] * pool.kernel[1];
    let channels = conv.c_out.next_multiple_of(CHANNEL_BLOCK);
    let pooled = channels * pool.h_out() * pool.w_out() * window;
    let convolved = (computed as u64).saturating_mul(panels.flops_per_tap());
    convolved
        .saturating_add(pooled as u64)
        .saturating_mul(conv.n as u64)
}

/// Horizontal axis of a pooling's windows.
fn columns(pool: &PoolShape) -> Window {
    Window {
        size: pool.w,
        out: pool.w_out(),
        kernel: pool.kernel[1],
        stride: pool.stride[1],
        dilation: pool.dilation[1],
        before: pool.pad.left,
        counted: None,
    }
}

/// A strip of pooled rows.
struct PoolStep {
    rows: Step,
    /// RowWindows of the strip, over its own rows.
    vertical: Axis,
}

impl PoolStep {
    fn new(pool: &PoolShape, rows: Step) -> Self {
        // Numbered from the first row of the padding.
        let top = rows.out.start * pool.stride[0];
        let window = Window {
            size: rows.rows.len(),
            out: rows.out.len(),
            kernel: pool.kernel[0],
            stride: pool.stride[0],
            dilation: pool.dilation[0],
            before: rows.rows.start + pool.pad.top - top,
            counted: None,
        };
        PoolStep {
            vertical: Axis::new(window, true),
            rows,
        }
    }
}

struct StemPlan {
    spec: PlanSpec,
    stem: ConvPoolShape,
    strip: Strip,
    panels: Panels,
    /// Positions of pixels in a strip of the input, for each number of rows that a step computes.
    buffer: IndirectionBuffer,
    /// These numbers, in ascending order.
    made: Vec<usize>,
    horizontal: Axis,
    /// Steps of each task of an image.
    tasks: Vec<Vec<PoolStep>>,
    /// Pooled rows per task.
    task_rows: usize,
    /// Maximum convolution rows of a step.
    rows: usize,
    /// Floats of a strip of the input.
    input: usize,
    isa: IsaToken,
}

impl Plan for StemPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        self.panels.pack(self.stem.conv(), params, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let (conv, pool) = (self.stem.conv(), self.stem.pool());
        let blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        let row = pool.w_out() * CHANNEL_BLOCK;
        let image = io.src.len() / conv.n;
        let grid = Grid {
            rows: conv.n * blocks,
            cols: pool.h_out() * row,
            block_rows: blocks,
            block_cols: self.task_rows * row,
            band: blocks,
        };
        let (src, packed) = (io.src, io.packed);
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, mut out, scratch| {
                let image = &src[at.row / blocks * image..][..image];
                let (input, between) = scratch.split_at_mut(CacheLine::for_f32s(self.input));
                let (input, between) = (as_f32s_mut(input), as_f32s_mut(between));
                let first = at.col / row;
                for step in &self.tasks[first / self.task_rows] {
                    self.convolve(&step.rows, image, packed, input, between);
                    let Step {
                        out: pooled, rows, ..
                    } = &step.rows;
                    let pooled = pooled.start - first..pooled.end - first;
                    let cols = pooled.start * row..pooled.end * row;
                    let map = self.rows * conv.w_out() * CHANNEL_BLOCK;
                    for (block, map) in between.chunks_exact(map).take(blocks).enumerate() {
                        self.isa.dispatch(PoolPixels {
                            maps: &map[..rows.len() * conv.w_out() * CHANNEL_BLOCK],
                            channels: CHANNEL_BLOCK,
                            strip: usize::MAX,
                            vertical: &step.vertical,
                            horizontal: &self.horizontal,
                            first: 0,
                            out: out.part(block..block + 1, cols.clone()),
                            reduce: Reduce::Max,
                        });
                    }
                }
            },
        );
    }
}

impl StemPlan {
    /// Provides the rows of a step: moves those that the previous step computed, and computes the others. `between` has
    /// a map of `self.rows` rows for each block of channels.
    fn convolve(
        &self,
        step: &Step,
        image: &[f32],
        packed: &[f32],
        input: &mut [f32],
        between: &mut [f32],
    ) {
        let conv = self.stem.conv();
        let blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        let row = conv.w_out() * CHANNEL_BLOCK;
        let map = self.rows * row;
        let between = &mut between[..blocks * map];
        if self.isa.moves_data() {
            step.keep(between.chunks_exact_mut(map), row);
        }
        if step.new.is_empty() {
            return;
        }
        let rows = self.strip.input_rows(step.new.clone());
        let copied = &mut input[..rows.len() * self.strip.row];
        if self.isa.moves_data() {
            self.strip.copy(image, rows, copied);
        }
        let src = Source {
            data: copied,
            block: conv.kernel[1] * conv.c_in,
            block_stride: conv.dilation[0] * self.strip.row,
        };
        let which = self.made.binary_search(&step.new.len());
        let pixels = self.buffer.block(which.expect("a planned step"));
        let pixels = PixelOffsets::Indirect(pixels);
        let task = PanelLoop {
            isa: self.isa,
            panels: self.panels.all(),
            packed,
            epilogue: TileEpilogue {
                relu: self.spec.problem.epilogue.relu,
                ..TileEpilogue::default()
            },
            prefetch: Prefetch::Nothing.into(),
        };
        let made = step.kept() * row..step.rows.len() * row;
        let mut between = RowsMut::new(between, map);
        task.multiply::<Blocked, _>(src, pixels, between.part(0..blocks, made));
    }
}
