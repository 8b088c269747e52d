//! Machine code of a program: its functions with their instructions and loops, and where a running process is in them.
//!
//! None of this needs privileges, hardware counters or a debugger.
//!
//! In reading order: `functions.rs` (functions of an ELF file), `samples.rs` (instruction pointers of a process),
//! `loops.rs` (instructions, loops, counts), `x86.rs` (the disassembler).

mod functions;
mod loops;
mod samples;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use functions::{Function, function_at, functions, unmatched};
pub use loops::{Counts, Does, Instruction, loops};
pub use samples::samples;

/// Instructions of a function; none on an architecture that this program can't disassemble.
#[cfg(target_arch = "x86_64")]
pub fn disassemble(function: &Function) -> Option<Vec<Instruction>> {
    Some(x86::disassemble(&function.code, function.from))
}

/// None: this program disassembles only x86-64.
#[cfg(not(target_arch = "x86_64"))]
pub fn disassemble(_: &Function) -> Option<Vec<Instruction>> {
    None
}
