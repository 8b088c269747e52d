//! Elementwise operations with a channel's scale and shift and a second tensor.
#![allow(unsafe_code)]

use super::gemm::load;
use crate::arch::{KernelSimd, array, stream_fence};
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;
use crate::tensor::CacheLine;

/// Computes `out = max(floor, src * scale + shift + residual)` on rows of 16-channel pixels. The rows are the maps of
/// consecutive channel blocks, or parts of them.
pub struct PointwiseRows<'a, 'o> {
    /// Source, from the first output's element on.
    pub src: &'a [f32],
    /// Tensor to add, from the first output's element on.
    pub residual: Option<&'a [f32]>,
    /// 16 scales per channel block.
    pub scale: &'a [[f32; CHANNEL_BLOCK]],
    /// 16 shifts per channel block.
    pub shift: &'a [[f32; CHANNEL_BLOCK]],
    /// Channel block of the first row. The last block is followed by the first, of the next image.
    pub block: usize,
    /// 0 for a ReLU, or minus infinity.
    pub floor: f32,
    /// Uses non-temporal stores, if `out` is aligned to cache lines.
    pub stream: bool,
    /// Rows of pixels. The inputs have the same layout.
    pub out: RowsMut<'o, f32>,
}

impl SimdTask for PointwiseRows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.rows::<S, V>(simd));
    }
}

impl PointwiseRows<'_, '_> {
    #[inline(always)]
    fn rows<S: KernelSimd, const V: usize>(mut self, simd: S) {
        let stride = self.out.stride();
        assert_eq!(V * S::F32_LANES, CHANNEL_BLOCK);
        assert_eq!(self.scale.len(), self.shift.len());
        for row in 0..self.out.rows() {
            let block = (self.block + row) % self.scale.len();
            // SAFETY: 16 floats each are V vectors.
            let (scale, shift) = unsafe {
                (
                    load::<S, V>(simd, self.scale[block].as_ptr()),
                    load::<S, V>(simd, self.shift[block].as_ptr()),
                )
            };
            let out = self.out.row(row);
            let inputs = row * stride..row * stride + out.len();
            let row = Row {
                src: &self.src[inputs.clone()],
                residual: self.residual.map(|r| &r[inputs]),
                scale,
                shift,
                floor: simd.splat_f32s(self.floor),
            };
            let aligned = out.as_ptr().addr().is_multiple_of(CacheLine::BYTES);
            match (self.residual.is_some(), self.stream && aligned) {
                (false, false) => row.pixels::<S, false, false>(simd, out),
                (false, true) => row.pixels::<S, false, true>(simd, out),
                (true, false) => row.pixels::<S, true, false>(simd, out),
                (true, true) => row.pixels::<S, true, true>(simd, out),
            }
        }
        if self.stream {
            stream_fence();
        }
    }
}

struct Row<'a, F, const V: usize> {
    src: &'a [f32],
    residual: Option<&'a [f32]>,
    scale: [F; V],
    shift: [F; V],
    floor: F,
}

impl<F: Copy, const V: usize> Row<'_, F, V> {
    #[inline(always)]
    fn pixels<S: KernelSimd<f32s = F>, const ADD: bool, const STREAM: bool>(
        &self,
        simd: S,
        out: &mut [f32],
    ) {
        assert!(self.src.len() == out.len() && out.len().is_multiple_of(CHANNEL_BLOCK));
        assert!(!ADD || self.residual.is_some_and(|r| r.len() == out.len()));
        let pixels = out.len() / CHANNEL_BLOCK;
        let mut pixel = 0;
        // At least four cache lines in flight. With four vectors per pixel, the registers hold only two pixels.
        while V <= 2 && pixel + 4 <= pixels {
            // SAFETY: all four are inside (asserted).
            unsafe { self.step::<S, ADD, STREAM, 4>(simd, pixel, out) };
            pixel += 4;
        }
        while pixel + 2 <= pixels {
            // SAFETY: both are inside (asserted).
            unsafe { self.step::<S, ADD, STREAM, 2>(simd, pixel, out) };
            pixel += 2;
        }
        if pixel < pixels {
            // SAFETY: the pixel is inside (asserted).
            unsafe { self.step::<S, ADD, STREAM, 1>(simd, pixel, out) };
        }
    }

    /// Computes `P` pixels from `pixel` on: all loads, then all stores.
    ///
    /// # Safety
    /// The pixels are inside `src`, `out` and, with `ADD`, the residual. With `STREAM`, `out` is aligned to cache
    /// lines.
    #[inline(always)]
    unsafe fn step<S: KernelSimd<f32s = F>, const ADD: bool, const STREAM: bool, const P: usize>(
        &self,
        simd: S,
        pixel: usize,
        out: &mut [f32],
    ) {
        let at = |p: usize| (pixel + p) * CHANNEL_BLOCK;
        // SAFETY: the caller's promise. A pixel has V vectors.
        let mut y: [[F; V]; P] =
            array(|p| unsafe { load::<S, V>(simd, self.src.as_ptr().add(at(p))) });
        for (p, y) in y.iter_mut().enumerate() {
            for (y, (&scale, &shift)) in y.iter_mut().zip(self.scale.iter().zip(&self.shift)) {
                *y = simd.mul_add_e_f32s(*y, scale, shift);
            }
            if let (true, Some(residual)) = (ADD, self.residual) {
                // SAFETY: the caller's promise.
                let r: [F; V] = unsafe { load::<S, V>(simd, residual.as_ptr().add(at(p))) };
                for (y, &r) in y.iter_mut().zip(&r) {
                    *y = simd.add_f32s(*y, r);
                }
            }
            for y in y.iter_mut() {
                *y = simd.at_least(self.floor, *y);
            }
        }
        for (p, y) in y.iter().enumerate() {
            for (v, &y) in y.iter().enumerate() {
                // SAFETY: the caller's promise. Vectors of aligned lines are aligned.
                unsafe {
                    let to = out.as_mut_ptr().add(at(p) + v * S::F32_LANES);
                    if STREAM {
                        simd.stream_f32s(to, y);
                    } else {
                        simd.store_f32s(to, y);
                    }
                }
            }
        }
    }
}
