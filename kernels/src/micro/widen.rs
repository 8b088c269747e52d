//! Copies of pixels in the form that the register tile multiplies ([`Dot`](super::gemm::Dot)).
//!
//! The loops are plain code, which the compiler turns into vectors of the instruction set.

use crate::arch::KernelSimd;
use crate::dtype::Bf16;
use crate::isa::SimdTask;

/// Form of copied elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Bytes as they are.
    Bytes,
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
        let words = to.len() / (from.len() / pixel).max(1);
        match how {
            Copied::Bytes => {
                let to: &mut [u8] = bytemuck::must_cast_slice_mut(to);
                each_pixel(from, pixel, to, 4 * words, |x| x);
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
