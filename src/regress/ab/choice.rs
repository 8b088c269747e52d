//! Choice of the pairs that fit into a budget, the most telling ones first. Pure functions.
//!
//! A pair is the more telling the less is known about it: first the pairs whose machine code differs between the
//! builds, then the others. Among these, first one layer of each class for each variant, then the remaining layers. All
//! variants take turns. Layers of one class have equal operation, kernel size and stride, and data of similar size.

use super::survey::Surveyed;
use super::{FEWEST_BLOCKS, FEWEST_SCREENING, SAME_CODE_BLOCKS, SAMPLE_NS, sample_runs};
use convroof_kernels::Problem;
use convroof_kernels::cost::Cost;
use convroof_kernels::problem::Op;
use std::collections::{HashMap, HashSet};

/// Fraction of the budget for the screening. The rest is for the confirmation. Fractions from 0.4 to 0.6 detect about
/// as much in gates that are resampled from the blocks of the audits in `results/`.
pub const SCREENING: f64 = 0.6;

/// Allowance for what the survey doesn't measure: verification, messages, and noise.
const MARGIN: f64 = 1.25;

/// Fraction of the free memory that the plans of both builds may take.
const MEMORY: f64 = 0.9;

/// Least time to start a process, seconds.
const START_S: f64 = 0.005;

/// Samples of a block of one round: one before it, and two of each build.
const SAMPLES: f64 = 5.0;

impl Surveyed {
    /// Expected time of a block of one round, seconds, without the start of its processes.
    pub fn block_s(&self) -> f64 {
        let sample = (sample_runs(self.ns) + 1) as f64 * self.ns / 1e9;
        MARGIN * (self.preparation.as_secs_f64() + SAMPLES * sample)
    }

    /// Fewest blocks of the pair in a screening.
    fn fewest(&self) -> usize {
        match self.same_code {
            Some(true) => SAME_CODE_BLOCKS,
            _ => FEWEST_SCREENING,
        }
    }

    /// Least budget for this pair alone, seconds. `start_s` is the time to start the processes of a block.
    fn budget_s(&self, start_s: f64) -> f64 {
        let block = start_s + self.block_s();
        let screening = self.fewest() as f64 * block / SCREENING;
        screening.max(FEWEST_BLOCKS as f64 * block / (1.0 - SCREENING))
    }
}

/// Least budget of any gate, seconds: of one pair that takes the least time of a sample.
pub fn least_budget_s() -> f64 {
    let block = 2.0 * START_S + SAMPLES * SAMPLE_NS / 1e9;
    FEWEST_BLOCKS as f64 * block / (1.0 - SCREENING)
}

/// Chosen pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// For each pair: true if it fits.
    pub kept: Vec<bool>,
    /// Least budget for all pairs, seconds.
    pub all_s: f64,
    /// True if only the memory is too small for all pairs.
    pub lacks_memory: bool,
}

/// Chooses pairs for a budget in seconds. `start_s` is the time to start the processes of a block in seconds, `memory`
/// the free memory in bytes.
pub fn choose(pairs: &[Surveyed], budget_s: f64, start_s: f64, memory: u64) -> Choice {
    let screening = SCREENING * budget_s - FEWEST_SCREENING as f64 * start_s;
    let (mut time, mut room) = (screening, MEMORY * memory as f64);
    let mut kept = vec![false; pairs.len()];
    let mut lacks_memory = false;
    for i in ranked(pairs) {
        let pair = &pairs[i];
        let (own, bytes) = (
            pair.fewest() as f64 * pair.block_s(),
            2.0 * pair.bytes as f64,
        );
        if own > time || pair.budget_s(start_s) > budget_s {
            continue;
        }
        if bytes > room {
            lacks_memory = true;
            continue;
        }
        kept[i] = true;
        time -= own;
        room -= bytes;
    }
    let all: f64 = pairs.iter().map(|p| p.fewest() as f64 * p.block_s()).sum();
    let all = (all + FEWEST_SCREENING as f64 * start_s) / SCREENING;
    let largest = pairs.iter().map(|p| p.budget_s(start_s));
    let all_s = largest.fold(all, f64::max);
    Choice {
        lacks_memory: lacks_memory && all_s <= budget_s,
        kept,
        all_s,
    }
}

/// Least budget in seconds with which at least one pair fits.
pub fn smallest_budget_s(pairs: &[Surveyed], start_s: f64) -> f64 {
    let each = pairs.iter().map(|p| p.budget_s(start_s));
    each.fold(f64::INFINITY, f64::min)
}

/// Number of leading suspects for whose confirmation there is time: at least one. `block_s` has the time of a block of
/// each, in seconds.
pub fn confirmable(block_s: impl IntoIterator<Item = f64>, start_s: f64, time_s: f64) -> usize {
    let mut block = start_s;
    let fits = block_s.into_iter().take_while(|own| {
        block += own;
        FEWEST_BLOCKS as f64 * block <= time_s
    });
    fits.count().max(1)
}

/// Indices of all pairs, the most telling first.
fn ranked(pairs: &[Surveyed]) -> Vec<usize> {
    let mut classes = HashSet::new();
    let mut turns: HashMap<_, usize> = HashMap::new();
    let mut ranks: Vec<_> = Vec::new();
    for (i, surveyed) in pairs.iter().enumerate() {
        let pair = &surveyed.pair;
        let kernel = (&pair.variant, pair.threads);
        let class = pair.problem.value().map(class).unwrap_or_default();
        let known_code = surveyed.same_code == Some(true);
        let known_class = !classes.insert((kernel, known_code, class));
        // Each variant's first pair of this kind, then each one's second, and so on.
        let turn = turns.entry((kernel, known_code, known_class)).or_default();
        *turn += 1;
        ranks.push((known_code, known_class, *turn, i));
    }
    ranks.sort_unstable();
    ranks.into_iter().map(|(.., i)| i).collect()
}

/// Class of a layer: operation, kernel size and stride, and the power of four of its compulsory bytes.
fn class(problem: &Problem) -> (String, [usize; 4], u32) {
    let text = problem.to_string();
    let is_operation = |word: &&str| {
        word.starts_with("--") && !word.starts_with("--dir") && !word.starts_with("--attr")
    };
    let operation: Vec<&str> = text.split(' ').filter(is_operation).collect();
    let window =
        |kernel: [usize; 2], stride: [usize; 2]| [kernel[0], kernel[1], stride[0], stride[1]];
    let window = match &problem.op {
        Op::Conv(shape) => window(shape.spec().kernel, shape.spec().stride),
        Op::Pool(shape) => window(shape.spec().kernel, shape.spec().stride),
        _ => [0; 4],
    };
    let bytes = Cost::new(problem, 0).bytes();
    (operation.join(" "), window, bytes.max(1).ilog2() / 2)
}

#[cfg(test)]
mod tests {
    use super::super::Pair;
    use super::*;
    use std::time::Duration;

    /// Pairs of variants and layers, with the time of a run in ms, and equal code where `same` says so.
    fn surveyed(
        pairs: &[(&str, &str, f64)],
        same: impl Fn(usize) -> Option<bool>,
    ) -> Vec<Surveyed> {
        let each = pairs.iter().enumerate();
        each.map(|(i, (variant, problem, ms))| Surveyed {
            pair: Pair {
                problem: (*problem).into(),
                variant: (*variant).into(),
                threads: 1,
            },
            ns: 1e6 * ms,
            preparation: Duration::from_millis(10),
            bytes: 1 << 20,
            outputs: ["x", "x"].map(String::from),
            same_code: same(i),
        })
        .collect()
    }

    const PLENTY: u64 = 1 << 40;
    const LARGE: &str = "mb1ic64ih56oc64oh56kh3ph1";
    const SIMILAR: &str = "mb1ic64ih54oc64oh54kh3ph1";
    const STRIDED: &str = "mb1ic64ih56oc64oh28kh3sh2ph1";

    #[test]
    fn changed_code_comes_first_then_a_layer_of_each_class() {
        let direct = "direct/avx2/st";
        let pairs = surveyed(
            &[
                (direct, LARGE, 1.0),
                (direct, SIMILAR, 1.0),
                (direct, STRIDED, 1.0),
                ("im2col/avx2/st", LARGE, 1.0),
                ("fc/avx2/st", "mb1ic64ih1oc64oh1kh1", 1.0),
            ],
            |i| Some(i != 4),
        );
        assert_eq!(ranked(&pairs), [4, 0, 3, 2, 1]);
        // What is unknown may have changed.
        let unknown = surveyed(&[(direct, LARGE, 1.0), (direct, STRIDED, 1.0)], |i| {
            [Some(true), None][i]
        });
        assert_eq!(ranked(&unknown), [1, 0]);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_the_budget_for_all_is_enough() {
        let layers: Vec<String> = (0..250)
            .map(|i| format!("mb1ic{}ih56oc64oh56kh3ph1", 16 + i))
            .collect();
        let pairs: Vec<_> = layers
            .iter()
            .map(|l| ("direct/avx2/st", l.as_str(), 5.0))
            .collect();
        let changed = surveyed(&pairs, |_| Some(false));
        let few = choose(&changed, 60.0, 0.05, PLENTY);
        let count = |choice: &Choice| choice.kept.iter().filter(|k| **k).count();
        assert!((1..250).contains(&count(&few)), "{}", count(&few));
        assert!(!few.lacks_memory);
        assert!(few.all_s > 60.0);
        assert_eq!(
            count(&choose(&changed, few.all_s + 1e-6, 0.05, PLENTY)),
            250
        );
        // With equal code, more pairs fit.
        let same = choose(&surveyed(&pairs, |_| Some(true)), 60.0, 0.05, PLENTY);
        assert!(count(&same) >= 2 * count(&few) - 2);
        // Memory for ten pairs in two builds.
        let tight = choose(&changed, 1e6, 0.05, 23 << 20);
        assert_eq!((count(&tight), tight.lacks_memory), (10, true));
    }

    #[test]
    fn a_pair_that_no_confirmation_could_measure_is_left_out() {
        let pairs = surveyed(
            &[
                ("direct/scalar/st", LARGE, 900.0),
                ("direct/avx2/st", LARGE, 1.0),
            ],
            |_| None,
        );
        assert_eq!(choose(&pairs, 60.0, 0.05, PLENTY).kept, [false, true]);
        let least = smallest_budget_s(&pairs, 0.05);
        assert_eq!(choose(&pairs, least, 0.05, PLENTY).kept, [false, true]);
        assert_eq!(choose(&pairs, 0.99 * least, 0.05, PLENTY).kept, [false; 2]);
        assert!(least > least_budget_s() && least_budget_s() > 0.5);
    }

    #[test]
    fn the_confirmation_takes_as_many_suspects_as_fit() {
        // A block of k suspects takes 0.1 + 0.2 k s, and there are 20 of them.
        assert_eq!(confirmable([0.2; 50], 0.1, 120.0), 29);
        assert_eq!(confirmable([0.2; 5], 0.1, 120.0), 5);
        assert_eq!(confirmable([1000.0; 5], 0.1, 120.0), 1);
    }
}
