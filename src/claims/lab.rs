//! Measurements for the claims: layers by their fastest kernels, networks step by step, on one thread.

use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::measure::{Candidate, Progress, Session, Settings, kernels};
use crate::net::bench::{self, StepRow};
use crate::net::layer_plans::By;
use crate::net::model::Model;
use crate::net::{LayerPlans, Runner, weights};
use crate::networks::{self, Graph};
use crate::record::{CacheState, Calibration, CandidateId, Fingerprint, Measurement};
use crate::roofline::{Ceilings, Verdict, place};
use anyhow::{Result, anyhow, bail};
use convroof_kernels::blocking::Caches;
use convroof_kernels::exec::Serial;
use convroof_kernels::reference::Operands;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, PlanCx, Problem, Registry, Variant, instance};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Approximate number of layers that the claims measure and that share the budget.
const LAYERS: f64 = 60.0;

/// A machine, its ceilings, and all measurements so far.
pub struct Lab<'a> {
    session: Session<'a>,
    topology: &'a Topology,
    machine: &'a Fingerprint,
    calibration: &'a Calibration,
    variants: Vec<Variant>,
    candidates: Vec<Rc<dyn Candidate>>,
    share: Duration,
    stop: &'a AtomicBool,
    known: HashMap<Problem, Vec<Measurement>>,
    /// The best bandwidth of main memory on one thread, GB/s.
    pub dram_gbps: f64,
}

/// Measurement of one kernel on one layer.
#[derive(Clone, Debug)]
pub struct Timed {
    /// The kernel.
    pub variant: CandidateId,
    /// Median time of a run, nanoseconds.
    pub ns: f64,
    /// Nominal FLOP/s, as a fraction of the peak that the same rounds measured.
    pub of_peak: f64,
    /// Rate of compulsory traffic, GB/s.
    pub gbps: f64,
    /// Nominal FLOP per compulsory byte.
    pub intensity: f64,
    /// The resource that bounds the kernel.
    pub verdict: Verdict,
}

struct Silent;

impl Progress for Silent {
    fn candidate(&mut self, _: &Problem, _: &CandidateId) {}
}

impl<'a> Lab<'a> {
    /// Creates a lab of the single-threaded variants of the widest instruction set. All claims share `budget`.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(
        topology: &'a Topology,
        machine: &'a Fingerprint,
        calibration: &'a Calibration,
        variants: &[Variant],
        budget: Duration,
        stop: &'a AtomicBool,
    ) -> Result<Lab<'a>> {
        let best = Isa::best().isa();
        let variants: Vec<Variant> = variants
            .iter()
            .copied()
            .filter(|v| v.threading == Threading::St && v.isa == best)
            .collect();
        let settings = Settings {
            sample: Duration::from_millis(2),
            rounds_for_all: 3,
            best_few: 3,
            rounds_at_least: 5,
            rounds_for_best: 15,
            rounds_for_twins: 0,
            states: vec![CacheState::Warm],
            seed: 1,
        };
        let candidates = kernels(&variants, &[1])
            .into_iter()
            .map(|k| Rc::new(k) as Rc<dyn Candidate>);
        let reads = calibration
            .bandwidths
            .iter()
            .filter(|b| b.threads == 1 && b.op == "read" && b.level == crate::record::Level::Dram);
        Ok(Lab {
            session: Session::new(topology, &[1], settings, stop)?,
            topology,
            machine,
            calibration,
            candidates: candidates.collect(),
            variants,
            share: budget.div_f64(LAYERS),
            stop,
            known: HashMap::new(),
            dram_gbps: reads.map(|b| b.gbps).fold(f64::NAN, f64::max),
        })
    }

    /// Measures every kernel on a layer, verified and interleaved. Returns the fastest first.
    ///
    /// # Errors
    /// When the problem isn't a layer, no kernel supports it, or a kernel's output is wrong.
    pub fn all(&mut self, problem: &str) -> Result<Vec<Timed>> {
        let problem: Problem = problem.parse()?;
        if !self.known.contains_key(&problem) {
            let deadline = Some(Instant::now() + self.share);
            let outcome =
                self.session
                    .measure(&problem, &self.candidates, deadline, &mut Silent)?;
            if outcome.stopped {
                bail!(crate::interrupt::Stopped);
            }
            self.known.insert(problem, outcome.measurements);
        }
        let best = Isa::best().isa();
        let ceilings = Ceilings::of(self.calibration, self.machine, &best.into(), 1);
        let mut timed: Vec<Timed> = self.known[&problem]
            .iter()
            .filter_map(|m| {
                let placed = place(m, ceilings.as_ref())?;
                Some(Timed {
                    variant: m.variant.clone(),
                    ns: placed.time.median,
                    of_peak: placed.gflops_nominal / placed.peak,
                    gbps: placed.gbps,
                    intensity: placed.intensity_nominal,
                    verdict: placed.judgement.map_or(Verdict::Undecided, |j| j.verdict),
                })
            })
            .collect();
        timed.sort_by(|a, b| a.ns.total_cmp(&b.ns));
        if timed.is_empty() {
            bail!("no kernel of {best} can compute {problem}");
        }
        Ok(timed)
    }

    /// The fastest kernel on a layer.
    ///
    /// # Errors
    /// Those of [`Lab::all`].
    pub fn best(&mut self, problem: &str) -> Result<Timed> {
        Ok(self.all(problem)?.remove(0))
    }

    /// One algorithm's time on a layer.
    ///
    /// # Errors
    /// Those of [`Lab::all`], and when the algorithm doesn't support the layer.
    pub fn by(&mut self, algorithm: &str, problem: &str) -> Result<Timed> {
        let all = self.all(problem)?;
        let found = all.into_iter().find(|t| t.variant.algorithm() == algorithm);
        found.ok_or_else(|| anyhow!("{algorithm} can't compute {problem}"))
    }

    /// The sum of the fastest kernels' times on some layers.
    ///
    /// # Errors
    /// Those of [`Lab::all`].
    pub fn sum(&mut self, problems: &[String]) -> Result<f64> {
        problems.iter().map(|p| Ok(self.best(p)?.ns)).sum()
    }

    /// Runs a whole network at batch 1. Returns its graph, the time of each step, and the bytes of packed weights,
    /// activations and scratch.
    ///
    /// # Errors
    /// When there isn't enough memory.
    pub fn network(&mut self, name: &str) -> Result<(Graph, Vec<StepRow>, [usize; 3])> {
        let graph = Graph::new(networks::find(name)?).map_err(|e| anyhow!(e))?;
        let model = Model::new(self.calibration, self.machine, 1);
        let plans = LayerPlans::new(&graph, &self.variants, self.topology, &model)?;
        let selection = plans.choose(&graph, &model, By::Model);
        let workers = Workers::new(self.topology, 1)?;
        let mut runner =
            workers.install(|exec| Runner::new(&graph, &plans, &selection, 1, exec))?;
        runner.load(&weights::input(&graph, 1));
        let deadline = Instant::now() + self.share;
        let rounds = bench::rounds(&mut runner, &mut [], &workers, (5, deadline), self.stop);
        let ceilings = |isa| model.ceilings(isa).cloned();
        let layers = &graph.network.layers;
        let rows = bench::rows(&runner, &plans, layers, &rounds, ceilings);
        let bytes = runner.bytes();
        Ok((graph, rows, bytes))
    }

    /// Bytes of a network's activation arena at a batch size. The network isn't run.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn arena_bytes(&self, name: &str, batch: usize) -> Result<usize> {
        let network = networks::find(name)?.with_batch(batch)?;
        let graph = Graph::new(network).map_err(|e| anyhow!(e))?;
        let model = Model::new(self.calibration, self.machine, 1);
        let plans = LayerPlans::new(&graph, &self.variants, self.topology, &model)?;
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
