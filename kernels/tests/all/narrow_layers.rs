//! Poolings, concatenations, ReLUs, sums and conversions of u8, s8 and bf16 against their definitions, on every instruction
//! set and several numbers of threads. Naive poolings with a fault must be caught by the same checks.

use convroof_kernels::blocking::{Caches, Tuning};
use convroof_kernels::conformance::{Outcome, check};
use convroof_kernels::cost::Accuracy;
use convroof_kernels::dtype::{Bf16, DType, Element};
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::compute;
use convroof_kernels::plan::{AlgorithmMeta, PlanSpec, RunArgs};
use convroof_kernels::problem::{Op, Operands, PoolKind, PoolShape};
use convroof_kernels::tensor::Layout;
use convroof_kernels::{Algorithm, Isa, Plan, PlanCx, Problem, Registry, Unsupported};

/// Sizes of poolings: usual windows, and others with padding, dilation and several images. Channels are around the vectors
/// of all types.
const POOLS: [&str; 10] = [
    "mb1ic64ih13oh6kh3sh2ph0",
    "mb2ic65ih8oh8kh3sh1ph1",
    "mb1ic127ih8oh4kh2sh2ph0",
    "mb1ic260ih6oh3kh3sh2ph1",
    "mb1ic3ih9iw7oh5ow4kh3kw3sh2sw2ph1pw1",
    "mb3ic16ih5iw9oh5ow9kh3kw3sh1sw1ph1pw1",
    "mb1ic33ih7iw11oh4ow5kh4kw3sh1sw2ph0pw0",
    "mb1ic20ih9iw9oh7ow7kh3kw3sh1sw1ph1pw1dh1dw1",
    "mb2ic70ih7iw7oh1ow1kh7kw7sh1sw1ph0pw0",
    "mb1ic5ih20iw20oh1ow1kh20kw20sh1sw1ph0pw0",
];

/// Layers without windows, and the algorithms that compute them.
const OTHERS: [(&str, &[&str]); 20] = [
    (
        "--eltwise --alg=linear --dt=u8 2x7x5x3",
        &["copy", "copy-stream"],
    ),
    (
        "--eltwise --alg=linear --dt=s8 1x64x14x14",
        &["copy", "copy-stream"],
    ),
    (
        "--eltwise --alg=linear --dt=bf16 1x3x1x1",
        &["copy", "copy-stream"],
    ),
    (
        "--eltwise --alg=relu --dt=u8 1x33x5x5",
        &["relu", "relu-stream"],
    ),
    (
        "--eltwise --alg=relu --dt=s8 1x130x7x9",
        &["relu", "relu-stream"],
    ),
    (
        "--eltwise --alg=relu --dt=bf16 3x65x7x5",
        &["relu", "relu-stream"],
    ),
    (
        "--binary --alg=add --sdt=u8:u8 --ddt=u8 --attr-scales=src:common:0.3+src1:common:0.6 1x64x9x9:1x64x9x9",
        &["add"],
    ),
    (
        "--binary --alg=add --sdt=s8:s8 --ddt=s8 --attr-scales=src:common:1.7+src1:common:0.1 --attr-post-ops=relu 2x5x3x3:2x5x3x3",
        &["add"],
    ),
    (
        "--binary --alg=add --sdt=u8:s8 --ddt=u8 1x7x7x7:1x7x7x7",
        &["add"],
    ),
    (
        "--binary --alg=add --sdt=s8:f32 --ddt=s8 1x17x7x7:1x17x7x7",
        &["add"],
    ),
    (
        "--binary --alg=add --sdt=bf16:bf16 --ddt=bf16 --attr-post-ops=relu 1x70x5x5:1x70x5x5",
        &["add"],
    ),
    (
        "--binary --alg=add --sdt=bf16:f32 --ddt=bf16 1x3x5x5:1x3x5x5",
        &["add"],
    ),
    (
        "--concat --axis=1 --sdt=s8 --ddt=s8 2x17x5x5:2x3x5x5:2x32x5x5",
        &["concat"],
    ),
    (
        "--concat --axis=1 --sdt=bf16 --ddt=bf16 1x32x6x7:1x16x6x7:1x5x6x7",
        &["concat"],
    ),
    (
        "--reorder --sdt=f32 --ddt=u8 --attr-scales=dst:common:0.006 --attr-zero-points=dst:common:128 2x7x5x3",
        &["convert"],
    ),
    (
        "--reorder --sdt=bf16 --ddt=s8 --attr-scales=dst:common:0.007 1x70x9x9",
        &["convert"],
    ),
    (
        "--reorder --sdt=u8 --ddt=f32 --attr-scales=src:common:0.3 --attr-zero-points=src:common:128 1x65x5x7",
        &["convert"],
    ),
    (
        "--reorder --sdt=s8 --ddt=bf16 --attr-scales=src:common:0.3 1x17x7x7",
        &["convert"],
    ),
    (
        "--reorder --sdt=s8 --ddt=u8 --attr-scales=src:common:0.02+dst:common:0.05 --attr-zero-points=src:common:-9+dst:common:40 1x33x6x6",
        &["convert"],
    ),
    ("--reorder --sdt=f32 --ddt=bf16 1x3x5x5", &["convert"]),
];

const TYPES: [&str; 3] = ["u8", "s8", "bf16"];

/// Tasks: derived, and small ones.
const TUNINGS: [Tuning; 2] = [
    Tuning { mc: None, nc: None },
    Tuning {
        mc: Some(1),
        nc: None,
    },
];

fn problem(text: &str) -> Problem {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Checks that some algorithms compute a layer, on every instruction set that is its own base.
fn conform(problem: &Problem, ids: &[&str]) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
    let pool = pool.expect("a pool");
    for id in ids {
        let algorithm = Registry::builtin().algorithm(id).expect(id);
        for isa in algorithm.meta().isas.iter().filter_map(|isa| isa.detect()) {
            for tuning in TUNINGS {
                match check(algorithm, isa, problem, tuning, &[&pool]) {
                    Ok(Outcome::Passed { .. }) => {}
                    Ok(Outcome::Refused(why)) => panic!("{id} refuses {problem}: {why}"),
                    Err(wrong) => panic!("{id}: {wrong}"),
                }
            }
        }
    }
}

#[test]
fn maxima_equal_their_definition() {
    for (dt, sizes) in TYPES.iter().flat_map(|dt| POOLS.map(|sizes| (dt, sizes))) {
        let problem = problem(&format!("--pool --alg=max --dt={dt} {sizes}"));
        conform(&problem, &["maxpool-nhwc"]);
    }
}

#[test]
fn means_of_bytes_equal_their_definition_and_those_of_bf16_are_within_their_bounds() {
    for (dt, sizes) in TYPES.iter().flat_map(|dt| POOLS.map(|sizes| (dt, sizes))) {
        for alg in ["avg_p", "avg_np"] {
            let problem = problem(&format!("--pool --alg={alg} --dt={dt} {sizes}"));
            let ids: &[&str] = match problem.dst_dims() {
                [_, _, 1, 1] => &["avgpool-nhwc", "global-avgpool-nhwc"],
                _ => &["avgpool-nhwc"],
            };
            conform(&problem, ids);
        }
    }
}

#[test]
fn layers_without_windows_equal_their_definition() {
    for (text, ids) in OTHERS {
        conform(&problem(text), ids);
    }
}

/// Output of an algorithm on the best instruction set.
fn output(id: &str, text: &str, src: &[f32], residual: &[f32]) -> Vec<f32> {
    let caches = Caches::default();
    let algorithm = Registry::builtin().algorithm(id).expect(id);
    let best = algorithm
        .meta()
        .isas
        .iter()
        .rev()
        .find_map(|isa| isa.detect());
    let cx = PlanCx::new(best.expect("scalar code runs everywhere"), &caches);
    let plan = algorithm.plan(&problem(text), &cx);
    let x = Operands {
        src,
        residual,
        ..Operands::default()
    };
    compute(plan.unwrap_or_else(|e| panic!("{text}: {e}")), x, &Serial).expect("memory")
}

#[test]
fn special_values_of_bf16() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let max = |src: &[f32; 4]| {
        let text = "--pool --alg=max --dt=bf16 mb1ic1ih2oh1kh2sh1ph0";
        output("maxpool-nhwc", text, src, &[])[0]
    };
    assert_eq!(max(&[-inf, -3.0, -4.0, -inf]), -3.0);
    assert_eq!(max(&[-inf; 4]), -inf);
    assert_eq!(max(&[1.0, inf, -inf, 2.0]), inf);
    for nan in [nan, -nan] {
        assert!(max(&[nan, inf, 1.0, 2.0]).is_nan());
        assert!(max(&[-inf, -1.0, -2.0, nan]).is_nan());
    }
    let text = "--eltwise --alg=relu --dt=bf16 1x4x1x2";
    let src = [nan, -nan, -inf, inf, -1e-40, 1e-39, -2.0, 3.0];
    let y = output("relu", text, &src, &[]);
    assert!(y[0].is_nan() && y[1].is_nan());
    assert_eq!([y[2], y[3], y[4], y[6], y[7]], [0.0, inf, 0.0, 0.0, 3.0]);
    assert!(y[5] > 0.0, "a denormal stays one");
}

#[test]
fn bytes_round_to_even_and_saturate() {
    let mean = |dt: &str, src: &[f32; 4]| {
        let text = format!("--pool --alg=avg_np --dt={dt} mb1ic1ih2oh1kh2sh1ph0");
        output("avgpool-nhwc", &text, src, &[])[0]
    };
    // 0.5, 1.5, 2.5 and 254.5
    assert_eq!(mean("u8", &[0.0, 0.0, 1.0, 1.0]), 0.0);
    assert_eq!(mean("u8", &[0.0, 3.0, 1.0, 2.0]), 2.0);
    assert_eq!(mean("u8", &[0.0, 4.0, 4.0, 2.0]), 2.0);
    assert_eq!(mean("u8", &[254.0, 255.0, 254.0, 255.0]), 254.0);
    // -0.5, -1.5 and -127.5
    assert_eq!(mean("s8", &[0.0, -1.0, 0.0, -1.0]), 0.0);
    assert_eq!(mean("s8", &[-3.0, 0.0, -1.0, -2.0]), -2.0);
    assert_eq!(mean("s8", &[-128.0, -128.0, -127.0, -127.0]), -128.0);
    let text = "--reorder --sdt=f32 --ddt=s8 --attr-scales=dst:common:0.5 --attr-zero-points=dst:common:-1 1x1x1x5";
    let src = [0.25, 0.75, f32::INFINITY, -f32::MAX, f32::NAN];
    // -0.5, 0.5, and values beyond the limits.
    assert_eq!(
        output("convert", text, &src, &[]),
        [0.0, 0.0, 127.0, -128.0, 0.0]
    );
    let text =
        "--binary --alg=add --sdt=s8:s8 --ddt=s8 --attr-scales=src:common:0.5 1x1x1x4:1x1x1x4";
    let y = output(
        "add",
        text,
        &[1.0, 3.0, 127.0, -128.0],
        &[0.0, 0.0, 127.0, -128.0],
    );
    assert_eq!(y, [0.0, 2.0, 127.0, -128.0]);
}

/// Fault of a pooling.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// No fault: the control, which must pass.
    Nothing,
    /// Maxima begin with 0, or with the least positive number.
    BeginsWithZero,
    /// Signed bytes are compared as unsigned ones.
    Unsigned,
    /// bf16s are compared by their bits, as signed integers.
    ByBits,
    /// A NaN in a window is ignored.
    LostNan,
    /// Sums of bytes wrap at 16 bits.
    Wrapped,
    /// Means are products with the rounded reciprocal of the number of elements.
    Reciprocal,
    /// Halves are rounded up.
    HalfUp,
    /// Means are cut off.
    CutOff,
    /// The divisor is the size of the window, also without its padding.
    PaddingCounted,
    /// The last element isn't written.
    DroppedLast,
}

/// Faults, each with a layer on which it must be found.
const FAULTS: [(Fault, &str); 12] = [
    (
        Fault::BeginsWithZero,
        "--alg=max --dt=s8 mb1ic6ih6oh6kh3ph1",
    ),
    (
        Fault::BeginsWithZero,
        "--alg=max --dt=bf16 mb1ic6ih6oh3kh2sh2",
    ),
    (Fault::Unsigned, "--alg=max --dt=s8 mb1ic6ih6oh6kh3ph1"),
    (Fault::ByBits, "--alg=max --dt=bf16 mb1ic6ih6oh3kh2sh2"),
    (Fault::LostNan, "--alg=max --dt=bf16 mb1ic6ih6oh6kh3ph1"),
    (Fault::Wrapped, "--alg=avg_np --dt=u8 mb1ic6ih20oh1kh20ph0"),
    (
        Fault::Reciprocal,
        "--alg=avg_np --dt=u8 mb1ic40ih10iw11oh6ow6kh5kw6sh1sw1ph0pw0",
    ),
    (Fault::HalfUp, "--alg=avg_np --dt=u8 mb1ic6ih6oh3kh2sh2ph0"),
    (Fault::HalfUp, "--alg=avg_np --dt=s8 mb1ic6ih6oh3kh2sh2ph0"),
    (Fault::CutOff, "--alg=avg_np --dt=bf16 mb1ic6ih6oh6kh3ph1"),
    (
        Fault::PaddingCounted,
        "--alg=avg_np --dt=s8 mb1ic6ih6oh6kh3ph1",
    ),
    (Fault::DroppedLast, "--alg=max --dt=u8 mb1ic6ih6oh6kh3ph1"),
];

/// Naive poolings on NHWC, with a fault.
struct Naive(Fault);

struct NaivePlan {
    spec: PlanSpec,
    pool: PoolShape,
    fault: Fault,
}

impl Algorithm for Naive {
    fn meta(&self) -> &'static AlgorithmMeta {
        const {
            &AlgorithmMeta {
                id: "naive",
                summary: "poolings of u8, s8 and bf16",
                isas: &[Isa::Scalar],
                accuracy: Accuracy::Mean,
            }
        }
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let Op::Pool(pool) = problem.op else {
            return Err(Unsupported::new("computes poolings only"));
        };
        Ok(Box::new(NaivePlan {
            spec: PlanSpec::new(problem, Layout::Nhwc, &cx.target()?, 0),
            pool,
            fault: self.0,
        }))
    }
}

impl NaivePlan {
    fn run_as<T: Element>(&self, args: RunArgs<'_>) {
        let RunArgs { src, mut dst, .. } = args;
        let (from, to) = (src.desc(), dst.desc());
        let [n, c, h, w] = to.dims();
        let outputs = n * c * h * w;
        let [down, across] = self.pool.windows();
        let written = outputs - usize::from(self.fault == Fault::DroppedLast);
        for i in 0..written {
            let [image, channel, y, x] = [i / (c * h * w), i / (h * w) % c, i / w % h, i % w];
            let mut window = Vec::new();
            for row in down.inside(y).map(|r| down.at(y, r)) {
                for column in across.inside(x).map(|s| across.at(x, s)) {
                    window.push(src.elements::<T>()[from.offset([image, channel, row, column])]);
                }
            }
            let output = match self.pool.kind {
                PoolKind::Max => self.maximum(&window),
                _ => {
                    let inside = down.count(y) * across.count(x);
                    self.mean(
                        &window,
                        if self.fault == Fault::PaddingCounted {
                            self.pool.elements()
                        } else {
                            inside
                        },
                    )
                }
            };
            dst.elements_mut::<T>()[to.offset([image, channel, y, x])] = output;
        }
    }

    fn maximum<T: Element>(&self, window: &[T]) -> T {
        let order = |x: &T| -> f64 {
            match self.fault {
                Fault::Unsigned => x.to_f64().rem_euclid(256.0),
                Fault::ByBits => {
                    let bits = Bf16::from_f32(x.to_f64() as f32).to_bits();
                    f64::from(bits as i16)
                }
                Fault::LostNan if x.to_f64().is_nan() => f64::NEG_INFINITY,
                _ if x.to_f64().is_nan() => f64::INFINITY,
                _ => x.to_f64(),
            }
        };
        let zero = T::from_f32(0.0);
        let first = if self.fault == Fault::BeginsWithZero {
            zero
        } else {
            window[0]
        };
        let larger = |max: T, x: &T| if order(x) > order(&max) { *x } else { max };
        window.iter().fold(first, larger)
    }

    fn mean<T: Element>(&self, window: &[T], count: usize) -> T {
        let mut sum: f32 = window.iter().map(|x| x.to_f64() as f32).sum();
        if self.fault == Fault::Wrapped {
            sum = f32::from(sum as i64 as i16);
        }
        let mean = match self.fault {
            Fault::Reciprocal => sum * (1.0 / count as f32),
            _ => sum / count as f32,
        };
        match self.fault {
            Fault::HalfUp => T::from_f32((mean + 0.5).floor()),
            Fault::CutOff => T::from_f32(f32::from_bits(mean.to_bits() & 0xffff_0000)),
            _ => T::from_f32(mean),
        }
    }
}

impl Plan for NaivePlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn run(&self, args: RunArgs<'_>) {
        args.assert_fit(&self.spec);
        match self.spec.problem.dtypes.src {
            DType::U8 => self.run_as::<u8>(args),
            DType::S8 => self.run_as::<i8>(args),
            _ => self.run_as::<Bf16>(args),
        }
    }
}

/// Failure of the checks.
fn caught(fault: Fault, text: &str) -> Option<String> {
    let isa = Isa::Scalar.detect().expect("scalar");
    let problem = problem(&format!("--pool {text}"));
    match check(&Naive(fault), isa, &problem, Tuning::default(), &[]) {
        Ok(Outcome::Passed { .. }) => None,
        Ok(Outcome::Refused(why)) => panic!("{problem} was refused: {why}"),
        Err(failure) => Some(failure.to_string()),
    }
}

#[test]
fn every_mutant_is_caught() {
    for (fault, text) in FAULTS {
        assert_eq!(caught(Fault::Nothing, text), None, "the control");
        let failure = caught(fault, text);
        assert!(failure.is_some(), "{fault:?} passed on {text}");
        println!("{fault:?}: {}", failure.unwrap_or_default());
    }
}

#[test]
fn what_no_kernel_computes_is_refused_with_a_reason() {
    let caches = Caches::default();
    for (id, text, reason) in [
        (
            "maxpool",
            "--pool --alg=max --dt=u8 mb1ic16ih8oh4kh2sh2ph0",
            "f32 only",
        ),
        (
            "global-avgpool-nhwc",
            "--pool --alg=avg_np --dt=u8 mb1ic1ih300oh1kh300sh1ph0",
            "65793 elements",
        ),
        (
            "bias",
            "--binary --alg=add --sdt=bf16:f32 --ddt=bf16 1x16x7x7:1x16x1x1",
            "f32 only",
        ),
        (
            "add-stream",
            "--binary --alg=add --sdt=u8:u8 --ddt=u8 1x16x7x7:1x16x7x7",
            "streaming stores",
        ),
    ] {
        let algorithm = Registry::builtin().algorithm(id).expect(id);
        let plan = algorithm.plan(&problem(text), &PlanCx::new(Isa::best(), &caches));
        let refused = plan.err().unwrap_or_else(|| panic!("{id} plans {text}"));
        assert!(refused.to_string().contains(reason), "{id}: {refused}");
    }
}
