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
    /// The network with its type, threads and conditions, in words. Times of one subject are comparable.
    pub(super) subject: String,
    /// Time of all layers; none if some were not measured.
    pub(super) time_ns: Option<f64>,
    /// Attained fraction of the roof, the mean over the time; none if some layers were not measured.
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
                subject: format!(
                    "{}, {}{}",
                    total.series().subject(),
                    threads(total.threads),
                    conditions(run)
                ),
                time_ns: total.whole().then_some(total.time_ns),
                roof: roof(&best).filter(|_| total.whole()),
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

/// Conditions of a record that change its times: a batch of several images, and a choice of variants.
fn conditions(run: &Run) -> String {
    let mut text = String::new();
    if run.conditions.batch != 1 {
        text += &format!(", batch {}", run.conditions.batch);
    }
    let command = &run.conditions.command;
    let joined = command.iter().find_map(|a| a.strip_prefix("--variant="));
    let apart = command.windows(2).find(|pair| pair[0] == "--variant");
    if let Some(globs) = joined.or(apart.map(|pair| pair[1].as_str())) {
        text += &format!(", variants {globs}");
    }
    text
}

/// A machine as its newest records show it: each subject by the newest record that has all its layers, or else by the
/// newest that has some.
pub(super) fn newest(runs: &[&Node]) -> Option<Node> {
    let mut machine = (*runs.last()?).clone();
    for series in runs.iter().rev().skip(1).flat_map(|run| &run.series) {
        let known = machine.series.iter_mut();
        match known.into_iter().find(|own| own.subject == series.subject) {
            None => machine.series.push(series.clone()),
            Some(own) if own.time_ns.is_none() && series.time_ns.is_some() => *own = series.clone(),
            Some(_) => {}
        }
    }
    Some(machine)
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

    fn node(run: &Run) -> Node {
        Node::new("a.json".into(), "a.html".into(), run, &rows(run))
    }

    #[test]
    fn the_newest_whole_record_of_a_subject_stands_for_its_machine() {
        let old = sample();
        let mut partial = sample();
        partial.layers.push(partial.layers[0].clone());
        partial.layers[1].layer = "other".into();
        partial.layers[1].problem = "mb1ic16ih9oc16oh9kh1ph0".into();
        let mut batch = sample();
        batch.conditions.batch = 8;
        batch.conditions.command = vec!["convroof".into(), "--variant".into(), "direct/*".into()];
        let nodes = [&old, &batch, &partial].map(node);
        assert_eq!(
            (nodes[2].series[0].time_ns, nodes[2].series[0].roof),
            (None, None)
        );
        let machine = newest(&nodes.each_ref()).expect("records");
        let subjects: Vec<&str> = machine.series.iter().map(|s| s.subject.as_str()).collect();
        assert_eq!(subjects[0], nodes[0].series[0].subject);
        assert!(
            subjects[1].ends_with(", batch 8, variants direct/*"),
            "{subjects:?}"
        );
        assert_eq!(subjects.len(), 2);
        assert_eq!(machine.series[0].time_ns, nodes[0].series[0].time_ns);
        assert!(newest(&[]).is_none());
    }

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
