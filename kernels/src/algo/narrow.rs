//! Convolutions of narrow elements on NHWC: bf16, and u8 or s8 sources with s8 weights. `implicit-gemm` and `gemm-1x1-nhwc`
//! use this plan.
//!
//! A *word* of 32 bits holds neighbouring channels ([`Dot`]). So the convolution is one of 32-bit elements with fewer channels:
//! panels, indirection and blocks are those of f32. On CPUs with dot products, a word is two bf16 or four bytes. Other CPUs
//! multiply f32 and pairs of 16-bit integers ([`Form`]): there a task first copies the pixels that it reads, and widens them.
//! A task also copies if the channels of a pixel aren't whole words. AVX2 and AVX-512 multiply bytes of small weights, too
//! ([`PlanByWeights`]).
//!
//! A panel sums over the channels of all groups of its outputs, as in f32. Where a word has channels of several groups, these
//! count as one group, with weights of zero between them. Groups of few channels have another plan (`narrow_grouped.rs`).
//!
//! The tile computes 32-bit sums of a block of pixels and a panel. They stay in the worker's scratch, in L1 or L2, until
//! [`Requantise`] makes outputs of them. (In the tile itself, each of its many sizes would have a copy of that code.)
//!
//! A copy of 16-bit integers is of x - zero. Otherwise sums are those of x w. The wanted ones are less by zero times the sum
//! of the weights, with which a panel's first row begins. Then a tap in the padding counts like one that holds the zero point,
//! so it is multiplied, too. Some instruction sets shift the source by 128 ([`Isa::source_shift`]).

use super::blocked::BlockedConv;
use super::per_channel::PerChannel;
use crate::cost::Cost;
use crate::dtype::{Bf16, DType};
use crate::exec::{Block, Executor, Grid, RowsMut, Sharing, par_rows_sharing};
use crate::isa::{Isa, IsaToken, Words};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{
    Bf16s, Dot, F32, PanelTimesPixels, Prefetch, S8S8s, S16s, TileEpilogue, U8S7s, U8S8s,
};
use crate::micro::indirection::{IndirectionBuffer, PaddingLine};
use crate::micro::outputs::Outputs;
use crate::micro::pack::Panel;
use crate::micro::pixels::{MatrixRows, Pixels};
use crate::micro::requantise::{Requantise, ResidualRows, Sum};
use crate::micro::widen::{Copied, CopyPixels};
use crate::plan::{
    Granularity, Params, Plan, PlanSpec, RunArgs, Target, Unsupported, bf16_conv, int8_conv,
};
use crate::problem::{ConvShape, ConvSpec, Pad, Problem, Requantisation};
use crate::tensor::{CacheLine, Layout, TensorRef, as_f32s, as_f32s_mut};
use std::ops::Range;

/// Form in which a tile multiplies the elements of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Pairs of bf16.
    Bf16,
    /// bf16, widened to f32.
    F32,
    /// Groups of four unsigned bytes.
    U8,
    /// Groups of four signed bytes.
    S8,
    /// Pairs of bytes, widened to 16 bits.
    S16,
    /// Groups of four unsigned bytes, with weights that allow it ([`U8S7s::allows`]).
    U8S7,
}

impl Form {
    /// Form for a source type, and the convolution of the problem.
    ///
    /// # Errors
    /// No convolution of narrow elements, or an instruction set that extends another by nothing for this layer.
    fn of<'p>(problem: &'p Problem, cx: &Target<'_>) -> Result<(Form, &'p ConvShape), Unsupported> {
        let (src, weights) = (problem.dtypes.src, problem.dtypes.weights);
        let (native, widened, conv) = match (src, weights) {
            (DType::Bf16, DType::Bf16) => (Form::Bf16, Form::F32, bf16_conv(problem)?),
            (DType::U8, DType::S8) => (Form::U8, Form::S16, int8_conv(problem)?),
            (DType::S8, DType::S8) => (Form::S8, Form::S16, int8_conv(problem)?),
            _ => {
                let reason = format!("{src} sources with {weights} weights");
                return Err(Unsupported::new(reason));
            }
        };
        if cx.isa.isa().has_dots(native.words()) {
            return Ok((native, conv));
        }
        cx.without_extension(src)?;
        Ok((widened, conv))
    }

    /// Elements in a word.
    const fn words(self) -> Words {
        match self {
            Form::Bf16 => Bf16s::WORDS,
            Form::F32 => F32::WORDS,
            Form::U8 => U8S8s::WORDS,
            Form::S8 => S8S8s::WORDS,
            Form::S16 => S16s::WORDS,
            Form::U8S7 => U8S7s::WORDS,
        }
    }

    /// Channels in a word.
    const fn group(self) -> usize {
        match self {
            Form::Bf16 => Bf16s::GROUP,
            Form::F32 => F32::GROUP,
            Form::U8 => U8S8s::GROUP,
            Form::S8 => S8S8s::GROUP,
            Form::S16 => S16s::GROUP,
            Form::U8S7 => U8S7s::GROUP,
        }
    }

    /// Conversion of the source, which a task copies; none if the tile reads it as it is.
    fn copied(self, src: DType, zero: i32) -> Option<Copied> {
        match self {
            Form::Bf16 | Form::U8 | Form::S8 | Form::U8S7 => None,
            Form::F32 => Some(Copied::F32),
            Form::S16 if src == DType::U8 => Some(Copied::U8 { zero: zero as i16 }),
            Form::S16 => Some(Copied::S8 { zero: zero as i16 }),
        }
    }

    /// Integer in place of 0 in the words that a tile multiplies, for a source with a zero point.
    const fn zero(self, zero: i32, isa: Isa) -> i32 {
        match self {
            Form::Bf16 | Form::F32 | Form::S16 => 0,
            Form::U8 | Form::S8 | Form::U8S7 => zero + isa.source_shift(self.words()),
        }
    }

    /// True if a tap in the padding adds to the sums: if the source has a zero point, or is shifted, as zeros would be, too.
    const fn pads(self, zero: i32, isa: Isa) -> bool {
        let bytes = matches!(self, Form::U8 | Form::S8 | Form::U8S7);
        bytes && (zero != 0 || isa.source_shift(self.words()) != 0)
    }

    /// Bits of a weight in its part of a word.
    fn weight(self, weights: TensorRef<'_>, at: usize) -> u32 {
        match self {
            Form::Bf16 => weights.elements::<Bf16>()[at].to_bits().into(),
            Form::F32 => weights.elements::<Bf16>()[at].to_f32().to_bits(),
            Form::U8 | Form::S8 | Form::U8S7 => (weights.elements::<i8>()[at] as u8).into(),
            Form::S16 => (i16::from(weights.elements::<i8>()[at]) as u16).into(),
        }
    }
}

/// Plans a narrow convolution on NHWC.
pub(super) fn plan(problem: &Problem, cx: &Target<'_>) -> Result<Box<dyn Plan>, Unsupported> {
    let (form, conv) = Form::of(problem, cx)?;
    let plan = NarrowPlan::new(problem, (form, conv), cx)?;
    if form != Form::S16 || problem.dtypes.src != DType::U8 || !cx.isa.isa().has_dots(U8S7s::WORDS)
    {
        return Ok(Box::new(plan));
    }
    let bytes = NarrowPlan::new(problem, (Form::U8S7, conv), cx)?;
    Ok(Box::new(PlanByWeights::new(plan, bytes)))
}

/// Plan of a narrow convolution on NHWC, in one form.
struct NarrowPlan {
    spec: PlanSpec,
    isa: IsaToken,
    form: Form,
    conv: ConvShape,
    /// The convolution with words for channels.
    words: BlockedConv,
    /// Positions of taps; none if each pixel is read by one tap, in order.
    taps: Option<IndirectionBuffer>,
    /// Words that padding taps read; none if they are skipped.
    padding: Option<PaddingLine>,
    /// The copy of the source; none if the tile reads the source itself.
    copy: Option<Copies>,
    /// Cache lines of sums, before the copied pixels in a worker's scratch.
    sum_lines: usize,
    per_channel: PerChannel,
    steps: Requantisation,
}

/// Copy of the source before it is multiplied.
struct Copies {
    how: Copied,
    /// Input pixels that each block of output pixels reads.
    pixels: Vec<Range<usize>>,
}

impl NarrowPlan {
    /// Plan of a convolution, in some form.
    fn new(
        problem: &Problem,
        (form, conv): (Form, &ConvShape),
        cx: &Target<'_>,
    ) -> Result<Self, Unsupported> {
        let of_words = in_words(conv, form.group())?;
        let step = |axis: usize| conv.stride[axis].min(conv.kernel[axis]);
        let bytes_per_pixel = of_words.c_in * step(0) * step(1) * size_of::<f32>();
        let mut words = BlockedConv::new(problem, &of_words, Layout::Nhwc, bytes_per_pixel, cx)?;
        let zero = problem.quantisation.src.zero;
        let whole = conv.c_in.is_multiple_of(form.group());
        let how = form.copied(problem.dtypes.src, zero);
        let copy = how.or((!whole).then_some(Copied::Bytes)).map(|how| Copies {
            how,
            pixels: words
                .pixel_blocks()
                .map(|block| pixels_read(conv, block))
                .collect(),
        });
        let taps = match is_in_order(conv) {
            true => None,
            false => Some(positions(&mut words, &of_words, copy.as_ref(), cx)?),
        };
        let copied = copy.iter().flat_map(|copy| &copy.pixels).map(Range::len);
        let copied = copied.max().unwrap_or(0) * of_words.c_in;
        let sum_lines = words.blocking.mc * words.tile.blocks;
        let padding = form.pads(zero, cx.isa.isa());
        let computed = match &taps {
            Some(taps) if !padding => taps.computed(),
            _ => words.pixels() * conv.kernel[0] * conv.kernel[1],
        };
        let mut spec = words.spec(computed, sum_lines + CacheLine::for_f32s(copied));
        let biased = problem.epilogue.bias;
        let per_channel = PerChannel::behind(spec.packed_lines, conv.c_out, biased);
        spec.packed_lines = per_channel.lines();
        spec.cost = Cost::new(problem, form.group() as u64 * spec.cost.flops_executed);
        spec.granularity = Granularity {
            c_in: form.group(),
            ..spec.granularity
        };
        Ok(NarrowPlan {
            spec,
            isa: cx.isa,
            form,
            conv: *conv,
            words,
            taps,
            padding: padding.then(|| PaddingLine::of_bytes(zero as u8)),
            copy,
            sum_lines,
            per_channel,
            steps: Requantisation::new(&problem.attributes()),
        })
    }

    /// Packs the weights of a panel.
    fn pack(&self, panel: &Panel, rows: &mut [f32], weights: TensorRef<'_>) {
        let (lanes, group) = (panel.blocks * CHANNEL_BLOCK, self.form.group());
        let taps = self.conv.kernel[0] * self.conv.kernel[1];
        let (per_in, per_out) = (self.conv.c_in_per_group(), self.conv.c_out_per_group());
        let zero = self.spec.problem.quantisation.src.zero;
        let zero = self.form.zero(zero, self.isa.isa());
        let (head, rows) = rows.split_at_mut(lanes);
        rows.fill(0.0);
        head.fill(0.0);
        let first = panel.block * CHANNEL_BLOCK;
        for (lane, out) in (first..(first + lanes).min(self.conv.c_out)).enumerate() {
            let mut sum = 0i32;
            // Channels of the panel before those of the output's group.
            let skip = out / per_out * per_in - panel.channels.start * group;
            for (c, tap) in (0..per_in).flat_map(|c| (0..taps).map(move |t| (c, t))) {
                let own = if self.conv.flip { taps - 1 - tap } else { tap };
                let bits = self.form.weight(weights, (out * per_in + c) * taps + own);
                let channel = skip + c;
                let row = tap * panel.channels.len() + channel / group;
                let word = &mut rows[row * lanes + lane];
                let place = channel % group * (32 / group);
                *word = f32::from_bits(word.to_bits() | bits << place);
                sum = sum.wrapping_add(i32::from(bits as i8));
            }
            if zero != 0 {
                let before = sum.wrapping_mul(zero).wrapping_neg();
                head[lane] = f32::from_bits(before.cast_unsigned());
            }
        }
    }

    fn run_as<D: Dot>(&self, args: RunArgs<'_>, dot: D) {
        args.assert_fit(&self.spec);
        let (conv, pixels) = (&self.conv, self.words.pixels());
        let size = self.spec.problem.dtypes.dst.size();
        let out_blocks = conv.c_out.div_ceil(CHANNEL_BLOCK);
        let block_channels = self.words.blocking.out_blocks.min(out_blocks) * CHANNEL_BLOCK;
        let grid = Grid {
            rows: conv.n * pixels,
            cols: conv.c_out * size,
            block_rows: self.words.blocking.mc,
            block_cols: block_channels * size,
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
        let (packed, image) = (as_f32s(packed), src.desc().bytes() / conv.n);
        par_rows_sharing(
            exec,
            dst.bytes_mut(),
            grid,
            Sharing::Rows,
            &mut workspace[..self.spec.workspace_lines()],
            |at, out, scratch| {
                let (sums, copy) = scratch.split_at_mut(self.sum_lines);
                let image = &src.bytes()[at.row / pixels * image..][..image];
                let task = NarrowTask {
                    plan: self,
                    index: at.row % pixels / self.words.blocking.mc,
                    at,
                    packed,
                    residual,
                    dot,
                };
                task.run(image, as_f32s_mut(sums), as_f32s_mut(copy), out);
            },
        );
    }
}

/// One task: a block of pixels and some panels.
struct NarrowTask<'a, D> {
    plan: &'a NarrowPlan,
    at: Block,
    /// Index of the block among the image's blocks of pixels.
    index: usize,
    packed: &'a [f32],
    residual: Option<TensorRef<'a>>,
    dot: D,
}

impl<D: Dot> NarrowTask<'_, D> {
    fn run(&self, image: &[u8], sums: &mut [f32], copy: &mut [f32], out: RowsMut<'_, u8>) {
        let plan = self.plan;
        let words: &[f32] = match &plan.copy {
            Some(own) => {
                if self.at.scratch_is_stale && plan.isa.moves_data() {
                    self.copy(own, image, copy);
                }
                copy
            }
            // Pixels are whole words, and so is an image.
            None => bytemuck::cast_slice(image),
        };
        match &plan.taps {
            None => {
                let (pixels, step) = (out.rows(), plan.words.pixel_stride());
                let first = match plan.copy {
                    Some(_) => 0,
                    None => self.index * plan.words.blocking.mc,
                };
                let pixels = MatrixRows { pixels, step };
                self.multiply(&words[first * step..], pixels, sums, out);
            }
            Some(taps) => {
                let pixels = taps.block(self.index).with_padding(plan.padding.as_ref());
                self.multiply(words, pixels, sums, out);
            }
        }
    }

    /// Copies the pixels that the task reads.
    fn copy(&self, copies: &Copies, image: &[u8], to: &mut [f32]) {
        let plan = self.plan;
        let pixels = &copies.pixels[self.index];
        let pixel = plan.conv.c_in * plan.spec.problem.dtypes.src.size();
        plan.isa.dispatch(CopyPixels {
            how: copies.how,
            from: &image[pixels.start * pixel..pixels.end * pixel],
            pixel,
            to: &mut to[..pixels.len() * plan.words.pixel_stride()],
        });
    }

    /// Multiplies the pixels with every panel of the task, and stores its outputs.
    fn multiply<I: Pixels>(
        &self,
        words: &[f32],
        pixels: I,
        sums: &mut [f32],
        mut out: RowsMut<'_, u8>,
    ) {
        let plan = self.plan;
        let size = plan.spec.problem.dtypes.dst.size();
        let (first, channels) = (self.at.col / size, out.len() / size);
        let blocks = first / CHANNEL_BLOCK..(first + channels).div_ceil(CHANNEL_BLOCK);
        for panel in plan.words.panels.of_blocks(blocks) {
            let row = panel.blocks * CHANNEL_BLOCK;
            let own = panel.block * CHANNEL_BLOCK..panel.block * CHANNEL_BLOCK + row;
            let sums = &mut sums[..out.rows() * row];
            plan.isa.dispatch(PanelTimesPixels {
                src: plan.words.source(words),
                pixels,
                channels: panel.channels.clone(),
                panel: &self.packed[plan.isa.panel(&panel.floats)],
                epilogue: TileEpilogue::default(),
                prefetch: Prefetch::Nothing,
                out: Outputs::matrix(RowsMut::new(sums, row)),
                dot: self.dot,
            });
            let [bias, factors] = plan.per_channel.of(self.packed, own.clone());
            let end = own.end.min(plan.conv.c_out);
            let (rows, cols) = (
                0..out.rows(),
                (own.start - first) * size..(end - first) * size,
            );
            plan.isa.dispatch(Requantise {
                sums,
                row,
                lane: if D::FLOATS { Sum::Float } else { Sum::Integer },
                factors,
                bias,
                residual: self
                    .residual
                    .map(|residual| ResidualRows::of(residual, self.at.row, own.start)),
                steps: &plan.steps,
                out: out.part(rows, cols),
            });
        }
    }
}

impl Plan for NarrowPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let weights = params.weights.expect("a convolution has weights");
        let packed = &mut as_f32s_mut(packed)[..self.spec.packed_lines * CacheLine::F32S];
        self.per_channel.prepare(params.bias, packed);
        for panel in self.words.panels.all() {
            self.pack(panel, &mut packed[panel.floats.clone()], weights);
        }
    }

    fn prepare_factors(&self, factors: &[f32], packed: &mut [CacheLine]) {
        self.per_channel
            .prepare_factors(factors, as_f32s_mut(packed));
    }

    fn run(&self, args: RunArgs<'_>) {
        match self.form {
            Form::Bf16 => self.run_as(args, Bf16s),
            Form::F32 => self.run_as(args, F32),
            Form::U8 => self.run_as(args, U8S8s),
            Form::S8 => self.run_as(args, S8S8s),
            Form::S16 => self.run_as(args, S16s),
            Form::U8S7 => self.run_as(args, U8S7s),
        }
    }
}

/// Plan for u8 sources on CPUs whose products of bytes saturate at 16 bits. `prepare` looks at the weights: if no two products
/// can reach that limit, bytes are multiplied as they are, and otherwise as 16-bit integers.
struct PlanByWeights {
    spec: PlanSpec,
    wide: NarrowPlan,
    bytes: NarrowPlan,
}

impl PlanByWeights {
    fn new(wide: NarrowPlan, bytes: NarrowPlan) -> Self {
        let (of_wide, of_bytes) = (&wide.spec, &bytes.spec);
        let spec = PlanSpec {
            // One more holds the choice.
            packed_lines: of_wide.packed_lines.max(of_bytes.packed_lines) + 1,
            workspace_lines_per_worker: of_wide
                .workspace_lines_per_worker
                .max(of_bytes.workspace_lines_per_worker),
            table_bytes: of_wide.table_bytes + of_bytes.table_bytes,
            ..of_bytes.clone()
        };
        PlanByWeights { spec, wide, bytes }
    }

    /// Float of the packed weights that isn't 0 if bytes are multiplied.
    fn choice(&self) -> usize {
        (self.spec.packed_lines - 1) * CacheLine::F32S
    }

    /// The plan that `prepare` chose.
    fn chosen(&self, packed: &[CacheLine]) -> &NarrowPlan {
        match as_f32s(packed)[self.choice()] != 0.0 {
            true => &self.bytes,
            false => &self.wide,
        }
    }
}

impl Plan for PlanByWeights {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], exec: &dyn Executor) {
        let weights = params.weights.expect("a convolution has weights");
        let bytes = allow_products_of_bytes(weights.elements(), &self.bytes.conv);
        as_f32s_mut(packed)[self.choice()] = f32::from(u8::from(bytes));
        self.chosen(packed).prepare(params, packed, exec);
    }

    fn prepare_factors(&self, factors: &[f32], packed: &mut [CacheLine]) {
        self.chosen(packed).prepare_factors(factors, packed);
    }

    fn run(&self, args: RunArgs<'_>) {
        self.chosen(args.packed).run(args);
    }
}

/// True if each word of the weights, in OIHW, allows products of bytes ([`U8S7s::allows`]).
fn allow_products_of_bytes(weights: &[i8], conv: &ConvShape) -> bool {
    let taps = conv.kernel[0] * conv.kernel[1];
    let channels = conv.c_in_per_group();
    let words = channels.div_ceil(U8S7s::GROUP);
    let at = |out: usize, channel: usize, tap: usize| match channel < channels {
        true => weights[(out * channels + channel) * taps + tap],
        false => 0,
    };
    (0..conv.c_out).all(|out| {
        (0..words * taps).all(|i| {
            let (first, tap) = (i / taps * U8S7s::GROUP, i % taps);
            U8S7s::allows([0, 1, 2, 3].map(|c| at(out, first + c, tap)))
        })
    })
}

/// The convolution with words for channels. Neighbouring groups are joined until their channels are whole words. If they
/// never are, all groups are joined.
fn in_words(conv: &ConvShape, group: usize) -> Result<ConvShape, Unsupported> {
    let per = conv.c_in_per_group();
    let whole = [1, 2, 4]
        .into_iter()
        .find(|n| (n * per).is_multiple_of(group));
    let joined = whole
        .filter(|&n| conv.groups.is_multiple_of(n))
        .unwrap_or(conv.groups);
    let words = ConvShape::try_from(ConvSpec {
        c_in: conv.c_in.div_ceil(group),
        groups: conv.groups / joined,
        ..*conv.spec()
    });
    words.map_err(|e| Unsupported::new(format!("{joined} groups in one panel: {e}")))
}

/// True if output pixels read the input pixels in order, each by one tap.
fn is_in_order(conv: &ConvShape) -> bool {
    conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.pad == Pad::default()
}

/// Positions of the taps of all blocks of pixels, in the source or its copy.
fn positions(
    words: &mut BlockedConv,
    conv: &ConvShape,
    copy: Option<&Copies>,
    cx: &Target<'_>,
) -> Result<IndirectionBuffer, Unsupported> {
    words.add_buffer(conv.kernel[0] * conv.kernel[1], cx)?;
    let (most, stride) = (words.tile.pixels, words.pixel_stride());
    match copy {
        None => IndirectionBuffer::of_conv(conv, words.pixel_blocks(), most, stride),
        Some(copy) => {
            let first_rows = copy.pixels.iter().map(|pixels| pixels.start / conv.w);
            IndirectionBuffer::of_rows(conv, words.pixel_blocks().zip(first_rows), most, stride)
        }
    }
}

/// Input pixels that some output pixels read: whole rows, or the same pixels if they are read in order.
fn pixels_read(conv: &ConvShape, pixels: Range<usize>) -> Range<usize> {
    if is_in_order(conv) {
        return pixels;
    }
    let (first, last) = (pixels.start / conv.w_out(), (pixels.end - 1) / conv.w_out());
    let reach = (conv.kernel[0] - 1) * conv.dilation[0] + 1;
    let row = |y: usize| y.saturating_sub(conv.pad.top).min(conv.h);
    let (start, end) = (
        row(first * conv.stride[0]),
        row(last * conv.stride[0] + reach),
    );
    start * conv.w..end.max(start) * conv.w
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv(text: &str) -> ConvShape {
        let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        *problem.op.shape().expect("a convolution")
    }

    #[test]
    fn products_of_bytes_need_small_weights_in_each_pair_of_channels() {
        let conv = conv("mb1ic6ih5oc2oh3kh3ph0");
        let with = |changed: &[(usize, i8)]| {
            let mut weights = vec![64; 2 * 6 * 9];
            for &(channel, weight) in changed {
                // The last tap of the last output channel.
                weights[(6 + channel) * 9 + 8] = weight;
            }
            allow_products_of_bytes(&weights, &conv)
        };
        assert!(with(&[]));
        for channel in 0..6 {
            assert!(!with(&[(channel, 65)]), "channel {channel}");
        }
        // Neighbours of two pairs.
        assert!(with(&[(0, 1), (1, 127), (2, 127), (3, 1)]));
        assert!(with(&[(4, -128)]));
        assert!(!with(&[(4, -128), (5, -1)]));
    }

    #[test]
    fn groups_are_joined_to_whole_words() {
        for (text, group, c_in, groups) in [
            ("mb1ic5ih3oc7kh1", 4, 2, 1),
            ("g2mb1ic64ih3oc6kh1", 4, 16, 2),
            ("g4mb1ic12ih3oc8kh1", 4, 3, 1),
            ("g6mb1ic12ih3oc6kh1", 4, 3, 3),
            ("g6mb1ic12ih3oc6kh1", 2, 6, 6),
            ("g3mb1ic15ih3oc6kh1", 4, 4, 1),
            ("g3mb1ic15ih3oc6kh1", 1, 15, 3),
        ] {
            let words = in_words(&conv(text), group).expect("words");
            assert_eq!((words.c_in, words.groups), (c_in, groups), "{text}");
        }
        let many = conv("g1048577mb1024ic1048577ih1oc1048577kh1");
        let refused = in_words(&many, 4).expect_err("too many").to_string();
        assert!(
            refused.starts_with("1048577 groups in one panel: "),
            "{refused}"
        );
    }
}
