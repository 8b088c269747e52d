//! A session: some claims, answered on this machine, and the file of the answers to all.

use super::{Answer, CLAIMS, Lab, Setting, Work};
use crate::files::{self, BadId, WriteError};
use crate::interrupt;
use crate::progress::Steps;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Layers and comparisons of all claims together.
const WORK: Work = Work {
    layers: 63,
    comparisons: 17,
};

/// Answers the claims with these numbers, from 1, each in a step. After a signal it returns the answers so far.
///
/// # Errors
/// When a measurement fails.
pub fn run(
    setting: Setting<'_>,
    numbers: &[usize],
    progress: &mut dyn Steps,
) -> Result<Vec<Answer>> {
    let part = |whole: usize| (whole * numbers.len()).div_ceil(CLAIMS.len());
    let work = Work {
        layers: part(WORK.layers),
        comparisons: part(WORK.comparisons),
    };
    let mut lab = Lab::new(setting, work)?;
    let mut answers = Vec::new();
    for &number in numbers {
        let claim = &CLAIMS[number - 1];
        progress.begin(claim.text);
        let answer = claim.answer(number, &mut lab);
        if interrupt::requested() {
            break;
        }
        answers.push(answer?);
        progress.end();
    }
    Ok(answers)
}

/// Path of a machine's answers in a folder of results.
///
/// # Errors
/// When the fingerprint is no name of a file.
pub fn path(results: &Path, fingerprint: &str) -> Result<PathBuf, BadId> {
    files::by_id(&results.join("claims"), fingerprint, "json")
}

/// A machine's answers; empty if there are none or they can't be read.
pub fn load(results: &Path, fingerprint: &str) -> Vec<Answer> {
    let text = path(results, fingerprint).map(|path| std::fs::read_to_string(path).ok());
    let text = text.ok().flatten().unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Writes answers.
///
/// # Errors
/// When the file can't be written.
pub fn save(path: &Path, answers: &[Answer]) -> Result<(), WriteError> {
    let text = serde_json::to_string_pretty(answers).expect("answers are plain data");
    files::write(path, &(text + "\n"))
}
