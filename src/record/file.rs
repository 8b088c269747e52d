//! Records on disk: written atomically, read with clear errors.

use super::{KIND, Run, SCHEMA};
use crate::files::{self, WriteError};
use std::path::{Path, PathBuf};

/// Error on reading or writing a record: one line that includes a remedy.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file can't be opened.
    #[error("can't read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        error: std::io::Error,
    },
    /// It is not a record, or damaged.
    #[error("{} is not a record of convroof, or it is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Description of the damage.
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
    /// A folder has no record.
    #[error("there is no record in {}: make one with convroof bench", folder.display())]
    None {
        /// The folder.
        folder: PathBuf,
    },
    /// The file can't be written.
    #[error("{0}; choose another folder with --results, or another file with --out")]
    Write(#[from] WriteError),
}

/// Reads a record.
///
/// # Errors
/// When the file doesn't exist, is damaged, or has a newer schema.
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
        return Err(damaged(format!("{count} is too large for a count")));
    }
    serde_json::from_value(value).map_err(|e| damaged(e.to_string()))
}

/// The newest record in a folder.
///
/// # Errors
/// When there is none.
pub fn newest(folder: &Path) -> Result<PathBuf, RecordError> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let records = files
        .map(|f| f.path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"));
    // Ordered by name without extension, so that the second run of one second sorts after the first.
    let newest = records.max_by(|a, b| a.file_stem().cmp(&b.file_stem()));
    newest.ok_or_else(|| RecordError::None {
        folder: folder.to_path_buf(),
    })
}

/// A whole number above 2^53. No count is so large, and some JSON readers can't represent it exactly. Sums of smaller
/// numbers don't overflow. A seed is no count, so it may have any value.
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

/// Writes a record: a regular file atomically.
///
/// # Errors
/// When the folder can't be made or written to.
pub fn save(run: &Run, path: &Path) -> Result<(), RecordError> {
    Ok(files::write(path, &text(run))?)
}

/// Writes an incomplete record, so that an interruption loses little. A device or a pipe gets only the complete one.
///
/// # Errors
/// Those of [`save`].
pub fn save_draft(run: &Run, path: &Path) -> Result<(), RecordError> {
    if files::is_stream(path) {
        return Ok(());
    }
    save(run, path)
}

/// Writes a record to a new file below `results`. The name is the run's start time. A file of another run in the same
/// second is not overwritten.
///
/// # Errors
/// Those of [`save`].
pub fn save_new(run: &Run, results: &Path) -> Result<PathBuf, RecordError> {
    let stem = run.started.replace(':', "-");
    let folder = results.join("runs");
    Ok(files::write_new(&folder, &stem, "json", &text(run))?)
}

fn text(run: &Run) -> String {
    serde_json::to_string(run).expect("a record has no keys that JSON lacks")
}
