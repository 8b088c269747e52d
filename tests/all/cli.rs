//! Tests of the command line as a whole program.

use crate::command::{bench, convroof, folder, json_lines, walk};
use convroof::roofline::Verdict;
use convroof_kernels::Isa;
use predicates::prelude::*;
use serde_json::Value;

#[test]
fn bad_input_is_one_line_and_exit_code_2() {
    let dir = folder();
    let garbage = dir.path().join("garbage.json");
    std::fs::write(&garbage, "{").expect("written");
    let garbage = garbage.to_str().expect("UTF-8");
    for (args, part) in [
        (
            &["bench", "--network", "resnet51"][..],
            "unknown network 'resnet51': did you mean 'resnet50'?",
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
            &["bench", "nin", "--dt", "f32,int8"],
            "expected f32, bf16 or u8, several with commas",
        ),
        (
            &[
                "bench",
                "--dt",
                "u8",
                "--problem",
                "--dt=bf16 mb1ic16ih8oc16oh8kh3ph1",
            ],
            "states its own types: leave them out, or omit --dt",
        ),
        (
            &[
                "bench",
                "mb1ic16ih8oc16oh8kh3ph1",
                "--dt",
                "u8",
                "--variant",
                "direct/scalar/st",
                "--threads",
                "1",
            ],
            "there is nothing to measure: direct/scalar/st refuses --dt=u8:s8:u8 ",
        ),
        (
            &["bench", "--problem", "mb1ic64ih2oc64kh5"],
            "kernel spans 5",
        ),
        (
            &["bench", "--problem", "mb64ic512ih512oc512kh1"],
            "the limit is 16 GiB",
        ),
        (
            &["bench", "--problem", "--dt=u8:u8:u8 mb1ic4ih5oc16kh1"],
            "the types u8:u8:u8 have no kernels: expected f32",
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
    ] {
        // A separate folder shows that a wrong call leaves no files.
        let own = folder();
        let assert = convroof()
            .current_dir(own.path())
            .args(args)
            .assert()
            .code(2);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(error.contains(part), "{args:?}: {error}");
        assert!(!error.contains("panicked"), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
        let left = walk(own.path());
        assert!(left.is_empty(), "{args:?} left {left:?}");
    }
}

#[test]
fn a_wrong_argument_is_one_line_that_says_what_would_be_right() {
    for (args, line) in [
        (
            &["--bogus"][..],
            "unexpected argument '--bogus': --help lists all arguments",
        ),
        (
            &["bench", "--budgt", "3"],
            "unexpected argument '--budgt': did you mean '--budget'?",
        ),
        (
            &["calibrate", "extra"],
            "unexpected argument 'extra': --help lists all arguments",
        ),
        (
            &["xyz"],
            "unrecognized subcommand 'xyz': --help lists all subcommands",
        ),
        (
            &["compar"],
            "unrecognized subcommand 'compar': did you mean 'compare'?",
        ),
        (
            &["ResNet-50"],
            "unrecognized subcommand 'ResNet-50': did you mean 'convroof run ResNet-50'?",
        ),
        (
            &["bench", "--network"],
            "--network <GLOBS> has no value: --help describes it",
        ),
        (
            &["run", "--profile"],
            "--profile <PROFILE> has no value: expected quick or full",
        ),
        (
            &["run", "--profile", "slow"],
            "invalid value 'slow' for --profile <PROFILE>: expected quick or full",
        ),
        (
            &["bench", "--threads", "two"],
            "invalid value 'two' for --threads <N,..>: expected a whole number, 0 or more",
        ),
        (
            &["bench", "--threads=-1"],
            "invalid value '-1' for --threads <N,..>: expected a whole number, 0 or more",
        ),
        (
            &["bench", "--batch", "99999999999999999999"],
            "invalid value '99999999999999999999' for --batch <N>: expected at most 18446744073709551615",
        ),
        (
            &["compare", "a", "b", "--threshold", "much"],
            "invalid value 'much' for --threshold <PERCENT>: expected a number",
        ),
        (
            &["bench", "--budget", "-5"],
            "unexpected argument '-5': --help lists all arguments",
        ),
        (
            &["bench", "--budget", "0"],
            "invalid value '0' for --budget <SECONDS>: expected seconds, more than 0 and at most 1000000",
        ),
        (
            &["list", "--variant", "direct/["],
            "invalid value 'direct/[' for --variant <GLOBS>: 'direct/[' is not a pattern: unclosed character class; missing ']'",
        ),
        (
            &["bench", "--json=yes"],
            "unexpected value 'yes' for --json: it takes no more values",
        ),
        (
            &["bench", "--json", "--json"],
            "--json is given twice: give it once",
        ),
        (&["net"], "required arguments are missing: <NETWORK>"),
        (
            &["report", "a", "--markdown", "--json"],
            "--markdown can't be used with --json: omit one",
        ),
        (
            &["--json", "compare", "a", "b"],
            "compare can't be used with --json before it: write its options after compare",
        ),
    ] {
        let output = convroof().args(args).output().expect("run");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(error, format!("convroof: {line}\n"), "{args:?}");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
    // A long argument is cut, and its error isn't.
    let long = "9".repeat(30_000);
    let output = convroof()
        .args(["bench", "--batch", &long])
        .output()
        .expect("run");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains('…') && error.contains("expected at most"),
        "{error}"
    );
}

#[test]
fn help_defines_every_verdict() {
    for command in [&["--help"][..], &["report", "--help"]] {
        let out = convroof().args(command).assert().success();
        let help = String::from_utf8_lossy(&out.get_output().stdout).into_owned();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for verdict in Verdict::ALL {
            let texts = [verdict.label(), verdict.meaning(), verdict.help()];
            for text in texts {
                assert!(help.contains(text), "{command:?}: {text}\n{help}");
            }
        }
    }
}

/// Layers of bytes and bf16 against their definitions.
#[test]
fn layers_of_narrow_types_are_checked() {
    for problem in [
        "--dt=u8:s8:u8 --attr-scales=wei:per_oc+dst:common:9 --attr-zero-points=src:common:3 mb1ic32ih9oc24kh3ph1",
        "--dt=bf16 --dir=FWD_B mb1ic32ih9oc24kh3ph1",
    ] {
        let variant = "--variant=implicit-gemm/*/*,direct/scalar/st";
        let mut command = convroof();
        command.args(["check", "--json", variant, "--problem", problem]);
        let rows = json_lines(&command.assert().success().get_output().stdout);
        let problems = |variant: &str, key: &str| {
            let row = rows.iter().find(|row| row["variant"] == variant);
            row.unwrap_or_else(|| panic!("{variant}: {rows:?}"))[key].as_u64()
        };
        // Small shapes are of f32.
        assert_eq!(problems("implicit-gemm/scalar/st", "refused"), Some(0));
        assert_eq!(problems("direct/scalar/st", "refused"), Some(1));
        for row in &rows {
            assert_eq!(row["failures"], serde_json::json!([]), "{row}");
        }
    }
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
    if isa.is_none() {
        eprintln!("skipped: this CPU has neither avx2 nor neon");
        return;
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
        .args(["list", "--all"])
        .assert()
        .success()
        .stdout(predicate::str::contains("the kernel is not 1x1"));
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
    // Edit the record as if the run had stopped after the first layer.
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

#[test]
fn check_passes_on_small_shapes() {
    convroof()
        .args(["check", "--small", "--variant", "direct/*,maxpool/*"])
        .assert()
        .success()
        .stdout(
            predicate::str::is_match(r"^Checking (\d+) variants on small shapes\.\n")
                .expect("a pattern"),
        )
        .stdout(
            predicate::str::is_match(r"\n(\d+) of \d+ variants right, by \d+ outputs\n$")
                .expect("a pattern"),
        );
}

#[test]
fn layers_are_listed_in_each_type() {
    let list = ["list", "nin", "--layers", "--dt", "f32,bf16,u8", "--json"];
    let out = convroof().args(list).assert().success();
    let out = out.stderr(predicate::str::contains("nin/prob stays f32: "));
    let rows = json_lines(&out.get_output().stdout);
    let of = |dt: &str| {
        let own = rows
            .iter()
            .filter(|row| row.get("dt").map_or("f32", |t| t.as_str().expect("text")) == dt);
        own.map(|row| row["problem"].as_str().expect("text"))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows.len(), 3 * of("f32").len());
    let stated = |dt: &str, flag: &str| of(dt).iter().filter(|p| p.contains(flag)).count();
    let typed = of("f32").len() - 1;
    assert_eq!(
        [
            stated("f32", "--dt="),
            stated("bf16", "--dt=bf16"),
            stated("u8", "--dt=u8")
        ],
        [0, typed, typed]
    );
}

#[test]
fn layers_that_no_variant_computes_in_a_type_are_no_error() {
    let dir = folder();
    let record = dir.path().join("record.json");
    let mut bench = convroof();
    bench.args([
        "bench",
        "mb1ic16ih8oc16oh8kh3ph1",
        "--dt",
        "f32,u8",
        "--threads",
        "1",
    ]);
    bench.args(["--variant", "direct/scalar/st", "--budget", "0.2", "--out"]);
    bench
        .arg(&record)
        .assert()
        .success()
        .stderr(predicate::str::contains(
            "1 of 2 layers were not measured, since every chosen variant refuses them",
        ));
    let mut report = convroof();
    let out = report.arg("report").arg(&record).assert().success();
    let text = String::from_utf8_lossy(&out.get_output().stdout).replace("\n  ", " ");
    for part in [
        "no layer was measured both in f32 and in u8.",
        "Measured peaks on 1 thread: int8 ",
        "what changes with the type",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = std::fs::read_to_string(&record).expect("a record");
    let run: Value = serde_json::from_str(&text).expect("JSON");
    let peaks = run["calibration"]["peaks"].as_array().expect("peaks");
    assert!(peaks.iter().any(|p| p["dt"] == "u8") && !peaks.iter().any(|p| p["dt"] == "bf16"));
    assert_eq!(run["refusals"].as_array().expect("refusals").len(), 1);
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
