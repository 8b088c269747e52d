//! Has something become slower?
//!
//! * [`records`]: two records of one machine, compared;
//! * [`ab`]: two builds in one sitting, in turns, which is what a timing gate needs;
//! * [`audit`]: how often that gate alarms falsely, and what it finds, measured;
//! * [`counts`]: what needs no clock: modelled flops and bytes, instructions under valgrind;
//! * [`history`]: runs over time, and the steps in them.

pub mod ab;
pub mod audit;
pub mod counts;
pub mod history;

pub mod records;

pub use records::{Comparison, Comparisons, Unlike, compare};

/// The beginning of a revision's name, for people. A record may have any text there.
pub fn short(revision: &str) -> &str {
    &revision[..revision.floor_char_boundary(10)]
}
