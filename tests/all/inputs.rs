//! Tests of untrusted input: invalid input gives one line of bounded length and exit code 2.

use crate::command::{convroof, folder, json_lines};
use std::path::Path;

/// The program's message about invalid arguments.
fn refused(args: &[&str]) -> String {
    let output = convroof().args(args).output().expect("run");
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert!(output.stdout.is_empty(), "{args:?}");
    let acts = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!error.contains(acts), "{error:?}");
    assert!(
        error.chars().count() < 4200,
        "{} characters",
        error.chars().count()
    );
    error
}

#[test]
fn what_acts_on_a_terminal_is_seen_in_every_error() {
    let bad = "x\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\r\n\u{202e}y";
    let shown = "x\\u{1b}]0;owned\\u{7}\\u{1b}[31m";
    let flag = format!("--{bad}");
    for args in [
        &["list", "--problem", bad][..],
        &["list", "--network", bad],
        &["list", "--layer", bad],
        &["list", "--variant", bad],
        &["check", "--problem", bad],
        &["bench", "--problem", bad],
        &["bench", "--cache", bad],
        &["counts", "--problem", bad],
        &["net", bad],
        &["tune", "--network", bad],
        &["lowrank", "--problem", bad],
        &[
            "exec",
            "--variant",
            bad,
            "--problem",
            "mb1",
            "--src",
            "x",
            "--dst",
            "y",
        ],
        &[
            "exec",
            "--variant",
            "direct/scalar/st",
            "--problem",
            bad,
            "--src",
            "x",
            "--dst",
            "y",
        ],
        &["report", bad],
        &["compare", bad, bad],
        &["track", bad],
    ] {
        let error = refused(args);
        // Patterns may be cut at a comma, and a layer's name may be absent from an error.
        assert!(error.contains(shown), "{args:?}: {error}");
    }
    // Errors of clap, which removes the escape sequences that it knows.
    refused(&["list", &flag]);
    refused(&[bad]);
}

#[test]
fn long_arguments_are_cut() {
    let long = "ü".repeat(30_000);
    let deep = vec!["mb1ic1ih1oc1kh1"; 3000].join(" + ");
    for text in [&long, &deep] {
        for command in ["list", "check", "bench", "counts", "lowrank"] {
            let error = refused(&[command, "--problem", text]);
            assert!(
                error.contains('…') && error.contains("at most 4096 are read"),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
    assert!(refused(&["list", "--network", &long]).contains('…'));
    assert!(refused(&["list", "--variant", &long]).contains('…'));
    assert!(refused(&[&long]).contains('…'));
}

#[test]
fn problems_come_from_files_as_benchdnn_has_them() {
    let dir = folder();
    std::fs::write(
        dir.path().join("all"),
        "# comment\n--dir=FWD_B --attr-post-ops=,sum+relu:0\n--batch=shapes\n",
    )
    .expect("written");
    std::fs::write(
        dir.path().join("shapes"),
        "mb1ic16ih8oc16oh8kh3ph1n\"one\"\n\n--reset --alg=WINO mb1ic16ih8oc16oh8kh1ph0\n",
    )
    .expect("written");
    let list = |batch: &Path, flags: &[&str]| {
        let text = format!("--conv --batch={}", batch.display());
        let mut command = convroof();
        command
            .args(["list", "--problem", &text, "--json"])
            .args(flags);
        command
    };
    let output = list(&dir.path().join("all"), &["--layers"])
        .output()
        .expect("run");
    let layers = json_lines(&output.stdout);
    let texts: Vec<&str> = layers
        .iter()
        .filter_map(|l| l["problem"].as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "--dir=FWD_B mb1ic16ih8oc16oh8kh3ph1",
            "--dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb1ic16ih8oc16oh8kh3ph1",
            "mb1ic16ih8oc16oh8kh1ph0",
        ]
    );
    std::fs::write(dir.path().join("shapes"), "--batch=all\n").expect("written");
    let output = list(&dir.path().join("all"), &[]).output().expect("run");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        error.contains("names itself") && error.lines().count() == 1,
        "{error}"
    );
}

/// In a job's summary, all output of the program stays inside one code block.
#[cfg(unix)]
#[test]
fn a_gate_fences_what_it_shows() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder();
    let program = |path: &Path, text: &str| {
        std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
        std::fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("runs");
    };
    let target = dir.path().display().to_string();
    let cargo = format!("echo '{{\"target_directory\":\"{target}\"}}'");
    program(&dir.path().join("bin/cargo"), &cargo);
    program(&dir.path().join("bin/valgrind"), "exit 0");
    let said = "a\n```\n# heading\n`````\n@someone";
    let says = format!("[ \"$1\" = counts ] && cat <<'END'\n{said}\nEND\nexit 0");
    program(&dir.path().join("release/convroof"), &says);
    let summary = dir.path().join("summary");
    let path = format!(
        "{}:{}",
        dir.path().join("bin").display(),
        std::env::var("PATH").expect("a path")
    );
    let output = std::process::Command::new("scripts/gate")
        .arg("HEAD")
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", dir.path())
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .expect("run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary = std::fs::read_to_string(summary).expect("written");
    let fence = "``````";
    assert!(
        summary.contains(&format!("\n{fence}\n{said}\n{fence}\n")),
        "{summary}"
    );
}
