//! The `convroof` command line, with this project's kernels.

use convroof_kernels::Registry;
use std::process::ExitCode;

fn main() -> ExitCode {
    convroof::cli::main(&Registry::builtin(), std::env::args_os())
}
