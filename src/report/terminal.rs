//! Reports for the terminal, laid out on a [`Page`].
//!
//! In reading order: this file (a whole report), `network.rs` (the layers of a network), `types.rs` (layers in several
//! element types), `versus.rs` (comparison with peers), `variants.rs` (all variants, for `bench`), `columns.rs` (columns of
//! several tables).

mod columns;
mod network;
mod types;
mod variants;
mod versus;

pub use columns::{percent, verdict};
pub use variants::variants;

use super::conclusion::conclusions;
use super::page::Page;
use super::types::comparisons;
use super::versus::duels;
use super::{Row, head, missing_counters, notes, totals};
use crate::record::Run;
use network::network;
use types::types;
use versus::versus;

/// The verdicts of a run: the conclusions, then for each network and number of threads a table with each layer's best
/// variant, then the conclusions once more.
pub fn verdicts(run: &Run, rows: &[Row], page: &Page) -> String {
    let conclusions = concluded(run, rows, page);
    let mut out = format!("{}\n{conclusions}", top(run, page));
    for total in totals(run, rows) {
        out += &network(&total, run, rows, page);
    }
    for comparison in comparisons(run, rows) {
        out += &types(&comparison, page);
    }
    for total in totals(run, rows) {
        let duels = duels(run, rows, total.series());
        out += &versus(&total, &duels, page);
    }
    out += &format!("\n{}{conclusions}", end(run, rows, page));
    out
}

/// The lines at the top of a report.
fn top(run: &Run, page: &Page) -> String {
    head(run).lines().map(|line| page.item(line)).collect()
}

/// The conclusions, one paragraph each.
fn concluded(run: &Run, rows: &[Row], page: &Page) -> String {
    let sentences = conclusions(run, rows, str::to_string);
    sentences.iter().map(|line| page.item(line)).collect()
}

/// Missing counters, and the lines at the end of every report.
fn end(run: &Run, rows: &[Row], page: &Page) -> String {
    let counters = missing_counters(run).map(|line| format!("{line}."));
    let lines = counters.into_iter().chain(notes(run, rows));
    lines.map(|line| page.item(&line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;

    #[test]
    fn conclusions_come_first_and_last() {
        let mut run = sample();
        run.notes = vec!["a note of the run".into()];
        let text = verdicts(&run, &rows(&run), &Page::plain(80));
        let conclusion = &conclusions(&run, &rows(&run), str::to_string)[0];
        let at: Vec<usize> = text
            .match_indices(conclusion.as_str())
            .map(|m| m.0)
            .collect();
        let table = text.find("bound by").expect("a table");
        assert!(at.len() == 2 && at[0] < table, "{text}");
        assert!(text.ends_with(&format!("{conclusion}\n")), "{text}");
    }

    #[test]
    fn an_interrupted_run_is_called_so_at_the_top() {
        let mut run = sample();
        run.complete = false;
        let text = verdicts(&run, &rows(&run), &Page::plain(200));
        let third = text.lines().nth(2).expect("a line");
        assert!(third.contains("interrupted"), "{text}");
    }

    #[test]
    fn a_beaten_peak_is_an_error() {
        let mut run = sample();
        run.measurements[0].samples_ns = vec![1e5; 9];
        let text = verdicts(&run, &rows(&run), &Page::plain(80));
        assert!(text.contains("Error: direct/avx2/st"), "{text}");
    }
}
