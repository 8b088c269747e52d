//! Comparing pairs without assuming how they are distributed.
//!
//! Where A and B are the same thing, which of a pair is called A is chance: a difference and its negative
//! are equally likely. That alone gives the test its p, exactly.

/// The exact one-sided p of Wilcoxon's signed-rank test (1945): how often, over all choices of signs, the
/// ranks of the positive differences add up to at least what they do. Ties share their mean rank, zeros
/// are left out. 1 of no differences; 2^-n at least.
///
/// # Panics
/// If a difference is not a number.
pub fn signed_rank(differences: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    assert!(
        sorted.iter().all(|d| !d.is_nan()),
        "a difference is no number"
    );
    sorted.sort_by(|x, y| x.abs().total_cmp(&y.abs()));
    // Twice the ranks, which are whole numbers even where a tie shares a mean.
    let mut ranks = Vec::with_capacity(sorted.len());
    for tie in sorted.chunk_by(|x, y| x.abs() == y.abs()) {
        let (before, n) = (ranks.len(), tie.len());
        ranks.extend(std::iter::repeat_n(2 * before + n + 1, n));
    }
    let positive = ranks.iter().zip(&sorted).filter(|(_, d)| **d > 0.0);
    let observed: usize = positive.map(|(rank, _)| rank).sum();
    // The distribution of the sum, a rank at a time: each is in it or not, as a coin falls.
    let mut mass = vec![0.0; ranks.iter().sum::<usize>() + 1];
    mass[0] = 1.0;
    let mut reach = 0;
    for rank in ranks {
        reach += rank;
        for sum in (0..=reach).rev() {
            let with = if sum >= rank { mass[sum - rank] } else { 0.0 };
            mass[sum] = 0.5 * (mass[sum] + with);
        }
    }
    mass[observed..].iter().sum::<f64>().min(1.0)
}

/// The shift that goes with [`signed_rank`]: the median of all pairs' means (Hodges and Lehmann 1963),
/// nearly as exact as a mean, and a quarter of the differences may be nonsense. None of no differences.
pub fn shift(differences: &[f64]) -> Option<f64> {
    let mut means = Vec::with_capacity(differences.len() * (differences.len() + 1) / 2);
    for (i, x) in differences.iter().enumerate() {
        means.extend(differences[i..].iter().map(|y| (x + y) / 2.0));
    }
    super::median(&means)
}

/// Standard error of [`shift`], from the median absolute deviation, which few wild differences don't move.
pub fn shift_error(differences: &[f64]) -> Option<f64> {
    let centre = super::median(differences)?;
    let deviations: Vec<f64> = differences.iter().map(|d| (d - centre).abs()).collect();
    // 1.4826: of a normal distribution the deviation's median is so much smaller than its root mean
    // square; pi/3: so much more does a shift of ranks vary than a mean.
    let sigma = 1.4826 * super::median(&deviations)?;
    Some(sigma * (std::f64::consts::PI / 3.0 / differences.len() as f64).sqrt())
}

/// Holm's adjustment (1979): with these in place of the p's, all that is found at a level has that chance
/// of any false find at all, however many were looked at and however they depend on each other.
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
    use proptest::prelude::{prop, prop_assert, proptest};

    #[test]
    fn signed_rank_has_the_tables_values() {
        // All positive: one choice of signs in 2^n.
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
        // A tie: ranks 1.5, 1.5, 3; +1.5 and +3 are reached or passed by 3 of 8 choices.
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
        // 200 expected, standard deviation 14.
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
    }

    #[test]
    fn holm_is_as_by_hand() {
        assert_eq!(holm(&[0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert_eq!(holm(&[]), [0.0; 0]);
    }

    proptest! {
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
