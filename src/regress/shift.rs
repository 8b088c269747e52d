//! Shifts between the costs of two records, with simultaneous intervals.
//!
//! The samples of a record were taken within seconds, so they don't show how much a second run would differ: by the
//! clock, by neighbours, and by the addresses of its memory. The interval of a shift therefore has two variances:
//!
//! * *within* the records: of the medians, by the median absolute deviation of the samples. Five samples may agree by
//!   chance, so a deviation counts as at least the record's typical one.
//! * *between* the records: the largest of three estimates. The first is the scatter of the shifts of all rows with as
//!   many threads, which assumes that most rows have not changed. The second is the scatter of the peaks of each type from
//!   layer to layer. Half of it counts, which assumes that normalisation removes the other half. The third is a constant for
//!   two runs of one binary.
//!
//! With fewer than five rows the first estimate is missing. Then all of the second counts, and the constant is larger. Quantiles are those of Student's distribution, by Bonferroni over all rows: all intervals together contain
//! their shifts with probability 95 %.

use crate::record::{IsaName, Run};
use crate::stats::{FEW, deviation, median};
use convroof_kernels::probe::Arithmetic;
use statrs::distribution::{ContinuousCDF, StudentsT};
use std::collections::{BTreeMap, HashMap};

/// Probability that any interval of a family misses its shift.
const MISS: f64 = 0.05;

/// Least standard deviation of a cost's logarithm from run to run, where the scatter of many rows is known.
const BETWEEN: f64 = 0.015;

/// Least standard deviation of a cost's logarithm from run to run, where it is not known.
const BETWEEN_FEW: f64 = 0.025;

/// Logarithms of the costs of one row in both records, one a sample.
pub(super) struct Costs<'a> {
    pub(super) isa: &'a IsaName,
    pub(super) arithmetic: Arithmetic,
    pub(super) threads: usize,
    pub(super) a: Vec<f64>,
    pub(super) b: Vec<f64>,
}

/// Logarithm of B's cost over A's, with the half width of its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    pub(super) centre: f64,
    pub(super) half: f64,
}

/// The shift of each row; none for a row with fewer than five samples in a record.
pub(super) fn shifts(rows: &[&Costs<'_>], drifts: [&Drift<'_>; 2]) -> Vec<Option<Shift>> {
    let sides: Vec<_> = rows
        .iter()
        .map(|r| Some((Side::of(&r.a)?, Side::of(&r.b)?)))
        .collect();
    let pairs = rows.iter().zip(&sides);
    let known: Vec<Known<'_>> = pairs.filter_map(|(r, s)| Some((*r, s.as_ref()?))).collect();
    let least = [
        typical(known.iter().map(|(_, (a, _))| a)),
        typical(known.iter().map(|(_, (_, b))| b)),
    ];
    let scatter = scatter(&known);
    let mut quantiles = HashMap::new();
    let shift = |(row, sides): (&&Costs<'_>, &Option<(Side, Side)>)| {
        let (a, b) = sides.as_ref()?;
        let drift = drifts.map(|d| d.of(row));
        let between = between(scatter[&row.threads], drift);
        let variance = a.variance(least[0]) + b.variance(least[1]) + between;
        let freedom = a.samples + b.samples - 2;
        let quantile = quantiles
            .entry(freedom)
            .or_insert_with(|| quantile(freedom, known.len()));
        Some(Shift {
            centre: b.median - a.median,
            half: *quantile * variance.sqrt(),
        })
    };
    rows.iter().zip(&sides).map(shift).collect()
}

/// A row with enough samples, and its sides in A and B.
type Known<'a> = (&'a Costs<'a>, &'a (Side, Side));

/// One record's costs of a row.
struct Side {
    samples: usize,
    median: f64,
    deviation: f64,
}

impl Side {
    /// None for fewer than five costs.
    fn of(costs: &[f64]) -> Option<Side> {
        if costs.len() < FEW {
            return None;
        }
        Some(Side {
            samples: costs.len(),
            median: median(costs)?,
            deviation: deviation(costs)?,
        })
    }

    /// Variance of the median of normally distributed samples, whose standard deviation is at least `least`.
    fn variance(&self, least: f64) -> f64 {
        let deviation = self.deviation.max(least);
        std::f64::consts::FRAC_PI_2 * deviation * deviation / self.samples as f64
    }
}

/// Scatter of the shifts on each number of threads; none for fewer than five rows.
fn scatter(known: &[Known<'_>]) -> BTreeMap<usize, Option<f64>> {
    let mut shifts: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (row, (a, b)) in known {
        let own = shifts.entry(row.threads).or_default();
        own.push(b.median - a.median);
    }
    let shifts = shifts.into_iter();
    shifts
        .map(|(threads, own)| (threads, deviation(&own).filter(|_| own.len() >= FEW)))
        .collect()
}

/// Typical deviation of a record's samples.
fn typical<'a>(sides: impl Iterator<Item = &'a Side>) -> f64 {
    median(&sides.map(|s| s.deviation).collect::<Vec<_>>()).unwrap_or(0.0)
}

/// Variance between two runs, from the scatter of many rows' shifts, if there is one, and both records' drifts.
fn between(scatter: Option<f64>, drifts: [f64; 2]) -> f64 {
    let (part, least) = match scatter {
        Some(_) => (0.5, BETWEEN),
        None => (1.0, BETWEEN_FEW),
    };
    let of_peaks: f64 = drifts.map(|d| (part * d).max(least).powi(2)).iter().sum();
    of_peaks.max(scatter.map_or(0.0, |s| s * s))
}

/// Quantile for the intervals of a family of `rows` rows.
fn quantile(freedom: usize, rows: usize) -> f64 {
    let student = StudentsT::new(0.0, 1.0, freedom as f64).expect("at least one degree of freedom");
    student.inverse_cdf(1.0 - MISS / 2.0 / rows as f64)
}

/// Scatter of a record's peaks from layer to layer, for each instruction set, arithmetic and number of threads.
pub(super) struct Drift<'a>(HashMap<(&'a IsaName, Arithmetic, usize), f64>);

impl<'a> Drift<'a> {
    /// Drift of a record. Where it has fewer than five measurements, the scatter from round to round counts.
    pub(super) fn of_run(run: &'a Run) -> Drift<'a> {
        let mut groups: HashMap<_, Vec<Vec<f64>>> = HashMap::new();
        for m in &run.measurements {
            let peaks = m
                .peak_gflops
                .iter()
                .map(|p| p.ln())
                .filter(|p| p.is_finite());
            let key = (m.variant.isa(), m.arithmetic(), m.threads);
            let group = groups.entry(key).or_default();
            group.push(peaks.collect());
        }
        let drift = |groups: Vec<Vec<f64>>| {
            let medians: Vec<f64> = groups.iter().filter_map(|g| median(g)).collect();
            let peaks = if medians.len() < FEW {
                groups.concat()
            } else {
                medians
            };
            deviation(&peaks).unwrap_or(0.0)
        };
        Drift(
            groups
                .into_iter()
                .map(|(key, peaks)| (key, drift(peaks)))
                .collect(),
        )
    }

    /// Drift of a row's peaks; 0 for a record without peaks.
    fn of(&self, row: &Costs<'_>) -> f64 {
        let key = (row.isa, row.arithmetic, row.threads);
        self.0.get(&key).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_tables() {
        // Student's table: two-sided 5 % with 8 and 20 degrees of freedom, and 0.5 % with 8.
        for (freedom, rows, expected) in [(8, 1, 2.306), (20, 1, 2.086), (8, 10, 3.833)] {
            let found = quantile(freedom, rows);
            assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_few_rows_trust_the_peaks_more() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(between(None, [0.1, 0.1]), 0.02));
        assert!(close(between(None, [0.0, 0.0]), 2.0 * 0.025 * 0.025));
        assert!(close(between(Some(0.0), [0.1, 0.1]), 0.005));
        assert!(close(between(Some(0.2), [0.1, 0.1]), 0.04));
    }

    #[test]
    fn a_lucky_agreement_of_samples_is_not_believed() {
        let isa = IsaName::from("avx2");
        let wide = vec![0.0, 0.1, -0.1, 0.2, -0.2];
        let row = |a: &[f64]| Costs {
            isa: &isa,
            arithmetic: Arithmetic::F32,
            threads: 1,
            a: a.to_vec(),
            b: wide.clone(),
        };
        let rows = [row(&wide), row(&wide), row(&[0.0; 5]), row(&[0.0; 4])];
        let drift = Drift(HashMap::new());
        let found = shifts(&rows.each_ref(), [&drift, &drift]);
        assert_eq!(found[2], found[0]);
        assert_eq!(found[3], None, "four samples");
    }

    #[test]
    fn peaks_of_two_types_are_no_drift() {
        let mut run = crate::record::tests::sample();
        run.measurements[0].peak_gflops = vec![100.0; 5];
        for i in 0..9 {
            let mut m = run.measurements[0].clone();
            if i % 2 == 0 {
                m.problem = "--dt=u8:s8:u8 mb1ic64ih56oc64oh56kh3ph1".into();
                m.peak_gflops = vec![400.0; 5];
            }
            run.measurements.push(m);
        }
        let drift = Drift::of_run(&run);
        assert_eq!(drift.0.len(), 2);
        assert!(drift.0.values().all(|&d| d == 0.0), "{:?}", drift.0);
    }
}
