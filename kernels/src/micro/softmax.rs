//! Softmax over the channels of a pixel: e^x / sum of e^x.

use super::channels::{lanes_of, pixel, pixel_mut, put, vectors};
use super::exp::{self, exp};
use crate::arch::{KernelSimd, array};
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;

/// Softmax of some pixels, in three passes over the channels of each. The passes compute the maximum, then e^x and
/// their sum, then the quotients. The maximum is subtracted from x so that e^x can't overflow.
pub struct SoftmaxPixels<'a, 'o> {
    /// Source from the first pixel of the first channel block on, with the layout of the outputs.
    pub src: &'a [f32],
    /// Number of channels.
    pub channels: usize,
    /// A row of pixels per block of 16 channels.
    pub out: RowsMut<'o, f32>,
}

/// Operations per element: comparison, difference, e^x, sum and quotient.
pub const FLOPS: u64 = exp::FLOPS + 4;

impl SimdTask for SoftmaxPixels<'_, '_> {
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.pixels::<S, V>(simd));
    }
}

impl SoftmaxPixels<'_, '_> {
    #[inline(always)]
    fn pixels<S: KernelSimd, const V: usize>(mut self, simd: S) {
        let blocks = self.channels.div_ceil(CHANNEL_BLOCK);
        assert_eq!(self.out.rows(), blocks);
        // Added to the last block, so that its padding doesn't count.
        let used = self.channels - (blocks - 1) * CHANNEL_BLOCK;
        let last = array(|lane| if lane < used { 0.0 } else { f32::NEG_INFINITY });
        for at in 0..self.out.len() / CHANNEL_BLOCK {
            self.softmax::<S, V>(simd, at, vectors::<S, V>(simd, &last));
            if used < CHANNEL_BLOCK {
                pixel_mut(self.out.row(blocks - 1), at)[used..].fill(0.0);
            }
        }
    }

    /// Computes the softmax of the pixel `at`.
    #[inline(always)]
    fn softmax<S: KernelSimd, const V: usize>(&mut self, simd: S, at: usize, last: [S::f32s; V]) {
        let (blocks, stride) = (self.out.rows(), self.out.stride());
        let src = self.src;
        let block = |block: usize| -> [S::f32s; V] {
            let x = vectors::<S, V>(simd, pixel(&src[block * stride..], at));
            if block + 1 < blocks {
                return x;
            }
            array(|v| simd.add_f32s(x[v], last[v]))
        };

        // A NaN may get lost in this maximum. It still makes the sum NaN.
        let mut largest = [simd.splat_f32s(f32::NEG_INFINITY); V];
        for b in 0..blocks {
            let x = block(b);
            for v in 0..V {
                largest[v] = simd.max_f32s(largest[v], x[v]);
            }
        }
        let lanes = lanes_of::<S, V>(simd, largest);
        let largest = simd.splat_f32s(lanes.into_iter().fold(f32::NEG_INFINITY, f32::max));

        let mut sums = [simd.splat_f32s(0.0); V];
        for b in 0..blocks {
            let x = block(b);
            let powers = array(|v| exp(simd, simd.sub_f32s(x[v], largest)));
            for v in 0..V {
                sums[v] = simd.add_f32s(sums[v], powers[v]);
            }
            put::<S, V>(simd, pixel_mut(self.out.row(b), at), powers);
        }
        let sum: f32 = lanes_of::<S, V>(simd, sums).into_iter().sum();

        let share = simd.splat_f32s(1.0 / sum);
        for b in 0..blocks {
            let out = pixel_mut(self.out.row(b), at);
            let powers = vectors::<S, V>(simd, out);
            put::<S, V>(simd, out, array(|v| simd.mul_f32s(powers[v], share)));
        }
    }
}
