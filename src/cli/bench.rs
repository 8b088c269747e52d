//! `convroof bench`

use super::Failed;
use super::output::{colour, print, print_json};
use super::peers::{Guests, PeerArgs};
use super::progress::{Bar, stop_flag};
use super::select::{self, Chosen, Cpus, Layers, Variants, problems};
use super::{calibrate, select::threads};
use crate::files;
use crate::interrupt::{self, Stopped};
use crate::machine::{self, Quota, Topology, fingerprint};
use crate::measure::{Candidate, Session, Settings, Wrong, kernels, refuse_huge};
use crate::record::{
    self, CacheState, CacheStates, Calibration, Conditions, KIND, Run, SCHEMA, Text,
};
use crate::report::{Row, rows, terminal};
use anyhow::{Context, Result, bail};
use convroof_kernels::{Problem, Registry, Variant};
use std::collections::HashSet;
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
    #[command(flatten)]
    cpus: Cpus,
    /// What runs find in the caches, several with commas: warm, weights-cold, cold
    #[arg(long, value_name = "STATES", default_value = "warm")]
    cache: String,
    /// Seconds for all rounds: the layers share them, after each variant had its first turns
    #[arg(long, value_name = "SECONDS")]
    budget: Option<f64>,
    /// Folder for records and reports
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// Write the record here [default: RESULTS/runs/TIME.json, a new file]
    #[arg(long, value_name = "FILE", conflicts_with = "results")]
    out: Option<PathBuf>,
    /// Go on with an interrupted record: its layers, its conditions, what it lacks
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "network", "layer", "problem", "batch", "threads", "cpus", "cache", "results", "out",
    ])]
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
    pub(super) states: CacheStates,
    pub(super) budget: Option<f64>,
    pub(super) rounds_for_all: usize,
    pub(super) to: To,
}

/// The record's destination.
pub(super) enum To {
    /// A new file in this folder of results.
    New(PathBuf),
    /// This file.
    File(PathBuf),
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    stop_flag();
    check_budget(args.budget)?;
    let run = match &args.resume {
        Some(path) => resume(registry, args, path)?,
        None => {
            let topology = args.cpus.topology()?;
            let job = Job {
                chosen: args.layers.choose("nin,resnet50")?,
                variants: args.variants.here(registry)?,
                peers: args.peers.guests()?,
                threads: threads(&args.threads, &topology)?,
                batch: args.layers.images(),
                states: select::states(&args.cache)?,
                budget: args.budget,
                rounds_for_all: match (args.budget, args.peers.wanted()) {
                    (Some(_), false) => 1,
                    // Who goes on is not for a disturbance to choose, and who does not still has a median.
                    _ => 5,
                },
                to: match &args.out {
                    Some(path) => To::File(path.clone()),
                    None => To::New(args.results.clone()),
                },
            };
            if job.peers.is_none() {
                select::check_threads(&args.threads, &job.variants)?;
            }
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

/// Goes on with a record on the machine and with the variants that it was begun with.
fn resume(registry: &Registry, args: &Args, path: &Path) -> Result<Run> {
    // What is no record gets no lock beside it; what is one is read again, since another process may have ended just now.
    record::load(path)?;
    let _lock = files::Lock::now(path)?;
    let old = record::load(path)?;
    let topology = &begun_on(&old.conditions.cpus)
        .with_context(|| format!("{} was begun on other CPUs: begin anew", path.display()))?;
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
        let problem = layer
            .problem
            .parsed()
            .with_context(|| path.display().to_string())?;
        chosen.push(Chosen {
            layer: layer.clone(),
            problem,
        });
    }
    let job = Job {
        chosen,
        variants: args.variants.here(registry)?,
        peers: args.peers.guests()?,
        threads: select::threads(&old.conditions.threads, topology)?,
        batch: old.conditions.batch,
        states: select::states(&old.conditions.cache)?,
        budget: args.budget.or(old.conditions.budget_s),
        rounds_for_all: 5,
        to: To::File(path.to_path_buf()),
    };
    measure(topology, &job, Some(old))
}

/// The machine with workers where a record's were; records of older programs don't say.
fn begun_on(cpus: &[usize]) -> Result<Topology> {
    let topology = Topology::detect();
    if cpus.is_empty() || cpus == topology.cores {
        return Ok(topology);
    }
    let numbers: Vec<_> = cpus.iter().map(ToString::to_string).collect();
    select::on(&numbers.join(","))
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
        states: job.states.to_vec(),
        seed: 1,
    };
    // Known now rather than after the calibration.
    if job.peers.is_none() {
        can_do_any(&candidates, &problems, topology)?;
    }
    let mut peers = Vec::new();
    if let Some(guests) = &job.peers {
        let invited = super::peers::invite(guests, topology, &job.threads)?;
        candidates.extend(invited.candidates);
        peers = invited.libraries;
    }
    let stop = stop_flag();
    let mut session = Session::new(topology, &job.threads, settings, stop)?;
    let quota = Quota::watch(topology, old.as_ref());
    let mut run = match old {
        Some(run) => Run {
            complete: false,
            ..run
        },
        None => new_run(topology, job, &session),
    };
    run.peers = peers;
    let noted = |run: &mut Run| quota.note(run, machine::throttling());
    noted(&mut run);
    // Before any work: a folder that can't be written to is best known now.
    let path = match &job.to {
        To::New(results) => record::save_new(&run, results)?,
        To::File(path) => {
            record::save_draft(&run, path)?;
            path.clone()
        }
    };
    if run.calibration == Calibration::default() {
        match calibrate::measure(topology, &session.pools()) {
            // The record says what was to be measured: it can be gone on with.
            Err(error) if error.is::<Stopped>() => {}
            other => run.calibration = other?,
        }
        noted(&mut run);
        record::save_draft(&run, &path)?;
    }

    let done = |run: &Run, p: &Problem| {
        run.measurements.iter().any(|m| m.problem.is(p))
            || run.refusals.iter().filter(|r| r.problem.is(p)).count() == candidates.len()
    };
    let left: Vec<Problem> = problems
        .iter()
        .copied()
        .filter(|p| !done(&run, p))
        .collect();
    let mut bar = Bar::new(left.len(), "bench");
    let start = Instant::now();
    for (i, problem) in left.iter().enumerate() {
        if interrupt::requested() {
            break;
        }
        // Each layer may use its share of the time, and what those before left over.
        let share = |budget: f64| {
            start + Duration::from_secs_f64(budget * (i + 1) as f64 / left.len() as f64)
        };
        let outcome = session.measure(problem, &candidates, job.budget.map(share), &mut bar);
        let outcome = outcome.map_err(|e| match e.downcast::<Wrong>() {
            Ok(wrong) => Failed(wrong.to_string()).into(),
            Err(other) => other,
        })?;
        if outcome.stopped {
            // What has all its first rounds is kept; a layer half done is done again.
            let whole = |m: &record::Measurement| {
                !m.cache.is(&CacheState::Warm) || m.samples_ns.len() >= job.rounds_for_all
            };
            if outcome.covers(candidates.len()) && outcome.measurements.iter().all(whole) {
                run.measurements.extend(outcome.measurements);
                run.refusals.extend(outcome.refusals);
            }
            break;
        }
        run.measurements.extend(outcome.measurements);
        run.refusals.extend(outcome.refusals);
        noted(&mut run);
        record::save_draft(&run, &path)?;
        bar.step();
    }
    bar.finish();
    run.complete = problems.iter().all(|p| done(&run, p));
    noted(&mut run);
    record::save(&run, &path)?;
    let hint = if run.complete {
        String::new()
    } else {
        format!("; go on with: convroof bench --resume {}", path.display())
    };
    eprintln!("record: {}{hint}", path.display());
    if run.complete {
        missing(&run, &problems)?;
    }
    Ok(run)
}

/// Refuses a run in which no variant can do any of the problems.
fn can_do_any(
    candidates: &[Rc<dyn Candidate>],
    problems: &[Problem],
    topology: &Topology,
) -> Result<()> {
    let mut first = None;
    for problem in problems {
        for candidate in candidates {
            match candidate.plan(problem, topology) {
                Ok(_) => return Ok(()),
                Err(reason) => {
                    first.get_or_insert_with(|| {
                        format!("{} refuses {problem}: {reason}", candidate.id())
                    });
                }
            }
        }
    }
    bail!(
        "there is nothing to measure: {}",
        first.unwrap_or_else(|| "no layer was chosen".into())
    )
}

/// Names problems that nobody measured; a run in which that is all of them has failed.
fn missing(run: &Run, problems: &[Problem]) -> Result<()> {
    let measured: HashSet<&Problem> = run
        .measurements
        .iter()
        .filter_map(|m| m.problem.value())
        .collect();
    let mut without = problems.iter().filter(|p| !measured.contains(p));
    let Some(first) = without.next() else {
        return Ok(());
    };
    let refusal = run.refusals.iter().find(|r| r.problem.is(first));
    let why = refusal.map_or_else(
        || first.to_string(),
        |r| format!("{} refuses {first}: {}", r.variant, r.reason),
    );
    if run.measurements.is_empty() {
        bail!("nothing was measured: {why}");
    }
    eprintln!(
        "convroof: {} of {} layers were not measured, since every chosen variant refuses them: {why}",
        1 + without.count(),
        problems.len()
    );
    Ok(())
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
            cache: Text::of(job.states.clone()),
            budget_s: job.budget,
            seed: 1,
            interleaved: true,
            pinned: session.pinned(),
            cpus: topology.cores.clone(),
            quota_cpus: topology.quota,
            throttling: None,
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
