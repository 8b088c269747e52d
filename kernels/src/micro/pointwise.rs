//! Elements that meet nothing but their channel's scale and shift and a second tensor's element.
#![allow(unsafe_code)]

use super::gemm::load;
use crate::arch::{KernelSimd, array, stream_fence};
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;
use crate::tensor::CacheLine;

/// `out = max(floor, src * scale + shift + residual)` on rows of 16-channel pixels: the maps of consecutive channel
/// blocks, or parts of them.
pub struct Pointwise<'a, 'o> {
    /// From the first output's on.
    pub src: &'a [f32],
    /// The same of what is added.
    pub residual: Option<&'a [f32]>,
    /// 16 scales for each channel block.
    pub scale: &'a [[f32; CHANNEL_BLOCK]],
    /// As many shifts.
    pub shift: &'a [[f32; CHANNEL_BLOCK]],
    /// Which block's map the first row is; the last block is followed by the first, of the next image.
    pub block: usize,
    /// 0 for a ReLU, or minus infinity.
    pub floor: f32,
    /// Store past the caches, if `out` is aligned to cache lines.
    pub stream: bool,
    /// Rows of pixels; inputs are laid out as these.
    pub out: RowsMut<'o, f32>,
}

impl SimdTask for Pointwise<'_, '_> {
    type Output = ();
    const TWINS: bool = true;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.rows::<S, V>(simd));
    }
}

impl Pointwise<'_, '_> {
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
        // Four lines at least in flight; of pixels of four vectors registers hold but two.
        while V <= 2 && pixel + 4 <= pixels {
            // SAFETY: all four are inside (asserted).
            unsafe { self.step::<S, ADD, STREAM, 4>(simd, pixel, out) };
            pixel += 4;
        }
        while pixel + 2 <= pixels {
            // SAFETY: the same for two.
            unsafe { self.step::<S, ADD, STREAM, 2>(simd, pixel, out) };
            pixel += 2;
        }
        if pixel < pixels {
            // SAFETY: the same for one.
            unsafe { self.step::<S, ADD, STREAM, 1>(simd, pixel, out) };
        }
    }

    /// `P` pixels from `pixel` on: all loads, then all stores.
    ///
    /// # Safety
    /// They are inside `src`, `out` and, with `ADD`, the residual; with `STREAM`, `out` is aligned to cache lines.
    #[inline(always)]
    unsafe fn step<S: KernelSimd<f32s = F>, const ADD: bool, const STREAM: bool, const P: usize>(
        &self,
        simd: S,
        pixel: usize,
        out: &mut [f32],
    ) {
        let at = |p: usize| (pixel + p) * CHANNEL_BLOCK;
        // SAFETY: the caller's promise; a pixel has V vectors.
        let mut y: [[F; V]; P] =
            array(|p| unsafe { load::<S, V>(simd, self.src.as_ptr().add(at(p))) });
        for (p, y) in y.iter_mut().enumerate() {
            for (y, (scale, shift)) in y.iter_mut().zip(self.scale.into_iter().zip(self.shift)) {
                *y = simd.mul_add_e_f32s(*y, scale, shift);
            }
            if let (true, Some(residual)) = (ADD, self.residual) {
                // SAFETY: the caller's promise.
                let r: [F; V] = unsafe { load::<S, V>(simd, residual.as_ptr().add(at(p))) };
                for (y, r) in y.iter_mut().zip(r) {
                    *y = simd.add_f32s(*y, r);
                }
            }
            for y in y.iter_mut() {
                *y = simd.at_least(self.floor, *y);
            }
        }
        for (p, y) in y.into_iter().enumerate() {
            for (v, y) in y.into_iter().enumerate() {
                // SAFETY: the caller's promise; vectors of aligned lines are aligned.
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
