//! The checks of layers of u8, s8 and bf16, on naive kernels, which must pass, and on kernels with a fault, which must be
//! caught.
//!
//! The naive kernels work as vector kernels do: sums of groups of channels, padding that holds the zero point, and a
//! compensation for the zero point.

use convroof_kernels::blocking::{Caches, Tuning};
use convroof_kernels::conformance::{Bound, Data, Outcome, cases::TYPED, check};
use convroof_kernels::cost::Accuracy;
use convroof_kernels::data::Fill;
use convroof_kernels::dtype::{Bf16, DType, Element};
use convroof_kernels::exec::{Executor, Serial};
use convroof_kernels::instance::Instance;
use convroof_kernels::plan::{AlgorithmMeta, Params, PlanSpec, RunArgs, bf16_conv, int8_conv};
use convroof_kernels::problem::{ConvShape, Operands, Problem};
use convroof_kernels::tensor::{
    CacheLine, Layout, TensorDesc, TensorMut, TensorRef, as_elements, as_elements_mut,
};
use convroof_kernels::{Algorithm, Isa, Plan, PlanCx, Registry, Unsupported, reference};

/// Fault of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// No fault: the control, which must pass.
    Nothing,
    /// The sums aren't corrected for the zero point.
    NoCompensation,
    /// The padding holds 0 in place of the zero point.
    PaddedWithZero,
    /// Halves are rounded up, not to even.
    HalfUp,
    /// Values beyond the type's limits wrap.
    Unsaturated,
    /// Two channels of each group are swapped in the packed weights.
    SwappedChannels,
    /// Sums of two products saturate at 16 bits, like those of `vpmaddubsw`.
    Saturated16,
    /// The scale of the destination divides.
    Divided,
    /// Product and bias are one fused multiply-add.
    Fused,
    /// All channels have the first one's factor.
    OneFactor,
    /// The zero point of the residual is forgotten.
    ResidualWithoutZero,
    /// Sums become f32 before they become s32.
    SumInF32,
    /// The last element of the output isn't written.
    DroppedLast,
    /// One product is missing in each output of the first channel. It isn't small.
    LostTerm,
    /// bf16 outputs are cut off in place of rounded.
    Truncated,
    /// Products are rounded to bf16 before they are added.
    Bf16Products,
}

/// Faults of kernels for integers, and for bf16.
const FAULTS: [&[Fault]; 2] = [
    &[
        Fault::NoCompensation,
        Fault::PaddedWithZero,
        Fault::HalfUp,
        Fault::Unsaturated,
        Fault::SwappedChannels,
        Fault::Saturated16,
        Fault::Divided,
        Fault::Fused,
        Fault::OneFactor,
        Fault::ResidualWithoutZero,
        Fault::SumInF32,
        Fault::DroppedLast,
        Fault::LostTerm,
    ],
    &[
        Fault::SwappedChannels,
        Fault::Truncated,
        Fault::Bf16Products,
        Fault::DroppedLast,
        Fault::LostTerm,
    ],
];

/// A naive convolution with a fault.
struct Naive(Fault);

impl Algorithm for Naive {
    fn meta(&self) -> &'static AlgorithmMeta {
        const {
            &AlgorithmMeta {
                id: "naive",
                summary: "convolutions of integers and bf16",
                isas: &[Isa::Scalar],
                accuracy: Accuracy::Sum,
            }
        }
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let conv = *int8_conv(problem).or_else(|_| bf16_conv(problem))?;
        let mut spec = PlanSpec::new(problem, Layout::NCHW16C, &cx.target()?, 2 * conv.macs());
        let dtype = problem.dtypes.weights;
        let group = 4 / dtype.size();
        let groups = conv.c_in_per_group().div_ceil(group);
        let [kh, kw] = conv.kernel;
        let packed = TensorDesc::new(dtype, Layout::Nhwc, [conv.c_out, groups * group, kh, kw]);
        let vectors = CacheLine::for_f32s(2 * conv.c_out);
        spec.packed_lines = vectors + packed.lines();
        Ok(Box::new(NaivePlan {
            spec,
            conv,
            packed,
            vectors,
            group,
            fault: self.0,
        }))
    }
}

struct NaivePlan {
    spec: PlanSpec,
    conv: ConvShape,
    /// Packed weights: filters of pixels, each with its channels in whole groups.
    packed: TensorDesc,
    /// Lines of biases and factors, which come before them.
    vectors: usize,
    /// Channels that an instruction sums.
    group: usize,
    fault: Fault,
}

/// An input of an output's sum: position in the source, or `None` in the padding, and position in the filter.
type Tap = (Option<[usize; 2]>, [usize; 2]);

impl NaivePlan {
    fn pack<T: Element>(&self, weights: TensorRef<'_>, packed: &mut [CacheLine]) {
        let (from, to) = (weights.desc(), self.packed);
        let [c_out, c_in, kh, kw] = from.dims();
        let packed = as_elements_mut::<T>(packed);
        packed[..to.elements()].fill(T::from_f32(0.0));
        for i in 0..from.elements() {
            let [k, c, r, s] = [
                i / (c_in * kh * kw),
                i / (kh * kw) % c_in,
                i / kw % kh,
                i % kw,
            ];
            assert!(k < c_out);
            let [row, column] = if self.conv.flip {
                [kh - 1 - r, kw - 1 - s]
            } else {
                [r, s]
            };
            let channel = match self.fault {
                Fault::SwappedChannels => c ^ 1,
                _ => c,
            };
            packed[to.offset([k, channel, row, column])] = weights.elements::<T>()[i];
        }
    }

    fn taps(&self, [oy, ox]: [usize; 2]) -> Vec<Tap> {
        let [down, across] = self.conv.windows();
        let mut taps = Vec::new();
        for r in 0..down.kernel {
            for s in 0..across.kernel {
                let y = (oy * down.stride + r * down.dilation).checked_sub(down.before);
                let x = (ox * across.stride + s * across.dilation).checked_sub(across.before);
                let inside = y.zip(x).filter(|&(y, x)| y < down.size && x < across.size);
                taps.push((inside.map(|(y, x)| [y, x]), [r, s]));
            }
        }
        taps
    }

    /// Groups of products of an output: inputs and weights. Inputs in the padding are `pad`. If a filter has no such
    /// channel, its weight is 0.
    fn groups<X: Element, W: Element>(
        &self,
        src: TensorRef<'_>,
        weights: &[W],
        pad: X,
        [image, k, oy, ox]: [usize; 4],
    ) -> Vec<Vec<(X, W)>> {
        let (per_in, per_out) = (self.conv.c_in_per_group(), self.conv.c_out_per_group());
        let [_, channels, _, _] = self.packed.dims();
        let mut groups = Vec::new();
        for (at, [r, s]) in self.taps([oy, ox]) {
            let input = |c: usize| match at {
                Some([y, x]) if c < per_in => {
                    let channel = k / per_out * per_in + c;
                    src.elements::<X>()[src.desc().offset([image, channel, y, x])]
                }
                _ => pad,
            };
            let products: Vec<(X, W)> = (0..channels)
                .map(|c| (input(c), weights[self.packed.offset([k, c, r, s])]))
                .collect();
            groups.extend(products.chunks(self.group).map(<[_]>::to_vec));
        }
        groups
    }

    /// The s32 sum of an output.
    fn sum<X: Element + Into<i32>>(
        &self,
        src: TensorRef<'_>,
        weights: &[i8],
        at: [usize; 4],
    ) -> i32 {
        let zero = self.spec.problem.quantisation.src.zero;
        let pad = match self.fault {
            Fault::PaddedWithZero => 0,
            _ => zero,
        };
        let number = |x: X| -> i32 { x.into() };
        let mut sum = 0i32;
        let groups = self.groups::<X, i8>(src, weights, X::from_f32(pad as f32), at);
        for group in &groups {
            for pair in group.chunks(2) {
                let products: i32 = pair.iter().map(|&(x, w)| number(x) * i32::from(w)).sum();
                sum = sum.wrapping_add(match self.fault {
                    Fault::Saturated16 => products.clamp(i16::MIN.into(), i16::MAX.into()),
                    _ => products,
                });
            }
        }
        let all: i32 = groups.iter().flatten().map(|&(_, w)| i32::from(w)).sum();
        if self.fault == Fault::LostTerm && at[1] == 0 {
            let mut products = groups
                .iter()
                .flatten()
                .map(|&(x, w)| (number(x) - zero) * i32::from(w));
            sum = sum.wrapping_sub(products.find(|&product| product != 0).unwrap_or(0));
        }
        match self.fault {
            Fault::NoCompensation => sum,
            _ => sum.wrapping_sub(zero.wrapping_mul(all)),
        }
    }

    /// f32 before it is rounded to an integer: all steps of a requantisation up to the destination's zero point.
    fn scaled(&self, sum: i32, [bias, factor]: [f32; 2], residual: Option<f32>) -> f32 {
        let problem = &self.spec.problem;
        let quantisation = problem.quantisation;
        let mut y = match self.fault {
            Fault::Fused => (sum as f32).mul_add(factor, bias),
            _ if problem.epilogue.bias => sum as f32 * factor + bias,
            _ => sum as f32 * factor,
        };
        if let Some(residual) = residual {
            let zero = match self.fault {
                Fault::ResidualWithoutZero => 0.0,
                _ => quantisation.residual.zero as f32,
            };
            y += quantisation.residual.scale.get() * (residual - zero);
        }
        if problem.epilogue.relu {
            y = y.max(0.0);
        }
        let scale = quantisation.dst.scale.get();
        match self.fault {
            Fault::Divided => y / scale,
            _ => y * (1.0 / scale),
        }
    }

    /// Rounds and saturates.
    fn rounded(&self, y: f32, [least, most]: [f32; 2]) -> i64 {
        let y = y + self.spec.problem.quantisation.dst.zero as f32;
        let y = match self.fault {
            Fault::HalfUp => (y + 0.5).floor(),
            _ => y.round_ties_even(),
        };
        match self.fault {
            Fault::Unsaturated => y as i64,
            _ => y.clamp(least, most) as i64,
        }
    }

    /// Writes an output of an integer layer.
    fn store(&self, dst: &mut TensorMut<'_>, at: usize, sum: i32, y: f32) {
        let problem = &self.spec.problem;
        let epilogue = problem.epilogue;
        let plain = !problem.quantisation.has_scales() && !epilogue.bias && !epilogue.residual;
        let dtype = dst.desc().dtype();
        let integer = self.rounded(y, dtype.limits().unwrap_or_default());
        match dtype {
            DType::U8 => dst.elements_mut::<u8>()[at] = integer as u8,
            DType::S8 => dst.elements_mut::<i8>()[at] = integer as i8,
            DType::S32 if plain && self.fault != Fault::SumInF32 => {
                let least = if problem.epilogue.relu { 0 } else { i32::MIN };
                dst.elements_mut::<i32>()[at] = sum.max(least);
            }
            DType::S32 => dst.elements_mut::<i32>()[at] = integer as i32,
            _ => dst.elements_mut::<f32>()[at] = y,
        }
    }

    /// An output of bf16 sources, in f32.
    fn bf16_sum(&self, src: TensorRef<'_>, weights: &[Bf16], at: [usize; 4]) -> f32 {
        let groups = self.groups::<Bf16, Bf16>(src, weights, Bf16::default(), at);
        let mut products: Vec<f32> = groups
            .iter()
            .flatten()
            .map(|(x, w)| x.to_f32() * w.to_f32())
            .collect();
        if self.fault == Fault::LostTerm && at[1] == 0 {
            let lost = products.iter_mut().find(|product| product.abs() > 0.25);
            lost.into_iter().for_each(|product| *product = 0.0);
        }
        if self.fault == Fault::Bf16Products {
            products
                .iter_mut()
                .for_each(|p| *p = Bf16::from_f32(*p).to_f32());
        }
        products.iter().sum()
    }

    fn write_bf16(&self, dst: &mut TensorMut<'_>, at: usize, y: f32) {
        match dst.desc().dtype() {
            DType::Bf16 if self.fault == Fault::Truncated => {
                let bits = (y.to_bits() >> 16) as u16;
                dst.elements_mut::<Bf16>()[at] = Bf16::from_bits(bits);
            }
            DType::Bf16 => dst.elements_mut::<Bf16>()[at] = Bf16::from_f32(y),
            _ => dst.elements_mut::<f32>()[at] = y,
        }
    }
}

/// Element of a tensor, as f32.
fn element(tensor: TensorRef<'_>, at: usize) -> f32 {
    match tensor.desc().dtype() {
        DType::U8 => tensor.elements::<u8>()[at].into(),
        DType::S8 => tensor.elements::<i8>()[at].into(),
        DType::S32 => tensor.elements::<i32>()[at] as f32,
        DType::Bf16 => tensor.elements::<Bf16>()[at].to_f32(),
        _ => tensor.f32s()[at],
    }
}

impl Plan for NaivePlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], _: &dyn Executor) {
        let (vectors, packed) = packed.split_at_mut(self.vectors);
        let bias = &mut as_elements_mut::<f32>(vectors)[..self.conv.c_out];
        match params.bias {
            Some(given) => bias.copy_from_slice(given.f32s()),
            None => bias.fill(0.0),
        }
        let weights = params.weights.expect("weights");
        match weights.desc().dtype() {
            DType::S8 => self.pack::<i8>(weights, packed),
            _ => self.pack::<Bf16>(weights, packed),
        }
    }

    fn prepare_factors(&self, factors: &[f32], packed: &mut [CacheLine]) {
        let c_out = self.conv.c_out;
        let own = &mut as_elements_mut::<f32>(&mut packed[..self.vectors])[c_out..][..c_out];
        own.copy_from_slice(factors);
        if self.fault == Fault::OneFactor {
            own.fill(factors[0]);
        }
    }

    fn run(&self, args: RunArgs<'_>) {
        args.assert_fit(&self.spec);
        let RunArgs {
            src,
            residual,
            mut dst,
            packed,
            ..
        } = args;
        let (vectors, weights) = packed.split_at(self.vectors);
        let vectors = as_elements::<f32>(vectors);
        let desc = dst.desc();
        let [n, c, h, w] = desc.dims();
        let outputs = n * c * h * w;
        let written = outputs - usize::from(self.fault == Fault::DroppedLast);
        for i in 0..outputs {
            let at @ [_, k, _, _] = [i / (c * h * w), i / (h * w) % c, i / w % h, i % w];
            if i == written {
                continue;
            }
            let place = desc.offset(at);
            let residual = residual.map(|r| element(r, place));
            if src.desc().dtype() == DType::Bf16 {
                let bias = vectors[k];
                let y = self.bf16_sum(src, as_elements(weights), at) + bias;
                let y = y + residual.unwrap_or(0.0);
                let relu = self.spec.problem.epilogue.relu;
                self.write_bf16(&mut dst, place, if relu { y.max(0.0) } else { y });
                continue;
            }
            let sum = match src.desc().dtype() {
                DType::U8 => self.sum::<u8>(src, as_elements(weights), at),
                _ => self.sum::<i8>(src, as_elements(weights), at),
            };
            let y = self.scaled(sum, [vectors[k], vectors[c + k]], residual);
            self.store(&mut dst, place, sum, y);
        }
        self.clear_padding(&mut dst);
    }
}

impl NaivePlan {
    /// Writes zeros to the channels that pad the last block.
    fn clear_padding(&self, dst: &mut TensorMut<'_>) {
        let (desc, size) = (dst.desc(), dst.desc().dtype().size());
        let [n, c, h, w] = desc.dims();
        let stored = c.next_multiple_of(16);
        let padded = TensorDesc::new(desc.dtype(), desc.layout(), [n, stored, h, w]);
        for image in 0..n {
            for channel in c..stored {
                for pixel in 0..h * w {
                    let at = padded.offset([image, channel, pixel / w, pixel % w]) * size;
                    dst.bytes_mut()[at..][..size].fill(0);
                }
            }
        }
    }
}

fn problems() -> impl Iterator<Item = Problem> {
    TYPED
        .iter()
        .map(|text| text.parse::<Problem>().unwrap_or_else(|e| panic!("{e}")))
}

fn plan(fault: Fault, problem: &Problem) -> Box<dyn Plan> {
    let caches = Caches::default();
    let cx = PlanCx::new(Isa::Scalar.detect().expect("scalar"), &caches);
    Naive(fault).plan(problem, &cx).expect("a plan")
}

/// Failure of the checks on some problem.
fn caught(fault: Fault, integers: bool) -> Option<String> {
    let isa = Isa::Scalar.detect().expect("scalar");
    let naive = Naive(fault);
    let of_kind = |p: &Problem| p.dtypes.are_integers() == integers;
    problems().filter(of_kind).find_map(|problem| {
        match check(&naive, isa, &problem, Tuning::default(), &[]) {
            Ok(Outcome::Passed { .. }) => None,
            Ok(Outcome::Refused(why)) => panic!("{problem} was refused: {why}"),
            Err(failure) => Some(failure.to_string()),
        }
    })
}

#[test]
fn the_control_passes() {
    for integers in [true, false] {
        assert_eq!(caught(Fault::Nothing, integers), None);
    }
}

#[test]
fn every_mutant_is_caught() {
    for (faults, integers) in FAULTS.into_iter().zip([true, false]) {
        for &fault in faults {
            let failure = caught(fault, integers);
            assert!(
                failure.is_some(),
                "{fault:?} passed on integers: {integers}"
            );
            println!("{fault:?}: {}", failure.unwrap_or_default());
        }
    }
}

/// On random reals a lost term exceeds the bound, and errors of a correct kernel come close to it.
#[test]
fn bounds_of_bf16_are_tight() {
    for problem in problems().filter(|p| !p.dtypes.are_integers()) {
        let data = Data::new(&problem, Fill::Uniform, 5);
        let expected = reference::compute(&problem, data.operands(), &Serial);
        let largest = expected.iter().fold(0.0, |most: f64, y| most.max(y.abs()));
        let bound = Bound::new(Accuracy::Sum, &problem, 1.0, largest);
        let share = |fault| {
            let mut instance = Instance::new(plan(fault, &problem)).expect("memory");
            instance.load(data.operands(), &Serial);
            instance.run(&Serial);
            let output = instance.exact_output_nchw(&Serial).expect("memory");
            let errors = output.iter().zip(&expected);
            let shares = errors.map(|(y, &want)| (y - want).abs() / bound.at(want));
            shares.fold(0.0, f64::max)
        };
        let (correct, lost) = (share(Fault::Nothing), share(Fault::LostTerm));
        assert!((0.005..=1.0).contains(&correct), "{problem}: {correct}");
        assert!(lost > 4.0, "{problem}: {lost}");
    }
}

/// In integer outputs no value is poison, so two runs on outputs with different values show what wasn't written. The
/// fault is found even if the expected value is the first poison.
#[test]
fn an_integer_that_is_not_written_is_found() {
    for dt in ["u8:s8:u8", "s8:s8:s8", "u8:s8:s32", "bf16:bf16:bf16"] {
        let text = format!("--dt={dt} mb1ic4ih3oc16oh3kh1ph0");
        let problem: Problem = text.parse().expect("a problem");
        let data = Data::new(&problem, Fill::Integers, 1);
        let mut instance = Instance::new(plan(Fault::DroppedLast, &problem)).expect("memory");
        instance.load(data.operands(), &Serial);
        let mut last = || {
            instance.poison_output();
            instance.run(&Serial);
            *instance
                .exact_output_nchw(&Serial)
                .expect("memory")
                .last()
                .expect("an output")
        };
        let (first, second) = (last(), last());
        assert!(first.is_nan() || first != second, "{dt}: {first} twice");
    }
}

#[test]
fn outputs_of_32_bits_are_compared_exactly() {
    let problem: Problem = "--dt=s8:s8:s32 mb1ic1041ih1oc1kh1"
        .parse()
        .expect("a problem");
    let ones = [127.0f32; 1041];
    let x = Operands {
        src: &ones[..],
        weights: &ones,
        ..Operands::default()
    };
    let expected = reference::compute(&problem, x, &Serial);
    let mut instance = Instance::new(plan(Fault::Nothing, &problem)).expect("memory");
    instance.load(x, &Serial);
    instance.run(&Serial);
    let output = instance.exact_output_nchw(&Serial).expect("memory");
    assert_eq!(output, expected);
    // An odd number above 2^24, which no f32 is.
    assert_eq!(output, [16_790_289.0]);
    assert_eq!(
        instance.output_nchw(&Serial).expect("memory"),
        [16_790_288.0]
    );
}

/// Layers that parse, but that no algorithm computes in their types.
#[test]
fn layers_without_kernels_are_refused_with_a_reason() {
    let (isa, caches) = (Isa::best(), Caches::default());
    for text in [
        "--binary --alg=add --sdt=bf16:f32 --ddt=bf16 1x16x7x7:1x16x1x1",
        "--pool --alg=avg_np --dt=u8 mb1ic1ih300oh1kh300sh1ph0",
    ] {
        let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{e}"));
        for algorithm in Registry::builtin().algorithms() {
            let plan = algorithm.plan(&problem, &PlanCx::new(isa, &caches));
            let id = algorithm.meta().id;
            let refused = plan.err().unwrap_or_else(|| panic!("{id} plans {problem}"));
            assert!(!refused.to_string().is_empty());
        }
    }
}
