//! A comparison of two builds: built, checked, measured, judged.

use super::client::{Side, WorkerClient};
use super::gate::{self, Judged, Measured, Progress};
use super::revision::Build;
use super::rounds::{Checked, Sitting};
use super::wanted::Wanted;
use crate::machine::Topology;
use crate::scratch::Scratch;
use anyhow::{Result, bail};
use convroof_kernels::Problem;
use convroof_kernels::data::Rng;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Two builds, and the pairs that both compute correctly.
pub struct Session<'a> {
    sitting: Sitting<'a>,
    checked: Checked,
    /// Folder of the programs.
    _scratch: Scratch,
}

impl<'a> Session<'a> {
    /// Builds both sides, A first, and checks them against the reference. `bin` is cargo's name of a revision's
    /// program.
    ///
    /// # Errors
    /// When a build fails, or no pair can be compared. [`WrongSide`](super::rounds::WrongSide) when an output is wrong.
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
        let sitting = Sitting {
            sides,
            stop,
            rng: Rng::new(seed()),
        };
        let checked = check(&sitting, wanted, progress)?;
        Ok(Session {
            sitting,
            checked,
            _scratch: scratch,
        })
    }

    /// The two builds.
    pub fn sides(&self) -> &[Side; 2] {
        &self.sitting.sides
    }

    /// Pairs to compare, and pairs that only one side has.
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// Keeps at most `most` pairs, spread evenly.
    pub fn spread(&mut self, most: usize) {
        let all = self.checked.pairs.len();
        let most = most.min(all);
        self.checked
            .keep(|i| i * most / all != (i + 1) * most / all);
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
        gate::measure(&mut self.sitting, &self.checked, injected, budget, progress)
    }

    /// Verdicts, with the machine code of slower pairs compared.
    ///
    /// # Errors
    /// When a worker fails.
    pub fn judge(&self, measured: &Measured, progress: &mut dyn Progress) -> Result<Vec<Judged>> {
        let mut judged = gate::judged(measured);
        progress.stage("comparing the code of slower kernels");
        gate::label_layout(&self.sitting, &mut judged)?;
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

/// Checks both builds against the reference.
fn check(sitting: &Sitting<'_>, wanted: &Wanted, progress: &mut dyn Progress) -> Result<Checked> {
    let mut variants = Vec::new();
    for side in &sitting.sides {
        // A build may have variants that the other build, or this program, doesn't have.
        variants.extend(WorkerClient::start(side)?.variants.clone());
    }
    let pairs = wanted.pairs(&variants, |text| progress.note(text))?;
    let checked = sitting.check(&pairs, |pair| progress.stage(&format!("checking {pair}")))?;
    if checked.pairs.is_empty() {
        bail!("no layer and variant that both builds can do: see convroof list");
    }
    let compared = |p: &&Problem| checked.pairs.iter().any(|pair| pair.problem.is(p));
    let without: Vec<_> = wanted.problems.iter().filter(|p| !compared(p)).collect();
    if let Some(first) = without.first() {
        progress.note(&format!(
            "{} of {} layers are not compared, since no variant of both builds can do them, such as {first}",
            without.len(),
            wanted.problems.len()
        ));
    }
    if checked.debug {
        progress.note("a debug build takes part: its times are meaningless");
    }
    Ok(checked)
}
