//! Operands of a product of one panel with a run of pixels, and the checks that its pointers rely on.

use super::dot::{Dot, F32};
use super::epilogue::TileEpilogue;
use super::prefetch::Prefetch;
use crate::bounds::{product, sum};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::outputs::Outputs;
use crate::micro::pixels::Pixels;
use std::ops::Range;

/// Input of a tile. Channel `c` of the pixel at offset `o` is `data[o + c / block * block_stride + c % block]`. Elements are
/// words ([`Dot`]), so a channel is a group of channels if a word holds several.
///
/// With blocked channels, `block` is 16. If a pixel's channels are contiguous (NHWC, an im2col matrix), one block has
/// all channels.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// One image.
    pub data: &'a [f32],
    /// Number of contiguous channels.
    pub block: usize,
    /// Elements from a channel block to the next.
    pub block_stride: usize,
}

/// Position of a channel in a [`Source`].
#[derive(Clone, Copy)]
pub(super) struct ChannelAt {
    /// Offset of its block, from the pixel's first channel.
    pub(super) block: usize,
    /// Index in its block.
    pub(super) lane: usize,
}

impl Source<'_> {
    /// Position of a channel.
    #[inline(always)]
    pub(super) fn channel(&self, channel: usize) -> ChannelAt {
        ChannelAt {
            block: channel / self.block * self.block_stride,
            lane: channel % self.block,
        }
    }
}

/// Product of one panel of weights with a run of pixels.
///
/// It computes `out[p] = epilogue(sum of x[p, tap, c] * w[tap, c])` for the output channels of `out`, at most a
/// panel's. Integer sums have no epilogue.
pub struct PanelTimesPixels<'a, 'o, I: Pixels, D = F32> {
    /// The input.
    pub src: Source<'a>,
    /// Positions of the pixels' taps.
    pub pixels: I,
    /// The input channels to sum over.
    pub channels: Range<usize>,
    /// Bias, then weights in the layout of [`super::pack`].
    pub panel: &'a [f32],
    /// Operations after the sum.
    pub epilogue: TileEpilogue<'a>,
    /// Software-prefetch policy.
    pub prefetch: Prefetch,
    /// Place for the results.
    pub out: Outputs<'o, I::Place>,
    /// The types of the operands, and their product.
    pub dot: D,
}

impl<I: Pixels, D: Dot> PanelTimesPixels<'_, '_, I, D> {
    /// Checks the conditions for the tile's pointers, once per panel.
    #[inline(always)]
    pub(super) fn check(&self) {
        let Source { data, block, .. } = self.src;
        assert!(block > 0);
        assert_eq!(self.out.pixels(), self.pixels.pixels(), "outputs");
        let k = product([self.pixels.taps(), self.channels.len()]);
        let row = self.out.blocks() * CHANNEL_BLOCK;
        assert!(
            self.panel.len() >= product([sum([k, 1]), row]),
            "panel too short"
        );
        if let (Some(offset), Some(channel)) = (self.pixels.largest(), self.furthest_channel()) {
            let end = sum([offset, channel]);
            assert!(
                end < data.len(),
                "input of {} elements read at {end}",
                data.len()
            );
        }
        let TileEpilogue {
            pixel_bias,
            residual,
            relu,
        } = self.epilogue;
        assert!(
            const { D::FLOATS } || pixel_bias.is_none() && residual.is_none() && !relu,
            "an epilogue of integers"
        );
        assert!(pixel_bias.is_none_or(|b| b.len() >= self.out.pixels()));
        assert!(residual.is_none_or(|r| r.len() >= self.out.extent()));
    }

    /// Elements from a pixel's first channel to the furthest of the summed channels, or none if there are no channels.
    ///
    /// That is the last channel, or the end of the block before it if blocks overlap.
    #[inline(always)]
    fn furthest_channel(&self) -> Option<usize> {
        let Source {
            block,
            block_stride,
            ..
        } = self.src;
        let last = self.channels.end.checked_sub(1)?;
        if self.channels.is_empty() {
            return None;
        }
        let at = |channel: usize| sum([product([channel / block, block_stride]), channel % block]);
        if block_stride >= block {
            return Some(at(last));
        }
        let block_before = (last / block * block).checked_sub(1);
        let block_before = block_before.filter(|channel| self.channels.contains(channel));
        Some(at(last).max(block_before.map_or(0, at)))
    }
}
