//! Deviation of outputs from the reference.

use std::fmt;

/// Difference between an output and the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// max |y - ref| / max |ref|. Infinite if an output is NaN and the reference is not.
    pub max: f64,
    /// L2 norm of y - ref / L2 norm of ref.
    pub l2: f64,
    /// max |ref|, to convert an absolute tolerance to a relative one.
    pub largest: f64,
}

impl Deviation {
    /// Compares an output, of f32s or exact f64s, with the reference, both in plain NCHW. The deviation is infinite if the
    /// lengths differ.
    pub fn between<T: Copy + Into<f64>>(output: &[T], reference: &[f64]) -> Self {
        if output.len() != reference.len() {
            return Deviation {
                max: f64::INFINITY,
                l2: f64::INFINITY,
                largest: f64::NAN,
            };
        }
        let (mut max, mut largest, mut error2, mut norm2) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for (&y, &r) in output.iter().zip(reference) {
            let error = (y.into() - r).abs();
            let error = if error.is_nan() { f64::INFINITY } else { error };
            max = max.max(error);
            largest = largest.max(r.abs());
            error2 += error * error;
            norm2 += r * r;
        }
        let over = |x: f64, y: f64| if x == 0.0 { 0.0 } else { x / y };
        Deviation {
            max: over(max, largest),
            l2: over(error2.sqrt(), norm2.sqrt()),
            largest,
        }
    }
}

/// Deviation of an output from the reference, and its bound. Displayed, it is the phrase of an error message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The deviation.
    pub deviation: Deviation,
    /// Largest allowed [`Deviation::max`].
    pub tolerance: f64,
}

impl Comparison {
    /// True if the output is within the tolerance.
    pub fn passes(&self) -> bool {
        self.deviation.max <= self.tolerance
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        write!(
            f,
            "max |error| / max |reference| is {:.decimals$e}, allowed {:.decimals$e}",
            self.deviation.max, self.tolerance
        )
    }
}
