//! Winograd convolution F(m x m, 3 x 3) on NCHW16c, fused: a block of tiles is transformed,
//! multiplied and transformed back before the next, so that the transformed operands stay in L2.
//!
//! ```text
//! for a block of tile rows:                         (a task)
//!     V[point][c][tile] = B' d B                     input transform, all channels
//!     for a panel of output channels:
//!         for each of the t^2 points:  M[point] = V[point] * U[point]
//!         out = A' M A + bias, residual, ReLU        inverse transform
//! ```
//!
//! U = G g G' is transformed when the weights are packed. Tiles at the border read zeros where they
//! leave the input and drop what leaves the output; no padded copy is made.
//!
//! Each output costs (t / m)^2 multiplications in place of 9: 4 for F(2,3), 2.25 for F(4,3), but reads
//! t^2 / 9 times the weights. Errors grow with m; the points are chosen to keep them low (see
//! [`crate::micro::winograd`]).

use crate::arch::KernelSimd;
use crate::blocking::{CHANNEL_BLOCK, RegisterTile};
use crate::cost::{Accuracy, Cost};
use crate::exec::{Executor, Grid, RowsMut, par_rows};
use crate::isa::{Isa, IsaToken, SimdTask};
use crate::micro::gemm::{BlockedPixels, Finish, PanelTimesPixels, Source};
use crate::micro::indirection::PADDING;
use crate::micro::outputs::Outputs;
use crate::micro::winograd::{
    F2, F4, InputTile, OutputTile, Points, Residual, Transform, transform_filter,
};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Layouts, Params, Plan, PlanCx, PlanSpec, RunArgs,
    Unsupported, f32_conv,
};
use crate::problem::{ConvShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use std::marker::PhantomData;
use std::ops::Range;

/// F(2x2, 3x3).
#[derive(Debug)]
pub struct WinogradF2x3;

/// F(4x4, 3x3) with the points 0, +-1/sqrt2, +-sqrt2 and infinity.
#[derive(Debug)]
pub struct WinogradF4x3;

static F2X3: AlgorithmMeta = AlgorithmMeta {
    id: "winograd-f2x3",
    summary: "Winograd F(2x2,3x3) on NCHW16c, fused, stride 1, any padding",
    isas: &Isa::ALL,
    accuracy: Accuracy::Transformed { amplification: 4.0 },
};

static F4X3: AlgorithmMeta = AlgorithmMeta {
    id: "winograd-f4x3",
    summary: "Winograd F(4x4,3x3) on NCHW16c, points 0, +-1/sqrt2, +-sqrt2, fused, stride 1, any padding",
    isas: &Isa::ALL,
    accuracy: Accuracy::Transformed { amplification: 8.0 },
};

impl Algorithm for WinogradF2x3 {
    fn meta(&self) -> &'static AlgorithmMeta {
        &F2X3
    }
    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        Ok(Box::new(WinogradPlan::<F2, 2, 4>::new(problem, cx)?))
    }
}

impl Algorithm for WinogradF4x3 {
    fn meta(&self) -> &'static AlgorithmMeta {
        &F4X3
    }
    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        Ok(Box::new(WinogradPlan::<F4, 4, 6>::new(problem, cx)?))
    }
}

struct WinogradPlan<W, const M: usize, const T: usize> {
    spec: PlanSpec,
    conv: ConvShape,
    isa: IsaToken,
    /// Channel blocks of a panel.
    panel_blocks: usize,
    /// Rows of tiles in a task.
    tile_rows: usize,
    /// Blocks of output channels in a task.
    out_blocks: usize,
    _transform: PhantomData<W>,
}

impl<W: Transform<M, T>, const M: usize, const T: usize> WinogradPlan<W, M, T> {
    fn new(problem: &Problem, cx: &PlanCx<'_>) -> Result<Self, Unsupported> {
        let conv = *f32_conv(problem)?;
        let refuse = |reason| Err(Unsupported::new(reason));
        if conv.kernel != [3, 3] {
            return refuse("the kernel is not 3x3");
        }
        if conv.stride != [1, 1] {
            return refuse("the stride is not 1");
        }
        if conv.dilation != [1, 1] {
            return refuse("the filter is dilated");
        }
        if conv.groups != 1 {
            return refuse("the channels are grouped");
        }
        if conv.h * conv.w * CHANNEL_BLOCK >= u32::MAX as usize {
            return refuse("a map of 2^28 pixels or more");
        }
        let tile = RegisterTile::of(cx.isa.isa());
        let [rows, cols] = [conv.h_out().div_ceil(M), conv.w_out().div_ceil(M)];
        let c_blocks = conv.c_in.div_ceil(CHANNEL_BLOCK);
        let all_out = conv.c_out.div_ceil(CHANNEL_BLOCK);

        // As many rows of tiles as keep the transformed input within half of L2, one at least; as
        // even as they can be, and a multiple of the threads.
        let row_bytes = T * T * c_blocks * CHANNEL_BLOCK * 4 * cols;
        let fit = cx
            .tuning
            .mc
            .map_or(cx.caches.l2 / 2 / row_bytes, |tiles| tiles / cols)
            .clamp(1, rows);
        let blocks = rows.div_ceil(fit);
        // With few rows of tiles the threads share the output channels instead, and each transforms
        // the whole input for itself: sharing it between cores is slower.
        let split_channels = cx.threads > 1 && conv.n * blocks < 2 * cx.threads && rows * cols < 49;
        let (tile_rows, out_blocks) = if split_channels {
            let panels = all_out.div_ceil(tile.blocks);
            (
                rows.div_ceil(blocks),
                panels.div_ceil(cx.threads) * tile.blocks,
            )
        } else {
            let tasks = (conv.n * blocks)
                .next_multiple_of(cx.threads)
                .div_ceil(conv.n);
            (rows.div_ceil(tasks.min(rows)), all_out)
        };
        let out_blocks = cx
            .tuning
            .nc
            .map_or(out_blocks, |nc| nc.div_ceil(CHANNEL_BLOCK));
        let out_blocks = out_blocks.next_multiple_of(tile.blocks);

        let tiles = (conv.n * rows * cols) as u64;
        let padded_in = (c_blocks * CHANNEL_BLOCK) as u64;
        let padded_out = (all_out * CHANNEL_BLOCK) as u64;
        let points = (T * T) as u64;
        let transforms = tiles.div_ceil(1)
            * (padded_in * (2 * T * W::INPUT_FLOPS) as u64
                + padded_out * ((T + M) * W::OUTPUT_FLOPS) as u64);
        let executed = 2 * points * tiles * conv.c_in as u64 * padded_out + transforms;

        let mut plan = WinogradPlan {
            spec: PlanSpec {
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
                    c_out: CHANNEL_BLOCK * tile.blocks,
                    h_out: M,
                    w_out: M,
                    pixels: M,
                },
                cost: Cost::new(problem, executed),
            },
            conv,
            isa: cx.isa,
            panel_blocks: tile.blocks,
            tile_rows,
            out_blocks,
            _transform: PhantomData,
        };
        let tiles = tile_rows * cols;
        let lines =
            plan.input_points(tiles).elements(T * T) + plan.output_points(tiles).elements(T * T);
        plan.spec.workspace_lines_per_worker = CacheLine::for_f32s(lines);
        plan.spec.packed_lines = CacheLine::for_f32s(plan.panel_at(all_out));
        Ok(plan)
    }

    fn input_points(&self, tiles: usize) -> Points {
        Points::new(self.conv.c_in.div_ceil(CHANNEL_BLOCK), tiles)
    }

    fn output_points(&self, tiles: usize) -> Points {
        Points::new(self.panel_blocks, tiles)
    }

    /// Tiles across the output.
    fn cols(&self) -> usize {
        self.conv.w_out().div_ceil(M)
    }

    /// Where the panel that starts at an output block begins in the packed weights: for each block 16
    /// biases and, for each point, a row of zeros (the product's own bias) and c_in rows.
    fn panel_at(&self, block: usize) -> usize {
        block * CHANNEL_BLOCK * (1 + T * T * (1 + self.conv.c_in))
    }

    /// The input tile at tile row `row`, column `col`: where its pixels are.
    fn offsets(&self, row: usize, col: usize) -> [[u32; T]; T] {
        let conv = &self.conv;
        std::array::from_fn(|i| {
            let y = (row * M + i).wrapping_sub(conv.pad.top);
            std::array::from_fn(|j| {
                let x = (col * M + j).wrapping_sub(conv.pad.left);
                let inside = y < conv.h && x < conv.w;
                if inside {
                    ((y * conv.w + x) * CHANNEL_BLOCK) as u32
                } else {
                    PADDING
                }
            })
        })
    }
}

/// The input transform of some rows of tiles.
struct TransformInput<'a, W, const M: usize, const T: usize> {
    plan: &'a WinogradPlan<W, M, T>,
    image: &'a [f32],
    rows: Range<usize>,
    out: &'a mut [f32],
}

impl<W: Transform<M, T>, const M: usize, const T: usize> SimdTask for TransformInput<'_, W, M, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let conv = &self.plan.conv;
        let cols = self.plan.cols();
        let points = self.plan.input_points(self.rows.len() * cols);
        for tile in 0..self.rows.len() * cols {
            let mut input = InputTile {
                image: self.image,
                block_stride: conv.h * conv.w * CHANNEL_BLOCK,
                blocks: conv.c_in.div_ceil(CHANNEL_BLOCK),
                offsets: self
                    .plan
                    .offsets(self.rows.start + tile / cols, tile % cols),
                out: &mut *self.out,
                points,
                tile,
            };
            input.transform::<S, M, W>(simd);
        }
    }
}

/// The inverse transform of one panel.
struct TransformOutput<'a, 'o, W, const M: usize, const T: usize> {
    out: OutputTile<'a, 'o>,
    bias: &'a [f32],
    cols: usize,
    _transform: PhantomData<W>,
}

impl<W: Transform<M, T>, const M: usize, const T: usize> SimdTask
    for TransformOutput<'_, '_, W, M, T>
{
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(mut self, simd: S) {
        let (biases, _) = self.bias.as_chunks();
        for (block, bias) in biases.iter().enumerate().take(self.out.out.rows()) {
            self.out.bias = bias;
            for tile in 0..self.out.points.tiles {
                let at = [tile / self.cols * M, tile % self.cols * M];
                self.out.transform::<S, M, T, W>(simd, block, tile, at);
            }
        }
    }
}

impl<W: Transform<M, T>, const M: usize, const T: usize> Plan for WinogradPlan<W, M, T> {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let conv = &self.conv;
        let weights = params.weights.expect("a convolution has weights").f32s();
        let bias = params.bias.map(|b| b.f32s());
        let packed = &mut as_f32s_mut(packed)[..self.panel_at(conv.c_out.div_ceil(CHANNEL_BLOCK))];
        packed.fill(0.0);
        let (filters, _) = weights.as_chunks::<9>();
        for (out, filters) in filters.chunks_exact(conv.c_in).enumerate() {
            // The panel of this output, its width in floats, and the output's place in it.
            let first = out / CHANNEL_BLOCK / self.panel_blocks * self.panel_blocks;
            let blocks = self
                .panel_blocks
                .min(conv.c_out.div_ceil(CHANNEL_BLOCK) - first);
            let (width, lane) = (blocks * CHANNEL_BLOCK, out - first * CHANNEL_BLOCK);
            let panel = &mut packed[self.panel_at(first)..self.panel_at(first + blocks)];
            if let Some(bias) = bias {
                panel[lane] = bias[out];
            }
            for (c, filter) in filters.iter().enumerate() {
                let transformed = transform_filter::<M, T, W>(filter);
                for (point, &u) in transformed.iter().flatten().enumerate() {
                    let row = 1 + point * (1 + conv.c_in) + 1 + c;
                    panel[row * width + lane] = u;
                }
            }
        }
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let conv = &self.conv;
        let all_out = conv.c_out.div_ceil(CHANNEL_BLOCK);
        let map = conv.h_out() * conv.w_out() * CHANNEL_BLOCK;
        let tile_row = M * conv.w_out() * CHANNEL_BLOCK;
        let src_map = conv.h * conv.w * CHANNEL_BLOCK;
        let image = conv.c_in.div_ceil(CHANNEL_BLOCK) * src_map;
        let relu = self.spec.problem.epilogue.relu;
        let grid = Grid {
            rows: conv.n * all_out,
            cols: map,
            block_rows: self.out_blocks.min(all_out),
            block_cols: self.tile_rows * tile_row,
            band: all_out,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, mut out, scratch| {
                let (n, first) = (at.row / all_out, at.row % all_out);
                let rows = at.col / tile_row..(at.col + out.len()).div_ceil(tile_row);
                let tiles = rows.len() * self.cols();
                let (input, output) = (self.input_points(tiles), self.output_points(tiles));
                let scratch = as_f32s_mut(scratch);
                let (transformed, products) = scratch.split_at_mut(input.elements(T * T));
                let image = &io.src[n * image..(n + 1) * image];
                self.isa.dispatch(TransformInput {
                    plan: self,
                    image,
                    rows,
                    out: transformed,
                });

                for block in (first..first + out.rows()).step_by(self.panel_blocks) {
                    let blocks = self.panel_blocks.min(first + out.rows() - block);
                    let width = blocks * CHANNEL_BLOCK;
                    let panel = &io.packed[self.panel_at(block)..self.panel_at(block + blocks)];
                    let (bias, panels) = panel.split_at(width);
                    let panels = panels.chunks_exact(width * (1 + conv.c_in));
                    for (point, panel) in panels.enumerate() {
                        let product = &mut products[point * output.stride..]
                            [..blocks * tiles * CHANNEL_BLOCK];
                        self.isa.dispatch(PanelTimesPixels {
                            src: Source {
                                data: &transformed[point * input.stride..][..input.stride],
                                block: CHANNEL_BLOCK,
                                block_stride: tiles * CHANNEL_BLOCK,
                            },
                            pixels: BlockedPixels { pixels: tiles },
                            channels: 0..conv.c_in,
                            panel,
                            epilogue: Finish::default(),
                            out: Outputs::blocked(RowsMut::new(product, tiles * CHANNEL_BLOCK)),
                        });
                    }
                    let (row, len) = (block - first, out.len());
                    let residual = io.residual.map(|r| Residual {
                        data: &r[(at.row + row) * map + at.col..],
                        row_stride: map,
                    });
                    self.isa.dispatch(TransformOutput::<W, M, T> {
                        out: OutputTile {
                            products,
                            points: output,
                            bias: &[0.0; CHANNEL_BLOCK],
                            relu,
                            residual,
                            out: out.part(row..row + blocks, 0..len),
                            width: conv.w_out(),
                        },
                        bias,
                        cols: self.cols(),
                        _transform: PhantomData,
                    });
                }
            },
        );
    }
}
