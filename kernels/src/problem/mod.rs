//! One layer as data: validated, printable, parseable.
//!
//! A *spec* is a requested layer. A *shape* is a spec that was found valid, with its output size. Shapes are canonical:
//! trailing padding that no window reaches is dropped. The text form of a [`Problem`] parses back to an equal value.
//!
//! In reading order:
//!
//! * `axis.rs`: one axis of a window, padding, and the checks of all shapes;
//! * `conv.rs`, `pool.rs`, `maps.rs`: the shapes that most layers have; then `lrn.rs`, `concat.rs`, `attention.rs`,
//!   `bilinear.rs` and `fused.rs`;
//! * this file: [`Op`] and [`Problem`];
//! * `text.rs`: the text form, and its writer;
//! * `flags.rs`, `fields.rs`, `drivers.rs`, `parse.rs`: its parser.

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

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 | DType::S32 => 4,
            DType::Bf16 => 2,
            DType::S8 | DType::U8 => 1,
        }
    }

    /// Name in benchdnn.
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

/// Element types of a problem's operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DTypes {
    /// Source.
    pub src: DType,
    /// Weights.
    pub weights: DType,
    /// Destination.
    pub dst: DType,
}

/// Operations on an output before it is stored: `relu(x + bias + residual)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epilogue {
    /// Adds one value per output channel.
    pub bias: bool,
    /// Clamps below at zero.
    pub relu: bool,
    /// Adds a tensor of the output's shape.
    pub residual: bool,
}

/// An operation with its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// A convolution. A tap in the padding contributes 0 if its weight is finite.
    ///
    /// An infinite or NaN weight affects only outputs of its own output channel. Each output that multiplies it becomes
    /// NaN or infinite. Outputs whose tap lies in the padding may become NaN: some kernels multiply by the padding's
    /// zeros, others skip them. Winograd's transforms spread it to all outputs of the channel.
    ///
    /// A non-finite input affects the outputs that read it. Winograd spreads it to all outputs of the tiles that read
    /// it.
    Conv(ConvShape),
    /// A pooling.
    Pool(PoolShape),
    /// The unchanged input. The epilogue is the layer: bias, residual add, ReLU. Without an epilogue it is a copy.
    Identity(Maps),
    /// Batch normalisation at inference: gamma (x - mean) / sqrt(variance + [`BATCH_NORM_EPSILON`]) + beta. The weights
    /// are 4 rows of c elements: gamma, beta, means, variances.
    BatchNorm(Maps),
    /// Statistics that a batch normalisation in training needs: mean and variance of each channel over all images. The
    /// means are the output's first image, the variances its second. The variance is biased: it is divided by the
    /// number of elements.
    Statistics(Maps),
    /// Softmax over the channels of each pixel: e^x / sum of e^x. A NaN or +inf makes all outputs of its pixel NaN, and
    /// so do channels that are all -inf. Beside finite channels, -inf gives 0. PyTorch gives the same results.
    Softmax(Maps),
    /// Local response normalisation across channels: x / (k + alpha / size * sum x^2)^beta. The sum is over the window
    /// of `size` channels around x's, as far as they exist (Caffe, ONNX, oneDNN). Outputs are correct even if squares
    /// or powers overflow or underflow an f32.
    Lrn(LrnShape),
    /// Concatenation along the channels.
    Concat(ConcatShape),
    /// Attention pooling: the weighted sum of an image's positions h. The weights are the softmax, over positions, of
    /// w^T tanh(V h). The weight tensor has one row per hidden unit: the row of V, then the element of w.
    Attention(AttentionShape),
    /// Bilinear pooling: for each pair of channels, the sum of products over all positions. The L2 norm is correct for
    /// all sums that an f32 holds, of inputs near 1e-15 and near 1e15.
    Bilinear(BilinearShape),
    /// A convolution and the pooling after it. Bias and ReLU come between the two, a residual comes last.
    ConvPool(ConvPoolShape),
    /// Two convolutions. Each has a bias and a ReLU. A residual is added to the second's sum. The weights of the second
    /// follow those of the first in one tensor, and so do the biases.
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
    /// The operation with its shape.
    pub op: Op,
    /// Element types of its operands.
    pub dtypes: DTypes,
    /// Operations on each output before it is stored.
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
    /// Copy of the layer with another number of images.
    ///
    /// # Errors
    /// When `n` is 0, or too large.
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

    /// n, c, h, w of the source. For a concatenation, [`ConcatShape::src_dims`].
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

    /// Dims of the weights, `None` for a layer without weights:
    ///
    /// - convolution: c_out, c_in / groups, kh, kw;
    /// - two convolutions: 1, 1, 1 and their number of weights;
    /// - batch normalisation: 4, c, 1, 1;
    /// - attention pooling: hidden, c + 1, 1, 1.
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

    /// Bytes of the unpacked weights; 0 without weights.
    pub fn weights_bytes(&self) -> u64 {
        let dims = self.weights_dims().unwrap_or_default();
        let elements: u64 = dims.iter().map(|&d| d as u64).product();
        elements * self.dtypes.weights.size() as u64
    }

    /// Bytes of the bias, which is f32.
    pub fn bias_bytes(&self) -> u64 {
        (self.biases() * DType::F32.size()) as u64
    }

    /// Elements of the bias: one per output channel, for two convolutions of both; 0 without a bias.
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
