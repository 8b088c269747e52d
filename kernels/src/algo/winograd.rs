//! Winograd convolution on NCHW16c: tiles of the input are transformed, multiplied, and transformed back. This takes
//! fewer multiplications than outputs times taps. [`crate::micro::cook_toom`] derives the transforms.
//!
//! ```text
//! for a block of tiles:                              (a task)
//!     V[point][c][tile] = B' d B                      input transform, all channels
//!     for a run of panels of output channels:
//!         for each point, for each panel of the run:
//!             M[point][panel] = V[point] * U[point][panel]
//!         out = A' M A + bias, residual, ReLU         inverse transform
//! ```
//!
//! A run is one panel if V and a panel's M stay in L2. It is all panels if weights dominate ([`WinogradBlocking`]).
//! Weights lie in the order in which they are read. From L3 and memory they are prefetched (`micro/gemm/`).
//!
//! U = G g G' is computed in f64 when the weights are packed. Border tiles read zeros outside the input. Their outputs
//! outside the map are dropped. No padded copy is made.
//!
//! | | points | multiplications an output | of direct | weights |
//! |---|---|---|---|---|
//! | F(2,3) | 16 | 4 | 9 | 1.8 x |
//! | F(4,3) | 36 | 2.25 | 9 | 4 x |
//! | F(6,3) | 64 | 1.78 | 9 | 7.1 x |
//! | F(4,4) | 49 | 3.06 | 16 | 3.1 x |
//! | F(2,5) | 36 | 9 | 25 | 1.4 x |
//! | F(3,5) | 49 | 5.44 | 25 | 2 x |
//! | F(4,5) | 64 | 4 | 25 | 2.6 x |
//! | F(2,3), stride 2 | 9 | 6.25 | 9 | 2.8 x |
//! | F(4,3), stride 2 | 25 | 5.06 | 9 | 9 x |
//!
//! The first layer of a network has large filters, large strides and few channels. Its image is split into phases, and
//! each phase becomes a channel (`algo/space_to_depth.rs`). ResNet's 7x7 filter uses F(4,4) with 12 channels: 36.75
//! multiplications in place of 147. AlexNet's 11x11 filter uses F(4,3) with 48 channels: 108 in place of 363. A task
//! makes the rows of phases that its tiles read.
//!
//! **Costs in accuracy.** Errors grow with m and the number of taps
//! ([`Matrices::amplification`](crate::micro::cook_toom::Matrices::amplification)). They are relative to the largest
//! values in a tile and its channels. So a large offset or one huge channel hides small values, and a direct sum loses
//! less.
//!
//! A NaN or an infinity in the input reaches only outputs of the tiles that read it. That is up to four tiles, or nine
//! for F(2,5) and F(3,5), whose tiles overlap more. An infinity becomes a NaN there, as inf - inf. `tests/winograd.rs`
//! measures both effects.

use super::image::MOST_CHANNELS;
use super::space_to_depth::SpaceToDepth;
use crate::arch::KernelSimd;
use crate::blocking::{RegisterTile, WinogradBlocking, WinogradShape, part, preparations};
use crate::cost::Accuracy;
use crate::exec::{Executor, RowsMut, TileGrid, TilesMut, par_tiles, share};
use crate::isa::{Isa, IsaToken, SimdTask};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::cook_toom::{self, Scheme};
use crate::micro::gemm::{Ahead, Finish, PanelTimesPixels, Source};
use crate::micro::outputs::Outputs;
use crate::micro::pixels::BlockedPixels;
use crate::micro::winograd::{InputTiles, OutputTiles, Slots, Transformed, transform_filter};
use crate::phase::{Laps, Phase, PhaseCost};
use crate::plan::{
    Algorithm, AlgorithmMeta, Granularity, Params, Plan, PlanCx, PlanSpec, RunArgs, Target,
    Unsupported, f32_conv,
};
use crate::problem::{ConvShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use std::marker::PhantomData;
use std::ops::Range;

/// Defines an algorithm for each scheme.
macro_rules! algorithms {
    ($($name:ident = $scheme:ident<$m:literal, $n:literal, $t:literal> $of:ident, $id:literal, $summary:literal;)*) => {
        $(
            #[doc = concat!("Winograd ", $summary)]
            #[derive(Debug)]
            pub struct $name;

            impl Algorithm for $name {
                fn meta(&self) -> &'static AlgorithmMeta {
                    static META: AlgorithmMeta = AlgorithmMeta {
                        id: $id,
                        summary: concat!("Winograd ", $summary, ", any padding"),
                        isas: &Isa::ALL,
                        accuracy: Accuracy::Transformed {
                            amplification: cook_toom::$scheme::MATRICES.worst_amplification(),
                            channel_terms: cook_toom::$scheme::MATRICES.taps.pow(2),
                        },
                    };
                    &META
                }

                fn plan(
                    &self,
                    problem: &Problem,
                    cx: &PlanCx<'_>,
                ) -> Result<Box<dyn Plan>, Unsupported> {
                    let cx = &cx.target()?;
                    Ok(Box::new(WinogradPlan::<cook_toom::$scheme, $m, $n, $t>::$of(problem, cx)?))
                }
            }
        )*
    };
}

algorithms! {
    WinogradF2x3 = F2x3<2, 4, 4> of_maps, "winograd-f2x3", "F(2x2,3x3) on NCHW16c";
    WinogradF4x3 = F4x3<4, 6, 6> of_maps, "winograd-f4x3", "F(4x4,3x3), points 0, +-1/sqrt2, +-sqrt2, on NCHW16c";
    WinogradF4x3Std = F4x3Std<4, 6, 6> of_maps, "winograd-f4x3-std", "F(4x4,3x3), points 0, +-1, +-2, on NCHW16c";
    WinogradF6x3 = F6x3<6, 8, 8> of_maps, "winograd-f6x3", "F(6x6,3x3) on NCHW16c";
    WinogradF2x5 = F2x5<2, 6, 6> of_maps, "winograd-f2x5", "F(2x2,5x5) on NCHW16c";
    WinogradF3x5 = F3x5<3, 7, 7> of_maps, "winograd-f3x5", "F(3x3,5x5) on NCHW16c";
    WinogradF4x5 = F4x5<4, 8, 8> of_maps, "winograd-f4x5", "F(4x4,5x5) on NCHW16c";
    WinogradF2x3S2 = F2x3S2<2, 5, 3> of_maps, "winograd-f2x3-s2", "F(2x2,3x3) with stride 2 on NCHW16c";
    WinogradF4x3S2 = F4x3S2<4, 9, 5> of_maps, "winograd-f4x3-s2", "F(4x4,3x3) with stride 2 on NCHW16c";
    WinogradF4x3S2d = F4x3<4, 6, 6> of_image, "winograd-f4x3-s2d", "F(4x4,3x3) of an image's phases (space to depth) into NCHW16c";
    WinogradF4x4S2d = F4x4<4, 7, 7> of_image, "winograd-f4x4-s2d", "F(4x4,4x4) of an image's phases (space to depth) into NCHW16c";
}

struct WinogradPlan<W, const M: usize, const N: usize, const T: usize> {
    spec: PlanSpec,
    /// The convolution of the tiles. For an image, it is the convolution of its phases.
    conv: ConvShape,
    /// Conversion of an image to phases, if the input is an image.
    image: Option<SpaceToDepth>,
    isa: IsaToken,
    tile: RegisterTile,
    blocking: WinogradBlocking,
    points: Vec<Point>,
    phases: Vec<PhaseCost>,
    _scheme: PhantomData<W>,
}

impl<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize> WinogradPlan<W, M, N, T> {
    /// Plan for blocked channels.
    fn of_maps(problem: &Problem, cx: &Target<'_>) -> Result<Self, Unsupported> {
        let conv = *f32_conv(problem)?;
        let taps = const { W::MATRICES.taps };
        if conv.kernel != [taps, taps] {
            return Err(Unsupported::new(format!("the kernel is not {taps}x{taps}")));
        }
        Self::new(problem, (conv, None), cx)
    }

    /// Plan for an image.
    fn of_image(problem: &Problem, cx: &Target<'_>) -> Result<Self, Unsupported> {
        let image = SpaceToDepth::of(f32_conv(problem)?)?;
        let (conv, taps) = (image.conv(), const { W::MATRICES.taps });
        if conv.kernel != [taps, taps] {
            return Err(Unsupported::new(format!(
                "the kernel is not {taps} steps high and wide"
            )));
        }
        Self::new(problem, (conv, Some(image)), cx)
    }

    fn new(
        problem: &Problem,
        (conv, image): (ConvShape, Option<SpaceToDepth>),
        cx: &Target<'_>,
    ) -> Result<Self, Unsupported> {
        let stride = const { W::MATRICES.stride };
        let refuse = |reason: String| Err(Unsupported::new(reason));
        if conv.stride != [stride, stride] {
            return refuse(format!("the stride is not {stride}"));
        }
        if conv.dilation != [1, 1] {
            return refuse("the filter is dilated".into());
        }
        if conv.groups != 1 {
            return refuse("the channels are grouped".into());
        }
        let tile = RegisterTile::of(cx.isa.isa());
        let [rows, cols] = [conv.h_out().div_ceil(M), conv.w_out().div_ceil(M)];
        let in_blocks = conv.c_in.div_ceil(CHANNEL_BLOCK);
        let out_blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        let shape = WinogradShape {
            images: conv.n,
            tiles: rows * cols,
            points: T * T,
            products: N * N,
            in_blocks,
            out_blocks,
        };
        let mut blocking = WinogradBlocking::derive(&shape, tile, cx.caches, cx.threads, cx.tuning);
        if image.is_some() {
            // Whole rows of tiles: tasks that share rows of an image must both make the phases of these rows.
            blocking.tiles = ((blocking.tiles + cols / 2) / cols).max(1) * cols;
        }

        let tiles = (conv.n * rows * cols) as u64;
        let [padded_in, padded_out] = [in_blocks, out_blocks].map(|b| (b * CHANNEL_BLOCK) as u64);
        let [input, output] = W::operations().map(|n| n as u64);
        let task_rounds = conv.n * (rows * cols).div_ceil(blocking.tiles);
        let groups = out_blocks.div_ceil(blocking.out_blocks);
        let prepared = preparations(task_rounds, groups, cx.threads) as u64;
        let task_rounds = task_rounds as u64;
        let in_all = |once: u64| part(once, prepared, task_rounds);
        let last_row = image.map_or(conv.c_in, |image| image.with_last_row());
        let points = points::<N, T>(&conv, last_row);
        let terms: usize = points.iter().map(|p| p.terms).sum();
        let flops = [
            in_all(tiles * padded_in * 2 * N as u64 * input),
            2 * tiles * terms as u64 * padded_out,
            tiles * padded_out * (T + M) as u64 * output,
        ];
        let runs = out_blocks.div_ceil(blocking.run_blocks) as u64;

        let mut plan = WinogradPlan {
            spec: PlanSpec {
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK,
                    c_out: CHANNEL_BLOCK * tile.blocks,
                    h_out: M,
                    w_out: M,
                    pixels: M,
                },
                ..PlanSpec::new(problem, Layout::NCHW16C, cx, flops.iter().sum())
            },
            conv,
            image,
            isa: cx.isa,
            tile,
            blocking,
            points,
            phases: Vec::new(),
            _scheme: PhantomData,
        };
        let (v, m) = (plan.inputs(blocking.tiles), plan.outputs(blocking.tiles));
        let elements = v.before(T * T, N * N) + m.before(T * T, T * T);
        let [strip, copied] = plan.strips();
        plan.spec.workspace_lines_per_worker = CacheLine::for_f32s(elements + strip);
        plan.spec.packed_lines = CacheLine::for_f32s(plan.packed_len());
        let floats = |n: u64| size_of::<f32>() as u64 * n;
        let transformed = floats(tiles * padded_in * (N * N) as u64);
        let products = floats(tiles * padded_out * (T * T) as u64);
        let [map_in, map_out] =
            [conv.h * conv.w, conv.h_out() * conv.w_out()].map(|p| (conv.n * p) as u64);
        let added = u64::from(problem.epilogue.residual);
        let input = in_all(floats(map_in * padded_in));
        if image.is_some() {
            plan.spec.layouts.src = Layout::Nchw;
            plan.spec.granularity.c_in = MOST_CHANNELS;
            plan.phases.push(PhaseCost {
                read: in_all(plan.spec.src_desc().bytes() as u64),
                scratch_written: in_all(floats((conv.n * copied) as u64)),
                ..PhaseCost::new(Phase::Pack, 0)
            });
        }
        let (read, scratch_read) = if image.is_some() {
            (0, input)
        } else {
            (input, 0)
        };
        plan.phases.extend([
            PhaseCost {
                read,
                scratch_read,
                scratch_written: in_all(transformed),
                ..PhaseCost::new(Phase::InputTransform, flops[0])
            },
            PhaseCost {
                read: task_rounds * floats(plan.packed_len() as u64),
                scratch_read: runs * transformed,
                scratch_written: products,
                ..PhaseCost::new(Phase::Multiply, flops[1])
            },
            PhaseCost {
                read: added * floats(map_out * padded_out),
                written: floats(map_out * padded_out),
                scratch_read: products,
                ..PhaseCost::new(Phase::InverseTransform, flops[2])
            },
        ]);
        Ok(plan)
    }

    fn grid(&self) -> TileGrid {
        let cols = self.conv.w_out().div_ceil(M);
        TileGrid {
            images: self.conv.n,
            blocks: self.all_out(),
            map: [self.conv.h_out(), self.conv.w_out()],
            pixel: CHANNEL_BLOCK,
            tile: M,
            task_tiles: self.blocking.tiles,
            task_step: if self.image.is_some() { cols } else { 1 },
            task_blocks: self.blocking.out_blocks,
        }
    }

    /// Rows of the input that some tiles read, clipped to the input. A task makes these rows from an image.
    fn strip(&self, tiles: &Range<usize>) -> Range<usize> {
        let cols = self.grid().cols();
        let (first, last) = (tiles.start / cols, (tiles.end - 1) / cols);
        let step = M * self.conv.stride[0];
        first * step..(last * step + N).min(self.conv.h)
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
        let step = M * self.conv.stride[0];
        let most = before.checked_div(others).map_or(0, |least| {
            let most = least + usize::from(!before.is_multiple_of(others));
            image.len((most - 1) * step + N)
        });
        let all = image.len(before * step + others * N - others * step);
        [most.max(last_len), all + last_len]
    }

    /// Floats of the strip of an image that some tiles read.
    fn strip_len(&self, tiles: &Range<usize>) -> usize {
        let rows = self.strip(tiles).len();
        self.image.map_or(0, |image| image.len(rows))
    }

    /// Layout of the transformed input of `tiles` tiles.
    fn inputs(&self, tiles: usize) -> Transformed {
        Transformed::new(self.conv.c_in.div_ceil(CHANNEL_BLOCK), tiles)
    }

    /// Layout of a run's products for `tiles` tiles.
    fn outputs(&self, tiles: usize) -> Transformed {
        Transformed::new(self.blocking.run_blocks, tiles)
    }

    fn all_out(&self) -> usize {
        self.conv.c_out.div_ceil(CHANNEL_BLOCK)
    }

    /// Splits blocks into groups of `size`.
    fn groups(blocks: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
        let end = blocks.end;
        let group = move |first: usize| first..(first + size).min(end);
        blocks.step_by(size).map(group)
    }

    /// The runs of some blocks. At each point, all panels of a run are multiplied before the next point.
    fn runs(&self, blocks: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        Self::groups(blocks, self.blocking.run_blocks)
    }

    /// The panels of a run.
    fn panels(&self, run: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<W, M, N, T> {
        Self::groups(run.clone(), self.tile.blocks)
    }

    fn packed_len(&self) -> usize {
        self.all_out() * CHANNEL_BLOCK * (1 + self.rows())
    }

    /// Rows of weights of all points.
    fn rows(&self) -> usize {
        self.points.last().map_or(0, |p| p.rows + 1 + p.terms)
    }

    /// Position of a panel's weights at a point.
    ///
    /// Weights follow all biases, run by run and point by point, in the order in which they are read. A panel's first
    /// row holds zeros, because the product expects a bias there. Then follows one row for each term of the sum.
    fn weights_at(&self, run: &Range<usize>, panel: &Range<usize>, point: &Point) -> Range<usize> {
        let rows = 1 + point.terms;
        let before =
            run.start * self.rows() + run.len() * point.rows + (panel.start - run.start) * rows;
        let first = (self.all_out() + before) * CHANNEL_BLOCK;
        first..first + rows * panel.len() * CHANNEL_BLOCK
    }

    /// Multiplies a run's panels with all tiles at one point.
    fn multiply(
        &self,
        (packed, run, point): (&[f32], &Range<usize>, usize),
        (transformed, v): (&[f32], Transformed),
        (products, m): (&mut [f32], Transformed),
    ) {
        let own = &self.points[point];
        for panel in self.panels(run) {
            let block = m.tiles() * CHANNEL_BLOCK;
            let first = m.before(point, point) + (panel.start - run.start) * block;
            let product = &mut products[first..][..panel.len() * block];
            let weights = self.isa.panel(&self.weights_at(run, &panel, own));
            self.isa.dispatch(PanelTimesPixels {
                src: Source {
                    data: &transformed[v.before(point, own.products)..],
                    block: CHANNEL_BLOCK,
                    block_stride: v.tiles() * CHANNEL_BLOCK,
                },
                pixels: BlockedPixels { pixels: v.tiles() },
                channels: 0..own.terms,
                panel: &packed[weights],
                epilogue: Finish::default(),
                ahead: Ahead::of_weights(self.blocking.weights, v.tiles(), self.tile.pixels),
                out: Outputs::blocked(RowsMut::new(product, block)),
            });
        }
    }
}

/// Share of one point in the work.
struct Point {
    /// Number of products at earlier points.
    products: usize,
    /// Rows of packed weights of earlier points.
    rows: usize,
    /// Terms of the sum: all channels of each product, without the padded channels of the last product.
    terms: usize,
}

/// Points of N x N products. With stride 1, the points at infinity use only the last row of taps.
///
/// Only the first `last_row` channels have that row.
fn points<const N: usize, const T: usize>(conv: &ConvShape, last_row: usize) -> Vec<Point> {
    let (mut products, mut rows) = (0, 0);
    let point = |p| {
        let own = Slots::<N, T>::at(p);
        let channels = if p / T + 1 == T { last_row } else { conv.c_in };
        let terms = (own - 1) * conv.c_in.next_multiple_of(CHANNEL_BLOCK) + channels;
        let point = Point {
            products,
            rows,
            terms,
        };
        (products, rows) = (products + own, rows + 1 + terms);
        point
    };
    (0..T * T).map(point).collect()
}

/// Input transform of some tiles.
struct TransformInput<'a, W, const M: usize, const N: usize, const T: usize> {
    plan: &'a WinogradPlan<W, M, N, T>,
    /// The maps, or some rows of them.
    maps: &'a [f32],
    rows: Range<usize>,
    tiles: Range<usize>,
    out: &'a mut [f32],
}

impl<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize> SimdTask
    for TransformInput<'_, W, M, N, T>
{
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let conv = &self.plan.conv;
        let step = M * conv.stride[0];
        let cols = conv.w_out().div_ceil(M);
        let layout = self.plan.inputs(self.tiles.len());
        let mut products = [[0; N]; N];
        for (i, row) in products.iter_mut().enumerate() {
            for (j, at) in row.iter_mut().enumerate() {
                let (point, which) = Slots::<N, T>::of(i, j);
                *at = layout.before(point, self.plan.points[point].products + which);
            }
        }
        let read = |axis: usize, size: usize, out: usize, before: usize| {
            let end = (out - 1) * conv.stride[axis] + conv.kernel[axis];
            end.saturating_sub(before).min(size)
        };
        let rows_read = read(0, conv.h, conv.h_out(), conv.pad.top + self.rows.start);
        let rows_read = rows_read.min(self.rows.len());
        let columns_read = read(1, conv.w, conv.w_out(), conv.pad.left);
        let map = [self.rows.len(), conv.w];
        let read = [rows_read, columns_read];
        let mut tiles = InputTiles::new((self.maps, map, read), (self.out, layout), products);
        for block in 0..layout.blocks() {
            for (at, tile) in self.tiles.clone().enumerate() {
                let first = |tile: usize, pad: usize| (tile * step) as isize - pad as isize;
                let y = first(tile / cols, conv.pad.top + self.rows.start);
                let x = first(tile % cols, conv.pad.left);
                tiles.transform::<S, M, T, W>(simd, block, at, [y, x]);
            }
        }
    }
}

/// Inverse transform of some channel blocks.
struct TransformOutput<'a, 'o, W, const M: usize, const N: usize, const T: usize> {
    tiles: OutputTiles<'a>,
    bias: &'a [f32],
    residual: Option<&'a [f32]>,
    /// The output, and its first block.
    out: (&'a mut TilesMut<'o, f32>, usize),
    _scheme: PhantomData<W>,
}

impl<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize> SimdTask
    for TransformOutput<'_, '_, W, M, N, T>
{
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let (out, first) = self.out;
        let (biases, _) = self.bias.as_chunks();
        for (block, bias) in biases.iter().enumerate() {
            for (at, tile) in out.tiles().enumerate() {
                let residual = self.residual.map(|r| &r[out.offset(first + block, tile)..]);
                let to = &mut out.tile(first + block, tile);
                self.tiles
                    .transform::<S, M, N, T, W>(simd, [block, at], bias, residual, to);
            }
        }
    }
}

impl<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize> Plan
    for WinogradPlan<W, M, N, T>
{
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn phases(&self) -> Vec<PhaseCost> {
        self.phases.clone()
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let conv = &self.conv;
        let weights = match &self.image {
            Some(image) => image.filters(params).into(),
            None => params.filters(conv),
        };
        let packed = &mut as_f32s_mut(packed)[..self.packed_len()];
        packed.fill(0.0);
        let matrices = &W::MATRICES;
        let filters = weights.chunks_exact(conv.kernel[0] * conv.kernel[1]);
        let groups: Vec<_> = Self::groups(0..self.all_out(), self.blocking.out_blocks)
            .flat_map(|task| self.runs(task))
            .flat_map(|run| self.panels(&run).map(move |panel| (run.clone(), panel)))
            .collect();
        for (at, filter) in filters.enumerate() {
            let (out, c) = (at / conv.c_in, at % conv.c_in);
            // The panel of this output, its width in floats, and the lane of the output in the panel.
            let [block, lane] = [out / CHANNEL_BLOCK, out % CHANNEL_BLOCK];
            let mut of_block = groups.iter().filter(|(_, panel)| panel.contains(&block));
            let (run, panel) = of_block.next().expect("every block has its panel");
            let width = panel.len() * CHANNEL_BLOCK;
            let lane = (block - panel.start) * CHANNEL_BLOCK + lane;
            for (i, row) in transform_filter::<N>(matrices, filter).iter().enumerate() {
                for (j, &u) in row.iter().enumerate() {
                    let (point, which) = Slots::<N, T>::of(i, j);
                    let row = 1 + which * conv.c_in.next_multiple_of(CHANNEL_BLOCK) + c;
                    let weights = &mut packed[self.weights_at(run, panel, &self.points[point])];
                    // If a point lacks a channel, all weights of the channel are zeros there.
                    if let Some(weight) = weights.get_mut(row * width + lane) {
                        *weight = u;
                    }
                }
            }
        }
        if let Some(bias) = params.bias {
            packed[..conv.c_out].copy_from_slice(bias.f32s());
        }
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let conv = &self.conv;
        let input = io.src.len() / conv.n;
        let dst = io.dst.f32s_mut();
        par_tiles(
            io.exec,
            dst,
            self.grid(),
            io.workspace,
            |mut out, scratch| {
                let mut laps = Laps::start(io.phases);
                let (tiles, blocks) = (out.tiles(), out.blocks());
                let (v, m) = (self.inputs(tiles.len()), self.outputs(tiles.len()));
                let scratch = as_f32s_mut(scratch);
                let (transformed, rest) = scratch.split_at_mut(v.before(T * T, N * N));
                let (strip, products) = rest.split_at_mut(self.strip_len(&tiles));
                if out.fresh() {
                    let input = &io.src[out.image() * input..][..input];
                    let (maps, rows) = match &self.image {
                        Some(image) => {
                            let rows = self.strip(&tiles);
                            if self.isa.moves_data() {
                                image.copy(input, rows.clone(), strip);
                            }
                            laps.lap(Phase::Pack);
                            (&*strip, rows)
                        }
                        None => (input, 0..conv.h),
                    };
                    self.isa.dispatch(TransformInput {
                        plan: self,
                        maps,
                        rows,
                        tiles,
                        out: &mut *transformed,
                    });
                }
                laps.lap(Phase::InputTransform);

                for run in self.runs(blocks) {
                    for point in 0..T * T {
                        let from = (&*transformed, v);
                        self.multiply((io.packed, &run, point), from, (products, m));
                    }
                    laps.lap(Phase::Multiply);
                    self.isa.dispatch(TransformOutput::<W, M, N, T> {
                        tiles: OutputTiles {
                            products,
                            layout: m,
                            relu: self.spec.problem.epilogue.relu,
                        },
                        bias: &io.packed[run.start * CHANNEL_BLOCK..run.end * CHANNEL_BLOCK],
                        residual: io.residual,
                        out: (&mut out, run.start),
                        _scheme: PhantomData,
                    });
                    laps.lap(Phase::InverseTransform);
                }
            },
        );
    }
}

/// Winograd convolution with a wrong coefficient, for tests of the checks.
///
/// It is defined beside the kernels and not in the tests, so that shared code is compiled once.
#[cfg(emulated)]
pub mod faulty {
    use super::*;
    use crate::micro::cook_toom::{Arithmetic, Constant, F4x3, Matrices};
    use crate::micro::surd::Surd;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// F(4, 3) with one changed coefficient. [`FAULT`] selects the row of the transforms: six of the input, then four
    /// of the output.
    #[derive(Clone, Copy, Debug)]
    pub struct Faulty;

    /// Index of the changed row. From [`ROWS`] on, no row is changed.
    pub static FAULT: AtomicUsize = AtomicUsize::new(usize::MAX);

    /// Number of rows: six of the input transform and four of the output transform.
    pub const ROWS: usize = 6 + 4;

    const ERROR: Constant = Constant::new(Surd::rational(1, 1000));

    impl Scheme<4, 6, 6> for Faulty {
        const MATRICES: Matrices = F4x3::MATRICES;

        #[inline(always)]
        fn input<A: Arithmetic>(on: A, d: [A::Value; 6]) -> [A::Value; 6] {
            let mut out = F4x3::input(on, d);
            let fault = FAULT.load(Relaxed);
            if let Some(x) = out.get_mut(fault) {
                *x = on.mul_add(ERROR, d[3], *x);
            }
            out
        }

        #[inline(always)]
        fn output<A: Arithmetic>(on: A, m: [A::Value; 6]) -> [A::Value; 4] {
            let mut out = F4x3::output(on, m);
            let fault = FAULT.load(Relaxed);
            if let Some(y) = out.get_mut(fault.wrapping_sub(6)) {
                *y = on.mul_add(ERROR, m[2], *y);
            }
            out
        }
    }

    impl Algorithm for Faulty {
        fn meta(&self) -> &'static AlgorithmMeta {
            WinogradF4x3.meta()
        }

        fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
            let cx = &cx.target()?;
            Ok(Box::new(WinogradPlan::<Faulty, 4, 6, 6>::of_maps(
                problem, cx,
            )?))
        }
    }
}
