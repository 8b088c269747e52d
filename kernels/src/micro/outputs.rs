//! Where register tiles write: a block of outputs as the tile sees it, whatever its layout.
use crate::blocking::CHANNEL_BLOCK;
use crate::exec::RowsMut;
use std::marker::PhantomData;

/// Output pixels by channels. Channel `c` of pixel `p` is at
/// `p * pixel_stride + c / 16 * block_stride + c % 16`.
#[derive(Debug)]
pub struct Outputs<'o> {
    ptr: *mut f32,
    pixels: usize,
    channels: usize,
    pixel_stride: usize,
    block_stride: usize,
    _owns: PhantomData<&'o mut [f32]>,
}

impl<'o> Outputs<'o> {
    /// NCHW16c: a row for each block of 16 channels, in it 16 floats for each pixel.
    pub fn blocked(mut rows: RowsMut<'o, f32>) -> Self {
        assert!(rows.len().is_multiple_of(CHANNEL_BLOCK) && rows.rows() > 0);
        Outputs {
            ptr: rows.as_mut_ptr(),
            pixels: rows.len() / CHANNEL_BLOCK,
            channels: rows.rows() * CHANNEL_BLOCK,
            pixel_stride: CHANNEL_BLOCK,
            block_stride: rows.stride(),
            _owns: PhantomData,
        }
    }

    /// A matrix: a row for each pixel, in it a float for each channel. NHWC; or NCHW, if channels and
    /// pixels change places.
    pub fn matrix(mut rows: RowsMut<'o, f32>) -> Self {
        assert!(rows.rows() > 0);
        Outputs {
            ptr: rows.as_mut_ptr(),
            pixels: rows.rows(),
            channels: rows.len(),
            pixel_stride: rows.stride(),
            block_stride: CHANNEL_BLOCK,
            _owns: PhantomData,
        }
    }

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
        self.offset(self.pixels - 1, self.blocks() - 1) + last
    }

    /// The place of a pixel's block of channels, in elements from the first.
    #[inline(always)]
    pub(super) fn offset(&self, pixel: usize, block: usize) -> usize {
        pixel * self.pixel_stride + block * self.block_stride
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
