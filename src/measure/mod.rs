//! Samples: of all candidates for a problem, in turns, verified.
//!
//! For each problem every candidate (a variant with a number of threads) gets memory and packed
//! weights of its own. Then rounds are run: in each, the candidates take turns in shuffled order, and
//! the machine's FMA peak is measured in the same round for each instruction set and number of
//! threads, so that every time is also a fraction of the peak of its own moment: clocks and
//! neighbours come and go, the fraction stays.
//!
//! A sample is: one run that isn't timed (the caches hold the candidate's data again), the output
//! poisoned with NaN, then the timed runs. Before the first round the inputs are replaced; after the
//! last the output is compared with the reference of the new ones. So a timed result is a verified
//! result.
//!
//! These times are `warm`: a candidate's data stay wherever its previous run left them. The fastest are then
//! examined: with parts taken out, and with operands that were not used for long (`examine.rs`).
//!
//! In reading order: `candidate.rs` (the interface of what is measured), `limits.rs` (what is refused before),
//! `expected.rs` (correct outputs), `session.rs` (rounds), `examine.rs` and
//! `arena.rs`, [`mod@bench`] (a record of many layers), [`solo`] (a kernel for another harness). For benches beside
//! these: [`turns`], [`chain`] (layers one behind the other), [`stream`] (layers beside plain loops).

mod arena;
pub mod bench;
mod candidate;
pub mod chain;
mod examine;
mod expected;
mod limits;
mod session;
pub mod solo;
pub mod stream;
pub mod turns;

pub use candidate::{Candidate, Contestant, Facts, Kernel, kernels};
pub use expected::{Wrong, verified};
pub use limits::{plan, refuse_huge};
pub use session::{Outcome, Progress, Session, Settings};
