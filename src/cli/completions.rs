//! `convroof completions`

use super::output::write;
use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the completions of a command line.
pub(super) fn run(args: &Args, mut command: Command) -> Result<()> {
    let name = command.get_name().to_string();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    write(&script)
}
