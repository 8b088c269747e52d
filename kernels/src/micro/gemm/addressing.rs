//! Addresses of evenly spaced pixels.

use crate::arch::{array, hidden};

/// One, three and five times a step in bytes: with an index that is scaled by 1, 2 or 4, x86 reaches seven pixels
/// from an address.
#[derive(Clone, Copy)]
pub(super) struct Multiples([usize; 3]);

impl Multiples {
    /// Hidden, or LLVM adds them to the addresses of all pixels in advance, and has 14 again.
    #[inline(always)]
    pub(super) fn of(step: usize) -> Self {
        let bytes = step * size_of::<f32>();
        Multiples(array(|i| {
            hidden(std::ptr::without_provenance((2 * i + 1) * bytes)).addr()
        }))
    }

    /// Where the `p`-th of `P` pixels is, of which each half begins at an address.
    #[inline(always)]
    pub(super) fn pixel<const P: usize>(self, halves: [*const f32; 2], p: usize) -> *const f32 {
        const { assert!(P <= 14) };
        let half = const { P.div_ceil(2) };
        let [one, three, five] = self.0;
        halves[p / half].wrapping_byte_add(match p % half {
            0 => 0,
            1 => one,
            2 => 2 * one,
            3 => three,
            4 => 4 * one,
            5 => five,
            _ => 2 * three,
        })
    }
}
