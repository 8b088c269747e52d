//! Options of all subcommands for the terminal: colours, progress, and the amount of text.

use anstream::{AutoStream, ColorChoice};
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::sync::OnceLock;

/// Options that are valid before and after a subcommand.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(super) struct Console {
    /// Colours in tables. `auto`: on a terminal, unless NO_COLOR is set or TERM is dumb; also with CLICOLOR_FORCE
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        global = true,
        help_heading = HEADING
    )]
    color: When,
    /// Progress on standard error. `auto`: a bar on a terminal; `always`: lines where there is no terminal
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        global = true,
        help_heading = HEADING
    )]
    progress: When,
    /// Print results and errors only: no progress, no notes
    #[arg(short, long, global = true, help_heading = HEADING)]
    quiet: bool,
    /// Print also the conditions of the work, and the time that it took
    #[arg(short, long, global = true, help_heading = HEADING)]
    verbose: bool,
}

/// Heading of these options in `--help`.
const HEADING: &str = "Terminal";

#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum When {
    #[default]
    Auto,
    Always,
    Never,
}

/// Colours of `--help`, which clap prints before the options have values.
pub(super) fn help_colour(args: &[OsString]) -> clap::ColorChoice {
    let given = |value: &str| {
        let joined = format!("--color={value}");
        args.iter().any(|arg| *arg == *joined)
            || args
                .windows(2)
                .any(|pair| pair[0] == "--color" && *pair[1] == *value)
    };
    match (given("always"), given("never")) {
        (_, true) => clap::ColorChoice::Never,
        (true, false) => clap::ColorChoice::Always,
        (false, false) => clap::ColorChoice::Auto,
    }
}

/// Form of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// A bar that is drawn over and over.
    Bar,
    /// A line now and then.
    Lines,
    /// Nothing.
    Nothing,
}

/// The options of this process.
static CONSOLE: OnceLock<Console> = OnceLock::new();

impl Console {
    /// Makes these the options of this process.
    ///
    /// # Errors
    /// When one of them contradicts another.
    pub(super) fn apply(self) -> Result<()> {
        if self.quiet && self.verbose {
            bail!("--quiet can't be used with --verbose: omit one");
        }
        if self.quiet && self.progress == When::Always {
            bail!("--quiet can't be used with --progress always: omit one");
        }
        let _ = CONSOLE.set(self);
        Ok(())
    }

    fn colour(self) -> bool {
        match self.color {
            When::Auto => AutoStream::choice(&std::io::stdout()) != ColorChoice::Never,
            When::Always => true,
            When::Never => false,
        }
    }

    /// Form of progress, where standard error is a terminal that can draw, or not.
    fn shown(self, terminal: bool) -> Shown {
        match self.progress {
            _ if self.quiet => Shown::Nothing,
            When::Never => Shown::Nothing,
            When::Auto | When::Always if terminal => Shown::Bar,
            When::Always => Shown::Lines,
            When::Auto => Shown::Nothing,
        }
    }
}

fn chosen() -> Console {
    CONSOLE.get().copied().unwrap_or_default()
}

/// True if tables are coloured.
pub(super) fn colour() -> bool {
    chosen().colour()
}

/// Form of progress.
pub(super) fn progress() -> Shown {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    chosen().shown(std::io::stderr().is_terminal() && !dumb)
}

/// True without notes.
pub(super) fn quiet() -> bool {
    chosen().quiet
}

/// True with conditions and times.
pub(super) fn verbose() -> bool {
    chosen().verbose
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_bar_only_where_it_can_be_drawn() {
        let shown = |progress, quiet, terminal| {
            let console = Console {
                progress,
                quiet,
                ..Console::default()
            };
            console.shown(terminal)
        };
        assert_eq!(shown(When::Auto, false, true), Shown::Bar);
        assert_eq!(shown(When::Auto, false, false), Shown::Nothing);
        assert_eq!(shown(When::Always, false, true), Shown::Bar);
        assert_eq!(shown(When::Always, false, false), Shown::Lines);
        assert_eq!(shown(When::Never, false, true), Shown::Nothing);
        assert_eq!(shown(When::Auto, true, true), Shown::Nothing);
    }

    #[test]
    fn contradictions_are_refused() {
        let quiet = Console {
            quiet: true,
            ..Console::default()
        };
        let both = Console {
            verbose: true,
            ..quiet
        };
        assert!(both.apply().is_err());
        let drawn = Console {
            progress: When::Always,
            ..quiet
        };
        assert!(drawn.apply().is_err());
    }
}
