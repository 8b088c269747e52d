//! The timing gate: two builds, measured in alternation, so that noise affects both alike.
//!
//! # Measurement
//!
//! * Each build runs as its own process ([`worker`]) on the same pinned cores. While one measures, the other waits for
//!   input.
//! * A *round* visits all pairs of layer and variant in shuffled order. It takes four samples of each, `A B B A` or
//!   `B A A B` at random, so that a drifting clock favours no side.
//! * A *block* is a number of rounds with fresh processes on both sides, started in random order. The placement of a
//!   process in memory can change its speed for as long as it lives (Mytkowicz et al. 2009; Kalibera and Jones 2013).
//!   Two long-lived processes would compare their placements. So a block counts as one observation: the median of its
//!   rounds' ratios.
//! * Both sides share the peak of a round, so it cancels in their ratio. It is kept to show the state of the machine.
//!
//! # Two stages
//!
//! A budget that is spread evenly over many pairs leaves too few blocks for each. So the *screening* measures all pairs
//! in few blocks, and the *confirmation* measures only the suspects, in many. Its data are fresh, so the choice of the
//! suspects costs no validity: among them, [`verdict`] applies an exact distribution-free test with Holm's control of
//! the family-wise false-alarm rate (sample splitting, Cox 1975). The effect must also exceed the noise measured in the
//! same blocks. [`layout`]: an alarm with equal hot code in both builds doesn't come from the source.
//!
//! # In reading order
//!
//! This file, [`protocol`], [`worker`] (a build's side), [`client`] (the gate's side), [`layout`] (equal machine
//! code), [`survey`] (what both builds can do), [`choice`] (what fits into a budget), [`rounds`] (samples in
//! alternation), [`verdict`] (the test), [`gate`] (the whole gate), [`revision`] (from a revision to a program),
//! [`wanted`] (what to compare), [`session`] (all of these).

pub mod choice;
pub mod client;
pub mod gate;
pub mod layout;
pub mod protocol;
pub mod revision;
pub mod rounds;
pub mod session;
pub mod survey;
pub mod verdict;
pub mod wanted;
pub mod worker;

use crate::record::{CandidateId, Text};
use crate::units;
use convroof_kernels::Problem;
use serde::{Deserialize, Serialize};

/// Fewest blocks of a confirmation. A distribution-free test needs 13 agreeing blocks for p = .01 / 60. With 20, a few
/// may be disturbed.
pub const FEWEST_BLOCKS: usize = 20;

/// Fewest blocks of a screening. With 12, a slow-down of three standard errors of the median pair is rarely missed.
pub const FEWEST_SCREENING: usize = 12;

/// Blocks of pairs whose machine code is equal in both builds, of one round each.
pub const SAME_CODE_BLOCKS: usize = 6;

/// Rounds of a block, if there is time for more than one in each of the fewest blocks. Variance of a gate's effect =
/// (variance between processes + variance of a round / rounds) / blocks. Starting processes takes time, so a few rounds
/// per block minimise the variance within a given time. Both variances follow from the blocks of an audit (`results/`).
pub const ROUNDS: usize = 3;

/// Most blocks of a stage. Beyond these, a few minutes detect effects that are too small to count.
pub const MOST_BLOCKS: usize = 100;

/// Least duration of a sample in ns; a sample repeats runs to reach it.
const SAMPLE_NS: f64 = 1.5e6;

/// Timed runs of a sample of a kernel whose run takes `ns`.
fn sample_runs(ns: f64) -> usize {
    ((SAMPLE_NS / ns.max(100.0)) as usize).clamp(1, 10_000)
}

/// Receiver of a comparison's progress.
pub trait Progress {
    /// A stage begins, such as a build.
    fn stage(&mut self, what: &str);
    /// `done` of `of` blocks or pairs of a stage are done.
    fn count(&mut self, what: &'static str, done: usize, of: usize);
    /// A note for the user, in one line.
    fn note(&mut self, text: &str);
}

/// Unit of comparison: one variant on one problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The problem's text form.
    pub problem: Text<Problem>,
    /// `<algorithm>/<isa>/<st|mt>`.
    pub variant: CandidateId,
    /// Threads.
    pub threads: usize,
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let threads = units::threads(self.threads);
        write!(f, "{} on {}, {threads}", self.variant, self.problem)
    }
}

/// Rounds of one pair in one block, in units of 10^-5, far below the noise. Logarithms make a slow-down and the inverse
/// speed-up equally large.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairRounds {
    /// ln(B's time / A's) of each round; each time is the mean of two samples.
    pub ratio: Vec<i32>,
    /// ln(A's later sample / A's earlier one) of each round: A against itself.
    pub halves: Vec<i32>,
    /// Median time of a run of A, ns.
    pub a_ns: f64,
}

impl PairRounds {
    /// Median of the first `rounds` ratios, as a logarithm.
    pub fn effect(&self, rounds: usize) -> Option<f64> {
        middle(&self.ratio, rounds)
    }

    /// Median of the first `rounds` values of A against itself, as a logarithm.
    pub fn half(&self, rounds: usize) -> Option<f64> {
        middle(&self.halves, rounds)
    }
}

fn middle(units: &[i32], first: usize) -> Option<f64> {
    let logs: Vec<f64> = units
        .iter()
        .take(first)
        .map(|u| f64::from(*u) / 1e5)
        .collect();
    crate::stats::median(&logs)
}

/// A number of rounds with fresh processes on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Rounds of each pair, in the order of the pairs.
    pub pairs: Vec<PairRounds>,
    /// Peak of each round in the arithmetic of the first pair, on its instruction set and threads, 10^9 operations per
    /// second.
    pub peaks: Vec<f64>,
}
