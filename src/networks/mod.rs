//! Networks as data: every layer with its multiplicity, in `tables/*.txt`.
//!
//! A table starts with `title` and `input` (c x h x w) lines; then each line is a layer:
//!
//! ```text
//! conv2_x.3x3  x3  conv+bn  --dir=FWD_B --attr-post-ops=relu mb1ic64ih56oc64oh56kh3ph1
//! name, how often it occurs, what it is, and the problem that is computed
//! ```
//!
//! Problems are as they are at inference: batch normalisation is folded into weights and bias
//! (`conv+bn` says that it was there, since published parameter counts include its scale and shift),
//! ReLU and residual add are in the epilogue. A fully connected layer is a convolution whose kernel is
//! its whole input map.

use convroof_kernels::Problem;
use convroof_kernels::problem::{Op, ShapeError};

/// What a layer is in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// A convolution, with batch normalisation folded in or not.
    Conv {
        /// Whether the network has a batch normalisation behind it.
        batch_norm: bool,
    },
    /// A pooling.
    Pool,
    /// A fully connected layer.
    FullyConnected,
}

impl LayerKind {
    const NAMES: [(&'static str, LayerKind); 4] = [
        ("conv", LayerKind::Conv { batch_norm: false }),
        ("conv+bn", LayerKind::Conv { batch_norm: true }),
        ("pool", LayerKind::Pool),
        ("fc", LayerKind::FullyConnected),
    ];

    /// The kind in records: `conv`, `pool` or `fc`.
    pub fn name(self) -> &'static str {
        match self {
            LayerKind::Conv { .. } => "conv",
            LayerKind::Pool => "pool",
            LayerKind::FullyConnected => "fc",
        }
    }
}

/// A layer, and how often its network has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Unique in its network.
    pub name: String,
    /// How often the network has a layer of this very shape here.
    pub count: usize,
    /// What it is.
    pub kind: LayerKind,
    /// What is computed.
    pub problem: Problem,
}

impl Layer {
    /// Parameters as published counts have them: weights, biases, scale and shift of a batch
    /// normalisation.
    pub fn parameters(&self) -> u64 {
        let Op::Conv(conv) = &self.problem.op else {
            return 0;
        };
        let weights = (conv.c_out * conv.reduction_len()) as u64;
        let vectors = match self.kind {
            LayerKind::Conv { batch_norm: true } => 2,
            _ => u64::from(self.problem.epilogue.bias),
        };
        weights + vectors * conv.c_out as u64
    }

    /// Multiply-accumulates, padding counted; none in a pooling.
    pub fn macs(&self) -> u64 {
        match &self.problem.op {
            Op::Conv(conv) => conv.macs(),
            _ => 0,
        }
    }
}

/// A network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The name on the command line.
    pub name: String,
    /// The name for people.
    pub title: String,
    /// c, h, w of its input.
    pub input: [usize; 3],
    /// In the order in which they are first computed.
    pub layers: Vec<Layer>,
}

const TABLES: [(&str, &str); 9] = [
    ("nin", include_str!("tables/nin.txt")),
    ("nin-cifar10", include_str!("tables/nin-cifar10.txt")),
    ("nin-d2l", include_str!("tables/nin-d2l.txt")),
    ("resnet18", include_str!("tables/resnet18.txt")),
    ("resnet34", include_str!("tables/resnet34.txt")),
    ("resnet50", include_str!("tables/resnet50.txt")),
    ("resnet101", include_str!("tables/resnet101.txt")),
    ("resnet152", include_str!("tables/resnet152.txt")),
    ("vgg16", include_str!("tables/vgg16.txt")),
];

/// Every network.
///
/// # Panics
/// Never: the tables are part of the program, and tests read them all.
pub fn all() -> Vec<Network> {
    let read = |(name, text)| parse(name, text).unwrap_or_else(|e| panic!("table {name}: {e}"));
    TABLES.into_iter().map(read).collect()
}

/// The names of all networks.
pub fn names() -> Vec<&'static str> {
    TABLES.iter().map(|(name, _)| *name).collect()
}

fn parse(name: &str, text: &str) -> Result<Network, String> {
    let (mut title, mut input, mut layers) = (None, None, Vec::new());
    for line in text
        .lines()
        .filter(|l| !l.trim().is_empty() && !l.starts_with('#'))
    {
        if let Some(rest) = line.strip_prefix("title ") {
            title = Some(rest.to_string());
        } else if let Some(rest) = line.strip_prefix("input ") {
            let sizes: Result<Vec<usize>, _> = rest.split('x').map(str::parse).collect();
            let sizes = sizes.map_err(|e| format!("'{line}': {e}"))?;
            input = Some(
                sizes
                    .try_into()
                    .map_err(|_| format!("'{line}': expected c x h x w"))?,
            );
        } else {
            layers.push(parse_layer(line).map_err(|e| format!("'{line}': {e}"))?);
        }
    }
    Ok(Network {
        name: name.to_string(),
        title: title.ok_or("no title")?,
        input: input.ok_or("no input")?,
        layers,
    })
}

fn parse_layer(line: &str) -> Result<Layer, String> {
    let (name, rest) = line
        .split_once(char::is_whitespace)
        .ok_or("expected a name")?;
    let (count, rest) = rest
        .trim_start()
        .split_once(char::is_whitespace)
        .ok_or("expected a count")?;
    let (kind, problem) = rest
        .trim_start()
        .split_once(char::is_whitespace)
        .ok_or("expected a kind")?;
    let count = count
        .strip_prefix('x')
        .and_then(|c| c.parse().ok())
        .ok_or("expected x and a count")?;
    let kind = LayerKind::NAMES
        .iter()
        .find(|(n, _)| *n == kind)
        .ok_or("unknown kind")?
        .1;
    let problem: Problem = problem.trim().parse().map_err(|e| format!("{e}"))?;
    Ok(Layer {
        name: name.to_string(),
        count,
        kind,
        problem,
    })
}

impl Network {
    /// The same network on another number of images.
    ///
    /// # Errors
    /// When that is none, or too many.
    pub fn with_batch(mut self, n: usize) -> Result<Self, ShapeError> {
        for layer in &mut self.layers {
            layer.problem = layer.problem.with_batch(n)?;
        }
        Ok(self)
    }

    /// Parameters of all layers.
    pub fn parameters(&self) -> u64 {
        self.layers
            .iter()
            .map(|l| l.count as u64 * l.parameters())
            .sum()
    }

    /// Multiply-accumulates of all layers.
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|l| l.count as u64 * l.macs()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Parameters, and multiply-accumulates in millionths of 10^9, as published (torchvision) or
    /// recomputed from the layers' definitions.
    const TOTALS: [(&str, u64, u64); 9] = [
        ("nin", 7_595_176, 1_100_189),
        ("nin-cifar10", 966_986, 222_487),
        ("nin-d2l", 1_992_166, 762_297),
        ("resnet18", 11_689_512, 1_814_073),
        ("resnet34", 21_797_672, 3_663_761),
        ("resnet50", 25_557_032, 4_089_184),
        ("resnet101", 44_549_160, 7_801_405),
        ("resnet152", 60_192_808, 11_513_627),
        ("vgg16", 138_357_544, 15_470_264),
    ];

    #[test]
    fn totals_are_the_published_ones() {
        let networks = all();
        assert_eq!(networks.len(), TOTALS.len());
        for (network, (name, parameters, macs)) in networks.iter().zip(TOTALS) {
            assert_eq!(network.name, name);
            assert_eq!(network.parameters(), parameters, "{name}");
            assert_eq!((network.macs() as f64 / 1e3).round() as u64, macs, "{name}");
        }
    }

    #[test]
    fn every_layers_input_is_made_by_one_before() {
        for network in all() {
            let [c, h, w] = network.input;
            let mut made = HashSet::from([[1, c, h, w]]);
            for layer in &network.layers {
                let src = layer.problem.src_dims();
                assert!(
                    made.contains(&src),
                    "{}/{}: nothing makes {src:?}",
                    network.name,
                    layer.name
                );
                made.insert(layer.problem.dst_dims());
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for network in all() {
            let names: HashSet<_> = network.layers.iter().map(|l| &l.name).collect();
            assert_eq!(names.len(), network.layers.len(), "{}", network.name);
        }
    }

    #[test]
    fn batch_multiplies_the_work() {
        for network in all() {
            let (macs, parameters) = (network.macs(), network.parameters());
            let eight = network.with_batch(8).expect("a small batch");
            assert_eq!((eight.macs(), eight.parameters()), (8 * macs, parameters));
        }
    }
}
