//! This machine: its cores, caches and ceilings, and threads pinned to its cores.
//!
//! In reading order:
//!
//! * [`topology`]: cores and caches, from `sysfs.rs`, with `cpulist.rs` and `cgroup.rs`;
//! * [`pool`]: workers, each pinned to a core;
//! * [`calibration`]: the ceilings of arithmetic and bandwidth;
//! * [`memory`]: free memory, and `quota.rs`: limits on a run; [`noise`]: disturbances of a run;
//! * [`fingerprint`]: the description of machine and program for the record.

pub mod calibration;
mod cgroup;
mod cpulist;
pub mod fingerprint;
pub mod memory;
pub mod noise;
pub mod pool;
mod quota;
mod sysfs;
pub mod topology;

pub use quota::{Quota, throttled};
pub use topology::Topology;

/// How often and how long a CPU quota stopped this process's control group since it was created. None if the system
/// doesn't count it.
pub fn throttling() -> Option<crate::record::Throttling> {
    cgroup::throttling(std::path::Path::new("/"))
}
