//! Elements of 8 and 16 bits in whole vectors: loads and stores of any number of bytes, and maxima of elements.
#![allow(unsafe_code)]

use crate::arch::KernelSimd;
use crate::dtype::Bf16;

/// Most bytes of a vector.
const MOST: usize = 64;

/// Bytes of a vector.
#[inline(always)]
pub(super) const fn vector_bytes<S: KernelSimd>() -> usize {
    size_of::<S::f32s>()
}

/// Loads the first `bytes` of a vector. Others are zeros.
///
/// # Safety
/// `at` is valid for a read of `bytes`, which are at most a vector's.
#[inline(always)]
pub(super) unsafe fn load<S: KernelSimd>(simd: S, at: *const u8, bytes: usize) -> S::f32s {
    if bytes == vector_bytes::<S>() {
        // SAFETY: the caller's promise. A load needs no alignment.
        return unsafe { simd.load_f32s(at.cast()) };
    }
    let mut whole = [0u8; MOST];
    // SAFETY: the caller's promise. `whole` has the bytes of any vector.
    unsafe {
        at.copy_to_nonoverlapping(whole.as_mut_ptr(), bytes);
        simd.load_f32s(whole.as_ptr().cast())
    }
}

/// Stores as many bytes of a vector as `to` has, at most all of them.
#[inline(always)]
pub(super) fn store<S: KernelSimd>(simd: S, to: &mut [u8], y: S::f32s) {
    if to.len() == vector_bytes::<S>() {
        // SAFETY: `to` has a vector's bytes. A store needs no alignment.
        return unsafe { simd.store_f32s(to.as_mut_ptr().cast(), y) };
    }
    let mut whole = [0u8; MOST];
    // SAFETY: `whole` has the bytes of any vector.
    unsafe { simd.store_f32s(whole.as_mut_ptr().cast(), y) };
    to.copy_from_slice(&whole[..to.len()]);
}

/// Work on a run of bytes, one vector at a time.
pub(super) trait Vectors {
    /// Does the work on `bytes` bytes from `at` on: a vector's, or fewer.
    fn vector<S: KernelSimd>(&mut self, simd: S, at: usize, bytes: usize);
}

/// Does the work on the bytes from `first` to `end`. If these are no whole vectors, the last one begins earlier, and some
/// bytes are done twice. If all `end` bytes are less than a vector, they are done in words of 4 bytes.
#[inline(always)]
pub(super) fn each_vector<S: KernelSimd>(
    simd: S,
    first: usize,
    end: usize,
    work: &mut impl Vectors,
) {
    let vector = vector_bytes::<S>();
    if end >= vector {
        for at in (first..end).step_by(vector) {
            work.vector(simd, at.min(end - vector), vector);
        }
        return;
    }
    let (scalar, word) = (pulp::Scalar::new(), size_of::<f32>());
    for at in (first..end).step_by(word) {
        work.vector(scalar, at.min(end.saturating_sub(word)), word.min(end));
    }
}

/// Elements whose order is that of integers, their keys.
pub(super) trait Ordered: Copy + Send + Sync {
    /// Keys of a vector's elements.
    fn keys<S: KernelSimd>(simd: S, x: S::f32s) -> S::f32s;
    /// Larger one of each pair of keys. A NaN's key is larger than all others.
    fn max<S: KernelSimd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s;
    /// Elements with these keys.
    fn elements<S: KernelSimd>(simd: S, keys: S::f32s) -> S::f32s;
}

/// Defines the order of elements that are their own keys.
macro_rules! integers {
    ($($element:ident $max:ident;)*) => {
        $(impl Ordered for $element {
            #[inline(always)]
            fn keys<S: KernelSimd>(_: S, x: S::f32s) -> S::f32s {
                x
            }
            #[inline(always)]
            fn max<S: KernelSimd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
                simd.$max(a, b)
            }
            #[inline(always)]
            fn elements<S: KernelSimd>(_: S, keys: S::f32s) -> S::f32s {
                keys
            }
        })*
    };
}

integers! {
    u8 max_u8s;
    i8 max_s8s;
}

impl Ordered for Bf16 {
    #[inline(always)]
    fn keys<S: KernelSimd>(simd: S, x: S::f32s) -> S::f32s {
        simd.keys_of_bf16s(x)
    }
    #[inline(always)]
    fn max<S: KernelSimd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        simd.max_s16s(a, b)
    }
    #[inline(always)]
    fn elements<S: KernelSimd>(simd: S, keys: S::f32s) -> S::f32s {
        simd.bf16s_of_keys(keys)
    }
}
