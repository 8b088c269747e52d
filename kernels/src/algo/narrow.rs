//! Convolutions of narrow elements on NHWC: bf16, and u8 or s8 sources with s8 weights. `implicit-gemm`, `gemm-1x1-nhwc`,
//! `im2col` and `fc` use this plan.
//!
//! A *word* of 32 bits holds neighbouring channels ([`Dot`]). So the convolution is one of 32-bit elements with fewer channels:
//! panels, indirection and blocks are those of f32. On CPUs with dot products, a word is two bf16 or four bytes. Other CPUs
//! multiply f32 and pairs of 16-bit integers ([`Form`]): there a task first copies the pixels that it reads, and widens them.
//!
//! A task also copies bytes of the sign that dot products don't take, and flips their highest bits. It copies if the channels of
//! a pixel aren't whole words, too. Then the taps of a filter row are joined to one, if that leaves fewer words ([`JoinedTaps`]).
//! AVX2 and AVX-512 without dot products multiply bytes of small weights as unsigned ones ([`PlanByWeights`]).
//!
//! A panel sums over the channels of all groups of its outputs, as in f32. Where a word has channels of several groups, these
//! count as one group, with weights of zero between them. Groups of few channels have another plan (`narrow_grouped.rs`).
//!
//! A fully connected layer is a 1x1 convolution whose pixels are its images. One image reads each weight once
//! ([`PanelsTimesVector`]), so its weights are packed as they are: a byte stays one byte on every instruction set.
//!
//! The tile computes 32-bit sums of a block of pixels and a panel. They stay in the worker's scratch, in L1 or L2, until
//! [`Requantise`] makes outputs of them. (In the tile itself, each of its many sizes would have a copy of that code.)
//!
//! A copy of 16-bit integers is of x - zero. Otherwise sums are those of x w. The wanted ones are less by zero times the sum
//! of the weights, with which a panel's first row begins. Then a tap in the padding counts like one that holds the zero point,
//! so it is multiplied, too. The zero point of flipped bytes is shifted by 128 ([`Form::zero`]).

use super::blocked::{BlockedConv, copies_rows};
use super::by_weights::{OfSomeWeights, PlanByWeights};
use super::form::Form;
use super::joined::JoinedTaps;
use super::panels::PanelPrefetch;
use super::per_channel::PerChannel;
use crate::blocking::Tuning;
use crate::cost::Cost;
use crate::dtype::{Bf16, Element};
use crate::exec::{Block, Executor, Grid, RowsMut, Sharing, par_rows_sharing};
use crate::isa::{IsaToken, Sets, Words};
use crate::layout::CHANNEL_BLOCK;
use crate::micro::gemm::{
    Bf16s, Bytes, Dot, F32, PanelTimesPixels, Prefetch, S16s, TileEpilogue, U8S7s,
};
use crate::micro::indirection::{IndirectionBuffer, PaddingLine};
use crate::micro::matvec::{PARTS, PanelsTimesVector, SIDE_BY_SIDE};
use crate::micro::outputs::Outputs;
use crate::micro::pack::Panel;
use crate::micro::pixels::{PixelOffsets, StridedPixels};
use crate::micro::requantise::{Requantise, ResidualRows, Sum};
use crate::micro::widen::{Copied, CopyPixels, CopyTaps};
use crate::plan::{Granularity, Params, Plan, PlanSpec, RunArgs, Target, Unsupported};
use crate::problem::{ConvShape, ConvSpec, Pad, Problem, Requantisation};
use crate::tensor::{CacheLine, Layout, TensorRef, as_f32s, as_f32s_mut};
use std::ops::Range;

/// Plans a narrow convolution on NHWC.
pub(super) fn plan(problem: &Problem, cx: &Target<'_>) -> Result<Box<dyn Plan>, Unsupported> {
    tiled(problem, cx, |form, filters| {
        match joins_rows(filters, form.group()) {
            true => JoinedTaps::rows(filters),
            false => Ok(JoinedTaps::none(filters)),
        }
    })
}

/// Plans a narrow convolution on NHWC without groups, by explicit im2col.
pub(super) fn im2col(problem: &Problem, cx: &Target<'_>) -> Result<Box<dyn Plan>, Unsupported> {
    tiled(problem, cx, |_, filters| match filters.groups {
        1 => JoinedTaps::all(filters),
        _ => Err(Unsupported::new("groups of bf16, u8 or s8")),
    })
}

/// Plans a narrow convolution on NHWC without groups whose kernel is its whole input map.
pub(super) fn fully_connected(
    problem: &Problem,
    cx: &Target<'_>,
) -> Result<Box<dyn Plan>, Unsupported> {
    let ([_, form], filters) = Form::of(problem, cx)?;
    let images = filters.n;
    if images == 1 {
        let product = Product {
            form,
            filters,
            joined: JoinedTaps::fully_connected(filters)?,
            is_vector: true,
        };
        let mut plan = NarrowPlan::of(problem, product, cx)?;
        // Weights are read in several streams, which reach memory's full bandwidth.
        plan.spec.efficiency.of_dram = 1.0;
        return Ok(Box::new(plan));
    }
    // Images in one block read each weight once. That pays if they are smaller than the weights.
    let whole = (images <= filters.c_out).then_some(images);
    let tuning = Tuning {
        mc: cx.tuning.mc.or(whole),
        ..cx.tuning
    };
    tiled(problem, &Target { tuning, ..*cx }, |_, filters| {
        JoinedTaps::fully_connected(filters)
    })
}

/// Plans a convolution by register tiles, with taps that `join` joins.
fn tiled(
    problem: &Problem,
    cx: &Target<'_>,
    join: impl Fn(Form, &ConvShape) -> Result<JoinedTaps, Unsupported>,
) -> Result<Box<dyn Plan>, Unsupported> {
    let ([form, _], filters) = Form::of(problem, cx)?;
    let plan = |form: Form| {
        let product = Product {
            form,
            filters,
            joined: join(form, filters)?,
            is_vector: false,
        };
        let mut plan = NarrowPlan::of(problem, product, cx)?;
        if filters.kernel == [filters.h, filters.w] {
            let (blocking, pixels) = (&plan.words.blocking, plan.words.tile.pixels);
            plan.prefetch = Prefetch::of_weights(blocking.weights, blocking.mc, pixels);
        }
        Ok(plan)
    };
    if form != Form::S16 || !cx.isa.isa().has_dots(U8S7s::WORDS) {
        return Ok(Box::new(plan(form)?));
    }
    let (wide, bytes) = (plan(form)?, plan(Form::U8S7)?);
    let tables = wide.spec.table_bytes + bytes.spec.table_bytes;
    match cx.tables(tables) {
        Ok(_) => Ok(Box::new(PlanByWeights::new(wide, bytes))),
        // There is room for the tables of one.
        Err(_) => Ok(Box::new(wide)),
    }
}

/// Plan of a narrow convolution on NHWC, in one form.
pub(super) struct NarrowPlan {
    spec: PlanSpec,
    isa: IsaToken,
    form: Form,
    /// The convolution of the problem.
    filters: ConvShape,
    /// The convolution that is computed: with joined taps.
    joined: JoinedTaps,
    /// That convolution with words for channels.
    words: BlockedConv,
    /// Words from a pixel to the next. Pixels that are read in order may be one line further apart.
    step: usize,
    /// One pixel is multiplied with several panels at once.
    is_vector: bool,
    /// Software-prefetch policy of the tiles.
    prefetch: Prefetch,
    /// Positions of taps; none if each pixel is read by one tap, in order.
    taps: Option<IndirectionBuffer>,
    /// Integer in place of the zero point in the words of the tile ([`Form::zero`]).
    zero: i32,
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

impl Copies {
    /// Copy for the blocks of a convolution. Its list of pixels is one of the plan's tables.
    fn new(
        how: Copied,
        conv: &ConvShape,
        words: &mut BlockedConv,
        cx: &Target<'_>,
    ) -> Result<Self, Unsupported> {
        let blocks = words.pixels().div_ceil(words.blocking.mc);
        words.add_tables(blocks * size_of::<Range<usize>>(), cx)?;
        let pixels = words.pixel_blocks().map(|block| pixels_read(conv, block));
        Ok(Copies {
            how,
            pixels: pixels.collect(),
        })
    }

    /// Most pixels of a copy.
    fn most(&self) -> usize {
        self.pixels.iter().map(Range::len).max().unwrap_or(0)
    }
}

/// The product that a plan computes.
struct Product<'p> {
    form: Form,
    /// The convolution of the problem.
    filters: &'p ConvShape,
    joined: JoinedTaps,
    /// One pixel is multiplied with several panels at once.
    is_vector: bool,
}

impl Product<'_> {
    /// The convolution with joined taps, with words for channels.
    fn in_words(&self) -> Result<ConvShape, Unsupported> {
        let conv = &self.joined.conv;
        let words = conv.c_in.div_ceil(self.form.group());
        let joined = joined_groups(conv, self.form.group());
        let words = ConvShape::try_from(ConvSpec {
            c_in: match self.is_vector {
                true => words.next_multiple_of(PARTS),
                false => words,
            },
            groups: conv.groups / joined,
            ..*conv.spec()
        });
        words.map_err(|e| Unsupported::new(format!("{joined} groups in one panel: {e}")))
    }

    /// Its panels and blocks.
    fn blocked(
        &self,
        problem: &Problem,
        of_words: &ConvShape,
        cx: &Target<'_>,
    ) -> Result<BlockedConv, Unsupported> {
        let step = |axis: usize| of_words.stride[axis].min(of_words.kernel[axis]);
        let bytes_per_pixel = of_words.c_in * step(0) * step(1) * size_of::<f32>();
        let mut words = BlockedConv::new(problem, of_words, Layout::Nhwc, bytes_per_pixel, cx)?;
        if self.is_vector {
            words.blocking.out_blocks = SIDE_BY_SIDE * words.tile.blocks;
        }
        Ok(words)
    }
}

impl NarrowPlan {
    fn of(problem: &Problem, product: Product<'_>, cx: &Target<'_>) -> Result<Self, Unsupported> {
        if !product.form.has_twins() {
            cx.without_twins()?;
        }
        let of_words = product.in_words()?;
        let mut words = product.blocked(problem, &of_words, cx)?;
        let Product {
            form,
            filters,
            joined,
            is_vector,
        } = product;
        let conv = &joined.conv;
        let sum_lines = match is_vector {
            true => words.blocking.out_blocks,
            false => words.blocking.mc * words.tile.blocks,
        };
        let apart = of_words.c_in * size_of::<f32>();
        let spread = is_in_order(conv) && copies_rows(apart, words.pixels(), conv.c_out);
        let step = of_words.c_in + if spread { CacheLine::F32S } else { 0 };
        let whole = conv.c_in == of_words.c_in * form.group();
        let copies = joined.gathered.is_some() || !whole || spread;
        let (src, isa) = (problem.dtypes.src, cx.isa.isa());
        let zero_point = problem.quantisation.src.zero;
        let zero = form.zero(src, zero_point, isa);
        let how = form.copied(src, zero_point, isa);
        let how = how.or(copies.then_some(Copied::Bytes { flip: 0 }));
        let copy = how.map(|how| Copies::new(how, conv, &mut words, cx));
        let copy = copy.transpose()?;
        let taps = match is_in_order(conv) {
            true => None,
            false => Some(positions(&mut words, &of_words, copy.as_ref(), cx)?),
        };
        let computed = match &taps {
            Some(taps) if zero == 0 => taps.computed(),
            _ => words.pixels() * conv.kernel[0] * conv.kernel[1],
        };
        let prefetch =
            PanelPrefetch::of_task(&words.blocking, words.blocking.mc, words.tile).others;
        let copied = copy.as_ref().map_or(0, |copy| copy.most() * step);
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
            filters: *filters,
            joined,
            words,
            step,
            is_vector,
            prefetch,
            taps,
            zero,
            padding: (zero != 0).then(|| PaddingLine::of_bytes(zero as u8)),
            copy,
            sum_lines,
            per_channel,
            steps: Requantisation::new(&problem.attributes()),
        })
    }

    /// Packs the weights of a panel.
    fn pack(&self, panel: &Panel, rows: &mut [f32], weights: TensorRef<'_>) {
        match self.form {
            Form::Bf16 => self.pack_words::<Bf16>(panel, rows, weights, |w| w.to_bits().into()),
            Form::F32 => self.pack_words::<Bf16>(panel, rows, weights, |w| w.to_f32().to_bits()),
            Form::Bytes | Form::U8S7 => {
                self.pack_words::<i8>(panel, rows, weights, |w| w.cast_unsigned().into());
            }
            Form::S16 => self.pack_words::<i8>(panel, rows, weights, |w| {
                i16::from(w).cast_unsigned().into()
            }),
        }
    }

    /// Packs the weights of a panel. `bits` are those of a weight in its part of a word.
    fn pack_words<T: Element>(
        &self,
        panel: &Panel,
        rows: &mut [f32],
        weights: TensorRef<'_>,
        bits: impl Fn(T) -> u32,
    ) {
        let (conv, weights) = (&self.filters, weights.elements::<T>());
        let (taps, lanes) = (
            conv.kernel[0] * conv.kernel[1],
            panel.blocks * CHANNEL_BLOCK,
        );
        // Groups are powers of two. A division for each weight would take most of the time.
        let group = self.form.group().ilog2();
        let (head, rows) = rows.split_at_mut(lanes);
        rows.fill(0.0);
        head.fill(0.0);
        let first = panel.block * CHANNEL_BLOCK;
        let (per_in, per_out) = (conv.c_in_per_group(), conv.c_out_per_group());
        for (lane, out) in (first..(first + lanes).min(conv.c_out)).enumerate() {
            let filter = &weights[out * per_in * taps..][..per_in * taps];
            // Channels of the panel before those of the output's group.
            let skip = out / per_out * per_in - (panel.channels.start << group);
            let mut sum = 0i32;
            for tap in 0..taps {
                let own = if conv.flip { taps - 1 - tap } else { tap };
                let first = skip + self.joined.position(tap, panel.channels.len() << group);
                for channel in 0..per_in {
                    let (at, bits) = (first + channel, bits(filter[channel * taps + own]));
                    let word = &mut rows[(at >> group) * lanes + lane];
                    let place = (at & ((1 << group) - 1)) * (32 >> group);
                    *word = f32::from_bits(word.to_bits() | bits << place);
                    sum = sum.wrapping_add(i32::from(bits as i8));
                }
            }
            if self.zero != 0 {
                let before = sum.wrapping_mul(self.zero).wrapping_neg();
                head[lane] = f32::from_bits(before.cast_unsigned());
            }
        }
    }

    fn run_as<D: Dot>(&self, args: RunArgs<'_>, dot: D) {
        args.assert_fit(&self.spec);
        let (conv, pixels) = (&self.joined.conv, self.words.pixels());
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
            None if const { multiplies_vectors::<D>() } && plan.is_vector => {
                self.multiply_vector(words, sums, out);
            }
            None => {
                let (pixels, step) = (out.rows(), plan.step);
                let first = match plan.copy {
                    Some(_) => 0,
                    None => self.index * plan.words.blocking.mc,
                };
                let pixels = PixelOffsets::Strided(StridedPixels { pixels, step });
                self.multiply(&words[first * step..], pixels, sums, out);
            }
            Some(taps) => {
                let pixels = taps.block(self.index).with_padding(plan.padding.as_ref());
                self.multiply(words, PixelOffsets::Indirect(pixels), sums, out);
            }
        }
    }

    /// Copies the pixels that the task reads.
    fn copy(&self, copies: &Copies, image: &[u8], to: &mut [f32]) {
        let plan = self.plan;
        let (how, pixels) = (copies.how, copies.pixels[self.index].clone());
        let pixel = plan.joined.source().c_in * plan.spec.problem.dtypes.src.size();
        let to = &mut to[..pixels.len() * plan.step];
        match &plan.joined.gathered {
            None => plan.isa.dispatch(CopyPixels {
                how,
                from: &image[pixels.start * pixel..pixels.end * pixel],
                pixel,
                to,
            }),
            Some(conv) => plan.isa.dispatch(CopyTaps {
                how,
                image,
                pixel,
                conv,
                pixels,
                padding: plan.zero as u8,
                to,
            }),
        }
    }

    /// Multiplies the pixels with every panel of the task, and stores its outputs.
    fn multiply(
        &self,
        words: &[f32],
        pixels: PixelOffsets<'_>,
        sums: &mut [f32],
        mut out: RowsMut<'_, u8>,
    ) {
        let plan = self.plan;
        for panel in plan.words.panels.of_blocks(self.blocks(&out)) {
            let row = panel.blocks * CHANNEL_BLOCK;
            let sums = &mut sums[..out.rows() * row];
            plan.isa.dispatch(PanelTimesPixels {
                src: plan.words.source(words),
                pixels,
                channels: panel.channels.clone(),
                panel: &self.packed[plan.isa.panel(&panel.floats)],
                epilogue: TileEpilogue::default(),
                prefetch: plan.prefetch,
                out: Outputs::matrix(RowsMut::new(sums, row)),
                dot: self.dot,
            });
            self.store(panel.block..panel.block + panel.blocks, sums, &mut out);
        }
    }

    /// Multiplies the only pixel with all panels of the task, side by side, and stores its outputs.
    fn multiply_vector(&self, words: &[f32], sums: &mut [f32], mut out: RowsMut<'_, u8>) {
        let plan = self.plan;
        let blocks = self.blocks(&out);
        let sums = &mut sums[..blocks.len() * CHANNEL_BLOCK];
        let (panels, step) = plan.words.panels.span(plan.isa, blocks.clone());
        plan.isa.dispatch(PanelsTimesVector {
            x: &words[..plan.step],
            panels: &self.packed[panels],
            step,
            blocks: plan.words.tile.blocks,
            residual: None,
            relu: false,
            out: sums,
            dot: self.dot,
        });
        self.store(blocks, sums, &mut out);
    }

    /// Blocks of output channels of the task's outputs.
    fn blocks(&self, out: &RowsMut<'_, u8>) -> Range<usize> {
        let size = self.plan.spec.problem.dtypes.dst.size();
        let (first, channels) = (self.at.col / size, out.len() / size);
        first / CHANNEL_BLOCK..(first + channels).div_ceil(CHANNEL_BLOCK)
    }

    /// Stores the outputs of some blocks of channels. `sums` has a row of their sums for each pixel.
    fn store(&self, blocks: Range<usize>, sums: &[f32], out: &mut RowsMut<'_, u8>) {
        let plan = self.plan;
        let size = plan.spec.problem.dtypes.dst.size();
        let own = blocks.start * CHANNEL_BLOCK..blocks.end * CHANNEL_BLOCK;
        let [bias, factors] = plan.per_channel.of(self.packed, own.clone());
        let end = own.end.min(plan.filters.c_out);
        let cols = own.start * size - self.at.col..end * size - self.at.col;
        plan.isa.dispatch(Requantise {
            sums,
            row: own.len(),
            lane: if D::FLOATS { Sum::Float } else { Sum::Integer },
            factors,
            bias,
            residual: self
                .residual
                .map(|residual| ResidualRows::of(residual, self.at.row, own.start)),
            steps: &plan.steps,
            out: out.part(0..out.rows(), cols),
        });
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
            Form::Bytes => self.run_as(args, Bytes),
            Form::S16 => self.run_as(args, S16s),
            Form::U8S7 => self.run_as(args, U8S7s),
        }
    }
}

impl OfSomeWeights for NarrowPlan {
    fn allows(&self, packed: &[CacheLine]) -> bool {
        let packed = as_f32s(packed);
        let bytes = |word: &f32| word.to_bits().to_le_bytes().map(u8::cast_signed);
        self.form != Form::U8S7
            || self.words.panels.all().iter().all(|panel| {
                let rows = &packed[panel.floats.clone()][panel.blocks * CHANNEL_BLOCK..];
                rows.iter().all(|word| U8S7s::allows(bytes(word)))
            })
    }
}

/// Tells if tiles are compiled for vectors, too: for elements as they are. Widened ones would be more bytes.
const fn multiplies_vectors<D: Dot>() -> bool {
    matches!(D::SETS, Sets::Only(_)) && !matches!(D::WORDS, Words::U8S7)
}

/// Neighbouring groups that are joined, so that their channels are whole words of `group` elements. If they never are, all
/// groups are joined.
fn joined_groups(conv: &ConvShape, group: usize) -> usize {
    let whole = |n: &usize| (n * conv.c_in_per_group()).is_multiple_of(group);
    let joined = [1, 2, 4].into_iter().find(whole);
    let joined = joined.filter(|&n| conv.groups.is_multiple_of(n));
    joined.unwrap_or(conv.groups)
}

/// Tells if joined taps of a filter row are at least a tenth fewer words of `group` elements.
fn joins_rows(conv: &ConvShape, group: usize) -> bool {
    let (taps, channels) = (conv.kernel[1], conv.c_in);
    conv.groups == 1
        && 10 * (taps * channels).div_ceil(group) <= 9 * taps * channels.div_ceil(group)
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

    #[test]
    fn groups_are_joined_to_whole_words() {
        for (text, group, joined) in [
            ("mb1ic5ih3oc7kh1", 4, 1),
            ("g2mb1ic64ih3oc6kh1", 4, 1),
            ("g4mb1ic12ih3oc8kh1", 4, 4),
            ("g6mb1ic12ih3oc6kh1", 4, 2),
            ("g6mb1ic12ih3oc6kh1", 2, 1),
            ("g3mb1ic15ih3oc6kh1", 4, 3),
            ("g3mb1ic15ih3oc6kh1", 1, 1),
        ] {
            let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            let conv = problem.op.shape().expect("a convolution");
            assert_eq!(joined_groups(conv, group), joined, "{text}");
        }
    }
}
