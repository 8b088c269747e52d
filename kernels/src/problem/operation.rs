//! The contract of an operation: everything that differs from one kind of layer to another.

use super::attributes::{Attributes, Epilogue};
use super::axis::ShapeError;
use crate::exec::Executor;
use crate::window::Window;
use std::any::Any;
use std::fmt;

/// Operands of a problem in plain NCHW (weights OIHW), as numbers. Elements of other types than f32 are the nearest ones
/// to these numbers ([`Element::from_f32`](crate::dtype::Element::from_f32)). `T` is f64 for chains of layers that are
/// computed in f64.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operands<'a, T = f32> {
    /// Source, of [`Operation::src_dims`].
    pub src: &'a [T],
    /// Weights, of [`Operation::weights_dims`]; empty for layers without weights.
    pub weights: &'a [f32],
    /// Bias, [`Operation::biases`] elements; empty without a bias.
    pub bias: &'a [f32],
    /// Residual, of the output's shape; empty without one.
    pub residual: &'a [T],
    /// Scales of the weights, one for each output channel; empty unless the problem has
    /// [`WeightScale::PerChannel`](super::WeightScale).
    pub scales: &'a [f32],
}

/// Names of an operation's layers in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Name of one layer, with its article: "a pooling".
    pub one: &'static str,
    /// Name of all such layers, without an article: "poolings".
    pub many: &'static str,
}

/// Effect of a sum's rounding error on an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The output has the error.
    Absolute,
    /// The output has the error times its own magnitude.
    Relative,
    /// The output is the root of a number that has the error.
    Root,
}

/// Sum of products whose rounding errors reach an output. [`Accuracy::tolerance`](crate::cost::Accuracy::tolerance)
/// bounds them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// Effect of the sum's error.
    pub effect: Effect,
    /// Terms of the sum.
    pub terms: usize,
    /// Largest magnitude of one factor.
    pub max_x: f64,
    /// Largest magnitude of the other factor.
    pub max_w: f64,
}

impl Rounding {
    /// Output that is a sum of `terms` products of factors up to `max`.
    pub(super) fn new(terms: usize, max: f64) -> Self {
        Rounding {
            effect: Effect::Absolute,
            terms,
            max_x: max,
            max_w: max,
        }
    }
}

/// A kind of layer, implemented by its valid shape. Code that treats all operations alike knows them only by this trait.
///
/// Sizes are those of a valid shape, so products of them don't overflow.
pub trait Operation: Any + fmt::Debug {
    /// Names of such layers in messages.
    fn names() -> Names
    where
        Self: Sized;

    /// True if kernels apply an epilogue to the output. If false, kernels refuse layers with one.
    fn takes_epilogue() -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Checks the element types and their quantisation. By default a layer is computed in f32 only.
    ///
    /// # Errors
    /// When no kernel could compute them, with what is allowed.
    fn check_types(&self, attributes: &Attributes) -> Result<(), String> {
        attributes.check_f32()
    }

    /// Copy with another number of images.
    ///
    /// # Errors
    /// When `n` is 0, or too large.
    fn with_batch(&self, n: usize) -> Result<Self, ShapeError>
    where
        Self: Sized;

    /// n, c, h, w of the source.
    fn src_dims(&self) -> [usize; 4];

    /// n, c, h, w of the destination.
    fn dst_dims(&self) -> [usize; 4];

    /// Dims of the weights; `None` for a layer without weights.
    fn weights_dims(&self) -> Option<[usize; 4]> {
        None
    }

    /// Elements of the bias, if the layer has one: by default one per output channel.
    fn biases(&self) -> usize {
        let [_, c, _, _] = self.dst_dims();
        c
    }

    /// Vertical and horizontal axis of the sliding windows; `None` for a layer without windows.
    fn windows(&self) -> Option<[Window; 2]> {
        None
    }

    /// Operations of the direct definition, padding counted: 2 per multiply-accumulate, 1 per element of a pooling's
    /// window, 1 per function such as e^x. The epilogue counts only if it is the whole layer.
    fn flops(&self, epilogue: Epilogue) -> u64;

    /// Elements of the source that some output depends on.
    fn src_elements(&self) -> u64 {
        let [n, c, h, w] = self.src_dims().map(|d| d as u64);
        match self.windows() {
            Some([down, across]) => n * c * down.covered() * across.covered(),
            None => n * c * h * w,
        }
    }

    /// Output by the definition, with its epilogue, in plain NCHW. Operands are the values of stored elements, and so are
    /// outputs of integers. Other outputs are in f64, before they are stored. All kernels are compared with it, so it is
    /// simple enough to check by reading.
    ///
    /// # Panics
    /// If an operand is too short.
    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64>;

    /// Moves random weights to values for which the operation is defined.
    fn constrain_weights(&self, weights: &mut [f32]) {
        let _ = weights;
    }

    /// Sum that bounds a kernel's error, for operands up to `magnitude`. `largest` is the largest output.
    fn rounding(&self, magnitude: f64, largest: f64) -> Rounding;

    /// Magnitude of inputs up to which outputs must be correct. By default sums of squares must fit into an f32.
    fn largest_input(&self) -> f32 {
        1e17
    }

    /// True if an output must be NaN if and only if it is NaN by the definition.
    fn keeps_nans(&self) -> bool {
        false
    }

    /// Writes the text of the layer with these attributes.
    ///
    /// # Errors
    /// Those of the writer.
    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result;
}
