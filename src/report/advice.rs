//! Advice: changes that would save time in a network, and how much at least.
//!
//! Each figure is a lower bound from measurements of this record. Where nothing was measured there is no advice. A time
//! counts with the end of its 95 % interval that makes the saving smaller.

use super::rows::{NetworkTotal, Row, best_rows};
use super::versus::{EQUAL, ratios};
use crate::record::{LayerRef, Level, Measurement, Run};
use crate::roofline::{Ceilings, Verdict};
use crate::stats::Estimate;
use crate::units::{bytes, peak, plural, rate, time};
use serde::Serialize;

/// A change that would save time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// The layer.
    pub layer: String,
    /// Kind of the change.
    pub kind: Kind,
    /// Least time that the network would save in ns: all occurrences of the layer together.
    pub saved_ns: f64,
    /// The change, in a sentence.
    pub says: String,
    /// The figures behind it, in a sentence.
    pub evidence: String,
}

/// Kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A kernel that reaches the roof above it.
    Roof,
    /// Another variant or library, which was measured to be faster.
    Algorithm,
    /// The layer before it in the same kernel, so that the tensor between them is not read.
    Fusion,
    /// A smaller element type.
    Type,
}

/// Least part of the network's time that advice is worth.
const LEAST: f64 = 0.001;

/// Advice on a series, the most saved time first; at most one of each kind for a layer.
pub fn advice(run: &Run, rows: &[Row], total: &NetworkTotal) -> Vec<Advice> {
    let best = best_rows(rows, total.series());
    let mut found = Vec::new();
    for row in best.iter().copied().filter(|row| !row.few_samples()) {
        let each = [
            roof(row),
            algorithm(run, rows, row),
            fusion(run, rows, row),
            smaller_type(rows, row),
        ];
        found.extend(each.into_iter().flatten());
    }
    found.retain(|advice| advice.saved_ns >= LEAST * total.time_ns);
    found.sort_by(|a, b| b.saved_ns.total_cmp(&a.saved_ns));
    found
}

/// The layer at the higher of its two bounds: that of its arithmetic and that of its data.
fn roof(row: &Row) -> Option<Advice> {
    let reached = row.roof_fraction.filter(|_| !row.beyond)?;
    // A call or a start of threads has no roof, and an undecided layer none that is known.
    if matches!(row.verdict, Verdict::Overhead | Verdict::Undecided) {
        return None;
    }
    let compute_share = row.gflops_executed / row.peak_gflops;
    let roof = if compute_share >= 0.999 * reached {
        let (peak, rate) = (peak(row.arithmetic()), rate(row.arithmetic()));
        format!("the {peak} of {:.0} {rate}", row.peak_gflops)
    } else {
        match far_level(row.verdict) {
            Some(level) => format!("the bandwidth of {}", level.name()),
            None => "the bandwidth of its data's level".into(),
        }
    };
    let at_roof = reached * row.median_ns;
    let each = row.ci_low_ns - at_roof;
    (each > 0.0).then(|| Advice {
        layer: row.layer.clone(),
        kind: Kind::Roof,
        saved_ns: row.count as f64 * each,
        says: format!("A kernel that reaches {roof}."),
        evidence: format!(
            "{} measured, {} at the roof: {:.0} % of it is reached{}.",
            time(row.median_ns),
            time(at_roof),
            100.0 * reached,
            occurrences(row.count)
        ),
    })
}

/// How often a layer occurs, at the end of a sentence; empty for once.
fn occurrences(count: usize) -> String {
    match count {
        1 => String::new(),
        n => format!(", {n} times in the network"),
    }
}

/// Another variant or library that was faster in the rounds that both took part in.
fn algorithm(run: &Run, rows: &[Row], row: &Row) -> Option<Advice> {
    let measurement = |row: &Row| -> Option<&Measurement> {
        run.measurements.iter().find(|m| {
            (&m.problem, &m.variant) == (&row.problem, &row.variant)
                && (m.threads, &m.cache) == (row.threads, &row.cache)
        })
    };
    let own = measurement(row)?;
    let faster = rows.iter().filter(|other| {
        other.is_beside(row)
            && other.is_warm()
            && !other.few_samples()
            && other.error_max <= EQUAL.max(row.error_max)
            && other.median_ns < row.median_ns
    });
    let ratio = |other: &Row| Estimate::of(&ratios(own, measurement(other)?));
    let sure = faster.filter_map(|other| Some((other, ratio(other)?)));
    let sure = sure.filter(|(_, ratio)| ratio.below(1.0) == Some(true));
    let (other, ratio) = sure.min_by(|(_, a), (_, b)| a.ci.1.total_cmp(&b.ci.1))?;
    Some(Advice {
        layer: row.layer.clone(),
        kind: Kind::Algorithm,
        saved_ns: row.count as f64 * row.ci_low_ns * (1.0 - ratio.ci.1),
        says: format!("{} in place of {}.", other.variant, row.variant),
        evidence: format!(
            "{:.2} of the time in {} (95 % interval {:.2} to {:.2}), {} in place of {}{}.",
            ratio.median,
            plural(ratio.samples, "common round"),
            ratio.ci.0,
            ratio.ci.1,
            time(other.median_ns),
            time(row.median_ns),
            occurrences(row.count)
        ),
    })
}

/// Level whose bandwidth bounds a layer; none for L1, where loads of registers count and not the bytes of operands.
fn far_level(verdict: Verdict) -> Option<Level> {
    match verdict {
        Verdict::L2 => Some(Level::L2),
        Verdict::L3 => Some(Level::L3),
        Verdict::Dram => Some(Level::Dram),
        _ => None,
    }
}

/// A bandwidth-bound layer in one kernel with the layer before it, whose output it then need not read. Its other bytes
/// still move, and its arithmetic still takes its time.
fn fusion(run: &Run, rows: &[Row], row: &Row) -> Option<Advice> {
    let level = far_level(row.verdict)?;
    let before = before(run, rows, row)?;
    let problem = row.problem.value()?;
    let elements: usize = problem.src_dims().into_iter().product();
    let size = (elements * problem.dtypes.src.size()) as f64;
    let arithmetic = row.arithmetic();
    let ceilings = Ceilings::of(
        &run.calibration,
        &run.fingerprint,
        &row.isa,
        arithmetic,
        row.threads,
    )?;
    let read = ceilings.roof(level)?.read;
    let compute_ns = row.gflops_executed / row.peak_gflops * row.median_ns;
    let each = (size / read).min(row.ci_low_ns - compute_ns);
    (each > 0.0).then(|| Advice {
        layer: row.layer.clone(),
        kind: Kind::Fusion,
        saved_ns: row.count.min(before.count) as f64 * each,
        says: format!(
            "One kernel with {}, which writes what it reads.",
            before.layer
        ),
        evidence: format!(
            "{} of input need not be read: {} at the measured {read:.0} GB/s of {}{}.",
            bytes(size),
            time(size / read),
            level.name(),
            occurrences(row.count.min(before.count))
        ),
    })
}

/// The best row of the layer before, if it occurs as often and its output is of the input's shape and type.
fn before<'a>(run: &Run, rows: &'a [Row], row: &Row) -> Option<&'a Row> {
    let own = |l: &&LayerRef| (&l.network, &l.dt) == (&row.network, &row.dt);
    let layers: Vec<_> = run.layers.iter().filter(own).collect();
    let at = layers.iter().position(|l| l.layer == row.layer)?;
    let layer = layers.get(at.checked_sub(1)?)?;
    let best = best_rows(rows, row.series());
    let before = best.into_iter().find(|r| r.layer == layer.layer)?;
    let (from, to) = (before.problem.value()?, row.problem.value()?);
    let fits = from.dst_dims() == to.src_dims() && from.dtypes.dst == to.dtypes.src;
    (fits && before.count == row.count).then_some(before)
}

/// The layer in the smaller type of this record in which it was fastest.
fn smaller_type(rows: &[Row], row: &Row) -> Option<Advice> {
    let size = row.dt.value()?.size();
    let others = rows.iter().filter(|other| {
        let same = (&other.network, &other.layer, other.threads)
            == (&row.network, &row.layer, row.threads);
        let smaller = other.dt.value().is_some_and(|dt| dt.size() < size);
        same && smaller && other.best && !other.few_samples() && other.problem != row.problem
    });
    let other = others.min_by(|a, b| a.ci_high_ns.total_cmp(&b.ci_high_ns))?;
    let each = row.ci_low_ns - other.ci_high_ns;
    (each > 0.0).then(|| Advice {
        layer: row.layer.clone(),
        kind: Kind::Type,
        saved_ns: row.count as f64 * each,
        says: format!("{} in place of {}.", other.dt, row.dt),
        evidence: format!(
            "{} measured in {} by {}, {} in {}{}.",
            time(other.median_ns),
            other.dt,
            other.variant,
            time(row.median_ns),
            row.dt,
            occurrences(row.count)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{in_two_types, sample};
    use crate::report::{rows, totals};

    /// Nine equal samples of a measurement, so that every interval is a point.
    fn steady(m: &mut Measurement, ns: f64) {
        m.samples_ns = vec![ns; 9];
        m.rounds = (0..9).collect();
        m.peak_gflops = vec![m.peak_gflops[0]; 9];
    }

    /// Advice of a kind on the first series.
    fn of(run: &Run, kind: Kind) -> Vec<Advice> {
        let rows = rows(run);
        let total = &totals(run, &rows)[0];
        let mut found = advice(run, &rows, total);
        found.retain(|advice| advice.kind == kind);
        found
    }

    fn steady_sample() -> Run {
        let mut run = sample();
        run.measurements[0].ablation = None;
        steady(&mut run.measurements[0], 2.0e6);
        run
    }

    #[test]
    fn a_layer_at_its_roof_saves_the_rest_of_its_time() {
        let mut run = steady_sample();
        // 118 GFLOP/s would take 1.5 ms.
        run.measurements[0].flops_executed = 177_000_000;
        let found = of(&run, Kind::Roof);
        let [one] = &found[..] else {
            panic!("{found:?}");
        };
        assert!((one.saved_ns - 3.0 * 0.5e6).abs() < 1.0, "{one:?}");
        assert_eq!(
            one.says,
            "A kernel that reaches the FMA peak of 118 GFLOP/s."
        );
        assert_eq!(
            one.evidence,
            "2.00 ms measured, 1.50 ms at the roof: 75 % of it is reached, 3 times in the network."
        );
    }

    #[test]
    fn few_samples_give_no_advice() {
        let mut run = steady_sample();
        run.measurements[0].flops_executed = 177_000_000;
        run.measurements[0].samples_ns.truncate(4);
        assert!(of(&run, Kind::Roof).is_empty());
    }

    #[test]
    fn a_faster_peer_saves_by_the_ratio_of_common_rounds() {
        let mut run = steady_sample();
        let mut peer = run.measurements[0].clone();
        peer.variant = "peer-onednn-any/auto/st".into();
        steady(&mut peer, 1.6e6);
        run.measurements.push(peer);
        let found = of(&run, Kind::Algorithm);
        let [one] = &found[..] else {
            panic!("{found:?}");
        };
        // 3 x 2 ms x (1 - 0.8)
        assert!((one.saved_ns - 1.2e6).abs() < 1.0, "{one:?}");
        assert!(
            one.evidence
                .starts_with("0.80 of the time in 9 common rounds"),
            "{one:?}"
        );
        // Without common rounds nothing is known.
        let peer = run.measurements.last_mut().expect("the peer");
        peer.rounds = (9..18).collect();
        assert!(of(&run, Kind::Algorithm).is_empty());
        // An inexact peer computes something else.
        let peer = run.measurements.last_mut().expect("the peer");
        (peer.rounds, peer.error_max) = ((0..9).collect(), 1e-2);
        assert!(of(&run, Kind::Algorithm).is_empty());
    }

    /// The sample's layer, which L3 bounds, after one that writes its input.
    fn two_layers() -> Run {
        let mut run = steady_sample();
        let m = &mut run.measurements[0];
        m.flops_executed /= 8;
        m.phases.clear();
        (m.bytes_read, m.bytes_written) = (90_000_000, 0);
        m.working_set_bytes = 8 << 20;
        let mut first = m.clone();
        first.problem = "mb1ic32ih56oc64oh56kh1ph0".into();
        run.layers.insert(
            0,
            LayerRef {
                layer: "first".into(),
                problem: first.problem.clone(),
                ..run.layers[0].clone()
            },
        );
        run.measurements.push(first);
        run
    }

    #[test]
    fn a_fused_layer_saves_the_read_of_its_input() {
        let run = two_layers();
        let found = of(&run, Kind::Fusion);
        let [one] = &found[..] else {
            panic!("{found:?}");
        };
        // 64 x 56 x 56 floats at 50 GB/s, three times.
        let each = 802_816.0 / 50.0;
        assert!((one.saved_ns - 3.0 * each).abs() < 1e-6, "{one:?}");
        assert_eq!(one.layer, "conv2_x.3x3");
        assert!(one.evidence.contains("784 KiB of input"), "{one:?}");
        // The layer before must write what this one reads, as often.
        let mut unlike = run.clone();
        unlike.layers[0].count = 1;
        assert!(of(&unlike, Kind::Fusion).is_empty());
        let mut unlike = run;
        let problem = "mb1ic32ih56oc32oh56kh1ph0";
        unlike.layers[0].problem = problem.into();
        unlike.measurements[1].problem = problem.into();
        assert!(of(&unlike, Kind::Fusion).is_empty());
    }

    #[test]
    fn a_smaller_type_saves_what_was_measured() {
        let mut run = in_two_types();
        steady(&mut run.measurements[0], 2.0e6);
        steady(&mut run.measurements[1], 0.5e6);
        let found = of(&run, Kind::Type);
        let [one] = &found[..] else {
            panic!("{found:?}");
        };
        assert!((one.saved_ns - 4.5e6).abs() < 1.0, "{one:?}");
        assert_eq!(one.says, "u8 in place of f32.");
        run.measurements.pop();
        assert!(of(&run, Kind::Type).is_empty());
    }

    #[test]
    fn the_most_saved_time_comes_first() {
        let mut run = in_two_types();
        run.measurements[0].flops_executed = 177_000_000;
        steady(&mut run.measurements[0], 2.0e6);
        steady(&mut run.measurements[1], 0.5e6);
        let rows = rows(&run);
        let kinds = advice(&run, &rows, &totals(&run, &rows)[0]);
        let kinds: Vec<Kind> = kinds.iter().map(|a| a.kind).collect();
        assert_eq!(kinds, [Kind::Type, Kind::Roof]);
    }
}
