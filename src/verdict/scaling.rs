//! How a kernel scales with threads: like arithmetic, or like the bandwidth of its data's level. Pure.

use crate::record::{Level, Measurement};
use crate::roofline::Ceilings;
use crate::stats::{FEW, Summary};

/// Largest width of an interval, relative to its median, and largest spread of a ceiling, that evidence may have.
const SCATTER: f64 = 0.15;

/// Least difference between the speed-ups of arithmetic and of data, for each thread. With a smaller one, both scale
/// alike.
const ALIKE: f64 = 0.2;

/// Distance from the band between both speed-ups, relative to its ends, within which a kernel's speed-up is plausible.
const OUTSIDE: f64 = 0.1;

/// Resource that a kernel scales like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Like {
    /// The peak of the layer's arithmetic.
    Arithmetic,
    /// The bandwidth of its data's level.
    Data,
}

/// Speed-ups of several threads over one, in the rounds that both took part in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaling {
    /// Of the kernel.
    pub(super) kernel: Summary,
    /// Of the peak of the layer's arithmetic.
    peak: Summary,
}

/// Speed-up of a level's bandwidth, as calibrated.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataScaling {
    level: Level,
    speed_up: f64,
    /// The larger spread of both bandwidths.
    spread: f64,
}

impl DataScaling {
    /// The speed-up of a level from few to many threads; none without its ceilings.
    pub(super) fn of(level: Level, few: &Ceilings, many: &Ceilings) -> Option<DataScaling> {
        let (few, many) = (few.roof(level)?, many.roof(level)?);
        Some(DataScaling {
            level,
            speed_up: many.read / few.read,
            spread: few.spread.max(many.spread),
        })
    }
}

impl Scaling {
    /// The speed-ups; none with fewer than [`FEW`] common rounds.
    pub(super) fn of(one: &Measurement, more: &Measurement) -> Option<Scaling> {
        let sample = |m: &Measurement, round: u32| {
            let at = m.rounds.iter().position(|&r| r == round)?;
            Some((*m.samples_ns.get(at)?, *m.peak_gflops.get(at)?))
        };
        let common = one.rounds.iter().filter_map(|&round| {
            let ((one_ns, one_peak), (ns, peak)) = (sample(one, round)?, sample(more, round)?);
            Some((one_ns / ns, peak / one_peak))
        });
        let (kernel, peak): (Vec<f64>, Vec<f64>) = common.unzip();
        if kernel.len() < FEW {
            return None;
        }
        Some(Scaling {
            kernel: Summary::of(&kernel)?,
            peak: Summary::of(&peak)?,
        })
    }

    /// The resource that the kernel scales like, and the reason in a clause. None where the evidence can't tell.
    pub(super) fn like(&self, threads: usize, data: Option<DataScaling>) -> (Option<Like>, String) {
        let none = |why: &str| (None, format!("no evidence: {why}"));
        let scatters = |s: &Summary| s.ci.1 - s.ci.0 > SCATTER * s.median;
        let Some(data) = data else {
            return none("its data explain too little of the time");
        };
        if data.spread > SCATTER {
            return none("the calibrated bandwidth scatters");
        }
        if scatters(&self.kernel) || scatters(&self.peak) {
            return none("the samples scatter");
        }
        let (kernel, arithmetic, data_up) = (self.kernel.median, self.peak.median, data.speed_up);
        let level = data.level.name();
        let both = format!(
            "arithmetic scales {arithmetic:.2} times, data from {level} {data_up:.2} times"
        );
        let (low, high) = (arithmetic.min(data_up), arithmetic.max(data_up));
        // 0 at the lower speed-up, 1 at the higher one.
        let place = (kernel - low) / (high - low);
        if high - low < ALIKE * threads as f64 {
            none(&format!("{both}, which is alike"))
        } else if kernel < low * (1.0 - OUTSIDE) || kernel > high * (1.0 + OUTSIDE) {
            none(&format!("{both}, and this is like neither"))
        } else if (1.0 / 3.0..=2.0 / 3.0).contains(&place) {
            none(&format!("{both}, and this is between both"))
        } else if (place > 0.5) == (arithmetic > data_up) {
            (Some(Like::Arithmetic), both)
        } else {
            (Some(Like::Data), both)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    /// One thread and two, which are `speed_ups` times as fast, round by round. The peak is 1.9 times as high.
    fn scaling(speed_ups: &[f64]) -> Option<Scaling> {
        let mut one = sample().measurements.remove(0);
        one.samples_ns = vec![2e6; speed_ups.len()];
        one.peak_gflops = vec![100.0; speed_ups.len()];
        one.rounds = (0..speed_ups.len() as u32).collect();
        let mut two = one.clone();
        two.threads = 2;
        two.samples_ns = speed_ups.iter().map(|s| 2e6 / s).collect();
        two.peak_gflops.fill(190.0);
        Scaling::of(&one, &two)
    }

    fn data(speed_up: f64, spread: f64) -> Option<DataScaling> {
        let level = Level::Dram;
        Some(DataScaling {
            level,
            speed_up,
            spread,
        })
    }

    #[test]
    fn evidence_inside_the_band_votes() {
        for (speed_up, wanted) in [
            (1.9, Some(Like::Arithmetic)),
            (2.05, Some(Like::Arithmetic)),
            (1.7, Some(Like::Arithmetic)),
            (1.5, None),
            (1.3, Some(Like::Data)),
            (1.1, Some(Like::Data)),
            (0.95, None),
            (0.41, None),
            (2.2, None),
        ] {
            let scaling = scaling(&[speed_up; 7]).expect("enough rounds");
            let (like, why) = scaling.like(2, data(1.1, 0.02));
            assert_eq!(like, wanted, "{speed_up}: {why}");
            assert_eq!(like.is_none(), why.starts_with("no evidence: "), "{why}");
        }
    }

    #[test]
    fn weak_evidence_has_no_vote() {
        let steady = scaling(&[1.9; 7]).expect("enough rounds");
        for (scaling, data, part) in [
            (steady, data(1.7, 0.02), "alike"),
            (steady, data(1.1, 0.4), "bandwidth scatters"),
            (steady, None, "too little of the time"),
            (
                scaling(&[1.9, 1.2, 2.4, 1.0, 1.9, 2.2, 1.5]).expect("rounds"),
                data(1.1, 0.02),
                "samples scatter",
            ),
        ] {
            let (like, why) = scaling.like(2, data);
            assert!(like.is_none() && why.contains(part), "{why}");
        }
        assert!(scaling(&[1.9; 4]).is_none(), "four rounds are few");
    }

    #[test]
    fn data_may_scale_better_than_arithmetic() {
        let scaling = scaling(&[2.4; 7]).expect("enough rounds");
        assert_eq!(scaling.like(2, data(2.5, 0.0)).0, Some(Like::Data));
    }
}
