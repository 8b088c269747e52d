//! Copies of pixels in the form that the register tile multiplies ([`Dot`](super::gemm::Dot)).
//!
//! The loops are plain code, which the compiler turns into vectors of the instruction set. In reading order: whole pixels
//! ([`CopyPixels`]), and the taps of each output pixel beside each other ([`CopyTaps`]).

use crate::arch::KernelSimd;
use crate::dtype::Bf16;
use crate::isa::SimdTask;
use crate::problem::ConvShape;
use std::ops::Range;

/// Form of copied elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Bytes, with some bits flipped.
    Bytes {
        /// The bits: none, or the highest one, which turns signed into unsigned bytes and back.
        flip: u8,
    },
    /// f32s of bf16s.
    F32,
    /// 16-bit integers: u8s less their zero point.
    U8 {
        /// The zero point.
        zero: i16,
    },
    /// 16-bit integers: s8s less their zero point.
    S8 {
        /// The zero point.
        zero: i16,
    },
}

/// Copies pixels. Each begins with a word, and zeros fill its last word.
pub struct CopyPixels<'a> {
    /// The form.
    pub how: Copied,
    /// The pixels, one after the other.
    pub from: &'a [u8],
    /// Bytes of a pixel.
    pub pixel: usize,
    /// Their copies, in words.
    pub to: &'a mut [f32],
}

impl SimdTask for CopyPixels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, _: S) {
        let CopyPixels {
            how,
            from,
            pixel,
            to,
        } = self;
        assert!(
            pixel > 0 && from.len().is_multiple_of(pixel),
            "whole pixels"
        );
        // All that a task reads may be padding.
        if from.is_empty() {
            return;
        }
        let words = to.len() / (from.len() / pixel);
        match how {
            Copied::Bytes { flip } => {
                let to: &mut [u8] = bytemuck::must_cast_slice_mut(to);
                each_pixel(from, pixel, to, 4 * words, |x| x ^ flip);
            }
            Copied::F32 => {
                let (from, _) = from.as_chunks::<2>();
                each_pixel(from, pixel / 2, to, words, |x| {
                    Bf16::from_bits(u16::from_ne_bytes(x)).to_f32()
                });
            }
            Copied::U8 { zero } => {
                let to: &mut [i16] = bytemuck::must_cast_slice_mut(to);
                each_pixel(from, pixel, to, 2 * words, |x| i16::from(x) - zero);
            }
            Copied::S8 { zero } => {
                let to: &mut [i16] = bytemuck::must_cast_slice_mut(to);
                each_pixel(from, pixel, to, 2 * words, |x| i16::from(x as i8) - zero);
            }
        }
    }
}

/// Converts pixels of `channels` elements into pixels of `padded` elements.
#[inline(always)]
fn each_pixel<T: Copy, U: Copy + Default>(
    from: &[T],
    channels: usize,
    to: &mut [U],
    padded: usize,
    convert: impl Fn(T) -> U,
) {
    if channels == padded {
        // One loop over all pixels: a loop for each would be too short for vectors.
        assert_eq!(from.len(), to.len(), "copies");
        for i in 0..from.len() {
            to[i] = convert(from[i]);
        }
        return;
    }
    assert!(channels < padded, "{channels} channels in {padded}");
    for (to, from) in to.chunks_exact_mut(padded).zip(from.chunks_exact(channels)) {
        for i in 0..channels {
            to[i] = convert(from[i]);
        }
        to[channels..].fill(U::default());
    }
}

/// Copies the inputs of each output pixel of a convolution without groups, tap by tap: rows of an im2col matrix. Each row
/// begins with a word, and zeros fill the last word of its inputs. What follows that word isn't specified.
pub struct CopyTaps<'a> {
    /// The form.
    pub how: Copied,
    /// The image, on NHWC.
    pub image: &'a [u8],
    /// Bytes of an input pixel.
    pub pixel: usize,
    /// The convolution.
    pub conv: &'a ConvShape,
    /// The output pixels, numbered row by row.
    pub pixels: Range<usize>,
    /// Value of each copied byte of a tap in the padding.
    pub padding: u8,
    /// The rows, in words.
    pub to: &'a mut [f32],
}

/// Bytes that are copied at a time. Inputs of a filter row are few bytes, for which a call would take longer than the copy.
const CHUNK: usize = 32;

impl SimdTask for CopyTaps<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, _: S) {
        let CopyTaps {
            how,
            image,
            pixel,
            conv,
            pixels,
            padding,
            to,
        } = self;
        let count = pixels.len();
        if count == 0 {
            return;
        }
        assert!(to.len().is_multiple_of(count), "whole rows");
        assert_eq!(image.len(), conv.h * conv.w * pixel, "an image");
        let row = to.len() / count;
        let inputs = conv.kernel[0] * conv.kernel[1] * pixel;
        let bytes = match how {
            Copied::Bytes { flip } => {
                let to: &mut [u8] = bytemuck::must_cast_slice_mut(to);
                let rows = TapRows::new(conv, image, pixel, padding, |from, to, len| {
                    copy_bytes(from, to, len, flip);
                });
                rows.copy(pixels, to, 4 * row);
                inputs
            }
            Copied::F32 => {
                let (from, _) = image.as_chunks::<2>();
                let rows = TapRows::new(conv, from, pixel / 2, 0.0, |from, to, len| {
                    converted(from, to, len, |x| {
                        Bf16::from_bits(u16::from_ne_bytes(x)).to_f32()
                    });
                });
                rows.copy(pixels, to, row);
                2 * inputs
            }
            Copied::U8 { zero } => {
                let to: &mut [i16] = bytemuck::must_cast_slice_mut(to);
                let rows = TapRows::new(conv, image, pixel, 0, |from, to, len| {
                    converted(from, to, len, |x| i16::from(x) - zero);
                });
                rows.copy(pixels, to, 2 * row);
                2 * inputs
            }
            Copied::S8 { zero } => {
                let to: &mut [i16] = bytemuck::must_cast_slice_mut(to);
                let rows = TapRows::new(conv, image, pixel, 0, |from, to, len| {
                    converted(from, to, len, |x| i16::from(x as i8) - zero);
                });
                rows.copy(pixels, to, 2 * row);
                2 * inputs
            }
        };
        clear_rest(to, row, bytes);
    }
}

/// Source of the rows of an im2col matrix.
struct TapRows<'a, T, U, F> {
    conv: &'a ConvShape,
    from: &'a [T],
    /// Elements of an input pixel.
    channels: usize,
    /// Element of a tap in the padding.
    padding: U,
    /// `copy(from, to, len)` copies the first `len` elements. It may also write to elements of `to` after them, because rows
    /// are made from their first element to their last.
    copy: F,
}

impl<'a, T, U: Copy, F: Fn(&[T], &mut [U], usize)> TapRows<'a, T, U, F> {
    #[inline(always)]
    fn new(conv: &'a ConvShape, from: &'a [T], channels: usize, padding: U, copy: F) -> Self {
        TapRows {
            conv,
            from,
            channels,
            padding,
            copy,
        }
    }

    /// Makes the rows of some output pixels. Each has `row` elements.
    #[inline(always)]
    fn copy(self, pixels: Range<usize>, to: &mut [U], row: usize) {
        let conv = self.conv;
        let [kh, kw] = conv.kernel;
        // The inputs of a filter row are neighbours, unless it is dilated.
        let (runs, taps) = match conv.dilation[1] {
            1 => (1, kw),
            _ => (kw, 1),
        };
        let w_out = conv.w_out();
        let (mut y, mut x) = (pixels.start / w_out, pixels.start % w_out);
        for index in 0..pixels.len() {
            let mut at = index * row;
            for r in 0..kh {
                let iy = (y * conv.stride[0] + r * conv.dilation[0]).wrapping_sub(conv.pad.top);
                for run in 0..runs {
                    let ix = x * conv.stride[1] + run * conv.dilation[1];
                    self.run(iy, ix.wrapping_sub(conv.pad.left), taps, &mut to[at..]);
                    at += taps * self.channels;
                }
            }
            x += 1;
            if x == w_out {
                (y, x) = (y + 1, 0);
            }
        }
    }

    /// Copies the inputs of neighbouring taps, of which the first reads row `iy` and column `ix`. In the padding, these wrap
    /// around or are too large.
    #[inline(always)]
    fn run(&self, iy: usize, ix: usize, taps: usize, to: &mut [U]) {
        let conv = self.conv;
        // One copy, unless some taps are in the padding.
        let (copies, len) = match ix < conv.w && taps <= conv.w - ix {
            true => (1, taps * self.channels),
            false => (taps, self.channels),
        };
        for copy in 0..copies {
            let (ix, to) = (ix.wrapping_add(copy), &mut to[copy * len..]);
            if iy < conv.h && ix < conv.w {
                let input = (iy * conv.w + ix) * self.channels;
                (self.copy)(&self.from[input..], to, len);
            } else {
                to[..len].fill(self.padding);
            }
        }
    }
}

/// Copies `len` bytes, and maybe some more, up to a multiple of [`CHUNK`]. The bits of `flip` are flipped in each.
#[inline(always)]
fn copy_bytes(from: &[u8], to: &mut [u8], len: usize, flip: u8) {
    let mut at = 0;
    while at < len {
        let chunks = (
            from[at..].first_chunk::<CHUNK>(),
            to[at..].first_chunk_mut::<CHUNK>(),
        );
        let (Some(from), Some(to)) = chunks else {
            converted(&from[at..], &mut to[at..], len - at, |x| x ^ flip);
            return;
        };
        converted(from, to, CHUNK, |x| x ^ flip);
        at += CHUNK;
    }
}

/// Converts `len` elements.
#[inline(always)]
fn converted<T: Copy, U>(from: &[T], to: &mut [U], len: usize, convert: impl Fn(T) -> U) {
    let (from, to) = (&from[..len], &mut to[..len]);
    for i in 0..len {
        to[i] = convert(from[i]);
    }
}

/// Clears what follows the first `bytes` bytes of each row, up to the end of their last word.
#[inline(always)]
fn clear_rest(to: &mut [f32], row: usize, bytes: usize) {
    let (word, used) = (bytes / 4, bytes % 4);
    if used == 0 {
        return;
    }
    let kept: [u8; 4] = [0, 1, 2, 3].map(|byte| if byte < used { 0xff } else { 0 });
    let mask = u32::from_ne_bytes(kept);
    for row in to.chunks_exact_mut(row) {
        row[word] = f32::from_bits(row[word].to_bits() & mask);
    }
}
