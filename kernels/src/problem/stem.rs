//! A convolution and the pooling behind it, as one layer.

use super::axis::{ShapeError, check};
use super::{ConvShape, ConvSpec, PoolShape};

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
        let text = |dims: [usize; 4]| dims.map(|d| d.to_string()).join("x");
        let (made, taken) = (
            text([conv.n, conv.c_out, conv.h_out(), conv.w_out()]),
            text([pool.n, pool.c, pool.h, pool.w]),
        );
        check(made == taken, || {
            format!("the pooling takes {taken}, but the convolution makes {made}")
        })?;
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
        let conv = ConvSpec {
            n,
            ..*self.conv.spec()
        };
        ConvPoolShape::new(conv.try_into()?, self.pool.with_batch(n)?)
    }
}
