//! Space to depth: an image as a map with more channels, over which a convolution has a stride of 1.
//!
//! With stride `s` and a filter of `k` taps, input `o s + j` has tap `j` for output `o`. Let `j = i s + p`. Then each
//! of the `s` phases `p` has a filter of `ceil(k / s)` taps, over samples that are `s` apart. A phase becomes a
//! channel, in both directions.
//!
//! ```text
//! depth[(p c_in + c) sw + q][y][x] = image[c][y sh + p - top][x sw + q - left]      or 0
//! w'[(p c_in + c) sw + q][i][j]    = w[c][i sh + p][j sw + q]                       or 0
//! ```
//!
//! A sample that no output reads is 0. Otherwise a NaN there would reach its whole tile through Winograd's transforms.
//!
//! A 7x7 filter with stride 2 on 3 channels becomes 4x4 on 12 channels. An 11x11 filter with stride 4 becomes 3x3 on 48
//! channels. So algorithms for stride 1 can compute the first layer of a network, with channels that nearly fill their
//! vectors.

use crate::algo::image::MOST_CHANNELS;
use crate::layout::CHANNEL_BLOCK;
use crate::plan::{Params, Unsupported};
use crate::problem::{ConvShape, ConvSpec, Pad};
use std::ops::Range;

/// Conversion of an image to such a map.
#[derive(Clone, Copy)]
pub(super) struct SpaceToDepth {
    image: ConvShape,
    depth: ConvShape,
}

impl SpaceToDepth {
    /// Conversion for the convolution of an image, or the reason why there is none.
    pub(super) fn of(image: &ConvShape) -> Result<Self, Unsupported> {
        let refuse = |reason: &'static str| Err(Unsupported::new(reason));
        if image.c_in > MOST_CHANNELS {
            return refuse("not an image: more than 4 channels");
        }
        if image.groups != 1 {
            return refuse("the channels are grouped");
        }
        if image.dilation != [1, 1] {
            return refuse("the filter is dilated");
        }
        let ([kh, kw], [sh, sw]) = (image.kernel, image.stride);
        if [sh, sw] == [1, 1] {
            return refuse("with a stride of 1 there are no phases");
        }
        if ![1, 2, 4].contains(&sw) {
            return refuse("the horizontal stride is not 1, 2 or 4");
        }
        let kernel = [kh.div_ceil(sh), kw.div_ceil(sw)];
        let depth = ConvSpec {
            c_in: image.c_in * sh * sw,
            h: image.h_out() + kernel[0] - 1,
            w: image.w_out() + kernel[1] - 1,
            kernel,
            stride: [1, 1],
            pad: Pad::default(),
            flip: false,
            ..**image
        };
        match ConvShape::try_from(depth) {
            Ok(depth) => Ok(SpaceToDepth {
                image: *image,
                depth,
            }),
            Err(_) => refuse("too large once its steps are channels"),
        }
    }

    /// Convolution over the map, in NCHW16c.
    pub(super) fn conv(&self) -> ConvShape {
        self.depth
    }

    /// Floats of `rows` rows of the map.
    pub(super) fn len(&self, rows: usize) -> usize {
        self.depth.c_in.div_ceil(CHANNEL_BLOCK) * rows * self.row()
    }

    fn row(&self) -> usize {
        self.depth.w * CHANNEL_BLOCK
    }

    /// Filters over the map: out, in, rows, columns, like those over the image.
    pub(super) fn filters(&self, params: Params<'_>) -> Vec<f32> {
        let weights = params.filters(&self.image);
        let ([kh, kw], [sh, sw]) = (self.image.kernel, self.image.stride);
        let [rows, cols] = self.depth.kernel;
        let mut filters = Vec::with_capacity(self.depth.c_out * self.depth.reduction_len());
        for of_output in weights.chunks_exact(self.image.reduction_len()) {
            for (p, filter) in (0..sh).flat_map(|p| of_output.chunks(kh * kw).map(move |w| (p, w)))
            {
                for (q, i) in (0..sw).flat_map(|q| (0..rows).map(move |i| (q, i))) {
                    filters.extend((0..cols).map(|j| {
                        let (y, x) = (i * sh + p, j * sw + q);
                        let inside = y < kh && x < kw;
                        if inside { filter[y * kw + x] } else { 0.0 }
                    }));
                }
            }
        }
        filters
    }

    /// Number of the map's channels with a tap in the last row of the filter. They are the first channels.
    pub(super) fn with_last_row(&self) -> usize {
        let before_last = (self.depth.kernel[0] - 1) * self.image.stride[0];
        let phases = self.image.kernel[0] - before_last;
        phases * self.image.c_in * self.image.stride[1]
    }

    /// Number of a phase's samples along an axis that outputs read. Its filter has no tap after them.
    fn read(&self, axis: usize, phase: usize) -> usize {
        let out = [self.image.h_out(), self.image.w_out()][axis];
        let taps = self.image.kernel[axis].saturating_sub(phase);
        match taps.div_ceil(self.image.stride[axis]) {
            0 => 0,
            taps => out + taps - 1,
        }
    }

    /// Computes some rows of the map, one block of channels after another.
    pub(super) fn copy(&self, image: &[f32], rows: Range<usize>, map: &mut [f32]) {
        match self.image.stride[1] {
            1 => self.copy_runs::<1, 16>(image, rows, map),
            2 => self.copy_runs::<2, 8>(image, rows, map),
            _ => self.copy_runs::<4, 4>(image, rows, map),
        }
    }

    /// [`SpaceToDepth::copy`] for a horizontal stride of `S`. Runs of `S` samples are contiguous in image and map. A
    /// block has `R` runs.
    fn copy_runs<const S: usize, const R: usize>(
        &self,
        image: &[f32],
        rows: Range<usize>,
        map: &mut [f32],
    ) {
        const { assert!(S * R == CHANNEL_BLOCK) };
        let conv = &self.image;
        // Row by row, so that a row stays in L1 while its runs are written.
        let read: [usize; S] = std::array::from_fn(|q| self.read(1, q));
        for (at, row_of_map) in rows.clone().enumerate() {
            for (block, map) in map.chunks_exact_mut(rows.len() * self.row()).enumerate() {
                let row = &mut map[at * self.row()..][..self.row()];
                // Lanes after the last channel are transformed, too.
                row.fill(0.0);
                let (pixels, _) = row.as_chunks_mut::<S>().0.as_chunks_mut::<R>();
                for run in 0..R {
                    let channel = block * R + run;
                    let (p, c) = (channel / conv.c_in, channel % conv.c_in);
                    let y = (row_of_map * conv.stride[0] + p).wrapping_sub(conv.pad.top);
                    let is_read = p < conv.stride[0] && row_of_map < self.read(0, p);
                    if is_read && y < conv.h {
                        let from = &image[(c * conv.h + y) * conv.w..][..conv.w];
                        copy_row(from, conv.pad.left, pixels, run);
                        for (q, &read) in read.iter().enumerate() {
                            let unread = &mut pixels[read..];
                            unread.iter_mut().for_each(|pixel| pixel[run][q] = 0.0);
                        }
                    }
                }
            }
        }
    }
}

/// Copies a row after `left` zeros. Each `S` samples become a run of a pixel.
fn copy_row<const S: usize, const R: usize>(
    row: &[f32],
    left: usize,
    pixels: &mut [[[f32; S]; R]],
    run: usize,
) {
    // A run that is partly outside of the row is copied sample by sample.
    let edge = |x: usize, pixel: &mut [[f32; S]; R]| {
        for (q, sample) in pixel[run].iter_mut().enumerate() {
            let at = (x * S + q).wrapping_sub(left);
            *sample = row.get(at).copied().unwrap_or(0.0);
        }
    };
    let before = left.div_ceil(S).min(pixels.len());
    let (first, rest) = pixels.split_at_mut(before);
    let inside = row
        .get((before * S).saturating_sub(left)..)
        .unwrap_or_default();
    let (samples, _) = inside.as_chunks::<S>();
    let (middle, last) = rest.split_at_mut(samples.len().min(rest.len()));
    for (pixel, samples) in middle.iter_mut().zip(samples) {
        pixel[run] = *samples;
    }
    let behind = before + middle.len();
    for (x, pixel) in first.iter_mut().enumerate() {
        edge(x, pixel);
    }
    for (x, pixel) in (behind..).zip(last) {
        edge(x, pixel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Op, Problem};
    use crate::tensor::{Layout, TensorDesc, TensorRef};

    /// Compares each sample and tap with the definition, with odd strides, paddings and widths, and with parts of the
    /// map.
    #[test]
    fn samples_and_taps_are_where_the_definition_has_them() {
        for text in [
            "mb1ic3ih13iw11oc2oh7ow6kh7kw7sh2sw2ph3pw3",
            "mb1ic4ih23iw30oc1oh4ow6kh11kw11sh4sw4ph1pw2",
            "mb1ic1ih9iw9oc2oh3ow5kh5kw3sh3sw2ph1pw1",
            "mb1ic2ih6iw5oc1oh3ow5kh5kw3sh2sw1ph2pw1",
            "mb1ic1ih2iw1oc1oh3ow3kh8kw8sh2sw2ph5pw5",
        ] {
            let problem: Problem = text.parse().expect("a problem");
            let Op::Conv(conv) = problem.op else {
                unreachable!("a convolution");
            };
            let to = SpaceToDepth::of(&conv).expect("an image");
            let depth = to.conv();
            assert_eq!([depth.h_out(), depth.w_out()], [conv.h_out(), conv.w_out()]);
            let numbered = |n: usize| (1..=n).map(|x| x as f32).collect::<Vec<_>>();
            let image = numbered(conv.c_in * conv.h * conv.w);
            let weights = numbered(conv.c_out * conv.reduction_len());
            let [kh, kw] = conv.kernel;
            let dims = [conv.c_out, conv.c_in, kh, kw];
            let tensor = TensorRef::from_f32s(TensorDesc::f32(Layout::Nchw, dims), &weights);
            let filters = to.filters(Params {
                weights: Some(tensor),
                bias: None,
            });
            let [sh, sw] = conv.stride;
            let phase = |at: usize| (at / sw / conv.c_in, at / sw % conv.c_in, at % sw);
            for rows in [0..depth.h, 1..depth.h, 0..1] {
                let mut map = vec![f32::NAN; to.len(rows.len())];
                to.copy(&image, rows.clone(), &mut map);
                for channel in 0..depth.c_in.next_multiple_of(CHANNEL_BLOCK) {
                    let (p, c, q) = phase(channel);
                    for (row, x) in rows.clone().flat_map(|y| (0..depth.w).map(move |x| (y, x))) {
                        let sample = |y: usize, x: usize| image[(c * conv.h + y) * conv.w + x];
                        let y = (row * sh + p).wrapping_sub(conv.pad.top);
                        let from = (x * sw + q).wrapping_sub(conv.pad.left);
                        let inside = p < sh && y < conv.h && from < conv.w;
                        // True if an output's filter has a tap there.
                        let taps = |out: usize, at: usize, stride: usize, kernel: usize| {
                            (0..out).any(|o| (o * stride..o * stride + kernel).contains(&at))
                        };
                        let read = taps(conv.h_out(), row * sh + p, sh, kh)
                            && taps(conv.w_out(), x * sw + q, sw, kw);
                        let expected = if inside && read { sample(y, from) } else { 0.0 };
                        let line = channel / CHANNEL_BLOCK * rows.len() + row - rows.start;
                        let at = (line * depth.w + x) * CHANNEL_BLOCK + channel % CHANNEL_BLOCK;
                        assert_eq!(map[at], expected, "{text}: {channel} at {row}, {x}");
                    }
                }
            }
            for (at, &tap) in filters.iter().enumerate() {
                let [rows, cols] = depth.kernel;
                let (j, i) = (at % cols, at / cols % rows);
                let (channel, out) = (at / cols / rows % depth.c_in, at / depth.reduction_len());
                let (p, c, q) = phase(channel);
                let (y, x) = (i * sh + p, j * sw + q);
                assert!(
                    i + 1 < rows || (y < kh) == (channel < to.with_last_row()),
                    "{text}"
                );
                let expected = if y < kh && x < kw {
                    weights[((out * conv.c_in + c) * kh + y) * kw + x]
                } else {
                    0.0
                };
                assert_eq!(tap, expected, "{text}: tap {i}, {j} of {channel}");
            }
        }
    }
}
