//! Direct convolution of an image, plain NCHW with up to four channels: the first layer of a network.
//!
//! On NCHW16c, 3 channels would occupy blocks of 16. That is five times the bytes, and only 3 steps of reduction per
//! tap. Here a task copies the input rows that it needs to its scratch, channels innermost and padding as zeros. The
//! taps of a filter row are then one run of `kw * c_in` floats. The taps of a filter are such a run in each of `kh`
//! rows:
//!
//! ```text
//! strip[iy][(x sw + s) c_in + c] = in[n, c, iy - top, x sw + s - left]      or 0
//! out[k][y][x] = sum over r, j of strip[y sh + r dh][x sw c_in + j] * w[k][r][j]
//! ```
//!
//! A filter row has only 9 to 33 products per pixel. That is too short to look up each pixel's position and to skip
//! rows in the padding. Zeros are stored for these rows, and are a small part of the work. (Measured:
//! docs/measurements.md, 'rows in the padding'.)

use super::blocked::BlockedConv;
use crate::exec::Executor;
use crate::micro::gemm::Source;
use crate::micro::indirection::IndirectionBuffer;
use crate::micro::outputs::Blocked;
use crate::micro::pixels::PixelOffsets;
use crate::plan::{Params, Plan, PlanSpec, RunArgs, Target, Unsupported};
use crate::problem::{ConvShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use std::ops::Range;

/// Maximum channels of an image: red, green, blue and one more.
pub(super) const MOST_CHANNELS: usize = 4;

/// Plan of the direct convolution of an image.
pub(super) struct ImagePlan {
    spec: PlanSpec,
    blocked: BlockedConv,
    buffer: IndirectionBuffer,
    strip: Strip,
}

/// Input rows of a block of output pixels, numbered from the first row of the padding.
#[derive(Clone, Copy)]
pub(super) struct Strip {
    conv: ConvShape,
    /// Floats per row.
    pub(super) row: usize,
}

/// Refuses convolutions that the kernel doesn't support, with the reason.
pub(super) fn suits(conv: &ConvShape) -> Result<(), Unsupported> {
    let reason = match conv {
        _ if conv.c_in > MOST_CHANNELS => "not the convolution of an image: more than 4 channels",
        _ if conv.groups != 1 => "not the convolution of an image: the channels are grouped",
        _ if conv.kernel[1] == 1 => "the filters are 1 wide: a row of taps is too short",
        _ if conv.dilation[1] != 1 => {
            "the filters are dilated horizontally: a row of taps is no run in memory"
        }
        _ => return Ok(()),
    };
    Err(Unsupported::new(reason))
}

impl ImagePlan {
    pub(super) fn new(
        problem: &Problem,
        conv: &ConvShape,
        cx: &Target<'_>,
    ) -> Result<Self, Unsupported> {
        let [sh, sw] = conv.stride;
        let strip = Strip::of(conv);
        let bytes_per_pixel = conv.c_in * sh * sw * size_of::<f32>();
        let mut blocked = BlockedConv::new(problem, conv, Layout::NCHW16C, bytes_per_pixel, cx)?;
        blocked.panels = blocked
            .panels
            .with_joined_taps(conv.kernel[0] * conv.kernel[1]);

        let (mc, all) = (blocked.blocking.mc, blocked.pixels());
        // Rows of a block's pixels, and the rows below them that their filters read.
        let rows_of_block = strip.input_rows(0..(mc.div_ceil(conv.w_out()) + 1).min(conv.h_out()));
        strip.offsets_fit(rows_of_block.len())?;
        blocked.add_buffer(1, cx)?;
        let (blocks, most) = (|| blocked.pixel_blocks(), blocked.tile.pixels);
        let buffer = IndirectionBuffer::new(1, all, blocks(), most, |_| {
            move |pixel| {
                let start = pixel / mc * mc;
                strip.offset(pixel, strip.rows(&(start..(start + mc).min(all))))
            }
        })?;
        let rows = blocks().map(|block| strip.rows(&block).len()).max();
        let lines = CacheLine::for_f32s(rows.unwrap_or(0) * strip.row);
        let mut spec = blocked.spec(buffer.computed(), lines);
        spec.layouts.src = Layout::Nchw;
        spec.granularity.c_in = MOST_CHANNELS;
        Ok(ImagePlan {
            spec,
            blocked,
            buffer,
            strip,
        })
    }
}

impl Plan for ImagePlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        self.blocked.prepare(params, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        let strip = &self.strip;
        self.blocked.each_block(&self.spec, args, |task, scratch| {
            // A filter row takes the place of a block of channels.
            let rows = strip.rows(&task.pixels);
            let copied = &mut as_f32s_mut(scratch)[..rows.len() * strip.row];
            if task.copies {
                strip.copy(task.image, rows, copied);
            }
            let src = Source {
                data: copied,
                block: strip.conv.kernel[1] * strip.conv.c_in,
                block_stride: strip.conv.dilation[0] * strip.row,
            };
            let pixels = PixelOffsets::Indirect(self.buffer.block(task.index));
            task.multiply::<Blocked, _>(src, pixels);
        });
    }
}

impl Strip {
    pub(super) fn of(conv: &ConvShape) -> Self {
        Strip {
            conv: *conv,
            row: ((conv.w_out() - 1) * conv.stride[1] + conv.kernel[1]) * conv.c_in,
        }
    }

    /// Input rows that some output rows read.
    pub(super) fn input_rows(&self, out: Range<usize>) -> Range<usize> {
        let ([kh, _], [sh, _], [dh, _]) = (self.conv.kernel, self.conv.stride, self.conv.dilation);
        out.start * sh..(out.end - 1) * sh + (kh - 1) * dh + 1
    }

    /// Input rows that the output pixels `pixels` (of joined rows) read.
    fn rows(&self, pixels: &Range<usize>) -> Range<usize> {
        let w_out = self.conv.w_out();
        self.input_rows(pixels.start / w_out..(pixels.end - 1) / w_out + 1)
    }

    /// Checks that offsets into so many rows fit in 32 bits.
    pub(super) fn offsets_fit(&self, rows: usize) -> Result<(), Unsupported> {
        if rows.saturating_mul(self.row) >= u32::MAX as usize {
            return Err(Unsupported::new(
                "the image's rows for a task, with their padding, are 2^32 elements or more",
            ));
        }
        Ok(())
    }

    /// Offset of a pixel's first tap in a strip of the rows `rows`.
    pub(super) fn offset(&self, pixel: usize, rows: Range<usize>) -> u32 {
        let conv = &self.conv;
        let (y, x) = (pixel / conv.w_out(), pixel % conv.w_out());
        let row = y * conv.stride[0] - rows.start;
        (row * self.row + x * conv.stride[1] * conv.c_in) as u32
    }

    /// Copies rows from the image to `strip`.
    pub(super) fn copy(&self, image: &[f32], rows: Range<usize>, strip: &mut [f32]) {
        let conv = &self.conv;
        for (iy, row) in rows.zip(strip.chunks_exact_mut(self.row)) {
            let iy = iy.wrapping_sub(conv.pad.top);
            if iy >= conv.h {
                row.fill(0.0);
                continue;
            }
            let left = (conv.pad.left * conv.c_in).min(row.len());
            let (before, rest) = row.split_at_mut(left);
            let (inside, after) = rest.split_at_mut((conv.w * conv.c_in).min(rest.len()));
            before.fill(0.0);
            after.fill(0.0);
            match conv.c_in {
                1 => interleave::<1>(image, conv, iy, inside),
                2 => interleave::<2>(image, conv, iy, inside),
                3 => interleave::<3>(image, conv, iy, inside),
                _ => interleave::<4>(image, conv, iy, inside),
            }
        }
    }
}

/// Copies one row of an image of `C` channels, channels innermost.
fn interleave<const C: usize>(image: &[f32], conv: &ConvShape, iy: usize, row: &mut [f32]) {
    let (pixels, _) = row.as_chunks_mut::<C>();
    let planes: [&[f32]; C] =
        std::array::from_fn(|c| &image[(c * conv.h + iy) * conv.w..][..pixels.len()]);
    for (x, pixel) in pixels.iter_mut().enumerate() {
        *pixel = std::array::from_fn(|c| planes[c][x]);
    }
}
