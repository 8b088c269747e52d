//! History of runs over time.
//!
//! Each run adds a line to the history of its machine, with a cost for each layer and variant. The cost is time x peak
//! of the layer's type in the same rounds, so the clock of the day cancels. Two kinds of change are detected:
//!
//! * *steps*: change points by E-divisive with a permutation test ([`crate::stats::steps`]);
//! * *creep*: the newest runs against two baselines. The first runs are a fixed baseline, which reveals a slow decay.
//!   The runs just before the newest ones are a rolling one, which alone would follow a decay.
//!
//! In reading order: this file, `file.rs` (histories on disk), [`page`] (a history as HTML), [`session`] (both).

mod file;
pub mod page;
pub mod session;

pub use file::{Doubt, History, HistoryError, add, read};

use crate::record::{LayerRef, Run, Text};
use crate::stats::{median, steps::steps};
use convroof_kernels::Problem;
use convroof_kernels::dtype::DType;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Kind of a line.
pub const KIND: &str = "convroof-history";

/// Version of the lines that this program writes, and the newest that it reads.
pub const SCHEMA: u32 = 1;

/// Number of runs in a baseline, and number of newest runs that are compared with it.
const BASELINE: usize = 5;
const NEWEST: usize = 3;

/// Least relative change against a baseline that is reported.
pub const CREEP: f64 = 0.03;

/// One run: a line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// `convroof-history`.
    pub kind: String,
    /// Version of the line.
    pub schema: u32,
    /// Start of the run, RFC 3339, UTC.
    pub started: String,
    /// Id of the machine.
    #[serde(deserialize_with = "crate::files::id")]
    pub fingerprint: String,
    /// Revision that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// True if the sources had uncommitted changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
    /// The compiler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rustc: Option<String>,
    /// True if the run was interrupted, so that layers are missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Measurements of the run.
    pub points: Vec<Observation>,
}

/// One variant on one problem in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Key of the series.
    #[serde(flatten)]
    pub key: Key,
    /// The first network and layer that has the problem.
    pub layer: String,
    /// Median time of a run, ns.
    pub median_ns: f64,
    /// Median of time x peak of the same round: operations that the peak would have done in that time.
    pub cost: f64,
}

/// Key of a series. Its parts are texts: they are only compared and shown, and a history may have very many of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Threads.
    pub threads: usize,
    /// The problem's text form.
    pub problem: String,
    /// `<algorithm>/<isa>/<st|mt>`.
    pub variant: String,
    /// State of the caches.
    pub cache: String,
}

impl Entry {
    /// A line for a record. Measurements without peaks are skipped, since bare times of different days aren't
    /// comparable.
    pub fn of(run: &Run) -> Entry {
        let mut layers: HashMap<&str, &LayerRef> = HashMap::new();
        for layer in &run.layers {
            layers.entry(&layer.problem).or_insert(layer);
        }
        let mut points = Vec::new();
        for m in &run.measurements {
            let costs = m.samples_ns.iter().zip(&m.peak_gflops).map(|(t, p)| t * p);
            let costs: Vec<f64> = costs.collect();
            let (Some(median_ns), Some(cost)) = (median(&m.samples_ns), median(&costs)) else {
                continue;
            };
            // NaN and infinity don't exist in JSON and would damage the line.
            if !(median_ns.is_finite() && cost.is_finite()) {
                continue;
            }
            let layer = layers.get(m.problem.as_str());
            points.push(Observation {
                key: Key {
                    threads: m.threads,
                    problem: m.problem.to_string(),
                    variant: m.variant.to_string(),
                    cache: m.cache.to_string(),
                },
                layer: layer.map_or(m.problem.to_string(), |l| title(l, &m.problem)),
                median_ns,
                cost: cost.round(),
            });
        }
        Entry {
            kind: KIND.into(),
            schema: SCHEMA,
            started: run.started.clone(),
            fingerprint: run.fingerprint.id.clone(),
            revision: run.tool.git_revision.clone(),
            dirty: run.tool.git_dirty,
            rustc: run.tool.rustc.clone(),
            interrupted: !run.complete,
            points,
        }
    }
}

/// Name of a layer in a history, with the element type of its problem if that isn't f32.
fn title(layer: &LayerRef, problem: &Text<Problem>) -> String {
    let LayerRef {
        network,
        layer: name,
        ..
    } = layer;
    match problem.value().map(|p| p.dtypes.src) {
        _ if network == "custom" => name.clone(),
        None | Some(DType::F32) => format!("{network}/{name}"),
        Some(dtype) => format!("{network}/{name} in {dtype}"),
    }
}

impl Entry {
    /// True if both are of one run. Another run of the same second has other costs, and a resumed run has more.
    fn is_of_run(&self, other: &Entry) -> bool {
        if self.started != other.started {
            return false;
        }
        let costs: HashMap<&Key, f64> = self.points.iter().map(|p| (&p.key, p.cost)).collect();
        let same = |p: &Observation| costs.get(&p.key) == Some(&p.cost);
        costs.is_empty() || other.points.iter().any(same)
    }
}

/// One variant on one problem over all runs that have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Key of the series.
    #[serde(flatten)]
    pub key: Key,
    /// Layer of the problem.
    pub layer: String,
    /// Index of the run and cost of each point.
    #[serde(skip)]
    pub points: Vec<(usize, f64)>,
    /// Number of runs.
    pub runs: usize,
    /// Changes of level.
    pub steps: Vec<ChangePoint>,
    /// Newest runs / first runs: above 1, it became slower. None for a short series.
    pub fixed: Option<f64>,
    /// Newest runs / runs just before them.
    pub rolling: Option<f64>,
    /// Median time in the newest run, ns.
    pub newest_ns: f64,
}

/// A change of level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangePoint {
    /// First run of the new level, from 0.
    pub run: usize,
    /// Start of that run.
    pub started: String,
    /// Revision of that run.
    pub revision: Option<String>,
    /// New level / old level: above 1, it became slower.
    pub ratio: f64,
}

impl Series {
    /// True if it became slower than the runs of either baseline.
    pub fn slower(&self) -> bool {
        let over = |ratio: Option<f64>| ratio.is_some_and(|r| r > 1.0 + CREEP);
        over(self.fixed) || over(self.rolling)
    }
}

/// All series of some runs, in order of time, sorted by threads and problem.
pub fn series(entries: &[Entry]) -> Vec<Series> {
    let mut all: BTreeMap<&Key, Series> = BTreeMap::new();
    for (run, entry) in entries.iter().enumerate() {
        for point in entry
            .points
            .iter()
            .filter(|p| p.cost > 0.0 && p.cost.is_finite())
        {
            let series = all.entry(&point.key).or_insert_with(|| Series {
                key: point.key.clone(),
                layer: point.layer.clone(),
                points: Vec::new(),
                runs: 0,
                steps: Vec::new(),
                fixed: None,
                rolling: None,
                newest_ns: 0.0,
            });
            series.points.push((run, point.cost));
            series.newest_ns = point.median_ns;
        }
    }
    let mut all: Vec<Series> = all.into_values().collect();
    all.par_iter_mut().for_each(|series| {
        let costs: Vec<f64> = series.points.iter().map(|(_, cost)| *cost).collect();
        let level = |of: &[f64]| median(of).unwrap_or(f64::NAN);
        let n = costs.len();
        series.runs = n;
        if n >= BASELINE + NEWEST {
            let newest = level(&costs[n - NEWEST..]);
            series.fixed = Some(newest / level(&costs[..BASELINE]));
            series.rolling = Some(newest / level(&costs[n - NEWEST - BASELINE..n - NEWEST]));
        }
        let logs: Vec<f64> = costs.iter().map(|c| c.ln()).collect();
        let found = steps(&logs);
        for (i, &at) in found.iter().enumerate() {
            let from = if i == 0 { 0 } else { found[i - 1] };
            let to = found.get(i + 1).copied().unwrap_or(n);
            let run = series.points[at].0;
            series.steps.push(ChangePoint {
                run,
                started: entries[run].started.clone(),
                revision: entries[run].revision.clone(),
                ratio: level(&costs[at..to]) / level(&costs[from..at]),
            });
        }
    });
    all
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::tests::{in_two_types, sample};
    use convroof_kernels::data::Rng;

    /// Runs whose cost is scaled by `of(run)` and scatters by 1 %.
    pub(crate) fn history(runs: usize, of: impl Fn(usize) -> f64) -> Vec<Entry> {
        let mut rng = Rng::new(1);
        let entry = |run| {
            let mut entry = Entry::of(&sample());
            entry.started = format!("2026-11-{:02}T00:00:00Z", 1 + run);
            let scatter = 1.0 + 0.01 * (rng.below(1000) as f64 / 500.0 - 1.0);
            entry.points[0].cost *= of(run) * scatter;
            entry
        };
        (0..runs).map(entry).collect()
    }

    #[test]
    fn a_step_is_dated_and_measured() {
        let runs = history(24, |run| if run < 14 { 1.0 } else { 1.06 });
        let series = &series(&runs)[0];
        assert_eq!(series.steps.len(), 1, "{series:?}");
        assert_eq!(
            (series.steps[0].run, &series.steps[0].started),
            (14, &runs[14].started)
        );
        assert!((series.steps[0].ratio - 1.06).abs() < 0.01);
        // The rolling baseline has followed the change, the fixed one hasn't.
        assert!(series.fixed > Some(1.04) && series.rolling < Some(1.02));
        assert!(series.slower());
    }

    #[test]
    fn each_type_of_a_layer_has_a_series_with_its_name() {
        let entry = Entry::of(&in_two_types());
        let layers: Vec<&str> = entry.points.iter().map(|p| p.layer.as_str()).collect();
        let f32s = "resnet50/conv2_x.3x3";
        assert_eq!(layers, [f32s, &format!("{f32s} in u8")]);
        assert_ne!(entry.points[0].key, entry.points[1].key);
        // Half of the time at twice the peak.
        let ratio = entry.points[0].cost / entry.points[1].cost;
        assert!((ratio - 1.0).abs() < 0.01, "{ratio}");
    }

    #[test]
    fn creep_is_seen_by_the_fixed_baseline() {
        let series = &series(&history(28, |run| 1.004f64.powi(run as i32)))[0];
        assert!(series.fixed > Some(1.06) && series.rolling < Some(1.0 + CREEP));
        assert!(series.slower());
    }

    #[test]
    fn a_level_series_and_a_short_one_are_silent() {
        let level = &series(&history(30, |_| 1.0))[0];
        assert!(level.steps.is_empty() && !level.slower(), "{level:?}");
        let short = &series(&history(3, |run| 1.0 + run as f64))[0];
        assert_eq!(
            (short.fixed, short.steps.len(), short.slower()),
            (None, 0, false)
        );
    }

    #[test]
    fn a_long_history_takes_no_longer_a_run() {
        // 5,000 runs of 4 kernels, each with a step. Quadratic time would take minutes.
        let mut runs = history(5000, |_| 1.0);
        let mut rng = Rng::new(2);
        for (run, entry) in runs.iter_mut().enumerate() {
            entry.started = format!("run {run:04}");
            let point = entry.points[0].clone();
            entry.points = (0..4)
                .map(|threads| {
                    let mut own = point.clone();
                    own.key.threads = 1 + threads;
                    own.cost *= 1.0 + 0.01 * rng.below(1000) as f64 / 1000.0;
                    own.cost *= if run < 3500 { 1.0 } else { 1.1 };
                    own
                })
                .collect();
        }
        let start = std::time::Instant::now();
        let all = series(&runs);
        let html = page::page(&runs, &all, &[]);
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
        for series in &all {
            let steps: Vec<usize> = series.steps.iter().map(|s| s.run).collect();
            assert_eq!(steps, [3500]);
        }
        assert_eq!(html.matches("class=\"spark\"").count(), 4);
    }

    #[test]
    fn a_run_is_known_by_its_time_and_figures() {
        let run = Entry::of(&sample());
        assert!(run.is_of_run(&run));
        let mut resumed = run.clone();
        resumed.points.push(run.points[0].clone());
        resumed.points[1].key.threads = 2;
        assert!(run.is_of_run(&resumed) && resumed.is_of_run(&run));
        let mut other = run.clone();
        other.points[0].cost += 1.0;
        assert!(!run.is_of_run(&other), "another run of the same second");
        other = run.clone();
        other.started = "2026-11-23T20:00:01Z".into();
        assert!(!run.is_of_run(&other));
    }

    #[test]
    fn a_figure_that_overflows_is_left_out() {
        let mut run = sample();
        let mut other = run.measurements[0].clone();
        other.variant = "im2col/avx2/st".into();
        run.measurements[0].samples_ns = vec![1e300; 3];
        run.measurements[0].peak_gflops = vec![1e300; 3];
        run.measurements.push(other);
        let entry = Entry::of(&run);
        assert_eq!(entry.points.len(), 1);
        let line = serde_json::to_string(&entry).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Entry>(&line).expect("an entry"),
            entry
        );
    }

    #[test]
    fn a_slower_clock_is_not_a_step() {
        let mut run = sample();
        let before = Entry::of(&run).points[0].cost;
        for m in &mut run.measurements {
            m.samples_ns.iter_mut().for_each(|t| *t *= 1.25);
            m.peak_gflops.iter_mut().for_each(|p| *p /= 1.25);
        }
        assert!((Entry::of(&run).points[0].cost - before).abs() < 1.0 + 1e-6 * before);
    }
}
