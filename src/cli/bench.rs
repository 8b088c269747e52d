//! `convroof bench`

use super::Failed;
use super::output::{colour, print, print_json};
use super::peers::{Guests, PeerArgs};
use super::progress::{Bar, stop_flag};
use super::select::{self, Chosen, Layers, Variants, problems};
use super::{calibrate, select::threads};
use crate::machine::{Topology, fingerprint};
use crate::measure::{CacheState, Candidate, Session, Settings, kernels, refuse_huge};
use crate::record::{self, Calibration, Conditions, KIND, Run, SCHEMA};
use crate::report::{Row, rows, terminal};
use anyhow::{Context, Result, bail};
use convroof_kernels::{Problem, Registry, Variant};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    variants: Variants,
    /// Numbers of threads [default: 1 and all physical cores]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    threads: Vec<usize>,
    /// What runs find in the caches, several with commas: warm, weights-cold, cold
    #[arg(long, value_name = "STATES", default_value = "warm")]
    cache: String,
    /// Seconds for all rounds: the layers share them, after each variant had its first turns
    #[arg(long, value_name = "SECONDS")]
    budget: Option<f64>,
    /// Folder for records and reports
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// Write the record here [default: RESULTS/runs/TIME.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on with an interrupted record: its layers, its conditions, what it lacks
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    peers: PeerArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Everything that a bench needs to know.
pub(super) struct Job {
    pub(super) chosen: Vec<Chosen>,
    pub(super) variants: Vec<Variant>,
    /// Other people's libraries that are to take part.
    pub(super) peers: Option<Guests>,
    pub(super) threads: Vec<usize>,
    pub(super) batch: usize,
    /// States of the caches.
    pub(super) states: Vec<CacheState>,
    pub(super) budget: Option<f64>,
    pub(super) rounds_for_all: usize,
    pub(super) path: PathBuf,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let topology = Topology::detect();
    check_budget(args.budget)?;
    let run = match &args.resume {
        Some(path) => resume(registry, args, &topology, path)?,
        None => {
            let job = Job {
                chosen: args.layers.choose("nin,resnet50")?,
                variants: args.variants.choose(registry)?,
                peers: args.peers.guests()?,
                threads: threads(&args.threads, &topology)?,
                batch: args.layers.batch,
                states: select::states(&args.cache)?,
                budget: args.budget,
                rounds_for_all: match (args.budget, args.peers.wanted()) {
                    (Some(_), false) => 1,
                    // Who goes on is not for a disturbance to choose, and who does not still has a median.
                    _ => 5,
                },
                path: args
                    .out
                    .clone()
                    .unwrap_or_else(|| record_path(&args.results)),
            };
            measure(&topology, &job, None)?
        }
    };
    let rows = rows(&run);
    if args.json {
        print_json(&rows)
    } else {
        print(&terminal::variants(&rows, colour()))
    }
}

/// A budget that is a number of seconds.
pub(super) fn check_budget(budget: Option<f64>) -> Result<()> {
    match budget {
        Some(s) if !(s > 0.0 && s <= 1e6) => {
            bail!("--budget {s}: expected seconds, more than 0 and at most 1000000")
        }
        _ => Ok(()),
    }
}

/// Where a new record goes.
pub(super) fn record_path(results: &Path) -> PathBuf {
    let stamp = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    results
        .join("runs")
        .join(format!("{}.json", stamp.replace(':', "-")))
}

/// Goes on with a record on the machine and with the variants that it was begun with.
fn resume(registry: &Registry, args: &Args, topology: &Topology, path: &Path) -> Result<Run> {
    let old = record::load(path)?;
    let here = fingerprint::fingerprint(topology);
    if old.fingerprint.id != here.id {
        bail!(
            "{} was begun on {}, this is {}",
            path.display(),
            old.fingerprint.id,
            here.id
        );
    }
    let mut chosen = Vec::new();
    for layer in &old.layers {
        let problem: Problem = layer
            .problem
            .parse()
            .with_context(|| path.display().to_string())?;
        chosen.push(Chosen {
            layer: layer.clone(),
            problem,
        });
    }
    let job = Job {
        chosen,
        variants: args.variants.choose(registry)?,
        peers: args.peers.guests()?,
        threads: select::threads(&old.conditions.threads, topology)?,
        batch: old.conditions.batch,
        states: select::states(&old.conditions.cache)?,
        budget: args.budget.or(old.conditions.budget_s),
        rounds_for_all: 5,
        path: path.to_path_buf(),
    };
    measure(topology, &job, Some(old))
}

/// Calibrates and measures. The record is saved after each problem: an interruption loses at most the
/// one at hand.
pub(super) fn measure(topology: &Topology, job: &Job, old: Option<Run>) -> Result<Run> {
    let problems = problems(&job.chosen);
    problems.iter().try_for_each(refuse_huge)?;
    let kernels = kernels(&job.variants, &job.threads).into_iter();
    let mut candidates: Vec<Rc<dyn Candidate>> = kernels.map(|k| Rc::new(k) as _).collect();
    if candidates.is_empty() {
        bail!(
            "no variant fits these threads: st variants run on 1 thread, mt variants on 2 or more"
        );
    }
    let settings = Settings {
        sample: Duration::from_micros(1500),
        rounds_for_all: job.rounds_for_all,
        best_few: 3,
        rounds_at_least: Row::FEW,
        rounds_for_best: if job.budget.is_some() { 200 } else { 15 },
        rounds_for_twins: 7,
        states: job.states.clone(),
        seed: 1,
    };
    let mut peers = Vec::new();
    if let Some(guests) = &job.peers {
        let invited = super::peers::invite(guests, topology, &job.threads)?;
        candidates.extend(invited.candidates);
        peers = invited.libraries;
    }
    let stop = stop_flag();
    let mut session = Session::new(topology, &job.threads, settings, stop)?;
    let mut run = match old {
        Some(run) => Run {
            complete: false,
            ..run
        },
        None => new_run(topology, job, &session),
    };
    run.peers = peers;
    // Before any work: a folder that can't be written to is best known now.
    record::save(&run, &job.path)?;
    if run.calibration == Calibration::default() {
        run.calibration = calibrate::measure(topology, &session.pools())?;
        record::save(&run, &job.path)?;
    }

    let done = |run: &Run, p: &Problem| {
        let text = p.to_string();
        run.measurements.iter().any(|m| m.problem == text)
            || run.refusals.iter().filter(|r| r.problem == text).count() == candidates.len()
    };
    let left: Vec<Problem> = problems
        .iter()
        .copied()
        .filter(|p| !done(&run, p))
        .collect();
    let mut bar = Bar::new(left.len(), "bench");
    let start = Instant::now();
    for (i, problem) in left.iter().enumerate() {
        // Each layer may use its share of the time, and what those before left over.
        let share = |budget: f64| {
            start + Duration::from_secs_f64(budget * (i + 1) as f64 / left.len() as f64)
        };
        let outcome = session.measure(problem, &candidates, job.budget.map(share), &mut bar);
        let outcome = outcome.map_err(|e| match e.to_string() {
            wrong if wrong.contains(" is wrong on ") => Failed(wrong).into(),
            _ => e,
        })?;
        if outcome.stopped {
            // What has all its first rounds is kept; a layer half done is done again.
            let whole = |m: &record::Measurement| m.samples_ns.len() >= job.rounds_for_all;
            if outcome.measurements.iter().all(whole) && !outcome.measurements.is_empty() {
                run.measurements.extend(outcome.measurements);
                run.refusals.extend(outcome.refusals);
            }
            break;
        }
        run.measurements.extend(outcome.measurements);
        run.refusals.extend(outcome.refusals);
        record::save(&run, &job.path)?;
        bar.step();
    }
    bar.finish();
    run.complete = problems.iter().all(|p| done(&run, p));
    record::save(&run, &job.path)?;
    let hint = if run.complete {
        String::new()
    } else {
        format!(
            "; go on with: convroof bench --resume {}",
            job.path.display()
        )
    };
    eprintln!("record: {}{hint}", job.path.display());
    Ok(run)
}

fn new_run(topology: &Topology, job: &Job, session: &Session<'_>) -> Run {
    let mut notes = Vec::new();
    if !session.pinned() {
        notes.push("workers could not be pinned to cores".to_string());
    }
    if cfg!(debug_assertions) {
        notes.push("this is a debug build: its times say nothing".to_string());
    }
    Run {
        kind: KIND.into(),
        schema: SCHEMA,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        tool: fingerprint::tool(),
        fingerprint: fingerprint::fingerprint(topology),
        calibration: Calibration::default(),
        conditions: Conditions {
            command: fingerprint::command_line(),
            threads: job.threads.clone(),
            batch: job.batch,
            cache: select::names(&job.states),
            budget_s: job.budget,
            seed: 1,
            interleaved: true,
            pinned: session.pinned(),
        },
        layers: job.chosen.iter().map(|c| c.layer.clone()).collect(),
        measurements: Vec::new(),
        refusals: Vec::new(),
        counters: session.counters(),
        peers: Vec::new(),
        complete: false,
        notes,
    }
}
