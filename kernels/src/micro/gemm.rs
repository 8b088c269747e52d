//! The register tile: some output pixels x some blocks of 16 output channels, accumulated in
//! registers over the whole reduction, finished with the epilogue and written once.
//!
//! ```text
//! for tap, for channel c:                    (K steps)
//!     w[v]      = panel[k][v]                 V vector loads: 16 * blocks output channels
//!     acc[p][v] += x[pixel p, tap, c] * w[v]  P * V FMAs with a broadcast input
//! out[p][v] = relu(acc[p][v] + bias[v] + residual[p][v])
//! ```
//!
//! Inputs are found through [`Pixels`], so that one kernel serves direct convolution, 1x1, im2col and
//! the products of Winograd: pixels a constant step apart ([`Strided`]), or an [`Indirection`]
//! (Dukhan 2019, *The Indirect Convolution Algorithm*), where a pixel and a tap give an offset into
//! the source, or none where the tap falls into padding; then a line of zeros is read, without a
//! branch in the inner loop.
#![allow(unsafe_code)]

use super::indirection::{Indirection, PADDING};
use crate::arch::KernelSimd;
use crate::blocking::CHANNEL_BLOCK;
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::tensor::CacheLine;
use std::ops::Range;

/// The input of a tile: channel `c` of the pixel at offset `o` is `data[o + c / block *
/// block_stride + c % block]`. With blocked channels, `block` is 16; where a pixel's channels are
/// contiguous (NHWC, an im2col matrix), there is one block of them all.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// One image.
    pub data: &'a [f32],
    /// Contiguous channels.
    pub block: usize,
    /// Elements from a channel block to the next.
    pub block_stride: usize,
}

/// What is added to the output, in the output's layout.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a> {
    /// From the first element that corresponds to `out`.
    pub data: &'a [f32],
    /// Elements from a channel block to the next.
    pub row_stride: usize,
}

/// The body for each pixel of a tile, written out: LLVM leaves a loop of 14 rolled, and then keeps the
/// accumulators in memory (0.39 of the peak instead of 0.98).
macro_rules! each_pixel {
    ($count:ident, |$p:ident| $body:block) => {
        each_pixel!(@ $count, $p, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $count:ident, $p:ident, $body:block, $($n:literal)*) => {
        $(if const { $n < $count } {
            let $p: usize = $n;
            $body
        })*
    };
}

/// Where the inputs of a run of output pixels are.
///
/// # Safety
/// Pointers from `tile` are `base` plus at most `largest()` elements, or point to [`ZERO_RUN`] zeros.
pub unsafe trait Pixels: Copy {
    /// Taps of the filter.
    fn taps(&self) -> usize;
    /// Output pixels in the run.
    fn pixels(&self) -> usize;
    /// The largest offset; none if every tap of every pixel falls into padding.
    fn largest(&self) -> Option<usize>;
    /// Whether a tap falls into padding for all of `P` pixels from `first` on.
    fn skips<const P: usize>(&self, tap: usize, first: usize) -> bool;
    /// Where the inputs of `P` pixels from `first` on are, for one tap.
    fn tile<const P: usize>(&self, tap: usize, first: usize, base: *const f32) -> [*const f32; P];
}

/// Pixels `STEP` elements apart, one tap: a 1x1 convolution of stride 1, or rows of a matrix. The step
/// is a constant so that all of a tile's pixels share one address register.
#[derive(Clone, Copy, Debug)]
pub struct Strided<const STEP: usize> {
    /// Output pixels in the run; the first is at the source's start.
    pub pixels: usize,
}

// SAFETY: the last pixel has the largest offset.
unsafe impl<const STEP: usize> Pixels for Strided<STEP> {
    #[inline(always)]
    fn taps(&self) -> usize {
        1
    }
    #[inline(always)]
    fn pixels(&self) -> usize {
        self.pixels
    }
    #[inline(always)]
    fn largest(&self) -> Option<usize> {
        self.pixels.checked_sub(1).map(|last| last * STEP)
    }
    #[inline(always)]
    fn skips<const P: usize>(&self, _: usize, _: usize) -> bool {
        false
    }
    #[inline(always)]
    fn tile<const P: usize>(&self, _: usize, first: usize, base: *const f32) -> [*const f32; P] {
        std::array::from_fn(|p| base.wrapping_add((first + p) * STEP))
    }
}

/// The most consecutive channels of a tap that are read from one set of pointers.
pub const ZERO_RUN: usize = 64;

/// What a tap that falls into padding reads.
pub(super) static ZEROS: [CacheLine; ZERO_RUN / CacheLine::F32S] = [CacheLine::ZERO; _];

// SAFETY: offsets are at most `largest`, and `ZEROS` has `ZERO_RUN` elements.
unsafe impl Pixels for Indirection<'_> {
    #[inline(always)]
    fn taps(&self) -> usize {
        self.taps()
    }
    #[inline(always)]
    fn pixels(&self) -> usize {
        self.pixels()
    }
    #[inline(always)]
    fn largest(&self) -> Option<usize> {
        self.largest().map(|o| o as usize)
    }
    #[inline(always)]
    fn skips<const P: usize>(&self, tap: usize, first: usize) -> bool {
        self.offsets::<P>(tap, first).iter().all(|&o| o == PADDING)
    }
    #[inline(always)]
    fn tile<const P: usize>(&self, tap: usize, first: usize, base: *const f32) -> [*const f32; P] {
        let offsets = self.offsets::<P>(tap, first);
        let mut at = [ZEROS.as_ptr().cast(); P];
        for p in 0..P {
            if offsets[p] != PADDING {
                at[p] = base.wrapping_add(offsets[p] as usize);
            }
        }
        at
    }
}

/// The bounds of the `t`-th of the nearly equal tiles of at most `most` pixels that `pixels` are cut
/// into (49 pixels are 13 + 12 + 12 + 12, not 14 + 14 + 14 + 7): full tiles make the most of each load
/// of weights.
#[inline(always)]
pub fn tile_bounds(pixels: usize, most: usize, t: usize) -> Range<usize> {
    let tiles = pixels.div_ceil(most);
    pixels * t / tiles..pixels * (t + 1) / tiles
}

/// One panel of weights against a run of pixels: `out[p] = epilogue(sum of x[p, tap, c] * w[tap, c])`
/// for `out.rows()` blocks of 16 output channels.
pub struct PanelTimesPixels<'a, 'o, I> {
    /// The input.
    pub src: Source<'a>,
    /// Where the pixels' taps are.
    pub pixels: I,
    /// The input channels to sum over.
    pub channels: Range<usize>,
    /// Bias, then weights as [`super::pack`] lays them out.
    pub panel: &'a [f32],
    /// Clamp below at zero.
    pub relu: bool,
    /// Added before the clamp.
    pub residual: Option<Residual<'a>>,
    /// One row a channel block, 16 floats a pixel.
    pub out: RowsMut<'o, f32>,
}

impl<I: Pixels> SimdTask for PanelTimesPixels<'_, '_, I> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        self.check();
        match (S::F32_LANES, self.out.rows()) {
            (16, 2) => self.tiles::<S, 14, 2>(simd),
            (16, 1) => self.tiles::<S, 14, 1>(simd),
            (8, 1) => self.tiles::<S, 6, 2>(simd),
            (4, 1) => self.tiles::<S, 6, 4>(simd),
            (1, 1) => self.tiles::<S, 2, 16>(simd),
            (lanes, rows) => panic!("no tile of {rows} channel blocks for {lanes} lanes"),
        }
    }
}

impl<I: Pixels> PanelTimesPixels<'_, '_, I> {
    /// The promises that the tile's pointers rest on, checked once a panel.
    #[inline(always)]
    fn check(&self) {
        let Source {
            data,
            block,
            block_stride,
        } = self.src;
        let (rows, len) = (self.out.rows(), self.pixels.pixels() * CHANNEL_BLOCK);
        assert!(
            block > 0 && self.out.len() == len,
            "output of {} for {len}",
            self.out.len()
        );
        let k = self.pixels.taps() * self.channels.len();
        assert!(
            self.panel.len() >= (k + 1) * rows * CHANNEL_BLOCK,
            "panel too short"
        );
        if let (Some(offset), Some(last)) = (self.pixels.largest(), self.channels.clone().last()) {
            let end = offset + last / block * block_stride + last % block;
            assert!(
                end < data.len(),
                "input of {} elements read at {end}",
                data.len()
            );
        }
        if let Some(residual) = &self.residual {
            assert!(
                residual.data.len() >= (rows - 1) * residual.row_stride + len,
                "residual"
            );
        }
    }

    /// Cuts the pixels into tiles of at most `P` ([`tile_bounds`]).
    #[inline(always)]
    fn tiles<S: KernelSimd, const P: usize, const V: usize>(mut self, simd: S) {
        let pixels = self.pixels.pixels();
        for t in 0..pixels.div_ceil(P) {
            let Range { start: first, end } = tile_bounds(pixels, P, t);
            macro_rules! sizes {
                ($($n:literal)*) => {
                    match end - first {
                        $($n => if const { $n <= P } { self.tile::<S, $n, V>(simd, first) },)*
                        _ => unreachable!("a tile has at most {P} pixels"),
                    }
                };
            }
            sizes!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        }
    }

    /// The tile of `P` pixels from `first` on, by `V` vectors of output channels.
    #[inline(always)]
    fn tile<S: KernelSimd, const P: usize, const V: usize>(&mut self, simd: S, first: usize) {
        self.prefetch_outputs(simd, first, P);
        let mut acc = [[simd.splat_f32s(0.0); V]; P];
        // The bias comes first: one row of the panel.
        let row = V * S::F32_LANES;
        // SAFETY: inside the panel (`check`).
        let mut weights = unsafe { self.panel.as_ptr().add(row) };
        let Source {
            data,
            block,
            block_stride,
        } = self.src;
        let Range { start, end } = self.channels;
        let (start_block, start_lane) = (start / block * block_stride, start % block);

        for tap in 0..self.pixels.taps() {
            if self.pixels.skips::<P>(tap, first) {
                // SAFETY: stays inside the panel: one row for each tap and channel.
                weights = unsafe { weights.add((end - start) * row) };
                continue;
            }
            let (mut block_at, mut lane, mut left) = (start_block, start_lane, end - start);
            while left > 0 {
                let run = left.min(block - lane).min(ZERO_RUN);
                let base = data.as_ptr().wrapping_add(block_at + lane);
                let x: [*const f32; P] = self.pixels.tile(tap, first, base);
                for k in 0..run {
                    // SAFETY: the panel has a row of V vectors for each tap and channel (`check`).
                    let w: [S::f32s; V] = unsafe { load::<S, V>(weights.add(k * row)) };
                    each_pixel!(P, |p| {
                        // SAFETY: either among zeros, of which `run` reads no more; or inside
                        // `data`: the offset is at most `largest`, for which `check` found the last
                        // channel there, and `run` leaves neither the channels nor their block.
                        let x = simd.splat_f32s(unsafe { *x[p].add(k) });
                        for v in 0..V {
                            acc[p][v] = simd.mul_add_e_f32s(x, w[v], acc[p][v]);
                        }
                    });
                }
                // SAFETY: as above.
                weights = unsafe { weights.add(run * row) };
                left -= run;
                lane += run;
                if lane == block {
                    (lane, block_at) = (0, block_at + block_stride);
                }
            }
        }
        self.finish(simd, first, acc);
    }

    /// Asks for the lines that `finish` will add and write: they arrive during the reduction, where
    /// otherwise a tile would end in waiting for L3 or memory.
    #[inline(always)]
    fn prefetch_outputs<S: KernelSimd>(&mut self, simd: S, first: usize, pixels: usize) {
        for block in 0..self.out.rows() {
            let out = self.out.row(block)[first * CHANNEL_BLOCK..].as_ptr();
            for p in 0..pixels {
                simd.prefetch(out.wrapping_add(p * CHANNEL_BLOCK));
            }
            if let Some(Residual { data, row_stride }) = self.residual {
                let at = data
                    .as_ptr()
                    .wrapping_add(block * row_stride + first * CHANNEL_BLOCK);
                for p in 0..pixels {
                    simd.prefetch(at.wrapping_add(p * CHANNEL_BLOCK));
                }
            }
        }
    }

    /// Bias, residual, ReLU, and the one store of each output.
    #[inline(always)]
    fn finish<S: KernelSimd, const P: usize, const V: usize>(
        &mut self,
        simd: S,
        first: usize,
        acc: [[S::f32s; V]; P],
    ) {
        // SAFETY: the bias is the panel's first row (`check`).
        let bias: [S::f32s; V] = unsafe { load::<S, V>(self.panel.as_ptr()) };
        let zero = simd.splat_f32s(0.0);
        for v in 0..V {
            let at = v * S::F32_LANES;
            let (block, lane) = (at / CHANNEL_BLOCK, at % CHANNEL_BLOCK);
            let out = &mut self.out.row(block)[first * CHANNEL_BLOCK..][..P * CHANNEL_BLOCK];
            each_pixel!(P, |p| {
                let at = p * CHANNEL_BLOCK + lane;
                let mut y = simd.add_f32s(acc[p][v], bias[v]);
                if let Some(Residual { data, row_stride }) = self.residual {
                    let at = block * row_stride + first * CHANNEL_BLOCK + at;
                    // SAFETY: `check` found the tile's rows inside the residual.
                    let [r] = unsafe { load::<S, 1>(data.as_ptr().add(at)) };
                    y = simd.add_f32s(y, r);
                }
                if self.relu {
                    // Not `max`: it would lose a NaN on some instruction sets and keep it on others.
                    y = simd.select_f32s(simd.less_than_f32s(y, zero), zero, y);
                }
                // SAFETY: `at` and the lanes behind it are inside `out`, P blocks of 16.
                unsafe { store::<S>(out.as_mut_ptr().add(at), y) };
            });
        }
    }
}

/// One vector to memory.
///
/// # Safety
/// `to` is valid for a write of one vector.
#[inline(always)]
pub(super) unsafe fn store<S: KernelSimd>(to: *mut f32, y: S::f32s) {
    // SAFETY: the caller's promise.
    unsafe { to.cast::<S::f32s>().write_unaligned(y) };
}

/// `V` vectors from memory.
///
/// # Safety
/// `at` is valid for a read of `V` vectors.
#[inline(always)]
pub(super) unsafe fn load<S: KernelSimd, const V: usize>(at: *const f32) -> [S::f32s; V] {
    // SAFETY: the caller's promise; vectors are plain data.
    unsafe { at.cast::<[S::f32s; V]>().read_unaligned() }
}
