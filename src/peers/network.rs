//! A whole network, run by another library.

use super::client::work;
use super::protocol::{LayerShape, NetworkNode};
use super::{HostClient, HostPlan, Peer};
use crate::machine::Topology;
use crate::net::bench::Rival;
use crate::net::weights::parameters;
use crate::networks::{Graph, Source};
use anyhow::{Result, anyhow};
use convroof_kernels::reference::Operands;
use std::path::Path;

/// A library's process with a network.
pub struct NetworkRival {
    library: &'static str,
    client: HostClient,
    plan: HostPlan,
}

impl NetworkRival {
    /// Starts the library's process and sends it the network's graph, parameters and input. All are equal to ours.
    ///
    /// # Errors
    /// When the library is missing or can't run the network.
    pub fn new(
        peer: &Peer,
        folder: &Path,
        topology: &Topology,
        threads: usize,
        graph: &Graph,
        seed: u64,
        input: &[f32],
    ) -> Result<NetworkRival> {
        let mut client = HostClient::start(peer, folder, topology, threads)?;
        let number = |source: Source| match source {
            Source::Input => 0,
            Source::Node(node) => node + 1,
        };
        let (mut nodes, mut weights, mut bias) = (Vec::new(), Vec::new(), Vec::new());
        for (i, node) in graph.nodes.iter().enumerate() {
            let own = parameters(graph, i, seed);
            let layer = match graph.problem(i) {
                Some(problem) => Some(
                    LayerShape::of(problem)
                        .ok_or_else(|| anyhow!("peers are not measured on {problem}"))?,
                ),
                None => None,
            };
            nodes.push(NetworkNode {
                layer,
                inputs: node.inputs.iter().copied().map(number).collect(),
                residual: node.residual.map(number),
                weights: own.weights.len(),
                bias: own.bias.len(),
            });
            weights.extend(own.weights);
            bias.extend(own.bias);
        }
        let output = Source::Node(graph.nodes.len() - 1);
        let layer = LayerShape::around(graph.dims(Source::Input), graph.dims(output));
        let problems = (0..graph.nodes.len()).filter_map(|i| graph.problem(i));
        let plan = client
            .network(layer, nodes, problems.map(work).sum())?
            .map_err(|reason| anyhow!(reason))?;
        let operands = Operands {
            src: input,
            weights: &weights,
            bias: &bias,
            ..Operands::default()
        };
        client.load(&plan, operands, false)?;
        Ok(NetworkRival {
            library: peer.library,
            client,
            plan,
        })
    }
}

impl Rival for NetworkRival {
    fn library(&self) -> &str {
        self.library
    }

    fn name(&self) -> String {
        self.client.library.clone()
    }

    fn sample(&mut self, runs: usize) -> Result<f64> {
        self.client.time(&self.plan, runs)
    }

    fn output(&mut self) -> Result<Vec<f64>> {
        self.client.output(&self.plan)
    }
}
