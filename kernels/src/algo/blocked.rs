//! What the GEMM-shaped convolutions that write NCHW16c share: panels of weights, blocks of pixels spread
//! over tasks, and the loop of a block over its panels.

use crate::blocking::{Blocking, CHANNEL_BLOCK, GemmShape, RegisterTile};
use crate::cost::Cost;
use crate::exec::{Grid, RowsMut, par_rows};
use crate::isa::IsaToken;
use crate::micro::gemm::{PanelTimesPixels, Pixels, Residual, Source};
use crate::micro::pack::{Panel, Panels};
use crate::plan::{Granularity, Layouts, Params, PlanCx, PlanSpec, RunArgs, Unsupported};
use crate::problem::{ConvShape, Problem};
use crate::tensor::{CacheLine, Layout};
use std::ops::Range;

/// A convolution from NCHW16c (or what a plan makes of it) to NCHW16c, cut into blocks.
pub(super) struct BlockedConv {
    pub(super) conv: ConvShape,
    pub(super) tile: RegisterTile,
    pub(super) panels: Panels,
    pub(super) blocking: Blocking,
    problem: Problem,
    isa: IsaToken,
    threads: usize,
}

impl BlockedConv {
    /// `bytes_per_pixel`: what an output pixel's input takes in the cache.
    pub(super) fn new(
        problem: &Problem,
        conv: &ConvShape,
        bytes_per_pixel: usize,
        cx: &PlanCx<'_>,
    ) -> Result<Self, Unsupported> {
        if conv.h * conv.w * conv.c_in.next_multiple_of(CHANNEL_BLOCK) >= u32::MAX as usize {
            return Err(Unsupported::new("an image of 2^32 elements or more"));
        }
        let tile = RegisterTile::of(cx.isa.isa());
        let panels = Panels::new(conv, tile);
        let shape = GemmShape {
            pixels: conv.h_out() * conv.w_out(),
            images: conv.n,
            out_blocks: conv.c_out.div_ceil(CHANNEL_BLOCK),
            bytes_per_pixel,
            weight_bytes: panels.lines() * CacheLine::BYTES,
        };
        let blocking = Blocking::derive(&shape, tile, cx.caches, cx.threads, cx.tuning);
        let (conv, problem, isa, threads) = (*conv, *problem, cx.isa, cx.threads);
        Ok(BlockedConv {
            conv,
            tile,
            panels,
            blocking,
            problem,
            isa,
            threads,
        })
    }

    /// Output pixels of an image.
    pub(super) fn pixels(&self) -> usize {
        self.conv.h_out() * self.conv.w_out()
    }

    /// Taps of the filter.
    pub(super) fn taps(&self) -> usize {
        self.conv.kernel[0] * self.conv.kernel[1]
    }

    /// Elements from one block of input channels to the next.
    pub(super) fn src_plane(&self) -> usize {
        self.conv.h * self.conv.w * CHANNEL_BLOCK
    }

    /// The pixel blocks of an image.
    pub(super) fn pixel_blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (all, mc) = (self.pixels(), self.blocking.mc);
        (0..all)
            .step_by(mc)
            .map(move |start| start..(start + mc).min(all))
    }

    /// The spec of a plan that computes `computed` (pixel, tap) pairs of each image and wants
    /// `workspace_lines` of scratch for each worker.
    pub(super) fn spec(&self, computed: usize, workspace_lines: usize) -> PlanSpec {
        let executed = self.conv.n as u64 * computed as u64 * self.panels.flops_per_tap();
        PlanSpec {
            problem: self.problem,
            layouts: Layouts {
                src: Layout::NCHW16C,
                dst: Layout::NCHW16C,
            },
            packed_lines: self.panels.lines(),
            workspace_lines_per_worker: workspace_lines,
            threads: self.threads,
            granularity: Granularity {
                c_in: CHANNEL_BLOCK,
                c_out: CHANNEL_BLOCK * self.tile.blocks,
                pixels: self.tile.pixels,
                ..Granularity::default()
            },
            cost: Cost::new(&self.problem, executed),
        }
    }

    pub(super) fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine]) {
        self.panels.pack(&self.conv, params, packed);
    }

    /// Calls `work` for each block of pixels and output channels, with the worker's scratch.
    pub(super) fn each_block(
        &self,
        spec: &PlanSpec,
        args: RunArgs<'_>,
        work: impl Fn(BlockTask<'_, '_>, &mut [CacheLine]) + Sync,
    ) {
        let mut io = args.check(spec);
        let out_blocks = self.conv.c_out.div_ceil(CHANNEL_BLOCK);
        let row = self.pixels() * CHANNEL_BLOCK;
        let image = io.src.len() / self.conv.n;
        let grid = Grid {
            rows: self.conv.n * out_blocks,
            cols: row,
            block_rows: self.blocking.out_blocks.min(out_blocks),
            block_cols: self.blocking.mc * CHANNEL_BLOCK,
            band: out_blocks,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, out, scratch| {
                let (n, block) = (at.row / out_blocks, at.row % out_blocks);
                let start = at.col / CHANNEL_BLOCK;
                let task = BlockTask {
                    image: &io.src[n * image..(n + 1) * image],
                    pixels: start..start + out.len() / CHANNEL_BLOCK,
                    panels: self.panels.of_blocks(block..block + out.rows()),
                    packed: io.packed,
                    relu: self.problem.epilogue.relu,
                    residual: io.residual.map(|r| Residual {
                        data: &r[at.row * row + at.col..],
                        row_stride: row,
                    }),
                    isa: self.isa,
                    out,
                };
                work(task, scratch);
            },
        );
    }
}

/// One task: a block of pixels against some panels.
pub(super) struct BlockTask<'a, 'o> {
    /// The source's image.
    pub(super) image: &'a [f32],
    /// The output pixels, rows joined.
    pub(super) pixels: Range<usize>,
    panels: &'a [Panel],
    packed: &'a [f32],
    relu: bool,
    residual: Option<Residual<'a>>,
    isa: IsaToken,
    out: RowsMut<'o, f32>,
}

impl BlockTask<'_, '_> {
    /// Multiplies the pixels with every panel of the task.
    pub(super) fn multiply<I: Pixels>(mut self, src: Source<'_>, pixels: I) {
        let (first, len) = (self.panels[0].block, self.out.len());
        for panel in self.panels {
            let row = panel.block - first;
            self.isa.dispatch(PanelTimesPixels {
                src,
                pixels,
                channels: panel.channels.clone(),
                panel: &self.packed[panel.floats.clone()],
                relu: self.relu,
                residual: self.residual.map(|r| Residual {
                    data: &r.data[row * r.row_stride..],
                    ..r
                }),
                out: self.out.part(row..row + panel.blocks, 0..len),
            });
        }
    }
}
