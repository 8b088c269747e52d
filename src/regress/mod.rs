//! Detection of slowdowns.
//!
//! * [`records`]: comparison of two records of one machine, by `shift.rs`;
//! * [`layers`]: that comparison layer by layer, also of different machines;
//! * [`ab`]: the timing gate, which measures two builds in alternation;
//! * [`audit`]: measured false-alarm and detection rates of that gate;
//! * [`counts`]: comparison without a clock: modelled operations and bytes, instructions under valgrind;
//! * [`history`]: runs over time, and their change points.

pub mod ab;
pub mod audit;
pub mod counts;
pub mod history;

pub mod layers;
pub mod records;
mod shift;

pub use records::{CantTell, Comparison, Comparisons, Unlike, compare};

/// The first 10 bytes of a revision's name, for display. A record may contain any text there.
pub fn short(revision: &str) -> &str {
    &revision[..revision.floor_char_boundary(10)]
}
