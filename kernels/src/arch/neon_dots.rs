//! Dot products of AArch64: those of bytes (FEAT_DotProd), of bytes of both signs (FEAT_I8MM) and of bf16 (FEAT_BF16). Rust has
//! no stable intrinsics for them.
//!
//! Each takes a word of the source from a lane of a vector ([`KernelSimd::dot_by_lane`]), as `fmla` does. So no instruction
//! broadcasts it.
//!
//! * `sdot` multiplies signed bytes. Unsigned sources are flipped to signed ones when they are copied. These are less by 128,
//!   and sums begin with the rest: 128 times the sum of the weights.
//! * `usdot` and `sudot` multiply unsigned with signed bytes. Their rate is that of `sdot`. `sudot` exists by lane only. Signed
//!   sources are flipped to unsigned ones.
//! * `bfdot` takes denormals for zeros, and rounds its sums to odd.
//!
//! `smmla`, `usmmla` and `bfmmla` multiply matrices of 2 x 8 bytes or 2 x 4 bf16, at up to twice these rates. Their sums are
//! 2 x 2 matrices, so tiles and panels would need other layouts.

use super::extension::extension;
use super::{KernelSimd, SimdTask, Twin, Words, broadcast_lane, dot};
use core::arch::aarch64::float32x4_t;
use pulp::aarch64::Neon;

/// The functions that tasks run in, compiled for an instruction set.
trait Enter: SimdTask {
    /// # Safety
    /// The CPU has FEAT_DotProd.
    unsafe fn dotprod<T: Twin>(self, simd: NeonDot) -> Self::Output;
    /// # Safety
    /// The CPU has FEAT_I8MM.
    unsafe fn i8mm<T: Twin>(self, simd: NeonI8mm) -> Self::Output;
    /// # Safety
    /// The CPU has FEAT_BF16.
    unsafe fn bf16<T: Twin>(self, simd: NeonBf16) -> Self::Output;
}

impl<K: SimdTask> Enter for K {
    #[target_feature(enable = "neon,dotprod")]
    #[inline(never)]
    unsafe fn dotprod<T: Twin>(self, simd: NeonDot) -> K::Output {
        self.run(T::of(simd))
    }

    #[target_feature(enable = "neon,i8mm")]
    #[inline(never)]
    unsafe fn i8mm<T: Twin>(self, simd: NeonI8mm) -> K::Output {
        self.run(T::of(simd))
    }

    #[target_feature(enable = "neon,bf16")]
    #[inline(never)]
    unsafe fn bf16<T: Twin>(self, simd: NeonBf16) -> K::Output {
        self.run(T::of(simd))
    }
}

/// Defines an instruction `sums += a b`, and its form in which one word of `b` is multiplied with all lanes of `a`.
macro_rules! instruction {
    ($feature:literal: $($name:ident $(<$lane:ident>)?: $text:literal;)*) => {
        $(#[inline]
        #[target_feature(enable = $feature)]
        fn $name $(<const $lane: usize>)? (
            mut sums: float32x4_t,
            a: float32x4_t,
            b: float32x4_t,
        ) -> float32x4_t {
            // SAFETY: the instruction reads and writes these registers alone.
            unsafe {
                core::arch::asm!(
                    $text,
                    sums = inout(vreg) sums,
                    a = in(vreg) a,
                    b = in(vreg) b,
                    $(lane = const $lane,)?
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            sums
        })*
    };
}

instruction! { "neon,dotprod":
    sdot: "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b";
    sdot_lane<LANE>: "sdot {sums:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]";
}
instruction! { "neon,i8mm":
    usdot: "usdot {sums:v}.4s, {a:v}.16b, {b:v}.16b";
    sudot_lane<LANE>: "sudot {sums:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]";
}
instruction! { "neon,bf16":
    bfdot: "bfdot {sums:v}.4s, {a:v}.8h, {b:v}.8h";
    bfdot_lane<LANE>: "bfdot {sums:v}.4s, {a:v}.8h, {b:v}.2h[{lane}]";
}

/// Defines the dot product of `words` by lane. Other words are broadcast.
macro_rules! by_lane {
    ($words:pat, $instruction:ident) => {
        const DOTS_BY_LANE: bool = true;

        #[inline(always)]
        fn dot_by_lane(
            self,
            words: Words,
            sums: Self::f32s,
            x: Self::f32s,
            lane: usize,
            w: Self::f32s,
        ) -> Self::f32s {
            if !matches!(words, $words) {
                return dot(self, words, sums, broadcast_lane(self, x, lane), w);
            }
            let (sums, x, w) = (pulp::cast(sums), pulp::cast(x), pulp::cast(w));
            // SAFETY: the token proves the feature.
            pulp::cast(unsafe {
                match lane {
                    0 => $instruction::<0>(sums, w, x),
                    1 => $instruction::<1>(sums, w, x),
                    2 => $instruction::<2>(sums, w, x),
                    _ => $instruction::<3>(sums, w, x),
                }
            })
        }
    };
}

extension! {
    /// NEON and FEAT_DotProd: dot products of signed bytes.
    NeonDot: Neon, feature: is_aarch64_feature_detected!("dotprod"), enter: dotprod,
    of base: dot_bf16s dot_s16s;
    {
        const SIGNED_SOURCES: bool = true;
        by_lane!(Words::Bytes, sdot_lane);

        #[inline(always)]
        fn dot_bytes(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
            let (sums, x, w) = (pulp::cast(sums), pulp::cast(x), pulp::cast(w));
            // SAFETY: the token proves FEAT_DotProd.
            pulp::cast(unsafe { sdot(sums, w, x) })
        }
    }
}

extension! {
    /// NEON and FEAT_I8MM: dot products of unsigned and signed bytes.
    NeonI8mm: Neon, feature: is_aarch64_feature_detected!("i8mm"), enter: i8mm,
    of base: dot_bf16s dot_s16s;
    {
        by_lane!(Words::Bytes, sudot_lane);

        #[inline(always)]
        fn dot_bytes(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
            let (sums, x, w) = (pulp::cast(sums), pulp::cast(x), pulp::cast(w));
            // SAFETY: the token proves FEAT_I8MM.
            pulp::cast(unsafe { usdot(sums, x, w) })
        }
    }
}

extension! {
    /// NEON and FEAT_BF16: dot products of bf16.
    NeonBf16: Neon, feature: is_aarch64_feature_detected!("bf16"), enter: bf16,
    of base: dot_s16s dot_bytes;
    {
        by_lane!(Words::Bf16, bfdot_lane);

        #[inline(always)]
        fn dot_bf16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
            let (sums, x, w) = (pulp::cast(sums), pulp::cast(x), pulp::cast(w));
            // SAFETY: the token proves FEAT_BF16.
            pulp::cast(unsafe { bfdot(sums, x, w) })
        }
    }
}
