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

/// Defines operations on integers by intrinsics, whose features the token proves.
macro_rules! integer_operations {
    ($($name:ident = $intrinsic:ident;)*) => {
        $(#[inline(always)]
        fn $name(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
            // SAFETY: the token proves the features: AVX2, or AVX-512F and AVX-512BW.
            pulp::cast(unsafe { core::arch::x86_64::$intrinsic(pulp::cast(a), pulp::cast(b)) })
        })*
    };
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
    fn abs_f32s(self, a: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm256_andnot_ps, _mm256_set1_ps};
        // SAFETY: the token proves AVX.
        pulp::cast(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), pulp::cast(a)) })
    }

    #[inline(always)]
    fn dot_bf16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            __m256i, _mm256_and_si256, _mm256_fmadd_ps, _mm256_set1_epi32, _mm256_slli_epi32,
        };
        let (x, w): (__m256i, __m256i) = (pulp::cast(x), pulp::cast(w));
        // SAFETY: the token proves AVX2 and FMA.
        pulp::cast(unsafe {
            // A bf16 is the upper half of an f32.
            let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            let high = [_mm256_and_si256(x, upper), _mm256_and_si256(w, upper)];
            let low = [_mm256_slli_epi32::<16>(x), _mm256_slli_epi32::<16>(w)];
            let sums = _mm256_fmadd_ps(pulp::cast(low[0]), pulp::cast(low[1]), pulp::cast(sums));
            _mm256_fmadd_ps(pulp::cast(high[0]), pulp::cast(high[1]), sums)
        })
    }

    #[inline(always)]
    fn dot_s16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm256_add_epi32, _mm256_madd_epi16};
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe {
            let products = _mm256_madd_epi16(pulp::cast(x), pulp::cast(w));
            let sums = _mm256_add_epi32(pulp::cast(sums), products);
            // LLVM would add the products of several channels first, and keep sums in memory.
            opaque_256(pulp::cast(sums))
        })
    }

    #[inline(always)]
    fn dot_bytes(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_madd_epi16, _mm256_set1_epi16,
            _mm256_slli_epi16, _mm256_srai_epi16, _mm256_srli_epi16,
        };
        let (x, w): (__m256i, __m256i) = (pulp::cast(x), pulp::cast(w));
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe {
            // As 16-bit integers: the product of bytes by `vpmaddubsw` would saturate.
            let even = _mm256_madd_epi16(
                _mm256_and_si256(x, _mm256_set1_epi16(0xff)),
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w)),
            );
            let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(x), _mm256_srai_epi16::<8>(w));
            _mm256_add_epi32(pulp::cast(sums), _mm256_add_epi32(even, odd))
        })
    }

    #[inline(always)]
    fn dot_u8s7(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            __m256i, _mm256_add_epi32, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16,
        };
        let (x, w): (__m256i, __m256i) = (pulp::cast(x), pulp::cast(w));
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe {
            // The sums of two products would saturate beyond 16 bits.
            let pairs = _mm256_maddubs_epi16(x, w);
            let products = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            let sums = _mm256_add_epi32(pulp::cast(sums), products);
            // LLVM would add the products of several channels first, and keep sums in memory.
            opaque_256(pulp::cast(sums))
        })
    }

    #[inline(always)]
    fn flip_bytes(self, a: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm256_set1_epi8, _mm256_xor_si256};
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe { _mm256_xor_si256(pulp::cast(a), _mm256_set1_epi8(-128)) })
    }

    #[inline(always)]
    fn push_bytes(self, words: Self::f32s, x: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm256_or_si256, _mm256_slli_epi32, _mm256_srli_epi32};
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe {
            let rest = _mm256_srli_epi32::<8>(pulp::cast(words));
            _mm256_or_si256(rest, _mm256_slli_epi32::<24>(pulp::cast(x)))
        })
    }

    #[inline(always)]
    fn push_halves(self, words: Self::f32s, x: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm256_or_si256, _mm256_srli_epi32};
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe {
            let rest = _mm256_srli_epi32::<16>(pulp::cast(words));
            _mm256_or_si256(rest, pulp::cast(x))
        })
    }

    #[inline(always)]
    fn quarters_of_s32s(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe { core::arch::x86_64::_mm256_srai_epi32::<2>(pulp::cast(a)) })
    }

    #[inline(always)]
    fn floats_of_s32s(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe { core::arch::x86_64::_mm256_cvtepi32_ps(pulp::cast(a)) })
    }

    #[inline(always)]
    fn s32s_of_floats(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe { core::arch::x86_64::_mm256_cvtps_epi32(pulp::cast(a)) })
    }

    #[inline(always)]
    fn bf16s_of_floats(self, a: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            _CMP_UNORD_Q, _mm256_add_epi32, _mm256_and_si256, _mm256_blendv_epi8,
            _mm256_castps_si256, _mm256_cmp_ps, _mm256_or_si256, _mm256_set1_epi32,
            _mm256_srli_epi32,
        };
        let a = pulp::cast(a);
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe {
            let bits = _mm256_castps_si256(a);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
            let rounded = _mm256_add_epi32(bits, half);
            let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(a, a));
            let nan = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, nan, is_nan))
        })
    }

    integer_operations! {
        max_u8s = _mm256_max_epu8;
        max_s8s = _mm256_max_epi8;
        max_s16s = _mm256_max_epi16;
        add_s16s = _mm256_add_epi16;
        sub_s16s = _mm256_sub_epi16;
        add_s32s = _mm256_add_epi32;
        sub_s32s = _mm256_sub_epi32;
        and_bits = _mm256_and_si256;
        or_bits = _mm256_or_si256;
    }

    #[inline(always)]
    fn shift_up(self, a: Self::f32s, by: u32) -> Self::f32s {
        use core::arch::x86_64::{_mm256_set1_epi32, _mm256_sllv_epi32};
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe { _mm256_sllv_epi32(pulp::cast(a), _mm256_set1_epi32(by.cast_signed())) })
    }

    #[inline(always)]
    fn shift_down(self, a: Self::f32s, by: u32) -> Self::f32s {
        use core::arch::x86_64::{_mm256_set1_epi32, _mm256_srlv_epi32};
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe { _mm256_srlv_epi32(pulp::cast(a), _mm256_set1_epi32(by.cast_signed())) })
    }

    #[inline(always)]
    fn keys_of_bf16s(self, a: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            _mm256_and_si256, _mm256_set1_epi16, _mm256_srai_epi16, _mm256_sub_epi16,
            _mm256_xor_si256,
        };
        let a = pulp::cast(a);
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe {
            let negative = _mm256_srai_epi16::<15>(a);
            let others = _mm256_and_si256(negative, _mm256_set1_epi16(0x7fff));
            _mm256_sub_epi16(_mm256_xor_si256(a, others), _mm256_set1_epi16(127))
        })
    }

    #[inline(always)]
    fn bf16s_of_keys(self, keys: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            _mm256_add_epi16, _mm256_and_si256, _mm256_set1_epi16, _mm256_srai_epi16,
            _mm256_xor_si256,
        };
        // SAFETY: the token proves AVX2.
        pulp::cast(unsafe {
            let a = _mm256_add_epi16(pulp::cast(keys), _mm256_set1_epi16(127));
            let negative = _mm256_srai_epi16::<15>(a);
            _mm256_xor_si256(a, _mm256_and_si256(negative, _mm256_set1_epi16(0x7fff)))
        })
    }

    #[inline(always)]
    unsafe fn load_u8s(self, at: *const u8) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadl_epi64, _mm256_cvtepu8_epi32};
        // SAFETY: the token proves AVX2; the address is as the caller promises.
        pulp::cast(unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast())) })
    }

    #[inline(always)]
    unsafe fn load_s8s(self, at: *const i8) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadl_epi64, _mm256_cvtepi8_epi32};
        // SAFETY: the token proves AVX2; the address is as the caller promises.
        pulp::cast(unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast())) })
    }

    #[inline(always)]
    unsafe fn load_u8_pairs(self, at: *const u8) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadu_si128, _mm256_cvtepu8_epi16};
        // SAFETY: the token proves AVX2; the address is as the caller promises.
        pulp::cast(unsafe { _mm256_cvtepu8_epi16(_mm_loadu_si128(at.cast())) })
    }

    #[inline(always)]
    unsafe fn load_s8_pairs(self, at: *const i8) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadu_si128, _mm256_cvtepi8_epi16};
        // SAFETY: the token proves AVX2; the address is as the caller promises.
        pulp::cast(unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(at.cast())) })
    }

    #[inline(always)]
    unsafe fn load_bf16s(self, at: *const u16) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadu_si128, _mm256_cvtepu16_epi32, _mm256_slli_epi32};
        // SAFETY: the token proves AVX2; the address is as the caller promises.
        pulp::cast(unsafe {
            _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast())))
        })
    }

    #[inline(always)]
    unsafe fn store_low_bytes(self, to: *mut u8, y: Self::f32s) {
        use core::arch::x86_64::{
            _mm_storel_epi64, _mm_unpacklo_epi32, _mm256_castsi256_si128, _mm256_extracti128_si256,
            _mm256_setr_epi8, _mm256_shuffle_epi8,
        };
        // SAFETY: the token proves AVX2; the address is as the caller promises.
        unsafe {
            // The lowest bytes of each half are gathered in its first lane.
            let first = _mm256_setr_epi8(
                0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, //
                0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
            );
            let halves = _mm256_shuffle_epi8(pulp::cast(y), first);
            let (low, high) = (
                _mm256_castsi256_si128(halves),
                _mm256_extracti128_si256::<1>(halves),
            );
            _mm_storel_epi64(to.cast(), _mm_unpacklo_epi32(low, high));
        }
    }

    #[inline(always)]
    unsafe fn store_bytes<const N: usize>(self, to: *mut u8, y: [Self::f32s; N]) {
        use core::arch::x86_64::{
            _mm_packus_epi16, _mm_shuffle_epi32, _mm_storeu_si128, _mm256_and_si256,
            _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_packs_epi32,
            _mm256_set1_epi16,
        };
        let (pairs, rest) = y.as_chunks::<2>();
        for (i, pair) in pairs.iter().enumerate() {
            // SAFETY: the token proves AVX2; the address is as the caller promises.
            unsafe {
                let [a, b] = pair.map(pulp::cast);
                // Four lanes of each in turn.
                let halves = _mm256_and_si256(_mm256_packs_epi32(a, b), _mm256_set1_epi16(0xff));
                let bytes = _mm_packus_epi16(
                    _mm256_castsi256_si128(halves),
                    _mm256_extracti128_si256::<1>(halves),
                );
                let to = to.add(2 * i * Self::F32_LANES);
                _mm_storeu_si128(to.cast(), _mm_shuffle_epi32::<0b11_01_10_00>(bytes));
            }
        }
        if let [last] = rest {
            // SAFETY: the caller's promise.
            unsafe { self.store_low_bytes(to.add((N - 1) * Self::F32_LANES), *last) };
        }
    }

    #[inline(always)]
    unsafe fn store_low_halves(self, to: *mut u16, y: Self::f32s) {
        use core::arch::x86_64::{
            _mm_storeu_si128, _mm256_and_si256, _mm256_castsi256_si128, _mm256_packus_epi32,
            _mm256_permute4x64_epi64, _mm256_set1_epi32,
        };
        // SAFETY: the token proves AVX2; the address is as the caller promises.
        unsafe {
            let y = _mm256_and_si256(pulp::cast(y), _mm256_set1_epi32(0xffff));
            let pairs = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(y, y));
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(pairs));
        }
    }

    #[inline(always)]
    fn neg_f32s(self, a: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm256_set1_ps, _mm256_xor_ps};
        // SAFETY: the token proves AVX.
        pulp::cast(unsafe { _mm256_xor_ps(_mm256_set1_ps(-0.0), pulp::cast(a)) })
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
    fn abs_f32s(self, a: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm512_andnot_ps, _mm512_set1_ps};
        // SAFETY: the token proves AVX-512DQ.
        pulp::cast(unsafe { _mm512_andnot_ps(_mm512_set1_ps(-0.0), pulp::cast(a)) })
    }

    #[inline(always)]
    fn dot_bf16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            __m512i, _mm512_and_si512, _mm512_fmadd_ps, _mm512_set1_epi32, _mm512_slli_epi32,
        };
        let (x, w): (__m512i, __m512i) = (pulp::cast(x), pulp::cast(w));
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe {
            // A bf16 is the upper half of an f32.
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            let high = [_mm512_and_si512(x, upper), _mm512_and_si512(w, upper)];
            let low = [_mm512_slli_epi32::<16>(x), _mm512_slli_epi32::<16>(w)];
            let sums = _mm512_fmadd_ps(pulp::cast(low[0]), pulp::cast(low[1]), pulp::cast(sums));
            _mm512_fmadd_ps(pulp::cast(high[0]), pulp::cast(high[1]), sums)
        })
    }

    #[inline(always)]
    fn dot_s16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm512_add_epi32, _mm512_madd_epi16};
        // SAFETY: the token proves AVX-512BW.
        pulp::cast(unsafe {
            let products = _mm512_madd_epi16(pulp::cast(x), pulp::cast(w));
            let sums = _mm512_add_epi32(pulp::cast(sums), products);
            // LLVM would add the products of several channels first, and keep sums in memory.
            opaque_512(pulp::cast(sums))
        })
    }

    #[inline(always)]
    fn dot_bytes(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_madd_epi16, _mm512_set1_epi16,
            _mm512_slli_epi16, _mm512_srai_epi16, _mm512_srli_epi16,
        };
        let (x, w): (__m512i, __m512i) = (pulp::cast(x), pulp::cast(w));
        // SAFETY: the token proves AVX-512BW.
        pulp::cast(unsafe {
            // As 16-bit integers: the product of bytes by `vpmaddubsw` would saturate.
            let even = _mm512_madd_epi16(
                _mm512_and_si512(x, _mm512_set1_epi16(0xff)),
                _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(w)),
            );
            let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(x), _mm512_srai_epi16::<8>(w));
            _mm512_add_epi32(pulp::cast(sums), _mm512_add_epi32(even, odd))
        })
    }

    #[inline(always)]
    fn dot_u8s7(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            __m512i, _mm512_add_epi32, _mm512_madd_epi16, _mm512_maddubs_epi16, _mm512_set1_epi16,
        };
        let (x, w): (__m512i, __m512i) = (pulp::cast(x), pulp::cast(w));
        // SAFETY: the token proves AVX-512BW.
        pulp::cast(unsafe {
            // The sums of two products would saturate beyond 16 bits.
            let pairs = _mm512_maddubs_epi16(x, w);
            let products = _mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
            let sums = _mm512_add_epi32(pulp::cast(sums), products);
            // LLVM would add the products of several channels first, and keep sums in memory.
            opaque_512(pulp::cast(sums))
        })
    }

    #[inline(always)]
    fn flip_bytes(self, a: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm512_set1_epi8, _mm512_xor_si512};
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe { _mm512_xor_si512(pulp::cast(a), _mm512_set1_epi8(-128)) })
    }

    #[inline(always)]
    fn push_bytes(self, words: Self::f32s, x: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm512_or_si512, _mm512_slli_epi32, _mm512_srli_epi32};
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe {
            let rest = _mm512_srli_epi32::<8>(pulp::cast(words));
            _mm512_or_si512(rest, _mm512_slli_epi32::<24>(pulp::cast(x)))
        })
    }

    #[inline(always)]
    fn push_halves(self, words: Self::f32s, x: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm512_or_si512, _mm512_srli_epi32};
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe {
            let rest = _mm512_srli_epi32::<16>(pulp::cast(words));
            _mm512_or_si512(rest, pulp::cast(x))
        })
    }

    #[inline(always)]
    fn quarters_of_s32s(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe { core::arch::x86_64::_mm512_srai_epi32::<2>(pulp::cast(a)) })
    }

    #[inline(always)]
    fn floats_of_s32s(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe { core::arch::x86_64::_mm512_cvtepi32_ps(pulp::cast(a)) })
    }

    #[inline(always)]
    fn s32s_of_floats(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe { core::arch::x86_64::_mm512_cvtps_epi32(pulp::cast(a)) })
    }

    #[inline(always)]
    fn bf16s_of_floats(self, a: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            _CMP_UNORD_Q, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512,
            _mm512_cmp_ps_mask, _mm512_mask_mov_epi32, _mm512_or_si512, _mm512_set1_epi32,
            _mm512_srli_epi32,
        };
        let a = pulp::cast(a);
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe {
            let bits = _mm512_castps_si512(a);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
            let rounded = _mm512_add_epi32(bits, half);
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            let nan = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
            _mm512_srli_epi32::<16>(_mm512_mask_mov_epi32(rounded, is_nan, nan))
        })
    }

    integer_operations! {
        max_u8s = _mm512_max_epu8;
        max_s8s = _mm512_max_epi8;
        max_s16s = _mm512_max_epi16;
        add_s16s = _mm512_add_epi16;
        sub_s16s = _mm512_sub_epi16;
        add_s32s = _mm512_add_epi32;
        sub_s32s = _mm512_sub_epi32;
        and_bits = _mm512_and_si512;
        or_bits = _mm512_or_si512;
    }

    #[inline(always)]
    fn shift_up(self, a: Self::f32s, by: u32) -> Self::f32s {
        use core::arch::x86_64::{_mm512_set1_epi32, _mm512_sllv_epi32};
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe { _mm512_sllv_epi32(pulp::cast(a), _mm512_set1_epi32(by.cast_signed())) })
    }

    #[inline(always)]
    fn shift_down(self, a: Self::f32s, by: u32) -> Self::f32s {
        use core::arch::x86_64::{_mm512_set1_epi32, _mm512_srlv_epi32};
        // SAFETY: the token proves AVX-512F.
        pulp::cast(unsafe { _mm512_srlv_epi32(pulp::cast(a), _mm512_set1_epi32(by.cast_signed())) })
    }

    #[inline(always)]
    fn keys_of_bf16s(self, a: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            _mm512_and_si512, _mm512_set1_epi16, _mm512_srai_epi16, _mm512_sub_epi16,
            _mm512_xor_si512,
        };
        let a = pulp::cast(a);
        // SAFETY: the token proves AVX-512BW.
        pulp::cast(unsafe {
            let negative = _mm512_srai_epi16::<15>(a);
            let others = _mm512_and_si512(negative, _mm512_set1_epi16(0x7fff));
            _mm512_sub_epi16(_mm512_xor_si512(a, others), _mm512_set1_epi16(127))
        })
    }

    #[inline(always)]
    fn bf16s_of_keys(self, keys: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{
            _mm512_add_epi16, _mm512_and_si512, _mm512_set1_epi16, _mm512_srai_epi16,
            _mm512_xor_si512,
        };
        // SAFETY: the token proves AVX-512BW.
        pulp::cast(unsafe {
            let a = _mm512_add_epi16(pulp::cast(keys), _mm512_set1_epi16(127));
            let negative = _mm512_srai_epi16::<15>(a);
            _mm512_xor_si512(a, _mm512_and_si512(negative, _mm512_set1_epi16(0x7fff)))
        })
    }

    #[inline(always)]
    unsafe fn load_u8s(self, at: *const u8) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadu_si128, _mm512_cvtepu8_epi32};
        // SAFETY: the token proves AVX-512F; the address is as the caller promises.
        pulp::cast(unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast())) })
    }

    #[inline(always)]
    unsafe fn load_s8s(self, at: *const i8) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadu_si128, _mm512_cvtepi8_epi32};
        // SAFETY: the token proves AVX-512F; the address is as the caller promises.
        pulp::cast(unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast())) })
    }

    #[inline(always)]
    unsafe fn load_u8_pairs(self, at: *const u8) -> Self::f32s {
        use core::arch::x86_64::{_mm256_loadu_si256, _mm512_cvtepu8_epi16};
        // SAFETY: the token proves AVX-512BW; the address is as the caller promises.
        pulp::cast(unsafe { _mm512_cvtepu8_epi16(_mm256_loadu_si256(at.cast())) })
    }

    #[inline(always)]
    unsafe fn load_s8_pairs(self, at: *const i8) -> Self::f32s {
        use core::arch::x86_64::{_mm256_loadu_si256, _mm512_cvtepi8_epi16};
        // SAFETY: the token proves AVX-512BW; the address is as the caller promises.
        pulp::cast(unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(at.cast())) })
    }

    #[inline(always)]
    unsafe fn load_bf16s(self, at: *const u16) -> Self::f32s {
        use core::arch::x86_64::{_mm256_loadu_si256, _mm512_cvtepu16_epi32, _mm512_slli_epi32};
        // SAFETY: the token proves AVX-512F; the address is as the caller promises.
        pulp::cast(unsafe {
            _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast())))
        })
    }

    #[inline(always)]
    unsafe fn store_low_bytes(self, to: *mut u8, y: Self::f32s) {
        use core::arch::x86_64::{_mm_storeu_si128, _mm512_cvtepi32_epi8};
        // SAFETY: the token proves AVX-512F; the address is as the caller promises.
        unsafe {
            _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(pulp::cast(y)));
        }
    }

    #[inline(always)]
    unsafe fn store_low_halves(self, to: *mut u16, y: Self::f32s) {
        use core::arch::x86_64::{_mm256_storeu_si256, _mm512_cvtepi32_epi16};
        // SAFETY: the token proves AVX-512F; the address is as the caller promises.
        unsafe {
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(pulp::cast(y)));
        }
    }

    #[inline(always)]
    fn neg_f32s(self, a: Self::f32s) -> Self::f32s {
        use core::arch::x86_64::{_mm512_set1_ps, _mm512_xor_ps};
        // SAFETY: the token proves AVX-512DQ.
        pulp::cast(unsafe { _mm512_xor_ps(_mm512_set1_ps(-0.0), pulp::cast(a)) })
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
