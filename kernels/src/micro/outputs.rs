//! Where register tiles write: a block of outputs as the tile sees it, whatever its layout.
use crate::bounds::extent;
use crate::exec::RowsMut;
use crate::layout::CHANNEL_BLOCK;
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
    /// Other products' sums.
    #[inline(always)]
    fn sums(self) -> Option<SumPointers> {
        None
    }
}

/// NCHW16c: a pixel's block of channels next to the next pixel's.
#[derive(Clone, Copy, Debug)]
pub struct Blocked {
    block_stride: usize,
    /// Of one of several products of which an output is the sum.
    sums: Option<SumPointers>,
}

impl Place for Blocked {
    const PARTIAL: bool = false;
    #[inline(always)]
    fn offset(self, pixel: usize, block: usize) -> usize {
        pixel * CHANNEL_BLOCK + block * self.block_stride
    }
    #[inline(always)]
    fn sums(self) -> Option<SumPointers> {
        self.sums
    }
}

/// Sums beside a product's own: matrices of a row for each block of 16 channels, in it 16 floats for each pixel.
#[derive(Debug, Default)]
pub struct Sums<'a> {
    /// What is added before the residual.
    pub added: [Option<&'a [f32]>; 2],
    /// Where the product itself is kept.
    pub kept: Option<&'a mut [f32]>,
    /// Elements from a row to the next.
    pub stride: usize,
    /// Whether outputs are sums that wait for others, and so are near.
    pub near: bool,
}

/// [`Sums`] for a tile: null where there is none, else valid for all of the outputs' pixels and channels.
#[derive(Clone, Copy, Debug)]
pub struct SumPointers {
    pub(super) added: [*const f32; 2],
    pub(super) kept: *mut f32,
    pub(super) stride: usize,
    pub(super) near: bool,
}

impl SumPointers {
    /// Where a pixel's sums are: as its outputs would be in their rows.
    #[inline(always)]
    pub(super) fn place(self) -> Blocked {
        Blocked {
            block_stride: self.stride,
            sums: None,
        }
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
                sums: None,
            },
            _owns: PhantomData,
        }
    }

    /// [`Outputs::blocked`], where other products' sums are added. Only pixels that may have sums are computed into them
    /// ([`Pixels::SUMS`](super::pixels::Pixels::SUMS)).
    ///
    /// # Panics
    /// If these are smaller than the outputs.
    pub fn summed(rows: RowsMut<'o, f32>, sums: Sums<'o>) -> Self {
        let mut outputs = Outputs::blocked(rows);
        let Sums {
            added,
            kept,
            stride,
            near,
        } = sums;
        let (blocks, row) = (outputs.blocks(), outputs.pixels * CHANNEL_BLOCK);
        let least = extent(blocks, stride, row);
        let of = |sum: &[f32]| assert!(sum.len() >= least, "sums");
        added.into_iter().flatten().for_each(of);
        kept.as_deref().into_iter().for_each(of);
        outputs.place.sums = Some(SumPointers {
            added: added.map(|sum| sum.map_or(std::ptr::null(), <[f32]>::as_ptr)),
            kept: kept.map_or(std::ptr::null_mut(), <[f32]>::as_mut_ptr),
            stride,
            near,
        });
        outputs
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
