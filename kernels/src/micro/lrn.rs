//! Local response normalisation across channels.

use super::channels::{lanes_of, pixel, pixel_mut, put, vectors};
use crate::arch::{KernelSimd, array};
use crate::exec::RowsMut;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;

/// Computes `out = x / (k + scale * sum of the window's squares)^(quarters / 4)` for some pixels.
///
/// Windows begin and end at any lane and cross channel blocks. So the squares of all channels of a few pixels are first
/// stored contiguously, with zeros on both sides. A block's window sums are then sums of `2 half + 1` vectors, each
/// starting one float later. Powers are products of r = 1 / sqrt(base) and r / sqrt(r).
///
/// If a square, a base or a power overflows an f32, or an operand isn't finite, the pixels are computed again in f64.
/// So outputs match the definition for every input.
pub struct LrnPixels<'a, 'o> {
    /// Source from the first pixel of the first channel block on, with the layout of the outputs.
    pub src: &'a [f32],
    /// Number of channels.
    pub channels: usize,
    /// Channels on each side of the middle of a window.
    pub half: usize,
    /// alpha / size of the window.
    pub scale: f32,
    /// Added to the scaled sum; above 0.
    pub k: f32,
    /// 4 beta.
    pub quarters: u32,
    /// [`scratch_len`] floats, of any content.
    pub scratch: &'a mut [f32],
    /// A row of pixels per block of 16 channels. Padding channels of the last block are set to zero.
    pub out: RowsMut<'o, f32>,
}

/// Pixels whose squares are stored before the first is read again. A load that starts inside a recent store would have
/// to wait for it.
const STEP: usize = 4;

/// Length of [`LrnPixels::scratch`] in floats.
pub fn scratch_len(blocks: usize, half: usize) -> usize {
    STEP * row(blocks, half)
}

/// Floats of scratch per pixel: zeros, squares, zeros.
fn row(blocks: usize, half: usize) -> usize {
    blocks * CHANNEL_BLOCK + 2 * margin(half)
}

/// Zeros on each side of the squares, in whole blocks.
#[inline(always)]
fn margin(half: usize) -> usize {
    half.next_multiple_of(CHANNEL_BLOCK)
}

/// True if all lanes are finite.
#[inline(always)]
fn finite<S: KernelSimd, const V: usize>(simd: S, vectors: [S::f32s; V]) -> bool {
    lanes_of::<S, V>(simd, vectors)
        .iter()
        .all(|x| x.is_finite())
}

impl SimdTask for LrnPixels<'_, '_> {
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        // Constants of AlexNet and GoogLeNet, known at compile time.
        if self.half == 2 && self.quarters == 3 {
            in_blocks!(S, V => self.pixels::<S, V, true>(simd));
        } else {
            in_blocks!(S, V => self.pixels::<S, V, false>(simd));
        }
    }
}

impl LrnPixels<'_, '_> {
    /// Normalises all pixels. `USUAL` means windows of 5 and a power of 3/4.
    #[inline(always)]
    fn pixels<S: KernelSimd, const V: usize, const USUAL: bool>(mut self, simd: S) {
        if USUAL {
            (self.half, self.quarters) = (2, 3);
        }
        let (blocks, stride) = (self.out.rows(), self.out.stride());
        let pixels = self.out.len() / CHANNEL_BLOCK;
        let (row, margin) = (row(blocks, self.half), margin(self.half));
        self.scratch[..STEP * row].fill(0.0);
        let used = self.channels - (blocks - 1) * CHANNEL_BLOCK;
        let src = self.src;
        for first in (0..pixels).step_by(STEP) {
            let step = STEP.min(pixels - first);
            for block in 0..blocks {
                for p in 0..step {
                    let x = vectors::<S, V>(simd, pixel(&src[block * stride..], first + p));
                    let squares = &mut self.scratch[p * row + margin..][..blocks * CHANNEL_BLOCK];
                    let squares = pixel_mut(squares, block);
                    put::<S, V>(simd, squares, array(|v| simd.mul_f32s(x[v], x[v])));
                }
            }
            let mut witness = [simd.splat_f32s(0.0); V];
            for block in 0..blocks {
                for p in 0..step {
                    // First square of the first lane's window.
                    let at = p * row + margin + block * CHANNEL_BLOCK - self.half;
                    let squares = &self.scratch[at..][..CHANNEL_BLOCK + 2 * self.half];
                    let x = vectors::<S, V>(simd, pixel(&src[block * stride..], first + p));
                    let y = self.normalise::<S, V>(simd, x, squares, &mut witness);
                    let out = pixel_mut(self.out.row(block), first + p);
                    put::<S, V>(simd, out, y);
                    // Padding channels may be NaN.
                    if block + 1 == blocks && used < CHANNEL_BLOCK {
                        out[used..].fill(0.0);
                    }
                }
            }
            if !finite::<S, V>(simd, witness) {
                // Each pixel is checked by itself, so that its bits don't depend on other pixels.
                for p in 0..step {
                    let out_of_range = |block: usize| {
                        let at = p * row + margin + block * CHANNEL_BLOCK - self.half;
                        let squares = &self.scratch[at..][..CHANNEL_BLOCK + 2 * self.half];
                        let x = vectors::<S, V>(simd, pixel(&src[block * stride..], first + p));
                        let mut witness = [simd.splat_f32s(0.0); V];
                        self.normalise::<S, V>(simd, x, squares, &mut witness);
                        !finite::<S, V>(simd, witness)
                    };
                    if (0..blocks).any(out_of_range) {
                        self.pixel_in_f64(first + p);
                    }
                }
            }
        }
    }

    /// Computes one pixel by the definition.
    #[cold]
    #[inline(never)]
    fn pixel_in_f64(&mut self, at: usize) {
        let (src, stride, channels) = (self.src, self.out.stride(), self.channels);
        let x = |channel: usize| {
            let pixel = pixel(&src[channel / CHANNEL_BLOCK * stride..], at);
            f64::from(pixel[channel % CHANNEL_BLOCK])
        };
        for channel in 0..channels {
            let window = channel.saturating_sub(self.half)..channels.min(channel + self.half + 1);
            let squares: f64 = window.map(|k| x(k) * x(k)).sum();
            let base = f64::from(self.k) + f64::from(self.scale) * squares;
            let y = x(channel) / base.powf(f64::from(self.quarters) / 4.0);
            let out = pixel_mut(self.out.row(channel / CHANNEL_BLOCK), at);
            out[channel % CHANNEL_BLOCK] = y as f32;
        }
    }

    /// Normalises a pixel of one block from the squares of its windows. The witness becomes non-finite if a base or a
    /// power is: an infinite base has a power of 0 or NaN.
    #[inline(always)]
    fn normalise<S: KernelSimd, const V: usize>(
        &self,
        simd: S,
        x: [S::f32s; V],
        squares: &[f32],
        witness: &mut [S::f32s; V],
    ) -> [S::f32s; V] {
        // Two independent sums hide the latency of additions. The number of terms is odd.
        let window =
            |at: usize| vectors::<S, V>(simd, squares[at..].first_chunk().expect("a block's"));
        let (mut sums, mut others) = (window(0), [simd.splat_f32s(0.0); V]);
        for pair in 0..self.half {
            let (odd, even) = (window(2 * pair + 1), window(2 * pair + 2));
            for v in 0..V {
                others[v] = simd.add_f32s(others[v], odd[v]);
                sums[v] = simd.add_f32s(sums[v], even[v]);
            }
        }
        let (k, scale) = (simd.splat_f32s(self.k), simd.splat_f32s(self.scale));
        let mut y = x;
        for (v, y) in y.iter_mut().enumerate() {
            let base = simd.mul_add_e_f32s(simd.add_f32s(sums[v], others[v]), scale, k);
            let power = self.inverse_power(simd, base);
            witness[v] = simd.mul_add_e_f32s(base, power, witness[v]);
            *y = simd.mul_f32s(*y, power);
        }
        y
    }

    /// Computes base^-(quarters / 4).
    #[inline(always)]
    fn inverse_power<S: KernelSimd>(&self, simd: S, base: S::f32s) -> S::f32s {
        let half = simd.inverse_sqrt_f32s(base);
        if self.quarters == 3 {
            return simd.mul_f32s(simd.mul_f32s(half, half), simd.inverse_sqrt_f32s(half));
        }
        let mut power = simd.splat_f32s(1.0);
        if !self.quarters.is_multiple_of(2) {
            power = simd.mul_f32s(half, simd.inverse_sqrt_f32s(half));
        }
        for _ in 0..self.quarters / 2 {
            power = simd.mul_f32s(power, half);
        }
        power
    }
}
