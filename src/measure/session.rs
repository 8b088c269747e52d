//! A session: rounds of interleaved samples on one machine.

use super::candidate::{DECIMALS, described};
use super::cold::ColdSets;
use super::examine::{Exam, Examined};
use super::expected::Expected;
use super::fastest::{Timed, fastest};
use super::{Candidate, Contestant};
use crate::counters::Counters;
use crate::interrupt::Stopped;
use crate::machine::Topology;
use crate::machine::calibration::peak_probe;
use crate::machine::pool::Workers;
use crate::record::{CacheState, CandidateId, CounterStatus, Measurement, Refusal, Text};
use crate::stats::{Summary, shorten};
use anyhow::Result;
use convroof_kernels::cost::Accuracy;
use convroof_kernels::data::Rng;
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::{Isa, Problem};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Thoroughness of a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A sample repeats runs until it takes this long.
    pub sample: Duration,
    /// Rounds that every candidate takes part in.
    pub rounds_for_all: usize,
    /// Number of the fastest candidates, for each number of threads, that continue after those rounds.
    pub best_few: usize,
    /// Rounds that the fastest take part in even after the deadline: fewer samples give no useful interval.
    pub rounds_at_least: usize,
    /// Rounds that the fastest take part in, if time allows.
    pub rounds_for_best: usize,
    /// Rounds of the fastest with their twins, for each number of threads; 0 measures no twins.
    pub rounds_for_twins: usize,
    /// States of the caches in which the fastest are measured.
    pub states: Vec<CacheState>,
    /// Seed of the data and of the order within rounds.
    pub seed: u64,
}

/// Receiver of a session's progress.
pub trait Progress {
    /// A candidate is about to be measured for the first time.
    fn candidate(&mut self, problem: &Problem, id: &CandidateId);
}

/// Results of a problem.
#[derive(Default)]
pub struct ProblemOutcome {
    /// Measurements of the candidates that can do it, at least one for each.
    pub measurements: Vec<Measurement>,
    /// One for each candidate that can't.
    pub refusals: Vec<Refusal>,
    /// True if the stop flag ended it early.
    pub stopped: bool,
    /// The reference's output; none if no candidate can compute the problem.
    pub(crate) reference: Option<Vec<f64>>,
}

/// Pools, counters and the stop flag.
pub struct Session<'a> {
    topology: &'a Topology,
    pools: BTreeMap<usize, (Workers, Counters)>,
    settings: Settings,
    /// Allocated at the first use.
    cold_sets: Option<ColdSets>,
    stop: &'a AtomicBool,
}

/// Duration of a measurement of a peak.
const PEAK: Duration = Duration::from_micros(500);

/// Memory limit, in bytes, for the candidates of one problem. Beyond it they are measured in groups, each with its
/// sampled rounds.
const GROUP_BYTES: usize = 6 << 30;

impl<'a> Session<'a> {
    /// A session with a pool for each number of threads.
    ///
    /// # Errors
    /// When there are fewer cores than threads.
    pub fn new(
        topology: &'a Topology,
        threads: &[usize],
        settings: Settings,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let mut pools = BTreeMap::new();
        for &n in threads {
            let workers = Workers::new(topology, n)?;
            let counters = Counters::open(&workers);
            pools.insert(n, (workers, counters));
        }
        Ok(Session {
            topology,
            pools,
            settings,
            cold_sets: None,
            stop,
        })
    }

    /// The pools.
    pub fn pools(&self) -> Vec<&Workers> {
        self.pools.values().map(|(workers, _)| workers).collect()
    }

    /// True if every worker is pinned.
    pub fn pinned(&self) -> bool {
        self.pools.values().all(|(workers, _)| workers.pinned())
    }

    /// Status of each hardware counter.
    pub fn counters(&self) -> Vec<CounterStatus> {
        self.pools
            .values()
            .next()
            .map_or(Vec::new(), |(_, counters)| counters.status().to_vec())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Measures the candidates on a problem. All take part in the first rounds. Then the fastest continue until
    /// `deadline`.
    ///
    /// # Errors
    /// When there is no memory. [`Wrong`](super::Wrong) when a kernel's output is wrong. Errors of another library
    /// become refusals.
    pub fn measure(
        &mut self,
        problem: &Problem,
        candidates: &[Rc<dyn Candidate>],
        deadline: Option<Instant>,
        progress: &mut dyn Progress,
    ) -> Result<ProblemOutcome> {
        let mut outcome = ProblemOutcome::default();
        let mut bytes = 0;
        let mut groups = vec![Vec::new()];
        for candidate in candidates {
            let planned = candidate.plan(problem, self.topology);
            // A candidate that Ctrl-C ended is no refusal.
            if self.stopped() {
                outcome.stopped = true;
                return Ok(outcome);
            }
            match planned {
                Ok(contestant) => {
                    let takes = contestant.facts().memory_bytes();
                    let group = groups.last_mut().expect("one group at least");
                    if bytes + takes > GROUP_BYTES && !group.is_empty() {
                        groups.push(Vec::new());
                        bytes = 0;
                    }
                    bytes += takes;
                    let group = groups.last_mut().expect("one group at least");
                    group.push((candidate.clone(), contestant));
                }
                Err(reason) => outcome.refuse(problem, candidate.as_ref(), reason),
            }
        }
        if groups[0].is_empty() {
            return Ok(outcome);
        }
        let expected = Expected::new(problem, self.settings.seed);
        // It takes long, so it is computed before the rounds.
        expected.output(self.widest());
        for group in groups {
            self.measure_group(problem, group, &expected, deadline, progress, &mut outcome)?;
        }
        outcome.reference = expected.into_output();
        Ok(outcome)
    }

    /// The pool with the most workers, for everything that isn't timed.
    fn widest(&self) -> &Workers {
        &self.pools.last_key_value().expect("a pool").1.0
    }

    fn measure_group(
        &mut self,
        problem: &Problem,
        group: Vec<(Rc<dyn Candidate>, Box<dyn Contestant>)>,
        expected: &Expected,
        deadline: Option<Instant>,
        progress: &mut dyn Progress,
        outcome: &mut ProblemOutcome,
    ) -> Result<()> {
        let mut all = Vec::new();
        for (candidate, mut contestant) in group {
            if self.stopped() {
                outcome.stopped = true;
                return Ok(());
            }
            progress.candidate(problem, &candidate.id());
            let (workers, _) = &self.pools[&candidate.threads()];
            match expected.warm_up(contestant.as_mut(), workers) {
                Ok(took) => {
                    let runs = self.settings.sample.as_nanos() as f64 / took.max(100.0);
                    all.push(Sampled {
                        candidate,
                        contestant,
                        runs: (runs as usize).clamp(1, 10_000),
                        samples_ns: Vec::new(),
                        rounds: Vec::new(),
                        peaks: Vec::new(),
                        trouble: None,
                    });
                }
                Err(error) => outcome.trouble(problem, candidate.as_ref(), error)?,
            }
        }

        let arithmetic = Arithmetic::of(problem.dtypes.src);
        let mut rng = Rng::new(self.settings.seed);
        let mut order: Vec<usize> = (0..all.len()).collect();
        for round in 0..self
            .settings
            .rounds_for_best
            .max(self.settings.rounds_for_all)
        {
            let late = deadline.is_some_and(|d| Instant::now() >= d);
            let enough = self
                .settings
                .rounds_for_all
                .max(self.settings.rounds_at_least);
            if round > 0 && self.stopped() || round >= enough && late {
                break;
            }
            if round == self.settings.rounds_for_all {
                order = leaders(&all, self.settings.best_few);
            }
            rng.shuffle(&mut order);
            self.round(round as u32, arithmetic, &mut all, &order);
        }

        let stopped = self.stopped();
        let mut examined = self.fastest_of_ours(&all);
        for (index, mut sampled) in all.into_iter().enumerate() {
            let candidate = sampled.candidate.clone();
            let finished = match sampled.trouble.take() {
                Some(error) => Err(error),
                // A stop can leave candidates without any sample.
                None if sampled.samples_ns.is_empty() => continue,
                None => {
                    let examined = !stopped && examined.remove(&index);
                    self.finish(problem, sampled, expected, examined)
                }
            };
            match finished {
                Ok(measurements) => outcome.measurements.extend(measurements),
                Err(error) => outcome.trouble(problem, candidate.as_ref(), error)?,
            }
        }
        outcome.stopped |= stopped || self.stopped();
        Ok(())
    }

    /// One sample of each candidate, and one of each peak of the arithmetic.
    fn round(&self, round: u32, arithmetic: Arithmetic, all: &mut [Sampled], order: &[usize]) {
        let mut peaks: BTreeMap<(Isa, usize), f64> = BTreeMap::new();
        for &index in order {
            let sampled = &mut all[index];
            if sampled.trouble.is_some() {
                continue;
            }
            let candidate = &sampled.candidate;
            let (isa, threads) = (candidate.isa(arithmetic), candidate.threads());
            let (workers, _) = &self.pools[&threads];
            let peak = *peaks.entry((isa, threads)).or_insert_with(|| {
                let token = isa.detect().expect("planned for this CPU");
                peak_probe(workers, token, arithmetic, PEAK)
            });
            match sampled.contestant.sample(sampled.runs, workers) {
                Ok(ns) => {
                    sampled.samples_ns.push(shorten(ns, DECIMALS));
                    sampled.rounds.push(round);
                    sampled.peaks.push(shorten(peak, DECIMALS));
                }
                Err(error) => sampled.trouble = Some(error),
            }
            if round == 0 && self.stopped() {
                return;
            }
        }
    }

    /// Verifies the timed output, counts events in separate runs, and makes the record.
    fn finish(
        &mut self,
        problem: &Problem,
        mut sampled: Sampled,
        expected: &Expected,
        examined: bool,
    ) -> Result<Vec<Measurement>> {
        let verified = expected.verify(
            sampled.candidate.as_ref(),
            sampled.contestant.as_mut(),
            self.widest(),
        )?;
        let (candidate, threads) = (&sampled.candidate, sampled.candidate.threads());
        let (workers, counters) = self
            .pools
            .get_mut(&threads)
            .expect("a pool for each number");
        let (runs, contestant) = (sampled.runs, &mut sampled.contestant);
        let mut here = false;
        let counts = counters.count(workers, runs, || here = contestant.run(runs, workers));
        let phases = contestant.phases(runs, workers);
        let facts = contestant.facts();
        let errors_by_input = match candidate.accuracy() {
            Accuracy::Transformed { .. } if !candidate.foreign() => {
                let (workers, _) = &self.pools[&threads];
                expected.errors_by_input(contestant.as_mut(), (workers, self.widest()))?
            }
            _ => Vec::new(),
        };
        let mut measurements = vec![Measurement {
            runs_per_sample: runs,
            samples_ns: std::mem::take(&mut sampled.samples_ns),
            rounds: std::mem::take(&mut sampled.rounds),
            peak_gflops: std::mem::take(&mut sampled.peaks),
            errors_by_input,
            phases,
            // Counters can't see the events of another process.
            counters: if here { counts } else { Vec::new() },
            ..described(problem, candidate.as_ref(), facts, verified)
        }];
        if examined && self.settings.rounds_for_twins > 0 {
            self.examine(problem, &mut sampled, expected, &mut measurements)?;
        }
        Ok(measurements)
    }

    /// The fastest of our kernels for each number of threads: those that reports show.
    fn fastest_of_ours(&self, all: &[Sampled]) -> BTreeSet<usize> {
        let mut ours: BTreeMap<usize, (Vec<usize>, Vec<Timed>)> = BTreeMap::new();
        for (index, sampled) in all.iter().enumerate() {
            let candidate = &sampled.candidate;
            if candidate.foreign() || sampled.trouble.is_some() {
                continue;
            }
            if let Some(time) = Summary::of(&sampled.samples_ns) {
                let (indices, timed) = ours.entry(candidate.threads()).or_default();
                indices.push(index);
                timed.push(Timed {
                    id: candidate.id(),
                    samples: sampled.samples_ns.len(),
                    examined: false,
                    time,
                });
            }
        }
        let chosen =
            |(indices, timed): (Vec<usize>, Vec<Timed>)| Some(indices[fastest(&timed)?.chosen]);
        ours.into_values().filter_map(chosen).collect()
    }

    /// Measures the kernel with its twins in each state of the caches. The first of `measurements` is the warm one;
    /// the cold ones are appended.
    fn examine(
        &mut self,
        problem: &Problem,
        sampled: &mut Sampled,
        expected: &Expected,
        measurements: &mut Vec<Measurement>,
    ) -> Result<()> {
        let Sampled {
            candidate,
            contestant,
            runs,
            ..
        } = sampled;
        let rounds = self.settings.rounds_for_twins;
        let (workers, _) = &self.pools[&candidate.threads()];
        let arithmetic = Arithmetic::of(problem.dtypes.src);
        let token = candidate.isa(arithmetic).detect();
        let token = token.expect("planned for this CPU");
        let peak = || peak_probe(workers, token, arithmetic, PEAK);
        // `errors_by_input` left other inputs behind.
        contestant.load(expected.operands(), true, workers)?;
        let exam = Exam::new(
            candidate.as_ref(),
            contestant.as_mut(),
            (problem, expected.operands()),
            *runs,
            (self.topology, workers),
        )?;
        let Some(mut exam) = exam else { return Ok(()) };
        let (mut rng, mut sets) = (Rng::new(self.settings.seed), self.cold_sets.take());
        measurements[0].ablation = Some(exam.warm(rounds, &mut rng, peak)?.times);
        for &state in &self.settings.states {
            let CacheState::Cold(cold) = state else {
                continue;
            };
            let sets = match &mut sets {
                Some(sets) => sets,
                none => none.insert(ColdSets::new(self.topology)?),
            };
            let Some(examined) = exam.cold(cold, rounds, sets, &mut rng, peak)? else {
                continue;
            };
            let verified = expected.verify(candidate.as_ref(), exam.full(), self.widest())?;
            let Examined {
                times,
                peaks,
                cold_read,
            } = examined;
            measurements.push(Measurement {
                cache: Text::of(state),
                samples_ns: times.full_ns.clone(),
                rounds: (0..rounds as u32).collect(),
                peak_gflops: peaks,
                error_l2: verified.deviation.l2,
                error_max: verified.deviation.max,
                errors_by_input: Vec::new(),
                phases: Vec::new(),
                counters: Vec::new(),
                ablation: Some(times),
                cold_read,
                ..measurements[0].clone()
            });
        }
        self.cold_sets = sets;
        Ok(())
    }
}

impl ProblemOutcome {
    /// True if the outcome has a measurement or a refusal for each of `candidates` candidates.
    pub fn covers(&self, candidates: usize) -> bool {
        let warm = |m: &&Measurement| m.cache.is(&CacheState::Warm);
        let measured = self.measurements.iter().filter(warm);
        measured.count() + self.refusals.len() >= candidates
    }

    fn refuse(&mut self, problem: &Problem, candidate: &dyn Candidate, reason: String) {
        self.refusals.push(Refusal {
            problem: Text::of(*problem),
            variant: candidate.id(),
            reason,
        });
    }

    /// Handles an error: of our sampled kernel it ends the run, of another library it becomes a refusal.
    fn trouble(
        &mut self,
        problem: &Problem,
        candidate: &dyn Candidate,
        error: anyhow::Error,
    ) -> Result<()> {
        if !candidate.foreign() {
            return Err(error);
        }
        if error.is::<Stopped>() {
            self.stopped = true;
            return Ok(());
        }
        self.refuse(problem, candidate, format!("{error:#}"));
        Ok(())
    }
}

/// A candidate with its memory and its samples.
struct Sampled {
    candidate: Rc<dyn Candidate>,
    contestant: Box<dyn Contestant>,
    runs: usize,
    samples_ns: Vec<f64>,
    rounds: Vec<u32>,
    peaks: Vec<f64>,
    /// The error that ended its measurement.
    trouble: Option<anyhow::Error>,
}

/// The `few` fastest of our candidates and of other libraries, for each number of threads, by their best sample.
fn leaders(all: &[Sampled], few: usize) -> Vec<usize> {
    let best = |i: usize| {
        all[i]
            .samples_ns
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min)
    };
    let mut by_speed: Vec<usize> = (0..all.len()).collect();
    by_speed.sort_by(|&a, &b| best(a).total_cmp(&best(b)));
    let mut taken: BTreeMap<(usize, bool), usize> = BTreeMap::new();
    by_speed.retain(|&i| {
        let candidate = &all[i].candidate;
        let kind = (candidate.threads(), candidate.foreign());
        let n = taken.entry(kind).or_default();
        *n += 1;
        *n <= few
    });
    by_speed
}
