//! Change points of a series: E-divisive with energy distances (Matteson and James 2014), as in MongoDB's and Apache
//! Otava's change point detection.

use super::median;
use convroof_kernels::data::Rng;

/// Fewest points of a level.
pub const FEWEST: usize = 3;

/// Permutations per test. With 999, p <= .001 means that no permutation splits as well as the series.
const PERMUTATIONS: usize = 999;

/// Factor by which a window's split must exceed the best of all permutations. The best of 999 has p = .001. The tail of
/// these distances is exponential, so 4/3 of it has p of about .0001.
const MUCH_BETTER: f64 = 4.0 / 3.0;

/// Most points of one test, whose time grows with their square.
const MOST: usize = 128;

/// Indices at which new levels begin, ascending. A split counts if no permutation of its stretch has one as good: p <=
/// .001.
///
/// The time is proportional to the length, since a test has at most 128 points. A longer series is tested in windows of
/// that size. Then each stretch between the found steps is tested by medians of groups, which reveals small changes.
/// There are many windows, so all but the newest need a split that is much better than any permutation.
///
/// # Panics
/// If a value is NaN.
pub fn steps(series: &[f64]) -> Vec<usize> {
    assert!(series.iter().all(|x| !x.is_nan()), "a value is no number");
    let mut rng = Rng::new(1);
    let mut found = Vec::new();
    if series.len() > MOST {
        found = windows(series, &mut rng);
    }
    let ends = found.iter().copied().chain([series.len()]);
    let starts = [0].into_iter().chain(found.iter().copied());
    let mut stretches: Vec<(usize, usize)> = starts.zip(ends).collect();
    while let Some((from, to)) = stretches.pop() {
        if let Some(at) = long_split(&series[from..to], &mut rng) {
            found.push(from + at);
            stretches.extend([(from, from + at), (from + at, to)]);
        }
    }
    found.sort_unstable();
    found
}

/// Steps within windows of [`MOST`] points. Windows overlap by half, and restart after a step.
fn windows(series: &[f64], rng: &mut Rng) -> Vec<usize> {
    let mut found = Vec::new();
    let (mut from, mut last) = (0, 0);
    loop {
        let to = series.len().min(from + MOST);
        let newest = to == series.len();
        let start = last.max(to.saturating_sub(MOST));
        let better = if newest { 1.0 } else { MUCH_BETTER };
        if let Some(at) = tested_split(&series[start..to], better, rng) {
            last = start + at;
            from = last;
            found.push(last);
        } else if newest {
            return found;
        } else {
            from += MOST / 2;
        }
    }
}

/// The best split of a stretch of any length, if it counts.
fn long_split(x: &[f64], rng: &mut Rng) -> Option<usize> {
    let (groups, size) = grouped(x);
    let mut at = size * tested_split(&groups, 1.0, rng)?;
    // The level changes within a group beside the boundary. Smaller and smaller groups locate it, down to single
    // points.
    let mut reach = 2 * size;
    while reach > 2 {
        let from = at.saturating_sub(reach);
        let (groups, size) = grouped(&x[from..x.len().min(at + reach)]);
        at = from + size * best_split(&groups)?.0;
        reach = if size == 1 { 0 } else { 2 * size };
    }
    Some(at)
}

/// A stretch reduced to at most [`MOST`] values, and the group size: each value is the median of a group of neighbours.
/// Points at the end that don't fill a group are dropped.
fn grouped(x: &[f64]) -> (Vec<f64>, usize) {
    let size = x.len().div_ceil(MOST).max(1);
    match size {
        1 => (x.to_vec(), 1),
        _ => (x.chunks_exact(size).filter_map(median).collect(), size),
    }
}

/// The best split of a few points, if it is `better` times as good as the best of every permutation.
fn tested_split(x: &[f64], better: f64, rng: &mut Rng) -> Option<usize> {
    let sums = sums_of_distances(x);
    let (at, quality) = best_split_with(x, &sums)?;
    let mut points: Vec<(f64, f64)> = x.iter().copied().zip(sums).collect();
    let surpassed = (0..PERMUTATIONS).any(|_| {
        rng.shuffle(&mut points);
        let (x, sums): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        best_split_with(&x, &sums).is_some_and(|(_, q)| better * q >= quality)
    });
    (!surpassed).then_some(at)
}

/// The split with the largest energy distance between its sides, weighted by their sizes, and that distance. None if
/// there are too few points or all are equal.
fn best_split(x: &[f64]) -> Option<(usize, f64)> {
    best_split_with(x, &sums_of_distances(x))
}

/// Sum of the distances of each point to all others. If the points are permuted, so are these sums.
fn sums_of_distances(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&point| distances(x, point)).collect()
}

/// [`best_split`] with precomputed [`sums_of_distances`].
fn best_split_with(x: &[f64], sums: &[f64]) -> Option<(usize, f64)> {
    let n = x.len();
    if n < 2 * FEWEST {
        return None;
    }
    // Sums of distances between the sides and within each, updated as the split moves to the right.
    let (mut between, mut left) = (0.0, 0.0);
    let mut right = sums.iter().sum::<f64>() / 2.0;
    let mut best: Option<(usize, f64)> = None;
    for at in 1..=n - FEWEST {
        let moved = at - 1;
        let to_left = distances(&x[..moved], x[moved]);
        let to_right = sums[moved] - to_left;
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

/// Sum of the distances of some points to another one. Several partial sums allow vector instructions.
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
        // Each has a false-alarm rate of 1/1000.
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
        // One step in the middle, and a recent one at the end.
        let mut x = noise(1000, 3);
        x[411..].iter_mut().for_each(|v| *v += 3.0);
        x[994..].iter_mut().for_each(|v| *v += 5.0);
        assert_eq!(steps(&x), [411, 994]);
        // Alternating up and down.
        let mut x = noise(1000, 6);
        x.chunks_mut(200)
            .skip(1)
            .step_by(2)
            .flatten()
            .for_each(|v| *v += 3.0);
        assert_eq!(steps(&x), [200, 400, 600, 800]);
        // A step smaller than the noise.
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
        // Two tests with a false-alarm rate of 1/1000 each, and some with 1/10000.
        assert!(found <= 1, "{found}");
    }

    #[test]
    fn time_is_proportional_to_the_length() {
        // Far longer than one test: quadratic time would take minutes.
        let mut x = noise(20_000, 5);
        x[7_000..].iter_mut().for_each(|v| *v += 3.0);
        let start = std::time::Instant::now();
        assert_eq!(steps(&x), [7_000]);
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
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
