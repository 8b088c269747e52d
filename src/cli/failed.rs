//! The errors with exit code 1. Bad input has exit code 2.

use crate::measure::Wrong;
use crate::net::regret::Disagree;
use crate::regress::ab::survey::WrongSide;
use anyhow::Result;

/// A failed test.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// True if an error is a failed test or a wrong output.
pub(super) fn is_failure(error: &anyhow::Error) -> bool {
    error.is::<Failed>() || error.is::<Wrong>() || error.is::<WrongSide>() || error.is::<Disagree>()
}

/// Upper limit for the names in an error.
const NAMES: usize = 5;

/// Fails, with exit code 1, if the old side of a comparison has something that the new one lacks.
pub(super) fn none_gone(gone: &[String], what: &str, old: &str, new: &str) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let more = match gone.len().saturating_sub(NAMES) {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    Err(Failed(format!(
        "{} {what} of {old} are missing in {new}: {}{more}; if this is intended, use --allow-missing",
        gone.len(),
        gone[..gone.len().min(NAMES)].join("; ")
    ))
    .into())
}
