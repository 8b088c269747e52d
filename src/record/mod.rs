//! The record of a run: all raw measurements, with the machine that they were made on.
//!
//! It is a versioned JSON document, described by `results/schema/run-v1.json`. Times are in nanoseconds, sizes in
//! bytes, rates in 10^9 per second. Unknown values are absent.
//!
//! In reading order: this file (a run and its measurements), `machine.rs` (the machine and its ceilings), `text.rs`
//! (fields that are text in a record and values here), `names.rs` (such fields: variants, instruction sets, states of
//! the caches), `noise.rs` (disturbances of a run), `file.rs` (reads and writes records).

mod file;
mod machine;
mod names;
mod noise;
mod text;

pub use file::{RecordError, load, newest, save, save_draft, save_new};
pub use machine::{
    Bandwidth, CacheInfo, Calibration, Capacity, Fingerprint, Level, Peak, Start, Throttling,
};
pub use names::{CacheState, CacheStates, CandidateId, IsaName};
pub use noise::NoisePeriod;
pub use text::Text;

use convroof_kernels::Problem;
use convroof_kernels::dtype::DType;
use convroof_kernels::phase::Phase;
use convroof_kernels::probe::Arithmetic;
use machine::{f32_type, is_f32};
use serde::{Deserialize, Serialize};

/// The version of the schema that this program writes, and the newest that it reads.
pub const SCHEMA: u32 = 1;

/// Value of `kind` in a record.
pub const KIND: &str = "convroof-run";

/// One run of the suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Always `convroof-run`.
    pub kind: String,
    /// The version of the schema.
    pub schema: u32,
    /// Time of the start, RFC 3339, UTC.
    pub started: String,
    /// The program that measured.
    pub tool: Tool,
    /// The machine.
    pub fingerprint: Fingerprint,
    /// Measured ceilings of the machine.
    pub calibration: Calibration,
    /// Conditions of the measurement.
    pub conditions: Conditions,
    /// The requested layers.
    pub layers: Vec<LayerRef>,
    /// Measurements by problem, variant and threads.
    pub measurements: Vec<Measurement>,
    /// Variants that can't do a problem, with the reason.
    pub refusals: Vec<Refusal>,
    /// Status of each hardware counter.
    pub counters: Vec<CounterStatus>,
    /// Names and versions of the other libraries that took part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Disturbances in each part of the run. Empty in records of older programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noise: Vec<NoisePeriod>,
    /// False if the run was interrupted.
    pub complete: bool,
    /// Further remarks for readers.
    pub notes: Vec<String>,
}

/// The program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its version.
    pub version: String,
    /// The revision of its sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_revision: Option<String>,
    /// True if the build's sources differ from the revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_dirty: Option<bool>,
    /// The compiler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rustc: Option<String>,
    /// `release` or `debug`.
    pub profile: String,
}

/// Conditions of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The command line.
    pub command: Vec<String>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Images.
    pub batch: usize,
    /// States of the caches, separated by commas. `warm`: the data of the run before are still there. `weights-cold`:
    /// the weights were not used for long. `cold`: no operand was used for long.
    pub cache: Text<CacheStates>,
    /// Seconds for all samples; absent for a fixed number of rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_s: Option<f64>,
    /// Seed of the data and of the order.
    pub seed: u64,
    /// True if candidates were interleaved. Criterion measures them one after the other: its times are not comparable
    /// in detail.
    pub interleaved: bool,
    /// True if workers were pinned to cores.
    pub pinned: bool,
    /// Logical CPUs in the order of the workers: n threads run on the first n. Empty if the record has no such list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<usize>,
    /// CPU quota of the control group, in CPUs, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_cpus: Option<f64>,
    /// Throttling by that quota during the run, if the system counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttling: Option<Throttling>,
}

/// A requested layer. Several layers may have the same problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRef {
    /// The network; `custom` for problems given on the command line.
    pub network: String,
    /// Element type in which the network was requested; absent for f32. Operations that have no such form, such as a
    /// softmax, stay f32.
    #[serde(default = "f32_type", skip_serializing_if = "is_f32")]
    pub dt: Text<DType>,
    /// The layer.
    pub layer: String,
    /// `conv`, `pool` or `fc`.
    pub kind: String,
    /// Number of occurrences in the network.
    pub count: usize,
    /// The problem's text form.
    pub problem: Text<Problem>,
}

/// One variant on one problem with one number of threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// The problem's text form.
    pub problem: Text<Problem>,
    /// `<algorithm>/<isa>/<st|mt>`.
    pub variant: CandidateId,
    /// A peer library's own name for its implementation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implementation: Option<String>,
    /// Threads.
    pub threads: usize,
    /// `warm`, `weights-cold` or `cold`.
    pub cache: Text<CacheState>,
    /// Number of runs that one sample is the mean of.
    pub runs_per_sample: usize,
    /// Nanoseconds of one run: raw samples in the order of measurement.
    pub samples_ns: Vec<f64>,
    /// The round of each sample.
    pub rounds: Vec<u32>,
    /// The peak of the same instruction set, arithmetic and threads, measured in the same rounds, 10^9 operations per
    /// second.
    pub peak_gflops: Vec<f64>,
    /// Operations of the definition.
    pub flops_nominal: u64,
    /// Operations executed.
    pub flops_executed: u64,
    /// Compulsory bytes read.
    pub bytes_read: u64,
    /// Compulsory bytes written.
    pub bytes_written: u64,
    /// Bytes of packed weights.
    pub packed_bytes: u64,
    /// Bytes of scratch of all workers.
    pub workspace_bytes: u64,
    /// Bytes of source, residual, packed weights and destination.
    pub working_set_bytes: u64,
    /// L2 norm of the error over that of the reference.
    pub error_l2: f64,
    /// max |error| / max |reference|.
    pub error_max: f64,
    /// Largest allowed `error_max`.
    pub tolerance: f64,
    /// Errors on inputs of other distributions, for an algorithm whose error depends on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors_by_input: Vec<InputError>,
    /// True if the timed output was compared with the reference and is within the tolerance.
    pub verified: bool,
    /// Times of the phases of a run, for an algorithm with several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseTime>,
    /// Times with parts taken out, for the fastest variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ablation: Option<AblationTimes>,
    /// A plain read of the weights in the same rounds, for a run with cold weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_read: Option<ColdRead>,
    /// Hardware counters, per run.
    pub counters: Vec<CounterValue>,
}

impl Measurement {
    /// Arithmetic of the layer. One that this program can't parse counts as f32.
    pub fn arithmetic(&self) -> Arithmetic {
        arithmetic(&self.problem)
    }
}

/// Arithmetic of a layer. One that this program can't parse counts as f32.
pub(crate) fn arithmetic(problem: &Text<Problem>) -> Arithmetic {
    let problem = problem.value();
    problem.map_or(Arithmetic::F32, |p| Arithmetic::of(p.dtypes.src))
}

/// Times of a kernel and of its twins in nanoseconds, one sample per round. They have their own rounds, after the
/// timed ones. The output of a twin is wrong by design and not verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AblationTimes {
    /// The complete kernel.
    pub full_ns: Vec<f64>,
    /// Kernel without its arithmetic: every load and store is still executed.
    pub loads_only_ns: Vec<f64>,
    /// Kernel without its memory traffic: the same arithmetic on registers.
    pub arith_only_ns: Vec<f64>,
    /// Kernel that reads one panel of weights instead of all; empty where there are no weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_panel_ns: Vec<f64>,
}

/// Speed of a plain read of cold weights. It shows which memory level they really came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdRead {
    /// Bytes of packed weights.
    pub bytes: u64,
    /// Nanoseconds in which all workers read them, one sample per round.
    pub ns: Vec<f64>,
    /// Bytes that are read between two uses of the same weights.
    pub arena_bytes: u64,
}

/// The error on inputs of one distribution, measured in separate runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputError {
    /// Distribution: `gaussian`, or `post-relu` (half zeros, the rest positive).
    pub input: String,
    /// L2 norm of the error over that of the reference.
    pub l2: f64,
    /// max |error| / max |reference|.
    pub max: f64,
}

/// A phase of a run: `pack` and `multiply` of im2col, `input_transform`, `multiply` and `inverse_transform` of
/// Winograd. Phases are measured in separate runs after the timed ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseTime {
    /// Its name.
    pub phase: Text<Phase>,
    /// Nanoseconds in one run, the mean over the workers.
    pub ns: f64,
    /// Executed operations.
    pub flops: u64,
    /// Bytes of operands that it reads, counted each time it streams them.
    #[serde(default)]
    pub bytes_read: u64,
    /// Bytes of the output that it writes.
    #[serde(default)]
    pub bytes_written: u64,
    /// Bytes of scratch that it reads, written by another phase.
    #[serde(default)]
    pub scratch_read: u64,
    /// Bytes of scratch that it writes for another phase.
    #[serde(default)]
    pub scratch_written: u64,
}

/// A variant that can't do a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The problem's text form.
    pub problem: Text<Problem>,
    /// The variant.
    pub variant: CandidateId,
    /// Reason.
    pub reason: String,
}

/// Availability of a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterStatus {
    /// Its name.
    pub event: String,
    /// Source of the counts.
    pub source: CounterSource,
    /// True if it can be read.
    pub available: bool,
    /// Reason why it is unavailable or distrusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Source of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CounterSource {
    /// The CPU's performance monitoring unit.
    Pmu,
    /// The operating system.
    Software,
}

/// A count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterValue {
    /// Its name.
    pub event: String,
    /// Source of the count.
    pub source: CounterSource,
    /// Events of one run, all workers together.
    pub per_run: f64,
    /// time_running / time_enabled. Below 1 the value is extrapolated.
    pub running_fraction: f64,
}

#[cfg(test)]
pub(crate) mod tests;
