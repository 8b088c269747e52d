//! Whole networks: from a [`Graph`](crate::networks::Graph) to one verified output.
//!
//! In reading order:
//!
//! * [`weights`]: seeded parameters, with batch normalisation folded into them
//! * [`layouts`]: layouts that cost no reorder between them
//! * [`layer_plans`]: for each layer the plans that can compute it, with their times: measured on this machine
//!   ([`tune`], by a [`contest`]) and kept ([`plan_file`]), or estimated by a [`model`]
//! * [`choose`](mod@choose): selection of one plan for each layer, to minimise total time, reorders included
//! * [`schedule`]: steps of a run (layers, reorders, concatenations), and the place of each tensor in one arena
//!   ([`memory`])
//! * [`runner`]: packed weights, and the execution of the steps
//! * [`reference`](mod@reference): the network in f64, and the tolerance for its output
//! * [`mod@bench`]: times, in rounds with other libraries on the same network
//! * [`regret`]: the model's selection and the measured one, in turns
//! * [`session`]: all of these for some networks and numbers of threads; [`tuning`]: measurements to choose by

pub mod bench;
pub mod choose;
pub mod contest;
pub mod layer_plans;
pub mod layouts;
pub mod memory;
pub mod model;
pub mod plan_file;
pub mod reference;
pub mod regret;
pub mod runner;
pub mod schedule;
pub mod session;
pub mod tune;
pub mod tuning;
pub mod weights;

pub use layer_plans::{LayerPlan, LayerPlans};
pub use runner::Runner;
pub use schedule::{Schedule, Step, StepOp};

#[cfg(test)]
mod tests;
