//! Two builds in one sitting, in turns: the gate that a noisy machine can't fool.
//!
//! # How it measures
//!
//! * Each build is driven as a process of its own ([`worker`]), on the same pinned cores; who isn't asked
//!   waits for its input.
//! * A *round* visits every pair of layer and variant in shuffled order and takes four samples of each:
//!   `A B B A`, or `B A A B` as a coin falls, so that a clock that drifts doesn't favour a side.
//! * A *block* is some rounds with fresh processes on both sides, started in the order that a coin chose.
//!   Where the system puts a process's memory may cost it some percent for as long as it lives (Mytkowicz et
//!   al. 2009; Kalibera and Jones 2013): one process against another, however long, compares that. So a block
//!   counts as one observation: the median of its rounds' ratios.
//! * At least [`FEWEST_BLOCKS`] blocks, of [`ROUNDS`] rounds where time allows. Both sides have the peak of the
//!   round in common, so it cancels in their ratio; it is kept to show what the machine did meanwhile.
//!
//! # How it judges
//!
//! [`verdict`]: an exact distribution-free test over the blocks, Holm's control of the chance of any false
//! alarm, an effect above the noise measured on the spot; then the same again for what alarmed, in fresh
//! processes. [`layout`]: an alarm whose hot code is the same in both builds isn't the source's.
//!
//! # In reading order
//!
//! This file, [`protocol`], [`worker`] (a build's side), [`client`] (the gate's side), [`rounds`] (samples in
//! turns), [`verdict`] (the test), [`layout`] (alarms that come from where code lies), [`gate`] (all of it),
//! [`revision`] (from a revision to a program).

pub mod client;
pub mod gate;
pub mod layout;
pub mod protocol;
pub mod revision;
pub mod rounds;
pub mod verdict;
pub mod worker;

use crate::record::{CandidateId, Text};
use convroof_kernels::Problem;
use serde::{Deserialize, Serialize};

/// Fewer blocks are no gate. 13 can reach p = .01 / 60 by a distribution-free test if all of them agree; of 20 a few may
/// be disturbed.
pub const FEWEST_BLOCKS: usize = 20;

/// Rounds of a block, where there is time for more than the fewest blocks of one. The variance of a gate's effect is
/// that between processes and a round's over the number of rounds, all over the number of blocks. On the first VM that
/// was audited these are (2.5 %)^2 and (4.8 %)^2. Of a block's 10 s its 9 rounds took .9 s each, by estimate: then the
/// variance within a given time is least at 2.7 rounds, .72 of what the audit's 24 blocks of 9 rounds have.
pub const ROUNDS: usize = 3;

/// No more blocks than so many: beyond, a few minutes find what is below the least effect anyway.
pub const MOST_BLOCKS: usize = 100;

/// What is compared: one variant on one problem.
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
        let plural = if self.threads == 1 { "" } else { "s" };
        let Pair {
            problem,
            variant,
            threads,
        } = self;
        write!(f, "{variant} on {problem}, {threads} thread{plural}")
    }
}

/// The rounds of one pair in one block. Logarithms, so that a slow-down and its opposite are as large; in units
/// of 10^-5, which are far below the noise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rounds {
    /// ln of B's time over A's, of each round: the mean of two samples each.
    pub ratio: Vec<i32>,
    /// ln of A's later sample over A's earlier one, of each round: A against itself.
    pub halves: Vec<i32>,
    /// Median time of a run of A.
    pub a_ns: f64,
}

impl Rounds {
    /// Median of the first so many rounds' ratios, as a logarithm.
    pub fn effect(&self, rounds: usize) -> Option<f64> {
        middle(&self.ratio, rounds)
    }

    /// The same of A against itself.
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

/// Some rounds with fresh processes on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Of each pair, in the order of the pairs.
    pub pairs: Vec<Rounds>,
    /// The FMA peak of each round, GFLOP/s, on the instruction set and threads of the first pair.
    pub peaks: Vec<f64>,
}
