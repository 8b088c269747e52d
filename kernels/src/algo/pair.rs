//! A 1x1 convolution fused with the convolution after it, in strips of rows. These are the first two layers of ResNet's
//! bottleneck. No other layer reads the tensor between them (64 maps of 56x56, 0.8 MB). Here it never leaves L2.
//!
//! A task is a range of output rows, computed in strips of a few rows (`algo/rows.rs`). For each strip, the
//! intermediate rows that its windows read are computed into the worker's scratch, in NCHW16c. Rows that the previous
//! strip computed (two for a 3x3 filter) are moved to the start of the scratch. The second convolution reads them
//! through an indirection buffer of the strip's own rows, so padding is skipped as in [`super::direct`].
//!
//! Each strip reads the weights of both convolutions again. If these are larger than the intermediate tensor, two
//! separate layers are faster.
//!
//! The gain is small. On several threads, rows at the border of two tasks are computed twice. (Measured:
//! docs/measurements.md, 'fused pair'.)

use super::blocked::offsets_fit;
use super::gemm_1x1::conv_1x1;
use super::panels::PanelLoop;
use super::rows::{RowWindows, Step, task_rows};
use crate::blocking::{MemoryLevel, RegisterTile};
use crate::cost::Accuracy;
use crate::exec::{Executor, Grid, RowsMut, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{Prefetch, Source, TileEpilogue};
use crate::micro::indirection::IndirectionBuffer;
use crate::micro::outputs::{Blocked, OutputLayout};
use crate::micro::pack::Panels;
use crate::micro::pixels::{BlockedPixels, PixelOffsets, Pixels};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Params, Plan, PlanCx, PlanSpec, RunArgs, Target,
    Unsupported, f32_layer,
};
use crate::problem::{ConvPairShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};

/// Fused 1x1 and direct convolution.
#[derive(Debug)]
pub struct Gemm1x1Direct;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "gemm-1x1-direct",
    summary: "1x1 convolution and the direct convolution behind it in strips of rows, on NCHW16c",
    isas: &Isa::F32,
    accuracy: Accuracy::Sum,
};

impl Algorithm for Gemm1x1Direct {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        Ok(Box::new(PairPlan::new(problem, pair(problem)?, cx)?))
    }
}

/// Both convolutions of the problem, if the kernel supports them.
fn pair(problem: &Problem) -> Result<ConvPairShape, Unsupported> {
    let pair = *f32_layer::<ConvPairShape>(problem)?;
    let (first, second) = (pair.first(), pair.second());
    conv_1x1(&Problem::from(*first))?;
    if first.stride != [1, 1] {
        return Err(Unsupported::new("the first convolution has a stride"));
    }
    if first.groups * second.groups != 1 {
        return Err(Unsupported::new("takes no groups"));
    }
    offsets_fit(first)?;
    offsets_fit(second)?;
    Ok(pair)
}

impl PairPlan {
    fn new(problem: &Problem, pair: ConvPairShape, cx: &Target<'_>) -> Result<Self, Unsupported> {
        let (first, second) = (pair.first(), pair.second());
        let tile = RegisterTile::of(cx.isa.isa());
        let table_bytes = Panels::bytes(first, tile) + Panels::bytes(second, tile);
        let table_bytes = cx.tables(table_bytes)?;
        let panels = [Panels::new(first, tile), Panels::new(second, tile)];
        let between = first.c_out.div_ceil(CHANNEL_BLOCK);
        let row = second.w * CHANNEL_BLOCK;
        let windows = RowWindows {
            rows: second.h,
            kernel: second.kernel[0],
            stride: second.stride[0],
            dilation: second.dilation[0],
            above: second.pad.top,
        };
        // The intermediate rows take a third of L2.
        let fit = windows.rows_out(cx.caches.l2 / 3 / (between * row * size_of::<f32>()));
        let (h_out, w_out) = (second.h_out(), second.w_out());
        let strip = cx.tuning.mc.unwrap_or(fit).min(h_out);
        let task_rows = task_rows(h_out, second.n, cx.threads);
        let steps = h_out.div_ceil(strip) + h_out.div_ceil(task_rows);
        let taps = second.kernel[0] * second.kernel[1];
        let of_buffer = IndirectionBuffer::bytes(taps, h_out * w_out, strip * w_out);
        let table_bytes = cx.tables(table_bytes + steps * size_of::<Step>() + of_buffer)?;
        let tasks: Vec<Vec<Step>> = windows.tasks(h_out, task_rows, strip).collect();
        let all = || tasks.iter().flatten();
        let blocks = all().map(|step| {
            let pixels = step.out.start * w_out..step.out.end * w_out;
            (pixels, step.rows.start)
        });
        let buffer = IndirectionBuffer::of_rows(second, blocks, tile.pixels, CHANNEL_BLOCK)?;
        let rows = all().map(|step| step.rows.len().max(1)).max().unwrap_or(1);
        // Rows at the borders of tasks are computed twice.
        let computed: usize = all().map(|step| step.new.len() * first.w).sum();
        let of_both = [computed, buffer.computed()].into_iter().zip(&panels);
        let executed = of_both
            .map(|(taps, panels)| (taps as u64).saturating_mul(panels.flops_per_tap()))
            .fold(0, u64::saturating_add)
            .saturating_mul(second.n as u64);
        let lines: usize = panels.iter().map(Panels::lines).sum();
        let spec = PlanSpec {
            packed_lines: lines,
            workspace_lines_per_worker: CacheLine::for_f32s(between * rows * row),
            table_bytes,
            granularity: Granularity {
                c_in: CHANNEL_BLOCK,
                c_out: CHANNEL_BLOCK * tile.blocks,
                pixels: tile.pixels,
                ..Granularity::default()
            },
            ..PlanSpec::new(problem, Layout::NCHW16C, cx, executed)
        };
        Ok(PairPlan {
            spec,
            weights: cx.caches.level_of(lines * CacheLine::BYTES),
            pair,
            tile,
            panels,
            buffer,
            tasks,
            task_rows,
            rows,
            isa: cx.isa,
        })
    }
}

struct PairPlan {
    spec: PlanSpec,
    pair: ConvPairShape,
    tile: RegisterTile,
    /// Panels of both convolutions. The second's follow the first's.
    panels: [Panels; 2],
    /// Positions of the second convolution's taps in the rows of each step, task by task.
    buffer: IndirectionBuffer,
    /// Steps of each task of an image.
    tasks: Vec<Vec<Step>>,
    /// Output rows per task.
    task_rows: usize,
    /// Maximum intermediate rows of a step.
    rows: usize,
    /// Memory level that the weights are read from.
    weights: MemoryLevel,
    isa: IsaToken,
}

impl Plan for PairPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let (first, second) = packed.split_at_mut(self.panels[0].lines());
        let params = params.of_pair(&self.pair);
        self.panels[0].pack(self.pair.first(), params[0], first);
        self.panels[1].pack(self.pair.second(), params[1], second);
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let (first, second) = (self.pair.first(), self.pair.second());
        let out_blocks = second.c_out.div_ceil(CHANNEL_BLOCK);
        let between_blocks = first.c_out.div_ceil(CHANNEL_BLOCK);
        let w_out = second.w_out();
        let (row, row_out) = (second.w * CHANNEL_BLOCK, w_out * CHANNEL_BLOCK);
        let map = self.rows * row;
        let image = io.src.len() / first.n;
        let pixels = second.h_out() * w_out;
        let grid = Grid::of_pixels(second.n, out_blocks, pixels, self.task_rows * w_out);
        let (src, residual) = (io.src, io.residual);
        let packed = io.packed.split_at(self.panels[0].lines() * CacheLine::F32S);
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, mut out, scratch| {
                let image = &src[at.row / out_blocks * image..][..image];
                let between = &mut as_f32s_mut(scratch)[..between_blocks * map];
                let top = at.col / row_out;
                let task = top / self.task_rows;
                let before: usize = self.tasks[..task].iter().map(Vec::len).sum();
                let residual = residual.map(|r| &r[at.row * grid.cols + at.col..]);
                for (index, step) in self.tasks[task].iter().enumerate() {
                    if self.isa.moves_data() {
                        step.keep(between.chunks_exact_mut(map), row);
                    }
                    if !step.new.is_empty() {
                        let new = step.kept() * row..step.rows.len() * row;
                        let src = Source {
                            data: &image[step.new.start * row..],
                            block: CHANNEL_BLOCK,
                            block_stride: first.h * row,
                        };
                        let pixels = BlockedPixels {
                            pixels: step.new.len() * first.w,
                        };
                        let mut rows = RowsMut::new(between, map);
                        let new = rows.part(0..between_blocks, new);
                        self.multiply(0, src, pixels, packed.0, None, new);
                    }
                    let src = Source {
                        data: between,
                        block: CHANNEL_BLOCK,
                        block_stride: map,
                    };
                    let pixels = PixelOffsets::Indirect(self.buffer.block(before + index));
                    let cols = (step.out.start - top) * row_out..(step.out.end - top) * row_out;
                    let residual = residual.map(|r| &r[cols.start..]);
                    let out = out.part(0..out_blocks, cols);
                    self.multiply(1, src, pixels, packed.1, residual, out);
                }
            },
        );
    }
}

impl PairPlan {
    /// Multiplies the pixels of a strip by every panel of the first (`which` = 0) or second convolution (1).
    fn multiply<I: Pixels>(
        &self,
        which: usize,
        src: Source<'_>,
        pixels: I,
        packed: &[f32],
        residual: Option<&[f32]>,
        out: RowsMut<'_, f32>,
    ) where
        Blocked: OutputLayout<I::Place>,
    {
        let run = out.len() / CHANNEL_BLOCK;
        let task = PanelLoop {
            isa: self.isa,
            panels: self.panels[which].all(),
            packed,
            epilogue: TileEpilogue {
                residual,
                relu: self.spec.problem.epilogue.relu,
                ..TileEpilogue::default()
            },
            prefetch: Prefetch::of_weights(self.weights, run, self.tile.pixels).into(),
        };
        task.multiply::<Blocked, _>(src, pixels, out);
    }
}
