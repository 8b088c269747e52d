//! One layer, or consecutive layers, without a network around them.

use super::turns::mean_ns;
use crate::machine::Topology;
use crate::machine::pool::Workers;
use anyhow::{Context, Result};
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Executor;
use convroof_kernels::instance::Instance;
use convroof_kernels::{Isa, PlanCx, Problem, Registry};

/// Layers, each applied to the output of the one before.
pub struct Chain {
    layers: Vec<Instance>,
}

impl Chain {
    /// Layers with the algorithms that compute them, on the best instruction set and on seeded operands.
    ///
    /// # Errors
    /// When there is no such algorithm, it can't do the layer, or there is no memory.
    pub fn new(
        layers: &[(&str, Problem)],
        topology: &Topology,
        workers: &Workers,
    ) -> Result<Chain> {
        let threads = workers.threads();
        let (registry, caches) = (Registry::builtin(), topology.caches(threads));
        let cx = PlanCx::new(Isa::best(), &caches).with_threads(threads);
        let layer = |(id, problem): &(&str, Problem)| {
            let algorithm = registry.algorithm(id);
            let algorithm = algorithm.with_context(|| format!("there is no algorithm {id}"))?;
            let mut layer = Instance::new(algorithm.plan(problem, &cx)?)?;
            let data = Data::new(problem, Fill::Uniform, 1);
            workers.install(|exec| layer.load(data.operands(), exec));
            Ok(layer)
        };
        Ok(Chain {
            layers: layers.iter().map(layer).collect::<Result<_>>()?,
        })
    }

    /// Compulsory bytes of all layers.
    pub fn bytes(&self) -> u64 {
        let layers = self.layers.iter();
        layers.map(|layer| layer.spec().cost.bytes()).sum()
    }

    /// Bytes that the runs of all layers touch.
    pub fn working_set(&self) -> usize {
        let layers = self.layers.iter();
        layers.map(|layer| layer.spec().working_set_bytes()).sum()
    }

    fn run(&mut self, exec: &dyn Executor) {
        for at in 0..self.layers.len() {
            match self.layers[..=at].split_last_mut().expect("a layer") {
                (first, []) => first.run(exec),
                (layer, [.., before]) => layer.run_after(before, exec),
            }
        }
    }

    /// Runs once untimed, and returns nanoseconds of one run, the mean of `runs`.
    pub fn sample(&mut self, runs: usize, workers: &Workers) -> f64 {
        workers.install(|exec| {
            self.run(exec);
            mean_ns(runs, || self.run(exec))
        })
    }
}
