//! A pixel of a channel block: its 16 channels as `V` vectors.
#![allow(unsafe_code)]

use super::gemm::load;
use crate::arch::KernelSimd;
use crate::layout::CHANNEL_BLOCK;

/// The 16 channels of a pixel.
pub(super) type Pixel = [f32; CHANNEL_BLOCK];

/// Vectors of a pixel.
#[inline(always)]
pub(super) fn vectors<S: KernelSimd, const V: usize>(simd: S, pixel: &Pixel) -> [S::f32s; V] {
    assert_eq!(V * S::F32_LANES, CHANNEL_BLOCK);
    // SAFETY: V vectors are the pixel's 16 floats.
    unsafe { load::<S, V>(simd, pixel.as_ptr()) }
}

/// Stores vectors to a pixel.
#[inline(always)]
pub(super) fn put<S: KernelSimd, const V: usize>(
    simd: S,
    pixel: &mut Pixel,
    vectors: [S::f32s; V],
) {
    assert_eq!(V * S::F32_LANES, CHANNEL_BLOCK);
    // By reference: an array that is consumed goes through the stack.
    for (v, vector) in vectors.iter().enumerate() {
        // SAFETY: V vectors are the pixel's 16 floats.
        unsafe { simd.store_f32s(pixel.as_mut_ptr().add(v * S::F32_LANES), *vector) };
    }
}

/// Copies a pixel vector by vector: LLVM copies an array of vectors through the stack.
#[inline(always)]
pub(super) fn copy<S: KernelSimd, const V: usize>(simd: S, from: &Pixel, to: &mut Pixel) {
    assert_eq!(V * S::F32_LANES, CHANNEL_BLOCK);
    for at in (0..CHANNEL_BLOCK).step_by(S::F32_LANES) {
        // SAFETY: V vectors are the pixels' 16 floats.
        unsafe {
            let [x] = load::<S, 1>(simd, from.as_ptr().add(at));
            simd.store_f32s(to.as_mut_ptr().add(at), x);
        }
    }
}

/// The `pixel`-th pixel of a row.
#[inline(always)]
pub(super) fn pixel(row: &[f32], pixel: usize) -> &Pixel {
    &row.as_chunks().0[pixel]
}

/// The `pixel`-th pixel of a row, mutable.
#[inline(always)]
pub(super) fn pixel_mut(row: &mut [f32], pixel: usize) -> &mut Pixel {
    &mut row.as_chunks_mut().0[pixel]
}

/// Channels of a pixel, from its vectors.
#[inline(always)]
pub(super) fn lanes_of<S: KernelSimd, const V: usize>(simd: S, vectors: [S::f32s; V]) -> Pixel {
    let mut pixel = [0.0; CHANNEL_BLOCK];
    put::<S, V>(simd, &mut pixel, vectors);
    pixel
}
