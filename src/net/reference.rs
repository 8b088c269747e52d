//! A network in f64: each layer by its definition, applied to the f64 output of the layers before.

use super::layer_plans::{LayerPlans, Selection};
use super::weights::parameters;
use crate::interrupt::{self, Stopped};
use crate::networks::{Graph, NodeOp, Source};
use convroof_kernels::Problem;
use convroof_kernels::conformance;
use convroof_kernels::exec::Executor;
use convroof_kernels::problem::Op;
use convroof_kernels::reference::{self, Operands};
use std::collections::HashMap;

/// The output of a network for an input, both in plain NCHW. `progress` is called after each node.
///
/// # Errors
/// [`Stopped`] by a signal.
pub fn compute(
    graph: &Graph,
    seed: u64,
    input: &[f32],
    exec: &dyn Executor,
    mut progress: impl FnMut(),
) -> Result<Vec<f64>, Stopped> {
    let input = input.iter().map(|&x| f64::from(x)).collect();
    let mut values: HashMap<Source, Vec<f64>> = HashMap::from([(Source::Input, input)]);
    let last_use = |of: Source| graph.consumers(of).max();
    for (i, node) in graph.nodes.iter().enumerate() {
        interrupt::check()?;
        let output = match node.op {
            NodeOp::Layer(layer) => {
                let own = parameters(graph, i, seed);
                let operands = Operands {
                    src: &values[&node.inputs[0]][..],
                    weights: &own.weights,
                    bias: &own.bias,
                    residual: node.residual.map_or(&[][..], |r| &values[&r][..]),
                    ..Operands::default()
                };
                reference::compute(&graph.network.layers[layer].problem, operands, exec)
            }
            NodeOp::Concat(_) => {
                let parts: Vec<&[f64]> = node.inputs.iter().map(|s| &values[s][..]).collect();
                let n = graph.batch();
                let image = |image: usize| {
                    let of = move |part: &&[f64]| {
                        let len = part.len() / n;
                        part[image * len..][..len].to_vec()
                    };
                    parts.iter().flat_map(of).collect::<Vec<f64>>()
                };
                (0..n).flat_map(image).collect()
            }
        };
        values.insert(Source::Node(i), output);
        values.retain(|&source, _| last_use(source).is_none_or(|last| last > i));
        progress();
    }
    let last = Source::Node(graph.nodes.len() - 1);
    Ok(values.remove(&last).expect("the last node's output"))
}

/// Tolerance for max |error| / max |reference| of a network's output: the sum of its layers' tolerances.
///
/// The error of each layer alone, relative to its largest output, is bounded as in the conformance tests, on operands
/// of order 1. A layer keeps the relative error of its input about the same. Its random weights act on the error as
/// on the activations, and ReLU and poolings are contractions. A softmax turns an absolute error of its input into a
/// relative error of its output. On inputs of order 1 both are the same.
///
/// Real errors are independent of each other. Their squares add up, so they stay far below this bound.
pub fn tolerance(graph: &Graph, plans: &LayerPlans, selection: &Selection) -> f64 {
    let nodes = graph.nodes.iter().zip(&selection.nodes);
    nodes
        .filter_map(|(node, chosen)| {
            let (NodeOp::Layer(layer), Some(plan)) = (node.op, chosen.plan) else {
                return None;
            };
            let problem = &graph.network.layers[layer].problem;
            let meta = plans.layers[layer][plan].variant.algorithm.meta();
            Some(conformance::tolerance(
                meta.accuracy,
                problem,
                1.0,
                largest(problem),
            ))
        })
        .sum()
}

/// Largest output on random operands, uniform in -1 to 1. It is estimated as five standard deviations of a sum of
/// products, each of variance 1/9.
fn largest(problem: &Problem) -> f64 {
    match &problem.op {
        Op::Conv(conv) => 5.0 * (conv.reduction_len() as f64 / 9.0).sqrt(),
        _ => 1.0,
    }
}
