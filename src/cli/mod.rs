//! The command line, one file for each subcommand.
//!
//! A subcommand turns its arguments into the conditions of a session of the library, runs it, and prints the result.
//!
//! In reading order: this file, which calls the subcommands. Shared parts: `usage.rs` (wrong arguments), `select.rs`
//! (layers, variants, threads), `peers.rs`, `progress.rs`, `output.rs`, `layout.rs`, `noise.rs`, `failed.rs`. Then the
//! subcommands, `run.rs` first.

mod ab;
mod audit;
mod bench;
mod calibrate;
mod check;
mod claims;
mod compare;
mod counts;
mod exec;
mod failed;
mod layout;
mod list;
mod lowrank;
mod net;
mod noise;
mod output;
mod peers;
mod progress;
mod report;
mod run;
mod select;
mod track;
mod tune;
mod usage;
mod worker;

pub use failed::Failed;

use crate::interrupt;
use crate::machine;
use clap::{Parser, Subcommand};
use convroof_kernels::Registry;
use std::ffi::OsString;
use std::process::ExitCode;

/// Find out which layers of a CNN are compute bound on this CPU and which are bandwidth bound
///
/// Without a subcommand, convroof does the same as `convroof run`.
#[derive(Parser)]
#[command(
    name = "convroof",
    version = crate::machine::fingerprint::VERSION,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    layout: layout::Layout,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Args,
}

#[derive(Subcommand)]
enum Command {
    /// Calibrate, check, bench and report (the default)
    Run(run::Args),
    /// Measure this machine's ceilings: arithmetic, and the bandwidth of each memory level
    Calibrate(calibrate::Args),
    /// List variants, with the reasons why they refuse layers
    List(list::Args),
    /// Check variants against the reference
    Check(check::Args),
    /// Measure variants on layers: interleaved, with verified results
    Bench(bench::Args),
    /// Print a record as a table or Markdown, and write the HTML report
    Report(report::Args),
    /// Compare two builds in interleaved rounds: exit code 1 if a kernel became slower
    Ab(ab::Args),
    /// Measure the false-alarm rate of `ab` on this machine, and the slow-downs that it finds
    Audit(audit::Args),
    /// Compare two records of one machine
    Compare(compare::Args),
    /// Run whole networks: times of all steps, with verified outputs
    Net(net::Args),
    /// Measure the best variant for each layer of a network, for `net` to choose from
    Tune(tune::Args),
    /// Test claims about these networks with figures
    Claims(claims::Args),
    /// Approximate convolutions by low rank (singular values): error and speed of each rank
    Lowrank(lowrank::Args),
    /// Run one variant on .npy arrays
    Exec(exec::Args),
    /// Add a run to its machine's history, and look for steps in it
    Track(track::Args),
    /// Compare counts that don't depend on a clock with a baseline: exit code 1 if one changed
    Counts(counts::Args),
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
            | Command::Exec(_) => true,
            Command::List(_)
            | Command::Check(_)
            | Command::Report(_)
            | Command::Compare(_)
            | Command::Track(_)
            | Command::Counts(_)
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
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            if !error.use_stderr() {
                // Help and version contain no text of the user.
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            output::note(&usage::explain(&error));
            return ExitCode::from(2);
        }
    };
    cli.layout.apply();
    let command = cli.command.unwrap_or(Command::Run(cli.run));
    let (times, before) = (command.times(), machine::throttling());
    let result = match command {
        Command::Run(args) => run::run(registry, &args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::List(args) => list::run(registry, &args),
        Command::Check(args) => check::run(registry, &args),
        Command::Bench(args) => bench::run(registry, &args),
        Command::Report(args) => report::run(&args),
        Command::Ab(args) => ab::run(&args),
        Command::Track(args) => track::run(&args),
        Command::Counts(args) => counts::run(registry, &args),
        Command::CountRuns => crate::regress::counts::valgrind::run_all(registry),
        Command::Worker => worker::run(registry),
        Command::Guard { program } => match crate::process::guard::run(&program) {
            Ok(code) => return ExitCode::from(code),
            Err(error) => Err(error),
        },
        Command::Audit(args) => audit::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Net(args) => net::run(registry, &args),
        Command::Tune(args) => tune::run(registry, &args),
        Command::Claims(args) => claims::run(registry, &args),
        Command::Lowrank(args) => lowrank::run(registry, &args),
        Command::Exec(args) => exec::run(registry, &args),
        #[cfg(feature = "peers")]
        Command::PeerHost(args) => peers::host(&args),
    };
    if let Some(throttled) = machine::throttled(before, machine::throttling()).filter(|_| times) {
        output::note(&throttled);
    }
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            // One line, with all causes.
            output::note(&format!("{error:#}"));
            if failed::is_failure(&error) { 1 } else { 2 }
        }
    };
    // After a signal the exit code is the signal's, whatever the result was.
    ExitCode::from(interrupt::exit_code().unwrap_or(code))
}
