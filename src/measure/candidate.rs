//! Interface of everything that can be measured: kernels of this process and other libraries.

use super::turns::mean_ns;
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::record::{CacheState, CandidateId, Measurement, PhaseTime, Text};
use anyhow::Result;
use convroof_kernels::conformance::{self, Comparison};
use convroof_kernels::cost::{Accuracy, Cost};
use convroof_kernels::instance::Instance;
use convroof_kernels::isa::Ablation;
use convroof_kernels::phase::PhaseClock;
use convroof_kernels::plan::PlanSpec;
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::reference::Operands;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, IsaToken, Plan, Problem, Unsupported, Variant};

/// Decimals of times (nanoseconds) and peaks (GFLOP/s) in records; no clock is more precise.
pub(super) const DECIMALS: i32 = 2;

/// An implementation with a name that can be planned for any problem.
pub trait Candidate {
    /// `<algorithm>/<isa>/<st|mt>`.
    fn id(&self) -> CandidateId;
    /// Threads that it runs on.
    fn threads(&self) -> usize;
    /// The instruction set whose peak in an arithmetic is its ceiling.
    fn isa(&self, arithmetic: Arithmetic) -> Isa;
    /// Growth of its rounding errors.
    fn accuracy(&self) -> Accuracy;
    /// Largest allowed max |error| / max |ref| on data up to `magnitude`. `largest` is max |ref|.
    fn tolerance(&self, problem: &Problem, magnitude: f64, largest: f64) -> f64 {
        conformance::tolerance(self.accuracy(), problem, magnitude, largest)
    }
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
    /// The output in plain NCHW, exactly.
    ///
    /// # Errors
    /// When there is no memory, or a peer process has ended.
    fn output(&mut self, workers: &Workers) -> Result<Vec<f64>>;
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

impl Facts {
    /// Those of a kernel's plan.
    fn of(spec: &PlanSpec) -> Facts {
        Facts {
            cost: spec.cost,
            packed_bytes: spec.packed_bytes(),
            workspace_bytes: spec.workspace_bytes(),
            table_bytes: spec.table_bytes,
            working_set_bytes: spec.working_set_bytes(),
            implementation: None,
        }
    }

    /// All memory of a run.
    pub fn memory_bytes(&self) -> usize {
        self.working_set_bytes + self.workspace_bytes + self.table_bytes
    }
}

/// The record of a candidate on a problem, with warm caches and without samples. `verified` compares its output with
/// the reference.
pub(super) fn described(
    problem: &Problem,
    candidate: &dyn Candidate,
    facts: Facts,
    verified: Comparison,
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
        error_l2: verified.deviation.l2,
        error_max: verified.deviation.max,
        tolerance: verified.tolerance,
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

    fn isa(&self, _: Arithmetic) -> Isa {
        self.variant.isa
    }

    fn accuracy(&self) -> Accuracy {
        self.variant.algorithm.meta().accuracy
    }

    fn plan(&self, problem: &Problem, topology: &Topology) -> Result<Box<dyn Contestant>, String> {
        let isa = self.variant.isa.detect();
        let isa = isa.ok_or_else(|| self.variant.isa.missing_reason())?;
        let planned = self.on(isa, problem, topology);
        Ok(Box::new(planned.map_err(|refused| refused.to_string())?))
    }

    fn twin(
        &self,
        ablation: Ablation,
        problem: &Problem,
        topology: &Topology,
    ) -> Option<Box<dyn Contestant>> {
        let isa = self.variant.isa.detect()?.without(ablation)?;
        Some(Box::new(self.on(isa, problem, topology).ok()?))
    }
}

impl Kernel {
    /// The kernel's plan of a problem for `isa`, which may be a twin's.
    fn on(
        &self,
        isa: IsaToken,
        problem: &Problem,
        topology: &Topology,
    ) -> Result<KernelOn, Unsupported> {
        let (Kernel { variant, threads }, problem) = (*self, *problem);
        let caches = topology.caches(threads);
        let make = move || super::plan(&variant, isa, &problem, &caches, threads);
        let plan = make()?;
        let facts = Facts::of(plan.spec());
        let mut kept = (facts.table_bytes <= KEPT_TABLES).then_some(plan);
        Ok(KernelOn {
            facts,
            plan: Box::new(move || kept.take().map_or_else(&make, Ok)),
            instance: None,
        })
    }
}

/// Largest tables, in bytes, with which a plan is kept until it is loaded. All candidates are planned before the
/// first is measured. Larger tables of all candidates together could exceed the memory, so they are computed again.
const KEPT_TABLES: usize = 64 << 20;

/// A kernel on one problem. It allocates its memory when it is loaded.
struct KernelOn {
    facts: Facts,
    /// Returns the plan, which is made again if its tables are large.
    plan: Box<dyn FnMut() -> Result<Box<dyn Plan>, Unsupported>>,
    instance: Option<Instance>,
}

impl KernelOn {
    fn loaded(&mut self) -> &mut Instance {
        let instance = self.instance.as_mut();
        instance.expect("a contestant is loaded before it runs")
    }
}

impl Contestant for KernelOn {
    fn facts(&self) -> Facts {
        self.facts.clone()
    }

    fn load(&mut self, x: Operands<'_>, inputs_only: bool, workers: &Workers) -> Result<()> {
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => none.insert(Instance::new((self.plan)()?)?),
        };
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
        let instance = self.loaded();
        Ok(workers.install(|exec| {
            instance.run(exec);
            instance.poison_output();
            mean_ns(runs, || instance.run(exec))
        }))
    }

    fn run(&mut self, runs: usize, workers: &Workers) -> bool {
        let instance = self.loaded();
        workers.install(|exec| (0..runs).for_each(|_| instance.run(exec)));
        true
    }

    fn phases(&mut self, runs: usize, workers: &Workers) -> Vec<PhaseTime> {
        let instance = self.loaded();
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

    fn output(&mut self, workers: &Workers) -> Result<Vec<f64>> {
        let instance = self.loaded();
        Ok(workers.install(|exec| instance.exact_output_nchw(exec))?)
    }

    fn instance(&mut self) -> Option<&mut Instance> {
        self.instance.as_mut()
    }
}
