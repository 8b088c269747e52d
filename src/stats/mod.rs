//! Statistics of samples, as pure functions.
//!
//! In reading order: this file (medians and their intervals), [`paired`] (tests of differences), [`proportion`]
//! (rates from counts), [`steps`] (changes in a series).

pub mod paired;
pub mod proportion;
pub mod steps;

use convroof_kernels::data::Rng;
use serde::{Deserialize, Serialize};

/// Fewest samples for a meaningful median.
pub const FEW: usize = 5;

/// Width of a median's interval, relative to the median, above which its samples are scattered.
pub const SCATTERED: f64 = 0.1;

/// Order statistics of some samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Middle sample, or the mean of the two in the middle.
    pub median: f64,
    /// Smallest sample.
    pub min: f64,
    /// Largest sample.
    pub max: f64,
    /// 95 % confidence interval of the median.
    pub ci: (f64, f64),
}

impl Summary {
    /// Summarises samples; none if there are no samples, or one is NaN.
    pub fn of(samples: &[f64]) -> Option<Summary> {
        let sorted = sorted(samples)?;
        let median = median_of_sorted(&sorted);
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        Some(Summary {
            median,
            min,
            max,
            ci: bootstrap_median(&sorted),
        })
    }

    /// True if the interval of the median is wider than [`SCATTERED`] of it.
    pub fn is_scattered(&self) -> bool {
        self.ci.1 - self.ci.0 > SCATTERED * self.median
    }
}

/// A median with its interval, as results keep it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Its 95 % confidence interval.
    pub ci: (f64, f64),
    /// Number of samples.
    pub samples: usize,
}

impl Estimate {
    /// Summarises samples; none if there are no samples, or one is NaN.
    pub fn of(samples: &[f64]) -> Option<Estimate> {
        let summary = Summary::of(samples)?;
        Some(Estimate {
            median: summary.median,
            ci: summary.ci,
            samples: samples.len(),
        })
    }

    /// True if the whole interval is above a bound, false if the whole interval is below it. None if the bound is
    /// inside, or if there are fewer than [`FEW`] samples, of which the interval would say nothing.
    pub fn above(&self, bound: f64) -> Option<bool> {
        match self.ci {
            _ if self.samples < FEW => None,
            (low, _) if low > bound => Some(true),
            (_, high) if high < bound => Some(false),
            _ => None,
        }
    }

    /// [`Estimate::above`] with the opposite answer.
    pub fn below(&self, bound: f64) -> Option<bool> {
        self.above(bound).map(|above| !above)
    }
}

fn sorted(samples: &[f64]) -> Option<Vec<f64>> {
    if samples.is_empty() || samples.iter().any(|x| x.is_nan()) {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

/// A value rounded to some decimals.
pub fn shorten(x: f64, decimals: i32) -> f64 {
    let parts = 10f64.powi(decimals);
    (x * parts).round() / parts
}

/// The median; none if there are no samples, or one is NaN.
pub fn median(samples: &[f64]) -> Option<f64> {
    sorted(samples).map(|s| median_of_sorted(&s))
}

/// Standard deviation by the median absolute deviation, which tolerates outliers. None if there are no samples, or one
/// is NaN.
pub fn deviation(samples: &[f64]) -> Option<f64> {
    let centre = median(samples)?;
    let deviations: Vec<f64> = samples.iter().map(|x| (x - centre).abs()).collect();
    // 1.4826 = standard deviation / median absolute deviation of a normal distribution.
    Some(1.4826 * median(&deviations)?)
}

/// The quartiles; none if there are no samples, or one is NaN.
pub fn quartiles(samples: &[f64]) -> Option<[f64; 3]> {
    let sorted = sorted(samples)?;
    Some([1, 2, 3].map(|q| sorted[sorted.len() * q / 4]))
}

/// 95 % confidence interval of the median by the percentile bootstrap (Efron 1979), with 1000 resamples. The seed is
/// fixed, so reports of the same record are equal.
fn bootstrap_median(sorted: &[f64]) -> (f64, f64) {
    const RESAMPLES: usize = 1000;
    if sorted.len() < 2 {
        return (sorted[0], sorted[0]);
    }
    let n = sorted.len();
    let mut rng = Rng::new(n as u64);
    let mut medians = Vec::with_capacity(RESAMPLES);
    // How often each sample is drawn. Counting is several times as fast as sorting a resample.
    let mut times = vec![0usize; n];
    for _ in 0..RESAMPLES {
        times.fill(0);
        (0..n).for_each(|_| times[rng.below(n)] += 1);
        // The sample at a position of the sorted resample.
        let at = |position: usize| {
            let mut before = 0;
            let found = times.iter().position(|&drawn| {
                before += drawn;
                before > position
            });
            sorted[found.expect("n are drawn")]
        };
        medians.push((at((n - 1) / 2) + at(n / 2)) / 2.0);
    }
    medians.sort_by(f64::total_cmp);
    (
        medians[RESAMPLES * 25 / 1000],
        medians[RESAMPLES * 975 / 1000 - 1],
    )
}

/// The geometric mean, the right mean of ratios. None if there are no ratios, or one isn't positive.
pub fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    if ratios.is_empty() || ratios.iter().any(|r| r.is_nan() || *r <= 0.0) {
        return None;
    }
    let logs: f64 = ratios.iter().map(|r| r.ln()).sum();
    Some((logs / ratios.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, proptest};

    #[test]
    fn few_samples_are_summarised_as_they_are() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        let one = Summary::of(&[3.0]).expect("one sample");
        assert_eq!(
            (one.median, one.min, one.max, one.ci),
            (3.0, 3.0, 3.0, (3.0, 3.0))
        );
        assert_eq!(median(&[4.0, 2.0]), Some(3.0));
    }

    #[test]
    fn a_wide_interval_is_scattered() {
        let scattered = |samples: &[f64]| Summary::of(samples).expect("samples").is_scattered();
        assert!(!scattered(&[100.0, 101.0, 102.0, 103.0, 104.0, 109.0]));
        assert!(scattered(&[100.0, 100.0, 100.0, 150.0, 150.0, 150.0]));
        assert!(!scattered(&[100.0]) && !scattered(&[0.0, 0.0]));
        // A single disturbed sample moves no median.
        assert!(!scattered(&[[100.0; 14].as_slice(), &[500.0]].concat()));
    }

    #[test]
    fn a_bound_inside_the_interval_decides_nothing() {
        let estimate = Estimate::of(&[1.1, 1.2, 1.2, 1.3, 1.1]).expect("samples");
        assert_eq!(estimate.samples, 5);
        assert_eq!(
            (estimate.above(1.0), estimate.below(1.0)),
            (Some(true), Some(false))
        );
        assert_eq!(
            (estimate.above(1.4), estimate.below(1.4)),
            (Some(false), Some(true))
        );
        assert_eq!((estimate.above(1.2), estimate.below(1.2)), (None, None));
        // The interval of one sample is the sample.
        let one = Estimate::of(&[2.0]).expect("a sample");
        assert_eq!((one.ci, one.above(1.0)), ((2.0, 2.0), None));
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn the_interval_narrows_with_samples() {
        let mut rng = Rng::new(1);
        let mut width = |n: usize| {
            let samples: Vec<f64> = (0..n).map(|_| rng.below(1000) as f64).collect();
            let (lo, hi) = Summary::of(&samples).expect("samples").ci;
            hi - lo
        };
        assert!(width(400) < width(20));
    }

    #[test]
    fn ratios_average_geometrically() {
        let mean = geometric_mean(&[2.0, 0.5]).expect("positive");
        assert!((mean - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
        assert_eq!(geometric_mean(&[]), None);
    }

    proptest! {
        #[test]
        fn a_summary_is_in_order(samples in prop::collection::vec(0.0..1e9f64, 1..60)) {
            let s = Summary::of(&samples).expect("samples");
            prop_assert!(s.min <= s.ci.0 && s.ci.0 <= s.median && s.median <= s.ci.1 && s.ci.1 <= s.max);
        }
    }
}
