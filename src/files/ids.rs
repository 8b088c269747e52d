//! Ids that name files.

use std::path::{Path, PathBuf};

/// Longest id, in bytes. With an extension it is a valid file name on every system.
pub(super) const LONGEST_ID: usize = 200;

/// Checks an id that names files: `[a-z0-9-]+`, so it can't lead to another folder.
///
/// # Errors
/// [`BadId`], which states the form of an id.
pub fn check_id(id: &str) -> Result<(), BadId> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !id.is_empty() && id.len() <= LONGEST_ID && id.chars().all(fits) {
        Ok(())
    } else {
        Err(BadId(id.chars().take(40).collect()))
    }
}

/// Text that isn't an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id of a machine: expected 1 to {LONGEST_ID} of a to z, 0 to 9 and -")]
pub struct BadId(String);

/// The path of `id.extension` in a folder.
///
/// # Errors
/// When `id` isn't an id.
pub fn by_id(folder: &Path, id: &str, extension: &str) -> Result<PathBuf, BadId> {
    check_id(id)?;
    Ok(folder.join(format!("{id}.{extension}")))
}

/// Reads an id for serde: `#[serde(deserialize_with = "files::id")]`.
///
/// # Errors
/// When it isn't an id.
pub fn id<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let id = <String as serde::Deserialize>::deserialize(from)?;
    check_id(&id).map_err(serde::de::Error::custom)?;
    Ok(id)
}
