//! A convolution fused with the layer after it.

use super::conv::ConvShape;
use super::pool::PoolShape;
use crate::exec::Executor;
use crate::problem::attributes::{Attributes, Epilogue};
use crate::problem::axis::{ShapeError, check};
use crate::problem::descriptor::dims;
use crate::problem::operation::{Names, Operands, Operation, Rounding};
use crate::problem::syntax::{Fused, Wrong};
use std::any::Any;
use std::fmt;

/// Checks that the second layer's input has the dims of the first's output.
fn fits(second: &str, taken: [usize; 4], made: [usize; 4]) -> Result<(), ShapeError> {
    check(made == taken, || {
        let (taken, made) = (dims(taken), dims(made));
        format!("the {second} takes {taken}, but the convolution before it makes {made}")
    })
}

/// The two layers, if they have these shapes.
fn both<A: Operation, B: Operation>([first, second]: [&dyn Operation; 2]) -> Option<(&A, &B)> {
    let [first, second] = [first, second].map(|layer| layer as &dyn Any);
    Some((first.downcast_ref()?, second.downcast_ref()?))
}

/// A valid convolution and the pooling after it. Bias and ReLU come between the two, a residual comes last. The
/// convolution's outputs are not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvPoolShape {
    conv: ConvShape,
    pool: PoolShape,
}

impl ConvPoolShape {
    /// Fuses a convolution and the pooling after it.
    ///
    /// # Errors
    /// When the pooling's input isn't the convolution's output.
    pub fn new(conv: ConvShape, pool: PoolShape) -> Result<Self, ShapeError> {
        fits("pooling", pool.src_dims(), conv.dst_dims())?;
        Ok(ConvPoolShape { conv, pool })
    }

    /// The convolution.
    pub fn conv(&self) -> &ConvShape {
        &self.conv
    }

    /// The pooling.
    pub fn pool(&self) -> &PoolShape {
        &self.pool
    }
}

impl Operation for ConvPoolShape {
    fn names() -> Names {
        Names {
            one: "a convolution and the pooling behind it",
            many: "a convolution and the pooling behind it",
        }
    }

    fn takes_epilogue() -> bool {
        true
    }

    fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
        ConvPoolShape::new(self.conv.with_batch(n)?, self.pool.with_batch(n)?)
    }

    fn src_dims(&self) -> [usize; 4] {
        self.conv.src_dims()
    }

    fn dst_dims(&self) -> [usize; 4] {
        self.pool.dst_dims()
    }

    fn weights_dims(&self) -> Option<[usize; 4]> {
        self.conv.weights_dims()
    }

    fn flops(&self, epilogue: Epilogue) -> u64 {
        self.conv.flops(epilogue) + self.pool.flops(epilogue)
    }

    fn src_elements(&self) -> u64 {
        self.conv.src_elements()
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let between = Epilogue {
            residual: false,
            ..attributes.epilogue
        };
        let last = Epilogue {
            residual: attributes.epilogue.residual,
            ..Epilogue::default()
        };
        let between = self.conv.reference(&attributes.with(between), x, exec);
        let x = Operands { src: &between, ..x };
        self.pool.reference(&attributes.with(last), x, exec)
    }

    fn rounding(&self, magnitude: f64, largest: f64) -> Rounding {
        self.conv.rounding(magnitude, largest)
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        self.conv.write(attributes, f)?;
        f.write_str(" + ")?;
        self.pool.write(Attributes::default(), f)
    }
}

impl Fused for ConvPoolShape {
    fn join(
        layers: [&dyn Operation; 2],
        [first, second]: [Attributes; 2],
    ) -> Result<Option<(Self, Attributes)>, Wrong> {
        let Some((&conv, &pool)) = both(layers) else {
            return Ok(None);
        };
        if second != Attributes::default() {
            let why = "what is pooled may have an epilogue, a pooling none";
            return Err(why.into());
        }
        Ok(Some((ConvPoolShape::new(conv, pool)?, first)))
    }
}

/// Two valid convolutions. Each has a bias and a ReLU. A residual is added to the second's sum. The first's outputs are
/// not stored.
///
/// The weights of the second follow those of the first in one tensor, of dims 1, 1, 1 and their number. So do the
/// biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvPairShape {
    first: ConvShape,
    second: ConvShape,
}

impl ConvPairShape {
    /// Fuses two convolutions.
    ///
    /// # Errors
    /// When the second's input isn't the first's output.
    pub fn new(first: ConvShape, second: ConvShape) -> Result<Self, ShapeError> {
        fits("second convolution", second.src_dims(), first.dst_dims())?;
        Ok(ConvPairShape { first, second })
    }

    /// The first convolution.
    pub fn first(&self) -> &ConvShape {
        &self.first
    }

    /// The second convolution.
    pub fn second(&self) -> &ConvShape {
        &self.second
    }
}

impl Operation for ConvPairShape {
    fn names() -> Names {
        Names {
            one: "two convolutions",
            many: "two convolutions",
        }
    }

    fn takes_epilogue() -> bool {
        true
    }

    fn with_batch(&self, n: usize) -> Result<Self, ShapeError> {
        ConvPairShape::new(self.first.with_batch(n)?, self.second.with_batch(n)?)
    }

    fn src_dims(&self) -> [usize; 4] {
        self.first.src_dims()
    }

    fn dst_dims(&self) -> [usize; 4] {
        self.second.dst_dims()
    }

    fn weights_dims(&self) -> Option<[usize; 4]> {
        Some([1, 1, 1, self.first.weights() + self.second.weights()])
    }

    fn biases(&self) -> usize {
        self.first.biases() + self.second.biases()
    }

    fn flops(&self, epilogue: Epilogue) -> u64 {
        self.first.flops(epilogue) + self.second.flops(epilogue)
    }

    fn src_elements(&self) -> u64 {
        self.first.src_elements()
    }

    fn reference(
        &self,
        attributes: &Attributes,
        x: Operands<'_, f64>,
        exec: &dyn Executor,
    ) -> Vec<f64> {
        let weights = x.weights.split_at(self.first.weights());
        let biases = if attributes.epilogue.bias {
            self.first.biases()
        } else {
            0
        };
        let bias = x.bias.split_at(biases);
        let first = Operands {
            weights: weights.0,
            bias: bias.0,
            ..x
        };
        let between = Epilogue {
            residual: false,
            ..attributes.epilogue
        };
        let between = self.first.reference(&attributes.with(between), first, exec);
        let second = Operands {
            src: &between,
            weights: weights.1,
            bias: bias.1,
            ..x
        };
        self.second.reference(attributes, second, exec)
    }

    /// Errors of the second convolution, and those of the first that it sums.
    ///
    /// An output of the first is a sum of n random products, so it is about sqrt n. Its error is at most in proportion to n.
    /// The second sums m such errors of random signs, about sqrt m times one.
    fn rounding(&self, magnitude: f64, _: f64) -> Rounding {
        let [n, m] = [self.first, self.second].map(|conv| conv.reduction_len());
        let (first, terms) = ((n + 1) as f64, m as f64);
        Rounding {
            max_x: magnitude * magnitude.max(1.0) * (first.sqrt() + first / terms.sqrt()),
            ..Rounding::new(m, magnitude)
        }
    }

    fn write(&self, attributes: Attributes, f: &mut dyn fmt::Write) -> fmt::Result {
        let first = Epilogue {
            residual: false,
            ..attributes.epilogue
        };
        self.first.write(attributes.with(first), f)?;
        f.write_str(" + ")?;
        self.second.write(attributes, f)
    }
}

impl Fused for ConvPairShape {
    fn join(
        layers: [&dyn Operation; 2],
        [first, second]: [Attributes; 2],
    ) -> Result<Option<(Self, Attributes)>, Wrong> {
        let Some((&a, &b)) = both(layers) else {
            return Ok(None);
        };
        let kept = Epilogue {
            residual: false,
            ..second.epilogue
        };
        if first != second.with(kept) {
            let why = "two convolutions have the same types, both or neither bias and ReLU, and only the second a residual";
            return Err(why.into());
        }
        Ok(Some((ConvPairShape::new(a, b)?, second)))
    }
}
