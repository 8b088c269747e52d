//! The error with exit code 1.

/// A failed test: exit code 1. Bad input has exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);
