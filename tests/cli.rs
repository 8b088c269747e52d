//! The command line, from outside.

use assert_cmd::Command;
use convroof_kernels::Isa;
use convroof_kernels::isa::Ablation;
use predicates::prelude::*;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

fn convroof() -> Command {
    Command::cargo_bin("convroof").expect("built")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn json_lines(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// A bench of one small layer; its record goes to `record`.
fn bench(record: &Path) -> Command {
    let mut command = convroof();
    command.args([
        "bench",
        "--problem",
        "mb1ic16ih8oc16oh8kh3ph1",
        "--threads",
        "1",
        "--budget",
        "1",
    ]);
    command
        .args(["--variant", "direct/*,winograd-f2x3/*", "--out"])
        .arg(record);
    command
}

#[test]
fn bad_input_is_one_line_and_exit_code_2() {
    let dir = folder();
    let garbage = dir.path().join("garbage.json");
    std::fs::write(&garbage, "{").expect("written");
    let garbage = garbage.to_str().expect("UTF-8");
    for (args, part) in [
        (
            &["bench", "--network", "resnet51"][..],
            "unknown network 'resnet51': there are nin",
        ),
        (&["bench", "--network", ""], "names none"),
        (
            &["bench", "--network", "nin", "--layer", "nope"],
            "no layer of nin matches",
        ),
        (
            &["bench", "--variant", "direct/sse/st"],
            "no variant matches 'direct/sse/st'",
        ),
        (&["bench", "--network", "nin", "--threads", "0"], "use 1 to"),
        (
            &["bench", "--network", "nin", "--threads", "4096"],
            "use 1 to",
        ),
        (&["bench", "--network", "nin", "--batch", "0"], "batch is 0"),
        (
            &["bench", "--network", "nin", "--batch", "99999999999"],
            "must be below",
        ),
        (
            &["bench", "--network", "nin", "--budget", "0"],
            "expected seconds",
        ),
        (
            &["bench", "--network", "nin", "--budget", "nan"],
            "expected seconds",
        ),
        (&["bench", "--problem", "mb1ic64"], "ih is missing"),
        (
            &["bench", "--problem", "mb1ic64ih2oc64kh5"],
            "kernel spans 5",
        ),
        (
            &["bench", "--problem", "mb64ic512ih512oc512kh1"],
            "the limit is 16 GB",
        ),
        (&["report", garbage], "damaged"),
        (&["report", "/nowhere/run.json"], "can't read"),
        (
            &["report", "--results", "/nowhere"],
            "make one with convroof bench",
        ),
        (&["compare", garbage, garbage], "damaged"),
        (&["bench", "--resume", garbage], "damaged"),
        (&["check", "--threads", "0", "--small"], "use 1 to"),
        (
            &[
                "exec",
                "--variant",
                "x",
                "--problem",
                "mb1",
                "--src",
                "a",
                "--dst",
                "b",
            ],
            "expected <algorithm>",
        ),
        (&["frobnicate"], "unrecognized subcommand"),
    ] {
        // A folder of its own: a bad call leaves nothing behind.
        let own = folder();
        let assert = convroof()
            .current_dir(own.path())
            .args(args)
            .assert()
            .code(2);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(error.contains(part), "{args:?}: {error}");
        assert!(!error.contains("panicked"), "{args:?}: {error}");
        if args[0] != "frobnicate" {
            assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
        }
        let left = walk(own.path());
        assert!(left.is_empty(), "{args:?} left {left:?}");
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("listed").flatten() {
        if entry.path().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

#[test]
fn a_results_folder_that_is_a_file_is_refused() {
    let dir = folder();
    let file = dir.path().join("results");
    std::fs::write(&file, "").expect("written");
    let mut command = convroof();
    command
        .args(["bench", "--problem", "mb1ic16ih8oc16oh8kh3ph1", "--results"])
        .arg(&file);
    command.assert().code(2).stderr(predicate::str::contains(
        "choose another folder with --results",
    ));
}

#[test]
fn the_fastest_is_examined_warm_and_cold() {
    let isa = [Isa::Avx2, Isa::Neon].into_iter().find_map(Isa::detect);
    if isa.is_none_or(|isa| isa.without(Ablation::LoadsOnly).is_none()) {
        return; // A build without twins: `.ci/run` has one with them.
    }
    let dir = folder();
    let record = dir.path().join("run.json");
    let out = convroof()
        .args([
            "bench",
            "--problem",
            "mb1ic16ih8oc16oh8kh3ph1",
            "--threads",
            "1",
        ])
        .args([
            "--budget",
            "1",
            "--variant",
            "winograd-f2x3/avx2/*,winograd-f2x3/neon/*",
        ])
        .args(["--cache", "weights-cold,cold", "--json", "--out"])
        .arg(&record)
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let rows = json_lines(&out);
    let examined: Vec<&Value> = rows
        .iter()
        .filter(|r| r["witnesses"].as_array().expect("witnesses").len() > 1)
        .collect();
    let mut states: Vec<&str> = examined
        .iter()
        .map(|r| r["cache"].as_str().expect("text"))
        .collect();
    states.sort_unstable();
    assert_eq!(states, ["cold", "warm", "weights-cold"], "{rows:?}");
    for row in examined {
        assert!(row["verified"].as_bool().expect("verified"));
        assert!(row["predicted_ns"].as_f64().expect("a prediction") > 0.0);
        let confidence = row["confidence"].as_f64().expect("a number");
        assert!((0.0..1.0).contains(&confidence), "{row}");
        assert!(!row["reason"].as_str().expect("text").is_empty());
    }
    let resumed = convroof()
        .args(["bench", "--resume"])
        .arg(&record)
        .assert()
        .success();
    drop(resumed);
}

#[test]
fn an_unknown_state_of_the_caches_is_refused() {
    convroof()
        .args(["bench", "--cache", "tepid"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains(
            "--cache tepid: expected warm, weights-cold or cold",
        ));
}

#[test]
fn list_shows_every_variant_and_every_reason() {
    let out = convroof()
        .args(["list", "--json", "--network", "nin"])
        .assert()
        .success();
    let lines = json_lines(&out.get_output().stdout);
    let names: Vec<&str> = lines.iter().filter_map(|l| l["variant"].as_str()).collect();
    for family in [
        "direct",
        "im2col",
        "gemm-1x1",
        "winograd-f2x3",
        "winograd-f4x3",
        "maxpool",
        "avgpool",
        "global-avgpool",
    ] {
        for isa in ["scalar", "avx2", "avx512", "neon"] {
            for threading in ["st", "mt"] {
                let id = format!("{family}/{isa}/{threading}");
                assert!(names.contains(&id.as_str()), "{id}");
            }
        }
    }
    for line in &lines {
        let refused: usize = line["refusals"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|r| {
                assert!(!r["reason"].as_str().expect("text").is_empty());
                r["problems"].as_array().expect("a list").len()
            })
            .sum();
        let supported = line["supported"].as_u64().expect("a count") as usize;
        assert_eq!(
            supported + refused,
            line["problems"].as_u64().expect("a count") as usize
        );
    }
    convroof()
        .args(["list"])
        .assert()
        .success()
        .stdout(predicate::str::contains("the kernel is not 1x1"));
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
    bench(&b).assert().success();

    // What a bench writes fits the committed schema.
    let schema: Value =
        serde_json::from_str(include_str!("../results/schema/run-v1.json")).expect("JSON");
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

    // A record against itself: nothing is slower.
    convroof()
        .arg("compare")
        .args([&a, &a])
        .assert()
        .success()
        .stdout(predicate::str::contains("geometric mean"));
    // Against one that took half as long: exit code 1, and the variant is named.
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
        .stderr(predicate::str::contains("are slower"));
    // Another machine's is refused.
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
    bench(&a).assert().success();
    let text = std::fs::read_to_string(&a).expect("read");
    std::fs::write(&b, text.replace("winograd-f2x3/", "winograd-f4x3/")).expect("written");
    let compared = convroof()
        .arg("compare")
        .args([&a, &b])
        .args(["--json", "--threshold", "900"])
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
    // One byte more, a row less: both are named, and the exit code is 1.
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
        .stderr(predicate::str::contains("2 rows differ"));
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
    bench(&record).assert().success();
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
        .stdout(predicate::str::contains("with run 11, 2026-01-11"))
        .stderr(predicate::str::contains("is in the history already"));
    assert!(String::from_utf8_lossy(&out.get_output().stdout).contains("20 runs"));
    let files = walk(&history);
    let lines = files
        .iter()
        .find(|f| f.extension().is_some_and(|e| e == "jsonl"));
    let lines = lines.expect("a history");
    let html = std::fs::read_to_string(lines.with_extension("html")).expect("a page");
    assert!(html.contains("class=\"up\"") && html.contains("</html>"));
    // A line cut short: reported, passed over, kept.
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

#[test]
fn an_interrupted_bench_is_resumed() {
    let dir = folder();
    let path = dir.path().join("a.json");
    bench(&path)
        .args(["--problem", "mb1ic16ih9oc16oh9kh3ph1"])
        .assert()
        .success();
    let mut record: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("read")).expect("JSON");
    // As if it had been stopped after the first layer.
    let first = record["layers"][0]["problem"].clone();
    record["complete"] = false.into();
    let kept = |list: &Value| -> Value {
        list.as_array()
            .expect("a list")
            .iter()
            .filter(|m| m["problem"] == first)
            .cloned()
            .collect()
    };
    record["measurements"] = kept(&record["measurements"]);
    record["refusals"] = kept(&record["refusals"]);
    std::fs::write(&path, record.to_string()).expect("written");
    convroof()
        .args([
            "bench",
            "--variant",
            "direct/*,winograd-f2x3/*",
            "--budget",
            "1",
            "--resume",
        ])
        .arg(&path)
        .assert()
        .success();
    let resumed: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("read")).expect("JSON");
    assert_eq!(resumed["complete"], true);
    assert_eq!(
        resumed["measurements"][0], record["measurements"][0],
        "what there was is kept"
    );
    let second = &resumed["layers"][1]["problem"];
    assert!(
        resumed["measurements"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|m| &m["problem"] == second)
    );
}

/// Writes an array of f32 as NumPy does.
fn npy(path: &Path, shape: &[u64], values: &[f32]) {
    use npyz::WriterBuilder;
    let file = std::fs::File::create(path).expect("created");
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(shape)
        .writer(file)
        .begin_nd()
        .expect("begun");
    writer.extend(values.iter().copied()).expect("written");
    writer.finish().expect("finished");
}

#[test]
fn exec_computes_on_arrays() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    npy(&path("x.npy"), &[1, 1, 3, 3], &[1.0; 9]);
    npy(
        &path("w.npy"),
        &[2, 1, 3, 3],
        &[[1.0f32; 9], [-1.0; 9]].concat(),
    );
    npy(&path("b.npy"), &[2], &[0.5, -0.5]);
    let exec = |weights: &str| {
        let mut command = convroof();
        command.args([
            "exec",
            "--variant",
            "direct/scalar/st",
            "--problem",
            "mb1ic1ih3oc2oh3kh3ph1",
        ]);
        command
            .arg("--src")
            .arg(path("x.npy"))
            .arg("--weights")
            .arg(path(weights));
        command
            .arg("--bias")
            .arg(path("b.npy"))
            .arg("--dst")
            .arg(path("y.npy"));
        command
    };
    exec("w.npy").assert().success();
    let bytes = std::fs::read(path("y.npy")).expect("written");
    let array = npyz::NpyFile::new(&bytes[..]).expect("an array");
    assert_eq!(array.shape(), [1, 2, 3, 3]);
    let values: Vec<f32> = array.into_vec().expect("f32");
    let sums = [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0];
    let expected: Vec<f32> = sums
        .iter()
        .map(|s| s + 0.5)
        .chain(sums.iter().map(|s| -s - 0.5))
        .collect();
    assert_eq!(values, expected);

    // Wrong arrays are named, and nothing is written.
    std::fs::remove_file(path("y.npy")).expect("removed");
    npy(&path("short.npy"), &[2, 1, 3, 2], &[1.0; 12]);
    std::fs::write(path("text.npy"), "hello").expect("written");
    for (weights, part) in [
        (
            "short.npy",
            "has the shape 2 x 1 x 3 x 2, the problem wants 2 x 1 x 3 x 3",
        ),
        ("text.npy", "not a .npy file"),
        ("missing.npy", "can't read --weights"),
    ] {
        exec(weights)
            .assert()
            .code(2)
            .stderr(predicate::str::contains(part));
        assert!(!path("y.npy").exists());
    }
}

#[test]
fn check_passes_on_small_shapes() {
    convroof()
        .args(["check", "--small", "--variant", "direct/*,maxpool/*"])
        .assert()
        .success();
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("convroof"))
        .args(["list", "--layers"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    drop(child.stdout.take());
    let out = child.wait_with_output().expect("ended");
    assert!(!String::from_utf8_lossy(&out.stderr).contains("panicked"));
}
