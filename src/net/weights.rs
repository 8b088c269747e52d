//! Seeded parameters of every layer, such that activations stay of order 1 through the whole network.
//!
//! Weights are uniform. Their variance is 2 / fan-in where a ReLU follows (He et al. 2015) and 1 / fan-in elsewhere.
//! So the output of a layer has the mean square of its input. A convolution that adds a shortcut has its variance
//! divided by the number of shortcuts in the network. Otherwise the variance of the activations would double with
//! each shortcut.
//!
//! Batch normalisations get parameters too and are folded. With s = gamma / sqrt(variance + epsilon), the weights
//! become s W, and the bias becomes beta - s mean.

use crate::networks::{Graph, LayerKind, NodeOp};
use convroof_kernels::data::{Fill, Rng};
use convroof_kernels::problem::Op;

/// The seed of weights and inputs.
pub const SEED: u64 = 1;

/// Parameters of a layer; empty where it has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// c_out x c_in / groups x kh x kw.
    pub weights: Vec<f32>,
    /// c_out.
    pub bias: Vec<f32>,
}

/// A batch normalisation at inference, a value for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Scales.
    pub gamma: Vec<f32>,
    /// Shifts.
    pub beta: Vec<f32>,
    /// Means.
    pub mean: Vec<f32>,
    /// Variances.
    pub variance: Vec<f32>,
    /// Number that is added to the variances.
    pub epsilon: f64,
}

/// Folds a batch normalisation into the weights of a convolution (c_out x filter). Returns the weights and bias of a
/// convolution without normalisation.
pub fn fold(mut weights: Vec<f32>, norm: &BatchNorm) -> Parameters {
    let channels = norm.gamma.len();
    let filter = weights.len() / channels;
    let mut bias = Vec::with_capacity(channels);
    for (c, filter) in weights.chunks_exact_mut(filter).enumerate() {
        let scale = f64::from(norm.gamma[c]) / (f64::from(norm.variance[c]) + norm.epsilon).sqrt();
        for w in filter {
            *w = (f64::from(*w) * scale) as f32;
        }
        bias.push((f64::from(norm.beta[c]) - scale * f64::from(norm.mean[c])) as f32);
    }
    Parameters { weights, bias }
}

/// The parameters of a node. They depend only on the graph, the node and the seed.
pub fn parameters(graph: &Graph, node: usize, seed: u64) -> Parameters {
    let NodeOp::Layer(layer) = graph.nodes[node].op else {
        return Parameters::default();
    };
    let layer = &graph.network.layers[layer];
    let Op::Conv(conv) = &layer.problem.op else {
        return Parameters::default();
    };
    let mut rng = Rng::new(seed.wrapping_mul(1 << 20).wrapping_add(node as u64 + 1));
    let fan_in = conv.reduction_len() as f64;
    let epilogue = layer.problem.epilogue;
    let mut variance = if epilogue.relu { 2.0 } else { 1.0 } / fan_in;
    if epilogue.residual {
        let shortcuts = graph.nodes.iter().filter(|n| n.residual.is_some()).count();
        variance /= shortcuts as f64;
    }
    // Uniform in -a to a has the variance a^2 / 3.
    let mut uniform = |len: usize, middle: f64, half: f64| -> Vec<f32> {
        let mut values = rng.vec(Fill::Uniform, len);
        for x in &mut values {
            *x = (middle + half * f64::from(*x)) as f32;
        }
        values
    };
    let weights = uniform(
        conv.c_out * conv.reduction_len(),
        0.0,
        (3.0 * variance).sqrt(),
    );
    if layer.kind == (LayerKind::Conv { batch_norm: true }) {
        let norm = BatchNorm {
            gamma: uniform(conv.c_out, 1.0, 0.25),
            beta: uniform(conv.c_out, 0.0, 0.1),
            mean: uniform(conv.c_out, 0.0, 0.1),
            variance: uniform(conv.c_out, 1.0, 0.25),
            epsilon: graph.network.epsilon,
        };
        return fold(weights, &norm);
    }
    let bias = match epilogue.bias {
        true => uniform(conv.c_out, 0.0, 0.1),
        false => Vec::new(),
    };
    Parameters { weights, bias }
}

/// An input for the network, in plain NCHW.
pub fn input(graph: &Graph, seed: u64) -> Vec<f32> {
    let [c, h, w] = graph.network.input;
    Rng::new(seed).vec(Fill::Uniform, graph.batch() * c * h * w)
}
