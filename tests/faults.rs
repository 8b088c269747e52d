//! Tests of faulty workers and hosts, and of interrupted and killed programs. Each must end with one line of error and
//! the right exit code, and leave no process or folder behind.
//!
//! This test program is also the fake. With `CONVROOF_FAKE=STAGE:FAULT` it acts as a worker or host and commits FAULT
//! at the request STAGE.

mod command;
#[path = "faults/fake.rs"]
mod fake;
#[cfg(target_os = "linux")]
#[path = "faults/kills.rs"]
mod kills;
#[cfg(unix)]
#[path = "faults/signals.rs"]
mod signals;
#[path = "faults/world.rs"]
mod world;

use libtest_mimic::{Arguments, Trial};
use world::{PROBLEM, World};

/// Faults of each stage, and a part of the error message. That part never has the duration of a silence, which depends
/// on the machine.
const FAULTS: [(&str, &str); 16] = [
    ("close", "ended early (exit status: 0)"),
    ("exit", "ended early (exit status: 3)"),
    ("half", "a line that is cut short"),
    ("closed", "closed its pipe"),
    ("endless", "a line of more than"),
    ("flood", ""),
    ("utf8", "says something that is no answer"),
    ("deep", "says something that is no answer"),
    ("null", "says something that is no answer"),
    ("hang", "said nothing for "),
    ("stubborn", "said nothing for "),
    ("deaf", "said nothing for "),
    ("stderr", "said nothing for "),
    ("order", "answers Done"),
    ("orphans", "ended early"),
    // How the second answer is understood depends on its timing.
    ("twice", ""),
];

/// Impossible figures, and a part of the error message.
const FIGURES: [(&str, &str); 6] = [
    ("nan", "says something that is no answer"),
    ("zero", "took 0 ns"),
    ("negative", "took -5 ns"),
    ("huge", "took 10000"),
    ("infinite", "says something that is no answer"),
    ("text", "says something that is no answer"),
];

fn main() {
    if let Ok(fault) = std::env::var("CONVROOF_FAKE")
        && std::env::args().len() > 1
        && fake::serve(&fault)
    {
        return;
    }
    let mut arguments = Arguments::from_args();
    // Most tests wait, so more of them can run than there are cores.
    arguments.test_threads.get_or_insert(6);
    let mut trials = Vec::new();
    // The longest tests come first, so that none of them is the last to run.
    #[cfg(target_os = "linux")]
    kills::add(&mut trials);
    #[cfg(unix)]
    signals::add(&mut trials);
    let mut add = |name: String, test: fn(&str, &str), fault: String, part: &'static str| {
        trials.push(Trial::test(name, move || {
            test(&fault, part);
            Ok(())
        }));
    };
    for stage in ["hello", "plan", "time"] {
        for (fault, part) in FAULTS {
            // Before the first request, no request can be ignored or answered out of order.
            if stage == "hello" && fault == "deaf" {
                continue;
            }
            add(
                format!("worker_{stage}_{fault}"),
                worker,
                format!("{stage}:{fault}"),
                part,
            );
            #[cfg(feature = "peers")]
            add(
                format!("host_{stage}_{fault}"),
                host,
                format!("{stage}:{fault}"),
                part,
            );
        }
    }
    for (fault, part) in FIGURES {
        add(
            format!("worker_time_{fault}"),
            worker,
            format!("time:{fault}"),
            part,
        );
        #[cfg(feature = "peers")]
        add(
            format!("host_time_{fault}"),
            host,
            format!("time:{fault}"),
            part,
        );
    }
    for (fault, part) in [
        ("plan:bytes", "18446744073709551615 bytes"),
        ("plan:zero", "takes 0 ns"),
        ("output:close", "ended early"),
        ("output:hang", "said nothing for "),
    ] {
        add(
            format!("worker_{}", fault.replace(':', "_")),
            worker,
            fault.into(),
            part,
        );
    }
    #[cfg(feature = "peers")]
    for (fault, part) in [
        ("plan:bytes", "18446744073709551615 bytes"),
        ("hello:threads", "uses 7 threads"),
        ("load:close", "ended early"),
        ("load:deaf", "said nothing for "),
        ("clear:hang", "said nothing for "),
        ("output:longer", "an output of 1025 numbers, expected 1024"),
        ("output:shorter", "an output of 1023 numbers, expected 1024"),
        ("output:negative", "says something that is no answer"),
        ("output:most", "an output of 18446744073709551615 numbers"),
        ("output:cut", "says something that is no answer"),
        ("output:type", "says something that is no answer"),
        ("output:hang", "said nothing for "),
        ("plan:output", "an output of 1024 numbers, expected 0"),
    ] {
        add(
            format!("host_{}", fault.replace(':', "_")),
            host,
            fault.into(),
            part,
        );
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Runs a gate of this program against a fake worker.
fn worker(fault: &str, part: &str) {
    let world = World::new();
    let real = world::program();
    let mut ab = world.command();
    ab.env("CONVROOF_FAKE", fault)
        .arg("ab")
        .arg(&real)
        .arg(world::fake());
    ab.args([
        "--problem",
        PROBLEM,
        "--variant",
        "direct/scalar/st",
        "--budget",
        "60",
    ]);
    let out = ab.output().expect("started");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    // A debug build prints a warning.
    let lines: Vec<&str> = said
        .lines()
        .filter(|l| !l.contains("debug build"))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(said.contains("B (") && said.contains(part), "{said}");
    assert!(said.len() < 1200 && !said.contains("panicked"), "{said}");
    world.assert_empty();
}

/// Runs a bench with a fake host. Our own kernels must be measured all the same.
#[cfg(feature = "peers")]
fn host(fault: &str, part: &str) {
    let world = World::new();
    let record = world.file("record.json");
    let mut bench = world.bench(&record);
    let out = bench.env("CONVROOF_FAKE", fault).output().expect("started");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(0), "{said}");
    let lines: Vec<&str> = said.lines().filter(|l| l.contains("onnxruntime")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains(part), "{said}");
    assert!(lines[0].len() < 600 && !said.contains("panicked"), "{said}");
    let record = world::json(&record);
    assert_eq!(record["complete"], true, "{said}");
    let measured = record["measurements"].as_array().expect("a list");
    let variants: Vec<&str> = measured
        .iter()
        .filter_map(|m| m["variant"].as_str())
        .collect();
    assert_eq!(variants, ["direct/scalar/st"]);
    world.assert_empty();
}
