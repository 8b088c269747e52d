//! Verdicts from blocks. Pure functions.

use super::Block;
use crate::stats::paired::{holm, shift, shift_error, signed_rank};
use serde::Serialize;

/// Family-wise false-alarm rate of all pairs, before the confirmation.
pub const ALPHA: f64 = 0.01;
/// Least slow-down that counts, as a fraction.
pub const LEAST: f64 = 0.02;
/// Least effect that counts, in standard errors.
pub const NOISES: f64 = 3.0;

/// Observations of one pair, one per block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observations {
    /// ln(B's time / A's).
    pub effects: Vec<f64>,
    /// ln(A's time / A's own).
    pub halves: Vec<f64>,
}

impl Observations {
    /// Observations of the pair with this index.
    pub fn of(blocks: &[Block], pair: usize) -> Self {
        let rounds = || blocks.iter().map(|b| &b.pairs[pair]);
        Observations {
            effects: rounds().filter_map(|r| r.effect(usize::MAX)).collect(),
            halves: rounds().filter_map(|r| r.half(usize::MAX)).collect(),
        }
    }

    /// Standard error of the effect: from the scatter of the blocks or of A against itself, whichever is larger.
    pub fn noise(&self) -> f64 {
        let error = |x: &[f64]| shift_error(x).unwrap_or(f64::INFINITY);
        error(&self.effects).max(error(&self.halves))
    }

    /// Smallest effect that counts, as a logarithm.
    fn threshold(&self) -> f64 {
        LEAST.ln_1p().max(NOISES * self.noise())
    }
}

/// Direction of a pair's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// B is slower.
    Slower,
    /// No change that this budget can detect.
    None,
    /// B is faster.
    Faster,
}

/// Result of the test of one pair. An effect is B's time / A's - 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestResult {
    /// Effect; above 0, B is slower.
    pub effect: f64,
    /// Holm-adjusted p-value of the hypothesis that B isn't slower.
    pub p_slower: f64,
    /// Holm-adjusted p-value of the hypothesis that B isn't faster.
    pub p_faster: f64,
    /// Standard error of the effect.
    pub noise: f64,
    /// The verdict.
    pub change: Change,
}

/// Judges all pairs, adjusted for their number.
pub fn judge(observations: &[Observations]) -> Vec<TestResult> {
    let p: Vec<f64> = observations
        .iter()
        .map(|o| signed_rank(&o.effects))
        .collect();
    let slower = holm(&p);
    let p: Vec<f64> = observations
        .iter()
        .map(|e| signed_rank(&negative(&e.effects)))
        .collect();
    let faster = holm(&p);
    let results = observations.iter().zip(slower.into_iter().zip(faster));
    results
        .map(|(e, (p_slower, p_faster))| {
            let effect = shift(&e.effects).unwrap_or(0.0);
            let threshold = e.threshold();
            let change = if p_slower <= ALPHA && effect >= threshold {
                Change::Slower
            } else if p_faster <= ALPHA && -effect >= threshold {
                Change::Faster
            } else {
                Change::None
            };
            TestResult {
                effect: effect.exp_m1(),
                p_slower,
                p_faster,
                noise: e.noise(),
                change,
            }
        })
        .collect()
}

fn negative(x: &[f64]) -> Vec<f64> {
    x.iter().map(|v| -v).collect()
}

/// Smallest slow-down that these blocks would detect: the blocks are centred, then shifted until the verdict changes. A
/// slow-down of this size is found half the time. It is assumed that none of the `pairs` pairs has a larger one.
/// Infinite if none is detected.
pub fn finds(observations: &Observations, pairs: usize) -> f64 {
    let centre = shift(&observations.effects).unwrap_or(0.0);
    let found = |by: f64| {
        let moved: Vec<f64> = observations
            .effects
            .iter()
            .map(|x| x - centre + by)
            .collect();
        signed_rank(&moved) * pairs as f64 <= ALPHA
    };
    let (mut low, mut high) = (observations.threshold(), 2.0);
    if !found(high) || low > high {
        return f64::INFINITY;
    }
    if found(low) {
        return low.exp_m1();
    }
    while high - low > 1e-4 {
        let middle = (low + high) / 2.0;
        if found(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high.exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;
    use convroof_kernels::data::{Fill, Rng};

    const BLOCKS: usize = 24;

    /// Blocks that scatter about a slow-down.
    fn observe(rng: &mut Rng, slow_down: f64, scatter: f64) -> Observations {
        let mut noise = |sigma: f64| -> Vec<f64> {
            let unit = rng.vec(Fill::Gaussian, BLOCKS);
            unit.iter().map(|x| sigma * f64::from(*x)).collect()
        };
        Observations {
            effects: noise(scatter)
                .iter()
                .map(|x| x + slow_down.ln_1p())
                .collect(),
            halves: noise(scatter / 2.0),
        }
    }

    fn gate(seed: u64, slow: &[(usize, f64)], scatter: f64) -> Vec<TestResult> {
        let mut rng = Rng::new(seed);
        let mut all: Vec<_> = (0..60).map(|_| observe(&mut rng, 0.0, scatter)).collect();
        for &(pair, by) in slow {
            all[pair] = observe(&mut rng, by, scatter);
        }
        judge(&all)
    }

    fn slower(results: &[TestResult]) -> Vec<usize> {
        let all = results.iter().enumerate();
        all.filter(|(_, f)| f.change == Change::Slower)
            .map(|(i, _)| i)
            .collect()
    }

    #[test]
    fn a_slow_kernel_is_named_and_no_other() {
        let results = gate(1, &[(17, 0.05)], 0.02);
        assert_eq!(slower(&results), [17]);
        assert!(
            (results[17].effect - 0.05).abs() < 0.02,
            "{:?}",
            results[17]
        );
        assert!(results.iter().all(|f| f.change != Change::Faster));
        let faster = gate(1, &[(3, -0.06)], 0.02);
        assert_eq!(faster[3].change, Change::Faster);
        assert_eq!(slower(&faster), [0; 0]);
    }

    #[test]
    fn noise_alone_is_silent() {
        // The false-alarm rate is at most 1 %, before the confirmation.
        let alarms = (0..200).filter(|&seed| !slower(&gate(seed, &[], 0.05)).is_empty());
        let alarms = alarms.count();
        assert!(alarms <= 5, "{alarms} of 200");
    }

    #[test]
    fn what_is_too_small_for_the_noise_does_not_count() {
        // Every block agrees, but 1 % is below the least effect.
        assert_eq!(slower(&gate(1, &[(5, 0.01)], 0.001)), [0; 0]);
        // 5 %, but A differs from itself by as much.
        let mut rng = Rng::new(9);
        let mut loud = observe(&mut rng, 0.05, 0.001);
        loud.halves = observe(&mut rng, 0.0, 0.2).effects;
        assert_eq!(judge(&[loud])[0].change, Change::None);
    }

    #[test]
    fn what_it_finds_is_found_half_the_time() {
        let mut rng = Rng::new(2);
        let predicted: Vec<f64> = (0..60)
            .map(|_| finds(&observe(&mut rng, 0.0, 0.03), 60))
            .collect();
        let predicted = crate::stats::median(&predicted).expect("some");
        assert!(predicted > LEAST && predicted < 0.06, "{predicted}");
        let found = (0..200)
            .filter(|&seed| slower(&gate(seed, &[(0, predicted)], 0.03)).contains(&0))
            .count();
        assert!((60..=150).contains(&found), "{found} of 200");
    }

    #[test]
    fn few_blocks_find_nothing() {
        let few = Observations {
            effects: vec![0.5; 9],
            halves: vec![0.0; 9],
        };
        assert!(finds(&few, 60).is_infinite());
        let judged = judge(&vec![few; 60]);
        assert!(judged.iter().all(|f| f.change == Change::None));
    }
}
