//! Verdicts from blocks. Pure functions.

use super::Block;
use crate::stats::paired::{holm, shift, shift_error, signed_rank};
use serde::Serialize;

/// Family-wise false-alarm rate of the pairs that are judged together.
pub const ALPHA: f64 = 0.01;
/// Least slow-down that counts, as a fraction.
pub const LEAST: f64 = 0.02;
/// Least effect that counts, in standard errors.
pub const NOISES: f64 = 3.0;
/// Largest p-value of a suspect in the screening, not adjusted. Of the unchanged pairs, so many are confirmed in vain.
const SUSPECT: f64 = 0.1;
/// Least effect of a suspect. A true effect of [`LEAST`] is mostly above.
const SUSPECT_EFFECT: f64 = LEAST / 2.0;

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

/// Pairs that a confirmation should measure again, as indices: slower or faster ones, the surest first. They may
/// include any number of unchanged pairs, since the confirmation has data of its own.
pub fn suspects(observations: &[Observations]) -> Vec<usize> {
    let mut suspects: Vec<(f64, usize)> = Vec::new();
    for (i, o) in observations.iter().enumerate() {
        let effect = shift(&o.effects).unwrap_or(0.0);
        if effect.abs() < SUSPECT_EFFECT.ln_1p() {
            continue;
        }
        let p = match effect > 0.0 {
            true => signed_rank(&o.effects),
            false => signed_rank(&negative(&o.effects)),
        };
        if p <= SUSPECT {
            suspects.push((p, i));
        }
    }
    suspects.sort_by(|x, y| x.0.total_cmp(&y.0));
    suspects.into_iter().map(|(_, i)| i).collect()
}

/// Smallest slow-down that is found half the time: a suspect in these blocks, and large enough for the noise of
/// `again` blocks. For that, the blocks are centred, then shifted until the pair is a suspect. Infinite if it never is.
pub fn finds(observations: &Observations, again: usize) -> f64 {
    let Observations { effects, halves } = observations;
    let centre = shift(effects).unwrap_or(0.0);
    let is_suspect = |by: f64| {
        let moved = effects.iter().map(|x| x - centre + by).collect();
        let halves = halves.clone();
        let moved = Observations {
            effects: moved,
            halves,
        };
        !suspects(&[moved]).is_empty()
    };
    // The standard error falls with the root of the number of blocks.
    let noise = observations.noise() * (effects.len() as f64 / again as f64).sqrt();
    let least = LEAST.ln_1p().max(NOISES * noise);
    let (mut low, mut high) = (least, 2.0);
    if low > high || !is_suspect(high) {
        return f64::INFINITY;
    }
    if is_suspect(low) {
        return low.exp_m1();
    }
    while high - low > 1e-4 {
        let middle = (low + high) / 2.0;
        if is_suspect(middle) {
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
    fn suspects_are_the_slower_and_the_faster_the_surest_first() {
        let mut rng = Rng::new(4);
        let mut all: Vec<_> = (0..60).map(|_| observe(&mut rng, 0.0, 0.002)).collect();
        all[7] = observe(&mut rng, 0.03, 0.002);
        all[3] = observe(&mut rng, -0.03, 0.002);
        // Each has the least p-value, but one of them is smaller than any that counts.
        all[9] = observe(&mut rng, 0.005, 0.0);
        let mut found = suspects(&all);
        found.sort_unstable();
        assert_eq!(found, [3, 7]);
        all[11] = observe(&mut rng, 0.03, 0.06);
        assert!(suspects(&all)[..2].iter().all(|i| [3, 7].contains(i)));
        assert_eq!(suspects(&[]), [0; 0]);
    }

    #[test]
    fn what_it_finds_is_found_half_the_time() {
        let mut rng = Rng::new(2);
        let predicted: Vec<f64> = (0..60)
            .map(|_| finds(&observe(&mut rng, 0.0, 0.08), 2 * BLOCKS))
            .collect();
        let predicted = crate::stats::median(&predicted).expect("some");
        assert!(predicted > LEAST && predicted < 0.06, "{predicted}");
        let mut found = 0;
        for seed in 0..200 {
            let mut rng = Rng::new(1000 + seed);
            let screening = observe(&mut rng, predicted, 0.08);
            let [x, y] = [0, 1].map(|_| observe(&mut rng, predicted, 0.08));
            let again = Observations {
                effects: [x.effects, y.effects].concat(),
                halves: [x.halves, y.halves].concat(),
            };
            let confirmed = judge(&[again])[0].change == Change::Slower;
            found += usize::from(confirmed && !suspects(&[screening]).is_empty());
        }
        assert!((60..=150).contains(&found), "{found} of 200");
    }

    #[test]
    fn few_blocks_find_nothing() {
        let few = |blocks: usize| Observations {
            effects: vec![0.5; blocks],
            halves: vec![0.0; blocks],
        };
        assert!(finds(&few(3), 100).is_infinite());
        assert!(finds(&few(4), 100).is_finite());
        let judged = judge(&vec![few(9); 60]);
        assert!(judged.iter().all(|f| f.change == Change::None));
    }
}
