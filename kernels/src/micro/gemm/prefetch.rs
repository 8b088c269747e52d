//! Software prefetch of a tile: weights, the next panel, the next tile's inputs, and the cache lines of its own
//! outputs.

use crate::arch::{KernelSimd, hidden};
use crate::blocking::MemoryLevel;
use crate::tensor::CacheLine;

/// Pixels whose outputs are prefetched with each run of channels. All outputs of a tile at once would exceed the
/// outstanding misses of L1 (24 on Zen 4), and delay the inputs.
pub(super) const PREFETCHED_PIXELS: usize = 4;

/// Software-prefetch policy of a tile, in addition to its own outputs.
///
/// Prefetches are evenly spread over the reduction, because a burst of them would fill the queues to memory. They are
/// needed because a loop with arithmetic gets less bandwidth of L3 and memory from the hardware's prefetchers than a
/// loop that only reads.
///
/// With AVX-512, taps of few or unevenly spaced pixels prefetch only their own weights. There the next panel costs more
/// than it gains. Tiles of few pixels (AVX2, NEON) prefetch the next panel only from memory, in `STREAMS` streams.
/// From L3 they would lose. (Measured: docs/measurements.md, 'prefetch of weights'.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefetch {
    /// All data are in L1 or L2.
    Nothing,
    /// The panel's own weights, `PREFETCH_DISTANCE` elements in advance, if they come from L3 or memory. Only the first
    /// tile prefetches them, because the later tiles find them in L2.
    Weights,
    /// Also the panel that follows in memory, a part of it during each tile, into L2. It serves panels with few tiles:
    /// without it the first tile waits for all weights. The parameter is the place that weights come from.
    NextPanel(MemoryLevel),
    /// The next tile's inputs, if they come from L3 or memory.
    NextInputs,
}

/// Parts of the next panel that tiles of few pixels read at the same time. Memory gives two streams more bandwidth than
/// one.
pub(super) const STREAMS: usize = 2;

/// Elements between the weights that are prefetched and those that are read: 2 KB. From L3 any distance works.
pub(super) const PREFETCH_DISTANCE: usize = 512;

/// Most tiles that share a panel and still prefetch the next panel.
///
/// The fewer tiles there are, the larger the first tile's wait for weights from memory. With more tiles, weights from
/// L3 lose speed. (Measured: docs/measurements.md, 'prefetch of weights'.)
pub(super) const FEW_TILES: usize = 12;

impl Prefetch {
    /// Policy for `pixels` pixels that share weights from `level`, in tiles of at most `tile` pixels.
    pub fn of_weights(level: MemoryLevel, pixels: usize, tile: usize) -> Self {
        match (level, pixels.div_ceil(tile)) {
            (MemoryLevel::L2, _) => Prefetch::Nothing,
            (_, 2..=FEW_TILES) => Prefetch::NextPanel(level),
            _ => Prefetch::Weights,
        }
    }
}

/// Progress of a tile.
pub(super) struct Progress {
    /// Its first pixel.
    pub(super) first: usize,
    /// The next row of weights.
    pub(super) weights: *const f32,
    /// Pixels whose outputs were prefetched.
    pub(super) prefetched: usize,
    /// Tells if the tile prefetches more than its outputs.
    pub(super) prefetches: bool,
}

/// Cache lines to prefetch.
pub(super) struct Lines {
    pub(super) at: *const f32,
    /// Bytes between lines that are prefetched together. 0 if they are the same line.
    pub(super) apart: usize,
    /// Bytes by which all of them advance for each prefetched line.
    pub(super) advance: usize,
}

impl Lines {
    /// Prefetches the next `N` lines.
    #[inline(always)]
    pub(super) fn prefetch<const N: usize>(&mut self, prefetch: impl Fn(*const f32)) {
        for line in 0..N {
            prefetch(self.at.wrapping_byte_add(line * self.apart));
        }
        self.at = hidden(self.at.wrapping_byte_add(N * self.advance));
    }
}

/// Prefetches as many weights as a step reads.
///
/// Each step prefetches a line or two among its FMAs. A burst of prefetches before a run of channels would fill the
/// queues to memory. (Measured: docs/measurements.md, 'prefetch of weights'.)
#[inline(always)]
pub(super) fn prefetch_weights<S: KernelSimd>(simd: S, weights: *const f32, len: usize) {
    for line in (0..len).step_by(CacheLine::F32S) {
        simd.prefetch(weights.wrapping_add(line));
    }
}
