//! Results in the formats of services that track benchmarks: best times of all layers, and times of whole networks.

use super::{Row, totals};
use crate::record::Run;
use serde::Serialize;
use std::collections::BTreeMap;

/// A tracked time, ns.
struct Tracked {
    /// `resnet50-2/conv1`, or `resnet50-2` for the whole network.
    name: String,
    value: f64,
    /// Its 95 % interval; none for a sum.
    ci: Option<(f64, f64)>,
    /// The variant and the bound; empty for a sum.
    extra: String,
}

/// Layers by their best variants, then networks of which every layer was measured.
fn tracked(run: &Run, rows: &[Row]) -> Vec<Tracked> {
    let best = rows.iter().filter(|row| row.best);
    let layers = best.map(|row| Tracked {
        name: format!("{}/{}", row.series().id(), row.layer),
        value: row.median_ns,
        ci: Some((row.ci_low_ns, row.ci_high_ns)),
        extra: format!("{}, {}", row.variant, row.verdict.label()),
    });
    let totals = totals(run, rows).into_iter().filter(|total| total.whole());
    let networks = totals.map(|total| Tracked {
        name: total.series().id(),
        value: total.time_ns,
        ci: None,
        extra: String::new(),
    });
    layers.chain(networks).collect()
}

/// Measures of a benchmark in the Bencher Metric Format.
#[derive(Serialize)]
pub struct Measures {
    latency: Metric,
}

/// A value with its bounds in the Bencher Metric Format.
#[derive(Serialize)]
struct Metric {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_value: Option<f64>,
}

/// Times in the Bencher Metric Format. Its measure `latency` is in nanoseconds.
pub fn bencher(run: &Run, rows: &[Row]) -> BTreeMap<String, Measures> {
    let metric = |t: &Tracked| Metric {
        value: t.value,
        lower_value: t.ci.map(|ci| ci.0),
        upper_value: t.ci.map(|ci| ci.1),
    };
    let tracked = tracked(run, rows).into_iter();
    tracked
        .map(|t| {
            let latency = metric(&t);
            (t.name, Measures { latency })
        })
        .collect()
}

/// A benchmark of github-action-benchmark.
#[derive(Serialize)]
pub struct Benchmark {
    name: String,
    unit: &'static str,
    value: f64,
    /// Half of the interval's width.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    extra: String,
}

/// Times for github-action-benchmark's tool `customSmallerIsBetter`.
pub fn smaller_is_better(run: &Run, rows: &[Row]) -> Vec<Benchmark> {
    let tracked = tracked(run, rows).into_iter();
    tracked
        .map(|t| Benchmark {
            name: t.name,
            unit: "ns",
            value: t.value,
            range: t
                .ci
                .map(|(low, high)| format!("± {:.0}", (high - low) / 2.0)),
            extra: t.extra,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;
    use serde_json::json;

    #[test]
    fn bencher_has_latencies_in_nanoseconds() {
        let run = sample();
        let found = serde_json::to_value(bencher(&run, &rows(&run))).expect("plain data");
        let expected = json!({
            "resnet50-1": {"latency": {"value": 6.15e6}},
            "resnet50-1/conv2_x.3x3":
                {"latency": {"value": 2.05e6, "lower_value": 2.0e6, "upper_value": 2.1e6}},
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn github_action_benchmark_has_a_list() {
        let run = sample();
        let found = serde_json::to_value(smaller_is_better(&run, &rows(&run))).expect("plain data");
        let expected = json!([
            {"name": "resnet50-1/conv2_x.3x3", "unit": "ns", "value": 2.05e6, "range": "± 50000",
             "extra": "direct/avx2/st, compute bound"},
            {"name": "resnet50-1", "unit": "ns", "value": 6.15e6},
        ]);
        assert_eq!(found, expected);
    }

    #[test]
    fn an_incomplete_network_has_no_sum() {
        let mut run = sample();
        let mut other = run.layers[0].clone();
        (other.layer, other.problem) = ("fc".into(), "mb1ic64ih1oc64oh1kh1ph0".into());
        run.layers.push(other);
        assert_eq!(smaller_is_better(&run, &rows(&run)).len(), 1);
    }
}
