//! The register tile: some output pixels x some blocks of 16 output channels. They are accumulated in registers over
//! the whole reduction, finished with the epilogue, and written once.
//!
//! ```text
//! acc[p][v] = bias[v]
//! for tap, for channel c:                    (K steps)
//!     w[v]      = panel[k][v]                 V vector loads: 16 * blocks output channels
//!     acc[p][v] += x[pixel p, tap, c] * w[v]  P * V FMAs with a broadcast input
//! out[p][v] = relu(acc[p][v] + residual[p][v])
//! ```
//!
//! `out` lies in blocks of channels or as rows of a matrix ([`Outputs`]). With the roles exchanged, the same tile
//! computes plain NCHW: output channels are the tile's "pixels", and pixels are its lanes.
//!
//! The reduction goes in steps of a few channels. On x86 that saves instructions, because each input is broadcast from
//! memory. On NEON a step of four loads a pixel's channels as one vector. FMAs take their input from its lanes (`fmla
//! v.4s, v.4s, v.s[i]`).
//!
//! So a step of the 5 x 4 tile has 80 FMAs among 96 to 98 instructions (`scripts/asm` counts them). This share of FMAs
//! bounds the speed of a core. With two FMA pipes a core needs at least 3 instructions a cycle to reach its peak. With
//! four pipes it needs 5, and with 4 it reaches 0.82 of the peak.
//!
//! [`Pixels`] locates the inputs. So one kernel serves direct convolution, 1x1, im2col and the products of Winograd.
#![allow(unsafe_code)]

/// Unrolls a body over a tile's pixels, a pixel's vectors, or a step's channels. LLVM leaves some loops over a constant
/// range rolled, and then keeps the accumulators in memory. It would unroll the loops over vectors. But there are
/// thousands of them, and unrolling them in LLVM takes longer than the rest of a build. Scalar code has 16 "vectors",
/// which stay a loop that LLVM vectorises.
macro_rules! each {
    (vector $count:ident, |$i:ident| $body:block) => {
        if const { $count <= 4 } {
            each!(@ $count, $i, $body, 0 1 2 3);
        } else {
            #[allow(clippy::needless_range_loop)]
            for $i in 0..$count $body
        }
    };
    (pixel $count:ident, |$i:ident| $body:block) => {
        each!(@ $count, $i, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (channel $count:ident, |$i:ident| $body:block) => {
        each!(@ $count, $i, $body, 0 1 2 3)
    };
    (@ $count:ident, $i:ident, $body:block, $($n:literal)*) => {
        $(if const { $n < $count } {
            let $i: usize = $n;
            $body
        })*
    };
}

mod addressing;
mod epilogue;
mod prefetch;

pub use epilogue::Finish;
pub use prefetch::Ahead;

use super::outputs::{Outputs, Place};
use super::pixels::{Pixels, ZERO_RUN};
use super::tiles::{FEW_PIXELS, Spacing, Tiles};
use crate::arch::{KernelSimd, array, hidden};
use crate::blocking::Home;
use crate::bounds::{product, sum};
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;
use addressing::Multiples;
use epilogue::To;
use prefetch::{Lines, PREFETCHED, Progress, STREAMS, WEIGHTS_AHEAD, ask_for_weights};
use std::ops::Range;

/// Input of a tile. Channel `c` of the pixel at offset `o` is `data[o + c / block * block_stride + c % block]`.
///
/// With blocked channels, `block` is 16. If a pixel's channels are contiguous (NHWC, an im2col matrix), one block has
/// all channels.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// One image.
    pub data: &'a [f32],
    /// Number of contiguous channels.
    pub block: usize,
    /// Elements from a channel block to the next.
    pub block_stride: usize,
}

/// Channels a step if inputs are evenly spaced.
const EVEN_STEP: usize = 4;

/// Product of one panel of weights with a run of pixels.
///
/// It computes `out[p] = epilogue(sum of x[p, tap, c] * w[tap, c])` for the output channels of `out`, at most a
/// panel's.
pub struct PanelTimesPixels<'a, 'o, I, L> {
    /// The input.
    pub src: Source<'a>,
    /// Positions of the pixels' taps.
    pub pixels: I,
    /// The input channels to sum over.
    pub channels: Range<usize>,
    /// Bias, then weights in the layout of [`super::pack`].
    pub panel: &'a [f32],
    /// Operations after the sum.
    pub epilogue: Finish<'a>,
    /// Software-prefetch policy.
    pub ahead: Ahead,
    /// Place for the results.
    pub out: Outputs<'o, L>,
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
    /// Checks the conditions for the tile's pointers, once per panel.
    #[inline(always)]
    fn check(&self) {
        let Source { data, block, .. } = self.src;
        assert!(block > 0);
        assert_eq!(self.out.pixels(), self.pixels.pixels(), "outputs");
        assert!(
            const { I::SUMS } || self.out.place().sums().is_none(),
            "sums"
        );
        let k = product([self.pixels.taps(), self.channels.len()]);
        let row = self.out.blocks() * CHANNEL_BLOCK;
        assert!(
            self.panel.len() >= product([sum([k, 1]), row]),
            "panel too short"
        );
        if let (Some(offset), Some(channel)) = (self.pixels.largest(), self.furthest_channel()) {
            let end = sum([offset, channel]);
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

    /// Elements from a pixel's first channel to the furthest of the summed channels, or none if there are no channels.
    ///
    /// That is the last channel, or the end of the block before it if blocks overlap.
    #[inline(always)]
    fn furthest_channel(&self) -> Option<usize> {
        let Source {
            block,
            block_stride,
            ..
        } = self.src;
        let last = self.channels.end.checked_sub(1)?;
        if self.channels.is_empty() {
            return None;
        }
        let at = |channel: usize| sum([product([channel / block, block_stride]), channel % block]);
        if block_stride >= block {
            return Some(at(last));
        }
        let block_before = (last / block * block).checked_sub(1);
        let block_before = block_before.filter(|channel| self.channels.contains(channel));
        Some(at(last).max(block_before.map_or(0, at)))
    }

    /// Runs the register tiles one after the other, with at most `P` pixels each. If there are many sizes, each has a
    /// function.
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
        let mut ahead = self.next_panel::<P>(V * S::F32_LANES);
        for Tiles { first, size, count } in pixels.tiles(P) {
            macro_rules! sizes {
                ($($n:literal)*) => {
                    match size {
                        $($n => if const { $n <= P } {
                            let tiles = EqualTiles::<_, _, $n, V, K> {
                                kernel: &mut self,
                                first,
                                count,
                                input: (block_at, lane),
                                ahead: &mut ahead,
                            };
                            // Small tiles make small functions, which a call would slow down. (Measured:
                            // docs/measurements.md, 'calls of small tiles'.)
                            if const { P > FEW_PIXELS } {
                                simd.call(tiles);
                            } else {
                                tiles.run(simd);
                            }
                        },)*
                        _ => unreachable!("a tile has at most {P} pixels"),
                    }
                };
            }
            sizes!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        }
    }

    /// Cache lines of the panel that follows this one, for tiles of at most `P` pixels. A row has `row` weights.
    ///
    /// For each channel, each tile prefetches its share of a row. If taps in the padding may be skipped, the share is a
    /// quarter larger.
    #[inline(always)]
    fn next_panel<const P: usize>(&self, row: usize) -> Lines {
        let taps = self.pixels.taps();
        let rows = 1 + taps * self.channels.len();
        let tiles = self.pixels.pixels().div_ceil(P).max(1);
        let share = row * size_of::<f32>() / tiles;
        let share = if taps > 1 { share * 5 / 4 } else { share };
        let half = rows * row * size_of::<f32>() / STREAMS;
        let (apart, advance) = match self.ahead {
            Ahead::NextPanel(Home::Memory) if const { P <= FEW_PIXELS } => {
                (half, share * EVEN_STEP / (STREAMS * STREAMS))
            }
            Ahead::NextPanel(_) => (share, share),
            Ahead::Nothing | Ahead::Weights | Ahead::NextInputs => (0, 0),
        };
        Lines {
            at: self.panel.as_ptr().wrapping_add(rows * row),
            apart,
            advance,
        }
    }

    /// Prefetches outputs and residuals of the next [`PREFETCHED`] pixels for `store`.
    ///
    /// They arrive during the reduction. Otherwise each tile would end with a wait for L3 or memory.
    #[inline(always)]
    fn ask_for_outputs<S: KernelSimd, const P: usize, const V: usize>(
        &self,
        simd: S,
        progress: &mut Progress,
    ) {
        if progress.asked >= P {
            return;
        }
        let (out, place) = (self.out.as_ptr(), self.out.place());
        let residual = self.epilogue.residual.map(|r| r.as_ptr());
        for p in 0..PREFETCHED {
            // Prefetching a line twice costs less than a loop whose end depends on the tile.
            let pixel = progress.first + (progress.asked + p).min(P - 1);
            let [pixel] = self.pixels.positions::<1>(pixel);
            for block in 0..const { (V * S::F32_LANES).div_ceil(CHANNEL_BLOCK) } {
                let at = place.offset(pixel, block);
                simd.prefetch(out.wrapping_add(at));
                if let Some(residual) = residual {
                    simd.prefetch(residual.wrapping_add(at));
                }
            }
        }
        progress.asked += PREFETCHED;
    }

    /// Computes the tile of `P` pixels from `first` on, by `V` vectors of output channels.
    ///
    /// The first input channel is lane `lane` of the block at `block_at`.
    #[inline(always)]
    fn tile<S: KernelSimd, const P: usize, const V: usize, const K: usize>(
        &mut self,
        simd: S,
        first: usize,
        (block_at, lane): (usize, usize),
        ahead: &mut Lines,
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
            asked: match self.out.place().sums() {
                Some(sums) if const { I::SUMS } && sums.near => P,
                _ => 0,
            },
            // Scalar code computes too slowly to wait for weights.
            asks: const { S::NATIVE }
                && match self.ahead {
                    Ahead::Nothing => false,
                    Ahead::Weights => first == 0,
                    Ahead::NextPanel(_) | Ahead::NextInputs => true,
                },
        };
        for tap in 0..self.pixels.taps() {
            let from = self.src.data.as_ptr().wrapping_add(block_at + lane);
            match self.pixels.spacing::<P>(tap, first) {
                Spacing::Padding => {
                    // SAFETY: stays inside the panel: one row for each tap and channel.
                    progress.weights = unsafe { progress.weights.add(self.channels.len() * row) };
                }
                Spacing::Even { halves, step } if const { S::NATIVE && P > FEW_PIXELS } => {
                    let last = tap + 1 == self.pixels.taps();
                    let halves = array(|half| from.wrapping_add(halves[half]));
                    let inputs = (halves, step, last);
                    self.even::<S, P, V>(simd, inputs, lane, &mut progress, ahead, &mut acc);
                }
                Spacing::Even { .. } | Spacing::Uneven => {
                    self.uneven::<S, P, V, K>(
                        simd,
                        (tap, from),
                        lane,
                        &mut progress,
                        ahead,
                        &mut acc,
                    );
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
        (halves, step, last_tap): ([*const f32; 2], usize, bool),
        mut lane: usize,
        progress: &mut Progress,
        ahead: &mut Lines,
        acc: &mut [[S::f32s; V]; P],
    ) {
        let Source {
            block,
            block_stride,
            ..
        } = self.src;
        let row = V * S::F32_LANES;
        let step = if const { I::STEP > 0 } { I::STEP } else { step };
        let steps = Multiples::of(step);
        let mut x = halves;
        let mut left = self.channels.len();
        while left > 0 {
            let run = left.min(block - lane).min(ZERO_RUN);
            self.ask_for_outputs::<S, P, V>(simd, progress);
            if self.ahead == Ahead::NextInputs {
                // The last row of a filter reads inputs that the tile before did not read.
                let apart = if last_tap { step * size_of::<f32>() } else { 0 };
                *ahead = Lines {
                    at: x[0].wrapping_add(P * step),
                    apart,
                    advance: apart,
                };
            }
            macro_rules! step {
                ($k:expr) => {{
                    if progress.asks {
                        if self.ahead == Ahead::NextInputs {
                            ahead.ask::<$k>(|line| simd.prefetch(line));
                        } else {
                            let next = progress.weights.wrapping_add(WEIGHTS_AHEAD);
                            ask_for_weights(simd, next, $k * row);
                            ahead.ask::<$k>(|line| simd.prefetch_l2(line));
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
                        *acc = multiply::<S, P, V, $k>(simd, at, progress.weights, *acc);
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
    ///
    /// The first channel of the first pixel is at `from`.
    #[inline(always)]
    fn uneven<S: KernelSimd, const P: usize, const V: usize, const K: usize>(
        &self,
        simd: S,
        (tap, mut from): (usize, *const f32),
        mut lane: usize,
        progress: &mut Progress,
        ahead: &mut Lines,
        acc: &mut [[S::f32s; V]; P],
    ) {
        let Source {
            block,
            block_stride,
            ..
        } = self.src;
        let row = V * S::F32_LANES;
        let mut left = self.channels.len();
        while left > 0 {
            let run = left.min(block - lane).min(ZERO_RUN);
            self.ask_for_outputs::<S, P, V>(simd, progress);
            let x: [*const f32; P] = self.pixels.tile(tap, progress.first, from);
            // Several taps find their inputs in L1, because neighbouring taps share them. A single tap prefetches the
            // inputs of the next block, unless two blocks of output channels take long enough to hide L2's latency.
            let short = const { V * S::F32_LANES <= CHANNEL_BLOCK };
            if short && self.pixels.taps() == 1 && run < left && lane + run == block {
                each!(pixel P, |p| {
                    simd.prefetch(x[p].wrapping_add(block_stride));
                });
            }
            let asks = progress.asks && self.ahead != Ahead::NextInputs;
            macro_rules! step {
                ($k:ident, $first:ident) => {
                    // SAFETY: the panel has a row of V vectors for each tap and channel (`check`). Inputs are zeros, or
                    // are inside `data` as in `even`. `run` is at most the number of zeros.
                    unsafe {
                        let weights = progress.weights.add($first * row);
                        if asks {
                            ask_for_weights(simd, weights.wrapping_add(WEIGHTS_AHEAD), $k * row);
                        }
                        let at = |p: usize| x[p].add($first);
                        *acc = multiply::<S, P, V, $k>(simd, at, weights, *acc);
                    }
                };
            }
            let whole = if const { K > 1 } { run - run % K } else { 0 };
            if const { K == EVEN_STEP } && self.ahead == Ahead::NextPanel(Home::Memory) {
                for k in (0..whole).step_by(K) {
                    // A step of a tile of few pixels reads four cache lines. If two tiles share a panel, each
                    // prefetches two.
                    ahead.ask::<STREAMS>(|line| simd.prefetch_l2(line));
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
            from = from.wrapping_add(run);
            if lane == block {
                lane = 0;
                from = from.wrapping_add(block_stride).wrapping_sub(block);
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
        if L::PARTIAL && self.out.channels() < V * S::F32_LANES {
            // Copied one by one: an accumulator whose address is taken would be in memory for the whole reduction.
            let mut sums = [[simd.splat_f32s(0.0); V]; P];
            each!(pixel P, |p| {
                sums[p] = acc[p];
            });
            let sums = bytemuck::must_cast_slice(sums.as_flattened());
            let pixels = self.pixels.positions::<P>(first);
            let to = To { out, place, pixels };
            // SAFETY: pixels are below `out.pixels()`, and channels are as many as it has. The residual is as long
            // (`check`).
            return unsafe { self.epilogue.store_part(sums, self.out.channels(), &to) };
        }
        // Computed again: if they were kept from the prefetches, they would be spilled to the stack.
        let pixels = self.pixels.positions::<P>(std::hint::black_box(first));
        let sums = if const { I::SUMS } {
            place.sums()
        } else {
            None
        };
        let to = To { out, place, pixels };
        // SAFETY: as above, and the channels fill the tile's vectors. `Outputs` has checked the sums.
        unsafe { self.epilogue.store(simd, acc, sums, to) };
    }
}

/// Consecutive tiles of `P` pixels by `V` vectors. If pixels are not evenly spaced, steps have `K` channels.
struct EqualTiles<'k, 'a, 'o, I, L, const P: usize, const V: usize, const K: usize> {
    kernel: &'k mut PanelTimesPixels<'a, 'o, I, L>,
    /// The first pixel of the first tile.
    first: usize,
    count: usize,
    /// Position of the first input channel: its block and its lane there.
    input: (usize, usize),
    ahead: &'k mut Lines,
}

impl<I: Pixels, L: Place, const P: usize, const V: usize, const K: usize> SimdTask
    for EqualTiles<'_, '_, '_, I, L, P, V, K>
{
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        for t in 0..self.count {
            let first = self.first + t * P;
            self.kernel
                .tile::<S, P, V, K>(simd, first, self.input, self.ahead);
        }
    }
}

/// Multiplies `K` channels of `P` pixels with `K` rows of `V` vectors of weights, and adds the products to `acc`.
///
/// `x` gives the address of a pixel's first channel.
///
/// # Safety
/// `weights` is valid for a read of `K` rows. Each address from `x` is valid for a read of `K` floats.
#[inline(always)]
unsafe fn multiply<S: KernelSimd, const P: usize, const V: usize, const K: usize>(
    simd: S,
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
            let x = unsafe { simd.broadcast::<K>(x(p), c) };
            multiply_pixel(simd, &mut acc[p], x, &w);
        });
    });
    acc
}

/// Loads `V` vectors from memory.
///
/// # Safety
/// `at` is valid for a read of `V` vectors.
#[inline(always)]
pub(super) unsafe fn load<S: KernelSimd, const V: usize>(simd: S, at: *const f32) -> [S::f32s; V] {
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

/// Adds an input times a row of weights to a pixel's sums.
#[inline(always)]
fn multiply_pixel<S: KernelSimd, const V: usize>(
    simd: S,
    sums: &mut [S::f32s; V],
    x: S::f32s,
    weights: &[S::f32s; V],
) {
    each!(vector V, |v| {
        sums[v] = simd.mul_add_e_f32s(x, weights[v], sums[v]);
    });
}
