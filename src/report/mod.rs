//! Reports of a run: rows, and from them tables for the terminal, Markdown and HTML.
//!
//! In reading order: `rows.rs` (a run as one row for each layer, variant and number of threads), [`types`] (layers in
//! several element types), [`versus`] (comparison with peers), [`why`] (evidence behind verdicts), [`conclusion`] (a
//! sentence for each network), [`advice`] (what would help), this file (other sentences that several reports have), [`page`] and [`table`] (layout of
//! text), [`terminal`], [`markdown`], [`svg`] and [`picture`] (rooflines), [`document`] (everything that a page shows),
//! [`html`], [`trackers`] (formats of services that track benchmarks).

pub mod advice;
pub mod conclusion;
pub mod document;
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
pub mod trackers;
pub mod types;
pub mod versus;
pub mod why;

pub use rows::{NetworkTotal, Row, Series, best_rows, rows, ties, totals};

use crate::noise::Noise;
use crate::record::{CounterSource, Run, Text};
use crate::stats::SCATTERED;
use crate::units::{bytes, plural, threads};
use convroof_kernels::Problem;
use convroof_kernels::probe::Arithmetic;
use serde::Serialize;

/// The lines at the top of every report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Head {
    /// The machine, its noise, and the ratios of its peaks.
    pub facts: Vec<String>,
    /// Warnings.
    pub warnings: Vec<String>,
}

impl Head {
    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.facts.iter().chain(&self.warnings)
    }
}

/// The lines at the top of every report.
pub fn head(run: &Run) -> Head {
    let noise = format!("{}.", noise_line(run));
    let facts = [machine_line(run), noise].into_iter();
    Head {
        facts: facts.chain(peaks_line(run)).collect(),
        warnings: interruption(run)
            .map(|line| format!("{line}."))
            .into_iter()
            .collect(),
    }
}

/// A sentence about the peaks of other types than f32, as multiples of the f32 peak; none without any.
fn peaks_line(run: &Run) -> Option<String> {
    let ratios = peak_ratios(run);
    let on = threads(*run.conditions.threads.first()?);
    let mut parts = ratios
        .iter()
        .map(|(arithmetic, ratio)| format!("{} {ratio:.1} x", arithmetic.name()));
    let first = format!("{} f32", parts.next()?);
    let parts: Vec<String> = std::iter::once(first).chain(parts).collect();
    Some(format!("Measured peaks on {on}: {}.", parts.join(", ")))
}

/// The highest peak of each other type than f32 over that of f32, on the first number of threads. The largest ratio comes
/// first.
fn peak_ratios(run: &Run) -> Vec<(Arithmetic, f64)> {
    let threads = run.conditions.threads.first();
    let highest = |arithmetic| {
        let peaks = run.calibration.peaks.iter();
        let own =
            peaks.filter(|p| p.arithmetic() == Some(arithmetic) && Some(&p.threads) == threads);
        own.map(|p| p.gflops).max_by(f64::total_cmp)
    };
    let others = [Arithmetic::Int8, Arithmetic::Bf16].into_iter();
    let mut ratios: Vec<_> = others
        .filter_map(|a| Some((a, highest(a)? / highest(Arithmetic::F32)?)))
        .collect();
    ratios.sort_by(|a, b| b.1.total_cmp(&a.1));
    ratios
}

/// Ratio of peaks below which a type is slower than f32, by more than noise.
const SLOWER: f64 = 0.95;

/// A note on each type whose arithmetic is slower than that of f32.
fn slow_types(run: &Run) -> impl Iterator<Item = String> {
    let slow = peak_ratios(run)
        .into_iter()
        .filter(|(_, ratio)| *ratio < SLOWER);
    slow.map(|(arithmetic, ratio)| {
        let name = arithmetic.name();
        format!("the measured {name} peak is {ratio:.2} x that of f32: layers in {name} may gain by fewer bytes, not by faster arithmetic")
    })
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
/// calibration, then types with slow arithmetic.
pub fn notes(run: &Run, rows: &[Row]) -> Vec<String> {
    let errors = rows.iter().filter_map(Row::impossible);
    let errors = errors.map(|why| format!("Error: {why}: calibrate again."));
    let notes = run.notes.iter().chain(&run.calibration.notes).cloned();
    let notes = notes.chain(slow_types(run));
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
    use crate::record::tests::{in_two_types, sample};

    /// Every report of a run, by its name.
    fn reports(run: &Run) -> Vec<(&'static str, String)> {
        let rows = rows(run);
        vec![
            (
                "terminal",
                terminal::verdicts(run, &rows, &page::Page::plain(1000)),
            ),
            ("Markdown", markdown::markdown(run, &rows)),
            (
                "HTML",
                html::tests::static_part(&html::html(run)).to_string(),
            ),
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
    fn peaks_of_types_are_multiples_of_f32() {
        let mut run = in_two_types();
        let line = "Measured peaks on 1 thread: int8 2.0 x f32.";
        for (name, text) in reports(&run) {
            assert!(text.contains(line), "{name}: {text}");
            assert!(!text.contains("fewer bytes, not"), "{name}: {text}");
        }
        run.calibration.peaks.push(crate::record::Peak {
            dt: "bf16".into(),
            gflops: 59.0,
            ..run.calibration.peaks[0].clone()
        });
        for (name, text) in reports(&run) {
            let line = "Measured peaks on 1 thread: int8 2.0 x f32, bf16 0.5 x.";
            assert!(text.contains(line), "{name}: {text}");
            let note = "Note: the measured bf16 peak is 0.50 x that of f32";
            assert!(text.contains(note), "{name}: {text}");
        }
        assert_eq!(head(&sample()).facts.len(), 2);
    }

    #[test]
    fn what_changes_with_the_type_is_in_every_report() {
        for (name, text) in reports(&types::tests::changing()) {
            let sentence = "in u8 2.00 times as fast as in f32; 1 of 1 layer changes";
            assert!(text.contains(sentence), "{name}: {text}");
            assert!(
                text.contains("what changes with the type"),
                "{name}: {text}"
            );
        }
        for (name, text) in reports(&sample()) {
            assert!(
                !text.contains("what changes with the type"),
                "{name}: {text}"
            );
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
