//! One run of the gate: blocks, verdicts, and what alarmed once more.

use super::rounds::{Checked, Sitting, TooShort};
use super::verdict::{Change, Evidence, Finding, finds, judge};
use super::{Block, Pair, layout};
use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The share of the budget that all pairs have; the rest is for the alarms.
const SCREENING: f64 = 0.8;

/// Looks at the code of at most so many alarms: each takes a second.
const LAYOUTS: usize = 12;

/// What was measured: all that the verdicts follow from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// What was compared.
    pub pairs: Vec<Pair>,
    /// What B was slowed down by on purpose, a fraction for each pair.
    pub injected: Vec<f64>,
    /// Of all pairs.
    pub blocks: Vec<Block>,
    /// The numbers of the pairs that alarmed.
    pub alarms: Vec<usize>,
    /// Of those pairs, in that order, in processes of their own.
    pub confirmation: Vec<Block>,
    /// True if a signal cut it short: then there is no verdict.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}

/// How a pair ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing that this budget can find.
    Unchanged,
    /// B is slower, twice: this fails.
    Slower,
    /// B is slower, twice, with the same machine code: this doesn't fail.
    Layout,
    /// B was slower, but not when it was tried again.
    Unconfirmed,
    /// B is faster.
    Faster,
}

/// What is known of a pair in the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// What.
    #[serde(flatten)]
    pub pair: Pair,
    /// Median time of a run of A.
    pub a_ns: f64,
    /// What all blocks say.
    #[serde(flatten)]
    pub finding: Finding,
    /// The smallest slow-down that these blocks find half the time; none if they find none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finds: Option<f64>,
    /// What the blocks in fresh processes say, where the others alarmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Finding>,
    /// The verdict.
    pub outcome: Outcome,
}

/// Hears how far a gate is.
pub trait Progress {
    /// So many blocks are done.
    fn block(&mut self, what: &'static str, done: usize, of: usize);
}

/// Measures within a budget, builds and checks apart. A signal leaves what was measured, marked.
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

/// Says what budget would do.
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

/// What each pair's measurements come to; whether code is the same isn't looked at.
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

/// Relabels slow-downs whose hot code is the same in both builds.
///
/// # Errors
/// When a worker is in trouble.
pub fn label_layout(sitting: &Sitting<'_>, judged: &mut [Judged]) -> Result<()> {
    let slower = judged.iter_mut().filter(|j| j.outcome == Outcome::Slower);
    for judged in slower.take(LAYOUTS) {
        if layout::same_code(sitting.a, sitting.b, &judged.pair)? == Some(true) {
            judged.outcome = Outcome::Layout;
        }
    }
    Ok(())
}
