//! `convroof bench`

use super::Failed;
use super::output::{colour, print, print_json};
use super::peers::{Guests, PeerArgs, invite};
use super::progress::{Bar, stop_flag};
use super::select::{self, Cpus, Layers, Variants, threads};
use crate::files;
use crate::machine::{Topology, fingerprint};
use crate::measure::bench::{self, Job, To};
use crate::measure::{self, Wrong};
use crate::record::{self, CandidateId, Run};
use crate::report::{rows, terminal};
use anyhow::{Context, Result, bail};
use convroof_kernels::{Problem, Registry};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    layers: Layers,
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
    #[arg(long, value_name = "SECONDS")]
    budget: Option<f64>,
    /// Folder for records and reports
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// Write the record to this file [default: a new file, RESULTS/runs/TIME.json]
    #[arg(long, value_name = "FILE", conflicts_with = "results")]
    out: Option<PathBuf>,
    /// Continue an interrupted record, with its layers and conditions
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "network", "layer", "problem", "batch", "threads", "cpus", "cache", "results", "out",
    ])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    peers: PeerArgs,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let stop = stop_flag();
    check_budget(args.budget)?;
    let run = match &args.resume {
        Some(path) => resume(registry, args, path, stop)?,
        None => {
            let topology = args.cpus.topology()?;
            let layers = args.layers.choose("nin,resnet50")?;
            let variants = args.variants.here(registry)?;
            let guests = args.peers.guests()?;
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
            if guests.is_none() {
                select::check_threads(&args.threads, &job.variants)?;
            }
            measure(&job, None, guests.as_ref())?
        }
    };
    let rows = rows(&run);
    if args.json {
        print_json(&rows)
    } else {
        print(&terminal::variants(&rows, colour()))
    }
}

/// Fails unless the budget is a valid number of seconds.
pub(super) fn check_budget(budget: Option<f64>) -> Result<()> {
    match budget {
        Some(s) if !(s > 0.0 && s <= 1e6) => {
            bail!("--budget {s}: expected seconds, more than 0 and at most 1000000")
        }
        _ => Ok(()),
    }
}

/// Continues a record on its machine and its CPUs.
fn resume(registry: &Registry, args: &Args, path: &Path, stop: &AtomicBool) -> Result<Run> {
    // The first load avoids a lock beside a file that is no record. The second sees changes by a process that ended
    // just now.
    record::load(path)?;
    let _lock = files::Lock::now(path)?;
    let old = record::load(path)?;
    let topology = &begun_on(&old.conditions.cpus).with_context(|| {
        format!(
            "{} was begun on other CPUs: start a new record",
            path.display()
        )
    })?;
    let here = fingerprint::fingerprint(topology);
    if old.fingerprint.id != here.id {
        bail!(
            "{} was begun on {}, this is {}",
            path.display(),
            old.fingerprint.id,
            here.id
        );
    }
    for layer in &old.layers {
        let problem = layer.problem.parsed();
        problem.with_context(|| path.display().to_string())?;
    }
    let variants = args.variants.here(registry)?;
    let guests = args.peers.guests()?;
    let job = Job {
        topology,
        layers: old.layers.clone(),
        variants,
        threads: select::threads(&old.conditions.threads, topology)?,
        batch: old.conditions.batch,
        states: select::states(&old.conditions.cache)?,
        budget: args.budget.or(old.conditions.budget_s),
        rounds_for_all: 5,
        to: To::File(path.to_path_buf()),
        stop,
    };
    measure(&job, Some(old), guests.as_ref())
}

/// The machine with workers on the CPUs of a record. Records of older programs have no list of CPUs.
fn begun_on(cpus: &[usize]) -> Result<Topology> {
    let topology = Topology::detect();
    if cpus.is_empty() || cpus == topology.cores {
        return Ok(topology);
    }
    let numbers: Vec<_> = cpus.iter().map(ToString::to_string).collect();
    select::on(&numbers.join(","))
}

/// Measures with progress bars, and prints the path of the record.
pub(super) fn measure(job: &Job<'_>, old: Option<Run>, guests: Option<&Guests>) -> Result<Run> {
    let invite = guests.map(|guests| || invite(guests, job.topology, &job.threads));
    let invite = invite.as_ref().map(|invite| invite as _);
    let measured = bench::bench(job, old, invite, &mut Bars::default());
    let (run, path) = measured.map_err(|e| match e.downcast::<Wrong>() {
        Ok(wrong) => Failed(wrong.to_string()).into(),
        Err(other) => other,
    })?;
    let hint = if run.complete {
        String::new()
    } else {
        format!("; go on with: convroof bench --resume {}", path.display())
    };
    eprintln!("record: {}{hint}", path.display());
    if run.complete
        && let Some(missing) = bench::missing(&run)?
    {
        eprintln!("convroof: {missing}");
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
