//! Rows of a report: one for each layer, variant and number of threads.

use crate::counters;
use crate::measure::fastest::{Fastest, Timed, fastest};
use crate::record::{
    CacheState, CandidateId, InputError, IsaName, LayerRef, Measurement, Run, Text, arithmetic,
};
use crate::roofline::phases::{PlacedPhase, place_phases};
use crate::roofline::{BEYOND, Ceilings, Placed, Verdict, place};
use crate::stats::{FEW, Summary};
use crate::units::{peak, plural, rate};
use crate::verdict::{self, Case, Finding, Witness};
use convroof_kernels::Problem;
use convroof_kernels::dtype::DType;
use convroof_kernels::probe::Arithmetic;
use serde::Serialize;
use std::collections::BTreeMap;

/// A row: one layer by one variant. Times are in nanoseconds, rates in 10^9 per second. Later versions keep the keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The network, or `custom`.
    pub network: String,
    /// Element type in which the network was requested.
    pub dt: Text<DType>,
    /// The layer.
    pub layer: String,
    /// `conv`, `pool` or `fc`.
    pub kind: String,
    /// Number of occurrences in the network.
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
    /// Number of samples.
    pub samples: usize,
    /// Median time of a run.
    pub median_ns: f64,
    /// Best time of a run.
    pub min_ns: f64,
    /// Lower end of the median's 95 % confidence interval.
    pub ci_low_ns: f64,
    /// Upper end of the median's 95 % confidence interval.
    pub ci_high_ns: f64,
    /// True if that interval is wider than 10 % of the median.
    pub scattered: bool,
    /// Rate of nominal operations, those of the definition.
    pub gflops_nominal: f64,
    /// Rate of executed operations.
    pub gflops_executed: f64,
    /// Peak of the same rounds in the layer's arithmetic.
    pub peak_gflops: f64,
    /// `gflops_nominal / peak_gflops`: above 1 where an algorithm needs fewer operations.
    pub fraction_of_peak: f64,
    /// Attained fraction of the roof that bounds it.
    pub roof_fraction: Option<f64>,
    /// Executed flops per compulsory byte.
    pub intensity: f64,
    /// Nominal flops per compulsory byte.
    pub intensity_nominal: f64,
    /// Compulsory bytes.
    pub bytes_compulsory: u64,
    /// Compulsory bytes per second.
    pub bandwidth_gbps: f64,
    /// L2 norm of the error over that of the reference.
    pub error_l2: f64,
    /// max |error| / max |reference|.
    pub error_max: f64,
    /// Errors on inputs of other distributions, for an algorithm whose error depends on them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors_by_input: Vec<InputError>,
    /// True if the timed output was compared with the reference and is within the tolerance.
    pub verified: bool,
    /// True for the layer's best variant on these threads with warm caches: chosen among those that can't be told from the
    /// fastest. Peer libraries take no part.
    pub best: bool,
    /// True if it can't be told from the fastest, the best variant included.
    pub tied: bool,
    /// Times of the phases and their places under the roofs; empty for an algorithm with one phase.
    pub phases: Vec<PlacedPhase>,
    /// Bytes by the CPU's counters, from the level that the traffic came from; none without such counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_measured: Option<f64>,
    /// Time that the model predicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_ns: Option<f64>,
    /// True if it is faster than a measured ceiling permits, by more than noise: the ceiling is wrong.
    pub beyond: bool,
    /// The resource that bounds it.
    pub verdict: Verdict,
    /// Confidence of the verdict: votes for it / (all votes + 1).
    pub confidence: f64,
    /// True if a witness votes against the verdict.
    pub disputed: bool,
    /// Votes of the witnesses, with their figures.
    pub witnesses: Vec<Witness>,
    /// Reason for the verdict, a sentence.
    pub reason: String,
}

impl Row {
    /// Smallest number of samples for a useful median.
    pub const FEW: usize = FEW;

    /// True if the row has fewer samples than [`Row::FEW`].
    pub fn few_samples(&self) -> bool {
        self.samples < Self::FEW
    }

    /// Marks behind its time, which [`legend`](super::legend) explains: `*` for few samples, `~` for scattered ones.
    pub fn marks(&self) -> &'static str {
        match (self.few_samples(), self.scattered) {
            (true, true) => "*~",
            (true, false) => "*",
            (false, true) => "~",
            (false, false) => "",
        }
    }

    /// Counted bytes over compulsory ones; none without counters.
    pub fn moved(&self) -> Option<f64> {
        Some(self.bytes_measured? / self.bytes_compulsory as f64)
    }

    /// An error: the kernel is faster than a measured ceiling permits, by more than noise. None if it isn't.
    pub fn impossible(&self) -> Option<String> {
        let known = self.is_warm() && !self.is_peer() && !self.few_samples();
        let what = format!("{} on {}/{}", self.variant, self.network, self.layer);
        if !known || !self.beyond {
            None
        } else if self.gflops_executed > BEYOND * self.peak_gflops {
            let arithmetic = self.arithmetic();
            Some(format!(
                "{what} executes {:.0} {}, more than the {} of {:.0} measured beside it",
                self.gflops_executed,
                rate(arithmetic),
                peak(arithmetic),
                self.peak_gflops
            ))
        } else {
            Some(format!(
                "{what} moves {:.0} GB/s, more than any level's measured bandwidth",
                self.bandwidth_gbps
            ))
        }
    }

    /// The network, type and threads that it belongs to.
    pub fn series(&self) -> Series<'_> {
        Series {
            network: &self.network,
            dt: &self.dt,
            threads: self.threads,
        }
    }

    /// True for a row of the same layer in the same series.
    pub fn is_beside(&self, other: &Row) -> bool {
        self.series() == other.series() && self.layer == other.layer
    }

    /// Arithmetic of the layer.
    pub fn arithmetic(&self) -> Arithmetic {
        arithmetic(&self.problem)
    }

    /// True if it was measured with warm caches.
    pub fn is_warm(&self) -> bool {
        self.cache.is(&CacheState::Warm)
    }

    /// True for another library.
    pub fn is_peer(&self) -> bool {
        self.variant.is_peer()
    }

    /// True if it was also measured with its twins.
    fn examined(&self) -> bool {
        self.witnesses.iter().any(|w| w.witness == "ablation")
    }

    /// Its times, to be compared with those of other rows.
    pub fn timed(&self) -> Timed {
        Timed {
            id: self.variant.clone(),
            samples: self.samples,
            examined: self.examined(),
            time: Summary {
                median: self.median_ns,
                min: self.min_ns,
                max: self.ci_high_ns,
                ci: (self.ci_low_ns, self.ci_high_ns),
            },
        }
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
            dt: layer.dt.clone(),
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
            scattered: placed.time.is_scattered(),
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
            best: false,
            tied: false,
            phases: phases.clone(),
            bytes_measured: counters::traffic(&m.counters).map(|t| t.bytes),
            predicted_ns: placed.predicted_ns,
            beyond: placed.judgement.as_ref().is_some_and(|j| j.beyond),
            verdict: finding.verdict,
            confidence: finding.confidence,
            disputed: finding.disputed,
            witnesses: finding.witnesses.clone(),
            reason: finding.reason.clone(),
        }
    }
}

/// A measurement with its verdict.
struct Found<'a> {
    m: &'a Measurement,
    placed: Placed,
    finding: Finding,
    phases: Vec<PlacedPhase>,
}

/// All rows in the order of the layers. Rows of one layer are sorted by threads, then by time.
pub fn rows(run: &Run) -> Vec<Row> {
    let ceilings_of = |m: &Measurement| Ceilings::of_measurement(run, m);
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
    mark_best(&mut rows);
    rows
}

/// Marks the best variant of each layer and number of threads, and all that can't be told from the fastest.
fn mark_best(rows: &mut [Row]) {
    let mut groups: BTreeMap<(Series<'_>, &str), Vec<usize>> = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        if row.is_warm() && !row.is_peer() {
            let key = (row.series(), row.layer.as_str());
            groups.entry(key).or_default().push(i);
        }
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    for group in groups {
        let timed: Vec<Timed> = group.iter().map(|&i| rows[i].timed()).collect();
        let Some(Fastest { chosen, tied }) = fastest(&timed) else {
            continue;
        };
        rows[group[chosen]].best = true;
        tied.into_iter().for_each(|i| rows[group[i]].tied = true);
    }
}

/// A network in one element type on one number of threads: the subject of a table, a picture and a conclusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series<'a> {
    /// The network.
    pub network: &'a str,
    /// Element type in which it was requested.
    pub dt: &'a Text<DType>,
    /// Threads.
    pub threads: usize,
}

impl Series<'_> {
    /// Its place in a page: `resnet50-2`, `resnet50-u8-2`.
    pub fn id(&self) -> String {
        let Series {
            network,
            dt,
            threads,
        } = self;
        match dt.is(&DType::F32) {
            true => format!("{network}-{threads}"),
            false => format!("{network}-{dt}-{threads}"),
        }
    }

    /// Network and type in a text: `resnet50`, `resnet50 in u8`.
    pub fn subject(&self) -> String {
        let Series { network, dt, .. } = self;
        match dt.is(&DType::F32) {
            true => network.to_string(),
            false => format!("{network} in {dt}"),
        }
    }
}

/// Our best row of each layer of a series, in the order of the layers.
pub fn best_rows<'a>(rows: &'a [Row], series: Series<'_>) -> Vec<&'a Row> {
    let wanted = |r: &&Row| r.best && r.series() == series;
    rows.iter().filter(wanted).collect()
}

/// The rows that can't be told from the best one of their layer.
pub fn ties<'a>(rows: &'a [Row], best: &Row) -> Vec<&'a Row> {
    let wanted = |r: &&Row| r.tied && !r.best && r.is_beside(best);
    rows.iter().filter(wanted).collect()
}

/// Sum of a network's layers with their multiplicities, each by its best variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkTotal {
    /// The network.
    pub network: String,
    /// Element type in which it was requested.
    pub dt: Text<DType>,
    /// Threads.
    pub threads: usize,
    /// Number of measured layers, and of all layers.
    pub layers: (usize, usize),
    /// Time of all measured layers.
    pub time_ns: f64,
    /// Nominal 10^9 operations per second.
    pub gflops_nominal: f64,
    /// Fraction of the time under each verdict, largest first.
    pub shares: Vec<(Verdict, f64)>,
}

impl NetworkTotal {
    /// The network with its type and threads.
    pub fn series(&self) -> Series<'_> {
        Series {
            network: &self.network,
            dt: &self.dt,
            threads: self.threads,
        }
    }

    /// Unit of its rate.
    pub fn rate_unit(&self) -> &'static str {
        rate(
            self.dt
                .value()
                .map_or(Arithmetic::F32, |&dt| Arithmetic::of(dt)),
        )
    }

    /// True if every layer was measured. Otherwise the sum is not the network's time.
    pub fn whole(&self) -> bool {
        self.layers.0 == self.layers.1
    }

    /// Text in place of the sum of an incomplete network.
    pub fn no_sum(&self) -> String {
        let (measured, all) = self.layers;
        format!(
            "{measured} of {} measured: there is no sum",
            plural(all, "layer")
        )
    }
}

/// The totals of every network, in each of its types on each number of threads.
pub fn totals(run: &Run, rows: &[Row]) -> Vec<NetworkTotal> {
    let mut networks: Vec<(&str, &Text<DType>)> = Vec::new();
    for layer in &run.layers {
        let network = (layer.network.as_str(), &layer.dt);
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    let mut totals = Vec::new();
    for (network, dt) in networks {
        for &threads in &run.conditions.threads {
            let series = Series {
                network,
                dt,
                threads,
            };
            let best = best_rows(rows, series);
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
            let own = |l: &&LayerRef| (l.network.as_str(), &l.dt) == (network, dt);
            let all = run.layers.iter().filter(own).count();
            totals.push(NetworkTotal {
                network: network.into(),
                dt: dt.clone(),
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
    use crate::record::tests::{in_two_types, sample};

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
            "scattered",
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
        let best = best_rows(&rows, rows[0].series());
        assert_eq!(best[0].variant, "direct/avx2/st");
    }

    #[test]
    fn a_layer_has_a_best_row_in_each_type() {
        let run = in_two_types();
        let rows = rows(&run);
        assert_eq!(rows.len(), 2);
        let [f32s, int8] = [0, 1].map(|i| &rows[i]);
        assert!(f32s.best && int8.best && !f32s.is_beside(int8));
        assert_eq!(
            [f32s, int8].map(|r| r.series().subject()),
            ["resnet50", "resnet50 in u8"]
        );
        // As much of its own peak, which is twice that of f32.
        assert!((int8.peak_gflops - 236.0).abs() < 1e-9);
        let [of_f32, of_int8] = [f32s, int8].map(|r| r.roof_fraction.expect("a roof"));
        assert!((of_f32 - of_int8).abs() < 0.01, "{of_f32} {of_int8}");
        assert!(int8.witnesses[0].says.contains("(236 GOP/s)"), "{int8:?}");
        let totals = totals(&run, &rows);
        let layers: Vec<_> = totals.iter().map(|t| (t.layers, t.rate_unit())).collect();
        assert_eq!(layers, [((1, 1), "GFLOP/s"), ((1, 1), "GOP/s")]);
    }

    #[test]
    fn a_kernel_beyond_its_peak_is_told_with_its_unit() {
        let mut run = in_two_types();
        let m = &mut run.measurements[1];
        m.samples_ns = vec![1e5; 9];
        let why = rows(&run)[1].impossible().expect("too fast");
        assert!(
            why.contains(" GOP/s, more than the int8 peak of 236 measured beside it"),
            "{why}"
        );
    }
}
