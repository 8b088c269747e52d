//! Attention pooling on NCHW16c: the scores w^T tanh(V h) of all positions, their softmax, and the sum of the positions
//! weighted by it.
//!
//! V h is a 1x1 convolution by the register tile, for some positions at a time. Its outputs go to the worker's scratch
//! and are turned into scores immediately, so they stay in L1 or L2. The weighted sum reads the maps a second time.
//!
//! A NaN anywhere in an image's maps makes the sum of its scores NaN, and so all of its outputs.

use super::panels::PanelLoop;
use crate::blocking::RegisterTile;
use crate::cost::Accuracy;
use crate::exec::{Executor, Grid, RowsMut, par_rows};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::attention::{SCORE_FLOPS, Scores, Shares, WeightedSum};
use crate::micro::gemm::{Prefetch, Source, TileEpilogue};
use crate::micro::outputs::Blocked;
use crate::micro::pack::Panels;
use crate::micro::pixels::BlockedPixels;
use crate::plan::{
    Algorithm, AlgorithmMeta, CheckedArgs, Granularity, Params, Plan, PlanCx, PlanSpec, RunArgs,
    Unsupported, f32_layer,
};
use crate::problem::{AttentionShape, ConvShape, ConvSpec, Pad, Problem};
use crate::tensor::{CacheLine, Layout, TensorDesc, TensorRef, as_f32s, as_f32s_mut};

/// Attention pooling.
#[derive(Debug)]
pub struct Attention;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "attention-pool",
    summary: "attention pooling on NCHW16c: softmax over positions of w^T tanh(V h), and the sum that it weighs",
    isas: &Isa::F32,
    accuracy: Accuracy::Mean,
};

impl Algorithm for Attention {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?.without_twins()?;
        let attention = *f32_layer::<AttentionShape>(problem)?;
        let [n, c, h, w] = attention.maps().dims();
        let hidden = ConvSpec {
            n,
            c_in: c,
            h,
            w,
            c_out: attention.hidden(),
            kernel: [1, 1],
            stride: [1, 1],
            pad: Pad::default(),
            dilation: [1, 1],
            groups: 1,
            flip: false,
        };
        let hidden = ConvShape::try_from(hidden).map_err(|e| Unsupported::new(e.to_string()))?;
        let tile = RegisterTile::of(cx.isa.isa());
        let table_bytes = cx.tables(Panels::bytes(&hidden, tile))?;
        let panels = Panels::new(&hidden, tile);
        let positions = h * w;
        // Positions per task: few enough that their V h stays in a cache, and some tasks for each thread.
        let few = 4 * tile.pixels;
        let share = positions.div_ceil(cx.threads.div_ceil(n));
        let task = cx.tuning.mc.unwrap_or(few.min(share)).min(positions);
        let units = hidden.c_out.next_multiple_of(CHANNEL_BLOCK);
        // All workers share the scores, so each contributes a part of its scratch.
        let score_lines = CacheLine::for_f32s(n * positions);
        let own = task * units / CACHE_LINE;
        let flops = panels.flops_per_tap()
            + units as u64 * SCORE_FLOPS
            + 2 * c.next_multiple_of(CHANNEL_BLOCK) as u64;
        Ok(Box::new(AttentionPlan {
            spec: PlanSpec {
                packed_lines: panels.lines() + units / CACHE_LINE,
                workspace_lines_per_worker: own + score_lines.div_ceil(cx.threads),
                table_bytes,
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK,
                    c_out: CHANNEL_BLOCK * tile.blocks,
                    pixels: tile.pixels,
                    ..Granularity::default()
                },
                ..PlanSpec::new(problem, Layout::NCHW16C, cx, (n * positions) as u64 * flops)
            },
            attention,
            hidden,
            panels,
            task,
            units,
            score_lines,
            isa: cx.isa,
        }))
    }
}

/// Floats per cache line.
const CACHE_LINE: usize = CacheLine::F32S;

struct AttentionPlan {
    spec: PlanSpec,
    attention: AttentionShape,
    /// V h as a convolution.
    hidden: ConvShape,
    panels: Panels,
    /// Positions per task.
    task: usize,
    /// Hidden units, rounded up to whole blocks.
    units: usize,
    score_lines: usize,
    isa: IsaToken,
}

impl Plan for AttentionPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    /// Packs V in panels, then w, padded with zeros.
    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let weights = params.weights.expect("V and w").f32s();
        let (panels, w) = packed.split_at_mut(self.panels.lines());
        let w = &mut as_f32s_mut(w)[..self.units];
        w.fill(0.0);
        let (rows, c) = (self.attention.hidden(), self.hidden.c_in);
        let mut v = Vec::with_capacity(rows * c);
        for (row, w) in weights.chunks_exact(c + 1).zip(w) {
            let (row, last) = row.split_at(c);
            v.extend_from_slice(row);
            *w = last[0];
        }
        let desc = TensorDesc::f32(Layout::Nchw, [rows, c, 1, 1]);
        let params = Params {
            weights: Some(TensorRef::from_f32s(desc, &v)),
            bias: None,
        };
        self.panels.pack(&self.hidden, params, panels);
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        self.scores(&mut io);
        let (n, positions) = (self.hidden.n, self.attention.positions());
        let scores = as_f32s_mut(&mut io.workspace[..self.score_lines]);
        let of_images = Grid {
            rows: n,
            cols: positions,
            block_rows: 1,
            block_cols: positions,
            band: n,
        };
        par_rows(io.exec, scores, of_images, &mut [], |_, mut row, _| {
            self.isa.dispatch(Shares { scores: row.row(0) });
        });
        self.sums(io);
    }
}

impl AttentionPlan {
    /// Computes the scores of all positions, into the start of the workspace.
    fn scores(&self, io: &mut CheckedArgs<'_>) {
        let (n, positions) = (self.hidden.n, self.attention.positions());
        let (scores, own) = io.workspace.split_at_mut(self.score_lines);
        let grid = Grid {
            rows: n,
            cols: positions,
            block_rows: 1,
            block_cols: self.task,
            band: n,
        };
        let image = io.src.len() / n;
        let (src, packed) = (io.src, io.packed);
        let (panels, w) = packed.split_at(self.panels.lines() * CACHE_LINE);
        par_rows(
            io.exec,
            as_f32s_mut(scores),
            grid,
            own,
            |at, mut out, scratch| {
                let scores = out.row(0);
                let pixels = scores.len();
                let hidden = &mut as_f32s_mut(scratch)[..pixels * self.units];
                let src = Source {
                    data: &src[at.row * image + at.col * CHANNEL_BLOCK..(at.row + 1) * image],
                    block: CHANNEL_BLOCK,
                    block_stride: positions * CHANNEL_BLOCK,
                };
                let task = PanelLoop {
                    isa: self.isa,
                    panels: self.panels.all(),
                    packed: panels,
                    epilogue: TileEpilogue::default(),
                    prefetch: Prefetch::Nothing.into(),
                };
                let units = RowsMut::new(&mut *hidden, pixels * CHANNEL_BLOCK);
                task.multiply::<Blocked, _>(src, BlockedPixels { pixels }, units);
                self.isa.dispatch(Scores {
                    hidden,
                    w: &w[..self.units],
                    scores,
                });
            },
        );
    }

    /// Sums the positions, weighted by the shares at the start of the workspace.
    fn sums(&self, mut io: CheckedArgs<'_>) {
        let [n, c, _, _] = self.attention.maps().dims();
        let positions = self.attention.positions();
        let blocks = c.div_ceil(CHANNEL_BLOCK);
        let shares = as_f32s(&io.workspace[..self.score_lines]);
        let src = io.src;
        let grid = Grid {
            rows: n,
            cols: blocks * CHANNEL_BLOCK,
            block_rows: 1,
            block_cols: CHANNEL_BLOCK,
            band: n,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            &mut [],
            |at, mut out, _| {
                let map = (at.row * blocks + at.col / CHANNEL_BLOCK) * positions * CHANNEL_BLOCK;
                let out = out.row(0);
                self.isa.dispatch(WeightedSum {
                    map: &src[map..][..positions * CHANNEL_BLOCK],
                    shares: &shares[at.row * positions..][..positions],
                    out: &mut *out,
                });
                // Padding lanes: a NaN times their zeros is NaN.
                let used = CHANNEL_BLOCK.min(c - at.col);
                out[used..].fill(0.0);
            },
        );
    }
}
