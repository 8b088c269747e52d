//! Helpers for tests of the command line. Not every test uses all of them.
#![allow(dead_code)]

use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
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

/// Writes the record of a [`bench`] to `path`. All tests of a program that only need a record share one measurement.
pub(crate) fn measured(path: &Path) {
    static RECORD: OnceLock<String> = OnceLock::new();
    let record = RECORD.get_or_init(|| {
        let dir = folder();
        let path = dir.path().join("record.json");
        bench(&path).assert().success();
        std::fs::read_to_string(path).expect("read")
    });
    std::fs::write(path, record).expect("written");
}

/// All files below a folder.
pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
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

/// A copy of the program without its table of functions, so that its machine code can't be compared.
pub(crate) fn without_symbols(folder: &Path) -> PathBuf {
    let program: PathBuf = assert_cmd::cargo::cargo_bin!("convroof").into();
    let mut bytes = std::fs::read(&program).expect("read");
    if bytes.starts_with(b"\x7fELF") {
        // Position and number of the section headers, which running doesn't need.
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
    }
    let stripped = folder.join("stripped");
    std::fs::write(&stripped, bytes).expect("written");
    let permissions = std::fs::metadata(&program).expect("a file").permissions();
    std::fs::set_permissions(&stripped, permissions).expect("set");
    stripped
}
