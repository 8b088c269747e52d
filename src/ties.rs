//! Ties: candidates that can't be told from the fastest, and the rule that chooses among them. Pure.
//!
//! A candidate's *ratio* is its time over that of the fastest candidate, the median over the rounds that both took part
//! in, with its interval. The rule: the most exact candidate that can't be told from the fastest, and among equally
//! exact ones the first in the registry, where the simplest algorithms come first. So the choice depends on noise only
//! where candidates differ by about [`NEAR`].

use crate::stats::Estimate;
use convroof_kernels::cost::Accuracy;
use convroof_kernels::{Problem, conformance};
use serde::Serialize;
use std::fmt;

/// Ratio below which a difference in speed doesn't matter.
pub const NEAR: f64 = 1.01;

/// Largest ratio that the rule may choose, so that noise can't hide a slow candidate.
pub const MOST: f64 = 1.03;

/// Standing of a candidate beside the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Slower: the whole interval of its ratio is above [`NEAR`].
    Slower,
    /// Equally fast: the interval reaches below [`NEAR`], and not above [`MOST`].
    Tied,
    /// Unknown: the interval reaches below [`NEAR`] and above [`MOST`], or there are too few rounds.
    Unclear,
}

impl Standing {
    /// Standing of a candidate with a ratio.
    pub fn of(ratio: &Estimate) -> Standing {
        match (ratio.above(NEAR), ratio.below(MOST)) {
            (Some(true), _) => Standing::Slower,
            (_, Some(true)) => Standing::Tied,
            _ => Standing::Unclear,
        }
    }
}

/// True if the rule may choose a candidate with this ratio in place of the fastest.
pub fn is_eligible(ratio: &Estimate) -> bool {
    Standing::of(ratio) != Standing::Slower && ratio.median <= MOST
}

/// Certainty of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// All other candidates are slower.
    Sure,
    /// Others are as fast.
    Tie,
    /// Others may be faster, or much slower: their intervals are too wide.
    CantTell,
}

impl Certainty {
    /// Certainty of the choice of the fastest, from the ratios of all other candidates.
    pub fn of<'a>(others: impl IntoIterator<Item = &'a Estimate>) -> Certainty {
        let standings = others.into_iter().map(Standing::of);
        match standings.max() {
            None | Some(Standing::Slower) => Certainty::Sure,
            Some(Standing::Tied) => Certainty::Tie,
            Some(Standing::Unclear) => Certainty::CantTell,
        }
    }
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Certainty::Sure => "sure",
            Certainty::Tie => "tie",
            Certainty::CantTell => "can't tell",
        })
    }
}

/// Inexactness of an algorithm on a problem, to compare algorithms: the largest allowed error of an output of order 1,
/// on operands of order 1.
pub fn inexactness(accuracy: Accuracy, problem: &Problem) -> f64 {
    conformance::tolerance(accuracy, problem, 1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use convroof_kernels::Registry;

    fn ratio(low: f64, median: f64, high: f64) -> Estimate {
        Estimate {
            median,
            ci: (low, high),
            samples: 15,
        }
    }

    #[test]
    fn an_interval_gives_the_standing() {
        for (ratio, standing, eligible) in [
            (ratio(1.02, 1.05, 1.08), Standing::Slower, false),
            (ratio(0.99, 1.0, 1.02), Standing::Tied, true),
            (ratio(1.005, 1.01, 1.02), Standing::Tied, true),
            (ratio(0.9, 1.02, 1.3), Standing::Unclear, true),
            // Noise can't hide it.
            (ratio(0.9, 1.2, 1.6), Standing::Unclear, false),
        ] {
            assert_eq!(Standing::of(&ratio), standing, "{ratio:?}");
            assert_eq!(is_eligible(&ratio), eligible, "{ratio:?}");
        }
        let few = Estimate {
            samples: 2,
            ..ratio(1.5, 1.6, 1.7)
        };
        assert_eq!(Standing::of(&few), Standing::Unclear);
    }

    #[test]
    fn the_least_clear_rival_decides_how_sure_the_choice_is() {
        let (slower, tied) = (ratio(1.2, 1.3, 1.4), ratio(0.99, 1.0, 1.01));
        let unclear = ratio(0.8, 1.1, 1.4);
        assert_eq!(Certainty::of([]), Certainty::Sure);
        assert_eq!(Certainty::of([&slower, &slower]), Certainty::Sure);
        assert_eq!(Certainty::of([&slower, &tied]), Certainty::Tie);
        assert_eq!(Certainty::of([&unclear, &tied]), Certainty::CantTell);
        assert_eq!(Certainty::CantTell.to_string(), "can't tell");
    }

    #[test]
    fn direct_sums_are_more_exact_than_transforms() {
        let registry = Registry::builtin();
        let problem: Problem = "mb1ic64ih56oc64oh56kh3ph1".parse().expect("a problem");
        let of = |id: &str| {
            let algorithm = registry.algorithm(id).expect(id);
            inexactness(algorithm.meta().accuracy, &problem)
        };
        assert_eq!(of("direct"), of("im2col"));
        assert!(of("direct") < of("winograd-f4x3"));
        assert!(of("winograd-f4x3") < of("winograd-f4x3-std"));
    }
}
