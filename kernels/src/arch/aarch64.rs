//! NEON.

use super::{KernelSimd, inverse_sqrt_step, pulp_operations};

/// Defines operations on integers by intrinsics.
macro_rules! integer_operations {
    ($($name:ident = $intrinsic:ident;)*) => {
        $(#[inline(always)]
        fn $name(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
            // SAFETY: the token proves NEON.
            #[allow(unused_unsafe)]
            pulp::cast(unsafe { core::arch::aarch64::$intrinsic(pulp::cast(a), pulp::cast(b)) })
        })*
    };
}

impl super::sealed::Sealed for pulp::aarch64::Neon {}
impl KernelSimd for pulp::aarch64::Neon {
    pulp_operations!();

    const NATIVE: bool = true;

    #[inline(always)]
    fn opaque(self, x: Self::f32s) -> Self::f32s {
        let mut x: core::arch::aarch64::float32x4_t = pulp::cast(x);
        // SAFETY: does nothing.
        unsafe {
            core::arch::asm!("/* {0:v} */", inout(vreg) x, options(nomem, nostack, preserves_flags));
        }
        pulp::cast(x)
    }

    #[inline(always)]
    fn abs_f32s(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { core::arch::aarch64::vabsq_f32(pulp::cast(a)) })
    }

    #[inline(always)]
    fn dot_s16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::aarch64::{vmlal_s16, vmovn_s32, vshrn_n_s32};
        let (x, w) = (pulp::cast(x), pulp::cast(w));
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe {
            // Weights are divided into their halves once for all pixels.
            let sums = vmlal_s16(pulp::cast(sums), vmovn_s32(x), vmovn_s32(w));
            vmlal_s16(sums, vshrn_n_s32::<16>(x), vshrn_n_s32::<16>(w))
        })
    }

    #[inline(always)]
    fn dot_bf16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::aarch64::{uint32x4_t, vandq_u32, vdupq_n_u32, vfmaq_f32, vshlq_n_u32};
        let (x, w): (uint32x4_t, uint32x4_t) = (pulp::cast(x), pulp::cast(w));
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe {
            // A bf16 is the upper half of an f32.
            let upper = vdupq_n_u32(0xffff_0000);
            let high = [vandq_u32(x, upper), vandq_u32(w, upper)];
            let low = [vshlq_n_u32::<16>(x), vshlq_n_u32::<16>(w)];
            let sums = vfmaq_f32(pulp::cast(sums), pulp::cast(low[0]), pulp::cast(low[1]));
            vfmaq_f32(sums, pulp::cast(high[0]), pulp::cast(high[1]))
        })
    }

    #[inline(always)]
    fn dot_bytes(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        use core::arch::aarch64::{
            int16x8_t, vaddq_s32, vget_low_s8, vget_low_u8, vmovl_high_s8, vmovl_high_u8, vmovl_s8,
            vmovl_u8, vmulq_s16, vpaddlq_s16, vpaddq_s32,
        };
        let (x, w) = (pulp::cast(x), pulp::cast(w));
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe {
            // Products of bytes of both signs fit into 16 bits.
            let [low, high]: [int16x8_t; 2] = [
                vmulq_s16(
                    pulp::cast(vmovl_u8(vget_low_u8(x))),
                    vmovl_s8(vget_low_s8(w)),
                ),
                vmulq_s16(pulp::cast(vmovl_high_u8(x)), vmovl_high_s8(w)),
            ];
            let fours = vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
            vaddq_s32(pulp::cast(sums), fours)
        })
    }

    #[inline(always)]
    fn flip_bytes(self, a: Self::f32s) -> Self::f32s {
        use core::arch::aarch64::{vdupq_n_u8, veorq_u8};
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { veorq_u8(pulp::cast(a), vdupq_n_u8(0x80)) })
    }

    #[inline(always)]
    fn push_bytes(self, words: Self::f32s, x: Self::f32s) -> Self::f32s {
        use core::arch::aarch64::{vshlq_n_u32, vsriq_n_u32};
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { vsriq_n_u32::<8>(vshlq_n_u32::<24>(pulp::cast(x)), pulp::cast(words)) })
    }

    #[inline(always)]
    fn push_halves(self, words: Self::f32s, x: Self::f32s) -> Self::f32s {
        use core::arch::aarch64::vsriq_n_u32;
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { vsriq_n_u32::<16>(pulp::cast(x), pulp::cast(words)) })
    }

    #[inline(always)]
    fn quarters_of_s32s(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { core::arch::aarch64::vshrq_n_s32::<2>(pulp::cast(a)) })
    }

    #[inline(always)]
    unsafe fn load_u8_pairs(self, at: *const u8) -> Self::f32s {
        use core::arch::aarch64::{vld1_u8, vmovl_u8};
        // SAFETY: the token proves NEON; the address is as the caller promises.
        pulp::cast(unsafe { vmovl_u8(vld1_u8(at)) })
    }

    #[inline(always)]
    unsafe fn load_s8_pairs(self, at: *const i8) -> Self::f32s {
        use core::arch::aarch64::{vld1_s8, vmovl_s8};
        // SAFETY: the token proves NEON; the address is as the caller promises.
        pulp::cast(unsafe { vmovl_s8(vld1_s8(at)) })
    }

    #[inline(always)]
    fn floats_of_s32s(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { core::arch::aarch64::vcvtq_f32_s32(pulp::cast(a)) })
    }

    #[inline(always)]
    unsafe fn store_bytes<const N: usize>(self, to: *mut u8, y: [Self::f32s; N]) {
        use core::arch::aarch64::{vst1q_u8, vuzp1q_u8, vuzp1q_u16};
        let (fours, rest) = y.as_chunks::<4>();
        for (i, &[a, b, c, d]) in fours.iter().enumerate() {
            // SAFETY: the token proves NEON; the address is as the caller promises.
            unsafe {
                let ab = vuzp1q_u16(pulp::cast(a), pulp::cast(b));
                let cd = vuzp1q_u16(pulp::cast(c), pulp::cast(d));
                let bytes = vuzp1q_u8(pulp::cast(ab), pulp::cast(cd));
                vst1q_u8(to.add(4 * i * Self::F32_LANES), bytes);
            }
        }
        for (i, &y) in rest.iter().enumerate() {
            let at = (N - rest.len() + i) * Self::F32_LANES;
            // SAFETY: the caller's promise.
            unsafe { self.store_low_bytes(to.add(at), y) };
        }
    }

    #[inline(always)]
    fn s32s_of_floats(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { core::arch::aarch64::vcvtnq_s32_f32(pulp::cast(a)) })
    }

    integer_operations! {
        max_u8s = vmaxq_u8;
        max_s8s = vmaxq_s8;
        max_s16s = vmaxq_s16;
        add_s16s = vaddq_s16;
        sub_s16s = vsubq_s16;
        add_s32s = vaddq_s32;
        sub_s32s = vsubq_s32;
        and_bits = vandq_u32;
        or_bits = vorrq_u32;
    }

    #[inline(always)]
    fn shift_up(self, a: Self::f32s, by: u32) -> Self::f32s {
        use core::arch::aarch64::{vdupq_n_s32, vshlq_u32};
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { vshlq_u32(pulp::cast(a), vdupq_n_s32(by.cast_signed())) })
    }

    #[inline(always)]
    fn shift_down(self, a: Self::f32s, by: u32) -> Self::f32s {
        use core::arch::aarch64::{vdupq_n_s32, vshlq_u32};
        // SAFETY: the token proves NEON. A shift by a negative number is one down.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { vshlq_u32(pulp::cast(a), vdupq_n_s32(-by.cast_signed())) })
    }

    #[inline(always)]
    fn keys_of_bf16s(self, a: Self::f32s) -> Self::f32s {
        use core::arch::aarch64::{vandq_s16, vdupq_n_s16, veorq_s16, vshrq_n_s16, vsubq_s16};
        let a = pulp::cast(a);
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe {
            let others = vandq_s16(vshrq_n_s16::<15>(a), vdupq_n_s16(0x7fff));
            vsubq_s16(veorq_s16(a, others), vdupq_n_s16(127))
        })
    }

    #[inline(always)]
    fn bf16s_of_keys(self, keys: Self::f32s) -> Self::f32s {
        use core::arch::aarch64::{vaddq_s16, vandq_s16, vdupq_n_s16, veorq_s16, vshrq_n_s16};
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe {
            let a = vaddq_s16(pulp::cast(keys), vdupq_n_s16(127));
            veorq_s16(a, vandq_s16(vshrq_n_s16::<15>(a), vdupq_n_s16(0x7fff)))
        })
    }

    #[inline(always)]
    fn neg_f32s(self, a: Self::f32s) -> Self::f32s {
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        pulp::cast(unsafe { core::arch::aarch64::vnegq_f32(pulp::cast(a)) })
    }

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
    fn inverse_sqrt_f32s(self, a: Self::f32s) -> Self::f32s {
        // Of 8 bits.
        // SAFETY: the token proves NEON.
        #[allow(unused_unsafe)]
        let estimate = unsafe { core::arch::aarch64::vrsqrteq_f32(pulp::cast(a)) };
        inverse_sqrt_step(self, a, inverse_sqrt_step(self, a, pulp::cast(estimate)))
    }

    #[inline(always)]
    unsafe fn broadcast<const N: usize>(self, from: *const f32, index: usize) -> Self::f32s {
        if const { !N.is_multiple_of(Self::F32_LANES) } {
            // SAFETY: the caller's promise.
            return pulp::Simd::splat_f32s(self, unsafe { *from.add(index) });
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
