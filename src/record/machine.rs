//! The machine of a run, and its measured ceilings.

use super::names::IsaName;
use super::text::Text;
use convroof_kernels::dtype::DType;
use convroof_kernels::probe::Arithmetic;
use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Short and stable id: machines with the same id may be compared. It is part of file names: `[a-z0-9-]+`.
    #[serde(deserialize_with = "crate::files::id")]
    pub id: String,
    /// Target architecture.
    pub arch: String,
    /// Operating system.
    pub os: String,
    /// Instruction sets that kernels can use on this machine.
    pub isas: Vec<IsaName>,
    /// Logical CPUs that this process may run on.
    pub online_cpus: usize,
    /// Physical cores among them.
    pub physical_cores: usize,
    /// Caches of the first core.
    pub caches: Vec<CacheInfo>,
    /// Brand string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// Manufacturer.
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
    /// True if cores have sibling threads (SMT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smt: Option<bool>,
    /// Frequency governor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// True if the clock may be boosted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boost: Option<bool>,
    /// Hypervisor; absent on bare metal, or if it can't be detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// Kernel release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Policy of transparent huge pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<String>,
    /// Bytes of main memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Mean number of runnable processes in the minute before the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_average: Option<f64>,
    /// True if denormals are flushed to zero in this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_to_zero: Option<bool>,
}

/// One cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheInfo {
    /// 1, 2 or 3.
    pub level: u32,
    /// Size in bytes.
    pub bytes: usize,
    /// Logical CPUs that share it.
    pub shared_by: usize,
    /// Source of the data: `sysfs`, `cpuid` or `assumed`.
    pub source: String,
}

impl CacheInfo {
    /// Number of physical cores that share it. `all` are the caches of a CPU. L1 belongs to one core, so the CPUs
    /// that share L1 are that core's siblings.
    pub fn cores(&self, all: &[CacheInfo]) -> usize {
        let siblings = all
            .iter()
            .find(|c| c.level == 1)
            .map_or(1, |l1| l1.shared_by);
        self.shared_by.div_ceil(siblings.max(1)).max(1)
    }
}

/// Measured ceilings of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Arithmetic peaks.
    pub peaks: Vec<Peak>,
    /// Memory bandwidths.
    pub bandwidths: Vec<Bandwidth>,
    /// Measured capacities of caches: on virtual machines often less than the reported sizes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacities: Vec<Capacity>,
    /// Times to start tasks on threads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<Start>,
    /// Warnings of the calibration.
    pub notes: Vec<String>,
}

/// Time to start a task on each thread and to wait for all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Threads.
    pub threads: usize,
    /// Nanoseconds. Each task does nothing but wait until all others have started.
    pub ns: f64,
}

/// Peak rate of multiply-adds on registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    /// Instruction set.
    pub isa: IsaName,
    /// Element type of the factors; absent for f32. `u8` is the peak of u8 times s8, which layers of s8 have, too.
    #[serde(default = "f32_type", skip_serializing_if = "is_f32")]
    pub dt: Text<DType>,
    /// Threads.
    pub threads: usize,
    /// 10^9 operations per second of all threads, two per multiply-add, the best of several samples.
    pub gflops: f64,
    /// (best - median) / best of the samples.
    pub spread: f64,
}

impl Peak {
    /// Arithmetic of the multiply-adds; none for a type that this program doesn't know.
    pub fn arithmetic(&self) -> Option<Arithmetic> {
        self.dt.value().map(|&dtype| Arithmetic::of(dtype))
    }
}

/// Element type of a part of a record that states none.
pub(super) fn f32_type() -> Text<DType> {
    Text::of(DType::F32)
}

/// True for the element type that records don't state.
pub(super) fn is_f32(dt: &Text<DType>) -> bool {
    dt.is(&DType::F32)
}

/// Bandwidth of one level of the memory.
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
    /// Working set of each thread, bytes.
    pub working_set_bytes: usize,
    /// Bandwidth of all threads, 10^9 bytes per second, the best of several samples. Only the bytes that the loop
    /// reads and writes count.
    pub gbps: f64,
    /// (best - median) / best of the samples.
    pub spread: f64,
}

/// Measured capacity of a cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// The level.
    pub level: Level,
    /// Threads.
    pub threads: usize,
    /// Largest working set of all threads together that is read at the level's speed. Each tested size is twice the
    /// one before.
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
    /// Levels from the nearest to the farthest.
    pub const ALL: [Level; 4] = [Level::L1, Level::L2, Level::L3, Level::Dram];

    /// The name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Level::L1 => "L1",
            Level::L2 => "L2",
            Level::L3 => "L3",
            Level::Dram => "DRAM",
        }
    }
}

/// Throttling of a control group by its quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttling {
    /// Number of periods in which the quota was exhausted.
    pub periods: u64,
    /// Microseconds for which all CPUs together were stopped.
    pub us: u64,
}
