//! Register-tile kernels and what feeds them, written once for every width. In reading order:
//!
//! * [`gemm`]: the one register tile that every GEMM-shaped convolution runs in;
//! * [`tiles`]: how a run of pixels is cut into register tiles;
//! * [`grouped`]: groups of up to 8 channels, lanes with lanes;
//! * [`pixels`]: where a tile's inputs are;
//! * [`indirection`]: where each output pixel's taps lie in the input;
//! * [`outputs`]: where it writes, whatever the layout;
//! * [`pack`]: weights in the order that the tile reads them;
//! * [`cook_toom`]: Winograd's transforms, generated from their points, which are [`surd`]s;
//! * [`winograd`]: the loops that apply them to tiles;
//! * [`strassen`]: the sums of inputs that fewer products need;
//! * [`matvec`]: panels of weights against one vector;
//! * [`pointwise`]: elements with their channel's scale and shift, and a second tensor's;
//! * [`statistics`]: mean and variance of each channel;
//! * [`concat`](mod@concat): channel blocks put together from others;
//! * [`lrn`]: local response normalisation;
//! * [`softmax`] over a pixel's channels, by [`mod@exp`];
//! * [`attention`] and [`bilinear`] pooling, around their matrix products;
//! * [`fold`]: what a pooling makes of a window;
//! * [`windows`] of a pooling; [`mod@pool`] folds them over pixels of channels, [`pool_nchw`] over plain maps; [`draw`]:
//!   stochastic ones; [`map_means`]: of whole maps;
//! * [`mod@transpose`], and copies, of matrices;
//! * [`probe`]: what the machine can do at most.

/// A call with the number of vectors, `$v`, that 16 channels take: a block of NCHW16c.
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
mod channels;
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
pub mod pool;
pub mod pool_nchw;
pub mod probe;
pub mod softmax;
pub mod statistics;
pub mod strassen;
pub mod surd;
pub mod tiles;
pub mod transpose;
pub mod windows;
pub mod winograd;
