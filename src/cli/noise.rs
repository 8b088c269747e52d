//! Noise of commands that write no record: observed beside their measurements, and said before their results.

use super::output::note;
use super::progress::Bar;
use crate::machine::Topology;
use crate::machine::noise::{self, Watch};
use crate::noise::Noise;
use crate::record::{Calibration, NoisePeriod};
use std::time::Duration;

/// Disturbances since a command began.
pub(super) struct Disturbances {
    watch: Watch,
    periods: Vec<NoisePeriod>,
}

impl Disturbances {
    /// Observes the cores of the first `threads` workers. It waits for a quiet moment, for a part of the budget of
    /// `seconds`; none is a command without a budget.
    pub(super) fn begin(topology: &Topology, threads: usize, seconds: Option<f64>) -> Self {
        let mut watch = Watch::begin(topology, threads);
        let patience = noise::patience(seconds.map(Duration::from_secs_f64));
        let mut bar = None;
        let before = noise::settle(&mut watch, patience, || {
            bar.insert(Bar::new(0, "calibrate")).say(noise::WAITING);
        });
        if let Some(bar) = bar {
            bar.finish();
        }
        Disturbances {
            watch,
            periods: vec![before],
        }
    }

    /// All facts until now. `part` names the work since the previous call.
    pub(super) fn facts(&mut self, part: &str, calibration: &Calibration) -> Noise {
        self.periods.push(self.watch.period(part));
        Noise::default()
            .periods(&self.periods)
            .calibration(calibration)
    }
}

/// The line about noise above the results. With `--json` it goes to standard error, and the result is empty.
pub(super) fn line_above(noise: &Noise, json: bool) -> String {
    if json {
        note(&noise.line());
        return String::new();
    }
    format!("{}.\n", noise.line())
}
