//! Shared parts of the GEMM-shaped convolutions whose tiles hold pixels by channels (NCHW16c and NHWC).
//! These are panels of weights, and blocks of pixels spread over tasks.

use super::panels::{PanelLoop, PanelPrefetch};
use crate::blocking::{Blocking, GemmShape, RegisterTile, part, preparations};
use crate::cost::{Cost, Efficiency};
use crate::exec::{Grid, RowsMut, Sharing, par_rows_sharing};
use crate::isa::IsaToken;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{Source, TileEpilogue};
use crate::micro::indirection::IndirectionBuffer;
use crate::micro::outputs::OutputLayout;
use crate::micro::pack::Panels;
use crate::micro::pixels::Pixels;
use crate::phase::{Phase, PhaseCost};
use crate::plan::{Granularity, Layouts, Params, PlanSpec, RunArgs, Target, Unsupported};
use crate::problem::{ConvShape, Problem};
use crate::tensor::{CacheLine, Layout};
use std::ops::Range;

/// Refuses images whose offsets don't fit into 32 bits.
pub(super) fn offsets_fit(conv: &ConvShape) -> Result<(), Unsupported> {
    if conv.h * conv.w * conv.c_in.next_multiple_of(CHANNEL_BLOCK) >= u32::MAX as usize {
        return Err(Unsupported::new("an image of 2^32 elements or more"));
    }
    Ok(())
}

/// Minimum output channels for a copy of pixels on NHWC that map to one set of L1.
const COPIED_ROWS_FOR: usize = 128;

/// Bytes between lines that map to the same set of L1: 32 KB in 8 ways, 48 KB in 12, 64 KB in 16.
const L1_WAY: usize = 4096;
const L1_WAYS: usize = 8;

/// Tells if a 1x1 convolution on NHWC gains by a copy of its pixels. They are `apart` bytes apart, and the copies one more
/// line, so that they don't map to one set of L1.
pub(super) fn copies_rows(apart: usize, pixels: usize, outputs: usize) -> bool {
    apart.is_multiple_of(L1_WAY) && pixels > L1_WAYS && outputs >= COPIED_ROWS_FOR
}

/// Convolution whose output has the layout of its input, cut into blocks. A plan may convert its input first.
pub(super) struct BlockedConv {
    pub(super) conv: ConvShape,
    pub(super) tile: RegisterTile,
    pub(super) panels: Panels,
    pub(super) blocking: Blocking,
    layout: Layout,
    problem: Problem,
    isa: IsaToken,
    threads: usize,
    /// Bytes of the list of panels, and of the tables added to it ([`BlockedConv::add_tables`]).
    table_bytes: usize,
}

impl BlockedConv {
    /// Derives panels and blocks. `layout` is NCHW16c or NHWC.
    ///
    /// `bytes_per_pixel` is the cache space that the inputs of one output pixel take.
    pub(super) fn new(
        problem: &Problem,
        conv: &ConvShape,
        layout: Layout,
        bytes_per_pixel: usize,
        cx: &Target<'_>,
    ) -> Result<Self, Unsupported> {
        offsets_fit(conv)?;
        let widest = RegisterTile::of(cx.isa.isa());
        let table_bytes = cx.tables(Panels::bytes(conv, widest))?;
        let tile = Panels::tile(conv, widest);
        let panels = Panels::new(conv, tile);
        let weight_bytes = panels.lines() * CacheLine::BYTES;
        let shape = GemmShape {
            pixels: conv.h_out() * conv.w_out(),
            images: conv.n,
            out_blocks: conv.c_out.div_ceil(CHANNEL_BLOCK),
            bytes_per_pixel,
            weight_bytes,
            panel_bytes: weight_bytes / panels.all().len(),
        };
        let blocking = Blocking::derive(&shape, tile, cx.caches, cx.threads, cx.tuning);
        let (conv, problem, isa, threads) = (*conv, *problem, cx.isa, cx.threads);
        Ok(BlockedConv {
            conv,
            tile,
            panels,
            blocking,
            layout,
            problem,
            isa,
            threads,
            table_bytes,
        })
    }

    /// Adds bytes of tables, or refuses if the tables become too large ([`Target::tables`]).
    pub(super) fn add_tables(&mut self, bytes: usize, cx: &Target<'_>) -> Result<(), Unsupported> {
        self.table_bytes = cx.tables(self.table_bytes + bytes)?;
        Ok(())
    }

    /// Adds the bytes of an indirection buffer of all pixels with `taps` taps each ([`BlockedConv::add_tables`]).
    pub(super) fn add_buffer(&mut self, taps: usize, cx: &Target<'_>) -> Result<(), Unsupported> {
        let bytes = IndirectionBuffer::bytes(taps, self.pixels(), self.blocking.mc);
        self.add_tables(bytes, cx)
    }

    /// Output pixels of an image.
    pub(super) fn pixels(&self) -> usize {
        self.conv.h_out() * self.conv.w_out()
    }

    /// Elements from an input pixel to the next.
    pub(super) fn pixel_stride(&self) -> usize {
        match self.layout {
            Layout::Nhwc => self.conv.c_in,
            _ => CHANNEL_BLOCK,
        }
    }

    /// Channels of an image, addressed for the tile.
    pub(super) fn source<'a>(&self, image: &'a [f32]) -> Source<'a> {
        Source {
            data: image,
            block: self.pixel_stride(),
            // Elements from one block of channels to the next. NHWC has a single block.
            block_stride: self.conv.h * self.conv.w * self.pixel_stride(),
        }
    }

    /// The pixel blocks of an image.
    pub(super) fn pixel_blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (all, mc) = (self.pixels(), self.blocking.mc);
        (0..all)
            .step_by(mc)
            .map(move |start| start..(start + mc).min(all))
    }

    /// Spec of a plan. It computes `computed` (pixel, tap) pairs of each image, and each worker has `workspace_lines`
    /// of scratch.
    pub(super) fn spec(&self, computed: usize, workspace_lines: usize) -> PlanSpec {
        let executed = self.conv.n as u64 * computed as u64 * self.panels.flops_per_tap();
        PlanSpec {
            problem: self.problem,
            layouts: Layouts {
                src: self.layout,
                dst: self.layout,
            },
            packed_lines: self.panels.lines(),
            workspace_lines_per_worker: workspace_lines,
            table_bytes: self.table_bytes,
            threads: self.threads,
            granularity: Granularity {
                c_in: CHANNEL_BLOCK,
                c_out: CHANNEL_BLOCK * self.tile.blocks,
                pixels: self.tile.pixels,
                ..Granularity::default()
            },
            cost: Cost::new(&self.problem, executed),
            efficiency: Efficiency::usual(&self.problem.op),
        }
    }

    /// Costs of copying the input and of the product. A task copies its pixels once, and reads the copy once for each
    /// panel.
    ///
    /// `read` is the floats of an image, and `copied` is the floats of the copy of one output pixel.
    pub(super) fn copied_phases(
        &self,
        spec: &PlanSpec,
        read: usize,
        copied: usize,
    ) -> [PhaseCost; 2] {
        let (n, pixels) = (self.conv.n, self.pixels());
        let out_blocks = self.conv.c_out.div_ceil(CHANNEL_BLOCK);
        let tasks = pixels.div_ceil(self.blocking.mc) * n;
        let groups = out_blocks.div_ceil(self.blocking.out_blocks);
        let copies = preparations(tasks, groups, self.threads);
        let floats = |count: usize| (size_of::<f32>() * count) as u64;
        let in_all = |once: u64| part(once, copies as u64, tasks as u64);
        let copy = floats(n * pixels * copied);
        let output = floats(n * pixels * out_blocks * CHANNEL_BLOCK);
        let added = u64::from(spec.problem.epilogue.residual);
        let weights = (tasks * spec.packed_lines * CacheLine::BYTES) as u64;
        [
            PhaseCost {
                read: in_all(floats(n * read)),
                scratch_written: in_all(copy),
                ..PhaseCost::new(Phase::Pack, 0)
            },
            PhaseCost {
                read: weights + added * output,
                written: output,
                scratch_read: self.panels.all().len() as u64 * copy,
                ..PhaseCost::new(Phase::Multiply, spec.cost.flops_executed)
            },
        ]
    }

    pub(super) fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine]) {
        self.panels.pack(&self.conv, params, packed);
    }

    /// Division of the output into tasks. Consecutive tasks share their pixels.
    fn grid(&self) -> (Grid, Sharing) {
        let (n, pixels, mc) = (self.conv.n, self.pixels(), self.blocking.mc);
        let out_blocks = self.conv.c_out.div_ceil(CHANNEL_BLOCK);
        let block_channels = self.blocking.out_blocks.min(out_blocks);
        match self.layout {
            Layout::Nhwc => {
                let grid = Grid {
                    rows: n * pixels,
                    cols: self.conv.c_out,
                    block_rows: mc,
                    block_cols: block_channels * CHANNEL_BLOCK,
                    band: pixels,
                };
                (grid, Sharing::Rows)
            }
            _ => {
                let grid = Grid {
                    rows: n * out_blocks,
                    cols: pixels * CHANNEL_BLOCK,
                    block_rows: block_channels,
                    block_cols: mc * CHANNEL_BLOCK,
                    band: out_blocks,
                };
                (grid, Sharing::Columns)
            }
        }
    }

    /// Output pixels and channel blocks of some rows and columns of an image's output.
    fn part(&self, rows: Range<usize>, cols: Range<usize>) -> (Range<usize>, Range<usize>) {
        let cols = cols.start / CHANNEL_BLOCK..cols.end.div_ceil(CHANNEL_BLOCK);
        match self.layout {
            Layout::Nhwc => (rows, cols),
            _ => (cols, rows),
        }
    }

    /// Calls `work` for each block of pixels and output channels, with the worker's scratch.
    pub(super) fn each_block(
        &self,
        spec: &PlanSpec,
        args: RunArgs<'_>,
        work: impl Fn(BlockTask<'_, '_>, &mut [CacheLine]) + Sync,
    ) {
        let mut io = args.check(spec);
        let (grid, sharing) = self.grid();
        let image = io.src.len() / self.conv.n;
        par_rows_sharing(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            sharing,
            io.workspace,
            |at, out, scratch| {
                let (n, row) = (at.row / grid.band, at.row % grid.band);
                let (pixels, blocks) = self.part(row..row + out.rows(), at.col..at.col + out.len());
                let prefetch = PanelPrefetch::of_task(&self.blocking, pixels.len(), self.tile);
                let panels = PanelLoop {
                    isa: self.isa,
                    panels: self.panels.of_blocks(blocks),
                    packed: io.packed,
                    epilogue: TileEpilogue {
                        pixel_bias: None,
                        residual: io.residual.map(|r| &r[at.row * grid.cols + at.col..]),
                        relu: self.problem.epilogue.relu,
                    },
                    // Later tasks of the same pixels find the inputs in the caches.
                    prefetch: if at.scratch_is_stale {
                        prefetch
                    } else {
                        prefetch.others.into()
                    },
                };
                let task = BlockTask {
                    image: &io.src[n * image..(n + 1) * image],
                    index: pixels.start / self.blocking.mc,
                    pixels,
                    copies: at.scratch_is_stale && self.isa.moves_data(),
                    panels,
                    out,
                };
                work(task, scratch);
            },
        );
    }
}

/// One task: a block of pixels and some panels.
pub(super) struct BlockTask<'a, 'o> {
    /// The image of the source.
    pub(super) image: &'a [f32],
    /// Index of the block among the image's blocks of pixels.
    pub(super) index: usize,
    /// The output pixels, numbered row by row.
    pub(super) pixels: Range<usize>,
    /// The task must copy its inputs into scratch, if its plan copies inputs. Tasks of the same pixels share one copy.
    pub(super) copies: bool,
    panels: PanelLoop<'a>,
    out: RowsMut<'o, f32>,
}

impl BlockTask<'_, '_> {
    /// Multiplies the pixels with every panel of the task. The output has the layout `L`.
    pub(super) fn multiply<L: OutputLayout<I::Place>, I: Pixels>(self, src: Source<'_>, pixels: I) {
        self.panels.multiply::<L, I>(src, pixels, self.out);
    }
}
