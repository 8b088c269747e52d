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
//!
//! In reading order: `operands.rs` (operands and their checks), `dot.rs` (types and their products), this file (the loop over tiles), `tile.rs` (one tile),
//! `addressing.rs` (its inputs), `prefetch.rs` (its prefetches), `epilogue.rs` (its outputs).

/// Unrolls a body over a tile's pixels, a pixel's vectors, or a step's channels. LLVM leaves some loops over a constant
/// range rolled, and then keeps the accumulators in memory. It would unroll the loops over vectors. But there are
/// thousands of them, and unrolling them in LLVM takes longer than the rest of a build. Scalar code has 16 "vectors",
/// which stay a loop that LLVM vectorises.
///
/// Vectors of type `S` that are emulated have loops, whose end LLVM doesn't know. Otherwise they would be a third of a test
/// build.
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
        if const { !S::EMULATED } {
            $(if const { $n < $count } {
                let $i: usize = $n;
                $body
            })*
        } else {
            #[allow(clippy::needless_range_loop, clippy::manual_memcpy)]
            for $i in 0..std::hint::black_box($count) $body
        }
    };
}

mod addressing;
mod dot;
mod epilogue;
mod operands;
mod prefetch;
mod tile;

pub use dot::{Bf16s, Bytes, Dot, F32, S16Dots, S16s, U8S7s};
pub use epilogue::TileEpilogue;
pub use operands::{PanelTimesPixels, Source};
pub use prefetch::Prefetch;
pub use tile::load;

use super::pixels::Pixels;
use super::tiles::{FEW_PIXELS, Tiles, even_tiles};
use crate::arch::KernelSimd;
use crate::isa::{Sets, SimdTask};
use operands::ChannelAt;
use prefetch::Lines;

impl<I: Pixels, D: Dot> SimdTask for PanelTimesPixels<'_, '_, I, D> {
    type Output = ();
    const TWINS: bool = D::TWINS;
    const SETS: Sets = D::SETS;

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

impl<I: Pixels, D: Dot> PanelTimesPixels<'_, '_, I, D> {
    /// Runs the register tiles one after the other, with at most `P` pixels each. If there are many sizes, each has a
    /// function.
    #[inline(always)]
    fn tiles<S: KernelSimd, const P: usize, const V: usize, const K: usize>(mut self, simd: S) {
        let channel = self.src.channel(self.channels.start);
        let pixels = self.pixels;
        let mut lines = self.next_panel::<P>(V * S::F32_LANES);
        let even = even_tiles(pixels.pixels(), P);
        let tiles = pixels.tiles().unwrap_or(&even).iter();
        // One loop for both, so that the tiles' code is not duplicated.
        for &Tiles { first, size, count } in tiles.filter(|tiles| tiles.count > 0) {
            macro_rules! sizes {
                ($($n:literal)*) => {
                    match size {
                        $($n => if const { $n <= P } {
                            let tiles = EqualTiles::<_, _, $n, V, K> {
                                kernel: &mut self,
                                first,
                                count,
                                channel,
                                lines: &mut lines,
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
}

/// Consecutive tiles of `P` pixels by `V` vectors. If pixels are not evenly spaced, steps have `K` channels.
struct EqualTiles<'k, 'a, 'o, I: Pixels, D, const P: usize, const V: usize, const K: usize> {
    kernel: &'k mut PanelTimesPixels<'a, 'o, I, D>,
    /// The first pixel of the first tile.
    first: usize,
    count: usize,
    /// The first input channel.
    channel: ChannelAt,
    /// Cache lines to prefetch besides the tiles' own weights.
    lines: &'k mut Lines,
}

impl<I: Pixels, D: Dot, const P: usize, const V: usize, const K: usize> SimdTask
    for EqualTiles<'_, '_, '_, I, D, P, V, K>
{
    type Output = ();
    const TWINS: bool = D::TWINS;
    const SETS: Sets = D::SETS;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        for t in 0..self.count {
            let first = self.first + t * P;
            self.kernel
                .tile::<S, P, V, K>(simd, first, self.channel, self.lines);
        }
    }
}
