//! Samples of both builds, taken in alternation.

use super::client::{PlanAnswer, Planned, Side, WorkerClient};
use super::survey::{Surveyed, WrongSide, halt};
use super::{Block, PairRounds, ROUNDS, sample_runs};
use crate::interrupt::Stopped;
use crate::record::Text;
use crate::stats::{median, shorten};
use anyhow::Result;
use convroof_kernels::Problem;
use convroof_kernels::data::Rng;
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Decimals of times (ns) and peaks (GFLOP/s) in blocks.
const DECIMALS: i32 = 1;

/// Both sides, and the random choices.
pub struct Sitting<'a> {
    /// The base (A) and the candidate (B).
    pub sides: [Side; 2],
    /// Flag that requests a stop.
    pub stop: &'a AtomicBool,
    /// Generator for the order of starts, sides and pairs.
    pub rng: Rng,
}

impl Sitting<'_> {
    fn coin(&mut self) -> bool {
        self.rng.bits() & 1 == 1
    }

    /// Measures blocks of some pairs in `time`, as many as fit, but at least and at most as many as `counts` says.
    /// `injected` is the slow-down of B for each of `which`, as a fraction. After a signal, returns the complete blocks
    /// and false.
    ///
    /// # Errors
    /// [`WrongSide`]; when a worker fails.
    pub fn blocks(
        &mut self,
        pairs: &[Surveyed],
        which: &[usize],
        injected: &[f64],
        (time, counts): (Duration, RangeInclusive<usize>),
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(Vec<Block>, bool)> {
        let start = Instant::now();
        let (mut blocks, mut count) = (Vec::new(), *counts.start());
        while blocks.len() < count {
            progress(blocks.len(), count);
            // The first block has one round, so its time is the least time of a block.
            let share = match blocks.len() {
                0 => 0.0,
                done => (done + 1) as f64 / count as f64,
            };
            let until = start + time.mul_f64(share);
            let (block, round) = match self.block(pairs, which, injected, until) {
                Ok(measured) => measured,
                Err(error) if error.is::<Stopped>() => return Ok((blocks, false)),
                Err(error) => return Err(error),
            };
            if blocks.is_empty() {
                let whole = start.elapsed() + round * (ROUNDS as u32 - 1);
                let fit = (time.as_secs_f64() / whole.as_secs_f64()) as usize;
                count = fit.clamp(*counts.start(), *counts.end());
            }
            blocks.push(block);
        }
        Ok((blocks, true))
    }

    /// Measures a block until about `until`. Returns it and the time of its last round.
    fn block(
        &mut self,
        pairs: &[Surveyed],
        which: &[usize],
        injected: &[f64],
        until: Instant,
    ) -> Result<(Block, Duration)> {
        let b_first = self.coin();
        let [a, b] = &self.sides;
        let [first, second] = if b_first { [b, a] } else { [a, b] };
        let (first, second) = (WorkerClient::start(first)?, WorkerClient::start(second)?);
        let mut clients = if b_first {
            [second, first]
        } else {
            [first, second]
        };
        let plans = self.plan(pairs, which, &mut clients)?;
        let mut runs = vec![1; which.len()];
        let mut a_ns = vec![0.0; which.len()];
        // Warm up once more, and choose the number of runs per sample.
        for (i, [a, _]) in plans.iter().enumerate() {
            runs[i] = sample_runs(a.ns);
            a_ns[i] = clients[0].time(a.plan, runs[i], 0.0, a.ns)?;
        }
        let mut block = Block {
            pairs: vec![PairRounds::default(); which.len()],
            peaks: Vec::new(),
        };
        let mut times = vec![Vec::new(); which.len()];
        let mut order: Vec<usize> = (0..which.len()).collect();
        let round = loop {
            let start = Instant::now();
            block
                .peaks
                .push(shorten(clients[0].peak(plans[0][0].plan)?, DECIMALS));
            self.rng.shuffle(&mut order);
            for &i in &order {
                halt(self.stop)?;
                let delay = injected[i] * a_ns[i];
                let turns = if self.coin() {
                    [1, 0, 0, 1]
                } else {
                    [0, 1, 1, 0]
                };
                let mut taken = [Vec::new(), Vec::new()];
                for side in turns {
                    let delay = if side == 1 { delay } else { 0.0 };
                    let plan = plans[i][side].plan;
                    taken[side].push(clients[side].time(plan, runs[i], delay, a_ns[i])?);
                }
                let [a, b] = taken;
                a_ns[i] = (a[0] + a[1]) / 2.0;
                times[i].push(a_ns[i]);
                let rounds = &mut block.pairs[i];
                rounds.ratio.push(units((b[0] + b[1]) / (a[0] + a[1])));
                rounds.halves.push(units(a[1] / a[0]));
            }
            let round = start.elapsed();
            if Instant::now() + round.mul_f64(0.7) >= until {
                break round;
            }
        };
        for (rounds, times) in block.pairs.iter_mut().zip(&times) {
            rounds.a_ns = shorten(median(times).unwrap_or(0.0), DECIMALS);
        }
        self.verify(pairs, which, &mut clients, &plans)?;
        Ok((block, round))
    }

    /// Prepares the pairs on both sides, in the same order. Problems are shuffled, so that each block has another
    /// memory layout. The variants of a problem stay adjacent.
    fn plan(
        &mut self,
        pairs: &[Surveyed],
        which: &[usize],
        clients: &mut [WorkerClient; 2],
    ) -> Result<Vec<[Planned; 2]>> {
        let mut problems: Vec<&Text<Problem>> = Vec::new();
        for &i in which {
            let problem = &pairs[i].pair.problem;
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        self.rng.shuffle(&mut problems);
        let mut plans: Vec<Option<[Planned; 2]>> = vec![None; which.len()];
        for problem in problems {
            for (place, &i) in which.iter().enumerate() {
                let pair = &pairs[i].pair;
                if pair.problem != *problem {
                    continue;
                }
                halt(self.stop)?;
                let mut both = Vec::new();
                for (side, client) in clients.iter_mut().enumerate() {
                    match client.plan(pair, false)? {
                        PlanAnswer::Planned(p) if p.output == pairs[i].outputs[side] => {
                            both.push(p);
                        }
                        _ => return Err(WrongSide::changed(&self.sides[side], pair)),
                    }
                }
                plans[place] = both.try_into().ok();
            }
        }
        Ok(plans.into_iter().flatten().collect())
    }

    /// Checks that the timed outputs have the same bits as the checked ones.
    fn verify(
        &self,
        pairs: &[Surveyed],
        which: &[usize],
        clients: &mut [WorkerClient; 2],
        plans: &[[Planned; 2]],
    ) -> Result<()> {
        for (plans, &i) in plans.iter().zip(which) {
            for side in 0..2 {
                if clients[side].output(plans[side].plan)? != pairs[i].outputs[side] {
                    return Err(WrongSide::changed(&self.sides[side], &pairs[i].pair));
                }
            }
        }
        Ok(())
    }
}

/// Logarithm of a ratio, in the units of [`PairRounds`].
fn units(ratio: f64) -> i32 {
    (1e5 * ratio.ln()).round() as i32
}
