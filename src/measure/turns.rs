//! Turns of candidates within a round: their order, and the precision of their figures.

use convroof_kernels::data::Rng;

/// No clock tells hundredths of a nanosecond, nor a peak hundredths of a GFLOP/s.
pub(super) fn shorten(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

/// Fisher and Yates.
pub(super) fn shuffle(rng: &mut Rng, order: &mut [usize]) {
    for i in (1..order.len()).rev() {
        order.swap(i, rng.below(i + 1));
    }
}
