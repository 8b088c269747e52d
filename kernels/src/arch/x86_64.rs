//! AVX2 and AVX-512.

use super::{KernelSimd, SimdTask, Twin, inverse_sqrt_step, pulp_operations};

/// The functions that tasks run in, compiled for an instruction set: pulp's features of its name.
trait Enter: SimdTask {
    /// # Safety
    /// The CPU has V3's features.
    unsafe fn avx2<T: Twin>(self, simd: pulp::x86::V3) -> Self::Output;
    /// # Safety
    /// The CPU has V4's features.
    unsafe fn avx512<T: Twin>(self, simd: pulp::x86::V4) -> Self::Output;
}

impl<K: SimdTask> Enter for K {
    #[target_feature(enable = "sse,sse2,fxsr,sse3,ssse3,sse4.1,sse4.2,popcnt")]
    #[target_feature(enable = "avx,avx2,bmi1,bmi2,fma,lzcnt")]
    #[inline(never)]
    unsafe fn avx2<T: Twin>(self, simd: pulp::x86::V3) -> K::Output {
        self.run(T::of(simd))
    }

    #[target_feature(enable = "sse,sse2,fxsr,sse3,ssse3,sse4.1,sse4.2,popcnt")]
    #[target_feature(enable = "avx,avx2,bmi1,bmi2,fma,lzcnt")]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
    #[inline(never)]
    unsafe fn avx512<T: Twin>(self, simd: pulp::x86::V4) -> K::Output {
        self.run(T::of(simd))
    }
}

impl super::sealed::Sealed for pulp::x86::V3 {}
impl KernelSimd for pulp::x86::V3 {
    pulp_operations!();

    const NATIVE: bool = true;

    #[inline(always)]
    fn enter<K: SimdTask, T: Twin>(self, task: K) -> K::Output {
        // SAFETY: the token proves the features.
        unsafe { task.avx2::<T>(self) }
    }

    #[inline(always)]
    fn opaque(self, x: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves the feature.
        pulp::cast(unsafe { opaque_256(pulp::cast(x)) })
    }

    #[inline(always)]
    fn swap_lanes<const DISTANCE: usize>(self, x: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm256_permute_ps, _mm256_permute2f128_ps};
        let x = pulp::cast(x);
        // SAFETY: the token proves AVX.
        pulp::cast(unsafe {
            match DISTANCE {
                1 => _mm256_permute_ps::<0b10_11_00_01>(x),
                2 => _mm256_permute_ps::<0b01_00_11_10>(x),
                _ => _mm256_permute2f128_ps::<1>(x, x),
            }
        })
    }

    #[inline(always)]
    fn inverse_sqrt_f32s(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves AVX.
        let estimate = unsafe { core::arch::x86_64::_mm256_rsqrt_ps(pulp::cast(a)) };
        inverse_sqrt_step(self, a, pulp::cast(estimate))
    }

    #[inline(always)]
    fn at_least(self, least: Self::f32s, y: Self::f32s) -> Self::f32s {
        // x86's max is its second operand where one is a NaN.
        pulp::Simd::max_f32s(self, least, y)
    }

    #[inline(always)]
    unsafe fn stream_f32s(self, to: *mut f32, value: Self::f32s) {
        // SAFETY: the token proves AVX; the address is as the caller promises.
        unsafe { core::arch::x86_64::_mm256_stream_ps(to, pulp::cast(value)) }
    }

    #[inline(always)]
    unsafe fn load_fours(self, at: &[*const f32]) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadu_ps, _mm256_castps128_ps256, _mm256_insertf128_ps};
        // SAFETY: the token proves AVX; the addresses are as the caller promises.
        pulp::cast(unsafe {
            let low = _mm256_castps128_ps256(_mm_loadu_ps(at[0]));
            _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(at[1]))
        })
    }

    #[inline(always)]
    fn evens_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            _mm256_castpd_ps, _mm256_castps_pd, _mm256_permute4x64_pd, _mm256_shuffle_ps,
        };
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe {
            let pairs = _mm256_shuffle_ps::<0x88>(pulp::cast(a), pulp::cast(b));
            _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(_mm256_castps_pd(pairs)))
        })
    }

    #[inline(always)]
    fn odds_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            _mm256_castpd_ps, _mm256_castps_pd, _mm256_permute4x64_pd, _mm256_shuffle_ps,
        };
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe {
            let pairs = _mm256_shuffle_ps::<0xdd>(pulp::cast(a), pulp::cast(b));
            _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(_mm256_castps_pd(pairs)))
        })
    }

    #[inline(always)]
    fn transpose_fours(self, rows: [Self::f32s; 4]) -> [Self::f32s; 4] {
        use core::arch::x86_64::{
            __m256, _mm256_shuffle_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
        };
        let [a, b, c, d]: [__m256; 4] = pulp::cast(rows);
        // SAFETY: the token proves AVX.
        let columns = unsafe {
            let low = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let high = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            [
                _mm256_shuffle_ps::<0x44>(low.0, low.1),
                _mm256_shuffle_ps::<0xee>(low.0, low.1),
                _mm256_shuffle_ps::<0x44>(high.0, high.1),
                _mm256_shuffle_ps::<0xee>(high.0, high.1),
            ]
        };
        pulp::cast(columns)
    }
}

impl super::sealed::Sealed for pulp::x86::V4 {}
impl KernelSimd for pulp::x86::V4 {
    pulp_operations!();

    const NATIVE: bool = true;

    #[inline(always)]
    fn enter<K: SimdTask, T: Twin>(self, task: K) -> K::Output {
        // SAFETY: the token proves the features.
        unsafe { task.avx512::<T>(self) }
    }

    #[inline(always)]
    fn opaque(self, x: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves the feature.
        pulp::cast(unsafe { opaque_512(pulp::cast(x)) })
    }

    #[inline(always)]
    fn swap_lanes<const DISTANCE: usize>(self, x: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm512_permute_ps, _mm512_shuffle_f32x4};
        let x = pulp::cast(x);
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe {
            match DISTANCE {
                1 => _mm512_permute_ps::<0b10_11_00_01>(x),
                2 => _mm512_permute_ps::<0b01_00_11_10>(x),
                _ => _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x),
            }
        })
    }

    #[inline(always)]
    fn inverse_sqrt_f32s(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves AVX-512F.
        let estimate = unsafe { core::arch::x86_64::_mm512_rsqrt14_ps(pulp::cast(a)) };
        inverse_sqrt_step(self, a, pulp::cast(estimate))
    }

    #[inline(always)]
    fn at_least(self, least: Self::f32s, y: Self::f32s) -> Self::f32s {
        // x86's max is its second operand where one is a NaN.
        pulp::Simd::max_f32s(self, least, y)
    }

    #[inline(always)]
    unsafe fn stream_f32s(self, to: *mut f32, value: Self::f32s) {
        // SAFETY: the token proves AVX-512F; the address is as the caller promises.
        unsafe { core::arch::x86_64::_mm512_stream_ps(to, pulp::cast(value)) }
    }

    #[inline(always)]
    unsafe fn load_fours(self, at: &[*const f32]) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadu_ps, _mm512_castps128_ps512, _mm512_insertf32x4};
        // SAFETY: the token proves AVX-512F; the addresses are as the caller promises.
        pulp::cast(unsafe {
            let v = _mm512_castps128_ps512(_mm_loadu_ps(at[0]));
            let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(at[1]));
            let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(at[2]));
            _mm512_insertf32x4::<3>(v, _mm_loadu_ps(at[3]))
        })
    }

    #[inline(always)]
    fn evens_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm512_permutex2var_ps, _mm512_setr_epi32};
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe {
            let evens =
                _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            _mm512_permutex2var_ps(pulp::cast(a), evens, pulp::cast(b))
        })
    }

    #[inline(always)]
    fn odds_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm512_permutex2var_ps, _mm512_setr_epi32};
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe {
            let odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            _mm512_permutex2var_ps(pulp::cast(a), odds, pulp::cast(b))
        })
    }

    #[inline(always)]
    fn transpose_fours(self, rows: [Self::f32s; 4]) -> [Self::f32s; 4] {
        use core::arch::x86_64::{
            __m512, _mm512_shuffle_ps, _mm512_unpackhi_ps, _mm512_unpacklo_ps,
        };
        let [a, b, c, d]: [__m512; 4] = pulp::cast(rows);
        // SAFETY: the token proves AVX-512F.
        let columns = unsafe {
            let low = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
            let high = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
            [
                _mm512_shuffle_ps::<0x44>(low.0, low.1),
                _mm512_shuffle_ps::<0xee>(low.0, low.1),
                _mm512_shuffle_ps::<0x44>(high.0, high.1),
                _mm512_shuffle_ps::<0xee>(high.0, high.1),
            ]
        };
        pulp::cast(columns)
    }
}

/// An empty instruction that might change a vector.
#[inline]
#[target_feature(enable = "avx")]
fn opaque_256(mut x: core::arch::x86_64::__m256) -> core::arch::x86_64::__m256 {
    // SAFETY: does nothing.
    unsafe {
        core::arch::asm!("/* {0} */", inout(ymm_reg) x, options(nomem, nostack, preserves_flags));
    }
    x
}

/// An empty instruction that might change a vector.
#[inline]
#[target_feature(enable = "avx512f")]
fn opaque_512(mut x: core::arch::x86_64::__m512) -> core::arch::x86_64::__m512 {
    // SAFETY: does nothing.
    unsafe {
        core::arch::asm!("/* {0} */", inout(zmm_reg) x, options(nomem, nostack, preserves_flags));
    }
    x
}
