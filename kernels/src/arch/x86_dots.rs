//! Dot products of x86-64: AVX-VNNI, AVX-512 VNNI and AVX-512 BF16.
//!
//! `vpdpbusd` multiplies unsigned bytes of its first factor, here the source, with signed bytes of its second. It does not
//! saturate. Signed sources are flipped to unsigned ones when they are copied. `vpdpwssd` multiplies 16-bit integers.
//!
//! `vdpbf16ps` takes denormals for zeros, in its operands and in its results. So does `vcvtneps2bf16`, unlike
//! [`Bf16::from_f32`](crate::dtype::Bf16::from_f32). So floats are rounded to bf16 by the integer operations of AVX-512.

use super::extension::extension;
use super::{KernelSimd, SimdTask, Twin};
use pulp::x86::{V3, V4};

/// The functions that tasks run in, compiled for an instruction set.
trait Enter: SimdTask {
    /// # Safety
    /// The CPU has V3's features and AVX-VNNI.
    unsafe fn avx_vnni<T: Twin>(self, simd: AvxVnni) -> Self::Output;
    /// # Safety
    /// The CPU has V4's features and AVX-512 VNNI.
    unsafe fn avx512_vnni<T: Twin>(self, simd: Avx512Vnni) -> Self::Output;
    /// # Safety
    /// The CPU has V4's features and AVX-512 BF16.
    unsafe fn avx512_bf16<T: Twin>(self, simd: Avx512Bf16) -> Self::Output;
}

impl<K: SimdTask> Enter for K {
    #[target_feature(enable = "sse,sse2,fxsr,sse3,ssse3,sse4.1,sse4.2,popcnt")]
    #[target_feature(enable = "avx,avx2,bmi1,bmi2,fma,lzcnt")]
    #[target_feature(enable = "avxvnni")]
    #[inline(never)]
    unsafe fn avx_vnni<T: Twin>(self, simd: AvxVnni) -> K::Output {
        self.run(T::of(simd))
    }

    #[target_feature(enable = "sse,sse2,fxsr,sse3,ssse3,sse4.1,sse4.2,popcnt")]
    #[target_feature(enable = "avx,avx2,bmi1,bmi2,fma,lzcnt")]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
    #[target_feature(enable = "avx512vnni")]
    #[inline(never)]
    unsafe fn avx512_vnni<T: Twin>(self, simd: Avx512Vnni) -> K::Output {
        self.run(T::of(simd))
    }

    #[target_feature(enable = "sse,sse2,fxsr,sse3,ssse3,sse4.1,sse4.2,popcnt")]
    #[target_feature(enable = "avx,avx2,bmi1,bmi2,fma,lzcnt")]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
    #[target_feature(enable = "avx512bf16")]
    #[inline(never)]
    unsafe fn avx512_bf16<T: Twin>(self, simd: Avx512Bf16) -> K::Output {
        self.run(T::of(simd))
    }
}

extension! {
    /// AVX2 and AVX-VNNI: dot products of bytes and of 16-bit integers, of 256 bits.
    AvxVnni: V3, feature: is_x86_feature_detected!("avxvnni"), enter: avx_vnni,
    of base: dot_bf16s;
    {
        #[inline(always)]
        fn dot_bytes(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
            use core::arch::x86_64::_mm256_dpbusd_avx_epi32;
            let (sums, x, w) = (pulp::cast(sums), pulp::cast(x), pulp::cast(w));
            // SAFETY: the token proves AVX-VNNI.
            pulp::cast(unsafe { _mm256_dpbusd_avx_epi32(sums, x, w) })
        }

        #[inline(always)]
        fn dot_s16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
            use core::arch::x86_64::_mm256_dpwssd_avx_epi32;
            let (sums, x, w) = (pulp::cast(sums), pulp::cast(x), pulp::cast(w));
            // SAFETY: the token proves AVX-VNNI.
            pulp::cast(unsafe { _mm256_dpwssd_avx_epi32(sums, x, w) })
        }
    }
}

extension! {
    /// AVX-512 and its VNNI: dot products of bytes and of 16-bit integers.
    Avx512Vnni: V4, feature: is_x86_feature_detected!("avx512vnni"), enter: avx512_vnni,
    of base: dot_bf16s;
    {
        #[inline(always)]
        fn dot_bytes(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
            use core::arch::x86_64::_mm512_dpbusd_epi32;
            let (sums, x, w) = (pulp::cast(sums), pulp::cast(x), pulp::cast(w));
            // SAFETY: the token proves AVX-512 VNNI.
            pulp::cast(unsafe { _mm512_dpbusd_epi32(sums, x, w) })
        }

        #[inline(always)]
        fn dot_s16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
            use core::arch::x86_64::_mm512_dpwssd_epi32;
            let (sums, x, w) = (pulp::cast(sums), pulp::cast(x), pulp::cast(w));
            // SAFETY: the token proves AVX-512 VNNI.
            pulp::cast(unsafe { _mm512_dpwssd_epi32(sums, x, w) })
        }
    }
}

extension! {
    /// AVX-512 and its BF16: dot products of bf16.
    Avx512Bf16: V4, feature: is_x86_feature_detected!("avx512bf16"), enter: avx512_bf16,
    of base: dot_s16s dot_bytes;
    {
        #[inline(always)]
        fn dot_bf16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
            use core::arch::x86_64::{__m512bh, _mm512_dpbf16_ps};
            // SAFETY: the token proves AVX-512 BF16, and all bits are bf16s.
            pulp::cast(unsafe {
                let [x, w] = [x, w].map(|v| core::mem::transmute::<Self::f32s, __m512bh>(v));
                // The second factor may be broadcast from memory.
                _mm512_dpbf16_ps(pulp::cast(sums), w, x)
            })
        }
    }
}
