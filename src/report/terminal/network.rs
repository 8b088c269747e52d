//! The layers of a network on one number of threads, each by its best variant.

use super::columns::{
    layer_column, median, peak_column, percent, rate_column, roof, roof_column, sure, sure_column,
    time_column, variant_column, verdict, verdict_column,
};
use crate::record::Run;
use crate::report::conclusion;
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::report::why::{ColdRow, cold_rows, predictions};
use crate::report::{NetworkTotal, Row, best_rows, ties};
use crate::units::{threads, time};

/// Number of disputed verdicts with their evidence.
const DISPUTES: usize = 5;

/// A network's layers, their sum, the accuracy of the model, disputed verdicts, and the layers with cold caches.
pub(super) fn network(total: &NetworkTotal, run: &Run, rows: &[Row], page: &Page) -> String {
    let best = best_rows(rows, total.series());
    let title = format!(
        "{}, {}, batch {}: the best variant of each layer",
        total.series().subject(),
        threads(total.threads),
        run.conditions.batch
    );
    let mut out = format!("\n{}", page.prose(&title));
    out += &layers(&best, rows, total.rate_unit()).show(page);
    out += &page.prose(&sum(total));
    out += &predicted(&best, page);
    out += &disputes(&best, page);
    out + &cold(&cold_rows(rows, total.series()), page)
}

fn layers(best: &[&Row], rows: &[Row], unit: &'static str) -> Table<13> {
    let mut table = Table::new([
        layer_column(),
        verdict_column(),
        sure_column(),
        time_column("median of a run"),
        roof_column(),
        variant_column("the best"),
        rate_column(unit),
        peak_column(),
        Column::number("model", "predicted / measured time"),
        Column::number("x", "occurrences in the network"),
        Column::number("ties", "other variants that can't be told from the best"),
        Column::number("flop/byte", "executed operations / compulsory bytes"),
        Column::number("moved", "bytes that the CPU counted / compulsory bytes"),
    ]);
    for row in best {
        let model = row.predicted_ns.map(|ns| percent(ns / row.median_ns));
        table.row([
            Cell::new(&row.layer),
            verdict(row.verdict),
            sure(row),
            median(row),
            roof(row),
            Cell::new(&row.variant),
            Cell::new(format!("{:.1}", row.gflops_nominal)),
            Cell::new(percent(row.fraction_of_peak)),
            model.into(),
            Cell::new(row.count),
            Some(ties(rows, row).len()).filter(|n| *n > 0).into(),
            Cell::new(format!("{:.1}", row.intensity)),
            row.moved().map(|factor| format!("{factor:.1}")).into(),
        ]);
    }
    table
}

/// Time and rate of the network, and the share of each verdict.
fn sum(total: &NetworkTotal) -> String {
    let shares = total.shares.iter();
    let shares: Vec<String> = shares
        .map(|(v, s)| format!("{v} {}", conclusion::percent(*s)))
        .collect();
    let shares = shares.join(", ");
    match total.whole() {
        true => format!(
            "All layers: {}, {:.0} {}; of the time {shares}.",
            time(total.time_ns),
            total.gflops_nominal,
            total.rate_unit()
        ),
        false => format!("{}; of their time {shares}.", total.no_sum()),
    }
}

/// Accuracy of the model's predictions.
fn predicted(rows: &[&Row], page: &Page) -> String {
    let predictions = predictions(rows.iter().copied());
    predictions.map_or(String::new(), |p| page.prose(&p.sentence(str::to_string)))
}

/// The evidence of verdicts that a witness votes against, those with the longest times.
fn disputes(rows: &[&Row], page: &Page) -> String {
    let mut disputed: Vec<_> = rows.iter().filter(|r| r.disputed).collect();
    let total = |r: &Row| r.count as f64 * r.median_ns;
    disputed.sort_by(|a, b| total(b).total_cmp(&total(a)));
    let shown = disputed.iter().take(DISPUTES);
    let lines = shown.map(|r| page.item(&format!("? {}: {}: {}", r.layer, r.verdict, r.reason)));
    let mut out: String = lines.collect();
    if let more @ 1.. = disputed.len().saturating_sub(DISPUTES) {
        out += &page.item(&format!(
            "? {more} more: the HTML report and --json have the evidence"
        ));
    }
    out
}

/// Layers with cold caches.
fn cold(rows: &[ColdRow<'_>], page: &Page) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        layer_column(),
        Column::text("cache", "what is not in the caches"),
        verdict_column(),
        sure_column(),
        Column::number("cold", "median of a run"),
        Column::number("warm", "the same with warm caches"),
        Column::number("cold/warm", "ratio of these times"),
        variant_column("the fastest with warm caches"),
    ]);
    for ColdRow { warm, cold, ratio } in rows {
        table.row([
            Cell::new(&cold.layer),
            Cell::new(&cold.cache),
            verdict(cold.verdict),
            sure(cold),
            Cell::new(time(cold.median_ns)),
            Cell::new(time(warm.median_ns)),
            Cell::new(format!("{ratio:.2}")),
            Cell::new(&cold.variant),
        ]);
    }
    format!("\nThe same layers with cold caches\n{}", table.show(page))
}
