//! Report as Markdown, for the summary of a CI job.

use super::advice::advice;
use super::conclusion::{conclusions, percent};
use super::types::{Comparison, comparisons};
use super::versus::{Duel, duels, means};
use super::why::{cold_rows, predictions};
use super::{NetworkTotal, Row, best_rows, head, legend, missing_counters, notes, totals};
use crate::escape::{markdown as text, markdown_code as code};
use crate::record::{CacheState, Run};
use crate::units::{threads, time};
use convroof_kernels::dtype::DType;
use convroof_kernels::instance::Cold;
use std::fmt::Write;

const WEIGHTS_COLD: CacheState = CacheState::Cold(Cold::Weights);

/// Number of changes that are listed for each network.
const SHOWN: usize = 3;

/// The run as Markdown.
pub fn markdown(run: &Run, rows: &[Row]) -> String {
    with_link(run, rows, None)
}

/// The run as Markdown, with a link to its HTML report.
pub fn with_link(run: &Run, rows: &[Row], link: Option<&str>) -> String {
    let mut out = String::from("# What bounds each layer\n");
    let head = head(run);
    for line in &head.facts {
        let _ = write!(out, "\n{}\n", text(line));
    }
    for line in &head.warnings {
        let _ = write!(out, "\n**{}**\n", text(line));
    }
    out.push('\n');
    for line in conclusions(run, rows, |name| text(name).into()) {
        let _ = writeln!(out, "- {line}");
    }
    if let Some(link) = link {
        let _ = write!(out, "\n[The whole report]({link})\n");
    }
    for total in totals(run, rows) {
        out += &network(&total, run, rows);
    }
    for comparison in comparisons(run, rows) {
        out += &types(&comparison);
    }
    for total in totals(run, rows) {
        out += &versus(&total, &duels(run, rows, total.series()));
    }
    if let Some(line) = missing_counters(run) {
        let _ = write!(out, "\n{}.\n", text(&line));
    }
    for note in notes(run, rows) {
        let _ = write!(out, "\n{}\n", text(&note));
    }
    out
}

/// A network's layers, each by its best variant, and the sum.
fn network(total: &NetworkTotal, run: &Run, rows: &[Row]) -> String {
    let (sum, of) = if total.whole() {
        let (time, rate) = (time(total.time_ns), total.gflops_nominal);
        let unit = total.rate_unit();
        (format!("All layers: {time}, {rate:.0} {unit}"), "the time")
    } else {
        (total.no_sum(), "their time")
    };
    let shares: Vec<String> = total
        .shares
        .iter()
        .map(|(v, s)| format!("{} {v}", percent(*s)))
        .collect();
    let mut out = format!(
        "\n## {}, {}, batch {}\n\n{sum}. Of {of}: {}.\n\n",
        text(&total.series().subject()),
        threads(total.threads),
        run.conditions.batch,
        shares.join(", ")
    );
    let _ = writeln!(
        out,
        "| layer | x | best variant | time | {} | of peak (nominal) | flop/byte | bound by | sure | weights cold |",
        total.rate_unit()
    );
    out += "|---|--:|---|--:|--:|--:|--:|---|--:|---|\n";
    let cold = cold_rows(rows, total.series());
    let best = best_rows(rows, total.series());
    for row in &best {
        let found = cold
            .iter()
            .find(|c| c.cold.layer == row.layer && c.cold.cache.is(&WEIGHTS_COLD));
        let weights_cold = found.map_or("-".into(), |c| {
            format!("x {:.2}, {}", c.ratio, c.cold.verdict.label())
        });
        let _ = writeln!(
            out,
            "| {} | {} | {} | {}{} | {:.1} | {:.0} % | {:.1} | {} | {:.0} % | {weights_cold} |",
            text(&row.layer),
            row.count,
            code(&row.variant),
            time(row.median_ns),
            marks(row),
            row.gflops_nominal,
            100.0 * row.fraction_of_peak,
            row.intensity,
            row.verdict.label(),
            100.0 * row.confidence
        );
    }
    let legend = legend(best.iter().copied());
    if !legend.is_empty() {
        let lines = legend
            .iter()
            .map(|(mark, meaning)| format!("`{mark}` {meaning}"));
        let _ = write!(out, "\n{}.\n", lines.collect::<Vec<_>>().join(". "));
    }
    out += &help(total, run, rows);
    if let Some(predictions) = predictions(best) {
        let sentence = predictions.sentence(|name| text(name).into());
        let _ = write!(out, "\n{sentence}\n");
    }
    out
}

/// The changes that would save most time; empty without any.
fn help(total: &NetworkTotal, run: &Run, rows: &[Row]) -> String {
    let found = advice(run, rows, total);
    let lines = found.iter().take(SHOWN).map(|advice| {
        format!(
            "- {}, at least {}: {} {}\n",
            text(&advice.layer),
            time(advice.saved_ns),
            text(&advice.says),
            text(&advice.evidence)
        )
    });
    let lines: String = lines.collect();
    match lines.is_empty() {
        true => lines,
        false => format!("\nWhat would help, by the time that it saves in the network:\n\n{lines}"),
    }
}

/// A network's layers in several types; a verdict that isn't that in f32 is strong.
fn types(comparison: &Comparison<'_>) -> String {
    let mut out = format!(
        "\n## {}, {}: what changes with the type\n\nThe ratio is the time in f32 over the time in the type. Verdicts that differ from f32 are bold.\n\n",
        text(comparison.network),
        threads(comparison.threads)
    );
    let types = &comparison.types;
    let each =
        |cells: &dyn Fn(DType) -> String| types.iter().map(|&t| cells(t)).collect::<String>();
    let heads = each(&|dtype| format!(" {dtype} | f32 / {dtype} | bound by |"));
    let rules = each(&|_| "--:|--:|---|".into());
    let _ = writeln!(
        out,
        "| layer | f32 | bound by |{heads}\n|---|--:|---|{rules}"
    );
    for layer in &comparison.layers {
        let cells = |dtype| {
            let Some(row) = layer.row(dtype) else {
                return " - |".repeat(if dtype == DType::F32 { 2 } else { 3 });
            };
            let ratio = layer.speed_up(dtype);
            let ratio = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
            let strong = if layer.changes(dtype) { "**" } else { "" };
            let (time, verdict) = (time(row.median_ns), row.verdict);
            match dtype {
                DType::F32 => format!(" {time} | {verdict} |"),
                _ => format!(" {time} | {ratio} | {strong}{verdict}{strong} |"),
            }
        };
        let _ = writeln!(
            out,
            "| {} |{}{}",
            text(layer.name),
            cells(DType::F32),
            each(&cells)
        );
    }
    out
}

/// Marks behind a row's time, as code: a bare `*` or `~` would be markup.
fn marks(row: &Row) -> String {
    match row.marks() {
        "" => String::new(),
        marks => format!(" {}", code(marks)),
    }
}

/// A network's layers against the best peer; empty if no peer took part.
fn versus(total: &NetworkTotal, duels: &[Duel]) -> String {
    if duels.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "\n## {}, {}: other libraries\n\nThe ratio is the peer's time over ours, in the same rounds. Above 1 ours is faster.\n\n",
        text(&total.series().subject()),
        threads(total.threads)
    );
    out += "| layer | best of ours | time | best peer | time | peer / ours | 95 % |\n";
    out += "|---|---|--:|---|--:|--:|--:|\n";
    for d in duels {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {:.2} | {:.2} to {:.2} |",
            text(&d.layer),
            code(&d.ours),
            time(d.ours_ns),
            code(&d.peer),
            time(d.peer_ns),
            d.ratio,
            d.ci.0,
            d.ci.1
        );
    }
    for m in means(duels) {
        let _ = writeln!(
            out,
            "| {}, geometric mean of {} | | | | | {:.2} | |",
            m.over, m.layers, m.ratio
        );
    }
    out
}
