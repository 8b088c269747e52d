//! The record of a run: everything that was measured, raw, with the machine it was measured on.
//!
//! A versioned JSON document; `results/schema/run-v1.json` describes it. Times are in nanoseconds,
//! sizes in bytes, rates in 10^9 a second. What couldn't be known is absent.
//!
//! In reading order: this file (the types), `file.rs` (reads and writes them).

mod file;
mod text;

pub use file::{RecordError, load, save, save_draft, save_new};
pub use text::{CacheState, CacheStates, CandidateId, IsaName, Text};

use convroof_kernels::Problem;
use convroof_kernels::phase::Phase;
use serde::{Deserialize, Serialize};

/// The version of the schema that this program writes, and the newest it reads.
pub const SCHEMA: u32 = 1;

/// What a document must call itself.
pub const KIND: &str = "convroof-run";

/// One run of the suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// `convroof-run`.
    pub kind: String,
    /// The version of the schema.
    pub schema: u32,
    /// When it started, RFC 3339, UTC.
    pub started: String,
    /// What measured.
    pub tool: Tool,
    /// What was measured on.
    pub fingerprint: Fingerprint,
    /// What that machine can do at most.
    pub calibration: Calibration,
    /// How was measured.
    pub conditions: Conditions,
    /// The layers of interest.
    pub layers: Vec<LayerRef>,
    /// What was measured, by problem, variant and threads.
    pub measurements: Vec<Measurement>,
    /// Which variants can't do which problems, and why.
    pub refusals: Vec<Refusal>,
    /// Which counters could be read, and why not.
    pub counters: Vec<CounterStatus>,
    /// Other people's libraries that took part, with their versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// False if the run was interrupted.
    pub complete: bool,
    /// Whatever else a reader should know.
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
    /// True if the build was of other sources than the revision's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_dirty: Option<bool>,
    /// The compiler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rustc: Option<String>,
    /// `release` or `debug`.
    pub profile: String,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Short and stable: machines with the same id may be compared. It names files: `[a-z0-9-]+`.
    #[serde(deserialize_with = "crate::files::id")]
    pub id: String,
    /// Target architecture.
    pub arch: String,
    /// Operating system.
    pub os: String,
    /// Instruction sets that kernels can use here.
    pub isas: Vec<IsaName>,
    /// Logical CPUs that this process may run on.
    pub online_cpus: usize,
    /// Physical cores among them.
    pub physical_cores: usize,
    /// Caches of the first of them.
    pub caches: Vec<CacheInfo>,
    /// Brand string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// Maker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// CPUID family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<u32>,
    /// CPUID model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<u32>,
    /// CPUID stepping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stepping: Option<u32>,
    /// Microcode revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub microcode: Option<String>,
    /// Sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<usize>,
    /// Whether cores have siblings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smt: Option<bool>,
    /// Frequency governor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// Whether the clock may be boosted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boost: Option<bool>,
    /// What virtualises the machine; absent on bare metal, or if it can't be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// Kernel release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Policy of transparent huge pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<String>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Mean runnable processes of the last minute, when the run started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_average: Option<f64>,
    /// Whether denormals are flushed to zero in this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_to_zero: Option<bool>,
}

/// One cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheInfo {
    /// 1, 2 or 3.
    pub level: u32,
    /// Its size.
    pub bytes: usize,
    /// Logical CPUs that share it.
    pub shared_by: usize,
    /// Where this is known from: `sysfs`, `cpuid` or `assumed`.
    pub source: String,
}

impl CacheInfo {
    /// Physical cores that share it, where `all` are the caches of a CPU: L1 is a core's own, so its CPUs are the
    /// core's siblings.
    pub fn cores(&self, all: &[CacheInfo]) -> usize {
        let siblings = all
            .iter()
            .find(|c| c.level == 1)
            .map_or(1, |l1| l1.shared_by);
        self.shared_by.div_ceil(siblings.max(1)).max(1)
    }
}

/// What the machine can do at most, as measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Arithmetic.
    pub peaks: Vec<Peak>,
    /// Memory.
    pub bandwidths: Vec<Bandwidth>,
    /// What caches hold, where that was measured: on virtual machines less than the system says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacities: Vec<Capacity>,
    /// What it takes to hand tasks to threads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<Start>,
    /// What looked wrong.
    pub notes: Vec<String>,
}

/// What it takes to hand tasks to threads, and to have them all back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Threads.
    pub threads: usize,
    /// Nanoseconds, with a task for each that does nothing but see the others come.
    pub ns: f64,
}

/// The most multiply-adds a second from registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    /// Instruction set.
    pub isa: IsaName,
    /// Threads.
    pub threads: usize,
    /// f32 GFLOP/s of all threads, the best of several samples.
    pub gflops: f64,
    /// (best - median) / best of the samples.
    pub spread: f64,
}

/// Bytes a second from one level of the memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// The level.
    pub level: Level,
    /// `read`, `write`, `copy`, `triad`, or `write-nt` (non-temporal).
    pub op: String,
    /// Instruction set.
    pub isa: IsaName,
    /// Threads.
    pub threads: usize,
    /// Of each thread.
    pub working_set_bytes: usize,
    /// 10^9 bytes a second that the loop names, of all threads, the best of several samples.
    pub gbps: f64,
    /// (best - median) / best of the samples.
    pub spread: f64,
}

/// What a cache was found to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// The level.
    pub level: Level,
    /// Threads.
    pub threads: usize,
    /// Of all threads together: the largest working set, in steps of two, that is read at the level's speed.
    pub bytes: usize,
}

/// A level of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Level 1.
    L1,
    /// Level 2.
    L2,
    /// Level 3.
    L3,
    /// Main memory.
    Dram,
}

impl Level {
    /// Nearest first.
    pub const ALL: [Level; 4] = [Level::L1, Level::L2, Level::L3, Level::Dram];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Level::L1 => "L1",
            Level::L2 => "L2",
            Level::L3 => "L3",
            Level::Dram => "DRAM",
        }
    }
}

/// How a run was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The command line.
    pub command: Vec<String>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Images.
    pub batch: usize,
    /// States of the caches, several with commas. `warm`: everything resident from the run before;
    /// `weights-cold`: the weights not used for long; `cold`: nothing used for long.
    pub cache: Text<CacheStates>,
    /// Seconds that sampling was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_s: Option<f64>,
    /// Of data and order.
    pub seed: u64,
    /// Whether candidates took turns. Criterion's don't: its figures are not to be compared finely.
    pub interleaved: bool,
    /// Whether workers were pinned to cores.
    pub pinned: bool,
    /// Logical CPUs in the order of the workers: n threads run on the first n. Empty if that was not written down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<usize>,
    /// CPUs' worth of time that a control group left the run, if it had a quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_cpus: Option<f64>,
    /// How often that quota stopped the run, if the system counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttling: Option<Throttling>,
}

/// How often and how long a control group's quota stopped its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttling {
    /// Periods in which the quota was used up before the end.
    pub periods: u64,
    /// Microseconds that all CPUs together stood still for it.
    pub us: u64,
}

/// A layer of interest; several may have the same problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRef {
    /// The network; `custom` for problems given on the command line.
    pub network: String,
    /// The layer.
    pub layer: String,
    /// `conv`, `pool` or `fc`.
    pub kind: String,
    /// How often the network has it.
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
    /// The name that a peer library has for what it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implementation: Option<String>,
    /// Threads.
    pub threads: usize,
    /// `warm`, `weights-cold` or `cold`.
    pub cache: Text<CacheState>,
    /// Runs that one sample is the mean of.
    pub runs_per_sample: usize,
    /// Time of one run, raw, in the order measured.
    pub samples_ns: Vec<f64>,
    /// The round of each sample.
    pub rounds: Vec<u32>,
    /// The peak of the same instruction set and threads, measured in the same rounds, GFLOP/s.
    pub peak_gflops: Vec<f64>,
    /// Operations of the definition.
    pub flops_nominal: u64,
    /// Operations executed.
    pub flops_executed: u64,
    /// Compulsory bytes read.
    pub bytes_read: u64,
    /// Compulsory bytes written.
    pub bytes_written: u64,
    /// Packed weights.
    pub packed_bytes: u64,
    /// Scratch of all workers.
    pub workspace_bytes: u64,
    /// Source, residual, packed weights and destination.
    pub working_set_bytes: u64,
    /// L2 norm of the error over that of the reference.
    pub error_l2: f64,
    /// max |error| / max |reference|.
    pub error_max: f64,
    /// What `error_max` may be.
    pub tolerance: f64,
    /// The same on other inputs, of an algorithm whose error depends on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors_by_input: Vec<InputError>,
    /// Whether the timed output was compared with the reference and found right.
    pub verified: bool,
    /// What each phase of a run takes, of an algorithm that has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseTime>,
    /// What it takes with parts taken out, of the fastest variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ablation: Option<AblationTimes>,
    /// A plain read of the weights in the same rounds, of a run that finds them cold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_read: Option<ColdRead>,
    /// What the counters said of one run.
    pub counters: Vec<CounterValue>,
}

/// Times of a kernel and of its twins, a sample of each a round. Measured in rounds of their own, after the timed
/// ones; a twin's result is worthless, and not verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AblationTimes {
    /// The kernel as it is.
    pub full_ns: Vec<f64>,
    /// Without its arithmetic: every load and store is still executed.
    pub loads_only_ns: Vec<f64>,
    /// Without its memory traffic: the same arithmetic on registers.
    pub arith_only_ns: Vec<f64>,
    /// With one panel of weights in place of all; empty where there are no weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_panel_ns: Vec<f64>,
}

/// How fast a plain loop reads what a run found cold: which level it really came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdRead {
    /// Packed weights.
    pub bytes: u64,
    /// A read of them by all workers, a sample a round.
    pub ns: Vec<f64>,
    /// Bytes that lie between two uses of the same weights.
    pub arena_bytes: u64,
}

/// The error on inputs of a kind, in runs of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputError {
    /// `gaussian`, or `post-relu`: half zeros, the rest positive.
    pub input: String,
    /// L2 norm of the error over that of the reference.
    pub l2: f64,
    /// max |error| / max |reference|.
    pub max: f64,
}

/// A phase of a run: of im2col `pack` and `multiply`, of Winograd `input_transform`, `multiply` and
/// `inverse_transform`. Measured in runs of their own, after the timed ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseTime {
    /// Its name.
    pub phase: Text<Phase>,
    /// Its time in one run, the mean over the workers.
    pub ns: f64,
    /// Operations executed in it.
    pub flops: u64,
    /// Bytes of the operands that it reads, as often as it streams them.
    #[serde(default)]
    pub bytes_read: u64,
    /// Bytes of the output that it writes.
    #[serde(default)]
    pub bytes_written: u64,
    /// Bytes that it reads of what another phase left.
    #[serde(default)]
    pub scratch_read: u64,
    /// Bytes that it leaves for another phase.
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
    /// Why.
    pub reason: String,
}

/// Whether a counter could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterStatus {
    /// Its name.
    pub event: String,
    /// Where it comes from.
    pub source: CounterSource,
    /// Whether it is there.
    pub available: bool,
    /// Why not, or why it is distrusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where a count comes from.
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
    /// Where it comes from.
    pub source: CounterSource,
    /// Events of one run, all workers together.
    pub per_run: f64,
    /// time_running / time_enabled: below 1 the value is extrapolated.
    pub running_fraction: f64,
}

#[cfg(test)]
pub(crate) mod tests;
