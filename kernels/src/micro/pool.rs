//! Windows over rows of 16-channel pixels.
#![allow(unsafe_code)]

use super::gemm::{load, store};
use crate::arch::KernelSimd;
use crate::blocking::CHANNEL_BLOCK;
use crate::isa::SimdTask;
use std::ops::Range;

/// What is made of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduce {
    /// The largest element; NaN if there is one.
    Max,
    /// The sum over the number of elements that count ([`Window::counted`]).
    Mean,
}

/// One axis of the windows: which input positions each output covers.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Input positions.
    pub size: usize,
    /// Outputs.
    pub out: usize,
    /// Elements of the window.
    pub kernel: usize,
    /// From a window to the next.
    pub stride: usize,
    /// From an element to the next.
    pub dilation: usize,
    /// Leading padding.
    pub before: usize,
    /// Input and padding that count in a mean's divisor; none: only what lies inside the input.
    pub counted: Option<usize>,
}

impl Window {
    /// The elements of window `o` that lie inside the input, never none.
    #[inline(always)]
    pub fn inside(&self, o: usize) -> Range<usize> {
        let start = o * self.stride;
        let lo = self.before.saturating_sub(start).div_ceil(self.dilation);
        let hi = (self.size + self.before - start)
            .div_ceil(self.dilation)
            .min(self.kernel);
        lo..hi
    }

    /// The input position of element `k` of window `o`.
    #[inline(always)]
    pub fn at(&self, o: usize, k: usize) -> usize {
        o * self.stride + k * self.dilation - self.before
    }

    /// How many elements of window `o` a mean divides by.
    #[inline(always)]
    pub fn count(&self, o: usize) -> usize {
        match self.counted {
            None => self.inside(o).len(),
            Some(end) => (end - o * self.stride)
                .div_ceil(self.dilation)
                .min(self.kernel),
        }
    }
}

/// Some rows of one block of 16 channels.
pub struct PoolRows<'a> {
    /// The block's input map.
    pub map: &'a [f32],
    /// Down.
    pub vertical: Window,
    /// Across.
    pub horizontal: Window,
    /// The first output row.
    pub first: usize,
    /// Output rows.
    pub out: &'a mut [f32],
    /// What is made of a window.
    pub reduce: Reduce,
}

impl SimdTask for PoolRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        match self.reduce {
            Reduce::Max => self.rows(
                simd,
                |acc, x| max(simd, acc, x),
                |acc, _| acc,
                f32::NEG_INFINITY,
            ),
            Reduce::Mean => self.rows(
                simd,
                |acc, x| simd.add_f32s(acc, x),
                |acc, count| simd.div_f32s(acc, simd.splat_f32s(count as f32)),
                0.0,
            ),
        }
    }
}

/// The larger of each lane; NaN if either is, on every instruction set (hardware's differ).
#[inline(always)]
fn max<S: KernelSimd>(simd: S, acc: S::f32s, x: S::f32s) -> S::f32s {
    let larger = simd.select_f32s(simd.greater_than_f32s(x, acc), x, acc);
    simd.select_f32s(simd.equal_f32s(x, x), larger, x)
}

impl PoolRows<'_> {
    #[inline(always)]
    fn rows<S: KernelSimd>(
        self,
        simd: S,
        combine: impl Fn(S::f32s, S::f32s) -> S::f32s,
        finish: impl Fn(S::f32s, usize) -> S::f32s,
        start: f32,
    ) {
        let PoolRows {
            map,
            vertical,
            horizontal,
            first,
            out,
            ..
        } = self;
        let row = horizontal.out * CHANNEL_BLOCK;
        assert!(map.len() >= vertical.size * horizontal.size * CHANNEL_BLOCK);
        for (i, out) in out.chunks_exact_mut(row).enumerate() {
            let y = first + i;
            let rows = vertical.inside(y);
            for (x, out) in out.chunks_exact_mut(CHANNEL_BLOCK).enumerate() {
                let columns = horizontal.inside(x);
                let count = vertical.count(y) * horizontal.count(x);
                for lane in (0..CHANNEL_BLOCK).step_by(S::F32_LANES) {
                    let mut acc = simd.splat_f32s(start);
                    for r in rows.clone() {
                        let at = vertical.at(y, r) * horizontal.size;
                        for s in columns.clone() {
                            let at = (at + horizontal.at(x, s)) * CHANNEL_BLOCK + lane;
                            debug_assert!(at + S::F32_LANES <= map.len());
                            // SAFETY: `inside` keeps rows and columns inside the input, whose map
                            // has 16 floats a pixel (asserted above).
                            let [v] = unsafe { load::<S, 1>(map.as_ptr().add(at)) };
                            acc = combine(acc, v);
                        }
                    }
                    let out = &mut out[lane..lane + S::F32_LANES];
                    // SAFETY: a slice of as many lanes.
                    unsafe { store::<S>(out.as_mut_ptr(), finish(acc, count)) };
                }
            }
        }
    }
}

/// The mean of a whole map of one block of 16 channels.
pub struct MapMean<'a> {
    /// The map, 16 floats a pixel.
    pub map: &'a [f32],
    /// 16 means.
    pub out: &'a mut [f32; CHANNEL_BLOCK],
}

impl SimdTask for MapMean<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let (pixels, _) = self.map.as_chunks::<CHANNEL_BLOCK>();
        let count = simd.splat_f32s(pixels.len() as f32);
        for lane in (0..CHANNEL_BLOCK).step_by(S::F32_LANES) {
            // Four sums, so that additions don't wait for each other.
            let mut sums = [simd.splat_f32s(0.0); 4];
            let (fours, rest) = pixels.as_chunks::<4>();
            for four in fours {
                for (sum, pixel) in sums.iter_mut().zip(four) {
                    // SAFETY: `lane` and the lanes behind it are among the pixel's 16.
                    let [x] = unsafe { load::<S, 1>(pixel.as_ptr().add(lane)) };
                    *sum = simd.add_f32s(*sum, x);
                }
            }
            for pixel in rest {
                // SAFETY: as above.
                let [x] = unsafe { load::<S, 1>(pixel.as_ptr().add(lane)) };
                sums[0] = simd.add_f32s(sums[0], x);
            }
            let sum = simd.add_f32s(
                simd.add_f32s(sums[0], sums[1]),
                simd.add_f32s(sums[2], sums[3]),
            );
            // SAFETY: as above, among the 16 means.
            unsafe { store::<S>(self.out.as_mut_ptr().add(lane), simd.div_f32s(sum, count)) };
        }
    }
}
