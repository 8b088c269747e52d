//! Bilinear pooling.

use super::Maps;
use super::axis::{ShapeError, check_product};

/// What a bilinear pooling makes of its sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BilinearKind {
    /// The upper triangle of the matrix only, row by row: it is symmetric.
    pub half: bool,
    /// sign(y) sqrt |y| in place of each y.
    pub root: bool,
    /// Then all over their L2 norm; 0 where that is 0.
    pub l2: bool,
}

/// A valid bilinear pooling (Lin, RoyChowdhury and Maji 2015) of an image's maps with themselves: of each pair of
/// channels the sum of products over all positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BilinearShape {
    maps: Maps,
    kind: BilinearKind,
}

impl BilinearShape {
    /// Of maps n, c, h, w.
    ///
    /// # Errors
    /// When there are too many channels.
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

    /// What is made of the sums.
    pub fn kind(&self) -> BilinearKind {
        self.kind
    }

    /// Positions of an image.
    pub fn positions(&self) -> usize {
        let [_, _, h, w] = self.maps.dims();
        h * w
    }

    /// Outputs of an image: c x c, or c (c + 1) / 2.
    pub fn outputs(&self) -> usize {
        let [_, c, _, _] = self.maps.dims();
        if self.kind.half {
            c * (c + 1) / 2
        } else {
            c * c
        }
    }

    /// The pair of channels whose products an output sums.
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

    /// The same on another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        BilinearShape::new(self.maps.with_batch(n)?, self.kind)
    }
}
