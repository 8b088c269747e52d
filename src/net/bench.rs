//! Times of a network beside those of other libraries on the same network, in interleaved rounds and verified.

use super::layer_plans::LayerPlans;
use super::runner::Runner;
use super::schedule::{Step, StepOp};
use crate::escape::note;
use crate::interrupt::Stopped;
use crate::machine::calibration::peak_probe;
use crate::machine::pool::Workers;
use crate::measure::turns::mean_ns;
use crate::record::Text;
use crate::roofline::{Ceilings, Evidence, Verdict, judge};
use crate::stats::{Summary, median};
use anyhow::Result;
use convroof_kernels::data::Rng;
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::{Isa, Problem, VariantId};
use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Another library's implementation of the same network, with the same parameters and input.
pub trait Rival {
    /// The library's name in ids.
    fn library(&self) -> &str;
    /// Name and version of the library, for output.
    fn name(&self) -> String;
    /// Runs once untimed, and returns nanoseconds of one run, the mean of `runs`.
    ///
    /// # Errors
    /// When its process has ended.
    fn sample(&mut self, runs: usize) -> Result<f64>;
    /// The output, in plain NCHW, exactly.
    ///
    /// # Errors
    /// When its process has ended.
    fn output(&mut self) -> Result<Vec<f64>>;
}

/// A sample takes at least this long.
const SAMPLE: Duration = Duration::from_millis(40);

/// Duration of a measurement of the peak.
const PEAK: Duration = Duration::from_micros(500);

/// Number of runs in which steps are timed one by one.
const PROFILES: usize = 9;

/// Samples of all rounds.
pub struct Rounds {
    /// Our times of a run in nanoseconds, one per round.
    pub ours: Vec<f64>,
    /// Times of each rival in nanoseconds, one per round; empty for a rival that failed.
    pub rivals: Vec<Vec<f64>>,
    /// FMA peak of the widest instruction set in GFLOP/s, one per round.
    pub peaks: Vec<f64>,
    /// Median time of each step in nanoseconds.
    pub steps: Vec<f64>,
    /// Times of each step in nanoseconds, one per timed run.
    pub step_samples: Vec<Vec<f64>>,
}

/// Runs rounds until `deadline`, at least three and at most `most`, then times the steps.
pub fn rounds(
    runner: &mut Runner<'_>,
    rivals: &mut [Box<dyn Rival>],
    workers: &Workers,
    (most, deadline): (usize, Instant),
    stop: &AtomicBool,
) -> Rounds {
    let mut rounds = Rounds {
        ours: Vec::new(),
        rivals: vec![Vec::new(); rivals.len()],
        peaks: Vec::new(),
        steps: Vec::new(),
        step_samples: Vec::new(),
    };
    let ours_runs = runs(runner, workers);
    let mut rivals_runs = Vec::new();
    let mut lost = vec![false; rivals.len()];
    for (rival, lost) in rivals.iter_mut().zip(&mut lost) {
        // The second sample counts: a library may tune itself in the first.
        let took = rival.sample(1).and_then(|_| rival.sample(2));
        rivals_runs.push(took.as_ref().map_or(1, |&took| runs_of(took)));
        *lost = complain(rival.as_ref(), took).is_none();
    }
    let mut rng = Rng::new(1);
    let mut order: Vec<usize> = (0..=rivals.len()).collect();
    for round in 0..most {
        if round >= 3 && Instant::now() > deadline || round > 0 && stop.load(Ordering::SeqCst) {
            break;
        }
        rng.shuffle(&mut order);
        rounds
            .peaks
            .push(peak_probe(workers, Isa::best(), Arithmetic::F32, PEAK));
        for &i in &order {
            if i == rivals.len() {
                rounds.ours.push(sample(runner, workers, ours_runs));
            } else if !lost[i] {
                let took = rivals[i].sample(rivals_runs[i]);
                match complain(rivals[i].as_ref(), took) {
                    Some(ns) => rounds.rivals[i].push(ns),
                    None => {
                        lost[i] = true;
                        rounds.rivals[i].clear();
                    }
                }
            }
        }
    }
    rounds.step_samples = profile(runner, workers);
    let medians = rounds.step_samples.iter();
    rounds.steps = medians.map(|s| median(s).unwrap_or(0.0)).collect();
    rounds
}

/// The time of a rival. On an error none, with a note on standard error.
fn complain(rival: &dyn Rival, took: Result<f64>) -> Option<f64> {
    took.inspect_err(|e| {
        // Ctrl-C ends rivals, too: that needs no note.
        if !e.is::<Stopped>() {
            eprintln!("{}", note(&format!("without {}: {e:#}", rival.name())));
        }
    })
    .ok()
}

/// Runs of a sample, if one takes `took` nanoseconds.
fn runs_of(took: f64) -> usize {
    ((SAMPLE.as_nanos() as f64 / took.max(100.0)) as usize).clamp(1, 10_000)
}

/// Runs of a network for one sample.
pub(super) fn runs(runner: &mut Runner<'_>, workers: &Workers) -> usize {
    let few = runs_of(sample(runner, workers, 1)).min(10);
    runs_of(sample(runner, workers, few))
}

/// Runs once untimed, then returns nanoseconds of one run, the mean of `runs`.
pub(super) fn sample(runner: &mut Runner<'_>, workers: &Workers, runs: usize) -> f64 {
    workers.install(|exec| {
        runner.run(exec);
        runner.poison_output();
        mean_ns(runs, || runner.run(exec))
    })
}

/// Times of each step in nanoseconds, one per timed run.
fn profile(runner: &mut Runner<'_>, workers: &Workers) -> Vec<Vec<f64>> {
    let steps = runner.schedule.steps.len();
    let mut samples = vec![Vec::new(); steps];
    workers.install(|exec| {
        runner.run(exec);
        for _ in 0..PROFILES {
            let mut times = vec![Duration::ZERO; steps];
            runner.run_timed(exec, Some(&mut times));
            for (samples, time) in samples.iter_mut().zip(times) {
                samples.push(time.as_nanos() as f64);
            }
        }
    });
    samples
}

/// Median, with a 95 % interval, of the ratio of a rival's times to ours, round by round.
pub fn ratio(rival: &[f64], ours: &[f64]) -> Option<Summary> {
    let ratios: Vec<f64> = rival.iter().zip(ours).map(|(r, o)| r / o).collect();
    Summary::of(&ratios)
}

/// Kind of a step: a variant, or a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A layer's variant.
    Layer(VariantId),
    /// A reorder.
    Reorder,
    /// A copy into a concatenation.
    Join,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepKind::Layer(variant) => variant.fmt(f),
            StepKind::Reorder => f.pad("reorder"),
            StepKind::Join => f.pad("join"),
        }
    }
}

impl Serialize for StepKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A step as a row of the output. Times in nanoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct StepRow {
    /// The node's name, or the tensor that is reordered.
    pub name: String,
    /// The layer's name in the network's table; none for reorders and joins.
    pub layer: Option<String>,
    /// The problem.
    pub problem: Option<Text<Problem>>,
    /// `<algorithm>/<isa>/<st|mt>`, `reorder` or `join`.
    pub variant: StepKind,
    /// Layouts read and written.
    pub layouts: [String; 2],
    /// Median time.
    pub ns: f64,
    /// Fraction of the time of all steps.
    pub share: f64,
    /// Nominal 10^9 operations per second.
    pub gflops: f64,
    /// Compulsory bytes of activations and the packed weights.
    pub bytes: u64,
    /// The resource that bounds the step.
    pub verdict: Verdict,
    /// Reason for the verdict.
    pub reason: String,
}

/// The rows of a run's steps.
pub fn rows(
    runner: &Runner<'_>,
    plans: &LayerPlans,
    layers: &[crate::networks::Layer],
    rounds: &Rounds,
    ceilings: impl Fn(Isa) -> Option<Ceilings>,
) -> Vec<StepRow> {
    let all: f64 = rounds.steps.iter().sum();
    let [network_bytes, ..] = runner.bytes();
    let peak_now = median(&rounds.peaks);
    let steps = runner.schedule.steps.iter().zip(&rounds.steps).enumerate();
    steps
        .map(|(i, (step, &ns))| {
            let best = Isa::best().isa();
            let moved = moved(step, plans, runner.packed_bytes(i));
            let (variant, isa) = match step.op {
                StepOp::Layer { layer, plan, .. } => {
                    let variant = plans.layers[layer][plan].variant;
                    (StepKind::Layer(variant.id()), variant.isa)
                }
                StepOp::Reorder => (StepKind::Reorder, best),
                StepOp::Join(_) => (StepKind::Join, best),
            };
            let activations = moved.read + moved.written - moved.packed;
            // Packed weights come from the cache level that holds the weights of the whole network. Where they are
            // most of the bytes read, that level decides.
            let working_set = match moved.packed > activations {
                true => network_bytes as u64,
                false => activations + moved.packed,
            };
            let (verdict, reason) = match ceilings(isa) {
                Some(ceilings) => {
                    // The rounds measure the peak of the widest instruction set only.
                    let now = peak_now.filter(|_| isa == best);
                    let evidence = Evidence {
                        time_ns: ns.max(1.0),
                        peak_gflops: now.unwrap_or(ceilings.peak),
                        flops: moved.flops_executed,
                        bytes_read: moved.read as f64,
                        bytes_written: moved.written as f64,
                        working_set,
                        far: None,
                    };
                    let judgement = judge(&evidence, &ceilings);
                    (judgement.verdict, judgement.reason)
                }
                None => (Verdict::Undecided, "the machine was not calibrated".into()),
            };
            let layer = match step.op {
                StepOp::Layer { layer, .. } => Some(&layers[layer]),
                _ => None,
            };
            StepRow {
                name: step.name.clone(),
                layer: layer.map(|l| l.name.clone()),
                problem: layer.map(|l| Text::of(l.problem)),
                variant,
                layouts: [&step.src, &step.dst].map(|v| v.desc.layout().to_string()),
                ns,
                share: ns / all,
                gflops: moved.flops_nominal / ns.max(1.0),
                bytes: moved.read + moved.written,
                verdict,
                reason,
            }
        })
        .collect()
}

/// Operations of a step, and bytes that it moves.
struct Moved {
    flops_nominal: f64,
    flops_executed: f64,
    /// Bytes read, packed weights included.
    read: u64,
    written: u64,
    packed: u64,
}

fn moved(step: &Step, plans: &LayerPlans, packed: usize) -> Moved {
    let packed = packed as u64;
    match step.op {
        StepOp::Layer { layer, plan, .. } => {
            let spec = plans.layers[layer][plan].plan.spec();
            let weights = spec.problem.weights_bytes();
            Moved {
                flops_nominal: spec.cost.flops_nominal as f64,
                flops_executed: spec.cost.flops_executed as f64,
                read: spec.cost.bytes_read.saturating_sub(weights) + packed,
                written: spec.cost.bytes_written,
                packed,
            }
        }
        StepOp::Reorder | StepOp::Join(_) => {
            let bytes = step.src.desc.bytes() as u64;
            Moved {
                flops_nominal: 0.0,
                flops_executed: 0.0,
                read: bytes,
                written: bytes,
                packed: 0,
            }
        }
    }
}
