//! Where a series changes its level: E-divisive with energy distances (Matteson and James 2014), as in
//! MongoDB's and Apache Otava's change point detection.

use super::median;
use convroof_kernels::data::Rng;

/// Fewer points than this on a side make no level.
pub const FEWEST: usize = 3;

/// Permutations behind a p: 999 and the series itself, so that p <= .001 means that none of them splits as well.
const PERMUTATIONS: usize = 999;

/// The most points of one test. A test's time grows with their square.
const MOST: usize = 128;

/// The first indices of new levels, in order. A split counts if no permutation of its stretch has one as
/// good: p <= .001.
///
/// The time is proportional to the length. A stretch of more than [`MOST`] points is tested by the medians of up to
/// [`MOST`] groups of neighbours, and where one begins the split is placed among the points. Levels shorter than three
/// groups are invisible to that, so the newest points are tested one by one as well: a fresh step is seen at once.
///
/// # Panics
/// If a value is not a number.
pub fn steps(series: &[f64]) -> Vec<usize> {
    assert!(series.iter().all(|x| !x.is_nan()), "a value is no number");
    let mut found = Vec::new();
    let mut stretches = vec![(0, series.len())];
    let mut rng = Rng::new(1);
    while let Some((from, to)) = stretches.pop() {
        let mut split = long_split(&series[from..to], &mut rng).map(|at| from + at);
        if split.is_none() && to == series.len() && to - from > MOST {
            let newest = to - MOST;
            split = tested_split(&series[newest..], &mut rng).map(|at| newest + at);
        }
        if let Some(at) = split {
            found.push(at);
            stretches.extend([(from, at), (at, to)]);
        }
    }
    found.sort_unstable();
    found
}

/// The best split of a stretch of any length, if it counts.
fn long_split(x: &[f64], rng: &mut Rng) -> Option<usize> {
    let (groups, size) = grouped(x);
    let mut at = size * tested_split(&groups, rng)?;
    // The level changes within a group on either side of the boundary: there smaller groups place it, down to points.
    let mut reach = 2 * size;
    while reach > 2 {
        let from = at.saturating_sub(reach);
        let (groups, size) = grouped(&x[from..x.len().min(at + reach)]);
        at = from + size * best_split(&groups)?.0;
        reach = if size == 1 { 0 } else { 2 * size };
    }
    Some(at)
}

/// A stretch as no more than [`MOST`] figures: the medians of neighbours in groups of a size, and that size. Points
/// that fill no group at the end are left out.
fn grouped(x: &[f64]) -> (Vec<f64>, usize) {
    let size = x.len().div_ceil(MOST).max(1);
    match size {
        1 => (x.to_vec(), 1),
        _ => (x.chunks_exact(size).filter_map(median).collect(), size),
    }
}

/// The best split of a few points, if it counts.
fn tested_split(x: &[f64], rng: &mut Rng) -> Option<usize> {
    let (at, quality) = best_split(x)?;
    let mut shuffled = x.to_vec();
    let surpassed = (0..PERMUTATIONS).any(|_| {
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, rng.below(i + 1));
        }
        best_split(&shuffled).is_some_and(|(_, q)| q >= quality)
    });
    (!surpassed).then_some(at)
}

/// The split with the largest energy distance between its sides, weighted by their sizes, and that distance.
/// None if there are too few points, or all are the same.
fn best_split(x: &[f64]) -> Option<(usize, f64)> {
    let n = x.len();
    if n < 2 * FEWEST {
        return None;
    }
    // Sums of distances between the sides and within each, kept up as the split moves to the right.
    let (mut between, mut left) = (0.0, 0.0);
    let mut right: f64 = (0..n).map(|i| distances(&x[i + 1..], x[i])).sum();
    let mut best: Option<(usize, f64)> = None;
    for at in 1..=n - FEWEST {
        let moved = at - 1;
        let to_left = distances(&x[..moved], x[moved]);
        let to_right = distances(&x[at..], x[moved]);
        between += to_right - to_left;
        left += to_left;
        right -= to_right;
        let (l, r) = (at as f64, (n - at) as f64);
        let pairs = |k: f64| k * (k - 1.0) / 2.0;
        if at < FEWEST {
            continue;
        }
        let energy = 2.0 * between / (l * r) - left / pairs(l) - right / pairs(r);
        let quality = l * r / (l + r) * energy;
        if quality > best.map_or(1e-12, |(_, q)| q) {
            best = Some((at, quality));
        }
    }
    best
}

/// Sum of the distances of some points to another. Several partial sums, so that vectors can be used.
fn distances(points: &[f64], to: f64) -> f64 {
    let mut sums = [0.0; 8];
    let chunks = points.chunks_exact(sums.len());
    let rest: f64 = chunks.remainder().iter().map(|p| (p - to).abs()).sum();
    for chunk in chunks {
        for (sum, p) in sums.iter_mut().zip(chunk) {
            *sum += (p - to).abs();
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| rng.below(1000) as f64 / 1000.0).collect()
    }

    #[test]
    fn two_steps_are_found_where_they_are() {
        let mut x = noise(60, 1);
        x[20..].iter_mut().for_each(|v| *v += 3.0);
        x[45..].iter_mut().for_each(|v| *v -= 2.0);
        assert_eq!(steps(&x), [20, 45]);
    }

    #[test]
    fn noise_has_no_steps() {
        let found: usize = (0..200)
            .map(|seed| steps(&noise(30, 100 + seed)).len())
            .sum();
        // One in a thousand each.
        assert!(found <= 2, "{found}");
    }

    #[test]
    fn short_and_constant_series_have_none() {
        assert_eq!(steps(&[1.0, 2.0, 9.0, 9.0, 9.0]), [0; 0]);
        assert_eq!(steps(&[4.0; 40]), [0; 0]);
        assert_eq!(steps(&[]), [0; 0]);
    }

    #[test]
    fn steps_of_long_series_are_found_where_they_are() {
        // In the middle, and a fresh one at the end.
        let mut x = noise(1000, 3);
        x[411..].iter_mut().for_each(|v| *v += 3.0);
        x[994..].iter_mut().for_each(|v| *v += 5.0);
        assert_eq!(steps(&x), [411, 994]);
        // Smaller than the noise.
        let mut x = noise(1000, 4);
        x[600..].iter_mut().for_each(|v| *v += 0.3);
        let found = steps(&x);
        assert!(found.len() == 1 && found[0].abs_diff(600) < 30, "{found:?}");
    }

    #[test]
    fn noise_of_many_runs_has_no_steps() {
        let found: usize = (0..50)
            .map(|seed| steps(&noise(1000, 500 + seed)).len())
            .sum();
        // Two tests of one in a thousand each.
        assert!(found <= 1, "{found}");
    }

    #[test]
    fn time_is_proportional_to_the_length() {
        // A hundred times as long as a test's most: a square would take minutes.
        let mut x = noise(20_000, 5);
        x[7_000..].iter_mut().for_each(|v| *v += 3.0);
        let start = std::time::Instant::now();
        assert_eq!(steps(&x), [7_000]);
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    }

    #[test]
    fn a_split_is_the_definitions() {
        let x = noise(11, 7);
        let mean = |pairs: Vec<f64>| pairs.iter().sum::<f64>() / pairs.len() as f64;
        let within = |part: &[f64]| {
            let all = part.iter().enumerate();
            mean(
                all.flat_map(|(i, a)| part[..i].iter().map(move |b| (a - b).abs()))
                    .collect(),
            )
        };
        let quality = |at: usize| {
            let (l, r) = x.split_at(at);
            let across = l.iter().flat_map(|a| r.iter().map(move |b| (a - b).abs()));
            let energy = 2.0 * mean(across.collect()) - within(l) - within(r);
            (at * (11 - at)) as f64 / 11.0 * energy
        };
        let by_hand = (FEWEST..=11 - FEWEST)
            .map(quality)
            .fold(f64::NEG_INFINITY, f64::max);
        let (_, found) = best_split(&x).expect("a split");
        assert!((found - by_hand).abs() < 1e-9);
    }
}
