//! One run of the gate: blocks, verdicts, and the confirmation of alarms.

use super::rounds::{Checked, Sitting, TooShort};
use super::verdict::{Change, Observations, TestResult, finds, judge};
use super::{Block, Pair, layout};
use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Fraction of the budget for all pairs. The rest is for the alarms.
const SCREENING: f64 = 0.8;

/// Most alarms whose machine code is compared: each takes about a second.
const LAYOUTS: usize = 12;

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
    /// Indices of the pairs that alarmed.
    pub alarms: Vec<usize>,
    /// Blocks of those pairs, in that order, in fresh processes.
    pub confirmation: Vec<Block>,
    /// True if a signal interrupted it. Then there is no verdict.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}

/// Outcome of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// No change that this budget can detect.
    Unchanged,
    /// B is slower, twice: the gate fails.
    Slower,
    /// B is slower, twice, with equal machine code: the gate passes.
    Layout,
    /// B was slower at first, but the confirmation didn't repeat it.
    Unconfirmed,
    /// B is faster.
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
    /// Result of the test over all blocks.
    #[serde(flatten)]
    pub result: TestResult,
    /// Smallest slow-down that these blocks detect half the time; none if they can't detect any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finds: Option<f64>,
    /// Result of the test over the blocks in fresh processes, if the first test alarmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<TestResult>,
    /// The verdict.
    pub outcome: Outcome,
}

/// Receiver of a comparison's progress.
pub trait Progress {
    /// A stage begins, such as a build or a check.
    fn stage(&mut self, what: &str);
    /// `done` of `of` blocks are done.
    fn block(&mut self, what: &'static str, done: usize, of: usize);
    /// A note for the user, in one line.
    fn note(&mut self, text: &str);
}

/// Measures within a budget, in addition to builds and checks. After a signal, the measurements so far are returned and
/// marked.
///
/// # Errors
/// When the budget is too small; see [`Sitting::blocks`].
pub fn measure(
    sitting: &mut Sitting<'_>,
    checked: &Checked,
    injected: &[f64],
    budget: Duration,
    progress: &mut dyn Progress,
) -> Result<Measured> {
    let all: Vec<usize> = (0..checked.pairs.len()).collect();
    let screening = budget.mul_f64(SCREENING);
    let blocks = sitting.blocks(checked, &all, injected, screening, |done, of| {
        progress.block("measuring", done, of);
    });
    let (blocks, whole) = blocks.map_err(|e| too_short(e, SCREENING))?;
    let mut measured = Measured {
        pairs: checked.pairs.clone(),
        injected: injected.to_vec(),
        blocks,
        alarms: Vec::new(),
        confirmation: Vec::new(),
        interrupted: !whole,
    };
    if !whole {
        return Ok(measured);
    }
    let results = judge(&observe(&measured.blocks, all.len()));
    let alarms: Vec<usize> = all
        .into_iter()
        .filter(|&i| results[i].change == Change::Slower)
        .collect();
    if !alarms.is_empty() {
        let injected: Vec<f64> = alarms.iter().map(|&i| injected[i]).collect();
        let rest = budget - screening;
        let again = sitting.blocks(checked, &alarms, &injected, rest, |done, of| {
            progress.block("confirming", done, of);
        });
        let (confirmation, whole) = again.map_err(|e| too_short(e, 1.0 - SCREENING))?;
        measured.confirmation = confirmation;
        measured.interrupted = !whole;
    }
    measured.alarms = alarms;
    Ok(measured)
}

/// Converts an error into one that names a sufficient budget.
fn too_short(error: anyhow::Error, share: f64) -> anyhow::Error {
    match error.downcast_ref::<TooShort>() {
        Some(TooShort { pairs, needs }) => anyhow!(
            "the budget is too small for {pairs} pairs: use --budget {:.0} or more, or choose fewer with --layer or --variant",
            (needs.as_secs_f64() / share * 1.1).ceil()
        ),
        None => error,
    }
}

/// Observations of each pair.
fn observe(blocks: &[Block], pairs: usize) -> Vec<Observations> {
    (0..pairs).map(|i| Observations::of(blocks, i)).collect()
}

/// Verdict for each pair. Machine code isn't compared here.
pub fn judged(measured: &Measured) -> Vec<Judged> {
    let observations = observe(&measured.blocks, measured.pairs.len());
    let results = judge(&observations);
    let confirmed = judge(&observe(&measured.confirmation, measured.alarms.len()));
    let pairs = measured.pairs.iter().zip(results).enumerate();
    pairs
        .map(|(i, (pair, result))| {
            let alarm = measured.alarms.iter().position(|&a| a == i);
            let confirmation = alarm.and_then(|a| confirmed.get(a)).cloned();
            let outcome = match (result.change, &confirmation) {
                (Change::None, _) => Outcome::Unchanged,
                (Change::Faster, _) => Outcome::Faster,
                (Change::Slower, Some(c)) if c.change == Change::Slower => Outcome::Slower,
                (Change::Slower, _) => Outcome::Unconfirmed,
            };
            let times: Vec<f64> = measured.blocks.iter().map(|b| b.pairs[i].a_ns).collect();
            Judged {
                pair: pair.clone(),
                a_ns: crate::stats::median(&times).unwrap_or(0.0),
                result,
                finds: Some(finds(&observations[i], measured.pairs.len()))
                    .filter(|f| f.is_finite()),
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
    for judged in slower.take(LAYOUTS) {
        if layout::same_code(&sitting.sides, &judged.pair)? == Some(true) {
            judged.outcome = Outcome::Layout;
        }
    }
    Ok(())
}
