//! Audit of the gate: its false-alarm rate and its detection rate, measured on this machine.
//!
//! Gates of a build against itself give the false-alarm rate directly, but a few gates can't show that it is below 1 %.
//! So many more are drawn from their blocks. A block is one observation of all pairs, including all disturbances of
//! that time. In a build against itself either side may be called A. A slow-down is added to one pair of a drawn gate,
//! or injected into real gates.

use super::ab::FEWEST_BLOCKS;
use super::ab::gate::{Measured, Outcome, judged};
use super::ab::verdict::{Change, Evidence, judge};
use crate::stats::{median, proportion};
use convroof_kernels::data::Rng;
use rayon::prelude::*;
use serde::Serialize;

/// Slow-downs to detect, as fractions.
pub const EFFECTS: [f64; 4] = [0.01, 0.02, 0.05, 0.10];

/// Number of pairs of a gate that get each slow-down.
pub const SLOWED_OF_EACH: usize = 3;

/// Slow-down of each pair of a gate, as a fraction. The choice depends on the gate's number.
pub fn injections(pairs: usize, gate: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..pairs).collect();
    Rng::new(gate as u64).shuffle(&mut order);
    let mut injected = vec![0.0; pairs];
    let effects = EFFECTS.iter().flat_map(|e| [e; SLOWED_OF_EACH]);
    for (&pair, &effect) in order.iter().zip(effects) {
        injected[pair] = effect;
    }
    injected
}

/// A counted rate with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Number of events.
    pub hits: usize,
    /// Number of trials.
    pub tries: usize,
    /// Lower end of the exact 95 % interval.
    pub low: f64,
    /// Upper end of the exact 95 % interval.
    pub high: f64,
}

impl Rate {
    /// The rate of `hits` in `tries`.
    pub fn of(hits: usize, tries: usize) -> Self {
        let (low, high) = match tries {
            0 => (0.0, 1.0),
            _ => proportion::interval(hits, tries),
        };
        Rate {
            hits,
            tries,
            low,
            high,
        }
    }
}

/// Results of an audit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Number of pairs of layer and variant.
    pub pairs: usize,
    /// Measuring time of a gate, seconds.
    pub budget_s: f64,
    /// Number of blocks of a gate.
    pub blocks: usize,
    /// Rounds per block (median).
    pub rounds: f64,
    /// Failed gates of a build against itself.
    pub real: Rate,
    /// Gates of a build against itself with alarms before the confirmation.
    pub real_alarms: Rate,
    /// Detection rate of slow-downs injected into real gates.
    pub injected: Vec<Detection>,
    /// Pairs of those gates that were reported without an injected slow-down.
    pub injected_others: Rate,
    /// Gates drawn from the blocks of the real ones, by budget.
    pub drawn: Vec<Drawn>,
}

/// Detection rate of a slow-down.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// The slow-down, as a fraction.
    pub effect: f64,
    /// Rate at which it was found and confirmed.
    pub found: Rate,
}

/// Drawn gates with one budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drawn {
    /// Measuring time, seconds. A smaller budget means fewer blocks, or only the first rounds of each.
    pub budget_s: f64,
    /// Gates that failed although both sides are equal.
    pub false_alarms: Rate,
    /// Detection rate of a slow-down of one pair.
    pub found: Vec<Detection>,
    /// Slow-down of one pair with a detection rate of 50 %.
    pub half: f64,
    /// Slow-down of one pair with a detection rate of 90 %.
    pub nine_in_ten: f64,
}

/// Number of gates to draw.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    /// Gates for the false-alarm rate.
    pub gates: usize,
    /// Gates for each slow-down.
    pub slowed: usize,
}

/// Audits real gates, of a build against itself and with injected slow-downs. None without gates.
pub fn audit(
    same: &[Measured],
    slowed: &[Measured],
    budget_s: f64,
    budgets: &[f64],
    draws: Draws,
    mut progress: impl FnMut(&str),
) -> Option<Report> {
    let first = same.first()?;
    let pairs = first.pairs.len();
    let rounds = same
        .iter()
        .flat_map(|g| &g.blocks)
        .map(|b| b.peaks.len() as f64);
    let rounds = median(&rounds.collect::<Vec<_>>())?;
    let failed = |gates: &[Measured]| -> usize {
        let slower = |g: &&Measured| judged(g).iter().any(|j| j.outcome == Outcome::Slower);
        gates.iter().filter(slower).count()
    };
    let alarmed = same.iter().filter(|g| !g.alarms.is_empty()).count();
    let mut drawn = Vec::new();
    for &budget in budgets.iter().filter(|b| **b <= budget_s) {
        progress(&format!("drawing gates of {budget:.0} s"));
        // Use fewer blocks. If these would be too few, use fewer rounds per block.
        let fit = first.blocks.len() as f64 * budget / budget_s;
        let blocks = fit.max(FEWEST_BLOCKS as f64);
        let first_rounds = (rounds * fit / blocks).round().max(1.0) as usize;
        let pool = Pool::of(same, first_rounds);
        drawn.push(pool.drawn(budget, blocks.round() as usize, draws));
    }
    let (injected, injected_others) = injected(slowed);
    Some(Report {
        pairs,
        budget_s,
        blocks: first.blocks.len(),
        rounds,
        real: Rate::of(failed(same), same.len()),
        real_alarms: Rate::of(alarmed, same.len()),
        injected,
        injected_others,
        drawn,
    })
}

fn injected(gates: &[Measured]) -> (Vec<Detection>, Rate) {
    let all: Vec<(f64, bool)> = gates
        .iter()
        .flat_map(|g| {
            let found = judged(g).into_iter().map(|j| j.outcome == Outcome::Slower);
            g.injected.iter().copied().zip(found).collect::<Vec<_>>()
        })
        .collect();
    let rate = |effect: f64| {
        let own: Vec<bool> = all
            .iter()
            .filter(|(e, _)| *e == effect)
            .map(|(_, f)| *f)
            .collect();
        Rate::of(own.iter().filter(|f| **f).count(), own.len())
    };
    let detections = EFFECTS.map(|effect| Detection {
        effect,
        found: rate(effect),
    });
    (detections.into(), rate(0.0))
}

/// Blocks to draw from. For each block and pair: the effect, and A against itself.
struct Pool(Vec<Vec<(f64, f64)>>);

impl Pool {
    fn of(gates: &[Measured], first_rounds: usize) -> Self {
        let blocks = gates.iter().flat_map(|g| &g.blocks);
        Pool(
            blocks
                .map(|b| {
                    let of = |r: &super::ab::Rounds| {
                        Some((r.effect(first_rounds)?, r.half(first_rounds)?))
                    };
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

    fn evidence(&self, drawn: &[(usize, f64)], pair: usize, slow_down: f64) -> Evidence {
        let effect =
            |&(block, sign): &(usize, f64)| sign * self.0[block][pair].0 + slow_down.ln_1p();
        Evidence {
            effects: drawn.iter().map(effect).collect(),
            halves: drawn
                .iter()
                .map(|&(block, _)| self.0[block][pair].1)
                .collect(),
        }
    }

    /// The slowed pair and the pairs that a gate reports, if that pair is slower by `slow_down`.
    fn gate(&self, seed: u64, blocks: usize, slow_down: f64) -> (usize, Vec<usize>) {
        let mut rng = Rng::new(seed);
        let pairs = self.0[0].len();
        let slowed = rng.below(pairs);
        let by = |pair| if pair == slowed { slow_down } else { 0.0 };
        let mut slower = |pairs: &[usize]| -> Vec<usize> {
            let drawn = self.draw(&mut rng, blocks);
            let evidence: Vec<Evidence> = pairs
                .iter()
                .map(|&p| self.evidence(&drawn, p, by(p)))
                .collect();
            let found = judge(&evidence).into_iter().zip(pairs);
            found
                .filter(|(f, _)| f.change == Change::Slower)
                .map(|(_, &p)| p)
                .collect()
        };
        let alarms = slower(&(0..pairs).collect::<Vec<_>>());
        let confirmed = if alarms.is_empty() {
            alarms
        } else {
            slower(&alarms)
        };
        (slowed, confirmed)
    }

    /// Number of gates that report the slowed pair.
    fn found(&self, blocks: usize, effect: f64, gates: usize) -> usize {
        let finds = |seed: usize| {
            let (slowed, named) = self.gate(seed as u64, blocks, effect);
            named.contains(&slowed)
        };
        (0..gates)
            .into_par_iter()
            .filter(|&seed| finds(seed))
            .count()
    }

    /// Smallest slow-down that this share of the gates finds, searched up to 100 %.
    fn smallest(&self, blocks: usize, share: f64, gates: usize) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        while high - low > 1e-3 {
            let middle = (low + high) / 2.0;
            if self.found(blocks, middle, gates) as f64 >= share * gates as f64 {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }

    fn drawn(&self, budget_s: f64, blocks: usize, draws: Draws) -> Drawn {
        let fails = |seed: &usize| !self.gate(*seed as u64, blocks, 0.0).1.is_empty();
        let false_alarms = (0..draws.gates).into_par_iter().filter(fails).count();
        let found = EFFECTS.map(|effect| Detection {
            effect,
            found: Rate::of(self.found(blocks, effect, draws.slowed), draws.slowed),
        });
        Drawn {
            budget_s,
            false_alarms: Rate::of(false_alarms, draws.gates),
            found: found.into(),
            half: self.smallest(blocks, 0.5, draws.slowed / 2),
            nine_in_ten: self.smallest(blocks, 0.9, draws.slowed / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ab::{Block, Pair, Rounds};
    use super::*;
    use convroof_kernels::data::Fill;

    const BLOCKS: usize = 24;

    /// A gate of a build against itself, with scattering blocks and injected slow-downs.
    fn gate(seed: u64, pairs: usize, scatter: f64, injected: Vec<f64>) -> Measured {
        let mut rng = Rng::new(1000 + seed);
        let mut block = |pairs: &[usize]| Block {
            pairs: pairs
                .iter()
                .map(|&pair| {
                    let unit = rng.vec(Fill::Gaussian, 8);
                    let noise = |x: f32| 1e5 * scatter * f64::from(x);
                    let by = 1e5 * injected[pair].ln_1p();
                    Rounds {
                        ratio: vec![(noise(unit[0]) + by) as i32; 4],
                        halves: unit[4..].iter().map(|x| (noise(*x) / 4.0) as i32).collect(),
                        a_ns: 1e6,
                    }
                })
                .collect(),
            peaks: vec![100.0; 4],
        };
        let all: Vec<usize> = (0..pairs).collect();
        let blocks: Vec<Block> = (0..BLOCKS).map(|_| block(&all)).collect();
        let evidence: Vec<Evidence> = all.iter().map(|&i| Evidence::of(&blocks, i)).collect();
        let findings = judge(&evidence);
        let alarms: Vec<usize> = all
            .into_iter()
            .filter(|&i| findings[i].change == Change::Slower)
            .collect();
        let confirmation = if alarms.is_empty() {
            Vec::new()
        } else {
            (0..BLOCKS).map(|_| block(&alarms)).collect()
        };
        let pair = |i| Pair {
            problem: format!("p{i}").into(),
            variant: "direct/avx2/st".into(),
            threads: 1,
        };
        Measured {
            pairs: (0..pairs).map(pair).collect(),
            blocks,
            alarms,
            confirmation,
            injected,
            interrupted: false,
        }
    }

    #[test]
    fn an_audit_of_known_noise_says_what_is_known() {
        let pairs = 20;
        let same: Vec<_> = (0..3)
            .map(|i| gate(i, pairs, 0.01, vec![0.0; pairs]))
            .collect();
        let slowed: Vec<_> = (3..5)
            .map(|i| gate(i, pairs, 0.01, injections(pairs, i as usize)))
            .collect();
        let draws = Draws {
            gates: 300,
            slowed: 60,
        };
        let report =
            audit(&same, &slowed, 300.0, &[75.0, 300.0, 900.0], draws, |_| ()).expect("gates");
        assert_eq!((report.real.hits, report.real.tries), (0, 3));
        assert_eq!(report.drawn.len(), 2, "not beyond what was measured");
        let drawn = &report.drawn[1];
        assert_eq!(drawn.false_alarms.hits, 0);
        let found: Vec<usize> = drawn.found.iter().map(|d| d.found.hits).collect();
        assert!(found[0] == 0 && found[3] == 60, "{found:?}");
        // A slow-down of exactly the threshold, 2 %, is found half the time, and must be found twice. So `half` is
        // above 2 %.
        assert!((0.018..0.032).contains(&drawn.half), "{}", drawn.half);
        assert!(drawn.half <= drawn.nine_in_ten && drawn.nine_in_ten < 0.05);
        let injected: Vec<_> = report
            .injected
            .iter()
            .map(|d| (d.found.hits, d.found.tries))
            .collect();
        assert_eq!(injected[0], (0, 6), "1 % is below the least effect");
        assert_eq!(injected[2..], [(6, 6), (6, 6)]);
        assert_eq!(report.injected_others.hits, 0);
        assert!(audit(&[], &[], 300.0, &[300.0], draws, |_| ()).is_none());
    }

    #[test]
    fn injections_are_few_and_differ() {
        let (one, two) = (injections(60, 1), injections(60, 2));
        assert_ne!(one, two);
        for effect in EFFECTS {
            assert_eq!(one.iter().filter(|e| **e == effect).count(), SLOWED_OF_EACH);
        }
        assert_eq!(injections(2, 1).len(), 2);
    }
}
