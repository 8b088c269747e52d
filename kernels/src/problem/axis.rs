//! One axis of a sliding window, padding, and checks that all shapes share.

use crate::window::Window;

/// Reason why a shape is impossible, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub(super) String);

/// Exclusive limit for elements of a tensor and for multiply-accumulates of a layer. It is far beyond any layer, and
/// products of sizes below it can't overflow.
const LIMIT: u128 = 1 << 48;

pub(super) fn check(fine: bool, error: impl FnOnce() -> String) -> Result<(), ShapeError> {
    if fine {
        Ok(())
    } else {
        Err(ShapeError(error()))
    }
}

pub(super) fn check_sizes(names: &[(&str, usize)]) -> Result<(), ShapeError> {
    for (name, size) in names {
        check(*size >= 1, || format!("{name} is 0: it must be at least 1"))?;
        check(*size < 1 << 31, || {
            format!("{name} is {size}: it must be below 2^31")
        })?;
    }
    Ok(())
}

pub(super) fn check_product(what: &str, factors: &[usize]) -> Result<(), ShapeError> {
    let mut product: u128 = 1;
    for &factor in factors {
        product = product.saturating_mul(factor as u128);
    }
    check(product < LIMIT, || {
        format!("the {what} would be {product}: it must be below 2^48")
    })
}

/// Rows and columns of padding around the input: zeros for convolutions, no elements for poolings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pad {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Pad {
    /// Equal padding on all sides.
    pub const fn uniform(pad: usize) -> Self {
        Pad {
            top: pad,
            left: pad,
            bottom: pad,
            right: pad,
        }
    }
}

/// One axis of a sliding window.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) size: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) before: usize,
    pub(super) after: usize,
}

impl Axis {
    /// Vertical and horizontal axis of a window of `kernel` elements on a map of `size`.
    pub(super) fn pair(
        size: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        pad: Pad,
    ) -> [Self; 2] {
        let axis = |name, i: usize, before, after| Axis {
            name,
            size: size[i],
            kernel: kernel[i],
            stride: stride[i],
            dilation: dilation[i],
            before,
            after,
        };
        [
            axis("height", 0, pad.top, pad.bottom),
            axis("width", 1, pad.left, pad.right),
        ]
    }

    /// The first `out` windows, with no padding in a mean's divisor.
    pub(super) fn windows(&self, out: usize) -> Window {
        Window {
            size: self.size,
            out,
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            before: self.before,
            counted: None,
        }
    }

    /// Input positions from a window's first tap to its last, both included.
    pub(super) fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    pub(super) fn validate(&self) -> Result<(), ShapeError> {
        let Axis {
            name,
            size,
            before,
            after,
            ..
        } = *self;
        let pads = [("padding before", before), ("padding after", after)];
        for (side, pad) in pads {
            check(pad < 1 << 31, || {
                format!("{side} the {name} is {pad}: it must be below 2^31")
            })?;
        }
        let extent = (self.kernel as u128 - 1) * self.dilation as u128 + 1;
        let padded = size as u128 + before as u128 + after as u128;
        check(extent <= padded, || {
            format!(
                "the kernel spans {extent} in {name}, more than the padded input's {padded}: use a smaller kernel or dilation, or more padding"
            )
        })
    }

    /// Number of windows that fit into the padded input.
    pub(super) fn floor(&self) -> usize {
        (self.size + self.before + self.after - self.extent()) / self.stride + 1
    }

    /// Number of windows in ceil mode: one more than [`Axis::floor`] if input positions remain after the last.
    pub(super) fn ceil(&self) -> usize {
        (self.size + self.before + self.after - self.extent()).div_ceil(self.stride) + 1
    }

    /// Trailing padding that `out` windows reach.
    pub(super) fn used_after(&self, out: usize) -> usize {
        ((out - 1) * self.stride + self.extent()).saturating_sub(self.size + self.before)
    }

    /// Checks that each of `out` windows has an element inside the input. The mean over a window wholly in the padding
    /// would be 0 / 0.
    pub(super) fn check_windows(&self, out: usize) -> Result<(), ShapeError> {
        let Axis {
            name,
            size,
            dilation,
            before,
            ..
        } = *self;
        // The first window is farthest from the input. The last may start after it.
        let reaches = before.div_ceil(dilation) < self.kernel;
        check(reaches && (out - 1) * self.stride < before + size, || {
            format!(
                "a window lies wholly in the padding of the {name}: use less padding or a larger window"
            )
        })?;
        // Number of windows that start in the leading padding.
        let leading = out.min(before.div_ceil(self.stride));
        check(dilation <= size || self.none_steps_over(leading), || {
            format!(
                "the dilation of {dilation} steps over the whole {name} of {size} in a window: use a smaller one, or another padding"
            )
        })
    }

    /// Returns false if a window has one tap before the input and the next tap after it. `windows` is the number of
    /// windows that start before the input.
    ///
    /// The first tap of window `o` at or after the input's start is at `(o stride - before) mod dilation`. These
    /// positions rise by the stride until they wrap at the dilation, so both ends of each rise are enough. The loop is
    /// short: it has at most as many rises as taps before the input, and stops at the period.
    fn none_steps_over(&self, windows: usize) -> bool {
        let Axis { size, dilation, .. } = *self;
        let step = self.stride % dilation;
        let mut at = (dilation - self.before % dilation) % dilation;
        let mut left = windows.min(dilation);
        while left > 0 {
            let rise = match step {
                0 => left,
                _ => left.min((dilation - 1 - at) / step + 1),
            };
            let last = at + (rise - 1) * step;
            if at >= size || last >= size {
                return false;
            }
            left -= rise;
            at = (last + step) % dilation;
        }
        true
    }
}
