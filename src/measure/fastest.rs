//! The fastest of several candidates, and those that can't be told from it. Pure.
//!
//! Of two kernels 1 % apart, now one is the fastest and now the other. So all that can't be told from the fastest are
//! *tied*, and a rule that needs no clock chooses among them: the more exact, then the simpler.

use crate::record::{CandidateId, IsaName};
use crate::stats::{FEW, Summary};
use convroof_kernels::Registry;
use convroof_kernels::cost::Accuracy;
use std::cmp::Reverse;

/// Distance of medians, relative to the smaller one, within which no measurement tells two kernels apart: the same
/// kernel differs by as much from one process to the next.
pub const NEAR: f64 = 0.02;

/// Distance of medians within which overlapping intervals tie.
pub const WITHIN: f64 = 0.05;

/// A candidate with its times.
#[derive(Clone, Debug)]
pub struct Timed {
    /// Its name.
    pub id: CandidateId,
    /// Number of samples.
    pub samples: usize,
    /// True if it was also measured with its twins.
    pub examined: bool,
    /// Summary of the samples.
    pub time: Summary,
}

/// Indices of the chosen candidate, and of all that can't be told from the fastest, itself included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fastest {
    /// The one that the rule chooses.
    pub chosen: usize,
    /// All that are tied, in their order.
    pub tied: Vec<usize>,
}

/// The fastest candidates; none if there are none. Candidates with few samples count only if all have few.
pub fn fastest(all: &[Timed]) -> Option<Fastest> {
    let enough = |t: &Timed| t.samples >= FEW;
    let any = all.iter().any(enough);
    let counts: Vec<usize> = (0..all.len())
        .filter(|&i| !any || enough(&all[i]))
        .collect();
    let median = |i: usize| all[i].time.median;
    let &first = counts
        .iter()
        .min_by(|&&a, &&b| median(a).total_cmp(&median(b)))?;
    let tied = |i: &usize| {
        let distance = median(*i) / median(first) - 1.0;
        let overlap = all[*i].time.ci.0 <= all[first].time.ci.1;
        *i == first || distance <= NEAR || distance <= WITHIN && overlap
    };
    let tied: Vec<usize> = counts.into_iter().filter(tied).collect();
    let &chosen = tied.iter().min_by_key(|&&i| rank(&all[i]))?;
    Some(Fastest { chosen, tied })
}

/// Order of choice: examined ones first, then exact algorithms before those that transform their inputs, then the order
/// of the registry, then wide vectors before narrow ones.
fn rank(timed: &Timed) -> (bool, bool, usize, Reverse<usize>, &str) {
    let (id, registry) = (&timed.id, Registry::builtin());
    let place = registry
        .algorithms()
        .iter()
        .position(|a| a.meta().id == id.algorithm());
    let accuracy = place.map(|i| registry.algorithms()[i].meta().accuracy);
    let transformed = matches!(accuracy, Some(Accuracy::Transformed { .. }));
    let lanes = match id.isa() {
        IsaName::Isa(isa) => isa.lanes(),
        _ => 0,
    };
    let place = place.unwrap_or(usize::MAX);
    (
        !timed.examined,
        transformed,
        place,
        Reverse(lanes),
        id.as_str(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, medians and widths of intervals; seven samples each.
    fn found(all: &[(&str, f64, f64)]) -> Vec<String> {
        let ids: Vec<CandidateId> = all.iter().map(|(id, ..)| (*id).into()).collect();
        let timed: Vec<Timed> = ids
            .iter()
            .zip(all)
            .map(|(id, &(_, median, width))| Timed {
                id: id.clone(),
                samples: 7,
                examined: false,
                time: Summary {
                    median,
                    min: median - width,
                    max: median + width,
                    ci: (median - width / 2.0, median + width / 2.0),
                },
            })
            .collect();
        let Fastest { chosen, tied } = fastest(&timed).expect("candidates");
        let name = |i: usize| ids[i].to_string();
        std::iter::once(name(chosen))
            .chain(tied.into_iter().map(name))
            .collect()
    }

    #[test]
    fn the_more_exact_and_simpler_of_equals_is_chosen() {
        let (direct, gemm, winograd) = (
            "direct/avx2/st",
            "implicit-gemm/avx2/st",
            "winograd-f4x3/avx2/st",
        );
        let apart = [
            (winograd, 100.0, 0.1),
            (gemm, 110.0, 0.1),
            (direct, 120.0, 0.1),
        ];
        assert_eq!(found(&apart), [winograd, winograd]);
        let near = [
            (winograd, 100.0, 0.1),
            (gemm, 101.5, 0.1),
            (direct, 120.0, 0.1),
        ];
        assert_eq!(found(&near), [gemm, winograd, gemm]);
        let all = [
            (gemm, 100.0, 0.1),
            (winograd, 99.5, 0.1),
            (direct, 101.0, 0.1),
        ];
        assert_eq!(found(&all), [direct, gemm, winograd, direct]);
        let wide = "direct/avx512/st";
        let widths = [(direct, 100.0, 0.1), (wide, 100.1, 0.1)];
        assert_eq!(found(&widths)[0], wide);
    }

    #[test]
    fn overlapping_intervals_tie_if_they_are_near() {
        let (direct, gemm) = ("direct/avx2/st", "implicit-gemm/avx2/st");
        assert_eq!(
            found(&[(gemm, 100.0, 6.0), (direct, 104.0, 6.0)])[0],
            direct
        );
        assert_eq!(found(&[(gemm, 100.0, 1.0), (direct, 104.0, 1.0)])[0], gemm);
        assert_eq!(
            found(&[(gemm, 100.0, 60.0), (direct, 120.0, 60.0)])[0],
            gemm
        );
    }

    #[test]
    fn few_samples_count_only_among_few() {
        let ids = ["direct/avx2/st", "im2col/avx2/st"];
        let timed = |id: &str, samples, median| Timed {
            id: id.into(),
            samples,
            examined: false,
            time: Summary::of(&vec![median; samples]).expect("samples"),
        };
        let mixed = [timed(ids[0], 1, 50.0), timed(ids[1], 7, 100.0)];
        assert_eq!(fastest(&mixed).map(|f| f.chosen), Some(1));
        let few = [timed(ids[0], 1, 50.0), timed(ids[1], 2, 100.0)];
        assert_eq!(fastest(&few).map(|f| f.chosen), Some(0));
        assert_eq!(fastest(&[]), None);
        let examined = Timed {
            examined: true,
            ..timed(ids[1], 7, 100.0)
        };
        let tied = [timed(ids[0], 7, 100.0), examined];
        assert_eq!(fastest(&tied).map(|f| f.chosen), Some(1));
    }
}
