//! Maps of layers without a sliding window.

use super::axis::{ShapeError, check_product, check_sizes};

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

    /// Elements of all images and channels: n c h w.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// Elements of a channel over all images: n h w.
    pub fn per_channel(&self) -> usize {
        let [n, _, h, w] = self.0;
        n * h * w
    }

    /// Positions of an image: h w.
    pub fn positions(&self) -> usize {
        let [_, _, h, w] = self.0;
        h * w
    }

    /// Copy with another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        let [_, c, h, w] = self.0;
        [n, c, h, w].try_into()
    }
}
