//! One register tile: its reduction over taps and channels, and its prefetches.
#![allow(unsafe_code)]

use super::addressing::Multiples;
use super::dot::Dot;
use super::epilogue::Destination;
use super::operands::{ChannelAt, PanelTimesPixels, Source};
use super::prefetch::{
    Lines, PREFETCH_DISTANCE, PREFETCHED_PIXELS, Prefetch, Progress, STREAMS, prefetch_weights,
};
use crate::arch::{KernelSimd, array, hidden};
use crate::blocking::MemoryLevel;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::outputs::Place;
use crate::micro::pixels::{Pixels, ZERO_RUN};
use crate::micro::tiles::{FEW_PIXELS, Spacing};

/// Channels a step if inputs are evenly spaced.
const EVEN_STEP: usize = 4;

/// Inputs of one tap whose pixels are evenly spaced.
struct EvenInputs {
    /// First channel of the first pixel of each half of the tile.
    halves: [*const f32; 2],
    /// Elements from a pixel to the next, unless the compiler knows them ([`Pixels::STEP`]).
    step: usize,
    /// True for the last tap.
    last_tap: bool,
}

/// Inputs of one tap whose pixels are at any positions or in the padding.
struct UnevenInputs {
    tap: usize,
    /// First channel of the pixel at offset 0.
    base: *const f32,
}

impl<I: Pixels, D: Dot> PanelTimesPixels<'_, '_, I, D> {
    /// Cache lines of the panel that follows this one, for tiles of at most `P` pixels. A row has `row` weights.
    ///
    /// For each channel, each tile prefetches its share of a row. If taps in the padding may be skipped, the share is a
    /// quarter larger.
    #[inline(always)]
    pub(super) fn next_panel<const P: usize>(&self, row: usize) -> Lines {
        let taps = self.pixels.taps();
        let rows = 1 + taps * self.channels.len();
        let tiles = self.pixels.pixels().div_ceil(P).max(1);
        let share = row * size_of::<f32>() / tiles;
        let share = if taps > 1 { share * 5 / 4 } else { share };
        let half = rows * row * size_of::<f32>() / STREAMS;
        let (apart, advance) = match self.prefetch {
            Prefetch::NextPanel(MemoryLevel::Dram) if const { P <= FEW_PIXELS } => {
                (half, share * EVEN_STEP / (STREAMS * STREAMS))
            }
            Prefetch::NextPanel(_) => (share, share),
            Prefetch::Nothing | Prefetch::Weights | Prefetch::NextInputs => (0, 0),
        };
        Lines {
            at: self.panel.as_ptr().wrapping_add(rows * row),
            apart,
            advance,
        }
    }

    /// Prefetches outputs and residuals of the next [`PREFETCHED_PIXELS`] pixels for `store`.
    ///
    /// They arrive during the reduction. Otherwise each tile would end with a wait for L3 or memory.
    #[inline(always)]
    fn prefetch_outputs<S: KernelSimd, const P: usize, const V: usize>(
        &self,
        simd: S,
        progress: &mut Progress,
    ) {
        if progress.prefetched >= P {
            return;
        }
        let (out, place) = (self.out.as_ptr(), self.out.place());
        let residual = self.epilogue.residual.map(|r| r.as_ptr());
        for p in 0..PREFETCHED_PIXELS {
            // Prefetching a line twice costs less than a loop whose end depends on the tile.
            let pixel = progress.first + (progress.prefetched + p).min(P - 1);
            let [pixel] = self.pixels.positions::<1>(pixel);
            for block in 0..const { (V * S::F32_LANES).div_ceil(CHANNEL_BLOCK) } {
                let at = place.offset(pixel, block);
                simd.prefetch(out.wrapping_add(at));
                if let Some(residual) = residual {
                    simd.prefetch(residual.wrapping_add(at));
                }
            }
        }
        progress.prefetched += PREFETCHED_PIXELS;
    }

    /// Computes the tile of `P` pixels from `first` on, by `V` vectors of output channels. `channel` is the first input
    /// channel.
    #[inline(always)]
    pub(super) fn tile<S: KernelSimd, const P: usize, const V: usize, const K: usize>(
        &mut self,
        simd: S,
        first: usize,
        channel: ChannelAt,
        lines: &mut Lines,
    ) {
        // The bias is the first row of the panel.
        let row = V * S::F32_LANES;
        // SAFETY: inside the panel (`check`).
        let bias: [S::f32s; V] = unsafe { load::<S, V>(simd, self.panel.as_ptr()) };
        let mut acc = [bias; P];
        if let Some(bias) = self.epilogue.pixel_bias {
            let bias: &[f32; P] = bias[first..].first_chunk().expect("a bias a pixel");
            acc = array(|p| [simd.splat_f32s(bias[p]); V]);
        }
        let mut progress = Progress {
            first,
            // SAFETY: inside the panel (`check`).
            weights: unsafe { self.panel.as_ptr().add(row) },
            // Intermediate sums of several products are already in L1 or L2.
            prefetched: match self.out.place().sums() {
                Some(sums) if sums.in_cache => P,
                _ => 0,
            },
            // Scalar code computes too slowly to wait for weights.
            prefetches: const { S::NATIVE }
                && match self.prefetch {
                    Prefetch::Nothing => false,
                    Prefetch::Weights => first == 0,
                    Prefetch::NextPanel(_) | Prefetch::NextInputs => true,
                },
        };
        for tap in 0..self.pixels.taps() {
            let base = self.src.data.as_ptr();
            let base = base.wrapping_add(channel.block + channel.lane);
            match self.pixels.spacing::<P>(tap, first) {
                Spacing::Padding => {
                    // SAFETY: stays inside the panel: one row for each tap and channel.
                    progress.weights = unsafe { progress.weights.add(self.channels.len() * row) };
                }
                Spacing::Even { halves, step } if const { S::NATIVE && P > FEW_PIXELS } => {
                    let inputs = EvenInputs {
                        halves: array(|half| base.wrapping_add(halves[half])),
                        step,
                        last_tap: tap + 1 == self.pixels.taps(),
                    };
                    let lane = channel.lane;
                    self.even::<S, P, V>(simd, inputs, lane, &mut progress, lines, &mut acc);
                }
                Spacing::Even { .. } | Spacing::Uneven => {
                    let inputs = UnevenInputs { tap, base };
                    let lane = channel.lane;
                    self.uneven::<S, P, V, K>(simd, inputs, lane, &mut progress, lines, &mut acc);
                }
            }
        }
        self.store(simd, first, acc);
    }

    /// Adds a tap's channels to the sums, from lane `lane` of their block on, for pixels a step apart in each half of
    /// the tile.
    ///
    /// Two addresses and three multiples of the step reach all pixels. With an address for each pixel, LLVM spills some
    /// of them, and computes 14 for each block of channels. (Measured: docs/measurements.md, 'addresses of even
    /// pixels'.) The sums are passed by reference, because by value LLVM finds no vectors in the scalar tile.
    #[inline(always)]
    fn even<S: KernelSimd, const P: usize, const V: usize>(
        &self,
        simd: S,
        inputs: EvenInputs,
        mut lane: usize,
        progress: &mut Progress,
        lines: &mut Lines,
        acc: &mut [[S::f32s; V]; P],
    ) {
        let Source {
            block,
            block_stride,
            ..
        } = self.src;
        let row = V * S::F32_LANES;
        let step = if const { I::STEP > 0 } {
            I::STEP
        } else {
            inputs.step
        };
        let steps = Multiples::of(step);
        let mut x = inputs.halves;
        let mut left = self.channels.len();
        while left > 0 {
            let run = left.min(block - lane).min(ZERO_RUN);
            self.prefetch_outputs::<S, P, V>(simd, progress);
            if self.prefetch == Prefetch::NextInputs {
                // The last row of a filter reads inputs that the tile before did not read.
                let apart = if inputs.last_tap {
                    step * size_of::<f32>()
                } else {
                    0
                };
                *lines = Lines {
                    at: x[0].wrapping_add(P * step),
                    apart,
                    advance: apart,
                };
            }
            macro_rules! step {
                ($k:expr) => {{
                    if progress.prefetches {
                        if self.prefetch == Prefetch::NextInputs {
                            lines.prefetch::<$k>(|line| simd.prefetch(line));
                        } else {
                            let next = progress.weights.wrapping_add(PREFETCH_DISTANCE);
                            prefetch_weights(simd, next, $k * row);
                            lines.prefetch::<$k>(|line| simd.prefetch_l2(line));
                        }
                    }
                    let at = |p: usize| {
                        if const { I::STEP > 0 } {
                            x[0].wrapping_add(p * I::STEP)
                        } else {
                            steps.pixel::<P>(x, p)
                        }
                    };
                    // SAFETY: the panel has a row of V vectors for each tap and channel (`check`). Inputs are inside
                    // `data`: the offset is at most `largest`, and `check` tested the furthest channel for that offset.
                    // `run` exceeds neither the channels nor their block.
                    unsafe {
                        *acc = multiply::<S, D, P, V, $k>(simd, self.dot, at, progress.weights, *acc);
                        progress.weights = progress.weights.add($k * row);
                    }
                    x = array(|half| hidden(x[half].wrapping_add($k)));
                }};
            }
            for _ in 0..run / EVEN_STEP {
                step!(EVEN_STEP);
            }
            for _ in 0..run % EVEN_STEP {
                step!(1);
            }
            left -= run;
            lane += run;
            if lane == block {
                lane = 0;
                x = array(|half| x[half].wrapping_add(block_stride).wrapping_sub(block));
            }
        }
    }

    /// Adds a tap's channels to the sums, for pixels at any positions or in the padding.
    #[inline(always)]
    fn uneven<S: KernelSimd, const P: usize, const V: usize, const K: usize>(
        &self,
        simd: S,
        inputs: UnevenInputs,
        mut lane: usize,
        progress: &mut Progress,
        lines: &mut Lines,
        acc: &mut [[S::f32s; V]; P],
    ) {
        let Source {
            block,
            block_stride,
            ..
        } = self.src;
        let row = V * S::F32_LANES;
        let UnevenInputs { tap, mut base } = inputs;
        let mut left = self.channels.len();
        while left > 0 {
            let run = left.min(block - lane).min(ZERO_RUN);
            self.prefetch_outputs::<S, P, V>(simd, progress);
            let x: [*const f32; P] = self.pixels.tile(tap, progress.first, base);
            // Several taps find their inputs in L1, because neighbouring taps share them. A single tap prefetches the
            // inputs of the next block, unless two blocks of output channels take long enough to hide L2's latency.
            let short = const { V * S::F32_LANES <= CHANNEL_BLOCK };
            if short && self.pixels.taps() == 1 && run < left && lane + run == block {
                each!(pixel P, |p| {
                    simd.prefetch(x[p].wrapping_add(block_stride));
                });
            }
            let prefetches = progress.prefetches && self.prefetch != Prefetch::NextInputs;
            macro_rules! step {
                ($k:ident, $first:ident) => {
                    // SAFETY: the panel has a row of V vectors for each tap and channel (`check`). Inputs are zeros, or
                    // are inside `data` as in `even`. `run` is at most the number of zeros.
                    unsafe {
                        let weights = progress.weights.add($first * row);
                        if prefetches {
                            prefetch_weights(simd, weights.wrapping_add(PREFETCH_DISTANCE), $k * row);
                        }
                        let at = |p: usize| x[p].add($first);
                        *acc = multiply::<S, D, P, V, $k>(simd, self.dot, at, weights, *acc);
                    }
                };
            }
            let whole = if const { K > 1 } { run - run % K } else { 0 };
            if const { K == EVEN_STEP } && self.prefetch == Prefetch::NextPanel(MemoryLevel::Dram) {
                for k in (0..whole).step_by(K) {
                    // A step of a tile of few pixels reads four cache lines. If two tiles share a panel, each
                    // prefetches two.
                    lines.prefetch::<STREAMS>(|line| simd.prefetch_l2(line));
                    step!(K, k);
                }
            } else {
                for k in (0..whole).step_by(K) {
                    step!(K, k);
                }
            }
            const ONE: usize = 1;
            for k in whole..run {
                step!(ONE, k);
            }
            // SAFETY: `run` rows follow inside the panel, as above.
            progress.weights = unsafe { progress.weights.add(run * row) };
            left -= run;
            lane += run;
            base = base.wrapping_add(run);
            if lane == block {
                lane = 0;
                base = base.wrapping_add(block_stride).wrapping_sub(block);
            }
        }
    }

    /// Applies the epilogue to a tile's sums, and stores its outputs.
    #[inline(always)]
    fn store<S: KernelSimd, const P: usize, const V: usize>(
        &mut self,
        simd: S,
        first: usize,
        acc: [[S::f32s; V]; P],
    ) {
        let (out, place) = (self.out.as_mut_ptr(), self.out.place());
        if const { I::Place::PARTIAL } && self.out.channels() < V * S::F32_LANES {
            // Copied one by one: an accumulator whose address is taken would be in memory for the whole reduction.
            let mut sums = [[simd.splat_f32s(0.0); V]; P];
            each!(pixel P, |p| {
                sums[p] = acc[p];
            });
            let sums = bytemuck::must_cast_slice(sums.as_flattened());
            let pixels = self.pixels.offsets::<P>(first, place.pixel());
            let to = Destination { out, place, pixels };
            // SAFETY: pixels are below `out.pixels()`, and channels are as many as it has. The residual is as long
            // (`check`).
            return unsafe { self.epilogue.store_part(sums, self.out.channels(), &to) };
        }
        // Computed again: if they were kept from the prefetches, they would be spilled to the stack.
        let first = std::hint::black_box(first);
        let pixels = self.pixels.offsets::<P>(first, place.pixel());
        let sums = place.sums();
        let to = Destination { out, place, pixels };
        // SAFETY: as above, and the channels fill the tile's vectors. `Outputs` has checked the sums.
        unsafe { self.epilogue.store(simd, acc, sums, to) };
    }
}

/// Multiplies `K` channels of `P` pixels with `K` rows of `V` vectors of weights, and adds the products to `acc`.
///
/// `x` gives the address of a pixel's first channel.
///
/// # Safety
/// `weights` is valid for a read of `K` rows. Each address from `x` is valid for a read of `K` floats.
#[inline(always)]
unsafe fn multiply<S: KernelSimd, D: Dot, const P: usize, const V: usize, const K: usize>(
    simd: S,
    dot: D,
    x: impl Fn(usize) -> *const f32,
    weights: *const f32,
    mut acc: [[S::f32s; V]; P],
) -> [[S::f32s; V]; P] {
    const { assert!(P <= 14 && K <= 4) };
    each!(channel K, |c| {
        // SAFETY: the caller's promise.
        let w: [S::f32s; V] = unsafe { load::<S, V>(simd, weights.add(c * V * S::F32_LANES)) };
        each!(pixel P, |p| {
            // SAFETY: the caller's promise.
            unsafe { dot.multiply::<S, V, K>(simd, &mut acc[p], x(p), c, &w) };
        });
    });
    acc
}

/// Loads `V` vectors from memory.
///
/// # Safety
/// `at` is valid for a read of `V` vectors.
#[inline(always)]
pub unsafe fn load<S: KernelSimd, const V: usize>(simd: S, at: *const f32) -> [S::f32s; V] {
    // SAFETY: the caller's promise.
    let mut vectors = [unsafe { simd.load_f32s(at) }; V];
    each!(vector V, |v| {
        if v > 0 {
            // SAFETY: the caller's promise.
            vectors[v] = unsafe { simd.load_f32s(at.add(v * S::F32_LANES)) };
        }
    });
    vectors
}
