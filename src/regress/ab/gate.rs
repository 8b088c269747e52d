//! One run of the gate: blocks, verdicts, and the confirmation of alarms.

use super::rounds::{Checked, Sitting, TooShort};
use super::verdict::{Change, Evidence, Finding, finds, judge};
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

/// Results for one pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The pair.
    #[serde(flatten)]
    pub pair: Pair,
    /// Median time of a run of A, ns.
    pub a_ns: f64,
    /// Finding from all blocks.
    #[serde(flatten)]
    pub finding: Finding,
    /// Smallest slow-down that these blocks detect half the time; none if they can't detect any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finds: Option<f64>,
    /// Finding from the blocks in fresh processes, if the first one alarmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Finding>,
    /// The verdict.
    pub outcome: Outcome,
}

/// Receiver of a gate's progress.
pub trait Progress {
    /// Reports that `done` of `of` blocks are done.
    fn block(&mut self, what: &'static str, done: usize, of: usize);
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
    let findings = judge(&evidence(&measured.blocks, all.len()));
    let alarms: Vec<usize> = all
        .into_iter()
        .filter(|&i| findings[i].change == Change::Slower)
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

fn evidence(blocks: &[Block], pairs: usize) -> Vec<Evidence> {
    (0..pairs).map(|i| Evidence::of(blocks, i)).collect()
}

/// Verdict for each pair. Machine code isn't compared here.
pub fn judged(measured: &Measured) -> Vec<Judged> {
    let evidence_of_all = evidence(&measured.blocks, measured.pairs.len());
    let findings = judge(&evidence_of_all);
    let confirmed = judge(&evidence(&measured.confirmation, measured.alarms.len()));
    let pairs = measured.pairs.iter().zip(findings).enumerate();
    pairs
        .map(|(i, (pair, finding))| {
            let alarm = measured.alarms.iter().position(|&a| a == i);
            let confirmation = alarm.and_then(|a| confirmed.get(a)).cloned();
            let outcome = match (finding.change, &confirmation) {
                (Change::None, _) => Outcome::Unchanged,
                (Change::Faster, _) => Outcome::Faster,
                (Change::Slower, Some(c)) if c.change == Change::Slower => Outcome::Slower,
                (Change::Slower, _) => Outcome::Unconfirmed,
            };
            let times: Vec<f64> = measured.blocks.iter().map(|b| b.pairs[i].a_ns).collect();
            Judged {
                pair: pair.clone(),
                a_ns: crate::stats::median(&times).unwrap_or(0.0),
                finding,
                finds: Some(finds(&evidence_of_all[i], measured.pairs.len()))
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
        if layout::same_code(sitting.a, sitting.b, &judged.pair)? == Some(true) {
            judged.outcome = Outcome::Layout;
        }
    }
    Ok(())
}
