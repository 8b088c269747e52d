//! Tests of the layout of text: lines that fit in the terminal, headings that are explained, answers that come first.

use crate::command::{bench, convroof, folder, measured};
use crate::committed::{Committed, committed};
use console::measure_text_width;
use convroof::record::Run;
use convroof::report::page::Page;
use convroof::report::{Row, terminal};
use predicates::prelude::*;
use std::path::Path;

type Report = fn(&Run, &[Row], &Page) -> String;

/// Fails if a line of a text is wider than `width`.
fn fits(text: &str, width: usize, what: &str) {
    for line in text.lines() {
        let columns = measure_text_width(line);
        assert!(
            columns <= width,
            "{what}: {columns} of {width} columns: {line}"
        );
    }
}

/// The headings of a table if the line consists of them.
fn headings(line: &str) -> Option<Vec<&str>> {
    let heads: Vec<&str> = line
        .split("  ")
        .map(str::trim)
        .filter(|h| !h.is_empty())
        .collect();
    let first = ["layer", "variant"].contains(heads.first()?);
    (first && heads.len() > 1 && !line.contains(": ")).then_some(heads)
}

/// Fails if a heading is not in the legend below its table. Returns the number of tables.
fn explains(text: &str, what: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let mut tables = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some(heads) = headings(line) else {
            continue;
        };
        tables += 1;
        let first = format!("{}: ", heads[0]);
        let legend = lines[at..]
            .iter()
            .skip_while(|line| !line.starts_with(&first));
        let legend: Vec<&str> = legend
            .take_while(|line| !line.is_empty())
            .copied()
            .collect();
        let legend = legend.join(" ");
        for head in heads {
            assert!(
                legend.contains(&format!("{head}: ")),
                "{what}: {head} in\n{legend}"
            );
        }
    }
    tables
}

#[test]
fn every_line_of_every_report_fits() {
    let reports: [Report; 2] = [terminal::verdicts, terminal::variants];
    for Committed { path, run, rows } in committed() {
        for show in reports {
            for width in [40, 80, 100, 132, 200] {
                let what = format!("{} at {width}", path.display());
                let text = show(run, rows, &Page::plain(width));
                fits(&text, width, &what);
                assert!(explains(&text, &what) > 0, "{what} has no table");
            }
            let wide = Page {
                wide: true,
                ..Page::plain(80)
            };
            let text = show(run, rows, &wide);
            explains(&text, "wide");
            assert!(
                !text.contains('…') && !text.contains("--wide"),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn a_record_is_reported_in_80_columns_unless_told_otherwise() {
    let dir = folder();
    let record =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("results/amd-epyc-2c-8fa605/nin-resnet50.json");
    let report = |columns: Option<&str>, more: &[&str]| {
        let mut command = convroof();
        command
            .env_remove("COLUMNS")
            .args(["report"])
            .arg(&record)
            .args(more);
        command.arg("--html").arg(dir.path().join("report.html"));
        if let Some(columns) = columns {
            command.env("COLUMNS", columns);
        }
        let out = command.assert().success();
        String::from_utf8(out.get_output().stdout.clone()).expect("UTF-8")
    };
    let is_path = |line: &&str| line.starts_with("Report: ");
    let widest = |text: &str| {
        let lines = text.lines().filter(|line| !is_path(line));
        lines.map(measure_text_width).max().expect("lines")
    };
    let text = report(None, &[]);
    assert!((70..=80).contains(&widest(&text)), "{text}");
    assert!(!text.contains("flop/byte  "), "{text}");
    let text = report(Some("60"), &[]);
    assert!((50..=60).contains(&widest(&text)), "{text}");
    let text = report(None, &["--wide"]);
    assert!(text.contains("flop/byte") && widest(&text) > 100, "{text}");
    let conclusions = text
        .lines()
        .filter(|line| line.starts_with("resnet50, 2 threads: "));
    assert_eq!(conclusions.count(), 2, "{text}");
}

#[test]
fn bench_answers_first() {
    let dir = folder();
    let out = bench(&dir.path().join("a.json"))
        .env_remove("COLUMNS")
        .assert()
        .success();
    let text = String::from_utf8(out.get_output().stdout.clone()).expect("UTF-8");
    fits(&text, Page::WIDTH, "bench");
    assert!(explains(&text, "bench") > 0, "{text}");
    let (answer, table) = (text.find("is the fastest"), text.find("All variants"));
    assert!(answer.is_some() && answer < table, "{text}");
    assert!(text.find("scalar") > table, "{text}");
}

#[test]
fn other_commands_fit_in_80_columns_too() {
    let dir = folder();
    let record = dir.path().join("a.json");
    measured(&record);
    let record = record.to_str().expect("UTF-8");
    for args in [
        &["compare", record, record][..],
        &["tune", "--network", "lenet5", "--threads", "1"],
        &["net", "lenet5", "--threads", "1", "--budget", "0.1"],
        &["calibrate", "--threads", "1"],
    ] {
        let mut command = convroof();
        command
            .current_dir(dir.path())
            .env_remove("COLUMNS")
            .args(args);
        let out = command.assert().success();
        let text = String::from_utf8(out.get_output().stdout.clone()).expect("UTF-8");
        fits(&text, Page::WIDTH, args[0]);
    }
}

#[test]
fn an_interrupted_record_says_so_in_every_report() {
    let dir = folder();
    let record = dir.path().join("a.json");
    measured(&record);
    let text = std::fs::read_to_string(&record).expect("read");
    let text = text.replace("\"complete\": true", "\"complete\": false");
    std::fs::write(
        &record,
        text.replace("\"complete\":true", "\"complete\":false"),
    )
    .expect("written");
    let html = dir.path().join("report.html");
    for more in [&[][..], &["--markdown"]] {
        let mut command = convroof();
        command
            .arg("report")
            .arg(&record)
            .args(more)
            .arg("--html")
            .arg(&html);
        let said = predicate::str::contains("The run was interrupted: it measured 1 of 1 problem");
        command.assert().success().stdout(said);
    }
    let html = std::fs::read_to_string(&html).expect("read");
    assert!(html.contains("The run was interrupted"));
}
