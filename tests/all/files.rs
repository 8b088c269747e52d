//! Tests of output destinations and inputs of the program: devices, pipes, ids, arguments, concurrent processes.

use crate::command::{bench, convroof, folder, json_lines, walk};
use predicates::prelude::*;
use serde_json::Value;
use std::path::Path;

fn record_of(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("read")).expect("JSON")
}

/// Writes a record of another machine, and returns it.
fn recorded(path: &Path) -> Value {
    let run = include_str!("../../results/intel-xeon-2c-32b433/direct-fc.json");
    std::fs::write(path, run).expect("written");
    serde_json::from_str(run).expect("JSON")
}

/// Command of the program as a process that can run concurrently.
fn process() -> std::process::Command {
    std::process::Command::new(assert_cmd::cargo::cargo_bin!("convroof"))
}

/// Runs processes concurrently; all must succeed.
fn at_once(commands: Vec<std::process::Command>) {
    let start = |mut command: std::process::Command| {
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        command.spawn().expect("started")
    };
    let children: Vec<_> = commands.into_iter().map(start).collect();
    for child in children {
        let out = child.wait_with_output().expect("ended");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn no_writer_replaces_a_device_or_a_fifo() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let dir = folder();
    let inside = |name: &str| dir.path().join(name);
    let record = inside("a.json");
    recorded(&record);
    // Use a link to the device, so that a fault replaces the link and not the machine's device.
    let null = inside("null");
    symlink("/dev/null", &null).expect("linked");
    let unharmed = || {
        let link = std::fs::symlink_metadata(&null).expect("there");
        let device = std::fs::metadata(&null).expect("there");
        link.is_symlink() && device.file_type().is_char_device()
    };
    let report = |args: &[&str], to: &Path| {
        let mut command = convroof();
        command.arg("report").arg(&record).args(args).arg(to);
        command.assert().success()
    };
    report(&["--html"], &null);
    assert!(unharmed(), "report --html");
    report(&["--network", "resnet50", "--threads", "1", "--svg"], &null);
    assert!(unharmed(), "report --svg");
    let mut track = convroof();
    track
        .arg("track")
        .arg(&record)
        .arg("--history")
        .arg(inside("history"));
    track.arg("--html").arg(&null).assert().success();
    assert!(unharmed(), "track --html");
    let baselines = inside("baselines");
    std::fs::create_dir(&baselines).expect("made");
    symlink(&null, baselines.join("model.tsv")).expect("linked");
    let mut counts = convroof();
    counts.args(["counts", "--problem", "mb1ic16ih8oc16oh8kh3ph1", "--write"]);
    counts.arg(&baselines).assert().success();
    assert!(
        unharmed() && baselines.join("model.tsv").is_symlink(),
        "counts --write"
    );

    let fifo = inside("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo").success());
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::read_to_string(fifo).expect("read")
    });
    report(&["--html"], &fifo);
    assert!(reader.join().expect("no panic").contains("</html>"));
    let kind = std::fs::symlink_metadata(&fifo).expect("there").file_type();
    assert!(kind.is_fifo());
}

#[cfg(unix)]
#[test]
fn a_record_on_standard_output_is_one_document() {
    let dir = folder();
    let out = dir.path().join("out");
    let file = std::fs::File::create(&out).expect("created");
    let done = process()
        .args([
            "bench",
            "--problem",
            "mb1ic16ih8oc16oh8kh3ph1",
            "--threads",
            "1",
        ])
        .args([
            "--variant",
            "direct/scalar/st",
            "--budget",
            "0.1",
            "--json",
            "--out",
            "/dev/stdout",
        ])
        .stdout(file)
        .status();
    assert!(done.expect("ended").success());
    // The record comes first, then the rows; neither overwrites the other.
    let text = std::fs::read_to_string(&out).expect("read");
    let documents: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect(&text);
    assert_eq!(documents.len(), 2, "{text}");
    assert_eq!(
        (&documents[0]["kind"], &documents[0]["complete"]),
        (&"convroof-run".into(), &true.into())
    );
    assert_eq!(documents[1]["variant"], "direct/scalar/st");
}

#[test]
fn an_id_that_leads_elsewhere_is_refused() {
    let dir = folder();
    let record = dir.path().join("a.json");
    let mut run = recorded(&record);
    let results = dir.path().join("deep/er/results");
    std::fs::create_dir_all(&results).expect("made");
    for id in ["../../x", "/tmp/x", "", "a b", "A", "a\u{1b}[2J"] {
        run["fingerprint"]["id"] = id.into();
        std::fs::write(&record, run.to_string()).expect("written");
        for command in [
            &["track"][..],
            &["report"],
            &["report", "--markdown"],
            &["bench", "--resume"],
        ] {
            let mut call = convroof();
            call.args(command).arg(&record);
            // A resumed record stays in its file.
            if command != ["bench", "--resume"] {
                call.arg("--results").arg(&results);
            }
            let assert = call.assert().code(2);
            let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            assert!(
                error.contains("is no id of a machine"),
                "{command:?}: {error}"
            );
            assert!(
                error.lines().count() == 1 && !error.contains('\u{1b}'),
                "{error:?}"
            );
        }
    }
    let left = walk(dir.path());
    let left: Vec<_> = left
        .iter()
        .filter_map(|p| p.file_name()?.to_str())
        .collect();
    assert_eq!(left, ["a.json"]);
}

#[test]
fn a_line_of_a_history_with_such_an_id_is_passed_over() {
    let dir = folder();
    let (record, history) = (dir.path().join("a.json"), dir.path().join("history"));
    recorded(&record);
    let track = || {
        let mut command = convroof();
        command
            .arg("track")
            .arg(&record)
            .arg("--history")
            .arg(&history);
        command
    };
    track().assert().success();
    let file = walk(&history)
        .into_iter()
        .find(|f| f.extension().is_some_and(|e| e == "jsonl"))
        .expect("a history");
    let line = std::fs::read_to_string(&file).expect("read");
    let id = record_of(&record)["fingerprint"]["id"]
        .as_str()
        .expect("text")
        .to_string();
    std::fs::write(&file, line.replace(&id, "../x") + &line).expect("written");
    track().assert().success().stderr(
        predicate::str::contains("line 1: it is damaged").and(predicate::str::contains("is no id")),
    );
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_utf_8_are_no_panic() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = folder();
    let odd = OsStr::from_bytes(b"odd-\xff");
    let record = dir.path().join(odd);
    recorded(&record);
    convroof()
        .arg("report")
        .arg(&record)
        .arg("--html")
        .arg(dir.path().join(OsStr::from_bytes(b"\xfe.html")))
        .assert()
        .success();
    for args in [
        &["bench", "--network"][..],
        &["bench", "--problem"],
        &["net"],
        &["report"],
        &["compare", "a"],
        &["ab"],
        &["ab", "--out"],
        &["exec", "--variant"],
        &[],
    ] {
        let assert = convroof()
            .current_dir(dir.path())
            .args(args)
            .arg(OsStr::from_bytes(b"\xff"))
            .assert()
            .code(2);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(
            !error.contains("panicked") && !error.is_empty(),
            "{args:?}: {error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_revision_of_any_text_is_cut_between_characters() {
    let dir = folder();
    let (record, history) = (dir.path().join("a.json"), dir.path().join("history"));
    let mut run = recorded(&record);
    run["tool"]["git_revision"] = "\u{e4}bcdefgh\u{20ac}\u{20ac}\u{20ac}".into();
    // Add a step, so that its revision is shown.
    for i in 0..16 {
        run["started"] = format!("2026-01-{:02}T00:00:00Z", i + 1).into();
        for m in run["measurements"].as_array_mut().expect("a list") {
            let factor = if i < 8 { 1.0 } else { 2.0 } + 0.001 * f64::from(i * 7 % 5);
            let rounds = m["samples_ns"].as_array().expect("a list").len();
            m["samples_ns"] = vec![Value::from(1e6 * factor); rounds].into();
            m["peak_gflops"] = vec![Value::from(100.0); rounds].into();
        }
        std::fs::write(&record, run.to_string()).expect("written");
        convroof()
            .arg("track")
            .arg(&record)
            .arg("--history")
            .arg(&history)
            .assert()
            .success();
    }
    convroof()
        .arg("track")
        .arg(&record)
        .arg("--history")
        .arg(&history)
        .assert()
        .success()
        .stdout(predicate::str::contains(
            "with run 9, 2026-01-09 (\u{e4}bcdefgh)",
        ));
    convroof()
        .arg("report")
        .arg(&record)
        .arg("--html")
        .arg(dir.path().join("a.html"))
        .assert()
        .success();
}

#[test]
fn runs_tracked_at_once_are_each_there_once() {
    let dir = folder();
    let (first, history) = (dir.path().join("0.json"), dir.path().join("history"));
    let mut run = recorded(&first);
    // Eight runs, two for each start time, each tracked by three processes.
    let mut commands = Vec::new();
    for i in 0..8 {
        run["started"] = format!("2026-01-{:02}T00:00:00Z", 1 + i / 2 * 2).into();
        for m in run["measurements"].as_array_mut().expect("a list") {
            let rounds = m["samples_ns"].as_array().expect("a list").len();
            m["samples_ns"] = vec![Value::from(1e6 + f64::from(i)); rounds].into();
        }
        let record = dir.path().join(format!("{i}.json"));
        std::fs::write(&record, run.to_string()).expect("written");
        for _ in 0..3 {
            let mut command = process();
            command
                .arg("track")
                .arg(&record)
                .arg("--history")
                .arg(&history);
            commands.push(command);
        }
    }
    at_once(commands);
    let file = walk(&history)
        .into_iter()
        .find(|f| f.extension().is_some_and(|e| e == "jsonl"))
        .expect("a history");
    let lines = json_lines(&std::fs::read(file).expect("read"));
    let mut medians: Vec<f64> = lines
        .iter()
        .map(|l| l["points"][0]["median_ns"].as_f64().expect("a time"))
        .collect();
    medians.sort_by(f64::total_cmp);
    assert_eq!(
        medians,
        (0..8).map(|i| 1e6 + f64::from(i)).collect::<Vec<_>>()
    );
}

#[test]
fn two_tunings_at_once_keep_each_others_times() {
    let dir = folder();
    // The smallest networks: the time of scalar variants is no part of this test.
    let networks = ["lenet5", "lenet-d2l"];
    let tune = |network: &&str| {
        let mut command = process();
        command
            .args(["tune", "--network", network, "--threads", "1"])
            .args(["--variant", "*/scalar/st"])
            .arg("--plans")
            .arg(dir.path());
        command
    };
    at_once(networks.iter().map(tune).collect());
    let plans = walk(dir.path());
    let plans = plans
        .iter()
        .find(|p| p.extension().is_some_and(|e| e == "json"));
    let plans = record_of(plans.expect("plans"));
    for network in networks {
        let times = plans["times"].as_array().expect("a list");
        assert!(times.iter().any(|t| t["network"] == network), "{network}");
    }
}

#[cfg(unix)]
#[test]
fn a_bench_asks_no_git_and_takes_any_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    let dir = folder();
    let (git, called) = (dir.path().join("git"), dir.path().join("called"));
    std::fs::write(&git, format!("#!/bin/sh\ntouch '{}'\n", called.display())).expect("written");
    std::fs::set_permissions(&git, std::fs::Permissions::from_mode(0o755)).expect("set");
    // The file name isn't UTF-8, and it is part of the command in the record.
    let record = dir.path().join(OsStr::from_bytes(b"odd-\xff"));
    bench(&record).env("PATH", dir.path()).assert().success();
    assert!(!called.exists());
    let command = &record_of(&record)["conditions"]["command"];
    let command = command.as_array().expect("a list");
    let odd = |w: &Value| w.as_str().is_some_and(|w| w.ends_with("odd-\u{fffd}"));
    assert!(command.iter().any(odd), "{command:?}");
    // The record and the version show the revision that the build recorded.
    let version = convroof().arg("--version").assert().success();
    let version = String::from_utf8_lossy(&version.get_output().stdout).into_owned();
    let tool = &record_of(&record)["tool"];
    match tool["git_revision"].as_str() {
        Some(revision) => {
            assert!(version.contains(&revision[..10]), "{version}");
            assert_eq!(
                version.contains("local changes"),
                tool["git_dirty"] == true,
                "{version}"
            );
        }
        None => assert!(version.contains("unknown revision"), "{version}"),
    }
    assert!(
        version.contains(tool["rustc"].as_str().expect("a compiler"))
            && version.lines().count() == 1,
        "{version}"
    );
}
