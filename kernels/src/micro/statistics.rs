//! Mean and variance of each channel.

use super::channels::{Pixel, put, vectors};
use crate::arch::{KernelSimd, array};
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;

/// Algorithm for a variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// First the mean, then the squares of differences to it, for as many pixels at a time as L1 holds. The moments of
    /// these stretches are combined, so that elements beyond L1 are read once.
    TwoPass,
    /// Both at once, updated with each element (Welford 1962), in several sequences that are combined at the end.
    Welford,
}

/// Means and biased variances of a block of 16 channels.
pub struct Moments<'a, 'o> {
    /// Source from the first image's map of the block on.
    pub src: &'a [f32],
    /// Elements per map, 16 per pixel.
    pub map: usize,
    /// Elements from a map to the next image's.
    pub stride: usize,
    /// Images.
    pub images: usize,
    /// Algorithm.
    pub method: Method,
    /// The 16 means.
    pub mean: &'o mut [f32; CHANNEL_BLOCK],
    /// The 16 variances.
    pub variance: &'o mut [f32; CHANNEL_BLOCK],
}

/// Pixels per stretch of the two passes: 8 KB.
const STRETCH: usize = 128;

/// Independent sums, to hide the latency of additions.
const SUMS: usize = 4;

impl SimdTask for Moments<'_, '_> {
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.moments::<S, V>(simd));
    }
}

impl Moments<'_, '_> {
    #[inline(always)]
    fn moments<S: KernelSimd, const V: usize>(self, simd: S) {
        let all = match self.method {
            Method::TwoPass => self.two_pass::<S, V>(simd),
            // Sequences per map, limited by registers: 32 registers and one vector per pixel, 16 and two, 32 and four.
            Method::Welford if V == 1 => self.welford::<S, V, 8>(simd),
            Method::Welford if V == 2 => self.welford::<S, V, 3>(simd),
            Method::Welford => self.welford::<S, V, 2>(simd),
        };
        let count = simd.splat_f32s((self.images * self.map / CHANNEL_BLOCK) as f32);
        put::<S, V>(simd, self.mean, all.mean);
        let variance = array(|v| simd.div_f32s(all.squares[v], count));
        put::<S, V>(simd, self.variance, variance);
    }

    /// Pixels of each image's map.
    #[inline(always)]
    fn maps(&self) -> impl Iterator<Item = &[Pixel]> {
        (0..self.images).map(|image| {
            let map = &self.src[image * self.stride..][..self.map];
            map.as_chunks::<CHANNEL_BLOCK>().0
        })
    }

    #[inline(always)]
    fn two_pass<S: KernelSimd, const V: usize>(&self, simd: S) -> Sequence<S::f32s, V> {
        let (mut all, mut before) = (Sequence::empty(simd), 0);
        for pixels in self.maps().flat_map(|map| map.chunks(STRETCH)) {
            let behind = pixels.as_ptr_range().end.cast::<f32>();
            let count = simd.splat_f32s(pixels.len() as f32);
            let total = sum::<S, V>(simd, pixels, |_| (), |sum, x, _| simd.add_f32s(sum, x));
            let mean = array(|v| simd.div_f32s(total[v], count));
            // Prefetches the next stretch to L1 meanwhile.
            let ahead = |at| simd.prefetch(behind.wrapping_add(at * CHANNEL_BLOCK));
            let squares = sum::<S, V>(simd, pixels, ahead, |sum, x, v| {
                let d = simd.sub_f32s(x, mean[v]);
                simd.mul_add_e_f32s(d, d, sum)
            });
            all.join(simd, before, &Sequence { mean, squares }, pixels.len());
            before += pixels.len();
        }
        all
    }

    /// Combines `N` independent sequences of each map, to hide the latency of their operations.
    #[inline(always)]
    fn welford<S: KernelSimd, const V: usize, const N: usize>(
        &self,
        simd: S,
    ) -> Sequence<S::f32s, V> {
        let (mut all, mut before) = (Sequence::empty(simd), 0);
        let inverse = |count: u32| simd.splat_f32s(1.0 / count as f32);
        for map in self.maps() {
            let (steps, rest) = map.as_chunks::<N>();
            let (mut beside, mut count) = ([Sequence::empty(simd); N], 0);
            for step in steps {
                count += 1;
                let inverse = inverse(count);
                for n in 0..N {
                    beside[n].push(simd, inverse, &vectors::<S, V>(simd, &step[n]));
                }
            }
            for one in &beside {
                all.join(simd, before, one, steps.len());
                before += steps.len();
            }
            for pixel in rest {
                before += 1;
                all.push(simd, inverse(before as u32), &vectors::<S, V>(simd, pixel));
            }
        }
        all
    }
}

/// Sum over some pixels. `add` adds an element's term to the sum of its vector. `before` is called with the index of
/// each pixel.
#[inline(always)]
fn sum<S: KernelSimd, const V: usize>(
    simd: S,
    pixels: &[Pixel],
    before: impl Fn(usize),
    add: impl Fn(S::f32s, S::f32s, usize) -> S::f32s,
) -> [S::f32s; V] {
    let mut sums = [[simd.splat_f32s(0.0); V]; SUMS];
    let (steps, rest) = pixels.as_chunks::<SUMS>();
    for (at, step) in steps.iter().enumerate() {
        for n in 0..SUMS {
            before(at * SUMS + n);
            let x = vectors::<S, V>(simd, &step[n]);
            for v in 0..V {
                sums[n][v] = add(sums[n][v], x[v], v);
            }
        }
    }
    for pixel in rest {
        let x = vectors::<S, V>(simd, pixel);
        for v in 0..V {
            sums[0][v] = add(sums[0][v], x[v], v);
        }
    }
    let [a, b, c, d] = sums;
    array(|v| simd.add_f32s(simd.add_f32s(a[v], b[v]), simd.add_f32s(c[v], d[v])))
}

/// Mean of the elements so far, and sum of squares of their differences to it.
#[derive(Clone, Copy)]
struct Sequence<F, const V: usize> {
    mean: [F; V],
    squares: [F; V],
}

impl<F: Copy, const V: usize> Sequence<F, V> {
    /// Sequence without elements.
    #[inline(always)]
    fn empty<S: KernelSimd<f32s = F>>(simd: S) -> Self {
        let zeros = [simd.splat_f32s(0.0); V];
        Sequence {
            mean: zeros,
            squares: zeros,
        }
    }

    /// Adds an element. `inverse` is 1 / number of elements, this one included.
    #[inline(always)]
    fn push<S: KernelSimd<f32s = F>>(&mut self, simd: S, inverse: F, x: &[F; V]) {
        for (v, &x) in x.iter().enumerate() {
            let before = simd.sub_f32s(x, self.mean[v]);
            self.mean[v] = simd.mul_add_e_f32s(before, inverse, self.mean[v]);
            let after = simd.sub_f32s(x, self.mean[v]);
            self.squares[v] = simd.mul_add_e_f32s(before, after, self.squares[v]);
        }
    }

    /// Appends a sequence of `there` elements to one of `here` elements (Chan, Golub and LeVeque 1983).
    #[inline(always)]
    fn join<S: KernelSimd<f32s = F>>(&mut self, simd: S, here: usize, other: &Self, there: usize) {
        let share = there as f32 / (here + there).max(1) as f32;
        let (share, pairs) = (simd.splat_f32s(share), simd.splat_f32s(share * here as f32));
        for v in 0..V {
            let d = simd.sub_f32s(other.mean[v], self.mean[v]);
            self.mean[v] = simd.mul_add_e_f32s(d, share, self.mean[v]);
            let squares = simd.add_f32s(self.squares[v], other.squares[v]);
            self.squares[v] = simd.mul_add_e_f32s(simd.mul_f32s(d, d), pairs, squares);
        }
    }
}
