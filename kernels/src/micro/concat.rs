//! Channel blocks gathered from channels of others.

use super::channels::{copy, pixel_mut};
use crate::arch::KernelSimd;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;

/// Gathers some pixels of one channel block.
pub struct Gather<'a, 'o> {
    /// Buffer with all source channels.
    pub src: &'a [f32],
    /// Position of each channel's first pixel. The next pixels follow at distances of 16. There are at most 16
    /// channels. The block's other channels become zeros.
    pub channels: &'a [usize],
    /// Pixels of 16 channels.
    pub out: &'o mut [f32],
}

impl SimdTask for Gather<'_, '_> {
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.pixels::<S, V>(simd));
    }
}

impl Gather<'_, '_> {
    #[inline(always)]
    fn pixels<S: KernelSimd, const V: usize>(self, simd: S) {
        let Gather { src, channels, out } = self;
        let first = channels[0];
        let whole = channels.len() == CHANNEL_BLOCK
            && channels.iter().zip(first..).all(|(&at, next)| at == next);
        if whole {
            let from = src[first..][..out.len()].as_chunks().0;
            for (to, from) in out.as_chunks_mut().0.iter_mut().zip(from) {
                copy::<S, V>(simd, from, to);
            }
            return;
        }
        for at in 0..out.len() / CHANNEL_BLOCK {
            let mut gathered = [0.0; CHANNEL_BLOCK];
            for (lane, channel) in gathered.iter_mut().zip(channels) {
                *lane = src[channel + at * CHANNEL_BLOCK];
            }
            *pixel_mut(out, at) = gathered;
        }
    }
}
