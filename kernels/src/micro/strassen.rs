//! Sums of inputs for Strassen's products, in Winograd's form (the algorithm: `algo/strassen/`).
#![allow(unsafe_code)]

use super::gemm::load;
use crate::arch::{KernelSimd, array};
use crate::bounds::{extent, product, sum};
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;

/// Quarters of an input on NCHW16c: halves of its channels, and halves of some pixels.
///
/// ```text
/// B11 B12      first half of the channels:  first pixels, their partners
/// B21 B22      second half
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Quarters<'a> {
    /// Input from the first channel of the first pixel on.
    pub data: &'a [f32],
    /// Elements from a channel block to the next.
    pub block_stride: usize,
    /// Channel blocks per half.
    pub blocks: usize,
    /// True if one more channel block follows the halves.
    pub odd: bool,
    /// Pixels of the first half.
    pub pixels: usize,
    /// Pixels of the second half: as many, or one less. A missing pixel counts as zeros.
    pub paired: usize,
    /// Elements from a pixel to its partner.
    pub apart: usize,
}

/// Number of sums of inputs.
pub const SUMS: usize = 4;

/// Computes the sums of inputs, in channel blocks like the input, `apart` elements from one sum to the next:
///
/// ```text
/// T1 = B12 - B11    T2 = B22 - T1    T3 = B22 - B12    T4 = T2 - B21
/// ```
///
/// It also copies an odd block of channels: the partners' after T1, the first pixels' after T4.
pub struct InputSums<'a> {
    /// The input.
    pub quarters: Quarters<'a>,
    /// The sums.
    pub out: &'a mut [f32],
    /// Elements from a sum to the next.
    pub apart: usize,
}

impl SimdTask for InputSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let Quarters {
            data,
            block_stride,
            blocks,
            odd,
            pixels,
            paired,
            apart,
        } = self.quarters;
        assert!(blocks > 0 && pixels > 0 && (paired == pixels || paired == pixels - 1));
        let floats = [paired, pixels].map(|p| product([p, CHANNEL_BLOCK]));
        let odd_blocks = usize::from(odd);
        let all_blocks = sum([blocks, blocks, odd_blocks]);
        assert!(extent(all_blocks, block_stride, floats[1]) <= data.len());
        assert!(extent(all_blocks, block_stride, sum([apart, floats[0]])) <= data.len());
        let sum_len = product([sum([blocks, odd_blocks]), floats[1]]);
        assert!(extent(SUMS, self.apart, sum_len) <= self.out.len());
        let zero = simd.splat_f32s(0.0);
        for block in 0..blocks {
            let upper = data.as_ptr().wrapping_add(block * block_stride);
            let lower = upper.wrapping_add(blocks * block_stride);
            let out = self.out.as_mut_ptr().wrapping_add(block * floats[1]);
            let sums = |at: usize, [b11, b12, b21, b22]: [S::f32s; 4]| {
                let t1 = simd.sub_f32s(b12, b11);
                let t2 = simd.sub_f32s(b22, t1);
                let sums = [t1, t2, simd.sub_f32s(b22, b12), simd.sub_f32s(t2, b21)];
                for (t, &y) in sums.iter().enumerate() {
                    // SAFETY: inside the sum's block, which is inside `out` (asserted).
                    unsafe { simd.store_f32s(out.wrapping_add(t * self.apart + at), y) };
                }
            };
            // SAFETY: the floats of a half's pixels in one of its blocks are inside `data` (asserted).
            let at = |quarter: *const f32| unsafe { load::<S, 1>(simd, quarter)[0] };
            for i in (0..floats[0]).step_by(S::F32_LANES) {
                let quarters = [
                    upper,
                    upper.wrapping_add(apart),
                    lower,
                    lower.wrapping_add(apart),
                ];
                sums(i, array(|q| at(quarters[q].wrapping_add(i))));
            }
            for i in (floats[0]..floats[1]).step_by(S::F32_LANES) {
                let [b11, b21] = array(|half| at([upper, lower][half].wrapping_add(i)));
                sums(i, [b11, zero, b21, zero]);
            }
        }
        if odd {
            let from = 2 * blocks * block_stride;
            let to = blocks * floats[1];
            for (t, from, floats) in [(0, from + apart, floats[0]), (SUMS - 1, from, floats[1])] {
                let to = t * self.apart + to;
                for i in (0..floats).step_by(S::F32_LANES) {
                    // SAFETY: inside of `data` and `out` (asserted).
                    unsafe {
                        let [x] = load::<S, 1>(simd, data.as_ptr().add(from + i));
                        simd.store_f32s(self.out.as_mut_ptr().add(to + i), x);
                    }
                }
            }
        }
    }
}
