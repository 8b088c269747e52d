//! Markdown, for the summary of a CI job.

use super::{Row, best_rows, machine_line, missing_counters, totals};
use crate::record::Run;
use crate::roofline::time;
use std::fmt::Write;

/// The run as Markdown.
pub fn markdown(run: &Run, rows: &[Row]) -> String {
    let mut out = format!("# What bounds each layer\n\n{}\n", machine_line(run));
    for total in totals(run, rows) {
        let threads = if total.threads == 1 {
            "1 thread".into()
        } else {
            format!("{} threads", total.threads)
        };
        let _ = write!(
            out,
            "\n## {}, {threads}, batch {}\n\nAll layers: {}, {:.0} GFLOP/s.",
            total.network,
            run.conditions.batch,
            time(total.time_ns),
            total.gflops_nominal
        );
        let shares: Vec<String> = total
            .shares
            .iter()
            .map(|(v, s)| format!("{:.0} % {}", 100.0 * s, v.label()))
            .collect();
        let _ = write!(out, " Of the time: {}.\n\n", shares.join(", "));
        out += "| layer | x | best variant | time | GFLOP/s | of peak | flop/byte | bound by |\n";
        out += "|---|--:|---|--:|--:|--:|--:|---|\n";
        for row in best_rows(rows, &total.network, total.threads) {
            let few = if row.few_samples() {
                " (few samples)"
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "| {} | {} | `{}` | {}{few} | {:.1} | {:.0} % | {:.1} | {} |",
                row.layer,
                row.count,
                row.variant,
                time(row.median_ns),
                row.gflops_nominal,
                100.0 * row.fraction_of_peak,
                row.intensity,
                row.verdict.label()
            );
        }
    }
    if let Some(line) = missing_counters(run) {
        let _ = write!(out, "\n{line}.\n");
    }
    out
}
