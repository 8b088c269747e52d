//! Checks of both builds, and samples taken in alternation.

use super::client::{PlanAnswer, Planned, Side, WorkerClient};
use super::{Block, FEWEST_BLOCKS, MOST_BLOCKS, Pair, PairRounds, ROUNDS};
use crate::interrupt::Stopped;
use crate::machine::memory;
use crate::record::Text;
use crate::stats::{median, shorten};
use crate::units;
use anyhow::{Result, bail};
use convroof_kernels::Problem;
use convroof_kernels::data::Rng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Decimals of times (ns) and peaks (GFLOP/s) in blocks.
const DECIMALS: i32 = 1;

/// Least duration of a sample in ns; a sample repeats runs to reach it.
const SAMPLE_NS: f64 = 1.5e6;

/// An output that differs from the reference, or from an earlier output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongSide(pub String);

/// Both sides, and the random choices.
pub struct Sitting<'a> {
    /// The base (A) and the candidate (B).
    pub sides: [Side; 2],
    /// Flag that requests a stop.
    pub stop: &'a AtomicBool,
    /// Generator for the order of starts, sides and pairs.
    pub rng: Rng,
}

/// Pairs that both builds compute correctly.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Pairs to compare; the variants of a problem are adjacent.
    pub pairs: Vec<Pair>,
    /// Hashes of the outputs of A and B, which were checked against the reference.
    outputs: Vec<[String; 2]>,
    /// Pairs that only one side supports: that side's letter, the pair, and the other side's reason.
    pub missing: Vec<(char, Pair, String)>,
    /// True if a build is without optimisation.
    pub debug: bool,
}

impl Checked {
    /// Keeps only some pairs, by their indices.
    pub fn keep(&mut self, wanted: impl Fn(usize) -> bool) {
        let numbers = |n: usize| (0..n).map(&wanted).collect::<Vec<bool>>();
        let mut keep = numbers(self.pairs.len()).into_iter();
        self.pairs.retain(|_| keep.next() == Some(true));
        let mut keep = numbers(self.outputs.len()).into_iter();
        self.outputs.retain(|_| keep.next() == Some(true));
    }
}

impl Sitting<'_> {
    fn halt(&self) -> Result<()> {
        if self.stop.load(Ordering::SeqCst) {
            return Err(Stopped.into());
        }
        Ok(())
    }

    fn coin(&mut self) -> bool {
        self.rng.bits() & 1 == 1
    }

    /// Compares every pair's output with the reference, in both builds.
    ///
    /// # Errors
    /// [`WrongSide`] if an output is wrong. Also when a worker fails, or there is too little memory.
    pub fn check(&self, wanted: &[Pair], mut progress: impl FnMut(&Pair)) -> Result<Checked> {
        let mut answers = Vec::new();
        let mut debug = false;
        for side in &self.sides {
            let mut client = WorkerClient::start(side)?;
            debug |= client.debug;
            let (mut own, mut bytes) = (Vec::new(), 0);
            for pair in wanted {
                self.halt()?;
                progress(pair);
                let answer = client.plan(pair, true)?;
                if let PlanAnswer::Wrong(reason) = &answer {
                    let (letter, label) = (side.letter, &side.label);
                    return Err(WrongSide(format!(
                        "{letter} ({label}) is wrong: {pair}: {reason}"
                    ))
                    .into());
                }
                if let PlanAnswer::Planned(planned) = &answer {
                    bytes += planned.bytes;
                }
                // Both sides hold all plans at the same time.
                let memory = memory::available() as u64;
                if bytes > memory {
                    bail!(
                        "each side needs more than {} for the pairs, of {} that are free: choose fewer with --layer, --variant or --batch",
                        units::bytes(bytes as f64),
                        units::bytes(memory as f64)
                    );
                }
                own.push(answer);
            }
            answers.push(own);
        }
        let mut checked = Checked {
            debug,
            ..Checked::default()
        };
        let [a, b] = &answers[..] else { unreachable!() };
        for ((pair, a), b) in wanted.iter().zip(a).zip(b) {
            match (a, b) {
                (PlanAnswer::Planned(a), PlanAnswer::Planned(b)) => {
                    checked.pairs.push(pair.clone());
                    checked.outputs.push([a.output.clone(), b.output.clone()]);
                }
                (PlanAnswer::Planned(_), PlanAnswer::Refused(why)) => {
                    checked.missing.push(('A', pair.clone(), why.clone()));
                }
                (PlanAnswer::Refused(why), PlanAnswer::Planned(_)) => {
                    checked.missing.push(('B', pair.clone(), why.clone()));
                }
                _ => {}
            }
        }
        Ok(checked)
    }

    /// Measures blocks of some of the checked pairs in `time`, as many as a gate needs. `injected` is the slow-down of
    /// B for each pair, as a fraction. After a signal, returns the complete blocks and false.
    ///
    /// # Errors
    /// When the time is too short for a gate; [`WrongSide`]; when a worker fails.
    pub fn blocks(
        &mut self,
        checked: &Checked,
        which: &[usize],
        injected: &[f64],
        time: Duration,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(Vec<Block>, bool)> {
        let start = Instant::now();
        let (first, round) = match self.block(checked, which, injected, start) {
            Err(error) if error.is::<Stopped>() => return Ok((Vec::new(), false)),
            other => other?,
        };
        // The first block had one round, so its time is the least time of a block.
        let least = start.elapsed();
        let fit = time.as_secs_f64() / least.as_secs_f64();
        if fit < FEWEST_BLOCKS as f64 {
            return Err(TooShort {
                pairs: which.len(),
                needs: least * FEWEST_BLOCKS as u32,
            }
            .into());
        }
        let whole = least + round * (ROUNDS as u32 - 1);
        let count = (time.as_secs_f64() / whole.as_secs_f64()) as usize;
        let count = count.clamp(FEWEST_BLOCKS, MOST_BLOCKS);
        let mut blocks = vec![first];
        for i in 1..count {
            progress(i, count);
            let until = start + time.mul_f64((i + 1) as f64 / count as f64);
            match self.block(checked, which, injected, until) {
                Ok((block, _)) => blocks.push(block),
                Err(error) if error.is::<Stopped>() => return Ok((blocks, false)),
                Err(error) => return Err(error),
            }
        }
        Ok((blocks, true))
    }

    /// Measures a block until about `until`. Returns it and the time of its last round.
    fn block(
        &mut self,
        checked: &Checked,
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
        let plans = self.plan(checked, which, &mut clients)?;
        let mut runs = vec![1; which.len()];
        let mut a_ns = vec![0.0; which.len()];
        // Warm up once more, and choose the number of runs per sample.
        for (i, [a, _]) in plans.iter().enumerate() {
            runs[i] = ((SAMPLE_NS / a.ns.max(100.0)) as usize).clamp(1, 10_000);
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
                self.halt()?;
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
        self.verify(checked, which, &mut clients, &plans)?;
        Ok((block, round))
    }

    /// Prepares the pairs on both sides, in the same order. Problems are shuffled, so that each block has another
    /// memory layout. The variants of a problem stay adjacent.
    fn plan(
        &mut self,
        checked: &Checked,
        which: &[usize],
        clients: &mut [WorkerClient; 2],
    ) -> Result<Vec<[Planned; 2]>> {
        let mut problems: Vec<&Text<Problem>> = Vec::new();
        for &i in which {
            let problem = &checked.pairs[i].problem;
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        self.rng.shuffle(&mut problems);
        let mut plans: Vec<Option<[Planned; 2]>> = vec![None; which.len()];
        for problem in problems {
            for (place, &i) in which.iter().enumerate() {
                let pair = &checked.pairs[i];
                if pair.problem != *problem {
                    continue;
                }
                self.halt()?;
                let mut both = Vec::new();
                for (side, client) in clients.iter_mut().enumerate() {
                    match client.plan(pair, false)? {
                        PlanAnswer::Planned(p) if p.output == checked.outputs[i][side] => {
                            both.push(p);
                        }
                        _ => return Err(self.changed(side, pair)),
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
        checked: &Checked,
        which: &[usize],
        clients: &mut [WorkerClient; 2],
        plans: &[[Planned; 2]],
    ) -> Result<()> {
        for (plans, &i) in plans.iter().zip(which) {
            for side in 0..2 {
                if clients[side].output(plans[side].plan)? != checked.outputs[i][side] {
                    return Err(self.changed(side, &checked.pairs[i]));
                }
            }
        }
        Ok(())
    }

    fn changed(&self, side: usize, pair: &Pair) -> anyhow::Error {
        let Side { letter, label, .. } = &self.sides[side];
        WrongSide(format!(
            "{letter} ({label}) is wrong: {pair}: its output differs from what the same run gave before"
        ))
        .into()
    }
}

/// Error: the time is too short for a gate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pairs} pairs in {FEWEST_BLOCKS} blocks take {needs:?} at least")]
pub struct TooShort {
    /// Number of pairs.
    pub pairs: usize,
    /// Least time that they need.
    pub needs: Duration,
}

/// Logarithm of a ratio, in the units of [`PairRounds`].
fn units(ratio: f64) -> i32 {
    (1e5 * ratio.ln()).round() as i32
}
