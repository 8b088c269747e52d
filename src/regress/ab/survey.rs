//! Survey of the wanted pairs before any of them is measured: what both builds can compute, how long it takes, whether
//! its machine code differs, whether it is right.

use super::client::{PlanAnswer, Planned, Side, WorkerClient};
use super::layout::{Programs, QUICK};
use super::{Pair, Progress};
use crate::interrupt::Stopped;
use crate::machine::memory;
use anyhow::{Result, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// An output that differs from the reference, or from an earlier output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongSide(pub String);

impl WrongSide {
    /// Error of a pair whose output isn't the one that it gave before.
    pub(super) fn changed(side: &Side, pair: &Pair) -> anyhow::Error {
        let Side { letter, label, .. } = side;
        WrongSide(format!(
            "{letter} ({label}) is wrong: {pair}: its output differs from what the same run gave before"
        ))
        .into()
    }
}

/// A pair that both builds can compute.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// The pair.
    pub pair: Pair,
    /// Time of a run in the slower build, ns.
    pub ns: f64,
    /// Time to prepare the pair in both builds.
    pub preparation: Duration,
    /// Memory of its plan in the larger build, bytes.
    pub bytes: u64,
    /// Hashes of the outputs of A and B.
    pub outputs: [String; 2],
    /// True if the code that takes its time is equal in both builds; none if that is unknown.
    pub same_code: Option<bool>,
}

/// The pairs of two builds.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Pairs to compare; the variants of a problem are adjacent.
    pub pairs: Vec<Surveyed>,
    /// Pairs that only one side supports: that side's letter, the pair, and the other side's reason.
    pub missing: Vec<(char, Pair, String)>,
    /// True if a build is without optimisation.
    pub debug: bool,
    /// Time to start the processes of both builds.
    pub start: Duration,
}

/// Fails if a stop was requested.
pub(super) fn halt(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::SeqCst) {
        return Err(Stopped.into());
    }
    Ok(())
}

/// Starts a worker of each build.
pub(super) fn start(sides: &[Side; 2]) -> Result<[WorkerClient; 2]> {
    let [a, b] = sides;
    Ok([WorkerClient::start(a)?, WorkerClient::start(b)?])
}

impl Survey {
    /// Runs every wanted pair once in both builds. Each problem has processes of its own, so that only its plans are in
    /// memory.
    ///
    /// # Errors
    /// When a worker fails, there is too little memory for a problem, or after a stop.
    pub fn of(
        sides: &[Side; 2],
        wanted: &[Pair],
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<Survey> {
        let mut survey = Survey::default();
        let (mut done, mut starts) = (0, Vec::new());
        for pairs in wanted.chunk_by(|x, y| x.problem == y.problem) {
            let from = Instant::now();
            let mut clients = start(sides)?;
            starts.push(from.elapsed());
            survey.debug |= clients.iter().any(|c| c.debug);
            let mut bytes = 0;
            for pair in pairs {
                halt(stop)?;
                progress.count("surveying", done, wanted.len());
                bytes += survey.add(&mut clients, pair)?;
                done += 1;
                refuse_full(bytes)?;
            }
        }
        survey.start = starts.iter().sum::<Duration>() / starts.len().max(1) as u32;
        Ok(survey)
    }

    /// Runs a pair in both builds. Returns the memory of its plan in the larger one, bytes.
    fn add(&mut self, clients: &mut [WorkerClient; 2], pair: &Pair) -> Result<u64> {
        let from = Instant::now();
        let [a, b] = clients;
        let answers = [a.plan(pair, false)?, b.plan(pair, false)?];
        let preparation = from.elapsed();
        let (a, b) = match answers {
            [PlanAnswer::Planned(a), PlanAnswer::Planned(b)] => (a, b),
            [PlanAnswer::Planned(_), PlanAnswer::Refused(why)] => {
                self.missing.push(('A', pair.clone(), why));
                return Ok(0);
            }
            [PlanAnswer::Refused(why), PlanAnswer::Planned(_)] => {
                self.missing.push(('B', pair.clone(), why));
                return Ok(0);
            }
            _ => return Ok(0),
        };
        let bytes = a.bytes.max(b.bytes);
        self.pairs.push(Surveyed {
            pair: pair.clone(),
            ns: a.ns.max(b.ns),
            preparation,
            bytes,
            outputs: [a.output, b.output],
            same_code: None,
        });
        Ok(bytes)
    }

    /// Finds the pairs whose machine code is equal in both builds.
    ///
    /// # Errors
    /// When a worker fails, or after a stop.
    pub fn compare_code(
        &mut self,
        sides: &[Side; 2],
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let Some(programs) = Programs::read(sides)? else {
            return Ok(());
        };
        if programs.are_equal() {
            self.pairs.iter_mut().for_each(|p| p.same_code = Some(true));
            return Ok(());
        }
        let (mut done, all) = (0, self.pairs.len());
        for pairs in self
            .pairs
            .chunk_by_mut(|x, y| x.pair.problem == y.pair.problem)
        {
            let mut clients = start(sides)?;
            for surveyed in pairs {
                halt(stop)?;
                progress.count("comparing machine code", done, all);
                surveyed.same_code = programs.same_code(&mut clients, &surveyed.pair, QUICK)?;
                done += 1;
            }
        }
        Ok(())
    }

    /// Keeps only some pairs, by their indices.
    pub fn keep(&mut self, wanted: impl Fn(usize) -> bool) {
        let mut index = 0..;
        self.pairs.retain(|_| index.next().is_some_and(&wanted));
    }

    /// Compares every pair's output with the reference. One comparison is enough where both builds give the same bits.
    ///
    /// # Errors
    /// [`WrongSide`] if an output is wrong. Also when a worker fails, or after a stop.
    pub fn check(
        &self,
        sides: &[Side; 2],
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let mut done = 0;
        for pairs in self.pairs.chunk_by(|x, y| x.pair.problem == y.pair.problem) {
            let differing = pairs.iter().filter(|p| p.outputs[0] != p.outputs[1]);
            let differing: Vec<&Surveyed> = differing.collect();
            let all: Vec<&Surveyed> = pairs.iter().collect();
            for (side, own) in [(0, all), (1, differing)] {
                let mut client = match own.is_empty() {
                    true => continue,
                    false => WorkerClient::start(&sides[side])?,
                };
                for (i, surveyed) in own.into_iter().enumerate() {
                    halt(stop)?;
                    progress.count("checking", done + i, self.pairs.len());
                    check(&sides[side], &mut client, surveyed, side)?;
                }
            }
            done += pairs.len();
        }
        Ok(())
    }
}

/// Compares the output of a pair with the reference of its build, and with the output in the survey.
fn check(side: &Side, client: &mut WorkerClient, surveyed: &Surveyed, number: usize) -> Result<()> {
    let pair = &surveyed.pair;
    match client.plan(pair, true)? {
        PlanAnswer::Planned(Planned { output, .. }) if output == surveyed.outputs[number] => Ok(()),
        PlanAnswer::Wrong(reason) => {
            let Side { letter, label, .. } = side;
            Err(WrongSide(format!("{letter} ({label}) is wrong: {pair}: {reason}")).into())
        }
        _ => Err(WrongSide::changed(side, pair)),
    }
}

/// Fails if the plans of a problem leave no memory. Both builds hold them at the same time.
fn refuse_full(bytes: u64) -> Result<()> {
    let free = memory::available() as u64;
    if bytes > free {
        bail!(
            "the variants of a layer need more than 2 x {} GB, {} GB are free: choose fewer with --layer, --variant or --batch",
            bytes >> 30,
            free >> 30
        );
    }
    Ok(())
}
