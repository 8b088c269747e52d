//! Interrupted programs. Their exit code must be 128 + signal, and measurements so far must be kept and marked.

use crate::command::{folder, without_symbols};
use crate::world::{self, PROBLEM, World};
use libtest_mimic::Trial;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn add(trials: &mut Vec<Trial>) {
    let mut add = |name: &str, test: fn()| {
        trials.push(Trial::test(format!("interrupted_{name}"), move || {
            test();
            Ok(())
        }));
    };
    add("bench", bench);
    add("run", run);
    add("tune", tune);
    add("net", net);
    add("ab", ab);
    add("ab_build", ab_build);
    add("claims_and_lowrank", claims_and_lowrank);
    #[cfg(feature = "peers")]
    add("hung_peer", hung_peer);
    #[cfg(feature = "peers")]
    add("hung_start", hung_start);
    add("hung_worker", hung_worker);
    add("twice", twice);
}

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

pub(crate) fn send(child: &Child, signal: i32) {
    let kill = Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status();
    assert!(kill.expect("kill").success());
}

/// Waits until a condition holds. Fails if the program ends before.
fn wait_for(child: &mut Child, what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert_eq!(
            child.try_wait().expect("a child"),
            None,
            "it ended before {what}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(240),
            "{what} takes too long"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal and returns the program's output. It must end within `seconds`, with the signal's exit code.
fn interrupted(mut child: Child, signal: i32, seconds: u64) -> (String, String) {
    send(&child, signal);
    let start = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if start.elapsed() > Duration::from_secs(seconds) {
            let _ = child.kill();
            panic!("it goes on for more than {seconds} s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let out = child.wait_with_output().expect("ended");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, said, status) = (text(&out.stdout), text(&out.stderr), out.status);
    assert_eq!(status.code(), Some(128 + signal), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    (out, said)
}

fn start(command: &mut Command) -> Child {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().expect("started")
}

fn measured(record: &Path) -> usize {
    let text = std::fs::read_to_string(record).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    json["measurements"].as_array().map_or(0, Vec::len)
}

/// Arguments for several layers, each long enough to be interrupted.
const LAYERS: [&str; 8] = [
    "--network",
    "lenet5",
    "--threads",
    "1",
    "--budget",
    "100",
    "--variant",
    "direct/scalar/st,maxpool/scalar/st,avgpool/scalar/st",
];

fn bench() {
    let world = World::new();
    let record = world.file("record.json");
    let mut child = start(
        world
            .command()
            .arg("bench")
            .args(LAYERS)
            .arg("--out")
            .arg(&record),
    );
    wait_for(&mut child, "a layer", || measured(&record) > 0);
    let (_, said) = interrupted(child, SIGTERM, 30);
    assert!(said.contains("--resume"), "{said}");
    let json = world::json(&record);
    assert_eq!(json["complete"], false);
    assert!(measured(&record) > 0);

    let convroof = |args: &[&str]| {
        let mut command = world.command();
        let out = command
            .args(args)
            .args(["--results"])
            .arg(world.file("results"))
            .output();
        let out = out.expect("started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&out.stdout), text(&out.stderr))
    };
    let name = record.to_str().expect("a name");
    for args in [&["report", name, "--markdown"][..], &["report", name]] {
        let (out, said) = convroof(args);
        assert!(out.contains("The run was interrupted: "), "{out}{said}");
        assert!(out.contains("there is no sum"), "{out}");
        assert!(!out.to_lowercase().contains("all layers:"), "{out}");
    }
    let html = std::fs::read_to_string(world.file("results/record.html")).expect("a report");
    assert!(html.contains("The run was interrupted") && html.contains("there is no sum"));
    let (out, said) = convroof(&["track", name]);
    assert!(said.contains("The run was interrupted"), "{out}{said}");
    assert!(
        out.contains("1 of the runs were interrupted"),
        "{out}{said}"
    );
    let compare = world.command().arg("compare").args([name, name]).output();
    let compare = String::from_utf8_lossy(&compare.expect("started").stdout).into_owned();
    assert!(compare.contains("A: The run was interrupted"), "{compare}");
    assert!(compare.contains("B: The run was interrupted"), "{compare}");
    world.assert_empty();
}

fn run() {
    let world = World::new();
    let results = world.file("results");
    let mut command = world.command();
    let child = start(
        command
            .arg("run")
            .args(LAYERS)
            .arg("--results")
            .arg(&results),
    );
    // During checks or calibration, before the first measurement.
    std::thread::sleep(Duration::from_secs(2));
    interrupted(child, SIGINT, 20);
    let mut child = start(command.arg("--profile=quick"));
    let records = || {
        let files = crate::command::walk(&results).into_iter();
        files
            .filter(|f| f.extension().is_some_and(|e| e == "json"))
            .map(|f| measured(&f))
            .max()
    };
    std::fs::create_dir_all(&results).expect("made");
    wait_for(&mut child, "a layer", || records() > Some(0));
    let (out, _) = interrupted(child, SIGINT, 30);
    assert!(out.contains("The run was interrupted"), "{out}");
    assert!(results.join("report.html").exists());
    world.assert_empty();
}

fn tune() {
    let world = World::new();
    let plans = world.file("plans");
    let mut command = world.command();
    command.args(["tune", "--network", "nin,resnet50", "--threads", "1"]);
    command
        .args(["--variant", "*/scalar/st", "--plans"])
        .arg(&plans);
    let mut child = start(&mut command);
    // After the calibration, whose progress isn't visible.
    std::fs::create_dir_all(&plans).expect("made");
    // Its lock lies beside it.
    let file = || {
        let mut files = crate::command::walk(&plans).into_iter();
        files.find(|f| f.extension().is_some_and(|e| e == "json"))
    };
    wait_for(&mut child, "a plan file", || file().is_some());
    std::thread::sleep(Duration::from_secs(20));
    let (_, said) = interrupted(child, SIGTERM, 30);
    let file = world::json(&file().expect("a plan file"));
    if said.contains("plans: ") {
        assert!(
            said.contains("interrupted, so that layers are missing: "),
            "{said}"
        );
        assert!(
            !file["incomplete"].as_array().expect("a list").is_empty(),
            "{file}"
        );
    }
    world.assert_empty();
}

fn net() {
    let world = World::new();
    let mut command = world.command();
    command.args([
        "net",
        "lenet5",
        "--threads",
        "1",
        "--budget",
        "200",
        "--no-check",
        "--json",
    ]);
    command
        .args(["--variant", "*/scalar/st", "--plans"])
        .arg(world.file("none"));
    let child = start(&mut command);
    std::thread::sleep(Duration::from_secs(3));
    interrupted(child, SIGTERM, 20);
    world.assert_empty();
}

/// Command of a gate of this program against itself. It doesn't know that their machine code is equal, so it takes all of
/// its budget.
fn gate(world: &World, folder: &Path) -> Command {
    let mut ab = world.command();
    let stripped = without_symbols(folder);
    ab.arg("ab").args([world::program(), stripped]);
    ab.args([
        "--problem",
        PROBLEM,
        "--variant",
        "direct/scalar/st",
        "--budget",
        "200",
    ]);
    ab
}

fn ab() {
    let world = World::new();
    let out = world.file("gate.json");
    let programs = folder();
    let child = start(
        gate(&world, programs.path())
            .arg("--markdown")
            .arg("--out")
            .arg(&out),
    );
    std::thread::sleep(Duration::from_secs(15));
    let (said, _) = interrupted(child, SIGINT, 5);
    assert!(
        said.contains("Interrupted after ") && said.contains("no verdict"),
        "{said}"
    );
    let gate = world::json(&out);
    assert_eq!(gate["interrupted"], true);
    assert!(!gate["blocks"].as_array().expect("a list").is_empty());
    world.assert_empty();
}

/// Makes a repository whose program takes long to build.
pub(crate) fn slow_repository(folder: &Path) {
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C")
            .arg(folder)
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
        let out = git
            .args(["-c", "commit.gpgsign=false"])
            .args(args)
            .output()
            .expect("git");
        assert!(
            out.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    let write = |file: &str, text: &str| std::fs::write(folder.join(file), text).expect("written");
    std::fs::create_dir_all(folder).expect("made");
    git(&["init", "--quiet"]);
    write(
        "Cargo.toml",
        "[package]\nname = \"convroof\"\nversion = \"0.0.1\"\nedition = \"2024\"\n[[bin]]\nname = \"convroof\"\npath = \"main.rs\"\n[workspace]\n",
    );
    write("main.rs", "fn main() {}\n");
    write(
        "build.rs",
        "fn main() { std::thread::sleep(std::time::Duration::from_secs(1000)) }\n",
    );
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "slow"]);
}

/// True while the repository's build script runs.
pub(crate) fn builds(world: &World) -> bool {
    world
        .survivors()
        .iter()
        .any(|process| process.contains("build-script-build"))
}

fn ab_build() {
    let world = World::new();
    let repository = world.file("repository");
    slow_repository(&repository);
    let mut ab = world.command();
    let mut child = start(
        ab.current_dir(&repository)
            .args(["ab", "HEAD"])
            .arg(world::program()),
    );
    #[cfg(target_os = "linux")]
    wait_for(&mut child, "a build", || builds(&world));
    let (_, said) = interrupted(child, SIGTERM, 5);
    assert!(said.contains("stopped before there was a result"), "{said}");
    world.assert_empty();
}

fn claims_and_lowrank() {
    for command in ["claims", "lowrank"] {
        let world = World::new();
        let child = start(world.command().arg(command));
        std::thread::sleep(Duration::from_secs(4));
        // A layer in progress is measured or factored to its end.
        interrupted(child, SIGINT, 120);
        world.assert_empty();
    }
}

#[cfg(feature = "peers")]
fn hung(fault: &str) {
    let world = World::new();
    let record = world.file("record.json");
    let mut bench = world.bench(&record);
    let mut child = start(
        bench
            .env("CONVROOF_FAKE", fault)
            .env("CONVROOF_PATIENCE", "1000"),
    );
    wait_for(&mut child, "the host hangs", || {
        world.file("asked").exists()
    });
    let (_, said) = interrupted(child, SIGINT, 5);
    assert!(
        !said.contains("onnxruntime"),
        "an interruption is no fault of the peer's: {said}"
    );
    world.assert_empty();
}

#[cfg(feature = "peers")]
fn hung_peer() {
    hung("time:stubborn");
    hung("load:deaf");
}

#[cfg(feature = "peers")]
fn hung_start() {
    hung("hello:hang");
}

fn hung_worker() {
    for fault in ["hello:hang", "plan:hang", "time:stubborn"] {
        let world = World::new();
        let mut ab = world.command();
        ab.arg("ab").arg(world::program()).arg(world::fake());
        ab.args(["--problem", PROBLEM, "--variant", "direct/scalar/st"]);
        ab.env("CONVROOF_FAKE", fault)
            .env("CONVROOF_PATIENCE", "1000");
        let mut child = start(&mut ab);
        wait_for(&mut child, "the worker hangs", || {
            world.file("asked").exists()
        });
        interrupted(child, SIGTERM, 5);
        world.assert_empty();
    }
}

/// A second signal ends the program and its children at once.
fn twice() {
    let world = World::new();
    let programs = folder();
    let child = start(&mut gate(&world, programs.path()));
    std::thread::sleep(Duration::from_secs(3));
    send(&child, SIGTERM);
    interrupted(child, SIGTERM, 2);
    world.assert_empty();
}
