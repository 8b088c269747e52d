//! One run of the gate: screening of all pairs, confirmation of the suspects, verdicts.

use super::choice::{SCREENING, confirmable};
use super::layout::{CAREFUL, Programs};
use super::rounds::Sitting;
use super::survey::{Survey, Surveyed, start};
use super::verdict::{Change, Observations, TestResult, finds, judge, suspects};
use super::{
    Block, FEWEST_BLOCKS, FEWEST_SCREENING, MOST_BLOCKS, Pair, PairRounds, Progress,
    SAME_CODE_BLOCKS,
};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Most alarms whose machine code is compared: each takes about a second.
const LAYOUTS: usize = 12;

/// Most suspects with equal machine code that are confirmed. They can't fail, so the time is for the others.
const SAME_CODE_SUSPECTS: usize = 3;

/// Usual number of suspects of a gate, from which the number of blocks of a confirmation is predicted.
const USUAL_SUSPECTS: usize = 6;

/// Measurements of a gate, from which all verdicts follow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Compared pairs.
    pub pairs: Vec<Pair>,
    /// Injected slow-down of B for each pair, as a fraction.
    pub injected: Vec<f64>,
    /// Blocks of all pairs.
    pub blocks: Vec<Block>,
    /// Indices of the suspects that were confirmed, or of the alarms in gates before there were suspects.
    pub alarms: Vec<usize>,
    /// Blocks of those pairs, in that order, in fresh processes.
    pub confirmation: Vec<Block>,
    /// True if a signal interrupted it. Then there is no verdict.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Time of all blocks of the screening, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screening_s: Option<f64>,
}

/// Outcome of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// No change that this budget can detect.
    Unchanged,
    /// B is slower, confirmed: the gate fails.
    Slower,
    /// B is slower, confirmed, with equal machine code: the gate passes.
    Layout,
    /// B was slower in the screening, but the confirmation didn't repeat it.
    Unconfirmed,
    /// B is faster, confirmed.
    Faster,
}

impl Outcome {
    /// The outcome in a word, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Unchanged => "unchanged",
            Outcome::Slower => "slower",
            Outcome::Layout => "layout",
            Outcome::Unconfirmed => "unconfirmed",
            Outcome::Faster => "faster",
        }
    }
}

/// Results for one pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The pair.
    #[serde(flatten)]
    pub pair: Pair,
    /// Median time of a run of A, ns.
    pub a_ns: f64,
    /// Result of the test over the blocks of the screening.
    #[serde(flatten)]
    pub result: TestResult,
    /// Smallest slow-down that is detected half the time; none if no slow-down is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finds: Option<f64>,
    /// Result of the test over the blocks of the confirmation, if the pair was a suspect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<TestResult>,
    /// The verdict.
    pub outcome: Outcome,
}

/// Measures within a budget, in addition to builds and checks. `injected` is the slow-down of B for each pair, as a
/// fraction. After a signal, the measurements so far are returned and marked.
///
/// # Errors
/// [`WrongSide`](super::survey::WrongSide); when a worker fails.
pub fn measure(
    sitting: &mut Sitting<'_>,
    survey: &Survey,
    injected: &[f64],
    budget: Duration,
    progress: &mut dyn Progress,
) -> Result<Measured> {
    let mut run = Run {
        sitting,
        pairs: &survey.pairs,
        injected,
        progress,
    };
    let from = Instant::now();
    let mut measured = Measured {
        pairs: survey.pairs.iter().map(|s| s.pair.clone()).collect(),
        injected: injected.to_vec(),
        ..Measured::default()
    };
    let screening = run.screening(budget.mul_f64(SCREENING), &mut measured.blocks)?;
    measured.screening_s = Some(from.elapsed().as_secs_f64());
    measured.interrupted = !screening;
    if measured.interrupted {
        return Ok(measured);
    }
    let observations = observe(&measured.blocks, measured.pairs.len());
    let rest = budget.saturating_sub(from.elapsed());
    measured.alarms = worth_confirming(survey, suspects(&observations), rest);
    if !measured.alarms.is_empty() {
        let counts = FEWEST_BLOCKS..=MOST_BLOCKS;
        let (blocks, whole) = run.stage("confirming", &measured.alarms, rest, counts)?;
        measured.confirmation = blocks;
        measured.interrupted = !whole;
    }
    Ok(measured)
}

/// Measurement of some pairs.
struct Run<'a, 'b> {
    sitting: &'a mut Sitting<'b>,
    pairs: &'a [Surveyed],
    injected: &'a [f64],
    progress: &'a mut dyn Progress,
}

impl Run<'_, '_> {
    /// Measures all pairs, those with equal machine code in few blocks. Returns false if a signal interrupted it.
    fn screening(&mut self, time: Duration, blocks: &mut Vec<Block>) -> Result<bool> {
        let from = Instant::now();
        let all: Vec<usize> = (0..self.pairs.len()).collect();
        let is_open = |i: &usize| self.pairs[*i].same_code != Some(true);
        let open: Vec<usize> = all.iter().copied().filter(is_open).collect();
        if open.len() < all.len() {
            let counts = SAME_CODE_BLOCKS..=SAME_CODE_BLOCKS;
            let (few, whole) = self.stage("measuring", &all, Duration::ZERO, counts)?;
            blocks.extend(few);
            if !whole || open.is_empty() {
                return Ok(whole);
            }
        }
        let rest = time.saturating_sub(from.elapsed());
        let counts = FEWEST_SCREENING - blocks.len()..=MOST_BLOCKS;
        let (more, whole) = self.stage("measuring", &open, rest, counts)?;
        let more = more.into_iter();
        blocks.extend(more.map(|block| widened(block, &open, all.len())));
        Ok(whole)
    }

    /// Measures blocks of some pairs. Returns false if a signal interrupted it.
    fn stage(
        &mut self,
        what: &'static str,
        which: &[usize],
        time: Duration,
        counts: RangeInclusive<usize>,
    ) -> Result<(Vec<Block>, bool)> {
        let injected: Vec<f64> = which.iter().map(|&i| self.injected[i]).collect();
        let progress = |done, of| self.progress.count(what, done, of);
        let sitting = &mut self.sitting;
        sitting.blocks(self.pairs, which, &injected, (time, counts), progress)
    }
}

/// A block of some pairs as one of all pairs. Those that it lacks have no rounds.
fn widened(block: Block, which: &[usize], pairs: usize) -> Block {
    let mut all = vec![PairRounds::default(); pairs];
    for (&i, rounds) in which.iter().zip(block.pairs) {
        all[i] = rounds;
    }
    Block {
        pairs: all,
        peaks: block.peaks,
    }
}

/// The suspects that are confirmed: those for whom there is time, whose machine code differs first. In the order of the
/// pairs, so that variants of one problem are adjacent.
fn worth_confirming(survey: &Survey, suspects: Vec<usize>, time: Duration) -> Vec<usize> {
    let pairs = &survey.pairs;
    let is_same = |i: &usize| pairs[*i].same_code == Some(true);
    let (mut same, mut chosen): (Vec<_>, Vec<_>) = suspects.into_iter().partition(is_same);
    same.truncate(SAME_CODE_SUSPECTS);
    chosen.extend(same);
    let block_s = chosen.iter().map(|&i| pairs[i].block_s());
    let fit = confirmable(block_s, survey.start.as_secs_f64(), time.as_secs_f64());
    chosen.truncate(fit);
    chosen.sort_unstable();
    chosen
}

/// Observations of each pair.
fn observe(blocks: &[Block], pairs: usize) -> Vec<Observations> {
    (0..pairs).map(|i| Observations::of(blocks, i)).collect()
}

/// Verdict for each pair. Machine code isn't compared here.
pub fn judged(measured: &Measured) -> Vec<Judged> {
    let observations = observe(&measured.blocks, measured.pairs.len());
    let results = judge(&observations);
    let confirmed = match measured.interrupted {
        // An incomplete confirmation confirms nothing.
        true => Vec::new(),
        false => judge(&observe(&measured.confirmation, measured.alarms.len())),
    };
    let again = measured.blocks.len() * measured.pairs.len().div_ceil(USUAL_SUSPECTS);
    let again = again.clamp(FEWEST_BLOCKS, MOST_BLOCKS);
    let pairs = measured.pairs.iter().zip(results).enumerate();
    pairs
        .map(|(i, (pair, result))| {
            let suspect = measured.alarms.iter().position(|&a| a == i);
            let confirmation = suspect.and_then(|a| confirmed.get(a)).cloned();
            let outcome = match confirmation.as_ref().map(|c| c.change) {
                Some(Change::Slower) => Outcome::Slower,
                Some(Change::Faster) => Outcome::Faster,
                _ if result.change == Change::Slower => Outcome::Unconfirmed,
                _ => Outcome::Unchanged,
            };
            let times = measured.blocks.iter().map(|b| b.pairs[i].a_ns);
            let times: Vec<f64> = times.filter(|ns| *ns > 0.0).collect();
            Judged {
                pair: pair.clone(),
                a_ns: crate::stats::median(&times).unwrap_or(0.0),
                result,
                finds: Some(finds(&observations[i], again)).filter(|f| f.is_finite()),
                confirmation,
                outcome,
            }
        })
        .collect()
}

/// Relabels slow-downs whose hot code is equal in both builds.
///
/// # Errors
/// When a worker fails.
pub fn label_layout(sitting: &Sitting<'_>, judged: &mut [Judged]) -> Result<()> {
    let slower = judged.iter_mut().filter(|j| j.outcome == Outcome::Slower);
    let mut slower = slower.take(LAYOUTS).peekable();
    if slower.peek().is_none() {
        return Ok(());
    }
    let Some(programs) = Programs::read(&sitting.sides)? else {
        return Ok(());
    };
    for judged in slower {
        let mut clients = start(&sitting.sides)?;
        if programs.same_code(&mut clients, &judged.pair, CAREFUL)? == Some(true) {
            judged.outcome = Outcome::Layout;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(same: &[bool], suspect_ms: f64) -> Survey {
        let pairs = same.iter().enumerate().map(|(i, same)| Surveyed {
            pair: Pair {
                problem: format!("p{i}").into(),
                variant: "direct/avx2/st".into(),
                threads: 1,
            },
            ns: 1e6 * suspect_ms,
            preparation: Duration::ZERO,
            bytes: 1,
            outputs: ["x", "x"].map(String::from),
            same_code: Some(*same),
        });
        Survey {
            pairs: pairs.collect(),
            ..Survey::default()
        }
    }

    #[test]
    fn suspects_with_changed_code_are_confirmed_first() {
        let survey = survey(&[true, true, true, true, true, false, false], 5.0);
        let hour = Duration::from_secs(3600);
        let suspects = || vec![4, 3, 6, 2, 1, 5];
        assert_eq!(worth_confirming(&survey, suspects(), hour), [2, 3, 4, 5, 6]);
        // A block of one takes 62.5 ms, and there are 20.
        let short = Duration::from_millis(3 * 1300);
        assert_eq!(worth_confirming(&survey, suspects(), short), [4, 5, 6]);
        assert_eq!(worth_confirming(&survey, vec![], short), [0; 0]);
    }

    #[test]
    fn a_pair_without_rounds_in_a_block_has_no_observation_there() {
        let rounds = PairRounds {
            ratio: vec![1000],
            halves: vec![0],
            a_ns: 5.0,
        };
        let block = Block {
            pairs: vec![rounds],
            peaks: vec![1.0],
        };
        let blocks = [widened(block.clone(), &[1], 2), widened(block, &[0], 2)];
        let observed = observe(&blocks, 2);
        assert!(
            observed
                .iter()
                .all(|o| o.effects == [0.01] && o.halves == [0.0])
        );
    }
}
