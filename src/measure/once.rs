//! One run of one variant, on operands of the caller.

use crate::machine::Topology;
use crate::machine::pool::Workers;
use anyhow::{Result, anyhow};
use convroof_kernels::instance::Instance;
use convroof_kernels::reference::Operands;
use convroof_kernels::{Plan, Problem, Variant};
use std::time::{Duration, Instant};

/// A variant that is about to run once.
pub struct Once {
    plan: Box<dyn Plan>,
    workers: Workers,
}

impl Once {
    /// Plans a variant for a problem, on some threads.
    ///
    /// # Errors
    /// When this CPU lacks the instruction set, the variant can't do the problem, or there are fewer cores.
    pub fn new(
        variant: &Variant,
        problem: &Problem,
        topology: &Topology,
        threads: usize,
    ) -> Result<Once> {
        let (id, isa) = (variant.id(), variant.isa);
        let token = isa
            .detect()
            .ok_or_else(|| anyhow!("{id}: {}", isa.missing_reason()))?;
        let workers = Workers::new(topology, threads)?;
        let caches = topology.caches(threads);
        let plan = super::plan(variant, token, problem, &caches, threads)
            .map_err(|e| anyhow!("{id} can't do '{problem}': {e}"))?;
        Ok(Once { plan, workers })
    }

    /// Runs on operands in plain NCHW and OIHW. Returns the exact output in plain NCHW, and the time of the run.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn run(self, operands: Operands<'_>) -> Result<(Vec<f64>, Duration)> {
        let mut instance = Instance::new(self.plan)?;
        let (output, took) = self.workers.install(|exec| {
            instance.load(operands, exec);
            let start = Instant::now();
            instance.run(exec);
            let took = start.elapsed();
            (instance.exact_output_nchw(exec), took)
        });
        Ok((output?, took))
    }
}
