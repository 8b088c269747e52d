//! One HTML file without external resources: the document, the app that draws it, and a static part for readers without
//! JavaScript.
//!
//! In reading order: this file (the page), `section.rs` (a network in one type on one number of threads), `types.rs` (a
//! network in several types), `bundle.rs` (script and style).

mod bundle;
mod section;
mod types;

use super::conclusion::conclusions;
use super::document::{Document, Meaning, Source, name};
use super::types::comparisons;
use super::{Head, Row, head, missing_counters, notes, rows, totals};
use crate::claims::Answer;
use crate::escape;
use crate::record::{Conditions, Fingerprint, Level, Run, Tool};
use crate::roofline::Verdict;
use crate::units::{bytes, peak, rate};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use convroof_kernels::probe::Arithmetic;
use flate2::Compression;
use flate2::write::GzEncoder;
use minijinja::Value;
use section::NetworkSection;
use serde::Serialize;
use types::TypesSection;

const TEMPLATE: &str = include_str!("web/shell.html");

/// All data of the template.
#[derive(Serialize)]
struct ReportPage<'a> {
    runs: Vec<StaticRun<'a>>,
    verdicts: Vec<Meaning>,
    style: String,
    app: &'a str,
    /// The document in the form that the page embeds.
    document: String,
}

/// A record in the static part.
#[derive(Serialize)]
struct StaticRun<'a> {
    name: String,
    file: &'a str,
    started: &'a str,
    tool: &'a Tool,
    fingerprint: &'a Fingerprint,
    conditions: &'a Conditions,
    peers: &'a [String],
    head: Head,
    /// A sentence for each network and number of threads.
    conclusions: Vec<String>,
    /// Networks in several types.
    types: Vec<TypesSection>,
    series: Vec<NetworkSection<'a>>,
    /// Each answer with the label of its verdict.
    claims: Vec<(&'a Answer, &'static str)>,
    ceilings: Vec<CeilingLine>,
    missing: Option<String>,
    /// Errors and notes, at the end.
    notes: Vec<String>,
}

impl<'a> StaticRun<'a> {
    fn new(name: String, source: &Source<'a>, rows: &'a [Row]) -> Self {
        let run = source.run;
        let claims = source.claims.iter();
        StaticRun {
            name,
            file: source.file,
            started: &run.started,
            tool: &run.tool,
            fingerprint: &run.fingerprint,
            conditions: &run.conditions,
            peers: &run.peers,
            head: head(run),
            conclusions: conclusions(run, rows, str::to_string),
            types: comparisons(run, rows)
                .iter()
                .map(|comparison| TypesSection::new(run, rows, comparison))
                .collect(),
            series: totals(run, rows)
                .iter()
                .map(|total| NetworkSection::new(run, rows, total))
                .collect(),
            claims: claims.map(|a| (a, a.holds.label())).collect(),
            ceilings: ceiling_table(run),
            missing: missing_counters(run),
            notes: notes(run, rows),
        }
    }
}

/// The report of a run.
///
/// # Panics
/// Never, like [`page`].
pub fn html(run: &Run) -> String {
    let source = Source {
        file: "",
        run,
        claims: &[],
    };
    page(&[(source, &rows(run))], None)
}

/// The report of some records with their rows, and with the differences of the later ones from the first.
///
/// # Panics
/// Never: the template is part of the program, and a test renders it.
pub fn page(sources: &[(Source<'_>, &[Row])], comparison: Option<serde_json::Value>) -> String {
    let runs = sources.iter().enumerate();
    let app = bundle::app();
    let page = ReportPage {
        runs: runs
            .map(|(i, (source, rows))| StaticRun::new(name(i), source, rows))
            .collect(),
        verdicts: Verdict::ALL.into_iter().map(Meaning::of).collect(),
        style: bundle::style(),
        app: &app,
        document: embedded(&Document::new(sources, comparison)),
    };
    let context = Value::from(minijinja::value::Serde(&page));
    escape::page_with_app(TEMPLATE, &app, context)
}

/// The style of pages that have only a static part.
pub fn style() -> String {
    bundle::style()
}

/// A document as gzip data in base64, whose alphabet can't end a script element.
fn embedded(document: &Document<'_>) -> String {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    serde_json::to_writer(&mut packed, document).expect("a document is plain data");
    STANDARD.encode(packed.finish().expect("memory takes any data"))
}

/// One line of the ceilings' table.
#[derive(Serialize)]
struct CeilingLine {
    threads: usize,
    what: String,
    values: String,
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
                    values: values.join(", "),
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
                    values: values.join(", "),
                });
            }
        }
    }
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::claims::{Figure, Holds};
    use crate::record::tests::{in_two_types, sample};
    use flate2::read::GzDecoder;
    use std::io::Read;

    /// The static part of a page.
    pub(in crate::report) fn static_part(page: &str) -> &str {
        let (_, body) = page.split_once("<body>").expect("a body");
        body.split_once("<script type=\"application/json\"")
            .expect("a document")
            .0
    }

    /// The text between two others.
    fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
        let (_, rest) = text.split_once(open).expect("a beginning");
        rest.split_once(close).expect("an end").0
    }

    #[test]
    fn claims_are_a_chapter() {
        assert!(!static_part(&html(&sample())).contains("Claims about"));
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
        let run = sample();
        let source = Source {
            file: "a.json",
            run: &run,
            claims: &[answer],
        };
        let page = page(&[(source, &rows(&run))], None);
        for text in [
            "Claims about",
            "3. One is two.",
            "Holds in part",
            "1.2e-",
            "12.5 (12 to 13)",
            "1235",
        ] {
            assert!(static_part(&page).contains(text), "{text}");
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
            assert!(static_part(&html).contains(text), "{text}");
        }
        for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
            assert!(!html.contains(outside), "{outside}");
        }
        // The policy forbids styles in attributes, and handlers.
        for forbidden in [" style=", " onclick="] {
            assert!(!static_part(&html).contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn types_have_sections_of_their_own_and_one_together() {
        let html = html(&in_two_types());
        for text in [
            "<h3>resnet50, 1 thread</h3>",
            "<h3>resnet50 in u8, 1 thread</h3>",
            "<h3>resnet50, 1 thread: what changes with the type</h3>",
            "int8 peak, GOP/s",
            "solid outline: int8",
            "<th class=\"n\">u8</th>",
        ] {
            assert!(static_part(&html).contains(text), "{text}");
        }
        let one = super::html(&sample());
        assert!(!static_part(&one).contains("int8 peak"));
    }

    #[test]
    fn names_are_escaped() {
        let mut run = sample();
        run.layers[0].layer = "<b>&".into();
        let html = html(&run);
        let shown = static_part(&html);
        assert!(!shown.contains("<b>&") && shown.contains("&lt;b&gt;&amp;"));
    }

    #[test]
    fn the_document_is_embedded_whole_and_harmless() {
        let mut run = sample();
        run.layers[0].layer = "</script><!--<script>".into();
        let html = html(&run);
        let packed = between(&html, "data-encoding=\"gzip+base64\">", "</script>");
        let alphabet = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        assert!(packed.chars().all(alphabet));
        assert!(!html.contains("<!--"));
        let elements = html.matches("<script").count();
        assert_eq!(elements, html.matches("</script>").count());
        let data = STANDARD.decode(packed).expect("base64");
        let mut text = String::new();
        GzDecoder::new(&data[..])
            .read_to_string(&mut text)
            .expect("gzip");
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let layer = document.pointer("/runs/0/view/rows/0/layer");
        assert_eq!(layer, Some(&"</script><!--<script>".into()));
    }

    #[test]
    fn the_policy_allows_the_page_its_own_parts() {
        let html = html(&sample());
        let policy = between(&html, "Content-Security-Policy\" content=\"", "\">");
        // The script of the head, the app, and the style twice.
        assert_eq!(policy.matches("'sha256-").count(), 4, "{policy}");
        assert!(
            policy.contains("img-src data: blob:") && !policy.contains("unsafe"),
            "{policy}"
        );
    }

    #[test]
    fn a_page_has_every_record() {
        let run = sample();
        let source = |file| Source {
            file,
            run: &run,
            claims: &[],
        };
        let rows = rows(&run);
        let page = page(
            &[(source("a.json"), &rows), (source("b.json"), &rows)],
            None,
        );
        let shown = static_part(&page);
        assert!(shown.contains("<h2>A: a.json</h2>") && shown.contains("<h2>B: b.json</h2>"));
    }
}
