//! 1x1 convolution with seven products of halves instead of eight: one step of Strassen's algorithm (1969) in
//! Winograd's form (1971). A are the packed weights (output by input channels), B the pixels (input channels by
//! pixels). Both are divided into quarters:
//!
//! ```text
//! A11 A12   B11 B12    S1 = A21 + A22    T1 = B12 - B11
//! A21 A22   B21 B22    S2 = S1 - A11     T2 = B22 - T1
//!                      S3 = A11 - A21    T3 = B22 - B12
//!                      S4 = A12 - S2     T4 = T2 - B21
//!
//! for some pixels of each half:                           (a task)
//!     T1 to T4                                             all channels
//!     for a pair of panels of output channels:
//!         P1  = A11 B11
//!         C11 = A12 B21 + P1
//!         U2  = S2 T2 + P1
//!         U3  = S3 T3 + U2
//!         P5  = S1 T1,          C22 = P5 + U3
//!         C12 = S4 B22 + U2 + P5
//!         C21 = -A22 T4 + U3
//! ```
//!
//! S is packed. T takes one pass over the input, for all output channels. The tile adds sums of products at its end,
//! like a residual. P1, U2, U3 and P5 of two panels stay in L1 or L2 meanwhile. This saves 1/8 of the FMAs. The added
//! work per tile doesn't depend on the number of input channels, so it is small for long reductions.
//!
//! Output channels are paired panel by panel. Pixels and input channels are paired half by half of the image,
//! independent of the division into tasks. So results are equal at any number of threads. An odd pixel is paired with
//! zeros. An odd block of input channels is added to the products that end in outputs. P5's share of it belongs to C22,
//! and is subtracted from C12. Panels without a partner are multiplied directly.
//!
//! Errors are about twice those of a plain sum, derived like Winograd's
//! ([`Matrices::amplification`](crate::micro::cook_toom::Matrices::amplification)). Two of the four products in C21
//! have sums of three or four terms. Higham (*Accuracy and Stability of Numerical Algorithms*, 23.2.2) has the bound. A
//! NaN or an infinity affects its pixel and the pixel that this is paired with.
//!
//! In reading order: this file (the plan), `weights.rs` (the seven products and their packed weights), `task.rs` (the
//! products of a task).

mod task;
mod weights;

use super::blocked::offsets_fit;
use super::gemm_1x1::{conv_1x1, copy_strided};
use super::panels::PanelPrefetch;
use crate::blocking::{Blocking, GemmShape, RegisterTile, part, preparations};
use crate::cost::Accuracy;
use crate::exec::{Block, Executor, Grid, RowsMut, par_halves};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::pack::Panels;
use crate::micro::strassen::{InputSums, Quarters, SUMS};
use crate::phase::{Laps, Phase, PhaseCost};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Params, Plan, PlanCx, PlanSpec, RunArgs, Target,
    Unsupported,
};
use crate::problem::{ConvShape, ConvSpec, Problem};
use crate::tensor::{CacheLine, Layout, TensorDesc, TensorRef, as_f32s_mut};
use task::{KEPT_SUMS, Packed, Task};
use weights::{PairWeights, Product};

/// 1x1 convolution by Strassen's algorithm.
#[derive(Debug)]
pub struct Strassen1x1;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "strassen-1x1",
    summary: "1x1 convolution on NCHW16c by Strassen's product in Winograd's form, any stride",
    isas: &Isa::F32,
    accuracy: Accuracy::Transformed {
        // Root of the variance of C12, C21 or C22 relative to a plain sum, for inputs and weights of variance 1. |S|^2
        // |T|^2 of its four products is 1 + 9 + 4 + 4, each with half of the terms. Half of the terms round half as
        // much.
        amplification: 2.1213203435596424,
        channel_terms: 4,
    },
};

impl Algorithm for Strassen1x1 {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        Ok(Box::new(StrassenPlan::new(problem, cx)?))
    }
}

struct StrassenPlan {
    spec: PlanSpec,
    conv: ConvShape,
    isa: IsaToken,
    tile: RegisterTile,
    blocking: Blocking,
    /// Weights of the pairs of panels.
    weights: PairWeights,
    /// Output channels after the pairs, if any.
    rest: Option<(ConvShape, Panels)>,
}

impl StrassenPlan {
    fn new(problem: &Problem, cx: &Target<'_>) -> Result<Self, Unsupported> {
        let conv = *conv_1x1(problem)?;
        offsets_fit(&conv)?;
        let tile = RegisterTile::of(cx.isa.isa());
        has_halves(&conv, tile)?;
        let weights = PairWeights::of(&conv, tile.blocks);
        let rest = (weights.outputs() < conv.c_out).then(|| {
            let rest = ConvSpec {
                c_out: conv.c_out - weights.outputs(),
                ..*conv
            };
            let rest = ConvShape::try_from(rest).expect("fewer output channels");
            (rest, Panels::new(&rest, tile))
        });

        let panel_bytes = weights.half * tile.blocks * CacheLine::BYTES;
        let shape = GemmShape {
            pixels: (conv.h_out() * conv.w_out()).div_ceil(2),
            images: conv.n,
            out_blocks: conv.c_out.div_ceil(CHANNEL_BLOCK),
            // A quarter or sum of inputs, and the kept sums of products.
            bytes_per_pixel: weights.half * size_of::<f32>()
                + KEPT_SUMS * tile.blocks * CacheLine::BYTES,
            weight_bytes: weights.pairs * Product::ALL.len() * panel_bytes,
            panel_bytes,
        };
        let pair = RegisterTile {
            blocks: 2 * tile.blocks,
            ..tile
        };
        let mut plan = StrassenPlan {
            spec: PlanSpec::new(problem, Layout::NCHW16C, cx, 0),
            conv,
            isa: cx.isa,
            tile,
            blocking: Blocking::derive(&shape, pair, cx.caches, cx.threads, cx.tuning),
            weights,
            rest,
        };
        let mc = plan.blocking.mc;
        plan.spec.workspace_lines_per_worker = plan.gathered_lines(mc)
            + CacheLine::for_f32s(SUMS * plan.sum_apart(mc) + KEPT_SUMS * plan.kept_len(mc));
        plan.spec.packed_lines = CacheLine::for_f32s(plan.weights.len())
            + plan.rest.as_ref().map_or(0, |(_, panels)| panels.lines());
        plan.spec.granularity = Granularity {
            c_in: 2 * CHANNEL_BLOCK,
            c_out: 2 * CHANNEL_BLOCK * tile.blocks,
            pixels: 2 * tile.pixels,
            ..Granularity::default()
        };
        plan.spec.cost.flops_executed = plan.phases().iter().map(|phase| phase.flops).sum();
        Ok(plan)
    }

    /// Output pixels of an image, and those in the first half.
    fn pixels(&self) -> [usize; 2] {
        let all = self.conv.h_out() * self.conv.w_out();
        [all, all.div_ceil(2)]
    }

    /// True if a task copies its inputs first.
    fn gathers(&self) -> bool {
        self.conv.stride != [1, 1]
    }

    /// Lines of the copied inputs of `pixels` pixels and their partners; 0 without a copy.
    fn gathered_lines(&self, pixels: usize) -> usize {
        if self.gathers() {
            2 * pixels * self.conv.c_in.div_ceil(CHANNEL_BLOCK)
        } else {
            0
        }
    }

    /// Elements between neighbouring sums of inputs of `pixels` pixels. One extra line separates them: at a power of
    /// two, all would map to the same cache set.
    fn sum_apart(&self, pixels: usize) -> usize {
        let channels = self.weights.half + self.weights.odd.next_multiple_of(CHANNEL_BLOCK);
        channels * pixels + CHANNEL_BLOCK
    }

    /// Elements of a kept sum.
    fn kept_len(&self, pixels: usize) -> usize {
        self.weights.width * pixels
    }

    /// Packed weights of the pairs, and of the panels without a partner.
    fn split<'a>(&'a self, packed: &'a [f32]) -> Packed<'a> {
        let pairs = CacheLine::for_f32s(self.weights.len()) * CacheLine::F32S;
        let (pairs, rest) = packed.split_at(pairs);
        Packed {
            pairs,
            unpaired: self.rest.as_ref().map_or(&[], |(_, panels)| panels.all()),
            rest,
        }
    }

    /// Quarters of a task with `pixels` pixels in each half, in place.
    fn quarters<'a>(&self, image: &'a [f32], start: usize, pixels: [usize; 2]) -> Quarters<'a> {
        let [all, first] = self.pixels();
        Quarters {
            data: &image[start * CHANNEL_BLOCK..],
            block_stride: all * CHANNEL_BLOCK,
            apart: first * CHANNEL_BLOCK,
            blocks: self.weights.half / CHANNEL_BLOCK,
            odd: self.weights.odd > 0,
            pixels: pixels[0],
            paired: pixels[1],
        }
    }

    /// Quarters of a task with `pixels` pixels in each half, copied to `gathered` if this is stale.
    fn gather<'a>(
        &self,
        image: &[f32],
        start: usize,
        pixels: [usize; 2],
        gathered: &'a mut [f32],
        is_stale: bool,
    ) -> Quarters<'a> {
        let half = pixels[0] * CHANNEL_BLOCK;
        if is_stale && self.isa.moves_data() {
            let starts = [start, self.pixels()[1] + start];
            for (half, (from, count)) in [0, half].into_iter().zip(starts.into_iter().zip(pixels)) {
                let to = &mut gathered[half..];
                copy_strided(&self.conv, image, from..from + count, to, 2 * pixels[0]);
            }
        }
        Quarters {
            data: gathered,
            block_stride: 2 * half,
            apart: half,
            ..self.quarters(&[], 0, pixels)
        }
    }
}

/// Refuses convolutions that can't be divided into halves, with the reason.
fn has_halves(conv: &ConvShape, tile: RegisterTile) -> Result<(), Unsupported> {
    let refuse = |reason: String| Err(Unsupported::new(reason));
    if conv.groups != 1 {
        return refuse("the channels are grouped".into());
    }
    if conv.c_in <= CHANNEL_BLOCK {
        return refuse("one block of 16 input channels has no halves".into());
    }
    if conv.h_out() * conv.w_out() < 2 {
        return refuse("one output pixel has no halves".into());
    }
    let least = 2 * tile.blocks * CHANNEL_BLOCK;
    if conv.c_out < least {
        return refuse(format!(
            "{} output channels are less than a pair of panels has, {least}",
            conv.c_out
        ));
    }
    Ok(())
}

/// Fraction of a register tile's speed that products with sums of half the length reach. The end of a tile, where it
/// adds and stores sums, takes as long as seven input channels. Fitted to 64 channels and more, from `convroof tune` on
/// Zen 3 (AVX2, one thread).
fn of_short_sums(conv: &ConvShape) -> f64 {
    let channels = (conv.c_in / 2) as f64;
    1.03 * channels / (channels + 7.0)
}

impl Plan for StrassenPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn phases(&self) -> Vec<PhaseCost> {
        let [all, first] = self.pixels().map(|pixels| (self.conv.n * pixels) as u64);
        let second = all - first;
        let floats = |n: u64| size_of::<f32>() as u64 * n;
        let count = |n: usize| n as u64;
        let out_blocks = self.conv.c_out.div_ceil(CHANNEL_BLOCK);
        let (half, width) = (count(self.weights.half), count(self.weights.width));
        let odd = count(self.weights.odd.next_multiple_of(CHANNEL_BLOCK));
        let tasks = self.conv.n * self.pixels()[1].div_ceil(self.blocking.mc);
        let groups = out_blocks.div_ceil(self.blocking.out_blocks);
        let prepared = count(preparations(tasks, groups, self.spec.threads));
        let tasks = count(tasks);
        let in_all = |once: u64| part(once, prepared, tasks);
        let terms = Product::ALL.map(|product| {
            let pixels = if product.of_second() { second } else { first };
            pixels * count(self.weights.terms(product))
        });
        let terms: u64 = terms.iter().sum();
        // Additions of P1 to U2 and U3, for outputs of both halves.
        let added = 2 * first + first + 2 * second + second;
        let rest = self
            .rest
            .as_ref()
            .map_or(0, |(_, panels)| all * panels.flops_per_tap());
        let pairs = count(self.weights.pairs);
        let output = floats(all * count(out_blocks * CHANNEL_BLOCK));
        let residual = u64::from(self.spec.problem.epilogue.residual) * output;
        let summed = first * count(SUMS) * half;
        let sums = floats(in_all(summed + odd * all));
        let input = floats((2 * half + odd) * all);
        let gathered = if self.gathers() { input } else { 0 };
        let multiply = PhaseCost::new(Phase::Multiply, pairs * (2 * terms + added) * width + rest);
        vec![
            PhaseCost {
                read: in_all(input),
                scratch_read: in_all(gathered),
                scratch_written: sums + in_all(gathered),
                ..PhaseCost::new(Phase::InputTransform, in_all(summed))
            },
            PhaseCost {
                read: tasks * count(self.spec.packed_lines * CacheLine::BYTES) + residual,
                written: output,
                scratch_read: pairs * floats(terms + added * width),
                scratch_written: pairs * floats((count(KEPT_SUMS) * first + second) * width),
                of_peak: multiply.of_peak * of_short_sums(&self.conv),
                ..multiply
            },
        ]
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let conv = &self.conv;
        let (pairs, rest) = packed.split_at_mut(CacheLine::for_f32s(self.weights.len()));
        self.weights.pack(conv, params, as_f32s_mut(pairs));
        if let Some((rest_conv, panels)) = &self.rest {
            let weights = params.filters(conv);
            let before = self.weights.outputs();
            let tensor = |dims, x| TensorRef::from_f32s(TensorDesc::f32(Layout::Nchw, dims), x);
            let dims = [rest_conv.c_out, conv.c_in, 1, 1];
            let bias = params.bias.map(|b| &b.f32s()[before..]);
            let params = Params {
                weights: Some(tensor(dims, &weights[before * conv.c_in..])),
                bias: bias.map(|b| tensor([1, rest_conv.c_out, 1, 1], b)),
            };
            panels.pack(rest_conv, params, rest);
        }
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let [all, first] = self.pixels();
        let out_blocks = self.conv.c_out.div_ceil(CHANNEL_BLOCK);
        let image = io.src.len() / self.conv.n;
        let grid = Grid {
            rows: self.conv.n * out_blocks,
            cols: first * CHANNEL_BLOCK,
            block_rows: self.blocking.out_blocks.min(out_blocks),
            block_cols: self.blocking.mc * CHANNEL_BLOCK,
            band: out_blocks,
        };
        let map = all * CHANNEL_BLOCK;
        let (src, residual, phases) = (io.src, io.residual, io.phases);
        let packed = self.split(io.packed);
        let work = |at: Block, out: [RowsMut<'_, f32>; 2], scratch: &mut [CacheLine]| {
            let mut laps = Laps::start(phases);
            let image = &src[at.row / out_blocks * image..][..image];
            let pixels = out.each_ref().map(|out| out.len() / CHANNEL_BLOCK);
            let (gathered, scratch) = scratch.split_at_mut(self.gathered_lines(pixels[0]));
            let start = at.col / CHANNEL_BLOCK;
            let quarters = if self.gathers() {
                let gathered = as_f32s_mut(gathered);
                self.gather(image, start, pixels, gathered, at.scratch_is_stale)
            } else {
                self.quarters(image, start, pixels)
            };
            let apart = self.sum_apart(pixels[0]);
            let (sums, kept) = as_f32s_mut(scratch).split_at_mut(SUMS * apart);
            if at.scratch_is_stale {
                self.isa.dispatch(InputSums {
                    quarters,
                    out: &mut *sums,
                    apart,
                });
            }
            laps.lap(Phase::InputTransform);
            let blocks = at.row % out_blocks;
            let residual = residual.map(|r| &r[at.row * map + at.col..]);
            let task = Task {
                isa: self.isa,
                weights: &self.weights,
                packed,
                quarters,
                sums,
                sum_apart: apart,
                residual: residual.map(|r| [r, r.get(grid.cols..).unwrap_or_default()]),
                relu: self.spec.problem.epilogue.relu,
                prefetch: PanelPrefetch::of_task(&self.blocking, pixels[0], self.tile).others,
                map,
            };
            task.multiply(blocks..blocks + out[0].rows(), out, kept);
            laps.lap(Phase::Multiply);
        };
        par_halves(io.exec, io.dst.f32s_mut(), grid, map, io.workspace, work);
    }
}
