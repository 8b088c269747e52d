//! Convolution with groups of 1, 2, 4 or 8 input and output channels.
//!
//! A block of 16 output channels needs only the same block of input channels. So no data move between blocks.
//!
//! ```text
//! acc[p] = bias
//! for pass k < channels of a group:
//!     for filter row, for tap:
//!         acc[p] += x[pixel p, tap] * w[k][tap]      a load and an FMA, as if it were depthwise
//!     swap lanes of acc[p]
//! out[p] = relu(acc[p] + residual[p])
//! ```
//!
//! In pass `k`, lane `l` holds the sum of output channel `l ^ gray(k)`, and adds the part of input channel `l`. One bit
//! changes from a Gray code to the next. So after each pass, one swap of lanes at a distance of 1, 2 or 4 is enough.
//! Inputs are never shuffled: on a CPU with one unit for shuffles and FMAs, as many shuffles as FMAs would halve the
//! speed. If a group is wider than a vector, a pass broadcasts its channel instead ([`channels`]).
//!
//! A lane of the inputs is a word ([`Dot`]): an f32, or the elements of two or four neighbouring columns, whose taps count as
//! one. `columns.rs` makes them of narrow elements.
//!
//! A tile is up to [`TILE_PIXELS`] pixels of one row by one vector of channels. With strides of 1 and 2, three
//! neighbouring taps share their inputs, and each input is loaded once. Rows and taps in the padding are skipped, not
//! multiplied. Filter rows are skipped for the whole tile. Taps are skipped by a test of each input that may lie in the
//! padding ([`Padding`]).
#![allow(unsafe_code)]

use super::gemm::{Dot, load};
use crate::arch::KernelSimd;
use crate::bounds::{product, sum};
use crate::isa::{Sets, SimdTask};
use crate::layout::CHANNEL_BLOCK;
use crate::window::Window;
use std::ops::Range;

/// The most pixels in a tile. Their chains of FMAs fill two units of latency 4. They leave room in 16 registers for the
/// weights of three taps and an input.
pub const TILE_PIXELS: usize = 8;

/// The taps of a filter row that share inputs.
const SLIDING: usize = 3;

/// Output and input channel, numbered in their group, that lane `lane` multiplies in pass `k` on vectors of `lanes`
/// lanes.
pub fn channels(lanes: usize, per_group: usize, lane: usize, k: usize) -> (usize, usize) {
    let own = lane % per_group;
    if lanes < per_group {
        (own, k)
    } else {
        (own ^ k ^ (k >> 1), own)
    }
}

/// Unrolls a body over a tile's pixels, inputs or taps, as [`super::gemm`] does.
macro_rules! each {
    (pixels $count:expr, |$i:ident| $body:block) => {
        each!(@ $count, $i, $body, 0 1 2 3 4 5 6 7)
    };
    (taps $count:expr, |$i:ident| $body:block) => {
        each!(@ $count, $i, $body, 0 1 2)
    };
    (inputs $count:expr, |$i:ident| $body:block) => {
        each!(@ $count, $i, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    };
    (@ $count:expr, $i:ident, $body:block, $($n:literal)*) => {
        $(if const { $n < $count } {
            let $i: usize = $n;
            $body
        })*
    };
}

/// Pixels of a tile. Emulated vectors have just enough to test the code.
const fn tile_pixels<S: KernelSimd>() -> usize {
    if S::NATIVE { TILE_PIXELS } else { 2 }
}

/// Some rows of one block of 16 output channels.
///
/// Words of several columns have their padding in the map. Residual and ReLU are for floats only.
pub struct GroupedRows<'a, D> {
    /// The block's input map: 16 words for each pixel.
    pub map: &'a [f32],
    /// Filter, stride, dilation and padding, down.
    pub vertical: Window,
    /// Filter, stride, dilation and padding, across, in words.
    pub horizontal: Window,
    /// Channels in a group: 1, 2, 4 or 8.
    pub per_group: usize,
    /// The bias, then the weights of each pass and tap, in rows of 16 words ([`channels`]).
    pub packed: &'a [f32],
    /// The first output row.
    pub first: usize,
    /// Output rows.
    pub out: &'a mut [f32],
    /// Added before the clamp, in the layout of the outputs.
    pub residual: Option<&'a [f32]>,
    /// Clamp below at zero.
    pub relu: bool,
    /// Arithmetic on the words of the lanes.
    pub dot: D,
}

impl<D: Dot> SimdTask for GroupedRows<'_, D> {
    type Output = ();
    const SETS: Sets = D::SETS;

    /// Checks the conditions for the tiles' pointers once per task, and runs the tiles.
    #[inline(always)]
    fn run<S: KernelSimd>(mut self, simd: S) {
        let (down, across, per) = (self.vertical, self.horizontal, self.per_group);
        down.check();
        across.check();
        let row = product([across.out, CHANNEL_BLOCK]);
        let rows = self.out.len() / row;
        assert!([1, 2, 4, 8].contains(&per), "groups of {per} channels");
        assert!(self.out.len().is_multiple_of(row) && sum([self.first, rows]) <= down.out);
        assert!(self.map.len() >= product([down.size, across.size, CHANNEL_BLOCK]));
        let weights = product([down.kernel, across.kernel, per, CHANNEL_BLOCK]);
        assert!(self.packed.len() >= sum([weights, CHANNEL_BLOCK]));
        assert!(self.residual.is_none_or(|r| r.len() >= self.out.len()));
        assert!(D::FLOATS || self.residual.is_none() && !self.relu);
        assert!(D::GROUP == 1 || across.whole() == (0..across.out));

        if const { S::F32_LANES < 8 } && S::F32_LANES < per {
            return self.tiles::<S, 0, true>(simd, rows);
        }
        // A word of several columns already shares its elements.
        if const { D::GROUP == 1 } && across.kernel >= SLIDING && across.dilation == 1 {
            match across.stride {
                1 => return self.tiles::<S, 1, false>(simd, rows),
                2 => return self.tiles::<S, 2, false>(simd, rows),
                _ => {}
            }
        }
        self.tiles::<S, 0, false>(simd, rows);
    }
}

/// Inputs of a tile that may lie in the padding, and are tested.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    /// None.
    Nowhere,
    /// The first and the last of three taps' inputs.
    AtTheEnds,
    /// All.
    Anywhere,
}

const NOWHERE: u8 = Padding::Nowhere as u8;
const AT_THE_ENDS: u8 = Padding::AtTheEnds as u8;
const ANYWHERE: u8 = Padding::Anywhere as u8;

/// Tiles of `P` pixels, one after the other in a row. `SLIDE` is the stride if neighbouring taps are taken in threes,
/// else 0.
///
/// Each size has a function, because compile time grows with the square of a function's size. The function itself
/// chooses the code of a tile by its padding. Otherwise a row would take three calls.
struct EqualTiles<'k, 'a, D, const P: usize, const SLIDE: usize, const BROADCAST: bool> {
    kernel: &'k mut GroupedRows<'a, D>,
    row: usize,
    /// The first pixel of the first tile, and the first pixel after the last tile.
    columns: Range<usize>,
}

impl<D: Dot, const P: usize, const SLIDE: usize, const BROADCAST: bool> SimdTask
    for EqualTiles<'_, '_, D, P, SLIDE, BROADCAST>
{
    type Output = ();
    const SETS: Sets = D::SETS;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        let EqualTiles {
            kernel,
            row,
            columns,
        } = self;
        for x in columns.step_by(P) {
            if const { D::GROUP > 1 } {
                kernel.tile::<S, P, SLIDE, NOWHERE, BROADCAST>(simd, row, x);
                continue;
            }
            match kernel.padding::<P, SLIDE>(x) {
                Padding::Nowhere => kernel.tile::<S, P, SLIDE, NOWHERE, BROADCAST>(simd, row, x),
                Padding::AtTheEnds => {
                    kernel.tile::<S, P, SLIDE, AT_THE_ENDS, BROADCAST>(simd, row, x);
                }
                Padding::Anywhere => kernel.tile::<S, P, SLIDE, ANYWHERE, BROADCAST>(simd, row, x),
            }
        }
    }
}

impl<D: Dot> GroupedRows<'_, D> {
    /// Computes the tiles of `rows` rows, row by row.
    #[inline(always)]
    fn tiles<S: KernelSimd, const SLIDE: usize, const BROADCAST: bool>(
        &mut self,
        simd: S,
        rows: usize,
    ) {
        let out = self.horizontal.out;
        let most = const { tile_pixels::<S>() };
        let tiles = out.div_ceil(most);
        // Nearly equal tiles, the longer ones first.
        let (len, longer) = (out / tiles, out % tiles);
        let middle = longer * (len + 1);
        for row in 0..rows {
            for (pixels, columns) in [(len + 1, 0..middle), (len, middle..out)] {
                if columns.is_empty() {
                    continue;
                }
                macro_rules! sizes {
                    ($($n:literal)*) => {
                        match pixels {
                            $($n => if const { $n <= tile_pixels::<S>() } {
                                let kernel = &mut *self;
                                simd.call(EqualTiles::<_, $n, SLIDE, BROADCAST> { kernel, row, columns });
                            },)*
                            _ => unreachable!("a tile has at most {most} pixels"),
                        }
                    };
                }
                sizes!(1 2 3 4 5 6 7 8);
            }
        }
    }

    /// Padding of a tile of `P` pixels from column `x` on.
    #[inline(always)]
    fn padding<const P: usize, const SLIDE: usize>(&self, x: usize) -> Padding {
        let across = self.horizontal;
        let first = (x * across.stride).wrapping_sub(across.before);
        let last =
            first.wrapping_add((P - 1) * across.stride + (across.kernel - 1) * across.dilation);
        let inside = |first: usize, last: usize| first < across.size && last < across.size;
        if inside(first, last) {
            Padding::Nowhere
        } else if SLIDE > 0
            && across.kernel == SLIDING
            && inside(first.wrapping_add(1), last.wrapping_sub(1))
        {
            Padding::AtTheEnds
        } else {
            Padding::Anywhere
        }
    }

    /// Computes `P` pixels of row `i`, from column `x` on. `PADDING` is a [`Padding`].
    #[inline(always)]
    fn tile<
        S: KernelSimd,
        const P: usize,
        const SLIDE: usize,
        const PADDING: u8,
        const BROADCAST: bool,
    >(
        &mut self,
        simd: S,
        i: usize,
        x: usize,
    ) {
        let (down, across, per) = (self.vertical, self.horizontal, self.per_group);
        let y = self.first + i;
        let filter_rows = down.inside(y);
        let at = (i * across.out + x) * CHANNEL_BLOCK;
        let step = across.stride * CHANNEL_BLOCK;
        // Words of several columns, and sums of them, are in L1 already.
        if const { D::GROUP == 1 } {
            each!(pixels P, |p| {
                simd.prefetch(self.out.as_ptr().wrapping_add(at + p * CHANNEL_BLOCK));
            });
            if per > 1 {
                self.prefetch_inputs::<S, P>(simd, y, x);
            }
        }
        for lane in (0..CHANNEL_BLOCK).step_by(S::F32_LANES) {
            // SAFETY: the first row of `packed` (`run`).
            let [bias] = unsafe { load::<S, 1>(simd, self.packed.as_ptr().add(lane)) };
            let mut acc = [bias; P];
            for pass in 0..per {
                for r in filter_rows.clone() {
                    let column = (x * across.stride).wrapping_sub(across.before);
                    let pixel = (down.at(y, r) * across.size).wrapping_add(column);
                    let lane_or_channel = if BROADCAST {
                        lane / per * per + pass
                    } else {
                        lane
                    };
                    let input = self
                        .map
                        .as_ptr()
                        .wrapping_add(pixel.wrapping_mul(CHANNEL_BLOCK))
                        .wrapping_add(lane_or_channel);
                    let row = 1 + (pass * down.kernel + r) * across.kernel;
                    let weights = self
                        .packed
                        .as_ptr()
                        .wrapping_add(row * CHANNEL_BLOCK + lane);
                    let together = if SLIDE > 0 {
                        across.kernel / SLIDING
                    } else {
                        0
                    };
                    // SAFETY: `packed` has a row of 16 words for each pass and tap (`run`). An input is read at a row
                    // of the map (`Window::inside`). Its column is tested if it may be in the padding, which
                    // `padding` found out. Words of several columns have no padding (`run`). `SLIDE` is the stride or
                    // 0. It is not 0 only with a dilation of 1 (`run`), so that inputs are those of the taps. Lanes of
                    // a vector and channels of a group are among a pixel's 16.
                    unsafe {
                        for three in 0..together {
                            let s = three * SLIDING;
                            let (column, input) = (
                                column.wrapping_add(s),
                                input.wrapping_add(s * CHANNEL_BLOCK),
                            );
                            let mut w = [bias; SLIDING];
                            each!(taps SLIDING, |t| {
                                [w[t]] = load::<S, 1>(simd, weights.add((s + t) * CHANNEL_BLOCK));
                            });
                            each!(inputs(P - 1) * SLIDE + SLIDING, |i| {
                                let end = i == 0 || i == (P - 1) * SLIDE + SLIDING - 1;
                                let tested = PADDING == ANYWHERE || PADDING == AT_THE_ENDS && end;
                                if !tested || column.wrapping_add(i) < across.size {
                                    let from = input.wrapping_add(i * CHANNEL_BLOCK);
                                    let x = input_at::<S, BROADCAST>(simd, from);
                                    each!(taps SLIDING, |t| {
                                        // The pixel whose tap `t` reads this input.
                                        let p = i.wrapping_sub(t) / SLIDE.max(1);
                                        if p < P && p * SLIDE + t == i {
                                            acc[p] = self.dot.dot(simd, acc[p], x, w[t]);
                                        }
                                    });
                                }
                            });
                        }
                        for s in together * SLIDING..across.kernel {
                            let [w] = load::<S, 1>(simd, weights.add(s * CHANNEL_BLOCK));
                            let s = s * across.dilation;
                            let (column, input) = (
                                column.wrapping_add(s),
                                input.wrapping_add(s * CHANNEL_BLOCK),
                            );
                            each!(pixels P, |p| {
                                if PADDING == NOWHERE
                                    || column.wrapping_add(p * across.stride) < across.size
                                {
                                    let x = input_at::<S, BROADCAST>(simd, input.wrapping_add(p * step));
                                    acc[p] = self.dot.dot(simd, acc[p], x, w);
                                }
                            });
                        }
                    }
                }
                if !BROADCAST && per > 1 {
                    acc = swap::<S, P>(simd, acc, pass + 1, per);
                }
            }
            self.finish::<S, P>(simd, at + lane, acc);
        }
    }

    /// Prefetches the inputs that the tile below adds to those of this tile, so that its passes don't wait for L3.
    ///
    /// With groups of one channel it would cost time, because depthwise convolution waits for bandwidth. After the last
    /// row, it prefetches from the next block's map. (Measured: docs/measurements.md, 'prefetch of grouped inputs'.)
    #[inline(always)]
    fn prefetch_inputs<S: KernelSimd, const P: usize>(&self, simd: S, y: usize, x: usize) {
        let (down, across) = (self.vertical, self.horizontal);
        let below = (y * down.stride + (down.kernel - 1) * down.dilation + 1)
            .wrapping_sub(down.before)
            .wrapping_mul(across.size);
        for row in 0..down.stride.min(2) {
            for column in 0..across.stride.min(2) {
                let pixel = below.wrapping_add(row * across.size + x * across.stride + column);
                let from = self
                    .map
                    .as_ptr()
                    .wrapping_add(pixel.wrapping_mul(CHANNEL_BLOCK));
                each!(pixels P, |p| {
                    simd.prefetch(from.wrapping_add(p * across.stride * CHANNEL_BLOCK));
                });
            }
        }
    }

    /// Adds the residual, applies ReLU, and stores each output once.
    #[inline(always)]
    fn finish<S: KernelSimd, const P: usize>(&mut self, simd: S, at: usize, mut acc: [S::f32s; P]) {
        if let Some(residual) = self.residual {
            each!(pixels P, |p| {
                // SAFETY: the residual is as long as the outputs (`run`), and these outputs are inside.
                let [r] = unsafe { load::<S, 1>(simd, residual.as_ptr().add(at + p * CHANNEL_BLOCK)) };
                acc[p] = simd.add_f32s(acc[p], r);
            });
        }
        let least = simd.splat_f32s(if self.relu { 0.0 } else { f32::NEG_INFINITY });
        each!(pixels P, |p| {
            let y = match const { D::FLOATS } {
                true => simd.at_least(least, acc[p]),
                false => acc[p],
            };
            // SAFETY: a vector of a pixel's 16 channels, in a row of the outputs (`run`).
            unsafe { simd.store_f32s(self.out.as_mut_ptr().add(at + p * CHANNEL_BLOCK), y) };
        });
    }
}

/// A vector of the input, or one of its elements in every lane.
///
/// # Safety
/// `from` is valid for a read of a vector, or of one float with `BROADCAST`.
#[inline(always)]
unsafe fn input_at<S: KernelSimd, const BROADCAST: bool>(simd: S, from: *const f32) -> S::f32s {
    if BROADCAST {
        // SAFETY: the caller's promise.
        return simd.splat_f32s(unsafe { *from });
    }
    // SAFETY: the caller's promise.
    let [x] = unsafe { load::<S, 1>(simd, from) };
    x
}

/// Swaps the sums into the lanes of pass `next`. After the last pass, each sum returns to its own lane.
#[inline(always)]
fn swap<S: KernelSimd, const P: usize>(
    simd: S,
    mut acc: [S::f32s; P],
    next: usize,
    per: usize,
) -> [S::f32s; P] {
    // The bit in which the next Gray code differs. From the last code to the first it is the highest bit.
    match (1 << next.trailing_zeros()).min(per / 2) {
        1 => {
            each!(pixels P, |p| {
                acc[p] = simd.swap_lanes::<1>(acc[p]);
            });
        }
        2 => {
            each!(pixels P, |p| {
                acc[p] = simd.swap_lanes::<2>(acc[p]);
            });
        }
        _ => {
            each!(pixels P, |p| {
                acc[p] = simd.swap_lanes::<4>(acc[p]);
            });
        }
    }
    acc
}
