//! Measurement: samples of all candidates for a problem, interleaved and verified.
//!
//! For each problem, every candidate (a variant with a number of threads) gets its own memory and packed weights.
//! Then the session runs rounds. In each round, candidates run once each in shuffled order. Each round also measures
//! the machine's peak in the problem's arithmetic, for each instruction set and number of threads. So every time can be
//! divided by the peak of its own round, which cancels changes of the clock and of the load by neighbours.
//!
//! A sample begins with one untimed run, so that the caches hold the candidate's data. Then the output is filled with
//! NaN, and the timed runs follow. Before the first round the inputs are replaced. After the last round the output is
//! compared with the reference for the new inputs. So every timed result is verified.
//!
//! These times are `warm`: a candidate's data stay wherever its previous run left them. The fastest candidates are
//! then examined (`examine.rs`): with parts taken out, and with cold operands.
//!
//! In reading order: `candidate.rs` (the interface of what is measured), `limits.rs` (refusals before any work),
//! [`support`] (the same for a list), `expected.rs` (correct outputs), [`mod@fastest`] (ties, and the choice among them),
//! `session.rs` (rounds), `examine.rs` and `cold.rs`, [`mod@bench`] and [`resume`] (a record of many layers), [`once`] (a
//! single run), [`steady`] (a loop for a profiler), [`solo`] (a kernel for another harness), `together.rs` (kernels on
//! several layers). For further benches: [`turns`], [`chain`] (consecutive layers), [`stream`] (plain loops).

pub mod bench;
mod candidate;
pub mod chain;
mod cold;
mod examine;
mod expected;
pub mod fastest;
mod limits;
pub mod once;
pub mod resume;
mod session;
pub mod solo;
pub mod steady;
pub mod stream;
pub mod support;
mod together;
pub mod turns;

pub use candidate::{Candidate, Contestant, Facts, Kernel, kernels};
pub(crate) use expected::Expected;
pub use expected::Wrong;
pub use limits::{plan, refuse_huge};
pub use session::{ProblemOutcome, Progress, Session, Settings};
pub(crate) use together::together;
