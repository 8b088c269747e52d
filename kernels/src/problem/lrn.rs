//! Local response normalisation.

use super::Maps;
use super::axis::{ShapeError, check};

/// A requested local response normalisation across channels (Krizhevsky et al. 2012).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrnSpec {
    /// n, c, h, w.
    pub maps: [usize; 4],
    /// Channels in a window: the middle one, and equally many on both sides.
    pub size: usize,
    /// Factor of the window's mean square. (Krizhevsky et al. multiply the sum by alpha / `size`.)
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// Added to alpha times the mean square.
    pub k: f32,
}

/// A finite number >= 0 that compares and hashes by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Real(u32);

impl Real {
    /// Converts a number that was checked to be finite and not negative.
    fn new(x: f32) -> Self {
        // -0 becomes 0.
        Real((x + 0.0).to_bits())
    }

    fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

/// A valid local response normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LrnShape {
    maps: Maps,
    size: usize,
    alpha: Real,
    beta: Real,
    k: Real,
}

impl TryFrom<LrnSpec> for LrnShape {
    type Error = ShapeError;

    fn try_from(spec: LrnSpec) -> Result<Self, ShapeError> {
        let LrnSpec {
            maps,
            size,
            alpha,
            beta,
            k,
        } = spec;
        check(size % 2 == 1, || {
            format!(
                "the window has {size} channels: it must be an odd number, with one in the middle"
            )
        })?;
        check(size <= LrnShape::MAX_SIZE, || {
            let most = LrnShape::MAX_SIZE;
            format!("the window has {size} channels: it must have at most {most}")
        })?;
        for (name, x) in [("alpha", alpha), ("beta", beta)] {
            check(x.is_finite() && x >= 0.0, || {
                format!("{name} is {x}: it must be at least 0")
            })?;
        }
        check(k.is_finite() && k >= f32::MIN_POSITIVE, || {
            format!(
                "k is {k}: it must be above 0, at least {:e}, or zeros would be divided by 0",
                f32::MIN_POSITIVE
            )
        })?;
        Ok(LrnShape {
            maps: maps.try_into()?,
            size,
            alpha: Real::new(alpha),
            beta: Real::new(beta),
            k: Real::new(k),
        })
    }
}

impl LrnShape {
    /// Maximum channels in a window.
    pub const MAX_SIZE: usize = 255;

    /// n, c, h, w.
    pub fn maps(&self) -> Maps {
        self.maps
    }

    /// The spec that was requested.
    pub fn spec(&self) -> LrnSpec {
        LrnSpec {
            maps: self.maps.dims(),
            size: self.size,
            alpha: self.alpha.get(),
            beta: self.beta.get(),
            k: self.k.get(),
        }
    }

    /// Channels of a window on each side of the middle.
    pub fn half(&self) -> usize {
        self.size / 2
    }

    /// Copy with another number of images.
    pub(super) fn with_batch(self, n: usize) -> Result<Self, ShapeError> {
        let maps = self.maps.with_batch(n)?;
        Ok(LrnShape { maps, ..self })
    }
}
