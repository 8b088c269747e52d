//! Tests of whole networks on the command line.

use crate::command::{self, json_lines};
use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;
use std::path::Path;

fn convroof(folder: &Path) -> Command {
    let mut command = command::convroof();
    command.current_dir(folder);
    command
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_network_runs_tuned_and_untuned() {
    let dir = tempfile::tempdir().expect("a folder");
    let net = || {
        let mut command = convroof(dir.path());
        command.args([
            "net",
            "lenet5",
            "--threads",
            "1",
            "--budget",
            "0.1",
            "--json",
        ]);
        let out = command.assert().success();
        let lines = json_lines(&out.get_output().stdout);
        assert_eq!(lines.len(), 1);
        lines[0].clone()
    };
    let line = net();
    assert_eq!(
        (&line["network"], &line["batch"]),
        (&"lenet5".into(), &1.into())
    );
    assert_eq!(
        (&line["threads"], &line["selection"]),
        (&1.into(), &"model".into())
    );
    assert!(number(&line["median_ns"]) > 0.0);
    assert!(number(&line["error_max"]) <= number(&line["tolerance"]));
    assert!(line["peer_ns"].is_null() && line["ratio"].is_null() && line["regret"].is_null());
    let layers = line["layers"].as_array().expect("layers");
    assert!(layers.len() >= 7, "{layers:?}");
    let shares: f64 = layers.iter().map(|l| number(&l["share"])).sum();
    assert!((shares - 1.0).abs() < 1e-6);
    for layer in layers {
        assert!(
            number(&layer["bytes"]) > 0.0 && layer["verdict"].is_string(),
            "{layer}"
        );
    }

    let out = convroof(dir.path())
        .args(["tune", "--network", "lenet5", "--threads", "1", "--json"])
        .assert()
        .success();
    let tuned = json_lines(&out.get_output().stdout);
    let [low, high] = [0, 1].map(|i| number(&tuned[0]["total_ci"][i]));
    let total = number(&tuned[0]["total"]);
    assert!(-1.0 < low && low <= total && total <= high, "{}", tuned[0]);
    assert_eq!(tuned[0]["tuning"], 1);
    // Fifteen rounds at least, or none if both selections are the same.
    let rounds = number(&tuned[0]["rounds"]);
    assert!(rounds >= 15.0 || rounds == 0.0 && total == 0.0, "{rounds}");
    let layers = tuned[0]["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 7);
    for layer in layers {
        let sure = layer["sure"].as_str().expect("certainty");
        assert!(["sure", "tie", "cant-tell"].contains(&sure), "{layer}");
        let ties = layer["ties"].as_array().expect("variants");
        assert!(!ties.is_empty(), "{layer}");
        assert!(sure != "sure" || ties.len() == 1, "{layer}");
    }
    let line = net();
    assert_eq!(line["selection"], "measured");
    let [low, high] = [0, 1].map(|i| number(&line["regret_ci"][i]));
    let regret = number(&line["regret"]);
    assert!(-1.0 < low && low <= regret && regret <= high, "{line}");
}

#[test]
fn tunings_are_repeated_and_summarised() {
    let dir = tempfile::tempdir().expect("a folder");
    let tune = |more: &[&str]| {
        let mut command = convroof(dir.path());
        command.args(["tune", "--network", "lenet-d2l", "--threads", "1"]);
        // Few variants, since their times are no part of this test.
        command.args(["--variant", "*/scalar/*"]);
        let out = command.args(more).assert().success();
        out.get_output().stdout.clone()
    };
    // Sentences wrap at any word.
    let text_of = |more: &[&str]| {
        let text = String::from_utf8(tune(more)).expect("UTF-8");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let text = text_of(&[]);
    for part in ["conv1", "choices", "are sure", "the cost model"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = text_of(&["--repeat", "2"]);
    assert!(text.contains("median of 2 tunings"), "{text}");
    assert!(text.contains("of 7 layers had the same variant"), "{text}");
    let lines = json_lines(&tune(&["--repeat", "2", "--json"]));
    let numbers: Vec<&Value> = lines.iter().map(|line| &line["tuning"]).collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn several_images_are_run_too() {
    let dir = tempfile::tempdir().expect("a folder");
    convroof(dir.path())
        .args([
            "net",
            "lenet-d2l",
            "--batch",
            "3",
            "--threads",
            "1",
            "--budget",
            "0.1",
        ])
        .assert()
        .success()
        .stdout(predicate::str::contains("error against the network in f64"));
}

#[test]
fn claims_are_answered_with_figures() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = convroof(dir.path())
        .args([
            "claims", "8", "9", "10", "11", "14", "--budget", "2", "--json",
        ])
        .assert()
        .success();
    let lines = json_lines(&out.get_output().stdout);
    let holds: Vec<&str> = lines
        .iter()
        .map(|l| l["holds"].as_str().expect("text"))
        .collect();
    // These claims are mathematical or counted, so every machine gives the same answers.
    assert_eq!(holds, ["yes", "in-part", "yes", "in-part", "yes"]);
    for line in &lines {
        assert!(line["claim"].is_string() && !line["answer"].as_str().expect("text").is_empty());
        let evidence = line["evidence"].as_array().expect("figures");
        assert!(!evidence.is_empty());
        evidence
            .iter()
            .for_each(|f| assert!(number(&f["value"]).is_finite(), "{f}"));
    }
}

#[test]
fn claims_about_times_have_intervals() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |more: &[&str]| {
        let mut command = convroof(dir.path());
        command.args(["claims", "12", "--budget", "0.5"]).args(more);
        command.assert().success().get_output().stdout.clone()
    };
    let line = &json_lines(&run(&["--json"]))[0];
    let holds = line["holds"].as_str().expect("text");
    let all = ["yes", "no", "in-part", "cant-tell"];
    assert!(all.contains(&holds), "{holds}");
    let evidence = line["evidence"].as_array().expect("figures");
    let ratios = evidence.iter().filter(|figure| figure["unit"] == "times");
    let ratios: Vec<f64> = ratios
        .map(|figure| {
            let [low, high] = [0, 1].map(|i| number(&figure["ci"][i]));
            let value = number(&figure["value"]);
            assert!(0.0 < low && low <= value && value <= high, "{figure}");
            value
        })
        .collect();
    assert_eq!(ratios.len(), 3, "one for each pooling");
    let text = String::from_utf8(run(&[])).expect("UTF-8");
    assert!(
        text.contains(" to ") && text.contains("(measured)"),
        "{text}"
    );
}

#[test]
fn the_claim_about_int8_has_peaks_and_layers_of_each_type() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = convroof(dir.path())
        .args(["claims", "15", "--budget", "0.1", "--json"])
        .assert()
        .success();
    let lines = json_lines(&out.get_output().stdout);
    let evidence = lines[0]["evidence"].as_array().expect("figures");
    let figures = |part: &str, unit: &str| {
        let named = |f: &&Value| f["what"].as_str().is_some_and(|what| what.contains(part));
        let own = evidence.iter().filter(named).filter(|f| f["unit"] == unit);
        own.map(|f| number(&f["value"])).collect::<Vec<f64>>()
    };
    for (part, unit, count) in [
        ("peak of int8 over", "times", 1),
        ("peak of bf16 over", "times", 1),
        (" in f32, ", "us", 6),
        (" in bf16, ", "us", 6),
        (" in u8, ", "us", 6),
        ("of its type's peak", "%", 18),
        (": time in f32 over u8", "times", 6),
    ] {
        let values = figures(part, unit);
        assert_eq!(values.len(), count, "{part}: {evidence:?}");
        assert!(
            values.iter().all(|&value| value > 0.0),
            "{part}: {values:?}"
        );
    }
    let answer = lines[0]["answer"].as_str().expect("text");
    assert!(
        answer.contains(" of 6 layers are compute bound in f32"),
        "{answer}"
    );
}

#[test]
fn a_budget_gives_rounds() {
    let dir = tempfile::tempdir().expect("a folder");
    let rounds = |budget: &str| {
        let mut command = convroof(dir.path());
        command.args(["lowrank", "--problem", "mb1ic16ih12oc16oh12kh3ph1"]);
        command.args(["--ranks", "4", "--budget", budget, "--json"]);
        let out = command.assert().success();
        let lines = json_lines(&out.get_output().stdout);
        for line in &lines {
            let [low, high] = [0, 1].map(|i| number(&line["speedup_ci"][i]));
            let speedup = number(&line["speedup"]);
            assert!(0.0 < low && low <= speedup && speedup <= high, "{line}");
            assert_eq!(line["rounds"], lines[0]["rounds"], "the same rounds");
        }
        assert_eq!(lines[0]["speedup"], 1.0, "direct convolution itself");
        number(&lines[0]["rounds"])
    };
    assert_eq!(rounds("0.001"), 5.0);
    assert!(rounds("1") > 5.0);
}

#[test]
fn low_ranks_lose_what_winograd_does_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = convroof(dir.path())
        .args([
            "lowrank",
            "--problem",
            "mb1ic16ih12oc16oh12kh3ph1",
            "--ranks",
            "4,16",
        ])
        .args(["--budget", "0.1", "--json"])
        .assert()
        .success();
    let lines = json_lines(&out.get_output().stdout);
    assert_eq!(
        lines.len(),
        6,
        "the layer itself twice, and two ranks of two forms"
    );
    for line in &lines {
        let (energy, error) = (number(&line["energy"]), number(&line["error_l2"]));
        let whole = line["rank"].is_null() || line["form"] == "channel" && line["rank"] == 16;
        assert_eq!(whole, energy > 1.0 - 1e-9, "{line}");
        assert_eq!(whole, error < 1e-5, "{line}");
        assert!(number(&line["ns"]) > 0.0);
    }
}

#[test]
fn bad_input_is_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(dir.path().join("w")).expect("created");
    std::fs::write(dir.path().join("w.npy"), "no array").expect("written");
    for (args, part) in [
        (&["net", "resnet51"][..], "unknown network 'resnet51'"),
        (&["net", "lenet5", "--batch", "0"], "batch"),
        (&["net", "vgg16", "--batch", "100000"], "choose a smaller"),
        (&["net", "lenet5", "--threads", "0"], "use 1 to"),
        (&["net", "lenet5", "--budget", "0"], "expected seconds"),
        (
            &["net", "lenet5", "--variant", "maxpool/*", "--threads", "1"],
            "no variant can compute",
        ),
        (&["tune", "--network", "nothing"], "unknown network"),
        (
            &["tune", "--network", "lenet5", "--repeat", "0"],
            "--repeat",
        ),
        (
            &["tune", "--network", "lenet5", "--plans", "w.npy/x"],
            "w.npy",
        ),
        (&["claims", "16"], "they are 1 to 15"),
        (&["claims", "0"], "they are 1 to 15"),
        (
            &["lowrank", "--problem", "--pool --alg=max mb1ic8ih8kh2"],
            "no convolution",
        ),
        (
            &["lowrank", "--problem", "g2mb1ic8ih8oc8kh3ph1"],
            "without groups",
        ),
        (
            &[
                "lowrank",
                "--problem",
                "--dt=bf16:bf16:bf16 mb1ic8ih8oc8kh3ph1",
            ],
            "a convolution of f32",
        ),
        (
            &["lowrank", "--problem", "mb1ic8ih8oc8kh3ph1", "--ranks", "9"],
            "ranks 1 to 8",
        ),
        (
            &[
                "lowrank",
                "--problem",
                "mb1ic8ih8oc8kh3ph1",
                "--weights",
                "w.npy",
            ],
            "not a .npy file",
        ),
        (&["lowrank", "--weights", "w.npy"], "one --problem"),
    ] {
        let assert = convroof(dir.path()).args(args).assert().code(2);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(error.contains(part), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    }
}
