//! Weights in the order that the register tile reads them.
//!
//! A *panel* belongs to one or two blocks of 16 output channels. Its first row is the bias. Then it has a row for each
//! (tap, input channel), taps outermost. Rows have 16 floats per block. Channels beyond c_out are zeros.
//!
//! With groups, a panel sums over the input channels of all groups of its output channels. Weights are zero where input
//! and output channel are in different groups. This is correct for any group size, and costs nothing if groups are
//! multiples of the panel. For small groups it wastes work, which counts as executed flops. Panels of one block waste
//! less than panels of two ([`Panels::tile`]).

use crate::blocking::RegisterTile;
use crate::isa::IsaToken;
use crate::layout::CHANNEL_BLOCK;
use crate::plan::Params;
use crate::problem::ConvShape;
use crate::tensor::{CacheLine, as_f32s_mut};
use std::ops::Range;

/// One panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panel {
    /// First of its blocks of 16 output channels.
    pub block: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// Input channels that it sums over.
    pub channels: Range<usize>,
    /// Range of floats in the packed buffer.
    pub floats: Range<usize>,
}

impl Panel {
    /// Flops per output pixel and tap: 2 per lane of each row.
    fn flops(&self) -> u64 {
        (2 * self.channels.len() * self.blocks * CHANNEL_BLOCK) as u64
    }
}

/// All panels of a convolution, in the order of their output channels.
#[derive(Clone, Debug)]
pub struct Panels {
    panels: Vec<Panel>,
    tile_blocks: usize,
    taps: usize,
}

impl Panels {
    /// Register tile whose panels sum over the fewest zeros: `widest`, or one of a single block for small groups. A
    /// tile of one block loads twice as many inputs per FMA, so it must save at least a tenth of the flops.
    pub fn tile(conv: &ConvShape, widest: RegisterTile) -> RegisterTile {
        let narrow = RegisterTile {
            blocks: 1,
            ..widest
        };
        let flops = |tile| Panels::each(conv, tile).map(|p| p.flops()).sum::<u64>();
        if conv.groups > 1 && 10 * flops(narrow) <= 9 * flops(widest) {
            narrow
        } else {
            widest
        }
    }

    /// Upper bound on the bytes of the list of panels, for tiles of this width or of one block.
    pub fn bytes(conv: &ConvShape, widest: RegisterTile) -> usize {
        let blocks = if conv.groups > 1 { 1 } else { widest.blocks };
        let panels = conv.c_out.div_ceil(CHANNEL_BLOCK).div_ceil(blocks);
        panels * size_of::<Panel>()
    }

    /// Panels of the register tile's width.
    pub fn new(conv: &ConvShape, tile: RegisterTile) -> Self {
        let taps = conv.kernel[0] * conv.kernel[1];
        Panels {
            panels: Panels::each(conv, tile).collect(),
            tile_blocks: tile.blocks,
            taps,
        }
    }

    fn each(conv: &ConvShape, tile: RegisterTile) -> impl ExactSizeIterator<Item = Panel> {
        let conv = *conv;
        let taps = conv.kernel[0] * conv.kernel[1];
        let (per_in, per_out) = (conv.c_in / conv.groups, conv.c_out / conv.groups);
        let out_blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        let mut at = 0;
        (0..out_blocks).step_by(tile.blocks).map(move |block| {
            let blocks = tile.blocks.min(out_blocks - block);
            let last = ((block + blocks) * CHANNEL_BLOCK).min(conv.c_out) - 1;
            let groups = block * CHANNEL_BLOCK / per_out..last / per_out + 1;
            let channels = groups.start * per_in..groups.end * per_in;
            let first = at;
            at += (taps * channels.len() + 1) * blocks * CHANNEL_BLOCK;
            Panel {
                block,
                blocks,
                channels,
                floats: first..at,
            }
        })
    }

    /// Copy in which each `run` consecutive taps count as one tap of `run * c_in` channels. These are the taps of a row
    /// of an im2col matrix, or of a filter row if the input's channels are innermost. Only without groups.
    ///
    /// # Panics
    /// With groups, whose channels are not contiguous.
    pub fn with_joined_taps(mut self, run: usize) -> Self {
        for panel in &mut self.panels {
            assert_eq!(panel.channels.start, 0, "groups");
            panel.channels.end *= run;
        }
        self
    }

    /// Cache lines of all panels.
    pub fn lines(&self) -> usize {
        self.panels
            .last()
            .map_or(0, |p| CacheLine::for_f32s(p.floats.end))
    }

    /// Panels of the output blocks `blocks`, which start and end at a panel.
    #[inline]
    pub fn of_blocks(&self, blocks: Range<usize>) -> &[Panel] {
        &self.panels[blocks.start / self.tile_blocks..blocks.end.div_ceil(self.tile_blocks)]
    }

    /// Range of floats of the panels of [`Panels::of_blocks`], and the distance from one to the next. For a twin that reads
    /// one panel only, it is that panel.
    pub fn span(&self, isa: IsaToken, blocks: Range<usize>) -> (Range<usize>, usize) {
        let panels = self.of_blocks(blocks);
        let floats = |i: usize| isa.panel(&panels[i].floats);
        let (first, last) = (floats(0), floats(panels.len() - 1));
        let step = floats(1.min(panels.len() - 1)).start - first.start;
        (first.start..first.end.max(last.end), step)
    }

    /// All panels.
    pub fn all(&self) -> &[Panel] {
        &self.panels
    }

    /// Flops per output pixel and computed tap: 2 per lane of each row.
    pub fn flops_per_tap(&self) -> u64 {
        self.panels.iter().map(Panel::flops).sum()
    }

    /// Packs OIHW weights and the bias.
    ///
    /// # Panics
    /// If the parameters or the buffer don't fit.
    pub fn pack(&self, conv: &ConvShape, params: Params<'_>, packed: &mut [CacheLine]) {
        let weights = params.filters(conv);
        let bias = params.bias.map(|b| b.f32s());
        let (per_in, per_out) = (conv.c_in / conv.groups, conv.c_out / conv.groups);
        assert_eq!(weights.len(), conv.c_out * per_in * self.taps, "weights");
        let packed = as_f32s_mut(packed);
        for panel in &self.panels {
            let width = panel.blocks * CHANNEL_BLOCK;
            let (head, rows) = packed[panel.floats.clone()].split_at_mut(width);
            rows.fill(0.0);
            head.fill(0.0);
            let first = panel.block * CHANNEL_BLOCK;
            for (lane, out) in (first..(first + width).min(conv.c_out)).enumerate() {
                if let Some(bias) = bias {
                    head[lane] = bias[out];
                }
                // Input channels of this output's group, as rows of the panel.
                let (group, rows_per_tap) =
                    (out / per_out, (panel.floats.len() / width - 1) / self.taps);
                let skip = group * per_in - panel.channels.start;
                let filters = &weights[out * per_in * self.taps..][..per_in * self.taps];
                for (c, filter) in filters.chunks_exact(self.taps).enumerate() {
                    for (tap, &w) in filter.iter().enumerate() {
                        rows[(tap * rows_per_tap + skip + c) * width + lane] = w;
                    }
                }
            }
        }
    }
}
