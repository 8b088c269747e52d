//! One kernel by itself, for harnesses with their own clock and order, such as criterion.

use super::candidate::{Candidate, Contestant, Kernel, described};
use super::expected::Expected;
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::record::{CandidateId, Measurement};
use anyhow::{Context, Result};
use convroof_kernels::Problem;
use convroof_kernels::instance::Instance;
use std::time::{Duration, Instant};

/// A kernel on a problem. It allocates memory when it is loaded.
pub struct Solo {
    kernel: Kernel,
    contestant: Box<dyn Contestant>,
    problem: Problem,
    /// Operands, once they are loaded.
    expected: Option<Expected>,
}

impl Solo {
    /// A kernel's plan; none if it can't do the problem.
    pub fn new(kernel: Kernel, problem: &Problem, topology: &Topology) -> Option<Solo> {
        Some(Solo {
            kernel,
            contestant: kernel.plan(problem, topology).ok()?,
            problem: *problem,
            expected: None,
        })
    }

    /// Name of the kernel.
    pub fn id(&self) -> CandidateId {
        self.kernel.id()
    }

    /// Operations of the definition.
    pub fn flops_nominal(&self) -> u64 {
        self.contestant.facts().cost.flops_nominal
    }

    /// True once operands were loaded.
    pub fn is_loaded(&self) -> bool {
        self.expected.is_some()
    }

    /// The plan with its memory, loaded at the first call.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn loaded(&mut self, workers: &Workers) -> Result<&mut Instance> {
        if self.expected.is_none() {
            let expected = Expected::new(&self.problem, 1);
            self.contestant.load(expected.operands(), false, workers)?;
            self.expected = Some(expected);
        }
        self.contestant
            .instance()
            .context("no kernel of this process")
    }

    /// The record of some samples (nanoseconds of a run), with the peak (10^9 operations per second) that was measured
    /// beside them.
    /// The output of the last run is compared with the reference.
    ///
    /// # Errors
    /// [`Wrong`](super::Wrong) when the output deviates too much; another error when nothing was loaded.
    pub fn measurement(
        mut self,
        samples_ns: Vec<f64>,
        peak: f64,
        workers: &Workers,
    ) -> Result<Measurement> {
        let expected = self.expected.context("nothing was loaded")?;
        let verified = expected.verify(&self.kernel, self.contestant.as_mut(), workers)?;
        let facts = self.contestant.facts();
        Ok(Measurement {
            runs_per_sample: 1,
            rounds: (0..samples_ns.len() as u32).collect(),
            peak_gflops: vec![peak; samples_ns.len()],
            samples_ns,
            ..described(&self.problem, &self.kernel, facts, verified)
        })
    }
}

/// Runs an instance `runs` times on a pool, and returns the time of all runs.
pub fn timed(workers: &Workers, runs: u64, instance: &mut Instance) -> Duration {
    workers.install(|exec| {
        let start = Instant::now();
        for _ in 0..runs {
            instance.run(exec);
        }
        start.elapsed()
    })
}
