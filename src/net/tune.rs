//! Candidates measured as a network uses them, and the file that keeps what was found.
//!
//! In a network a layer's activations were just written by the layer before, and its weights have not been read since
//! the last run: whatever the network read meanwhile has displaced them. Scratch is what other layers have just used, and
//! the output goes where an earlier tensor was. So between samples as many bytes are read as the network's weights have
//! (or twice the last cache, if they are more), then output, scratch and inputs are written, and one run is timed. Times of
//! a kernel repeated on warm weights would flatter those whose weights are large (Winograd's).

use super::candidates::{Candidate, Candidates};
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
use convroof_kernels::plan::{Params, RunArgs};
use convroof_kernels::reorder::reorder;
use convroof_kernels::tensor::{
    AlignedBuf, CacheLine, Layout, Tensor, TensorDesc, TensorRef, as_f32s, as_f32s_mut,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Candidates that the model thinks this many times slower than its best are not measured.
const HOPELESS: f64 = 2.5;

/// Samples of those that may still be the fastest, and by how many times as long as the fastest another may take then
/// to go on. Where neighbours disturb a machine, 15 leave some percent of doubt: on two cores of a virtual EPYC one of two
/// kernels 4 to 10 % apart was chosen for 33, 30, 18 and 15 of ResNet-50's layers in four tunings.
const STAGES: [(usize, f64); 3] = [(5, 1.15), (15, 1.06), (45, 1.0)];

/// How often what a layer finds in the caches is written before it runs. Once is not enough: behind so much that was read once,
/// L3 lets go of what was written once, where a network's tensors come back to the same memory all the time. On Zen 3
/// a 1x1 convolution of 512 channels took 1.06 ms in its network, 1.17 after one time, 1.08 after five, while a
/// kernel that reads its input more often took 1.11 in all.
const WRITES: usize = 5;

/// What a plan file calls itself.
pub const KIND: &str = "convroof-plan";

/// Measured times on one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// `convroof-plan`.
    pub kind: String,
    /// 1.
    pub schema: u32,
    /// The machine: plans of another are worth nothing here.
    #[serde(deserialize_with = "files::id")]
    pub fingerprint: String,
    /// Networks of which some layers weren't measured yet: a signal cut their tuning short.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Tuning>,
    /// One for each layer and candidate.
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

/// A candidate's time on a layer.
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
    /// Of a run, in the middle of its samples.
    pub ns: f64,
    /// What the model said.
    pub estimate_ns: f64,
}

impl PlanFile {
    /// Nothing yet.
    pub fn new(fingerprint: &str) -> PlanFile {
        PlanFile {
            kind: KIND.into(),
            schema: 1,
            fingerprint: fingerprint.into(),
            incomplete: Vec::new(),
            times: Vec::new(),
        }
    }

    /// Where a machine's plans are, below a folder.
    ///
    /// # Errors
    /// When the fingerprint is no id.
    pub fn path(folder: &Path, fingerprint: &str) -> Result<PathBuf, files::BadId> {
        files::by_id(folder, fingerprint, "json")
    }

    /// Reads the plans of a machine; none if there is no file.
    ///
    /// # Errors
    /// When the file can't be read, is no plan, or another machine's.
    pub fn load(path: &Path, fingerprint: &str) -> Result<Option<PlanFile>> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("can't read {}", path.display()))?,
        };
        let file: PlanFile = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged, or no plan: make it anew with convroof tune",
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
                "{} was measured on {}, this is {fingerprint}: make it anew with convroof tune",
                path.display(),
                file.fingerprint
            );
        }
        Ok(Some(file))
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When it can't be written.
    fn save(&self, path: &Path) -> Result<(), files::WriteError> {
        let text = serde_json::to_string_pretty(self).expect("plans are JSON");
        files::write(path, &(text + "\n"))
    }

    /// Changes a machine's plans on disk and returns them. Another process's changes before are kept: the file is read
    /// anew, and locked until it is written.
    ///
    /// # Errors
    /// As [`PlanFile::load`], and when the file can't be written.
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

    /// Takes a network's new times in place of the old ones. Where a signal left layers out, they keep theirs, and the
    /// file says so.
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

    /// Times of a network, by layer and variant. A layer whose problem is another now has none.
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

/// Measures the candidates of a network that could be the fastest of their layer. `progress` hears of each layer. A
/// signal leaves the layers that are done, and false.
///
/// # Errors
/// When there is no memory.
pub fn measure(
    graph: &Graph,
    candidates: &Candidates,
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
    for (layer, all) in graph.network.layers.iter().zip(&candidates.layers) {
        progress(&layer.name);
        let data = Data::new(&layer.problem, Fill::Uniform, 1);
        let best = all
            .iter()
            .map(|c| c.estimate_ns)
            .fold(f64::INFINITY, f64::min);
        let hopeful: Vec<&Candidate> = all
            .iter()
            .filter(|c| c.estimate_ns <= HOPELESS * best)
            .collect();
        let found = match workers.install(|exec| sample(&hopeful, &data, &other, exec)) {
            Err(error) if error.is::<Stopped>() => return Ok((times, false)),
            other => other?,
        };
        for (candidate, ns) in hopeful.iter().zip(found) {
            times.push(Time {
                network: graph.network.name.clone(),
                batch: graph.batch(),
                threads: workers.threads(),
                layer: layer.name.clone(),
                problem: Text::of(layer.problem),
                variant: candidate.variant.id().into(),
                ns,
                estimate_ns: candidate.estimate_ns.round(),
            });
        }
    }
    Ok((times, true))
}

/// A candidate with its memory.
struct Entrant<'a> {
    candidate: &'a Candidate,
    src: Tensor,
    residual: Option<Tensor>,
    dst: Tensor,
    packed: AlignedBuf,
    workspace: AlignedBuf,
}

/// The time of each, by samples that were taken in turns: the first of all in one round, and so on. A machine that
/// changes its pace slows a whole round down, so that what tells candidates apart is their share of a round, the
/// median of it; a round is as long as the samples of those who took part in all.
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

/// The time of each candidate, by samples that are taken in turns.
fn sample(
    candidates: &[&Candidate],
    data: &Data,
    other: &[CacheLine],
    exec: &dyn Executor,
) -> Result<Vec<f64>> {
    let x = data.operands();
    let mut entrants = Vec::new();
    for &candidate in candidates {
        let spec = candidate.plan.spec();
        let input = |desc: TensorDesc, values: &[f32]| -> Result<_> {
            let mut tensor = Tensor::zeros(desc)?;
            let plain = TensorRef::from_f32s(desc.with_layout(Layout::Nchw), values);
            reorder(plain, &mut tensor.view_mut(), exec);
            Ok(tensor)
        };
        let residual = spec.problem.epilogue.residual;
        let residual = residual
            .then(|| input(spec.dst_desc(), x.residual))
            .transpose()?;
        let mut packed = AlignedBuf::zeroed(spec.packed_lines)?;
        let params = Params {
            weights: spec
                .weights_desc()
                .map(|d| TensorRef::from_f32s(d, x.weights)),
            bias: spec.bias_desc().map(|d| TensorRef::from_f32s(d, x.bias)),
        };
        candidate.plan.prepare(params, &mut packed, exec);
        entrants.push(Entrant {
            src: input(spec.src_desc(), x.src)?,
            residual,
            dst: Tensor::zeros(spec.dst_desc())?,
            packed,
            workspace: AlignedBuf::zeroed(spec.workspace_lines())?,
            candidate,
        });
    }
    let mut rng = Rng::new(1);
    let mut order: Vec<usize> = (0..entrants.len()).collect();
    let mut samples = vec![Vec::new(); entrants.len()];
    // The first sample finds pages and branches that it doesn't know.
    for entrant in &mut entrants {
        interrupt::check()?;
        entrant.sample(other, exec);
    }
    for (rounds, close) in STAGES {
        while order.first().is_some_and(|&i| samples[i].len() < rounds) {
            rng.shuffle(&mut order);
            for &i in &order {
                interrupt::check()?;
                samples[i].push(entrants[i].sample(other, exec));
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

impl Entrant<'_> {
    fn sample(&mut self, other: &[CacheLine], exec: &dyn Executor) -> f64 {
        read(other, exec);
        for _ in 0..WRITES {
            write(self.dst.f32s_mut(), exec);
            write(as_f32s_mut(&mut self.workspace), exec);
            if let Some(residual) = &mut self.residual {
                write(residual.f32s_mut(), exec);
            }
            write(self.src.f32s_mut(), exec);
        }
        let args = RunArgs {
            src: self.src.view(),
            residual: self.residual.as_ref().map(Tensor::view),
            dst: self.dst.view_mut(),
            packed: &self.packed,
            workspace: &mut self.workspace,
            exec,
            phases: None,
        };
        let start = Instant::now();
        self.candidate.plan.run(args);
        start.elapsed().as_nanos() as f64
    }
}

/// Reads every line, each worker its share.
fn read(lines: &[CacheLine], exec: &dyn Executor) {
    let width = exec.width();
    let share = lines.len().div_ceil(width).max(1);
    exec.run(width, &|turn| {
        let own = lines.chunks(share).nth(turn.task).unwrap_or(&[]);
        let sum: f32 = as_f32s(own).iter().step_by(CacheLine::F32S).sum();
        black_box(sum);
    });
}

/// Writes every element, its negative, each worker its share.
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
            // One is out after three rounds.
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
