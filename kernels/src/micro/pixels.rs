//! Inputs of register tiles: [`Pixels`].
//!
//! Pixels are evenly spaced ([`BlockedPixels`], [`MatrixRows`]), or come from an [`Indirection`] (Dukhan 2019, *The
//! Indirect Convolution Algorithm*). An indirection maps a pixel and a tap to an offset into the source, or to padding.
//! In the padding a line of zeros is read, without a branch in the inner loop. Once per tile, a test finds blocks
//! without padding.
#![allow(unsafe_code)]

pub use super::indirection::ZERO_RUN;
use super::indirection::{Indirection, PADDING};
use super::tiles::{Spacing, Tiles, even_tiles};
use crate::arch::{array, hidden};
use crate::bounds::product;
use crate::layout::CHANNEL_BLOCK;

/// Positions of the inputs of a run of output pixels, and the register tiles that take them.
///
/// # Safety
/// Pointers from `tile` are `base` plus at most `largest()` elements, or point to [`ZERO_RUN`] zeros. Offsets of pixels
/// that are evenly spaced are at most `largest()`, and their step is `STEP`, unless that is 0. Tiles are inside
/// `0..pixels()`. `positions` of pixels in tiles are below `pixels()`.
pub unsafe trait Pixels: Copy {
    /// The step of all tiles if it is known to the compiler, else 0.
    const STEP: usize = 0;
    /// Tells if sums of other products may be added ([`Sums`](super::outputs::Sums)).
    const SUMS: bool = false;
    /// Taps of the filter.
    fn taps(&self) -> usize;
    /// Output pixels in the run.
    fn pixels(&self) -> usize;
    /// The largest offset. None if every tap of every pixel falls into padding.
    fn largest(&self) -> Option<usize>;
    /// The register tiles, one after the other, with at most `most` pixels each.
    fn tiles(&self, most: usize) -> impl Iterator<Item = Tiles>;
    /// Indices in the run of `P` pixels from `first` on, in the order of the tiles.
    fn positions<const P: usize>(&self, first: usize) -> [usize; P];
    /// Spacing of one tap's inputs, for `P` pixels from `first` on.
    fn spacing<const P: usize>(&self, tap: usize, first: usize) -> Spacing;
    /// Addresses of one tap's inputs, for `P` pixels from `first` on.
    fn tile<const P: usize>(&self, tap: usize, first: usize, base: *const f32) -> [*const f32; P];
}

/// Defines the parts of [`Pixels`] that are common to all pixels a fixed step apart, with one tap.
macro_rules! one_tap_in_order {
    (|$self:ident| $step:expr) => {
        #[inline(always)]
        fn spacing<const P: usize>(&$self, _: usize, first: usize) -> Spacing {
            Spacing::Even {
                halves: array(|half| (first + half * P.div_ceil(2)) * $step),
                step: $step,
            }
        }
        #[inline(always)]
        fn taps(&self) -> usize {
            1
        }
        #[inline(always)]
        fn pixels(&self) -> usize {
            self.pixels
        }
        #[inline(always)]
        fn largest(&$self) -> Option<usize> {
            $self.pixels.checked_sub(1).map(|last| product([last, $step]))
        }
        #[inline(always)]
        fn tiles(&self, most: usize) -> impl Iterator<Item = Tiles> {
            even_tiles(self.pixels, most)
        }
        #[inline(always)]
        fn positions<const P: usize>(&self, first: usize) -> [usize; P] {
            array(|p| first + p)
        }
    };
}

/// Consecutive pixels of blocked channels: a 1x1 convolution of stride 1, or Winograd's tiles. Their step is a
/// constant, so that all of a tile's pixels share one address register.
#[derive(Clone, Copy, Debug)]
pub struct BlockedPixels {
    /// Output pixels in the run. The first is at the source's start.
    pub pixels: usize,
}

// SAFETY: the last pixel has the largest offset. Tiles and positions are those of the run.
unsafe impl Pixels for BlockedPixels {
    const STEP: usize = CHANNEL_BLOCK;
    const SUMS: bool = true;
    one_tap_in_order!(|self| CHANNEL_BLOCK);

    #[inline(always)]
    fn tile<const P: usize>(&self, _: usize, first: usize, base: *const f32) -> [*const f32; P] {
        array(|p| base.wrapping_add((first + p) * CHANNEL_BLOCK))
    }
}

/// Rows of a matrix: pixels of NHWC, or of an im2col matrix.
#[derive(Clone, Copy, Debug)]
pub struct MatrixRows {
    /// Output pixels in the run. The first is at the source's start.
    pub pixels: usize,
    /// Elements from a row to the next.
    pub step: usize,
}

// SAFETY: the last row has the largest offset. Tiles and positions are those of the run.
unsafe impl Pixels for MatrixRows {
    one_tap_in_order!(|self| self.step);

    #[inline(always)]
    fn tile<const P: usize>(&self, _: usize, first: usize, base: *const f32) -> [*const f32; P] {
        // Each address is opaque, or LLVM would compute it again in each step of the reduction, with an addition for
        // each pixel. Each is computed from the one before, or LLVM would compute them in vector registers, which the
        // sums need.
        let mut at = base.wrapping_add(first * self.step);
        array(|p| {
            if p > 0 {
                at = at.wrapping_add(self.step);
            }
            at = hidden(at);
            at
        })
    }
}

// SAFETY: offsets are at most `largest`, and the padding has `ZERO_RUN` elements. A buffer's tiles are inside its block,
// and its positions are a permutation of the block's pixels.
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
    fn tiles(&self, _: usize) -> impl Iterator<Item = Tiles> {
        (*self).tiles().iter().copied()
    }
    #[inline(always)]
    fn positions<const P: usize>(&self, first: usize) -> [usize; P] {
        {
            let positions = self.positions::<P>(first);
            array(|p| positions[p] as usize)
        }
    }
    #[inline(always)]
    fn spacing<const P: usize>(&self, tap: usize, first: usize) -> Spacing {
        self.spacing::<P>(tap, first)
    }
    #[inline(always)]
    fn tile<const P: usize>(&self, tap: usize, first: usize, base: *const f32) -> [*const f32; P] {
        let offsets = self.offsets::<P>(tap, first);
        if !self.padded() {
            return array(|p| base.wrapping_add(offsets[p] as usize));
        }
        let mut at = [self.padding().as_ptr(); P];
        for p in 0..P {
            if offsets[p] != PADDING {
                at[p] = base.wrapping_add(offsets[p] as usize);
            }
        }
        at
    }
}
