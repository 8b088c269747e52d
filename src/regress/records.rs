//! Comparison of two records.
//!
//! Times are normalised by the peak measured in the same rounds, since clocks and neighbours differ from day to day. A
//! ratio is A's normalised time / B's: above 1, B is faster. A row has changed if its whole interval lies beyond the
//! threshold (`shift.rs`), and if its bare time has changed in the same direction. Records of two moments can't tell
//! more: `ab` measures both builds in turns.

use super::shift::{Costs, Drift, Shift, shifts};
use crate::record::{CacheState, CandidateId, Measurement, Run, Text};
use crate::stats::{geometric_mean, median};
use crate::units;
use convroof_kernels::Problem;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::HashMap;

/// One variant on one problem in both records.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The problem's text form.
    pub problem: Text<Problem>,
    /// The variant.
    pub variant: CandidateId,
    /// Number of threads.
    pub threads: usize,
    /// State of the caches.
    pub cache: Text<CacheState>,
    /// True if both records are of one machine. Otherwise the ratio compares machines, not kernels.
    pub like: bool,
    /// Median time in A, ns.
    pub a_ns: f64,
    /// Median time in B, ns.
    pub b_ns: f64,
    /// Numbers of samples in A and in B.
    pub samples: [usize; 2],
    /// Normalised time in A / that in B: above 1, B is faster.
    pub ratio: f64,
    /// Interval of the ratio. The intervals of all rows together hold with probability 95 %. None for few samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_ci: Option<[f64; 2]>,
    /// True if the times were normalised; false if a record has no peak beside its samples.
    pub normalised: bool,
    /// True if the whole interval shows that B is slower by more than the threshold, and its time is larger, too.
    pub slower: bool,
    /// True if the whole interval shows that B is faster by more than the threshold, and its time is smaller, too.
    pub faster: bool,
    /// Reason why the records don't tell a change from no change. Absent if B is slower, faster, or unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cant_tell: Option<CantTell>,
}

/// Reason why two records don't tell a change from no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CantTell {
    /// A record has fewer than five samples.
    FewSamples,
    /// The interval contains both a change by the threshold and a smaller one.
    WideInterval,
    /// The normalised times and the bare times differ in opposite directions.
    TimesDisagree,
}

impl CantTell {
    /// The reason in two words.
    pub fn label(self) -> &'static str {
        match self {
            CantTell::FewSamples => "few samples",
            CantTell::WideInterval => "wide interval",
            CantTell::TimesDisagree => "times disagree",
        }
    }

    /// The reason in a sentence, without a full stop.
    pub fn meaning(self) -> &'static str {
        match self {
            CantTell::FewSamples => "a record has fewer than five samples",
            CantTell::WideInterval => {
                "with this noise, the row may have changed by the threshold or not at all"
            }
            CantTell::TimesDisagree => {
                "the record with the larger normalised time has the smaller time, since its clock was faster or its peak less disturbed"
            }
        }
    }
}

/// Results of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparisons {
    /// Measurements that both records have.
    pub rows: Vec<Comparison>,
    /// Measurements that only A has.
    pub only_a: Vec<String>,
    /// Measurements that only B has.
    pub only_b: Vec<String>,
    /// Geometric mean of all ratios.
    pub geometric_mean: Option<f64>,
}

/// Reason why two records can't be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unlike(String);

/// Compares two records. `threshold` is the least change that counts: 0.05 is 5 %.
///
/// # Errors
/// When the records are of different machines or conditions, unless `force`d.
pub fn compare(a: &Run, b: &Run, threshold: f64, force: bool) -> Result<Comparisons, Unlike> {
    if !force {
        if a.fingerprint.id != b.fingerprint.id {
            return Err(Unlike(format!(
                "the records are of different machines ({} and {}): measure both on one, or use --force",
                a.fingerprint.id, b.fingerprint.id
            )));
        }
        if a.conditions.interleaved != b.conditions.interleaved {
            return Err(Unlike(
                "one record was measured in interleaved rounds, the other not: measure both alike, or use --force".into(),
            ));
        }
    }
    let like = a.fingerprint.id == b.fingerprint.id;
    let mut result = Comparisons {
        rows: vec![],
        only_a: vec![],
        only_b: vec![],
        geometric_mean: None,
    };
    let (of_a, of_b) = (by_key(a), by_key(b));
    let mut pairs = Vec::new();
    for x in a.measurements.iter().filter(|x| timed(x)) {
        match of_b.get(&key(x)) {
            Some(y) => pairs.push(Pair::of(x, y)),
            None => result.only_a.push(name(x) + &why(x, b)),
        }
    }
    let costs: Vec<&Costs<'_>> = pairs.iter().map(|p| &p.costs).collect();
    let shifts = shifts(&costs, [&Drift::of_run(a), &Drift::of_run(b)]);
    let rows = pairs.iter().zip(shifts);
    result.rows = rows
        .filter_map(|(pair, shift)| pair.compare(shift, threshold, like))
        .collect();
    let missing = b
        .measurements
        .iter()
        .filter(|y| timed(y) && !of_a.contains_key(&key(y)));
    result.only_b = missing.map(|y| name(y) + &why(y, a)).collect();
    let ratios: Vec<f64> = result.rows.iter().map(|r| r.ratio).collect();
    result.geometric_mean = geometric_mean(&ratios);
    Ok(result)
}

/// Key of a measurement in both records.
type Key<'a> = (
    &'a Text<Problem>,
    &'a CandidateId,
    usize,
    &'a Text<CacheState>,
);

fn key(m: &Measurement) -> Key<'_> {
    (&m.problem, &m.variant, m.threads, &m.cache)
}

/// Measurements with times, the first of each key.
fn by_key(run: &Run) -> HashMap<Key<'_>, &Measurement> {
    let timed = run.measurements.iter().rev().filter(|m| timed(m));
    timed.map(|m| (key(m), m)).collect()
}

/// True if a measurement has a time. Without samples, or with zeros, it counts as missing.
fn timed(m: &Measurement) -> bool {
    median(&m.samples_ns).is_some_and(|ns| ns > 0.0 && ns.is_finite())
}

/// Reason why a record lacks a measurement, if the record has one.
fn why(m: &Measurement, run: &Run) -> String {
    let refusal = run
        .refusals
        .iter()
        .find(|r| r.problem == m.problem && r.variant == m.variant);
    refusal.map_or(String::new(), |r| format!(" (refused: {})", r.reason))
}

/// Logarithms of a measurement's costs, one a sample: of time x peak of the same round, or of the bare time in ns.
fn costs(m: &Measurement, bare: bool) -> Vec<f64> {
    let logs = |costs: &mut dyn Iterator<Item = f64>| -> Vec<f64> {
        costs.map(f64::ln).filter(|c| c.is_finite()).collect()
    };
    let times = m.samples_ns.iter();
    match bare {
        true => logs(&mut times.copied()),
        false => logs(&mut times.zip(&m.peak_gflops).map(|(t, peak)| t * peak)),
    }
}

fn name(m: &Measurement) -> String {
    format!(
        "{} {} on {}, {} caches",
        m.problem,
        m.variant,
        units::threads(m.threads),
        m.cache
    )
}

/// A measurement in both records.
struct Pair<'a> {
    a: &'a Measurement,
    b: &'a Measurement,
    costs: Costs<'a>,
    normalised: bool,
}

impl<'a> Pair<'a> {
    fn of(a: &'a Measurement, b: &'a Measurement) -> Pair<'a> {
        // Use bare times if one record has no peaks, such as a criterion run. A normalised and a bare time aren't
        // comparable.
        let normalised = [a, b].iter().all(|m| !costs(m, false).is_empty());
        Pair {
            a,
            b,
            costs: Costs {
                isa: a.variant.isa(),
                arithmetic: a.arithmetic(),
                threads: a.threads,
                a: costs(a, !normalised),
                b: costs(b, !normalised),
            },
            normalised,
        }
    }

    fn compare(&self, shift: Option<Shift>, threshold: f64, like: bool) -> Option<Comparison> {
        let (a, b) = (self.a, self.b);
        let (a_ns, b_ns) = (median(&a.samples_ns)?, median(&b.samples_ns)?);
        let change = Change::of(shift, threshold, b_ns.partial_cmp(&a_ns)?);
        Some(Comparison {
            problem: a.problem.clone(),
            variant: a.variant.clone(),
            threads: a.threads,
            cache: a.cache.clone(),
            like,
            a_ns,
            b_ns,
            samples: [self.costs.a.len(), self.costs.b.len()],
            ratio: (median(&self.costs.a)? - median(&self.costs.b)?).exp(),
            ratio_ci: shift.map(|s| [-s.centre - s.half, s.half - s.centre].map(f64::exp)),
            normalised: self.normalised,
            slower: change == Change::Slower,
            faster: change == Change::Faster,
            cant_tell: match change {
                Change::Unknown(why) => Some(why),
                _ => None,
            },
        })
    }
}

/// Change of a row from A to B.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Slower,
    Faster,
    Unchanged,
    Unknown(CantTell),
}

impl Change {
    /// Change by the interval of the shift. `bare` is the order of B's bare time and A's: a clock that changed can't
    /// make a row slower whose time is smaller.
    fn of(shift: Option<Shift>, threshold: f64, bare: Ordering) -> Change {
        let Some(Shift { centre, half }) = shift else {
            return Change::Unknown(CantTell::FewSamples);
        };
        let limit = (1.0 + threshold).ln();
        let (low, high) = (centre - half, centre + half);
        match bare {
            Ordering::Greater if low > limit => Change::Slower,
            Ordering::Less if high < -limit => Change::Faster,
            _ if low > limit || high < -limit => Change::Unknown(CantTell::TimesDisagree),
            _ if low > -limit && high < limit => Change::Unchanged,
            _ => Change::Unknown(CantTell::WideInterval),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use convroof_kernels::data::Rng;

    /// The sample with nine steady samples.
    fn steady() -> Run {
        let mut run = sample();
        let m = &mut run.measurements[0];
        let wobble = |i: usize| 1.0 + 0.002 * (i * 5 % 9) as f64;
        m.samples_ns = (0..9).map(|i| 2.0e6 * wobble(i)).collect();
        m.rounds = (0..9).collect();
        m.peak_gflops = vec![118.0; 9];
        run
    }

    fn scaled(run: &Run, time: f64, peak: f64) -> Run {
        let mut run = run.clone();
        for m in &mut run.measurements {
            m.samples_ns.iter_mut().for_each(|t| *t *= time);
            m.peak_gflops.iter_mut().for_each(|p| *p *= peak);
        }
        run
    }

    /// The first row of A compared with B, at a threshold of 5 %.
    fn first(a: &Run, b: &Run) -> Comparison {
        let mut result = compare(a, b, 0.05, false).expect("alike");
        result.rows.remove(0)
    }

    #[test]
    fn a_slower_clock_is_not_a_slower_kernel() {
        let a = steady();
        let row = first(&a, &scaled(&a, 1.25, 1.0 / 1.25));
        assert!((row.ratio - 1.0).abs() < 1e-9 && !row.slower && !row.faster);
    }

    #[test]
    fn a_change_is_named_where_its_whole_interval_shows_it() {
        let a = steady();
        let row = first(&a, &scaled(&a, 1.2, 1.0));
        let [low, high] = row.ratio_ci.expect("an interval");
        assert!(low < row.ratio && row.ratio < high && high < 1.0 / 1.05);
        assert!(row.slower && !row.faster && row.cant_tell.is_none());
        assert!((row.ratio - 1.0 / 1.2).abs() < 1e-9);
        let row = first(&scaled(&a, 1.2, 1.0), &a);
        assert!(row.faster && !row.slower && row.cant_tell.is_none());
        // 8 % may be the noise of two runs of one layer.
        let row = first(&a, &scaled(&a, 1.08, 1.0));
        assert_eq!(
            (row.slower, row.cant_tell),
            (false, Some(CantTell::WideInterval))
        );
    }

    #[test]
    fn a_row_with_the_smaller_time_is_never_slower() {
        let a = steady();
        for (time, peak) in [(0.99, 1.4), (1.0, 1.4)] {
            let row = first(&a, &scaled(&a, time, peak));
            assert!(!row.slower && row.ratio < 0.8, "{row:?}");
            assert_eq!(row.cant_tell, Some(CantTell::TimesDisagree));
            let row = first(&scaled(&a, time, peak), &a);
            assert!(!row.faster, "{row:?}");
            assert_eq!(row.cant_tell, Some(CantTell::TimesDisagree));
        }
    }

    #[test]
    fn few_samples_tell_nothing() {
        let (a, mut b) = (steady(), scaled(&steady(), 10.0, 1.0));
        b.measurements[0].samples_ns.truncate(4);
        let row = first(&a, &b);
        assert_eq!((row.slower, row.ratio_ci), (false, None));
        assert_eq!(
            (row.samples, row.cant_tell),
            ([9, 4], Some(CantTell::FewSamples))
        );
    }

    #[test]
    fn without_a_peak_on_both_sides_bare_times_are_compared() {
        let (a, mut b) = (steady(), steady());
        b.measurements[0].peak_gflops.clear();
        let row = first(&a, &b);
        assert!((row.ratio - 1.0).abs() < 1e-9 && !row.normalised);
        let row = first(&a, &scaled(&b, 2.0, 1.0));
        assert!(row.slower && !row.normalised);
    }

    #[test]
    fn impossible_samples_are_left_out() {
        let (a, mut b) = (steady(), steady());
        b.measurements[0].samples_ns[..2].copy_from_slice(&[0.0, -1.0]);
        let row = first(&a, &b);
        assert_eq!(row.samples, [9, 7]);
        assert!(row.ratio.is_finite() && !row.slower);
    }

    /// Standard deviations of the logarithms of simulated times.
    #[derive(Clone, Copy, Debug)]
    struct Noise {
        /// From sample to sample, with three degrees of freedom. Neighbours disturb further samples by up to a factor.
        samples: f64,
        /// Of the machine's speed, from sample to sample.
        drift: f64,
        /// Of each row, from run to run.
        runs: f64,
    }

    /// Random numbers of some distributions.
    struct Dice(Rng);

    impl Dice {
        fn uniform(&mut self) -> f64 {
            self.0.below(1 << 24) as f64 / f64::from(1 << 24)
        }

        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
        }

        /// Student's distribution with three degrees of freedom, scaled to a variance of 1.
        fn heavy(&mut self) -> f64 {
            let squares: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
            self.normal() / squares.sqrt()
        }
    }

    /// A simulated record of `rows` rows, of which `slow` takes 20 % longer. The machine's speed drifts, and a kernel
    /// follows it in part only. Peaks are disturbed, too.
    fn simulated(noise: Noise, rows: usize, slow: Option<usize>, dice: &mut Dice) -> Run {
        let mut run = sample();
        let template = run.measurements.remove(0);
        let (mut speed, whole) = (0.0, 0.5 * noise.runs * dice.normal());
        for row in 0..rows {
            let of_row = whole + noise.runs * dice.normal();
            let factor = if slow == Some(row) { 1.2 } else { 1.0 };
            let (mut times, mut peaks) = (Vec::new(), Vec::new());
            for _ in 0..[5, 5, 7, 10, 15][dice.0.below(5)] {
                speed = 0.98 * speed + noise.drift * dice.normal();
                let follows = 0.5 + 0.5 * dice.uniform();
                let mut time = of_row + noise.samples * dice.heavy() - follows * speed;
                let mut peak = speed + 0.01 * dice.normal();
                if dice.uniform() < 0.06 {
                    time += dice.uniform();
                }
                if dice.uniform() < 0.05 {
                    peak -= 0.7 * dice.uniform();
                }
                times.push(1e5 * factor * time.exp());
                peaks.push(118.0 * peak.exp());
            }
            run.measurements.push(Measurement {
                variant: format!("v{row}/avx2/st").as_str().into(),
                rounds: (0..times.len() as u32).collect(),
                samples_ns: times,
                peak_gflops: peaks,
                ..template.clone()
            });
        }
        run
    }

    const QUIET: Noise = Noise {
        samples: 0.008,
        drift: 0.002,
        runs: 0.005,
    };

    const BUSY: Noise = Noise {
        samples: 0.02,
        drift: 0.01,
        runs: 0.02,
    };

    const NOISY: Noise = Noise {
        samples: 0.06,
        drift: 0.02,
        runs: 0.04,
    };

    #[test]
    fn one_binary_twice_is_rarely_called_changed() {
        for noise in [QUIET, BUSY, NOISY] {
            for rows in [2, 22, 60] {
                let mut alarms = 0;
                for seed in 0..200 {
                    let mut dice = Dice(Rng::new(seed));
                    let [a, b] = [0; 2].map(|_| simulated(noise, rows, None, &mut dice));
                    let result = compare(&a, &b, 0.05, false).expect("alike");
                    alarms += usize::from(result.rows.iter().any(|r| r.slower || r.faster));
                }
                // At most 5 % of the families.
                assert!(alarms <= 10, "{alarms} of 200 with {rows} rows, {noise:?}");
            }
        }
    }

    #[test]
    fn a_slow_down_of_20_percent_is_found_on_a_quiet_machine() {
        for rows in [2, 22, 60] {
            let (mut found, mut alarms) = (0, 0);
            for seed in 0..100 {
                let mut dice = Dice(Rng::new(seed));
                let slow = dice.0.below(rows);
                let a = simulated(QUIET, rows, None, &mut dice);
                let b = simulated(QUIET, rows, Some(slow), &mut dice);
                let result = compare(&a, &b, 0.05, false).expect("alike");
                found += usize::from(result.rows[slow].slower);
                let mut others = result.rows.iter().enumerate().filter(|(i, _)| *i != slow);
                alarms += usize::from(others.any(|(_, r)| r.slower || r.faster));
            }
            assert!(
                found >= 90 && alarms <= 5,
                "{found} found, {alarms} alarms, {rows} rows"
            );
        }
    }

    #[test]
    fn large_records_are_compared_in_linear_time() {
        let (mut a, mut b) = (steady(), steady());
        let m = a.measurements[0].clone();
        let many = |threads| Measurement {
            threads,
            ..m.clone()
        };
        a.measurements = (0..40_000).map(many).collect();
        b.measurements = (100..40_100).rev().map(many).collect();
        let start = std::time::Instant::now();
        let result = compare(&a, &b, 0.05, false).expect("alike");
        // Quadratic time would take minutes.
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
        let lengths = (result.rows.len(), result.only_a.len(), result.only_b.len());
        assert_eq!(lengths, (39_900, 100, 100));
    }

    #[test]
    fn what_is_missing_is_listed_and_unlike_machines_are_refused() {
        let (a, mut b) = (sample(), sample());
        b.measurements[0].variant = "im2col/avx2/st".into();
        let result = compare(&a, &b, 0.05, false).expect("alike");
        assert_eq!(
            (result.rows.len(), result.only_a.len(), result.only_b.len()),
            (0, 1, 1)
        );
        b.fingerprint.id = "other".into();
        assert!(
            compare(&a, &b, 0.05, false)
                .expect_err("unlike")
                .to_string()
                .contains("--force")
        );
        let forced = compare(&a, &sample(), 0.05, true).expect("forced");
        assert!(forced.rows.iter().all(|r| r.like));
        b.measurements[0].variant = a.measurements[0].variant.clone();
        let forced = compare(&a, &b, 0.05, true).expect("forced");
        assert!(forced.rows.iter().all(|r| !r.like), "labelled");
        // Measurements with other cache contents have another key.
        b.measurements[0].cache = "cold".into();
        let other = compare(&a, &b, 0.05, true).expect("forced");
        assert!(other.rows.is_empty() && other.only_b[0].contains("cold caches"));
    }
}
