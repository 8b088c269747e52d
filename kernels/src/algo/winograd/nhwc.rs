//! Plan of a Winograd convolution of narrow elements on NHWC: u8, s8 and bf16.
//!
//! Its stages are those of f32 (`plan.rs`), on words of several channels ([`Samples`]):
//!
//! | source | CPU | products |
//! |---|---|---|
//! | u8, s8 | any | pairs of 16-bit integers: exact |
//! | bf16 | with dot products of bf16 | pairs of bf16: transformed samples and weights are rounded |
//! | bf16 | others | f32 |
//!
//! A task has whole rows of tiles, so its outputs are consecutive pixels. Their sums stay in the worker's scratch until
//! [`Requantise`] makes outputs of them, one row of tiles after the other.

use super::weights::{Form, Weights};
use crate::blocking::{RegisterTile, WinogradBlocking, WinogradShape, part, preparations};
use crate::exec::{Block, Executor, Grid, RowsMut, Sharing, par_rows_sharing};
use crate::isa::{IsaToken, Words};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{
    Bf16s, Dot, F32, PanelTimesPixels, Prefetch, S16Dots, S16s, Source, TileEpilogue,
};
use crate::micro::outputs::Outputs;
use crate::micro::pixels::{PixelOffsets, StridedPixels};
use crate::micro::requantise::{Requantise, ResidualRows, Sum};
use crate::micro::winograd::Transforms;
use crate::micro::winograd_nhwc::{
    InputTransform, NhwcTransforms, OutputTransform, Samples, TileRows,
};
use crate::phase::{Laps, Phase, PhaseClock, PhaseCost};
use crate::plan::{
    Granularity, Params, Plan, PlanSpec, RunArgs, Target, Unsupported, bf16_conv, int8_conv,
};
use crate::problem::{ConvShape, DType, Problem, Requantisation};
use crate::tensor::{CacheLine, Layout, TensorRef, as_f32s, as_f32s_mut};
use std::ops::Range;

/// Products of transformed elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Products {
    /// f32s.
    F32,
    /// Pairs of bf16.
    Bf16,
    /// Pairs of 16-bit integers.
    S16,
    /// Pairs of 16-bit integers, on CPUs with dot products of them.
    S16Dots,
}

impl Products {
    /// Products for a source type, and the convolution of the problem.
    ///
    /// # Errors
    /// No convolution of narrow elements, sums that could overflow, or an instruction set that extends another by nothing for
    /// this layer.
    pub(super) fn of<'p>(
        problem: &'p Problem,
        cx: &Target<'_>,
    ) -> Result<(Products, &'p ConvShape), Unsupported> {
        let isa = cx.isa.isa();
        let (src, weights) = (problem.dtypes.src, problem.dtypes.weights);
        match (src, weights) {
            (DType::Bf16, DType::Bf16) => {
                let conv = bf16_conv(problem)?;
                if isa.has_dots(Words::Bf16) {
                    return Ok((Products::Bf16, conv));
                }
                cx.without_extension(src)?;
                Ok((Products::F32, conv))
            }
            (DType::U8 | DType::S8, DType::S8) => {
                let conv = int8_conv(problem)?;
                let largest = conv.largest_sum(src, problem.quantisation.src.zero);
                if largest.saturating_mul(4) > i32::MAX as u64 {
                    return Err(Unsupported::new(format!(
                        "four times a sum of {} products may reach 4 x {largest}, more than 32 bits hold",
                        conv.reduction_len()
                    )));
                }
                if isa.has_dots(Words::S16) {
                    return Ok((Products::S16Dots, conv));
                }
                cx.without_extension("16-bit integers")?;
                Ok((Products::S16, conv))
            }
            _ => {
                let reason = format!("{src} sources with {weights} weights");
                Err(Unsupported::new(reason))
            }
        }
    }

    /// True if products and their sums are integers.
    pub(super) const fn are_integers(self) -> bool {
        matches!(self, Products::S16 | Products::S16Dots)
    }

    /// Form of the transformed weights.
    const fn form(self) -> Form {
        match self {
            Products::F32 => Form::F32,
            Products::Bf16 => Form::Bf16,
            Products::S16 | Products::S16Dots => Form::FourfoldS16,
        }
    }
}

/// Plan of a Winograd convolution on NHWC.
pub(super) struct NhwcPlan {
    spec: PlanSpec,
    conv: ConvShape,
    products: Products,
    transforms: Transforms,
    nhwc: NhwcTransforms,
    isa: IsaToken,
    tile: RegisterTile,
    /// Blocks. A task's tiles are whole rows of tiles.
    blocking: WinogradBlocking,
    weights: Weights,
    steps: Requantisation,
}

impl NhwcPlan {
    /// Plan for a convolution that the scheme computes.
    ///
    /// # Errors
    /// When a task's transformed tiles would be too large.
    pub(super) fn new(
        problem: &Problem,
        conv: &ConvShape,
        products: Products,
        transforms: Transforms,
        nhwc: NhwcTransforms,
        cx: &Target<'_>,
    ) -> Result<Self, Unsupported> {
        let (m, slots) = (transforms.matrices().outputs, transforms.slots());
        let (tile, form) = (RegisterTile::of(cx.isa.isa()), products.form());
        let [rows, cols] = [conv.h_out(), conv.w_out()].map(|outputs| outputs.div_ceil(m));
        let shape = WinogradShape {
            images: conv.n,
            tiles: rows * cols,
            points: slots.points(),
            products: slots.products(),
            in_blocks: form.words(conv.c_in).div_ceil(CHANNEL_BLOCK),
            out_blocks: conv.c_out.div_ceil(CHANNEL_BLOCK),
        };
        let mut blocking = WinogradBlocking::derive(&shape, tile, cx.caches, cx.threads, cx.tuning);
        // Equal tasks of whole rows of tiles.
        let task_rows = ((blocking.tiles + cols / 2) / cols).max(1);
        let task_rows = rows.div_ceil(rows.div_ceil(task_rows));
        blocking = WinogradBlocking {
            tiles: task_rows * cols,
            out_blocks: blocking.out_blocks.min(shape.out_blocks),
            run_blocks: blocking.run_blocks.min(shape.out_blocks),
            ..blocking
        };
        let widest = shape.in_blocks.max(blocking.run_blocks) * CHANNEL_BLOCK;
        let lanes = blocking.tiles.checked_mul(widest);
        let lanes = lanes.and_then(|lanes| lanes.checked_mul(shape.points));
        if lanes.is_none_or(|lanes| lanes > u32::MAX as usize) {
            let reason = "the transformed tiles of a task would have 2^32 words or more";
            return Err(Unsupported::new(reason));
        }
        let mut plan = NhwcPlan {
            spec: PlanSpec {
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK * form.group(),
                    c_out: CHANNEL_BLOCK * tile.blocks,
                    h_out: m,
                    w_out: m,
                    pixels: m,
                },
                ..PlanSpec::new(problem, Layout::Nhwc, cx, 0)
            },
            weights: Weights::new(conv, conv.c_in, form, slots, blocking, tile.blocks),
            conv: *conv,
            products,
            transforms,
            nhwc,
            isa: cx.isa,
            tile,
            blocking,
            steps: Requantisation::new(&problem.attributes()),
        };
        let scratch = plan.scratch().into_iter().sum();
        plan.spec.workspace_lines_per_worker = CacheLine::for_f32s(scratch);
        plan.spec.packed_lines = CacheLine::for_f32s(plan.factors().end);
        plan.spec.cost.flops_executed = plan.phases().iter().map(|phase| phase.flops).sum();
        Ok(plan)
    }

    /// Outputs of a tile along an axis.
    fn outputs(&self) -> usize {
        self.transforms.matrices().outputs
    }

    fn points(&self) -> usize {
        self.transforms.slots().points()
    }

    /// Tiles in a row of tiles.
    fn cols(&self) -> usize {
        self.conv.w_out().div_ceil(self.outputs())
    }

    /// Output pixels of an image.
    fn pixels(&self) -> usize {
        self.conv.h_out() * self.conv.w_out()
    }

    fn out_blocks(&self) -> usize {
        self.conv.c_out.div_ceil(CHANNEL_BLOCK)
    }

    /// Bytes of an output.
    fn size(&self) -> usize {
        self.spec.problem.dtypes.dst.size()
    }

    /// Layout of the transformed input V of `tiles` tiles.
    fn v(&self, tiles: usize) -> TileRows {
        let words = self.products.form().words(self.conv.c_in);
        TileRows {
            tiles,
            row: words.next_multiple_of(CHANNEL_BLOCK),
        }
    }

    /// Layout of a run's products M for `tiles` tiles.
    fn m(&self, tiles: usize) -> TileRows {
        TileRows {
            tiles,
            row: self.blocking.run_blocks * CHANNEL_BLOCK,
        }
    }

    /// Words of V, of M, and of the sums of a row of tiles, for the most tiles of a task.
    fn scratch(&self) -> [usize; 3] {
        let (tiles, points) = (self.blocking.tiles, self.points());
        let m = self.m(tiles);
        let sums = self.outputs() * self.conv.w_out() * m.row;
        [self.v(tiles).before(points), m.before(points), sums]
    }

    /// Place of the factors of integer sums in the packed floats, after the weights. The biases are the first floats.
    fn factors(&self) -> Range<usize> {
        let first = self.weights.len();
        first..first + self.out_blocks() * CHANNEL_BLOCK
    }

    /// Division of the output's bytes into tasks. Consecutive tasks share their tiles.
    fn grid(&self) -> Grid {
        let (pixels, size) = (self.pixels(), self.size());
        let task_rows = self.blocking.tiles / self.cols();
        Grid {
            rows: self.conv.n * pixels,
            cols: self.conv.c_out * size,
            block_rows: task_rows * self.outputs() * self.conv.w_out(),
            block_cols: self.blocking.out_blocks * CHANNEL_BLOCK * size,
            band: pixels,
        }
    }

    fn samples(&self) -> Samples {
        let zero = self.spec.problem.quantisation.src.zero as i16;
        match self.products {
            Products::F32 => Samples::Bf16 { rounded: false },
            Products::Bf16 => Samples::Bf16 { rounded: true },
            Products::S16 | Products::S16Dots => Samples::Bytes {
                signed: self.spec.problem.dtypes.src == DType::S8,
                zero,
            },
        }
    }

    fn run_as<D: Dot>(&self, args: RunArgs<'_>, dot: D) {
        args.assert_fit(&self.spec);
        let RunArgs {
            src,
            residual,
            mut dst,
            packed,
            workspace,
            exec,
            phases,
        } = args;
        let (packed, image) = (as_f32s(packed), src.desc().bytes() / self.conv.n);
        par_rows_sharing(
            exec,
            dst.bytes_mut(),
            self.grid(),
            Sharing::Rows,
            &mut workspace[..self.spec.workspace_lines()],
            |at, out, scratch| {
                let first = at.row % self.pixels() / self.conv.w_out() / self.outputs();
                let rows = (out.rows() / self.conv.w_out()).div_ceil(self.outputs());
                let task = NhwcTask {
                    plan: self,
                    image: &src.bytes()[at.row / self.pixels() * image..][..image],
                    rows: first..first + rows,
                    at,
                    packed,
                    residual,
                    dot,
                };
                task.run(out, as_f32s_mut(scratch), phases);
            },
        );
    }
}

/// One task: some rows of tiles, in some output channels.
struct NhwcTask<'a, D> {
    plan: &'a NhwcPlan,
    /// The image of the source.
    image: &'a [u8],
    /// The rows of tiles.
    rows: Range<usize>,
    at: Block,
    packed: &'a [f32],
    residual: Option<TensorRef<'a>>,
    dot: D,
}

impl<D: Dot> NhwcTask<'_, D> {
    fn run(&self, mut out: RowsMut<'_, u8>, scratch: &mut [f32], phases: Option<&PhaseClock>) {
        let (plan, mut laps) = (self.plan, Laps::start(phases));
        let tiles = self.rows.len() * plan.cols();
        let [v, m, _] = plan.scratch();
        let (transformed, rest) = scratch.split_at_mut(v);
        let (products, sums) = rest.split_at_mut(m);
        if self.at.scratch_is_stale {
            let task = InputTransform {
                conv: &plan.conv,
                image: self.image,
                samples: plan.samples(),
                rows: self.rows.clone(),
                out: transformed,
                layout: plan.v(tiles),
            };
            plan.nhwc.input(plan.isa, task);
        }
        laps.lap(Phase::InputTransform);

        let first = self.at.col / plan.size();
        let end = first + out.len() / plan.size();
        for run in plan
            .weights
            .runs(first / CHANNEL_BLOCK..end.div_ceil(CHANNEL_BLOCK))
        {
            for point in 0..plan.points() {
                self.multiply(&run, point, tiles, transformed, products);
            }
            laps.lap(Phase::Multiply);
            for row in 0..self.rows.len() {
                self.finish(&run, row, products, sums, &mut out);
            }
            laps.lap(Phase::InverseTransform);
        }
    }

    /// Multiplies a run's panels with all tiles at one point.
    fn multiply(
        &self,
        run: &Range<usize>,
        point: usize,
        tiles: usize,
        transformed: &[f32],
        products: &mut [f32],
    ) {
        let plan = self.plan;
        let (v, m) = (plan.v(tiles), plan.m(tiles));
        let product = &mut products[m.before(point)..][..tiles * m.row];
        let mut product = RowsMut::new(product, m.row);
        for panel in plan.weights.panels(run) {
            let channels =
                (panel.start - run.start) * CHANNEL_BLOCK..(panel.end - run.start) * CHANNEL_BLOCK;
            plan.isa.dispatch(PanelTimesPixels {
                src: Source {
                    data: &transformed[v.before(point)..],
                    block: v.row,
                    block_stride: v.row,
                },
                pixels: PixelOffsets::Strided(StridedPixels {
                    pixels: tiles,
                    step: v.row,
                }),
                channels: 0..plan.weights.terms(point),
                panel: &self.packed[plan.weights.at(run, &panel, point)],
                epilogue: TileEpilogue::default(),
                prefetch: Prefetch::of_weights(plan.blocking.weights, tiles, plan.tile.pixels),
                out: Outputs::matrix(product.part(0..tiles, channels)),
                dot: self.dot,
            });
        }
    }

    /// Transforms a run's products of a row of tiles back, the `row`-th of the task, and stores its outputs.
    fn finish(
        &self,
        run: &Range<usize>,
        row: usize,
        products: &[f32],
        sums: &mut [f32],
        out: &mut RowsMut<'_, u8>,
    ) {
        let (plan, size) = (self.plan, self.plan.size());
        let (w_out, layout) = (plan.conv.w_out(), plan.m(self.rows.len() * plan.cols()));
        let first_row = row * plan.outputs();
        let height = plan.outputs().min(out.rows() / w_out - first_row);
        let pixels = first_row * w_out..(first_row + height) * w_out;
        let sums = &mut sums[..pixels.len() * layout.row];
        let task = OutputTransform {
            products,
            layout,
            integers: plan.products.are_integers(),
            first: row * plan.cols(),
            channels: run.len() * CHANNEL_BLOCK,
            size: [height, w_out],
            sums,
        };
        plan.nhwc.output(plan.isa, task);

        let own = run.start * CHANNEL_BLOCK..run.end * CHANNEL_BLOCK;
        let end = own.end.min(plan.conv.c_out);
        let first = self.at.col / size;
        plan.isa.dispatch(Requantise {
            sums,
            row: layout.row,
            lane: match plan.products.are_integers() {
                true => Sum::Integer,
                false => Sum::Float,
            },
            factors: &self.packed[plan.factors()][own.clone()],
            bias: match plan.spec.problem.epilogue.bias {
                true => &self.packed[own.clone()],
                false => &[],
            },
            residual: self
                .residual
                .map(|residual| ResidualRows::of(residual, self.at.row + pixels.start, own.start)),
            steps: &plan.steps,
            out: out.part(pixels, (own.start - first) * size..(end - first) * size),
        });
    }
}

impl Plan for NhwcPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn phases(&self) -> Vec<PhaseCost> {
        let (conv, spec, group) = (&self.conv, &self.spec, self.products.form().group());
        let matrices = self.transforms.matrices();
        let [m, t] = [matrices.outputs, matrices.points].map(|x| x as u64);
        let rows = conv.h_out().div_ceil(matrices.outputs);
        let tiles = (conv.n * rows * self.cols()) as u64;
        let [in_words, out_lanes] =
            [self.v(0).row, self.out_blocks() * CHANNEL_BLOCK].map(|x| x as u64);
        let task_rounds = conv.n * rows.div_ceil(self.blocking.tiles / self.cols());
        let groups = self.out_blocks().div_ceil(self.blocking.out_blocks);
        let prepared = preparations(task_rounds, groups, spec.threads) as u64;
        let task_rounds = task_rounds as u64;
        let in_all = |once: u64| part(once, prepared, task_rounds);
        let runs = self.out_blocks().div_ceil(self.blocking.run_blocks) as u64;
        let [input_ops, output_ops] = self.transforms.operations().map(|n| n as u64);

        let words = |n: u64| size_of::<f32>() as u64 * n;
        let transformed = words(tiles * in_words * t * t);
        let products = words(tiles * out_lanes * t * t);
        let channels = in_words * group as u64;
        let flops = 2 * tiles * (self.weights.all_terms() * group) as u64 * out_lanes;
        vec![
            PhaseCost {
                read: in_all(spec.src_desc().bytes() as u64),
                scratch_written: in_all(transformed),
                ..PhaseCost::new(
                    Phase::InputTransform,
                    in_all(tiles * channels * 2 * t * input_ops),
                )
            },
            PhaseCost {
                read: task_rounds * words(self.weights.len() as u64),
                scratch_read: runs * transformed,
                scratch_written: products,
                ..PhaseCost::new(Phase::Multiply, flops)
            },
            PhaseCost {
                read: spec.residual_desc().map_or(0, |desc| desc.bytes() as u64),
                written: spec.dst_desc().bytes() as u64,
                scratch_read: products,
                ..PhaseCost::new(
                    Phase::InverseTransform,
                    tiles * out_lanes * (t + m) * output_ops,
                )
            },
        ]
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let filters = params.filters(&self.conv);
        let (weights, rest) = as_f32s_mut(packed).split_at_mut(self.weights.len());
        let bias = params.bias.map(|b| b.f32s());
        let matrices = self.transforms.matrices();
        self.weights
            .pack(&self.conv, matrices, &filters, bias, weights);
        rest[..self.factors().len()].fill(0.0);
    }

    fn prepare_factors(&self, factors: &[f32], packed: &mut [CacheLine]) {
        let own = &mut as_f32s_mut(packed)[self.factors()];
        own[..self.conv.c_out].copy_from_slice(factors);
    }

    fn run(&self, args: RunArgs<'_>) {
        match self.products {
            Products::F32 => self.run_as(args, F32),
            Products::Bf16 => self.run_as(args, Bf16s),
            Products::S16 => self.run_as(args, S16s),
            Products::S16Dots => self.run_as(args, S16Dots),
        }
    }
}
