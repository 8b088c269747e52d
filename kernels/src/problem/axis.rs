//! One axis of a sliding window, and the checks that every shape goes through.

/// Why a shape is impossible, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub(super) String);

/// The largest tensor, in elements, and the largest count of multiply-accumulates: far beyond any
/// layer, and no product of sizes overflows below it.
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
    /// Input positions from a window's first tap to its last, both counted.
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

    /// Windows that fit wholly into the padded input.
    pub(super) fn floor(&self) -> usize {
        (self.size + self.before + self.after - self.extent()) / self.stride + 1
    }

    /// And one more where some of the input would be left over.
    pub(super) fn ceil(&self) -> usize {
        (self.size + self.before + self.after - self.extent()).div_ceil(self.stride) + 1
    }

    /// Trailing padding that `out` windows reach into.
    pub(super) fn used_after(&self, out: usize) -> usize {
        ((out - 1) * self.stride + self.extent()).saturating_sub(self.size + self.before)
    }

    /// That each of `out` windows has an element inside the input: the mean over a window wholly in the
    /// padding would be 0 / 0. A step beyond the input's size could jump over it from any window, which
    /// the check of the first and the last would not see.
    pub(super) fn check_windows(&self, out: usize) -> Result<(), ShapeError> {
        let Axis {
            name,
            size,
            dilation,
            ..
        } = *self;
        check(self.kernel == 1 || dilation <= size, || {
            format!(
                "a dilation of {dilation} steps over the whole {name} of {size}: use a smaller one"
            )
        })?;
        for first in [0, (out - 1) * self.stride] {
            let tap = self.before.saturating_sub(first).div_ceil(dilation);
            let inside = tap < self.kernel && first + tap * dilation < self.before + size;
            check(inside, || {
                format!(
                    "a window lies wholly in the padding of the {name}: use less padding or a larger window"
                )
            })?;
        }
        Ok(())
    }
}
