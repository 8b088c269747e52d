//! Tests of records: reports, comparisons, counts and histories.

use crate::command::{bench, convroof, folder, json_lines, measured, walk};
use predicates::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;

/// Copies of one small record in a folder.
fn copies(names: &[&str]) -> tempfile::TempDir {
    let dir = folder();
    for name in names {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        measured(&path);
    }
    dir
}

#[test]
fn several_records_are_one_page() {
    let dir = copies(&["a.json", "b.json", "c.json"]);
    convroof()
        .current_dir(dir.path())
        .args(["report", "a.json", "b.json", "c.json"])
        .assert()
        .success()
        .stdout(predicate::str::contains("C takes 1.00 times as"))
        .stdout(predicate::str::contains("Report: compare.html"));
    let html = std::fs::read_to_string(dir.path().join("compare.html")).expect("a page");
    assert!(html.contains("C: c.json") && html.contains("</html>"));
    for (words, why) in [
        (&["a.json", "nowhere.json"][..], "can't read nowhere.json"),
        (
            &["a.json", "b.json", "--markdown"],
            "--markdown takes one record: 2 are given",
        ),
        (&["a.json", "b.json", "--json"], "takes one record"),
        (
            &["a.json", "b.json", "--format", "bencher"],
            "takes one record",
        ),
    ] {
        convroof()
            .current_dir(dir.path())
            .arg("report")
            .args(words)
            .assert()
            .code(2)
            .stdout("")
            .stderr(predicate::str::contains(why))
            .stderr(predicate::function(|text: &str| text.lines().count() == 1));
    }
}

#[test]
fn a_folder_of_records_has_pages() {
    let dir = copies(&["gathered/one/runs/a.json", "gathered/two/b.json"]);
    let report = |words: &[&str]| {
        let mut command = convroof();
        let command = command.current_dir(dir.path());
        command
            .args(["report", "--results", "gathered"])
            .args(words)
            .assert()
    };
    report(&[])
        .success()
        .stdout(predicate::str::contains("index.html"));
    let gathered = dir.path().join("gathered");
    let read = |name: &str| std::fs::read_to_string(gathered.join(name)).expect(name);
    assert!(read("index.html").contains("2 records of 1 machine"));
    assert!(read("fleet.html").contains("Networks, in fractions of the roof"));
    assert!(read("one/runs/a.html").contains("</html>") && read("two/b.html").contains("</html>"));
    report(&["--markdown"])
        .code(2)
        .stderr(predicate::str::contains("is a folder of records"));
    report(&["--html", "x.html"])
        .code(2)
        .stderr(predicate::str::contains("are written into it"));
}

#[test]
fn trackers_get_their_formats() {
    let dir = copies(&["a.json"]);
    let said = |format: &str| -> Value {
        let mut command = convroof();
        let command = command.current_dir(dir.path());
        let out = command
            .args(["report", "a.json", "--format", format])
            .assert()
            .success();
        serde_json::from_slice(&out.get_output().stdout).expect("JSON")
    };
    let bencher = said("bencher");
    let measures = bencher.as_object().expect("an object").values();
    for measure in measures.clone() {
        assert!(
            measure["latency"]["value"].as_f64() > Some(0.0),
            "{measure}"
        );
    }
    let list = said("github-action-benchmark");
    assert_eq!(list.as_array().map(Vec::len), Some(measures.count()));
    for benchmark in list.as_array().expect("a list") {
        assert_eq!(benchmark["unit"], "ns");
        assert!(benchmark["name"].is_string() && benchmark["value"].is_f64());
    }
    assert_eq!(walk(dir.path()).len(), 1, "no page is written");
}

#[test]
fn markdown_may_link_the_page() {
    let dir = copies(&["a.json"]);
    let report = |link: &str| {
        let mut command = convroof();
        let command = command.current_dir(dir.path());
        command
            .args(["report", "a.json", "--markdown", "--link", link])
            .assert()
    };
    let shown = predicate::str::contains("[The whole report](https://example.com/1)");
    report("https://example.com/1").success().stdout(shown);
    report("javascript:alert(1)")
        .code(2)
        .stderr(predicate::str::contains("expected an address"));
}

#[test]
fn bench_report_and_compare_go_together() {
    let dir = folder();
    let (a, b) = (dir.path().join("a.json"), dir.path().join("b.json"));
    let out = bench(&a).arg("--json").assert().success();
    let rows = json_lines(&out.get_output().stdout);
    assert!(!rows.is_empty());
    for row in &rows {
        assert_eq!(row["verified"], true);
        assert_eq!(row["network"], "custom");
        assert!(row["median_ns"].as_f64().expect("a time") > 0.0);
        assert!(row["gflops_nominal"].as_f64().expect("a rate") > 0.0);
    }

    // The output of a bench matches the committed schema.
    let schema: Value =
        serde_json::from_str(include_str!("../../results/schema/run-v1.json")).expect("JSON");
    let record: Value =
        serde_json::from_str(&std::fs::read_to_string(&a).expect("read")).expect("JSON");
    let errors: Vec<String> = jsonschema::validator_for(&schema)
        .expect("a schema")
        .iter_errors(&record)
        .map(|e| format!("{e} at {}", e.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(record["complete"], true);

    let html = dir.path().join("report.html");
    convroof()
        .arg("report")
        .arg(&a)
        .arg("--html")
        .arg(&html)
        .assert()
        .success()
        .stdout(predicate::str::contains("bound by"));
    assert!(
        std::fs::read_to_string(&html)
            .expect("read")
            .contains("</html>")
    );
    convroof()
        .arg("report")
        .arg(&a)
        .arg("--html")
        .arg(&html)
        .arg("--markdown")
        .assert()
        .success()
        .stdout(predicate::str::contains("| layer |"));
    let svg = dir.path().join("roofline.svg");
    convroof()
        .arg("report")
        .arg(&a)
        .args(["--network", "custom", "--threads", "1", "--svg"])
        .arg(&svg)
        .assert()
        .success();
    assert!(
        std::fs::read_to_string(&svg)
            .expect("read")
            .starts_with("<svg")
    );

    // Compared with itself, no measurement is slower.
    convroof()
        .arg("compare")
        .args([&a, &a])
        .assert()
        .success()
        .stdout(predicate::str::contains("geometric mean"));
    // Against a record with half the times: exit code 1, and the error names the variant.
    let mut fast = record;
    for m in fast["measurements"].as_array_mut().expect("a list") {
        for t in m["samples_ns"].as_array_mut().expect("a list") {
            *t = Value::from(t.as_f64().expect("a time") / 2.0);
        }
    }
    std::fs::write(&b, fast.to_string()).expect("written");
    convroof()
        .arg("compare")
        .args([&b, &a])
        .assert()
        .code(1)
        .stdout(
            predicate::str::contains("slower")
                .and(predicate::str::contains("few samples ("))
                .and(predicate::str::contains("convroof ab measures both builds")),
        )
        .stderr(predicate::str::contains("are slower"));
    let compared = convroof()
        .arg("compare")
        .args([&b, &a])
        .arg("--json")
        .assert()
        .code(1);
    for row in json_lines(&compared.get_output().stdout) {
        let few = row["samples"][0].as_u64() < Some(5);
        assert_eq!(row["cant_tell"] == "few_samples", few, "{row}");
        assert_eq!(row["ratio_ci"].is_array(), !few, "{row}");
        let told = row["slower"] == true || row["faster"] == true;
        assert!(!told || row["cant_tell"].is_null(), "{row}");
    }
    // A record of another machine is refused.
    fast["fingerprint"]["id"] = "elsewhere".into();
    std::fs::write(&b, fast.to_string()).expect("written");
    convroof()
        .arg("compare")
        .args([&a, &b])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("--force"));
}

#[test]
fn a_comparison_says_what_only_one_record_has() {
    let dir = folder();
    let (a, b) = (dir.path().join("a.json"), dir.path().join("b.json"));
    measured(&a);
    let text = std::fs::read_to_string(&a).expect("read");
    std::fs::write(&b, text.replace("winograd-f2x3/", "winograd-f4x3/")).expect("written");
    let compared = convroof()
        .arg("compare")
        .args([&a, &b])
        .args(["--json", "--threshold", "900", "--allow-missing"])
        .assert()
        .success();
    let lines = json_lines(&compared.get_output().stdout);
    let only = |side: &str, variant: &str| {
        let found = lines.iter().filter(|l| l["only_in"] == side);
        found.clone().count() > 0
            && found
                .clone()
                .all(|l| l["what"].as_str().expect("text").contains(variant))
    };
    assert!(
        only("A", "winograd-f2x3/") && only("B", "winograd-f4x3/"),
        "{lines:?}"
    );
    assert!(lines.iter().any(|l| l["ratio"].is_number()));
}

/// Bytes follow the types. Layers of other types are counted unless others are chosen.
#[test]
fn counts_of_layers_in_other_types() {
    let counts = |more: &[&str]| {
        let mut command = convroof();
        command.args(["counts", "--variant", "implicit-gemm/scalar/st", "--json"]);
        let out = command.args(more).assert().success();
        json_lines(&out.get_output().stdout)
    };
    let [row] = &counts(&["--problem", "--dt=u8:s8:u8 mb1ic16ih8oc16oh8kh3ph1"])[..] else {
        panic!("one row")
    };
    assert_eq!(row["dt"], "u8");
    assert_eq!(row["flops_nominal"], 2 * 16 * 16 * 9 * 64);
    assert_eq!(row["bytes_read"], 16 * 64 + 16 * 16 * 9);
    assert_eq!(row["bytes_written"], 16 * 64);
    let types = |rows: &[Value]| -> Vec<String> {
        let types = rows
            .iter()
            .map(|row| row["dt"].as_str().expect("a type").into());
        let distinct: BTreeSet<String> = types.collect();
        distinct.into_iter().collect()
    };
    assert_eq!(types(&counts(&[])), ["bf16", "f32", "s8", "u8"]);
    let nin = ["--network", "nin", "--layer", "cccp*"];
    assert_eq!(types(&counts(&nin)), ["f32"]);
    let typed = [&nin[..], &["--dt", "bf16,u8"]].concat();
    assert_eq!(types(&counts(&typed)), ["bf16", "u8"]);
}

#[test]
fn counts_are_compared_exactly() {
    let dir = folder();
    let counts = |how: &str| {
        let mut command = convroof();
        command
            .args(["counts", "--problem", "mb1ic16ih8oc16oh8kh3ph1", how])
            .arg(dir.path());
        command
    };
    counts("--check")
        .assert()
        .code(2)
        .stderr(predicate::str::contains(
            "write it with convroof counts --write",
        ));
    counts("--write").assert().success();
    counts("--check")
        .assert()
        .success()
        .stdout(predicate::str::contains("0 changed"));
    // One byte more and one row less: both are reported, and the exit code is 1.
    let file = dir.path().join("model.tsv");
    let text = std::fs::read_to_string(&file).expect("read");
    let row = text
        .lines()
        .find(|l| l.contains("direct/scalar/st"))
        .expect("a row");
    let (rest, last) = row.rsplit_once('\t').expect("numbers");
    let more = format!("{rest}\t{}", last.parse::<u64>().expect("a number") + 1);
    let gone = text
        .lines()
        .find(|l| l.contains("im2col/scalar/st"))
        .expect("a row");
    std::fs::write(
        &file,
        text.replace(row, &more).replace(&format!("{gone}\n"), ""),
    )
    .expect("written");
    counts("--check")
        .assert()
        .code(1)
        .stdout(
            predicate::str::contains("direct/scalar/st, threads 1: workspace_bytes")
                .and(predicate::str::contains("im2col/scalar/st, threads 1: new")),
        )
        .stderr(predicate::str::contains(
            "2 rows changed against the baseline",
        ));
    std::fs::write(&file, "# x\n?\n").expect("written");
    counts("--check")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("line 2"));
}

#[test]
fn runs_are_tracked_and_damage_is_kept() {
    let dir = folder();
    let (record, history) = (dir.path().join("a.json"), dir.path().join("history"));
    measured(&record);
    let text = std::fs::read_to_string(&record).expect("read");
    let mut run: Value = serde_json::from_str(&text).expect("JSON");
    let track = || {
        let mut command = convroof();
        command
            .arg("track")
            .arg(&record)
            .arg("--history")
            .arg(&history);
        command
    };
    // Runs of one kernel, 20 % slower from the eleventh on.
    for i in 0..20 {
        run["started"] = format!("2026-01-{:02}T00:00:00Z", i + 1).into();
        let mut slow = run.clone();
        for m in slow["measurements"].as_array_mut().expect("a list") {
            for t in m["samples_ns"].as_array_mut().expect("a list") {
                let wobble = 1.0 + 0.004 * f64::from(i * 7 % 5);
                let step = if i < 10 { 1.0 } else { 1.2 };
                *t = Value::from(t.as_f64().expect("a time") * wobble * step);
            }
        }
        std::fs::write(&record, slow.to_string()).expect("written");
        track().assert().success();
    }
    let out = track()
        .assert()
        .success()
        .stderr(predicate::str::contains("is in the history already"));
    let text = String::from_utf8_lossy(&out.get_output().stdout);
    // Without the breaks of lines.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["with run 11, 2026-01-11", "20 runs"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let files = walk(&history);
    let lines = files
        .iter()
        .find(|f| f.extension().is_some_and(|e| e == "jsonl"));
    let lines = lines.expect("a history");
    let html = std::fs::read_to_string(lines.with_extension("html")).expect("a page");
    assert!(html.contains("class=\"up\"") && html.contains("</html>"));
    // A truncated line is reported, skipped and kept.
    let mut text = std::fs::read_to_string(lines).expect("read");
    text.truncate(text.len() - 20);
    std::fs::write(lines, &text).expect("written");
    run["started"] = "2026-02-01T00:00:00Z".into();
    std::fs::write(&record, run.to_string()).expect("written");
    track().assert().success().stderr(predicate::str::contains(
        "line 20: it is truncated or damaged; it is kept",
    ));
    assert!(
        std::fs::read_to_string(lines)
            .expect("read")
            .starts_with(&text)
    );
}
