//! Comparison of two records layer by layer, each by its best variant.
//!
//! It is the comparison of [`compare`] with one row for each layer: best against best, whatever the variants are. Times are
//! normalised by the peaks of their rounds, so records of different machines compare fractions of the
//! peak.

use super::records::{CantTell, Comparison, compare};
use crate::record::{CandidateId, Measurement, Run, Text};
use crate::report::Row;
use crate::roofline::Verdict;
use crate::stats::geometric_mean;
use crate::units::{plural, threads};
use convroof_kernels::dtype::DType;
use serde::Serialize;
use std::collections::BTreeMap;

/// Smallest change that counts.
const THRESHOLD: f64 = 0.05;

/// Number of layers that a sentence names.
const NAMED: usize = 5;

/// A record of a page with its rows.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its name: A, B and so on.
    pub name: &'a str,
    /// The record.
    pub run: &'a Run,
    /// All its rows.
    pub rows: &'a [Row],
}

/// Differences of the later records from the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differences {
    /// True if all records are of one machine.
    pub like: bool,
    /// Smallest change that counts: 0.05 is 5 %.
    pub threshold: f64,
    /// The later records, each against the first.
    pub runs: Vec<Against>,
}

/// Differences of one record from the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Against {
    /// Its name: B, C and so on.
    pub name: String,
    /// True if both are of one machine. Otherwise ratios compare machines, not kernels.
    pub like: bool,
    /// A sentence for each network, type and number of threads, after one about the machines if they differ.
    pub sentences: Vec<String>,
    /// Geometric mean of all ratios; null without layers that both have.
    pub geometric_mean: Option<f64>,
    /// Layers that both records have, series after series.
    pub layers: Vec<LayerDelta>,
    /// Layers that only the first has, as `network/layer` with their threads.
    pub only_a: Vec<String>,
    /// Layers that only the other has.
    pub only_b: Vec<String>,
}

/// A layer by its best variant in both records.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerDelta {
    /// Its series' id in a page: `resnet50-2`.
    pub series: String,
    /// The network.
    pub network: String,
    /// Element type in which it was requested.
    pub dt: Text<DType>,
    /// Threads.
    pub threads: usize,
    /// The layer.
    pub layer: String,
    /// Number of occurrences in the network.
    pub count: usize,
    /// Index of its best row in the first record.
    pub a_row: usize,
    /// Index of its best row in the other.
    pub b_row: usize,
    /// Best variant in the first record.
    pub a_variant: CandidateId,
    /// Best variant in the other.
    pub b_variant: CandidateId,
    /// Median time in the first record, ns.
    pub a_ns: f64,
    /// Median time in the other, ns.
    pub b_ns: f64,
    /// Normalised time in the other record over that in the first: above 1, the other is slower.
    pub ratio: f64,
    /// Interval of the ratio. The intervals of all layers together hold with probability 95 %. Null for few samples.
    pub ci: Option<[f64; 2]>,
    /// True if times are normalised by peaks.
    pub normalised: bool,
    /// True if the machines differ, so that the ratio compares fractions of the peak.
    pub fractions: bool,
    /// Change from the first record to the other.
    pub change: Change,
    /// Reason why no change is known.
    pub cant_tell: Option<CantTell>,
    /// Attained fraction of the roof in the first record.
    pub a_roof: Option<f64>,
    /// Attained fraction of the roof in the other.
    pub b_roof: Option<f64>,
    /// Verdict in the first record.
    pub a_verdict: Verdict,
    /// Verdict in the other.
    pub b_verdict: Verdict,
}

/// Change of a layer beyond the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The other record is faster.
    Faster,
    /// The other record is slower.
    Slower,
    /// No change by the threshold.
    Same,
    /// The records don't tell.
    Unknown,
}

impl Change {
    fn of(row: &Comparison) -> Self {
        match (row.faster, row.slower, row.cant_tell) {
            (true, ..) => Change::Faster,
            (_, true, _) => Change::Slower,
            (.., None) => Change::Same,
            _ => Change::Unknown,
        }
    }
}

/// Compares later records with the first.
pub fn differences(sides: &[Side<'_>]) -> Differences {
    let (first, later) = match sides {
        [first, later @ ..] => (Some(first), later),
        [] => (None, &[][..]),
    };
    let against = |first| later.iter().map(move |other| pair(first, other));
    let runs: Vec<Against> = first.into_iter().flat_map(against).collect();
    Differences {
        like: runs.iter().all(|run| run.like),
        threshold: THRESHOLD,
        runs,
    }
}

/// A layer's place in a record: network, type, threads, layer.
type Place<'a> = (&'a str, &'a Text<DType>, usize, &'a str);

fn place(row: &Row) -> Place<'_> {
    (&row.network, &row.dt, row.threads, &row.layer)
}

/// Best rows of a record with their indices, in the record's order.
fn best(rows: &[Row]) -> impl Iterator<Item = (usize, &Row)> {
    rows.iter().enumerate().filter(|(_, row)| row.best)
}

/// Name of a place in a list.
fn text(row: &Row) -> String {
    let on = threads(row.threads);
    format!("{}/{}, {on}", row.series().subject(), row.layer)
}

/// The record with its best measurements alone, all under one name.
fn best_alone(side: &Side<'_>) -> Run {
    let of = |row: &Row| {
        let mut all = side.run.measurements.iter();
        let found = all.find(|m| {
            (&m.problem, &m.variant) == (&row.problem, &row.variant)
                && (m.threads, &m.cache) == (row.threads, &row.cache)
        })?;
        Some(Measurement {
            variant: "best/auto/any".into(),
            ..found.clone()
        })
    };
    Run {
        measurements: best(side.rows).filter_map(|(_, row)| of(row)).collect(),
        refusals: Vec::new(),
        ..side.run.clone()
    }
}

fn pair(a: &Side<'_>, b: &Side<'_>) -> Against {
    let like = a.run.fingerprint.id == b.run.fingerprint.id;
    // Unlike records are compared, too: they are labelled.
    let compared = compare(&best_alone(a), &best_alone(b), THRESHOLD, true);
    let compared = compared.map(|found| found.rows).unwrap_or_default();
    let of_b: BTreeMap<Place<'_>, (usize, &Row)> = best(b.rows)
        .map(|(i, row)| (place(row), (i, row)))
        .collect();
    let of_a: BTreeMap<Place<'_>, usize> = best(a.rows).map(|(i, row)| (place(row), i)).collect();
    let mut layers: Vec<LayerDelta> = Vec::new();
    let mut only_a = Vec::new();
    for (a_row, own) in best(a.rows) {
        let other = of_b.get(&place(own));
        let row = compared
            .iter()
            .find(|row| row.problem == own.problem && row.threads == own.threads);
        match (other, row) {
            (Some(&(b_row, other)), Some(row)) if other.problem == own.problem => {
                layers.push(delta(own, other, row, [a_row, b_row]));
            }
            _ => only_a.push(text(own)),
        }
    }
    let mut series: Vec<String> = Vec::new();
    for layer in &layers {
        if !series.contains(&layer.series) {
            series.push(layer.series.clone());
        }
    }
    layers.sort_by_key(|layer| series.iter().position(|own| *own == layer.series));
    let lacks = |row: &Row| {
        let at = of_a.get(&place(row));
        at.is_none_or(|&at| a.rows[at].problem != row.problem)
    };
    let only_b = best(b.rows).filter(|(_, row)| lacks(row));
    let ratios: Vec<f64> = layers.iter().map(|l| l.ratio).collect();
    Against {
        name: b.name.into(),
        like,
        sentences: sentences(a, b, like, &layers),
        geometric_mean: geometric_mean(&ratios),
        only_a,
        only_b: only_b.map(|(_, row)| text(row)).collect(),
        layers,
    }
}

fn delta(a: &Row, b: &Row, row: &Comparison, [a_row, b_row]: [usize; 2]) -> LayerDelta {
    LayerDelta {
        series: a.series().id(),
        network: a.network.clone(),
        dt: a.dt.clone(),
        threads: a.threads,
        layer: a.layer.clone(),
        count: a.count,
        a_row,
        b_row,
        a_variant: a.variant.clone(),
        b_variant: b.variant.clone(),
        a_ns: a.median_ns,
        b_ns: b.median_ns,
        ratio: 1.0 / row.ratio,
        ci: row.ratio_ci.map(|[low, high]| [1.0 / high, 1.0 / low]),
        normalised: row.normalised,
        fractions: !row.like,
        change: Change::of(row),
        cant_tell: row.cant_tell,
        a_roof: a.roof_fraction,
        b_roof: b.roof_fraction,
        a_verdict: a.verdict,
        b_verdict: b.verdict,
    }
}

/// A sentence for each series, after one about the machines if they differ.
fn sentences(a: &Side<'_>, b: &Side<'_>, like: bool, layers: &[LayerDelta]) -> Vec<String> {
    let mut sentences = Vec::new();
    if !like {
        sentences.push(format!(
            "{} and {} are of different machines: times are normalised by each machine's peak, so ratios compare fractions of the peak.",
            a.name, b.name
        ));
    }
    for own in layers.chunk_by(|x, y| x.series == y.series) {
        sentences.push(sentence(a, b, own));
    }
    sentences
}

fn sentence(a: &Side<'_>, b: &Side<'_>, layers: &[LayerDelta]) -> String {
    let first = &layers[0];
    let on = threads(first.threads);
    let subject = match first.dt.is(&DType::F32) {
        true => first.network.clone(),
        false => format!("{} in {}", first.network, first.dt),
    };
    let sum = |of: &dyn Fn(&LayerDelta) -> f64| -> f64 {
        layers.iter().map(|l| l.count as f64 * of(l)).sum()
    };
    let ratios: Vec<f64> = layers.iter().map(|l| l.ratio).collect();
    let mean = geometric_mean(&ratios).unwrap_or(1.0);
    let mut text = format!(
        "{subject}, {on}: in {} that both measured, {} takes {:.2} times as long as {}; the geometric mean of the layers' ratios{} is {mean:.2}",
        plural(layers.len(), "layer"),
        b.name,
        sum(&|l| l.b_ns) / sum(&|l| l.a_ns),
        a.name,
        match layers.iter().all(|l| l.normalised) {
            true => ", normalised by the peaks,",
            false => "",
        }
    );
    for (change, word) in [(Change::Faster, "faster"), (Change::Slower, "slower")] {
        let changed = layers.iter().filter(|l| l.change == change);
        let names: Vec<&str> = changed.map(|l| l.layer.as_str()).collect();
        if !names.is_empty() {
            let more = match names.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named = names[..names.len().min(NAMED)].join(", ");
            text += &format!("; {word}: {named}{more}");
        }
    }
    match layers
        .iter()
        .filter(|l| l.change == Change::Unknown)
        .count()
    {
        0 => {}
        n => text += &format!("; can't tell: {}", plural(n, "layer")),
    }
    text + "."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;

    fn steady() -> Run {
        let mut run = sample();
        let m = &mut run.measurements[0];
        m.samples_ns = (0..9).map(|i| 2.0e6 + 4e3 * f64::from(i)).collect();
        m.rounds = (0..9).collect();
        m.peak_gflops = vec![118.0; 9];
        run
    }

    fn between(a: &Run, b: &Run) -> Differences {
        let (of_a, of_b) = (rows(a), rows(b));
        let side = |name, run, rows| Side { name, run, rows };
        differences(&[side("A", a, &of_a), side("B", b, &of_b)])
    }

    #[test]
    fn layers_are_compared_by_their_best_variants() {
        let a = steady();
        let mut b = steady();
        b.measurements[0].variant = "winograd-f4x3/avx2/st".into();
        b.measurements[0]
            .samples_ns
            .iter_mut()
            .for_each(|ns| *ns /= 2.0);
        let found = between(&a, &b);
        assert!(found.like);
        let [pair] = &found.runs[..] else {
            panic!("{found:?}");
        };
        let [layer] = &pair.layers[..] else {
            panic!("{pair:?}");
        };
        assert!((layer.ratio - 0.5).abs() < 1e-9 && !layer.fractions);
        let [low, high] = layer.ci.expect("an interval");
        assert!(low < 0.5 && 0.5 < high && high < 0.95, "{layer:?}");
        assert_eq!(layer.change, Change::Faster);
        assert_eq!(
            (layer.series.as_str(), layer.a_row, layer.b_row),
            ("resnet50-1", 0, 0)
        );
        assert_eq!(layer.b_variant, "winograd-f4x3/avx2/st");
        assert_eq!(
            pair.sentences,
            [
                "resnet50, 1 thread: in 1 layer that both measured, B takes 0.50 times as long as A; the geometric mean of the layers' ratios, normalised by the peaks, is 0.50; faster: conv2_x.3x3."
            ]
        );
    }

    #[test]
    fn unlike_machines_are_compared_by_their_peaks_and_labelled() {
        let a = steady();
        let mut b = steady();
        b.fingerprint.id = "other".into();
        let m = &mut b.measurements[0];
        m.samples_ns.iter_mut().for_each(|ns| *ns /= 2.0);
        m.peak_gflops.iter_mut().for_each(|peak| *peak *= 2.0);
        let found = between(&a, &b);
        assert!(!found.like && !found.runs[0].like);
        let layer = &found.runs[0].layers[0];
        assert!((layer.ratio - 1.0).abs() < 1e-9 && layer.normalised && layer.fractions);
        let sentences = &found.runs[0].sentences;
        assert!(sentences[0].contains("different machines"), "{sentences:?}");
    }

    #[test]
    fn a_series_has_one_sentence() {
        let mut run = steady();
        run.conditions.threads = vec![1, 2];
        let mut fc = run.layers[0].clone();
        (fc.layer, fc.problem) = ("fc".into(), "mb1ic64ih1oc64oh1kh1ph0".into());
        run.layers.push(fc.clone());
        let mut more = run.measurements.clone();
        more[0].problem = fc.problem;
        run.measurements.extend(more);
        let mut twice = run.measurements.clone();
        twice.iter_mut().for_each(|m| m.threads = 2);
        run.measurements.extend(twice);
        let found = between(&run, &run);
        let series: Vec<&str> = found.runs[0]
            .layers
            .iter()
            .map(|l| l.series.as_str())
            .collect();
        assert_eq!(
            series,
            ["resnet50-1", "resnet50-1", "resnet50-2", "resnet50-2"]
        );
        let sentences = &found.runs[0].sentences;
        assert_eq!(sentences.len(), 2, "{sentences:?}");
        assert!(
            sentences[1].contains("in 2 layers that both measured"),
            "{sentences:?}"
        );
        assert!(
            sentences[1].contains("normalised by the peaks, is 1.00"),
            "{sentences:?}"
        );
    }

    #[test]
    fn layers_of_one_record_are_listed() {
        let a = steady();
        let mut b = steady();
        b.layers[0].layer = "other".into();
        let found = between(&a, &b);
        let pair = &found.runs[0];
        assert!(pair.layers.is_empty() && pair.geometric_mean.is_none());
        assert_eq!(pair.only_a, ["resnet50/conv2_x.3x3, 1 thread"]);
        assert_eq!(pair.only_b, ["resnet50/other, 1 thread"]);
        assert!(differences(&[]).runs.is_empty());
    }
}
