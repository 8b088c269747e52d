//! One layer as data: validated, printable, parseable.
//!
//! A *spec* is what someone asks for; a *shape* is a spec found valid, with its output size. Shapes
//! are canonical: padding that nothing reaches makes no difference, and [`Problem`]'s text form parses
//! back to the same value.
//!
//! In reading order:
//!
//! * `axis.rs`: one axis of a window, padding, and the checks of all shapes;
//! * `conv.rs`, `pool.rs`, `maps.rs`: the shapes that most layers have; then `lrn.rs`, `concat.rs`, `attention.rs`,
//!   `bilinear.rs` and `fused.rs`;
//! * this file: [`Op`] and [`Problem`];
//! * `text.rs`: the text form, and its writer;
//! * `flags.rs`, `fields.rs`, `drivers.rs`, `parse.rs`: its reader.

mod attention;
mod axis;
mod bilinear;
mod concat;
mod conv;
mod drivers;
mod fields;
mod flags;
mod fused;
mod lrn;
mod maps;
mod parse;
mod pool;
mod text;

pub use attention::AttentionShape;
pub use axis::{Pad, ShapeError};
pub use bilinear::{BilinearKind, BilinearShape};
pub use concat::ConcatShape;
pub use conv::{ConvShape, ConvSpec};
pub use fused::{ConvPairShape, ConvPoolShape};
pub use lrn::{LrnShape, LrnSpec};
pub use maps::{BATCH_NORM_EPSILON, Maps};
pub use parse::{MOST_TEXT, ParseError, excerpt};
pub use pool::{PoolKind, PoolShape, PoolSpec};

use conv::{conv_dst, conv_src, conv_weights};
use pool::{pool_dst, pool_src};
use std::fmt;

/// Element types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE single precision.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
    /// Signed bytes.
    S8,
    /// Unsigned bytes.
    U8,
    /// 32-bit integers.
    S32,
}

impl DType {
    const ALL: [DType; 5] = [DType::F32, DType::Bf16, DType::S8, DType::U8, DType::S32];

    /// Bytes of an element.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 | DType::S32 => 4,
            DType::Bf16 => 2,
            DType::S8 | DType::U8 => 1,
        }
    }

    /// benchdnn's name.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::S8 => "s8",
            DType::U8 => "u8",
            DType::S32 => "s32",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The element types of a problem's operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DTypes {
    /// Of the source.
    pub src: DType,
    /// Of the weights.
    pub weights: DType,
    /// Of the destination.
    pub dst: DType,
}

/// What is done to an output before it is stored: `relu(x + bias + residual)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epilogue {
    /// Add one value for each output channel.
    pub bias: bool,
    /// Clamp below at zero.
    pub relu: bool,
    /// Add a tensor like the output.
    pub residual: bool,
}

/// An operation with its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// A convolution. A tap in the padding adds nothing, as long as its weight is finite. A weight that is infinite or
    /// NaN makes outputs of its channel NaN or infinite: each that has a product with it, and besides may make NaN
    /// those whose tap lies in the padding, as kernels multiply it by the padding's zeros or skip it; Winograd's
    /// transforms take it to all outputs of its channel. Other channels keep theirs. An input that isn't finite
    /// reaches the outputs that read it; Winograd's tiles take it to outputs of tiles that do.
    Conv(ConvShape),
    /// A pooling.
    Pool(PoolShape),
    /// The input itself. The layer is what the epilogue makes of it: a bias, a residual add, a ReLU; a copy
    /// without one.
    Identity(Maps),
    /// Batch normalisation at inference: gamma (x - mean) / sqrt(variance + [`BATCH_NORM_EPSILON`]) + beta. The
    /// weights are 4 rows of c: gamma, beta, means, variances.
    BatchNorm(Maps),
    /// What a batch normalisation in training takes from its input: of each channel the mean (the output's
    /// first image) and the variance (its second), over all images, biased: divided by their elements.
    Statistics(Maps),
    /// e^x over the sum of all e^x of a pixel's channels. A NaN or +inf among a pixel's channels makes all its
    /// outputs NaN, as do channels that are all -inf; beside others, -inf becomes 0 (PyTorch's results).
    Softmax(Maps),
    /// Local response normalisation across channels: x / (k + alpha / size * sum x^2)^beta, the sum over the window
    /// of `size` channels around x's, as far as there are any (Caffe, ONNX, oneDNN). Outputs are right where
    /// squares and powers are beyond an f32, too.
    Lrn(LrnShape),
    /// Parts joined along the channels.
    Concat(ConcatShape),
    /// Attention pooling: the sum of an image's positions h, each weighed by the softmax, over positions, of
    /// w^T tanh(V h). The weights have a row for each hidden unit: that of V, then the element of w.
    Attention(AttentionShape),
    /// Bilinear pooling: of each pair of channels the sum of products over all positions. The L2 norm may be
    /// of sums of any size that an f32 holds: those of inputs about 1e-15 as well as of 1e15.
    Bilinear(BilinearShape),
    /// A convolution and the pooling behind it. Bias and ReLU come between the two, a residual behind them.
    ConvPool(ConvPoolShape),
    /// Two convolutions. Bias and ReLU come behind each, a residual is added to the second's sum. The weights are
    /// those of the first and, behind them, those of the second; so are the biases.
    ConvPair(ConvPairShape),
}

impl From<ConvShape> for Op {
    fn from(conv: ConvShape) -> Self {
        Op::Conv(conv)
    }
}

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What is computed.
    pub op: Op,
    /// On what types.
    pub dtypes: DTypes,
    /// And what is done to the result.
    pub epilogue: Epilogue,
}

impl From<ConvShape> for Problem {
    fn from(conv: ConvShape) -> Self {
        Problem {
            op: Op::Conv(conv),
            dtypes: DTypes::default(),
            epilogue: Epilogue::default(),
        }
    }
}

impl From<PoolShape> for Problem {
    fn from(pool: PoolShape) -> Self {
        Problem {
            op: Op::Pool(pool),
            dtypes: DTypes::default(),
            epilogue: Epilogue::default(),
        }
    }
}

impl From<Op> for Problem {
    fn from(op: Op) -> Self {
        Problem {
            op,
            dtypes: DTypes::default(),
            epilogue: Epilogue::default(),
        }
    }
}

impl Problem {
    /// The same layer on another number of images.
    ///
    /// # Errors
    /// When that is none, or too many.
    pub fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        let op = match self.op {
            Op::Conv(conv) => Op::Conv(ConvSpec { n, ..*conv.spec() }.try_into()?),
            Op::Pool(pool) => Op::Pool(pool.with_batch(n)?),
            Op::Identity(maps) => Op::Identity(maps.with_batch(n)?),
            Op::BatchNorm(maps) => Op::BatchNorm(maps.with_batch(n)?),
            Op::Statistics(maps) => Op::Statistics(maps.with_batch(n)?),
            Op::Softmax(maps) => Op::Softmax(maps.with_batch(n)?),
            Op::Lrn(lrn) => Op::Lrn(lrn.with_batch(n)?),
            Op::Concat(concat) => Op::Concat(concat.with_batch(n)?),
            Op::Attention(attention) => Op::Attention(attention.with_batch(n)?),
            Op::Bilinear(bilinear) => Op::Bilinear(bilinear.with_batch(n)?),
            Op::ConvPool(stem) => Op::ConvPool(stem.with_batch(n)?),
            Op::ConvPair(pair) => Op::ConvPair(pair.with_batch(n)?),
        };
        Ok(Problem { op, ..self })
    }

    /// n, c, h, w of the source; of a concatenation, those that [`ConcatShape`] has for all parts.
    pub fn src_dims(&self) -> [usize; 4] {
        match &self.op {
            Op::Conv(conv) => conv_src(conv),
            Op::ConvPool(stem) => conv_src(stem.conv()),
            Op::ConvPair(pair) => conv_src(pair.first()),
            Op::Pool(pool) => pool_src(pool),
            Op::Identity(maps) | Op::BatchNorm(maps) | Op::Statistics(maps) | Op::Softmax(maps) => {
                maps.dims()
            }
            Op::Lrn(lrn) => lrn.maps().dims(),
            Op::Concat(concat) => concat.src_dims(),
            Op::Attention(attention) => attention.maps().dims(),
            Op::Bilinear(bilinear) => bilinear.maps().dims(),
        }
    }

    /// c_out, c_in / groups, kh, kw of the weights; 1, 1, 1 and their number for two convolutions; 4, c, 1, 1 for a
    /// batch normalisation; hidden, c + 1, 1, 1 for an attention pooling; none for other layers.
    pub fn weights_dims(&self) -> Option<[usize; 4]> {
        match &self.op {
            Op::Conv(conv) => Some(conv_weights(conv)),
            Op::ConvPool(stem) => Some(conv_weights(stem.conv())),
            Op::ConvPair(pair) => {
                let both = [pair.first(), pair.second()].map(conv_weights);
                Some([
                    1,
                    1,
                    1,
                    both.map(|d| d.iter().product::<usize>()).iter().sum(),
                ])
            }
            Op::BatchNorm(maps) => Some([4, maps.dims()[1], 1, 1]),
            Op::Attention(attention) => {
                let [_, c, _, _] = attention.maps().dims();
                Some([attention.hidden(), c + 1, 1, 1])
            }
            Op::Pool(_)
            | Op::Identity(_)
            | Op::Statistics(_)
            | Op::Softmax(_)
            | Op::Lrn(_)
            | Op::Concat(_)
            | Op::Bilinear(_) => None,
        }
    }

    /// Bytes of the weights as they are given; 0 where there are none.
    pub fn weights_bytes(&self) -> u64 {
        let dims = self.weights_dims().unwrap_or_default();
        let elements: u64 = dims.iter().map(|&d| d as u64).product();
        elements * self.dtypes.weights.size() as u64
    }

    /// Bytes of the bias, whose elements are f32s.
    pub fn bias_bytes(&self) -> u64 {
        (self.biases() * DType::F32.size()) as u64
    }

    /// Elements of the bias: one for each output channel, of two convolutions of both; none without one.
    pub fn biases(&self) -> usize {
        let [_, c, _, _] = self.dst_dims();
        match &self.op {
            _ if !self.epilogue.bias => 0,
            Op::ConvPair(pair) => pair.first().c_out + c,
            _ => c,
        }
    }

    /// n, c, h, w of the destination.
    pub fn dst_dims(&self) -> [usize; 4] {
        match &self.op {
            Op::Conv(conv) => conv_dst(conv),
            Op::ConvPair(pair) => conv_dst(pair.second()),
            Op::Pool(pool) => pool_dst(pool),
            Op::ConvPool(stem) => pool_dst(stem.pool()),
            Op::Identity(maps) | Op::BatchNorm(maps) | Op::Softmax(maps) => maps.dims(),
            Op::Lrn(lrn) => lrn.maps().dims(),
            Op::Concat(concat) => concat.maps().dims(),
            Op::Attention(attention) => {
                let [n, c, _, _] = attention.maps().dims();
                [n, c, 1, 1]
            }
            Op::Bilinear(bilinear) => [bilinear.maps().dims()[0], bilinear.outputs(), 1, 1],
            Op::Statistics(maps) => [2, maps.dims()[1], 1, 1],
        }
    }
}

#[cfg(test)]
mod tests;
