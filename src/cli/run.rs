//! `convroof run`: calibrate, check, bench, report.

use super::bench::measure;
use super::check::{check, verdict};
use super::output::note;
use super::peers::PeerArgs;
use super::report::{page, show};
use super::rows::Format;
use super::select::{Cpus, Layers, Variants, Words, check_threads, seconds, states, threads};
use super::types::Types;
use crate::machine::pool::Workers;
use crate::measure::bench::{Job, To};
use crate::report::{noise_line, rows};
use crate::{files, interrupt, record};
use anyhow::Result;
use convroof_kernels::Registry;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    options: Options,
}

impl Args {
    /// Arguments without words.
    pub(super) fn new(options: Options) -> Self {
        let words = Words::default();
        Args { words, options }
    }
}

/// Arguments that are valid without a subcommand.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    types: Types,
    #[command(flatten)]
    variants: Variants,
    /// Numbers of threads [default: 1 and all physical cores]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    threads: Vec<usize>,
    #[command(flatten)]
    cpus: Cpus,
    /// States of the caches, separated by commas: warm, weights-cold, cold
    #[arg(long, value_name = "STATES", default_value = "warm,weights-cold")]
    cache: String,
    /// Thoroughness: quick takes about 2 minutes, full about 20
    #[arg(long, value_enum, default_value_t = Profile::Quick)]
    profile: Profile,
    /// Seconds for all rounds, instead of the profile's
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    budget: Option<f64>,
    /// Folder for records and reports
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    #[command(flatten)]
    peers: PeerArgs,
    #[command(flatten)]
    format: Format,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// One round with every variant, then more with each layer's fastest.
    Quick,
    /// Five rounds with every variant, then more with each layer's fastest.
    Full,
}

impl Profile {
    fn budget(self) -> f64 {
        match self {
            Profile::Quick => 80.0,
            Profile::Full => 1000.0,
        }
    }

    fn rounds_for_all(self) -> usize {
        match self {
            Profile::Quick => 1,
            Profile::Full => 5,
        }
    }
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let Args {
        words,
        options: args,
    } = args;
    let stop = interrupt::watch();
    let topology = args.cpus.topology()?;
    let layers = args
        .types
        .of(args.layers.with(words)?.choose("nin,resnet50")?)?;
    let variants = args.variants.here(registry)?;
    let libraries = args.peers.libraries()?;
    let job = Job {
        topology: &topology,
        layers,
        variants,
        threads: threads(&args.threads, &topology)?,
        batch: args.layers.images(),
        states: states(&args.cache)?,
        budget: Some(args.budget.unwrap_or(args.profile.budget())),
        rounds_for_all: args.profile.rounds_for_all(),
        to: To::New(args.results.clone()),
        stop,
    };
    if libraries.is_none() {
        check_threads(&args.threads, &job.variants)?;
    }
    let report = args.results.join("report.html");
    // Checked before the measurements, which take minutes.
    files::check(&report)?;
    let workers = Workers::new(&topology, job.threads[job.threads.len() - 1])?;
    let checked = check(&job.variants, &[], &workers, &topology)?;
    drop(workers);
    verdict(&checked)?;
    let run = measure(&job, None, libraries.as_ref())?;
    let record = record::newest(&args.results.join("runs"))?;
    if let Some(format) = args.format.rows() {
        let rows = rows(&run);
        files::write(&report, &page(&run, &rows, &record, &args.results))?;
        note(&noise_line(&run));
        return format.print(&rows);
    }
    show(&run, &record, &report, &args.results)
}
