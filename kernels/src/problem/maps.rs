//! Maps of layers without a sliding window.

use super::ShapeError;
use super::axis::{check_product, check_sizes};

/// Epsilon of batch normalisations, 1e-5: the default of PyTorch and benchdnn. A network with another epsilon
/// (GoogLeNet's 1e-3) adds the difference to the variances.
pub const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Valid dims n, c, h, w.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Maps([usize; 4]);

impl TryFrom<[usize; 4]> for Maps {
    type Error = ShapeError;

    fn try_from(dims: [usize; 4]) -> Result<Self, ShapeError> {
        let [n, c, h, w] = dims;
        check_sizes(&[("batch", n), ("channels", c), ("height", h), ("width", w)])?;
        check_product("number of elements", &[n, c.saturating_add(15), h, w])?;
        Ok(Maps(dims))
    }
}

impl Maps {
    /// n, c, h, w.
    pub fn dims(&self) -> [usize; 4] {
        self.0
    }

    /// Elements of a channel over all images: n h w.
    pub fn per_channel(&self) -> usize {
        let [n, _, h, w] = self.0;
        n * h * w
    }

    /// Dims of a tensor with one value per channel.
    pub(super) fn vector(&self) -> [usize; 4] {
        [1, self.0[1], 1, 1]
    }

    /// Copy with another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        let [_, c, h, w] = self.0;
        [n, c, h, w].try_into()
    }
}
