//! Report as Markdown, for the summary of a CI job.

use super::conclusion::{conclusions, percent};
use super::versus::{Duel, duels, means};
use super::why::{cold_rows, predictions};
use super::{NetworkTotal, Row, best_rows, head, legend, missing_counters, notes, totals};
use crate::escape::{markdown as text, markdown_code as code};
use crate::record::{CacheState, Run};
use crate::units::{threads, time};
use convroof_kernels::instance::Cold;
use std::fmt::Write;

const WEIGHTS_COLD: CacheState = CacheState::Cold(Cold::Weights);

/// The run as Markdown.
pub fn markdown(run: &Run, rows: &[Row]) -> String {
    let mut out = String::from("# What bounds each layer\n");
    for (i, line) in head(run).iter().enumerate() {
        // Below the machine and its noise, lines are warnings.
        let strong = if i < 2 { "" } else { "**" };
        let _ = write!(out, "\n{strong}{}{strong}\n", text(line));
    }
    out.push('\n');
    for line in conclusions(run, rows, |name| text(name).into()) {
        let _ = writeln!(out, "- {line}");
    }
    for total in totals(run, rows) {
        out += &network(&total, run, rows);
    }
    for total in totals(run, rows) {
        out += &versus(&total, &duels(run, rows, &total.network, total.threads));
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
        (format!("All layers: {time}, {rate:.0} GFLOP/s"), "the time")
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
        text(&total.network),
        threads(total.threads),
        run.conditions.batch,
        shares.join(", ")
    );
    out += "| layer | x | best variant | time | GFLOP/s | of peak (nominal) | flop/byte | bound by | sure | weights cold |\n";
    out += "|---|--:|---|--:|--:|--:|--:|---|--:|---|\n";
    let cold = cold_rows(rows, &total.network, total.threads);
    let best = best_rows(rows, &total.network, total.threads);
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
    if let Some(predictions) = predictions(best) {
        let sentence = predictions.sentence(|name| text(name).into());
        let _ = write!(out, "\n{sentence}\n");
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
        text(&total.network),
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
