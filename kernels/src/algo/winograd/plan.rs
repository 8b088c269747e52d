//! Plan of a Winograd convolution, for any scheme.

use super::space_to_depth::SpaceToDepth;
use super::weights::{Form, Weights};
use crate::algo::image::MOST_CHANNELS;
use crate::blocking::{RegisterTile, WinogradBlocking, WinogradShape, part, preparations};
use crate::exec::{Executor, RowsMut, TileGrid, TilesMut, par_tiles, share};
use crate::isa::IsaToken;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{F32, PanelTimesPixels, Prefetch, Source, TileEpilogue};
use crate::micro::outputs::Outputs;
use crate::micro::pixels::BlockedPixels;
use crate::micro::winograd::{InputTransform, OutputTransform, Transformed, Transforms};
use crate::phase::{Laps, Phase, PhaseClock, PhaseCost};
use crate::plan::{Granularity, Params, Plan, PlanSpec, RunArgs, Target};
use crate::problem::{ConvShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use std::ops::Range;

/// Plan of a Winograd convolution.
pub(super) struct WinogradPlan {
    spec: PlanSpec,
    /// The convolution of the tiles. For an image, it is the convolution of its phases.
    conv: ConvShape,
    /// Conversion of an image to phases, if the input is an image.
    image: Option<SpaceToDepth>,
    transforms: Transforms,
    isa: IsaToken,
    tile: RegisterTile,
    blocking: WinogradBlocking,
    weights: Weights,
}

impl WinogradPlan {
    /// Plan for a convolution of maps, or of the phases of an image. The scheme computes it.
    pub(super) fn new(
        problem: &Problem,
        conv: ConvShape,
        image: Option<SpaceToDepth>,
        transforms: Transforms,
        cx: &Target<'_>,
    ) -> Self {
        let (matrices, slots) = (transforms.matrices(), transforms.slots());
        let tile = RegisterTile::of(cx.isa.isa());
        let m = matrices.outputs;
        let [rows, cols] = [conv.h_out().div_ceil(m), conv.w_out().div_ceil(m)];
        let shape = WinogradShape {
            images: conv.n,
            tiles: rows * cols,
            points: slots.points(),
            products: slots.products(),
            in_blocks: conv.c_in.div_ceil(CHANNEL_BLOCK),
            out_blocks: conv.c_out.div_ceil(CHANNEL_BLOCK),
        };
        let mut blocking = WinogradBlocking::derive(&shape, tile, cx.caches, cx.threads, cx.tuning);
        if image.is_some() {
            // Whole rows of tiles: tasks that share rows of an image must both make the phases of these rows.
            blocking.tiles = ((blocking.tiles + cols / 2) / cols).max(1) * cols;
        }
        let last_row = image.map_or(conv.c_in, |image| image.with_last_row());
        let mut plan = WinogradPlan {
            spec: PlanSpec {
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK,
                    c_out: CHANNEL_BLOCK * tile.blocks,
                    h_out: m,
                    w_out: m,
                    pixels: m,
                },
                ..PlanSpec::new(problem, Layout::NCHW16C, cx, 0)
            },
            weights: Weights::new(&conv, last_row, Form::F32, slots, blocking, tile.blocks),
            conv,
            image,
            transforms,
            isa: cx.isa,
            tile,
            blocking,
        };
        if image.is_some() {
            plan.spec.layouts.src = Layout::Nchw;
            plan.spec.granularity.c_in = MOST_CHANNELS;
        }
        let [strip, _] = plan.strips();
        let [transformed, products] = plan.scratch(blocking.tiles);
        plan.spec.workspace_lines_per_worker = CacheLine::for_f32s(transformed + products + strip);
        plan.spec.packed_lines = CacheLine::for_f32s(plan.weights.len());
        plan.spec.cost.flops_executed = plan.phases().iter().map(|phase| phase.flops).sum();
        plan
    }

    fn in_blocks(&self) -> usize {
        self.conv.c_in.div_ceil(CHANNEL_BLOCK)
    }

    fn out_blocks(&self) -> usize {
        self.conv.c_out.div_ceil(CHANNEL_BLOCK)
    }

    /// Outputs of a tile along an axis.
    fn outputs(&self) -> usize {
        self.transforms.matrices().outputs
    }

    fn grid(&self) -> TileGrid {
        let cols = self.conv.w_out().div_ceil(self.outputs());
        TileGrid {
            images: self.conv.n,
            blocks: self.out_blocks(),
            map: [self.conv.h_out(), self.conv.w_out()],
            pixel: CHANNEL_BLOCK,
            tile: self.outputs(),
            task_tiles: self.blocking.tiles,
            task_step: if self.image.is_some() { cols } else { 1 },
            task_blocks: self.blocking.out_blocks,
        }
    }

    /// Layout of the transformed input V of `tiles` tiles.
    fn v(&self, tiles: usize) -> Transformed {
        Transformed::new(self.in_blocks(), tiles)
    }

    /// Layout of a run's products M for `tiles` tiles.
    fn m(&self, tiles: usize) -> Transformed {
        Transformed::new(self.blocking.run_blocks, tiles)
    }

    /// Floats of V and M of `tiles` tiles.
    fn scratch(&self, tiles: usize) -> [usize; 2] {
        let slots = self.transforms.slots();
        [
            self.v(tiles).before(slots.points(), slots.products()),
            self.m(tiles).before(slots.points(), slots.points()),
        ]
    }

    /// Input rows from the first of a row of tiles to that of the next.
    fn tile_step(&self) -> usize {
        self.outputs() * self.conv.stride[0]
    }

    /// Rows of the input that some tiles read, clipped to the input. A task makes these rows from an image.
    fn strip(&self, tiles: &Range<usize>) -> Range<usize> {
        let cols = self.grid().cols();
        let (first, last) = (tiles.start / cols, (tiles.end - 1) / cols);
        let step = self.tile_step();
        let samples = self.transforms.matrices().products;
        first * step..(last * step + samples).min(self.conv.h)
    }

    /// Floats of the strip of an image that some tiles read.
    fn strip_len(&self, tiles: &Range<usize>) -> usize {
        let rows = self.strip(tiles).len();
        self.image.map_or(0, |image| image.len(rows))
    }

    /// Floats of the largest strip of an image, and of all strips together.
    ///
    /// Shares are equal except for one row of tiles, and only the last strip ends with the map. So the sizes follow
    /// without a loop over all strips.
    fn strips(&self) -> [usize; 2] {
        let Some(image) = self.image else {
            return [0, 0];
        };
        let grid = self.grid();
        let (cols, shares) = (grid.cols(), grid.shares().size_hint().0);
        let rows = grid.tiles() / cols;
        let last = share(rows, shares, shares - 1);
        let last_len = self.strip_len(&(last.start * cols..last.end * cols));
        // Rows of tiles in the other strips, and the most that one of them has.
        let (others, before) = (shares - 1, last.start);
        let step = self.tile_step();
        let samples = self.transforms.matrices().products;
        let most = before.checked_div(others).map_or(0, |least| {
            let most = least + usize::from(!before.is_multiple_of(others));
            image.len((most - 1) * step + samples)
        });
        let all = image.len(before * step + others * samples - others * step);
        [most.max(last_len), all + last_len]
    }

    /// Transforms the input of a task's tiles. An image's phases are copied to `strip` first.
    fn transform_input(
        &self,
        src: &[f32],
        tiles: Range<usize>,
        strip: &mut [f32],
        transformed: &mut [f32],
        laps: &mut Laps<'_>,
    ) {
        let (maps, rows) = match &self.image {
            Some(image) => {
                let rows = self.strip(&tiles);
                if self.isa.moves_data() {
                    image.copy(src, rows.clone(), strip);
                }
                laps.lap(Phase::Pack);
                (&*strip, rows)
            }
            None => (src, 0..self.conv.h),
        };
        let task = InputTransform {
            conv: &self.conv,
            maps,
            rows,
            layout: self.v(tiles.len()),
            tiles,
            out: transformed,
        };
        self.transforms.input(self.isa, task);
    }

    /// Multiplies a run's panels with all tiles at one point.
    fn multiply(
        &self,
        packed: &[f32],
        run: &Range<usize>,
        point: usize,
        tiles: usize,
        transformed: &[f32],
        products: &mut [f32],
    ) {
        let (v, m, slots) = (self.v(tiles), self.m(tiles), self.transforms.slots());
        let block = m.tiles() * CHANNEL_BLOCK;
        let src = Source {
            data: &transformed[v.before(point, slots.before(point))..],
            block: CHANNEL_BLOCK,
            block_stride: v.tiles() * CHANNEL_BLOCK,
        };
        for panel in self.weights.panels(run) {
            let first = m.before(point, point) + (panel.start - run.start) * block;
            let product = &mut products[first..][..panel.len() * block];
            let weights = self.isa.panel(&self.weights.at(run, &panel, point));
            self.isa.dispatch(PanelTimesPixels {
                src,
                pixels: BlockedPixels { pixels: v.tiles() },
                channels: 0..self.weights.terms(point),
                panel: &packed[weights],
                epilogue: TileEpilogue::default(),
                prefetch: Prefetch::of_weights(self.blocking.weights, v.tiles(), self.tile.pixels),
                out: Outputs::blocked(RowsMut::new(product, block)),
                dot: F32,
            });
        }
    }

    /// Computes one task.
    fn task(&self, io: &Operands<'_>, mut out: TilesMut<'_, f32>, scratch: &mut [f32]) {
        let mut laps = Laps::start(io.phases);
        let (tiles, blocks) = (out.tiles(), out.blocks());
        let [transformed, _] = self.scratch(tiles.len());
        let (transformed, rest) = scratch.split_at_mut(transformed);
        let (strip, products) = rest.split_at_mut(self.strip_len(&tiles));
        if out.scratch_is_stale() {
            let image = io.src.len() / self.conv.n;
            let src = &io.src[out.image() * image..][..image];
            self.transform_input(src, tiles.clone(), strip, transformed, &mut laps);
        }
        laps.lap(Phase::InputTransform);

        for run in self.weights.runs(blocks) {
            for point in 0..self.transforms.slots().points() {
                self.multiply(io.packed, &run, point, tiles.len(), transformed, products);
            }
            laps.lap(Phase::Multiply);
            let task = OutputTransform {
                products,
                layout: self.m(tiles.len()),
                bias: &io.packed[run.start * CHANNEL_BLOCK..run.end * CHANNEL_BLOCK],
                residual: io.residual,
                relu: self.spec.problem.epilogue.relu,
                out: &mut out,
                first: run.start,
            };
            self.transforms.output(self.isa, task);
            laps.lap(Phase::InverseTransform);
        }
    }
}

/// Operands that all tasks of a run share.
struct Operands<'a> {
    src: &'a [f32],
    residual: Option<&'a [f32]>,
    packed: &'a [f32],
    phases: Option<&'a PhaseClock>,
}

impl Plan for WinogradPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn phases(&self) -> Vec<PhaseCost> {
        let (conv, grid) = (&self.conv, self.grid());
        let matrices = self.transforms.matrices();
        let [m, n, t] = [matrices.outputs, matrices.products, matrices.points].map(|x| x as u64);
        let tiles = (conv.n * grid.tiles()) as u64;
        let [padded_in, padded_out] =
            [self.in_blocks(), self.out_blocks()].map(|b| (b * CHANNEL_BLOCK) as u64);
        let task_rounds = conv.n * grid.tiles().div_ceil(self.blocking.tiles);
        let groups = self.out_blocks().div_ceil(self.blocking.out_blocks);
        let prepared = preparations(task_rounds, groups, self.spec.threads) as u64;
        let task_rounds = task_rounds as u64;
        let in_all = |once: u64| part(once, prepared, task_rounds);
        let runs = self.out_blocks().div_ceil(self.blocking.run_blocks) as u64;
        let [input_ops, output_ops] = self.transforms.operations().map(|n| n as u64);

        let floats = |n: u64| size_of::<f32>() as u64 * n;
        let transformed = floats(tiles * padded_in * n * n);
        let products = floats(tiles * padded_out * t * t);
        let [map_in, map_out] =
            [conv.h * conv.w, conv.h_out() * conv.w_out()].map(|p| (conv.n * p) as u64);
        let input = in_all(floats(map_in * padded_in));
        let output = floats(map_out * padded_out);
        let residual = u64::from(self.spec.problem.epilogue.residual) * output;
        let pack = self.image.map(|_| {
            let [_, copied] = self.strips();
            PhaseCost {
                read: in_all(self.spec.src_desc().bytes() as u64),
                scratch_written: in_all(floats((conv.n * copied) as u64)),
                ..PhaseCost::new(Phase::Pack, 0)
            }
        });
        let [read, scratch_read] = match pack {
            None => [input, 0],
            Some(_) => [0, input],
        };
        let input_flops = in_all(tiles * padded_in * 2 * n * input_ops);
        let flops = 2 * tiles * self.weights.all_terms() as u64 * padded_out;
        let output_flops = tiles * padded_out * (t + m) * output_ops;
        let transforms = [
            PhaseCost {
                read,
                scratch_read,
                scratch_written: in_all(transformed),
                ..PhaseCost::new(Phase::InputTransform, input_flops)
            },
            PhaseCost {
                read: task_rounds * floats(self.weights.len() as u64),
                scratch_read: runs * transformed,
                scratch_written: products,
                ..PhaseCost::new(Phase::Multiply, flops)
            },
            PhaseCost {
                read: residual,
                written: output,
                scratch_read: products,
                ..PhaseCost::new(Phase::InverseTransform, output_flops)
            },
        ];
        pack.into_iter().chain(transforms).collect()
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let filters = match &self.image {
            Some(image) => image.filters(params).into(),
            None => params.filters(&self.conv),
        };
        let packed = &mut as_f32s_mut(packed)[..self.weights.len()];
        let bias = params.bias.map(|b| b.f32s());
        let matrices = self.transforms.matrices();
        self.weights
            .pack(&self.conv, matrices, &filters, bias, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let operands = Operands {
            src: io.src,
            residual: io.residual,
            packed: io.packed,
            phases: io.phases,
        };
        let dst = io.dst.f32s_mut();
        par_tiles(io.exec, dst, self.grid(), io.workspace, |out, scratch| {
            self.task(&operands, out, as_f32s_mut(scratch));
        });
    }
}
