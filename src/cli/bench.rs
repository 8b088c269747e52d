//! `convroof bench`

use super::layout::page;
use super::output::{note, print, written};
use super::peers::{Libraries, PeerArgs};
use super::progress::Bar;
use super::rows::Format;
use super::select::{self, Cpus, Layers, Variants, Words, seconds, threads};
use super::types::Types;
use crate::interrupt;
use crate::measure;
use crate::measure::bench::{self, Job, To};
use crate::measure::resume::Resumed;
use crate::record::{CandidateId, Run};
use crate::report::{noise_line, rows, terminal};
use anyhow::Result;
use convroof_kernels::{Problem, Registry};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    words: Words,
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
    #[arg(long, value_name = "STATES", default_value = "warm")]
    cache: String,
    /// Seconds for all rounds; the layers share them after each variant's first rounds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    budget: Option<f64>,
    /// Folder for records and reports
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// Write the record to this file [default: a new file, RESULTS/runs/TIME.json]
    #[arg(long, value_name = "FILE", conflicts_with = "results")]
    out: Option<PathBuf>,
    /// Continue an interrupted record, with its layers and conditions
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "words", "network", "layer", "problem", "batch", "dt", "threads", "cpus", "cache", "results", "out",
    ])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    peers: PeerArgs,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let stop = interrupt::watch();
    let run = match &args.resume {
        Some(path) => resume(registry, args, path, stop)?,
        None => {
            let topology = args.cpus.topology()?;
            let layers = args
                .types
                .of(args.layers.with(&args.words)?.choose("nin,resnet50")?)?;
            let variants = args.variants.here(registry)?;
            let libraries = args.peers.libraries()?;
            let job = Job {
                topology: &topology,
                layers,
                variants,
                threads: threads(&args.threads, &topology)?,
                batch: args.layers.images(),
                states: select::states(&args.cache)?,
                budget: args.budget,
                rounds_for_all: match (args.budget, args.peers.wanted()) {
                    (Some(_), false) => 1,
                    // Several rounds, so that a disturbance doesn't select the fastest, and every other candidate has
                    // a median.
                    _ => 5,
                },
                to: match &args.out {
                    Some(path) => To::File(path.clone()),
                    None => To::New(args.results.clone()),
                },
                stop,
            };
            if libraries.is_none() {
                select::check_threads(&args.threads, &job.variants)?;
            }
            measure(&job, None, libraries.as_ref())?
        }
    };
    let rows = rows(&run);
    if let Some(format) = args.format.rows() {
        note(&noise_line(&run));
        return format.print(&rows);
    }
    print(&terminal::variants(&run, &rows, &page()))
}

/// Continues a record on its machine and its CPUs.
fn resume(registry: &Registry, args: &Args, path: &Path, stop: &AtomicBool) -> Result<Run> {
    let Resumed { run, topology, .. } = &Resumed::open(path)?;
    let variants = args.variants.here(registry)?;
    let libraries = args.peers.libraries()?;
    let job = Job {
        topology,
        layers: run.layers.clone(),
        variants,
        threads: threads(&run.conditions.threads, topology)?,
        batch: run.conditions.batch,
        states: select::states(&run.conditions.cache)?,
        budget: args.budget.or(run.conditions.budget_s),
        rounds_for_all: 5,
        to: To::File(path.to_path_buf()),
        stop,
    };
    measure(&job, Some(run.clone()), libraries.as_ref())
}

/// Measures with progress bars, and prints the path of the record.
pub(super) fn measure(
    job: &Job<'_>,
    old: Option<Run>,
    libraries: Option<&Libraries>,
) -> Result<Run> {
    let guests = libraries.map(|l| || l.candidates(job.topology, &job.threads, note));
    let guests = guests.as_ref().map(|guests| guests as _);
    let (run, path) = bench::bench(job, old, guests, &mut Bars::default())?;
    let hint = if run.complete {
        String::new()
    } else {
        format!("; go on with: convroof bench --resume {}", path.display())
    };
    written(&format!("record: {}{hint}", path.display()));
    if run.complete
        && let Some(missing) = bench::missing(&run)?
    {
        note(&missing);
    }
    Ok(run)
}

/// Progress bars: one for the ceilings, then one for the problems.
#[derive(Default)]
struct Bars(Option<Bar>);

impl Bars {
    fn finish(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish();
        }
    }
}

impl measure::Progress for Bars {
    fn candidate(&mut self, problem: &Problem, id: &CandidateId) {
        if let Some(bar) = &mut self.0 {
            bar.candidate(problem, id);
        }
    }
}

impl bench::Progress for Bars {
    fn calibrating(&mut self, what: &str) {
        let bar = self.0.get_or_insert_with(|| Bar::new(0, "calibrate"));
        bar.say(what);
    }

    fn calibrated(&mut self) {
        self.finish();
    }

    fn begin(&mut self, problems: usize) {
        self.0 = Some(Bar::new(problems, "bench"));
    }

    fn problem(&mut self) {
        if let Some(bar) = &self.0 {
            bar.step();
        }
    }

    fn end(&mut self) {
        self.finish();
    }
}
