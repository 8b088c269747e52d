//! The phases of a run, and a clock for them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A part of a run that has a roof of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Winograd's transform of the input.
    InputTransform,
    /// The products.
    Multiply,
    /// The transform back, with bias, residual and ReLU.
    InverseTransform,
}

impl Phase {
    /// In their order.
    pub const ALL: [Phase; 3] = [
        Phase::InputTransform,
        Phase::Multiply,
        Phase::InverseTransform,
    ];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::InputTransform => "input_transform",
            Phase::Multiply => "multiply",
            Phase::InverseTransform => "inverse_transform",
        }
    }
}

/// Adds up the time of each phase, over all workers.
#[derive(Debug, Default)]
pub struct PhaseClock([AtomicU64; Phase::ALL.len()]);

impl PhaseClock {
    /// The sum of all workers' times, in the order of [`Phase::ALL`].
    pub fn times(&self) -> [Duration; Phase::ALL.len()] {
        std::array::from_fn(|phase| Duration::from_nanos(self.0[phase].load(Relaxed)))
    }
}

/// One worker's look at the clock: what passes from a lap to the next belongs to a phase.
pub(crate) struct Laps<'a>(Option<(&'a PhaseClock, Instant)>);

impl<'a> Laps<'a> {
    /// Starts now, if there is a clock.
    pub(crate) fn start(clock: Option<&'a PhaseClock>) -> Self {
        Laps(clock.map(|clock| (clock, Instant::now())))
    }

    /// What passed since the last lap was `phase`.
    pub(crate) fn lap(&mut self, phase: Phase) {
        if let Some((clock, last)) = &mut self.0 {
            let now = Instant::now();
            let took = now.duration_since(*last).as_nanos() as u64;
            clock.0[phase as usize].fetch_add(took, Relaxed);
            *last = now;
        }
    }
}
