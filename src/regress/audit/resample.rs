//! Gates drawn from the blocks of real ones.

use super::rates::{Detection, Drawn, Draws, EFFECTS, Rate};
use crate::regress::ab::choice::confirmable;
use crate::regress::ab::gate::Measured;
use crate::regress::ab::verdict::{Change, Observations, judge, suspects};
use crate::regress::ab::{FEWEST_BLOCKS, MOST_BLOCKS, PairRounds};
use convroof_kernels::data::Rng;
use rayon::prelude::*;

/// Time to start the processes of a block, seconds.
const START_S: f64 = 0.1;

/// Times of drawn gates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Time of a block of all pairs, seconds.
    pub(super) block_s: f64,
    /// Time of the confirmation, seconds.
    pub(super) confirmation_s: f64,
}

impl Times {
    /// Time of a pair in a block of all `pairs`, seconds.
    fn pair_s(&self, pairs: usize) -> f64 {
        (self.block_s - START_S).max(0.0) / pairs as f64
    }

    /// Number of suspects for which there is time.
    fn confirmable(&self, suspects: usize, pairs: usize) -> usize {
        let each = std::iter::repeat_n(self.pair_s(pairs), suspects);
        confirmable(each, START_S, self.confirmation_s)
    }

    /// Number of blocks of the confirmation of some suspects.
    fn confirmation(&self, suspects: usize, pairs: usize) -> usize {
        let block = START_S + self.pair_s(pairs) * suspects as f64;
        let fit = (self.confirmation_s / block) as usize;
        fit.clamp(FEWEST_BLOCKS, MOST_BLOCKS)
    }
}

/// Blocks to draw from. For each block and pair: the effect, and A against itself.
pub(super) struct Pool(Vec<Vec<(f64, f64)>>);

impl Pool {
    /// The blocks of some gates, with the first rounds of each.
    pub(super) fn of(gates: &[Measured], first_rounds: usize) -> Self {
        let blocks = gates.iter().flat_map(|g| &g.blocks);
        Pool(
            blocks
                .map(|b| {
                    let of =
                        |r: &PairRounds| Some((r.effect(first_rounds)?, r.half(first_rounds)?));
                    b.pairs
                        .iter()
                        .map(|r| of(r).unwrap_or((0.0, 0.0)))
                        .collect()
                })
                .collect(),
        )
    }

    /// Draws the blocks of a gate. For each, a coin decides which side is A.
    fn draw(&self, rng: &mut Rng, blocks: usize) -> Vec<(usize, f64)> {
        (0..blocks)
            .map(|_| {
                let sign = if rng.bits() & 1 == 1 { 1.0 } else { -1.0 };
                (rng.below(self.0.len()), sign)
            })
            .collect()
    }

    fn observe(&self, drawn: &[(usize, f64)], pair: usize, slow_down: f64) -> Observations {
        let effect =
            |&(block, sign): &(usize, f64)| sign * self.0[block][pair].0 + slow_down.ln_1p();
        Observations {
            effects: drawn.iter().map(effect).collect(),
            halves: drawn
                .iter()
                .map(|&(block, _)| self.0[block][pair].1)
                .collect(),
        }
    }

    /// The slowed pair and the pairs that a gate reports, if that pair is slower by `slow_down`. Both stages draw their
    /// own blocks.
    fn gate(&self, seed: u64, blocks: usize, times: Times, slow_down: f64) -> (usize, Vec<usize>) {
        let mut rng = Rng::new(seed);
        let pairs = self.0[0].len();
        let slowed = rng.below(pairs);
        let by = |pair| if pair == slowed { slow_down } else { 0.0 };
        let mut observe = |pairs: &[usize], blocks: usize| -> Vec<Observations> {
            let drawn = self.draw(&mut rng, blocks);
            let each = pairs.iter();
            each.map(|&p| self.observe(&drawn, p, by(p))).collect()
        };
        let all: Vec<usize> = (0..pairs).collect();
        let mut chosen = suspects(&observe(&all, blocks));
        chosen.truncate(times.confirmable(chosen.len(), pairs));
        let judged = judge(&observe(&chosen, times.confirmation(chosen.len(), pairs)));
        let slower = chosen.into_iter().zip(judged);
        let slower = slower.filter(|(_, result)| result.change == Change::Slower);
        (slowed, slower.map(|(pair, _)| pair).collect())
    }

    /// Number of gates that report the slowed pair.
    fn found(&self, blocks: usize, times: Times, effect: f64, gates: usize) -> usize {
        let finds = |seed: usize| {
            let (slowed, named) = self.gate(seed as u64, blocks, times, effect);
            named.contains(&slowed)
        };
        (0..gates)
            .into_par_iter()
            .filter(|&seed| finds(seed))
            .count()
    }

    /// Smallest slow-down that this share of the gates finds, searched up to 100 %.
    fn smallest(&self, blocks: usize, times: Times, share: f64, gates: usize) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        while high - low > 1e-3 {
            let middle = (low + high) / 2.0;
            if self.found(blocks, times, middle, gates) as f64 >= share * gates as f64 {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }

    /// False-alarm and detection rates of drawn gates.
    pub(super) fn drawn(&self, budget_s: f64, blocks: usize, times: Times, draws: Draws) -> Drawn {
        let fails = |seed: &usize| !self.gate(*seed as u64, blocks, times, 0.0).1.is_empty();
        let false_alarms = (0..draws.gates).into_par_iter().filter(fails).count();
        let found = EFFECTS.map(|effect| Detection {
            effect,
            found: Rate::of(
                self.found(blocks, times, effect, draws.slowed),
                draws.slowed,
            ),
        });
        Drawn {
            budget_s,
            false_alarms: Rate::of(false_alarms, draws.gates),
            found: found.into(),
            half: self.smallest(blocks, times, 0.5, draws.slowed / 2),
            nine_in_ten: self.smallest(blocks, times, 0.9, draws.slowed / 2),
        }
    }
}
