//! A tuning session: plans of some networks' layers, measured on some numbers of threads, and the regret of the model.

use super::layer_plans::{LayerPlans, Regret};
use super::model::Model;
use super::tune::{PlanFile, Tuning, measure};
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::networks::Graph;
use crate::progress::Steps;
use crate::record::{Calibration, Fingerprint};
use anyhow::Result;
use convroof_kernels::Variant;
use serde::Serialize;
use std::path::Path;

/// Conditions of a session.
pub struct Setting<'a> {
    /// The machine.
    pub topology: &'a Topology,
    /// Its fingerprint.
    pub machine: &'a Fingerprint,
    /// Its ceilings.
    pub calibration: &'a Calibration,
    /// A pool for each number of threads.
    pub pools: &'a [Workers],
    /// Variants to measure.
    pub variants: &'a [Variant],
    /// The machine's plan file, which is updated after each network.
    pub plans: &'a Path,
}

/// Regret of the model's selection for a network.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkRegret {
    /// The network.
    pub network: String,
    /// Images.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// The regret.
    #[serde(flatten)]
    pub regret: Regret,
}

/// Measures the plans of the networks' layers, and keeps their times in the plan file, which has the contents `file`.
/// Returns its new contents and the regrets. After a signal, these are of the networks that are done.
///
/// # Errors
/// When no variant can compute a layer, there is no memory, or the plan file can't be read or written.
pub fn run(
    setting: &Setting<'_>,
    graphs: &[Graph],
    mut file: PlanFile,
    progress: &mut dyn Steps,
) -> Result<(PlanFile, Vec<NetworkRegret>)> {
    let Setting {
        machine, topology, ..
    } = setting;
    let mut regrets = Vec::new();
    for graph in graphs {
        for workers in setting.pools {
            let threads = workers.threads();
            let model = Model::new(setting.calibration, machine, threads);
            let mut plans = LayerPlans::new(graph, setting.variants, topology, &model)?;
            let (times, complete) = measure(graph, &plans, topology, workers, |layer| {
                progress.end();
                progress.begin(&format!("{}/{layer}", graph.network.name));
            })?;
            let tuning = Tuning::of(graph, threads);
            file = PlanFile::update(setting.plans, &machine.id, |file| {
                file.replace(tuning, times, complete);
            })?;
            if !complete {
                return Ok((file, regrets));
            }
            plans.measured(graph, &file.of(graph, threads));
            if let Some(regret) = plans.regret(graph, &model) {
                regrets.push(NetworkRegret {
                    network: graph.network.name.clone(),
                    batch: graph.batch(),
                    threads,
                    regret,
                });
            }
        }
    }
    Ok((file, regrets))
}
