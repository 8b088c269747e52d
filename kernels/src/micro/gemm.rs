//! The register tile: some output pixels x some blocks of 16 output channels, accumulated in
//! registers over the whole reduction, finished with the epilogue and written once.
//!
//! ```text
//! acc[p][v] = bias[v]
//! for tap, for channel c:                    (K steps)
//!     w[v]      = panel[k][v]                 V vector loads: 16 * blocks output channels
//!     acc[p][v] += x[pixel p, tap, c] * w[v]  P * V FMAs with a broadcast input
//! out[p][v] = relu(acc[p][v] + residual[p][v])
//! ```
//!
//! `out` lies in blocks of channels or as rows of a matrix ([`Outputs`]). With the roles exchanged, output
//! channels as the tile's "pixels" and pixels as its lanes, the same tile computes plain NCHW.
//!
//! The reduction goes in steps of a few channels. On x86 that saves instructions, as each input is broadcast
//! from memory; on NEON a step of four loads a pixel's channels as one vector, from whose lanes the FMAs take
//! them (`fmla v.4s, v.4s, v.s[i]`), so a step of the 5 x 4 tile is 80 FMAs of 96 to 98 instructions. This
//! share of 0.82 to 0.83 bounds what a core can reach (`scripts/asm` counts it): with two FMA pipes its whole
//! peak from 3 instructions a cycle on; with four pipes all of it from 5 on, 0.82 of it at 4.
//!
//! Inputs are found through [`Pixels`], so that one kernel serves direct convolution, 1x1, im2col and the
//! products of Winograd.
#![allow(unsafe_code)]

use super::outputs::{Outputs, Place};
use super::pixels::{Pixels, ZERO_RUN};
use super::tiles::Tiles;
use crate::arch::KernelSimd;
use crate::blocking::CHANNEL_BLOCK;
use crate::isa::SimdTask;
use crate::tensor::CacheLine;
use std::ops::Range;

/// The input of a tile: channel `c` of the pixel at offset `o` is `data[o + c / block *
/// block_stride + c % block]`. With blocked channels, `block` is 16; where a pixel's channels are
/// contiguous (NHWC, an im2col matrix), there is one block of them all.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// One image.
    pub data: &'a [f32],
    /// Contiguous channels.
    pub block: usize,
    /// Elements from a channel block to the next.
    pub block_stride: usize,
}

/// The body for each of a tile's pixels, vectors or channels, written out: LLVM leaves some loops over a
/// constant range rolled, and then keeps the accumulators in memory (0.39 of the peak instead of 0.98).
macro_rules! each {
    ($count:ident, |$i:ident| $body:block) => {
        each!(@ $count, $i, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $count:ident, $i:ident, $body:block, $($n:literal)*) => {
        $(if const { $n < $count } {
            let $i: usize = $n;
            $body
        })*
    };
}

/// Pixels whose outputs are asked for with each set of pointers: all of a tile's at once would be more lines
/// than L1 can wait for (24 on Zen 4), and hold up the inputs.
const PREFETCHED: usize = 4;

/// One panel of weights against a run of pixels: `out[p] = epilogue(sum of x[p, tap, c] * w[tap, c])`
/// for the output channels of `out`, up to a panel's.
pub struct PanelTimesPixels<'a, 'o, I, L> {
    /// The input.
    pub src: Source<'a>,
    /// Where the pixels' taps are.
    pub pixels: I,
    /// The input channels to sum over.
    pub channels: Range<usize>,
    /// Bias, then weights as [`super::pack`] lays them out.
    pub panel: &'a [f32],
    /// What comes after the sum.
    pub epilogue: Finish<'a>,
    /// Where results go.
    pub out: Outputs<'o, L>,
}

/// What a tile does beside summing products onto the panel's bias.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish<'a> {
    /// In place of the panel's bias, one for each pixel of the run: where output channels take the pixels'
    /// place.
    pub pixel_bias: Option<&'a [f32]>,
    /// Added before the clamp: laid out as the outputs, from the element that corresponds to the first.
    pub residual: Option<&'a [f32]>,
    /// Clamp below at zero.
    pub relu: bool,
}

impl Finish<'_> {
    /// The same for outputs that begin `at` elements further on.
    pub fn from(self, at: usize) -> Self {
        Finish {
            residual: self.residual.map(|r| &r[at..]),
            ..self
        }
    }
}

impl<I: Pixels, L: Place> SimdTask for PanelTimesPixels<'_, '_, I, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        self.check();
        // The tiles of `RegisterTile::of`: pixels, vectors, and channels a step.
        match (S::F32_LANES, S::REGISTER_COUNT, self.out.blocks()) {
            (16, 32, 2) => self.tiles::<S, 14, 2, 1>(simd),
            (16, 32, 1) => self.tiles::<S, 14, 1, 1>(simd),
            (16, _, 2) => self.tiles::<S, 6, 2, 1>(simd),
            (16, _, 1) => self.tiles::<S, 6, 1, 1>(simd),
            (8, _, 1) => self.tiles::<S, 6, 2, 4>(simd),
            (4, 32, 1) => self.tiles::<S, 5, 4, 4>(simd),
            (4, _, 1) => self.tiles::<S, 3, 4, 4>(simd),
            (1, _, 1) => self.tiles::<S, 2, 16, 1>(simd),
            (lanes, _, blocks) => panic!("no tile of {blocks} channel blocks for {lanes} lanes"),
        }
    }
}

impl<I: Pixels, L: Place> PanelTimesPixels<'_, '_, I, L> {
    /// The promises that the tile's pointers rest on, checked once a panel.
    #[inline(always)]
    fn check(&self) {
        let Source {
            data,
            block,
            block_stride,
        } = self.src;
        assert!(block > 0);
        assert_eq!(self.out.pixels(), self.pixels.pixels(), "outputs");
        let k = self.pixels.taps() * self.channels.len();
        assert!(
            self.panel.len() >= (k + 1) * self.out.blocks() * CHANNEL_BLOCK,
            "panel too short"
        );
        if let (Some(offset), Some(last)) = (self.pixels.largest(), self.channels.clone().last()) {
            let end = offset + last / block * block_stride + last % block;
            assert!(
                end < data.len(),
                "input of {} elements read at {end}",
                data.len()
            );
        }
        let Finish {
            pixel_bias,
            residual,
            relu: _,
        } = self.epilogue;
        assert!(pixel_bias.is_none_or(|b| b.len() >= self.out.pixels()));
        assert!(residual.is_none_or(|r| r.len() >= self.out.extent()));
    }

    /// One register tile after the other, of at most `P` pixels.
    #[inline(always)]
    fn tiles<S: KernelSimd, const P: usize, const V: usize, const K: usize>(mut self, simd: S) {
        let Source {
            block,
            block_stride,
            ..
        } = self.src;
        let (block_at, lane) = (
            self.channels.start / block * block_stride,
            self.channels.start % block,
        );
        let pixels = self.pixels;
        for Tiles { first, size, count } in pixels.tiles(P) {
            macro_rules! sizes {
                ($($n:literal)*) => {
                    match size {
                        $($n => if const { $n <= P } {
                            for t in 0..count {
                                self.tile::<S, $n, V, K>(simd, first + t * $n, block_at, lane);
                            }
                        },)*
                        _ => unreachable!("a tile has at most {P} pixels"),
                    }
                };
            }
            sizes!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        }
    }

    /// The tile of `P` pixels from `first` on, by `V` vectors of output channels. The first input channel is
    /// the `lane`-th of the block at `block_at`.
    #[inline(always)]
    fn tile<S: KernelSimd, const P: usize, const V: usize, const K: usize>(
        &mut self,
        simd: S,
        first: usize,
        block_at: usize,
        lane: usize,
    ) {
        let mut prefetched = 0;
        // The bias comes first: one row of the panel.
        let row = V * S::F32_LANES;
        // SAFETY: inside the panel (`check`).
        let bias: [S::f32s; V] = unsafe { load::<S, V>(simd, self.panel.as_ptr()) };
        let mut acc = [bias; P];
        if let Some(bias) = self.epilogue.pixel_bias {
            let bias: &[f32; P] = bias[first..].first_chunk().expect("a bias a pixel");
            acc = bias.map(|x| [simd.splat_f32s(x); V]);
        }
        // SAFETY: inside the panel (`check`).
        let mut weights = unsafe { self.panel.as_ptr().add(row) };
        let Source {
            data,
            block,
            block_stride,
        } = self.src;
        let channels = self.channels.len();

        for tap in 0..self.pixels.taps() {
            if self.pixels.skips::<P>(tap, first) {
                // SAFETY: stays inside the panel: one row for each tap and channel.
                weights = unsafe { weights.add(channels * row) };
                continue;
            }
            // Pixels next to each other share an address register. On Golden Cove one or two of them reach .98 of the
            // peak in a loop of nothing else, 14 of them .85 to .90.
            // Small tiles, and those whose outputs need addresses of their own, gained nothing but spills.
            let adjoin = const { S::NATIVE && S::F32_LANES == 16 && P > 6 && !L::PARTIAL }
                && self.pixels.adjoin::<P>(tap, first);
            let (mut block_at, mut lane, mut left) = (block_at, lane, channels);
            while left > 0 {
                let run = left.min(block - lane).min(ZERO_RUN);
                if prefetched < P {
                    self.prefetch_outputs::<S, P, V>(simd, first, prefetched);
                    prefetched += PREFETCHED;
                }
                let base = data.as_ptr().wrapping_add(block_at + lane);
                let x: [*const f32; P] = if adjoin {
                    let [x] = self.pixels.tile::<1>(tap, first, base);
                    std::array::from_fn(|p| x.wrapping_add(p * CHANNEL_BLOCK))
                } else {
                    self.pixels.tile(tap, first, base)
                };
                // A tap next to another finds its inputs in L1; of a single one the next block's are asked for,
                // unless two blocks of output channels take long enough to hide L2's latency.
                let short = const { V * S::F32_LANES <= CHANNEL_BLOCK };
                if short && self.pixels.taps() == 1 && run < left && lane + run == block {
                    each!(P, |p| {
                        simd.prefetch(x[p].wrapping_add(block_stride));
                    });
                }
                // Steps of several channels where that is all the same to the addresses.
                macro_rules! steps {
                    ($x:expr, $k:expr) => {{
                        let whole = if const { $k > 1 } { run - run % $k } else { 0 };
                        for k in (0..whole).step_by($k) {
                            self.stream_weights(simd, weights.add(k * row), $k * row);
                            acc = multiply::<S, P, V, $k>(simd, $x, k, weights.add(k * row), acc);
                        }
                        for k in whole..run {
                            self.stream_weights(simd, weights.add(k * row), row);
                            acc = multiply::<S, P, V, 1>(simd, $x, k, weights.add(k * row), acc);
                        }
                    }};
                }
                // SAFETY: the panel has a row of V vectors for each tap and channel (`check`). Inputs are
                // either among zeros, of which `run` reads no more; or inside `data`: the offset is at most
                // `largest`, for which `check` found the last channel there, and `run` leaves neither the
                // channels nor their block.
                unsafe {
                    if adjoin {
                        let first = x[0];
                        let x = std::array::from_fn(|p| first.wrapping_add(p * CHANNEL_BLOCK));
                        steps!(x, 4);
                    } else {
                        steps!(x, K);
                    }
                    weights = weights.add(run * row);
                }
                left -= run;
                lane += run;
                if lane == block {
                    (lane, block_at) = (0, block_at + block_stride);
                }
            }
        }
        self.finish(simd, first, acc);
    }

    /// Asks for weights in advance, as many as a step reads: a line or two among its FMAs, where a burst of
    /// them before a run of channels would find the queues to memory full (measured: 512 channels at 14x14
    /// took 1.3 times as long).
    #[inline(always)]
    fn stream_weights<S: KernelSimd>(&self, simd: S, weights: *const f32, len: usize) {
        if let Some(ahead) = self.pixels.weights_ahead() {
            for line in (0..len).step_by(CacheLine::F32S) {
                simd.prefetch(weights.wrapping_add(ahead + line));
            }
        }
    }

    /// Asks for the lines that `finish` will add and write, those of [`PREFETCHED`] pixels from `pixel` on of
    /// the `P` from `first` on. They arrive during the reduction, where otherwise a tile would end in waiting
    /// for L3 or memory.
    #[inline(always)]
    fn prefetch_outputs<S: KernelSimd, const P: usize, const V: usize>(
        &self,
        simd: S,
        first: usize,
        pixel: usize,
    ) {
        let (out, place) = (self.out.as_ptr(), self.out.place());
        let residual = self.epilogue.residual.map(|r| r.as_ptr());
        for p in 0..PREFETCHED {
            // Rather one line twice than a loop whose end depends on the tile.
            let [pixel] = self.pixels.positions::<1>(first + (pixel + p).min(P - 1));
            for block in 0..const { (V * S::F32_LANES).div_ceil(CHANNEL_BLOCK) } {
                let at = place.offset(pixel, block);
                simd.prefetch(out.wrapping_add(at));
                if let Some(residual) = residual {
                    simd.prefetch(residual.wrapping_add(at));
                }
            }
        }
    }

    /// Residual, ReLU, and the one store of each output. What the epilogue has is asked once a tile, and what
    /// a store might have changed is copied first: a tile of 64 channels lasts as long as a thousand
    /// instructions.
    #[inline(always)]
    fn finish<S: KernelSimd, const P: usize, const V: usize>(
        &mut self,
        simd: S,
        first: usize,
        mut acc: [[S::f32s; V]; P],
    ) {
        if L::PARTIAL && self.out.channels() < V * S::F32_LANES {
            // Copied one by one: an accumulator whose address is taken would live in memory from the start.
            let mut sums = [[simd.splat_f32s(0.0); V]; P];
            each!(P, |p| {
                each!(V, |v| {
                    sums[p][v] = acc[p][v];
                });
            });
            let sums = bytemuck::must_cast_slice(sums.as_flattened());
            let pixels = self.pixels.positions::<P>(first);
            return self.finish_edge(&pixels, sums);
        }
        // Computed anew: kept from the prefetches they would only go to the stack and back.
        let pixels = self.pixels.positions::<P>(std::hint::black_box(first));
        let (out, place) = (self.out.as_mut_ptr(), self.out.place());
        let at = |p: usize, v: usize| {
            let lane = v * S::F32_LANES;
            place.offset(pixels[p], lane / CHANNEL_BLOCK) + lane % CHANNEL_BLOCK
        };
        if let Some(residual) = self.epilogue.residual {
            let residual = residual.as_ptr();
            each!(P, |p| {
                each!(V, |v| {
                    // SAFETY: as long as the outputs (`check`), of which these are inside.
                    let [r] = unsafe { load::<S, 1>(simd, residual.add(at(p, v))) };
                    acc[p][v] = simd.add_f32s(acc[p][v], r);
                });
            });
        }
        if self.epilogue.relu {
            let zero = simd.splat_f32s(0.0);
            each!(P, |p| {
                each!(V, |v| {
                    acc[p][v] = simd.at_least(zero, acc[p][v]);
                });
            });
        }
        each!(P, |p| {
            each!(V, |v| {
                // SAFETY: a pixel below `out.pixels()`, and its channels fill the tile's vectors.
                unsafe { simd.store_f32s(out.add(at(p, v)), acc[p][v]) };
            });
        });
    }

    /// The same for the end of a matrix's row, where the channels don't fill the vectors.
    #[inline(never)]
    fn finish_edge(&mut self, pixels: &[usize], sums: &[f32]) {
        let (width, place) = (sums.len() / pixels.len(), self.out.place());
        for (&pixel, sums) in pixels.iter().zip(sums.chunks_exact(width)) {
            for (channel, sum) in sums.iter().take(self.out.channels()).enumerate() {
                let block = place.offset(pixel, channel / CHANNEL_BLOCK);
                let at = block + channel % CHANNEL_BLOCK;
                let mut y = *sum;
                if let Some(residual) = self.epilogue.residual {
                    y += residual[at];
                }
                if self.epilogue.relu && y < 0.0 {
                    y = 0.0;
                }
                // SAFETY: a pixel below `out.pixels()`, a channel below `out.channels()`.
                unsafe { self.out.as_mut_ptr().add(at).write(y) };
            }
        }
    }
}

/// `K` channels from the `k`-th on, of `P` pixels, times as many rows of `V` weights.
///
/// # Safety
/// `weights` is valid for a read of `K` rows, each of `x` for one of `k + K` floats.
#[inline(always)]
unsafe fn multiply<S: KernelSimd, const P: usize, const V: usize, const K: usize>(
    simd: S,
    x: [*const f32; P],
    k: usize,
    weights: *const f32,
    mut acc: [[S::f32s; V]; P],
) -> [[S::f32s; V]; P] {
    each!(K, |c| {
        // SAFETY: the caller's promise.
        let w: [S::f32s; V] = unsafe { load::<S, V>(simd, weights.add(c * V * S::F32_LANES)) };
        each!(P, |p| {
            // SAFETY: the caller's promise.
            let x = unsafe { simd.broadcast::<K>(x[p].add(k), c) };
            for v in 0..V {
                acc[p][v] = simd.mul_add_e_f32s(x, w[v], acc[p][v]);
            }
        });
    });
    acc
}

/// `V` vectors from memory.
///
/// # Safety
/// `at` is valid for a read of `V` vectors.
#[inline(always)]
pub(super) unsafe fn load<S: KernelSimd, const V: usize>(simd: S, at: *const f32) -> [S::f32s; V] {
    // SAFETY: the caller's promise.
    std::array::from_fn(|v| unsafe { simd.load_f32s(at.add(v * S::F32_LANES)) })
}
