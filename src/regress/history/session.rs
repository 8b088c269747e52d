//! A run, added to the history of its machine.

use super::page::page;
use super::{Entry, History, Series, add, series};
use crate::files;
use crate::record::Run;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// A history with a new run, and the series of all runs.
pub struct Tracked {
    /// The history's file.
    pub file: PathBuf,
    /// False if the run was in the history already.
    pub added: bool,
    /// The runs.
    pub history: History,
    /// Each variant on each problem over all runs.
    pub series: Vec<Series>,
    /// The page about it.
    pub html: PathBuf,
}

/// Adds a run to its machine's history in a folder and writes the page, to `html` or else beside the history. None if
/// the run has no peaks to normalise its samples by.
///
/// # Errors
/// When the history can't be read, or it or the page can't be written.
pub fn track(run: &Run, folder: &Path, html: Option<&Path>) -> Result<Option<Tracked>> {
    let entry = Entry::of(run);
    if entry.points.is_empty() {
        return Ok(None);
    }
    let file = files::by_id(folder, &run.fingerprint.id, "jsonl")?;
    let (history, added) = add(&file, &entry)?;
    let series = series(&history.entries);
    let html = html.map_or_else(|| file.with_extension("html"), Path::to_path_buf);
    files::write(&html, &page(&history.entries, &series, &history.doubts))?;
    Ok(Some(Tracked {
        file,
        added,
        history,
        series,
        html,
    }))
}
