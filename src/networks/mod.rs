//! Networks as data: every layer with its multiplicity, in `tables/*.txt`.
//!
//! A table begins with lines for `title` and `input` (c x h x w). A line `epsilon` follows if batch normalisations
//! have another epsilon than 1e-5. Then each line is a layer with its name, multiplicity, kind and problem:
//!
//! ```text
//! conv2_x.3x3  x3  conv+bn  --dir=FWD_B --attr-post-ops=relu mb1ic64ih56oc64oh56kh3ph1
//! ```
//!
//! A concatenation is a line with the names of the layers whose channels are joined, in their order:
//!
//! ```text
//! inception_3a  concat inception_3a.1x1 inception_3a.3x3 inception_3a.5x5 inception_3a.pool_proj
//! ```
//!
//! A block with a shortcut is a line with the number of its consecutive repetitions and the layers of its path. After
//! a `+` it has the layers of the shortcut, if there are any:
//!
//! ```text
//! conv3_x  block x1 conv3_x.1.1x1a conv3_x.1.3x3s2 conv3_x.1x1b + conv3_x.down
//! conv3_x  block x3 conv3_x.1x1a conv3_x.3x3 conv3_x.1x1b +
//! ```
//!
//! Layers whose names begin with a concatenation's (`inception_3a.`) are its branches; each part ends a branch. All
//! layers outside of blocks and branches follow each other, and one with a multiplicity follows itself. [`Graph`] has
//! one node for each occurrence of a layer.
//!
//! Problems have the form of inference. Batch normalisation is folded into weights and bias. The kind `conv+bn`
//! records that it was there, since published parameter counts include its scale and shift. ReLU and residual
//! addition are in the epilogue. A fully connected layer is a convolution whose kernel covers its whole input map.
//!
//! In reading order: this file (tables), `graph.rs`, `types.rs` (layers in other element types).

mod graph;
mod types;

pub use graph::{Graph, Node, NodeOp, Source};
pub use types::{in_type, requested_type};

use convroof_kernels::Problem;
use convroof_kernels::problem::{BATCH_NORM_EPSILON, Op, ShapeError};

/// Kind of a layer in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// A convolution, with or without a folded batch normalisation.
    Conv {
        /// True if the network has a batch normalisation after it.
        batch_norm: bool,
    },
    /// A pooling.
    Pool,
    /// A fully connected layer.
    FullyConnected,
    /// A local response normalisation.
    Lrn,
    /// A softmax over the classes.
    Softmax,
}

impl LayerKind {
    const NAMES: [(&'static str, LayerKind); 6] = [
        ("conv", LayerKind::Conv { batch_norm: false }),
        ("conv+bn", LayerKind::Conv { batch_norm: true }),
        ("pool", LayerKind::Pool),
        ("fc", LayerKind::FullyConnected),
        ("lrn", LayerKind::Lrn),
        ("softmax", LayerKind::Softmax),
    ];

    /// The kind in records: `conv`, `pool`, `fc`, `lrn` or `softmax`.
    pub fn name(self) -> &'static str {
        match self {
            LayerKind::Conv { .. } => "conv",
            LayerKind::Pool => "pool",
            LayerKind::FullyConnected => "fc",
            LayerKind::Lrn => "lrn",
            LayerKind::Softmax => "softmax",
        }
    }
}

/// A layer with its multiplicity.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Unique in its network.
    pub name: String,
    /// Number of occurrences in the network.
    pub count: usize,
    /// Kind of the layer.
    pub kind: LayerKind,
    /// Problem that the layer computes.
    pub problem: Problem,
}

impl Layer {
    /// Parameters by the convention of published counts: weights, biases, and scale and shift of a batch
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

    /// Multiply-accumulates, those with padding included; none in a pooling.
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
    /// The name in titles.
    pub title: String,
    /// c, h, w of its input.
    pub input: [usize; 3],
    /// Layers in the order in which they are first computed.
    pub layers: Vec<Layer>,
    /// Concatenations.
    pub concats: Vec<Concat>,
    /// Order of the layers.
    pub flow: Vec<Segment>,
    /// Number that its batch normalisations add to variances.
    pub epsilon: f64,
}

/// A segment of a network, from the current tensor to the next: a line of its table. Numbers are indices in the lists
/// of layers and concatenations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A layer. A layer that belongs to a block or a branch does nothing here.
    Layer(usize),
    /// A path of layers, the last of which adds the output of the shortcut.
    Block {
        /// Number of consecutive repetitions.
        times: usize,
        /// Layers of the path, each applied to the output of the one before.
        path: Vec<usize>,
        /// Layers of the shortcut; none where it is the block's input.
        shortcut: Vec<usize>,
    },
    /// Branches, each ending with a part.
    Concat(usize),
}

/// A tensor that joins the outputs of layers along the channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concat {
    /// Unique in its network.
    pub name: String,
    /// Names of the layers.
    pub parts: Vec<String>,
}

/// Names, and the tables of these names.
macro_rules! tables {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("tables/", $name, ".txt")))),*]
    };
}

const TABLES: [(&str, &str); 18] = tables! {
    "nin" "nin-cifar10" "nin-d2l"
    "resnet18" "resnet34" "resnet50" "resnet101" "resnet152"
    "vgg11" "vgg13" "vgg16" "vgg19"
    "googlenet" "googlenet-tv"
    "alexnet" "alexnet-original"
    "lenet5" "lenet-d2l"
};

/// Error for an unknown name of a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown network '{0}': there are {known}", known = names().join(", "))]
pub struct UnknownNetwork(String);

/// The network `name`.
///
/// # Errors
/// When there is none; the error lists the names.
pub fn find(name: &str) -> Result<Network, UnknownNetwork> {
    let (name, text) = TABLES
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| UnknownNetwork(name.to_string()))?;
    Ok(read(name, text))
}

fn read(name: &str, text: &str) -> Network {
    parse(name, text).unwrap_or_else(|e| panic!("table {name}: {e}"))
}

/// Every network.
///
/// # Panics
/// Never: the tables are part of the program, and tests read them all.
pub fn all() -> Vec<Network> {
    TABLES.iter().map(|(name, text)| read(name, text)).collect()
}

/// The names of all networks.
pub fn names() -> Vec<&'static str> {
    TABLES.iter().map(|(name, _)| *name).collect()
}

pub(crate) fn parse(name: &str, text: &str) -> Result<Network, String> {
    let (mut title, mut input) = (None, None);
    let (mut layers, mut concats, mut flow) = (Vec::new(), Vec::new(), Vec::new());
    let mut epsilon = BATCH_NORM_EPSILON;
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
        } else if let Some(rest) = line.strip_prefix("epsilon ") {
            epsilon = rest.parse().map_err(|e| format!("'{line}': {e}"))?;
        } else if let Some((_, block)) = line.split_once(" block ") {
            let block = parse_block(block, &layers);
            flow.push(block.map_err(|e| format!("'{line}': {e}"))?);
        } else if let Some((name, parts)) = line.split_once(" concat") {
            let concat = parse_concat(name.trim_end(), parts, &layers);
            flow.push(Segment::Concat(concats.len()));
            concats.push(concat.map_err(|e| format!("'{line}': {e}"))?);
        } else {
            flow.push(Segment::Layer(layers.len()));
            layers.push(parse_layer(line).map_err(|e| format!("'{line}': {e}"))?);
        }
    }
    Ok(Network {
        name: name.to_string(),
        title: title.ok_or("no title")?,
        input: input.ok_or("no input")?,
        layers,
        concats,
        flow,
        epsilon,
    })
}

/// Parses `x3 a b c + d`. `layers` are those of earlier lines.
fn parse_block(text: &str, layers: &[Layer]) -> Result<Segment, String> {
    let (times, paths) = text
        .trim_start()
        .split_once(' ')
        .ok_or("expected x and a count, and a path")?;
    let times = parse_count(times)?;
    let (path, shortcut) = paths
        .split_once('+')
        .ok_or("expected a + behind the path")?;
    let places = |names: &str| {
        let place = |name: &str| {
            let place = layers.iter().position(|l| l.name == name);
            place.ok_or_else(|| format!("no layer '{name}' before"))
        };
        names
            .split_whitespace()
            .map(place)
            .collect::<Result<Vec<_>, String>>()
    };
    Ok(Segment::Block {
        times,
        path: places(path)?,
        shortcut: places(shortcut)?,
    })
}

fn parse_count(text: &str) -> Result<usize, String> {
    let count = text.strip_prefix('x').and_then(|c| c.parse().ok());
    count.ok_or_else(|| "expected x and a count".into())
}

/// Parses the parts of a concatenation. `layers` are those of earlier lines.
fn parse_concat(name: &str, parts: &str, layers: &[Layer]) -> Result<Concat, String> {
    let mut maps = None;
    for part in parts.split_whitespace() {
        let layer = layers.iter().find(|l| l.name == part);
        let layer = layer.ok_or_else(|| format!("no layer '{part}' before"))?;
        let [n, _, h, w] = layer.problem.dst_dims();
        if *maps.get_or_insert([n, h, w]) != [n, h, w] {
            return Err(format!("'{part}' has maps of another size"));
        }
    }
    maps.ok_or("nothing to join")?;
    Ok(Concat {
        name: name.to_string(),
        parts: parts.split_whitespace().map(str::to_string).collect(),
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
    let count = parse_count(count)?;
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
    /// The network on another number of images.
    ///
    /// # Errors
    /// When the number is 0 or too large.
    pub fn with_batch(mut self, n: usize) -> Result<Self, ShapeError> {
        for layer in &mut self.layers {
            layer.problem = layer.problem.with_batch(n)?;
        }
        Ok(self)
    }

    /// Images.
    pub fn batch(&self) -> usize {
        self.layers.first().map_or(1, |l| l.problem.src_dims()[0])
    }

    /// The layer `name`.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|l| l.name == name)
    }

    /// Indices of the layers in the branches of a concatenation. Their names begin with its own.
    pub fn branches(&self, concat: &str) -> impl Iterator<Item = usize> + use<'_> {
        let prefix = format!("{concat}.");
        let layers = self.layers.iter().enumerate();
        let own = layers.filter(move |(_, layer)| layer.name.starts_with(&prefix));
        own.map(|(i, _)| i)
    }

    /// n, c, h, w of the output of `concat`, which belongs to this network.
    pub fn concat_dims(&self, concat: &Concat) -> [usize; 4] {
        let mut joined = [0; 4];
        for part in concat.parts.iter().filter_map(|part| self.layer(part)) {
            let [n, c, h, w] = part.problem.dst_dims();
            joined = [n, joined[1] + c, h, w];
        }
        joined
    }

    /// Parameters of all layers.
    pub fn parameters(&self) -> u64 {
        self.layers
            .iter()
            .map(|l| l.count as u64 * l.parameters())
            .sum()
    }

    /// Bytes of all parameters, which are f32s.
    pub fn parameter_bytes(&self) -> u64 {
        self.parameters() * size_of::<f32>() as u64
    }

    /// Multiply-accumulates of all layers.
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|l| l.count as u64 * l.macs()).sum()
    }
}

#[cfg(test)]
mod tests;
