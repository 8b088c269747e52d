//! Winograd's transforms for 3-tap filters, vectorised over channels.
//!
//! F(m, 3) computes m outputs of a 3-tap filter with t = m + 2 products: y = A' [(G g) * (B' d)]
//! (Winograd 1980; Lavin and Gray 2016). The matrices follow from t - 1 points p_j and infinity
//! (Cook-Toom, as in Barabasz et al. 2018): with M(x) = prod (x - p_l) and M_j = M / (x - p_j),
//!
//! * B' has the coefficients of M_j as row j, those of M as the last;
//! * G has (1, p_j, p_j^2) / M_j(p_j) as row j, (0, 0, 1) as the last;
//! * A' has p_j^i in row i, column j, and 1 in the last row's last column.
//!
//! In two dimensions the transforms are applied to rows and columns. The multiplication in between
//! is, for each of the t^2 points, a product of (tiles x c_in) with (c_in x c_out), done by
//! [`super::gemm`].
// Rows and columns of a tile read better by index.
#![allow(clippy::needless_range_loop)]
#![allow(unsafe_code)]

use super::gemm::{ZEROS, load, store};
use super::indirection::PADDING;
use crate::arch::KernelSimd;
use crate::blocking::CHANNEL_BLOCK;
use crate::exec::RowsMut;
#[cfg(test)]
use crate::isa::SimdTask;

/// What is added to the output, in the output's layout.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a> {
    /// From the first element that corresponds to `out`.
    pub data: &'a [f32],
    /// Elements from a channel block to the next.
    pub row_stride: usize,
}

/// The one-dimensional transforms of F(M, 3), T = M + 2.
pub trait Transform<const M: usize, const T: usize>: Copy + Send + Sync + 'static {
    /// Operations of `input`.
    const INPUT_FLOPS: usize;
    /// Operations of `output`.
    const OUTPUT_FLOPS: usize;
    /// G: what is multiplied with the filter, in f64.
    fn filter() -> [[f64; 3]; T];
    /// B' d.
    fn input<S: KernelSimd>(simd: S, d: [S::f32s; T]) -> [S::f32s; T];
    /// A' m.
    fn output<S: KernelSimd>(simd: S, m: [S::f32s; T]) -> [S::f32s; M];
}

/// F(2, 3) with the points 0, 1, -1 and infinity.
#[derive(Clone, Copy, Debug)]
pub struct F2;

impl Transform<2, 4> for F2 {
    const INPUT_FLOPS: usize = 4;
    const OUTPUT_FLOPS: usize = 4;

    fn filter() -> [[f64; 3]; 4] {
        // M_0(0) = -1, M_1(1) = 2, M_2(-1) = 2.
        [
            [-1.0, 0.0, 0.0],
            [0.5, 0.5, 0.5],
            [0.5, -0.5, 0.5],
            [0.0, 0.0, 1.0],
        ]
    }

    #[inline(always)]
    fn input<S: KernelSimd>(simd: S, [d0, d1, d2, d3]: [S::f32s; 4]) -> [S::f32s; 4] {
        // M_0 = x^2 - 1, M_1 = x^2 + x, M_2 = x^2 - x, M = x^3 - x.
        [
            simd.sub_f32s(d2, d0),
            simd.add_f32s(d2, d1),
            simd.sub_f32s(d2, d1),
            simd.sub_f32s(d3, d1),
        ]
    }

    #[inline(always)]
    fn output<S: KernelSimd>(simd: S, [m0, m1, m2, m3]: [S::f32s; 4]) -> [S::f32s; 2] {
        let even = simd.add_f32s(m1, m2);
        let odd = simd.sub_f32s(m1, m2);
        [simd.add_f32s(m0, even), simd.add_f32s(odd, m3)]
    }
}

/// F(4, 3) with the points 0, +-p, +-q and infinity, for p = 1/sqrt2, q = sqrt2: their error is about
/// half that of the usual 0, +-1, +-2, at the same cost. (ncnn uses them; Barabasz et al. 2018 explain
/// why points and their inverses do well.)
#[derive(Clone, Copy, Debug)]
pub struct F4;

const P: f64 = std::f64::consts::FRAC_1_SQRT_2;
const Q: f64 = std::f64::consts::SQRT_2;

impl Transform<4, 6> for F4 {
    const INPUT_FLOPS: usize = 24;
    const OUTPUT_FLOPS: usize = 16;

    fn filter() -> [[f64; 3]; 6] {
        // M_p(p) = M_-p(-p) = 2 p^2 (p^2 - q^2), and with the roles changed for q.
        let row = |x: f64, n: f64| [1.0 / n, x / n, x * x / n];
        let (np, nq) = (2.0 * P * P * (P * P - Q * Q), 2.0 * Q * Q * (Q * Q - P * P));
        let n0 = P * P * Q * Q;
        [
            [1.0 / n0, 0.0, 0.0],
            row(P, np),
            row(-P, np),
            row(Q, nq),
            row(-Q, nq),
            [0.0, 0.0, 1.0],
        ]
    }

    #[inline(always)]
    fn input<S: KernelSimd>(simd: S, [d0, d1, d2, d3, d4, d5]: [S::f32s; 6]) -> [S::f32s; 6] {
        let splat = |x: f64| simd.splat_f32s(x as f32);
        let fma = |a, b, c| simd.mul_add_e_f32s(a, b, c);
        let (sum, product) = (splat(-(P * P + Q * Q)), splat(P * P * Q * Q));
        // M_0 = (x^2 - p^2)(x^2 - q^2); M_+-p = x (x +- p)(x^2 - q^2): an even part +- p times an odd.
        let (minus_p2, minus_q2) = (splat(-P * P), splat(-Q * Q));
        let (even_p, odd_p) = (fma(minus_q2, d2, d4), fma(minus_q2, d1, d3));
        let (even_q, odd_q) = (fma(minus_p2, d2, d4), fma(minus_p2, d1, d3));
        [
            fma(product, d0, fma(sum, d2, d4)),
            fma(splat(P), odd_p, even_p),
            fma(splat(-P), odd_p, even_p),
            fma(splat(Q), odd_q, even_q),
            fma(splat(-Q), odd_q, even_q),
            fma(product, d1, fma(sum, d3, d5)),
        ]
    }

    #[inline(always)]
    fn output<S: KernelSimd>(simd: S, [m0, m1, m2, m3, m4, m5]: [S::f32s; 6]) -> [S::f32s; 4] {
        let splat = |x: f64| simd.splat_f32s(x as f32);
        let (even_p, odd_p) = (simd.add_f32s(m1, m2), simd.sub_f32s(m1, m2));
        let (even_q, odd_q) = (simd.add_f32s(m3, m4), simd.sub_f32s(m3, m4));
        let both =
            |p: f64, x, q: f64, y| simd.mul_add_e_f32s(splat(p), x, simd.mul_f32s(splat(q), y));
        [
            simd.add_f32s(m0, simd.add_f32s(even_p, even_q)),
            both(P, odd_p, Q, odd_q),
            both(P * P, even_p, Q * Q, even_q),
            simd.add_f32s(both(P * P * P, odd_p, Q * Q * Q, odd_q), m5),
        ]
    }
}

/// Where a transformed operand of `T * T` points lies: point by point, then channel block by channel
/// block, then tile by tile.
#[derive(Clone, Copy, Debug)]
pub struct Points {
    /// Elements from a point to the next.
    pub stride: usize,
    /// Tiles.
    pub tiles: usize,
}

impl Points {
    /// For `blocks` channel blocks of `tiles` tiles. One line is left between points: with a power of
    /// two between them, all points of a tile would fall into the same cache set.
    pub fn new(blocks: usize, tiles: usize) -> Self {
        Points {
            stride: (blocks * tiles + 1) * CHANNEL_BLOCK,
            tiles,
        }
    }

    /// Elements of `points` points.
    pub fn elements(&self, points: usize) -> usize {
        self.stride * points
    }

    #[inline(always)]
    fn at(&self, block: usize, tile: usize) -> usize {
        (block * self.tiles + tile) * CHANNEL_BLOCK
    }
}

/// Transforms one tile of the input, all its channel blocks.
pub struct InputTile<'a, const T: usize> {
    /// The image.
    pub image: &'a [f32],
    /// Elements from a channel block to the next.
    pub block_stride: usize,
    /// Channel blocks.
    pub blocks: usize,
    /// Where the tile's pixels are in the image, or [`PADDING`].
    pub offsets: [[u32; T]; T],
    /// The transformed input.
    pub out: &'a mut [f32],
    /// Where it goes.
    pub points: Points,
    /// The tile.
    pub tile: usize,
}

impl<const T: usize> InputTile<'_, T> {
    /// Runs `W`'s transform.
    #[inline(always)]
    pub fn transform<S: KernelSimd, const M: usize, W: Transform<M, T>>(&mut self, simd: S) {
        let largest = self
            .offsets
            .iter()
            .flatten()
            .filter(|o| **o != PADDING)
            .max();
        if let Some(&offset) = largest {
            let end = offset as usize + (self.blocks - 1) * self.block_stride + CHANNEL_BLOCK;
            assert!(end <= self.image.len());
        }
        let last = self.points.at(self.blocks - 1, self.tile) + CHANNEL_BLOCK;
        assert!(
            self.tile < self.points.tiles
                && (T * T - 1) * self.points.stride + last <= self.out.len()
        );

        for block in 0..self.blocks {
            for lane in (0..CHANNEL_BLOCK).step_by(S::F32_LANES) {
                let base = self
                    .image
                    .as_ptr()
                    .wrapping_add(block * self.block_stride + lane);
                let zeros = ZEROS.as_ptr().cast::<f32>();
                // Columns first: half[r][j] is row r of B' d, for column j.
                let mut half = [[simd.splat_f32s(0.0); T]; T];
                for j in 0..T {
                    let mut column = [simd.splat_f32s(0.0); T];
                    for (i, d) in column.iter_mut().enumerate() {
                        let offset = self.offsets[i][j];
                        let at = if offset == PADDING {
                            zeros
                        } else {
                            base.wrapping_add(offset as usize)
                        };
                        // SAFETY: 16 zeros, or 16 channels inside the image (asserted above), of
                        // which the lanes from `lane` on are read.
                        [*d] = unsafe { load::<S, 1>(at) };
                    }
                    let column = W::input(simd, column);
                    for r in 0..T {
                        half[r][j] = column[r];
                    }
                }
                let to = self.points.at(block, self.tile) + lane;
                for (r, row) in half.into_iter().enumerate() {
                    for (c, value) in W::input(simd, row).into_iter().enumerate() {
                        // SAFETY: inside `out` (asserted above).
                        unsafe {
                            store::<S>(
                                self.out
                                    .as_mut_ptr()
                                    .add((r * T + c) * self.points.stride + to),
                                value,
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Transforms one tile of one block of output channels back, and finishes it.
pub struct OutputTile<'a, 'o> {
    /// The products.
    pub products: &'a [f32],
    /// Where they are.
    pub points: Points,
    /// Of 16 channels.
    pub bias: &'a [f32; CHANNEL_BLOCK],
    /// Clamp below at zero.
    pub relu: bool,
    /// Added before the clamp.
    pub residual: Option<Residual<'a>>,
    /// The rows of the output map that the tiles cover, one row a channel block, 16 floats a pixel.
    pub out: RowsMut<'o, f32>,
    /// Pixels in a row of the map.
    pub width: usize,
}

impl OutputTile<'_, '_> {
    /// Runs `W`'s inverse transform for tile `tile` of channel block `block`, whose first pixel is at
    /// row `y`, column `x` of `out`. What lies outside `out` is dropped.
    #[inline(always)]
    pub fn transform<S: KernelSimd, const M: usize, const T: usize, W: Transform<M, T>>(
        &mut self,
        simd: S,
        block: usize,
        tile: usize,
        [y, x]: [usize; 2],
    ) {
        let from = self.points.at(block, tile);
        assert!(tile < self.points.tiles);
        assert!((T * T - 1) * self.points.stride + from + CHANNEL_BLOCK <= self.products.len());
        let out = self.out.row(block);
        let height = out.len() / (self.width * CHANNEL_BLOCK);
        let zero = simd.splat_f32s(0.0);
        for lane in (0..CHANNEL_BLOCK).step_by(S::F32_LANES) {
            // SAFETY: `bias` has 16 elements.
            let [bias] = unsafe { load::<S, 1>(self.bias.as_ptr().add(lane)) };
            let mut half = [[zero; T]; M];
            for j in 0..T {
                let mut column = [zero; T];
                for (i, m) in column.iter_mut().enumerate() {
                    let at = (i * T + j) * self.points.stride + from + lane;
                    // SAFETY: inside `products` (asserted above).
                    [*m] = unsafe { load::<S, 1>(self.products.as_ptr().add(at)) };
                }
                let column = W::output(simd, column);
                for r in 0..M {
                    half[r][j] = column[r];
                }
            }
            for (r, row) in half.into_iter().enumerate().take(height.saturating_sub(y)) {
                let values = W::output(simd, row);
                for (c, value) in values.into_iter().enumerate().take(self.width - x) {
                    let at = ((y + r) * self.width + x + c) * CHANNEL_BLOCK + lane;
                    let mut value = simd.add_f32s(value, bias);
                    if let Some(Residual { data, row_stride }) = self.residual {
                        let residual = &data[block * row_stride + at..][..S::F32_LANES];
                        // SAFETY: a slice of as many lanes.
                        let [r] = unsafe { load::<S, 1>(residual.as_ptr()) };
                        value = simd.add_f32s(value, r);
                    }
                    if self.relu {
                        value = simd.select_f32s(simd.less_than_f32s(value, zero), zero, value);
                    }
                    let out = &mut out[at..at + S::F32_LANES];
                    // SAFETY: a slice of as many lanes.
                    unsafe { store::<S>(out.as_mut_ptr(), value) };
                }
            }
        }
    }
}

/// Transforms a 3x3 filter: G g G'.
pub fn transform_filter<const M: usize, const T: usize, W: Transform<M, T>>(
    g: &[f32; 9],
) -> [[f32; T]; T] {
    let matrix = W::filter();
    std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let mut sum = 0.0;
            for (r, gi) in matrix[i].iter().enumerate() {
                for (s, gj) in matrix[j].iter().enumerate() {
                    sum += gi * f64::from(g[r * 3 + s]) * gj;
                }
            }
            sum as f32
        })
    })
}

/// A task that only needs a width: the transforms' tests.
#[cfg(test)]
struct Filter1d<W, const M: usize, const T: usize>(std::marker::PhantomData<W>);

#[cfg(test)]
impl<W: Transform<M, T>, const M: usize, const T: usize> SimdTask for Filter1d<W, M, T> {
    /// The largest deviation of y = A' [(G g) * (B' d)] from the filter, over unit inputs and taps.
    type Output = f64;
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) -> f64 {
        let mut worst = 0.0f64;
        for at in 0..T {
            for tap in 0..3 {
                let d = std::array::from_fn(|i| simd.splat_f32s(if i == at { 1.0 } else { 0.0 }));
                let d = W::input(simd, d);
                let products = std::array::from_fn(|j| {
                    simd.mul_f32s(d[j], simd.splat_f32s(W::filter()[j][tap] as f32))
                });
                for (i, y) in W::output(simd, products).into_iter().enumerate() {
                    let expected = if i + tap == at { 1.0 } else { 0.0 };
                    let y: Vec<f32> = bytemuck::cast_slice(&[y]).to_vec();
                    worst = worst.max((f64::from(y[0]) - expected).abs());
                }
            }
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use std::marker::PhantomData;

    #[test]
    fn the_transforms_compute_the_filter() {
        for isa in Isa::ALL {
            let Some(token) = isa.detect() else { continue };
            assert_eq!(
                token.dispatch(Filter1d::<F2, 2, 4>(PhantomData)),
                0.0,
                "{isa}"
            );
            let worst = token.dispatch(Filter1d::<F4, 4, 6>(PhantomData));
            assert!(worst < 1e-6, "{isa}: {worst}");
        }
    }
}
