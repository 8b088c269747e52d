//! Tests of gates and options: gates that check nothing fail, options without effect are refused, and workers stay on
//! the CPUs of `--cpus`.

use crate::command::{bench, convroof, folder, json_lines, measured, walk};
use predicates::prelude::*;
use serde_json::Value;
use std::path::Path;

const PROBLEM: &str = "mb1ic16ih8oc16oh8kh3ph1";

/// An instruction set that machines of this architecture lack.
const ELSEWHERE: &str = if cfg!(target_arch = "aarch64") {
    "avx2"
} else {
    "neon"
};

/// Runs in a separate folder. Asserts the exit code, one line of error that contains `part`, and that no file is left.
fn refused(args: &[&str], code: i32, part: &str) {
    let own = folder();
    let assert = convroof()
        .current_dir(own.path())
        .args(args)
        .assert()
        .code(code);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(error.contains(part), "{args:?}: {error}");
    assert!(!error.contains("panicked"), "{args:?}: {error}");
    assert!(error.len() < 2000, "{args:?}: {} bytes", error.len());
    // Errors of clap also show the usage.
    if !error.contains("Usage:") {
        assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    }
    assert!(
        walk(own.path()).is_empty(),
        "{args:?} left {:?}",
        walk(own.path())
    );
}

#[test]
fn variants_that_cannot_run_here_are_no_success() {
    let foreign = format!("direct/{ELSEWHERE}/st");
    let why = format!("no variant of '{foreign}' runs on this machine: {ELSEWHERE} is an");
    for variant in [&foreign, &format!("{foreign},im2col/{ELSEWHERE}/*")] {
        for command in [
            &["check", "--small", "--variant", variant][..],
            &["check", "--problem", PROBLEM, "--variant", variant],
            &["bench", "--problem", PROBLEM, "--variant", variant],
            &["run", "--problem", PROBLEM, "--variant", variant],
            &["net", "lenet5", "--variant", variant],
            &["tune", "--network", "lenet5", "--variant", variant],
            &["counts", "--problem", PROBLEM, "--variant", variant],
            &[
                "counts",
                "--problem",
                PROBLEM,
                "--variant",
                variant,
                "--write",
                "baselines",
            ],
        ] {
            refused(command, 2, &why);
        }
    }
    // Beside variants that do run, the foreign ones are reported.
    convroof()
        .args([
            "check",
            "--small",
            "--variant",
            &format!("direct/scalar/st,{foreign}"),
        ])
        .assert()
        .success()
        .stderr(predicate::str::contains(&why));
    // The default subcommand refuses them, too.
    refused(&["--problem", PROBLEM, "--variant", &foreign], 2, &why);
    let program = assert_cmd::cargo::cargo_bin!("convroof");
    let program = program.to_str().expect("UTF-8");
    refused(
        &[
            "ab",
            program,
            program,
            "--problem",
            PROBLEM,
            "--variant",
            &foreign,
        ],
        2,
        "no variant matches",
    );
}

#[test]
fn layers_that_all_variants_refuse_are_no_success() {
    let strided = "mb1ic16ih8oc16oh4kh3sh2ph1";
    refused(
        &[
            "check",
            "--problem",
            strided,
            "--variant",
            "gemm-1x1/scalar/*",
        ],
        2,
        "every chosen variant refuses the layer",
    );
    for command in ["bench", "run"] {
        refused(
            &[
                command,
                "--problem",
                strided,
                "--variant",
                "gemm-1x1/scalar/st",
                "--threads",
                "1",
            ],
            2,
            "there is nothing to measure: gemm-1x1/scalar/st refuses mb1ic16",
        );
    }
    refused(
        &[
            "counts",
            "--problem",
            strided,
            "--variant",
            "gemm-1x1/scalar/st",
        ],
        2,
        "there is nothing to count",
    );
}

#[test]
fn layers_that_nobody_measured_are_named() {
    let dir = folder();
    convroof()
        .current_dir(dir.path())
        .args(["bench", "--problem", PROBLEM, "--problem", "mb1ic16ih8oc16kh1", "--threads", "1"])
        .args(["--variant", "gemm-1x1/scalar/st", "--budget", "0.1"])
        .assert()
        .success()
        .stderr(predicate::str::contains(
            "1 of 2 layers were not measured, since every chosen variant refuses them: gemm-1x1/scalar/st refuses mb1ic16",
        ));
}

#[test]
fn numbers_of_threads_without_a_variant_are_refused() {
    let several = ["--threads", "1,2", "--variant", "direct/scalar/st"];
    for command in ["bench", "run"] {
        let mut args = vec![command, "--problem", PROBLEM];
        args.extend(several);
        // On a single core, two threads are refused for another reason first.
        refused(&args, 2, "--threads 2: ");
    }
    refused(
        &[
            "bench",
            "--problem",
            PROBLEM,
            "--threads",
            "1",
            "--variant",
            "direct/scalar/mt",
        ],
        2,
        "none of the chosen variants runs on 1",
    );
}

#[test]
fn options_that_would_be_ignored_are_refused() {
    let (a, b) = ("a.json", "b.json");
    let cannot = "can't be used with";
    for (args, part) in [
        (
            &["bench", "--batch", "4", "--problem", PROBLEM][..],
            "--batch is for the layers of networks",
        ),
        (
            &[
                "bench",
                "--batch",
                "1",
                "--network",
                "nin",
                "--problem",
                PROBLEM,
            ],
            "a --problem says its own",
        ),
        (
            &["check", "--batch", "4", "--problem", PROBLEM],
            "--batch is for",
        ),
        (
            &["list", "--batch", "4", "--problem", PROBLEM],
            "--batch is for",
        ),
        (
            &["counts", "--batch", "4", "--problem", PROBLEM],
            "--batch is for",
        ),
        (
            &["bench", "--layer", "conv1", "--problem", PROBLEM],
            "--layer chooses layers of networks",
        ),
        (
            &["bench", "--network", "nin", "--layer", "conv1,nope"],
            "matches --layer 'nope'",
        ),
        // Before a subcommand, options would belong to `run`, which isn't called.
        (&["--network", "nin", "list"], cannot),
        (&["--threads", "1", "bench"], cannot),
        (&["--json", "compare", a, b], cannot),
        (&["bench", "--resume", a, "--network", "nin"], cannot),
        (&["bench", "--resume", a, "--layer", "conv1"], cannot),
        (&["bench", "--resume", a, "--problem", PROBLEM], cannot),
        (&["bench", "--resume", a, "--batch", "2"], cannot),
        (&["bench", "--resume", a, "--threads", "1"], cannot),
        (&["bench", "--resume", a, "--cpus", "0"], cannot),
        (&["bench", "--resume", a, "--cache", "cold"], cannot),
        (&["bench", "--resume", a, "--results", "x"], cannot),
        (&["bench", "--resume", a, "--out", b], cannot),
        (&["bench", "--out", a, "--results", "x"], cannot),
        (&["bench", "--peers-from", "x"], "--peers"),
        (&["net", "lenet5", "--peers-from", "x"], "--peers"),
        (&["net", "lenet5", "--model", "--plans", "x"], cannot),
        (&["check", "--small", "--network", "nin"], cannot),
        (&["check", "--small", "--layer", "conv1"], cannot),
        (&["check", "--small", "--problem", PROBLEM], cannot),
        (&["check", "--small", "--batch", "2"], cannot),
        (
            &["check", "--small", "--threads", "1"],
            "which --small leaves out",
        ),
        (&["list", "--layers", "--variant", "direct/*"], cannot),
        (&["report", a, "--network", "nin"], "--svg"),
        (&["report", a, "--threads", "1"], "--svg"),
        (&["report", a, "--markdown", "--json"], cannot),
        (
            &[
                "report",
                a,
                "--svg",
                b,
                "--network",
                "nin",
                "--threads",
                "1",
                "--json",
            ],
            cannot,
        ),
        (
            &[
                "report",
                a,
                "--svg",
                b,
                "--network",
                "nin",
                "--threads",
                "1",
                "--html",
                "x",
            ],
            cannot,
        ),
        (
            &[
                "report",
                a,
                "--svg",
                b,
                "--network",
                "nin",
                "--threads",
                "1",
                "--results",
                "x",
            ],
            "needs no folder",
        ),
        (
            &["track", a, "--history", "x", "--results", "y"],
            "isn't needed",
        ),
        (
            &["claims", "8", "--results", "x"],
            "only the answers to all claims are kept",
        ),
        (&["counts", "--check", "--write"], cannot),
    ] {
        refused(args, 2, part);
    }
    // Each option takes effect where it applies.
    let out = convroof()
        .args([
            "list",
            "--layers",
            "--network",
            "nin",
            "--layer",
            "conv*",
            "--batch",
            "3",
            "--json",
        ])
        .assert()
        .success();
    let lines = json_lines(&out.get_output().stdout);
    assert!(!lines.is_empty());
    for line in lines {
        let problem = line["problem"].as_str().expect("text");
        assert!(problem.contains("mb3"), "{problem}");
    }
}

fn change(from: &Path, to: &Path, how: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(from).expect("read");
    let mut record: Value = serde_json::from_str(&text).expect("JSON");
    how(&mut record);
    std::fs::write(to, record.to_string()).expect("written");
}

#[test]
fn missing_measurements_fail_a_comparison() {
    let dir = folder();
    let (a, b) = (dir.path().join("a.json"), dir.path().join("b.json"));
    measured(&a);
    let compare = |args: &[&str]| {
        let mut command = convroof();
        command.arg("compare").args([&a, &b]).args(args);
        command.assert()
    };
    let list = |record: &mut Value| record["measurements"].as_array().expect("a list").clone();
    let mut all = Vec::new();
    // One of a hundred measurements remains.
    change(&a, &a, |record| {
        let first = list(record)[0].clone();
        for threads in 1..=100 {
            let mut next = first.clone();
            next["threads"] = threads.into();
            all.push(next);
        }
        record["measurements"] = all.clone().into();
    });
    change(&a, &b, |record| {
        record["measurements"] = all[..1].to_vec().into();
    });
    let failed = compare(&[]).code(1);
    let error = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(
        error.contains("99 measurements of A are missing in B: "),
        "{error}"
    );
    assert!(
        error.contains("on 2 threads") && error.contains("and 94 more"),
        "{error}"
    );
    assert!(
        error.contains("use --allow-missing") && error.len() < 2000,
        "{error}"
    );
    let shown = String::from_utf8_lossy(&failed.get_output().stdout).into_owned();
    assert!(
        shown.contains("only in A: 79 more (--json names all)"),
        "{shown}"
    );
    compare(&["--allow-missing"]).success();
    compare(&["--json", "--allow-missing"]).success();
    let lines = json_lines(&compare(&["--json"]).code(1).get_output().stdout);
    assert_eq!(lines.iter().filter(|l| l["only_in"] == "A").count(), 99);
    // New measurements are no loss.
    convroof().arg("compare").args([&b, &a]).assert().success();
    // A measurement without samples, or with zeros, counts as missing.
    for samples in [serde_json::json!([]), serde_json::json!([0.0, 0.0])] {
        change(&a, &b, |record| {
            record["measurements"] = all[..2].to_vec().into();
            record["measurements"][1]["samples_ns"] = samples.clone();
        });
        let failed = compare(&[]).code(1);
        failed.stderr(predicate::str::contains("99 measurements of A are missing"));
    }
    // A comparison without common measurements fails, even with `--allow-missing`.
    change(&a, &b, |record| {
        record["measurements"] = serde_json::json!([]);
    });
    compare(&["--allow-missing"])
        .code(2)
        .stderr(predicate::str::contains("has 0"));
    // An empty record against itself compares nothing, either.
    let empty = convroof().arg("compare").args([&b, &b]).assert().code(2);
    empty.stderr(predicate::str::contains("nothing in common"));
}

#[test]
fn records_without_measurements_are_no_report() {
    let dir = folder();
    let record = dir.path().join("a.json");
    measured(&record);
    change(&record, &record, |r| {
        r["measurements"] = serde_json::json!([]);
    });
    let report = |more: &[&str]| {
        let mut command = convroof();
        command
            .current_dir(dir.path())
            .arg("report")
            .arg(&record)
            .args(more);
        command.assert().code(2)
    };
    for more in [
        &[][..],
        &["--markdown"],
        &["--json"],
        &["--svg", "x.svg", "--network", "custom", "--threads", "1"],
    ] {
        report(more).stderr(predicate::str::contains("has no measurements"));
    }
    let mut track = convroof();
    track.current_dir(dir.path()).arg("track").arg(&record);
    track
        .assert()
        .code(2)
        .stderr(predicate::str::contains("nothing to track"));
    change(&record, &record, |r| r["complete"] = false.into());
    report(&[]).stderr(predicate::str::contains(
        "go on with: convroof bench --resume",
    ));
    assert_eq!(walk(dir.path()), [record], "nothing was written");
}

#[test]
fn counts_that_compare_nothing_fail() {
    let dir = folder();
    let counts = |more: &[&str]| {
        let mut command = convroof();
        command
            .args(["counts", "--problem", PROBLEM])
            .args(more)
            .arg(dir.path());
        command.assert()
    };
    counts(&["--variant", "direct/*", "--write"]).success();
    counts(&["--variant", "direct/*", "--check"]).success();
    // Rows of other variants are no baseline for these.
    let foreign = format!("direct/{ELSEWHERE}/st");
    counts(&["--variant", &foreign, "--check"]).code(2).stderr(
        predicate::str::contains("nothing was compared with")
            .and(predicate::str::contains("model.tsv")),
    );
    // A table of other conditions is no baseline either, nor is a missing one.
    let file = dir.path().join("model.tsv");
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, text.replace("model 1:", "model 0:")).expect("written");
    counts(&["--variant", "direct/*", "--check"])
        .code(2)
        .stderr(predicate::str::contains(
            "renew it with convroof counts --write",
        ));
    let head: Vec<&str> = text.lines().take(2).collect();
    std::fs::write(&file, head.join("\n") + "\n").expect("written");
    counts(&["--variant", "direct/*", "--check"])
        .code(2)
        .stderr(predicate::str::contains("nothing was compared with"));
    std::fs::remove_file(&file).expect("removed");
    counts(&["--variant", "direct/*", "--check"])
        .code(2)
        .stderr(predicate::str::contains(
            "write it with convroof counts --write",
        ));
}

#[test]
fn lists_of_cpus_are_checked() {
    let many = convroof_threads() + 1;
    for (list, part) in [
        ("", "expected numbers of CPUs, such as 0,2,4-7"),
        ("x", "expected numbers of CPUs"),
        ("0-", "expected numbers of CPUs"),
        ("0,0", "CPU 0 is named twice"),
        ("0-99999999999", "expected numbers of CPUs"),
        ("60000", "there is no CPU 60000: this machine has 0"),
    ] {
        if cfg!(target_os = "linux") {
            for command in [
                &["bench", "--problem", PROBLEM][..],
                &["run"],
                &["check", "--small"],
                &["calibrate"],
                &["net", "lenet5"],
                &["tune", "--network", "lenet5"],
                &["claims"],
                &["lowrank"],
                &["ab", "A", "B"],
                &["audit"],
            ] {
                let mut args = command.to_vec();
                args.extend(["--cpus", list]);
                refused(&args, 2, part);
            }
        }
    }
    let first = cpus()[0].to_string();
    refused(
        &[
            "bench",
            "--problem",
            PROBLEM,
            "--cpus",
            &first,
            "--threads",
            "2",
        ],
        2,
        "--threads 2: --cpus names 1 CPU, so use 1 to 1",
    );
    refused(
        &[
            "bench",
            "--problem",
            PROBLEM,
            "--threads",
            &many.to_string(),
        ],
        2,
        "so use 1 to",
    );
}

/// CPUs that this process may run on.
fn cpus() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().expect("CPUs");
    ids.into_iter().map(|id| id.id).collect()
}

fn convroof_threads() -> usize {
    convroof::machine::Topology::detect().cores.len()
}

/// Uses the last CPU, since workers use the first one by default.
#[test]
fn workers_stay_on_the_chosen_cpu() {
    let dir = folder();
    let (record, last) = (dir.path().join("a.json"), *cpus().last().expect("a CPU"));
    bench(&record)
        .args(["--cpus", &last.to_string()])
        .assert()
        .success();
    let text = std::fs::read_to_string(&record).expect("read");
    let run: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(run["conditions"]["cpus"], serde_json::json!([last]));
    assert_eq!(run["fingerprint"]["online_cpus"], 1);
    assert_eq!(run["conditions"]["pinned"], cfg!(target_os = "linux"));
    // A resumed run uses the same CPU.
    change(&record, &record, |r| {
        r["measurements"] = serde_json::json!([]);
        r["refusals"] = serde_json::json!([]);
        r["complete"] = false.into();
    });
    let resume = || {
        let mut command = convroof();
        command.args([
            "bench",
            "--variant",
            "direct/scalar/st",
            "--budget",
            "0.1",
            "--resume",
        ]);
        command.arg(&record);
        command.assert()
    };
    resume().success();
    let text = std::fs::read_to_string(&record).expect("read");
    let run: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(run["conditions"]["cpus"], serde_json::json!([last]));
    assert!(!run["measurements"].as_array().expect("a list").is_empty());
    // If that CPU doesn't exist, the error tells so.
    change(&record, &record, |r| {
        r["conditions"]["cpus"] = serde_json::json!([60000]);
        r["complete"] = false.into();
    });
    if cfg!(target_os = "linux") {
        resume().code(2).stderr(
            predicate::str::contains("was begun on other CPUs")
                .and(predicate::str::contains("there is no CPU 60000")),
        );
    }
}

/// Reads the process's affinity from the operating system while it computes.
#[cfg(target_os = "linux")]
#[test]
fn the_whole_process_stays_on_the_chosen_cpu() {
    let last = *cpus().last().expect("a CPU");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("convroof"))
        .args(["check", "--network", "nin", "--variant", "direct/scalar/st"])
        .args(["--cpus", &last.to_string()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let status = format!("/proc/{}/status", child.id());
    let expected = format!("Cpus_allowed_list:\t{last}\n");
    let mut confined = false;
    for _ in 0..600 {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        confined = text.contains(&expected);
        if confined || child.try_wait().expect("a child").is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    assert!(confined);
}

#[test]
fn an_audit_of_other_layers_is_not_printed_for_these() {
    let results = folder();
    let topology = convroof::machine::Topology::detect();
    let machine = convroof::machine::fingerprint::fingerprint(&topology);
    let gates = results.path().join(&machine.id).join("audit");
    std::fs::create_dir_all(&gates).expect("made");
    let pair = |variant: &str, threads: usize| serde_json::json!({"problem": PROBLEM, "variant": variant, "threads": threads});
    let audit = |pairs: Value, more: &[&str]| {
        let gate = serde_json::json!({
            "kind": "convroof-gate", "schema": 1, "fingerprint": machine.id, "started": "2026-01-01T00:00:00Z",
            "revision": null, "budget_s": 4.0,
            "measured": {"pairs": pairs, "injected": [0.0], "blocks": [], "alarms": [], "confirmation": []},
        });
        std::fs::write(gates.join("same-01.json"), gate.to_string()).expect("written");
        let mut command = convroof();
        command
            .args([
                "audit",
                "--budget",
                "4",
                "--gates",
                "1",
                "--slowed",
                "0",
                "--draws",
                "1",
                "--results",
            ])
            .arg(results.path())
            .args(more);
        let out = command.output().expect("run");
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        let other = text.contains("has gates of other layers, variants or threads than these");
        assert!(!other || out.status.code() == Some(2), "{text}");
        other
    };
    let same = ["--problem", PROBLEM, "--variant", "direct/*/st"];
    let one = || serde_json::json!([pair("direct/scalar/st", 1)]);
    assert!(!audit(one(), &same));
    assert!(audit(
        one(),
        &[
            "--problem",
            "mb1ic32ih8oc32oh8kh3ph1",
            "--variant",
            "direct/*/st"
        ]
    ));
    assert!(audit(
        one(),
        &["--problem", PROBLEM, "--variant", "im2col/*/st"]
    ));
    assert!(audit(
        serde_json::json!([pair("direct/scalar/mt", 2)]),
        &same
    ));
    let two = serde_json::json!([pair("direct/scalar/st", 1), pair("direct/avx2/st", 1)]);
    assert!(!audit(two.clone(), &same));
    assert!(
        audit(
            two,
            &[
                "--problem",
                PROBLEM,
                "--variant",
                "direct/*/st",
                "--pairs",
                "1"
            ]
        ),
        "fewer pairs"
    );
}

/// Runs `scripts/gate` without valgrind, with fake programs in place of cargo and convroof.
#[cfg(unix)]
#[test]
fn a_gate_that_cannot_count_instructions_says_so_and_fails() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = folder();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, text).expect("written");
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, all).expect("executable");
    };
    let program = "#!/bin/sh\necho \"$1 was called\"\n\
        echo '| im2col/avx2/st | ic16 | 2 | 5 us | 1.095 | 1.1 | slower |'\n\
        echo '| direct/avx2/st | ic16 | 2 | 5 us | 0.9 |  | faster |'\n";
    let target = dir.path().join("target").display().to_string();
    let metadata = format!("#!/bin/sh\necho '{{\"target_directory\":\"{target}\"}}'\n");
    write("bin/cargo", &metadata);
    write("target/release/convroof", program);
    // Link the tools that the script needs, except valgrind.
    let folders: Vec<_> =
        std::env::split_paths(&std::env::var_os("PATH").expect("a PATH")).collect();
    for tool in ["awk", "bash", "sh", "tail", "sed"] {
        let found = folders.iter().map(|f| f.join(tool)).find(|p| p.exists());
        symlink(found.expect(tool), dir.path().join("bin").join(tool)).expect("linked");
    }
    write("bin/uname", "#!/bin/sh\necho ${MACHINE-x86_64}\n");
    let gate = |machine: &str| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gate");
        let mut command = assert_cmd::Command::new(dir.path().join("bin/bash"));
        command
            .arg(script)
            .arg("HEAD")
            .current_dir(dir.path())
            .env("PATH", dir.path().join("bin"))
            .env("CARGO_TARGET_DIR", dir.path().join("target"))
            .env("MACHINE", machine)
            .env_remove("GITHUB_ACTIONS")
            .env_remove("GITHUB_STEP_SUMMARY")
            .env_remove("GATE_ARGS");
        command
    };
    // Checks the script's exit code, and returns true if it reports the lack of valgrind. All other steps must run
    // anyway.
    let complains = |machine: &str, code: i32| {
        let out = gate(machine).assert().code(code);
        let text = String::from_utf8_lossy(&out.get_output().stdout).into_owned();
        assert!(
            text.contains("counts was called") && text.contains("ab was called"),
            "{text}"
        );
        text.contains("no valgrind: instructions are not compared")
    };
    // Without baselines, the script reports that and still times the kernels.
    let out = gate("x86_64").assert().code(0);
    let text = String::from_utf8_lossy(&out.get_output().stdout).into_owned();
    assert!(
        text.contains("no folder results/baselines: counts are not compared")
            && text.contains("ab was called")
            && !text.contains("::error"),
        "{text}"
    );
    // On GitHub, each slower pair is an annotation.
    let out = gate("x86_64").env("GITHUB_ACTIONS", "true").assert();
    let text = String::from_utf8_lossy(&out.get_output().stdout).into_owned();
    let annotation = "::error title=convroof gate::im2col/avx2/st is slower on ic16, threads: 2. \
        Its time over that before: 1.095\n";
    assert!(text.contains(annotation), "{text}");
    assert_eq!(text.matches("::error").count(), 1, "{text}");
    // Without a baseline of instructions, valgrind isn't needed.
    write("results/baselines/model.tsv", "");
    assert!(!complains("x86_64", 0));
    write("results/baselines/instructions.tsv", "");
    assert!(complains("x86_64", 2));
    // That baseline is for one architecture only: a warning.
    assert!(complains("aarch64", 0));
}
