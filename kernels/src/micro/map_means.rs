//! Means of whole maps: the last pooling of many classifiers.
#![allow(unsafe_code)]

use super::gemm::load;
use super::pool_nchw::last_lanes;
use crate::arch::KernelSimd;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;

/// Computes the means of whole maps on NCHW16c.
pub struct MapMeans<'a> {
    /// The maps, one after another, 16 floats per pixel.
    pub maps: &'a [f32],
    /// 16 means per map.
    pub out: &'a mut [f32],
}

impl SimdTask for MapMeans<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let (out, _) = self.out.as_chunks_mut::<CHANNEL_BLOCK>();
        if out.is_empty() {
            return;
        }
        let map = self.maps.len() / out.len();
        for (map, out) in self.maps.chunks_exact(map).zip(out) {
            mean(simd, map, out);
        }
    }
}

#[inline(always)]
fn mean<S: KernelSimd>(simd: S, map: &[f32], out: &mut [f32; CHANNEL_BLOCK]) {
    let (pixels, _) = map.as_chunks::<CHANNEL_BLOCK>();
    let count = simd.splat_f32s(pixels.len() as f32);
    for lane in (0..CHANNEL_BLOCK).step_by(S::F32_LANES) {
        // Four independent sums hide the latency of additions.
        let mut sums = [simd.splat_f32s(0.0); 4];
        let (fours, rest) = pixels.as_chunks::<4>();
        for four in fours {
            for (sum, pixel) in sums.iter_mut().zip(four) {
                // SAFETY: `lane` and the lanes after it are among the pixel's 16.
                let [x] = unsafe { load::<S, 1>(simd, pixel.as_ptr().add(lane)) };
                *sum = simd.add_f32s(*sum, x);
            }
        }
        for pixel in rest {
            // SAFETY: as above.
            let [x] = unsafe { load::<S, 1>(simd, pixel.as_ptr().add(lane)) };
            sums[0] = simd.add_f32s(sums[0], x);
        }
        let sum = simd.add_f32s(
            simd.add_f32s(sums[0], sums[1]),
            simd.add_f32s(sums[2], sums[3]),
        );
        // SAFETY: as above, among the 16 means.
        unsafe { simd.store_f32s(out.as_mut_ptr().add(lane), simd.div_f32s(sum, count)) };
    }
}

/// Computes the means of some channels of an image on NHWC.
pub struct ChannelMeans<'a> {
    /// The image.
    pub image: &'a [f32],
    /// Channels of the image: floats per pixel.
    pub channels: usize,
    /// The first channel.
    pub first: usize,
    /// One mean per channel.
    pub out: &'a mut [f32],
}

impl SimdTask for ChannelMeans<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(mut self, simd: S) {
        assert!(self.first + self.out.len() <= self.channels);
        // Several cache lines of a pixel at a time, since the next pixel may be on another page.
        let (lanes, len) = (S::F32_LANES, self.out.len());
        let (whole, done) = if len >= 8 * lanes {
            (8 * lanes, len)
        } else {
            (lanes, len / lanes * lanes)
        };
        for c in (0..done).step_by(whole) {
            // The last group overlaps the one before.
            let c = c.min(done - whole);
            if whole == lanes {
                self.means::<S, 1>(simd, c);
            } else {
                self.means::<S, 8>(simd, c);
            }
        }
        for c in done..len {
            self.means::<pulp::Scalar, 1>(pulp::Scalar::new(), c);
        }
    }
}

impl ChannelMeans<'_> {
    /// Computes the means of `N` vectors of channels from the `c`-th output on.
    #[inline(always)]
    fn means<S: KernelSimd, const N: usize>(&mut self, simd: S, c: usize) {
        let pixels = self.image.len() / self.channels;
        let count = simd.splat_f32s(pixels as f32);
        let out = &mut self.out[c..][..N * S::F32_LANES];
        let mut sums = [simd.splat_f32s(0.0); N];
        for pixel in self.image.chunks_exact(self.channels) {
            let pixel = &pixel[self.first + c..][..out.len()];
            // SAFETY: the slice has `N` vectors.
            let x = unsafe { load::<S, N>(simd, pixel.as_ptr()) };
            for (sum, x) in sums.iter_mut().zip(&x) {
                *sum = simd.add_f32s(*sum, *x);
            }
        }
        for (i, &sum) in sums.iter().enumerate() {
            // SAFETY: `out` has `N` vectors.
            unsafe {
                let to = out.as_mut_ptr().add(i * S::F32_LANES);
                simd.store_f32s(to, simd.div_f32s(sum, count));
            }
        }
    }
}

/// Computes the means of whole plain maps.
pub struct PlainMeans<'a> {
    /// The maps, one after another.
    pub maps: &'a [f32],
    /// One mean per map.
    pub out: &'a mut [f32],
}

impl SimdTask for PlainMeans<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let map = self.maps.len() / self.out.len();
        let lanes = last_lanes(simd, map);
        for (map, out) in self.maps.chunks_exact(map).zip(self.out) {
            // Two independent sums hide the latency of additions.
            let (mut a, mut b) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
            let vectors = map.chunks_exact(S::F32_LANES);
            let rest = vectors.remainder();
            for v in vectors {
                // SAFETY: a chunk has the lanes of a vector.
                let [x] = unsafe { load::<S, 1>(simd, v.as_ptr()) };
                (a, b) = (b, simd.add_f32s(a, x));
            }
            if !rest.is_empty() {
                // SAFETY: `rest` has as many floats as the mask has lanes.
                let x = unsafe { simd.load_masked_f32s(lanes, rest.as_ptr()) };
                a = simd.add_f32s(a, x);
            }
            *out = simd.reduce_sum_f32s(simd.add_f32s(a, b)) / map.len() as f32;
        }
    }
}
