//! A session: networks run on some numbers of threads, in rounds with rivals, with verified outputs.

use super::bench::{self, Rival, StepRow};
use super::layer_plans::{By, LayerPlans};
use super::model::Model;
use super::plan_file::PlanFile;
use super::reference;
use super::regret::Case;
use super::runner::Runner;
use super::weights;
pub use super::weights::SEED;
use crate::interrupt::{self, Stopped};
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::measure::turns::Turns;
use crate::networks::Graph;
use crate::record::{Calibration, Fingerprint};
use crate::stats::{FEW, Summary, median};
use crate::units;
use anyhow::{Context, Result, anyhow};
use convroof_kernels::Variant;
use convroof_kernels::conformance::{Comparison, Deviation};
use serde::Serialize;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The most rounds of a run.
const ROUNDS: usize = 100;

/// The library whose time stands in [`NetworkRun::peer_ns`]: ONNX Runtime.
const MAIN_RIVAL: &str = "onnxruntime";

/// Conditions of all runs.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The machine.
    pub topology: &'a Topology,
    /// Its fingerprint.
    pub machine: &'a Fingerprint,
    /// Its ceilings.
    pub calibration: &'a Calibration,
    /// A pool for each number of threads, the widest last.
    pub pools: &'a [Workers],
    /// Variants to choose from.
    pub variants: &'a [Variant],
    /// Measured times to choose by; none to choose by the model.
    pub plans: Option<&'a PlanFile>,
    /// Time of the rounds of a run, after the first three. If all layers were measured, a quarter of it is for rounds
    /// with the model's selection, after the first five.
    pub budget: Duration,
    /// True to compare outputs with the network in f64.
    pub check: bool,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// Progress of the computation in f64, the longest part of a session.
pub trait Progress: Send {
    /// The network is about to be computed.
    fn begin(&mut self, graph: &Graph);
    /// One node more is computed.
    fn node(&mut self);
    /// All nodes are computed, or a signal stopped it.
    fn end(&mut self);
}

/// A network with its input, and its output in f64 once that is computed.
pub struct Session<'a> {
    setting: Setting<'a>,
    graph: &'a Graph,
    input: Vec<f32>,
    expected: Option<Vec<f64>>,
}

/// Result of a network's run on some threads. Times in nanoseconds. Later versions keep the keys.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkRun {
    /// The network.
    pub network: String,
    /// Images.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// Median time of a run.
    pub median_ns: f64,
    /// 95 % confidence interval of that median.
    pub ci_ns: (f64, f64),
    /// Rounds.
    pub rounds: usize,
    /// max |error| / max |reference| of the output; none if it was not compared.
    pub error_max: Option<f64>,
    /// Largest allowed `error_max`.
    pub tolerance: f64,
    /// ONNX Runtime's time.
    pub peer_ns: Option<f64>,
    /// ONNX Runtime's time over ours, the median over the rounds.
    pub ratio: Option<f64>,
    /// Each library's run.
    pub peers: Vec<RivalOutcome>,
    /// `measured` or `model`.
    pub selection: By,
    /// Fraction by which the model's selection takes longer than the measured one: the median over rounds of both, if
    /// all layers were measured.
    pub regret: Option<f64>,
    /// 95 % confidence interval of `regret`.
    pub regret_ci: Option<(f64, f64)>,
    /// Nominal 10^9 operations per second.
    pub gflops_nominal: f64,
    /// FMA peak of the rounds, GFLOP/s.
    pub peak_gflops: f64,
    /// FMA peak of each round, GFLOP/s.
    #[serde(skip)]
    pub peaks: Vec<f64>,
    /// Packed weights of all layers.
    pub packed_bytes: usize,
    /// The arena of all tensors.
    pub arena_bytes: usize,
    /// Size of the arena if no tensor shared memory with another.
    pub activation_bytes: usize,
    /// Scratch of all workers.
    pub workspace_bytes: usize,
    /// Parts of concatenations that are written straight into the joined tensor.
    pub joined_in_place: usize,
    /// The steps.
    pub layers: Vec<StepRow>,
    /// True if a signal ended its rounds early.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Description of the error, if the output deviates by more than the tolerance.
    #[serde(skip)]
    pub wrong: Option<String>,
    /// Rivals that were left out after the rounds, with the reason.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// A library's run of the same network.
#[derive(Clone, Debug, Serialize)]
pub struct RivalOutcome {
    /// The library and its version.
    pub peer: String,
    /// Median time of a run.
    pub median_ns: f64,
    /// Its time over ours, the median over the rounds.
    pub ratio: f64,
    /// 95 % confidence interval of that ratio.
    pub ratio_ci: (f64, f64),
    /// max |error| / max |reference| of its output; none if it was not compared.
    pub error_max: Option<f64>,
}

impl<'a> Session<'a> {
    /// A network under some conditions.
    pub fn new(graph: &'a Graph, setting: Setting<'a>) -> Self {
        Session {
            setting,
            graph,
            input: weights::input(graph, SEED),
            expected: None,
        }
    }

    /// Runs the network on some workers. `rivals` makes other implementations of it from its input.
    ///
    /// # Errors
    /// When no variant can compute a layer, there is no memory, `rivals` fails, or a signal stops it before the rounds.
    pub fn run(
        &mut self,
        workers: &Workers,
        rivals: impl FnOnce(&[f32]) -> Result<Vec<Box<dyn Rival>>>,
        progress: &mut dyn Progress,
    ) -> Result<NetworkRun> {
        let (setting, graph, threads) = (self.setting, self.graph, workers.threads());
        let name = &graph.network.name;
        let model = Model::new(setting.calibration, setting.machine, threads);
        let mut plans = LayerPlans::new(graph, setting.variants, setting.topology, &model)?;
        if let Some(file) = setting.plans {
            plans.measured(graph, &file.of(graph, threads));
        }
        let selection = plans.choose(graph, &model, By::Measurement);
        let mut runner = workers
            .install(|exec| Runner::new(graph, &plans, &selection, SEED, exec))
            .with_context(|| name.clone())?;
        runner.load(&self.input);
        runner.poison();
        workers.install(|exec| runner.run(exec));
        if setting.check && self.expected.is_none() {
            self.expected = Some(self.in_f64(progress)?);
        }
        let tolerance = reference::tolerance(graph, &plans, &selection);
        let mut rivals = rivals(&self.input)?;
        let measured = plans.all_measured();
        let for_regret = match measured {
            true => setting.budget / 4,
            false => Duration::ZERO,
        };
        let deadline = Instant::now() + setting.budget - for_regret;
        let rounds = bench::rounds(
            &mut runner,
            &mut rivals,
            workers,
            (ROUNDS, deadline),
            setting.stop,
        );
        let case = Case {
            graph,
            plans: &plans,
            model: &model,
            workers,
        };
        let turns = Turns {
            rounds: FEW,
            time: for_regret,
        };
        let regret = case.ratio(&selection, &mut runner, turns)?;
        let check = Check {
            expected: self.expected.as_deref(),
            tolerance,
        };
        let compared = check.compare(runner.output());
        let wrong = compared.filter(|c| !c.passes());
        let wrong = wrong.map(|c| format!("{name} on {}: {c:.1}", units::threads(threads)));
        let error_max = compared.map(|c| c.deviation.max);
        let time = Summary::of(&rounds.ours).ok_or_else(|| anyhow!("no samples"))?;
        let (mut peers, mut notes, mut main) = (Vec::new(), Vec::new(), None);
        for (rival, samples) in rivals.iter_mut().zip(&rounds.rivals) {
            let Some(ratio) = bench::ratio(samples, &rounds.ours) else {
                continue;
            };
            let output = match rival.output() {
                Ok(output) => output,
                Err(error) => {
                    // A signal ends rivals, too: that needs no note.
                    if !error.is::<Stopped>() {
                        notes.push(format!("without {}: {error:#}", rival.name()));
                    }
                    continue;
                }
            };
            let compared = check.compare(&output);
            if let Some(wrong) = compared.filter(|c| !c.passes()) {
                notes.push(format!(
                    "without {} on {name}, {}: its output is wrong: {wrong:.1}",
                    rival.name(),
                    units::threads(threads)
                ));
                continue;
            }
            if rival.library() == MAIN_RIVAL {
                main.get_or_insert(peers.len());
            }
            peers.push(RivalOutcome {
                peer: rival.name(),
                median_ns: median(samples).unwrap_or(f64::NAN),
                ratio: ratio.median,
                ratio_ci: ratio.ci,
                error_max: compared.map(|c| c.deviation.max),
            });
        }
        let main = main.map(|i: usize| &peers[i]);
        let [packed_bytes, arena_bytes, workspace_bytes] = runner.bytes();
        Ok(NetworkRun {
            network: name.clone(),
            batch: graph.batch(),
            threads,
            median_ns: time.median,
            ci_ns: time.ci,
            rounds: rounds.ours.len(),
            error_max,
            tolerance,
            peer_ns: main.map(|p| p.median_ns),
            ratio: main.map(|p| p.ratio),
            selection: match measured {
                true => By::Measurement,
                false => By::Model,
            },
            regret: regret.map(|r| r.median - 1.0),
            regret_ci: regret.map(|r| (r.ci.0 - 1.0, r.ci.1 - 1.0)),
            gflops_nominal: 2.0 * graph.network.macs() as f64 / time.median,
            peak_gflops: median(&rounds.peaks).unwrap_or(f64::NAN),
            peaks: rounds.peaks.clone(),
            packed_bytes,
            arena_bytes,
            activation_bytes: runner.schedule.all_bytes(),
            workspace_bytes,
            joined_in_place: runner.schedule.in_place,
            layers: bench::rows(&runner, &plans, &graph.network.layers, &rounds, |isa| {
                model.ceilings(isa).cloned()
            }),
            peers,
            interrupted: interrupt::requested(),
            wrong,
            notes,
        })
    }

    /// The network's output by its definition, computed by the widest pool.
    fn in_f64(&self, progress: &mut dyn Progress) -> Result<Vec<f64>, Stopped> {
        let widest = self.setting.pools.last().expect("a pool");
        progress.begin(self.graph);
        let output = widest.install(|exec| {
            reference::compute(self.graph, SEED, &self.input, exec, || progress.node())
        });
        progress.end();
        output
    }
}

/// Output in f64, if it was computed, and the tolerance.
struct Check<'a> {
    expected: Option<&'a [f64]>,
    tolerance: f64,
}

impl Check<'_> {
    /// Compares an output with the network in f64; none if that was not computed.
    fn compare<T: Copy + Into<f64>>(&self, output: &[T]) -> Option<Comparison> {
        Some(Comparison {
            deviation: Deviation::between(output, self.expected?),
            tolerance: self.tolerance,
        })
    }
}
