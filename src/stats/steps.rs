//! Where a series changes its level: E-divisive with energy distances (Matteson and James 2014), as in
//! MongoDB's and Apache Otava's change point detection.

use convroof_kernels::data::Rng;

/// Fewer points than this on a side make no level.
pub const FEWEST: usize = 3;

/// Permutations behind a p: 999 and the series itself, so that p <= .001 means that none of them splits as well.
const PERMUTATIONS: usize = 999;

/// The first indices of new levels, in order. A split counts if no permutation of its stretch has one as
/// good: p <= .001.
///
/// # Panics
/// If a value is not a number.
pub fn steps(series: &[f64]) -> Vec<usize> {
    assert!(series.iter().all(|x| !x.is_nan()), "a value is no number");
    let mut found = Vec::new();
    let mut stretches = vec![(0, series.len())];
    let mut rng = Rng::new(1);
    while let Some((from, to)) = stretches.pop() {
        let stretch = &series[from..to];
        let Some((at, quality)) = best_split(stretch) else {
            continue;
        };
        let mut shuffled = stretch.to_vec();
        let surpassed = (0..PERMUTATIONS).any(|_| {
            for i in (1..shuffled.len()).rev() {
                shuffled.swap(i, rng.below(i + 1));
            }
            best_split(&shuffled).is_some_and(|(_, q)| q >= quality)
        });
        if !surpassed {
            found.push(from + at);
            stretches.extend([(from, from + at), (from + at, to)]);
        }
    }
    found.sort_unstable();
    found
}

/// The split with the largest energy distance between its sides, weighted by their sizes, and that distance.
/// None if there are too few points, or all are the same.
fn best_split(x: &[f64]) -> Option<(usize, f64)> {
    let n = x.len();
    if n < 2 * FEWEST {
        return None;
    }
    let distance = |i: usize, j: usize| (x[i] - x[j]).abs();
    // Sums of distances between the sides and within each, kept up as the split moves to the right.
    let (mut between, mut left) = (0.0, 0.0);
    let mut right: f64 = (0..n)
        .map(|i| (i + 1..n).map(|j| distance(i, j)).sum::<f64>())
        .sum();
    let mut best: Option<(usize, f64)> = None;
    for at in 1..=n - FEWEST {
        let moved = at - 1;
        let to_left: f64 = (0..moved).map(|i| distance(i, moved)).sum();
        let to_right: f64 = (at..n).map(|i| distance(i, moved)).sum();
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
