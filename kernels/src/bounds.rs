//! Sizes for bounds checks that can't wrap. A check that compares a product with a length must not pass because the
//! product overflowed a `usize`.

/// Product of sizes.
///
/// # Panics
/// If it overflows.
#[inline(always)]
pub(crate) fn product<const N: usize>(sizes: [usize; N]) -> usize {
    let mut product = 1usize;
    for size in sizes {
        product = product
            .checked_mul(size)
            .unwrap_or_else(|| panic_too_large());
    }
    product
}

/// Sum of sizes.
///
/// # Panics
/// If it overflows.
#[inline(always)]
pub(crate) fn sum<const N: usize>(sizes: [usize; N]) -> usize {
    let mut sum = 0usize;
    for size in sizes {
        sum = sum.checked_add(size).unwrap_or_else(|| panic_too_large());
    }
    sum
}

/// Elements from the start of the first of `rows` rows to the end of the last. Rows have `len` elements and are
/// `stride` elements apart. 0 without rows.
///
/// # Panics
/// If the number overflows.
#[inline(always)]
pub(crate) fn extent(rows: usize, stride: usize, len: usize) -> usize {
    match rows.checked_sub(1) {
        Some(last) => sum([product([last, stride]), len]),
        None => 0,
    }
}

/// `scripts/asm` recognises this function by its name as one that never returns.
#[cold]
#[inline(never)]
fn panic_too_large() -> ! {
    panic!("a size is too large for this machine's addresses")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn sizes_that_wrap_are_a_panic() {
        assert_eq!(product([3, 4, 5]), 60);
        assert_eq!(sum([3, 4, 5]), 12);
        assert_eq!(
            [extent(3, 10, 4), extent(1, usize::MAX, 4), extent(0, 9, 9)],
            [24, 4, 0]
        );
        assert!(catch_unwind(|| product([1 << 40, 1 << 40])).is_err());
        assert!(catch_unwind(|| sum([usize::MAX, 1])).is_err());
        assert!(catch_unwind(|| extent(3, usize::MAX / 2, 2)).is_err());
    }
}
