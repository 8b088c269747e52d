//! Plans that can compute each layer, and the selection of one plan for each layer.

use super::choose::Choice;
use super::contest::Measured;
use super::layouts::{joins, same_memory};
use super::model::Model;
use crate::machine::Topology;
use crate::networks::{Graph, NodeOp, Source};
use crate::record::CandidateId;
use crate::ties::{self, Certainty};
use crate::units;
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
    /// Measured time on this machine; none if it was not measured.
    pub measured: Option<Measured>,
    /// Inexactness of its algorithm on the layer ([`ties::inexactness`]).
    inexactness: f64,
}

impl LayerPlan {
    /// True if the plan can't be told from the fastest of its layer.
    fn is_eligible(&self) -> bool {
        let ratio = self.measured.and_then(|m| m.ratio);
        ratio.is_some_and(|ratio| ties::is_eligible(&ratio))
    }
}

/// All plans of a network's layers.
pub struct LayerPlans {
    /// Plans of each layer of the network, in the registry's order. A layer that occurs several times has one list.
    pub layers: Vec<Vec<LayerPlan>>,
    /// Number of threads that the plans are made for.
    pub threads: usize,
    /// Packed weights of all nodes, in bytes, as the model selects their plans. A run reads them once, so they displace
    /// each other from the caches.
    pub network_bytes: u64,
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
        let weights = graph.network.parameter_bytes();
        let caches = topology.caches(threads).in_network(weights as usize);
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
                    estimate_ns: f64::INFINITY,
                    measured: None,
                    inexactness: ties::inexactness(
                        variant.algorithm.meta().accuracy,
                        &layer.problem,
                    ),
                    plan: plan.into(),
                });
            }
            if plans.is_empty() {
                bail!(
                    "no variant can compute {}/{} ({}) on {}: see convroof list",
                    graph.network.name,
                    layer.name,
                    layer.problem,
                    units::threads(threads)
                );
            }
            layers.push(plans);
        }
        let mut plans = LayerPlans {
            layers,
            threads,
            network_bytes: weights,
        };
        // The packed weights depend on the selection, and the selection on the level that holds them.
        plans.estimate(model);
        plans.network_bytes = plans.packed_bytes(graph, &plans.choose(graph, model, By::Model));
        plans.estimate(model);
        Ok(plans)
    }

    /// Estimates the time of every plan.
    fn estimate(&mut self, model: &Model) {
        for plan in self.layers.iter_mut().flatten() {
            plan.estimate_ns =
                model.plan_ns(plan.variant.isa, plan.plan.as_ref(), self.network_bytes);
        }
    }

    /// Packed weights of all nodes of a selection, in bytes.
    fn packed_bytes(&self, graph: &Graph, selection: &Selection) -> u64 {
        let nodes = graph.nodes.iter().zip(&selection.nodes);
        let packed = nodes.filter_map(|(node, chosen)| {
            let (NodeOp::Layer(layer), Some(plan)) = (node.op, chosen.plan) else {
                return None;
            };
            Some(self.layers[layer][plan].plan.spec().packed_bytes() as u64)
        });
        packed.sum()
    }

    /// Stores measured times, by layer and variant.
    pub fn measured(&mut self, graph: &Graph, times: &HashMap<(String, CandidateId), Measured>) {
        for (layer, plans) in graph.network.layers.iter().zip(&mut self.layers) {
            for plan in plans {
                let key = (layer.name.clone(), plan.variant.id().into());
                plan.measured = times.get(&key).copied();
            }
        }
    }

    /// True if each layer has a measured plan.
    pub fn all_measured(&self) -> bool {
        let measured = |layer: &Vec<LayerPlan>| layer.iter().any(|p| p.measured.is_some());
        self.layers.iter().all(measured)
    }

    /// True if the costs of a layer's plans come from the model.
    fn is_estimated(&self, layer: usize, by: By) -> bool {
        by == By::Model || self.layers[layer].iter().all(|p| p.measured.is_none())
    }

    /// Costs of a layer's plans in nanoseconds, by measurement or by the model. Measured plans that can't be told from
    /// the fastest cost as much as it does. If some plans of the layer were measured, the others cost infinity: the
    /// tuning left them out because they were too slow.
    fn costs(&self, layer: usize, by: By) -> Vec<f64> {
        let plans = &self.layers[layer];
        if self.is_estimated(layer, by) {
            return plans
                .iter()
                .map(|plan| estimate_beside(plans, plan))
                .collect();
        }
        let ns = |p: &LayerPlan| p.measured.map_or(f64::INFINITY, |m| m.ns);
        let eligible = plans.iter().filter(|p| p.is_eligible());
        let fastest = eligible.map(ns).fold(f64::INFINITY, f64::min);
        let cost = |p: &LayerPlan| if p.is_eligible() { fastest } else { ns(p) };
        plans.iter().map(cost).collect()
    }

    /// Certainty of a layer's choice. None if its times don't tell, as in plan files of older versions.
    pub fn certainty(&self, layer: usize) -> Option<Certainty> {
        let measured = self.layers[layer].iter().filter_map(|p| p.measured);
        let mut ratios: Vec<_> = measured.map(|m| m.ratio).collect::<Option<_>>()?;
        // The fastest is no rival of itself.
        let fastest = ratios.iter().position(|r| r.ci == (1.0, 1.0))?;
        ratios.swap_remove(fastest);
        Some(Certainty::of(&ratios))
    }

    /// Variants of a layer that can't be told from the fastest, itself included.
    pub fn ties(&self, layer: usize) -> Vec<CandidateId> {
        let tied = self.layers[layer].iter().filter(|p| p.is_eligible());
        tied.map(|p| p.variant.id().into()).collect()
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

    /// A layer's best plan for each pair of layouts, and its cost. Of plans with equal costs the most exact is chosen.
    /// Of equally exact ones it is the first, which is the simplest, if their costs were measured. If they were
    /// estimated, it is the last, which is the most specialised.
    fn options(&self, layer: usize, by: By) -> (Vec<Chosen>, Vec<f64>) {
        let (plans, costs) = (&self.layers[layer], self.costs(layer, by));
        let mut order: Vec<usize> = (0..plans.len()).collect();
        if self.is_estimated(layer, by) {
            order.reverse();
        }
        order.sort_by(|&a, &b| plans[a].inexactness.total_cmp(&plans[b].inexactness));
        let mut options: Vec<(Chosen, f64)> = Vec::new();
        for i in order {
            let (layouts, cost) = (plans[i].plan.spec().layouts, costs[i]);
            let chosen = Chosen {
                plan: Some(i),
                src: layouts.src,
                dst: layouts.dst,
            };
            let same = |o: &&mut (Chosen, f64)| (o.0.src, o.0.dst) == (chosen.src, chosen.dst);
            match options.iter_mut().find(same) {
                Some(best) if cost < best.1 => *best = (chosen, cost),
                Some(_) => {}
                None => options.push((chosen, cost)),
            }
        }
        options.into_iter().unzip()
    }
}

/// Ratio of the estimates of two instruction sets below which the wider vectors are expected to be faster. Their measured
/// peaks differ by noise, and wider vectors need fewer loads for each operation.
const WIDER: f64 = 1.05;

/// Estimate of one of a layer's plans in nanoseconds: that of the same algorithm with wider vectors, unless that is
/// clearly slower.
fn estimate_beside(plans: &[LayerPlan], plan: &LayerPlan) -> f64 {
    let (own, isa) = (plan.variant.algorithm.meta().id, plan.variant.isa);
    let wider = plans.iter().filter(|other| {
        other.variant.algorithm.meta().id == own && other.variant.isa.lanes() > isa.lanes()
    });
    let wider = wider.map(|p| p.estimate_ns).fold(f64::INFINITY, f64::min);
    match wider <= WIDER * plan.estimate_ns {
        true => wider.max(plan.estimate_ns),
        false => plan.estimate_ns,
    }
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
