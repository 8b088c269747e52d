//! Bias and factors of integer sums, one of each for an output channel. Narrow convolutions pack them behind their weights,
//! and requantise with them ([`Requantise`](crate::micro::requantise::Requantise)).

use crate::layout::CHANNEL_BLOCK;
use crate::tensor::{CacheLine, TensorRef};
use std::ops::Range;

/// Places of bias and factors in the packed floats. Each begins with a cache line, and has whole blocks of 16 channels.
pub(super) struct PerChannel {
    /// Cache lines before them.
    before: usize,
    channels: usize,
    /// The layer has a bias.
    biased: bool,
}

impl PerChannel {
    /// Places behind `before` cache lines of weights.
    pub(super) fn behind(before: usize, channels: usize, biased: bool) -> Self {
        PerChannel {
            before,
            channels,
            biased,
        }
    }

    /// Cache lines of weights, bias and factors.
    pub(super) fn lines(&self) -> usize {
        self.before + 2 * self.channels.div_ceil(CHANNEL_BLOCK)
    }

    fn rows(&self) -> [Range<usize>; 2] {
        let first = self.before * CacheLine::F32S;
        let row = self.channels.next_multiple_of(CHANNEL_BLOCK);
        [first..first + row, first + row..first + 2 * row]
    }

    /// Packs the bias. Factors become zeros.
    pub(super) fn prepare(&self, bias: Option<TensorRef<'_>>, packed: &mut [f32]) {
        let [own, factors] = self.rows();
        packed[own.start..factors.end].fill(0.0);
        if let Some(bias) = bias {
            packed[own][..self.channels].copy_from_slice(bias.f32s());
        }
    }

    /// Packs the factors.
    pub(super) fn prepare_factors(&self, from: &[f32], packed: &mut [f32]) {
        let [_, factors] = self.rows();
        packed[factors][..self.channels].copy_from_slice(from);
    }

    /// Bias and factors of some blocks of channels. Without a bias, that is empty.
    pub(super) fn of<'a>(&self, packed: &'a [f32], channels: Range<usize>) -> [&'a [f32]; 2] {
        let [bias, factors] = self.rows().map(|rows| &packed[rows][channels.clone()]);
        [if self.biased { bias } else { &[] }, factors]
    }
}
