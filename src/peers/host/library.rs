//! Interface of a library in a host.

use anyhow::Result;
use convroof_kernels::Problem;
use convroof_kernels::reference::Operands;

/// A library that makes plans.
pub(super) trait Library {
    /// Name, version and number of threads.
    fn hello(&self) -> (String, String, usize);

    /// A plan for a problem in one of the library's forms.
    ///
    /// # Errors
    /// [`Refused`] if the library can't do it.
    fn plan(&mut self, problem: &Problem, form: &str) -> Result<Box<dyn Prepared>>;
}

/// A planned problem with its memory.
pub(super) trait Prepared {
    /// The library's own name for the implementation.
    fn implementation(&self) -> String;
    /// Bytes of the weights in the library's layout, and of scratch.
    fn memory(&self) -> (u64, u64);
    /// Loads operands in plain NCHW and OIHW. Empty weights and bias keep the old ones.
    fn load(&mut self, operands: Operands<'_>) -> Result<()>;
    /// Runs once.
    fn run(&mut self) -> Result<()>;
    /// Fills the output with NaN.
    fn poison(&mut self);
    /// The output in plain NCHW.
    fn output(&mut self) -> Result<Vec<f32>>;
}

/// Error for a problem that a library doesn't support, with the reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);
