//! The contest of a layer's plans: interleaved rounds, in which slow plans drop out, until the choice is clear. Pure.

use crate::measure::turns::ratios;
use crate::stats::{Estimate, median};
use crate::ties::Standing;
use convroof_kernels::data::Rng;

/// Measured time of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Time of a run in nanoseconds, estimated from all samples.
    pub ns: f64,
    /// Time over that of the layer's fastest plan, in the rounds that both took part in. None if it isn't known, as in
    /// plan files of older versions.
    pub ratio: Option<Estimate>,
}

impl Measured {
    fn standing(&self) -> Standing {
        self.ratio.as_ref().map_or(Standing::Unclear, Standing::of)
    }
}

/// Stages: samples of each plan so far, and the ratio above which a plan drops out if it is surely slower. Many samples
/// are needed where neighbours disturb the machine: with few, a slower plan is often chosen.
const STAGES: [(usize, f64); 5] = [
    (5, 1.15),
    (15, 1.06),
    (ENOUGH, 1.0),
    (2 * ENOUGH, 1.0),
    (3 * ENOUGH, 1.0),
];

/// Rounds after which the contest ends, unless the rounds disagree on the fastest plan.
const ENOUGH: usize = 45;

/// Holds the contest of some plans: `sample(i)` is a sample of plan i in nanoseconds. Returns the times of all plans.
///
/// # Errors
/// Those of `sample`.
pub fn hold<E>(
    plans: usize,
    mut sample: impl FnMut(usize) -> Result<f64, E>,
) -> Result<Vec<Measured>, E> {
    let mut rng = Rng::new(1);
    let mut order: Vec<usize> = (0..plans).collect();
    let mut samples = vec![Vec::new(); plans];
    let mut found = Vec::new();
    for (rounds, close) in STAGES {
        while order.first().is_some_and(|&i| samples[i].len() < rounds) {
            rng.shuffle(&mut order);
            for &i in &order {
                samples[i].push(sample(i)?);
            }
        }
        found = measured(&samples);
        order.retain(|&i| {
            let near = found[i].ratio.is_none_or(|r| r.median <= close);
            near || found[i].standing() != Standing::Slower
        });
        let clear = |&i: &usize| found[i].standing() != Standing::Unclear;
        if order.len() <= 1 || rounds >= ENOUGH && order.iter().all(clear) {
            break;
        }
    }
    Ok(found)
}

/// Times of all plans. Sample i of each plan belongs to round i.
fn measured(samples: &[Vec<f64>]) -> Vec<Measured> {
    let times = paired(samples);
    let rounds = samples.iter().map(Vec::len).max().unwrap_or(0);
    let whole = (0..samples.len()).filter(|&i| samples[i].len() == rounds);
    let fastest = whole.min_by(|&a, &b| times[a].total_cmp(&times[b]));
    let ratio = |own: &[f64]| Estimate::of(&ratios(own, &samples[fastest?]));
    let all = samples.iter().zip(&times);
    all.map(|(own, &ns)| Measured {
        ns,
        ratio: ratio(own),
    })
    .collect()
}

/// Time of each plan from interleaved samples. A disturbance slows a whole round down. So a plan's time is the median
/// of its share of a round, times the usual length of a round. The length of a round is the geometric mean over the
/// plans that took part in all rounds.
fn paired(samples: &[Vec<f64>]) -> Vec<f64> {
    let rounds = samples.iter().map(Vec::len).max().unwrap_or(0);
    let all = || samples.iter().filter(|s| s.len() == rounds);
    let length = |round: usize| {
        let logarithms = all().map(|s| s[round].ln());
        (logarithms.sum::<f64>() / all().count() as f64).exp()
    };
    let lengths: Vec<f64> = (0..rounds).map(length).collect();
    let usual = median(&lengths).unwrap_or(f64::INFINITY);
    let share = |own: &Vec<f64>| {
        let shares: Vec<f64> = own.iter().zip(&lengths).map(|(s, l)| s / l).collect();
        median(&shares).unwrap_or(f64::INFINITY)
    };
    samples.iter().map(|own| usual * share(own)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, proptest};
    use std::convert::Infallible;

    /// A contest of plans with true times. Each sample is up to `noise` longer, by chance. Returns the results and the
    /// number of samples of each plan.
    fn contest(times: &[f64], noise: f64, seed: u64) -> (Vec<Measured>, Vec<usize>) {
        let mut rng = Rng::new(seed);
        let mut counts = vec![0; times.len()];
        let found = hold(times.len(), |i| {
            counts[i] += 1;
            let late = rng.below(1001) as f64 / 1000.0;
            Ok::<_, Infallible>(times[i] * (1.0 + noise * late))
        });
        (found.expect("infallible"), counts)
    }

    #[test]
    fn slow_plans_drop_out_and_a_clear_winner_ends_the_contest() {
        let (found, counts) = contest(&[130.0, 100.0, 108.0], 0.01, 1);
        assert_eq!(counts, [5, 15, 15]);
        assert_eq!(found[0].standing(), Standing::Slower);
        assert!((found[0].ns / found[1].ns - 1.3).abs() < 0.02, "{found:?}");
        let fastest = found[1].ratio.expect("rounds");
        assert_eq!((fastest.median, fastest.ci), (1.0, (1.0, 1.0)));
    }

    #[test]
    fn equal_plans_tie_without_more_rounds() {
        let (found, counts) = contest(&[100.0, 100.0], 0.02, 2);
        assert_eq!(counts, [ENOUGH; 2]);
        assert!(found.iter().all(|m| m.standing() == Standing::Tied));
    }

    #[test]
    fn rounds_that_disagree_are_repeated() {
        let contests = (0..20).map(|seed| contest(&[100.0, 100.0], 0.6, seed));
        let contests: Vec<_> = contests.collect();
        let more = contests
            .iter()
            .filter(|(_, counts)| counts[0] > ENOUGH)
            .count();
        assert!(more >= 15, "{more} of 20");
        // They end, even if the choice is still unclear.
        let unclear = contests.iter().filter(|(found, counts)| {
            let unclear = found.iter().any(|m| m.standing() == Standing::Unclear);
            unclear && counts[0] == 3 * ENOUGH
        });
        assert!(unclear.count() >= 5);
        let most = contests.iter().flat_map(|(_, counts)| counts).max();
        assert!(most <= Some(&(3 * ENOUGH)));
    }

    #[test]
    fn a_disturbed_sample_drops_nobody() {
        // The fastest plan is disturbed in its first two rounds.
        let mut early = 0;
        let found = hold(2, |i| {
            early += usize::from(i == 0);
            let disturbed = i == 0 && early <= 2;
            Ok::<_, Infallible>(if disturbed { 400.0 } else { [100.0, 120.0][i] })
        });
        let found = found.expect("infallible");
        assert!(found[0].ns < found[1].ns, "{found:?}");
        assert_eq!(found[1].standing(), Standing::Slower);
    }

    #[test]
    fn an_error_ends_the_contest() {
        let mut left = 7;
        let found = hold(3, |_| {
            left -= 1;
            if left == 0 { Err("enough") } else { Ok(1.0) }
        });
        assert_eq!(found, Err("enough"));
    }

    proptest! {
        #[test]
        fn a_change_of_pace_changes_no_share(
            times in prop::collection::vec(1.0..100.0f64, 1..6),
            pace in prop::collection::vec(1.0..3.0f64, 3..20),
            out in 0..6usize,
        ) {
            // One plan drops out after three rounds.
            let rounds = |i: usize| if i == out && times.len() > 1 { 3 } else { pace.len() };
            let samples: Vec<Vec<f64>> = (0..times.len())
                .map(|i| pace[..rounds(i)].iter().map(|p| p * times[i]).collect())
                .collect();
            let found = measured(&samples);
            let first = found[0].ns;
            for (found, time) in found.iter().zip(&times) {
                let share = (found.ns / first) / (time / times[0]);
                prop_assert!((share - 1.0).abs() < 1e-9);
                let ratio = found.ratio.expect("rounds");
                prop_assert!(ratio.ci.1 - ratio.ci.0 < 1e-9 * ratio.median);
            }
        }
    }
}
