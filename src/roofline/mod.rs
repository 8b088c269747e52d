//! The hierarchical roofline (Williams, Waterman and Patterson 2009): a measurement under this machine's measured
//! ceilings, and its bound. Pure functions.
//!
//! # The verdict
//!
//! Two lower bounds of the time are compared with the measured time:
//!
//! * *arithmetic*: executed operations / FMA peak of the same rounds;
//! * *data*: streamed bytes / measured bandwidth of the nearest memory level that holds them all. Streamed are the
//!   compulsory bytes, and the bytes that packing adds to the weights. A Winograd filter, for example, is larger than
//!   its original.
//!
//! The larger bound is the verdict if it explains at least half of the time. Otherwise a layer of less than
//! [`OVERHEAD_NS`] is bound by overheads: dispatch, synchronisation, latency. A longer one is undecided, since a kernel
//! that reaches neither roof gives no evidence about its layer.
//!
//! # In reading order
//!
//! This file (ceilings, evidence, judgement), [`phases`] (each phase of a run), [`predict`] (a model of the time),
//! `place.rs` (a measurement with all of these).

pub mod phases;
mod place;
pub mod predict;

pub use place::{Placed, place};

use crate::record::{Calibration, Fingerprint, IsaName, Level};
use serde::Serialize;
use std::fmt;

/// The bound of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Arithmetic.
    Compute,
    /// Bandwidth of the first level.
    L1,
    /// Bandwidth of the second level.
    L2,
    /// Bandwidth of the third level.
    L3,
    /// Bandwidth of main memory.
    Dram,
    /// Overheads of a short run: calls, synchronisation, latency.
    Overhead,
    /// No bound that is measured here.
    Undecided,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 7] = [
        Verdict::Compute,
        Verdict::L1,
        Verdict::L2,
        Verdict::L3,
        Verdict::Dram,
        Verdict::Overhead,
        Verdict::Undecided,
    ];

    /// The name in JSON and in class attributes.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Compute => "compute",
            Verdict::L1 => "l1",
            Verdict::L2 => "l2",
            Verdict::L3 => "l3",
            Verdict::Dram => "dram",
            Verdict::Overhead => "overhead",
            Verdict::Undecided => "undecided",
        }
    }

    /// The verdict as text.
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Compute => "compute bound",
            Verdict::L1 => "L1 bound",
            Verdict::L2 => "L2 bound",
            Verdict::L3 => "L3 bound",
            Verdict::Dram => "DRAM bound",
            Verdict::Overhead => "overhead bound",
            Verdict::Undecided => "undecided",
        }
    }

    /// Explanation of the verdict for readers of a report.
    pub fn meaning(self) -> &'static str {
        match self {
            Verdict::Compute => {
                "the arithmetic units are busy most of the time: only fewer operations would help"
            }
            Verdict::L1 => "moving data between registers and L1 takes most of the time",
            Verdict::L2 => {
                "its data live in L2, and reading them from there takes most of the time"
            }
            Verdict::L3 => {
                "its data live in the last-level cache, and reading them from there takes most of the time"
            }
            Verdict::Dram => {
                "its data come from main memory, and reading them takes most of the time"
            }
            Verdict::Overhead => {
                "so little work that calls, thread synchronisation and latency weigh more"
            }
            Verdict::Undecided => {
                "it reaches neither roof: the kernel limits its speed, not the machine"
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl From<Level> for Verdict {
    fn from(level: Level) -> Self {
        match level {
            Level::L1 => Verdict::L1,
            Level::L2 => Verdict::L2,
            Level::L3 => Verdict::L3,
            Level::Dram => Verdict::Dram,
        }
    }
}

/// Time in ns below which a layer that reaches no roof counts as overhead bound.
pub const OVERHEAD_NS: f64 = 30_000.0;

/// Least fraction of the time that a bound must explain to be the verdict.
pub const EXPLAINS: f64 = 0.5;

/// Fraction of the time above which a bound contradicts its ceiling; the reason then tells so.
pub const BEYOND: f64 = 1.1;

/// Ratio of the bounds above which the reason notes that both are close.
pub const CLOSE: f64 = 0.75;

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
                let same = move |b: &&crate::record::Bandwidth| {
                    b.level == level && b.op == op && b.threads == threads
                };
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

/// Measured time and counted work of a layer, or of any loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Time of a run, ns.
    pub time_ns: f64,
    /// FMA peak of the same rounds, GFLOP/s.
    pub peak_gflops: f64,
    /// Executed operations.
    pub flops: f64,
    /// Bytes read.
    pub bytes_read: f64,
    /// Bytes written.
    pub bytes_written: f64,
    /// Bytes touched. They determine the level that the data come from.
    pub working_set: u64,
    /// Bytes that come from a more distant level, because they weren't used recently.
    pub far: Option<Far>,
}

/// Bytes that are cold at the start of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Far {
    /// Number of bytes.
    pub bytes: f64,
    /// Level that they come from.
    pub level: Level,
    /// Bandwidth of a plain loop that reads them, GB/s.
    pub gbps: f64,
}

/// Time that the data take, and the level that takes most of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataTime {
    /// Time, ns.
    pub ns: f64,
    /// The level; none without a ceiling for it.
    pub level: Option<Level>,
}

impl Evidence {
    /// Least time that the data take.
    pub fn data_ns(&self, ceilings: &Ceilings) -> DataTime {
        let far = self.far.filter(|far| far.bytes > 0.0);
        let far_bytes = far.map_or(0.0, |far| far.bytes);
        let home = ceilings.home(self.working_set.saturating_sub(far_bytes as u64));
        let near_ns = home.map_or(0.0, |r| {
            (self.bytes_read - far_bytes).max(0.0) / r.read + self.bytes_written / r.write
        });
        let far_ns = far.map_or(0.0, |far| far.bytes / far.gbps);
        let level = if far_ns > near_ns {
            far.map(|far| far.level)
        } else {
            home.map(|r| r.level)
        };
        DataTime {
            ns: near_ns + far_ns,
            level,
        }
    }
}

/// The level whose read bandwidth is nearest to a measured one, except L1.
pub fn nearest(ceilings: &Ceilings, gbps: f64) -> Option<Level> {
    let distance = |r: &&Roof| (r.read / gbps).ln().abs();
    let beyond = ceilings.roofs.iter().filter(|r| r.level != Level::L1);
    let nearest = beyond.min_by(|a, b| distance(a).total_cmp(&distance(b)));
    nearest.map(|r| r.level)
}

/// A verdict with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The bound.
    pub verdict: Verdict,
    /// Reason, in a sentence.
    pub reason: String,
    /// Time of the arithmetic at the peak, as a fraction of the time.
    pub compute_share: f64,
    /// Time of the data at their level's bandwidth, as a fraction of the time.
    pub data_share: f64,
    /// Nearest level that holds the working set.
    pub home: Option<Level>,
}

/// Determines the bound of a loop from its evidence.
pub fn judge(evidence: &Evidence, ceilings: &Ceilings) -> Judgement {
    let Evidence {
        time_ns,
        peak_gflops,
        flops,
        bytes_read,
        bytes_written,
        ..
    } = *evidence;
    let compute_ns = flops / peak_gflops;
    let DataTime { ns: data_ns, level } = evidence.data_ns(ceilings);
    let (compute_share, data_share) = (compute_ns / time_ns, data_ns / time_ns);
    let arithmetic = format!(
        "at the measured peak ({peak_gflops:.0} GFLOP/s) its {} operations would take {}: {:.0} % of the measured {}",
        count(flops),
        time(compute_ns),
        100.0 * compute_share,
        time(time_ns)
    );
    let data = format!(
        "at the measured bandwidth its {} would take {} from {}: {:.0} % of the time",
        bytes(bytes_read + bytes_written),
        time(data_ns),
        level.map_or("memory", Level::name),
        100.0 * data_share
    );
    let (verdict, mut reason) = if compute_share.max(data_share) < EXPLAINS {
        let verdict = if time_ns < OVERHEAD_NS {
            Verdict::Overhead
        } else {
            Verdict::Undecided
        };
        (
            verdict,
            format!("neither bound explains half of the time: {arithmetic}; {data}"),
        )
    } else if compute_share >= data_share {
        (Verdict::Compute, format!("{arithmetic}; {data}"))
    } else {
        (
            level.map_or(Verdict::Undecided, Verdict::from),
            format!("{data}; {arithmetic}"),
        )
    };
    if compute_share.max(data_share) > BEYOND {
        reason += match verdict {
            Verdict::Compute => {
                "; more than all of it: the ceiling was measured too low, or in a slower moment"
            }
            _ => "; more than all of it: part of the data came from nearer, or in a faster moment",
        };
    } else if compute_share.min(data_share) > CLOSE * compute_share.max(data_share)
        && compute_share.max(data_share) >= EXPLAINS
    {
        reason += "; the two are close: the layer is near the ridge point";
    }
    Judgement {
        verdict,
        reason,
        compute_share,
        data_share,
        home: level,
    }
}

/// A time with a readable unit.
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e5 => format!("{:.1} us", ns / 1e3),
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// A size with a readable unit.
pub fn bytes(bytes: f64) -> String {
    match bytes {
        b if b < 1e3 => format!("{b:.0} B"),
        b if b < 1e6 => format!("{:.1} KB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// A count in words.
fn count(n: f64) -> String {
    match n {
        n if n < 1e6 => format!("{:.0} thousand", n / 1e3),
        n if n < 1e9 => format!("{:.0} million", n / 1e6),
        n => format!("{:.2} billion", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    fn ceilings() -> Ceilings {
        let run = sample();
        Ceilings::of(&run.calibration, &run.fingerprint, &"avx2".into(), 1).expect("calibrated")
    }

    fn evidence(time_ns: f64, flops: f64, bytes: f64, working_set: u64) -> Evidence {
        let (bytes_read, bytes_written) = (bytes, 0.0);
        Evidence {
            time_ns,
            peak_gflops: 118.0,
            flops,
            bytes_read,
            bytes_written,
            working_set,
            far: None,
        }
    }

    #[test]
    fn the_larger_bound_is_the_verdict() {
        let ceilings = ceilings();
        let judge =
            |time, flops, bytes, set| judge(&evidence(time, flops, bytes, set), &ceilings).verdict;
        assert_eq!(judge(1e6, 1.1e8, 1e5, 1 << 20), Verdict::Compute);
        assert_eq!(judge(1e6, 1e6, 1e8, 900 << 10), Verdict::L2);
        assert_eq!(judge(1e6, 1e6, 4e7, 8 << 20), Verdict::L3);
        assert_eq!(judge(1e7, 1e6, 1.6e8, 200 << 20), Verdict::Dram);
        assert_eq!(judge(2e4, 1e5, 1e3, 1 << 10), Verdict::Overhead);
        assert_eq!(judge(1e7, 1e8, 1e5, 1 << 10), Verdict::Undecided);
    }

    #[test]
    fn doubt_is_said() {
        let ceilings = ceilings();
        let reason =
            |time, flops, bytes| judge(&evidence(time, flops, bytes, 8 << 20), &ceilings).reason;
        assert!(reason(1e6, 3e8, 1e5).contains("ceiling was measured too low"));
        assert!(reason(1e6, 1e6, 9e7).contains("came from nearer"));
        assert!(reason(1e6, 9e7, 4e7).contains("the two are close"));
        assert!(
            !reason(1e6, 1.1e8, 1e5).contains("; more") && !reason(1e7, 1e8, 1e5).contains("close")
        );
    }

    #[test]
    fn a_fully_connected_layer_is_bound_by_its_weights() {
        let mut m = sample().measurements.remove(0);
        m.problem = "mb1ic2048ih1oc1000oh1kh1ph0".into();
        m.samples_ns = vec![1.8e5; 5];
        (m.flops_nominal, m.flops_executed) = (4_096_000, 4_096_000);
        (m.bytes_read, m.bytes_written) = (8_204_192, 4_000);
        (m.packed_bytes, m.working_set_bytes) = (8_200_000, 8_300_000);
        let placed = place(&m, Some(&ceilings())).expect("samples");
        let judgement = placed.judgement.expect("ceilings");
        assert_eq!(judgement.verdict, Verdict::L3);
        assert!(judgement.reason.contains("from L3"), "{}", judgement.reason);
        assert!(placed.intensity < 0.51);
    }

    #[test]
    fn a_direct_3x3_is_bound_by_arithmetic() {
        let m = &sample().measurements[0];
        let placed = place(m, Some(&ceilings())).expect("samples");
        assert_eq!(
            placed.judgement.expect("ceilings").verdict,
            Verdict::Compute
        );
        assert!(placed.roof_fraction > 0.9 && placed.roof_fraction < 1.0);
    }
}
