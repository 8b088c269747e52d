//! Rows of one block of 16 channels, copied from NHWC of narrow elements to the words that [`grouped`](super::grouped)
//! multiplies.
//!
//! A word is an f32, or the elements of neighbouring columns of one channel ([`Dot`](super::gemm::Dot)):
//!
//! ```text
//! f32s     word x = column x
//! bf16s    word x = columns x, x + 1
//! bytes    word x = columns x, x + 1, x + 2, x + 3
//! ```
//!
//! A word is the one before it with another element pushed in. So each element is loaded and converted once, for all taps that
//! read it. The copy includes the padding of its rows, which holds the zero point.
#![allow(unsafe_code)]

use crate::arch::KernelSimd;
use crate::bounds::product;
use crate::isa::SimdTask;
use crate::layout::CHANNEL_BLOCK;

/// Words of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// f32s of bf16s.
    F32,
    /// f32s of u8s less their zero point.
    F32OfU8 {
        /// The zero point.
        zero: u8,
    },
    /// f32s of s8s less their zero point.
    F32OfS8 {
        /// The zero point.
        zero: i8,
    },
    /// Two bf16s.
    Bf16s,
    /// Four bytes.
    Bytes {
        /// The zero point's byte in the source.
        zero: u8,
        /// Signed bytes become unsigned ones, or unsigned ones signed: their highest bit is flipped.
        flipped: bool,
    },
}

impl Columns {
    /// Bytes of an element of the source.
    const fn size(self) -> usize {
        match self {
            Columns::F32 | Columns::Bf16s => 2,
            _ => 1,
        }
    }

    /// Each byte of an element in the padding, before it is converted.
    const fn padding(self) -> u8 {
        match self {
            Columns::F32 | Columns::Bf16s => 0,
            Columns::F32OfU8 { zero } | Columns::Bytes { zero, .. } => zero,
            Columns::F32OfS8 { zero } => zero as u8,
        }
    }
}

/// Copies rows of a block of channels.
pub struct CopyRows<'a> {
    /// The words.
    pub columns: Columns,
    /// The image, pixel by pixel.
    pub image: &'a [u8],
    /// Rows and columns of the image.
    pub size: [usize; 2],
    /// Bytes of a pixel.
    pub pixel: usize,
    /// Bytes of a pixel before the block. Lanes beyond a pixel's last channel hold any elements.
    pub block: usize,
    /// Rows of padding above the image, and columns of padding to the left.
    pub before: [usize; 2],
    /// The first row, counted from the first row of padding.
    pub first: usize,
    /// Words in a row.
    pub width: usize,
    /// The rows: 16 words, one for each channel, for each of `width` columns.
    pub to: &'a mut [f32],
}

/// Most bytes of a vector's elements.
const BYTES: usize = 2 * 16;

impl SimdTask for CopyRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: KernelSimd>(self, simd: S) {
        match self.columns {
            Columns::F32 => {
                // SAFETY: `rows` loads from where an element for each lane is.
                let load = |x: *const u8| unsafe { simd.load_bf16s(x.cast()) };
                self.rows::<S, 1>(simd, load, |_, x| x);
            }
            Columns::F32OfU8 { zero } => {
                let zero = simd.splat_f32s(zero.into());
                let load = |x: *const u8| {
                    // SAFETY: as above.
                    let x = unsafe { simd.load_u8s(x) };
                    simd.sub_f32s(simd.floats_of_s32s(x), zero)
                };
                self.rows::<S, 1>(simd, load, |_, x| x);
            }
            Columns::F32OfS8 { zero } => {
                let zero = simd.splat_f32s(zero.into());
                let load = |x: *const u8| {
                    // SAFETY: as above.
                    let x = unsafe { simd.load_s8s(x.cast()) };
                    simd.sub_f32s(simd.floats_of_s32s(x), zero)
                };
                self.rows::<S, 1>(simd, load, |_, x| x);
            }
            Columns::Bf16s => {
                // SAFETY: as above.
                let load = |x: *const u8| unsafe { simd.load_bf16s(x.cast()) };
                self.rows::<S, 2>(simd, load, |word, x| simd.push_halves(word, x));
            }
            Columns::Bytes { flipped: false, .. } => {
                // SAFETY: as above.
                let load = |x: *const u8| unsafe { simd.load_u8s(x) };
                self.rows::<S, 4>(simd, load, |word, x| simd.push_bytes(word, x));
            }
            Columns::Bytes { flipped: true, .. } => {
                // SAFETY: as above. The lowest byte of each lane is pushed, and the others don't count.
                let load = |x: *const u8| simd.flip_bytes(unsafe { simd.load_u8s(x) });
                self.rows::<S, 4>(simd, load, |word, x| simd.push_bytes(word, x));
            }
        }
    }
}

impl CopyRows<'_> {
    /// Copies rows of words of `GROUP` columns. `load` makes a vector of an element for each lane, and `push` a word of the word
    /// before it and the next element.
    #[inline(always)]
    fn rows<S: KernelSimd, const GROUP: usize>(
        self,
        simd: S,
        load: impl Fn(*const u8) -> S::f32s,
        push: impl Fn(S::f32s, S::f32s) -> S::f32s,
    ) {
        let ([height, width], [top, left]) = (self.size, self.before);
        let (image, pixel, size) = (self.image, self.pixel, self.columns.size());
        assert!(self.block < pixel && image.len() == product([height, width, pixel]));
        let row = product([self.width, CHANNEL_BLOCK]);
        let padding = [self.columns.padding(); BYTES];
        for r in 0..self.to.len() / row {
            let to = self.to[r * row..][..row].as_mut_ptr();
            let y = (self.first + r).wrapping_sub(top);
            for lane in (0..CHANNEL_BLOCK).step_by(S::F32_LANES) {
                let bytes = S::F32_LANES * size;
                let (start, inside) = match y < height {
                    true => (y * width * pixel + self.block + lane * size, width),
                    false => (0, 0),
                };
                // Pixels whose whole vector is in the image.
                let whole = match image.len().checked_sub(start + bytes) {
                    Some(rest) => (rest / pixel + 1).min(inside),
                    None => 0,
                };
                let (mut word, mut column) = (simd.splat_f32s(0.0), 0);
                let end = self.width + GROUP - 1;
                while column < end {
                    let x = column.wrapping_sub(left);
                    let last;
                    // Columns up to `until` are a step apart, or all in the padding.
                    let (mut from, step, until) = if x < whole {
                        let from = image.as_ptr().wrapping_add(start + x * pixel);
                        (from, pixel, left + whole)
                    } else if x < inside {
                        last = elements_at_the_end(image, start + x * pixel);
                        (last.as_ptr(), 0, column + 1)
                    } else if column < left && inside > 0 {
                        (padding.as_ptr(), 0, left)
                    } else {
                        (padding.as_ptr(), 0, end)
                    };
                    for column in column..until.min(end) {
                        word = push(word, load(from));
                        from = from.wrapping_add(step);
                        if column + 1 >= GROUP {
                            let at = (column + 1 - GROUP) * CHANNEL_BLOCK + lane;
                            // SAFETY: the word's column is below `width`, and the row has 16 floats for each.
                            unsafe { simd.store_f32s(to.add(at), word) };
                        }
                    }
                    column = until;
                }
            }
        }
    }
}

/// Elements from byte `at` on, which are fewer than a vector's. Zeros follow.
#[inline(always)]
fn elements_at_the_end(image: &[u8], at: usize) -> [u8; BYTES] {
    let mut elements = [0; BYTES];
    if let Some(rest) = image.get(at..) {
        elements[..rest.len()].copy_from_slice(rest);
    }
    elements
}
