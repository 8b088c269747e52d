//! Noise beside busy neighbours: counted in the record, and said in every report.
#![cfg(target_os = "linux")]

mod command;

use command::{bench, convroof, folder, json_lines};
use predicates::prelude::*;
use serde_json::Value;

/// A process that takes a core until it is dropped.
struct Neighbour(std::process::Child);

impl Neighbour {
    fn begin() -> Self {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        Neighbour(command.spawn().expect("a shell"))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn busy_neighbours_are_counted_and_said_in_every_report() {
    let dir = folder();
    let (record, html) = (dir.path().join("a.json"), dir.path().join("a.html"));
    let cores = std::thread::available_parallelism()
        .expect("a number")
        .get();
    let neighbours: Vec<Neighbour> = (0..cores).map(|_| Neighbour::begin()).collect();
    let shown = bench(&record).assert().success();
    drop(neighbours);
    let text = std::fs::read_to_string(&record).expect("read");
    let run: Value = serde_json::from_str(&text).expect("JSON");
    let parts = run["noise"].as_array().expect("a list");
    let names: Vec<&str> = parts.iter().filter_map(|p| p["during"].as_str()).collect();
    assert_eq!(names, ["before", "calibration", "mb1ic16ih8oc16oh8kh3ph1"]);
    for part in parts {
        let others = part["others"].as_f64().expect("a fraction");
        assert!(others > 0.05, "{part}");
        assert!(part["seconds"].as_f64() > Some(0.0), "{part}");
        assert!(part["switches"].is_u64(), "{part}");
    }
    let said =
        predicate::str::is_match(r"(?s)This machine was (busy|noisy): .*;\s+trust").expect("valid");
    shown.stdout(said.clone());
    let report = |more: &[&str]| {
        let mut command = convroof();
        command
            .arg("report")
            .arg(&record)
            .arg("--html")
            .arg(&html)
            .args(more);
        command.assert().success()
    };
    report(&[]).stdout(said.clone());
    report(&["--markdown"]).stdout(said.clone());
    assert!(said.eval(&std::fs::read_to_string(&html).expect("read")));
    // Rows stay rows: the line is not among them.
    let rows = json_lines(&report(&["--json"]).get_output().stdout);
    assert!(!rows.is_empty() && rows.iter().all(|r| r["scattered"].is_boolean()));
}
