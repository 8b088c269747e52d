//! Comparisons without a clock, for any runner. The counts are reproducible, so any difference is a change.
//!
//! In reading order:
//!
//! * [`table`]: plain numbers, one line per kernel, in a committed file that is compared exactly;
//! * [`model`]: each plan's counts for a layer: operations, bytes, packed weights, scratch. Caches and threads are
//!   fixed, not those of the host;
//! * [`valgrind`]: instructions and memory accesses of whole kernels, simulated;
//! * [`baselines`]: a folder of tables, one of each.

pub mod baselines;
pub mod model;
pub mod table;
pub mod valgrind;
