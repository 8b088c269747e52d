//! Winograd's transforms of tiles, vectorised over channels. These loops apply [`super::cook_toom`]'s transforms along
//! an axis to columns and to rows.
//!
//! Between them, each of the T x T points needs a product of (tiles x channels) and (channels x output channels), which
//! [`super::gemm`] computes. With stride 2, several products of a tile share a point ([`Scheme`]). Their channels
//! follow one another, so that one sum covers all of them.
//!
//! The samples and products of a tile are single lines in more streams than the hardware prefetchers follow. So the
//! next tile's lines are prefetched while a tile is transformed. (Measured: docs/measurements.md, 'prefetch of tiles'.)
#![allow(unsafe_code)]

use super::cook_toom::{MOST_PRODUCTS, Matrices, Scheme, Vectors, unroll};
use super::gemm::load;
use crate::arch::KernelSimd;
use crate::bounds::{product, sum};
use crate::exec::RowsMut;
use crate::layout::CHANNEL_BLOCK;
use crate::tensor::CacheLine;
use std::mem::MaybeUninit;

/// Assignment of products to points, in two dimensions.
#[derive(Clone, Copy, Debug)]
pub struct Slots<const N: usize, const T: usize>;

impl<const N: usize, const T: usize> Slots<N, T> {
    /// Number of products at a point along one axis: two with stride 2, but one at infinity, the last point.
    const fn along(point: usize) -> usize {
        if point < N - T { 2 } else { 1 }
    }

    /// Number of products at the `point`-th of the T x T points.
    pub const fn at(point: usize) -> usize {
        Self::along(point / T) * Self::along(point % T)
    }

    /// Point of the product in row `i`, column `j`, and its index among the point's products.
    pub const fn of(i: usize, j: usize) -> (usize, usize) {
        (i % T * T + j % T, i / T * Self::along(j % T) + j / T)
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

    /// Channel blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
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

/// Transforms tiles of the input.
pub struct InputTiles<'a, const N: usize> {
    image: &'a [f32],
    map: [usize; 2],
    read: [usize; 2],
    out: &'a mut [f32],
    layout: Transformed,
    products: [[usize; N]; N],
}

impl<'a, const N: usize> InputTiles<'a, N> {
    /// Tiles of an image whose maps have `map` rows and columns. They are transformed to `out` in the layout `layout`,
    /// where each product begins at its element of `products`. Outputs read only the first `read` rows and columns.
    /// Those after them count as zeros, since a NaN there would reach the last tiles.
    ///
    /// # Panics
    /// If `image` lacks channel blocks of `layout`, or `out` is too short for a product.
    pub fn new(
        (image, map, read): (&'a [f32], [usize; 2], [usize; 2]),
        (out, layout): (&'a mut [f32], Transformed),
        products: [[usize; N]; N],
    ) -> Self {
        let [h, w] = map;
        assert!(read[0] <= h && read[1] <= w);
        assert!(product([layout.blocks, h, w, CHANNEL_BLOCK]) <= image.len());
        for &begin in products.as_flattened() {
            assert!(sum([begin, layout.point()]) <= out.len(), "a product");
        }
        InputTiles {
            image,
            map,
            read,
            out,
            layout,
            products,
        }
    }

    /// Transforms one channel block of a tile. Its first sample is at row `y`, column `x` of the map, which may be
    /// outside.
    #[inline(always)]
    pub fn transform<S: KernelSimd, const M: usize, const T: usize, W: Scheme<M, N, T>>(
        &mut self,
        simd: S,
        block: usize,
        tile: usize,
        [y, x]: [isize; 2],
    ) {
        const { assert!(N <= MOST_PRODUCTS) };
        let ([h, w], [rows_read, columns_read]) = (self.map, self.read);
        assert!(block < self.layout.blocks && tile < self.layout.tiles);
        let to = self.layout.at(block, tile);
        let step = const { M * W::MATRICES.stride };
        // Index of a column in the map. A column outside wraps to a large number.
        let inside = |j: usize| x.wrapping_add_unsigned(j) as usize;
        let zero = simd.splat_f32s(0.0);

        let mut lane = 0;
        while lane < CHANNEL_BLOCK {
            let base = self
                .image
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
                        // SAFETY: row and column are inside the map, so the pixel's 16 channels are inside the image
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

/// Inverse transform of tiles of products, with their epilogue.
pub struct OutputTiles<'a> {
    /// The products.
    pub products: &'a [f32],
    /// Layout of the products.
    pub layout: Transformed,
    /// Clamps below at zero.
    pub relu: bool,
}

impl OutputTiles<'_> {
    /// Transforms a tile of channel block `block` to its place in the output. `residual` is added before the clamp. It
    /// has the output's layout, from the tile's first element on.
    #[inline(always)]
    pub fn transform<
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

/// Transforms a filter in f64: G g G', product by product.
pub fn transform_filter<const N: usize>(m: &Matrices, g: &[f32]) -> [[f32; N]; N] {
    let taps = m.taps;
    assert_eq!(g.len(), taps * taps);
    let matrix = m.g.map(|row| row.map(|x| x.to_f64()));
    std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let mut sum = 0.0;
            for (r, row) in g.chunks_exact(taps).enumerate() {
                for (s, &g) in row.iter().enumerate() {
                    sum += matrix[i][r] * f64::from(g) * matrix[j][s];
                }
            }
            sum as f32
        })
    })
}
