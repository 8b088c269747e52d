//! Where each output pixel's taps lie in the input.
//!
//! A table with one offset for each (tap, output pixel), filled for a block of pixels at a time in
//! the worker's scratch: it costs one store where a panel does `c_in` times 16 FMAs or more, and is
//! used again by every panel.

use super::gemm::tile_bounds;
use crate::problem::ConvShape;
use std::ops::Range;

/// The offset of a tap that falls into padding.
pub const PADDING: u32 = u32::MAX;

/// Offsets into one image's source: `offsets[tap * pixels + pixel]`.
#[derive(Clone, Copy, Debug)]
pub struct Indirection<'a> {
    offsets: &'a [u32],
    pixels: usize,
    largest: Option<u32>,
}

/// The output rows of a run of pixels (rows joined): each row's index and the part of its columns.
pub fn output_rows(
    conv: &ConvShape,
    pixels: Range<usize>,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let w_out = conv.w_out();
    let rows = pixels.start / w_out..pixels.end.div_ceil(w_out);
    rows.map(move |y| {
        let (start, end) = (pixels.start.max(y * w_out), pixels.end.min((y + 1) * w_out));
        (y, start - y * w_out..end - y * w_out)
    })
}

impl<'a> Indirection<'a> {
    /// A table made by hand: tap by tap, the offset of each of `pixels` pixels or [`PADDING`].
    ///
    /// # Panics
    /// If the table is not a whole number of taps.
    pub fn new(offsets: &'a [u32], pixels: usize) -> Self {
        assert!(pixels > 0 && offsets.len().is_multiple_of(pixels));
        // PADDING + 1 is 0: one maximum without a branch.
        let largest = offsets.iter().map(|o| o.wrapping_add(1)).max().unwrap_or(0);
        Indirection {
            offsets,
            pixels,
            largest: largest.checked_sub(1),
        }
    }

    /// Fills `table` with the offsets of the output pixels `pixels` (of one image, rows joined) and
    /// sees it as an indirection. Input pixels are `pixel_stride` elements apart.
    ///
    /// # Panics
    /// If `table` holds fewer than `kh * kw * pixels.len()` offsets.
    pub fn of_conv(
        table: &'a mut [u32],
        conv: &ConvShape,
        pixels: Range<usize>,
        pixel_stride: usize,
    ) -> Self {
        let ([kh, kw], [sh, sw], [dh, dw]) = (conv.kernel, conv.stride, conv.dilation);
        let n = pixels.len();
        let table = &mut table[..kh * kw * n];
        for (tap, offsets) in table.chunks_exact_mut(n).enumerate() {
            let (r, s) = (tap / kw, tap % kw);
            let mut rest = offsets;
            for (y, xs) in output_rows(conv, pixels.clone()) {
                let (row, tail) = rest.split_at_mut(xs.len());
                let x0 = xs.start;
                rest = tail;
                let iy = (y * sh + r * dh).wrapping_sub(conv.pad.top);
                if iy >= conv.h {
                    row.fill(PADDING);
                    continue;
                }
                // Columns whose input x * sw + s * dw - left is inside [0, w).
                let shift = s * dw;
                let lo = conv
                    .pad
                    .left
                    .saturating_sub(shift)
                    .div_ceil(sw)
                    .clamp(x0, x0 + row.len());
                let hi = (conv.w + conv.pad.left).saturating_sub(shift).div_ceil(sw);
                let hi = hi.clamp(lo, x0 + row.len());
                row[..lo - x0].fill(PADDING);
                row[hi - x0..].fill(PADDING);
                let first = (iy * conv.w + lo * sw + shift).wrapping_sub(conv.pad.left);
                for (i, offset) in row[lo - x0..hi - x0].iter_mut().enumerate() {
                    *offset = ((first + i * sw) * pixel_stride) as u32;
                }
            }
        }
        Indirection::new(table, n)
    }

    /// Pixels of the table.
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// Taps of the table.
    pub fn taps(&self) -> usize {
        self.offsets.len() / self.pixels
    }

    /// The largest offset; none if every tap falls into padding.
    pub fn largest(&self) -> Option<u32> {
        self.largest
    }

    /// How many (pixel, tap) pairs a register tile of at most `most` pixels computes: all but the taps
    /// that fall into padding for a whole tile.
    pub fn computed(&self, most: usize) -> usize {
        let tiles = (0..self.pixels.div_ceil(most)).map(|t| tile_bounds(self.pixels, most, t));
        let live = |tile: Range<usize>| {
            let len = tile.len();
            let taps = self.offsets.chunks_exact(self.pixels);
            taps.filter(move |tap| tap[tile.clone()].iter().any(|&o| o != PADDING))
                .count()
                * len
        };
        tiles.map(live).sum()
    }

    /// The offsets of `P` pixels from `first` on, for one tap.
    ///
    /// # Panics
    /// If they are not all in the table.
    #[inline(always)]
    pub fn offsets<const P: usize>(&self, tap: usize, first: usize) -> &'a [u32; P] {
        self.offsets[tap * self.pixels + first..]
            .first_chunk()
            .expect("a tile of the table")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{ConvSpec, Pad};

    #[test]
    fn offsets_are_those_of_the_definition() {
        for (h, w, kernel, stride, pad, dilation) in [
            (5, 7, [3, 3], [1, 1], Pad::uniform(1), [1, 1]),
            (6, 4, [1, 1], [2, 2], Pad::default(), [1, 1]),
            (
                9,
                8,
                [3, 2],
                [2, 3],
                Pad {
                    top: 2,
                    left: 0,
                    bottom: 1,
                    right: 3,
                },
                [2, 3],
            ),
            (1, 3, [5, 5], [1, 1], Pad::uniform(4), [1, 1]),
        ] {
            let spec = ConvSpec {
                n: 1,
                c_in: 1,
                h,
                w,
                c_out: 1,
                kernel,
                stride,
                pad,
                dilation,
                groups: 1,
            };
            let conv = ConvShape::try_from(spec).expect("a valid shape");
            let all = conv.h_out() * conv.w_out();
            for pixels in [0..all, all / 3..all, 1..all / 2 + 1] {
                let mut table = vec![0; kernel[0] * kernel[1] * pixels.len()];
                let got = Indirection::of_conv(&mut table, &conv, pixels.clone(), 16);
                for tap in 0..got.taps() {
                    for (i, pixel) in pixels.clone().enumerate() {
                        let y = (pixel / conv.w_out() * stride[0] + tap / kernel[1] * dilation[0])
                            as isize
                            - conv.pad.top as isize;
                        let x = (pixel % conv.w_out() * stride[1] + tap % kernel[1] * dilation[1])
                            as isize
                            - conv.pad.left as isize;
                        let inside = (0..h as isize).contains(&y) && (0..w as isize).contains(&x);
                        let want = if inside {
                            (y as u32 * w as u32 + x as u32) * 16
                        } else {
                            PADDING
                        };
                        assert_eq!(
                            *got.offsets::<1>(tap, i),
                            [want],
                            "{spec:?} tap {tap} pixel {pixel}"
                        );
                    }
                }
            }
        }
    }
}
