//! One HTML file without external resources.
//!
//! In reading order: this file (the page), `section.rs` (a network in one type on one number of threads), `types.rs` (a
//! network in several types).

mod section;
mod types;

use super::conclusion::conclusions;
use super::svg::style;
use super::types::comparisons;
use super::{Head, head, missing_counters, notes, rows, totals};
use crate::claims::Answer;
use crate::escape;
use crate::record::{Level, Run};
use crate::roofline::Verdict;
use crate::units::{bytes, peak, rate};
use convroof_kernels::probe::Arithmetic;
use minijinja::Value;
use section::{NetworkSection, section};
use serde::Serialize;
use types::TypesSection;

const TEMPLATE: &str = include_str!("report.html");

/// All data of the template.
#[derive(Serialize)]
struct ReportPage<'a> {
    run: &'a Run,
    /// Each answer with the label of its verdict.
    claims: Vec<(&'a Answer, &'static str)>,
    sections: Vec<NetworkSection>,
    /// Networks in several types.
    types: Vec<TypesSection>,
    verdicts: Vec<Meaning>,
    head: Head,
    /// A sentence for each network and number of threads.
    conclusions: Vec<String>,
    missing: Option<String>,
    /// Errors and notes, at the end.
    notes: Vec<String>,
    ceilings: Vec<CeilingLine>,
    style: Style,
}

/// Styles that the page shares with standalone pictures.
#[derive(Serialize)]
struct Style {
    light: &'static str,
    dark: &'static str,
    picture: &'static str,
}

#[derive(Serialize)]
struct Meaning {
    verdict: &'static str,
    label: &'static str,
    meaning: &'static str,
    help: &'static str,
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
    let sections: Vec<NetworkSection> = totals(run, &all)
        .into_iter()
        .filter_map(|t| section(run, &all, t))
        .collect();
    let verdicts: Vec<Meaning> = Verdict::ALL
        .into_iter()
        .map(|v| Meaning {
            verdict: v.name(),
            label: v.label(),
            meaning: v.meaning(),
            help: v.help(),
        })
        .collect();
    let page = ReportPage {
        run,
        claims: claims.iter().map(|a| (a, a.holds.label())).collect(),
        sections,
        types: comparisons(run, &all)
            .iter()
            .map(|comparison| TypesSection::new(run, &all, comparison))
            .collect(),
        verdicts,
        head: head(run),
        conclusions: conclusions(run, &all, str::to_string),
        missing: missing_counters(run),
        notes: notes(run, &all),
        ceilings: ceiling_table(run),
        style: Style {
            light: style::LIGHT,
            dark: style::DARK,
            picture: style::PICTURE,
        },
    };
    escape::page(TEMPLATE, Value::from(minijinja::value::Serde(&page)))
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
        for arithmetic in Arithmetic::ALL {
            let peaks = run.calibration.peaks.iter();
            let own = peaks.filter(|p| p.threads == threads && p.arithmetic() == Some(arithmetic));
            let values: Vec<String> = own.map(|p| format!("{} {:.0}", p.isa, p.gflops)).collect();
            if arithmetic == Arithmetic::F32 || !values.is_empty() {
                lines.push(CeilingLine {
                    threads,
                    what: format!("{}, {}", peak(arithmetic), rate(arithmetic)),
                    values: vec![values.join(", ")],
                });
            }
        }
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
    use crate::record::tests::{in_two_types, sample};

    #[test]
    fn claims_are_a_chapter() {
        assert!(!html(&sample()).contains("id=\"claims\""));
        let figure = |value| Figure {
            what: "a figure".into(),
            value,
            unit: "MiB".into(),
            measured: true,
            ci: Some((value - 0.5, value + 0.5)),
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
            "12.5 (12 to 13)",
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
            "Loads and stores take most of the time",
        ] {
            assert!(html.contains(text), "{text}");
        }
        for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn types_have_sections_of_their_own_and_one_together() {
        let html = html(&in_two_types());
        for text in [
            "<section id=\"resnet50-1\">",
            "<section id=\"resnet50-u8-1\">",
            "<section id=\"types-resnet50-1\">",
            "<h2>resnet50 in u8, 1 thread</h2>",
            "int8 peak, GOP/s",
            "solid outline: int8",
            "<th class=\"n\">u8</th>",
        ] {
            assert!(html.contains(text), "{text}");
        }
        let one = super::html(&sample());
        assert!(!one.contains("id=\"types-") && !one.contains("int8 peak"));
    }

    #[test]
    fn names_are_escaped() {
        let mut run = sample();
        run.layers[0].layer = "<b>&".into();
        let html = html(&run);
        assert!(!html.contains("<b>&") && html.contains("&lt;b&gt;&amp;"));
    }
}
