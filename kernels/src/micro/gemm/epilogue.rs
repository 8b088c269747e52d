//! Epilogue of a tile: sums of other products, residual, ReLU, and the only store of each output.
#![allow(unsafe_code)]

use crate::arch::KernelSimd;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::outputs::{Place, SumPointers};

/// Epilogue of a product that already includes the panel's bias.
#[derive(Clone, Copy, Debug, Default)]
pub struct TileEpilogue<'a> {
    /// Replaces the panel's bias by one bias for each pixel of the run. It serves products whose "pixels" are output
    /// channels.
    pub pixel_bias: Option<&'a [f32]>,
    /// Added before the clamp. It has the layout of the outputs, and begins with the element for the first output.
    pub residual: Option<&'a [f32]>,
    /// Clamp below at zero.
    pub relu: bool,
}

impl TileEpilogue<'_> {
    /// Epilogue of outputs that begin `at` elements further on.
    pub fn from(self, at: usize) -> Self {
        TileEpilogue {
            residual: self.residual.map(|r| &r[at..]),
            ..self
        }
    }
}

/// Destination of a tile's outputs.
#[derive(Clone, Copy)]
pub(super) struct Destination<L, const P: usize> {
    /// The first output.
    pub(super) out: *mut f32,
    /// Positions of pixels and channels, relative to the first output.
    pub(super) place: L,
    /// Offsets of the tile's pixels, in elements from the first output.
    pub(super) pixels: [usize; P],
}

impl TileEpilogue<'_> {
    /// Adds sums of other products and the residual, applies ReLU, and stores each output once.
    ///
    /// The parts of the epilogue are tested once per tile, because a tile of 64 channels takes only some thousand
    /// instructions. For the same reason, fields that the compiler would reload after a store are copied to locals
    /// first.
    ///
    /// # Safety
    /// `to` is valid for writes of the tile's outputs, and their channels fill its vectors. The residual is as long as
    /// the outputs. `sums` belong to these outputs.
    #[inline(always)]
    pub(super) unsafe fn store<S: KernelSimd, L: Place, const P: usize, const V: usize>(
        &self,
        simd: S,
        mut acc: [[S::f32s; V]; P],
        sums: Option<SumPointers>,
        to: Destination<L, P>,
    ) {
        let Destination { out, place, pixels } = to;
        if let Some(sums) = sums {
            let place = sums.place();
            if !sums.kept.is_null() {
                each!(pixel P, |p| {
                    // SAFETY: valid for all outputs (`SumPointers`).
                    unsafe { store_pixel(simd, &acc[p], sums.kept, place, pixels[p]) };
                });
            }
            for added in sums.added {
                if !added.is_null() {
                    each!(pixel P, |p| {
                        // SAFETY: as above.
                        unsafe { add_pixel(simd, &mut acc[p], added, place, pixels[p]) };
                    });
                }
            }
        }
        if let Some(residual) = self.residual {
            let residual = residual.as_ptr();
            each!(pixel P, |p| {
                // SAFETY: the caller's promise.
                unsafe { add_pixel(simd, &mut acc[p], residual, place, pixels[p]) };
            });
        }
        if self.relu {
            let zero = simd.splat_f32s(0.0);
            each!(pixel P, |p| {
                clamp_pixel(simd, &mut acc[p], zero);
            });
        }
        each!(pixel P, |p| {
            // SAFETY: the caller's promise.
            unsafe { store_pixel(simd, &acc[p], out, place, pixels[p]) };
        });
    }

    /// Stores the first `channels` of each pixel, for tiles whose channels don't fill their vectors
    /// ([`TileEpilogue::store`]).
    ///
    /// # Safety
    /// The conditions of [`TileEpilogue::store`] hold for these channels.
    #[inline(never)]
    pub(super) unsafe fn store_part<L: Place, const P: usize>(
        &self,
        sums: &[f32],
        channels: usize,
        to: &Destination<L, P>,
    ) {
        let width = sums.len() / P;
        for (&pixel, sums) in to.pixels.iter().zip(sums.chunks_exact(width)) {
            for (channel, sum) in sums.iter().take(channels).enumerate() {
                let block = pixel + to.place.block(channel / CHANNEL_BLOCK);
                let at = block + channel % CHANNEL_BLOCK;
                let mut y = *sum;
                if let Some(residual) = self.residual {
                    y += residual[at];
                }
                if self.relu && y < 0.0 {
                    y = 0.0;
                }
                // SAFETY: the caller's promise.
                unsafe { to.out.add(at).write(y) };
            }
        }
    }
}

/// Position of the `v`-th vector of the channels of a pixel at offset `pixel`, in elements from the first output.
#[inline(always)]
fn vector_at<S: KernelSimd>(place: impl Place, pixel: usize, v: usize) -> usize {
    let lane = v * S::F32_LANES;
    pixel + place.block(lane / CHANNEL_BLOCK) + lane % CHANNEL_BLOCK
}

/// Adds the vectors at `from` to the sums of a pixel. They have the layout of its outputs.
///
/// # Safety
/// `from` is valid for reads of these vectors.
#[inline(always)]
unsafe fn add_pixel<S: KernelSimd, const V: usize>(
    simd: S,
    sums: &mut [S::f32s; V],
    from: *const f32,
    place: impl Place,
    pixel: usize,
) {
    each!(vector V, |v| {
        // SAFETY: the caller's promise.
        let x = unsafe { simd.load_f32s(from.add(vector_at::<S>(place, pixel, v))) };
        sums[v] = simd.add_f32s(sums[v], x);
    });
}

/// Clamps a pixel's sums below.
#[inline(always)]
fn clamp_pixel<S: KernelSimd, const V: usize>(simd: S, sums: &mut [S::f32s; V], least: S::f32s) {
    each!(vector V, |v| {
        sums[v] = simd.at_least(least, sums[v]);
    });
}

/// Stores a pixel's sums.
///
/// # Safety
/// `to` is valid for writes of the pixel's outputs.
#[inline(always)]
unsafe fn store_pixel<S: KernelSimd, const V: usize>(
    simd: S,
    sums: &[S::f32s; V],
    to: *mut f32,
    place: impl Place,
    pixel: usize,
) {
    each!(vector V, |v| {
        // SAFETY: the caller's promise.
        unsafe { simd.store_f32s(to.add(vector_at::<S>(place, pixel, v)), sums[v]) };
    });
}
