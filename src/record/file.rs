//! Records on disk: written whole or not at all, read with clear errors.

use super::{KIND, Run, SCHEMA};
use std::io::Write;
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
    #[error("can't write {}: {error}; choose another folder with --results", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
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
    serde_json::from_value(value).map_err(|e| damaged(e.to_string()))
}

/// Writes a record: into a new file beside the target, which then takes its place.
///
/// # Errors
/// When the folder can't be made or written to.
pub fn save(run: &Run, path: &Path) -> Result<(), RecordError> {
    let text = serde_json::to_string(run).expect("a record has no keys that JSON lacks");
    save_text(&text, path)
}

/// Writes any text the same way.
///
/// # Errors
/// When the folder can't be made or written to.
pub fn save_text(text: &str, path: &Path) -> Result<(), RecordError> {
    let wrong = |error| RecordError::Write {
        path: path.to_path_buf(),
        error,
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(wrong)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(wrong)?;
    file.write_all(text.as_bytes()).map_err(wrong)?;
    // A temporary file is its owner's alone; a result is for everyone that the umask lets read.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = file
            .as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644));
    }
    file.persist(path).map_err(|e| wrong(e.error))?;
    Ok(())
}
