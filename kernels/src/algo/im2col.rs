//! Explicit im2col: the inputs of each output pixel are copied into a row of a matrix, which is then
//! multiplied with the packed weights (Chellapilla, Puri and Simard 2006).
//!
//! ```text
//! matrix[pixel][(r * kw + s) * c_in + c] = in[c, y sh + r dh - top, x sw + s dw - left]   or 0
//! out[pixel][k] = sum over j of matrix[pixel][j] * w[j][k]
//! ```
//!
//! The matrix is made for a block of pixels at a time, so that it is still in L2 when it is read.
//! Channels are copied as they are, not padded to 16: with 3 input channels nothing is wasted, which
//! is what im2col is good at. Its cost elsewhere is the copy, kh kw times the input.

use super::blocked::BlockedConv;
use crate::blocking::CHANNEL_BLOCK;
use crate::cost::Accuracy;
use crate::exec::Executor;
use crate::isa::Isa;
use crate::micro::gemm::Source;
use crate::micro::indirection::{Indirection, PADDING};
use crate::plan::{
    Algorithm, AlgorithmMeta, Params, Plan, PlanCx, PlanSpec, RunArgs, Unsupported, f32_conv,
};
use crate::problem::Problem;
use crate::tensor::{CacheLine, as_f32s_mut};

/// Explicit im2col and a matrix product.
#[derive(Debug)]
pub struct Im2col;

static META: AlgorithmMeta = AlgorithmMeta {
    id: "im2col",
    summary: "explicit im2col on NCHW16c and a matrix product, any kernel, stride, padding, dilation and groups",
    isas: &Isa::ALL,
    accuracy: Accuracy::Sum,
};

struct Im2colPlan {
    spec: PlanSpec,
    blocked: BlockedConv,
    /// Floats from one row of the matrix to the next: whole lines, and one more so that rows don't
    /// all fall into the same cache sets when K is a power of two.
    row: usize,
}

impl Im2colPlan {
    /// Offsets come first in the scratch: those of the taps, then those of the matrix's rows.
    fn table_lines(&self) -> usize {
        CacheLine::for_f32s((self.blocked.taps() + self.row_taps()) * self.blocked.blocking.mc)
    }

    /// Taps that a row's offsets are written down for: without groups a row is one long run of
    /// channels; with groups each tap's channels begin elsewhere.
    fn row_taps(&self) -> usize {
        if self.blocked.conv.groups == 1 {
            1
        } else {
            self.blocked.taps()
        }
    }
}

impl Algorithm for Im2col {
    fn meta(&self) -> &'static AlgorithmMeta {
        &META
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let conv = f32_conv(problem)?;
        let k = conv.kernel[0] * conv.kernel[1] * conv.c_in;
        let row = k.next_multiple_of(CacheLine::F32S) + CacheLine::F32S;
        let mut blocked = BlockedConv::new(problem, conv, row * 4, cx)?;
        if conv.groups == 1 {
            blocked.panels = blocked
                .panels
                .with_joined_taps(conv.kernel[0] * conv.kernel[1]);
        }
        let spec = blocked.spec(0, 0);
        let mut plan = Im2colPlan { spec, blocked, row };
        let lines = plan.table_lines() + plan.blocked.blocking.mc * row / CacheLine::F32S;
        let computed = plan.blocked.pixels() * plan.row_taps();
        plan.spec = plan.blocked.spec(computed, lines);
        Ok(Box::new(plan))
    }
}

impl Plan for Im2colPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        self.blocked.prepare(params, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        let (blocked, conv) = (&self.blocked, &self.blocked.conv);
        let (taps, row) = (blocked.taps(), self.row);
        blocked.each_block(&self.spec, args, |task, scratch| {
            let n = task.pixels.len();
            let (tables, matrix) = scratch.split_at_mut(self.table_lines());
            let tables: &mut [u32] = bytemuck::must_cast_slice_mut(tables);
            let (taps_table, rows_table) = tables.split_at_mut(taps * n);
            let inputs = Indirection::of_conv(taps_table, conv, task.pixels.clone(), CHANNEL_BLOCK);

            let matrix = as_f32s_mut(matrix);
            for (pixel, line) in matrix.chunks_exact_mut(row).take(n).enumerate() {
                for (tap, channels) in line.chunks_exact_mut(conv.c_in).take(taps).enumerate() {
                    let [offset] = *inputs.offsets::<1>(tap, pixel);
                    copy_channels(task.image, blocked.src_plane(), offset, channels);
                }
            }

            let rows_table = &mut rows_table[..self.row_taps() * n];
            for (tap, offsets) in rows_table.chunks_exact_mut(n).enumerate() {
                for (pixel, offset) in offsets.iter_mut().enumerate() {
                    *offset = (pixel * row + tap * conv.c_in) as u32;
                }
            }
            let src = Source {
                data: matrix,
                block: row,
                block_stride: 0,
            };
            task.multiply(src, Indirection::new(rows_table, n));
        });
    }
}

/// Copies the channels of the input pixel at `offset`, from their blocks of 16, or zeros.
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
