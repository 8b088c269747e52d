//! Records on disk: written whole or not at all, read with clear errors.

use super::{KIND, Run, SCHEMA};
use crate::files::{self, WriteError};
use std::path::{Path, PathBuf};

/// Why a record can't be read or written: one line, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file can't be opened.
    #[error("can't read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is not a record, or damaged.
    #[error("{} is not a record of convroof, or it is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer program wrote it.
    #[error("{} has schema {found}, this program reads up to {SCHEMA}: use the convroof that wrote it, or a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
    /// The file can't be written.
    #[error("{0}; choose another folder with --results, or another file with --out")]
    Write(#[from] WriteError),
}

/// Reads a record.
///
/// # Errors
/// When there is none, it is damaged, or of a newer schema.
pub fn load(path: &Path) -> Result<Run, RecordError> {
    let path_buf = || path.to_path_buf();
    let text = std::fs::read_to_string(path).map_err(|error| RecordError::Read {
        path: path_buf(),
        error,
    })?;
    let damaged = |why: String| RecordError::Damaged {
        path: path_buf(),
        why,
    };
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
    if value["kind"] != KIND {
        return Err(damaged(format!("its kind is not {KIND}")));
    }
    let found = value["schema"]
        .as_u64()
        .ok_or_else(|| damaged("it has no schema".into()))?;
    if found > u64::from(SCHEMA) {
        return Err(RecordError::Newer {
            path: path_buf(),
            found,
        });
    }
    if let Some(count) = too_large(&value) {
        return Err(damaged(format!("{count} is more than anything it counts")));
    }
    serde_json::from_value(value).map_err(|e| damaged(e.to_string()))
}

/// A whole number above 2^53, which is neither a machine's nor exact to every reader of JSON; sums of those below don't
/// overflow. A seed isn't a count, and may be any.
fn too_large(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::Number(number) => number.as_u64().filter(|&n| n > 1 << 53),
        serde_json::Value::Array(list) => list.iter().find_map(too_large),
        serde_json::Value::Object(map) => map
            .iter()
            .filter(|(key, _)| *key != "seed")
            .find_map(|(_, value)| too_large(value)),
        _ => None,
    }
}

/// Writes a record: a regular file whole or not at all.
///
/// # Errors
/// When the folder can't be made or written to.
pub fn save(run: &Run, path: &Path) -> Result<(), RecordError> {
    Ok(files::write(path, &text(run))?)
}

/// Writes a record that is to grow, for the case that the run is interrupted. A device or a pipe gets none of these.
///
/// # Errors
/// As [`save`].
pub fn save_draft(run: &Run, path: &Path) -> Result<(), RecordError> {
    if files::is_stream(path) {
        return Ok(());
    }
    save(run, path)
}

/// Writes a record to a file of its own below `results`, named by the time at which the run started. Another run of the
/// same second keeps its file.
///
/// # Errors
/// As [`save`].
pub fn save_new(run: &Run, results: &Path) -> Result<PathBuf, RecordError> {
    let stem = run.started.replace(':', "-");
    let folder = results.join("runs");
    Ok(files::write_new(&folder, &stem, "json", &text(run))?)
}

fn text(run: &Run) -> String {
    serde_json::to_string(run).expect("a record has no keys that JSON lacks")
}
