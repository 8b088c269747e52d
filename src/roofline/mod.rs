//! The hierarchical roofline (Williams, Waterman and Patterson 2009): a measurement under this machine's measured
//! ceilings, and its bound. Pure functions.
//!
//! # The verdict
//!
//! Two lower bounds of the time are compared with the measured time:
//!
//! * *arithmetic*: executed operations / peak of the same rounds in the layer's arithmetic (f32, bf16 or int8);
//! * *data*: streamed bytes / measured bandwidth of the nearest memory level that holds them all, for their mix of reads
//!   and writes. Streamed are the compulsory bytes, and the bytes that packing adds to the weights. A Winograd filter,
//!   for example, is larger than its original. If the kernel is faster than the level permits, part of the data come
//!   from a nearer level, which then counts.
//!
//! The larger bound is the verdict if it explains at least half of the time ([`EXPLAINS`]). Otherwise a layer of less
//! than [`OVERHEAD_NS`], or one that takes as long to start its threads, is bound by overheads. A longer one is
//! undecided, since a kernel that reaches neither roof gives no evidence about its layer.
//!
//! # In reading order
//!
//! `verdict.rs` (the bounds), `ceilings.rs`, `judge.rs` (from evidence to a verdict), [`phases`] (each phase of a run),
//! [`predict`] (a model of the time), `place.rs` (a measurement with all of these).

mod ceilings;
mod judge;
pub mod phases;
mod place;
pub mod predict;
mod verdict;

pub use ceilings::{Ceilings, Roof, nearest};
pub use judge::{BEYOND, CLOSE, DataTime, Evidence, Far, Judgement, is_short, judge};
pub use place::{Placed, place};
pub use verdict::{EXPLAINS, OVERHEAD_NS, Verdict};
