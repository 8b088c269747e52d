//! Histories on disk: one line of JSON per run, append-only.

use super::{Entry, KIND, SCHEMA};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Reason why a history can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file can't be read.
    #[error("can't read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The line can't be appended; the file is unchanged.
    #[error("can't add to {}: {error}; what it had is kept", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
}

/// A line that can't be used; it is kept but skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Line number, from 1.
    pub line: usize,
    /// Description of the problem.
    pub why: String,
}

/// Contents of a history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The runs, in order of time.
    pub entries: Vec<Entry>,
    /// Lines that couldn't be read.
    pub doubts: Vec<Doubt>,
}

/// Reads a history; a missing file is an empty history.
///
/// # Errors
/// When the file can't be read.
pub fn read(path: &Path) -> Result<History, HistoryError> {
    let wrong = |error| HistoryError::Read {
        path: path.to_path_buf(),
        error,
    };
    match File::open(path) {
        Ok(mut file) => Ok(History::parse(&whole(&mut file).map_err(wrong)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(History::default()),
        Err(error) => Err(wrong(error)),
    }
}

/// All bytes of a regular file. Other files are refused, since a device may have no end.
fn whole(file: &mut File) -> std::io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl History {
    fn parse(bytes: &[u8]) -> History {
        let text = String::from_utf8_lossy(bytes);
        let mut history = History::default();
        for (i, line) in text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
        {
            match parse(line) {
                Ok(entry) => history.entries.push(entry),
                Err(why) => history.doubts.push(Doubt { line: i + 1, why }),
            }
        }
        history.sort();
        history
    }

    fn sort(&mut self) {
        self.entries.sort_by(|a, b| a.started.cmp(&b.started));
    }
}

fn parse(line: &str) -> Result<Entry, String> {
    let damaged = |error: serde_json::Error| format!("it is damaged: {error}");
    // Nearly all lines are entries of the present schema. Only the others are parsed twice.
    let error = match serde_json::from_str::<Entry>(line) {
        Ok(entry) if entry.kind == KIND && entry.schema <= SCHEMA => return Ok(entry),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    let value: serde_json::Value =
        serde_json::from_str(line).map_err(|_| "it is truncated or damaged".to_string())?;
    if value["kind"] != KIND {
        return Err(format!("its kind is not {KIND}"));
    }
    match (value["schema"].as_u64(), error) {
        (Some(found), _) if found > u64::from(SCHEMA) => Err(format!(
            "it has schema {found}, this program reads up to {SCHEMA}: use a newer convroof"
        )),
        (_, Some(error)) => Err(damaged(error)),
        (_, None) => serde_json::from_value(value).map_err(damaged),
    }
}

/// Appends a run as its own line, also after a truncated line, unless the history has it. Returns the history with it,
/// and true if it was added. Concurrent processes wait for each other.
///
/// # Errors
/// When the file can't be read or written; it is then unchanged.
pub fn add(path: &Path, entry: &Entry) -> Result<(History, bool), HistoryError> {
    let wrong = |error| HistoryError::Write {
        path: path.to_path_buf(),
        error,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(wrong)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(wrong)?;
    // The lock lasts until the file is closed.
    file.lock().map_err(wrong)?;
    let bytes = whole(&mut file).map_err(wrong)?;
    let mut history = History::parse(&bytes);
    if history.entries.iter().any(|e| e.is_of_run(entry)) {
        return Ok((history, false));
    }
    let mut line = String::new();
    if bytes.last().is_some_and(|last| *last != b'\n') {
        line.push('\n');
    }
    line += &serde_json::to_string(entry).expect("an entry has no keys that JSON lacks");
    line.push('\n');
    append(&mut file, bytes.len() as u64, &line).map_err(wrong)?;
    history.entries.push(entry.clone());
    history.sort();
    Ok((history, true))
}

fn append(file: &mut File, length: u64, line: &str) -> std::io::Result<()> {
    let written = file.write_all(line.as_bytes());
    written.and_then(|()| file.sync_all()).inspect_err(|_| {
        // On a full disk, remove the incomplete line.
        let _ = file.set_len(length);
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::history;
    use super::*;

    #[test]
    fn lines_come_back_in_the_order_of_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("deep/history.jsonl");
        assert_eq!(read(&path).expect("nothing yet"), History::default());
        let runs = history(3, |_| 1.0);
        for run in [&runs[1], &runs[0], &runs[2]] {
            add(&path, run).expect("written");
        }
        let found = read(&path).expect("read");
        assert_eq!((found.entries, found.doubts), (runs, vec![]));
    }

    #[test]
    fn a_truncated_line_and_a_newer_one_are_kept_reported_and_skipped() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("history.jsonl");
        let runs = history(2, |_| 1.0);
        add(&path, &runs[0]).expect("written");
        let mut text = std::fs::read_to_string(&path).expect("read");
        text += "{\"kind\":\"convroof-history\",\"schema\":9,\"new\":1}\n{\"kind\":\"convroof-hist";
        std::fs::write(&path, &text).expect("written");
        add(&path, &runs[1]).expect("written");
        let found = read(&path).expect("read");
        assert_eq!(found.entries, runs);
        let lines: Vec<usize> = found.doubts.iter().map(|d| d.line).collect();
        assert_eq!(lines, [2, 3]);
        assert!(found.doubts[0].why.contains("newer"), "{:?}", found.doubts);
        assert!(
            found.doubts[1].why.contains("truncated"),
            "{:?}",
            found.doubts
        );
        assert!(
            std::fs::read_to_string(&path)
                .expect("read")
                .starts_with(&text)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_and_a_device_no_history() {
        let full = File::options().read(true).write(true).open("/dev/full");
        append(&mut full.expect("there"), 0, "line").expect_err("full");
        let runs = history(1, |_| 1.0);
        let error = add(Path::new("/dev/full"), &runs[0])
            .expect_err("a device")
            .to_string();
        assert!(
            error.contains("no regular file") && error.contains("what it had is kept"),
            "{error}"
        );
        read(Path::new("/dev/zero")).expect_err("a device");
    }
}
