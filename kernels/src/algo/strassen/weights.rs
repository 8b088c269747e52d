//! Packed weights of Strassen's products.

use crate::layout::CHANNEL_BLOCK;
use crate::plan::Params;
use crate::problem::ConvShape;
use std::ops::Range;

/// A product of a pair of panels, named by the sum or output that it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    P1,
    C11,
    U2,
    U3,
    /// Completes C22. P5 is kept, too.
    C22,
    C12,
    C21,
}

impl Product {
    /// Order of computation.
    pub(super) const ALL: [Product; 7] = [
        Product::P1,
        Product::C11,
        Product::U2,
        Product::U3,
        Product::C22,
        Product::C12,
        Product::C21,
    ];

    /// True if it completes an output.
    pub(super) fn ends(self) -> bool {
        !matches!(self, Product::P1 | Product::U2 | Product::U3)
    }

    /// True if it completes an output of the second half of the pixels, which may have one pixel less.
    pub(super) fn of_second(self) -> bool {
        matches!(self, Product::C12 | Product::C22)
    }
}

/// Layout of the weights of all pairs of panels: pair by pair, product by product.
pub(super) struct PairWeights {
    /// Pairs of panels.
    pub(super) pairs: usize,
    /// Floats per row of a panel, one for each of its output channels.
    pub(super) width: usize,
    /// Input channels per half.
    pub(super) half: usize,
    /// Input channels after the halves: those of an odd block.
    pub(super) odd: usize,
}

impl PairWeights {
    /// Weights of a convolution, in panels of `blocks` blocks of output channels.
    ///
    /// Only full panels are paired: in lanes beyond c_out, rounding errors would remain instead of zeros.
    pub(super) fn of(conv: &ConvShape, blocks: usize) -> Self {
        let width = blocks * CHANNEL_BLOCK;
        let half = conv.c_in.div_ceil(CHANNEL_BLOCK) / 2 * CHANNEL_BLOCK;
        PairWeights {
            pairs: conv.c_out / (2 * width),
            width,
            half,
            odd: conv.c_in.saturating_sub(2 * half),
        }
    }

    /// Output channels of all pairs.
    pub(super) fn outputs(&self) -> usize {
        self.pairs * 2 * self.width
    }

    /// Input channels of a product. Products that complete an output include those of an odd block.
    pub(super) fn terms(&self, product: Product) -> usize {
        self.half + if product.ends() { self.odd } else { 0 }
    }

    /// Position of a product's weights: a row in place of the bias, then one row per channel.
    pub(super) fn at(&self, pair: usize, product: Product) -> Range<usize> {
        let (rows, at) = (1 + self.terms(product), product as usize);
        let first = pair * self.rows(&Product::ALL) + self.rows(&Product::ALL[..at]);
        first * self.width..(first + rows) * self.width
    }

    /// Rows of some products' weights.
    fn rows(&self, products: &[Product]) -> usize {
        products.iter().map(|&p| 1 + self.terms(p)).sum()
    }

    /// Floats of all packed weights.
    pub(super) fn len(&self) -> usize {
        self.pairs * self.rows(&Product::ALL) * self.width
    }

    /// Packs the weights and biases of all pairs.
    pub(super) fn pack(&self, conv: &ConvShape, params: Params<'_>, packed: &mut [f32]) {
        let weights = params.filters(conv);
        let bias = params.bias.map(|b| b.f32s());
        let products = |pair| Product::ALL.map(|product| (pair, product));
        for (pair, product) in (0..self.pairs).flat_map(products) {
            let panel = &mut packed[self.at(pair, product)];
            let (head, rows) = panel.split_at_mut(self.width);
            for lane in 0..self.width {
                let outs = [2 * pair, 2 * pair + 1].map(|panel| panel * self.width + lane);
                let bias = |of: usize| bias.map_or(0.0, |b| b[outs[of]]);
                // The bias enters each output once. U3 is part of both outputs of the second panel.
                head[lane] = match product {
                    Product::C11 | Product::C12 => bias(0),
                    Product::U3 => bias(1),
                    _ => 0.0,
                };
                let filters = outs.map(|out| &weights[out * conv.c_in..][..conv.c_in]);
                for c in 0..self.terms(product) {
                    rows[c * self.width + lane] = self.weight(product, filters, c);
                }
            }
        }
    }

    /// Weight of a product's channel `c`, from the filters of an output channel of each panel. It is a sum of quarters
    /// of A, or a weight of the odd block.
    fn weight(&self, product: Product, filters: [&[f32]; 2], c: usize) -> f32 {
        let a = |of: usize, c: usize| filters[of].get(c).map_or(0.0, |&w| f64::from(w));
        let [a11, a12] = [0, 1].map(|half| a(0, half * self.half + c));
        let [a21, a22] = [0, 1].map(|half| a(1, half * self.half + c));
        let s1 = a21 + a22;
        let s2 = s1 - a11;
        // Channels of the odd block follow both halves. P5 also adds C22's share to C12, so C12 subtracts it.
        let [odd1, odd2] = [0, 1].map(|of| a(of, self.half + c));
        let w = match (product, c < self.half) {
            (Product::P1, _) => a11,
            (Product::C11, true) => a12,
            (Product::C11, false) => odd1,
            (Product::U2, _) => s2,
            (Product::U3, _) => a11 - a21,
            (Product::C22, true) => s1,
            (Product::C12, true) => a12 - s2,
            (Product::C12, false) => odd1 - odd2,
            (Product::C21, true) => -a22,
            (Product::C22 | Product::C21, false) => odd2,
        };
        w as f32
    }
}
