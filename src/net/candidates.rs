//! For each layer the plans that can compute it, and the choice among them.

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

/// A plan that can compute a layer.
pub struct Candidate {
    /// Whose it is.
    pub variant: Variant,
    /// What runs.
    pub plan: Box<dyn Plan>,
    /// What the model says of a run.
    pub estimate_ns: f64,
    /// What a run took here, if that was measured.
    pub measured_ns: Option<f64>,
}

/// All candidates of a network.
pub struct Candidates {
    /// For each layer of the network (not each node: layers that occur several times have one list).
    pub layers: Vec<Vec<Candidate>>,
    /// Threads that they are planned for.
    pub threads: usize,
}

impl Candidates {
    /// Asks every variant for every layer: single-threaded ones for one thread, the others for more.
    ///
    /// # Errors
    /// When a layer has none.
    pub fn new(
        graph: &Graph,
        variants: &[Variant],
        topology: &Topology,
        model: &Model,
    ) -> Result<Candidates> {
        let threads = model.threads();
        let network_bytes = graph.network.parameter_bytes();
        let caches = topology.caches(threads).in_network(network_bytes as usize);
        let mut layers = Vec::new();
        for layer in &graph.network.layers {
            let mut candidates = Vec::new();
            for &variant in variants {
                let fits = (variant.threading == Threading::St) == (threads == 1);
                let Some(isa) = variant.isa.detect().filter(|_| fits) else {
                    continue;
                };
                let plan = crate::measure::plan(&variant, isa, &layer.problem, &caches, threads);
                let Ok(plan) = plan else {
                    continue;
                };
                candidates.push(Candidate {
                    variant,
                    estimate_ns: model.plan_ns(variant.isa, plan.as_ref(), network_bytes),
                    measured_ns: None,
                    plan,
                });
            }
            if candidates.is_empty() {
                bail!(
                    "no variant can compute {}/{} ({}) on {threads} threads: see convroof list",
                    graph.network.name,
                    layer.name,
                    layer.problem
                );
            }
            layers.push(candidates);
        }
        Ok(Candidates { layers, threads })
    }

    /// Takes over what was measured: by layer and variant.
    pub fn measured(&mut self, graph: &Graph, times: &HashMap<(String, CandidateId), f64>) {
        for (layer, candidates) in graph.network.layers.iter().zip(&mut self.layers) {
            for candidate in candidates {
                let key = (layer.name.clone(), candidate.variant.id().into());
                candidate.measured_ns = times.get(&key).copied();
            }
        }
    }

    /// Whether each layer was measured.
    pub fn all_measured(&self) -> bool {
        let measured = |layer: &Vec<Candidate>| layer.iter().any(|c| c.measured_ns.is_some());
        self.layers.iter().all(measured)
    }

    /// What a candidate of a layer takes, by measurements or by the model. Where some of a layer's were measured, the
    /// others were not worth it.
    fn cost(&self, layer: usize, candidate: usize, by: By) -> f64 {
        let all = &self.layers[layer];
        match by {
            By::Model => all[candidate].estimate_ns,
            By::Measurement if all.iter().any(|c| c.measured_ns.is_some()) => {
                all[candidate].measured_ns.unwrap_or(f64::INFINITY)
            }
            By::Measurement => all[candidate].estimate_ns,
        }
    }

    /// One candidate for each layer at each place, and a layout for each concatenation, so that layers and reorders
    /// are least together.
    pub fn choose(&self, graph: &Graph, model: &Model, by: By) -> Selection {
        let mut choice = Choice::default();
        let mut options = vec![vec![Chosen {
            candidate: None,
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
                            candidate: None,
                            src: layout,
                            dst: layout,
                        })
                        .collect();
                    let costs = vec![0.0; own.len()];
                    (own, costs)
                }
            };
            if i + 1 == graph.nodes.len() {
                // The output is handed over as planes.
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

    /// What the model's choice loses against what measurements choose; none unless every layer was measured.
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
                let candidate = &self.layers[layer][chosen.candidate.expect("a layer's")];
                (candidate.variant.id().into(), candidate.measured_ns)
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

    /// A layer's best candidate for each pair of layouts, and its cost.
    fn options(&self, layer: usize, by: By) -> (Vec<Chosen>, Vec<f64>) {
        let mut options: Vec<(Chosen, f64)> = Vec::new();
        for (i, candidate) in self.layers[layer].iter().enumerate() {
            let layouts = candidate.plan.spec().layouts;
            let cost = self.cost(layer, i, by);
            let chosen = Chosen {
                candidate: Some(i),
                src: layouts.src,
                dst: layouts.dst,
            };
            let same = |o: &&mut (Chosen, f64)| (o.0.src, o.0.dst) == (chosen.src, chosen.dst);
            match options.iter_mut().find(same) {
                // Of equals the later: wider, and made for fewer layers.
                Some(best) if cost <= best.1 => *best = (chosen, cost),
                Some(_) => {}
                None => options.push((chosen, cost)),
            }
        }
        options.into_iter().unzip()
    }
}

/// What the model's choice loses.
#[derive(Clone, Debug, Serialize)]
pub struct Regret {
    /// By node.
    pub layers: Vec<LayerRegret>,
    /// Of all layers together: 0.05 if the model's choice takes 5 % longer.
    pub total: f64,
}

/// The two choices for a layer. Times in nanoseconds, measured.
#[derive(Clone, Debug, Serialize)]
pub struct LayerRegret {
    /// The node.
    pub name: String,
    /// What the model chooses.
    pub guess: CandidateId,
    /// Its time.
    pub guess_ns: f64,
    /// What measurements choose.
    pub best: CandidateId,
    /// Its time.
    pub best_ns: f64,
}

/// Where costs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum By {
    /// The model.
    #[serde(rename = "model")]
    Model,
    /// Measurements, of layers that have them.
    #[serde(rename = "measured")]
    Measurement,
}

/// What was chosen for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The place in its layer's list; none for a concatenation.
    pub candidate: Option<usize>,
    /// What it reads.
    pub src: Layout,
    /// What it writes, and adds.
    pub dst: Layout,
}

/// What was chosen for every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// By node.
    pub nodes: Vec<Chosen>,
}
