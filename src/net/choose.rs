//! Selection of one option for each node of a graph, minimising the sum of node and edge costs. This is a partitioned
//! boolean quadratic problem. Anderson and Gregg (2018) use it to select convolutions and layouts.
//!
//! The solver eliminates nodes one by one. A node with one neighbour is replaced by costs of the neighbour's options,
//! each with the best own option. A node with two neighbours is replaced by an edge between them. On a chain this is
//! dynamic programming. It is exact on all series-parallel graphs: chains, shortcuts and branches. If only nodes with
//! more neighbours remain, the one with the most is fixed. It gets the option with the smallest cost beside the best
//! option of each neighbour. Then the result may not be optimal. Pure.

use std::collections::BTreeMap;

/// Costs of every option of one node (rows) with every option of another (columns).
type Matrix = Vec<Vec<f64>>;

/// Nodes with options, and edges between them.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    nodes: Vec<Vec<f64>>,
    /// Costs by pair of nodes, the smaller index first. Rows are that node's options.
    edges: BTreeMap<(usize, usize), Matrix>,
}

/// Result of a node's elimination.
enum Eliminated {
    Alone,
    /// Neighbour, and the best option for each of the neighbour's options.
    Leaf(usize, Vec<usize>),
    /// Two neighbours, and the best option for each pair of their options.
    Between(usize, usize, Vec<Vec<usize>>),
    Fixed(usize),
}

fn best(costs: impl Iterator<Item = f64>) -> (usize, f64) {
    costs
        .enumerate()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .expect("a node has options")
}

impl Choice {
    /// Adds a node with the costs of its options and returns its index.
    ///
    /// # Panics
    /// If there are no costs.
    pub fn node(&mut self, costs: Vec<f64>) -> usize {
        assert!(!costs.is_empty(), "a node without options");
        self.nodes.push(costs);
        self.nodes.len() - 1
    }

    /// Adds the costs between two nodes: `cost(option of a, option of b)`.
    pub fn edge(&mut self, a: usize, b: usize, cost: impl Fn(usize, usize) -> f64) {
        let (low, high) = (a.min(b), a.max(b));
        let (rows, cols) = (self.nodes[low].len(), self.nodes[high].len());
        let matrix = self
            .edges
            .entry((low, high))
            .or_insert_with(|| vec![vec![0.0; cols]; rows]);
        for (i, row) in matrix.iter_mut().enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                *x += if a < b { cost(i, j) } else { cost(j, i) };
            }
        }
    }

    fn between(&self, a: usize, i: usize, b: usize, j: usize) -> f64 {
        match a < b {
            true => self.edges[&(a, b)][i][j],
            false => self.edges[&(b, a)][j][i],
        }
    }

    fn neighbours(&self, node: usize) -> Vec<usize> {
        let of = |&(a, b): &(usize, usize)| match (a == node, b == node) {
            (true, _) => Some(b),
            (_, true) => Some(a),
            _ => None,
        };
        self.edges.keys().filter_map(of).collect()
    }

    fn disconnect(&mut self, node: usize) {
        self.edges.retain(|&(a, b), _| a != node && b != node);
    }

    /// Total cost of a selection.
    pub fn cost(&self, options: &[usize]) -> f64 {
        let nodes = self.nodes.iter().zip(options).map(|(costs, &i)| costs[i]);
        let edges = self
            .edges
            .iter()
            .map(|(&(a, b), matrix)| matrix[options[a]][options[b]]);
        nodes.sum::<f64>() + edges.sum::<f64>()
    }

    /// The selected option of each node.
    pub fn solve(mut self) -> Vec<usize> {
        let mut order: Vec<(usize, Eliminated)> = Vec::new();
        let mut left: Vec<usize> = (0..self.nodes.len()).collect();
        while !left.is_empty() {
            let degree = |node: usize| self.neighbours(node).len();
            let place = (0..left.len())
                .find(|&at| degree(left[at]) <= 2)
                .or_else(|| (0..left.len()).max_by_key(|&at| degree(left[at])));
            let node = left.remove(place.expect("some are left"));
            let how = self.eliminate(node);
            self.disconnect(node);
            order.push((node, how));
        }
        let mut options = vec![0; self.nodes.len()];
        for (node, how) in order.into_iter().rev() {
            options[node] = match how {
                Eliminated::Alone => best(self.nodes[node].iter().copied()).0,
                Eliminated::Leaf(a, table) => table[options[a]],
                Eliminated::Between(a, b, table) => table[options[a]][options[b]],
                Eliminated::Fixed(option) => option,
            };
        }
        options
    }

    /// Eliminates a node: adds its costs to its neighbours.
    fn eliminate(&mut self, node: usize) -> Eliminated {
        let own = self.nodes[node].clone();
        match self.neighbours(node)[..] {
            [] => Eliminated::Alone,
            [a] => {
                let mut table = Vec::new();
                for j in 0..self.nodes[a].len() {
                    let costs = own.iter().enumerate();
                    let (option, cost) = best(costs.map(|(i, c)| c + self.between(node, i, a, j)));
                    table.push(option);
                    self.nodes[a][j] += cost;
                }
                Eliminated::Leaf(a, table)
            }
            [a, b] => {
                let (a_options, b_options) = (self.nodes[a].len(), self.nodes[b].len());
                let mut table = vec![vec![0; b_options]; a_options];
                let mut costs = vec![vec![0.0; b_options]; a_options];
                for j in 0..a_options {
                    for k in 0..b_options {
                        let each = own.iter().enumerate().map(|(i, c)| {
                            c + self.between(node, i, a, j) + self.between(node, i, b, k)
                        });
                        (table[j][k], costs[j][k]) = best(each);
                    }
                }
                self.edge(a, b, |j, k| costs[j][k]);
                Eliminated::Between(a, b, table)
            }
            ref many => {
                let cost = |i: usize| {
                    let beside = many.iter().map(|&a| {
                        let options = 0..self.nodes[a].len();
                        best(options.map(|j| self.nodes[a][j] + self.between(node, i, a, j))).1
                    });
                    own[i] + beside.sum::<f64>()
                };
                let (option, _) = best((0..own.len()).map(cost));
                for &a in many {
                    for j in 0..self.nodes[a].len() {
                        let cost = self.between(node, option, a, j);
                        self.nodes[a][j] += cost;
                    }
                }
                Eliminated::Fixed(option)
            }
        }
    }
}
