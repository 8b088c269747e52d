//! A network's layers against other libraries.

use super::columns::layer_column;
use crate::report::NetworkTotal;
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::report::versus::{Duel, lost, means};
use crate::units::{threads, time};

/// The layers against the best peer, and those on which we are slower; empty if no peer took part.
pub(super) fn versus(total: &NetworkTotal, duels: &[Duel], page: &Page) -> String {
    if duels.is_empty() {
        return String::new();
    }
    let title = format!(
        "{}, {}: other libraries",
        total.series().subject(),
        threads(total.threads)
    );
    let mut out = format!("\n{}", page.prose(&title));
    out += &layers(duels).show(page);
    let means: Vec<String> = means(duels)
        .iter()
        .map(|m| format!("{} {:.2} ({})", m.over, m.ratio, m.layers))
        .collect();
    out += &page.prose(&format!("Geometric means: {}.", means.join(", ")));
    let lost = lost(duels);
    let lost: Vec<String> = lost
        .iter()
        .map(|d| format!("{} {:.2}", d.layer, d.ratio))
        .collect();
    out + &page.prose(&match lost.is_empty() {
        true => "No layer is slower than the best peer.".to_string(),
        false => format!(
            "Slower than the best peer, the most lost time first: {}.",
            lost.join(", ")
        ),
    })
}

fn layers(duels: &[Duel]) -> Table<7> {
    let mut table = Table::new([
        layer_column(),
        Column::number(
            "ratio",
            "peer / ours, median of the ratios in each round, above 1 if ours is faster",
        ),
        Column::number("95 %", "confidence interval of the ratio"),
        Column::text("ours", "our best variant").least(20),
        Column::text("peer", "the best other library").least(16),
        Column::number("our time", "median of a run"),
        Column::number("its time", "the peer's median"),
    ]);
    for d in duels {
        table.row([
            Cell::new(&d.layer),
            Cell::new(format!("{:.2}", d.ratio)),
            Cell::new(format!("{:.2} to {:.2}", d.ci.0, d.ci.1)),
            Cell::new(&d.ours),
            Cell::new(d.peer.replace("peer-", "").replace("/auto", "")),
            Cell::new(time(d.ours_ns)),
            Cell::new(time(d.peer_ns)),
        ]);
    }
    table
}
