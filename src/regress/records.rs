//! Comparison of two records.
//!
//! Times are normalised by the peak measured in the same rounds, since clocks and neighbours differ from day to day. A
//! ratio is A's normalised time / B's: above 1, B is faster.

use crate::record::{CacheState, CandidateId, Measurement, Run, Text};
use crate::stats::{geometric_mean, median};
use convroof_kernels::Problem;
use serde::Serialize;
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
    /// Normalised time in A / that in B: above 1, B is faster.
    pub ratio: f64,
    /// True if the times were normalised; false if a record has no peak beside its samples.
    pub normalised: bool,
    /// True if B is slower by more than the threshold.
    pub slower: bool,
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

/// Compares two records. `threshold` is the least slow-down that counts: 0.05 is 5 %.
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
    for x in a.measurements.iter().filter(|x| timed(x)) {
        match of_b.get(&key(x)) {
            Some(y) => result.rows.extend(compare_one(x, y, threshold, like)),
            None => result.only_a.push(name(x) + &why(x, b)),
        }
    }
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
    cost(m, true).is_some_and(|ns| ns > 0.0 && ns.is_finite())
}

/// Reason why a record lacks a measurement, if the record has one.
fn why(m: &Measurement, run: &Run) -> String {
    let refusal = run
        .refusals
        .iter()
        .find(|r| r.problem == m.problem && r.variant == m.variant);
    refusal.map_or(String::new(), |r| format!(" (refused: {})", r.reason))
}

/// Time x peak of the same round, or the bare time in ns.
fn cost(m: &Measurement, bare: bool) -> Option<f64> {
    if bare {
        return median(&m.samples_ns);
    }
    let products = m.samples_ns.iter().zip(&m.peak_gflops);
    median(&products.map(|(t, peak)| t * peak).collect::<Vec<_>>())
}

fn name(m: &Measurement) -> String {
    format!(
        "{} {} on {} threads, {} caches",
        m.problem, m.variant, m.threads, m.cache
    )
}

fn compare_one(x: &Measurement, y: &Measurement, threshold: f64, like: bool) -> Option<Comparison> {
    // Use bare times if one record has no peaks, such as a criterion run. A normalised and a bare time aren't
    // comparable.
    let known = |m: &Measurement| cost(m, false).is_some_and(|c| c > 0.0 && c.is_finite());
    let bare = !(known(x) && known(y));
    let ratio = cost(x, bare)? / cost(y, bare)?;
    Some(Comparison {
        problem: x.problem.clone(),
        variant: x.variant.clone(),
        threads: x.threads,
        cache: x.cache.clone(),
        like,
        a_ns: median(&x.samples_ns)?,
        b_ns: median(&y.samples_ns)?,
        ratio,
        normalised: !bare,
        slower: ratio < 1.0 / (1.0 + threshold),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    #[test]
    fn a_slower_clock_is_not_a_slower_kernel() {
        let (a, mut b) = (sample(), sample());
        for m in &mut b.measurements {
            m.samples_ns.iter_mut().for_each(|t| *t *= 1.25);
            m.peak_gflops.iter_mut().for_each(|p| *p /= 1.25);
        }
        let result = compare(&a, &b, 0.05, false).expect("alike");
        assert!((result.rows[0].ratio - 1.0).abs() < 1e-9 && !result.rows[0].slower);
    }

    #[test]
    fn a_slower_kernel_is_named() {
        let (a, mut b) = (sample(), sample());
        b.measurements[0]
            .samples_ns
            .iter_mut()
            .for_each(|t| *t *= 1.2);
        let result = compare(&a, &b, 0.05, false).expect("alike");
        assert!(result.rows[0].slower);
        assert!((result.geometric_mean.expect("a ratio") - 1.0 / 1.2).abs() < 1e-9);
    }

    #[test]
    fn without_a_peak_on_both_sides_bare_times_are_compared() {
        let (a, mut b) = (sample(), sample());
        b.measurements[0].peak_gflops.clear();
        let row = &compare(&a, &b, 0.05, false).expect("alike").rows[0];
        assert!((row.ratio - 1.0).abs() < 1e-9 && !row.normalised);
    }

    #[test]
    fn large_records_are_compared_in_linear_time() {
        let (mut a, mut b) = (sample(), sample());
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
