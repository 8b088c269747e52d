//! A tuning session: plans of some networks' layers, measured on some numbers of threads, once or several times, and
//! the regret of the model.

use super::layer_plans::LayerPlans;
use super::model::Model;
use super::plan_file::{PlanFile, Tuning};
use super::regret::{Case, Regret};
use super::tune::measure;
use crate::machine::Topology;
use crate::machine::pool::Workers;
use crate::measure::turns::Turns;
use crate::networks::Graph;
use crate::progress::Steps;
use crate::record::{Calibration, Fingerprint};
use crate::stats::median;
use anyhow::Result;
use convroof_kernels::Variant;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Rounds of the model's selection and the measured one.
const TURNS: Turns = Turns {
    rounds: 15,
    time: Duration::from_secs(2),
};

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
    /// Number of tunings, one after the other. The plan file keeps the last.
    pub repeat: usize,
}

/// A tuning of a network, and the regret of the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkRegret {
    /// The network.
    pub network: String,
    /// Images.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// Number of the tuning, from 1.
    pub tuning: usize,
    /// The regret.
    #[serde(flatten)]
    pub regret: Regret,
}

/// Measures the plans of the networks' layers, and keeps their times in the plan file, which has the contents `file`.
/// Returns its new contents and the regrets. After a signal, these are of the networks that are done.
///
/// # Errors
/// When no variant can compute a layer, there is no memory, selections give different outputs, or the plan file can't
/// be read or written.
pub fn run(
    setting: &Setting<'_>,
    graphs: &[Graph],
    mut file: PlanFile,
    progress: &mut dyn Steps,
) -> Result<(PlanFile, Vec<NetworkRegret>)> {
    let mut regrets = Vec::new();
    // Each network is tuned again only after all others, so that its tunings belong to different minutes.
    for tuning in 1..=setting.repeat {
        for graph in graphs {
            for workers in setting.pools {
                let (new, complete, regret) = tune(setting, graph, workers, progress)?;
                file = new;
                regrets.extend(regret.map(|regret| NetworkRegret {
                    network: graph.network.name.clone(),
                    batch: graph.batch(),
                    threads: workers.threads(),
                    tuning,
                    regret,
                }));
                if !complete {
                    return Ok((file, regrets));
                }
            }
        }
    }
    Ok((file, regrets))
}

/// Tunes a network on some workers. Returns the new contents of the plan file, false after a signal, and the regret.
fn tune(
    setting: &Setting<'_>,
    graph: &Graph,
    workers: &Workers,
    progress: &mut dyn Steps,
) -> Result<(PlanFile, bool, Option<Regret>)> {
    let (machine, topology, threads) = (setting.machine, setting.topology, workers.threads());
    let model = Model::new(setting.calibration, machine, threads);
    let mut plans = LayerPlans::new(graph, setting.variants, topology, &model)?;
    let (times, complete) = measure(graph, &plans, topology, workers, |layer| {
        progress.end();
        progress.begin(&format!("{}/{layer}", graph.network.name));
    })?;
    let file = PlanFile::update(setting.plans, &machine.id, |file| {
        file.replace(Tuning::of(graph, threads), times, complete);
    })?;
    if !complete {
        return Ok((file, false, None));
    }
    plans.measured(graph, &file.of(graph, threads));
    progress.begin(&format!("{} by the cost model", graph.network.name));
    let case = Case {
        graph,
        plans: &plans,
        model: &model,
        workers,
    };
    let regret = case.regret(TURNS)?;
    Ok((file, true, regret))
}

/// Several tunings of a network on some threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeated {
    /// The network.
    pub network: String,
    /// Images.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// Regret of each tuning that measured it, in ascending order.
    pub regrets: Vec<f64>,
    /// Median of the regrets.
    pub median: Option<f64>,
    /// Nodes whose variant was the same in each tuning.
    pub stable: usize,
    /// All nodes with a layer.
    pub layers: usize,
}

/// Summaries of the networks that were tuned several times.
pub fn repeated(all: &[NetworkRegret]) -> Vec<Repeated> {
    let first = all.iter().filter(|r| r.tuning == 1);
    let summary = |first: &NetworkRegret| {
        let key = |r: &NetworkRegret| (r.network.clone(), r.batch, r.threads);
        let own: Vec<&Regret> = all
            .iter()
            .filter(|r| key(r) == key(first))
            .map(|r| &r.regret)
            .collect();
        let mut regrets: Vec<f64> = own.iter().filter_map(|r| r.total).collect();
        regrets.sort_by(f64::total_cmp);
        let layers = &first.regret.layers;
        let same = |i: &usize| own.iter().all(|r| r.layers[*i].best == layers[*i].best);
        Repeated {
            network: first.network.clone(),
            batch: first.batch,
            threads: first.threads,
            median: median(&regrets),
            regrets,
            stable: (0..layers.len()).filter(same).count(),
            layers: layers.len(),
        }
    };
    let all = first.map(summary);
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::regret::LayerRegret;

    fn tuning(network: &str, number: usize, total: Option<f64>, best: [&str; 2]) -> NetworkRegret {
        let layer = |best: &str| LayerRegret {
            name: "conv1".into(),
            layer: "conv1".into(),
            guess: "direct/avx2/st".into(),
            guess_ns: Some(2.0),
            guess_ratio: None,
            best: best.into(),
            best_ns: 1.0,
            sure: None,
            ties: Vec::new(),
        };
        NetworkRegret {
            network: network.into(),
            batch: 1,
            threads: 1,
            tuning: number,
            regret: Regret {
                layers: best.map(layer).into(),
                total,
                total_ci: None,
                rounds: 15,
            },
        }
    }

    #[test]
    fn tunings_are_summarised_by_their_median() {
        let (direct, im2col) = ("direct/avx2/st", "im2col/avx2/st");
        let all = [
            tuning("nin", 1, Some(0.3), [direct, direct]),
            tuning("vgg16", 1, None, [direct, direct]),
            tuning("nin", 2, Some(0.01), [direct, im2col]),
            tuning("vgg16", 2, None, [direct, direct]),
            tuning("nin", 3, Some(0.02), [direct, direct]),
        ];
        let [nin, vgg] = &repeated(&all)[..] else {
            panic!("two networks");
        };
        assert_eq!((nin.network.as_str(), nin.median), ("nin", Some(0.02)));
        assert_eq!(nin.regrets, [0.01, 0.02, 0.3]);
        assert_eq!((nin.stable, nin.layers), (1, 2));
        assert_eq!((vgg.median, vgg.stable), (None, 2));
    }
}
