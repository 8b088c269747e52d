//! Attention pooling.

use super::Maps;
use super::axis::{ShapeError, check_product, check_sizes};

/// A valid attention pooling (Ilse, Tomczak and Welling 2018) over the positions of each image's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionShape {
    maps: Maps,
    hidden: usize,
}

impl AttentionShape {
    /// Attention pooling of maps n, c, h, w, with `hidden` rows of V.
    ///
    /// # Errors
    /// When `hidden` is 0, or a product of sizes is too large.
    pub fn new(maps: Maps, hidden: usize) -> Result<Self, ShapeError> {
        let [n, c, h, w] = maps.dims();
        check_sizes(&[("hidden units", hidden)])?;
        let channels = c.saturating_add(16);
        check_product("weights' elements", &[hidden.saturating_add(15), channels])?;
        check_product(
            "number of multiply-accumulates",
            &[n, hidden, channels, h, w],
        )?;
        Ok(AttentionShape { maps, hidden })
    }

    /// n, c, h, w of the source.
    pub fn maps(&self) -> Maps {
        self.maps
    }

    /// Hidden units: rows of V and elements of w.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Positions per image.
    pub fn positions(&self) -> usize {
        let [_, _, h, w] = self.maps.dims();
        h * w
    }

    /// Copy with another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        AttentionShape::new(self.maps.with_batch(n)?, self.hidden)
    }
}
