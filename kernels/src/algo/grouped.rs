//! Direct convolution on NCHW16c with groups of 1 (depthwise), 2, 4 or 8 channels, with as many output as input
//! channels.
//!
//! A panel of weights would sum over the channels of all groups in its block. For a depthwise convolution that is 16
//! times the work, nearly all of it times zero. Here each lane is multiplied with lanes of its own group
//! ([`crate::micro::grouped`]). A task is some rows of one block of channels.

use crate::cost::{Cost, Efficiency};
use crate::exec::{Executor, Grid, par_rows};
use crate::isa::IsaToken;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::F32;
use crate::micro::grouped::{GroupedRows, TILE_PIXELS, channels};
use crate::plan::{Granularity, Params, Plan, PlanSpec, RunArgs, Target};
use crate::problem::{ConvShape, Problem};
use crate::tensor::{CacheLine, Layout, as_f32s_mut};
use crate::window::Window;

/// Plan of the direct convolution of small groups.
pub(super) struct GroupedPlan {
    spec: PlanSpec,
    conv: ConvShape,
    vertical: Window,
    horizontal: Window,
    /// Output rows per task.
    rows: usize,
    isa: IsaToken,
}

impl GroupedPlan {
    /// True if the kernel supports the convolution.
    pub(super) fn suits(conv: &ConvShape) -> bool {
        let per_group = conv.c_in / conv.groups;
        conv.groups > 1 && conv.c_in == conv.c_out && [1, 2, 4, 8].contains(&per_group)
    }

    pub(super) fn new(problem: &Problem, conv: &ConvShape, cx: &Target<'_>) -> Self {
        let [vertical, horizontal] = conv.windows();
        // A task is a whole map, unless there are few maps.
        let maps = conv.n * conv.c_out.div_ceil(CHANNEL_BLOCK);
        let parts = match cx.threads {
            1 => 1,
            threads => (4 * threads).div_ceil(maps),
        };
        let rows = cx.tuning.mc.unwrap_or(conv.h_out().div_ceil(parts));
        let mut plan = GroupedPlan {
            spec: PlanSpec {
                granularity: Granularity {
                    c_in: CHANNEL_BLOCK,
                    c_out: CHANNEL_BLOCK,
                    w_out: TILE_PIXELS,
                    ..Granularity::default()
                },
                ..PlanSpec::new(problem, Layout::NCHW16C, cx, 0)
            },
            conv: *conv,
            vertical,
            horizontal,
            rows: rows.min(conv.h_out()),
            isa: cx.isa,
        };
        let blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        plan.spec.packed_lines = CacheLine::for_f32s(blocks * plan.packed_block());
        plan.spec.cost = Cost::new(problem, plan.executed());
        plan
    }

    /// Replaces the fractions of the ceilings.
    pub(super) fn with_efficiency(mut self, efficiency: Efficiency) -> Self {
        self.spec.efficiency = efficiency;
        self
    }

    /// Input channels per group, and output channels per group.
    fn per_group(&self) -> usize {
        self.conv.c_in / self.conv.groups
    }

    /// Floats of bias and weights per block of channels.
    fn packed_block(&self) -> usize {
        (self.vertical.kernel * self.horizontal.kernel * self.per_group() + 1) * CHANNEL_BLOCK
    }

    /// Flops of the taps inside the input. No others are computed.
    fn executed(&self) -> u64 {
        let taps = self.vertical.elements_inside() * self.horizontal.elements_inside();
        let lanes = self.conv.n * self.conv.c_out.next_multiple_of(CHANNEL_BLOCK);
        2 * taps * (lanes * self.per_group()) as u64
    }
}

impl Plan for GroupedPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let weights = params.filters(&self.conv);
        let bias = params.bias.map(|b| b.f32s());
        let (per, taps) = (
            self.per_group(),
            self.vertical.kernel * self.horizontal.kernel,
        );
        assert_eq!(weights.len(), self.conv.c_out * per * taps, "weights");
        let packed = as_f32s_mut(packed);
        packed.fill(0.0);
        let blocks = packed.chunks_exact_mut(self.packed_block());
        for (block, packed) in blocks.enumerate() {
            let first = block * CHANNEL_BLOCK;
            let (rows, _) = packed.as_chunks_mut::<CHANNEL_BLOCK>();
            let outputs = first..(first + CHANNEL_BLOCK).min(self.conv.c_out);
            for (lane, out) in outputs.enumerate() {
                rows[0][lane] = bias.map_or(0.0, |b| b[out]);
                for k in 0..per {
                    let (o, c) = channels(self.isa.isa().lanes(), per, lane, k);
                    let filter = &weights[((out / per * per + o) * per + c) * taps..][..taps];
                    for (row, &w) in rows[1 + k * taps..].iter_mut().zip(filter) {
                        row[lane] = w;
                    }
                }
            }
        }
    }

    fn run(&self, args: RunArgs<'_>) {
        let mut io = args.check(&self.spec);
        let conv = &self.conv;
        let blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        let row = conv.w_out() * CHANNEL_BLOCK;
        let (map, packed) = (conv.h * conv.w * CHANNEL_BLOCK, self.packed_block());
        let grid = Grid {
            rows: conv.n * blocks,
            cols: conv.h_out() * row,
            block_rows: 1,
            block_cols: self.rows * row,
            band: 1,
        };
        par_rows(
            io.exec,
            io.dst.f32s_mut(),
            grid,
            io.workspace,
            |at, mut out, _| {
                self.isa.dispatch(GroupedRows {
                    map: &io.src[at.row * map..][..map],
                    vertical: self.vertical,
                    horizontal: self.horizontal,
                    per_group: self.per_group(),
                    packed: &io.packed[at.row % blocks * packed..][..packed],
                    first: at.col / row,
                    out: out.row(0),
                    residual: io.residual.map(|r| &r[at.row * grid.cols + at.col..]),
                    relu: self.spec.problem.epilogue.relu,
                    dot: F32,
                });
            },
        );
    }
}
