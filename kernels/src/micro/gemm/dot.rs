//! Arithmetic of a register tile: what its 32-bit lanes hold, and how they are multiplied.
//!
//! A lane of the operands is a *word*: one f32, two bf16, two 16-bit integers or four bytes, of neighbouring channels. A lane
//! of the sums is an f32 or a 32-bit integer. So tiles, blocks, offsets and prefetches are those of f32 for every type, and
//! count words.
#![allow(unsafe_code)]

use crate::arch::KernelSimd;
use crate::isa::{Sets, Words};
use std::fmt::Debug;

/// Arithmetic on the words of a tile.
pub trait Dot: Copy + Debug + Send + Sync + 'static {
    /// The words.
    const WORDS: Words;
    /// Instruction sets that tiles are compiled for.
    const SETS: Sets;
    /// Tells if tiles have twins ([`SimdTask::TWINS`](crate::isa::SimdTask::TWINS)).
    const TWINS: bool = true;
    /// Channels in a word.
    const GROUP: usize;
    /// Tells if sums are floats. Else they are 32-bit integers, which wrap around.
    const FLOATS: bool;

    /// The sums plus the products of the channels of each word. Words and integers are the bits of the lanes.
    fn dot<S: KernelSimd>(self, simd: S, sums: S::f32s, x: S::f32s, w: S::f32s) -> S::f32s;

    /// The sum of two sums.
    #[inline(always)]
    fn add<S: KernelSimd>(self, simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        match const { Self::FLOATS } {
            true => simd.add_f32s(a, b),
            false => simd.add_s32s(a, b),
        }
    }

    /// Adds one of `N` words, times each vector of a row of weights, to a pixel's sums.
    ///
    /// # Safety
    /// `from` is valid for a read of `N` words, and `index` below `N`.
    #[inline(always)]
    unsafe fn multiply<S: KernelSimd, const V: usize, const N: usize>(
        self,
        simd: S,
        sums: &mut [S::f32s; V],
        from: *const f32,
        index: usize,
        weights: &[S::f32s; V],
    ) {
        if const { S::DOTS_BY_LANE && N.is_multiple_of(S::F32_LANES) } {
            let lane = index % S::F32_LANES;
            // SAFETY: the `N` words are whole vectors, of which this is one.
            let x = unsafe { simd.load_f32s(from.add(index - lane)) };
            each!(vector V, |v| {
                sums[v] = simd.dot_by_lane(Self::WORDS, sums[v], x, lane, weights[v]);
            });
        } else {
            // SAFETY: the caller's promise.
            let x = unsafe { simd.broadcast::<N>(from, index) };
            each!(vector V, |v| {
                sums[v] = self.dot(simd, sums[v], x, weights[v]);
            });
        }
    }
}

/// f32.
#[derive(Clone, Copy, Debug, Default)]
pub struct F32;

impl Dot for F32 {
    const WORDS: Words = Words::F32;
    const SETS: Sets = Sets::Bases;
    const GROUP: usize = 1;
    const FLOATS: bool = true;

    #[inline(always)]
    fn dot<S: KernelSimd>(self, simd: S, sums: S::f32s, x: S::f32s, w: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(x, w, sums)
    }
}

/// Pairs of bf16, summed in f32.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bf16s;

impl Dot for Bf16s {
    const WORDS: Words = Words::Bf16;
    const SETS: Sets = Sets::Only(Words::Bf16);
    const GROUP: usize = 2;
    const FLOATS: bool = true;

    #[inline(always)]
    fn dot<S: KernelSimd>(self, simd: S, sums: S::f32s, x: S::f32s, w: S::f32s) -> S::f32s {
        simd.dot_bf16s(sums, x, w)
    }
}

/// Pairs of signed 16-bit integers: bytes that were widened, for CPUs that can't multiply bytes exactly.
#[derive(Clone, Copy, Debug, Default)]
pub struct S16s;

impl Dot for S16s {
    const WORDS: Words = Words::S16;
    const SETS: Sets = Sets::Without(Words::S16);
    // Rare: those of small weights are multiplied as bytes.
    const TWINS: bool = false;
    const GROUP: usize = 2;
    const FLOATS: bool = false;

    #[inline(always)]
    fn dot<S: KernelSimd>(self, simd: S, sums: S::f32s, x: S::f32s, w: S::f32s) -> S::f32s {
        simd.dot_s16s(sums, x, w)
    }
}

/// [`S16s`] on CPUs with dot products of 16-bit integers. Bytes are faster there, so only transformed bytes are multiplied so.
#[derive(Clone, Copy, Debug, Default)]
pub struct S16Dots;

impl Dot for S16Dots {
    const WORDS: Words = S16s::WORDS;
    const SETS: Sets = Sets::Only(S16s::WORDS);
    const TWINS: bool = false;
    const GROUP: usize = S16s::GROUP;
    const FLOATS: bool = S16s::FLOATS;

    #[inline(always)]
    fn dot<S: KernelSimd>(self, simd: S, sums: S::f32s, x: S::f32s, w: S::f32s) -> S::f32s {
        S16s.dot(simd, sums, x, w)
    }
}

/// Four bytes of the source, times four signed bytes of the weights.
///
/// The sign of the source is that of the instruction set ([`Isa::signed_sources`](crate::Isa::signed_sources)), so that one
/// instruction multiplies and no tile is compiled twice. Sources of the other sign are flipped when they are copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

impl Dot for Bytes {
    const WORDS: Words = Words::Bytes;
    const SETS: Sets = Sets::Only(Words::Bytes);
    const GROUP: usize = 4;
    const FLOATS: bool = false;

    #[inline(always)]
    fn dot<S: KernelSimd>(self, simd: S, sums: S::f32s, x: S::f32s, w: S::f32s) -> S::f32s {
        simd.dot_bytes(sums, x, w)
    }
}

/// Four unsigned bytes of the source, times four signed bytes of the weights with which two products add up to at most 16
/// bits ([`Words::U8S7`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct U8S7s;

impl U8S7s {
    /// True if a word of weights allows this product: 255 times the first two weights, or only the positive or the negative
    /// one of them, fits into 16 bits, and so do the last two.
    pub const fn allows(weights: [i8; 4]) -> bool {
        const fn pair(a: i8, b: i8) -> bool {
            let (a, b) = (a as i32, b as i32);
            let most = 255 * ((if a > 0 { a } else { 0 }) + (if b > 0 { b } else { 0 }));
            let least = 255 * ((if a < 0 { a } else { 0 }) + (if b < 0 { b } else { 0 }));
            most <= i16::MAX as i32 && least >= i16::MIN as i32
        }
        let [a, b, c, d] = weights;
        pair(a, b) && pair(c, d)
    }
}

impl Dot for U8S7s {
    const WORDS: Words = Words::U8S7;
    const SETS: Sets = Sets::Only(Words::U8S7);
    // Without memory traffic the compiler would compute products once, which take two of the three instructions.
    const TWINS: bool = false;
    const GROUP: usize = 4;
    const FLOATS: bool = false;

    #[inline(always)]
    fn dot<S: KernelSimd>(self, simd: S, sums: S::f32s, x: S::f32s, w: S::f32s) -> S::f32s {
        simd.dot_u8s7(sums, x, w)
    }
}
