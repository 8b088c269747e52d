//! Addresses of evenly spaced pixels.

use crate::arch::{array, hidden};

/// One, three and five times a step in bytes. x86 can scale an index by 1, 2 or 4, so these indices reach seven pixels
/// from one address.
#[derive(Clone, Copy)]
pub(super) struct Multiples([usize; 3]);

impl Multiples {
    /// Multiples of a step of `step` elements. They are hidden from LLVM, which would otherwise compute the addresses
    /// of all 14 pixels in advance.
    #[inline(always)]
    pub(super) fn of(step: usize) -> Self {
        let bytes = step * size_of::<f32>();
        Multiples(array(|i| {
            hidden(std::ptr::without_provenance((2 * i + 1) * bytes)).addr()
        }))
    }

    /// Address of the `p`-th of `P` pixels. `halves` are the addresses of each half's first pixel.
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
