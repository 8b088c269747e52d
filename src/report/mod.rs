//! Reports of a run: rows, and from them tables for the terminal, Markdown and HTML.
//!
//! In reading order: `rows.rs` (a run as one row for each layer, variant and number of threads), [`versus`]
//! (comparison with peers), [`why`] (evidence behind verdicts), [`conclusion`] (a sentence for each network), this file
//! (other sentences that several reports have), [`page`] and [`table`] (layout of text), [`terminal`], [`markdown`],
//! [`svg`] and [`picture`] (rooflines), [`html`].

pub mod conclusion;
#[cfg(test)]
mod hostile;
pub mod html;
pub mod markdown;
pub mod page;
pub mod picture;
mod rows;
pub mod svg;
pub mod table;
pub mod terminal;
pub mod versus;
pub mod why;

pub use rows::{NetworkTotal, Row, best_rows, rows, ties, totals};

use crate::noise::Noise;
use crate::record::{CounterSource, Run, Text};
use crate::stats::SCATTERED;
use crate::units::{bytes, plural};
use convroof_kernels::Problem;

/// The lines at the top of every report: the machine, its noise, then warnings.
pub fn head(run: &Run) -> Vec<String> {
    let noise = format!("{}.", noise_line(run));
    let interruption = interruption(run).map(|line| format!("{line}."));
    let lines = [machine_line(run), noise].into_iter();
    lines.chain(interruption).collect()
}

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

/// The lines at the end of every report: kernels that are faster than a ceiling permits, then notes of the run and of its
/// calibration.
pub fn notes(run: &Run, rows: &[Row]) -> Vec<String> {
    let errors = rows.iter().filter_map(Row::impossible);
    let errors = errors.map(|why| format!("Error: {why}: calibrate again."));
    let notes = run.notes.iter().chain(&run.calibration.notes);
    errors
        .chain(notes.map(|note| format!("Note: {note}.")))
        .collect()
}

/// A sentence for a run that a signal or an error ended early; none if it is complete.
pub fn interruption(run: &Run) -> Option<String> {
    let all = distinct(run.layers.iter().map(|l| &l.problem));
    let measured = distinct(run.measurements.iter().map(|m| &m.problem));
    (!run.complete).then(|| {
        format!(
            "The run was interrupted: it measured {measured} of {}",
            plural(all, "problem")
        )
    })
}

fn distinct<'a>(problems: impl Iterator<Item = &'a Text<Problem>>) -> usize {
    problems.collect::<std::collections::BTreeSet<_>>().len()
}

/// How much the run was disturbed, and what can be trusted: the line below the machine in every report.
pub fn noise_line(run: &Run) -> String {
    Noise::of_run(run).line()
}

/// Each [mark](Row::marks) that some row has, and its meaning.
pub fn legend<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<(&'static str, String)> {
    let marks: String = rows.into_iter().map(Row::marks).collect();
    let legend = meanings().into_iter();
    legend.filter(|(mark, _)| marks.contains(mark)).collect()
}

/// Each [mark](Row::marks) behind a time, and its meaning.
pub fn meanings() -> [(&'static str, String); 2] {
    let few = format!("fewer than {} samples", Row::FEW);
    let scattered = format!(
        "scattered samples: the 95 % interval of the median is wider than {:.0} % of it",
        100.0 * SCATTERED
    );
    [("*", few), ("~", scattered)]
}

/// The machine in a line.
pub fn machine_line(run: &Run) -> String {
    let f = &run.fingerprint;
    let caches: Vec<String> = f
        .caches
        .iter()
        .map(|c| format!("L{} {}", c.level, bytes(c.bytes as f64)))
        .collect();
    format!(
        "{}, {}, {}{}",
        f.cpu_model.as_deref().unwrap_or(&f.arch),
        plural(f.physical_cores, "core"),
        caches.join(", "),
        f.hypervisor
            .as_ref()
            .map_or(String::new(), |h| format!(", virtual ({h})"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    /// Every report of a run, by its name.
    fn reports(run: &Run) -> Vec<(&'static str, String)> {
        let rows = rows(run);
        vec![
            (
                "terminal",
                terminal::verdicts(run, &rows, &page::Page::plain(1000)),
            ),
            ("Markdown", markdown::markdown(run, &rows)),
            ("HTML", html::html(run)),
        ]
    }

    #[test]
    fn noise_is_said_before_any_result() {
        let run = sample();
        let line = noise_line(&run);
        for (name, text) in reports(&run) {
            let noise = text.find(&line).expect(name);
            let result = text.find("direct/avx2/st").expect(name);
            assert!(noise < result, "{name}: {text}");
        }
    }

    #[test]
    fn marks_and_their_meanings_are_in_every_report() {
        let mut run = sample();
        let marked = |run: &Run, mark: &str, meaning: &str| {
            assert_eq!(rows(run)[0].marks(), mark);
            for (name, text) in reports(run) {
                let has = |part: &str| text.contains(part);
                assert_eq!(has(meaning), !mark.is_empty(), "{name}: {text}");
                let behind = [format!(" ms{mark}"), format!(" ms `{mark}`")];
                assert!(behind.iter().any(|b| has(b)), "{name}: {text}");
            }
        };
        run.measurements[0].samples_ns = vec![2.0e6; 9];
        marked(&run, "", "scattered samples");
        run.measurements[0].samples_ns = vec![2.0e6, 2.0e6, 2.0e6, 4.0e6, 4.0e6, 4.0e6];
        marked(&run, "~", "scattered samples");
        run.measurements[0].samples_ns = vec![2.0e6; 2];
        marked(&run, "*", "fewer than 5 samples");
        run.measurements[0].samples_ns = vec![2.0e6, 4.0e6];
        marked(&run, "*~", "fewer than 5 samples");
        marked(&run, "*~", "scattered samples");
    }
}
