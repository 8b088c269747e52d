//! A comparison of two builds: built, surveyed, chosen, checked, measured, judged.

use super::choice::{choose, least_budget_s, smallest_budget_s};
use super::client::{Side, WorkerClient};
use super::gate::{self, Judged, Measured};
use super::revision::Build;
use super::rounds::Sitting;
use super::survey::Survey;
use super::wanted::Wanted;
use super::{Pair, Progress};
use crate::machine::{Topology, memory};
use crate::scratch::Scratch;
use anyhow::{Result, bail};
use convroof_kernels::Problem;
use convroof_kernels::data::Rng;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Two builds, and the pairs that both compute.
pub struct Session<'a> {
    sitting: Sitting<'a>,
    survey: Survey,
    left_out: Option<LeftOut>,
    /// Folder of the programs.
    _scratch: Scratch,
}

/// Pairs that are not compared, since they don't fit.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOut {
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// True if the machine code of some of them differs between the builds, or may differ.
    pub may_differ: bool,
    /// Budget for all pairs, seconds. None if it is the memory that is too small.
    pub budget_s: Option<f64>,
}

/// Pairs from which on surveys and checks take so long that they are announced.
pub const MANY_PAIRS: usize = 20;

/// Fails if a budget in seconds is too small for any pair.
///
/// # Errors
/// With the least budget.
pub fn check_budget(budget_s: f64) -> Result<()> {
    let least = least_budget_s();
    if budget_s < least {
        bail!(
            "the budget is too small: --budget {budget_s} has no time for the blocks of one pair: use {} or more",
            rounded_up(least)
        );
    }
    Ok(())
}

/// A budget with an allowance, in whole seconds.
fn rounded_up(budget_s: f64) -> f64 {
    (1.1 * budget_s).ceil()
}

impl<'a> Session<'a> {
    /// Builds both sides, A first, and surveys what they can do. `bin` is cargo's name of a revision's program.
    ///
    /// # Errors
    /// When a build fails, or no pair can be compared.
    pub fn new(
        builds: &[Build; 2],
        bin: &str,
        wanted: &Wanted,
        stop: &'a AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<Session<'a>> {
        let scratch = Scratch::new()?;
        let mut side = |letter: char, build: &Build| -> Result<Side> {
            let label = build.label();
            progress.stage(&format!("building {letter}: {label}"));
            // Both paths have the same length: the arguments and environment of a process shift its stack.
            let program = scratch.path().join(letter.to_string()).join("convroof");
            build.make(bin, scratch.path(), &program, stop)?;
            Ok(Side {
                letter,
                label,
                program,
            })
        };
        let sides = [side('A', &builds[0])?, side('B', &builds[1])?];
        let survey = survey(&sides, wanted, stop, progress)?;
        let sitting = Sitting {
            sides,
            stop,
            rng: Rng::new(seed()),
        };
        Ok(Session {
            sitting,
            survey,
            left_out: None,
            _scratch: scratch,
        })
    }

    /// The two builds.
    pub fn sides(&self) -> &[Side; 2] {
        &self.sitting.sides
    }

    /// Pairs to compare, and pairs that only one side has.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Pairs that don't fit into the budget.
    pub fn left_out(&self) -> Option<&LeftOut> {
        self.left_out.as_ref()
    }

    /// Finds the pairs whose machine code is equal in both builds.
    ///
    /// # Errors
    /// See [`Survey::compare_code`].
    pub fn compare_code(&mut self, progress: &mut dyn Progress) -> Result<()> {
        let Sitting { sides, stop, .. } = &self.sitting;
        self.survey.compare_code(sides, stop, progress)
    }

    /// Keeps the pairs that fit into a budget, the most telling first.
    ///
    /// # Errors
    /// When none fits.
    pub fn choose(&mut self, budget: Duration) -> Result<()> {
        let (pairs, start_s) = (&self.survey.pairs, self.survey.start.as_secs_f64());
        let free = memory::available() as u64;
        let choice = choose(pairs, budget.as_secs_f64(), start_s, free);
        let is_kept = |i: usize| choice.kept[i];
        if !choice.kept.contains(&true) {
            bail!(
                "the budget is too small for any of {} pairs: use --budget {} or more for the quickest, {} for all",
                pairs.len(),
                rounded_up(smallest_budget_s(pairs, start_s)),
                rounded_up(choice.all_s)
            );
        }
        let out = pairs.iter().enumerate().filter(|(i, _)| !is_kept(*i));
        let out: Vec<_> = out.map(|(_, surveyed)| surveyed).collect();
        self.left_out = (!out.is_empty()).then(|| LeftOut {
            pairs: out.iter().map(|s| s.pair.clone()).collect(),
            may_differ: out.iter().any(|s| s.same_code != Some(true)),
            budget_s: (!choice.lacks_memory).then(|| rounded_up(choice.all_s)),
        });
        self.survey.keep(is_kept);
        Ok(())
    }

    /// Keeps at most `most` pairs, spread evenly.
    pub fn spread(&mut self, most: usize) {
        let all = self.survey.pairs.len();
        let most = most.min(all);
        self.survey.keep(|i| i * most / all != (i + 1) * most / all);
    }

    /// Compares the outputs of the pairs with the reference.
    ///
    /// # Errors
    /// See [`Survey::check`].
    pub fn check(&self, progress: &mut dyn Progress) -> Result<()> {
        let Sitting { sides, stop, .. } = &self.sitting;
        self.survey.check(sides, stop, progress)
    }

    /// Measures all pairs. `injected` is the slow-down of B for each pair, as a fraction.
    ///
    /// # Errors
    /// See [`gate::measure`].
    pub fn measure(
        &mut self,
        injected: &[f64],
        budget: Duration,
        progress: &mut dyn Progress,
    ) -> Result<Measured> {
        gate::measure(&mut self.sitting, &self.survey, injected, budget, progress)
    }

    /// Verdicts, with the machine code of slower pairs compared.
    ///
    /// # Errors
    /// When a worker fails.
    pub fn judge(&self, measured: &Measured, progress: &mut dyn Progress) -> Result<Vec<Judged>> {
        let mut judged = gate::judged(measured);
        if !measured.interrupted {
            progress.stage("comparing the code of slower kernels");
            gate::label_layout(&self.sitting, &mut judged)?;
        }
        Ok(judged)
    }
}

/// Fails unless the workers of both builds run on exactly the CPUs of a topology. Workers of older builds don't know
/// `--cpus`: they inherit only the restriction to these CPUs, and choose one CPU of each core themselves.
///
/// # Errors
/// When they would choose others.
pub fn check_cpus(topology: &Topology) -> Result<()> {
    let seen = Topology::detect();
    let sorted = |t: &Topology| {
        let mut cores = t.cores.clone();
        cores.sort_unstable();
        cores
    };
    if cfg!(target_os = "linux") && sorted(topology) != sorted(&seen) {
        bail!(
            "workers of the builds would run on {} only: name CPUs of one kind and of different cores",
            seen.list()
        );
    }
    Ok(())
}

/// A seed that differs in each run, so that an unlucky order isn't repeated.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |d| d.as_nanos() as u64)
}

/// Surveys the wanted pairs, with a note on what can't be compared.
fn survey(
    sides: &[Side; 2],
    wanted: &Wanted,
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<Survey> {
    let mut variants = Vec::new();
    for side in sides {
        // A build may have variants that the other build, or this program, doesn't have.
        variants.extend(WorkerClient::start(side)?.variants.clone());
    }
    let pairs = wanted.pairs(&variants, |text| progress.note(text))?;
    if pairs.len() >= MANY_PAIRS {
        progress.note(&format!(
            "both builds first compute {} pairs of layer and variant once, which the budget doesn't include",
            pairs.len()
        ));
    }
    let survey = Survey::of(sides, &pairs, stop, progress)?;
    if survey.pairs.is_empty() {
        bail!("no layer and variant that both builds can do: see convroof list");
    }
    let compared = |p: &&Problem| survey.pairs.iter().any(|s| s.pair.problem.is(p));
    let without: Vec<_> = wanted.problems.iter().filter(|p| !compared(p)).collect();
    if let Some(first) = without.first() {
        progress.note(&format!(
            "{} of {} layers are not compared, since no variant of both builds can do them, such as {first}",
            without.len(),
            wanted.problems.len()
        ));
    }
    if survey.debug {
        progress.note("a debug build takes part: its times are meaningless");
    }
    Ok(survey)
}
