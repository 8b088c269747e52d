//! Attention pooling after the product V h: scores, their softmax, and the weighted sum.

use super::channels::{Pixel, lanes_of, pixel, put, vectors};
use super::exp::{self, exp, tanh};
use crate::arch::{KernelSimd, array};
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;

/// Computes the score of each position, `sum of w * tanh(hidden)`.
pub struct Scores<'a, 'o> {
    /// 16 floats per position, for each block of 16 hidden units.
    pub hidden: &'a [f32],
    /// Weights, a multiple of 16.
    pub w: &'a [f32],
    /// One score per position.
    pub scores: &'o mut [f32],
}

/// Operations per element of `hidden`.
pub const SCORE_FLOPS: u64 = exp::TANH_FLOPS + 2;

impl SimdTask for Scores<'_, '_> {
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.scores::<S, V>(simd));
    }
}

impl Scores<'_, '_> {
    #[inline(always)]
    fn scores<S: KernelSimd, const V: usize>(self, simd: S) {
        let Scores { hidden, w, scores } = self;
        let (w, rest) = w.as_chunks::<CHANNEL_BLOCK>();
        assert!(rest.is_empty() && hidden.len() == scores.len() * w.len() * CHANNEL_BLOCK);
        let units = scores.len() * CHANNEL_BLOCK;
        for (position, score) in scores.iter_mut().enumerate() {
            let mut sums = [simd.splat_f32s(0.0); V];
            for (hidden, w) in hidden.chunks_exact(units).zip(w) {
                let hidden = vectors::<S, V>(simd, pixel(hidden, position));
                let w = vectors::<S, V>(simd, w);
                for v in 0..V {
                    sums[v] = simd.mul_add_e_f32s(w[v], tanh(simd, hidden[v]), sums[v]);
                }
            }
            *score = lanes_of::<S, V>(simd, sums).into_iter().sum();
        }
    }
}

/// Replaces scores by their softmax.
pub struct Shares<'o> {
    /// Scores before, softmax after.
    pub scores: &'o mut [f32],
}

impl SimdTask for Shares<'_> {
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.shares::<S, V>(simd));
    }
}

impl Shares<'_> {
    #[inline(always)]
    fn shares<S: KernelSimd, const V: usize>(self, simd: S) {
        // A NaN may get lost in this maximum. It still makes the sum NaN.
        let largest = self
            .scores
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
        let largest = simd.splat_f32s(largest);
        let mut sums = [simd.splat_f32s(0.0); V];
        let mut power = |block: &mut Pixel| {
            let x = vectors::<S, V>(simd, block);
            let powers = array(|v| exp(simd, simd.sub_f32s(x[v], largest)));
            for v in 0..V {
                sums[v] = simd.add_f32s(sums[v], powers[v]);
            }
            put::<S, V>(simd, block, powers);
        };
        let (blocks, rest) = self.scores.as_chunks_mut::<CHANNEL_BLOCK>();
        blocks.iter_mut().for_each(&mut power);
        let mut last = [f32::NEG_INFINITY; CHANNEL_BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        power(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
        let sum: f32 = lanes_of::<S, V>(simd, sums).into_iter().sum();
        let share = 1.0 / sum;
        self.scores.iter_mut().for_each(|power| *power *= share);
    }
}

/// Computes `out = sum of share * pixel` over a channel block's map.
pub struct WeightedSum<'a, 'o> {
    /// 16 floats per position.
    pub map: &'a [f32],
    /// One share per position.
    pub shares: &'a [f32],
    /// 16 sums.
    pub out: &'o mut [f32],
}

/// Positions with independent sums, to hide the latency of additions.
const SIDE_BY_SIDE: usize = 4;

impl SimdTask for WeightedSum<'_, '_> {
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.sum::<S, V>(simd));
    }
}

impl WeightedSum<'_, '_> {
    #[inline(always)]
    fn sum<S: KernelSimd, const V: usize>(self, simd: S) {
        let pixels = self.map.as_chunks::<CHANNEL_BLOCK>().0;
        assert_eq!(pixels.len(), self.shares.len());
        let mut sums = [[simd.splat_f32s(0.0); V]; SIDE_BY_SIDE];
        let add = |sums: &mut [S::f32s; V], pixel: &Pixel, share: f32| {
            let (x, share) = (vectors::<S, V>(simd, pixel), simd.splat_f32s(share));
            for v in 0..V {
                sums[v] = simd.mul_add_e_f32s(share, x[v], sums[v]);
            }
        };
        let (steps, rest) = pixels.as_chunks::<SIDE_BY_SIDE>();
        let (shares, rest_shares) = self.shares.as_chunks::<SIDE_BY_SIDE>();
        for (step, shares) in steps.iter().zip(shares) {
            for p in 0..SIDE_BY_SIDE {
                add(&mut sums[p], &step[p], shares[p]);
            }
        }
        for (pixel, &share) in rest.iter().zip(rest_shares) {
            add(&mut sums[0], pixel, share);
        }
        let [a, b, c, d] = sums;
        let sum = array(|v| simd.add_f32s(simd.add_f32s(a[v], b[v]), simd.add_f32s(c[v], d[v])));
        let out: &mut Pixel = self.out.try_into().expect("16 sums");
        put::<S, V>(simd, out, sum);
    }
}
