//! Packed weights of a Winograd convolution: U = G g G', in the order in which they are read.

use crate::blocking::WinogradBlocking;
use crate::dtype::Bf16;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::cook_toom::{MOST_PRODUCTS, Matrices};
use crate::micro::gemm::{Bf16s, Dot, F32, S16s};
use crate::micro::winograd::{FilterTransform, Slots};
use crate::problem::ConvShape;
use std::ops::Range;

/// Form of transformed weights in the words of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// f32s.
    F32,
    /// Pairs of bf16.
    Bf16,
    /// Pairs of 16-bit integers, four times the weights: (2 G) g (2 G)'.
    FourfoldS16,
}

impl Form {
    /// Channels in a word.
    pub(super) const fn group(self) -> usize {
        match self {
            Form::F32 => F32::GROUP,
            Form::Bf16 => Bf16s::GROUP,
            Form::FourfoldS16 => S16s::GROUP,
        }
    }

    /// Words of some channels.
    pub(super) const fn words(self, channels: usize) -> usize {
        channels.div_ceil(self.group())
    }

    /// Bits of a weight in its part of a word.
    fn bits(self, weight: f32) -> u32 {
        match self {
            Form::F32 => weight.to_bits(),
            Form::Bf16 => Bf16::from_f32(weight).to_bits().into(),
            Form::FourfoldS16 => ((4.0 * weight) as i16 as u16).into(),
        }
    }
}

/// Layout of the packed weights: all biases, then run by run, point by point, panel by panel.
///
/// Ranges of runs and panels are blocks of 16 output channels.
pub(super) struct Weights {
    form: Form,
    slots: Slots,
    points: Vec<Point>,
    blocking: WinogradBlocking,
    /// Blocks of 16 words of input channels.
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
    /// Terms of the sum, in words: all channels of each product, without the padded ones of the last product.
    terms: usize,
}

impl Weights {
    /// Layout for a convolution. With stride 1, the points at infinity use only the last row of taps. Only the first
    /// `last_row` channels have that row.
    pub(super) fn new(
        conv: &ConvShape,
        last_row: usize,
        form: Form,
        slots: Slots,
        blocking: WinogradBlocking,
        panel_blocks: usize,
    ) -> Self {
        let in_blocks = form.words(conv.c_in).div_ceil(CHANNEL_BLOCK);
        let mut before = 0;
        let point = |p| {
            let channels = if slots.is_last_row(p) {
                last_row
            } else {
                conv.c_in
            };
            let terms = (slots.at(p) - 1) * in_blocks * CHANNEL_BLOCK + form.words(channels);
            let point = Point { before, terms };
            before += 1 + terms;
            point
        };
        Weights {
            form,
            points: (0..slots.points()).map(point).collect(),
            slots,
            blocking,
            in_blocks,
            out_blocks: conv.c_out.div_ceil(CHANNEL_BLOCK),
            panel_blocks,
        }
    }

    /// Terms of the sum at a point, in words.
    pub(super) fn terms(&self, point: usize) -> usize {
        self.points[point].terms
    }

    /// Terms of the sums at all points, in words.
    pub(super) fn all_terms(&self) -> usize {
        self.points.iter().map(|p| p.terms).sum()
    }

    /// Words of all packed weights, and their biases.
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
        let (width, group) = (panel.len() * CHANNEL_BLOCK, self.form.group());
        let place = channel % group * (u32::BITS as usize / group);
        let along = self.slots.along_an_axis();
        for (i, row) in weights.iter().take(along).enumerate() {
            for (j, &weight) in row.iter().take(along).enumerate() {
                let (point, which) = self.slots.of(i, j);
                let row = 1 + which * self.in_blocks * CHANNEL_BLOCK + channel / group;
                // If a point lacks a channel, all weights of the channel are zeros there.
                let of_point = &mut packed[self.at(run, panel, point)];
                if let Some(to) = of_point.get_mut(row * width + lane) {
                    *to = f32::from_bits(to.to_bits() | self.form.bits(weight) << place);
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
