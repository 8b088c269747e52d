//! The ceilings of a machine for an instruction set and a number of threads.

use crate::record::{Bandwidth, Calibration, Fingerprint, IsaName, Level};
use serde::Serialize;

/// Bandwidth of one memory level, GB/s.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Roof {
    /// The level.
    pub level: Level,
    /// Read bandwidth, GB/s.
    pub read: f64,
    /// Write bandwidth, GB/s.
    pub write: f64,
    /// Capacity in bytes for these threads; none for main memory.
    pub capacity: Option<usize>,
}

/// The ceilings for an instruction set and a number of threads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceilings {
    /// Instruction set.
    pub isa: IsaName,
    /// Threads.
    pub threads: usize,
    /// FMA peak, GFLOP/s, as calibrated.
    pub peak: f64,
    /// Roofs by level, nearest first.
    pub roofs: Vec<Roof>,
    /// Time in ns to hand tasks to the threads.
    pub start_ns: f64,
}

impl Ceilings {
    /// Selects ceilings from a calibration; none if it lacks this instruction set or number of threads. Levels that
    /// were measured only with the widest vectors use that bandwidth.
    pub fn of(
        calibration: &Calibration,
        machine: &Fingerprint,
        isa: &IsaName,
        threads: usize,
    ) -> Option<Self> {
        // A peer chooses its instruction set itself, so the best peak counts.
        let peak = calibration
            .peaks
            .iter()
            .filter(|p| (p.isa == *isa || *isa == IsaName::Auto) && p.threads == threads)
            .map(|p| p.gflops)
            .max_by(f64::total_cmp)?;
        let find = |level: Level, op: &str| {
            let all = || {
                let same =
                    move |b: &&Bandwidth| b.level == level && b.op == op && b.threads == threads;
                calibration.bandwidths.iter().filter(same)
            };
            all()
                .find(|b| b.isa == *isa)
                .or_else(|| all().max_by(|a, b| a.gbps.total_cmp(&b.gbps)))
        };
        let measured = |level: Level| {
            let mut all = calibration.capacities.iter();
            let found = all.find(|c| c.level == level && c.threads == threads);
            found.map(|c| c.bytes)
        };
        let roofs = Level::ALL.into_iter().filter_map(|level| {
            let read = find(level, "read")?.gbps;
            let write = find(level, "write").map_or(read, |b| b.gbps);
            Some(Roof {
                level,
                read,
                write,
                capacity: measured(level).or_else(|| capacity(machine, level, threads)),
            })
        });
        Some(Ceilings {
            isa: isa.clone(),
            threads,
            peak,
            roofs: roofs.collect(),
            start_ns: calibration
                .starts
                .iter()
                .find(|s| s.threads == threads)
                .map_or(0.0, |s| s.ns),
        })
    }

    /// The nearest level that holds `bytes`.
    pub fn home(&self, bytes: u64) -> Option<&Roof> {
        self.roofs
            .iter()
            .find(|r| r.capacity.is_none_or(|c| bytes <= c as u64))
    }
}

/// Bytes that a level holds for some threads. Private caches add up, shared ones don't.
fn capacity(machine: &Fingerprint, level: Level, threads: usize) -> Option<usize> {
    let number = match level {
        Level::L1 => 1,
        Level::L2 => 2,
        Level::L3 => 3,
        Level::Dram => return None,
    };
    let cache = machine.caches.iter().find(|c| c.level == number)?;
    let cores = cache.cores(&machine.caches);
    Some(cache.bytes * threads.div_ceil(cores).max(1))
}

/// The level whose read bandwidth is nearest to a measured one, except L1.
pub fn nearest(ceilings: &Ceilings, gbps: f64) -> Option<Level> {
    let distance = |r: &&Roof| (r.read / gbps).ln().abs();
    let beyond = ceilings.roofs.iter().filter(|r| r.level != Level::L1);
    let nearest = beyond.min_by(|a, b| distance(a).total_cmp(&distance(b)));
    nearest.map(|r| r.level)
}
