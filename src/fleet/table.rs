//! Comparison of machines: networks in fractions of the roof, verdicts that differ, and outliers. Pure.

use super::nodes::{Node, NodeSeries};
use crate::roofline::Verdict;
use crate::stats::{deviation, median};
use crate::units::time;
use serde::Serialize;

/// Fewest records of one machine id among which an outlier can be told.
const FEWEST: usize = 4;

/// Distance of an outlier from the median, in standard deviations by the median absolute deviation.
const FAR: f64 = 3.0;

/// Least difference of an outlier from the median.
const LEAST: f64 = 0.05;

/// The rule for outliers, in a sentence.
pub(super) fn rule() -> String {
    format!(
        "Records of one machine id should be equally fast. An outlier's time differs from the median of at least {FEWEST} records by more than {:.0} %, and by more than {FAR:.0} standard deviations.",
        100.0 * LEAST
    )
}

/// A network on all machines.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Line {
    subject: String,
    cells: Vec<Option<Cell>>,
}

/// A network on a machine.
#[derive(Debug, PartialEq, Serialize)]
struct Cell {
    /// Attained percentage of the roof.
    roof: Option<f64>,
    time: Option<String>,
}

/// Subjects in the order in which the machines have them.
fn subjects<'a>(machines: &[&'a Node]) -> Vec<&'a str> {
    let mut subjects: Vec<&str> = Vec::new();
    for series in machines.iter().flat_map(|m| &m.series) {
        if !subjects.contains(&series.subject.as_str()) {
            subjects.push(&series.subject);
        }
    }
    subjects
}

/// A network of a machine.
fn series<'a>(machine: &'a Node, subject: &str) -> Option<&'a NodeSeries> {
    machine.series.iter().find(|s| s.subject == subject)
}

/// Every network, with a cell for each machine.
pub(super) fn networks(machines: &[&Node]) -> Vec<Line> {
    let subjects = subjects(machines).into_iter();
    let cell = |own: &NodeSeries| Cell {
        roof: own.roof.map(|roof| 100.0 * roof),
        time: own.time_ns.map(time),
    };
    subjects
        .map(|subject| Line {
            subject: subject.into(),
            cells: machines
                .iter()
                .map(|m| series(m, subject).map(cell))
                .collect(),
        })
        .collect()
}

/// A layer whose verdict is not the same on all machines.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Changing {
    subject: String,
    layer: String,
    /// Verdict on each machine; none where it was not measured.
    verdicts: Vec<Option<&'static str>>,
}

/// Layers whose verdict changes from machine to machine. An undecided verdict is no change.
pub(super) fn changes(machines: &[&Node]) -> Vec<Changing> {
    let mut changing = Vec::new();
    for subject in subjects(machines) {
        let of: Vec<Option<&NodeSeries>> = machines.iter().map(|m| series(m, subject)).collect();
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in of.iter().flatten().flat_map(|s| &s.layers) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        for name in names {
            let verdict = |own: &Option<&NodeSeries>| {
                let found = own.as_ref()?.layers.iter().find(|(layer, _)| layer == name);
                found.map(|(_, verdict)| *verdict)
            };
            let verdicts: Vec<Option<Verdict>> = of.iter().map(verdict).collect();
            let mut known = verdicts
                .iter()
                .flatten()
                .filter(|v| **v != Verdict::Undecided);
            let first = known.next();
            if known.any(|v| Some(v) != first) {
                changing.push(Changing {
                    subject: subject.into(),
                    layer: name.into(),
                    verdicts: verdicts.iter().map(|v| v.map(Verdict::label)).collect(),
                });
            }
        }
    }
    changing
}

/// A record whose time for a network is far from that of other records of its machine.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Outlier {
    file: String,
    link: String,
    id: String,
    subject: String,
    time: String,
    median: String,
    /// Time over the median.
    ratio: f64,
    records: usize,
}

/// Outliers among records of one machine id, the largest difference first.
pub(super) fn outliers(nodes: &[Node]) -> Vec<Outlier> {
    let mut ids: Vec<&str> = nodes.iter().map(|n| n.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut found = Vec::new();
    for id in ids {
        let equal: Vec<&Node> = nodes.iter().filter(|n| n.id == id).collect();
        for subject in subjects(&equal) {
            let timed = equal
                .iter()
                .filter_map(|n| Some((*n, series(n, subject)?.time_ns?)));
            found.extend(far(id, subject, &timed.collect::<Vec<_>>()));
        }
    }
    let distance = |o: &Outlier| o.ratio.ln().abs();
    found.sort_by(|a: &Outlier, b| distance(b).total_cmp(&distance(a)));
    found
}

/// Records whose time is far from the median of all.
fn far(id: &str, subject: &str, timed: &[(&Node, f64)]) -> Vec<Outlier> {
    let logs: Vec<f64> = timed.iter().map(|(_, ns)| ns.ln()).collect();
    let (Some(middle), Some(deviation)) = (median(&logs), deviation(&logs)) else {
        return Vec::new();
    };
    if timed.len() < FEWEST {
        return Vec::new();
    }
    let limit = (FAR * deviation).max(LEAST.ln_1p());
    let out = timed
        .iter()
        .filter(|(_, ns)| (ns.ln() - middle).abs() > limit);
    out.map(|(node, ns)| Outlier {
        file: node.file.display().to_string(),
        link: node.link.clone(),
        id: id.into(),
        subject: subject.into(),
        time: time(*ns),
        median: time(middle.exp()),
        ratio: (ns.ln() - middle).exp(),
        records: timed.len(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;

    /// A record of a machine, whose network takes some time under some verdict.
    fn node(id: &str, ns: f64, verdict: Verdict) -> Node {
        let run = sample();
        let mut node = Node::new("a.json".into(), "./a.html".into(), &run, &rows(&run));
        node.id = id.into();
        node.series[0].time_ns = Some(ns);
        node.series[0].roof = Some(0.5);
        node.series[0].layers[0].1 = verdict;
        node
    }

    #[test]
    fn networks_are_in_fractions_of_the_roof() {
        let (a, mut b) = (
            node("a", 2e6, Verdict::Compute),
            node("b", 1e6, Verdict::L3),
        );
        b.series[0].subject = "other".into();
        let lines = networks(&[&a, &b]);
        let cell = |time: &str| {
            Some(Cell {
                roof: Some(50.0),
                time: Some(time.into()),
            })
        };
        assert_eq!(lines[0].subject, "resnet50, 1 thread");
        assert_eq!(lines[0].cells, [cell("2.00 ms"), None]);
        assert_eq!(lines[1].cells, [None, cell("1.00 ms")]);
    }

    #[test]
    fn verdicts_that_differ_are_told() {
        let of = |verdict| node("a", 1e6, verdict);
        let (compute, l3) = (of(Verdict::Compute), of(Verdict::L3));
        let undecided = of(Verdict::Undecided);
        assert!(changes(&[&compute, &compute, &undecided]).is_empty());
        let found = changes(&[&compute, &l3, &undecided]);
        assert_eq!(
            found[0].verdicts,
            [Some("compute bound"), Some("L3 bound"), Some("undecided")]
        );
        assert_eq!(found[0].layer, "conv2_x.3x3");
    }

    #[test]
    fn an_outlier_is_far_from_its_equals() {
        let of = |id: &str, ns| node(id, ns, Verdict::Compute);
        let mut nodes: Vec<Node> = [1.0e6, 1.01e6, 0.99e6, 1.3e6].map(|ns| of("a", ns)).into();
        // Another machine may be as slow as it likes.
        nodes.push(of("b", 9e6));
        let found = outliers(&nodes);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].id.as_str(), found[0].records), ("a", 4));
        assert_eq!(found[0].time, "1.30 ms");
        // Three records tell nothing.
        nodes.remove(0);
        assert!(outliers(&nodes).is_empty());
    }

    #[test]
    fn small_differences_are_no_outliers() {
        let of = |ns| node("a", ns, Verdict::Compute);
        let nodes: Vec<Node> = [1.0e6, 1.0e6, 1.0e6, 1.0e6, 1.04e6].map(of).into();
        assert!(outliers(&nodes).is_empty());
    }
}
