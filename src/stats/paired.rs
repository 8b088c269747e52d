//! Tests of paired differences without an assumption about their distribution.
//!
//! Under the null hypothesis A and B are the same thing, so a difference and its negative are equally likely. That
//! alone gives the exact p-value.

/// Exact one-sided p-value of Wilcoxon's signed-rank test (1945). It is the fraction of all choices of signs whose sum
/// of positive ranks is at least the observed one. Ties share their mean rank, zeros are dropped. It is 1 without
/// differences, and at least 2^-n.
///
/// # Panics
/// If a difference is NaN.
pub fn signed_rank(differences: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    assert!(
        sorted.iter().all(|d| !d.is_nan()),
        "a difference is no number"
    );
    sorted.sort_by(|x, y| x.abs().total_cmp(&y.abs()));
    // Twice the ranks: these are integers even if a tie shares a mean rank.
    let mut ranks = Vec::with_capacity(sorted.len());
    for tie in sorted.chunk_by(|x, y| x.abs() == y.abs()) {
        let (before, n) = (ranks.len(), tie.len());
        ranks.extend(std::iter::repeat_n(2 * before + n + 1, n));
    }
    let positive = ranks.iter().zip(&sorted).filter(|(_, d)| **d > 0.0);
    let observed: usize = positive.map(|(rank, _)| rank).sum();
    // The sum is distributed symmetrically, so its shorter tail suffices.
    let opposite = ranks.iter().sum::<usize>() - observed;
    match (observed, opposite) {
        (0, _) => 1.0,
        _ if observed <= opposite => 1.0 - probability_of_at_most(observed - 1, &ranks),
        _ => probability_of_at_most(opposite, &ranks),
    }
}

/// Probability that a sum is at most `most` if it includes each rank with probability 1/2.
fn probability_of_at_most(most: usize, ranks: &[usize]) -> f64 {
    let mut mass = vec![0.0; most + 1];
    mass[0] = 1.0;
    for &rank in ranks {
        for sum in (0..=most).rev() {
            let with = if sum >= rank { mass[sum - rank] } else { 0.0 };
            mass[sum] = 0.5 * (mass[sum] + with);
        }
    }
    mass.iter().sum()
}

/// Shift between the pairs: the median of all pairwise means (Hodges and Lehmann 1963). It goes with [`signed_rank`],
/// is nearly as precise as a mean, and tolerates a quarter of wild differences. None without differences.
pub fn shift(differences: &[f64]) -> Option<f64> {
    if differences.is_empty() || differences.iter().any(|d| d.is_nan()) {
        return None;
    }
    let mut means = Vec::with_capacity(differences.len() * (differences.len() + 1) / 2);
    for (i, x) in differences.iter().enumerate() {
        means.extend(differences[i..].iter().map(|y| (x + y) / 2.0));
    }
    // There are thousands of them, and sorting takes several times as long.
    let (middle, is_odd) = (means.len() / 2, means.len() % 2 == 1);
    let (below, &mut upper, _) = means.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = match is_odd {
        true => upper,
        false => below.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    Some((lower + upper) / 2.0)
}

/// Standard error of [`shift`], from the median absolute deviation, which tolerates a few outliers.
pub fn shift_error(differences: &[f64]) -> Option<f64> {
    let sigma = super::deviation(differences)?;
    // pi/3 = variance of the Hodges-Lehmann shift / variance of the mean.
    Some(sigma * (std::f64::consts::PI / 3.0 / differences.len() as f64).sqrt())
}

/// Holm's adjustment of p-values (1979). Adjusted values below a level keep the family-wise false-alarm rate at that
/// level, however many tests there are and however they depend on each other.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    let mut adjusted = vec![1.0; p.len()];
    let mut largest = 0.0f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max(p[i] * (p.len() - rank) as f64).min(1.0);
        adjusted[i] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use convroof_kernels::data::Rng;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn signed_rank_has_the_tables_values() {
        // All positive: one choice of signs out of 2^n.
        assert_eq!(signed_rank(&[1.0, 2.0, 3.0, 4.0, 5.0]), 1.0 / 32.0);
        assert_eq!(signed_rank(&[]), 1.0);
        assert_eq!(signed_rank(&[0.0, 0.0]), 1.0);
        // n = 10: P(T <= 8) = 25/1024, P(T <= 10) = 43/1024 (Wilcoxon's table: 8 at .025, 10 at .05).
        let with_negatives = |negative: &[i32]| {
            let d: Vec<f64> = (1..=10)
                .map(|r| f64::from(if negative.contains(&r) { -r } else { r }))
                .collect();
            signed_rank(&d)
        };
        assert_eq!(with_negatives(&[8]), 25.0 / 1024.0);
        assert_eq!(with_negatives(&[10]), 43.0 / 1024.0);
        // A tie: ranks 1.5, 1.5, 3. The sum +1.5 +3 is reached or exceeded by 3 of 8 choices.
        assert_eq!(signed_rank(&[1.0, -1.0, 2.0]), 3.0 / 8.0);
    }

    #[test]
    fn under_the_null_p_is_no_smaller_than_it_says() {
        let mut rng = Rng::new(3);
        let mut below = 0;
        for _ in 0..4000 {
            let d: Vec<f64> = (0..12).map(|_| rng.below(2001) as f64 - 1000.0).collect();
            below += usize::from(signed_rank(&d) <= 0.05);
        }
        // Expected: 200, with standard deviation 14.
        assert!((130..=245).contains(&below), "{below}");
    }

    #[test]
    fn a_shift_is_found_among_nonsense() {
        let mut rng = Rng::new(5);
        let mut d: Vec<f64> = (0..40)
            .map(|_| 5.0 + (rng.below(200) as f64 - 100.0) / 100.0)
            .collect();
        d[..6].fill(1000.0);
        let found = shift(&d).expect("differences");
        assert!((found - 5.0).abs() < 0.5, "{found}");
        let error = shift_error(&d).expect("differences");
        assert!((0.02..0.4).contains(&error), "{error}");
        assert_eq!((shift(&[]), shift_error(&[])), (None, None));
        assert_eq!(shift(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn holm_is_as_by_hand() {
        assert_eq!(holm(&[0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert_eq!(holm(&[]), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn a_shift_is_the_median_of_all_means_of_two(d in prop::collection::vec(-1.0..1.0f64, 1..20)) {
            let pairs = (0..d.len()).flat_map(|i| (i..d.len()).map(move |j| (i, j)));
            let means: Vec<f64> = pairs.map(|(i, j)| (d[i] + d[j]) / 2.0).collect();
            prop_assert_eq!(shift(&d), crate::stats::median(&means));
        }

        #[test]
        fn more_slow_down_is_never_less_sure(d in prop::collection::vec(-1.0..1.0f64, 1..16), by in 0.0..1.0f64) {
            let more: Vec<f64> = d.iter().map(|x| x + by).collect();
            prop_assert!(signed_rank(&more) <= signed_rank(&d) + 1e-12);
        }

        #[test]
        fn an_adjusted_p_is_between_its_own_and_bonferronis(p in prop::collection::vec(0.0..1.0f64, 1..20)) {
            for (adjusted, own) in holm(&p).iter().zip(&p) {
                prop_assert!(own <= adjusted && *adjusted <= (own * p.len() as f64).min(1.0) + 1e-12);
            }
        }
    }
}
