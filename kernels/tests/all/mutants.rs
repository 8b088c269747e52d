//! Kernels with a fault, each of which the conformance checks must reject, on scalar and on vector code.
#![allow(unsafe_code)]

use convroof_kernels::algo::winograd::{F4X3, Transforms, Winograd};
use convroof_kernels::blocking::Tuning;
use convroof_kernels::conformance::{Outcome, check};
use convroof_kernels::cook_toom::{Arithmetic, Constant, F4x3, Matrices, Scheme};
use convroof_kernels::exec::{Executor, Turn};
use convroof_kernels::plan::{AlgorithmMeta, Params, PlanSpec, RunArgs};
use convroof_kernels::problem::{ConvShape, Op, Problem};
use convroof_kernels::registry::Registry;
use convroof_kernels::surd::Surd;
use convroof_kernels::tensor::{CacheLine, TensorMut, TensorRef, as_f32s, as_f32s_mut};
use convroof_kernels::{Algorithm, Isa, IsaToken, Plan, PlanCx, Unsupported};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Fault of a mutant.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// No fault: the control, which must pass.
    Nothing,
    /// The last element of the output isn't written.
    DroppedLast,
    /// The last row of each map repeats the row above.
    RepeatedRow,
    /// One product of the sum is missing from one output.
    LostTerm,
    /// One element of the input counts twice.
    WrongInput,
    /// No bias.
    NoBias,
    /// No ReLU.
    NoRelu,
    /// No residual.
    NoResidual,
    /// Data of the previous run are added.
    StaleWorkspace,
    /// Channels that pad the last block of the output are not zeros.
    DirtyChannels,
    /// The order of the sum depends on the number of threads.
    ThreadDependent,
    /// An error of a few units in the last place, everywhere: allowed for Winograd, wrong for a sum of integers.
    Rounding,
    /// Variances are divided by the number of elements minus one.
    Unbiased,
    /// The second channel block is computed as if it were the first.
    BlockAlone,
    /// The padding at the left is a column too narrow, and that at the right too wide.
    PadColumn,
    /// The last tap of one filter is missing.
    LastTap,
    /// Tasks find data of others in their scratch, and don't fill it.
    StaleScratch,
}

const FAULTS: [Fault; 11] = [
    Fault::DroppedLast,
    Fault::RepeatedRow,
    Fault::LostTerm,
    Fault::WrongInput,
    Fault::NoBias,
    Fault::NoRelu,
    Fault::NoResidual,
    Fault::StaleWorkspace,
    Fault::DirtyChannels,
    Fault::ThreadDependent,
    Fault::Rounding,
];

/// A kernel with a fault applied to its operands or output.
struct Mutant(&'static dyn Algorithm, Fault);

struct MutantPlan {
    fault: Fault,
    inner: Box<dyn Plan>,
    spec: PlanSpec,
}

fn kernel(id: &str) -> &'static dyn Algorithm {
    let id = format!("{id}/scalar/st").parse().expect("an id");
    Registry::builtin().find(&id).expect("listed").algorithm
}

impl Algorithm for Mutant {
    fn meta(&self) -> &'static AlgorithmMeta {
        self.0.meta()
    }

    fn plan(&self, problem: &Problem, cx: &PlanCx<'_>) -> Result<Box<dyn Plan>, Unsupported> {
        let mut altered = *problem;
        match self.1 {
            Fault::NoBias => altered.epilogue.bias = false,
            Fault::NoRelu => altered.epilogue.relu = false,
            Fault::NoResidual => altered.epilogue.residual = false,
            Fault::PadColumn => altered.op = without_a_pad_column(&problem.op),
            _ => {}
        }
        let inner = self.0.plan(&altered, cx)?;
        let mut spec = inner.spec().clone();
        spec.problem = *problem;
        spec.workspace_lines_per_worker += 1;
        Ok(Box::new(MutantPlan {
            fault: self.1,
            inner,
            spec,
        }))
    }
}

impl Plan for MutantPlan {
    fn spec(&self) -> &PlanSpec {
        &self.spec
    }

    fn prepare(&self, params: Params<'_>, packed: &mut [CacheLine], exec: &dyn Executor) {
        let bias = params
            .bias
            .filter(|_| self.inner.spec().problem.epilogue.bias);
        let mut filters = params.weights.map(|w| w.f32s().to_vec());
        if let (Fault::LastTap, Some(filters)) = (self.fault, &mut filters) {
            *filters.last_mut().expect("a tap") = 0.0;
        }
        let weights = params.weights.zip(filters.as_deref());
        let weights = weights.map(|(w, filters)| TensorRef::from_f32s(w.desc(), filters));
        self.inner.prepare(Params { weights, bias }, packed, exec);
        if self.fault == Fault::LostTerm {
            // First weight after the first panel's bias.
            as_f32s_mut(packed)[32] = 0.0;
        }
    }

    fn run(&self, args: RunArgs<'_>) {
        let width = args.exec.width();
        let lines = self.inner.spec().workspace_lines();
        let (own, mine) = args.workspace.split_at_mut(lines);
        let mut source = args.src.f32s().to_vec();
        if self.fault == Fault::WrongInput {
            source[0] *= 2.0;
        }
        let mut dst = args.dst;
        let desc = dst.desc();
        let out = dst.f32s_mut();
        let kept = *out.last().expect("an element");
        let stale = Stale(args.exec);
        let exec = match self.fault {
            Fault::StaleScratch => &stale,
            _ => args.exec,
        };
        self.inner.run(RunArgs {
            src: TensorRef::from_f32s(args.src.desc(), &source),
            residual: args
                .residual
                .filter(|_| self.inner.spec().problem.epilogue.residual),
            dst: TensorMut::from_f32s(desc, out),
            packed: args.packed,
            workspace: &mut *own,
            exec,
            phases: args.phases,
        });
        let [_, c, h, w] = desc.dims();
        match self.fault {
            Fault::DroppedLast => *out.last_mut().expect("an element") = kept,
            Fault::RepeatedRow if h > 1 => {
                let row = w * 16;
                out.copy_within((h - 2) * row..(h - 1) * row, (h - 1) * row);
            }
            Fault::StaleWorkspace => {
                let stale = as_f32s(mine)[0];
                if !stale.is_nan() {
                    out[0] += stale;
                }
                as_f32s_mut(mine)[0] = 1.0;
            }
            Fault::DirtyChannels if !c.is_multiple_of(16) => {
                *out.last_mut().expect("an element") = 1.0;
            }
            Fault::ThreadDependent => out[0] += (width - 1) as f32 * 1e-3,
            Fault::Unbiased => {
                let [n, _, h, w] = args.src.desc().dims();
                let count = (n * h * w) as f32;
                let variances = out.len() / 2;
                out[variances..]
                    .iter_mut()
                    .for_each(|x| *x *= count / (count - 1.0));
            }
            Fault::BlockAlone => {
                let map = h * w * 16;
                source[..map].fill(0.0);
                let mut alone = vec![0.0; out.len()];
                self.inner.run(RunArgs {
                    src: TensorRef::from_f32s(args.src.desc(), &source),
                    residual: None,
                    dst: TensorMut::from_f32s(desc, &mut alone),
                    packed: args.packed,
                    workspace: own,
                    exec: args.exec,
                    phases: None,
                });
                out[map..2 * map].copy_from_slice(&alone[map..2 * map]);
            }
            Fault::Rounding => out.iter_mut().for_each(|x| *x *= 1.0 + 2.0 * f32::EPSILON),
            _ => {}
        }
    }
}

/// A convolution whose padding at the left is a column narrower.
fn without_a_pad_column(op: &Op) -> Op {
    let Op::Conv(conv) = op else {
        panic!("no convolution");
    };
    let mut spec = **conv;
    spec.pad.left -= 1;
    spec.pad.right += 1;
    ConvShape::try_from(spec)
        .expect("an output as large")
        .into()
}

/// An executor that takes all tasks for successors of others with equal data in their scratch.
struct Stale<'a>(&'a dyn Executor);

// SAFETY: the inner executor's calls. A wrong `before` changes only what tasks expect in their own scratch.
unsafe impl Executor for Stale<'_> {
    fn width(&self) -> usize {
        self.0.width()
    }

    fn run(&self, tasks: usize, f: &(dyn Fn(Turn) + Sync)) {
        self.0.run(tasks, &|turn| {
            let before = Some(turn.task);
            f(Turn { before, ..turn });
        });
    }
}

/// Faults in windows and in shared scratch, with algorithms that have these.
const WINDOWS: [(&str, &str, &[Fault]); 7] = [
    (
        "direct",
        "mb1ic3ih9oc20oh9kh3ph1",
        &[Fault::PadColumn, Fault::LastTap, Fault::StaleScratch],
    ),
    (
        "direct",
        "g16mb1ic16ih9oc16oh9kh3ph1",
        &[Fault::PadColumn, Fault::LastTap],
    ),
    (
        "implicit-gemm",
        "mb1ic17ih9oc20oh9kh3ph1",
        &[Fault::PadColumn, Fault::LastTap],
    ),
    (
        "im2col",
        "mb1ic17ih9oc20oh9kh3ph1",
        &[Fault::PadColumn, Fault::LastTap, Fault::StaleScratch],
    ),
    (
        "winograd-f4x3",
        "mb1ic17ih9oc20oh9kh3ph1",
        &[Fault::PadColumn, Fault::LastTap, Fault::StaleScratch],
    ),
    (
        "winograd-f2x3-s2",
        "mb1ic17ih9oc20oh5kh3sh2ph1",
        &[Fault::PadColumn, Fault::LastTap, Fault::StaleScratch],
    ),
    (
        "strassen-1x1",
        "mb1ic32ih4oc64oh4kh1ph0",
        &[Fault::LastTap, Fault::StaleScratch],
    ),
];

/// Shapes so small that each mutant runs all of them.
const PROBLEMS: [&str; 4] = [
    "mb1ic3ih6oc16oh6kh3ph1",
    "--dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb2ic17ih5oc20oh5kh3ph1",
    "--dir=FWD_B --attr-post-ops=relu mb1ic16ih7oc33oh4kh3sh2ph1",
    "mb1ic5ih9oc7oh9kh1ph0",
];

/// Kernels without a window, with the faults that apply to them.
const OTHERS: [(&str, &str, &[Fault]); 13] = [
    (
        "fc",
        "--dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu --ip mb2ic20ih2oc40",
        &[
            Fault::DroppedLast,
            Fault::LostTerm,
            Fault::WrongInput,
            Fault::NoBias,
            Fault::NoRelu,
            Fault::NoResidual,
            Fault::StaleWorkspace,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
            Fault::Rounding,
        ],
    ),
    (
        "relu",
        "--eltwise --alg=relu 2x20x3x5",
        &[
            Fault::RepeatedRow,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
            Fault::Rounding,
        ],
    ),
    (
        "bias",
        "--binary --alg=add --attr-post-ops=add:f32:per_tensor+relu 2x20x3x5:1x20x1x1",
        &[
            Fault::RepeatedRow,
            // First shift of the second block.
            Fault::LostTerm,
            Fault::NoRelu,
            Fault::NoResidual,
            Fault::DirtyChannels,
            Fault::Rounding,
        ],
    ),
    (
        "batchnorm",
        "--bnorm --flags=GCH --dir=FWD_B --attr-post-ops=add:f32:per_tensor mb2ic20ih3",
        &[
            Fault::RepeatedRow,
            Fault::LostTerm,
            Fault::WrongInput,
            Fault::NoBias,
            Fault::NoResidual,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
        ],
    ),
    (
        "statistics",
        "--statistics mb2ic20ih3",
        &[
            Fault::WrongInput,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
            Fault::Unbiased,
        ],
    ),
    (
        "lrn",
        "--lrn mb2ic20ih3iw5ls5alpha0.1beta0.75k1",
        &[
            Fault::RepeatedRow,
            Fault::WrongInput,
            Fault::StaleWorkspace,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
            Fault::BlockAlone,
        ],
    ),
    (
        "concat",
        "--concat --axis=1 2x20x3x5:2x5x3x5",
        &[
            Fault::RepeatedRow,
            Fault::WrongInput,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
            Fault::Rounding,
        ],
    ),
    (
        "attention-pool",
        "--attention --hidden=20 2x20x3x5",
        &[
            Fault::LostTerm,
            Fault::WrongInput,
            Fault::StaleWorkspace,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
        ],
    ),
    (
        "bilinear-pool",
        "--bilinear --alg=half 2x20x3x5",
        &[
            Fault::DroppedLast,
            Fault::WrongInput,
            Fault::StaleWorkspace,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
            Fault::Rounding,
        ],
    ),
    (
        "bilinear-pool-normalised",
        "--bilinear --alg=half_root_l2 2x20x3x5",
        &[
            Fault::WrongInput,
            Fault::StaleWorkspace,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
        ],
    ),
    (
        "direct-maxpool",
        "--dir=FWD_B --attr-post-ops=relu mb2ic3ih15oc20oh8kh3sh2ph1 + --pool --alg=max mb2ic20ih8oh4kh3sh2ph1",
        &[
            Fault::RepeatedRow,
            Fault::LostTerm,
            Fault::WrongInput,
            Fault::NoBias,
            Fault::NoRelu,
            Fault::StaleWorkspace,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
            Fault::Rounding,
        ],
    ),
    (
        "gemm-1x1-direct",
        "--dir=FWD_B --attr-post-ops=relu mb2ic20ih7oc33oh7kh1ph0 + --dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb2ic33ih7oc20oh7kh3ph1",
        &FAULTS,
    ),
    (
        "softmax",
        "--softmax --axis=1 2x20x3x5",
        &[
            Fault::RepeatedRow,
            Fault::WrongInput,
            Fault::StaleWorkspace,
            Fault::DirtyChannels,
            Fault::ThreadDependent,
        ],
    ),
];

/// Scalar code, and the widest vectors of this CPU.
fn isas() -> [IsaToken; 2] {
    [Isa::Scalar.detect().expect("scalar"), Isa::best()]
}

fn caught(
    kernel: &'static dyn Algorithm,
    isa: IsaToken,
    fault: Fault,
    problems: &[&str],
) -> Option<String> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("a pool");
    let mutant = Mutant(kernel, fault);
    problems.iter().find_map(|text| {
        let problem: Problem = text.parse().expect("a problem");
        match check(&mutant, isa, &problem, Tuning::default(), &[&pool]) {
            Ok(Outcome::Passed { .. }) => None,
            Ok(Outcome::Refused(reason)) => panic!("{fault:?} was refused: {reason}"),
            Err(failure) => Some(failure.to_string()),
        }
    })
}

#[test]
fn the_control_passes() {
    for isa in isas() {
        let control = |id, problems: &[&str]| {
            let failure = caught(kernel(id), isa, Fault::Nothing, problems);
            assert_eq!(failure, None, "{id}");
        };
        control("direct", &PROBLEMS);
        for (id, problem, _) in OTHERS.into_iter().chain(WINDOWS) {
            control(id, &[problem]);
        }
    }
}

#[test]
fn every_mutant_is_caught() {
    for isa in isas() {
        let mutant = |id, fault, problems: &[&str]| {
            let failure = caught(kernel(id), isa, fault, problems);
            assert!(
                failure.is_some(),
                "{id} with {fault:?} passed on {}",
                isa.isa()
            );
        };
        for fault in FAULTS {
            mutant("direct", fault, &PROBLEMS);
        }
        for (id, problem, faults) in OTHERS.into_iter().chain(WINDOWS) {
            for &fault in faults {
                mutant(id, fault, &[problem]);
            }
        }
    }
}

/// F(4, 3) with one changed coefficient. [`FAULT`] selects the row of the transforms: six of the input, then four of the
/// output.
#[derive(Clone, Copy, Debug)]
struct Faulty;

/// Index of the changed row. From [`ROWS`] on, no row is changed.
static FAULT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Number of rows: six of the input transform and four of the output transform.
const ROWS: usize = 6 + 4;

const ERROR: Constant = Constant::new(Surd::rational(1, 1000));

impl Scheme<4, 6, 6> for Faulty {
    const MATRICES: Matrices = F4x3::MATRICES;

    #[inline(always)]
    fn input<A: Arithmetic>(on: A, d: [A::Value; 6]) -> [A::Value; 6] {
        let mut out = F4x3::input(on, d);
        if let Some(x) = out.get_mut(FAULT.load(Relaxed)) {
            *x = on.mul_add(ERROR, d[3], *x);
        }
        out
    }

    #[inline(always)]
    fn output<A: Arithmetic>(on: A, m: [A::Value; 6]) -> [A::Value; 4] {
        let mut out = F4x3::output(on, m);
        if let Some(y) = out.get_mut(FAULT.load(Relaxed).wrapping_sub(6)) {
            *y = on.mul_add(ERROR, m[2], *y);
        }
        out
    }
}

#[test]
fn a_wrong_coefficient_is_caught() {
    let isa = Isa::Scalar.detect().expect("scalar");
    let problem = "mb1ic5ih9oc3oh9kh3ph1".parse().expect("a problem");
    let faulty = Winograd::of_maps(F4X3.meta(), Transforms::of::<Faulty, 4, 6, 6>());
    let run = || check(&faulty, isa, &problem, Tuning::default(), &[]);
    assert!(matches!(run(), Ok(Outcome::Passed { .. })), "the control");
    for fault in 0..ROWS {
        FAULT.store(fault, Relaxed);
        assert!(run().is_err(), "mutant {fault} passed");
    }
}
