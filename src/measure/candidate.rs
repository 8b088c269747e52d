//! Interface of everything that can be measured: kernels of this process and other libraries.

use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::record::{CacheState, CandidateId, Measurement, PhaseTime, Text};
use anyhow::Result;
use convroof_kernels::blocking::Caches;
use convroof_kernels::cost::{Accuracy, Cost};
use convroof_kernels::instance::{Deviation, Instance};
use convroof_kernels::isa::Ablation;
use convroof_kernels::phase::PhaseClock;
use convroof_kernels::plan::PlanSpec;
use convroof_kernels::reference::Operands;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, IsaToken, Plan, Problem, Unsupported, Variant};
use std::time::Instant;

/// Decimals of times (nanoseconds) and peaks (GFLOP/s) in records; no clock is more precise.
pub(super) const DECIMALS: i32 = 2;

/// An implementation with a name that can be planned for any problem.
pub trait Candidate {
    /// `<algorithm>/<isa>/<st|mt>`.
    fn id(&self) -> CandidateId;
    /// Threads that it runs on.
    fn threads(&self) -> usize;
    /// The instruction set whose FMA peak is its ceiling.
    fn isa(&self) -> Isa;
    /// Growth of its rounding errors.
    fn accuracy(&self) -> Accuracy;
    /// True for another library's candidate: its errors end its own measurement, not the run.
    fn foreign(&self) -> bool {
        false
    }
    /// Plans a problem.
    ///
    /// # Errors
    /// The reason why it can't, or can't any more.
    fn plan(&self, problem: &Problem, topology: &Topology) -> Result<Box<dyn Contestant>, String>;
    /// Its twin without some parts ([`Ablation`]); none where there is no such twin.
    fn twin(
        &self,
        ablation: Ablation,
        problem: &Problem,
        topology: &Topology,
    ) -> Option<Box<dyn Contestant>> {
        let _ = (ablation, problem, topology);
        None
    }
}

/// A candidate on one problem. `load` comes first.
pub trait Contestant {
    /// Resources and costs.
    fn facts(&self) -> Facts;
    /// Loads operands in plain NCHW and OIHW. With `inputs_only` it replaces the inputs and keeps the parameters.
    ///
    /// # Errors
    /// When there is no memory, or a peer process has ended.
    fn load(&mut self, x: Operands<'_>, inputs_only: bool, workers: &Workers) -> Result<()>;
    /// Runs once untimed, poisons the output, and returns nanoseconds of one run, the mean of `runs`.
    ///
    /// # Errors
    /// When a peer process has ended.
    fn sample(&mut self, runs: usize, workers: &Workers) -> Result<f64>;
    /// Runs untimed, for counters. False if it doesn't run in this process.
    fn run(&mut self, runs: usize, workers: &Workers) -> bool;
    /// Runs `runs` times more and returns the time of each phase of a run. Empty if there is only one phase, or if
    /// phases aren't known.
    fn phases(&mut self, runs: usize, workers: &Workers) -> Vec<PhaseTime> {
        let _ = (runs, workers);
        Vec::new()
    }
    /// The output in plain NCHW.
    ///
    /// # Errors
    /// When there is no memory, or a peer process has ended.
    fn output(&mut self, workers: &Workers) -> Result<Vec<f32>>;
    /// Plan and memory of a loaded contestant of this process.
    fn instance(&mut self) -> Option<&mut Instance> {
        None
    }
}

/// Properties of a contestant other than its times. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Operations and compulsory bytes.
    pub cost: Cost,
    /// Packed weights.
    pub packed_bytes: usize,
    /// Scratch of all workers.
    pub workspace_bytes: usize,
    /// Tables of the plan itself.
    pub table_bytes: usize,
    /// Source, residual, packed weights and destination.
    pub working_set_bytes: usize,
    /// The library's own name for the implementation that it ran.
    pub implementation: Option<String>,
}

/// The record of a candidate on a problem, with warm caches and without samples. `deviation` is its output's
/// deviation from the reference, at most `tolerance`.
pub(super) fn described(
    problem: &Problem,
    candidate: &dyn Candidate,
    facts: Facts,
    (deviation, tolerance): (Deviation, f64),
) -> Measurement {
    Measurement {
        problem: Text::of(*problem),
        variant: candidate.id(),
        implementation: facts.implementation,
        threads: candidate.threads(),
        cache: Text::of(CacheState::Warm),
        runs_per_sample: 0,
        samples_ns: Vec::new(),
        rounds: Vec::new(),
        peak_gflops: Vec::new(),
        flops_nominal: facts.cost.flops_nominal,
        flops_executed: facts.cost.flops_executed,
        bytes_read: facts.cost.bytes_read,
        bytes_written: facts.cost.bytes_written,
        packed_bytes: facts.packed_bytes as u64,
        workspace_bytes: facts.workspace_bytes as u64,
        working_set_bytes: facts.working_set_bytes as u64,
        error_l2: deviation.l2,
        error_max: deviation.max,
        tolerance,
        errors_by_input: Vec::new(),
        verified: true,
        phases: Vec::new(),
        ablation: None,
        cold_read: None,
        counters: Vec::new(),
    }
}

/// A variant with a number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// The variant.
    pub variant: Variant,
    /// 1 for single-threaded variants, more for the others.
    pub threads: usize,
}

/// All valid pairs of some variants and numbers of threads: single-threaded variants on one thread, the others on
/// each number above one.
pub fn kernels(variants: &[Variant], threads: &[usize]) -> Vec<Kernel> {
    let mut all = Vec::new();
    for &variant in variants {
        for &threads in threads {
            if (variant.threading == Threading::St) == (threads == 1) {
                all.push(Kernel { variant, threads });
            }
        }
    }
    all
}

impl Candidate for Kernel {
    fn id(&self) -> CandidateId {
        self.variant.id().into()
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn isa(&self) -> Isa {
        self.variant.isa
    }

    fn accuracy(&self) -> Accuracy {
        self.variant.algorithm.meta().accuracy
    }

    fn plan(&self, problem: &Problem, topology: &Topology) -> Result<Box<dyn Contestant>, String> {
        let isa = self.variant.isa.detect();
        self.plan_for(
            isa.ok_or_else(|| self.variant.isa.missing_reason())?,
            problem,
            topology,
        )
    }

    fn twin(
        &self,
        ablation: Ablation,
        problem: &Problem,
        topology: &Topology,
    ) -> Option<Box<dyn Contestant>> {
        let isa = self.variant.isa.detect()?.without(ablation)?;
        self.plan_for(isa, problem, topology).ok()
    }
}

impl Kernel {
    fn plan_for(
        &self,
        isa: IsaToken,
        problem: &Problem,
        topology: &Topology,
    ) -> Result<Box<dyn Contestant>, String> {
        let planner = Planner {
            kernel: *self,
            isa,
            problem: *problem,
            caches: topology.caches(self.threads),
        };
        let plan = planner.plan().map_err(|refused| refused.to_string())?;
        let facts = facts(plan.spec());
        let kept = facts.table_bytes <= KEPT_TABLES;
        Ok(Box::new(Runnable::Planned(Box::new(Planned {
            planner,
            facts,
            plan: kept.then_some(plan),
        }))))
    }
}

/// Largest tables, in bytes, with which a plan is kept until it is loaded. All candidates are planned before the
/// first is measured. Larger tables of all candidates together could exceed the memory, so they are computed again.
const KEPT_TABLES: usize = 64 << 20;

/// Arguments of a plan.
struct Planner {
    kernel: Kernel,
    isa: IsaToken,
    problem: Problem,
    caches: Caches,
}

impl Planner {
    fn plan(&self) -> Result<Box<dyn Plan>, Unsupported> {
        let Kernel { variant, threads } = &self.kernel;
        super::plan(variant, self.isa, &self.problem, &self.caches, *threads)
    }
}

fn facts(spec: &PlanSpec) -> Facts {
    let packed_bytes = spec.packed_bytes();
    let residual = usize::from(spec.problem.epilogue.residual);
    let tensors = spec.src_desc().bytes() + (1 + residual) * spec.dst_desc().bytes();
    Facts {
        cost: spec.cost,
        packed_bytes,
        workspace_bytes: spec.workspace_bytes(),
        table_bytes: spec.table_bytes,
        working_set_bytes: tensors + packed_bytes,
        implementation: None,
    }
}

/// A plan, which allocates memory when it is loaded.
enum Runnable {
    Planned(Box<Planned>),
    Ready(Box<Instance>),
}

/// A plan without memory, or the arguments to make it.
struct Planned {
    planner: Planner,
    facts: Facts,
    /// None if its tables are larger than `KEPT_TABLES`.
    plan: Option<Box<dyn Plan>>,
}

impl Runnable {
    fn ready(&mut self) -> &mut Instance {
        self.instance()
            .expect("a contestant is loaded before it runs")
    }
}

impl Contestant for Runnable {
    fn facts(&self) -> Facts {
        match self {
            Runnable::Planned(planned) => planned.facts.clone(),
            Runnable::Ready(instance) => facts(instance.spec()),
        }
    }

    fn load(&mut self, x: Operands<'_>, inputs_only: bool, workers: &Workers) -> Result<()> {
        if let Runnable::Planned(planned) = self {
            let plan = match planned.plan.take() {
                Some(plan) => plan,
                None => planned.planner.plan()?,
            };
            *self = Runnable::Ready(Box::new(Instance::new(plan)?));
        }
        let instance = self.ready();
        workers.install(|exec| {
            if inputs_only {
                instance.load_inputs(x, exec);
            } else {
                instance.load(x, exec);
            }
        });
        Ok(())
    }

    fn sample(&mut self, runs: usize, workers: &Workers) -> Result<f64> {
        let instance = self.ready();
        Ok(workers.install(|exec| {
            instance.run(exec);
            instance.poison_output(f32::NAN);
            let start = Instant::now();
            for _ in 0..runs {
                instance.run(exec);
            }
            start.elapsed().as_nanos() as f64 / runs as f64
        }))
    }

    fn run(&mut self, runs: usize, workers: &Workers) -> bool {
        let instance = self.ready();
        workers.install(|exec| (0..runs).for_each(|_| instance.run(exec)));
        true
    }

    fn phases(&mut self, runs: usize, workers: &Workers) -> Vec<PhaseTime> {
        let instance = self.ready();
        let costs = instance.phases();
        if costs.is_empty() {
            return Vec::new();
        }
        let clock = PhaseClock::default();
        let width = workers.install(|exec| {
            (0..runs).for_each(|_| instance.run_timed(exec, Some(&clock)));
            exec.width()
        });
        let timed = costs.into_iter().map(|cost| PhaseTime {
            phase: Text::of(cost.phase),
            ns: clock.time(cost.phase).as_nanos() as f64 / (runs * width) as f64,
            flops: cost.flops,
            bytes_read: cost.read,
            bytes_written: cost.written,
            scratch_read: cost.scratch_read,
            scratch_written: cost.scratch_written,
        });
        timed.collect()
    }

    fn instance(&mut self) -> Option<&mut Instance> {
        match self {
            Runnable::Ready(instance) => Some(instance),
            Runnable::Planned(_) => None,
        }
    }

    fn output(&mut self, workers: &Workers) -> Result<Vec<f32>> {
        let instance = self.ready();
        let plain = workers.install(|exec| instance.output_nchw(exec))?;
        Ok(plain.f32s().to_vec())
    }
}
