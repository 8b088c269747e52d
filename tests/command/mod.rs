//! Helpers for tests of the command line. Not every test uses all of them.
#![allow(dead_code)]

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

pub(crate) fn convroof() -> Command {
    Command::cargo_bin("convroof").expect("built")
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

pub(crate) fn json_lines(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// Command of a bench of one small layer, which writes its record to `record`.
pub(crate) fn bench(record: &Path) -> Command {
    let mut command = convroof();
    command.args([
        "bench",
        "--problem",
        "mb1ic16ih8oc16oh8kh3ph1",
        "--threads",
        "1",
        "--budget",
        "1",
    ]);
    command
        .args(["--variant", "direct/*,winograd-f2x3/*", "--out"])
        .arg(record);
    command
}

/// All files below a folder.
pub(crate) fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("listed").flatten() {
        if entry.path().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}
