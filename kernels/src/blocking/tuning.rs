//! Block sizes set by hand.

use crate::layout::CHANNEL_BLOCK;

/// Block sizes that replace the derived ones, for experiments, and for tests of multi-block paths on tiny shapes. They
/// are rounded as the kernel needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Output pixels (or Winograd tiles) in a block.
    pub mc: Option<usize>,
    /// Output channels in a group.
    pub nc: Option<usize>,
}

impl Tuning {
    /// Blocks of 16 output channels in a group, at most `most`.
    pub(super) fn out_blocks(&self, most: usize) -> Option<usize> {
        let blocks = self.nc.map(|nc| nc.div_ceil(CHANNEL_BLOCK));
        blocks.map(|blocks| blocks.min(most))
    }
}
