//! `convroof audit`

use super::ab::{Comparing, What};
use super::output::print;
use super::progress::Bar;
use super::select::seconds;
use crate::interrupt;
use crate::machine::fingerprint;
use crate::regress::ab::session::check_budget;
use crate::regress::audit::session::{self, Setting};
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Compares this program with itself, and with copies in which some kernels are slowed down. An interrupted audit
/// continues where it stopped.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    what: What,
    /// Number of pairs of layer and variant, spread evenly over the chosen ones
    #[arg(long, value_name = "N", default_value_t = 60)]
    pairs: usize,
    /// Seconds of measuring for each gate
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0, value_parser = seconds)]
    budget: f64,
    /// Number of gates of the program against itself, including those of earlier calls
    #[arg(long, value_name = "N", default_value_t = 10)]
    gates: usize,
    /// Number of gates with slow-downs of 1, 2, 3, 5 and 10 % injected into a few pairs
    #[arg(long, value_name = "N", default_value_t = 3)]
    slowed: usize,
    /// Number of gates that are resampled from the blocks of real ones
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    draws: usize,
    /// Folder of results; the audit is written into this machine's subfolder
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let stop = interrupt::watch();
    if args.gates == 0 || args.pairs == 0 || args.draws == 0 {
        bail!("--gates, --pairs and --draws are at least 1");
    }
    check_budget(args.budget)?;
    let topology = args.what.topology()?;
    let setting = Setting {
        machine: &fingerprint::fingerprint(&topology),
        wanted: &args.what.wanted(&topology)?,
        pairs: args.pairs,
        budget_s: args.budget,
        same: args.gates,
        slowed: args.slowed,
        draws: args.draws,
        results: &args.results,
        stop,
    };
    let mut bar = Comparing(Bar::new(0, "audit"));
    let text = session::run(&setting, &mut bar)?;
    bar.0.finish();
    print(&text)
}
