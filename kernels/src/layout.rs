//! Layouts: the order of a 4-d tensor's elements in memory.

use std::fmt;

/// Channels per block of the blocked layout, on every instruction set.
pub const CHANNEL_BLOCK: usize = 16;

/// Order of the elements of a tensor of dims (n, c, h, w) in memory, outermost dimension first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// Channels outermost, rows of pixels contiguous. Weights are (c_out, c_in / groups, kh, kw).
    Nchw,
    /// Pixels outermost, channels contiguous.
    Nhwc,
    /// Channels in blocks of `b`, a block's channels contiguous: (n, c / b, h, w, b). Channels beyond c in the last
    /// block are zeros, which the writer of the tensor stores.
    NchwC(u8),
}

impl Layout {
    /// The blocked layout of all vector kernels: 16 channels, on every instruction set.
    pub const NCHW16C: Layout = Layout::NchwC(CHANNEL_BLOCK as u8);

    /// Channels stored for `c` channels: whole blocks. `None` if the number overflows, or blocks are empty.
    pub(crate) fn stored_channels(self, c: usize) -> Option<usize> {
        match self {
            Layout::NchwC(block) => c.checked_next_multiple_of(usize::from(block)),
            Layout::Nchw | Layout::Nhwc => Some(c),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layout::Nchw => f.write_str("nchw"),
            Layout::Nhwc => f.write_str("nhwc"),
            Layout::NchwC(block) => write!(f, "nChw{block}c"),
        }
    }
}
