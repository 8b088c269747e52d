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

use super::blocked::{PanelLoop, ahead, offsets_fit};
use super::gemm_1x1::{conv_1x1, copy_strided};
use crate::blocking::{Blocking, GemmShape, RegisterTile, part, preparations};
use crate::cost::Accuracy;
use crate::exec::{Executor, Grid, RowsMut, par_halves};
use crate::isa::{Isa, IsaToken};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{Ahead, Finish, PanelTimesPixels, Source};
use crate::micro::outputs::{Outputs, Sums};
use crate::micro::pack::Panels;
use crate::micro::pixels::BlockedPixels;
use crate::micro::strassen::{InputSums, Quarters, SUMS};
use crate::phase::{Laps, Phase, PhaseCost};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Params, Plan, PlanCx, PlanSpec, RunArgs, Target,
    Unsupported,
};
use crate::problem::{ConvShape, ConvSpec, Problem};
use crate::tensor::{CacheLine, Layout, TensorDesc, TensorRef, as_f32s_mut};
use std::ops::Range;

/// 1x1 convolution by Strassen's algorithm.
#[derive(Debug)]
pub struct Strassen1x1;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "strassen-1x1",
    summary: "1x1 convolution on NCHW16c by Strassen's product in Winograd's form, any stride",
    isas: &Isa::ALL,
    accuracy: Accuracy::Transformed {
        // Root of the variance of C12, C21 or C22 relative to a plain sum, for inputs and weights of variance 1. |S|^2
        // |T|^2 of its four products is 1 + 9 + 4 + 4, each with half of the terms. Half of the terms round half as
        // much.
        amplification: 2.1213203435596424,
        channel_terms: 4,
    },
};

/// A product of a pair of panels, named by the sum or output that it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    P1,
    C11,
    U2,
    U3,
    /// Completes C22. P5 is kept, too.
    C22,
    C12,
    C21,
}

impl Product {
    /// Order of computation.
    const ALL: [Product; 7] = [
        Product::P1,
        Product::C11,
        Product::U2,
        Product::U3,
        Product::C22,
        Product::C12,
        Product::C21,
    ];

    /// True if it completes an output.
    fn ends(self) -> bool {
        !matches!(self, Product::P1 | Product::U2 | Product::U3)
    }

    /// True if it completes an output of the second half of the pixels, which may have one pixel less.
    fn of_second(self) -> bool {
        matches!(self, Product::C12 | Product::C22)
    }
}

/// Sums kept in scratch: P1 (later P5), U2, U3.
const WAITING: usize = 3;

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
    /// Pairs of panels.
    pairs: usize,
    /// Output channels after the pairs, if any.
    rest: Option<(ConvShape, Panels)>,
}

impl StrassenPlan {
    fn new(problem: &Problem, cx: &Target<'_>) -> Result<Self, Unsupported> {
        let conv = *conv_1x1(problem)?;
        offsets_fit(&conv)?;
        let refuse = |reason: String| Err(Unsupported::new(reason));
        if conv.groups != 1 {
            return refuse("the channels are grouped".into());
        }
        let in_blocks = conv.c_in.div_ceil(CHANNEL_BLOCK);
        if in_blocks < 2 {
            return refuse("one block of 16 input channels has no halves".into());
        }
        let pixels = conv.h_out() * conv.w_out();
        if pixels < 2 {
            return refuse("one output pixel has no halves".into());
        }
        let tile = RegisterTile::of(cx.isa.isa());
        let out_blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        // Full panels only: in lanes beyond c_out, rounding errors would remain instead of zeros.
        let pairs = conv.c_out / (2 * tile.blocks * CHANNEL_BLOCK);
        if pairs == 0 {
            let least = 2 * tile.blocks * CHANNEL_BLOCK;
            return refuse(format!(
                "{} output channels are less than a pair of panels has, {least}",
                conv.c_out
            ));
        }
        let paired = pairs * 2 * tile.blocks * CHANNEL_BLOCK;
        let rest = (paired < conv.c_out).then(|| {
            let rest = ConvSpec {
                c_out: conv.c_out - paired,
                ..*conv
            };
            let rest = ConvShape::try_from(rest).expect("fewer output channels");
            (rest, Panels::new(&rest, tile))
        });

        let half = in_blocks / 2 * CHANNEL_BLOCK;
        let panel_bytes = half * tile.blocks * CacheLine::BYTES;
        let first = pixels.div_ceil(2);
        let mut plan = StrassenPlan {
            spec: PlanSpec::new(problem, Layout::NCHW16C, cx, 0),
            conv,
            isa: cx.isa,
            tile,
            blocking: Blocking::derive(
                &GemmShape {
                    pixels: first,
                    images: conv.n,
                    out_blocks,
                    // A quarter or sum of inputs, and the kept sums of products.
                    bytes_per_pixel: half * size_of::<f32>()
                        + WAITING * tile.blocks * CacheLine::BYTES,
                    weight_bytes: pairs * Product::ALL.len() * panel_bytes,
                    panel_bytes,
                },
                RegisterTile {
                    blocks: 2 * tile.blocks,
                    ..tile
                },
                cx.caches,
                cx.threads,
                cx.tuning,
            ),
            pairs,
            rest,
        };
        let mc = plan.blocking.mc;
        plan.spec.workspace_lines_per_worker = plan.gathered_lines(mc)
            + CacheLine::for_f32s(SUMS * plan.sum_apart(mc) + WAITING * plan.waiting_len(mc));
        plan.spec.packed_lines = CacheLine::for_f32s(plan.pairs_len())
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

    /// Input channels per half.
    fn half(&self) -> usize {
        self.conv.c_in.div_ceil(CHANNEL_BLOCK) / 2 * CHANNEL_BLOCK
    }

    /// Input channels after the halves: those of an odd block.
    fn odd(&self) -> usize {
        self.conv.c_in.saturating_sub(2 * self.half())
    }

    /// Input channels of a product. Products that complete an output include those of an odd block.
    fn terms(&self, product: Product) -> usize {
        self.half() + if product.ends() { self.odd() } else { 0 }
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
        (self.half() + self.odd().next_multiple_of(CHANNEL_BLOCK)) * pixels + CHANNEL_BLOCK
    }

    /// Elements of a kept sum.
    fn waiting_len(&self, pixels: usize) -> usize {
        self.tile.blocks * pixels * CHANNEL_BLOCK
    }

    /// Floats per row of a panel.
    fn width(&self) -> usize {
        self.tile.blocks * CHANNEL_BLOCK
    }

    /// Position of a product's weights: a row in place of the bias, then one row per channel.
    fn weights_at(&self, pair: usize, product: Product) -> Range<usize> {
        let (rows, at) = (1 + self.terms(product), product as usize);
        let first = pair * self.rows(&Product::ALL) + self.rows(&Product::ALL[..at]);
        first * self.width()..(first + rows) * self.width()
    }

    /// Rows of some products' weights.
    fn rows(&self, products: &[Product]) -> usize {
        products.iter().map(|&p| 1 + self.terms(p)).sum()
    }

    /// Floats of the packed weights of all pairs of panels.
    fn pairs_len(&self) -> usize {
        self.pairs * self.rows(&Product::ALL) * self.width()
    }

    /// Quarters of a task with `first` pixels, `second` of which have a partner.
    fn quarters<'a>(
        &self,
        data: &'a [f32],
        (map, apart): (usize, usize),
        [first, second]: [usize; 2],
    ) -> Quarters<'a> {
        Quarters {
            data,
            block_stride: map * CHANNEL_BLOCK,
            blocks: self.half() / CHANNEL_BLOCK,
            odd: self.odd() > 0,
            pixels: first,
            paired: second,
            apart: apart * CHANNEL_BLOCK,
        }
    }
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
        let (half, width) = (count(self.half()), count(self.width()));
        let odd = count(self.odd().next_multiple_of(CHANNEL_BLOCK));
        let tasks = self.conv.n * self.pixels()[1].div_ceil(self.blocking.mc);
        let groups = out_blocks.div_ceil(self.blocking.out_blocks);
        let prepared = count(preparations(tasks, groups, self.spec.threads));
        let tasks = count(tasks);
        let in_all = |once: u64| part(once, prepared, tasks);
        let terms = Product::ALL.map(|product| {
            let pixels = if product.of_second() { second } else { first };
            pixels * count(self.terms(product))
        });
        let terms: u64 = terms.iter().sum();
        // Additions of P1 to U2 and U3, for outputs of both halves.
        let added = 2 * first + first + 2 * second + second;
        let rest = self
            .rest
            .as_ref()
            .map_or(0, |(_, panels)| all * panels.flops_per_tap());
        let pairs = count(self.pairs);
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
                scratch_written: pairs * floats((count(WAITING) * first + second) * width),
                of_peak: multiply.of_peak * of_short_sums(&self.conv),
                ..multiply
            },
        ]
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let conv = &self.conv;
        let weights = params.filters(conv);
        let bias = params.bias.map(|b| b.f32s());
        let (half, width) = (self.half(), self.width());
        let (pairs, rest) = packed.split_at_mut(CacheLine::for_f32s(self.pairs_len()));
        let pairs = as_f32s_mut(pairs);
        let products = |pair| Product::ALL.map(|product| (pair, product));
        for (pair, product) in (0..self.pairs).flat_map(products) {
            let panel = &mut pairs[self.weights_at(pair, product)];
            let (head, rows) = panel.split_at_mut(width);
            for lane in 0..width {
                let outs = [2 * pair, 2 * pair + 1].map(|panel| panel * width + lane);
                let bias = |of: usize| bias.map_or(0.0, |b| b[outs[of]]);
                // The bias enters each output once. U3 is part of both outputs of the second panel.
                head[lane] = match product {
                    Product::C11 | Product::C12 => bias(0),
                    Product::U3 => bias(1),
                    _ => 0.0,
                };
                let a = |of: usize, c: usize| {
                    let filter = &weights[outs[of] * conv.c_in..][..conv.c_in];
                    filter.get(c).map_or(0.0, |&w| f64::from(w))
                };
                for c in 0..self.terms(product) {
                    let quarter = |of: usize, half_at: usize| a(of, half_at * half + c);
                    let [a11, a12] = [0, 1].map(|at| quarter(0, at));
                    let [a21, a22] = [0, 1].map(|at| quarter(1, at));
                    let s1 = a21 + a22;
                    let s2 = s1 - a11;
                    // Weights of the odd block. P5 also adds C22's share to C12, so C12 subtracts it.
                    let [odd1, odd2] = [0, 1].map(|of| a(of, half + c));
                    let w = match (product, c < half) {
                        (Product::P1, _) => a11,
                        (Product::C11, true) => a12,
                        (Product::C11, false) => odd1,
                        (Product::U2, _) => s2,
                        (Product::U3, _) => a11 - a21,
                        (Product::C22, true) => s1,
                        (Product::C12, true) => a12 - s2,
                        (Product::C12, false) => odd1 - odd2,
                        (Product::C21, true) => -a22,
                        (Product::C22 | Product::C21, false) => odd2,
                    };
                    rows[c * width + lane] = w as f32;
                }
            }
        }
        if let Some((rest_conv, panels)) = &self.rest {
            let before = conv.c_out - rest_conv.c_out;
            let tensor = |dims, x| TensorRef::from_f32s(TensorDesc::f32(Layout::Nchw, dims), x);
            let dims = [rest_conv.c_out, conv.c_in, 1, 1];
            let params = Params {
                weights: Some(tensor(dims, &weights[before * conv.c_in..])),
                bias: bias.map(|b| tensor([1, rest_conv.c_out, 1, 1], &b[before..])),
            };
            panels.pack(rest_conv, params, rest);
        }
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let [all, first] = self.pixels();
        let conv = &self.conv;
        let out_blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        let image = io.src.len() / conv.n;
        let grid = Grid {
            rows: conv.n * out_blocks,
            cols: first * CHANNEL_BLOCK,
            block_rows: self.blocking.out_blocks.min(out_blocks),
            block_cols: self.blocking.mc * CHANNEL_BLOCK,
            band: out_blocks,
        };
        let row = all * CHANNEL_BLOCK;
        let dst = io.dst.f32s_mut();
        par_halves(
            io.exec,
            dst,
            (grid, row),
            io.workspace,
            |at, out, scratch| {
                let mut laps = Laps::start(io.phases);
                let image = &io.src[at.row / out_blocks * image..][..image];
                let counts = [out[0].len(), out[1].len()].map(|len| len / CHANNEL_BLOCK);
                let (gathered, scratch) = scratch.split_at_mut(self.gathered_lines(counts[0]));
                let start = at.col / CHANNEL_BLOCK;
                let quarters = if self.gathers() {
                    let gathered = as_f32s_mut(gathered);
                    if at.fresh && self.isa.moves_data() {
                        for (half, (from, count)) in
                            [start, first + start].into_iter().zip(counts).enumerate()
                        {
                            let to = &mut gathered[half * counts[0] * CHANNEL_BLOCK..];
                            copy_strided(conv, image, from..from + count, to, 2 * counts[0]);
                        }
                    }
                    self.quarters(gathered, (2 * counts[0], counts[0]), counts)
                } else {
                    self.quarters(&image[start * CHANNEL_BLOCK..], (all, first), counts)
                };
                let apart = self.sum_apart(counts[0]);
                let (sums, waiting) = as_f32s_mut(scratch).split_at_mut(SUMS * apart);
                if at.fresh {
                    self.isa.dispatch(InputSums {
                        quarters,
                        out: &mut *sums,
                        apart,
                    });
                }
                laps.lap(Phase::InputTransform);
                let blocks = at.row % out_blocks;
                let residual = io.residual.map(|r| &r[at.row * row + at.col..]);
                Task {
                    plan: self,
                    quarters,
                    sums: (&*sums, apart),
                    packed: io.packed,
                    residual: residual.map(|r| [r, r.get(grid.cols..).unwrap_or_default()]),
                    ahead: ahead(&self.blocking, true, counts[0], self.tile)[1],
                    row,
                }
                .multiply(blocks..blocks + out[0].rows(), out, waiting);
                laps.lap(Phase::Multiply);
            },
        );
    }
}

/// Sums to add, none of them kept.
fn added<'s>(added: [Option<&'s [f32]>; 2], stride: usize) -> Sums<'s> {
    Sums {
        added,
        kept: None,
        stride,
        near: false,
    }
}

/// Sums to add to an output that is itself a kept sum.
fn waiting<'s>(sums: [Option<&'s [f32]>; 2], stride: usize) -> Sums<'s> {
    Sums {
        near: true,
        ..added(sums, stride)
    }
}

/// Some pixels and their partners.
struct Task<'a> {
    plan: &'a StrassenPlan,
    quarters: Quarters<'a>,
    /// Sums of inputs, and the elements from one sum to the next.
    sums: (&'a [f32], usize),
    packed: &'a [f32],
    /// Residual of each half, in the order of the outputs.
    residual: Option<[&'a [f32]; 2]>,
    ahead: Ahead,
    /// Elements of an output's map.
    row: usize,
}

impl Task<'_> {
    /// Computes all products, for the output blocks of `out`.
    fn multiply(&self, blocks: Range<usize>, mut out: [RowsMut<'_, f32>; 2], waiting: &mut [f32]) {
        let panel = self.plan.tile.blocks;
        let paired = (self.plan.pairs * 2 * panel).clamp(blocks.start, blocks.end);
        for at in (0..paired - blocks.start).step_by(2 * panel) {
            self.pair(blocks.start, at, &mut out, waiting);
        }
        if paired < blocks.end {
            self.rest(paired - blocks.start, out);
        }
    }

    /// Computes the seven products of one pair of panels. The pair begins `at` blocks into the task, whose blocks begin
    /// at `first`.
    fn pair(
        &self,
        first: usize,
        at: usize,
        out: &mut [RowsMut<'_, f32>; 2],
        waiting_sums: &mut [f32],
    ) {
        let plan = self.plan;
        let Quarters {
            blocks,
            block_stride,
            pixels,
            paired,
            apart,
            data,
            odd: _,
        } = self.quarters;
        let lower = blocks * block_stride;
        let [b11, b21, b22] = [0, lower, lower + apart].map(|at| Source {
            data: data.get(at..).unwrap_or_default(),
            block: CHANNEL_BLOCK,
            block_stride,
        });
        let [t1, t2, t3, t4] = [0, 1, 2, 3].map(|t| Source {
            data: &self.sums.0[t * self.sums.1..],
            block: CHANNEL_BLOCK,
            block_stride: pixels * CHANNEL_BLOCK,
        });
        let stride = pixels * CHANNEL_BLOCK;
        let mut sums = waiting_sums.chunks_exact_mut(plan.waiting_len(pixels));
        let [p, u2, u3] = std::array::from_fn(|_| sums.next().expect("room for three"));
        let pair = (first + at) / (2 * plan.tile.blocks);
        let product = |which: Product,
                       src: Source<'_>,
                       finish: Finish<'_>,
                       out: RowsMut<'_, f32>,
                       sums: Sums<'_>| {
            plan.isa.dispatch(PanelTimesPixels {
                src,
                pixels: BlockedPixels {
                    pixels: out.len() / CHANNEL_BLOCK,
                },
                channels: 0..plan.terms(which),
                panel: &self.packed[plan.isa.panel(&plan.weights_at(pair, which))],
                epilogue: finish,
                ahead: self.ahead,
                out: Outputs::summed(out, sums),
            });
        };
        // Epilogue for a panel and a half of the pixels.
        let finish = |panel: usize, half: usize| Finish {
            pixel_bias: None,
            residual: self
                .residual
                .map(|r| &r[half][(at + panel * plan.tile.blocks) * self.row..]),
            relu: plan.spec.problem.epilogue.relu,
        };
        let panels = [0, 1].map(|panel| {
            let from = at + panel * plan.tile.blocks;
            from..from + plan.tile.blocks
        });
        let none = Finish::default;

        product(
            Product::P1,
            b11,
            none(),
            RowsMut::new(p, stride),
            waiting([None, None], stride),
        );
        let [left, right] = out;
        let all = 0..left.len();
        let c11 = left.part(panels[0].clone(), all.clone());
        product(
            Product::C11,
            b21,
            finish(0, 0),
            c11,
            added([Some(p), None], stride),
        );
        product(
            Product::U2,
            t2,
            none(),
            RowsMut::new(u2, stride),
            waiting([Some(p), None], stride),
        );
        product(
            Product::U3,
            t3,
            none(),
            RowsMut::new(u3, stride),
            waiting([Some(u2), None], stride),
        );
        if paired > 0 {
            let all = 0..right.len();
            let c22 = right.part(panels[1].clone(), all.clone());
            let sums = Sums {
                added: [Some(u3), None],
                kept: Some(&mut *p),
                stride,
                near: false,
            };
            product(Product::C22, t1, finish(1, 1), c22, sums);
            let c12 = right.part(panels[0].clone(), all);
            product(
                Product::C12,
                b22,
                finish(0, 1),
                c12,
                added([Some(u2), Some(p)], stride),
            );
        }
        let c21 = left.part(panels[1].clone(), all);
        product(
            Product::C21,
            t4,
            finish(1, 0),
            c21,
            added([Some(u3), None], stride),
        );
    }

    /// Multiplies the panels without a partner, from the `at`-th block of the task on.
    fn rest(&self, at: usize, out: [RowsMut<'_, f32>; 2]) {
        let plan = self.plan;
        let (_, panels) = plan.rest.as_ref().expect("channels that are in no pair");
        let packed = &self.packed[CacheLine::for_f32s(plan.pairs_len()) * CacheLine::F32S..];
        for (half, mut out) in out.into_iter().enumerate() {
            let pixels = out.len() / CHANNEL_BLOCK;
            if pixels == 0 {
                continue;
            }
            let (blocks, all) = (at..out.rows(), 0..out.len());
            PanelLoop {
                isa: plan.isa,
                panels: panels.all(),
                packed,
                finish: Finish {
                    pixel_bias: None,
                    residual: self.residual.map(|r| &r[half][at * self.row..]),
                    relu: plan.spec.problem.epilogue.relu,
                },
                ahead: [self.ahead; 2],
            }
            .multiply(
                Source {
                    data: &self.quarters.data[half * self.quarters.apart..],
                    block: CHANNEL_BLOCK,
                    block_stride: self.quarters.block_stride,
                },
                BlockedPixels { pixels },
                out.part(blocks, all),
            );
        }
    }
}
