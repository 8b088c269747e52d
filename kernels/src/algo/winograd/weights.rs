//! Packed weights of a Winograd convolution: U = G g G', in the order in which they are read.

use crate::blocking::WinogradBlocking;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::cook_toom::{MOST_PRODUCTS, Matrices};
use crate::micro::winograd::{FilterTransform, Slots};
use crate::problem::ConvShape;
use std::ops::Range;

/// Layout of the packed weights: all biases, then run by run, point by point, panel by panel.
///
/// Ranges of runs and panels are blocks of 16 output channels.
pub(super) struct Weights {
    slots: Slots,
    points: Vec<Point>,
    blocking: WinogradBlocking,
    /// Blocks of 16 input channels.
    in_blocks: usize,
    /// Blocks of 16 output channels.
    out_blocks: usize,
    /// Blocks per panel.
    panel_blocks: usize,
}

/// Share of one point in the weights.
struct Point {
    /// Rows of packed weights of earlier points.
    before: usize,
    /// Terms of the sum: all channels of each product, without the padded channels of the last product.
    terms: usize,
}

impl Weights {
    /// Layout for a convolution. With stride 1, the points at infinity use only the last row of taps. Only the first
    /// `last_row` channels have that row.
    pub(super) fn new(
        conv: &ConvShape,
        last_row: usize,
        slots: Slots,
        blocking: WinogradBlocking,
        panel_blocks: usize,
    ) -> Self {
        let mut before = 0;
        let point = |p| {
            let channels = if slots.is_last_row(p) {
                last_row
            } else {
                conv.c_in
            };
            let terms = (slots.at(p) - 1) * conv.c_in.next_multiple_of(CHANNEL_BLOCK) + channels;
            let point = Point { before, terms };
            before += 1 + terms;
            point
        };
        Weights {
            points: (0..slots.points()).map(point).collect(),
            slots,
            blocking,
            in_blocks: conv.c_in.div_ceil(CHANNEL_BLOCK),
            out_blocks: conv.c_out.div_ceil(CHANNEL_BLOCK),
            panel_blocks,
        }
    }

    /// Terms of the sum at a point.
    pub(super) fn terms(&self, point: usize) -> usize {
        self.points[point].terms
    }

    /// Terms of the sums at all points.
    pub(super) fn all_terms(&self) -> usize {
        self.points.iter().map(|p| p.terms).sum()
    }

    /// Floats of all packed weights.
    pub(super) fn len(&self) -> usize {
        self.out_blocks * CHANNEL_BLOCK * (1 + self.rows())
    }

    /// Rows of weights of all points.
    fn rows(&self) -> usize {
        self.points.last().map_or(0, |p| p.before + 1 + p.terms)
    }

    /// Position of a panel's weights at a point. A panel's first row holds zeros, because the product expects a bias
    /// there. Then follows one row for each term of the sum.
    pub(super) fn at(
        &self,
        run: &Range<usize>,
        panel: &Range<usize>,
        point: usize,
    ) -> Range<usize> {
        let point = &self.points[point];
        let rows = 1 + point.terms;
        let before =
            run.start * self.rows() + run.len() * point.before + (panel.start - run.start) * rows;
        let first = (self.out_blocks + before) * CHANNEL_BLOCK;
        first..first + rows * panel.len() * CHANNEL_BLOCK
    }

    /// The runs of some blocks. At each point, all panels of a run are multiplied before the next point.
    pub(super) fn runs(&self, blocks: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        groups(blocks, self.blocking.run_blocks)
    }

    /// The panels of a run.
    pub(super) fn panels(&self, run: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        groups(run.clone(), self.panel_blocks)
    }

    /// Transforms and packs the filters of `conv`, output by output, and the bias.
    pub(super) fn pack(
        &self,
        conv: &ConvShape,
        matrices: &Matrices,
        filters: &[f32],
        bias: Option<&[f32]>,
        packed: &mut [f32],
    ) {
        packed.fill(0.0);
        if let Some(bias) = bias {
            packed[..conv.c_out].copy_from_slice(bias);
        }
        let transform = FilterTransform::of(matrices);
        let taps = conv.kernel[0] * conv.kernel[1];
        let panels = groups(0..self.out_blocks, self.blocking.out_blocks)
            .flat_map(|task| self.runs(task))
            .flat_map(|run| self.panels(&run).map(move |panel| (run.clone(), panel)));
        for (run, panel) in panels {
            let outputs = panel.start * CHANNEL_BLOCK..panel.end * CHANNEL_BLOCK;
            let of_panel = filters.chunks_exact(conv.c_in * taps);
            let of_panel = of_panel.skip(outputs.start).take(outputs.len());
            for (lane, of_output) in of_panel.enumerate() {
                for (channel, filter) in of_output.chunks_exact(taps).enumerate() {
                    let weights = transform.apply(filter);
                    self.place(&run, &panel, [channel, lane], &weights, packed);
                }
            }
        }
    }

    /// Stores the weights of one filter, one for each product: those of an input channel and of a panel's lane.
    fn place(
        &self,
        run: &Range<usize>,
        panel: &Range<usize>,
        [channel, lane]: [usize; 2],
        weights: &[[f32; MOST_PRODUCTS]; MOST_PRODUCTS],
        packed: &mut [f32],
    ) {
        let width = panel.len() * CHANNEL_BLOCK;
        let along = self.slots.along_an_axis();
        for (i, row) in weights.iter().take(along).enumerate() {
            for (j, &weight) in row.iter().take(along).enumerate() {
                let (point, which) = self.slots.of(i, j);
                let row = 1 + which * self.in_blocks * CHANNEL_BLOCK + channel;
                // If a point lacks a channel, all weights of the channel are zeros there.
                let of_point = &mut packed[self.at(run, panel, point)];
                if let Some(to) = of_point.get_mut(row * width + lane) {
                    *to = weight;
                }
            }
        }
    }
}

/// Splits blocks into groups of `size`.
fn groups(blocks: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = blocks.end;
    let group = move |first: usize| first..(first + size).min(end);
    blocks.step_by(size).map(group)
}
