//! Tuning: plans measured under a network's conditions, and the file that keeps their times.
//!
//! In a network, a layer's activations were just written by the layer before. Its weights were displaced from the
//! caches by what the network has read since the last run. Scratch was just used by other layers, and the output
//! overwrites an earlier tensor.
//!
//! A sample imitates this. First it reads as many bytes as the network has weights, at most twice the last cache.
//! Then it writes output, scratch and inputs, and times one run. Repeated runs with warm weights would favour kernels
//! with large weights, such as Winograd's.

use super::layer_plans::{LayerPlan, LayerPlans};
use crate::files;
use crate::interrupt::{self, Stopped};
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::networks::Graph;
use crate::record::{CandidateId, Text};
use crate::stats::median;
use anyhow::{Context, Result, bail};
use convroof_kernels::Problem;
use convroof_kernels::conformance::Data;
use convroof_kernels::data::{Fill, Rng};
use convroof_kernels::exec::{Executor, Grid, par_rows};
use convroof_kernels::instance::Instance;
use convroof_kernels::tensor::{AlignedBuf, CacheLine, as_f32s};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Factor over the model's best estimate. Plans with a larger estimate are not measured.
const HOPELESS: f64 = 2.5;

/// Stages of the measurement: samples of each plan, and the largest time relative to the fastest to continue.
/// Many samples are needed where neighbours disturb the machine: with few, a slower kernel is often chosen.
const STAGES: [(usize, f64); 3] = [(5, 1.15), (15, 1.06), (45, 1.0)];

/// Number of times that tensors are written before a run. After a large read, a single write leaves less of them in
/// the last-level cache than a network does. A network's tensors return to the same memory all the time.
const WRITES: usize = 5;

/// Value of `kind` in a plan file.
pub const KIND: &str = "convroof-plan";

/// Measured times on one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Always `convroof-plan`.
    pub kind: String,
    /// Version of the schema: 1.
    pub schema: u32,
    /// Fingerprint of the machine. Times of another machine are not valid here.
    #[serde(deserialize_with = "files::id")]
    pub fingerprint: String,
    /// Networks of which some layers weren't measured, since a signal ended their tuning early.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Tuning>,
    /// Times, one for each layer and variant.
    pub times: Vec<Time>,
}

/// A network on some images and threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// The network.
    pub network: String,
    /// Images.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
}

impl Tuning {
    /// A graph on some threads.
    pub fn of(graph: &Graph, threads: usize) -> Tuning {
        Tuning {
            network: graph.network.name.clone(),
            batch: graph.batch(),
            threads,
        }
    }

    fn has(&self, time: &Time) -> bool {
        (time.network.as_str(), time.batch, time.threads)
            == (self.network.as_str(), self.batch, self.threads)
    }
}

/// A variant's time on a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// The network.
    pub network: String,
    /// Images.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// The layer.
    pub layer: String,
    /// Its problem.
    pub problem: Text<Problem>,
    /// `<algorithm>/<isa>/<st|mt>`.
    pub variant: CandidateId,
    /// Time of a run in nanoseconds, estimated from all samples.
    pub ns: f64,
    /// Estimate of the model, nanoseconds.
    pub estimate_ns: f64,
}

impl PlanFile {
    /// A plan file without times.
    pub fn new(fingerprint: &str) -> PlanFile {
        PlanFile {
            kind: KIND.into(),
            schema: 1,
            fingerprint: fingerprint.into(),
            incomplete: Vec::new(),
            times: Vec::new(),
        }
    }

    /// Path of a machine's plan file in a folder.
    ///
    /// # Errors
    /// When the fingerprint is not a valid id.
    pub fn path(folder: &Path, fingerprint: &str) -> Result<PathBuf, files::BadId> {
        files::by_id(folder, fingerprint, "json")
    }

    /// Reads the plans of a machine; none if there is no file.
    ///
    /// # Errors
    /// When the file can't be read, is no plan file, or belongs to another machine.
    pub fn load(path: &Path, fingerprint: &str) -> Result<Option<PlanFile>> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("can't read {}", path.display()))?,
        };
        let file: PlanFile = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged or no plan file: create it again with convroof tune",
                path.display()
            )
        })?;
        if file.kind != KIND || file.schema != 1 {
            bail!(
                "{} is a {} of schema {}, expected a {KIND} of schema 1",
                path.display(),
                file.kind,
                file.schema
            );
        }
        if file.fingerprint != fingerprint {
            bail!(
                "{} was measured on {}, this is {fingerprint}: create it again with convroof tune",
                path.display(),
                file.fingerprint
            );
        }
        Ok(Some(file))
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// When it can't be written.
    fn save(&self, path: &Path) -> Result<(), files::WriteError> {
        let text = serde_json::to_string_pretty(self).expect("plans are JSON");
        files::write(path, &(text + "\n"))
    }

    /// Changes a machine's plan file and returns it. The file is locked and read again before the change, so that
    /// changes by other processes are kept.
    ///
    /// # Errors
    /// Those of [`PlanFile::load`], and when the file can't be written.
    pub fn update(
        path: &Path,
        fingerprint: &str,
        change: impl FnOnce(&mut PlanFile),
    ) -> Result<PlanFile> {
        let _lock = files::Lock::of(path)?;
        let known = PlanFile::load(path, fingerprint)?;
        let mut file = known.unwrap_or_else(|| PlanFile::new(fingerprint));
        change(&mut file);
        file.save(path)?;
        Ok(file)
    }

    /// Replaces a network's old times by new ones. If a signal ended the tuning early, the remaining layers keep
    /// their old times, and the network is listed as incomplete.
    pub fn replace(&mut self, tuning: Tuning, times: Vec<Time>, complete: bool) {
        let old =
            |t: &Time| tuning.has(t) && (complete || times.iter().any(|new| new.layer == t.layer));
        self.times.retain(|t| !old(t));
        self.times.extend(times);
        self.incomplete.retain(|other| *other != tuning);
        if !complete {
            self.incomplete.push(tuning);
        }
    }

    /// Times of a network, by layer and variant. A layer whose problem has changed has none.
    pub fn of(&self, graph: &Graph, threads: usize) -> HashMap<(String, CandidateId), f64> {
        let network = &graph.network;
        let same = |t: &&Time| {
            t.network == network.name
                && (t.batch, t.threads) == (graph.batch(), threads)
                && network
                    .layer(&t.layer)
                    .is_some_and(|l| t.problem.is(&l.problem))
        };
        let times = self.times.iter().filter(same);
        times
            .map(|t| ((t.layer.clone(), t.variant.clone()), t.ns))
            .collect()
    }
}

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
    let displaced = (graph.network.parameter_bytes() as usize).min(2 * largest);
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
        for (plan, ns) in hopeful.iter().zip(found) {
            times.push(Time {
                network: graph.network.name.clone(),
                batch: graph.batch(),
                threads: workers.threads(),
                layer: layer.name.clone(),
                problem: Text::of(layer.problem),
                variant: plan.variant.id().into(),
                ns,
                estimate_ns: plan.estimate_ns.round(),
            });
        }
    }
    Ok((times, true))
}

/// Time of each plan from interleaved samples; sample i of all plans belongs to round i. A disturbance slows a whole
/// round down. So a plan's time is the median of its share of a round, times the usual length of a round. The length
/// of a round is the geometric mean over the plans that took part in all rounds.
fn paired(samples: &[Vec<f64>]) -> Vec<f64> {
    let rounds = samples.iter().map(Vec::len).max().unwrap_or(0);
    let all = || samples.iter().filter(|s| s.len() == rounds);
    let length = |round: usize| {
        let logarithms = all().map(|s| s[round].ln());
        (logarithms.sum::<f64>() / all().count() as f64).exp()
    };
    let lengths: Vec<f64> = (0..rounds).map(length).collect();
    let usual = median(&lengths).unwrap_or(f64::INFINITY);
    let share = |own: &Vec<f64>| {
        let shares: Vec<f64> = own.iter().zip(&lengths).map(|(s, l)| s / l).collect();
        median(&shares).unwrap_or(f64::INFINITY)
    };
    samples.iter().map(|own| usual * share(own)).collect()
}

/// Time of each plan, from interleaved samples.
fn sample(
    plans: &[&LayerPlan],
    data: &Data,
    other: &[CacheLine],
    exec: &dyn Executor,
) -> Result<Vec<f64>> {
    let instance = |plan: &&LayerPlan| -> Result<Instance> {
        let mut instance = Instance::new(plan.plan.clone())?;
        instance.load(data.operands(), exec);
        Ok(instance)
    };
    let mut instances = plans.iter().map(instance).collect::<Result<Vec<_>>>()?;
    let mut rng = Rng::new(1);
    let mut order: Vec<usize> = (0..instances.len()).collect();
    let mut samples = vec![Vec::new(); instances.len()];
    // The first sample pays for page faults and untrained branch prediction, so it is dropped.
    for instance in &mut instances {
        interrupt::check()?;
        time_run(instance, other, exec);
    }
    for (rounds, close) in STAGES {
        while order.first().is_some_and(|&i| samples[i].len() < rounds) {
            rng.shuffle(&mut order);
            for &i in &order {
                interrupt::check()?;
                samples[i].push(time_run(&mut instances[i], other, exec));
            }
        }
        let found = paired(&samples);
        let best = found.iter().copied().fold(f64::INFINITY, f64::min);
        order.retain(|&i| found[i] <= close * best);
        if order.len() == 1 {
            break;
        }
    }
    Ok(paired(&samples))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, proptest};

    proptest! {
        #[test]
        fn a_change_of_pace_changes_no_share(
            times in prop::collection::vec(1.0..100.0f64, 1..6),
            pace in prop::collection::vec(1.0..3.0f64, 3..20),
            out in 0..6usize,
        ) {
            // One plan is pruned after three rounds.
            let rounds = |i: usize| if i == out && times.len() > 1 { 3 } else { pace.len() };
            let samples: Vec<Vec<f64>> = (0..times.len())
                .map(|i| pace[..rounds(i)].iter().map(|p| p * times[i]).collect())
                .collect();
            let found = paired(&samples);
            let first = found[0];
            for (found, time) in found.iter().zip(&times) {
                let share = (found / first) / (time / times[0]);
                prop_assert!((share - 1.0).abs() < 1e-9);
            }
        }
    }
}
