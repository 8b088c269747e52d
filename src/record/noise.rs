//! Disturbances of a run by the rest of the machine.

use serde::{Deserialize, Serialize};

/// Disturbances during a part of a run, as the system counted them. Unknown values are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoisePeriod {
    /// Part of the run: `before`, `calibration`, or the problem's text form.
    pub during: String,
    /// Its length in seconds.
    pub seconds: f64,
    /// Mean number of runnable processes in the minute before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_average: Option<f64>,
    /// Fraction of the CPU time of the workers' cores that the hypervisor gave to other machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steal: Option<f64>,
    /// Fraction of the CPU time of the workers' cores that processes outside of the run took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<f64>,
    /// Number of times that the system took a CPU from a worker, all workers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switches: Option<u64>,
    /// Lowest and highest clock of the workers' cores at its end, MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mhz: Option<(f64, f64)>,
}
