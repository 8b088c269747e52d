//! Winograd's transforms of tiles, vectorised over channels. These loops apply [`super::cook_toom`]'s transforms along
//! an axis to columns and to rows.
//!
//! Between them, each of the T x T points needs a product of (tiles x channels) and (channels x output channels), which
//! [`super::gemm`] computes. With stride 2, several products of a tile share a point ([`Scheme`]). Their channels
//! follow one another, so that one sum covers all of them.
//!
//! Only this file is compiled for each scheme: [`Transforms`] is a scheme's row in the table that plans choose from.
//!
//! The samples and products of a tile are single lines in more streams than the hardware prefetchers follow. So the
//! next tile's lines are prefetched while a tile is transformed. (Measured: docs/measurements.md, 'prefetch of tiles'.)
#![allow(unsafe_code)]

use super::cook_toom::{MOST_PRODUCTS, MOST_TAPS, Matrices, Scheme, Vectors, unroll};
use super::gemm::load;
use crate::arch::KernelSimd;
use crate::bounds::{product, sum};
use crate::exec::{RowsMut, TilesMut};
use crate::isa::{IsaToken, SimdTask};
use crate::layout::CHANNEL_BLOCK;
use crate::problem::ConvShape;
use crate::tensor::CacheLine;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Transforms of one scheme, compiled for every instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Transforms {
    matrices: &'static Matrices,
    operations: fn() -> [usize; 2],
    input: fn(IsaToken, InputTransform<'_>),
    output: fn(IsaToken, OutputTransform<'_, '_>),
}

impl Transforms {
    /// Transforms of a scheme.
    ///
    /// # Panics
    /// At compile time, if the scheme's matrices have other sizes.
    pub const fn of<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize>() -> Self {
        const {
            let m = W::MATRICES;
            assert!(m.outputs == M && m.products == N && m.points == T);
            assert!(N <= MOST_PRODUCTS && T <= N && m.taps <= MOST_TAPS);
        }
        Transforms {
            matrices: const { &W::MATRICES },
            operations: W::operations,
            input: input::<W, M, N, T>,
            output: output::<W, M, N, T>,
        }
    }

    /// Matrices that the transforms implement.
    pub const fn matrices(&self) -> &'static Matrices {
        self.matrices
    }

    /// Operations of an input transform and of an inverse transform, along one axis.
    pub fn operations(&self) -> [usize; 2] {
        (self.operations)()
    }

    /// Products at each point.
    pub fn slots(&self) -> Slots {
        Slots::new(self.matrices.products, self.matrices.points)
    }

    /// Transforms some tiles of the input.
    pub(crate) fn input(&self, isa: IsaToken, task: InputTransform<'_>) {
        (self.input)(isa, task);
    }

    /// Transforms the products of some channel blocks back.
    pub(crate) fn output(&self, isa: IsaToken, task: OutputTransform<'_, '_>) {
        (self.output)(isa, task);
    }
}

/// A task compiled for a scheme.
struct ByScheme<K, W, const M: usize, const N: usize, const T: usize>(K, PhantomData<W>);

fn input<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize>(
    isa: IsaToken,
    task: InputTransform<'_>,
) {
    isa.dispatch(ByScheme::<_, W, M, N, T>(task, PhantomData));
}

fn output<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize>(
    isa: IsaToken,
    task: OutputTransform<'_, '_>,
) {
    isa.dispatch(ByScheme::<_, W, M, N, T>(task, PhantomData));
}

/// Assignment of products to points, in two dimensions. A point is numbered row by row.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// Products along an axis.
    products: usize,
    /// Points along an axis.
    points: usize,
}

impl Slots {
    const fn new(products: usize, points: usize) -> Self {
        Slots { products, points }
    }

    /// Number of points.
    pub fn points(self) -> usize {
        self.points * self.points
    }

    /// Number of products.
    pub fn products(self) -> usize {
        self.products * self.products
    }

    /// Number of products along an axis.
    pub fn along_an_axis(self) -> usize {
        self.products
    }

    /// True for the points in the last row, which is infinity's.
    pub fn is_last_row(self, point: usize) -> bool {
        point / self.points + 1 == self.points
    }

    /// Points along an axis that have two products. With stride 2, all but infinity, the last point.
    #[inline(always)]
    fn doubled(self) -> usize {
        self.products - self.points
    }

    /// Number of products at a point along one axis.
    #[inline(always)]
    fn along(self, point: usize) -> usize {
        1 + usize::from(point < self.doubled())
    }

    /// Number of products at a point.
    pub fn at(self, point: usize) -> usize {
        self.along(point / self.points) * self.along(point % self.points)
    }

    /// Number of products at earlier points.
    #[inline(always)]
    pub fn before(self, point: usize) -> usize {
        let [row, column] = [point / self.points, point % self.points];
        let [rows, columns] = [row, column].map(|before| before + before.min(self.doubled()));
        rows * self.products + self.along(row) * columns
    }

    /// Point of the product in row `i`, column `j`, and its index among the point's products.
    #[inline(always)]
    pub fn of(self, i: usize, j: usize) -> (usize, usize) {
        let t = self.points;
        (i % t * t + j % t, i / t * self.along(j % t) + j / t)
    }
}

/// Position of a transformed operand's elements: by point, then channel block, then tile.
#[derive(Clone, Copy, Debug)]
pub struct Transformed {
    blocks: usize,
    tiles: usize,
}

impl Transformed {
    /// Layout of `blocks` channel blocks of `tiles` tiles.
    ///
    /// # Panics
    /// If a position would wrap.
    pub fn new(blocks: usize, tiles: usize) -> Self {
        let most_products = const { MOST_PRODUCTS * MOST_PRODUCTS };
        let elements = product([most_products, blocks, tiles, CHANNEL_BLOCK]);
        sum([elements, most_products * CHANNEL_BLOCK]);
        Transformed { blocks, tiles }
    }

    /// Tiles.
    pub fn tiles(&self) -> usize {
        self.tiles
    }

    /// Elements per point: all channel blocks of all tiles.
    fn point(&self) -> usize {
        self.blocks * self.tiles * CHANNEL_BLOCK
    }

    /// Elements before a point that follows `points` points with `products` products. One extra line separates points:
    /// at a power of two, all points of a tile would map to the same cache set.
    #[inline(always)]
    pub fn before(&self, points: usize, products: usize) -> usize {
        (products * self.blocks * self.tiles + points) * CHANNEL_BLOCK
    }

    /// Position of a tile's channel block within a point.
    #[inline(always)]
    fn at(&self, block: usize, tile: usize) -> usize {
        (block * self.tiles + tile) * CHANNEL_BLOCK
    }
}

/// Samples outside of the input: a row of zeros of a tile.
static ZEROS: [CacheLine; MOST_PRODUCTS] = [CacheLine::ZERO; _];

/// Input transform of some tiles.
pub struct InputTransform<'a> {
    /// Convolution of the tiles.
    pub conv: &'a ConvShape,
    /// The maps of an image, or some rows of them.
    pub maps: &'a [f32],
    /// These rows.
    pub rows: Range<usize>,
    /// The tiles, numbered row by row.
    pub tiles: Range<usize>,
    /// The transformed tiles.
    pub out: &'a mut [f32],
    /// Layout of the transformed tiles.
    pub layout: Transformed,
}

impl<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize> SimdTask
    for ByScheme<InputTransform<'_>, W, M, N, T>
{
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let ByScheme(task, _) = self;
        let (conv, rows, tiles) = (task.conv, task.rows.clone(), task.tiles.clone());
        let step = M * conv.stride[0];
        let cols = conv.w_out().div_ceil(M);
        let blocks = task.layout.blocks;
        // Constant sizes, so that no division remains.
        let mut input = InputTiles::<N>::new(task, const { Slots::new(N, T) });
        for block in 0..blocks {
            for (at, tile) in tiles.clone().enumerate() {
                let first = |tile: usize, pad: usize| (tile * step) as isize - pad as isize;
                let y = first(tile / cols, conv.pad.top + rows.start);
                let x = first(tile % cols, conv.pad.left);
                input.transform::<S, M, T, W>(simd, block, at, [y, x]);
            }
        }
    }
}

/// Checked input transform.
pub(super) struct InputTiles<'a, const N: usize> {
    pub(super) maps: &'a [f32],
    /// Rows and columns of a map.
    pub(super) size: [usize; 2],
    /// Rows and columns that outputs read. Those after them count as zeros, since a NaN there would reach the last
    /// tiles.
    pub(super) read: [usize; 2],
    pub(super) out: &'a mut [f32],
    pub(super) layout: Transformed,
    /// First element of each product.
    pub(super) products: [[usize; N]; N],
}

impl<'a, const N: usize> InputTiles<'a, N> {
    /// Checks the conditions for the pointers of [`InputTiles::transform`].
    ///
    /// # Panics
    /// If the maps lack channel blocks of the layout, or `out` is too short for a product.
    #[inline(always)]
    fn new(task: InputTransform<'a>, slots: Slots) -> Self {
        let InputTransform {
            conv,
            maps,
            rows,
            out,
            layout,
            tiles: _,
        } = task;
        let mut products = [[0; N]; N];
        for (i, row) in products.iter_mut().enumerate() {
            for (j, at) in row.iter_mut().enumerate() {
                let (point, which) = slots.of(i, j);
                *at = layout.before(point, slots.before(point) + which);
                assert!(sum([*at, layout.point()]) <= out.len(), "a product");
            }
        }
        let size = [rows.len(), conv.w];
        assert!(product([layout.blocks, size[0], size[1], CHANNEL_BLOCK]) <= maps.len());
        let read = |axis: usize, size: usize, out: usize, before: usize| {
            let end = (out - 1) * conv.stride[axis] + conv.kernel[axis];
            end.saturating_sub(before).min(size)
        };
        let rows_read = read(0, conv.h, conv.h_out(), conv.pad.top + rows.start);
        let columns_read = read(1, conv.w, conv.w_out(), conv.pad.left);
        InputTiles {
            maps,
            size,
            read: [rows_read.min(size[0]), columns_read],
            out,
            layout,
            products,
        }
    }

    /// Transforms one channel block of a tile. Its first sample is at row `y`, column `x` of the map, which may be
    /// outside.
    #[inline(always)]
    pub(super) fn transform<S: KernelSimd, const M: usize, const T: usize, W: Scheme<M, N, T>>(
        &mut self,
        simd: S,
        block: usize,
        tile: usize,
        [y, x]: [isize; 2],
    ) {
        const { assert!(N <= MOST_PRODUCTS) };
        let ([h, w], [rows_read, columns_read]) = (self.size, self.read);
        assert!(block < self.layout.blocks && tile < self.layout.tiles);
        let to = self.layout.at(block, tile);
        let step = const { M * W::MATRICES.stride };
        // Index of a column in the map. A column outside wraps to a large number.
        let inside = |j: usize| x.wrapping_add_unsigned(j) as usize;
        let zero = simd.splat_f32s(0.0);

        let mut lane = 0;
        while lane < CHANNEL_BLOCK {
            let base = self
                .maps
                .as_ptr()
                .wrapping_add(block * h * w * CHANNEL_BLOCK + lane);
            let mut rows = [ZEROS.as_ptr().cast::<f32>(); N];
            unroll!(i < N, {
                let row = y.wrapping_add_unsigned(i) as usize;
                if row < rows_read {
                    let first = (row as isize * w as isize + x) * CHANNEL_BLOCK as isize;
                    rows[i] = base.wrapping_offset(first);
                }
            });
            // Columns first: half[r][j] is row r of B' d, for column j.
            let mut half = [[MaybeUninit::<S::f32s>::uninit(); N]; N];
            let mut j = 0;
            while j < N {
                let mut column = [zero; N];
                // Prefetches columns of the tile to the right that this one doesn't share.
                if lane == 0 && j + step >= N {
                    unroll!(i < N, {
                        simd.prefetch(rows[i].wrapping_add((j + step) * CHANNEL_BLOCK));
                    });
                }
                if inside(j) < columns_read {
                    unroll!(i < N, {
                        let at = rows[i].wrapping_add(j * CHANNEL_BLOCK);
                        // SAFETY: row and column are inside the map, so the pixel's 16 channels are inside the maps
                        // (`new`). The lanes from `lane` on are read. Or the row is one of N times 16 zeros.
                        [column[i]] = unsafe { load::<S, 1>(simd, at) };
                    });
                    column = W::input(Vectors(simd), column);
                }
                unroll!(r < N, {
                    half[r][j] = MaybeUninit::new(column[r]);
                });
                j += 1;
            }
            let mut r = 0;
            while r < N {
                let mut row = [zero; N];
                unroll!(j < N, {
                    // SAFETY: every column was written.
                    row[j] = unsafe { half[r][j].assume_init() };
                });
                let row = W::input(Vectors(simd), row);
                unroll!(c < N, {
                    let at = self.products[r][c] + to + lane;
                    if lane == 0 {
                        simd.prefetch(self.out.as_ptr().wrapping_add(at + CHANNEL_BLOCK));
                    }
                    // SAFETY: `out` has the elements of all blocks and tiles from each product's beginning on (`new`).
                    unsafe { simd.store_f32s(self.out.as_mut_ptr().add(at), row[c]) };
                });
                r += 1;
            }
            lane += S::F32_LANES;
        }
    }
}

/// Inverse transform of some channel blocks, with their epilogue.
pub struct OutputTransform<'a, 'o> {
    /// The products.
    pub products: &'a [f32],
    /// Layout of the products.
    pub layout: Transformed,
    /// Bias of each output channel of the blocks.
    pub bias: &'a [f32],
    /// Residual of the whole output.
    pub residual: Option<&'a [f32]>,
    /// Clamps below at zero.
    pub relu: bool,
    /// The output's tiles.
    pub out: &'a mut TilesMut<'o, f32>,
    /// First of the blocks in the output.
    pub first: usize,
}

impl<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize> SimdTask
    for ByScheme<OutputTransform<'_, '_>, W, M, N, T>
{
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let ByScheme(task, _) = self;
        let OutputTransform {
            products,
            layout,
            bias,
            residual,
            relu,
            out,
            first,
        } = task;
        let tiles = OutputTiles {
            products,
            layout,
            relu,
        };
        let (biases, _) = bias.as_chunks();
        for (block, bias) in biases.iter().enumerate() {
            for (at, tile) in out.tiles().enumerate() {
                let residual = residual.map(|r| &r[out.offset(first + block, tile)..]);
                let to = &mut out.tile(first + block, tile);
                tiles.transform::<S, M, N, T, W>(simd, [block, at], bias, residual, to);
            }
        }
    }
}

/// Products of some tiles, and their clamp.
pub(super) struct OutputTiles<'a> {
    pub(super) products: &'a [f32],
    pub(super) layout: Transformed,
    pub(super) relu: bool,
}

impl OutputTiles<'_> {
    /// Transforms a tile of channel block `block` to its place in the output. `residual` is added before the clamp. It
    /// has the output's layout, from the tile's first element on.
    #[inline(always)]
    pub(super) fn transform<
        S: KernelSimd,
        const M: usize,
        const N: usize,
        const T: usize,
        W: Scheme<M, N, T>,
    >(
        &self,
        simd: S,
        [block, tile]: [usize; 2],
        bias: &[f32; CHANNEL_BLOCK],
        residual: Option<&[f32]>,
        out: &mut RowsMut<'_, f32>,
    ) {
        assert!(block < self.layout.blocks && tile < self.layout.tiles);
        let from = self.layout.at(block, tile);
        let last = self.layout.before(T * T - 1, T * T - 1);
        assert!(last + from + CHANNEL_BLOCK <= self.products.len());
        let (height, width, stride) = (out.rows(), out.len() / CHANNEL_BLOCK, out.stride());
        assert!((1..=M).contains(&height) && (1..=M).contains(&width));
        let end = (height - 1) * stride + width * CHANNEL_BLOCK;
        assert!(residual.is_none_or(|r| r.len() >= end));
        let zero = simd.splat_f32s(0.0);
        let step = self.layout.before(1, 1);
        // Prefetches the lines that will be written.
        for r in 0..height {
            for c in 0..width {
                let at = r * stride + c * CHANNEL_BLOCK;
                simd.prefetch(out.as_mut_ptr().wrapping_add(at));
            }
        }

        let mut lane = 0;
        while lane < CHANNEL_BLOCK {
            // SAFETY: 16 elements.
            let [bias] = unsafe { load::<S, 1>(simd, bias.as_ptr().add(lane)) };
            let mut half = [[MaybeUninit::<S::f32s>::uninit(); T]; M];
            let mut j = 0;
            while j < T {
                let mut column = [zero; T];
                unroll!(i < T, {
                    let at = (i * T + j) * step + from + lane;
                    if lane == 0 {
                        let next = self.products.as_ptr().wrapping_add(at + CHANNEL_BLOCK);
                        simd.prefetch(next);
                    }
                    // SAFETY: at most the last point's elements (asserted above).
                    [column[i]] = unsafe { load::<S, 1>(simd, self.products.as_ptr().add(at)) };
                });
                let column = W::output(Vectors(simd), column);
                unroll!(r < M, {
                    half[r][j] = MaybeUninit::new(column[r]);
                });
                j += 1;
            }
            let mut r = 0;
            while r < height {
                let mut row = [zero; T];
                unroll!(j < T, {
                    // SAFETY: every column was written.
                    row[j] = unsafe { half[r][j].assume_init() };
                });
                let values = W::output(Vectors(simd), row);
                unroll!(c < M, {
                    if c < width {
                        let at = r * stride + c * CHANNEL_BLOCK + lane;
                        let mut value = simd.add_f32s(values[c], bias);
                        if let Some(residual) = residual {
                            // SAFETY: before `end` (asserted above).
                            let [r] = unsafe { load::<S, 1>(simd, residual.as_ptr().add(at)) };
                            value = simd.add_f32s(value, r);
                        }
                        if self.relu {
                            value = simd.at_least(zero, value);
                        }
                        // SAFETY: row `r` and its pixel `c` are inside `out`.
                        unsafe { simd.store_f32s(out.as_mut_ptr().add(at), value) };
                    }
                });
                r += 1;
            }
            lane += S::F32_LANES;
        }
    }
}

/// Transform of filters, in f64.
pub struct FilterTransform {
    taps: usize,
    products: usize,
    g: [[f64; MOST_TAPS]; MOST_PRODUCTS],
}

impl FilterTransform {
    /// Transform by G.
    pub fn of(m: &Matrices) -> Self {
        FilterTransform {
            taps: m.taps,
            products: m.products,
            g: m.g.map(|row| row.map(|x| x.to_f64())),
        }
    }

    /// G g G', the weight of each product. Those beyond the scheme's products are zeros.
    pub fn apply(&self, filter: &[f32]) -> [[f32; MOST_PRODUCTS]; MOST_PRODUCTS] {
        assert_eq!(filter.len(), self.taps * self.taps);
        let mut weights = [[0.0; MOST_PRODUCTS]; MOST_PRODUCTS];
        for (i, row) in weights.iter_mut().take(self.products).enumerate() {
            for (j, weight) in row.iter_mut().take(self.products).enumerate() {
                let mut sum = 0.0;
                for (r, taps) in filter.chunks_exact(self.taps).enumerate() {
                    for (s, &tap) in taps.iter().enumerate() {
                        sum += self.g[i][r] * f64::from(tap) * self.g[j][s];
                    }
                }
                *weight = sum as f32;
            }
        }
        weights
    }
}
