//! Measurements for the claims: layers by their fastest kernels, networks step by step, on one thread.

use crate::interrupt::Stopped;
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::measure::turns::Turns;
use crate::measure::{Candidate, Expected, Kernel, Progress, Session, Settings, kernels, together};
use crate::net::bench::{self, StepRow};
use crate::net::layer_plans::By;
use crate::net::model::Model;
use crate::net::{LayerPlans, Runner, weights};
use crate::networks::{self, Graph};
use crate::record::{CacheState, Calibration, CandidateId, Fingerprint, Level, Measurement};
use crate::roofline::{Ceilings, Verdict, place};
use crate::stats::{Estimate, FEW};
use anyhow::{Result, anyhow, bail};
use convroof_kernels::blocking::Caches;
use convroof_kernels::exec::Serial;
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::reference::Operands;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, PlanCx, Problem, Registry, Variant, instance};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Seed of all operands.
const SEED: u64 = 1;

/// Least duration of a sample.
const SAMPLE: Duration = Duration::from_millis(2);

/// Conditions of a lab.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The machine.
    pub topology: &'a Topology,
    /// Its fingerprint.
    pub machine: &'a Fingerprint,
    /// Its ceilings on one thread.
    pub calibration: &'a Calibration,
    /// Variants to measure.
    pub variants: &'a [Variant],
    /// Time of all rounds.
    pub budget: Duration,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// Expected number of measurements, which share the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Layers whose fastest kernel is wanted.
    pub layers: usize,
    /// Comparisons of the fastest kernels, and runs of networks.
    pub comparisons: usize,
}

/// A time in equal parts. A part that takes longer leaves less for the others.
struct Share {
    left: Duration,
    parts: usize,
}

impl Share {
    /// Time of the next part.
    fn next(&self) -> Duration {
        self.left / self.parts.max(1) as u32
    }

    /// Subtracts a part that took some time.
    fn took(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
        self.parts = self.parts.saturating_sub(1);
    }
}

/// A machine, its ceilings, and all measurements so far.
pub struct Lab<'a> {
    setting: Setting<'a>,
    session: Session<'a>,
    workers: Workers,
    /// Variants for networks, which are f32.
    variants: Vec<Variant>,
    candidates: Vec<(Kernel, Rc<dyn Candidate>)>,
    for_layers: Share,
    for_comparisons: Share,
    known: HashMap<Problem, Known>,
    /// The best bandwidth of main memory on one thread, GB/s.
    pub dram_gbps: f64,
}

/// Results of a layer.
struct Known {
    measurements: Vec<Measurement>,
    /// The reference's output.
    reference: Vec<f64>,
}

/// Measurement of one kernel on one layer.
#[derive(Clone, Debug)]
pub struct Timed {
    /// The layer.
    pub problem: Problem,
    /// The kernel.
    pub kernel: Kernel,
    /// Median time of a run, nanoseconds. It was measured beside the other kernels of the layer only.
    pub ns: f64,
    /// Nominal FLOP/s, as a fraction of the peak that the same rounds measured.
    pub of_peak: Estimate,
    /// Rate of compulsory traffic, GB/s.
    pub gbps: f64,
    /// Nominal FLOP per compulsory byte.
    pub intensity: f64,
    /// The resource that bounds the kernel.
    pub verdict: Verdict,
}

impl Timed {
    /// Name of the kernel.
    pub fn id(&self) -> CandidateId {
        self.kernel.id()
    }
}

/// Times of a network's steps.
pub struct Steps {
    /// The network.
    pub graph: Graph,
    /// The steps.
    pub rows: Vec<StepRow>,
    /// Times of each step in nanoseconds, one per timed run.
    pub samples: Vec<Vec<f64>>,
    /// Bytes of packed weights, activations and scratch.
    pub bytes: [usize; 3],
}

struct Silent;

impl Progress for Silent {
    fn candidate(&mut self, _: &Problem, _: &CandidateId) {}
}

impl<'a> Lab<'a> {
    /// Creates a lab of the single-threaded variants of the best instruction set for each arithmetic. A third of the budget
    /// is for the choice of kernels, the rest for comparisons.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(setting: Setting<'a>, work: Work) -> Result<Lab<'a>> {
        let single = |isas: &[Isa]| -> Vec<Variant> {
            let all = setting.variants.iter().copied();
            all.filter(|v| v.threading == Threading::St && isas.contains(&v.isa))
                .collect()
        };
        let best = Arithmetic::ALL.map(|arithmetic| arithmetic.best().isa());
        let settings = Settings {
            sample: SAMPLE,
            rounds_for_all: 3,
            best_few: 3,
            rounds_at_least: FEW,
            rounds_for_best: 15,
            rounds_for_twins: 0,
            states: vec![CacheState::Warm],
            seed: SEED,
        };
        let candidates = kernels(&single(&best), &[1])
            .into_iter()
            .map(|kernel| (kernel, Rc::new(kernel) as Rc<dyn Candidate>));
        let bandwidths = setting.calibration.bandwidths.iter();
        let reads =
            bandwidths.filter(|b| b.threads == 1 && b.op == "read" && b.level == Level::Dram);
        let third = setting.budget / 3;
        Ok(Lab {
            session: Session::new(setting.topology, &[1], settings, setting.stop)?,
            workers: Workers::new(setting.topology, 1)?,
            candidates: candidates.collect(),
            variants: single(&[Isa::best().isa()]),
            for_layers: Share {
                left: third,
                parts: work.layers,
            },
            for_comparisons: Share {
                left: setting.budget - third,
                parts: work.comparisons,
            },
            known: HashMap::new(),
            dram_gbps: reads.map(|b| b.gbps).fold(f64::NAN, f64::max),
            setting,
        })
    }

    /// The calibrated peak of an arithmetic, 10^9 operations per second; NaN if it wasn't calibrated.
    pub fn peak(&self, arithmetic: Arithmetic) -> f64 {
        let ceilings = self.ceilings(arithmetic);
        ceilings.map_or(f64::NAN, |ceilings| ceilings.peak)
    }

    /// Ceilings of the best instruction set for an arithmetic.
    fn ceilings(&self, arithmetic: Arithmetic) -> Option<Ceilings> {
        let Setting {
            calibration,
            machine,
            ..
        } = self.setting;
        let best = arithmetic.best().isa().into();
        Ceilings::of(calibration, machine, &best, arithmetic, 1)
    }

    /// Measures every kernel on a layer, verified and interleaved. Returns the fastest first.
    ///
    /// # Errors
    /// When the problem isn't a layer, no kernel supports it, or a kernel's output is wrong.
    pub fn all(&mut self, problem: &str) -> Result<Vec<Timed>> {
        let problem: Problem = problem.parse()?;
        self.measure(&problem)?;
        let arithmetic = Arithmetic::of(problem.dtypes.src);
        let ceilings = self.ceilings(arithmetic);
        let mut timed: Vec<Timed> = self.known[&problem]
            .measurements
            .iter()
            .filter_map(|m| {
                let placed = place(m, ceilings.as_ref())?;
                let mut kernels = self.candidates.iter().map(|(kernel, _)| *kernel);
                let rounds = m.samples_ns.iter().zip(&m.peak_gflops);
                let of_peak = rounds.map(|(ns, peak)| m.flops_nominal as f64 / (ns * peak));
                Some(Timed {
                    problem,
                    kernel: kernels.find(|k| k.id() == m.variant)?,
                    ns: placed.time.median,
                    of_peak: Estimate::of(&of_peak.collect::<Vec<f64>>())?,
                    gbps: placed.gbps,
                    intensity: placed.intensity_nominal,
                    verdict: placed.judgement.map_or(Verdict::Undecided, |j| j.verdict),
                })
            })
            .collect();
        timed.sort_by(|a, b| a.ns.total_cmp(&b.ns));
        if timed.is_empty() {
            let best = arithmetic.best().isa();
            bail!("no kernel of {best} can compute {problem}");
        }
        Ok(timed)
    }

    /// Measures a layer, unless it is known.
    fn measure(&mut self, problem: &Problem) -> Result<()> {
        if self.known.contains_key(problem) {
            return Ok(());
        }
        let best = Arithmetic::of(problem.dtypes.src).best().isa();
        let own = |(kernel, candidate): &(Kernel, Rc<dyn Candidate>)| {
            (kernel.variant.isa == best).then(|| candidate.clone())
        };
        let candidates: Vec<_> = self.candidates.iter().filter_map(own).collect();
        let started = Instant::now();
        let deadline = started + self.for_layers.next();
        let outcome = self
            .session
            .measure(problem, &candidates, Some(deadline), &mut Silent)?;
        if outcome.stopped {
            bail!(Stopped);
        }
        self.for_layers.took(started.elapsed());
        let known = Known {
            measurements: outcome.measurements,
            reference: outcome.reference.unwrap_or_default(),
        };
        self.known.insert(*problem, known);
        Ok(())
    }

    /// The fastest kernel on a layer.
    ///
    /// # Errors
    /// Those of [`Lab::all`].
    pub fn best(&mut self, problem: &str) -> Result<Timed> {
        Ok(self.all(problem)?.remove(0))
    }

    /// One algorithm on a layer.
    ///
    /// # Errors
    /// Those of [`Lab::all`], and when the algorithm doesn't support the layer.
    pub fn by(&mut self, algorithm: &str, problem: &str) -> Result<Timed> {
        let all = self.all(problem)?;
        let found = all.into_iter().find(|t| t.id().algorithm() == algorithm);
        found.ok_or_else(|| anyhow!("{algorithm} can't compute {problem}"))
    }

    /// Measures kernels on their layers in the same rounds, at least five. Returns the times of each in nanoseconds, one
    /// a round.
    ///
    /// # Errors
    /// When a kernel's output is wrong, there is no memory, or a signal stopped it.
    pub fn together(&mut self, layers: &[Timed]) -> Result<Vec<Vec<f64>>> {
        let mut expected = HashMap::new();
        for Timed { problem, .. } in layers {
            let known = || Expected::known(problem, SEED, self.known[problem].reference.clone());
            expected.entry(*problem).or_insert_with(known);
        }
        let kernels: Vec<_> = layers
            .iter()
            .map(|layer| (layer.kernel, &expected[&layer.problem]))
            .collect();
        let turns = Turns {
            rounds: FEW,
            time: self.for_comparisons.next(),
        };
        let (topology, workers) = (self.setting.topology, &self.workers);
        let started = Instant::now();
        let samples = together(&kernels, SAMPLE, turns, topology, workers)?;
        self.for_comparisons.took(started.elapsed());
        Ok(samples)
    }

    /// Runs a whole network at batch 1.
    ///
    /// # Errors
    /// When there isn't enough memory.
    pub fn network(&mut self, name: &str) -> Result<Steps> {
        let Setting {
            topology,
            machine,
            calibration,
            stop,
            ..
        } = self.setting;
        let graph = Graph::new(networks::find(name)?).map_err(|e| anyhow!(e))?;
        let model = Model::new(calibration, machine, 1);
        let plans = LayerPlans::new(&graph, &self.variants, topology, &model)?;
        let selection = plans.choose(&graph, &model, By::Model);
        let workers = &self.workers;
        let mut runner =
            workers.install(|exec| Runner::new(&graph, &plans, &selection, SEED, exec))?;
        runner.load(&weights::input(&graph, SEED));
        let started = Instant::now();
        let deadline = started + self.for_comparisons.next();
        let rounds = bench::rounds(&mut runner, &mut [], workers, (FEW, deadline), stop);
        self.for_comparisons.took(started.elapsed());
        let ceilings = |isa| model.ceilings(isa).cloned();
        let layers = &graph.network.layers;
        Ok(Steps {
            rows: bench::rows(&runner, &plans, layers, &rounds, ceilings),
            samples: rounds.step_samples,
            bytes: runner.bytes(),
            graph,
        })
    }

    /// Bytes of a network's activation arena at a batch size. The network isn't run.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn arena_bytes(&self, name: &str, batch: usize) -> Result<usize> {
        let network = networks::find(name)?.with_batch(batch)?;
        let graph = Graph::new(network).map_err(|e| anyhow!(e))?;
        let model = Model::new(self.setting.calibration, self.setting.machine, 1);
        let plans = LayerPlans::new(&graph, &self.variants, self.setting.topology, &model)?;
        let selection = plans.choose(&graph, &model, By::Model);
        Ok(crate::net::Schedule::new(&graph, &selection).arena_bytes())
    }
}

/// Computes a problem by a built-in algorithm, on the widest instruction set.
///
/// # Errors
/// When there is no such algorithm, or it doesn't support the problem.
pub fn compute(algorithm: &str, problem: &Problem, x: Operands<'_>) -> Result<Vec<f32>> {
    let found = Registry::builtin().algorithm(algorithm);
    let found = found.ok_or_else(|| anyhow!("there is no algorithm {algorithm}"))?;
    let caches = Caches::default();
    let plan = found.plan(problem, &PlanCx::new(Isa::best(), &caches))?;
    Ok(instance::compute(plan, x, &Serial)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_a_budget() {
        let mut share = Share {
            left: Duration::from_secs(12),
            parts: 4,
        };
        assert_eq!(share.next(), Duration::from_secs(3));
        // A long part leaves less for the others.
        share.took(Duration::from_secs(6));
        assert_eq!(share.next(), Duration::from_secs(2));
        share.took(Duration::from_secs(60));
        assert_eq!(share.next(), Duration::ZERO);
        share.took(Duration::ZERO);
        share.took(Duration::ZERO);
        // More parts than expected.
        assert_eq!((share.parts, share.next()), (0, Duration::ZERO));
    }
}
