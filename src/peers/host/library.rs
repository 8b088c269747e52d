//! Interface of a library that a host holds.

use anyhow::Result;
use convroof_kernels::Problem;
use convroof_kernels::reference::Operands;

/// A library that can be asked for plans.
pub(super) trait Library {
    /// Its name, its version, and the threads that it will use.
    fn hello(&self) -> (String, String, usize);

    /// A plan for a problem in one of its forms.
    ///
    /// # Errors
    /// `Refused` if the library can't.
    fn plan(&mut self, problem: &Problem, form: &str) -> Result<Box<dyn Prepared>>;
}

/// A problem made ready, with its memory.
pub(super) trait Prepared {
    /// What the library calls it.
    fn implementation(&self) -> String;
    /// Bytes of weights as the library keeps them, and of scratch.
    fn memory(&self) -> (u64, u64);
    /// Takes operands in plain NCHW and OIHW; weights and bias stay as they are if they are empty.
    fn load(&mut self, operands: Operands<'_>) -> Result<()>;
    /// Computes once.
    fn run(&mut self) -> Result<()>;
    /// Fills the output with NaN.
    fn poison(&mut self);
    /// The output in plain NCHW.
    fn output(&mut self) -> Result<Vec<f32>>;
}

/// Why a library doesn't do a problem.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);
