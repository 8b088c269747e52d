//! Results of an audit: counted rates and their intervals.

use crate::stats::proportion;
use convroof_kernels::data::Rng;
use serde::Serialize;

/// Slow-downs to detect, as fractions.
pub const EFFECTS: [f64; 5] = [0.01, 0.02, 0.03, 0.05, 0.10];

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
    /// Gates of a build against itself with significant slow-downs in the screening.
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
