//! Plans that can compute each layer, and the selection of one plan for each layer.

use super::choose::Choice;
use super::layouts::{joins, same_memory};
use super::model::Model;
use crate::machine::Topology;
use crate::networks::{Graph, NodeOp, Source};
use crate::record::CandidateId;
use anyhow::{Result, bail};
use convroof_kernels::registry::Threading;
use convroof_kernels::tensor::{Layout, TensorDesc};
use convroof_kernels::{Plan, Variant};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// A plan that can compute a layer.
pub struct LayerPlan {
    /// The variant that made the plan.
    pub variant: Variant,
    /// The plan.
    pub plan: Arc<dyn Plan>,
    /// Estimate of the model for a run, nanoseconds.
    pub estimate_ns: f64,
    /// Measured time of a run on this machine, nanoseconds; none if it was not measured.
    pub measured_ns: Option<f64>,
}

/// All plans of a network's layers.
pub struct LayerPlans {
    /// Plans of each layer of the network. A layer that occurs several times has one list.
    pub layers: Vec<Vec<LayerPlan>>,
    /// Number of threads that the plans are made for.
    pub threads: usize,
}

impl LayerPlans {
    /// Plans every layer with every variant: single-threaded variants for one thread, the others for more.
    ///
    /// # Errors
    /// When no variant can compute some layer.
    pub fn new(
        graph: &Graph,
        variants: &[Variant],
        topology: &Topology,
        model: &Model,
    ) -> Result<LayerPlans> {
        let threads = model.threads();
        let network_bytes = graph.network.parameter_bytes();
        let caches = topology.caches(threads).in_network(network_bytes as usize);
        let mut layers = Vec::new();
        for layer in &graph.network.layers {
            let mut plans = Vec::new();
            for &variant in variants {
                let fits = (variant.threading == Threading::St) == (threads == 1);
                let Some(isa) = variant.isa.detect().filter(|_| fits) else {
                    continue;
                };
                let plan = crate::measure::plan(&variant, isa, &layer.problem, &caches, threads);
                let Ok(plan) = plan else {
                    continue;
                };
                plans.push(LayerPlan {
                    variant,
                    estimate_ns: model.plan_ns(variant.isa, plan.as_ref(), network_bytes),
                    measured_ns: None,
                    plan: plan.into(),
                });
            }
            if plans.is_empty() {
                bail!(
                    "no variant can compute {}/{} ({}) on {threads} threads: see convroof list",
                    graph.network.name,
                    layer.name,
                    layer.problem
                );
            }
            layers.push(plans);
        }
        Ok(LayerPlans { layers, threads })
    }

    /// Stores measured times, by layer and variant.
    pub fn measured(&mut self, graph: &Graph, times: &HashMap<(String, CandidateId), f64>) {
        for (layer, plans) in graph.network.layers.iter().zip(&mut self.layers) {
            for plan in plans {
                let key = (layer.name.clone(), plan.variant.id().into());
                plan.measured_ns = times.get(&key).copied();
            }
        }
    }

    /// True if each layer has a measured plan.
    pub fn all_measured(&self) -> bool {
        let measured = |layer: &Vec<LayerPlan>| layer.iter().any(|p| p.measured_ns.is_some());
        self.layers.iter().all(measured)
    }

    /// Cost of a layer's plan in nanoseconds, by measurement or by the model. If some plans of the layer were
    /// measured, the others cost infinity: the tuning left them out because they were too slow.
    fn cost(&self, layer: usize, plan: usize, by: By) -> f64 {
        let all = &self.layers[layer];
        match by {
            By::Model => all[plan].estimate_ns,
            By::Measurement if all.iter().any(|p| p.measured_ns.is_some()) => {
                all[plan].measured_ns.unwrap_or(f64::INFINITY)
            }
            By::Measurement => all[plan].estimate_ns,
        }
    }

    /// Chooses one plan for each node and a layout for each concatenation, to minimise the total time of layers
    /// and reorders.
    pub fn choose(&self, graph: &Graph, model: &Model, by: By) -> Selection {
        let mut choice = Choice::default();
        let mut options = vec![vec![Chosen {
            plan: None,
            src: Layout::Nchw,
            dst: Layout::Nchw,
        }]];
        choice.node(vec![0.0]);
        let place = |source: Source| match source {
            Source::Input => 0,
            Source::Node(node) => node + 1,
        };
        let reorder = |dims: [usize; 4], from: Layout, to: Layout| {
            if same_memory(dims, from, to) {
                0.0
            } else {
                model.reorder_ns(TensorDesc::f32(from, dims))
            }
        };
        for (i, node) in graph.nodes.iter().enumerate() {
            let dims = graph.dims(Source::Node(i));
            let (own, mut costs) = match node.op {
                NodeOp::Layer(layer) => self.options(layer, by),
                NodeOp::Concat(_) => {
                    let layouts = joins(graph, i);
                    let own: Vec<Chosen> = layouts
                        .iter()
                        .map(|&layout| Chosen {
                            plan: None,
                            src: layout,
                            dst: layout,
                        })
                        .collect();
                    let costs = vec![0.0; own.len()];
                    (own, costs)
                }
            };
            if i + 1 == graph.nodes.len() {
                // The network's output is plain NCHW.
                for (cost, option) in costs.iter_mut().zip(&own) {
                    *cost += reorder(dims, option.dst, Layout::Nchw);
                }
            }
            let here = choice.node(costs);
            for &input in &node.inputs {
                let (from, dims) = (&options[place(input)], graph.dims(input));
                choice.edge(place(input), here, |a, b| {
                    reorder(dims, from[a].dst, own[b].src)
                });
            }
            if let Some(residual) = node.residual {
                let from = &options[place(residual)];
                choice.edge(place(residual), here, |a, b| {
                    reorder(dims, from[a].dst, own[b].dst)
                });
            }
            options.push(own);
        }
        let chosen = choice.solve();
        let nodes = chosen.iter().zip(&options).skip(1).map(|(&i, own)| own[i]);
        Selection {
            nodes: nodes.collect(),
        }
    }

    /// Loss of the model's selection against the measured one; none unless every layer was measured.
    pub fn regret(&self, graph: &Graph, model: &Model) -> Option<Regret> {
        if !self.all_measured() {
            return None;
        }
        let (guessed, best) = [By::Model, By::Measurement]
            .map(|by| self.choose(graph, model, by))
            .into();
        let mut layers = Vec::new();
        for (node, (guess, best)) in graph
            .nodes
            .iter()
            .zip(guessed.nodes.iter().zip(&best.nodes))
        {
            let NodeOp::Layer(layer) = node.op else {
                continue;
            };
            let of = |chosen: &Chosen| {
                let plan = &self.layers[layer][chosen.plan.expect("a layer's")];
                (plan.variant.id().into(), plan.measured_ns)
            };
            let ((guess, guess_ns), (best, best_ns)) = (of(guess), of(best));
            layers.push(LayerRegret {
                name: node.name.clone(),
                guess,
                guess_ns: guess_ns?,
                best,
                best_ns: best_ns?,
            });
        }
        let sum = |ns: fn(&LayerRegret) -> f64| layers.iter().map(ns).sum::<f64>();
        Some(Regret {
            total: sum(|l| l.guess_ns) / sum(|l| l.best_ns) - 1.0,
            layers,
        })
    }

    /// A layer's best plan for each pair of layouts, and its cost.
    fn options(&self, layer: usize, by: By) -> (Vec<Chosen>, Vec<f64>) {
        let mut options: Vec<(Chosen, f64)> = Vec::new();
        for (i, plan) in self.layers[layer].iter().enumerate() {
            let layouts = plan.plan.spec().layouts;
            let cost = self.cost(layer, i, by);
            let chosen = Chosen {
                plan: Some(i),
                src: layouts.src,
                dst: layouts.dst,
            };
            let same = |o: &&mut (Chosen, f64)| (o.0.src, o.0.dst) == (chosen.src, chosen.dst);
            match options.iter_mut().find(same) {
                // Of equal costs the later variant is chosen: it has wider vectors and is more specialised.
                Some(best) if cost <= best.1 => *best = (chosen, cost),
                Some(_) => {}
                None => options.push((chosen, cost)),
            }
        }
        options.into_iter().unzip()
    }
}

/// Loss of the model's selection.
#[derive(Clone, Debug, Serialize)]
pub struct Regret {
    /// Loss of each node.
    pub layers: Vec<LayerRegret>,
    /// Loss of all layers together: 0.05 if the model's selection takes 5 % longer.
    pub total: f64,
}

/// Model's and measured selection for a layer. Times in nanoseconds, measured.
#[derive(Clone, Debug, Serialize)]
pub struct LayerRegret {
    /// The node.
    pub name: String,
    /// Selection of the model.
    pub guess: CandidateId,
    /// Its time.
    pub guess_ns: f64,
    /// Selection by measurements.
    pub best: CandidateId,
    /// Its time.
    pub best_ns: f64,
}

/// Source of the costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum By {
    /// The model.
    #[serde(rename = "model")]
    Model,
    /// Measurements where a layer has them, otherwise the model.
    #[serde(rename = "measured")]
    Measurement,
}

/// Selection for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Index in the list of its layer's plans; none for a concatenation.
    pub plan: Option<usize>,
    /// Layout of its inputs.
    pub src: Layout,
    /// Layout of its output and of the residual.
    pub dst: Layout,
}

/// Selection for every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Choice for each node, by index.
    pub nodes: Vec<Chosen>,
}
