//! Confidence interval of a rate from a count.

/// Exact 95 % confidence interval of a rate (Clopper and Pearson 1934), from `hits` in `tries`.
///
/// # Panics
/// If there are more hits than tries, or no tries.
pub fn interval(hits: usize, tries: usize) -> (f64, f64) {
    assert!(hits <= tries && tries > 0, "{hits} of {tries}");
    let solve = |wanted: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if wanted(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    };
    let low = match hits {
        0 => 0.0,
        // The rate at which `hits` or more have a probability of 1/40.
        _ => solve(&|rate| 1.0 - at_most(hits - 1, tries, rate) < 0.025),
    };
    let high = if hits == tries {
        1.0
    } else {
        solve(&|rate| at_most(hits, tries, rate) > 0.025)
    };
    (low, high)
}

/// Probability of at most `hits` in `tries`, at a rate strictly between 0 and 1.
fn at_most(hits: usize, tries: usize, rate: f64) -> f64 {
    let (ln_hit, ln_miss) = (rate.ln(), (-rate).ln_1p());
    let mut ln_choices = 0.0;
    let mut sum = 0.0;
    for k in 0..=hits {
        if k > 0 {
            ln_choices += ((tries - k + 1) as f64).ln() - (k as f64).ln();
        }
        sum += (ln_choices + k as f64 * ln_hit + (tries - k) as f64 * ln_miss).exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        for (hits, tries, low, high) in [
            (0, 10, 0.0, 0.3085),
            (10, 10, 0.6915, 1.0),
            (5, 10, 0.1871, 0.8129),
            (3, 10_000, 0.0000619, 0.000876),
        ] {
            let (l, h) = interval(hits, tries);
            assert!((l - low).abs() < 2e-4 * (1.0 + low), "{hits}/{tries}: {l}");
            assert!((h - high).abs() < 2e-4, "{hits}/{tries}: {h}");
        }
    }
}
