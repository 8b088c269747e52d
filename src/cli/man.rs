//! `convroof man`

use super::output::{print, write};
use crate::files;
use crate::units::plural;
use anyhow::Result;
use clap::Command;
use clap_mangen::Man;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Write a page for each subcommand into this folder [default: print the page of the program]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Prints the page of a command line, or writes the pages of all its subcommands.
pub(super) fn run(args: &Args, command: Command) -> Result<()> {
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return write(&page);
    };
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let shown = command.get_subcommands().filter(|s| !s.is_hide_set());
    let pages: Vec<Command> = shown.cloned().chain([command.clone()]).collect();
    for command in &pages {
        let page = Man::new(command.clone());
        let path = folder.join(page.get_filename());
        files::write_with(&path, |to| page.render(to))?;
    }
    let count = plural(pages.len(), "page");
    print(&format!("{count} in {}\n", folder.display()))
}
