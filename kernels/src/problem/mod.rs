//! One layer as data: validated, printable, parseable.
//!
//! A *spec* is a requested layer. A *shape* is a spec that was found valid, with its output size. Shapes are canonical:
//! trailing padding that no window reaches is dropped. The text form of a [`Problem`] parses back to an equal value.
//!
//! In reading order:
//!
//! * `axis.rs`: one axis of a window, padding, and the checks of all shapes; `maps.rs`: dims of a layer without windows;
//! * `quantisation.rs`: scales and zero points; `attributes.rs`: element types, their quantisation, and the epilogue;
//! * `requantise.rs`: [`Requantisation`], the arithmetic from an integer sum to an output;
//! * `operation.rs`: [`Operation`], which each kind of layer implements; `naive.rs`: loops that definitions share;
//! * `syntax.rs` and `descriptor.rs`: drivers and sizes in the text form;
//! * `op/`: the operations, one module each, and [`Op`];
//! * this file: [`Problem`];
//! * `text.rs`: the text form, and its writer; `flags.rs` and `parse.rs`: its parser.

mod attributes;
mod axis;
mod descriptor;
mod flags;
mod maps;
mod naive;
mod op;
mod operation;
mod parse;
mod quantisation;
mod requantise;
mod syntax;
mod text;

pub use crate::dtype::DType;
pub use attributes::{Attributes, DTypes, Epilogue};
pub use axis::{Pad, ShapeError};
pub use maps::Maps;
pub use op::{
    AttentionShape, BATCH_NORM_EPSILON, BatchNormShape, BilinearKind, BilinearShape, ConcatShape,
    ConvPairShape, ConvPoolShape, ConvShape, ConvSpec, ConversionShape, IdentityShape, LrnShape,
    LrnSpec, Op, PoolKind, PoolShape, PoolSpec, SoftmaxShape, StatisticsShape,
};
pub use operation::{Effect, Names, Operands, Operation, Rounding};
pub use parse::{MOST_TEXT, ParseError, excerpt};
pub use quantisation::{Affine, Quantisation, Scale, WeightScale};
pub use requantise::Requantisation;

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The operation with its shape.
    pub op: Op,
    /// Element types of its operands.
    pub dtypes: DTypes,
    /// Meaning of integer operands.
    pub quantisation: Quantisation,
    /// Operations on each output before it is stored.
    pub epilogue: Epilogue,
}

impl<T: Into<Op>> From<T> for Problem {
    fn from(op: T) -> Self {
        Problem::new(op.into(), Attributes::default())
    }
}

impl Problem {
    /// A layer with these attributes.
    pub fn new(op: Op, attributes: Attributes) -> Self {
        let Attributes {
            dtypes,
            quantisation,
            epilogue,
        } = attributes;
        Problem {
            op,
            dtypes,
            quantisation,
            epilogue,
        }
    }

    /// Element types, quantisation and epilogue.
    pub fn attributes(&self) -> Attributes {
        Attributes {
            dtypes: self.dtypes,
            quantisation: self.quantisation,
            epilogue: self.epilogue,
        }
    }

    /// Copy of the layer with another number of images.
    ///
    /// # Errors
    /// When `n` is 0, or too large.
    pub fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        let op = self.op.with_batch(n)?;
        Ok(Problem { op, ..self })
    }

    /// n, c, h, w of the source. For a concatenation see [`ConcatShape`].
    pub fn src_dims(&self) -> [usize; 4] {
        self.op.src_dims()
    }

    /// Dims of the weights, as the shape of the operation states them; `None` for a layer without weights.
    pub fn weights_dims(&self) -> Option<[usize; 4]> {
        self.op.weights_dims()
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

    /// Scales of the weights that are data: one per output channel, or none.
    pub fn scales(&self) -> usize {
        match self.quantisation.weights {
            WeightScale::Common(_) => 0,
            WeightScale::PerChannel => self.op.biases(),
        }
    }

    /// Bytes of the weights' scales, which are f32.
    pub fn scales_bytes(&self) -> u64 {
        (self.scales() * DType::F32.size()) as u64
    }

    /// Elements of the bias: one per output channel, for two convolutions of both; 0 without a bias.
    pub fn biases(&self) -> usize {
        if self.epilogue.bias {
            self.op.biases()
        } else {
            0
        }
    }

    /// n, c, h, w of the destination.
    pub fn dst_dims(&self) -> [usize; 4] {
        self.op.dst_dims()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod types_tests;
