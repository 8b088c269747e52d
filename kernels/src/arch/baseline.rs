//! Vectors that need no detection, for what plain code can come to.

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
