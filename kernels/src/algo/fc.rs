//! Fully connected layer: a convolution whose kernel is its whole input map. f32 is on NCHW16c. Layers of bf16, u8 and s8 are
//! on NHWC, in `narrow.rs`.
//!
//! An image is then a vector in memory order, and the packed weights have that order, too. One image uses each weight
//! once. That is a product of matrix and vector, as fast as weights are read. Several images are the pixels of a 1x1
//! convolution, computed by the register tile. For it their vectors are interleaved first, 16 inputs of each. Otherwise
//! rows a power of two apart would map to few sets of L1.

use super::narrow;
use crate::blocking::RegisterTile;
use crate::cost::{Accuracy, Efficiency};
use crate::exec::{Executor, Grid, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{F32, PanelTimesPixels, Prefetch, Source, TileEpilogue};
use crate::micro::matvec::{PanelsTimesVector, SIDE_BY_SIDE};
use crate::micro::outputs::Outputs;
use crate::micro::pack::Panels;
use crate::micro::pixels::StridedPixels;
use crate::plan::{
    Algorithm, AlgorithmMeta, CheckedArgs, Granularity, Params, Plan, PlanCx, PlanSpec, RunArgs,
    Unsupported, f32_conv,
};
use crate::problem::{ConvShape, ConvSpec, DType, Pad, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s, as_f32s_mut};

/// A fully connected layer.
#[derive(Debug)]
pub struct Fc;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "fc",
    summary: "fully connected layer on NCHW16c: matrix times vector, or times several, with packed weights; also bf16, u8, s8 on NHWC",
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

impl Algorithm for Fc {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    /// One image uses each weight once.
    fn has_register_tile(&self) -> bool {
        false
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        if problem.dtypes.src != DType::F32 {
            if let Some(conv) = problem.op.shape() {
                is_fully_connected(conv)?;
            }
            return narrow::fully_connected(problem, cx);
        }
        cx.without_extension(DType::F32)?;
        let conv = *f32_conv(problem)?;
        is_fully_connected(&conv)?;
        let inputs = conv.c_in.next_multiple_of(CHANNEL_BLOCK) * conv.h * conv.w;
        // The layer as a 1x1 convolution, which determines the panels.
        let flat = ConvSpec {
            n: conv.n,
            c_in: inputs,
            h: 1,
            w: 1,
            c_out: conv.c_out,
            kernel: [1, 1],
            stride: [1, 1],
            pad: Pad::default(),
            dilation: [1, 1],
            groups: 1,
            flip: false,
        };
        let flat = flat
            .try_into()
            .map_err(|_| Unsupported::new("too many weights"))?;
        let tile = RegisterTile::of(cx.isa.isa());
        let table_bytes = cx.tables(Panels::bytes(&flat, tile))?;
        let panels = Panels::new(&flat, tile);
        let weight_bytes = panels.lines() * CacheLine::BYTES;
        // Lines of the interleaved vectors, in equal parts of the workers.
        let lines = if conv.n > 1 {
            (conv.n * inputs / CHANNEL_BLOCK).div_ceil(cx.threads)
        } else {
            0
        };
        let spec = PlanSpec {
            packed_lines: panels.lines(),
            workspace_lines_per_worker: lines,
            table_bytes,
            granularity: Granularity {
                c_in: CHANNEL_BLOCK,
                c_out: CHANNEL_BLOCK * tile.blocks,
                pixels: tile.pixels,
                ..Granularity::default()
            },
            // One image's weights are read in four streams, which reach memory's full bandwidth.
            efficiency: Efficiency {
                of_dram: 1.0,
                ..Efficiency::TILE
            },
            ..PlanSpec::new(
                problem,
                Layout::NCHW16C,
                cx,
                conv.n as u64 * panels.flops_per_tap(),
            )
        };
        Ok(Box::new(FcPlan {
            spec,
            conv,
            inputs,
            outputs_a_panel: CHANNEL_BLOCK * tile.blocks,
            prefetch: Prefetch::of_weights(cx.caches.level_of(weight_bytes), conv.n, tile.pixels),
            panels,
            isa: cx.isa,
        }))
    }
}

/// Checks that each output reads the whole image.
fn is_fully_connected(conv: &ConvShape) -> Result<(), Unsupported> {
    let whole = conv.kernel == [conv.h, conv.w] && conv.pad == Pad::default();
    if !whole || conv.groups != 1 {
        return Err(Unsupported::new(
            "not a fully connected layer: the kernel is not the whole input map, of all channels",
        ));
    }
    Ok(())
}

struct FcPlan {
    spec: PlanSpec,
    conv: ConvShape,
    /// Elements per image, channels padded to whole blocks.
    inputs: usize,
    panels: Panels,
    outputs_a_panel: usize,
    /// Prefetch policy of the tiles for several images.
    prefetch: Prefetch,
    isa: IsaToken,
}

impl Plan for FcPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    /// Packs rows in the order of NCHW16c. Rows of channels beyond the last are zeros.
    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let weights = params.filters(&self.conv);
        let bias = params.bias.map(|b| b.f32s());
        let taps = self.conv.h * self.conv.w;
        let filter = self.conv.c_in * taps;
        let packed = as_f32s_mut(packed);
        for panel in self.panels.all() {
            let width = panel.blocks * CHANNEL_BLOCK;
            let packed = &mut packed[panel.floats.clone()];
            packed.fill(0.0);
            let (head, rows) = packed.split_at_mut(width);
            let first = panel.block * CHANNEL_BLOCK;
            let outputs = first..(first + width).min(self.conv.c_out);
            if let Some(bias) = bias {
                head[..outputs.len()].copy_from_slice(&bias[outputs.clone()]);
            }
            // One block of rows for all outputs at a time: these stay in the cache until they are complete.
            let blocks = rows.chunks_exact_mut(CHANNEL_BLOCK * taps * width);
            for (block, rows) in blocks.enumerate() {
                let first = block * CHANNEL_BLOCK * taps;
                let channels = first..(first + CHANNEL_BLOCK * taps).min(filter);
                for (lane, out) in outputs.clone().enumerate() {
                    let weights = &weights[out * filter..][channels.clone()];
                    for (channel, weights) in weights.chunks_exact(taps).enumerate() {
                        for (tap, &w) in weights.iter().enumerate() {
                            rows[(tap * CHANNEL_BLOCK + channel) * width + lane] = w;
                        }
                    }
                }
            }
        }
    }

    fn run(&self, args: RunArgs<'_>) {
        let io = args.check(&self.spec);
        if self.conv.n == 1 {
            self.vector(io);
        } else {
            self.matrix(io);
        }
    }
}

impl FcPlan {
    /// Outputs of all images as a matrix. A task is `panels` panels.
    fn grid(&self, panels: usize) -> Grid {
        let n = self.conv.n;
        Grid {
            rows: n,
            cols: self.conv.c_out.next_multiple_of(CHANNEL_BLOCK),
            block_rows: n,
            block_cols: panels * self.outputs_a_panel,
            band: n,
        }
    }

    /// Panels of some outputs, and the distance from one to the next in floats.
    fn panels<'a>(&self, packed: &'a [f32], first: usize, outputs: usize) -> (&'a [f32], usize) {
        let blocks = first / CHANNEL_BLOCK..(first + outputs) / CHANNEL_BLOCK;
        let (floats, step) = self.panels.span(self.isa, blocks);
        (&packed[floats], step)
    }

    fn vector(&self, mut io: CheckedArgs<'_>) {
        let (src, residual, packed) = (io.src, io.residual, io.packed);
        let relu = self.spec.problem.epilogue.relu;
        let dst = io.dst.f32s_mut();
        let grid = self.grid(SIDE_BY_SIDE);
        par_rows(io.exec, dst, grid, &mut [], |at, mut out, _| {
            let outputs = out.len();
            let (panels, step) = self.panels(packed, at.col, outputs);
            self.isa.dispatch(PanelsTimesVector {
                x: src,
                panels,
                step,
                blocks: self.outputs_a_panel / CHANNEL_BLOCK,
                residual: residual.map(|r| &r[at.col..at.col + outputs]),
                relu,
                out: out.row(0),
                dot: F32,
            });
        });
    }

    fn matrix(&self, mut io: CheckedArgs<'_>) {
        let (n, inputs) = (self.conv.n, self.inputs);
        let beside = Grid {
            rows: inputs / CHANNEL_BLOCK,
            cols: n * CHANNEL_BLOCK,
            block_rows: 64,
            block_cols: n * CHANNEL_BLOCK,
            band: inputs / CHANNEL_BLOCK,
        };
        let vectors = as_f32s_mut(io.workspace);
        par_rows(io.exec, vectors, beside, &mut [], |at, mut out, _| {
            let copied = if self.isa.moves_data() { out.rows() } else { 0 };
            for row in 0..copied {
                let first = (at.row + row) * CHANNEL_BLOCK;
                let images = out.row(row).as_chunks_mut::<CHANNEL_BLOCK>().0;
                for (image, to) in images.iter_mut().enumerate() {
                    to.copy_from_slice(&io.src[image * inputs + first..][..CHANNEL_BLOCK]);
                }
            }
        });
        let vectors = &as_f32s(io.workspace)[..n * inputs];
        let (residual, packed) = (io.residual, io.packed);
        let relu = self.spec.problem.epilogue.relu;
        let dst = io.dst.f32s_mut();
        par_rows(io.exec, dst, self.grid(1), &mut [], |at, out, _| {
            self.isa.dispatch(PanelTimesPixels {
                src: Source {
                    data: vectors,
                    block: CHANNEL_BLOCK,
                    block_stride: n * CHANNEL_BLOCK,
                },
                pixels: StridedPixels {
                    pixels: n,
                    step: CHANNEL_BLOCK,
                },
                channels: 0..inputs,
                panel: self.panels(packed, at.col, out.len()).0,
                epilogue: TileEpilogue {
                    pixel_bias: None,
                    residual: residual.map(|r| &r[at.col..]),
                    relu,
                },
                prefetch: self.prefetch,
                out: Outputs::matrix(out),
                dot: F32,
            });
        });
    }
}
