//! Networks, run whole: from a [`Graph`](crate::networks::Graph) to one output, verified.
//!
//! In reading order:
//!
//! * [`weights`]: seeded parameters, with batch normalisation folded into them;
//! * [`layouts`]: which layouts cost no reorder between them;
//! * [`candidates`]: for each layer the plans that can compute it, and what each should take: measured on this machine
//!   ([`tune`]), or by a [`model`];
//! * [`choose`](mod@choose): one plan for each layer, so that their times and the reorders between them are least together;
//! * [`schedule`]: the steps of a run (layers, reorders, concatenations), and where each tensor lies in one arena
//!   ([`memory`]);
//! * [`runner`]: weights packed, steps run;
//! * [`reference`](mod@reference): the same network in f64, and how far from it an output may be;
//! * [`mod@bench`]: times, in rounds with other people's libraries on the same network;
//! * [`session`]: all of it for some networks and numbers of threads.

pub mod bench;
pub mod candidates;
pub mod choose;
pub mod layouts;
pub mod memory;
pub mod model;
pub mod reference;
pub mod runner;
pub mod schedule;
pub mod session;
pub mod tune;
pub mod weights;

pub use candidates::{Candidate, Candidates};
pub use runner::Runner;
pub use schedule::{Schedule, Step, StepOp};

#[cfg(test)]
mod tests;
