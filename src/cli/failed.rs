//! The error that ends with exit code 1.

/// Something was tested and found wanting: exit code 1, where bad input has 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);
