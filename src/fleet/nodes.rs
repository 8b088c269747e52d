//! Facts of a record that pages about many records show.

use crate::record::Run;
use crate::report::conclusion::conclusions;
use crate::report::{Row, best_rows, machine_line, noise_line, totals};
use crate::roofline::Verdict;
use crate::units::threads;
use serde::Serialize;
use std::path::PathBuf;

/// A record.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Node {
    /// Its file, relative to the folder.
    pub(super) file: PathBuf,
    /// Address of its report.
    pub(super) link: String,
    /// Id of its machine. Machines of one id should be equally fast.
    pub(super) id: String,
    /// The machine in a line.
    pub(super) title: String,
    pub(super) started: String,
    /// First characters of the revision that measured.
    revision: String,
    noise: String,
    sentences: Vec<String>,
    pub(super) series: Vec<NodeSeries>,
}

/// One network in one element type on one number of threads.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NodeSeries {
    /// The network with its type and threads, in words.
    pub(super) subject: String,
    /// Time of all layers; none if some were not measured.
    pub(super) time_ns: Option<f64>,
    /// Attained fraction of the roof, the mean over the time.
    pub(super) roof: Option<f64>,
    /// Layers with their verdicts.
    pub(super) layers: Vec<(String, Verdict)>,
}

impl Node {
    pub(super) fn new(file: PathBuf, link: String, run: &Run, rows: &[Row]) -> Self {
        let series = totals(run, rows).into_iter().map(|total| {
            let best = best_rows(rows, total.series());
            let verdicts = best.iter().map(|row| (row.layer.clone(), row.verdict));
            NodeSeries {
                subject: format!("{}, {}", total.series().subject(), threads(total.threads)),
                time_ns: total.whole().then_some(total.time_ns),
                roof: roof(&best),
                layers: verdicts.collect(),
            }
        });
        let revision = run.tool.git_revision.iter().flat_map(|r| r.chars());
        Node {
            file,
            link,
            id: run.fingerprint.id.clone(),
            title: machine_line(run),
            started: run.started.clone(),
            revision: revision.take(10).collect(),
            noise: noise_line(run),
            sentences: conclusions(run, rows, str::to_string),
            series: series.collect(),
        }
    }
}

/// Attained fraction of the roof, the mean over the time of the layers with a known roof.
fn roof(best: &[&Row]) -> Option<f64> {
    let known = best.iter().filter_map(|row| {
        let time = row.count as f64 * row.median_ns;
        Some((time, row.roof_fraction?))
    });
    let (time, reached) = known.fold((0.0, 0.0), |(time, reached), (t, fraction)| {
        (time + t, reached + t * fraction)
    });
    (time > 0.0).then_some(reached / time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;

    #[test]
    fn a_roof_is_the_mean_over_the_time() {
        let mut a = rows(&sample()).remove(0);
        (a.count, a.median_ns, a.roof_fraction) = (3, 1e6, Some(0.5));
        let mut b = a.clone();
        (b.count, b.roof_fraction) = (1, Some(0.9));
        let mut c = a.clone();
        c.roof_fraction = None;
        assert_eq!(roof(&[&a, &b, &c]), Some(0.6));
        assert_eq!(roof(&[&c]), None);
    }
}
