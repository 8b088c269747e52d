//! Where register tiles write: a block of outputs as the tile sees it, whatever its layout.
use crate::blocking::CHANNEL_BLOCK;
use crate::exec::RowsMut;
use std::fmt::Debug;
use std::marker::PhantomData;

/// Where a pixel's channels are, in elements from the first. A type for each layout, so that what is constant
/// in it is part of the addresses of a tile's stores: to compute 28 of them takes as long as two steps of the
/// reduction.
pub trait Place: Copy + Debug {
    /// Whether the last block of channels may have fewer than 16.
    const PARTIAL: bool;
    /// The first channel of a pixel's block.
    fn offset(self, pixel: usize, block: usize) -> usize;
}

/// NCHW16c: a pixel's block of channels next to the next pixel's.
#[derive(Clone, Copy, Debug)]
pub struct Blocked {
    block_stride: usize,
}

impl Place for Blocked {
    const PARTIAL: bool = false;
    #[inline(always)]
    fn offset(self, pixel: usize, block: usize) -> usize {
        pixel * CHANNEL_BLOCK + block * self.block_stride
    }
}

/// A matrix: a pixel's blocks of channels next to each other.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    pixel_stride: usize,
}

impl Place for Rows {
    const PARTIAL: bool = true;
    #[inline(always)]
    fn offset(self, pixel: usize, block: usize) -> usize {
        pixel * self.pixel_stride + block * CHANNEL_BLOCK
    }
}

/// Output pixels by channels.
#[derive(Debug)]
pub struct Outputs<'o, L> {
    ptr: *mut f32,
    pixels: usize,
    channels: usize,
    place: L,
    _owns: PhantomData<&'o mut [f32]>,
}

impl<'o> Outputs<'o, Blocked> {
    /// NCHW16c: a row for each block of 16 channels, in it 16 floats for each pixel.
    pub fn blocked(mut rows: RowsMut<'o, f32>) -> Self {
        assert!(rows.len().is_multiple_of(CHANNEL_BLOCK) && rows.rows() > 0);
        Outputs {
            ptr: rows.as_mut_ptr(),
            pixels: rows.len() / CHANNEL_BLOCK,
            channels: rows.rows() * CHANNEL_BLOCK,
            place: Blocked {
                block_stride: rows.stride(),
            },
            _owns: PhantomData,
        }
    }
}

impl<'o> Outputs<'o, Rows> {
    /// A matrix: a row for each pixel, in it a float for each channel. NHWC; or NCHW, if channels and
    /// pixels change places.
    pub fn matrix(mut rows: RowsMut<'o, f32>) -> Self {
        assert!(rows.rows() > 0);
        Outputs {
            ptr: rows.as_mut_ptr(),
            pixels: rows.rows(),
            channels: rows.len(),
            place: Rows {
                pixel_stride: rows.stride(),
            },
            _owns: PhantomData,
        }
    }
}

impl<L: Place> Outputs<'_, L> {
    /// Output pixels.
    #[inline(always)]
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// Output channels, of which the last block may have fewer than 16.
    #[inline(always)]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Blocks of up to 16 channels.
    #[inline(always)]
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(CHANNEL_BLOCK)
    }

    /// Elements from the first output to behind the last.
    #[inline(always)]
    pub fn extent(&self) -> usize {
        let last = self.channels - (self.blocks() - 1) * CHANNEL_BLOCK;
        self.place.offset(self.pixels - 1, self.blocks() - 1) + last
    }

    /// Where pixels are, in elements from the first output.
    #[inline(always)]
    pub(super) fn place(&self) -> L {
        self.place
    }

    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *const f32 {
        self.ptr
    }

    /// Valid for writes of the outputs, which are borrowed exclusively.
    #[inline(always)]
    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.ptr
    }
}
