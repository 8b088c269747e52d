//! A network as a graph: one node for each occurrence of a layer, with its inputs and its own weights.

use super::{Network, Segment};
use convroof_kernels::Problem;
use std::collections::HashSet;

/// Source of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The network's input.
    Input,
    /// A node's output.
    Node(usize),
}

/// Operation of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeOp {
    /// A layer of the network, by its index.
    Layer(usize),
    /// A concatenation of the node's inputs along the channels, by its index.
    Concat(usize),
}

/// One occurrence of a layer, or a concatenation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The layer's name, with a number if it occurs several times: `conv2_x.3x3#2`.
    pub name: String,
    /// Operation.
    pub op: NodeOp,
    /// Inputs: one source, or all parts of a concatenation.
    pub inputs: Vec<Source>,
    /// Tensor that is added to its output.
    pub residual: Option<Source>,
}

/// Nodes of a network, each after its inputs. The last computes the network's output.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The network whose layers these are.
    pub network: Network,
    /// Nodes in the order of execution.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The graph of a network's lines.
    ///
    /// # Errors
    /// When the shapes of consecutive layers differ, or a layer's occurrences differ from its multiplicity.
    pub fn new(network: Network) -> Result<Graph, String> {
        let mut builder = Builder {
            occurred: vec![0; network.layers.len()],
            network: &network,
            nodes: Vec::new(),
        };
        builder.build()?;
        let nodes = builder.nodes;
        Ok(Graph { network, nodes })
    }

    /// A node's problem; none of a concatenation.
    pub fn problem(&self, node: usize) -> Option<&Problem> {
        match self.nodes[node].op {
            NodeOp::Layer(layer) => Some(&self.network.layers[layer].problem),
            NodeOp::Concat(_) => None,
        }
    }

    /// n, c, h, w of a tensor.
    pub fn dims(&self, source: Source) -> [usize; 4] {
        dims(&self.network, &self.nodes, source)
    }

    /// Images.
    pub fn batch(&self) -> usize {
        self.network.batch()
    }

    /// The nodes that read a tensor, as input or as residual.
    pub fn consumers(&self, of: Source) -> impl Iterator<Item = usize> + '_ {
        let takes = move |node: &Node| node.inputs.contains(&of) || node.residual == Some(of);
        let all = self.nodes.iter().enumerate();
        all.filter(move |(_, node)| takes(node)).map(|(i, _)| i)
    }
}

fn dims(network: &Network, nodes: &[Node], source: Source) -> [usize; 4] {
    let Source::Node(node) = source else {
        let [c, h, w] = network.input;
        return [network.batch(), c, h, w];
    };
    match nodes[node].op {
        NodeOp::Layer(layer) => network.layers[layer].problem.dst_dims(),
        NodeOp::Concat(concat) => network.concat_dims(&network.concats[concat]),
    }
}

struct Builder<'a> {
    network: &'a Network,
    nodes: Vec<Node>,
    /// Occurrences of each layer so far.
    occurred: Vec<usize>,
}

impl Builder<'_> {
    fn build(&mut self) -> Result<(), String> {
        let network = self.network;
        let mut inside = HashSet::new();
        for segment in &network.flow {
            match segment {
                Segment::Layer(_) => {}
                Segment::Block { path, shortcut, .. } => {
                    inside.extend(path.iter().chain(shortcut).copied());
                }
                Segment::Concat(concat) => {
                    inside.extend(network.branches(&network.concats[*concat].name));
                }
            }
        }
        let mut at = Source::Input;
        for segment in &network.flow {
            match segment {
                Segment::Layer(layer) if inside.contains(layer) => {}
                Segment::Layer(layer) => {
                    for _ in 0..network.layers[*layer].count {
                        at = self.layer(*layer, at, None)?;
                    }
                }
                Segment::Block {
                    times,
                    path,
                    shortcut,
                } => {
                    for _ in 0..*times {
                        at = self.block(path, shortcut, at)?;
                    }
                }
                Segment::Concat(concat) => at = self.concat(*concat, at)?,
            }
        }
        for (layer, &occurred) in network.layers.iter().zip(&self.occurred) {
            if occurred != layer.count {
                return Err(format!(
                    "{} occurs {occurred} times, and not {}",
                    layer.name, layer.count
                ));
            }
        }
        Ok(())
    }

    fn layer(
        &mut self,
        layer: usize,
        input: Source,
        residual: Option<Source>,
    ) -> Result<Source, String> {
        let of = &self.network.layers[layer];
        self.occurred[layer] += 1;
        let name = match of.count {
            1 => of.name.clone(),
            _ => format!("{}#{}", of.name, self.occurred[layer]),
        };
        let fits = |what: &str, source: Source, wanted: [usize; 4]| {
            let made = dims(self.network, &self.nodes, source);
            if made == wanted {
                Ok(())
            } else {
                Err(format!(
                    "{name}: its {what} is {made:?}, expected {wanted:?}"
                ))
            }
        };
        fits("input", input, of.problem.src_dims())?;
        if residual.is_some() != of.problem.epilogue.residual {
            return Err(format!(
                "{name}: only one of problem and block adds something"
            ));
        }
        if let Some(residual) = residual {
            fits("shortcut", residual, of.problem.dst_dims())?;
        }
        self.nodes.push(Node {
            name,
            op: NodeOp::Layer(layer),
            inputs: vec![input],
            residual,
        });
        Ok(Source::Node(self.nodes.len() - 1))
    }

    fn block(
        &mut self,
        path: &[usize],
        shortcut: &[usize],
        input: Source,
    ) -> Result<Source, String> {
        let (last, before) = path.split_last().ok_or("a block without a path")?;
        let mut at = input;
        for &layer in before {
            at = self.layer(layer, at, None)?;
        }
        let mut added = input;
        for &layer in shortcut {
            added = self.layer(layer, added, None)?;
        }
        self.layer(*last, at, Some(added))
    }

    fn concat(&mut self, concat: usize, input: Source) -> Result<Source, String> {
        let network = self.network;
        let of = &network.concats[concat];
        let branches: Vec<usize> = network.branches(&of.name).collect();
        let among = |part: &&String| {
            let mut names = branches.iter().map(|&layer| &network.layers[layer].name);
            names.any(|name| name == *part)
        };
        if let Some(stranger) = of.parts.iter().find(|part| !among(part)) {
            return Err(format!(
                "{}: {stranger} is none of its branches, whose names begin with '{}.'",
                of.name, of.name
            ));
        }
        let (mut at, mut parts) = (input, Vec::new());
        for layer in branches {
            at = self.layer(layer, at, None)?;
            if of.parts.contains(&network.layers[layer].name) {
                parts.push(at);
                at = input;
            }
        }
        if at != input {
            return Err(format!("{}: a branch that is no part", of.name));
        }
        // The parts are sorted in the order of the table's line.
        let place = |source: &Source| match source {
            Source::Node(node) => {
                let name = &self.nodes[*node].name;
                of.parts.iter().position(|part| part == name)
            }
            Source::Input => None,
        };
        parts.sort_by_key(place);
        self.nodes.push(Node {
            name: of.name.clone(),
            op: NodeOp::Concat(concat),
            inputs: parts,
            residual: None,
        });
        Ok(Source::Node(self.nodes.len() - 1))
    }
}
