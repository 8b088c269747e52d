//! Mean and variance of each channel.

use super::channels::{Pixel, put, vectors};
use crate::arch::KernelSimd;
use crate::blocking::CHANNEL_BLOCK;
use crate::isa::SimdTask;

/// How a variance is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The mean first, then the squares of what differs from it: reads all elements twice.
    TwoPass,
    /// Both at once, corrected with each element (Welford 1962), in several sequences that are joined at the end
    /// (Chan, Golub and LeVeque 1983): reads all elements once.
    Welford,
}

/// Means and biased variances of a block of 16 channels.
pub struct Moments<'a, 'o> {
    /// From the first image's map of the block on.
    pub src: &'a [f32],
    /// Elements of a map, 16 a pixel.
    pub map: usize,
    /// Elements from a map to the next image's.
    pub stride: usize,
    /// Images.
    pub images: usize,
    /// How.
    pub method: Method,
    /// 16 means.
    pub mean: &'o mut [f32; CHANNEL_BLOCK],
    /// 16 variances.
    pub variance: &'o mut [f32; CHANNEL_BLOCK],
}

/// Sequences of pixels side by side, so that one's operations don't wait for each other.
const SIDE_BY_SIDE: usize = 4;

impl SimdTask for Moments<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.moments::<S, V>(simd));
    }
}

impl Moments<'_, '_> {
    #[inline(always)]
    fn moments<S: KernelSimd, const V: usize>(self, simd: S) {
        let (mean, variance) = match self.method {
            Method::TwoPass => self.two_pass::<S, V>(simd),
            Method::Welford => self.welford::<S, V>(simd),
        };
        put::<S, V>(simd, self.mean, mean);
        put::<S, V>(simd, self.variance, variance);
    }

    /// The pixels of each image's map: steps of some, and what is left.
    #[inline(always)]
    fn maps(&self) -> impl Iterator<Item = (&[[Pixel; SIDE_BY_SIDE]], &[Pixel])> {
        (0..self.images).map(|image| {
            let map = &self.src[image * self.stride..][..self.map];
            let (pixels, _) = map.as_chunks::<CHANNEL_BLOCK>();
            pixels.as_chunks::<SIDE_BY_SIDE>()
        })
    }

    /// The sum over all pixels: `add` says what an element adds to that of its vector.
    #[inline(always)]
    fn sum<S: KernelSimd, const V: usize>(
        &self,
        simd: S,
        add: impl Fn(S::f32s, S::f32s, usize) -> S::f32s,
    ) -> [S::f32s; V] {
        let mut sums = [[simd.splat_f32s(0.0); V]; SIDE_BY_SIDE];
        for (steps, rest) in self.maps() {
            for step in steps {
                for (sums, pixel) in sums.iter_mut().zip(step) {
                    let x = vectors::<S, V>(simd, pixel);
                    for v in 0..V {
                        sums[v] = add(sums[v], x[v], v);
                    }
                }
            }
            for pixel in rest {
                let x = vectors::<S, V>(simd, pixel);
                for v in 0..V {
                    sums[0][v] = add(sums[0][v], x[v], v);
                }
            }
        }
        let [a, b, c, d] = sums;
        std::array::from_fn(|v| simd.add_f32s(simd.add_f32s(a[v], b[v]), simd.add_f32s(c[v], d[v])))
    }

    #[inline(always)]
    fn two_pass<S: KernelSimd, const V: usize>(&self, simd: S) -> ([S::f32s; V], [S::f32s; V]) {
        let count = simd.splat_f32s((self.images * self.map / CHANNEL_BLOCK) as f32);
        let sum = self.sum::<S, V>(simd, |sum, x, _| simd.add_f32s(sum, x));
        let mean = sum.map(|sum| simd.div_f32s(sum, count));
        let squares = self.sum::<S, V>(simd, |sum, x, v| {
            let d = simd.sub_f32s(x, mean[v]);
            simd.mul_add_e_f32s(d, d, sum)
        });
        (mean, squares.map(|sum| simd.div_f32s(sum, count)))
    }

    #[inline(always)]
    fn welford<S: KernelSimd, const V: usize>(&self, simd: S) -> ([S::f32s; V], [S::f32s; V]) {
        let empty = Sequence {
            mean: [simd.splat_f32s(0.0); V],
            squares: [simd.splat_f32s(0.0); V],
        };
        // Those side by side have the same count; what is left of each map is a sequence of its own.
        let (mut beside, mut last) = ([empty; SIDE_BY_SIDE], empty);
        let (mut count, mut left) = (0usize, 0usize);
        for (steps, rest) in self.maps() {
            for step in steps {
                count += 1;
                let inverse = simd.splat_f32s(1.0 / count as f32);
                for (sequence, pixel) in beside.iter_mut().zip(step) {
                    sequence.push(simd, inverse, vectors::<S, V>(simd, pixel));
                }
            }
            for pixel in rest {
                left += 1;
                let inverse = simd.splat_f32s(1.0 / left as f32);
                last.push(simd, inverse, vectors::<S, V>(simd, pixel));
            }
        }
        let [a, b, c, d] = beside;
        let two = |a: Sequence<_, V>, b| a.join(simd, count, b, count);
        let four = two(a, b).join(simd, 2 * count, two(c, d), 2 * count);
        let Sequence { mean, squares } = four.join(simd, 4 * count, last, left);
        let count = simd.splat_f32s((4 * count + left) as f32);
        (mean, squares.map(|sum| simd.div_f32s(sum, count)))
    }
}

/// Mean, and sum of squares of what differs from it, of the elements so far.
#[derive(Clone, Copy)]
struct Sequence<F, const V: usize> {
    mean: [F; V],
    squares: [F; V],
}

impl<F: Copy, const V: usize> Sequence<F, V> {
    /// One element more. `inverse`: 1 / their number.
    #[inline(always)]
    fn push<S: KernelSimd<f32s = F>>(&mut self, simd: S, inverse: F, x: [F; V]) {
        for (v, x) in x.into_iter().enumerate() {
            let before = simd.sub_f32s(x, self.mean[v]);
            self.mean[v] = simd.mul_add_e_f32s(before, inverse, self.mean[v]);
            let after = simd.sub_f32s(x, self.mean[v]);
            self.squares[v] = simd.mul_add_e_f32s(before, after, self.squares[v]);
        }
    }

    /// This sequence of `here` elements, and behind it the other of `there`.
    #[inline(always)]
    fn join<S: KernelSimd<f32s = F>>(
        mut self,
        simd: S,
        here: usize,
        other: Self,
        there: usize,
    ) -> Self {
        let share = there as f32 / (here + there).max(1) as f32;
        let (share, pairs) = (simd.splat_f32s(share), simd.splat_f32s(share * here as f32));
        for v in 0..V {
            let d = simd.sub_f32s(other.mean[v], self.mean[v]);
            self.mean[v] = simd.mul_add_e_f32s(d, share, self.mean[v]);
            let squares = simd.add_f32s(self.squares[v], other.squares[v]);
            self.squares[v] = simd.mul_add_e_f32s(simd.mul_f32s(d, d), pairs, squares);
        }
        self
    }
}
