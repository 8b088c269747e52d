//! Interface of a library in a host.

use super::super::protocol::{NumberType, Reply};
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
    /// Loads operands in plain NCHW and OIHW. Empty weights, bias and scales keep the old ones.
    fn load(&mut self, operands: Operands<'_>) -> Result<()>;
    /// Runs once.
    fn run(&mut self) -> Result<()>;
    /// Fills the output with NaN. For integers see [`POISON`](convroof_kernels::instance::POISON).
    fn poison(&mut self);
    /// The output in plain NCHW, exactly.
    fn output(&mut self) -> Result<Output>;
}

/// Numbers of an output.
pub(super) enum Output {
    /// Elements of other types than s32.
    F32(Vec<f32>),
    /// Elements of s32.
    S32(Vec<i32>),
}

impl Output {
    /// Message that announces the numbers.
    pub(super) fn reply(&self) -> Reply {
        let (len, numbers) = match self {
            Output::F32(output) => (output.len(), NumberType::F32),
            Output::S32(output) => (output.len(), NumberType::S32),
        };
        Reply::Output { len, numbers }
    }

    /// Bytes of the numbers.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Output::F32(output) => bytemuck::cast_slice(output),
            Output::S32(output) => bytemuck::cast_slice(output),
        }
    }
}

/// Reason of libraries that are measured on layers of f32 alone.
pub(super) const F32_ONLY: &str = "measured in f32 only";

/// Error for a problem that a library doesn't support, with the reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);
