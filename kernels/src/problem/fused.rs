//! A convolution fused with the layer after it.

use super::axis::{ShapeError, check};
use super::conv::{ConvShape, ConvSpec, conv_dst, conv_src};
use super::pool::{PoolShape, pool_src};

/// Checks that the second layer's input has the dims of the first's output.
fn fits(second: &str, taken: [usize; 4], made: [usize; 4]) -> Result<(), ShapeError> {
    let text = |dims: [usize; 4]| dims.map(|d| d.to_string()).join("x");
    check(made == taken, || {
        let (taken, made) = (text(taken), text(made));
        format!("the {second} takes {taken}, but the convolution before it makes {made}")
    })
}

/// Copy of a convolution with another number of images.
fn conv_with_batch(conv: &ConvShape, n: usize) -> Result<ConvShape, ShapeError> {
    ConvSpec { n, ..*conv.spec() }.try_into()
}

/// A valid convolution, with bias and ReLU, whose outputs are pooled and not stored.
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
        fits("pooling", pool_src(&pool), conv_dst(&conv))?;
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

    /// Copy with another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        ConvPoolShape::new(conv_with_batch(&self.conv, n)?, self.pool.with_batch(n)?)
    }
}

/// Two valid convolutions. The first's outputs, with bias and ReLU, are not stored.
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
        fits("second convolution", conv_src(&second), conv_dst(&first))?;
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

    /// Copy with another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        ConvPairShape::new(
            conv_with_batch(&self.first, n)?,
            conv_with_batch(&self.second, n)?,
        )
    }
}
