//! A run flattened: one row for each layer, variant and number of threads.

use crate::counters;
use crate::record::{
    CacheState, CandidateId, InputError, IsaName, LayerRef, Measurement, Run, Text,
};
use crate::roofline::phases::{PlacedPhase, place_phases};
use crate::roofline::{BEYOND, Ceilings, Placed, Verdict, place};
use crate::stats::FEW;
use crate::verdict::{self, Case, Finding, Witness};
use convroof_kernels::Problem;
use serde::Serialize;

/// One layer by one variant. The keys are kept by later versions; times in nanoseconds, rates in 10^9
/// a second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The network, or `custom`.
    pub network: String,
    /// The layer.
    pub layer: String,
    /// `conv`, `pool` or `fc`.
    pub kind: String,
    /// How often the network has it.
    pub count: usize,
    /// The problem's text form.
    pub problem: Text<Problem>,
    /// `<algorithm>/<isa>/<st|mt>`.
    pub variant: CandidateId,
    /// Instruction set.
    pub isa: IsaName,
    /// Threads.
    pub threads: usize,
    /// State of the caches.
    pub cache: Text<CacheState>,
    /// How many samples.
    pub samples: usize,
    /// Median time of a run.
    pub median_ns: f64,
    /// Best time of a run.
    pub min_ns: f64,
    /// 95 % confidence interval of the median.
    pub ci_low_ns: f64,
    /// 95 % confidence interval of the median.
    pub ci_high_ns: f64,
    /// By the operations of the definition.
    pub gflops_nominal: f64,
    /// By the operations executed.
    pub gflops_executed: f64,
    /// FMA peak of the same rounds.
    pub peak_gflops: f64,
    /// `gflops_nominal / peak_gflops`: above 1 where an algorithm needs fewer operations.
    pub fraction_of_peak: f64,
    /// What is attained of the roof that bounds it.
    pub roof_fraction: Option<f64>,
    /// Executed flops for each compulsory byte.
    pub intensity: f64,
    /// Nominal flops for each compulsory byte.
    pub intensity_nominal: f64,
    /// Compulsory bytes.
    pub bytes_compulsory: u64,
    /// Compulsory bytes a second.
    pub bandwidth_gbps: f64,
    /// L2 norm of the error over that of the reference.
    pub error_l2: f64,
    /// max |error| / max |reference|.
    pub error_max: f64,
    /// The same on other inputs, of an algorithm whose error depends on them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors_by_input: Vec<InputError>,
    /// Whether the timed output was compared with the reference and found right.
    pub verified: bool,
    /// What each phase of a run takes, and its place under the roofs; empty of an algorithm that has one.
    pub phases: Vec<PlacedPhase>,
    /// Bytes counted by the CPU from the level that the traffic came from; none without such counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_measured: Option<f64>,
    /// What a model says that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_ns: Option<f64>,
    /// What bounds it.
    pub verdict: Verdict,
    /// How sure that is: the votes for the verdict over all votes and one more.
    pub confidence: f64,
    /// Whether a witness says something else.
    pub disputed: bool,
    /// Who says what.
    pub witnesses: Vec<Witness>,
    /// Why, in a sentence.
    pub reason: String,
}

impl Row {
    /// With fewer samples a median says little.
    pub const FEW: usize = FEW;

    /// Whether the row rests on few samples.
    pub fn few_samples(&self) -> bool {
        self.samples < Self::FEW
    }

    /// Bytes that the CPU counted, over the compulsory ones; none where it doesn't count.
    pub fn moved(&self) -> Option<f64> {
        Some(self.bytes_measured? / self.bytes_compulsory as f64)
    }

    /// Whether it executes more than its ceiling by more than noise: then the ceiling is wrong.
    pub fn beats_peak(&self) -> bool {
        !self.is_peer() && !self.few_samples() && self.gflops_executed > BEYOND * self.peak_gflops
    }

    /// Whether it found in the caches what its run before left there.
    pub fn is_warm(&self) -> bool {
        self.cache.is(&CacheState::Warm)
    }

    /// Whether it is somebody else's library.
    pub fn is_peer(&self) -> bool {
        self.variant.is_peer()
    }

    fn new(layer: &LayerRef, found: &Found<'_>) -> Self {
        let Found {
            m,
            placed,
            finding,
            phases,
        } = found;
        Row {
            network: layer.network.clone(),
            layer: layer.layer.clone(),
            kind: layer.kind.clone(),
            count: layer.count,
            problem: m.problem.clone(),
            variant: m.variant.clone(),
            isa: m.variant.isa().clone(),
            threads: m.threads,
            cache: m.cache.clone(),
            samples: m.samples_ns.len(),
            median_ns: placed.time.median,
            min_ns: placed.time.min,
            ci_low_ns: placed.time.ci.0,
            ci_high_ns: placed.time.ci.1,
            gflops_nominal: placed.gflops_nominal,
            gflops_executed: placed.gflops_executed,
            peak_gflops: placed.peak,
            fraction_of_peak: placed.gflops_nominal / placed.peak,
            roof_fraction: Some(placed.roof_fraction).filter(|f| f.is_finite()),
            intensity: placed.intensity,
            intensity_nominal: placed.intensity_nominal,
            bytes_compulsory: placed.bytes,
            bandwidth_gbps: placed.gbps,
            error_l2: m.error_l2,
            error_max: m.error_max,
            errors_by_input: m.errors_by_input.clone(),
            verified: m.verified,
            phases: phases.clone(),
            bytes_measured: counters::traffic(&m.counters).map(|t| t.bytes),
            predicted_ns: placed.predicted_ns,
            verdict: finding.verdict,
            confidence: finding.confidence,
            disputed: finding.disputed,
            witnesses: finding.witnesses.clone(),
            reason: finding.reason.clone(),
        }
    }
}

/// A measurement, judged.
struct Found<'a> {
    m: &'a Measurement,
    placed: Placed,
    finding: Finding,
    phases: Vec<PlacedPhase>,
}

/// Every row, in the order of the layers; a layer's rows by threads, then by time.
pub fn rows(run: &Run) -> Vec<Row> {
    let ceilings_of = |m: &Measurement| {
        let isa = m.variant.isa();
        Ceilings::of(&run.calibration, &run.fingerprint, isa, m.threads)
    };
    let find = |m| {
        let ceilings = ceilings_of(m);
        let placed = place(m, ceilings.as_ref())?;
        let finding = verdict::find(Case {
            m,
            placed: &placed,
            ceilings: ceilings.as_ref(),
            others: &run.measurements,
            ceilings_of: &ceilings_of,
        });
        Some(Found {
            m,
            phases: place_phases(m, placed.peak, ceilings.as_ref()),
            placed,
            finding,
        })
    };
    let mut found: Vec<Found<'_>> = run.measurements.iter().filter_map(find).collect();
    found.sort_by(|a, b| {
        let by_time = || a.placed.time.median.total_cmp(&b.placed.time.median);
        a.m.threads.cmp(&b.m.threads).then_with(by_time)
    });
    let mut rows = Vec::new();
    for layer in &run.layers {
        let own = found.iter().filter(|f| f.m.problem == layer.problem);
        rows.extend(own.map(|f| Row::new(layer, f)));
    }
    rows
}

/// The fastest row of ours of each layer for a number of threads, in the order of the layers. Rows with
/// enough samples go before rows with few.
pub fn best_rows<'a>(rows: &'a [Row], network: &str, threads: usize) -> Vec<&'a Row> {
    best_of(rows, network, threads, |r| !r.is_peer())
}

/// The same among rows of some kind.
pub(super) fn best_of<'a>(
    rows: &'a [Row],
    network: &str,
    threads: usize,
    kind: impl Fn(&Row) -> bool,
) -> Vec<&'a Row> {
    let mut best: Vec<&Row> = Vec::new();
    for row in rows
        .iter()
        .filter(|r| r.network == network && r.threads == threads && r.is_warm() && kind(r))
    {
        match best.iter_mut().find(|b| b.layer == row.layer) {
            None => best.push(row),
            Some(b) => {
                let rank = |r: &Row| (r.few_samples(), r.median_ns);
                if rank(row) < rank(b) {
                    *b = row;
                }
            }
        }
    }
    best
}

/// A network's layers by their best variants, added up with their multiplicities.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkTotal {
    /// The network.
    pub network: String,
    /// Threads.
    pub threads: usize,
    /// Layers measured, and layers there are.
    pub layers: (usize, usize),
    /// Time of all layers that were measured.
    pub time_ns: f64,
    /// Nominal operations a second, 10^9.
    pub gflops_nominal: f64,
    /// Share of the time under each verdict, largest first.
    pub shares: Vec<(Verdict, f64)>,
}

impl NetworkTotal {
    /// True if every layer was measured: else the times of those that were are no network's.
    pub fn whole(&self) -> bool {
        self.layers.0 == self.layers.1
    }

    /// Text in place of the sum of an incomplete network.
    pub fn no_sum(&self) -> String {
        let (measured, all) = self.layers;
        format!("{measured} of {all} layers were measured: there is no sum")
    }
}

/// The totals of every network and number of threads.
pub fn totals(run: &Run, rows: &[Row]) -> Vec<NetworkTotal> {
    let mut networks: Vec<&str> = Vec::new();
    for layer in &run.layers {
        if !networks.contains(&layer.network.as_str()) {
            networks.push(&layer.network);
        }
    }
    let mut totals = Vec::new();
    for network in networks {
        for &threads in &run.conditions.threads {
            let best = best_rows(rows, network, threads);
            if best.is_empty() {
                continue;
            }
            let time = |r: &Row| r.count as f64 * r.median_ns;
            let time_ns: f64 = best.iter().map(|r| time(r)).sum();
            let flops: f64 = best.iter().map(|r| time(r) * r.gflops_nominal).sum();
            let share = |v: Verdict| {
                let own: f64 = best
                    .iter()
                    .filter(|r| r.verdict == v)
                    .map(|r| time(r))
                    .sum();
                (v, own / time_ns)
            };
            let mut shares: Vec<_> = Verdict::ALL
                .into_iter()
                .map(share)
                .filter(|(_, s)| *s > 0.0)
                .collect();
            shares.sort_by(|a, b| b.1.total_cmp(&a.1));
            let all = run.layers.iter().filter(|l| l.network == network).count();
            totals.push(NetworkTotal {
                network: network.into(),
                threads,
                layers: (best.len(), all),
                time_ns,
                gflops_nominal: flops / time_ns,
                shares,
            });
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    #[test]
    fn a_row_has_the_promised_keys() {
        let rows = rows(&sample());
        let json = serde_json::to_value(&rows[0]).expect("JSON");
        for key in [
            "network",
            "layer",
            "problem",
            "variant",
            "threads",
            "cache",
            "samples",
            "median_ns",
            "min_ns",
            "gflops_nominal",
            "gflops_executed",
            "peak_gflops",
            "bytes_compulsory",
            "bandwidth_gbps",
            "error_l2",
            "error_max",
            "verified",
            "verdict",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json["verdict"], "compute");
    }

    #[test]
    fn totals_count_each_layer_as_often_as_it_occurs() {
        let run = sample();
        let totals = totals(&run, &rows(&run));
        assert_eq!(totals.len(), 1);
        assert!((totals[0].time_ns - 3.0 * 2.05e6).abs() < 1.0);
        assert_eq!(totals[0].shares, [(Verdict::Compute, 1.0)]);
    }

    #[test]
    fn few_samples_come_after_enough() {
        let mut run = sample();
        let mut lucky = run.measurements[0].clone();
        run.measurements[0].samples_ns = vec![2e6; 9];
        lucky.variant = "im2col/avx2/st".into();
        lucky.samples_ns = vec![1e6];
        run.measurements.push(lucky);
        let rows = rows(&run);
        assert_eq!(best_rows(&rows, "resnet50", 1)[0].variant, "direct/avx2/st");
    }
}
