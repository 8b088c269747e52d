//! Outputs of register tiles: a block of outputs that is addressed by pixel and channel, whatever its layout.

use crate::bounds::extent;
use crate::exec::RowsMut;
use crate::layout::CHANNEL_BLOCK;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::Range;

/// Positions of a pixel's channels, in elements from the first output.
///
/// Blocked outputs of blocked pixels have a type of their own. So constants of the layout become part of the addresses of
/// a tile's stores. To compute 28 addresses takes as long as two steps of the reduction. Other pixels are a step
/// apart or look up their positions. There a constant would only replace a multiplication by a shift. So [`Strides`] serves
/// them in all layouts, and their tiles are compiled once for each kind of pixels.
pub trait Place: Copy + Debug {
    /// Tells if the last block of channels may have fewer than 16.
    const PARTIAL: bool;
    /// Elements from a pixel to the next.
    fn pixel(self) -> usize;
    /// Elements from a pixel's first channel to a block of its channels.
    fn block(self, block: usize) -> usize;
    /// Position of the first channel of a pixel's block.
    #[inline(always)]
    fn offset(self, pixel: usize, block: usize) -> usize {
        pixel * self.pixel() + self.block(block)
    }
    /// Sums of other products.
    #[inline(always)]
    fn sums(self) -> Option<SumPointers> {
        None
    }
}

/// Layout of outputs that tiles address by `L`.
pub trait OutputLayout<L: Place> {
    /// Outputs of some channel blocks of `all`, which has this layout, and the number of elements before them.
    fn outputs<'o>(all: &'o mut RowsMut<'_, f32>, blocks: Range<usize>) -> (Outputs<'o, L>, usize);
}

/// NCHW16c: the blocks of neighbouring pixels are contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Blocked {
    block_stride: usize,
    /// For one of several products whose sum is the output.
    sums: Option<SumPointers>,
}

impl Place for Blocked {
    const PARTIAL: bool = false;
    #[inline(always)]
    fn pixel(self) -> usize {
        CHANNEL_BLOCK
    }
    #[inline(always)]
    fn block(self, block: usize) -> usize {
        block * self.block_stride
    }
    #[inline(always)]
    fn sums(self) -> Option<SumPointers> {
        self.sums
    }
}

impl OutputLayout<Blocked> for Blocked {
    fn outputs<'o>(
        all: &'o mut RowsMut<'_, f32>,
        blocks: Range<usize>,
    ) -> (Outputs<'o, Blocked>, usize) {
        let (before, row) = (blocks.start * all.stride(), all.len());
        (Outputs::blocked(all.part(blocks, 0..row)), before)
    }
}

impl OutputLayout<Strides> for Blocked {
    fn outputs<'o>(
        all: &'o mut RowsMut<'_, f32>,
        blocks: Range<usize>,
    ) -> (Outputs<'o, Strides>, usize) {
        let (outputs, before): (Outputs<'o, Blocked>, usize) = Blocked::outputs(all, blocks);
        (outputs.strided(), before)
    }
}

/// Sums beside a product's own. They are matrices with a row for each block of 16 channels, and 16 floats for each
/// pixel.
#[derive(Debug, Default)]
pub struct Sums<'a> {
    /// Sums that are added before the residual.
    pub added: [Option<&'a [f32]>; 2],
    /// Copy of the product itself.
    pub kept: Option<&'a mut [f32]>,
    /// Elements from a row to the next.
    pub stride: usize,
    /// The outputs are intermediate sums, so they are in L1 or L2.
    pub in_cache: bool,
}

/// [`Sums`] for a tile. A pointer is null if there is no sum. Else it is valid for all pixels and channels of the
/// outputs.
#[derive(Clone, Copy, Debug)]
pub struct SumPointers {
    pub(super) added: [*const f32; 2],
    pub(super) kept: *mut f32,
    pub(super) stride: usize,
    pub(super) in_cache: bool,
}

impl SumPointers {
    /// Positions of a pixel's sums. They are those of the outputs, but with the row stride of the sums.
    #[inline(always)]
    pub(super) fn place(self) -> Blocked {
        Blocked {
            block_stride: self.stride,
            sums: None,
        }
    }
}

/// Pixels and their blocks of channels at strides that are known at run time.
#[derive(Clone, Copy, Debug)]
pub struct Strides {
    pixel: usize,
    block: usize,
}

impl Place for Strides {
    const PARTIAL: bool = true;
    #[inline(always)]
    fn pixel(self) -> usize {
        self.pixel
    }
    #[inline(always)]
    fn block(self, block: usize) -> usize {
        block * self.block
    }
}

/// A matrix: a pixel's blocks of channels are contiguous.
#[derive(Clone, Copy, Debug)]
pub enum Matrix {}

impl OutputLayout<Strides> for Matrix {
    fn outputs<'o>(
        all: &'o mut RowsMut<'_, f32>,
        blocks: Range<usize>,
    ) -> (Outputs<'o, Strides>, usize) {
        let before = blocks.start * CHANNEL_BLOCK;
        let channels = before..(blocks.end * CHANNEL_BLOCK).min(all.len());
        let pixels = 0..all.rows();
        (Outputs::matrix(all.part(pixels, channels)), before)
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
    /// NCHW16c: a row for each block of 16 channels, with 16 floats for each pixel.
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

    /// [`Outputs::blocked`] with sums of other products, which are added.
    ///
    /// # Panics
    /// If the sums are smaller than the outputs.
    pub fn summed(rows: RowsMut<'o, f32>, sums: Sums<'o>) -> Self {
        let mut outputs = Outputs::blocked(rows);
        let Sums {
            added,
            kept,
            stride,
            in_cache,
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
            in_cache,
        });
        outputs
    }

    /// The outputs, addressed by strides that are known at run time.
    ///
    /// # Panics
    /// If there are sums of other products.
    fn strided(self) -> Outputs<'o, Strides> {
        let Outputs {
            ptr,
            pixels,
            channels,
            place: Blocked { block_stride, sums },
            _owns,
        } = self;
        assert!(sums.is_none(), "sums");
        Outputs {
            ptr,
            pixels,
            channels,
            place: Strides {
                pixel: CHANNEL_BLOCK,
                block: block_stride,
            },
            _owns,
        }
    }
}

impl<'o> Outputs<'o, Strides> {
    /// A matrix with a row for each pixel, and a float for each channel. It is NHWC, or NCHW if channels and pixels are
    /// exchanged.
    pub fn matrix(mut rows: RowsMut<'o, f32>) -> Self {
        assert!(rows.rows() > 0);
        Outputs {
            ptr: rows.as_mut_ptr(),
            pixels: rows.rows(),
            channels: rows.len(),
            place: Strides {
                pixel: rows.stride(),
                block: CHANNEL_BLOCK,
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

    /// Output channels. The last block may have fewer than 16.
    #[inline(always)]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Blocks of up to 16 channels.
    #[inline(always)]
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(CHANNEL_BLOCK)
    }

    /// Elements from the first output to the end of the last one.
    #[inline(always)]
    pub fn extent(&self) -> usize {
        let last = self.channels - (self.blocks() - 1) * CHANNEL_BLOCK;
        self.place.offset(self.pixels - 1, self.blocks() - 1) + last
    }

    /// Positions of pixels, in elements from the first output.
    #[inline(always)]
    pub(super) fn place(&self) -> L {
        self.place
    }

    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *const f32 {
        self.ptr
    }

    /// Pointer that is valid for writes of the outputs, which are borrowed exclusively.
    #[inline(always)]
    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.ptr
    }
}
