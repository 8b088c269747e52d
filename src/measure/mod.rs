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
//! Times are `warm`: a candidate's data stay wherever its previous run left them.

mod session;

pub use session::{Outcome, Progress, Session, Settings, refuse_huge};

use convroof_kernels::Variant;
use convroof_kernels::registry::Threading;

/// A variant with a number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The variant.
    pub variant: Variant,
    /// 1 for single-threaded variants, more for the others.
    pub threads: usize,
}

/// The candidates that some variants make with some numbers of threads: single-threaded variants with
/// one, the others with each number above one.
pub fn candidates(variants: &[Variant], threads: &[usize]) -> Vec<Candidate> {
    let mut all = Vec::new();
    for &variant in variants {
        for &threads in threads {
            if (variant.threading == Threading::St) == (threads == 1) {
                all.push(Candidate { variant, threads });
            }
        }
    }
    all
}
