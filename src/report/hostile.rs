//! Hostile records: their strings are attacks that must stay inert in every report.
//!
//! The tests walk the JSON of a record, of an answer to a claim and of a history. So they attack every string,
//! including new fields. Each report of an attacked record must have the same structure as its twin with harmless
//! characters. The test compares the numbers of quotation marks, angle brackets, bars, lines and so on.

use super::document::Source;
use super::html::tests::static_part;
use super::page::Page;
use super::{Series, best_rows, html, markdown, picture, rows, terminal, versus};
use crate::claims::{Answer, Figure, Holds};
use crate::record::tests::{in_two_types, sample};
use crate::record::{CounterSource, CounterStatus, Run};
use crate::regress::history::{Doubt, Entry, page, series};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;

/// All special characters, each after a mark. The `z` at the end separates the last mark from the text that follows.
const ATTACK: &str = "\"x9\"x9'x9<x9>x9&x9`x9|x9\nx9\rx9\u{1b}[2Jx9\u{9b}x9\u{202e}x9\u{2066}x9@x9[x9](x9*x9_x9#x9\\x9z";

/// A text with as many harmless characters.
fn harmless() -> String {
    "h".repeat(ATTACK.chars().count())
}

/// A record with something in every field that reports show: two types, a peer, cold caches, notes, missing counters.
fn full() -> Run {
    let mut run = in_two_types();
    let warm = run.measurements[0].clone();
    let mut other = warm.clone();
    other.cache = "weights-cold".into();
    run.measurements.push(other);
    let mut peer = warm;
    peer.variant = "peer-onednn-any/auto/st".into();
    peer.implementation = Some("jit:avx2".into());
    peer.samples_ns = peer.samples_ns.iter().map(|ns| ns / 2.0).collect();
    run.measurements.push(peer);
    run.tool.git_revision = Some("0123456789abcdef".into());
    run.tool.rustc = Some("rustc 1.95.0".into());
    let machine = &mut run.fingerprint;
    for (field, text) in [
        (&mut machine.cpu_model, "A CPU"),
        (&mut machine.hypervisor, "KVM"),
        (&mut machine.kernel, "6.1"),
        (&mut machine.huge_pages, "always"),
    ] {
        *field = Some(text.into());
    }
    run.calibration.peaks.push(crate::record::Peak {
        isa: "scalar".into(),
        gflops: 40.0,
        ..run.calibration.peaks[0].clone()
    });
    run.calibration.notes = vec!["a note of the calibration".into()];
    run.notes = vec!["a note of the run".into()];
    run.peers = vec!["a peer 1.0".into()];
    run.counters.push(CounterStatus {
        event: "cycles".into(),
        source: CounterSource::Pmu,
        available: false,
        reason: Some("a reason".into()),
    });
    run
}

/// All distinct strings of a document.
fn strings(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            found.insert(text.clone());
        }
        Value::Array(values) => values.iter().for_each(|v| strings(v, found)),
        Value::Object(fields) => fields.values().for_each(|v| strings(v, found)),
        _ => {}
    }
}

/// The document with `more` appended to `text` in every string that equals or contains it. So names that refer to
/// each other still match.
fn with(value: &Value, text: &str, whole: bool, more: &str) -> Value {
    match value {
        Value::String(own) if own == text => Value::String(format!("{own}{more}")),
        Value::String(own) if !whole => Value::String(own.replace(text, &format!("{text}{more}"))),
        Value::Array(values) => {
            Value::Array(values.iter().map(|v| with(v, text, whole, more)).collect())
        }
        Value::Object(fields) => {
            let with = |(key, v): (&String, &Value)| (key.clone(), with(v, text, whole, more));
            Value::Object(fields.iter().map(with).collect())
        }
        other => other.clone(),
    }
}

/// Calls `check` with the output of `show` for an attacked document and for its harmless twin, for each string.
/// Returns the number of strings that were shown. Strings from a fixed set of values can't be attacked.
fn attack<T: Serialize + DeserializeOwned, O>(
    document: &T,
    show: impl Fn(&T) -> O,
    check: impl Fn(&str, &O, &O),
) -> usize {
    let value = serde_json::to_value(document).expect("JSON");
    let mut found = BTreeSet::new();
    strings(&value, &mut found);
    let mut shown = 0;
    for text in found.iter().filter(|text| !text.is_empty()) {
        for whole in [true, false] {
            let read = |more: &str| serde_json::from_value(with(&value, text, whole, more));
            let (Ok(attacked), Ok(twin)) = (read(ATTACK), read(&harmless())) else {
                continue;
            };
            check(text, &show(&attacked), &show(&twin));
            shown += 1;
        }
    }
    shown
}

/// Asserts that an attacked text has as many of some characters as its twin, and no active ones.
fn same_structure(field: &str, special: &str, attacked: &str, twin: &str) {
    for c in special.chars() {
        let count = |text: &str| text.matches(c).count();
        assert_eq!(
            count(attacked),
            count(twin),
            "{c:?} by way of {field:?}:\n{attacked}"
        );
    }
    let acts = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}".contains(c);
    assert!(!attacked.contains(acts), "by way of {field:?}:\n{attacked}");
}

#[test]
fn nothing_of_a_record_is_alive_in_a_page_or_a_picture() {
    let show = |run: &Run| {
        let all = rows(run);
        let threads = run.conditions.threads[0];
        let network = run.layers[0].network.clone();
        let series = Series {
            network: &network,
            dt: &run.layers[0].dt,
            threads,
        };
        let best = best_rows(&all, series);
        let duels = versus::duels(run, &all, series);
        let shown = picture::with_peers(&all, &best, &duels);
        let title = run.fingerprint.cpu_model.as_deref().unwrap_or_default();
        let picture = picture::picture(run, &shown, threads, title, true).unwrap_or_default();
        [static_part(&html::html(run)).to_string(), picture]
    };
    let reached = std::cell::Cell::new(0);
    let shown = attack(&full(), show, |field, attacked, twin| {
        for (attacked, twin) in attacked.iter().zip(twin) {
            same_structure(field, "<>\"'\n", attacked, twin);
            reached.set(reached.get() + usize::from(attacked.contains("x9&quot;x9&#39;x9&lt;x9")));
            // Every ampersand begins an entity.
            for rest in attacked.split('&').skip(1) {
                let name = rest.split(';').next().unwrap_or_default();
                let known = ["amp", "lt", "gt", "quot", "#39"];
                assert!(known.contains(&name), "&{name} by way of {field:?}");
            }
        }
    });
    assert!(
        shown > 50 && reached.get() > 30,
        "{shown} {}",
        reached.get()
    );
}

#[test]
fn nothing_of_a_record_is_alive_in_a_terminal() {
    // On a page without an end no line wraps, so an attack and its twin have the same lines.
    let page = Page {
        wide: true,
        ..Page::plain(1_000_000)
    };
    let show = |run: &Run| {
        let rows = rows(run);
        let own = terminal::verdicts(run, &rows, &page) + &terminal::variants(run, &rows, &page);
        (own.clone(), crate::escape::lines(&own, false).into_owned())
    };
    let shown = attack(&full(), show, |field, attacked, twin| {
        same_structure(field, "\n", &attacked.0, &twin.0);
        // The escaping of the last step has nothing to change.
        assert_eq!(attacked.0, attacked.1, "by way of {field:?}");
    });
    assert!(shown > 50, "{shown}");
}

#[test]
fn nothing_of_a_record_is_alive_in_markdown() {
    let show = |run: &Run| markdown::markdown(run, &rows(run));
    let reached = std::cell::Cell::new(0);
    let shown = attack(&full(), show, |field, attacked, twin| {
        same_structure(field, "|\n", attacked, twin);
        for line in attacked.lines() {
            // In code, nothing is markup.
            let pieces: Vec<&str> = line.split('`').collect();
            assert_eq!(pieces.len() % 2, 1, "by way of {field:?}: {line}");
            for text in pieces.iter().step_by(2) {
                assert!(!text.contains("x9"), "by way of {field:?}: {line}");
            }
            reached.set(reached.get() + usize::from(line.contains("x9")));
        }
    });
    assert!(
        shown > 50 && reached.get() > 20,
        "{shown} {}",
        reached.get()
    );
}

#[test]
fn nothing_of_an_answer_is_alive_in_a_page() {
    let answer = Answer {
        number: 3,
        claim: "One is two.".into(),
        holds: Holds::InPart,
        answer: "sometimes".into(),
        evidence: vec![Figure {
            what: "a figure".into(),
            value: 1.0,
            unit: "MiB".into(),
            measured: true,
            ci: Some((0.5, 1.5)),
        }],
    };
    let run = sample();
    let show = |answer: &Answer| {
        let source = Source {
            file: "a.json",
            run: &run,
            claims: std::slice::from_ref(answer),
        };
        static_part(&html::page(&[(source, &rows(&run))], None)).to_string()
    };
    let shown = attack(&answer, show, |field, attacked, twin| {
        same_structure(field, "<>\"'\n", attacked, twin);
        assert!(attacked.contains("x9&quot;x9"), "{field}");
    });
    assert!(shown >= 8, "{shown}");
}

#[test]
fn nothing_of_a_history_is_alive_in_its_page() {
    let mut run = sample();
    run.tool.git_revision = Some("0123456789abcdef".into());
    let entry = |run: &Run, day: usize, cost: f64| {
        let mut entry = Entry::of(run);
        entry.started = format!("2026-11-{day:02}T00:00:00Z");
        entry.points[0].cost *= cost;
        entry
    };
    let entries: Vec<Entry> = (1..25)
        .map(|day| {
            entry(
                &run,
                day,
                if day < 14 { 1.0 } else { 1.06 } + 0.0001 * (day % 3) as f64,
            )
        })
        .collect();
    let show = |entries: &Vec<Entry>| {
        let doubt = Doubt {
            line: 1,
            why: entries[0].kind.clone(),
        };
        page::page(entries, &series(entries), &[doubt])
    };
    let shown = attack(&entries, show, |field, attacked, twin| {
        same_structure(field, "<>\"'\n", attacked, twin);
    });
    assert!(shown > 20, "{shown}");
}
