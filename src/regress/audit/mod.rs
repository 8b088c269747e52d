//! Audit of the gate: its false-alarm rate and its detection rate, measured on this machine.
//!
//! Gates of a build against itself give the false-alarm rate directly, but a few gates can't show that it is below 1 %.
//! So many more are drawn from their blocks. A block is one observation of all pairs, including all disturbances of
//! that time. In a build against itself either side may be called A. A slow-down is added to one pair of a drawn gate,
//! or injected into real gates.
//!
//! In reading order: `rates.rs` (the results), `resample.rs` (gates drawn from blocks), this file (rates from gates),
//! `gates.rs` (gates on disk), `markdown.rs` (the result as text), [`session`] (an audit of this machine).

mod gates;
mod markdown;
mod rates;
mod resample;
pub mod session;

pub use rates::{Detection, Drawn, Draws, EFFECTS, Rate, Report, SLOWED_OF_EACH, injections};

use super::ab::FEWEST_SCREENING;
use super::ab::choice::SCREENING;
use super::ab::gate::{Measured, Outcome, judged};
use super::ab::verdict::Change;
use crate::stats::median;
use resample::{Pool, Times};

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
    let alarms = |g: &&Measured| judged(g).iter().any(|j| j.result.change == Change::Slower);
    let alarmed = same.iter().filter(alarms).count();
    let block_s = median(
        &same
            .iter()
            .filter_map(|g| block_s(g, budget_s))
            .collect::<Vec<_>>(),
    )?;
    let mut drawn = Vec::new();
    for &budget in budgets.iter().filter(|b| **b <= budget_s) {
        progress(&format!("drawing gates of {budget:.0} s"));
        // Use fewer blocks. If these would be too few, use fewer rounds per block.
        let fit = SCREENING * budget / block_s;
        let blocks = fit.max(FEWEST_SCREENING as f64);
        let first_rounds = (rounds * fit / blocks).round().max(1.0);
        let pool = Pool::of(same, first_rounds as usize);
        let times = Times {
            block_s: block_s * (first_rounds / rounds).min(1.0),
            confirmation_s: (1.0 - SCREENING) * budget,
        };
        drawn.push(pool.drawn(budget, blocks as usize, times, draws));
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

/// Time of a block of all pairs, seconds. Gates before there was a second stage spent four fifths of their budget on
/// these blocks.
fn block_s(gate: &Measured, budget_s: f64) -> Option<f64> {
    let all = gate.screening_s.unwrap_or(0.8 * budget_s);
    (!gate.blocks.is_empty()).then(|| all / gate.blocks.len() as f64)
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

#[cfg(test)]
mod tests {
    use super::super::ab::verdict::{Observations, suspects};
    use super::super::ab::{Block, Pair, PairRounds};
    use super::*;
    use convroof_kernels::data::{Fill, Rng};

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
                    PairRounds {
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
        let observations: Vec<Observations> =
            all.iter().map(|&i| Observations::of(&blocks, i)).collect();
        let alarms = suspects(&observations);
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
            screening_s: None,
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
        assert!(found[0] == 0 && found[4] == 60, "{found:?}");
        // A slow-down of exactly the threshold, 2 %, is found half the time.
        assert!((0.017..0.025).contains(&drawn.half), "{}", drawn.half);
        assert!(drawn.half <= drawn.nine_in_ten && drawn.nine_in_ten < 0.05);
        let injected: Vec<_> = report
            .injected
            .iter()
            .map(|d| (d.found.hits, d.found.tries))
            .collect();
        assert_eq!(injected[0], (0, 6), "1 % is below the least effect");
        assert_eq!(injected[2..], [(6, 6), (6, 6), (6, 6)]);
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
