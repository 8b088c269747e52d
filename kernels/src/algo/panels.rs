//! Loop over panels of weights: each is multiplied with the same pixels.

use crate::blocking::{Blocking, MemoryLevel, RegisterTile};
use crate::exec::RowsMut;
use crate::isa::IsaToken;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{F32, PanelTimesPixels, Prefetch, Source, TileEpilogue};
use crate::micro::outputs::OutputLayout;
use crate::micro::pack::Panel;
use crate::micro::pixels::Pixels;

/// Panels of weights and their epilogue.
pub(super) struct PanelLoop<'a> {
    pub(super) isa: IsaToken,
    pub(super) panels: &'a [Panel],
    pub(super) packed: &'a [f32],
    /// The residual begins with the element that the first panel's first output needs.
    pub(super) epilogue: TileEpilogue<'a>,
    pub(super) prefetch: PanelPrefetch,
}

impl PanelLoop<'_> {
    /// Multiplies pixels with every panel. `out` has the layout `L`, and begins with the first panel's channels.
    pub(super) fn multiply<L: OutputLayout<I::Place>, I: Pixels>(
        &self,
        src: Source<'_>,
        pixels: I,
        mut out: RowsMut<'_, f32>,
    ) {
        let first = self.panels[0].block;
        for (index, panel) in self.panels.iter().enumerate() {
            let block = panel.block - first;
            let (out, before) = L::outputs(&mut out, block..block + panel.blocks);
            self.isa.dispatch(PanelTimesPixels {
                src,
                pixels,
                channels: panel.channels.clone(),
                panel: &self.packed[self.isa.panel(&panel.floats)],
                epilogue: self.epilogue.from(before),
                prefetch: self.prefetch.of_panel(index, &src),
                out,
                dot: F32,
            });
        }
    }
}

/// Prefetch policies of the tiles of a task's first panel, and of its other panels.
#[derive(Clone, Copy)]
pub(super) struct PanelPrefetch {
    first: Prefetch,
    pub(super) others: Prefetch,
}

impl From<Prefetch> for PanelPrefetch {
    /// One policy for all panels.
    fn from(prefetch: Prefetch) -> Self {
        PanelPrefetch {
            first: prefetch,
            others: prefetch,
        }
    }
}

impl PanelPrefetch {
    /// Policies of a task of `pixels` pixels.
    pub(super) fn of_task(blocking: &Blocking, pixels: usize, tile: RegisterTile) -> Self {
        if !blocking.beyond_l2 {
            return Prefetch::Nothing.into();
        }
        // If there are few tiles, the first one would wait for L2, too.
        let level = match blocking.weights {
            MemoryLevel::L2 => MemoryLevel::L3,
            level => level,
        };
        match Prefetch::of_weights(level, pixels, tile.pixels) {
            Prefetch::Weights => PanelPrefetch {
                first: Prefetch::NextInputs,
                others: match blocking.weights {
                    MemoryLevel::L2 => Prefetch::Nothing,
                    _ => Prefetch::Weights,
                },
            },
            same => same.into(),
        }
    }

    /// Policy of the panel with index `index`.
    ///
    /// If inputs are blocked, tiles of the first panel may fetch the inputs for all panels. They fetch one line a step,
    /// which is one pixel of one block of channels.
    fn of_panel(self, index: usize, src: &Source<'_>) -> Prefetch {
        match self.first {
            _ if index > 0 => self.others,
            Prefetch::NextInputs if src.block != CHANNEL_BLOCK => self.others,
            first => first,
        }
    }
}
