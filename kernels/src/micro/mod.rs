//! Register-tile kernels and their packing, written once for every vector width. In reading order:
//!
//! * [`gemm`]: the register tile of every GEMM-shaped convolution;
//! * [`tiles`]: division of a run of pixels into register tiles;
//! * [`grouped`]: groups of up to 8 channels, and [`columns`]: copies of narrow elements for them;
//! * [`pixels`]: positions of a tile's inputs;
//! * [`indirection`]: positions of each output pixel's taps in the input, in the tiles that `tiling.rs` chooses;
//! * [`outputs`]: positions of a tile's outputs, in any layout;
//! * [`pack`]: weights in the order that the tile reads them;
//! * [`cook_toom`]: Winograd's transforms, generated from their points, which are [`surd`]s;
//! * [`winograd`]: the loops that apply these transforms to tiles; [`winograd_nhwc`] for narrow elements;
//! * [`strassen`]: sums of inputs for Strassen's products;
//! * [`matvec`]: panels of weights times one vector;
//! * [`pointwise`]: scale and shift per channel, and the sum with a second tensor; [`pointwise_bytes`]: copies, ReLUs,
//!   sums and conversions of narrow elements;
//! * [`statistics`]: mean and variance of each channel;
//! * [`concat`](mod@concat): channel blocks gathered from channels of others;
//! * [`lrn`]: local response normalisation;
//! * [`softmax`] over a pixel's channels, with [`mod@exp`];
//! * [`attention`] and [`bilinear`] pooling, except their matrix products;
//! * [`fold`]: reduction of a pooling's window;
//! * [`windows`] of a pooling; [`mod@pool`] reduces them on pixels of channels, [`pool_nchw`] on plain maps,
//!   [`pool_bytes`] on pixels of u8, s8 or bf16; [`draw`] is stochastic pooling, [`map_means`] pools whole maps;
//! * `bytes.rs`: elements of 8 and 16 bits in whole vectors;
//! * [`mod@transpose`]: transposes and copies of matrices;
//! * [`probe`]: loops that measure the machine's ceilings.

/// Calls `$call` with `$v`, the number of vectors in 16 channels: a block of NCHW16c.
macro_rules! in_blocks {
    ($s:ident, $v:ident => $call:expr) => {
        match $s::F32_LANES {
            16 => in_blocks!(@ 1, $v, $call),
            8 => in_blocks!(@ 2, $v, $call),
            4 => in_blocks!(@ 4, $v, $call),
            1 => in_blocks!(@ 16, $v, $call),
            lanes => panic!("{lanes} lanes"),
        }
    };
    (@ $count:literal, $v:ident, $call:expr) => {{
        const $v: usize = $count;
        $call
    }};
}

pub mod attention;
pub mod bilinear;
mod bytes;
mod channels;
pub mod columns;
pub mod concat;
pub mod cook_toom;
pub mod draw;
pub mod exp;
pub mod fold;
pub mod gemm;
pub mod grouped;
pub mod indirection;
pub mod lrn;
pub mod map_means;
pub mod matvec;
pub mod outputs;
pub mod pack;
pub mod pixels;
pub mod pointwise;
pub mod pointwise_bytes;
pub mod pool;
pub mod pool_bytes;
pub mod pool_nchw;
pub mod probe;
pub mod requantise;
pub mod softmax;
pub mod statistics;
pub mod strassen;
pub mod surd;
#[cfg(all(kernel_tests, not(test)))]
pub mod tests;
pub mod tiles;
mod tiling;
pub mod transpose;
pub mod widen;
pub mod windows;
pub mod winograd;
pub mod winograd_nhwc;
