//! 1x1 convolution on plain NCHW as a matrix product: c_out x c_in times c_in x pixels.
//!
//! The operands of the register tile are swapped. Its "pixels" are output channels, whose weights are broadcast, and
//! its lanes are pixels. A task first packs its pixels:
//!
//! ```text
//! panel[j][c][lane] = in[n, c, pixel 32 j + lane]          or 0 beyond the last pixel
//! out[n, k, pixel 32 j + lane] = sum over c of w[k][c] * panel[j][c][lane]
//! ```
//!
//! (16 lanes if a panel is one block.) The copy costs a load and a store per element, which then takes part in c_out
//! FMAs. Without the copy, each step of the sum would touch another page. With a larger stride, the copy picks the
//! pixels.

use super::gemm_1x1::conv_1x1;
use crate::blocking::{Blocking, GemmShape, RegisterTile};
use crate::cost::Accuracy;
use crate::exec::{Executor, Grid, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{F32, PanelTimesPixels, Prefetch, Source, TileEpilogue};
use crate::micro::outputs::Outputs;
use crate::micro::pixels::StridedPixels;
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Params, Plan, PlanCx, PlanSpec, RunArgs, Unsupported,
};
use crate::problem::{ConvShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use std::ops::Range;

/// 1x1 convolution on plain NCHW.
#[derive(Debug)]
pub struct Gemm1x1Nchw;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "gemm-1x1-nchw",
    summary: "1x1 convolution on plain NCHW as a matrix product, pixels as the vector dimension, any stride",
    isas: &Isa::F32,
    accuracy: Accuracy::Sum,
};

struct Gemm1x1NchwPlan {
    spec: PlanSpec,
    conv: ConvShape,
    isa: IsaToken,
    /// Pixels per panel.
    lanes: usize,
    /// Pixels per task, in whole panels.
    mc: usize,
    /// Output channels per task.
    nc: usize,
    /// Output channels whose weights stay in the cache while the task's panels are read.
    kc: usize,
    /// Floats between the weights of neighbouring output channels. One extra line prevents that weights of a tile map
    /// to the same cache sets if c_in is a power of two.
    step: usize,
}

impl Algorithm for Gemm1x1Nchw {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        let conv = conv_1x1(problem)?;
        if conv.groups > 1 {
            return Err(Unsupported::new("with groups on plain NCHW"));
        }
        let tile = RegisterTile::of(cx.isa.isa());
        let (lanes, pixels) = (tile.blocks * CHANNEL_BLOCK, conv.h_out() * conv.w_out());
        let step = conv.c_in.next_multiple_of(CacheLine::F32S) + CacheLine::F32S;
        let out_blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        let weight_bytes = conv.c_out * step * size_of::<f32>();
        let shape = GemmShape {
            pixels,
            images: conv.n,
            out_blocks,
            bytes_per_pixel: conv.c_in * size_of::<f32>(),
            weight_bytes,
            panel_bytes: weight_bytes / out_blocks.div_ceil(tile.blocks),
        };
        let blocking = Blocking::derive(&shape, tile, cx.caches, cx.threads, cx.tuning);
        let mc = blocking.mc.next_multiple_of(lanes);
        let nc = (blocking.out_blocks * CHANNEL_BLOCK).min(conv.c_out);
        // At least a few whole tiles per group, if the threads have enough work without more groups.
        let nc = if cx.tuning.nc.is_none() && conv.n * pixels.div_ceil(mc) >= cx.threads {
            let groups = conv.c_out / (4 * tile.pixels);
            nc.max(conv.c_out.div_ceil(groups.max(1)))
        } else {
            nc
        };
        let kc =
            (cx.caches.l2 / 4 / (step * size_of::<f32>())).clamp(tile.pixels, nc.max(tile.pixels));
        let panels = mc.min(pixels.next_multiple_of(lanes)) / lanes;
        let computed = pixels.next_multiple_of(CHANNEL_BLOCK) * conv.n;
        let executed = 2 * (computed * conv.c_in * conv.c_out) as u64;
        let spec = PlanSpec {
            packed_lines: CacheLine::for_f32s(conv.c_out) + conv.c_out * step / CacheLine::F32S,
            workspace_lines_per_worker: panels * (conv.c_in + 1) * lanes / CacheLine::F32S,
            granularity: Granularity {
                c_out: tile.pixels,
                pixels: lanes,
                ..Granularity::default()
            },
            ..PlanSpec::new(problem, Layout::Nchw, cx, executed)
        };
        Ok(Box::new(Gemm1x1NchwPlan {
            spec,
            conv: *conv,
            isa: cx.isa,
            lanes,
            mc,
            nc,
            kc,
            step,
        }))
    }
}

impl Gemm1x1NchwPlan {
    /// Packs the output pixels `pixels` of an image. Each panel begins with a row of zeros, in place of the bias of
    /// other panels.
    fn pack(&self, image: &[f32], pixels: &Range<usize>, panels: &mut [f32]) {
        let conv = &self.conv;
        let panel_len = (conv.c_in + 1) * self.lanes;
        for panel in panels.chunks_exact_mut(panel_len) {
            panel[..self.lanes].fill(0.0);
        }
        // Channels are the outer loop, so that a plane's pixels are read as one stream.
        for (c, plane) in image.chunks_exact(conv.h * conv.w).enumerate() {
            let panels = panels.chunks_exact_mut(panel_len);
            for (panel, start) in panels.zip(pixels.clone().step_by(self.lanes)) {
                let len = self.lanes.min(pixels.end - start);
                // A last panel may be one block wide even if the others are two.
                let width = len.next_multiple_of(CHANNEL_BLOCK);
                let row = &mut panel[(c + 1) * width..][..width];
                let (inside, beyond) = row.split_at_mut(len);
                beyond.fill(0.0);
                if conv.stride == [1, 1] {
                    inside.copy_from_slice(&plane[start..start + len]);
                } else {
                    self.pick(plane, start, inside);
                }
            }
        }
    }

    /// Copies the input pixels of the output pixels from `start` on.
    fn pick(&self, plane: &[f32], start: usize, row: &mut [f32]) {
        let ([sh, sw], w_out) = (self.conv.stride, self.conv.w_out());
        let (mut y, mut x) = (start / w_out, start % w_out);
        for value in row {
            *value = plane[y * sh * self.conv.w + x * sw];
            x += 1;
            if x == w_out {
                (y, x) = (y + 1, 0);
            }
        }
    }
}

impl Plan for Gemm1x1NchwPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    /// Packs the bias, then the weights of each output channel, `step` floats apart.
    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let weights = params.filters(&self.conv);
        let (bias, rows) = packed.split_at_mut(CacheLine::for_f32s(self.conv.c_out));
        let bias = as_f32s_mut(bias);
        bias.fill(0.0);
        if let Some(given) = params.bias {
            bias[..self.conv.c_out].copy_from_slice(given.f32s());
        }
        let rows = as_f32s_mut(rows).chunks_exact_mut(self.step);
        for (row, filter) in rows.zip(weights.chunks_exact(self.conv.c_in)) {
            let (used, rest) = row.split_at_mut(filter.len());
            used.copy_from_slice(filter);
            rest.fill(0.0);
        }
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let conv = &self.conv;
        let image = conv.c_in * conv.h * conv.w;
        let (bias, weights) = io
            .packed
            .split_at(CacheLine::for_f32s(conv.c_out) * CacheLine::F32S);
        let grid = Grid {
            rows: conv.n * conv.c_out,
            cols: conv.h_out() * conv.w_out(),
            block_rows: self.nc,
            block_cols: self.mc,
            band: conv.c_out,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, mut out, scratch| {
                let (n, first) = (at.row / conv.c_out, at.row % conv.c_out);
                let (channels, pixels) = (out.rows(), at.col..at.col + out.len());
                let panel_len = (conv.c_in + 1) * self.lanes;
                let panels = pixels.len().div_ceil(self.lanes);
                let panels = &mut as_f32s_mut(scratch)[..panels * panel_len];
                if at.scratch_is_stale && self.isa.moves_data() {
                    self.pack(&io.src[n * image..][..image], &pixels, panels);
                }

                for start in (0..channels).step_by(self.kc) {
                    let rows = start..(start + self.kc).min(channels);
                    let src = Source {
                        data: &weights[(first + start) * self.step..],
                        block: conv.c_in,
                        block_stride: 0,
                    };
                    for (j, panel) in panels.chunks_exact(panel_len).enumerate() {
                        let cols = j * self.lanes..((j + 1) * self.lanes).min(pixels.len());
                        let residual = io
                            .residual
                            .map(|r| &r[(at.row + rows.start) * grid.cols + at.col + cols.start..]);
                        self.isa.dispatch(PanelTimesPixels {
                            src,
                            pixels: StridedPixels {
                                pixels: rows.len(),
                                step: self.step,
                            },
                            channels: 0..conv.c_in,
                            panel,
                            epilogue: TileEpilogue {
                                pixel_bias: Some(&bias[first + rows.start..]),
                                residual,
                                relu: self.spec.problem.epilogue.relu,
                            },
                            prefetch: Prefetch::Nothing,
                            out: Outputs::matrix(out.part(rows.clone(), cols)),
                            dot: F32,
                        });
                    }
                }
            },
        );
    }
}
