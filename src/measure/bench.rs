//! A benchmark run: all candidates on all layers. The record is saved after each problem.

use super::candidate::{Candidate, kernels};
use super::limits::refuse_huge;
use super::session::{self, Session, Settings};
use crate::interrupt::{self, Stopped};
use crate::machine::calibration::calibrate;
use crate::machine::fingerprint;
use crate::machine::noise::{self, Watch};
use crate::machine::{self, Quota, Topology};
use crate::record::{
    self, CacheState, CacheStates, Calibration, Conditions, LayerRef, Measurement, Run, Text,
};
use crate::stats::FEW;
use anyhow::{Result, bail};
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::{Problem, Variant};
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Layers, variants and conditions of a bench.
pub struct Job<'a> {
    /// The machine.
    pub topology: &'a Topology,
    /// The layers.
    pub layers: Vec<LayerRef>,
    /// Our variants.
    pub variants: Vec<Variant>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Images.
    pub batch: usize,
    /// States of the caches in which the fastest are measured.
    pub states: CacheStates,
    /// Seconds for all rounds; none for a fixed number of rounds.
    pub budget: Option<f64>,
    /// Rounds that every candidate takes part in.
    pub rounds_for_all: usize,
    /// The record's destination.
    pub to: To,
    /// Flag that stops the run.
    pub stop: &'a AtomicBool,
}

/// Destination of a record.
pub enum To {
    /// A new file in this folder of results.
    New(PathBuf),
    /// This file.
    File(PathBuf),
}

/// Candidates of other libraries.
pub struct Guests {
    /// The candidates.
    pub candidates: Vec<Rc<dyn Candidate>>,
    /// Names and versions of the libraries.
    pub libraries: Vec<String>,
}

/// Progress of a bench.
pub trait Progress: session::Progress {
    /// A ceiling is about to be measured.
    fn calibrating(&mut self, what: &str);
    /// All ceilings are measured, or a signal stopped it.
    fn calibrated(&mut self);
    /// The rounds of `problems` problems begin.
    fn begin(&mut self, problems: usize);
    /// A problem is done.
    fn problem(&mut self);
    /// No more problems follow.
    fn end(&mut self);
}

/// The problems of some layers, each once. A layer whose problem this program can't parse has none.
pub fn problems(layers: &[LayerRef]) -> Vec<Problem> {
    let mut seen = HashSet::new();
    let all = layers.iter().filter_map(|l| l.problem.value().copied());
    all.filter(|p| seen.insert(*p)).collect()
}

/// Arithmetic of some problems. Their peaks are measured.
fn arithmetics(problems: &[Problem]) -> Vec<Arithmetic> {
    let all = problems.iter().map(|p| Arithmetic::of(p.dtypes.src));
    let distinct: BTreeSet<Arithmetic> = all.collect();
    distinct.into_iter().collect()
}

/// Calibrates and measures, or continues an older record. The record is saved after each problem, so that an
/// interruption loses at most one problem. `guests` makes candidates of other libraries. Returns the record and its
/// file.
///
/// # Errors
/// When there is nothing to measure or the record can't be written. [`Wrong`](super::Wrong) when a kernel's output is
/// wrong.
pub fn bench(
    job: &Job<'_>,
    old: Option<Run>,
    guests: Option<&dyn Fn() -> Result<Guests>>,
    progress: &mut dyn Progress,
) -> Result<(Run, PathBuf)> {
    let topology = job.topology;
    let problems = problems(&job.layers);
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
        rounds_at_least: FEW,
        rounds_for_best: if job.budget.is_some() { 200 } else { 15 },
        rounds_for_twins: 7,
        states: job.states.to_vec(),
        seed: 1,
    };
    let mut peers = Vec::new();
    match guests {
        // Reports an unsolvable job before the calibration instead of after it.
        None => can_do_any(&candidates, &problems, topology)?,
        Some(guests) => {
            let guests = guests()?;
            candidates.extend(guests.candidates);
            peers = guests.libraries;
        }
    }
    let mut session = Session::new(topology, &job.threads, settings, job.stop)?;
    let quota = Quota::watch(topology, old.as_ref());
    let mut run = match old {
        Some(run) => Run {
            complete: false,
            ..run
        },
        None => begun(job, &session),
    };
    run.peers = peers;
    let noted = |run: &mut Run| quota.note(run, machine::throttling());
    noted(&mut run);
    let most = job.threads.iter().copied().max().unwrap_or(1);
    let mut watch = Watch::begin(topology, most);
    // Before any work, so that a folder without write permission is reported at once.
    let path = match &job.to {
        To::New(results) => record::save_new(&run, results)?,
        To::File(path) => {
            record::save_draft(&run, path)?;
            path.clone()
        }
    };
    if run.calibration == Calibration::default() {
        let patience = noise::patience(job.budget.map(Duration::from_secs_f64));
        let before = noise::settle(&mut watch, patience, || {
            progress.calibrating(noise::WAITING);
        });
        run.noise.push(before);
        let calibration = calibrate(
            topology,
            &session.pools(),
            &arithmetics(&problems),
            |what| {
                progress.calibrating(what);
            },
        );
        progress.calibrated();
        match calibration {
            // The record lists what was to be measured: a later run can continue it.
            Err(error) if error.is::<Stopped>() => {}
            other => run.calibration = other?,
        }
        run.noise.push(watch.period("calibration"));
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
    progress.begin(left.len());
    let start = Instant::now();
    for (i, problem) in left.iter().enumerate() {
        if interrupt::requested() {
            break;
        }
        // Each layer may use its share of the budget, plus what earlier layers did not use.
        let share = |budget: f64| {
            start + Duration::from_secs_f64(budget * (i + 1) as f64 / left.len() as f64)
        };
        let outcome = session.measure(problem, &candidates, job.budget.map(share), progress)?;
        if outcome.stopped {
            // A layer is kept only if every candidate has all its first rounds; otherwise it is measured again.
            let whole = |m: &Measurement| {
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
        run.noise.push(watch.period(problem));
        noted(&mut run);
        record::save_draft(&run, &path)?;
        progress.problem();
    }
    progress.end();
    run.complete = problems.iter().all(|p| done(&run, p));
    noted(&mut run);
    record::save(&run, &path)?;
    Ok((run, path))
}

/// Fails if no candidate can do any of the problems.
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

/// A sentence about problems of a complete record that have no measurement; none if all have one.
///
/// # Errors
/// When nothing was measured at all.
pub fn missing(run: &Run) -> Result<Option<String>> {
    let measured: HashSet<&Problem> = run
        .measurements
        .iter()
        .filter_map(|m| m.problem.value())
        .collect();
    let problems = problems(&run.layers);
    let mut without = problems.iter().filter(|p| !measured.contains(p));
    let Some(first) = without.next() else {
        return Ok(None);
    };
    let refusal = run.refusals.iter().find(|r| r.problem.is(first));
    let why = refusal.map_or_else(
        || first.to_string(),
        |r| format!("{} refuses {first}: {}", r.variant, r.reason),
    );
    if run.measurements.is_empty() {
        bail!("nothing was measured: {why}");
    }
    Ok(Some(format!(
        "{} of {} layers were not measured, since every chosen variant refuses them: {why}",
        1 + without.count(),
        problems.len()
    )))
}

/// The record of a bench that begins.
fn begun(job: &Job<'_>, session: &Session<'_>) -> Run {
    let mut notes = Vec::new();
    if !session.pinned() {
        notes.push("workers could not be pinned to cores".to_string());
    }
    if cfg!(debug_assertions) {
        notes.push("this is a debug build: its times are meaningless".to_string());
    }
    let conditions = Conditions {
        threads: job.threads.clone(),
        batch: job.batch,
        cache: Text::of(job.states.clone()),
        budget_s: job.budget,
        seed: 1,
        interleaved: true,
        pinned: session.pinned(),
        ..Conditions::default()
    };
    Run {
        layers: job.layers.clone(),
        counters: session.counters(),
        notes,
        ..fingerprint::begun(job.topology, conditions)
    }
}
