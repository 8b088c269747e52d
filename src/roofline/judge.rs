//! The bound of a loop, from its measured time and counted work.

use super::ceilings::Ceilings;
use super::verdict::Verdict;
use crate::record::Level;
use crate::units::{bytes, count, time};
use serde::Serialize;

/// Time in ns below which a layer that reaches no roof counts as overhead bound.
pub const OVERHEAD_NS: f64 = 30_000.0;

/// Least fraction of the time that a bound must explain to be the verdict.
pub const EXPLAINS: f64 = 0.5;

/// Fraction of the time above which a bound contradicts its ceiling; the reason then tells so.
pub const BEYOND: f64 = 1.1;

/// Ratio of the bounds above which the reason notes that both are close.
pub const CLOSE: f64 = 0.75;

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
    let time_ns = evidence.time_ns;
    let compute_ns = evidence.flops / evidence.peak_gflops;
    let DataTime { ns: data_ns, level } = evidence.data_ns(ceilings);
    let (compute_share, data_share) = (compute_ns / time_ns, data_ns / time_ns);
    let (larger, smaller) = (compute_share.max(data_share), compute_share.min(data_share));
    let arithmetic = format!(
        "at the measured peak ({:.0} GFLOP/s) its {} operations would take {}: {:.0} % of the measured {}",
        evidence.peak_gflops,
        count(evidence.flops),
        time(compute_ns),
        100.0 * compute_share,
        time(time_ns)
    );
    let data = format!(
        "at the measured bandwidth its {} would take {} from {}: {:.0} % of the time",
        bytes(evidence.bytes_read + evidence.bytes_written),
        time(data_ns),
        level.map_or("memory", Level::name),
        100.0 * data_share
    );
    let (verdict, mut reason) = if larger < EXPLAINS {
        let verdict = match time_ns < OVERHEAD_NS {
            true => Verdict::Overhead,
            false => Verdict::Undecided,
        };
        let reason = format!("neither bound explains half of the time: {arithmetic}; {data}");
        (verdict, reason)
    } else if compute_share >= data_share {
        (Verdict::Compute, format!("{arithmetic}; {data}"))
    } else {
        let verdict = level.map_or(Verdict::Undecided, Verdict::from);
        (verdict, format!("{data}; {arithmetic}"))
    };
    if larger > BEYOND {
        reason += match verdict {
            Verdict::Compute => {
                "; more than all of it: the ceiling was measured too low, or in a slower moment"
            }
            _ => "; more than all of it: part of the data came from nearer, or in a faster moment",
        };
    } else if smaller > CLOSE * larger && larger >= EXPLAINS {
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
}
