//! Tests of the terminal: words, options of all subcommands, colours, progress, completions and manual pages.

use crate::command::{bench, convroof, folder, json_lines, measured, walk};
use predicates::prelude::*;
use std::process::Output;

const PROBLEM: &str = "mb1ic16ih8oc16oh8kh3ph1";

/// Output of a successful call.
fn output(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = convroof();
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM"] {
        command.env_remove(name);
    }
    command.args(args).envs(variables.iter().copied());
    command.assert().success().get_output().clone()
}

fn stdout(args: &[&str], variables: &[(&str, &str)]) -> String {
    String::from_utf8(output(args, variables).stdout).expect("UTF-8")
}

#[test]
fn words_name_networks_and_layers() {
    let layers = |words: &[&str]| {
        let args = ["list", "--layers", "--json"].iter().chain(words);
        let out = convroof().args(args).assert().success();
        json_lines(&out.get_output().stdout)
    };
    let same = layers(&["--network", "resnet50"]);
    for word in ["resnet50", "ResNet-50", "RESNET_50"] {
        assert_eq!(layers(&[word]), same, "{word}");
    }
    let both = layers(&["nin", PROBLEM]);
    assert!(both.len() > 1 && both[0]["network"] == "nin");
    assert_eq!(both[both.len() - 1]["problem"], PROBLEM);
    assert_eq!(
        layers(&["nin", "--network", "lenet5"]),
        layers(&["nin,lenet5"])
    );
    convroof()
        .args(["net", "ResNet-51"])
        .assert()
        .code(2)
        .stderr("convroof: unknown network 'ResNet-51': did you mean 'resnet50'?\n");
    convroof()
        .args(["tune", PROBLEM])
        .assert()
        .code(2)
        .stderr(predicate::str::contains(
            "is a layer: expected names of networks",
        ));
}

#[test]
fn options_before_a_subcommand_are_refused_or_obeyed() {
    for option in [
        &["--network", "nin"][..],
        &["--layer", "conv1"],
        &["--problem", PROBLEM],
        &["--batch", "2"],
        &["--variant", "direct/*"],
        &["--threads", "1"],
        &["--cpus", "0"],
        &["--cache", "warm"],
        &["--profile", "quick"],
        &["--budget", "1"],
        &["--results", "x"],
        &["--peers"],
        &["--json"],
        &["--csv"],
    ] {
        convroof()
            .args(option)
            .args(["list", "nin"])
            .assert()
            .code(2)
            .stderr(predicate::str::starts_with(format!(
                "convroof: list can't be used with {}",
                option[0]
            )));
    }
    // Those of all subcommands hold wherever they stand.
    for args in [
        ["--verbose", "list", "nin"],
        ["list", "--verbose", "nin"],
        ["list", "nin", "-v"],
    ] {
        let said = String::from_utf8(output(&args, &[]).stderr).expect("UTF-8");
        assert!(said.contains("convroof: took "), "{args:?}: {said}");
    }
    convroof()
        .args(["-q", "list", "nin", "-v"])
        .assert()
        .code(2)
        .stderr("convroof: --quiet can't be used with --verbose: omit one\n");
}

#[test]
fn colours_obey_options_and_environment() {
    let dir = folder();
    let record = dir.path().join("a.json");
    measured(&record);
    let report = ["report", record.to_str().expect("UTF-8")];
    let coloured = |options: &[&str], variables: &[(&str, &str)]| {
        let args: Vec<&str> = options.iter().chain(&report).copied().collect();
        stdout(&args, variables).contains("\u{1b}[")
    };
    // Standard output is no terminal here.
    assert!(!coloured(&[], &[]));
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(
        &[],
        &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]
    ));
    assert!(!coloured(&[], &[("TERM", "dumb")]));
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
    let help = |options: &[&str], variables: &[(&str, &str)]| {
        let args: Vec<&str> = options.iter().chain(&["--help"]).copied().collect();
        stdout(&args, variables).contains("\u{1b}[")
    };
    assert!(!help(&[], &[]));
    assert!(help(&["--color", "always"], &[]));
    assert!(!help(&["--color=never"], &[("CLICOLOR_FORCE", "1")]));
}

#[test]
fn standard_error_is_as_quiet_as_wanted() {
    let dir = folder();
    let said = |options: &[&str]| {
        let record = dir.path().join(format!("{}.json", options.len()));
        let out = bench(&record).args(options).assert().success();
        String::from_utf8_lossy(&out.get_output().stderr).into_owned()
    };
    assert_eq!(said(&["-q"]), "");
    let lines = said(&["--progress", "always"]);
    assert!(lines.contains("convroof: bench: "), "{lines}");
    assert!(!lines.contains("0s left"), "{lines}");
    let plain = said(&[]);
    assert!(
        plain.contains("record: ") && !plain.contains("bench: "),
        "{plain}"
    );
}

#[test]
fn a_report_replaces_no_report_of_another_record() {
    let dir = folder();
    let records = ["a", "b"].map(|name| dir.path().join(name).with_extension("json"));
    measured(&records[0]);
    std::fs::copy(&records[0], &records[1]).expect("copied");
    for record in &records {
        let html = record.with_extension("html");
        convroof()
            .current_dir(dir.path())
            .arg("report")
            .arg(record)
            .assert()
            .success()
            .stdout(predicate::str::contains(format!(
                "Report: {}",
                html.display()
            )));
        assert!(html.exists());
    }
    assert_eq!(walk(dir.path()).len(), 4);
}

#[test]
fn a_list_is_short_and_has_all_on_request() {
    let lines = |args: &[&str]| {
        let text = stdout(args, &[]);
        assert!(!text.is_empty());
        text.lines().map(str::len).collect::<Vec<_>>()
    };
    let short = lines(&["list"]);
    assert!(short.len() < 130, "{} lines", short.len());
    assert!(lines(&["list", "--all"]).len() > 3 * short.len());
}

#[test]
fn shells_and_man_are_served() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stdout(&["completions", shell], &[]);
        assert!(
            script.contains("calibrate") && script.contains("convroof"),
            "{shell}"
        );
    }
    convroof()
        .args(["completions", "csh"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains(
            "expected bash, elvish, fish, powershell or zsh",
        ));
    assert!(stdout(&["man"], &[]).contains(".TH convroof 1"));
    let dir = folder();
    stdout(&["man", dir.path().to_str().expect("UTF-8")], &[]);
    let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect(name);
    assert!(page("convroof.1").contains("calibrate"));
    assert!(page("convroof-bench.1").contains("budget"));
    // Subcommands that aren't in the help have no page.
    assert!(!dir.path().join("convroof-worker.1").exists());
}
