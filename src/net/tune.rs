//! Tuning: plans measured under a network's conditions.
//!
//! In a network, a layer's activations were just written by the layer before. Its weights were displaced from the
//! caches by what the network has read since the last run. Scratch was just used by other layers, and the output
//! overwrites an earlier tensor.
//!
//! A sample imitates this. First it reads as many bytes as the network has packed weights, at most twice the last
//! cache. Then it writes output, scratch and inputs, and times one run. Repeated runs with warm weights would favour
//! kernels with large weights, such as Winograd's.

use super::contest::{self, Measured};
use super::layer_plans::{LayerPlan, LayerPlans};
use super::plan_file::Time;
use crate::interrupt::{self, Stopped};
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::networks::Graph;
use crate::record::Text;
use anyhow::Result;
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::{Executor, Grid, par_rows};
use convroof_kernels::instance::Instance;
use convroof_kernels::tensor::{AlignedBuf, CacheLine, as_f32s};
use std::hint::black_box;
use std::time::Instant;

/// Factor over the model's best estimate. Plans with a larger estimate are not measured.
const HOPELESS: f64 = 2.5;

/// Number of times that tensors are written before a run. After a large read, a single write leaves less of them in
/// the last-level cache than a network does. A network's tensors return to the same memory all the time.
const WRITES: usize = 5;

/// Measures the plans that could be the fastest of their layer. `progress` is called before each layer. After a
/// signal it returns the layers that are done, and false.
///
/// # Errors
/// When there is no memory.
pub fn measure(
    graph: &Graph,
    plans: &LayerPlans,
    topology: &Topology,
    workers: &Workers,
    mut progress: impl FnMut(&str),
) -> Result<(Vec<Time>, bool)> {
    let largest = topology
        .caches
        .iter()
        .map(|c| c.bytes)
        .max()
        .unwrap_or(8 << 20);
    let displaced = (plans.network_bytes as usize).min(2 * largest);
    let other = AlignedBuf::zeroed(displaced.div_ceil(CacheLine::BYTES))?;
    let mut times = Vec::new();
    for (layer, all) in graph.network.layers.iter().zip(&plans.layers) {
        progress(&layer.name);
        let data = Data::new(&layer.problem, Fill::Uniform, 1);
        let best = all
            .iter()
            .map(|plan| plan.estimate_ns)
            .fold(f64::INFINITY, f64::min);
        let hopeful: Vec<&LayerPlan> = all
            .iter()
            .filter(|plan| plan.estimate_ns <= HOPELESS * best)
            .collect();
        let found = match workers.install(|exec| sample(&hopeful, &data, &other, exec)) {
            Err(error) if error.is::<Stopped>() => return Ok((times, false)),
            other => other?,
        };
        for (plan, Measured { ns, ratio }) in hopeful.iter().zip(found) {
            times.push(Time {
                network: graph.network.name.clone(),
                batch: graph.batch(),
                threads: workers.threads(),
                layer: layer.name.clone(),
                problem: Text::of(layer.problem),
                variant: plan.variant.id().into(),
                ns,
                estimate_ns: plan.estimate_ns.round(),
                ratio,
            });
        }
    }
    Ok((times, true))
}

/// Times of some plans of a layer, from a contest.
fn sample(
    plans: &[&LayerPlan],
    data: &Data,
    other: &[CacheLine],
    exec: &dyn Executor,
) -> Result<Vec<Measured>> {
    let instance = |plan: &&LayerPlan| -> Result<Instance> {
        let mut instance = Instance::new(plan.plan.clone())?;
        instance.load(data.operands(), exec);
        Ok(instance)
    };
    let mut instances = plans.iter().map(instance).collect::<Result<Vec<_>>>()?;
    let mut time = |i: usize| -> Result<f64> {
        interrupt::check()?;
        Ok(time_run(&mut instances[i], other, exec))
    };
    // The first sample pays for page faults and untrained branch prediction, so it is dropped.
    for i in 0..plans.len() {
        time(i)?;
    }
    contest::hold(plans.len(), time)
}

/// Nanoseconds of a run under a network's conditions: after a read of `other`, and after all tensors and scratch were
/// written.
fn time_run(instance: &mut Instance, other: &[CacheLine], exec: &dyn Executor) -> f64 {
    read(other, exec);
    for _ in 0..WRITES {
        for elements in instance.activations() {
            write(elements, exec);
        }
    }
    let start = Instant::now();
    instance.run(exec);
    start.elapsed().as_nanos() as f64
}

/// Reads every cache line, divided among the workers.
fn read(lines: &[CacheLine], exec: &dyn Executor) {
    let width = exec.width();
    let share = lines.len().div_ceil(width).max(1);
    exec.run(width, &|turn| {
        let own = lines.chunks(share).nth(turn.task).unwrap_or(&[]);
        let sum: f32 = as_f32s(own).iter().step_by(CacheLine::F32S).sum();
        black_box(sum);
    });
}

/// Negates every element, divided among the workers.
fn write(elements: &mut [f32], exec: &dyn Executor) {
    if elements.is_empty() {
        return;
    }
    let shares = Grid {
        rows: 1,
        cols: elements.len(),
        block_rows: 1,
        block_cols: elements.len().div_ceil(exec.width()),
        band: 1,
    };
    par_rows(exec, elements, shares, &mut [], |_, mut share, _| {
        share.row(0).iter_mut().for_each(|x| *x = -*x);
    });
}
