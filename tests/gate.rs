//! Tests of the timing gate with real processes, real repositories and small layers.

mod command;

use assert_cmd::Command;
use command::{convroof, folder, without_symbols};
use convroof::regress::ab::client::{Side, WorkerClient};
use convroof::regress::ab::gate::{Outcome, judged, measure};
use convroof::regress::ab::layout::{CAREFUL, Programs};
use convroof::regress::ab::rounds::Sitting;
use convroof::regress::ab::survey::Survey;
use convroof::regress::ab::{Pair, Progress};
use convroof_kernels::data::Rng;
use predicates::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tempfile::TempDir;

const PROBLEM: &str = "mb1ic16ih14oc16oh14kh3ph1";
const LARGE: &str = "mb1ic128ih56oc128oh56kh3ph1";

fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin!("convroof").into()
}

/// Command `convroof ab`, with a folder for temporary files that must be empty afterwards.
fn ab(scratch: &Path) -> Command {
    let mut command = convroof();
    command.env("TMPDIR", scratch).arg("ab");
    command
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("listed").next().is_none()
}

fn side(letter: char) -> Side {
    Side {
        letter,
        label: "this build".into(),
        program: program(),
    }
}

struct Silent;

impl Progress for Silent {
    fn stage(&mut self, _: &str) {}
    fn count(&mut self, _: &'static str, _: usize, _: usize) {}
    fn note(&mut self, _: &str) {}
}

#[test]
fn a_slow_variant_is_named_and_no_other() {
    let stop = AtomicBool::new(false);
    let mut sitting = Sitting {
        sides: ['A', 'B'].map(side),
        stop: &stop,
        rng: Rng::new(1),
    };
    let pair = |variant: &str| Pair {
        problem: PROBLEM.into(),
        variant: variant.into(),
        threads: 1,
    };
    let wanted = ["direct/scalar/st", "im2col/scalar/st", "gemm-1x1/scalar/st"].map(pair);
    let survey = Survey::of(&sitting.sides, &wanted, &stop, &mut Silent).expect("a survey");
    let pairs: Vec<&Pair> = survey.pairs.iter().map(|s| &s.pair).collect();
    assert_eq!(
        pairs,
        [&wanted[0], &wanted[1]],
        "what neither can do is no pair"
    );
    survey
        .check(&sitting.sides, &stop, &mut Silent)
        .expect("right");
    // A slow-down of 50 % is detected despite other tests on the same machine.
    let measured = measure(
        &mut sitting,
        &survey,
        &[0.0, 0.5],
        Duration::from_secs(8),
        &mut Silent,
    );
    let measured = measured.expect("measured");
    let judged = judged(&measured);
    assert_ne!(judged[0].outcome, Outcome::Slower, "{:?}", judged[0]);
    assert_eq!(judged[1].outcome, Outcome::Slower, "{:?}", judged[1]);
    assert!(
        (0.4..0.6).contains(&judged[1].result.effect),
        "{:?}",
        judged[1]
    );
}

/// A copy of this program in which the named function has another instruction.
#[cfg(target_os = "linux")]
fn with_changed_function(folder: &Path, name: &str) -> PathBuf {
    use object::{Object, ObjectSection, ObjectSymbol};
    let mut bytes = std::fs::read(program()).expect("read");
    let at = {
        let file = object::File::parse(&bytes[..]).expect("ELF");
        let mut symbols = file.symbols();
        let symbol = symbols.find(|s| s.size() > 0 && s.name().is_ok_and(|n| n.contains(name)));
        let symbol = symbol.expect(name);
        let section = file.section_by_index(symbol.section_index().expect("a section"));
        let section = section.expect("listed");
        let from = section.file_range().expect("in the file").0;
        (from + symbol.address() - section.address()) as usize
    };
    bytes[at] ^= 1;
    let changed = folder.join("changed");
    std::fs::write(&changed, bytes).expect("written");
    let permissions = std::fs::metadata(program()).expect("a file").permissions();
    std::fs::set_permissions(&changed, permissions).expect("set");
    changed
}

/// If the system shows instruction pointers, hot code is found, and a change elsewhere doesn't matter.
#[cfg(target_os = "linux")]
#[test]
fn a_kernel_whose_functions_did_not_change_has_the_same_code() {
    let dir = folder();
    let mut sides = ['A', 'B'].map(side);
    let same = |sides: &[Side; 2]| {
        let programs = Programs::read(sides).expect("read").expect("symbols");
        let mut clients = [0, 1].map(|i| WorkerClient::start(&sides[i]).expect("started"));
        let pair = Pair {
            problem: PROBLEM.into(),
            variant: "direct/scalar/st".into(),
            threads: 1,
        };
        let same = programs.same_code(&mut clients, &pair, CAREFUL);
        (programs.are_equal(), same.expect("no trouble"))
    };
    assert_eq!(same(&sides), (true, Some(true)));
    sides[1].program = with_changed_function(dir.path(), "lowrank");
    let (are_equal, found) = same(&sides);
    assert!(!are_equal && found != Some(false), "{found:?}");
}

#[cfg(unix)]
#[test]
fn pairs_that_do_not_fit_are_left_out_with_the_command_for_all() {
    let (scratch, programs) = (folder(), folder());
    let stripped = without_symbols(programs.path());
    let mut command = ab(scratch.path());
    command.arg(program()).arg(&stripped);
    // The second layer has a thousand times as many operations.
    command.args(["--problem", PROBLEM, "--problem", LARGE]);
    command.args(["--variant", "direct/scalar/*", "--budget", "15"]);
    let out = command.output().expect("run");
    let (said, noted) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert_eq!(out.status.code(), Some(0), "{said}{noted}");
    for text in [&said, &noted] {
        let pair = format!("1 pair not measured: direct/scalar/st on {LARGE}");
        assert!(text.contains(&pair), "{said}{noted}");
        assert!(
            text.contains("'direct/scalar/*' --budget "),
            "{said}{noted}"
        );
    }
    assert!(is_empty(scratch.path()));
    // A layer that takes too long for any budget of this size.
    let mut command = ab(scratch.path());
    command.arg(program()).arg(&stripped);
    command.args(["--problem", LARGE, "--variant", "direct/scalar/st"]);
    let assert = command.args(["--budget", "1.5"]).assert().code(2);
    assert.stderr(predicate::str::contains(
        "the budget is too small for any of 1 pairs: use --budget ",
    ));
}

#[test]
fn a_build_against_itself_is_silent_and_leaves_nothing() {
    let scratch = folder();
    let own = program();
    let assert = ab(scratch.path())
        .args([&own, &own])
        .args([
            "--problem",
            PROBLEM,
            "--variant",
            "direct/*/st",
            "--budget",
            "60",
            "--json",
        ])
        .assert()
        .success();
    let out = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let rows: Vec<Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).expect(l))
        .collect();
    assert!(!rows.is_empty());
    for row in rows {
        assert_eq!(row["problem"], PROBLEM);
        assert_ne!(row["outcome"], "slower");
        assert!(row["finds"].as_f64().expect("a fraction") >= 0.02);
    }
    assert!(is_empty(scratch.path()));
}

#[cfg(unix)]
#[test]
fn an_interrupted_gate_leaves_nothing() {
    let (scratch, programs) = (folder(), folder());
    let own = program();
    let mut child = std::process::Command::new(&own)
        .arg("ab")
        .args([&own, &without_symbols(programs.path())])
        .args([
            "--problem",
            PROBLEM,
            "--variant",
            "direct/*",
            "--budget",
            "60",
        ])
        .env("TMPDIR", scratch.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    std::thread::sleep(Duration::from_secs(2));
    assert!(!is_empty(scratch.path()), "it works in its folder");
    let interrupt = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.expect("kill").success());
    let status = child.wait().expect("ended");
    assert!(!status.success());
    assert!(is_empty(scratch.path()));
}

fn git(folder: &Path, args: &[&str]) {
    let out = std::process::Command::new("git")
        .arg("-C")
        .arg(folder)
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .output()
        .expect("git");
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// A repository whose program isn't convroof and, after a change, doesn't even build.
fn repository() -> TempDir {
    let dir = folder();
    let write =
        |file: &str, text: &str| std::fs::write(dir.path().join(file), text).expect("written");
    git(dir.path(), &["init", "--quiet"]);
    write(
        "Cargo.toml",
        "[package]\nname = \"convroof\"\nversion = \"0.0.1\"\nedition = \"2024\"\n[[bin]]\nname = \"convroof\"\npath = \"main.rs\"\n[[bin]]\nname = \"other\"\npath = \"other.rs\"\n",
    );
    write("other.rs", "fn main() {}\n");
    write("main.rs", "fn main() {}\n");
    git(dir.path(), &["add", "."]);
    git(dir.path(), &["commit", "--quiet", "-m", "builds"]);
    write("main.rs", "fn main() { nonsense }\n");
    git(dir.path(), &["commit", "--quiet", "-a", "-m", "doesn't"]);
    dir
}

#[test]
fn trouble_is_one_line_and_nothing_is_lost() {
    let (scratch, here, elsewhere) = (folder(), repository(), folder());
    let own = program();
    let own = own.to_str().expect("UTF-8");
    let changed = here.path().join("main.rs");
    std::fs::write(&changed, "fn main() { changed }\n").expect("written");
    for (from, args, part) in [
        (
            here.path(),
            &["HEAD~9"][..],
            "neither a program's file nor a revision",
        ),
        (elsewhere.path(), &["HEAD"], "in no git repository"),
        (here.path(), &["HEAD", own], "HEAD, "),
        (here.path(), &["HEAD", own], "doesn't build: error"),
        (here.path(), &[own], "with this work tree's changes"),
        (here.path(), &["HEAD~1", own], "has no `convroof worker`"),
        (
            here.path(),
            &[own, own, "--budget", "0"],
            "expected seconds",
        ),
        (
            here.path(),
            &[own, own, "--budget", "0.05"],
            "the budget is too small",
        ),
        (
            here.path(),
            &[own, own, "--variant", "nope/*"],
            "no variant matches 'nope/*'",
        ),
        (here.path(), &[own, own, "--threads", "0"], "use 1 to"),
        (
            here.path(),
            &[own, own, "--out", "/dev/null/x.json"],
            "can't write",
        ),
        // Another program of the repository: it builds, but it isn't convroof either.
        (
            here.path(),
            &["HEAD~1", own, "--bin", "other"],
            "has no `convroof worker`",
        ),
        (
            here.path(),
            &["HEAD~1", own, "--bin", "none"],
            "no bin target named `none`",
        ),
        (
            here.path(),
            &["HEAD~1", own, "--bin=-Zhelp"],
            "doesn't build: error",
        ),
    ] {
        let mut command = ab(scratch.path());
        command.current_dir(from).args(args);
        if !args.contains(&"--problem") {
            command.args(["--problem", PROBLEM]);
        }
        if !args.contains(&"--variant") {
            command.args(["--variant", "direct/scalar/st"]);
        }
        let assert = command.assert().code(2);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        // A debug build prints a warning.
        let lines: Vec<&str> = error
            .lines()
            .filter(|l| !l.contains("debug build"))
            .collect();
        assert!(error.contains(part), "{args:?}: {error}");
        assert!(
            lines.len() == 1 && !error.contains("panicked"),
            "{args:?}: {error}"
        );
        assert!(is_empty(scratch.path()), "{args:?}");
    }
    // The work tree is unchanged and has no target folder.
    assert_eq!(
        std::fs::read_to_string(&changed).expect("read"),
        "fn main() { changed }\n"
    );
    assert!(!here.path().join("target").exists());
    Command::new("git")
        .arg("-C")
        .arg(here.path())
        .args(["status", "--porcelain"])
        .assert()
        .stdout(predicate::str::diff(" M main.rs\n"));
}

#[test]
fn a_name_of_a_file_and_a_revision_is_ambiguous() {
    let (scratch, here) = (folder(), repository());
    let own = program();
    let file = here.path().join("HEAD");
    std::fs::copy(&own, &file).expect("copied");
    let gate = |args: &[&std::ffi::OsStr]| {
        let mut command = ab(scratch.path());
        command.current_dir(here.path()).args(args);
        command.args(["--problem", PROBLEM, "--variant", "nope/*"]);
        command.assert().code(2)
    };
    let text =
        "'HEAD' is a file and a revision: write ./HEAD for the file, HEAD^0 for the revision";
    for args in [["HEAD", "HEAD"], ["./HEAD", "HEAD"], ["HEAD", "./HEAD"]] {
        gate(&args.map(AsRef::as_ref)).stderr(predicate::str::contains(text));
    }
    // Both spellings work: the file runs, the revision is built.
    gate(&["./HEAD".as_ref(), own.as_os_str()])
        .stderr(predicate::str::contains("no variant matches"));
    gate(&["HEAD^0".as_ref(), own.as_os_str()]).stderr(predicate::str::contains("doesn't build"));
    // A file whose name isn't a revision needs no `./`.
    std::fs::rename(&file, here.path().join("build")).expect("renamed");
    gate(&["build".as_ref(), own.as_os_str()])
        .stderr(predicate::str::contains("no variant matches"));
    assert!(is_empty(scratch.path()));
}

#[cfg(unix)]
#[test]
fn a_repository_runs_no_program_of_its_own() {
    use std::os::unix::fs::PermissionsExt;
    let (scratch, here, apart) = (folder(), repository(), folder());
    let (script, called) = (apart.path().join("script"), apart.path().join("called"));
    let text = format!("#!/bin/sh\necho \"$0\" >> '{}'\n", called.display());
    std::fs::write(&script, text).expect("written");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("set");
    for hook in ["post-index-change", "post-checkout"] {
        std::fs::copy(&script, here.path().join(".git/hooks").join(hook)).expect("copied");
    }
    git(
        here.path(),
        &["config", "core.fsmonitor", script.to_str().expect("UTF-8")],
    );
    std::fs::write(here.path().join("main.rs"), "fn main() { changed }\n").expect("written");
    git(here.path(), &["status"]);
    assert!(called.exists(), "git runs it when it is asked plainly");
    std::fs::remove_file(&called).expect("removed");
    let own = program();
    ab(scratch.path())
        .current_dir(here.path())
        .arg(&own)
        .args(["--problem", PROBLEM])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("doesn't build"));
    assert!(
        !called.exists(),
        "{}",
        std::fs::read_to_string(&called).unwrap_or_default()
    );
}

#[test]
fn an_audit_goes_on_where_it_was() {
    let results = folder();
    let audit = |gates: &str| {
        let mut command = convroof();
        command
            .args([
                "audit",
                "--problem",
                PROBLEM,
                "--variant",
                "direct/*/st",
                "--budget",
                "15",
            ])
            .args([
                "--pairs",
                "2",
                "--gates",
                gates,
                "--slowed",
                "0",
                "--draws",
                "50",
                "--results",
            ])
            .arg(results.path());
        command
    };
    audit("1")
        .assert()
        .success()
        .stdout(predicate::str::contains("| real | "));
    audit("2").assert().success().stderr(
        predicate::str::contains("same gate 2").and(predicate::str::contains("same gate 1").not()),
    );
    let machine = std::fs::read_dir(results.path()).expect("listed").next();
    let machine = machine.expect("a folder").expect("listed").path();
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(machine.join("audit.json")).expect("read"))
            .expect("JSON");
    assert_eq!(report["real"]["tries"], 2);
    assert_eq!(report["drawn"][2]["false_alarms"]["tries"], 50);
    // The error names an invalid file.
    std::fs::write(machine.join("audit/same-02.json"), "{").expect("written");
    audit("2")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("same-02.json is damaged"));
}
