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
    /// The elements of window `o` that lie inside the input: of a pooling never none.
    #[inline(always)]
    pub fn inside(&self, o: usize) -> Range<usize> {
        let start = o * self.stride;
        // Divisions would be felt where maps are small.
        let elements = |positions: usize| match self.dilation {
            1 => positions,
            dilation => positions.div_ceil(dilation),
        };
        let lo = elements(self.before.saturating_sub(start));
        let hi = elements((self.size + self.before).saturating_sub(start)).min(self.kernel);
        lo..hi
    }

    /// The windows all of whose elements lie inside the input.
    pub fn whole(&self) -> Range<usize> {
        let span = (self.kernel - 1) * self.dilation + 1;
        let start = self.before.div_ceil(self.stride).min(self.out);
        let end = match (self.size + self.before).checked_sub(span) {
            Some(last) => (last / self.stride + 1).min(self.out),
            None => start,
        };
        start..end.max(start)
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
            Reduce::Max => self.rows::<S, Max>(simd),
            Reduce::Mean => self.rows::<S, Mean>(simd),
        }
    }
}

/// What is kept of a window while it is read.
trait Fold {
    type State<S: KernelSimd>: Copy;
    fn start<S: KernelSimd>(simd: S) -> Self::State<S>;
    fn add<S: KernelSimd>(simd: S, state: Self::State<S>, x: S::f32s) -> Self::State<S>;
    fn finish<S: KernelSimd>(simd: S, state: Self::State<S>, count: usize) -> S::f32s;
}

/// The largest element, and which lanes had numbers alone: hardware's maxima differ in what they make
/// of a NaN, so it is put back at the end.
struct Max;

impl Fold for Max {
    type State<S: KernelSimd> = (S::f32s, S::m32s);

    #[inline(always)]
    fn start<S: KernelSimd>(simd: S) -> Self::State<S> {
        let lowest = simd.splat_f32s(f32::NEG_INFINITY);
        (lowest, simd.equal_f32s(lowest, lowest))
    }

    #[inline(always)]
    fn add<S: KernelSimd>(simd: S, (max, numbers): Self::State<S>, x: S::f32s) -> Self::State<S> {
        (
            simd.max_f32s(max, x),
            simd.and_m32s(numbers, simd.equal_f32s(x, x)),
        )
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(simd: S, (max, numbers): Self::State<S>, _: usize) -> S::f32s {
        simd.select_f32s(numbers, max, simd.splat_f32s(f32::NAN))
    }
}

/// The sum.
struct Mean;

impl Fold for Mean {
    type State<S: KernelSimd> = S::f32s;

    #[inline(always)]
    fn start<S: KernelSimd>(simd: S) -> S::f32s {
        simd.splat_f32s(0.0)
    }

    #[inline(always)]
    fn add<S: KernelSimd>(simd: S, sum: S::f32s, x: S::f32s) -> S::f32s {
        simd.add_f32s(sum, x)
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(simd: S, sum: S::f32s, count: usize) -> S::f32s {
        simd.div_f32s(sum, simd.splat_f32s(count as f32))
    }
}

/// Windows that are reduced side by side, so that one's operations don't wait for each other.
const SIDE_BY_SIDE: usize = 4;

impl PoolRows<'_> {
    #[inline(always)]
    fn rows<S: KernelSimd, F: Fold>(self, simd: S) {
        let PoolRows {
            map,
            vertical,
            horizontal,
            first,
            out,
            ..
        } = self;
        assert!(map.len() >= vertical.size * horizontal.size * CHANNEL_BLOCK);
        let whole = horizontal.whole();
        for (i, out) in out
            .chunks_exact_mut(horizontal.out * CHANNEL_BLOCK)
            .enumerate()
        {
            let row = Row {
                map,
                vertical,
                horizontal,
                y: first + i,
            };
            let mut x = 0;
            while x < horizontal.out {
                let side_by_side = x >= whole.start && x + SIDE_BY_SIDE <= whole.end;
                if side_by_side {
                    row.windows::<S, F, SIDE_BY_SIDE>(simd, x, out);
                    x += SIDE_BY_SIDE;
                } else {
                    row.windows::<S, F, 1>(simd, x, out);
                    x += 1;
                }
            }
        }
    }
}

/// One row of outputs.
struct Row<'a> {
    map: &'a [f32],
    vertical: Window,
    horizontal: Window,
    y: usize,
}

impl Row<'_> {
    /// `N` windows from `x` on; more than one only where all are whole.
    #[inline(always)]
    fn windows<S: KernelSimd, F: Fold, const N: usize>(&self, simd: S, x: usize, out: &mut [f32]) {
        let Row {
            map,
            vertical,
            horizontal,
            y,
        } = *self;
        let (rows, columns) = (vertical.inside(y), horizontal.inside(x));
        let count = vertical.count(y) * horizontal.count(x);
        let step = horizontal.stride * CHANNEL_BLOCK;
        let out = &mut out[x * CHANNEL_BLOCK..][..N * CHANNEL_BLOCK];
        // The last element read: rows and columns are increasing.
        if let (Some(r), Some(s)) = (rows.clone().last(), columns.clone().last()) {
            let last = vertical.at(y, r) * horizontal.size + horizontal.at(x + N - 1, s);
            assert!((last + 1) * CHANNEL_BLOCK <= map.len());
        }
        for lane in (0..CHANNEL_BLOCK).step_by(S::F32_LANES) {
            let mut states = [F::start(simd); N];
            for r in rows.clone() {
                let line = vertical.at(y, r) * horizontal.size;
                for s in columns.clone() {
                    let at = (line + horizontal.at(x, s)) * CHANNEL_BLOCK + lane;
                    for (n, state) in states.iter_mut().enumerate() {
                        // SAFETY: at most the last element, asserted above to be in the map.
                        let [v] = unsafe { load::<S, 1>(map.as_ptr().add(at + n * step)) };
                        *state = F::add(simd, *state, v);
                    }
                }
            }
            for (n, state) in states.into_iter().enumerate() {
                let out = &mut out[n * CHANNEL_BLOCK + lane..][..S::F32_LANES];
                // SAFETY: a slice of as many lanes.
                unsafe { store::<S>(out.as_mut_ptr(), F::finish(simd, state, count)) };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_windows_are_those_inside() {
        for (size, kernel, stride, dilation, before) in [
            (7, 3, 1, 1, 1),
            (8, 3, 2, 1, 1),
            (9, 2, 3, 2, 2),
            (3, 5, 1, 1, 4),
            (1, 1, 2, 1, 0),
            (2, 3, 1, 3, 5),
            (12, 4, 5, 2, 0),
        ] {
            for out in 1..=(size + before) / stride + 1 {
                let window = Window {
                    size,
                    out,
                    kernel,
                    stride,
                    dilation,
                    before,
                    counted: None,
                };
                let whole: Vec<_> = (0..out)
                    .filter(|&o| window.inside(o).len() == kernel)
                    .collect();
                assert!(window.whole().eq(whole), "{window:?}");
            }
        }
    }
}
