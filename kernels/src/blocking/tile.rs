//! Register tile of an instruction set.

use crate::isa::Isa;

/// The largest register tile: output pixels by channel blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterTile {
    /// Pixels.
    pub pixels: usize,
    /// Blocks of 16 output channels.
    pub blocks: usize,
}

impl RegisterTile {
    /// Tile for an instruction set. It has as many accumulators as registers allow, with one or two registers left for
    /// the weights and the broadcast input.
    ///
    /// | | registers | accumulators | channels a step |
    /// |---|---|---|---|
    /// | AVX-512 | 32 of 16 lanes | 14 x 2 | 1 |
    /// | AVX2 | 16 of 8 lanes | 6 x 2 (one channel block) | 4 |
    /// | NEON | 32 of 4 lanes | 5 x 4 (one channel block) | 4 |
    /// | scalar | SSE2's 16 of 4 lanes, if LLVM finds them | 2 x 16 floats | 1 |
    /// | emulated | 16 | 6 x 2, 6 x 2, 3 x 4 | 1, 4, 4 |
    ///
    /// On AVX2, tiles of 3 x 4 spill. So do tiles of 6 x 2 in steps of 8 and 16 channels, if each pixel has its own
    /// address. Steps of 1, 2 and 4 channels are equally fast on wide cores. With 4, a larger share of the instructions
    /// are FMAs, which suits narrow cores. AVX-512 gains nothing from longer steps. (Measured: docs/measurements.md,
    /// 'register tile'.)
    pub const fn of(isa: Isa) -> Self {
        RegisterTile::of_vectors(isa.lanes(), isa.registers())
    }

    /// Tile for vectors of `lanes` floats in `registers` registers. Kernels know their instruction set in these terms.
    pub const fn of_vectors(lanes: usize, registers: usize) -> Self {
        let (pixels, blocks) = match (lanes, registers) {
            (16, 32) => (14, 2),
            (16, _) => (6, 2),
            (8, _) => (6, 1),
            (4, 32) => (5, 1),
            (4, _) => (3, 1),
            _ => (2, 1),
        };
        RegisterTile { pixels, blocks }
    }
}
