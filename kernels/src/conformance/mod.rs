//! Checks that every variant passes, here and in other crates.
//!
//! [`check`] runs one plan in its own memory and requires all of this:
//!
//! * **exact tier**: on small integers, whose sums are exact in f32, the output equals the reference bit for bit. It is
//!   for algorithms that only sum products (see [`Accuracy`]);
//! * **bounded tier**: on random reals, the error of each output is within its [`Bound`]. Layers of integers are exact
//!   here, too, and on operands at the limits of their types;
//! * every output element is written: output, workspace and packed buffer start as NaN, and integer outputs start as
//!   another value in each run;
//! * guard lines around every buffer are unchanged;
//! * channels that pad a block of the output are zeros;
//! * a second run, with a stale workspace, gives equal bits, and so do runs of the bounded tier on other numbers of workers;
//! * the source and the packed weights are unchanged.
//!
//! [`cases`](mod@cases) has the shapes, `data.rs` the operands, `fenced.rs` the memory, `deviation.rs` the comparison.

pub mod cases;
mod data;
mod deviation;
mod fenced;

use crate::blocking::{Caches, Tuning};
use crate::cost::Accuracy;
use crate::data::Fill;
use crate::exec::{Serial, with_team};
use crate::instance::Instance;
use crate::isa::{Isa, IsaToken};
use crate::plan::{Algorithm, Plan, PlanCx};
use crate::problem::{DType, Effect, Op, Problem, Rounding};
use crate::reference;
use crate::window::Window;
use std::sync::Arc;

pub use data::Data;
pub use deviation::{Comparison, Deviation};

/// Result of a check.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All requirements are met.
    Passed {
        /// Deviation on random reals.
        deviation: Deviation,
        /// Largest error of an output on random reals, as a fraction of its bound; 0 if there is no error.
        share: f64,
    },
    /// The algorithm refuses the problem, for this reason.
    Refused(String),
}

/// Fault of a kernel, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Bound of the rounding errors of a problem's outputs.
///
/// Outputs of integers have no error: [`Requantisation`](crate::problem::Requantisation) defines each bit.
///
/// Products of bf16 are exact in f32, so sums of them have the error e of sums in f32. Transformed factors may be rounded to
/// bf16 again, which adds to e ([`Accuracy::rounded_factors`]). A bf16 output is rounded once more. The sum is at most |y| + e
/// for an exact y, so this adds half of the distance between bf16s there. CPUs may take denormals for zeros, so the least
/// normal number is allowed on top.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    effect: Effect,
    error: f64,
    dst: DType,
}

impl Bound {
    /// Bound for data up to `magnitude`. `largest` is max |ref|.
    pub fn new(accuracy: Accuracy, problem: &Problem, magnitude: f64, largest: f64) -> Self {
        let Rounding {
            effect,
            terms,
            max_x,
            max_w,
        } = problem.op.rounding(magnitude, largest);
        let epilogue = usize::from(problem.epilogue.bias) + usize::from(problem.epilogue.residual);
        let arithmetic = accuracy.tolerance(terms + epilogue, max_x, max_w);
        let factors = accuracy.rounded_factors(terms, max_x, max_w);
        let error = match problem.dtypes.src {
            DType::F32 => arithmetic,
            DType::Bf16 => arithmetic + factors + f64::from(f32::MIN_POSITIVE),
            _ => 0.0,
        };
        Bound {
            effect,
            error,
            dst: problem.dtypes.dst,
        }
    }

    /// Largest allowed error of an output that is `y` by the definition.
    ///
    /// The root of a number with the error d differs from the root y of the number itself by at most d / |y|, and by at most
    /// sqrt d.
    pub fn at(self, y: f64) -> f64 {
        let error = match self.effect {
            Effect::Absolute => self.error,
            Effect::Relative => self.error * y.abs(),
            Effect::Root => (self.error / y.abs()).min(self.error.sqrt()),
        };
        error + self.dst.rounding(y.abs() + error)
    }

    /// Largest allowed error of any output up to `largest`.
    fn most(self, largest: f64) -> f64 {
        match self.effect {
            Effect::Absolute | Effect::Relative => self.at(largest),
            Effect::Root => self.at(0.0),
        }
    }
}

/// Largest allowed max |error| / max |ref| for a problem on data up to `magnitude`. `largest` is max |ref|.
pub fn tolerance(accuracy: Accuracy, problem: &Problem, magnitude: f64, largest: f64) -> f64 {
    let most = Bound::new(accuracy, problem, magnitude, largest).most(largest);
    if largest == 0.0 { most } else { most / largest }
}

/// Compares a kernel's output with the reference, both in plain NCHW, on data up to `magnitude`.
pub fn compare<T: Copy + Into<f64>>(
    accuracy: Accuracy,
    problem: &Problem,
    magnitude: f64,
    output: &[T],
    reference: &[f64],
) -> Comparison {
    let deviation = Deviation::between(output, reference);
    Comparison {
        deviation,
        tolerance: tolerance(accuracy, problem, magnitude, deviation.largest),
    }
}

/// Checks one algorithm on one problem. `pools` are the numbers of workers for further runs.
///
/// # Errors
/// Description of the fault.
pub fn check(
    algorithm: &dyn Algorithm,
    isa: IsaToken,
    problem: &Problem,
    tuning: Tuning,
    pools: &[&rayon::ThreadPool],
) -> Result<Outcome, Failure> {
    let caches = Caches::default();
    let threads = pools
        .iter()
        .map(|p| p.current_num_threads())
        .max()
        .unwrap_or(1);
    let cx = PlanCx::new(isa, &caches)
        .with_threads(threads)
        .with_tuning(tuning);
    let plan: Arc<dyn Plan> = match algorithm.plan(problem, &cx) {
        Ok(plan) => plan.into(),
        Err(refused) => return Ok(Outcome::Refused(refused.to_string())),
    };
    let fail = |what: String| {
        Failure(format!(
            "{problem} on {} with {tuning:?}: {what}",
            isa.isa()
        ))
    };
    let accuracy = algorithm.meta().accuracy;
    let mut outcome = None;
    for fill in [Fill::Integers, Fill::Uniform] {
        let data = Data::new(problem, fill, 7);
        let exact = fill == Fill::Integers && accuracy.is_exact_on_integers();
        // Sums of reals alone depend on their order, and tasks don't depend on the values.
        let pools = if fill == Fill::Uniform { pools } else { &[] };
        let passed = tier(&plan, &data, pools, |largest| {
            (!exact).then(|| Bound::new(accuracy, problem, fill.magnitude(), largest))
        });
        outcome = Some(passed.map_err(|e| fail(format!("on {fill:?}, {e}")))?);
    }
    if problem.dtypes.are_integers() {
        let data = Data::at_limits(problem, 7);
        tier(&plan, &data, &[], |_| None)
            .map_err(|e| fail(format!("at the limits of the types, {e}")))?;
    } else if problem.op.keeps_nans() {
        nans_win(&plan).map_err(fail)?;
    }
    Ok(outcome.expect("two tiers were run"))
}

/// Checks a plan on some operands. `bound` gets max |ref|; `None` requires exact outputs.
fn tier(
    plan: &Arc<dyn Plan>,
    data: &Data,
    pools: &[&rayon::ThreadPool],
    bound: impl Fn(f64) -> Option<Bound>,
) -> Result<Outcome, String> {
    let problem = &plan.spec().problem;
    let mut expected = reference::compute(problem, data.operands(), &Serial);
    let mut instance = Instance::fenced(plan, data.operands())?;
    let first = instance.run_checked(&Serial)?;
    let deviation = Deviation::between(&first, &expected);
    let bound = bound(deviation.largest);
    if bound.is_none() && !problem.dtypes.dst.is_integer() {
        // Exact sums are rounded once, where they are stored. Integers are defined as they are stored.
        for y in &mut expected {
            *y = problem.dtypes.dst.stored(*y);
        }
    }
    let allowed = |want: f64| bound.map_or(0.0, |bound| bound.at(want));
    let (at, share) = largest_share(&first, &expected, allowed);
    if share > 1.0 {
        let (got, want) = (first[at], expected[at]);
        return Err(format!(
            "element {at} is {got} for {want}: an error of {:.3e}, allowed {:.3e}",
            (got - want).abs(),
            allowed(want),
        ));
    }
    let again = instance.run_checked(&Serial)?;
    same_bits(&first, &again)
        .map_err(|e| format!("a second run differs, or didn't write all of its output, {e}"))?;
    for pool in pools {
        let workers = pool.current_num_threads();
        let other = with_team(pool, |team| instance.run_checked(team))?;
        same_bits(&first, &other).map_err(|e| format!("{workers} workers differ from one {e}"))?;
    }
    Ok(Outcome::Passed { deviation, share })
}

/// Checks an algorithm on special values, for each of the [`cases::SPECIAL`] layers that it supports. Returns the
/// number of these layers.
///
/// * Inputs that no output reads are NaN.
/// * A weight whose tap may lie in the padding is infinite. [`ConvShape`](crate::problem::ConvShape) defines its allowed effects.
/// * Values are so large or small that their squares overflow or underflow an f32.
///
/// # Errors
/// Description of the fault.
pub fn special(algorithm: &dyn Algorithm, isa: IsaToken) -> Result<usize, Failure> {
    let (caches, mut layers) = (Caches::default(), 0);
    for text in cases::SPECIAL {
        let problem: Problem = text.parse().map_err(|e| Failure(format!("{e}")))?;
        let Ok(plan) = algorithm.plan(&problem, &PlanCx::new(isa, &caches)) else {
            continue;
        };
        layers += 1;
        let plan: Arc<dyn Plan> = plan.into();
        let data = Data::new(&problem, Fill::Uniform, 9);
        let meta = algorithm.meta();
        let trials = match &problem.op.windows() {
            Some(windows) => vec![
                Some(("NaN where no output reads", without_unread(windows, &data))),
                with_infinite_weight(&problem, &data, meta.accuracy)
                    .map(|data| ("an infinite weight", data)),
            ],
            None => [problem.op.largest_input(), 1e15, 3e9, 1e-15, 0.0]
                .map(|size| Some(("values of another size", scaled(&data, size))))
                .into(),
        };
        for (what, data) in trials.into_iter().flatten() {
            let expected = reference::compute(&problem, data.operands(), &Serial);
            let output = run_once(&plan, &data);
            let output = output.map_err(|e| Failure(format!("{problem}: {e}")))?;
            let finite = expected.iter().map(|x| x.abs()).filter(|x| x.is_finite());
            let largest = finite.fold(0.0, f64::max);
            let bound = Bound::new(meta.accuracy, &problem, 1.0, largest);
            let wrong = (0..output.len()).find(|&at| {
                let may_be_nan = in_padding(&problem, &data, at) && output[at].is_nan();
                !may_be_nan && !agrees(output[at], expected[at], bound)
            });
            if let Some(at) = wrong {
                return Err(Failure(format!(
                    "{problem} on {} with {what}: element {at} is {} for {}",
                    isa.isa(),
                    output[at],
                    expected[at]
                )));
            }
        }
    }
    Ok(layers)
}

/// True if an output is close enough to the reference. Values beyond an f32 must be infinite.
fn agrees(y: f64, want: f64, bound: Bound) -> bool {
    if want.is_nan() {
        return y.is_nan();
    }
    if want.abs() > f64::from(f32::MAX) {
        return y == f64::INFINITY.copysign(want);
    }
    (y - want).abs() <= bound.at(want) + f64::from(f32::MIN_POSITIVE)
}

/// Copy with NaN in all inputs that no output reads.
fn without_unread([rows, columns]: &[Window; 2], data: &Data) -> Data {
    let is_read = |axis: &Window, at: usize| {
        let taps = |o: usize| {
            let at = at + axis.before;
            (0..axis.kernel).any(|k| o * axis.stride + k * axis.dilation == at)
        };
        (0..axis.out).any(taps)
    };
    let (h, w) = (rows.size, columns.size);
    let mut data = data.clone();
    for (i, x) in data.src.iter_mut().enumerate() {
        if !(is_read(rows, i / w % h) && is_read(columns, i % w)) {
            *x = f32::NAN;
        }
    }
    data
}

/// Copy in which the first tap of the last output channel is infinite. `None` for a layer without padding or weights,
/// and for algorithms that multiply sums of weights.
fn with_infinite_weight(problem: &Problem, data: &Data, accuracy: Accuracy) -> Option<Data> {
    let [c_out, c_in, kh, kw] = problem.weights_dims()?;
    let padded = problem.op.windows()?.iter().any(|axis| axis.before > 0);
    if !padded || accuracy != Accuracy::Sum {
        return None;
    }
    let mut data = data.clone();
    data.weights[(c_out - 1) * c_in * kh * kw] = f32::INFINITY;
    Some(data)
}

/// True if the tap of an infinite weight lies in the padding of output `at`.
fn in_padding(problem: &Problem, data: &Data, at: usize) -> bool {
    let Op::Conv(conv) = &problem.op else {
        return false;
    };
    let first = (conv.c_out - 1) * conv.reduction_len();
    let infinite = data.weights.get(first) == Some(&f32::INFINITY);
    let (c_out, h_out, w_out) = (conv.c_out, conv.h_out(), conv.w_out());
    let (channel, row, column) = (at / (h_out * w_out) % c_out, at / w_out % h_out, at % w_out);
    let outside = |axis: &Window, o: usize| {
        let tap = if conv.flip {
            (axis.kernel - 1) * axis.dilation
        } else {
            0
        };
        !(axis.before..axis.before + axis.size).contains(&(o * axis.stride + tap))
    };
    let [rows, columns] = &conv.windows();
    infinite && channel == c_out - 1 && (outside(rows, row) || outside(columns, column))
}

/// Copy with inputs times `size`, some of them 0 and some about 1.
fn scaled(data: &Data, size: f32) -> Data {
    let mut data = data.clone();
    for (i, x) in data.src.iter_mut().enumerate() {
        *x *= match i % 11 {
            3 => 0.0,
            7 if size > 1.0 => 1.0,
            _ => size,
        };
    }
    data
}

/// Checks that an output is NaN if and only if the reference is: if its window has a NaN.
fn nans_win(plan: &Arc<dyn Plan>) -> Result<(), String> {
    let problem = &plan.spec().problem;
    let mut data = Data::new(problem, Fill::Uniform, 8);
    for i in (3..data.src.len()).step_by(29) {
        // NaNs of both signs: hardware maxima depend on bits and on operand order.
        data.src[i] = f32::NAN.copysign(data.src[i]);
    }
    let expected = reference::compute(problem, data.operands(), &Serial);
    let output = run_once(plan, &data)?;
    let wrong = (output.iter().zip(&expected)).position(|(y, want)| y.is_nan() != want.is_nan());
    match wrong {
        Some(at) => Err(format!(
            "with NaNs in the source, element {at} is {} for {}",
            output[at], expected[at]
        )),
        None => Ok(()),
    }
}

/// The output of one checked run.
fn run_once(plan: &Arc<dyn Plan>, data: &Data) -> Result<Vec<f64>, String> {
    Instance::fenced(plan, data.operands())?.run_checked(&Serial)
}

/// Element with the largest error in proportion to what is allowed there, and this proportion. `allowed` gives the
/// largest allowed error of an output by the definition.
fn largest_share(output: &[f64], reference: &[f64], allowed: impl Fn(f64) -> f64) -> (usize, f64) {
    let share = |(&y, &want): (&f64, &f64)| {
        let error = (y - want).abs();
        match error {
            0.0 => 0.0,
            _ if error.is_nan() => f64::INFINITY,
            _ => error / allowed(want),
        }
    };
    let shares = output.iter().zip(reference).map(share).enumerate();
    shares
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((0, 0.0))
}

fn same_bits(a: &[f64], b: &[f64]) -> Result<(), String> {
    match a
        .iter()
        .zip(b)
        .position(|(x, y)| x.to_bits() != y.to_bits())
    {
        Some(at) => Err(format!("at element {at}: {} then {}", a[at], b[at])),
        None => Ok(()),
    }
}

/// Instruction sets that must not be skipped, from `CONVROOF_REQUIRE_ISA=avx2,avx512`.
///
/// # Errors
/// When the variable names something unknown.
pub fn required_isas() -> Result<Vec<Isa>, String> {
    let names = std::env::var("CONVROOF_REQUIRE_ISA").unwrap_or_default();
    names
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .map(str::parse)
        .collect()
}
