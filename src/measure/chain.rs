//! Consecutive layers, without a network around them.

use crate::machine::Topology;
use crate::machine::pool::Workers;
use anyhow::{Context, Result};
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Executor;
use convroof_kernels::plan::{Params, RunArgs};
use convroof_kernels::reorder::to_layout;
use convroof_kernels::tensor::{AlignedBuf, Layout, Tensor, TensorDesc, TensorRef};
use convroof_kernels::{Isa, Plan, PlanCx, Problem, Registry};
use std::time::Instant;

/// Layers, each applied to the output of the one before.
pub struct Chain {
    plans: Vec<(Box<dyn Plan>, AlignedBuf)>,
    /// The source of the first layer, and the output of each layer.
    tensors: Vec<Tensor>,
    workspace: AlignedBuf,
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
        let (mut plans, mut tensors, mut lines) = (Vec::new(), Vec::new(), 0);
        for (id, problem) in layers {
            let algorithm = registry.algorithm(id);
            let algorithm = algorithm.with_context(|| format!("there is no algorithm {id}"))?;
            let plan = algorithm.plan(problem, &cx)?;
            let (spec, data) = (plan.spec(), Data::new(problem, Fill::Uniform, 1));
            let x = data.operands();
            if tensors.is_empty() {
                let plain = TensorDesc::f32(Layout::Nchw, problem.src_dims());
                let mut src = Tensor::zeros(plain)?;
                src.f32s_mut().copy_from_slice(x.src);
                let src = workers.install(|exec| to_layout(&src, spec.layouts.src, exec));
                tensors.push(src?);
            }
            tensors.push(Tensor::zeros(spec.dst_desc())?);
            let params = Params {
                weights: spec
                    .weights_desc()
                    .map(|d| TensorRef::from_f32s(d, x.weights)),
                bias: spec.bias_desc().map(|d| TensorRef::from_f32s(d, x.bias)),
            };
            let mut packed = AlignedBuf::zeroed(spec.packed_lines)?;
            workers.install(|exec| plan.prepare(params, &mut packed, exec));
            lines = lines.max(spec.workspace_lines());
            plans.push((plan, packed));
        }
        Ok(Chain {
            plans,
            tensors,
            workspace: AlignedBuf::zeroed(lines)?,
        })
    }

    fn run(&mut self, exec: &dyn Executor) {
        for (at, (plan, packed)) in self.plans.iter().enumerate() {
            let (before, behind) = self.tensors.split_at_mut(at + 1);
            plan.run(RunArgs {
                src: before[at].view(),
                residual: None,
                dst: behind[0].view_mut(),
                packed,
                workspace: &mut self.workspace,
                exec,
                phases: None,
            });
        }
    }

    /// Runs once untimed, and returns microseconds of one run, the mean of `runs`.
    pub fn sample(&mut self, runs: usize, workers: &Workers) -> f64 {
        let took = workers.install(|exec| {
            self.run(exec);
            let start = Instant::now();
            (0..runs).for_each(|_| self.run(exec));
            start.elapsed()
        });
        took.as_secs_f64() * 1e6 / runs as f64
    }
}
