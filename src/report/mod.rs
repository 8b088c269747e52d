//! Reports of a run: rows, and from them tables for the terminal, Markdown and HTML.
//!
//! In reading order: `rows.rs` (a run as one row for each layer, variant and number of threads), [`versus`]
//! (comparison with peers), [`why`] (evidence behind verdicts), this file (sentences that several reports have),
//! [`terminal`], [`markdown`], [`svg`] and [`picture`] (rooflines), [`html`].

#[cfg(test)]
mod hostile;
pub mod html;
pub mod markdown;
pub mod picture;
mod rows;
pub mod svg;
pub mod terminal;
pub mod versus;
pub mod why;

pub use rows::{NetworkTotal, Row, best_rows, rows, ties, totals};

use crate::record::{CounterSource, Run, Text};
use convroof_kernels::Problem;

/// A sentence that lists missing hardware counters and the reason; none if all are there.
pub fn missing_counters(run: &Run) -> Option<String> {
    let missing: Vec<_> = run
        .counters
        .iter()
        .filter(|c| !c.available && c.source == CounterSource::Pmu)
        .collect();
    let first = missing.first()?;
    let reason = first.reason.as_deref().unwrap_or("unknown");
    let names: Vec<&str> = missing.iter().map(|c| c.event.as_str()).collect();
    Some(format!(
        "Hardware counters missing ({reason}): {}",
        names.join(", ")
    ))
}

/// A sentence for a run that a signal or an error ended early; none if it is complete.
pub fn interruption(run: &Run) -> Option<String> {
    let all = distinct(run.layers.iter().map(|l| &l.problem));
    let measured = distinct(run.measurements.iter().map(|m| &m.problem));
    (!run.complete).then(|| {
        format!("The run was interrupted: {measured} of {all} problems were measured, the others are missing")
    })
}

fn distinct<'a>(problems: impl Iterator<Item = &'a Text<Problem>>) -> usize {
    problems.collect::<std::collections::BTreeSet<_>>().len()
}

/// The machine in a line.
pub fn machine_line(run: &Run) -> String {
    let f = &run.fingerprint;
    let caches: Vec<String> = f
        .caches
        .iter()
        .map(|c| format!("L{} {}", c.level, binary_size(c.bytes)))
        .collect();
    format!(
        "{}, {} cores, {}{}",
        f.cpu_model.as_deref().unwrap_or(&f.arch),
        f.physical_cores,
        caches.join(", "),
        f.hypervisor
            .as_ref()
            .map_or(String::new(), |h| format!(", virtual ({h})"))
    )
}

fn binary_size(bytes: usize) -> String {
    if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) {
        format!("{} MB", bytes >> 20)
    } else {
        format!("{} KB", bytes >> 10)
    }
}
