//! Bilinear pooling.

use super::Maps;
use super::axis::{ShapeError, check_product};

/// Operations on the sums of a bilinear pooling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BilinearKind {
    /// Keeps only the upper triangle, row by row: the matrix is symmetric.
    pub half: bool,
    /// Replaces each y by sign(y) sqrt |y|.
    pub root: bool,
    /// Then divides all by their L2 norm; 0 if the norm is 0.
    pub l2: bool,
}

/// A valid bilinear pooling (Lin, RoyChowdhury and Maji 2015) of an image's maps with themselves. For each pair of
/// channels it sums the products over all positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BilinearShape {
    maps: Maps,
    kind: BilinearKind,
}

impl BilinearShape {
    /// Bilinear pooling of maps n, c, h, w.
    ///
    /// # Errors
    /// When the number of multiply-accumulates is too large.
    pub fn new(maps: Maps, kind: BilinearKind) -> Result<Self, ShapeError> {
        let [n, c, h, w] = maps.dims();
        let channels = c.saturating_add(15);
        check_product(
            "number of multiply-accumulates",
            &[n, channels, channels, h, w],
        )?;
        Ok(BilinearShape { maps, kind })
    }

    /// n, c, h, w of the source.
    pub fn maps(&self) -> Maps {
        self.maps
    }

    /// Operations on the sums.
    pub fn kind(&self) -> BilinearKind {
        self.kind
    }

    /// Positions per image.
    pub fn positions(&self) -> usize {
        let [_, _, h, w] = self.maps.dims();
        h * w
    }

    /// Outputs per image: c x c, or c (c + 1) / 2 for the half.
    pub fn outputs(&self) -> usize {
        let [_, c, _, _] = self.maps.dims();
        if self.kind.half {
            c * (c + 1) / 2
        } else {
            c * c
        }
    }

    /// Pair of channels that an output multiplies.
    pub fn pair(&self, output: usize) -> [usize; 2] {
        let [_, c, _, _] = self.maps.dims();
        if !self.kind.half {
            return [output / c, output % c];
        }
        let (mut row, mut at) = (0, output);
        while at >= c - row {
            at -= c - row;
            row += 1;
        }
        [row, row + at]
    }

    /// Copy with another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        BilinearShape::new(self.maps.with_batch(n)?, self.kind)
    }
}
