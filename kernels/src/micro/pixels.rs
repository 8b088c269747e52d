//! Inputs of register tiles: [`Pixels`].
//!
//! Pixels are a step apart that the compiler knows ([`BlockedPixels`]), or one that it doesn't ([`StridedPixels`]), or at
//! any offsets ([`PixelOffsets`]). Such offsets come from an [`Indirection`] (Dukhan 2019, *The Indirect Convolution
//! Algorithm*). An indirection maps a pixel and a tap to an offset into the source, or to padding. In the padding a line of
//! zeros is read, without a branch in the inner loop. Once per tile, a test finds blocks without padding.
#![allow(unsafe_code)]

pub use super::indirection::ZERO_RUN;
use super::indirection::{Indirection, PADDING};
use super::outputs::{Blocked, Place, Strides};
use super::tiles::{Spacing, Tiles};
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
    /// Positions of the outputs.
    type Place: Place;
    /// Taps of the filter.
    fn taps(&self) -> usize;
    /// Output pixels in the run.
    fn pixels(&self) -> usize;
    /// The largest offset. None if every tap of every pixel falls into padding.
    fn largest(&self) -> Option<usize>;
    /// The register tiles, one after the other. None if they are nearly equal
    /// ([`even_tiles`](super::tiles::even_tiles)).
    #[inline(always)]
    fn tiles(&self) -> Option<&[Tiles]> {
        None
    }
    /// Indices in the run of `P` pixels from `first` on, in the order of the tiles.
    fn positions<const P: usize>(&self, first: usize) -> [usize; P];
    /// Offsets of the outputs of these pixels, if neighbouring ones are `step` apart.
    #[inline(always)]
    fn offsets<const P: usize>(&self, first: usize, step: usize) -> [usize; P] {
        let positions = self.positions::<P>(first);
        array(|p| positions[p] * step)
    }
    /// Spacing of one tap's inputs, for `P` pixels from `first` on.
    fn spacing<const P: usize>(&self, tap: usize, first: usize) -> Spacing;
    /// Addresses of one tap's inputs, for `P` pixels from `first` on.
    fn tile<const P: usize>(&self, tap: usize, first: usize, base: *const f32) -> [*const f32; P];
}

/// Spacing of a tile of `P` pixels from `first` on, in a run of pixels that are `step` elements apart.
#[inline(always)]
fn even_spacing<const P: usize>(first: usize, step: usize) -> Spacing {
    Spacing::Even {
        halves: array(|half| (first + half * P.div_ceil(2)) * step),
        step,
    }
}

/// The offset of the last of `pixels` pixels that are `step` elements apart.
#[inline(always)]
fn last_offset(pixels: usize, step: usize) -> Option<usize> {
    pixels.checked_sub(1).map(|last| product([last, step]))
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
    type Place = Blocked;

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
        last_offset(self.pixels, CHANNEL_BLOCK)
    }
    #[inline(always)]
    fn positions<const P: usize>(&self, first: usize) -> [usize; P] {
        array(|p| first + p)
    }
    #[inline(always)]
    fn spacing<const P: usize>(&self, _: usize, first: usize) -> Spacing {
        even_spacing::<P>(first, CHANNEL_BLOCK)
    }
    #[inline(always)]
    fn tile<const P: usize>(&self, _: usize, first: usize, base: *const f32) -> [*const f32; P] {
        array(|p| base.wrapping_add((first + p) * CHANNEL_BLOCK))
    }
}

/// Pixels a step apart that is known at run time: rows of a matrix, which are pixels of NHWC, or of an im2col matrix.
#[derive(Clone, Copy, Debug)]
pub struct StridedPixels {
    /// Output pixels in the run. The first is at the source's start.
    pub pixels: usize,
    /// Elements from a pixel to the next.
    pub step: usize,
}

// SAFETY: the last pixel has the largest offset. Tiles and positions are those of the run.
unsafe impl Pixels for StridedPixels {
    type Place = Strides;

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
        last_offset(self.pixels, self.step)
    }
    #[inline(always)]
    fn positions<const P: usize>(&self, first: usize) -> [usize; P] {
        array(|p| first + p)
    }
    #[inline(always)]
    fn offsets<const P: usize>(&self, first: usize, step: usize) -> [usize; P] {
        // Without a multiplication for each pixel.
        let mut at = first * step;
        array(|p| {
            if p > 0 {
                at += step;
            }
            at
        })
    }
    #[inline(always)]
    fn spacing<const P: usize>(&self, _: usize, first: usize) -> Spacing {
        even_spacing::<P>(first, self.step)
    }
    // Each address is opaque, or LLVM would compute it again in each step of the reduction, with an addition for each
    // pixel. Each is computed from the one before, or LLVM would compute them in vector registers, which the sums need.
    #[inline(always)]
    fn tile<const P: usize>(&self, _: usize, first: usize, base: *const f32) -> [*const f32; P] {
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

/// Pixels whose offsets are known at run time.
///
/// Both kinds are one type, for reductions that are equal and compiled once. A branch for each tap of a tile chooses how
/// its offsets are found. A tile of f32 is so short that the branches would be felt: its pixels are [`StridedPixels`]
/// or indirect.
#[derive(Clone, Copy, Debug)]
pub enum PixelOffsets<'a> {
    /// A step apart, with one tap.
    Strided(StridedPixels),
    /// Pixels and taps at any positions or in the padding.
    Indirect(Indirection<'a>),
}

// SAFETY: if strided, those of `StridedPixels`. If indirect, offsets are at most `largest`, and the padding has
// `ZERO_RUN` elements. A buffer's tiles are inside its block, and its positions are a permutation of the block's pixels.
unsafe impl Pixels for PixelOffsets<'_> {
    type Place = Strides;

    #[inline(always)]
    fn taps(&self) -> usize {
        match self {
            PixelOffsets::Strided(strided) => strided.taps(),
            PixelOffsets::Indirect(block) => block.taps(),
        }
    }
    #[inline(always)]
    fn pixels(&self) -> usize {
        match self {
            PixelOffsets::Strided(strided) => strided.pixels(),
            PixelOffsets::Indirect(block) => block.pixels(),
        }
    }
    #[inline(always)]
    fn largest(&self) -> Option<usize> {
        match self {
            PixelOffsets::Strided(strided) => strided.largest(),
            PixelOffsets::Indirect(block) => block.largest().map(|o| o as usize),
        }
    }
    #[inline(always)]
    fn tiles(&self) -> Option<&[Tiles]> {
        match self {
            PixelOffsets::Strided(strided) => strided.tiles(),
            PixelOffsets::Indirect(block) => Some(block.tiles()),
        }
    }
    #[inline(always)]
    fn positions<const P: usize>(&self, first: usize) -> [usize; P] {
        match self {
            PixelOffsets::Strided(strided) => strided.positions(first),
            PixelOffsets::Indirect(block) => {
                let positions = block.positions::<P>(first);
                array(|p| positions[p] as usize)
            }
        }
    }
    #[inline(always)]
    fn offsets<const P: usize>(&self, first: usize, step: usize) -> [usize; P] {
        match self {
            PixelOffsets::Strided(strided) => strided.offsets(first, step),
            PixelOffsets::Indirect(_) => {
                let positions = self.positions::<P>(first);
                array(|p| positions[p] * step)
            }
        }
    }
    #[inline(always)]
    fn spacing<const P: usize>(&self, tap: usize, first: usize) -> Spacing {
        match self {
            PixelOffsets::Strided(strided) => strided.spacing::<P>(tap, first),
            PixelOffsets::Indirect(block) => block.spacing::<P>(tap, first),
        }
    }
    #[inline(always)]
    fn tile<const P: usize>(&self, tap: usize, first: usize, base: *const f32) -> [*const f32; P] {
        let block = match self {
            PixelOffsets::Strided(strided) => return strided.tile(tap, first, base),
            PixelOffsets::Indirect(block) => block,
        };
        let offsets = block.offsets::<P>(tap, first);
        if !block.padded() {
            return array(|p| base.wrapping_add(offsets[p] as usize));
        }
        let mut at = [block.padding().as_ptr(); P];
        for p in 0..P {
            if offsets[p] != PADDING {
                at[p] = base.wrapping_add(offsets[p] as usize);
            }
        }
        at
    }
}
