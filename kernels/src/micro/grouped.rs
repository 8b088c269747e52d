//! Convolution with groups of 1, 2, 4 or 8 channels, in and out: a block of 16 output channels needs the
//! same block of input channels and no other, so lanes stay with lanes.
//!
//! ```text
//! acc[p] = bias
//! for filter row, for tap s, for j < PER:
//!     acc[p] += spread(x[pixel p, tap], j) * w[tap][j]
//! out[p] = relu(acc[p] + residual[p])
//! ```
//!
//! What a lane gets in step `j` is the instruction set's choice ([`KernelSimd::spread`]): another lane of its
//! group each time. `w` is packed to suit ([`channel`]).
//!
//! A depthwise convolution (PER = 1) spreads nothing. With strides of 1 and 2, three taps next to one another
//! share the inputs that they meet, each loaded and spread once. A tile is up to
//! [`TILE_PIXELS`] pixels of one row by one vector of channels. Rows and taps in the padding are skipped, not
//! multiplied: filter rows for the whole tile, taps by a test of each pixel, which only tiles at the ends of
//! a row have ([`Window::whole`]).
#![allow(unsafe_code)]

use super::gemm::{load, store};
use super::pool::Window;
use crate::arch::KernelSimd;
use crate::blocking::CHANNEL_BLOCK;
use crate::isa::SimdTask;

/// The most pixels in a tile: chains of FMAs enough for two units of latency 4, and with as many weights as
/// a step has and an input few enough for 16 registers.
pub const TILE_PIXELS: usize = 8;

/// The most weights of a tap that are held in registers at once.
const STEP: usize = 4;

/// Which channel of its group of `per_group` reaches a lane in step `j`, on vectors of `lanes`.
pub fn channel(lanes: usize, per_group: usize, lane: usize, j: usize) -> usize {
    if lanes <= per_group {
        j
    } else {
        (lane % per_group) ^ j
    }
}

/// The taps of a filter row that share inputs, where pixels and taps are next to one another.
const SLIDING: usize = 3;

/// The body for each of a tile's pixels or channels, written out, as in [`super::gemm`].
macro_rules! each {
    (pixels $count:expr, |$i:ident| $body:block) => {
        each!(@ $count, $i, $body, 0 1 2 3 4 5 6 7)
    };
    (channels $count:expr, |$i:ident| $body:block) => {
        each!(@ $count, $i, $body, 0 1 2 3)
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

/// Pixels of a tile.
const fn tile_pixels<S: KernelSimd, const PER: usize>() -> usize {
    match PER {
        // Where a vector is emulated, as many as prove the code: unrolled they would be most of the program.
        _ if !S::NATIVE => 2,
        // With twelve weights and eight sums, LLVM finds too few of 32 registers.
        STEP.. => TILE_PIXELS - 1,
        _ => TILE_PIXELS,
    }
}

/// Some rows of one block of 16 output channels.
pub struct GroupedRows<'a> {
    /// The block's input map.
    pub map: &'a [f32],
    /// Filter, stride, dilation and padding, down.
    pub vertical: Window,
    /// The same across.
    pub horizontal: Window,
    /// Channels in a group: 1, 2, 4 or 8.
    pub per_group: usize,
    /// The bias, then the weights of each tap and step: rows of 16 floats ([`channel`]).
    pub packed: &'a [f32],
    /// The first output row.
    pub first: usize,
    /// Output rows.
    pub out: &'a mut [f32],
    /// Added before the clamp: as the outputs.
    pub residual: Option<&'a [f32]>,
    /// Clamp below at zero.
    pub relu: bool,
}

impl SimdTask for GroupedRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        match self.per_group {
            1 => self.rows::<S, 1>(simd),
            2 => self.rows::<S, 2>(simd),
            4 => self.rows::<S, 4>(simd),
            8 => self.rows::<S, 8>(simd),
            per => panic!("groups of {per} channels"),
        }
    }
}

impl GroupedRows<'_> {
    /// The promises that the tiles' pointers rest on, checked once a task; and its tiles, row by row.
    #[inline(always)]
    fn rows<S: KernelSimd, const PER: usize>(mut self, simd: S) {
        let (down, across) = (self.vertical, self.horizontal);
        let row = across.out * CHANNEL_BLOCK;
        let rows = self.out.len() / row;
        assert!(self.out.len().is_multiple_of(row) && self.first + rows <= down.out);
        assert!(self.map.len() >= down.size * across.size * CHANNEL_BLOCK);
        assert!(self.packed.len() >= (down.kernel * across.kernel * PER + 1) * CHANNEL_BLOCK);
        assert!(self.residual.is_none_or(|r| r.len() >= self.out.len()));

        // The weights of three taps must find registers beside the sums, an input and what is made of it.
        let weights = const { SLIDING * if PER < STEP { PER } else { STEP } };
        let fits = S::NATIVE && weights + TILE_PIXELS + 4 <= S::REGISTER_COUNT;
        let slides = fits && across.kernel >= SLIDING && across.dilation == 1;
        match across.stride {
            1 if slides => self.tiles::<S, PER, 1>(simd, rows),
            2 if slides => self.tiles::<S, PER, 2>(simd, rows),
            _ => self.tiles::<S, PER, 0>(simd, rows),
        }
    }

    /// Tiles of `rows` rows.
    #[inline(always)]
    fn tiles<S: KernelSimd, const PER: usize, const SLIDE: usize>(&mut self, simd: S, rows: usize) {
        let across = self.horizontal;
        let whole = across.whole();
        let most = const { tile_pixels::<S, PER>() };
        let tiles = across.out.div_ceil(most);
        // Nearly equal tiles, the longer ones first.
        let (len, longer) = (across.out / tiles, across.out % tiles);
        for i in 0..rows {
            let mut x = 0;
            for t in 0..tiles {
                let pixels = len + usize::from(t < longer);
                let inside = whole.start <= x && x + pixels <= whole.end;
                macro_rules! sizes {
                    ($($n:literal)*) => {
                        match pixels {
                            $($n => if const { $n <= tile_pixels::<S, PER>() } {
                                if inside {
                                    self.tile::<S, PER, $n, SLIDE, false>(simd, i, x);
                                } else {
                                    self.tile::<S, PER, $n, SLIDE, true>(simd, i, x);
                                }
                            },)*
                            _ => unreachable!("a tile has at most {most} pixels"),
                        }
                    };
                }
                sizes!(1 2 3 4 5 6 7 8);
                x += pixels;
            }
        }
    }

    /// `P` pixels of the `i`-th row from `x` on; at the `EDGE`, where not all their taps are inside the input.
    /// To `SLIDE` by the stride, 1 or 2, where taps are next to one another, is to take them in threes and
    /// spread an input once for those that it meets: a shuffle for each FMA takes as long as the FMAs. 0: not.
    #[inline(always)]
    fn tile<
        S: KernelSimd,
        const PER: usize,
        const P: usize,
        const SLIDE: usize,
        const EDGE: bool,
    >(
        &mut self,
        simd: S,
        i: usize,
        x: usize,
    ) {
        let (down, across) = (self.vertical, self.horizontal);
        let y = self.first + i;
        let filter_rows = down.inside(y);
        let at = (i * across.out + x) * CHANNEL_BLOCK;
        let step = across.stride * CHANNEL_BLOCK;
        each!(pixels P, |p| {
            simd.prefetch(self.out.as_ptr().wrapping_add(at + p * CHANNEL_BLOCK));
        });
        for lane in (0..CHANNEL_BLOCK).step_by(S::F32_LANES) {
            // Where a group is wider than a vector, all of it.
            let group = lane / PER * PER;
            // SAFETY: the first row of `packed` (`rows`).
            let [bias] = unsafe { load::<S, 1>(self.packed.as_ptr().add(lane)) };
            let mut acc = [bias; P];
            // Outside of the other loops, so that no more weights than a step's want registers.
            each!(channels PER.div_ceil(STEP), |part| {
                let first = part * STEP;
                for r in filter_rows.clone() {
                    let column = (x * across.stride).wrapping_sub(across.before);
                    let pixel = (down.at(y, r) * across.size).wrapping_add(column);
                    let input = self
                        .map
                        .as_ptr()
                        .wrapping_add(pixel.wrapping_mul(CHANNEL_BLOCK))
                        .wrapping_add(group);
                    let row = r * across.kernel * PER + first + 1;
                    let weights = self.packed.as_ptr().wrapping_add(row * CHANNEL_BLOCK + lane);
                    // SAFETY: `packed` has a row for each tap and channel of a group (`rows`), of 16 floats.
                    // An input is read at a row of the map (`Window::inside`) and one of its columns: that
                    // is tested at the edge, and elsewhere the window is whole. `SLIDE` is the stride
                    // or 0, and not 0 only with a dilation of 1 (`rows`): inputs are those of the taps.
                    unsafe {
                        let together = if SLIDE > 0 { across.kernel / SLIDING } else { 0 };
                        for three in 0..together {
                            let s = three * SLIDING;
                            let weights = weights.wrapping_add(s * PER * CHANNEL_BLOCK);
                            let column = column.wrapping_add(s);
                            let input = input.wrapping_add(s * CHANNEL_BLOCK);
                            let mut w = [[bias; STEP]; SLIDING];
                            each!(taps SLIDING, |s| {
                                each!(channels PER, |j| {
                                    [w[s][j]] = load::<S, 1>(weights.add((s * PER + j) * CHANNEL_BLOCK));
                                });
                            });
                            each!(inputs (P - 1) * SLIDE + SLIDING, |i| {
                                if !EDGE || column.wrapping_add(i) < across.size {
                                    let from = input.wrapping_add(i * CHANNEL_BLOCK);
                                    each!(channels PER, |j| {
                                        let x = simd.spread::<PER>(from, first + j);
                                        each!(taps SLIDING, |s| {
                                            // Of which pixel the input is this tap.
                                            let p = i.wrapping_sub(s) / SLIDE.max(1);
                                            if p < P && p * SLIDE + s == i {
                                                acc[p] = simd.mul_add_e_f32s(x, w[s][j], acc[p]);
                                            }
                                        });
                                    });
                                }
                            });
                        }
                        for s in together * SLIDING..across.kernel {
                            let weights = weights.wrapping_add(s * PER * CHANNEL_BLOCK);
                            let column = column.wrapping_add(s * across.dilation);
                            let input = input.wrapping_add(s * across.dilation * CHANNEL_BLOCK);
                            let mut w = [bias; STEP];
                            each!(channels PER, |j| {
                                [w[j]] = load::<S, 1>(weights.add(j * CHANNEL_BLOCK));
                            });
                            each!(pixels P, |p| {
                                if !EDGE || column.wrapping_add(p * across.stride) < across.size {
                                    let from = input.wrapping_add(p * step);
                                    each!(channels PER, |j| {
                                        let x = simd.spread::<PER>(from, first + j);
                                        acc[p] = simd.mul_add_e_f32s(x, w[j], acc[p]);
                                    });
                                }
                            });
                        }
                    }
                }
            });
            self.finish::<S, P>(simd, at + lane, acc);
        }
    }

    /// Residual, ReLU, and the one store of each output.
    #[inline(always)]
    fn finish<S: KernelSimd, const P: usize>(&mut self, simd: S, at: usize, mut acc: [S::f32s; P]) {
        if let Some(residual) = self.residual {
            each!(pixels P, |p| {
                // SAFETY: as long as the outputs (`rows`), of which these are inside.
                let [r] = unsafe { load::<S, 1>(residual.as_ptr().add(at + p * CHANNEL_BLOCK)) };
                acc[p] = simd.add_f32s(acc[p], r);
            });
        }
        let least = simd.splat_f32s(if self.relu { 0.0 } else { f32::NEG_INFINITY });
        each!(pixels P, |p| {
            let y = simd.at_least(least, acc[p]);
            // SAFETY: a vector of a pixel's 16 channels, of a row of the outputs (`rows`).
            unsafe { store::<S>(self.out.as_mut_ptr().add(at + p * CHANNEL_BLOCK), y) };
        });
    }
}
