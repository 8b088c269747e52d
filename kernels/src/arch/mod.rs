//! What pulp can't say, or not in one instruction: prefetch, streaming stores, broadcasts, ReLU, 4x4
//! transposes.
#![allow(unsafe_code)]

use pulp::Simd;

/// pulp's `Simd` and what kernels need beside it.
pub trait KernelSimd: Simd {
    /// Whether its vectors are the CPU's. Others are loops over lanes, written out.
    const NATIVE: bool = false;

    /// max(least, y) that keeps a NaN: a ReLU where `least` is 0.
    #[inline(always)]
    fn at_least(self, least: Self::f32s, y: Self::f32s) -> Self::f32s {
        self.select_f32s(self.less_than_f32s(y, least), least, y)
    }

    /// One of `N` floats in every lane. A broadcast from memory costs no more than a load where there is
    /// one; NEON's FMA takes it from a lane instead, so there `N` floats are loaded as vectors.
    ///
    /// # Safety
    /// `from` is valid for a read of `N` floats, and `index` below `N`.
    #[inline(always)]
    unsafe fn broadcast<const N: usize>(self, from: *const f32, index: usize) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.splat_f32s(unsafe { *from.add(index) })
    }

    /// Lane `l` gets what lane `l ^ DISTANCE` had. `DISTANCE` is 1, 2 or 4, and below the number of lanes.
    #[inline(always)]
    fn swap_lanes<const DISTANCE: usize>(self, x: Self::f32s) -> Self::f32s {
        let mut swapped = x;
        let to: &mut [f32] = bytemuck::must_cast_slice_mut(std::slice::from_mut(&mut swapped));
        let from: &[f32] = bytemuck::must_cast_slice(std::slice::from_ref(&x));
        for (l, lane) in to.iter_mut().enumerate() {
            *lane = from[(l ^ DISTANCE) % Self::F32_LANES];
        }
        swapped
    }

    /// Asks for the cache line at `at` to be brought into L1. Only a hint: any address is allowed.
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        prefetch(at);
    }

    /// Stores past the caches (non-temporal), where the instruction set has such a store; an
    /// ordinary store otherwise. Follow a run of them with [`stream_fence`].
    ///
    /// # Safety
    /// `to` is valid for a write of one vector, and aligned to the vector's size.
    #[inline(always)]
    unsafe fn stream_f32s(self, to: *mut f32, value: Self::f32s) {
        // SAFETY: as the caller promises; `f32s` is plain data.
        unsafe { to.cast::<Self::f32s>().write_unaligned(value) }
    }

    /// The vector whose lanes `4q..4q + 4` are the four floats at `at + q * stride`. Not for one lane.
    ///
    /// # Safety
    /// Each four floats are valid for reads.
    #[inline(always)]
    unsafe fn load_fours(self, at: *const f32, stride: usize) -> Self::f32s {
        let mut vector = self.splat_f32s(0.0);
        let fours = bytemuck::cast_slice_mut::<_, [f32; 4]>(std::slice::from_mut(&mut vector));
        for (q, four) in fours.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *four = unsafe { at.add(q * stride).cast::<[f32; 4]>().read_unaligned() };
        }
        vector
    }

    /// Every other lane of `a` and `b` behind it, from the first on.
    #[inline(always)]
    fn evens_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        every_other(a, b, 0)
    }

    /// Every other lane of `a` and `b` behind it, from the second on.
    #[inline(always)]
    fn odds_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        every_other(a, b, 1)
    }

    /// In each four lanes, the transpose of the 4x4 matrix that `rows` have there. Not for one lane.
    #[inline(always)]
    fn transpose_fours(self, rows: [Self::f32s; 4]) -> [Self::f32s; 4] {
        let mut columns = rows;
        for (i, row) in rows.iter().enumerate() {
            let fours = bytemuck::cast_slice::<_, [f32; 4]>(std::slice::from_ref(row));
            for (q, four) in fours.iter().enumerate() {
                for (j, &x) in four.iter().enumerate() {
                    let column = std::slice::from_mut(&mut columns[j]);
                    bytemuck::cast_slice_mut::<_, [f32; 4]>(column)[q][i] = x;
                }
            }
        }
        columns
    }
}

#[inline(always)]
fn every_other<V: bytemuck::Pod>(a: V, b: V, first: usize) -> V {
    let (mut every_other, pair) = (a, [a, b]);
    let lanes = bytemuck::cast_slice_mut::<_, f32>(std::slice::from_mut(&mut every_other));
    let pair: &[f32] = bytemuck::cast_slice(&pair);
    for (i, lane) in lanes.iter_mut().enumerate() {
        *lane = pair[2 * i + first];
    }
    every_other
}

#[inline(always)]
fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64's baseline, and a prefetch of any address is harmless.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a prefetch of any address is harmless; it changes neither memory nor flags.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// Orders streaming stores before what follows: other threads read the data only after it.
#[inline(always)]
pub fn stream_fence() {
    // Miri doesn't know the fence, and has no streaming stores that would need it.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SSE is part of x86-64's baseline.
    unsafe {
        core::arch::x86_64::_mm_sfence();
    }
}

/// Four floats in a register that every CPU of the target has: SSE2's on x86-64, NEON's on aarch64.
#[derive(Clone, Copy)]
pub(crate) struct Baseline(Quad);

#[cfg(target_arch = "x86_64")]
type Quad = core::arch::x86_64::__m128;
#[cfg(target_arch = "aarch64")]
type Quad = core::arch::aarch64::float32x4_t;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Quad = [f32; 4];

impl Baseline {
    /// Floats in it.
    pub(crate) const LANES: usize = 4;

    #[inline(always)]
    pub(crate) fn splat(x: f32) -> Self {
        // SAFETY: four floats, whatever the type.
        Baseline(unsafe { core::mem::transmute::<[f32; 4], Quad>([x; 4]) })
    }

    /// self * x + y, the product rounded.
    #[inline(always)]
    pub(crate) fn mul_then_add(self, x: Self, y: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE is part of x86-64's baseline.
        #[allow(unused_unsafe)]
        unsafe {
            use core::arch::x86_64::{_mm_add_ps, _mm_mul_ps};
            Baseline(_mm_add_ps(_mm_mul_ps(self.0, x.0), y.0))
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: NEON is part of aarch64's baseline.
        #[allow(unused_unsafe)]
        unsafe {
            use core::arch::aarch64::{vaddq_f32, vmulq_f32};
            Baseline(vaddq_f32(vmulq_f32(self.0, x.0), y.0))
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        Baseline(core::array::from_fn(|i| self.0[i] * x.0[i] + y.0[i]))
    }

    /// The first of the four.
    #[inline(always)]
    pub(crate) fn first(self) -> f32 {
        // SAFETY: four floats, whatever the type.
        unsafe { core::mem::transmute::<Quad, [f32; 4]>(self.0)[0] }
    }
}

impl KernelSimd for pulp::Scalar {}
impl KernelSimd for pulp::Scalar128b {}
impl KernelSimd for pulp::Scalar256b {}
impl KernelSimd for pulp::Scalar512b {}

#[cfg(target_arch = "aarch64")]
impl KernelSimd for pulp::aarch64::Neon {
    const NATIVE: bool = true;

    #[inline(always)]
    fn swap_lanes<const DISTANCE: usize>(self, x: Self::f32s) -> Self::f32s {
        use core::arch::aarch64::{vextq_f32, vrev64q_f32};
        let x = pulp::cast(x);
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe {
            match DISTANCE {
                1 => vrev64q_f32(x),
                _ => vextq_f32::<2>(x, x),
            }
        })
    }

    #[inline(always)]
    unsafe fn broadcast<const N: usize>(self, from: *const f32, index: usize) -> Self::f32s {
        if const { !N.is_multiple_of(Self::F32_LANES) } {
            // SAFETY: the caller's promise.
            return self.splat_f32s(unsafe { *from.add(index) });
        }
        // SAFETY: the token proves NEON; `N` floats are whole vectors, of which this is one.
        pulp::cast(unsafe {
            use core::arch::aarch64::{vdupq_laneq_f32, vld1q_f32};
            let floats = vld1q_f32(from.add(index / 4 * 4));
            match index % 4 {
                0 => vdupq_laneq_f32::<0>(floats),
                1 => vdupq_laneq_f32::<1>(floats),
                2 => vdupq_laneq_f32::<2>(floats),
                _ => vdupq_laneq_f32::<3>(floats),
            }
        })
    }

    #[inline(always)]
    fn evens_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { core::arch::aarch64::vuzp1q_f32(pulp::cast(a), pulp::cast(b)) })
    }

    #[inline(always)]
    fn odds_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { core::arch::aarch64::vuzp2q_f32(pulp::cast(a), pulp::cast(b)) })
    }

    #[inline(always)]
    fn transpose_fours(self, rows: [Self::f32s; 4]) -> [Self::f32s; 4] {
        use core::arch::aarch64::{
            float32x4_t, float64x2_t, vreinterpretq_f64_f32, vtrn1q_f32, vtrn1q_f64, vtrn2q_f32,
            vtrn2q_f64,
        };
        let [a, b, c, d]: [float32x4_t; 4] = pulp::cast(rows);
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        let columns = unsafe {
            let (e0, e1): (float64x2_t, float64x2_t) = (
                vreinterpretq_f64_f32(vtrn1q_f32(a, b)),
                vreinterpretq_f64_f32(vtrn1q_f32(c, d)),
            );
            let (o0, o1) = (
                vreinterpretq_f64_f32(vtrn2q_f32(a, b)),
                vreinterpretq_f64_f32(vtrn2q_f32(c, d)),
            );
            [
                vtrn1q_f64(e0, e1),
                vtrn1q_f64(o0, o1),
                vtrn2q_f64(e0, e1),
                vtrn2q_f64(o0, o1),
            ]
        };
        pulp::cast(columns)
    }
}

#[cfg(target_arch = "x86_64")]
impl KernelSimd for pulp::x86::V3 {
    const NATIVE: bool = true;

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
    fn at_least(self, least: Self::f32s, y: Self::f32s) -> Self::f32s {
        // x86's max is its second operand where one is a NaN.
        self.max_f32s(least, y)
    }

    #[inline(always)]
    unsafe fn stream_f32s(self, to: *mut f32, value: Self::f32s) {
        // SAFETY: the token proves AVX; the address is as the caller promises.
        unsafe { core::arch::x86_64::_mm256_stream_ps(to, pulp::cast(value)) }
    }

    #[inline(always)]
    unsafe fn load_fours(self, at: *const f32, stride: usize) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadu_ps, _mm256_castps128_ps256, _mm256_insertf128_ps};
        // SAFETY: the token proves AVX; the addresses are as the caller promises.
        pulp::cast(unsafe {
            let low = _mm256_castps128_ps256(_mm_loadu_ps(at));
            _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(at.add(stride)))
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

#[cfg(target_arch = "x86_64")]
impl KernelSimd for pulp::x86::V4 {
    const NATIVE: bool = true;

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
    fn at_least(self, least: Self::f32s, y: Self::f32s) -> Self::f32s {
        // x86's max is its second operand where one is a NaN.
        self.max_f32s(least, y)
    }

    #[inline(always)]
    unsafe fn stream_f32s(self, to: *mut f32, value: Self::f32s) {
        // SAFETY: the token proves AVX-512F; the address is as the caller promises.
        unsafe { core::arch::x86_64::_mm512_stream_ps(to, pulp::cast(value)) }
    }

    #[inline(always)]
    unsafe fn load_fours(self, at: *const f32, stride: usize) -> Self::f32s {
        use core::arch::x86_64::{_mm_loadu_ps, _mm512_castps128_ps512, _mm512_insertf32x4};
        // SAFETY: the token proves AVX-512F; the addresses are as the caller promises.
        pulp::cast(unsafe {
            let v = _mm512_castps128_ps512(_mm_loadu_ps(at));
            let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(at.add(stride)));
            let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(at.add(2 * stride)));
            _mm512_insertf32x4::<3>(v, _mm_loadu_ps(at.add(3 * stride)))
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
