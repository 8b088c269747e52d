//! Channel blocks gathered from channels of others.

use super::channels::copy;
use crate::arch::KernelSimd;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;
use bytemuck::Pod;

/// Gathers some pixels of one channel block, of elements of any size.
pub struct Gather<'a, 'o, T> {
    /// Buffer with all source channels.
    pub src: &'a [T],
    /// Position of each channel's first pixel. The next pixels follow at distances of 16. There are at most 16
    /// channels. The block's other channels become zeros.
    pub channels: &'a [usize],
    /// Pixels of 16 channels.
    pub out: &'o mut [T],
}

impl<T: Pod> SimdTask for Gather<'_, '_, T> {
    type Output = ();
    const TWINS: bool = false;

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        in_blocks!(S, V => self.pixels::<S, V>(simd));
    }
}

impl<T: Pod> Gather<'_, '_, T> {
    #[inline(always)]
    fn pixels<S: KernelSimd, const V: usize>(self, simd: S) {
        let Gather { src, channels, out } = self;
        let first = channels[0];
        let whole = channels.len() == CHANNEL_BLOCK
            && channels.iter().zip(first..).all(|(&at, next)| at == next);
        if whole {
            return copy_row::<S, T, V>(simd, &src[first..][..out.len()], out);
        }
        let (pixels, _) = out.as_chunks_mut::<CHANNEL_BLOCK>();
        for (at, pixel) in pixels.iter_mut().enumerate() {
            let mut gathered = [T::zeroed(); CHANNEL_BLOCK];
            for (lane, channel) in gathered.iter_mut().zip(channels) {
                *lane = src[channel + at * CHANNEL_BLOCK];
            }
            *pixel = gathered;
        }
    }
}

/// Copies whole pixels. f32s are copied by vectors, because a row may be too short for a call.
#[inline(always)]
fn copy_row<S: KernelSimd, T: Pod, const V: usize>(simd: S, from: &[T], to: &mut [T]) {
    if const { size_of::<T>() != size_of::<f32>() } {
        return to.copy_from_slice(from);
    }
    let from: &[f32] = bytemuck::cast_slice(from);
    let to: &mut [f32] = bytemuck::cast_slice_mut(to);
    let (from, to) = (from.as_chunks().0, to.as_chunks_mut().0);
    for (to, from) in to.iter_mut().zip(from) {
        copy::<S, V>(simd, from, to);
    }
}
