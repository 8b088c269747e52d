//! Convolutions of bf16, u8 and s8 on NHWC with groups of 1 (depthwise), 2, 4 or 8 channels, and as many output as input
//! channels. `implicit-gemm` uses this plan.
//!
//! A task is a strip of rows of one block of 16 channels. It copies the rows that it reads to its scratch ([`CopyRows`]), so
//! that each input is converted once for all of its taps. The kernel of f32 groups multiplies the copy ([`GroupedRows`]), and
//! [`Requantise`] makes outputs of its sums. A strip is so short that copy and sums stay in L1, if maps aren't too wide.
//!
//! On CPUs with dot products, a word of the copy has the elements of neighbouring columns ([`Form`]), so that one instruction
//! multiplies two or four taps. Bytes of the sign that it doesn't take are flipped in the copy. Other CPUs multiply f32s, after
//! the zero point was subtracted. Such sums of integers are exact up to 2^24. Layers that may exceed this have another plan
//! (`narrow.rs`).

use super::form::Form;
use super::grouped::GroupedPlan;
use super::per_channel::PerChannel;
use crate::dtype::DType;
use crate::exec::{Block, Executor, Grid, RowsMut, Sharing, par_rows_sharing};
use crate::isa::IsaToken;
use crate::layout::CHANNEL_BLOCK;
use crate::micro::columns::CopyRows;
use crate::micro::gemm::{Bf16s, Bytes, Dot, F32};
use crate::micro::grouped::{GroupedRows, TILE_PIXELS, channels};
use crate::micro::requantise::{Requantise, ResidualRows, Sum};
use crate::plan::{Granularity, Params, Plan, PlanSpec, RunArgs, Target};
use crate::problem::{ConvShape, Problem, Requantisation};
use crate::tensor::{CacheLine, Layout, TensorRef, as_f32s, as_f32s_mut};
use crate::window::Window;

/// Most cache lines of a strip's copy and sums. A row of larger filters and maps has another plan.
const MOST_LINES: usize = 1 << 18;

/// Rows of a strip, if L1 has no room for more. Neighbouring strips copy the rows that both read.
const FEW_ROWS: usize = 4;

/// Sizes of a strip's copy: the padded rows and the words that its outputs read.
#[derive(Clone, Copy, Debug)]
struct Copied {
    conv: ConvShape,
    /// Taps of a filter row in words.
    taps: usize,
    /// Columns in a word.
    group: usize,
}

impl Copied {
    /// Rows of the copy for `rows` output rows.
    fn rows(&self, rows: usize) -> usize {
        let conv = &self.conv;
        (rows - 1) * conv.stride[0] + (conv.kernel[0] - 1) * conv.dilation[0] + 1
    }

    /// Words in a row of the copy.
    fn width(&self) -> usize {
        (self.conv.w_out() - 1) * self.conv.stride[1] + (self.taps - 1) * self.step() + 1
    }

    /// Words from a tap to the next.
    fn step(&self) -> usize {
        self.group * self.conv.dilation[1]
    }

    /// Cache lines of the copy for `rows` output rows.
    fn lines(&self, rows: usize) -> usize {
        self.rows(rows).saturating_mul(self.width())
    }

    /// Windows of `rows` output rows on the copy.
    fn windows(&self, rows: usize) -> [Window; 2] {
        let [down, across] = self.conv.windows();
        [
            Window {
                size: self.rows(rows),
                out: rows,
                before: 0,
                ..down
            },
            Window {
                size: self.width(),
                kernel: self.taps,
                dilation: self.step(),
                before: 0,
                ..across
            },
        ]
    }
}

/// Plan of a narrow convolution with small groups.
pub(super) struct NarrowGroupedPlan {
    spec: PlanSpec,
    isa: IsaToken,
    form: Form,
    conv: ConvShape,
    copied: Copied,
    /// Output rows of a strip.
    rows: usize,
    per_channel: PerChannel,
    steps: Requantisation,
}

impl NarrowGroupedPlan {
    /// Plan of a convolution with small groups. `None` if it isn't one, or if another plan suits it better.
    pub(super) fn new(problem: &Problem, cx: &Target<'_>) -> Option<Self> {
        let (form, conv) = Form::of_small_groups(problem, cx.isa.isa())?;
        let copied = Copied {
            conv: *conv,
            taps: conv.kernel[1].div_ceil(form.group()),
            group: form.group(),
        };
        if !GroupedPlan::suits(conv) || copied.lines(1).saturating_add(conv.w_out()) > MOST_LINES {
            return None;
        }
        let rows = strip(&copied, cx);
        let (taps, per) = (conv.kernel[0] * copied.taps, conv.c_in_per_group());
        let blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        // Taps in the padding are multiplied, too.
        let products = conv.n * conv.h_out() * conv.w_out() * blocks * CHANNEL_BLOCK * per;
        let executed = 2 * (products * taps * form.group()) as u64;
        let before = blocks * packed_block(taps, per) / CacheLine::F32S;
        let per_channel = PerChannel::behind(before, conv.c_out, problem.epilogue.bias);
        let spec = PlanSpec {
            packed_lines: per_channel.lines(),
            workspace_lines_per_worker: copied.lines(rows) + rows * conv.w_out(),
            granularity: Granularity {
                c_in: CHANNEL_BLOCK,
                c_out: CHANNEL_BLOCK,
                w_out: TILE_PIXELS,
                ..Granularity::default()
            },
            ..PlanSpec::new(problem, Layout::Nhwc, cx, executed)
        };
        Some(NarrowGroupedPlan {
            spec,
            isa: cx.isa,
            form,
            conv: *conv,
            copied,
            rows,
            per_channel,
            steps: Requantisation::new(&problem.attributes()),
        })
    }

    /// Floats of the head and the weights of a block of channels.
    fn packed_block(&self) -> usize {
        let taps = self.conv.kernel[0] * self.copied.taps;
        packed_block(taps, self.conv.c_in_per_group())
    }

    /// Packs the weights of a block of channels: the head, with which the sums begin, and a row for each pass and tap.
    fn pack(&self, block: usize, packed: &mut [f32], weights: TensorRef<'_>) {
        let (conv, form, isa) = (&self.conv, self.form, self.isa.isa());
        let (per, [kh, kw], group) = (conv.c_in_per_group(), conv.kernel, form.group());
        let taps = kh * kw;
        let (rows, _) = packed.as_chunks_mut::<CHANNEL_BLOCK>();
        let first = block * CHANNEL_BLOCK;
        for (lane, out) in (first..(first + CHANNEL_BLOCK).min(conv.c_out)).enumerate() {
            rows[0][lane] = self.head(out, weights);
            for k in 0..per {
                let (o, c) = channels(isa.lanes(), per, lane, k);
                let filter = ((out / per * per + o) * per + c) * taps;
                for tap in 0..taps {
                    let own = if conv.flip { taps - 1 - tap } else { tap };
                    let bits = form.weight(weights, filter + own);
                    let (r, s) = (tap / kw, tap % kw);
                    let word = &mut rows[1 + (k * kh + r) * self.copied.taps + s / group][lane];
                    *word = f32::from_bits(word.to_bits() | bits << (s % group * (32 / group)));
                }
            }
        }
    }

    /// Word with which the sums of an output channel begin. Sums are those of words whose zero isn't 0, so it is less by that
    /// zero times the sum of the weights.
    fn head(&self, out: usize, weights: TensorRef<'_>) -> f32 {
        let Problem {
            dtypes,
            quantisation,
            ..
        } = &self.spec.problem;
        let zero = quantisation.src.zero;
        let zero = self.form.zero(dtypes.src, zero, self.isa.isa());
        if zero == 0 {
            return 0.0;
        }
        let len = self.conv.reduction_len();
        let own = &weights.elements::<i8>()[out * len..][..len];
        let sum = own.iter().map(|&w| i32::from(w)).sum::<i32>();
        f32::from_bits(sum.wrapping_mul(zero).wrapping_neg().cast_unsigned())
    }

    fn run_as<D: Dot>(&self, args: RunArgs<'_>, dot: D) {
        args.assert_fit(&self.spec);
        let conv = &self.conv;
        let (pixels, size) = (conv.h_out() * conv.w_out(), self.steps.dst().size());
        let grid = Grid {
            rows: conv.n * pixels,
            cols: conv.c_out * size,
            block_rows: self.rows * conv.w_out(),
            block_cols: CHANNEL_BLOCK * size,
            band: pixels,
        };
        let RunArgs {
            src,
            residual,
            mut dst,
            packed,
            workspace,
            exec,
            ..
        } = args;
        let image = src.desc().bytes() / conv.n;
        par_rows_sharing(
            exec,
            dst.bytes_mut(),
            grid,
            Sharing::Rows,
            &mut workspace[..self.spec.workspace_lines()],
            |at, out, scratch| {
                let strip = Strip {
                    plan: self,
                    at,
                    channel: at.col / size,
                    packed: as_f32s(packed),
                    residual,
                    dot,
                };
                let image = &src.bytes()[at.row / pixels * image..][..image];
                strip.run(image, as_f32s_mut(scratch), out);
            },
        );
    }
}

/// One task: a strip of rows of one block of channels.
struct Strip<'a, D> {
    plan: &'a NarrowGroupedPlan,
    at: Block,
    /// The first channel.
    channel: usize,
    packed: &'a [f32],
    residual: Option<TensorRef<'a>>,
    dot: D,
}

impl<D: Dot> Strip<'_, D> {
    fn run(&self, image: &[u8], scratch: &mut [f32], out: RowsMut<'_, u8>) {
        let Strip { plan, channel, .. } = *self;
        let (conv, isa) = (&plan.conv, plan.isa);
        let first = self.at.row % (conv.h_out() * conv.w_out()) / conv.w_out();
        let rows = out.rows() / conv.w_out();
        let [vertical, horizontal] = plan.copied.windows(rows);
        let (map, rest) = scratch.split_at_mut(plan.copied.lines(rows) * CHANNEL_BLOCK);
        let sums = &mut rest[..out.rows() * CHANNEL_BLOCK];
        self.copy(image, first * conv.stride[0], map);
        let block = plan.packed_block();
        isa.dispatch(GroupedRows {
            map,
            vertical,
            horizontal,
            per_group: conv.c_in_per_group(),
            packed: &self.packed[channel / CHANNEL_BLOCK * block..][..block],
            first: 0,
            out: sums,
            residual: None,
            relu: false,
            dot: self.dot,
        });
        let own = channel..channel + CHANNEL_BLOCK;
        let [bias, factors] = plan.per_channel.of(self.packed, own);
        isa.dispatch(Requantise {
            sums,
            row: CHANNEL_BLOCK,
            lane: match plan.spec.problem.dtypes.src {
                DType::Bf16 => Sum::Float,
                _ if D::FLOATS => Sum::WholeFloat,
                _ => Sum::Integer,
            },
            factors,
            bias,
            residual: self
                .residual
                .map(|residual| ResidualRows::of(residual, self.at.row, channel)),
            steps: &plan.steps,
            out,
        });
    }

    /// Copies the rows from `first` on, counted from the first row of padding.
    fn copy(&self, image: &[u8], first: usize, to: &mut [f32]) {
        let (conv, problem) = (&self.plan.conv, &self.plan.spec.problem);
        let (src, zero) = (problem.dtypes.src, problem.quantisation.src.zero);
        self.plan.isa.dispatch(CopyRows {
            columns: self.plan.form.columns(src, zero, self.plan.isa.isa()),
            image,
            size: [conv.h, conv.w],
            pixel: conv.c_in * src.size(),
            block: self.channel * src.size(),
            before: [conv.pad.top, conv.pad.left],
            first,
            width: self.plan.copied.width(),
            to,
        });
    }
}

impl Plan for NarrowGroupedPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let weights = params.weights.expect("a convolution has weights");
        let packed = &mut as_f32s_mut(packed)[..self.spec.packed_lines * CacheLine::F32S];
        packed.fill(0.0);
        self.per_channel.prepare(params.bias, packed);
        for block in 0..self.conv.c_out.div_ceil(CHANNEL_BLOCK) {
            let len = self.packed_block();
            self.pack(block, &mut packed[block * len..][..len], weights);
        }
    }

    fn prepare_factors(&self, factors: &[f32], packed: &mut [CacheLine]) {
        self.per_channel
            .prepare_factors(factors, as_f32s_mut(packed));
    }

    fn run(&self, args: RunArgs<'_>) {
        match self.form {
            Form::F32 => self.run_as(args, F32),
            Form::Bf16 => self.run_as(args, Bf16s),
            Form::Bytes => self.run_as(args, Bytes),
            Form::S16 | Form::U8S7 => unreachable!("small groups have no such words"),
        }
    }
}

/// Floats of the head and the weights of a block of channels, for `taps` words of a filter and `per` channels in a group.
fn packed_block(taps: usize, per: usize) -> usize {
    (taps * per + 1) * CHANNEL_BLOCK
}

/// Output rows of a strip, such that its copy and its sums take at most three quarters of L1. The rest is for the source and
/// the destination. Each thread has some strips, and strips are nearly equal.
fn strip(copied: &Copied, cx: &Target<'_>) -> usize {
    let conv = &copied.conv;
    let h_out = conv.h_out();
    let more = conv.stride[0].saturating_mul(copied.width()) + conv.w_out();
    let others = (copied.lines(1) + conv.w_out()).saturating_sub(more);
    let lines = (cx.caches.l1d / 4 * 3 / CacheLine::BYTES).saturating_sub(others);
    let maps = conv.n * conv.c_out.div_ceil(CHANNEL_BLOCK);
    let parts = match cx.threads {
        1 => 1,
        threads => (4 * threads).div_ceil(maps),
    };
    let fits = (lines / more).max(FEW_ROWS.min(MOST_LINES / more));
    let rows = cx.tuning.mc.unwrap_or(fits.min(h_out.div_ceil(parts)));
    h_out.div_ceil(h_out.div_ceil(rows.clamp(1, h_out)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocking::Caches;
    use crate::isa::Isa;
    use crate::plan::PlanCx;

    fn plan(text: &str, isa: Isa) -> Option<NarrowGroupedPlan> {
        plan_with(text, isa, 32 << 10, 1)
    }

    fn plan_with(text: &str, isa: Isa, l1d: usize, threads: usize) -> Option<NarrowGroupedPlan> {
        let caches = Caches {
            l1d,
            ..Caches::default()
        };
        let cx = PlanCx::new(isa.detect()?, &caches).with_threads(threads);
        let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        NarrowGroupedPlan::new(&problem, &cx.target().expect("a target"))
    }

    #[test]
    fn layers_that_suit_other_plans_have_none() {
        let has_plan = |text: &str| plan(text, Isa::Scalar).is_some();
        assert!(has_plan("--dt=u8:s8:u8 g96mb1ic96ih56oc96kh3ph1"));
        assert!(has_plan("--dt=s8:s8:s32 g2mb1ic16ih9oc16kh7ph3"));
        // Sums of 512 products are exact in f32, sums of 968 may not be.
        assert!(has_plan("--dt=u8:s8:s32 g2mb1ic16ih9oc16kh8ph4"));
        assert!(!has_plan("--dt=u8:s8:s32 g2mb1ic16ih9oc16kh11ph5"));
        assert!(has_plan("--dt=bf16:bf16:f32 g2mb1ic16ih9oc16kh11ph5"));
        // Other groups, and no groups.
        assert!(!has_plan("--dt=u8:s8:s32 g2mb1ic32ih9oc32kh3ph1"));
        assert!(!has_plan("--dt=u8:s8:s32 g16mb1ic16ih9oc32kh3ph1"));
        assert!(!has_plan("--dt=u8:s8:s32 mb1ic1ih9oc1kh3ph1"));
        assert!(!has_plan("g16mb1ic16ih9oc16kh3ph1"));
        // The rows between the taps are too many for a copy.
        assert!(!has_plan(
            "--dt=u8:s8:s32 g16mb1ic16ih3oc16kh3ph400000dh399999"
        ));
    }

    #[test]
    fn dot_products_take_neighbouring_columns() {
        let (bytes, bf16) = ("--dt=s8:s8:s32 ", "--dt=bf16:bf16:f32 ");
        let (dense, dilated) = ("g32mb1ic32ih9oc32kh3ph1", "g32mb1ic32ih9oc32kh3ph2dh1");
        for isa in Isa::ALL.into_iter().filter(|isa| isa.detect().is_some()) {
            let form = |types: &str, shape: &str| {
                let plan = plan(&format!("{types}{shape}"), isa);
                plan.map(|plan| plan.form)
            };
            let base = (isa.base() == isa).then_some(Form::F32);
            let dots = |own: Form| {
                if isa.has_dots(own.words()) {
                    Some(own)
                } else {
                    base
                }
            };
            assert_eq!(form(bytes, dense), dots(Form::Bytes), "{isa}");
            assert_eq!(form(bf16, dense), dots(Form::Bf16), "{isa}");
            assert_eq!(form(bytes, dilated), base, "{isa}");
            assert_eq!(form(bf16, dilated), base, "{isa}");
        }
    }

    #[test]
    fn a_strip_fits_into_l1_and_strips_are_nearly_equal() {
        for (l1d, threads, rows) in [
            (16 << 10, 1, 4),
            (48 << 10, 1, 4),
            (64 << 10, 1, 5),
            (128 << 10, 1, 12),
            (128 << 10, 8, 10),
            (48 << 10, 64, 2),
        ] {
            let text = "--dt=u8:s8:u8 g96mb1ic96ih56oc96kh3ph1";
            let plan = plan_with(text, Isa::Scalar, l1d, threads).expect("a plan");
            assert_eq!(plan.rows, rows, "{l1d} bytes, {threads} threads");
            // A row of the copy is 58 lines, a row of sums 56.
            let lines = plan.spec.workspace_lines_per_worker;
            assert_eq!(lines, (rows + 2) * 58 + rows * 56);
            assert!(rows == FEW_ROWS || 4 * lines * CacheLine::BYTES <= 3 * l1d);
        }
    }
}
