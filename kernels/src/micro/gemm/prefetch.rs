//! Software prefetch of a tile: weights, the next panel, the next tile's inputs, and the lines of its own outputs.

use crate::arch::{KernelSimd, hidden};
use crate::blocking::Home;
use crate::tensor::CacheLine;

/// Pixels whose outputs are asked for with each set of pointers: all of a tile's at once would be more lines
/// than L1 can wait for (24 on Zen 4), and hold up the inputs.
pub(super) const PREFETCHED: usize = 4;

/// What tiles ask for in advance beside their own outputs. The lines are evenly spread over the reduction, as a burst
/// of them would fill the queues to memory.
///
/// A loop that computes sees less of L3 and memory than one that only reads, unless it asks: 14 x 2 FMAs for each two
/// lines of weights read 27 GB/s from L3 and 8.6 from memory by the hardware's prefetchers alone, 30 and 18 when they
/// ask for weights 2 KB before they read them, 30 and 12 at 8 KB (a virtual Xeon, Golden Cove, one thread; 34 is the
/// FMAs' pace). There `NextPanel` made 1024-2048 @14 s2 1.21 times as fast, 512 @7 3x3 1.09, F(2,3) of 512 @7 1.4;
/// `NextInputs` 256-64 and 256-128 @56 1.07. With AVX-512 taps of few or unevenly spaced pixels ask for their weights
/// only: 512 @7 3x3 loses 4 % if they ask for the next panel too, 10 % from memory. Tiles of few pixels (AVX2, NEON) ask
/// for the next panel where weights come from memory, in two streams: on Zen 3 F(2,3) of 512 @7 is 1.10 times as fast
/// (one stream: 1.04, four: 1.10), F(4,3) of 256 to 512 @14 1.06 to 1.10, direct 512 @7 1.03, 1x1 1.00 to 1.05; from L3
/// they would lose up to 4 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// All is near.
    Nothing,
    /// The panel's own weights, `WEIGHTS_AHEAD`, where they come from L3 or memory. The first tile does: for those
    /// after it they are in L2, and 256 channels at 14x14 would lose 3.5 %.
    Weights,
    /// Also the panel that follows in memory, a part of it during each tile, into L2: where panels serve so few
    /// tiles that the first would wait for what the others have no use for. With where it comes from.
    NextPanel(Home),
    /// The next tile's inputs, where they come from L3 or memory.
    NextInputs,
}

/// Parts of the next panel that tiles of few pixels read at the same time: memory has more for two streams than for one.
pub(super) const STREAMS: usize = 2;

/// How many elements before they are read weights are asked for: 2 KB. From L3 any distance will do.
pub(super) const WEIGHTS_AHEAD: usize = 512;

/// Up to here tiles ask for the next panel. Weights from memory, of which the first of n tiles waits for all, gain most:
/// 256-384 @12 3x3 (11 tiles) 1.07 to 1.15, and loses nothing from L3; 256 @14 (14 tiles) gains 6 and loses 3 %.
pub(super) const FEW_TILES: usize = 12;

impl Ahead {
    /// What `pixels` ask for that share weights from `home`, in tiles of at most `tile`.
    pub fn of_weights(home: Home, pixels: usize, tile: usize) -> Self {
        match (home, pixels.div_ceil(tile)) {
            (Home::Near, _) => Ahead::Nothing,
            (_, 2..=FEW_TILES) => Ahead::NextPanel(home),
            _ => Ahead::Weights,
        }
    }
}

/// How far a tile has come.
pub(super) struct Progress {
    /// Its first pixel.
    pub(super) first: usize,
    /// The next row of weights.
    pub(super) weights: *const f32,
    /// Pixels whose outputs were asked for.
    pub(super) asked: usize,
    /// Whether it asks for more.
    pub(super) asks: bool,
}

/// Lines to ask for in advance.
pub(super) struct Lines {
    pub(super) at: *const f32,
    /// Bytes from one to the next of those that are asked for at once; 0 if it is always the same.
    pub(super) apart: usize,
    /// Bytes that all go on by, for each that was asked for.
    pub(super) advance: usize,
}

impl Lines {
    /// Asks for the next `N`.
    #[inline(always)]
    pub(super) fn ask<const N: usize>(&mut self, prefetch: impl Fn(*const f32)) {
        for line in 0..N {
            prefetch(self.at.wrapping_byte_add(line * self.apart));
        }
        self.at = hidden(self.at.wrapping_byte_add(N * self.advance));
    }
}

/// Asks for weights in advance, as many as a step reads: a line or two among its FMAs, where a burst of them before a
/// run of channels would find the queues to memory full (measured: 512 channels at 14x14 took 1.3 times as long).
#[inline(always)]
pub(super) fn ask_for_weights<S: KernelSimd>(simd: S, ahead: *const f32, len: usize) {
    for line in (0..len).step_by(CacheLine::F32S) {
        simd.prefetch(ahead.wrapping_add(line));
    }
}
