//! One HTML file without external resources.

use super::svg::{FAMILIES, Family, legend_mark, roofline, style};
use super::versus::{Duel, Mean, duels, lost, means};
use super::why::{cold_rows, predictions};
use super::{Row, best_rows, machine_line, missing_counters, rows, totals};
use crate::claims::Answer;
use crate::escape;
use crate::record::{CacheState, CandidateId, IsaName, Level, Run, Text};
use crate::roofline::phases::PlacedPhase;
use crate::roofline::{Ceilings, Verdict, bytes, time};
use minijinja::Value;
use serde::Serialize;

const TEMPLATE: &str = include_str!("report.html");

/// All data of the template.
#[derive(Serialize)]
struct Page<'a> {
    run: &'a Run,
    /// Each answer with the label of its verdict.
    claims: Vec<(&'a Answer, &'static str)>,
    sections: Vec<Section>,
    verdicts: Vec<Meaning>,
    machine: String,
    missing: Option<String>,
    ceilings: Vec<CeilingLine>,
    few: usize,
    style: Style,
}

/// Styles that the page shares with standalone pictures.
#[derive(Serialize)]
struct Style {
    light: &'static str,
    dark: &'static str,
    picture: &'static str,
}

/// One network on one number of threads.
#[derive(Serialize)]
struct Section {
    id: String,
    network: String,
    threads: usize,
    time: String,
    gflops: String,
    layers: (usize, usize),
    shares: Vec<Share>,
    svg: String,
    families: Vec<Legend>,
    /// True if the picture has phases.
    phased: bool,
    rows: Vec<Shown>,
    duels: Vec<ShownDuel>,
    means: Vec<Mean>,
    lost: Vec<String>,
    /// A sentence about the accuracy of the model's predictions.
    predicted: Option<String>,
}

/// A family of algorithms in the legend.
#[derive(Serialize)]
struct Legend {
    name: &'static str,
    mark: String,
}

#[derive(Serialize)]
struct Share {
    verdict: &'static str,
    label: &'static str,
    percent: f64,
    layers: usize,
}

/// A layer's best row, formatted.
#[derive(Serialize)]
struct Shown {
    row: Row,
    time: String,
    interval: String,
    total_ns: f64,
    share: f64,
    /// True if its part of the bar has room for its name.
    named: bool,
    bar: f64,
    bytes: String,
    error: String,
    verdict: &'static str,
    label: &'static str,
    family: &'static str,
    few: bool,
    sure: String,
    /// Time that the model predicts, and its percentage of the measured time.
    model: Option<String>,
    cold: Vec<ShownCold>,
    /// Each phase with its formatted time and verdict.
    phases: Vec<(PlacedPhase, String, &'static str)>,
    variants: Vec<Other>,
}

/// The kernel with cold caches.
#[derive(Serialize)]
struct ShownCold {
    cache: Text<CacheState>,
    time: String,
    ratio: String,
    verdict: &'static str,
    label: &'static str,
    reason: String,
}

/// One of a layer's other variants.
#[derive(Serialize)]
struct Other {
    variant: CandidateId,
    family: &'static str,
    time: String,
    bar: f64,
    gflops: f64,
    percent: f64,
    error: String,
    samples: usize,
}

#[derive(Serialize)]
struct Meaning {
    verdict: &'static str,
    label: &'static str,
    meaning: &'static str,
}

/// The report of a run.
///
/// # Panics
/// Never: the template is part of the program, and a test renders it.
pub fn html(run: &Run) -> String {
    html_with(run, &[])
}

/// The report of a run, with a chapter about claims that were tested on the same machine.
///
/// # Panics
/// Never, like [`html`].
pub fn html_with(run: &Run, claims: &[Answer]) -> String {
    let all = rows(run);
    let sections: Vec<Section> = totals(run, &all)
        .into_iter()
        .filter_map(|t| section(run, &all, t))
        .collect();
    let verdicts: Vec<Meaning> = Verdict::ALL
        .into_iter()
        .map(|v| Meaning {
            verdict: v.name(),
            label: v.label(),
            meaning: v.meaning(),
        })
        .collect();
    let page = Page {
        run,
        claims: claims.iter().map(|a| (a, a.holds.label())).collect(),
        sections,
        verdicts,
        machine: machine_line(run),
        missing: missing_counters(run),
        ceilings: ceiling_table(run),
        few: Row::FEW,
        style: Style {
            light: style::LIGHT,
            dark: style::DARK,
            picture: style::PICTURE,
        },
    };
    escape::page(TEMPLATE, Value::from(minijinja::value::Serde(&page)))
}

fn section(run: &Run, all: &[Row], total: super::NetworkTotal) -> Option<Section> {
    let best = best_rows(all, &total.network, total.threads);
    let duels = duels(run, all, &total.network, total.threads);
    let svg = picture(run, &with_peers(all, &best, &duels), total.threads, None)?;
    let slowest = best
        .iter()
        .map(|r| r.count as f64 * r.median_ns)
        .fold(0.0, f64::max);
    let cold = cold_rows(all, &total.network, total.threads);
    let shown = best.iter().map(|row| {
        let total_ns = row.count as f64 * row.median_ns;
        let own: Vec<&Row> = all
            .iter()
            .filter(|r| {
                (&r.network, &r.layer, r.threads) == (&row.network, &row.layer, row.threads)
                    && r.is_warm()
            })
            .collect();
        let longest = own.iter().map(|r| r.median_ns).fold(0.0, f64::max);
        let other = |r: &&Row| Other {
            variant: r.variant.clone(),
            family: Family::of(&r.variant).class,
            time: time(r.median_ns),
            bar: 100.0 * r.median_ns / longest,
            gflops: r.gflops_nominal,
            percent: 100.0 * r.fraction_of_peak,
            error: error(r.error_max),
            samples: r.samples,
        };
        Shown {
            time: time(row.median_ns),
            total_ns,
            interval: format!("{} to {}", time(row.ci_low_ns), time(row.ci_high_ns)),
            share: 100.0 * total_ns / total.time_ns,
            // A character is about 0.7 % of the bar's width.
            named: 100.0 * total_ns / total.time_ns > 0.72 * row.layer.chars().count() as f64,
            bar: 100.0 * total_ns / slowest,
            bytes: bytes(row.bytes_compulsory as f64),
            error: error(row.error_max),
            verdict: row.verdict.name(),
            label: row.verdict.label(),
            family: Family::of(&row.variant).class,
            few: row.few_samples(),
            sure: format!("{:.0} %", 100.0 * row.confidence),
            model: row
                .predicted_ns
                .map(|p| format!("{} ({:.0} %)", time(p), 100.0 * p / row.median_ns)),
            cold: cold
                .iter()
                .filter(|c| c.cold.layer == row.layer)
                .map(|c| ShownCold {
                    cache: c.cold.cache.clone(),
                    time: time(c.cold.median_ns),
                    ratio: format!("{:.2}", c.ratio),
                    verdict: c.cold.verdict.name(),
                    label: c.cold.verdict.label(),
                    reason: c.cold.reason.clone(),
                })
                .collect(),
            phases: row
                .phases
                .iter()
                .map(|p| (p.clone(), time(p.ns), p.verdict.label()))
                .collect(),
            variants: own.iter().map(other).collect(),
            row: (*row).clone(),
        }
    });
    let rows: Vec<Shown> = shown.collect();
    let peers = Family::peers().class;
    let used = |f: &&Family| {
        rows.iter().any(|r| r.family == f.class) || f.class == peers && !duels.is_empty()
    };
    let families = FAMILIES.iter().filter(used).map(|f| Legend {
        name: f.name,
        mark: legend_mark(f),
    });
    let families: Vec<Legend> = families.collect();
    let share = |(v, s): &(Verdict, f64)| Share {
        verdict: v.name(),
        label: v.label(),
        percent: 100.0 * s,
        layers: rows.iter().filter(|r| r.row.verdict == *v).count(),
    };
    let predicted = predictions(best.iter().copied()).map(|p| p.sentence(str::to_string));
    Some(Section {
        predicted,
        phased: rows.iter().any(|r| !r.phases.is_empty()),
        id: format!("{}-{}", total.network, total.threads),
        time: time(total.time_ns),
        gflops: format!("{:.0}", total.gflops_nominal),
        layers: total.layers,
        shares: total.shares.iter().map(share).collect(),
        network: total.network,
        threads: total.threads,
        svg,
        families,
        rows,
        lost: lost(&duels).iter().map(|d| d.layer.clone()).collect(),
        means: means(&duels),
        duels: duels.into_iter().map(ShownDuel::from).collect(),
    })
}

/// The rows of a picture: our best variants, and the peers that they are compared with.
pub fn with_peers<'a>(all: &'a [Row], best: &[&'a Row], duels: &[Duel]) -> Vec<&'a Row> {
    let met = |r: &&Row| {
        duels.iter().any(|d| {
            (&r.network, &r.layer, &r.variant, r.threads)
                == (&d.network, &d.layer, &d.peer, d.threads)
        })
    };
    best.iter().copied().chain(all.iter().filter(met)).collect()
}

/// A duel, formatted.
#[derive(Serialize)]
struct ShownDuel {
    ours: String,
    peer: String,
    interval: String,
    duel: Duel,
}

impl From<Duel> for ShownDuel {
    fn from(duel: Duel) -> Self {
        ShownDuel {
            ours: time(duel.ours_ns),
            peer: time(duel.peer_ns),
            interval: format!("{:.2} to {:.2}", duel.ci.0, duel.ci.1),
            duel,
        }
    }
}

/// An error, formatted.
fn error(error: f64) -> String {
    if error == 0.0 {
        "none".into()
    } else {
        format!("{error:.0e}")
    }
}

/// The roofline picture of some rows, under the ceilings of the widest instruction set among them. With a title it is
/// a standalone picture.
pub fn picture(run: &Run, rows: &[&Row], threads: usize, title: Option<&str>) -> Option<String> {
    let peaks: Vec<_> = run
        .calibration
        .peaks
        .iter()
        .filter(|p| p.threads == threads)
        .collect();
    let used = |isa: &IsaName| rows.iter().any(|r| r.isa == *isa);
    let highest = peaks
        .iter()
        .filter(|p| used(&p.isa))
        .max_by(|a, b| a.gflops.total_cmp(&b.gflops))?;
    let ceilings = Ceilings::of(&run.calibration, &run.fingerprint, &highest.isa, threads)?;
    let others: Vec<_> = peaks
        .iter()
        .filter(|p| p.isa != highest.isa)
        .map(|p| (&p.isa, p.gflops))
        .collect();
    Some(roofline(rows, &ceilings, &others, title))
}

/// One line of the ceilings' table.
#[derive(Serialize)]
struct CeilingLine {
    threads: usize,
    what: String,
    values: Vec<String>,
}

/// Lines of the ceilings' table: peaks by instruction set, bandwidths by level.
fn ceiling_table(run: &Run) -> Vec<CeilingLine> {
    let mut lines = Vec::new();
    for &threads in &run.conditions.threads {
        let peaks = run
            .calibration
            .peaks
            .iter()
            .filter(|p| p.threads == threads);
        let peaks: Vec<String> = peaks
            .map(|p| format!("{} {:.0}", p.isa, p.gflops))
            .collect();
        lines.push(CeilingLine {
            threads,
            what: "FMA peak, GFLOP/s".into(),
            values: vec![peaks.join(", ")],
        });
        for level in Level::ALL {
            let own: Vec<_> = run
                .calibration
                .bandwidths
                .iter()
                .filter(|b| b.threads == threads && b.level == level)
                .collect();
            let best = |op: &str| {
                own.iter()
                    .filter(|b| b.op == op)
                    .map(|b| b.gbps)
                    .fold(0.0, f64::max)
            };
            let values: Vec<String> = ["read", "write", "write-nt", "copy", "triad"]
                .iter()
                .filter(|op| best(op) > 0.0)
                .map(|op| format!("{op} {:.0}", best(op)))
                .collect();
            if let Some(first) = own.first() {
                let set = bytes(first.working_set_bytes as f64);
                let what = format!("{} bandwidth, GB/s ({set} a thread)", level.name());
                lines.push(CeilingLine {
                    threads,
                    what,
                    values: vec![values.join(", ")],
                });
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::{Figure, Holds};
    use crate::record::tests::sample;

    #[test]
    fn claims_are_a_chapter() {
        assert!(!html(&sample()).contains("id=\"claims\""));
        let figure = |value| Figure {
            what: "a figure".into(),
            value,
            unit: "MB".into(),
            measured: true,
        };
        let answer = Answer {
            number: 3,
            claim: "One is two.".into(),
            holds: Holds::InPart,
            answer: "sometimes".into(),
            evidence: vec![figure(0.000_123), figure(12.5), figure(1234.5), figure(0.0)],
        };
        let page = html_with(&sample(), &[answer]);
        for text in [
            "id=\"claims\"",
            "3. One is two.",
            "Holds in part",
            "1.2e-",
            "12.5",
            "1235",
        ] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn a_report_is_one_file_that_asks_for_nothing() {
        let html = html(&sample());
        for text in [
            "conv2_x.3x3",
            "direct/avx2/st",
            "compute bound",
            "<svg",
            "not exposed by the hypervisor",
            "Moving data between registers and L1",
        ] {
            assert!(html.contains(text), "{text}");
        }
        for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn names_are_escaped() {
        let mut run = sample();
        run.layers[0].layer = "<b>&".into();
        let html = html(&run);
        assert!(!html.contains("<b>&") && html.contains("&lt;b&gt;&amp;"));
    }
}
