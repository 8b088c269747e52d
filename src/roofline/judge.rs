//! The bound of a loop, from its measured time and counted work.

use super::ceilings::{Ceilings, Roof};
use super::verdict::{EXPLAINS, OVERHEAD_NS, Verdict};
use crate::record::Level;
use crate::units::{bytes, count, rate, time};
use serde::Serialize;

/// Fraction of the time above which a bound contradicts its ceiling: by more than noise.
pub const BEYOND: f64 = 1.1;

/// Fraction of the time above which the data can't come from their level alone. Between [`BEYOND`] and this, a ceiling that
/// was measured in a slower moment is as likely.
const OUTRUN: f64 = 1.5;

/// Ratio of the bounds above which the reason notes that both are close.
pub const CLOSE: f64 = 0.75;

/// Fraction of the time above which a bound leaves no room for another explanation.
const CLEAR: f64 = 0.85;

/// Measured time and counted work of a layer, or of any loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Time of a run, ns.
    pub time_ns: f64,
    /// Peak of the same rounds in the layer's arithmetic, 10^9 operations per second.
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
    /// Time of the data that aren't [`Far`], ns.
    pub near_ns: f64,
    /// The level; none without a ceiling for it.
    pub level: Option<Level>,
    /// The nearest level that holds the data, if the kernel is too fast for it.
    pub outrun: Option<Level>,
}

impl Evidence {
    /// Least time that the data take, if they come from the nearest level that holds them.
    pub fn data_ns(&self, ceilings: &Ceilings) -> DataTime {
        let home = ceilings.home(self.near_bytes());
        self.data_from(home)
    }

    /// Least time that the data took in the measured run. If the kernel is much faster than the nearest level that holds
    /// its data permits, at least a part of them came from a nearer one: then that one's time counts.
    fn data_seen(&self, ceilings: &Ceilings) -> DataTime {
        let home = ceilings.home(self.near_bytes());
        let too_slow = |roof: &Roof| self.near_ns(roof) > OUTRUN * self.time_ns;
        let mut from = home;
        while let Some(nearer) = from
            .filter(|roof| too_slow(roof))
            .and_then(|roof| ceilings.nearer(roof.level))
        {
            from = Some(nearer);
        }
        let outrun = home.filter(|roof| too_slow(roof)).map(|roof| roof.level);
        DataTime {
            outrun,
            ..self.data_from(from)
        }
    }

    /// Time of the data, those that aren't far from some level.
    fn data_from(&self, near: Option<&Roof>) -> DataTime {
        let far = self.far.filter(|far| far.bytes > 0.0);
        let far_ns = far.map_or(0.0, |far| far.bytes / far.gbps);
        let near_ns = near.map_or(0.0, |roof| self.near_ns(roof));
        DataTime {
            ns: near_ns + far_ns,
            near_ns,
            level: match far {
                Some(far) if far_ns > near_ns => Some(far.level),
                _ => near.map(|roof| roof.level),
            },
            outrun: None,
        }
    }

    /// Bytes of the working set that aren't far.
    fn near_bytes(&self) -> u64 {
        let far = self.far.map_or(0.0, |far| far.bytes);
        self.working_set.saturating_sub(far as u64)
    }

    fn near_ns(&self, roof: &Roof) -> f64 {
        let far = self.far.map_or(0.0, |far| far.bytes);
        roof.ns((self.bytes_read - far).max(0.0), self.bytes_written)
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
    /// Level that most of the time of the data goes to.
    pub home: Option<Level>,
    /// True if the kernel is faster than a measured ceiling permits, by more than noise: the ceiling is wrong.
    pub beyond: bool,
}

impl Judgement {
    /// The fraction of the time that the larger bound explains: that of the roof which the kernel reaches.
    pub fn explained(&self) -> f64 {
        self.compute_share.max(self.data_share)
    }

    /// True if one bound explains nearly all of the time, and the other does not.
    pub fn clear(&self) -> bool {
        let smaller = self.compute_share.min(self.data_share);
        !self.beyond && self.explained() >= CLEAR && smaller <= CLOSE * self.explained()
    }
}

/// True if a run is so short that calls and starts of threads may be all that it does.
pub fn is_short(time_ns: f64, ceilings: &Ceilings) -> bool {
    time_ns < OVERHEAD_NS || ceilings.start_ns > EXPLAINS * time_ns
}

/// Determines the bound of a loop from its evidence.
pub fn judge(evidence: &Evidence, ceilings: &Ceilings) -> Judgement {
    let time_ns = evidence.time_ns;
    let compute_ns = evidence.flops / evidence.peak_gflops;
    let data_time = evidence.data_seen(ceilings);
    let (data_ns, level) = (data_time.ns, data_time.level);
    let (compute_share, data_share) = (compute_ns / time_ns, data_ns / time_ns);
    let (larger, smaller) = (compute_share.max(data_share), compute_share.min(data_share));
    let arithmetic = format!(
        "at the measured peak ({:.0} {}) its {} operations would take {}: {:.0} % of the measured {}",
        evidence.peak_gflops,
        rate(ceilings.arithmetic),
        count(evidence.flops),
        time(compute_ns),
        100.0 * compute_share,
        time(time_ns)
    );
    let outrun = data_time.outrun.map_or(String::new(), |outrun| {
        format!(" (it is too fast for {})", outrun.name())
    });
    let data = format!(
        "at the measured bandwidth its {} would take {} from {}: {:.0} % of the time{outrun}",
        bytes(evidence.bytes_read + evidence.bytes_written),
        time(data_ns),
        level.map_or("memory", Level::name),
        100.0 * data_share
    );
    let both = match compute_share >= data_share {
        true => format!("{arithmetic}; {data}"),
        false => format!("{data}; {arithmetic}"),
    };
    let (verdict, mut reason) = if larger < EXPLAINS {
        let verdict = match is_short(time_ns, ceilings) {
            true => Verdict::Overhead,
            false => Verdict::Undecided,
        };
        let why = "neither bound explains half of the time";
        (verdict, format!("{why}: {both}"))
    } else if compute_share >= data_share {
        (Verdict::Compute, both)
    } else {
        (level.map_or(Verdict::Undecided, Verdict::from), both)
    };
    let beyond = compute_ns.max(data_time.near_ns) > BEYOND * time_ns;
    if beyond {
        reason += "; more than all of it: the ceiling was measured too low, or in a slower moment";
    } else if smaller > CLOSE * larger && larger >= EXPLAINS {
        reason += "; the two are close: the layer is near the ridge point";
    }
    Judgement {
        verdict,
        reason,
        compute_share,
        data_share,
        home: level,
        beyond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    fn ceilings() -> Ceilings {
        let run = sample();
        Ceilings::of_measurement(&run, &run.measurements[0]).expect("calibrated")
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
        assert_eq!(judge(4e3, 1e5, 1e3, 1 << 10), Verdict::Overhead);
        assert_eq!(judge(2e4, 1e5, 1e3, 1 << 10), Verdict::Undecided);
        assert_eq!(judge(1e7, 1e8, 1e5, 1 << 10), Verdict::Undecided);
    }

    #[test]
    fn data_come_from_a_level_that_is_fast_enough() {
        let ceilings = ceilings();
        let judge = |time, bytes| judge(&evidence(time, 1e5, bytes, 8 << 20), &ceilings);
        // 8 MB are in L3, 50 GB/s. At 48 GB/s they may come from there, and at 60 if the ceiling is too low. At 90 GB/s
        // they come from L2 at best.
        let slow = judge(1e6, 4.8e7);
        assert!(slow.verdict == Verdict::L3 && !slow.beyond);
        let faster = judge(1e6, 6e7);
        assert!(
            faster.verdict == Verdict::L3 && faster.beyond,
            "{}",
            faster.reason
        );
        let fast = judge(1e6, 9e7);
        assert_eq!(fast.verdict, Verdict::L2, "{}", fast.reason);
        assert!(fast.reason.contains("too fast for L3") && !fast.beyond);
        assert!(judge(1e6, 3e8).beyond, "faster than L1");
    }

    #[test]
    fn starts_of_threads_are_an_overhead() {
        let mut ceilings = ceilings();
        let of = |time, ceilings: &Ceilings| judge(&evidence(time, 1e5, 1e3, 1 << 10), ceilings);
        assert_eq!(of(2e4, &ceilings).verdict, Verdict::Undecided);
        ceilings.start_ns = 1.2e4;
        assert_eq!(of(2e4, &ceilings).verdict, Verdict::Overhead);
    }

    #[test]
    fn doubt_is_said() {
        let ceilings = ceilings();
        let reason =
            |time, flops, bytes| judge(&evidence(time, flops, bytes, 8 << 20), &ceilings).reason;
        assert!(reason(1e6, 3e8, 1e5).contains("measured too low"));
        assert!(reason(1e6, 1e6, 3e8).contains("measured too low"));
        assert!(reason(1e6, 9e7, 4e7).contains("the two are close"));
        assert!(
            !reason(1e6, 1.1e8, 1e5).contains("too low")
                && !reason(1e7, 1e8, 1e5).contains("close")
        );
    }
}
