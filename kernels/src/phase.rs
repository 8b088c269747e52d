//! Phases of a run, and a clock for them.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A part of a run with its own roof in the roofline model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Copy of the input into the form that is multiplied or transformed: im2col's matrix, an image's phases.
    Pack,
    /// Winograd's transform of the input, or Strassen's sums of its quarters.
    InputTransform,
    /// The products.
    Multiply,
    /// Inverse transform, with bias, residual and ReLU.
    InverseTransform,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Phase; 4] = [
        Phase::Pack,
        Phase::InputTransform,
        Phase::Multiply,
        Phase::InverseTransform,
    ];

    /// Name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Pack => "pack",
            Phase::InputTransform => "input_transform",
            Phase::Multiply => "multiply",
            Phase::InverseTransform => "inverse_transform",
        }
    }

    /// Fraction of the FMA peak that such phases usually reach. The fractions are medians over the layers of five
    /// networks on Zen 4 with AVX-512 (`phases` in `results/amd-epyc-2c-8fa605/peers.json`).
    const fn of_peak(self) -> f64 {
        match self {
            Phase::Pack => 1.0,
            Phase::InputTransform => 0.25,
            Phase::Multiply => 0.93,
            Phase::InverseTransform => 0.22,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Phase {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let phase = Phase::ALL.into_iter().find(|p| p.name() == name);
        phase.ok_or_else(|| {
            format!(
                "unknown phase '{name}': expected {}",
                Phase::ALL.map(Phase::name).join(", ")
            )
        })
    }
}

/// Operations and bytes of one phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhaseCost {
    /// The phase.
    pub phase: Phase,
    /// Operations executed.
    pub flops: u64,
    /// Bytes of operands read, counted each time that they are streamed. Weights count as packed.
    pub read: u64,
    /// Bytes written to the output.
    pub written: u64,
    /// Bytes of scratch of other phases read, counted each time that they are streamed.
    pub scratch_read: u64,
    /// Bytes of scratch written.
    pub scratch_written: u64,
    /// Fraction of the FMA peak that its operations reach when data don't limit them. The cost model of whole networks
    /// uses it ([`Efficiency`](crate::cost::Efficiency)).
    pub of_peak: f64,
}

impl PhaseCost {
    /// Cost of a phase that moves no bytes yet, with the usual fraction of the peak.
    pub const fn new(phase: Phase, flops: u64) -> Self {
        PhaseCost {
            phase,
            flops,
            read: 0,
            written: 0,
            scratch_read: 0,
            scratch_written: 0,
            of_peak: phase.of_peak(),
        }
    }
}

/// Clock that sums the time of each phase over all workers.
#[derive(Debug, Default)]
pub struct PhaseClock([AtomicU64; Phase::ALL.len()]);

impl PhaseClock {
    /// Sum of all workers' times in a phase.
    pub fn time(&self, phase: Phase) -> Duration {
        Duration::from_nanos(self.0[phase as usize].load(Relaxed))
    }
}

/// One worker's lap timer. The time between two laps belongs to a phase.
pub(crate) struct Laps<'a>(Option<(&'a PhaseClock, Instant)>);

impl<'a> Laps<'a> {
    /// Starts now, if there is a clock.
    pub(crate) fn start(clock: Option<&'a PhaseClock>) -> Self {
        Laps(clock.map(|clock| (clock, Instant::now())))
    }

    /// Adds the time since the last lap to `phase`.
    pub(crate) fn lap(&mut self, phase: Phase) {
        if let Some((clock, last)) = &mut self.0 {
            let now = Instant::now();
            let took = now.duration_since(*last).as_nanos() as u64;
            clock.0[phase as usize].fetch_add(took, Relaxed);
            *last = now;
        }
    }
}
