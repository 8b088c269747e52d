//! Stochastic pooling in training, with channels as lanes.
//!
//! A window is read twice. The first pass sums its activations. The second finds the element at which the running sum
//! passes a random fraction of that sum. All lanes go through all elements and keep the last eligible one.
#![allow(unsafe_code)]

use super::gemm::load;
use super::windows::{Axis, Span};
use crate::arch::KernelSimd;
use crate::bounds::{product, sum};
use crate::data::uniform;
use crate::exec::RowsMut;
use crate::isa::SimdTask;

/// Computes some output rows of some images on NHWC.
pub struct DrawPixels<'a> {
    /// The images, one after another.
    pub images: &'a [f32],
    /// Channels per image.
    pub channels: usize,
    /// Vertical axis.
    pub vertical: &'a Axis,
    /// Horizontal axis.
    pub horizontal: &'a Axis,
    /// Index of the first image in the batch.
    pub image: usize,
    /// First output row.
    pub first: usize,
    /// Output rows of each image.
    pub out: RowsMut<'a, f32>,
    /// Seed of the generator.
    pub seed: u64,
    /// Outputs indices in place of values.
    pub index: bool,
}

impl SimdTask for DrawPixels<'_> {
    type Output = ();
    const TWINS: bool = false;
    #[inline(always)]
    fn run<S: KernelSimd>(mut self, simd: S) {
        let (down, across) = (self.vertical.window(), self.horizontal.window());
        let map = product([down.size, across.size, self.channels]);
        let row = product([across.out, self.channels]);
        for (m, image) in (0..self.out.rows()).zip(self.images.chunks_exact(map)) {
            for (i, out) in self.out.row(m).chunks_exact_mut(row).enumerate() {
                let y = self.first + i;
                for (x, out) in out.chunks_exact_mut(self.channels).enumerate() {
                    // NCHW index of this pixel of the first channel, and the distance from a channel to the next.
                    let step = down.out * across.out;
                    let first = (self.image + m) * self.channels * step + y * across.out + x;
                    let pixel = DrawWindow {
                        image,
                        rows: self.vertical.spans()[y],
                        columns: self.horizontal.spans()[x],
                        dilation: [down.dilation, across.dilation],
                        width: across.size,
                        seed: self.seed,
                        index: self.index,
                    };
                    if self.channels < S::F32_LANES {
                        for c in 0..self.channels {
                            pixel.draw(pulp::Scalar::new(), c, first + c * step, step, out);
                        }
                        continue;
                    }
                    let last = self.channels - S::F32_LANES;
                    for c in (0..self.channels).step_by(S::F32_LANES) {
                        let c = c.min(last);
                        pixel.draw(simd, c, first + c * step, step, out);
                    }
                }
            }
        }
    }
}

/// One window of all channels.
struct DrawWindow<'a> {
    image: &'a [f32],
    rows: Span,
    columns: Span,
    dilation: [usize; 2],
    width: usize,
    seed: u64,
    index: bool,
}

impl DrawWindow<'_> {
    /// Draws for a vector of channels from `c` on. Their NCHW indices are `output`, `output + step` ...
    #[inline(always)]
    fn draw<S: KernelSimd>(&self, simd: S, c: usize, output: usize, step: usize, out: &mut [f32]) {
        let (rows, columns, channels) = (self.rows, self.columns, out.len());
        let [down, right] = self.dilation;
        let zero = simd.splat_f32s(0.0);
        let first = rows.first * self.width + columns.first;
        assert!(rows.len > 0 && columns.len > 0);
        let last_row = product([rows.len - 1, down, self.width]);
        let pixels = sum([first, last_row, product([columns.len - 1, right]), 1]);
        assert!(product([pixels, channels]) <= self.image.len() && c + S::F32_LANES <= channels);
        let mut total = zero;
        for r in 0..rows.len {
            for s in 0..columns.len {
                let place = first + r * down * self.width + s * right;
                // SAFETY: at most in the last element's pixel, as asserted.
                let [x] =
                    unsafe { load::<S, 1>(simd, self.image.as_ptr().add(place * channels + c)) };
                total = simd.add_f32s(total, simd.at_least(zero, x));
            }
        }
        let mut random = zero;
        let lanes = bytemuck::cast_slice_mut::<_, f32>(std::slice::from_mut(&mut random));
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = uniform(self.seed, (output + i * step) as u64);
        }
        let threshold = simd.mul_f32s(random, total);
        let mut before = zero;
        let mut drawn = if self.index {
            simd.splat_f32s(first as f32)
        } else {
            zero
        };
        for r in 0..rows.len {
            for s in 0..columns.len {
                let place = first + r * down * self.width + s * right;
                // SAFETY: as above.
                let [x] =
                    unsafe { load::<S, 1>(simd, self.image.as_ptr().add(place * channels + c)) };
                let a = simd.at_least(zero, x);
                let eligible = simd.and_m32s(
                    simd.less_than_f32s(zero, a),
                    simd.less_than_or_equal_f32s(before, threshold),
                );
                let this = if self.index {
                    simd.splat_f32s(place as f32)
                } else {
                    a
                };
                drawn = simd.select_f32s(eligible, this, drawn);
                before = simd.add_f32s(before, a);
            }
        }
        // The sum is NaN if an element is.
        let drawn = simd.select_f32s(simd.equal_f32s(total, total), drawn, total);
        // SAFETY: a vector of this pixel's channels, as asserted.
        unsafe { simd.store_f32s(out.as_mut_ptr().add(c), drawn) };
    }
}
