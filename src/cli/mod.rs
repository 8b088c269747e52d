//! The command line, one file for each subcommand.
//!
//! A subcommand turns its arguments into the conditions of a session of the library, runs it, and prints the result.
//!
//! In reading order: this file, which calls the subcommands. Shared parts: `usage.rs` and `similar.rs` (wrong
//! arguments), `select.rs` (layers, variants, threads), `types.rs` (element types), `one.rs` (one variant on one problem),
//! `peers.rs`, `console.rs` (options of all subcommands), `layout.rs` (width of the terminal), `output.rs`, `rows.rs` (JSON
//! and CSV), `progress.rs`, `noise.rs`, `failed.rs`. Then the subcommands, `run.rs` first.

mod ab;
mod asm;
mod audit;
mod bench;
mod calibrate;
mod check;
mod claims;
mod compare;
mod completions;
mod console;
mod counts;
mod exec;
mod failed;
mod layout;
mod list;
mod lowrank;
mod man;
mod net;
mod noise;
mod one;
mod output;
mod peers;
mod progress;
mod report;
mod rows;
mod run;
mod select;
mod similar;
mod track;
mod tune;
mod types;
mod usage;
mod watch;
mod worker;

pub use failed::Failed;

use crate::interrupt;
use crate::machine;
use crate::roofline::Verdict;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use convroof_kernels::Registry;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

/// Find out which layers of a CNN are compute bound on this CPU and which are bandwidth bound
///
/// Without a subcommand, convroof does the same as `convroof run`.
#[derive(Parser)]
#[command(
    name = "convroof",
    version = crate::machine::fingerprint::VERSION,
    max_term_width = 100,
    after_long_help = verdicts()
)]
struct Cli {
    #[command(flatten)]
    layout: layout::Layout,
    #[command(flatten)]
    console: console::Console,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Calibrate, check, bench and report (the default)
    #[command(after_long_help = verdicts())]
    Run(run::Args),
    /// Measure this machine's ceilings: arithmetic, and the bandwidth of each memory level
    Calibrate(calibrate::Args),
    /// List variants, with the reasons why they refuse layers
    List(list::Args),
    /// Check variants against the reference
    Check(check::Args),
    /// Measure variants on layers: interleaved, with verified results
    #[command(after_long_help = verdicts())]
    Bench(bench::Args),
    /// Print a record as a table or Markdown, and write the HTML report
    #[command(after_long_help = verdicts())]
    Report(report::Args),
    /// Compare two builds in interleaved rounds: exit code 1 if a kernel became slower
    Ab(ab::Args),
    /// Measure the false-alarm rate of `ab` on this machine, and the slow-downs that it finds
    Audit(audit::Args),
    /// Compare two records of one machine
    Compare(compare::Args),
    /// Run whole networks: times of all steps, with verified outputs
    #[command(after_long_help = verdicts())]
    Net(net::Args),
    /// Measure the best variant for each layer of a network, for `net` to choose from
    Tune(tune::Args),
    /// Test claims about these networks with figures
    Claims(claims::Args),
    /// Approximate convolutions by low rank (singular values): error and speed of each rank
    Lowrank(lowrank::Args),
    /// Run one variant on .npy arrays
    Exec(exec::Args),
    /// Run one variant in a steady loop, for perf, VTune or uProf
    Watch(watch::Args),
    /// Show the machine code of a variant's hottest loop, with counts of its instructions
    Asm(asm::Args),
    /// Add a run to its machine's history, and look for steps in it
    Track(track::Args),
    /// Compare counts that don't depend on a clock with a baseline: exit code 1 if one changed
    Counts(counts::Args),
    /// Print the completions of a shell, for the folder where it looks for them
    Completions(completions::Args),
    /// Print the manual page, or write the pages of all subcommands into a folder
    Man(man::Args),
    /// Run the kernels that `counts --valgrind` counts
    #[command(hide = true)]
    CountRuns,
    /// Take samples on request from standard input (used by `ab`)
    #[command(hide = true)]
    Worker,
    /// Run a program that ends when standard input ends (used by `ab` for builds)
    #[command(hide = true)]
    Guard {
        /// The program and its arguments
        #[arg(required = true, last = true)]
        program: Vec<OsString>,
    },
    /// Hold a peer's library and answer requests on standard input (used by `bench --peers`)
    #[cfg(feature = "peers")]
    #[command(hide = true)]
    PeerHost(peers::HostArgs),
}

impl Command {
    /// True if it measures times, which throttling by a quota would make too long.
    fn times(&self) -> bool {
        match self {
            Command::Run(_)
            | Command::Calibrate(_)
            | Command::Bench(_)
            | Command::Ab(_)
            | Command::Audit(_)
            | Command::Net(_)
            | Command::Tune(_)
            | Command::Claims(_)
            | Command::Lowrank(_)
            | Command::Exec(_)
            | Command::Watch(_) => true,
            Command::List(_)
            | Command::Check(_)
            | Command::Report(_)
            | Command::Compare(_)
            | Command::Track(_)
            | Command::Counts(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Asm(_)
            | Command::CountRuns
            | Command::Guard { .. }
            | Command::Worker => false,
            #[cfg(feature = "peers")]
            Command::PeerHost(_) => false,
        }
    }
}

/// Runs the command line with the kernels of a registry: those of this project, or more
/// (`Registry::builtin().with(&MY_KERNEL)`).
pub fn main(registry: &Registry, args: impl Iterator<Item = OsString>) -> ExitCode {
    let Cli {
        layout,
        console,
        command,
        run,
    } = match parse(args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if let Err(error) = console.apply() {
        output::error(&error.to_string());
        return ExitCode::from(2);
    }
    layout.apply();
    let command = command.unwrap_or(Command::Run(run::Args::new(run)));
    let (times, before, started) = (command.times(), machine::throttling(), Instant::now());
    let result = call(registry, command);
    if let Some(throttled) = machine::throttled(before, machine::throttling()).filter(|_| times) {
        output::note(&throttled);
    }
    output::detail(&format!("took {:.1} s", started.elapsed().as_secs_f64()));
    let code = exit_code(result);
    // After a signal the exit code is the signal's, whatever the result was.
    ExitCode::from(interrupt::exit_code().unwrap_or(code))
}

/// Parses the arguments. Prints help, or what is wrong with them, and returns the exit code then.
fn parse(args: impl Iterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let args: Vec<OsString> = args.collect();
    let mut command = Cli::command().color(console::help_colour(&args));
    let parsed = command.try_get_matches_from_mut(args).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) if error.use_stderr() => {
            output::error(&usage::explain(&error));
            return Err(ExitCode::from(2));
        }
        Err(help) => {
            // Help and version contain no text of the user.
            let _ = help.print();
            return Err(ExitCode::SUCCESS);
        }
    };
    if let Some(wrong) = usage::misplaced(&command, &matches) {
        output::error(&wrong);
        return Err(ExitCode::from(2));
    }
    Ok(cli)
}

/// Runs a subcommand. Returns the exit code of a success, which is 0 except for `guard`.
fn call(registry: &Registry, command: Command) -> anyhow::Result<u8> {
    let done = match command {
        Command::Run(args) => run::run(registry, &args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::List(args) => list::run(registry, &args),
        Command::Check(args) => check::run(registry, &args),
        Command::Bench(args) => bench::run(registry, &args),
        Command::Report(args) => report::run(&args),
        Command::Ab(args) => ab::run(&args),
        Command::Track(args) => track::run(&args),
        Command::Counts(args) => counts::run(registry, &args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
        Command::CountRuns => crate::regress::counts::valgrind::run_all(registry),
        Command::Worker => worker::run(registry),
        Command::Guard { program } => return crate::process::guard::run(&program),
        Command::Audit(args) => audit::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Net(args) => net::run(registry, &args),
        Command::Tune(args) => tune::run(registry, &args),
        Command::Claims(args) => claims::run(registry, &args),
        Command::Lowrank(args) => lowrank::run(registry, &args),
        Command::Exec(args) => exec::run(registry, &args),
        Command::Watch(args) => watch::run(registry, &args),
        Command::Asm(args) => asm::run(registry, &args),
        #[cfg(feature = "peers")]
        Command::PeerHost(args) => peers::host(&args),
    };
    done.map(|()| 0)
}

/// The verdicts with their definitions, for `--help`.
fn verdicts() -> String {
    let one = |v: Verdict| {
        format!(
            "\n  {}: {}. What would help: {}.",
            v.label(),
            v.meaning(),
            v.help()
        )
    };
    let all: String = Verdict::ALL.into_iter().map(one).collect();
    format!("Verdicts:{all}")
}

/// Exit code of a result. Prints an error in one line, with all causes.
fn exit_code(result: anyhow::Result<u8>) -> u8 {
    match result {
        Ok(code) => code,
        Err(error) => {
            output::error(&format!("{error:#}"));
            if failed::is_failure(&error) { 1 } else { 2 }
        }
    }
}
