//! Explicit im2col: the inputs of each output pixel are copied to a row of a matrix. The matrix is multiplied by the
//! packed weights (Chellapilla, Puri and Simard 2006).
//!
//! ```text
//! matrix[pixel][(r * kw + s) * c_in + c] = in[c, y sh + r dh - top, x sw + s dw - left]   or 0
//! out[pixel][k] = sum over j of matrix[pixel][j] * w[j][k]
//! ```
//!
//! The matrix is built for one block of pixels at a time, so that it is still in L2 when it is read. Channels are not
//! padded to 16. So 3 input channels waste nothing, which is the strength of im2col. Its cost elsewhere is the copy, kh
//! kw times the input.
//!
//! Layers of bf16, u8 and s8 are on NHWC, in `narrow.rs`.

use super::blocked::BlockedConv;
use super::narrow;
use crate::cost::Accuracy;
use crate::exec::Executor;
use crate::isa::Isa;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::Source;
use crate::micro::indirection::{IndirectionBuffer, PADDING, conv_offset};
use crate::micro::outputs::Blocked;
use crate::micro::pixels::{PixelOffsets, StridedPixels};
use crate::phase::{Laps, Phase, PhaseCost};
use crate::plan::{
    Algorithm, AlgorithmMeta, Params, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_conv,
};
use crate::problem::{DType, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};

/// Explicit im2col and a matrix product.
#[derive(Debug)]
pub struct Im2col;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "im2col",
    summary: "explicit im2col on NCHW16c and a matrix product, any kernel, stride, padding, dilation and groups; also bf16, u8, s8 on NHWC",
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

struct Im2colPlan {
    spec: PlanSpec,
    blocked: BlockedConv,
    /// Position of each pixel's taps in the input.
    inputs: IndirectionBuffer,
    /// Position of the taps in the matrix, for a whole block and for the last block, if there are groups. The channels of
    /// each tap then start at another position. Without groups, a row counts as one long tap.
    taps: Option<IndirectionBuffer>,
    /// Floats between neighbouring rows of the matrix: whole lines, and one extra line. Otherwise rows would map to the
    /// same cache sets if K is a power of two.
    row: usize,
}

impl Algorithm for Im2col {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let cx = &cx.target()?;
        if problem.dtypes.src != DType::F32 {
            return narrow::im2col(problem, cx);
        }
        cx.without_extension(DType::F32)?;
        let conv = f32_conv(problem)?;
        let taps = conv.kernel[0] * conv.kernel[1];
        let row = (taps * conv.c_in).next_multiple_of(CacheLine::F32S) + CacheLine::F32S;
        let mut blocked =
            BlockedConv::new(problem, conv, Layout::NCHW16C, row * size_of::<f32>(), cx)?;
        let joined = conv.groups == 1;
        if joined {
            blocked.panels = blocked.panels.with_joined_taps(taps);
        }
        let (mc, most, all) = (blocked.blocking.mc, blocked.tile.pixels, blocked.pixels());
        if mc * row >= u32::MAX as usize {
            return Err(Unsupported::new(
                "a block's matrix of 2^32 elements or more",
            ));
        }
        blocked.add_buffer(taps, cx)?;
        let blocks = blocked.pixel_blocks();
        let inputs = IndirectionBuffer::new(taps, all, blocks, most, |tap| {
            conv_offset(conv, tap, CHANNEL_BLOCK)
        })?;
        let row_taps = if joined { 1 } else { taps };
        let taps = if joined {
            None
        } else {
            // A whole block and the last one: all whole blocks have equal row positions.
            let last = all - (all - 1) / mc * mc;
            let alike = [0..mc, 0..last].into_iter();
            blocked.add_tables(IndirectionBuffer::bytes(taps, 2 * mc, mc), cx)?;
            Some(IndirectionBuffer::new(
                taps,
                mc + last,
                alike,
                most,
                |tap| {
                    let first = tap * conv.c_in;
                    move |pixel| (pixel * row + first) as u32
                },
            )?)
        };
        let spec = blocked.spec(blocked.pixels() * row_taps, mc * row / CacheLine::F32S);
        Ok(Box::new(Im2colPlan {
            spec,
            blocked,
            inputs,
            taps,
            row,
        }))
    }
}

impl Plan for Im2colPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn phases(&self) -> Vec<PhaseCost> {
        let conv = &self.blocked.conv;
        let read = conv.c_in * conv.h * conv.w;
        self.blocked
            .copied_phases(&self.spec, read, self.row)
            .into()
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        self.blocked.prepare(params, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        let (blocked, conv) = (&self.blocked, &self.blocked.conv);
        let clock = args.phases;
        blocked.each_block(&self.spec, args, |task, scratch| {
            let mut laps = Laps::start(clock);
            let inputs = self.inputs.block(task.index);
            let matrix = as_f32s_mut(scratch);
            let plane = blocked.source(task.image).block_stride;
            let copied = if task.copies { inputs.pixels() } else { 0 };
            for (pixel, row) in matrix.chunks_exact_mut(self.row).take(copied).enumerate() {
                let taps = row.chunks_exact_mut(conv.c_in).take(inputs.taps());
                for (tap, channels) in taps.enumerate() {
                    let [offset] = *inputs.offsets::<1>(tap, pixel);
                    copy_channels(task.image, plane, offset, channels);
                }
            }
            laps.lap(Phase::Pack);
            let src = Source {
                data: matrix,
                block: self.row,
                block_stride: 0,
            };
            match &self.taps {
                None => {
                    let (pixels, step) = (inputs.pixels(), self.row);
                    task.multiply::<Blocked, _>(src, StridedPixels { pixels, step });
                }
                Some(taps) => {
                    let last = task.pixels.end == blocked.pixels();
                    let pixels = PixelOffsets::Indirect(taps.block(usize::from(last)));
                    task.multiply::<Blocked, _>(src, pixels);
                }
            }
            laps.lap(Phase::Multiply);
        });
    }
}

/// Copies the channels of the input pixel at `offset` from their blocks of 16, or zeros in the padding.
#[inline]
fn copy_channels(image: &[f32], plane: usize, offset: u32, channels: &mut [f32]) {
    if offset == PADDING {
        channels.fill(0.0);
        return;
    }
    let mut at = offset as usize;
    let (blocks, rest) = channels.as_chunks_mut::<CHANNEL_BLOCK>();
    for block in blocks {
        block.copy_from_slice(&image[at..at + CHANNEL_BLOCK]);
        at += plane;
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&image[at..at + rest.len()]);
    }
}
