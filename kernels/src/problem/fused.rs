//! A convolution and what follows it, as one layer.

use super::axis::{ShapeError, check};
use super::conv::{ConvShape, ConvSpec, conv_dst, conv_src};
use super::pool::{PoolShape, pool_src};

/// That a layer takes what the convolution before it makes.
fn fits(second: &str, taken: [usize; 4], made: [usize; 4]) -> Result<(), ShapeError> {
    let text = |dims: [usize; 4]| dims.map(|d| d.to_string()).join("x");
    check(made == taken, || {
        let (taken, made) = (text(taken), text(made));
        format!("the {second} takes {taken}, but the convolution before it makes {made}")
    })
}

/// A convolution on so many images.
fn conv_with_batch(conv: &ConvShape, n: usize) -> Result<ConvShape, ShapeError> {
    ConvSpec { n, ..*conv.spec() }.try_into()
}

/// A valid convolution whose outputs, with bias and ReLU, are pooled and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvPoolShape {
    conv: ConvShape,
    pool: PoolShape,
}

impl ConvPoolShape {
    /// Of two layers.
    ///
    /// # Errors
    /// When the second doesn't take what the first makes.
    pub fn new(conv: ConvShape, pool: PoolShape) -> Result<Self, ShapeError> {
        fits("pooling", pool_src(&pool), conv_dst(&conv))?;
        Ok(ConvPoolShape { conv, pool })
    }

    /// The first.
    pub fn conv(&self) -> &ConvShape {
        &self.conv
    }

    /// The second.
    pub fn pool(&self) -> &PoolShape {
        &self.pool
    }

    /// The same on another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        ConvPoolShape::new(conv_with_batch(&self.conv, n)?, self.pool.with_batch(n)?)
    }
}

/// Two valid convolutions; what the first makes, with bias and ReLU, is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvPairShape {
    first: ConvShape,
    second: ConvShape,
}

impl ConvPairShape {
    /// Of two layers.
    ///
    /// # Errors
    /// When the second doesn't take what the first makes.
    pub fn new(first: ConvShape, second: ConvShape) -> Result<Self, ShapeError> {
        fits("second convolution", conv_src(&second), conv_dst(&first))?;
        Ok(ConvPairShape { first, second })
    }

    /// The first.
    pub fn first(&self) -> &ConvShape {
        &self.first
    }

    /// The second.
    pub fn second(&self) -> &ConvShape {
        &self.second
    }

    /// The same on another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        ConvPairShape::new(
            conv_with_batch(&self.first, n)?,
            conv_with_batch(&self.second, n)?,
        )
    }
}
