//! Vector operations of the kernels: those of pulp, and prefetches, streaming stores, broadcasts, ReLU and 4x4
//! transposes, which pulp lacks.
//!
//! [`KernelSimd`] replaces pulp's `Simd`, so that a kernel can also be compiled without its arithmetic or without its
//! memory traffic ([`ablation`]). All arithmetic and all memory traffic of a kernel pass through this trait.
//!
//! In reading order: this file (the operations), `x86_64.rs`, `aarch64.rs`, `extension.rs` (instruction sets that add dot
//! products to another one), `x86_dots.rs`, `neon_dots.rs`, [`ablation`], `emulated.rs` (vectors for tests), `baseline.rs`
//! (vectors that every CPU of a target has).
#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
// Some builds leave ablations out ([`crate::isa::IsaToken::without`]).
#[cfg_attr(not(feature = "ablation"), allow(dead_code))]
pub mod ablation;
mod baseline;
#[cfg(emulated)]
pub mod emulated;
mod extension;
#[cfg(target_arch = "aarch64")]
mod neon_dots;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
mod x86_dots;

pub(crate) use baseline::Baseline;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon_dots::{NeonBf16, NeonDot, NeonI8mm};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_dots::{Avx512Bf16, Avx512Vnni, AvxVnni};

use bytemuck::Pod;
use std::fmt::Debug;
use std::mem::MaybeUninit;

/// Work written once for every width. `run` and all functions that it calls must be `#[inline(always)]`.
pub trait SimdTask {
    /// The task's result.
    type Output;
    /// True if the task is also compiled without its arithmetic and without its memory traffic ([`ablation`]).
    ///
    /// Each twin is as much code as the task. Tasks of rare layers have none, and their algorithms refuse plans for
    /// twins (`plan::Target::without_twins`).
    const TWINS: bool = true;
    /// Instruction sets that the task is compiled for.
    const SETS: Sets = Sets::Bases;
    /// Does the work for one instruction set.
    fn run<S: KernelSimd>(self, simd: S) -> Self::Output;
}

/// Words of 32 bits that kernels multiply: elements of neighbouring channels, of the source and of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Words {
    /// An f32.
    F32,
    /// Two bf16.
    Bf16,
    /// Two signed 16-bit integers.
    S16,
    /// Four bytes of the source, and four signed ones of the weights. Each instruction set multiplies sources of one sign
    /// ([`Isa::signed_sources`](crate::Isa::signed_sources)).
    Bytes,
    /// Four unsigned bytes of the source, and four signed ones of the weights. For any source the first two products add up
    /// to at most 16 bits, and so do the last two. Weights of 7 bits are such.
    U8S7,
}

impl Words {
    /// All words.
    pub const ALL: [Words; 5] = [
        Words::F32,
        Words::Bf16,
        Words::S16,
        Words::Bytes,
        Words::U8S7,
    ];
}

/// Instruction sets that a task is compiled for. A set may extend another one, its base, by dot products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sets {
    /// Those that extend no other. On their extensions, their code is run.
    Bases,
    /// Also those with dot products of these words.
    With(Words),
    /// Those that extend no other and have no dot products of these words.
    Without(Words),
    /// Only those with dot products of these words. Algorithms plan the task for no other set.
    Only(Words),
}

/// Form in which a task is compiled: the task itself, or one of its twins. It is a type, so that each form has its own
/// function.
pub trait Twin {
    /// The instruction set that the task is run with.
    type Of<S: KernelSimd>: KernelSimd;
    /// Makes that instruction set, inside the function that is compiled for `simd`.
    fn of<S: KernelSimd>(simd: S) -> Self::Of<S>;
}

/// The task itself.
#[derive(Debug)]
pub enum Whole {}

impl Twin for Whole {
    type Of<S: KernelSimd> = S;
    #[inline(always)]
    fn of<S: KernelSimd>(simd: S) -> S {
        simd
    }
}

/// Function for tasks that need no enabled instruction set.
///
/// It is a method of the task's type, like those of [`x86_64`]. rustc puts the methods of one module's types into one
/// codegen unit, and compiles the units in parallel. Functions of this module would all be in one unit.
trait Plain: SimdTask {
    fn plain<S: KernelSimd, T: Twin>(self, simd: S) -> Self::Output;
}

impl<K: SimdTask> Plain for K {
    #[inline(never)]
    fn plain<S: KernelSimd, T: Twin>(self, simd: S) -> K::Output {
        self.run(T::of(simd))
    }
}

/// Keeps implementations of [`KernelSimd`] in this folder, because unsafe code relies on their constants and types.
mod sealed {
    pub trait Sealed {}
}

/// Operations of one instruction set. Sealed: no other crate can implement it.
#[allow(non_camel_case_types)]
pub trait KernelSimd: sealed::Sealed + Copy + Debug + Send + Sync + 'static {
    /// A vector of floats.
    type f32s: Pod + Debug + Send + Sync;
    /// A mask: one boolean for each lane.
    type m32s: Copy + Debug + Send + Sync;

    /// Floats in a vector.
    const F32_LANES: usize = size_of::<Self::f32s>() / size_of::<f32>();
    /// Vector registers, as pulp counts them.
    const REGISTER_COUNT: usize;
    /// Tells if the CPU has these vectors. Other vectors are unrolled loops over lanes.
    const NATIVE: bool = false;
    /// Tells if vectors are emulated. Kernels have fewer sizes and shapes for them, because they would be most of a test build.
    const EMULATED: bool = false;

    /// Tells if arithmetic or memory traffic is left out ([`ablation`]).
    const TWIN: bool = false;

    /// Tells if dot products of bytes have signed sources ([`KernelSimd::dot_bytes`]). Otherwise they have unsigned ones.
    /// Plans ask [`Isa::signed_sources`](crate::Isa::signed_sources), which is equal.
    const SIGNED_SOURCES: bool = false;
    /// Tells if dot products take a word from a lane of a vector ([`KernelSimd::dot_by_lane`]). Otherwise a broadcast is
    /// cheaper.
    const DOTS_BY_LANE: bool = false;

    /// Runs a task or one of its twins in a separate function that is compiled for this instruction set.
    #[inline(always)]
    fn enter<K: SimdTask, T: Twin>(self, task: K) -> K::Output {
        task.plain::<Self, T>(self)
    }

    /// Runs a task in a separate function that is compiled for this instruction set.
    ///
    /// Plain code enters vector code this way. A kernel also uses it to separate its code for many sizes. One function
    /// for all sizes would be some 100 KB, and compile time grows with the square of a function's size. A call takes
    /// some ten cycles, so use it for long work.
    #[inline(always)]
    fn call<K: SimdTask>(self, task: K) -> K::Output {
        self.enter::<K, Whole>(task)
    }

    /// x in every lane.
    fn splat_f32s(self, x: f32) -> Self::f32s;
    /// a + b.
    fn add_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s;
    /// a - b.
    fn sub_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s;
    /// a b.
    fn mul_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s;
    /// a / b.
    fn div_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s;
    /// a b + c. Rounded once if the instruction set has FMAs, twice otherwise.
    fn mul_add_e_f32s(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s;
    /// The larger of a and b. If one is a NaN, the result depends on the CPU.
    fn max_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s;
    /// The smaller of a and b. If one is a NaN, the result depends on the CPU.
    fn min_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s;
    /// |a|. Instruction sets override it, because the compiler does not always inline pulp's inner functions.
    #[inline(always)]
    fn abs_f32s(self, a: Self::f32s) -> Self::f32s {
        let mut abs = a;
        let lanes: &mut [f32] = bytemuck::must_cast_slice_mut(std::slice::from_mut(&mut abs));
        for lane in lanes {
            *lane = lane.abs();
        }
        abs
    }
    /// -a.
    #[inline(always)]
    fn neg_f32s(self, a: Self::f32s) -> Self::f32s {
        self.mul_f32s(a, self.splat_f32s(-1.0))
    }
    /// a 2^n. The low bits of `n` in memory are the integer n, which is added to the exponent of a without checks.
    fn raise_f32s(self, a: Self::f32s, n: Self::f32s) -> Self::f32s;
    /// The square root.
    fn sqrt_f32s(self, a: Self::f32s) -> Self::f32s;
    /// 1 / sqrt(a) with a relative error of at most 2^-22, for normal a > 0.
    ///
    /// If the CPU has an estimate, Newton's steps refine it. A root and a quotient would occupy the only divider for
    /// some 20 cycles.
    #[inline(always)]
    fn inverse_sqrt_f32s(self, a: Self::f32s) -> Self::f32s {
        self.div_f32s(self.splat_f32s(1.0), self.sqrt_f32s(a))
    }
    /// a = b.
    fn equal_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::m32s;
    /// a < b.
    fn less_than_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::m32s;
    /// a <= b.
    fn less_than_or_equal_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::m32s;
    /// Lanes that are set in both masks.
    fn and_m32s(self, a: Self::m32s, b: Self::m32s) -> Self::m32s;
    /// `yes` in lanes that the mask has set, `no` in others.
    fn select_f32s(self, mask: Self::m32s, yes: Self::f32s, no: Self::f32s) -> Self::f32s;
    /// Sum of all lanes.
    fn reduce_sum_f32s(self, a: Self::f32s) -> f32;

    /// Adds the products of two pairs of bf16 to the f32 of each lane. The order of the sum depends on the CPU.
    #[inline(always)]
    fn dot_bf16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        by_lanes(sums, x, w, |sum, x, w| {
            let product = |half: u32| {
                let wide = |word: u32| f32::from_bits(word >> half << 16);
                wide(x) * wide(w)
            };
            (f32::from_bits(sum) + product(0) + product(16)).to_bits()
        })
    }

    /// Adds the products of two pairs of signed 16-bit integers to the 32-bit integer of each lane, which wraps around.
    #[inline(always)]
    fn dot_s16s(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        by_lanes(sums, x, w, |sum, x, w| {
            let (x, w): ([i16; 2], [i16; 2]) = (bytemuck::must_cast(x), bytemuck::must_cast(w));
            let product = |i: usize| i32::from(x[i]).wrapping_mul(i32::from(w[i])) as u32;
            sum.wrapping_add(product(0)).wrapping_add(product(1))
        })
    }

    /// Adds the products of four bytes `x` and four signed bytes `w` to the 32-bit integer of each lane, which wraps around.
    /// Bytes `x` are signed or unsigned ([`KernelSimd::SIGNED_SOURCES`]).
    #[inline(always)]
    fn dot_bytes(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        four_bytes(sums, x, w, Self::SIGNED_SOURCES)
    }

    /// [`KernelSimd::dot_bytes`] of unsigned sources, for bytes `w` with which the sums of the first two products and of the
    /// last two fit into 16 bits ([`Words::U8S7`]). With others the result may be wrong.
    #[inline(always)]
    fn dot_u8s7(self, sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s {
        four_bytes(sums, x, w, false)
    }

    /// Adds the products of the word in one lane of `x` with the words `w` to each lane.
    #[inline(always)]
    fn dot_by_lane(
        self,
        words: Words,
        sums: Self::f32s,
        x: Self::f32s,
        lane: usize,
        w: Self::f32s,
    ) -> Self::f32s {
        dot(self, words, sums, broadcast_lane(self, x, lane), w)
    }

    /// a + b of 32-bit integers, which wrap around.
    #[inline(always)]
    fn add_s32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        by_lanes(a, b, b, |a, b, _| a.wrapping_add(b))
    }

    /// Flips the highest bit of each byte. It adds 128 to a signed byte and makes it unsigned, or subtracts 128 from an
    /// unsigned one and makes it signed.
    #[inline(always)]
    fn flip_bytes(self, a: Self::f32s) -> Self::f32s {
        by_lanes(a, a, a, |a, _, _| a ^ 0x8080_8080)
    }

    /// Shifts the lowest byte of each lane of `x` into the top of the words. Their lowest byte is lost.
    #[inline(always)]
    fn push_bytes(self, words: Self::f32s, x: Self::f32s) -> Self::f32s {
        by_lanes(words, x, x, |word, x, _| word >> 8 | x << 24)
    }

    /// Shifts the upper half of each lane of `x` into the top of the words. Their lower half is lost. The lower halves of `x`
    /// are 0, as those of floats that were bf16.
    #[inline(always)]
    fn push_halves(self, words: Self::f32s, x: Self::f32s) -> Self::f32s {
        by_lanes(words, x, x, |word, x, _| word >> 16 | x)
    }

    /// a - b in 32-bit integers, which wrap around.
    #[inline(always)]
    fn sub_s32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        by_lanes(a, b, b, |a, b, _| a.wrapping_sub(b))
    }

    /// The 32-bit integers of the lanes, divided by 4 and rounded down.
    #[inline(always)]
    fn quarters_of_s32s(self, a: Self::f32s) -> Self::f32s {
        by_lanes(a, a, a, |a, _, _| (a.cast_signed() >> 2).cast_unsigned())
    }

    /// a + b in pairs of 16-bit integers, which wrap around.
    #[inline(always)]
    fn add_s16s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        by_lanes(a, b, b, |a, b, _| by_halves(a, b, u16::wrapping_add))
    }

    /// a - b in pairs of 16-bit integers, which wrap around.
    #[inline(always)]
    fn sub_s16s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        by_lanes(a, b, b, |a, b, _| by_halves(a, b, u16::wrapping_sub))
    }

    /// The 32-bit integers of the lanes as floats, rounded to nearest even.
    #[inline(always)]
    fn floats_of_s32s(self, a: Self::f32s) -> Self::f32s {
        by_lanes(a, a, a, |a, _, _| (a.cast_signed() as f32).to_bits())
    }

    /// Floats as 32-bit integers, rounded to nearest even. They are between -2^31 and 2^31 - 128.
    #[inline(always)]
    fn s32s_of_floats(self, a: Self::f32s) -> Self::f32s {
        by_lanes(a, a, a, |a, _, _| {
            (f32::from_bits(a).round_ties_even() as i32).cast_unsigned()
        })
    }

    /// Floats as bf16 in the low half of each lane, rounded to nearest even. A NaN stays one.
    #[inline(always)]
    fn bf16s_of_floats(self, a: Self::f32s) -> Self::f32s {
        by_lanes(a, a, a, |bits, _, _| match f32::from_bits(bits).is_nan() {
            true => bits >> 16 | 0x40,
            false => (bits + 0x7fff + (bits >> 16 & 1)) >> 16,
        })
    }

    /// The larger of each pair of unsigned bytes.
    #[inline(always)]
    fn max_u8s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        by_lanes(a, b, b, |a, b, _| {
            let (a, b): ([u8; 4], [u8; 4]) = (bytemuck::must_cast(a), bytemuck::must_cast(b));
            bytemuck::must_cast::<[u8; 4], u32>(array(|i| a[i].max(b[i])))
        })
    }

    /// The larger of each pair of signed bytes.
    #[inline(always)]
    fn max_s8s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        by_lanes(a, b, b, |a, b, _| {
            let (a, b): ([i8; 4], [i8; 4]) = (bytemuck::must_cast(a), bytemuck::must_cast(b));
            bytemuck::must_cast::<[i8; 4], u32>(array(|i| a[i].max(b[i])))
        })
    }

    /// The larger of each pair of signed 16-bit integers.
    #[inline(always)]
    fn max_s16s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        by_lanes(a, b, b, |a, b, _| {
            let (a, b): ([i16; 2], [i16; 2]) = (bytemuck::must_cast(a), bytemuck::must_cast(b));
            bytemuck::must_cast::<[i16; 2], u32>(array(|i| a[i].max(b[i])))
        })
    }

    /// Bits that are set in both.
    #[inline(always)]
    fn and_bits(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        by_lanes(a, b, b, |a, b, _| a & b)
    }

    /// Bits that are set in one or both.
    #[inline(always)]
    fn or_bits(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        by_lanes(a, b, b, |a, b, _| a | b)
    }

    /// Bits of each lane, moved up by `by` places, fewer than 32. Zeros follow.
    #[inline(always)]
    fn shift_up(self, a: Self::f32s, by: u32) -> Self::f32s {
        by_lanes(a, a, a, |a, _, _| a << by)
    }

    /// Bits of each lane, moved down by `by` places, fewer than 32. Zeros follow.
    #[inline(always)]
    fn shift_down(self, a: Self::f32s, by: u32) -> Self::f32s {
        by_lanes(a, a, a, |a, _, _| a >> by)
    }

    /// Keys of two bf16 in each lane: signed 16-bit integers in the order of their bf16. Keys of NaNs are the largest ones.
    ///
    /// A negative bf16 has its other bits inverted. Then 127 is subtracted, as many as there are negative NaNs: these wrap
    /// around.
    #[inline(always)]
    fn keys_of_bf16s(self, a: Self::f32s) -> Self::f32s {
        by_lanes(a, a, a, |a, _, _| {
            let a: [i16; 2] = bytemuck::must_cast(a);
            bytemuck::must_cast::<[i16; 2], u32>(array(|i| {
                (a[i] ^ (a[i] >> 15 & 0x7fff)).wrapping_sub(127)
            }))
        })
    }

    /// Two bf16 in each lane, from their keys.
    #[inline(always)]
    fn bf16s_of_keys(self, keys: Self::f32s) -> Self::f32s {
        by_lanes(keys, keys, keys, |keys, _, _| {
            let keys: [i16; 2] = bytemuck::must_cast(keys);
            bytemuck::must_cast::<[i16; 2], u32>(array(|i| {
                let a = keys[i].wrapping_add(127);
                a ^ (a >> 15 & 0x7fff)
            }))
        })
    }

    /// Loads a byte for each lane, as an integer.
    ///
    /// # Safety
    /// `at` is valid for a read of as many bytes as lanes.
    #[inline(always)]
    unsafe fn load_u8s(self, at: *const u8) -> Self::f32s {
        // SAFETY: the caller's promise.
        each_lane(self, |i| u32::from(unsafe { *at.add(i) }))
    }

    /// Loads a signed byte for each lane, as an integer.
    ///
    /// # Safety
    /// `at` is valid for a read of as many bytes as lanes.
    #[inline(always)]
    unsafe fn load_s8s(self, at: *const i8) -> Self::f32s {
        // SAFETY: the caller's promise.
        each_lane(self, |i| i32::from(unsafe { *at.add(i) }).cast_unsigned())
    }

    /// Loads two bytes for each lane, as 16-bit integers.
    ///
    /// # Safety
    /// `at` is valid for a read of twice as many bytes as lanes.
    #[inline(always)]
    unsafe fn load_u8_pairs(self, at: *const u8) -> Self::f32s {
        each_lane(self, |i| {
            // SAFETY: the caller's promise.
            let [a, b] = unsafe { [*at.add(2 * i), *at.add(2 * i + 1)] };
            bytemuck::must_cast([u16::from(a), u16::from(b)])
        })
    }

    /// Loads two signed bytes for each lane, as 16-bit integers.
    ///
    /// # Safety
    /// `at` is valid for a read of twice as many bytes as lanes.
    #[inline(always)]
    unsafe fn load_s8_pairs(self, at: *const i8) -> Self::f32s {
        each_lane(self, |i| {
            // SAFETY: the caller's promise.
            let [a, b] = unsafe { [*at.add(2 * i), *at.add(2 * i + 1)] };
            bytemuck::must_cast([i16::from(a), i16::from(b)])
        })
    }

    /// Loads a bf16 for each lane, as a float. They may be unaligned.
    ///
    /// # Safety
    /// `at` is valid for a read of as many bf16 as lanes.
    #[inline(always)]
    unsafe fn load_bf16s(self, at: *const u16) -> Self::f32s {
        each_lane(self, |i| {
            // SAFETY: the caller's promise.
            let half = unsafe { at.add(i).read_unaligned() };
            u32::from(half) << 16
        })
    }

    /// Stores the lowest byte of each lane.
    ///
    /// # Safety
    /// `to` is valid for a write of as many bytes as lanes.
    #[inline(always)]
    unsafe fn store_low_bytes(self, to: *mut u8, y: Self::f32s) {
        let lanes: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&y));
        for (i, lane) in lanes.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { to.add(i).write(*lane as u8) };
        }
    }

    /// Stores the lowest byte of each lane of `N` vectors, one vector after the other. Lanes are integers of -128 to 255.
    ///
    /// # Safety
    /// `to` is valid for a write of as many bytes as the vectors have lanes.
    #[inline(always)]
    unsafe fn store_bytes<const N: usize>(self, to: *mut u8, y: [Self::f32s; N]) {
        for (i, y) in y.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { self.store_low_bytes(to.add(i * Self::F32_LANES), y) };
        }
    }

    /// Stores the low half of each lane. They may be unaligned.
    ///
    /// # Safety
    /// `to` is valid for a write of as many 16-bit elements as lanes.
    #[inline(always)]
    unsafe fn store_low_halves(self, to: *mut u16, y: Self::f32s) {
        let lanes: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&y));
        for (i, lane) in lanes.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { to.add(i).write_unaligned(*lane as u16) };
        }
    }

    /// Returns x, and hides its value from the compiler. So neither its computation nor its uses are optimised away.
    #[inline(always)]
    fn opaque(self, x: Self::f32s) -> Self::f32s {
        std::hint::black_box(x)
    }

    /// Loads a vector from memory.
    ///
    /// # Safety
    /// `at` is valid for a read of a vector.
    #[inline(always)]
    unsafe fn load_f32s(self, at: *const f32) -> Self::f32s {
        // SAFETY: the caller's promise. Vectors are plain data.
        unsafe { at.cast::<Self::f32s>().read_unaligned() }
    }

    /// Stores a vector to memory.
    ///
    /// # Safety
    /// `to` is valid for a write of a vector.
    #[inline(always)]
    unsafe fn store_f32s(self, to: *mut f32, y: Self::f32s) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Self::f32s>().write_unaligned(y) }
    }

    /// Mask of the first `lanes` lanes.
    fn first_lanes(self, lanes: usize) -> Self::m32s;

    /// Loads the lanes of a mask from memory. Other lanes are zeros.
    ///
    /// # Safety
    /// `at` is valid for a read of these lanes.
    unsafe fn load_masked_f32s(self, mask: Self::m32s, at: *const f32) -> Self::f32s;

    /// Stores the lanes of a mask to memory.
    ///
    /// # Safety
    /// `to` is valid for a write of these lanes.
    unsafe fn store_masked_f32s(self, mask: Self::m32s, to: *mut f32, y: Self::f32s);

    /// Loads as much of a slice as a vector holds. Lanes beyond the slice are zeros.
    fn load_part_f32s(self, from: &[f32]) -> Self::f32s;

    /// Stores as much of a vector as a slice holds.
    fn store_part_f32s(self, to: &mut [f32], y: Self::f32s);

    /// max(least, y) that keeps a NaN. It is a ReLU if `least` is 0.
    #[inline(always)]
    fn at_least(self, least: Self::f32s, y: Self::f32s) -> Self::f32s {
        self.select_f32s(self.less_than_f32s(y, least), least, y)
    }

    /// One of `N` floats in every lane.
    ///
    /// A broadcast from memory costs no more than a load on CPUs that have it. NEON's FMA takes the float from a lane
    /// instead, so there `N` floats are loaded as vectors.
    ///
    /// # Safety
    /// `from` is valid for a read of `N` floats, and `index` below `N`.
    #[inline(always)]
    unsafe fn broadcast<const N: usize>(self, from: *const f32, index: usize) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.splat_f32s(unsafe { *from.add(index) })
    }

    /// Moves lane `l ^ DISTANCE` to lane `l`. `DISTANCE` is 1, 2 or 4, and below the number of lanes.
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

    /// Prefetches the cache line at `at` into L1. Any address is allowed.
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        prefetch(at);
    }

    /// Prefetches the cache line at `at` into L2.
    ///
    /// It serves data that are read much later, or in large amounts: in L1 they would evict data that are read earlier.
    #[inline(always)]
    fn prefetch_l2(self, at: *const f32) {
        prefetch_l2(at);
    }

    /// Stores past the caches (non-temporal) if the instruction set has such a store. Otherwise it is an ordinary
    /// store.
    ///
    /// Follow a series of them with [`stream_fence`].
    ///
    /// # Safety
    /// `to` is valid for a write of one vector, and aligned to the vector's size.
    #[inline(always)]
    unsafe fn stream_f32s(self, to: *mut f32, value: Self::f32s) {
        // SAFETY: the caller's promise. `f32s` is plain data.
        unsafe { to.cast::<Self::f32s>().write_unaligned(value) }
    }

    /// Vector whose lanes `4q..4q + 4` are the four floats at `at[q]`. Vectors of one lane lack it.
    ///
    /// # Safety
    /// Each four floats are valid for reads.
    #[inline(always)]
    unsafe fn load_fours(self, at: &[*const f32]) -> Self::f32s {
        let mut vector = self.splat_f32s(0.0);
        let fours = bytemuck::cast_slice_mut::<_, [f32; 4]>(std::slice::from_mut(&mut vector));
        for (four, at) in fours.iter_mut().zip(at) {
            // SAFETY: the caller's promise.
            *four = unsafe { at.cast::<[f32; 4]>().read_unaligned() };
        }
        vector
    }

    /// Every other lane of the concatenation of `a` and `b`, beginning with the first lane.
    #[inline(always)]
    fn evens_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        every_other(a, b, 0)
    }

    /// Every other lane of the concatenation of `a` and `b`, beginning with the second lane.
    #[inline(always)]
    fn odds_f32s(self, a: Self::f32s, b: Self::f32s) -> Self::f32s {
        every_other(a, b, 1)
    }

    /// Transposes the 4x4 matrix in each group of four lanes of `rows`. Vectors of one lane lack it.
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

/// Adds the products of words `x` and `w` to each lane.
#[inline(always)]
fn dot<S: KernelSimd>(simd: S, words: Words, sums: S::f32s, x: S::f32s, w: S::f32s) -> S::f32s {
    match words {
        Words::F32 => simd.mul_add_e_f32s(x, w, sums),
        Words::Bf16 => simd.dot_bf16s(sums, x, w),
        Words::S16 => simd.dot_s16s(sums, x, w),
        Words::Bytes => simd.dot_bytes(sums, x, w),
        Words::U8S7 => simd.dot_u8s7(sums, x, w),
    }
}

/// One lane of `x` in every lane.
#[inline(always)]
fn broadcast_lane<S: KernelSimd>(simd: S, x: S::f32s, lane: usize) -> S::f32s {
    simd.splat_f32s(bytemuck::cast_slice(std::slice::from_ref(&x))[lane])
}

/// A vector with the lanes `f(0)`, `f(1)` and so on, as bits.
#[inline(always)]
fn each_lane<S: KernelSimd>(simd: S, f: impl Fn(usize) -> u32) -> S::f32s {
    let mut y = simd.splat_f32s(0.0);
    let lanes = bytemuck::cast_slice_mut::<_, u32>(std::slice::from_mut(&mut y));
    for (i, lane) in lanes.iter_mut().enumerate() {
        *lane = f(i);
    }
    y
}

/// The lanes `f(a, b, c)`, as bits.
#[inline(always)]
fn by_lanes<V: Pod>(a: V, b: V, c: V, f: impl Fn(u32, u32, u32) -> u32) -> V {
    let mut y = a;
    let lanes = bytemuck::cast_slice_mut::<_, u32>(std::slice::from_mut(&mut y));
    let b: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&b));
    let c: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&c));
    for (i, lane) in lanes.iter_mut().enumerate() {
        *lane = f(*lane, b[i], c[i]);
    }
    y
}

/// The sums plus the products of four bytes `x`, signed or unsigned, and four signed bytes `w` in each lane.
#[inline(always)]
fn four_bytes<V: Pod>(sums: V, x: V, w: V, signed: bool) -> V {
    by_lanes(sums, x, w, |sum, x, w| {
        let (x, w): ([u8; 4], [i8; 4]) = (bytemuck::must_cast(x), bytemuck::must_cast(w));
        let source = |x: u8| match signed {
            true => i32::from(x.cast_signed()),
            false => i32::from(x),
        };
        let product = |i: usize| (source(x[i]) * i32::from(w[i])) as u32;
        let [a, b, c, d] = [product(0), product(1), product(2), product(3)];
        sum.wrapping_add(a.wrapping_add(b))
            .wrapping_add(c.wrapping_add(d))
    })
}

/// Both halves of a word, as 16-bit integers.
#[inline(always)]
fn by_halves(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    let ([a, c], [b, d]): ([u16; 2], [u16; 2]) = (bytemuck::must_cast(a), bytemuck::must_cast(b));
    bytemuck::must_cast([f(a, b), f(c, d)])
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

/// Array of `f(0)`, `f(1)` and so on.
///
/// Vector code uses it in place of `std::array::from_fn` and an array's `map`. Their inner functions are not always
/// inlined, and a function that is called loses the instruction set. For the same reason `f` is called in one place: a
/// closure with one call is inlined, whatever its size.
#[inline(always)]
pub fn array<T: Copy, const N: usize>(mut f: impl FnMut(usize) -> T) -> [T; N] {
    let mut array = [MaybeUninit::<T>::uninit(); N];
    let mut i = 0;
    while i < N {
        array[i] = MaybeUninit::new(f(i));
        i += 1;
    }
    // SAFETY: all N elements were written. Both arrays have the same layout.
    unsafe { array.as_ptr().cast::<[T; N]>().read() }
}

/// Defines a prefetch into a level of the caches: x86's hint, AArch64's operation.
macro_rules! prefetch {
    ($name:ident, $x86:ident, $aarch64:literal) => {
        #[inline(always)]
        fn $name(at: *const f32) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: SSE is part of x86-64's baseline, and a prefetch of any address is harmless.
            unsafe {
                use core::arch::x86_64::{$x86, _mm_prefetch};
                _mm_prefetch::<$x86>(at.cast());
            }
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            // SAFETY: a prefetch of any address is harmless. It changes neither memory nor flags.
            unsafe {
                core::arch::asm!(concat!("prfm ", $aarch64, ", [{0}]"), in(reg) at, options(nostack, preserves_flags, readonly));
            }
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            let _ = at;
        }
    };
}

prefetch!(prefetch, _MM_HINT_T0, "pldl1keep");
prefetch!(prefetch_l2, _MM_HINT_T1, "pldl2keep");

/// Returns `at`, and hides its value from the compiler.
///
/// It stays in a register. `black_box` would pass it through memory, which delays each address that depends on it.
#[inline(always)]
pub fn hidden(at: *const f32) -> *const f32 {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    {
        let mut at = at;
        // SAFETY: the instruction does nothing, and never reads memory at the address.
        #[allow(clippy::pointers_in_nomem_asm_block)]
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) at, options(pure, nomem, nostack, preserves_flags));
        }
        at
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    std::hint::black_box(at)
}

/// Orders streaming stores before later operations, so that other threads may read the data after it.
#[inline(always)]
pub fn stream_fence() {
    // Miri doesn't know the fence, and has no streaming stores that would need it.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SSE is part of x86-64's baseline.
    unsafe {
        core::arch::x86_64::_mm_sfence();
    }
}

/// Newton's step from `r` towards 1 / sqrt(a): r + r (1 - a r^2) / 2. It doubles the number of correct bits.
#[inline(always)]
fn inverse_sqrt_step<S: KernelSimd>(simd: S, a: S::f32s, r: S::f32s) -> S::f32s {
    let half = simd.mul_f32s(simd.mul_f32s(a, simd.splat_f32s(-0.5)), r);
    let rest = simd.mul_add_e_f32s(half, r, simd.splat_f32s(0.5));
    simd.mul_add_e_f32s(r, rest, r)
}

/// Defines the operations of [`KernelSimd`] that pulp's tokens already have.
macro_rules! pulp_operations {
    () => {
        type f32s = <Self as pulp::Simd>::f32s;
        type m32s = <Self as pulp::Simd>::m32s;
        const REGISTER_COUNT: usize = <Self as pulp::Simd>::REGISTER_COUNT;
        $crate::arch::pulp_operations! {
            splat_f32s(x: f32) -> Self::f32s;
            add_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
            sub_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
            mul_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
            div_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
            mul_add_e_f32s(a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s;
            max_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
            min_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
            sqrt_f32s(a: Self::f32s) -> Self::f32s;
            equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
            less_than_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
            less_than_or_equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
            and_m32s(a: Self::m32s, b: Self::m32s) -> Self::m32s;
            select_f32s(mask: Self::m32s, yes: Self::f32s, no: Self::f32s) -> Self::f32s;
            reduce_sum_f32s(a: Self::f32s) -> f32;
        }

        #[inline(always)]
        fn raise_f32s(self, a: Self::f32s, n: Self::f32s) -> Self::f32s {
            use pulp::Simd as _;
            let exponent = pulp::Simd::splat_u32s(self, f32::MANTISSA_DIGITS - 1);
            let n = pulp::Simd::wrapping_dyn_shl_u32s(self, self.transmute_u32s_f32s(n), exponent);
            let bits = pulp::Simd::add_u32s(self, self.transmute_u32s_f32s(a), n);
            self.transmute_f32s_u32s(bits)
        }

        #[inline(always)]
        fn first_lanes(self, lanes: usize) -> Self::m32s {
            pulp::Simd::mask_between_m32s(self, 0, lanes as u32).mask()
        }

        #[inline(always)]
        unsafe fn load_masked_f32s(self, mask: Self::m32s, at: *const f32) -> Self::f32s {
            // SAFETY: the caller's promise.
            unsafe { pulp::Simd::mask_load_ptr_f32s(self, pulp::MemMask::new(mask), at) }
        }

        #[inline(always)]
        unsafe fn store_masked_f32s(self, mask: Self::m32s, to: *mut f32, y: Self::f32s) {
            // SAFETY: the caller's promise.
            unsafe { pulp::Simd::mask_store_ptr_f32s(self, pulp::MemMask::new(mask), to, y) }
        }

        #[inline(always)]
        fn load_part_f32s(self, from: &[f32]) -> Self::f32s {
            pulp::Simd::partial_load_f32s(self, from)
        }

        #[inline(always)]
        fn store_part_f32s(self, to: &mut [f32], y: Self::f32s) {
            pulp::Simd::partial_store_f32s(self, to, y);
        }
    };
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)+) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $type),*) -> $out {
            pulp::Simd::$name(self, $($arg),*)
        })+
    };
}
use pulp_operations;

impl sealed::Sealed for pulp::Scalar {}
impl KernelSimd for pulp::Scalar {
    pulp_operations!();
}
impl sealed::Sealed for pulp::Scalar128b {}
impl KernelSimd for pulp::Scalar128b {
    pulp_operations!();
    // Like NEON with FEAT_DotProd, so that every machine tests signed sources.
    const SIGNED_SOURCES: bool = true;
}
impl sealed::Sealed for pulp::Scalar256b {}
impl KernelSimd for pulp::Scalar256b {
    pulp_operations!();
}
impl sealed::Sealed for pulp::Scalar512b {}
impl KernelSimd for pulp::Scalar512b {
    pulp_operations!();
}
