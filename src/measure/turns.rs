//! Interleaved loops, so that a disturbance of the machine affects all of them.

use crate::interrupt;
use convroof_kernels::data::Rng;
use std::time::{Duration, Instant};

/// Mean time of `runs` calls in nanoseconds.
pub(crate) fn mean_ns(runs: usize, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..runs).for_each(|_| run());
    start.elapsed().as_nanos() as f64 / runs as f64
}

/// A loop: each call runs it and returns a sample.
pub type Loop<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// Duration of interleaved loops.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// Least number of rounds.
    pub rounds: usize,
    /// Least time.
    pub time: Duration,
}

impl Turns {
    /// One round, to check that the loops run at all.
    pub const ONE: Turns = Turns {
        rounds: 1,
        time: Duration::ZERO,
    };

    /// Samples of each loop, one a round. The order within a round is shuffled. A signal ends the rounds early.
    pub fn take(self, loops: &mut [Loop<'_>]) -> Vec<Vec<f64>> {
        let mut rng = Rng::new(1);
        let mut order: Vec<usize> = (0..loops.len()).collect();
        let mut samples = vec![Vec::new(); loops.len()];
        let started = Instant::now();
        let mut round = 0;
        while round < self.rounds || started.elapsed() < self.time {
            if interrupt::requested() {
                break;
            }
            rng.shuffle(&mut order);
            for &i in &order {
                samples[i].push(loops[i]());
            }
            round += 1;
        }
        samples
    }
}

/// Ratio of one loop's samples to another's, round by round.
pub fn ratios(of: &[f64], over: &[f64]) -> Vec<f64> {
    of.iter().zip(over).map(|(a, b)| a / b).collect()
}

/// Sums of several loops' samples, round by round.
pub fn sums(samples: &[Vec<f64>]) -> Vec<f64> {
    let rounds = samples.iter().map(Vec::len).min().unwrap_or(0);
    let sum = |round: usize| samples.iter().map(|s| s[round]).sum();
    (0..rounds).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_take_turns() {
        let calls = std::cell::RefCell::new(Vec::new());
        let call = |name: f64| {
            calls.borrow_mut().push(name);
            name
        };
        let mut loops: Vec<Loop<'_>> = vec![Box::new(|| call(1.0)), Box::new(|| call(2.0))];
        let turns = Turns {
            rounds: 20,
            ..Turns::ONE
        };
        let samples = turns.take(&mut loops);
        assert_eq!(samples, [[1.0; 20], [2.0; 20]]);
        let calls = calls.borrow();
        let rounds: Vec<&[f64]> = calls.chunks(2).collect();
        // Each round has both, in either order.
        assert!(rounds.iter().all(|r| r[0] + r[1] == 3.0), "{rounds:?}");
        assert!(rounds.contains(&&[1.0, 2.0][..]) && rounds.contains(&&[2.0, 1.0][..]));
        assert_eq!(ratios(&samples[1], &samples[0]), [2.0; 20]);
        assert_eq!(sums(&samples), [3.0; 20]);
    }
}
