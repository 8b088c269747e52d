//! Programs killed at random moments. Their child processes must end with them, and the next start must remove their
//! folders.

use crate::signals::{builds, slow_repository};
use crate::world::{self, PROBLEM, World};
use libtest_mimic::Trial;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Number of kills per program; the variable `CONVROOF_KILLS` overrides it.
fn kills() -> u64 {
    let set = std::env::var("CONVROOF_KILLS").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(6)
}

pub(crate) fn add(trials: &mut Vec<Trial>) {
    let mut add = |name: &str, test: fn()| {
        trials.push(Trial::test(format!("killed_{name}"), move || {
            test();
            Ok(())
        }));
    };
    add("bench", bench);
    add("ab", ab);
    add("build", build);
    add("parent_of_a_stopped_process", stopped);
    add("parent_of_a_python_host", python);
}

/// Kills a program after `ms` milliseconds, and waits until none of its processes is left.
fn kill(world: &World, command: &mut Command, ms: u64) {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("started");
    std::thread::sleep(Duration::from_millis(ms));
    child.kill().expect("a child");
    child.wait().expect("ended");
    world.assert_no_survivors();
}

/// Asserts that the next start removes all left-over temporary folders.
fn assert_swept(world: &World) {
    let mut ab = world.command();
    ab.arg("ab").args([world::program(), world::program()]);
    ab.args(["--problem", PROBLEM, "--variant", "nope/*"]);
    ab.output().expect("started");
    world.assert_empty();
}

/// Random moments within the first seconds, different in each run.
fn moments(most_ms: u64) -> impl Iterator<Item = u64> {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock");
    let mut rng = convroof_kernels::data::Rng::new(now.as_nanos() as u64);
    (0..kills()).map(move |_| rng.below(most_ms as usize) as u64)
}

fn bench() {
    let world = World::new();
    let record = world.file("record.json");
    for ms in moments(6000) {
        // A fake host that hangs, and real hosts that are stopped between their turns.
        let mut bench = world.bench(&record);
        bench
            .args(["--budget=100"])
            .env("CONVROOF_FAKE", "never:hang");
        kill(&world, &mut bench, ms);
    }
    assert_swept(&world);
}

fn ab() {
    let world = World::new();
    for ms in moments(6000) {
        let mut ab = world.command();
        ab.arg("ab").args([world::program(), world::program()]);
        ab.args(["--problem", PROBLEM, "--variant", "direct/scalar/st"]);
        kill(&world, &mut ab, ms);
    }
    assert_swept(&world);
}

fn build() {
    let world = World::new();
    let repository = world.file("repository");
    slow_repository(&repository);
    let mut seen = false;
    for ms in moments(3000) {
        let mut ab = world.command();
        ab.current_dir(&repository)
            .args(["ab", "HEAD"])
            .arg(world::program());
        ab.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = ab.spawn().expect("started");
        // The first program is killed while the build script runs, the others at any moment.
        while !seen && child.try_wait().expect("a child").is_none() {
            seen = builds(&world);
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().expect("a child");
        child.wait().expect("ended");
        world.assert_no_survivors();
    }
    assert!(seen, "no build was seen");
    assert_swept(&world);
}

/// Starts a program from a shell, waits for its `hello`, and kills the shell. With `stop`, the program is stopped
/// first.
fn orphan(world: &World, program: &str, stop: bool) {
    // A background job would have an empty input, which would end it.
    let script = format!("exec 3<&0; CONVROOF_PARENT=$$ {program} <&3 & echo child $!; wait");
    let mut shell = world.command_of("sh");
    shell
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut shell = shell.spawn().expect("started");
    let (mut child, mut ready) = (None, false);
    let mut out = BufReader::new(shell.stdout.take().expect("piped")).lines();
    while child.is_none() || !ready {
        let line = out.next().unwrap_or_else(|| panic!("{program} ended"));
        let line = line.expect("text");
        ready |= line.contains("hello");
        child = child.or(line.strip_prefix("child ").map(String::from));
    }
    if stop {
        let kill = Command::new("kill").arg("-STOP").args(child).status();
        assert!(kill.expect("kill").success());
    }
    // The write end of its input stays open, so only the system's signal can end it.
    let input = shell.stdin.take();
    shell.kill().expect("a child");
    shell.wait().expect("ended");
    world.assert_no_survivors();
    drop(input);
}

fn stopped() {
    let world = World::new();
    let program = world::program().display().to_string();
    for stop in [false, true] {
        orphan(&world, &format!("{program} worker"), stop);
        if cfg!(feature = "peers") {
            orphan(&world, &format!("{program} peer-host gemm"), stop);
        }
    }
    // A worker also checks that its parent still exists.
    let late = world
        .command()
        .arg("worker")
        .env("CONVROOF_PARENT", "1")
        .output();
    let late = late.expect("started");
    assert_eq!(late.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&late.stderr).contains("is gone"));
}

fn python() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let world = World::new();
    // A fake of the first library that the host imports: the host waits there.
    std::fs::write(
        world.file("numpy.py"),
        "import time\nprint('hello', flush=True)\ntime.sleep(1000)\n",
    )
    .expect("written");
    std::fs::write(
        world.file("host.py"),
        include_str!("../../src/peers/host.py"),
    )
    .expect("written");
    let folder = world.file("").display().to_string();
    let program = format!("PYTHONPATH={folder} python3 {folder}/host.py mnn 1");
    for stop in [false, true] {
        orphan(&world, &program, stop);
    }
    let mut late = world.command_of("python3");
    late.arg(world.file("host.py"))
        .args(["mnn", "1"])
        .env("PYTHONPATH", &folder);
    let status = late.env("CONVROOF_PARENT", "1").status();
    assert!(status.expect("started").success(), "it ends at once");
}
