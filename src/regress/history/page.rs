//! A history as one self-contained HTML file: one sparkline per series, with its steps marked.

use super::{CREEP, Doubt, Entry, Series};
use crate::escape;
use crate::regress::short;
use crate::report::svg::style;
use crate::units::{plural, time};
use minijinja::Value;
use serde::Serialize;
use std::fmt::Write;

const TEMPLATE: &str = include_str!("page.html");

#[derive(Serialize)]
struct HistoryPage<'a> {
    machine: &'a str,
    runs: usize,
    first: &'a str,
    last: &'a str,
    sections: Vec<ThreadsSection>,
    doubts: Vec<String>,
    creep: String,
    light: &'static str,
    dark: &'static str,
}

/// All series on one number of threads.
#[derive(Serialize)]
struct ThreadsSection {
    threads: usize,
    rows: Vec<SeriesRow>,
    steps: usize,
    slower: usize,
}

#[derive(Serialize)]
struct SeriesRow {
    layer: String,
    problem: String,
    variant: String,
    cache: String,
    runs: usize,
    newest: String,
    newest_ns: f64,
    picture: String,
    fixed: Option<f64>,
    rolling: Option<f64>,
    slower: bool,
    steps: Vec<String>,
}

/// The page of a machine's history.
///
/// # Panics
/// Never: the template is part of the program, and a test renders it.
pub fn page(entries: &[Entry], all: &[Series], doubts: &[Doubt]) -> String {
    let section = |own: &[Series]| {
        let threads = own[0].key.threads;
        let mut own: Vec<&Series> = own.iter().collect();
        own.sort_by_key(|s| (&s.layer, &s.key.variant));
        ThreadsSection {
            threads,
            steps: own.iter().map(|s| s.steps.len()).sum(),
            slower: own.iter().filter(|s| s.slower()).count(),
            rows: own.into_iter().map(|s| row(s, entries)).collect(),
        }
    };
    let page = HistoryPage {
        machine: entries.first().map_or("", |e| &e.fingerprint),
        runs: entries.len(),
        first: entries.first().map_or("", |e| &e.started),
        last: entries.last().map_or("", |e| &e.started),
        // Series are sorted by threads.
        sections: all
            .chunk_by(|a, b| a.key.threads == b.key.threads)
            .map(section)
            .collect(),
        doubts: doubts
            .iter()
            .map(|d| format!("line {}: {}", d.line, d.why))
            .collect(),
        creep: format!("{:.0} %", 100.0 * CREEP),
        light: style::LIGHT,
        dark: style::DARK,
    };
    escape::page(TEMPLATE, Value::from(minijinja::value::Serde(&page)))
}

fn row(series: &Series, entries: &[Entry]) -> SeriesRow {
    SeriesRow {
        layer: series.layer.clone(),
        problem: series.key.problem.clone(),
        variant: series.key.variant.clone(),
        cache: series.key.cache.clone(),
        runs: series.runs,
        newest: time(series.newest_ns),
        newest_ns: series.newest_ns,
        picture: sparkline(series, entries),
        fixed: series.fixed,
        rolling: series.rolling,
        slower: series.slower(),
        steps: series
            .steps
            .iter()
            .map(|s| step(s.run, &s.started, s.revision.as_deref(), s.ratio))
            .collect(),
    }
}

/// A step as text.
pub fn step(run: usize, started: &str, revision: Option<&str>, ratio: f64) -> String {
    let day = started.get(..10).unwrap_or(started);
    let revision = revision.map_or(String::new(), |r| format!(" ({})", short(r)));
    format!(
        "{:+.1} % with run {}, {day}{revision}",
        100.0 * (ratio - 1.0),
        run + 1
    )
}

const WIDTH: f64 = 220.0;
const HEIGHT: f64 = 36.0;
const EDGE: f64 = 4.0;

/// Cost over runs; upwards is slower. The scale is at least +-5 % of the median, so that noise looks small.
fn sparkline(series: &Series, entries: &[Entry]) -> String {
    let costs: Vec<f64> = series.points.iter().map(|(_, cost)| cost.ln()).collect();
    let middle = crate::stats::median(&costs).unwrap_or(0.0);
    let reach = costs
        .iter()
        .map(|c| (c - middle).abs())
        .fold(0.05, f64::max);
    let runs = (entries.len().max(2) - 1) as f64;
    let x = |run: usize| EDGE + (WIDTH - 2.0 * EDGE) * run as f64 / runs;
    let y = |cost: f64| HEIGHT / 2.0 - (HEIGHT / 2.0 - EDGE) * (cost.ln() - middle) / reach;
    let mut svg = format!(
        "<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{}, {}\">",
        plural(series.runs, "run"),
        plural(series.steps.len(), "step")
    );
    for step in &series.steps {
        let class = if step.ratio > 1.0 { "up" } else { "down" };
        let at = x(step.run);
        let _ = write!(
            svg,
            "<path class=\"{class}\" d=\"M{at:.1} 1V{}\"/>",
            HEIGHT - 1.0
        );
    }
    let mut line = String::new();
    for (i, &(run, cost)) in series.points.iter().enumerate() {
        let letter = if i == 0 { 'M' } else { 'L' };
        let _ = write!(line, "{letter}{:.1} {:.1}", x(run), y(cost));
    }
    let _ = write!(svg, "<path class=\"line\" d=\"{line}\"/>");
    if let Some(&(run, cost)) = series.points.last() {
        let _ = write!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"/>",
            x(run),
            y(cost)
        );
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::super::{series, tests::history};
    use super::*;

    #[test]
    fn a_revision_is_cut_between_characters() {
        let text = step(2, "2026", Some("123456789\u{20ac}0"), 1.5);
        assert_eq!(text, "+50.0 % with run 3, 2026 (123456789)");
        // The start of a run, too, can be any text.
        step(0, "2026-01-0\u{20ac}", Some(""), 0.5);
    }

    #[test]
    fn a_page_has_every_series_and_step() {
        let runs = history(24, |run| if run < 14 { 1.0 } else { 1.06 });
        let doubt = Doubt {
            line: 7,
            why: "it is truncated or damaged".into(),
        };
        let html = page(&runs, &series(&runs), &[doubt]);
        for text in [
            "conv2_x.3x3",
            "direct",
            "class=\"up\"",
            "with run 15, 2026-11-15",
            "line 7: it is truncated",
            "</html>",
        ] {
            assert!(html.contains(text), "{text}");
        }
        assert!(!html.contains("NaN") && !html.contains("://"));
        assert!(page(&[], &[], &[]).contains("</html>"));
    }
}
