//! Kernels without their arithmetic, or without their memory traffic, to find what bounds them.
//!
//! The method is that of MAQAO's DECAN (Koliai et al. 2013, *Quantifying performance bottleneck cost through
//! differential analysis*). A kernel that takes as long without its arithmetic waits for data. A kernel that takes as
//! long without its loads and stores is bound by arithmetic.
//!
//! Both twins are compiled from the kernel's own source, for another [`KernelSimd`]. Their results are worthless, but
//! their control flow is that of the kernel.

use super::extension::delegated;
use super::{KernelSimd, SimdTask, Twin, Words, array};

/// Part of a kernel that an ablation removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ablation {
    /// The arithmetic. Every load and store is still executed.
    LoadsOnly,
    /// The memory traffic. The arithmetic is done on registers. Lists of offsets are still read, and addresses
    /// computed.
    ArithOnly,
    /// All weights except one panel, which is read repeatedly. The difference in time is the cost of streaming weights.
    OnePanel,
}

impl Ablation {
    /// All ablations.
    pub const ALL: [Ablation; 3] = [Ablation::LoadsOnly, Ablation::ArithOnly, Ablation::OnePanel];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Ablation::LoadsOnly => "loads-only",
            Ablation::ArithOnly => "arith-only",
            Ablation::OnePanel => "one-panel",
        }
    }
}

/// Twin of a task without its arithmetic.
pub(crate) enum WithLoadsOnly {}

impl Twin for WithLoadsOnly {
    type Of<S: KernelSimd> = LoadsOnly<S>;
    #[inline(always)]
    fn of<S: KernelSimd>(simd: S) -> LoadsOnly<S> {
        LoadsOnly(simd)
    }
}

/// Twin of a task without its memory traffic.
pub(crate) enum WithArithOnly {}

impl Twin for WithArithOnly {
    type Of<S: KernelSimd> = ArithOnly<S>;
    #[inline(always)]
    fn of<S: KernelSimd>(simd: S) -> ArithOnly<S> {
        // Sums, products and quotients of this number stay far from denormal numbers, which are slow.
        let x = simd.opaque(simd.splat_f32s(0.5));
        ArithOnly { simd, x }
    }
}

/// Defines operations that only return one of their operands.
macro_rules! nothing_but {
    ($($name:ident($($arg:ident),*) = $kept:ident;)*) => {
        $(#[inline(always)]
        #[allow(unused_variables)]
        fn $name(self, $($arg: Self::f32s),*) -> Self::f32s {
            $kept
        })*
    };
}

/// Instruction set whose arithmetic does nothing. An empty instruction consumes each loaded value.
#[derive(Clone, Copy, Debug)]
pub struct LoadsOnly<S>(S);

impl<S: KernelSimd> super::sealed::Sealed for LoadsOnly<S> {}
impl<S: KernelSimd> KernelSimd for LoadsOnly<S> {
    type f32s = S::f32s;
    type m32s = S::m32s;
    const REGISTER_COUNT: usize = S::REGISTER_COUNT;
    const NATIVE: bool = S::NATIVE;
    const TWIN: bool = true;
    const SIGNED_SOURCES: bool = S::SIGNED_SOURCES;
    const DOTS_BY_LANE: bool = S::DOTS_BY_LANE;

    #[inline(always)]
    fn call<K: SimdTask>(self, task: K) -> K::Output {
        self.0.enter::<K, WithLoadsOnly>(task)
    }

    delegated! { 0:
        fn splat_f32s(x: f32) -> Self::f32s;
        fn equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        fn less_than_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        fn less_than_or_equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        fn and_m32s(a: Self::m32s, b: Self::m32s) -> Self::m32s;
        fn first_lanes(lanes: usize) -> Self::m32s;
        fn opaque(x: Self::f32s) -> Self::f32s;
        fn prefetch(at: *const f32);
        fn prefetch_l2(at: *const f32);
        fn store_part_f32s(to: &mut [f32], y: Self::f32s);
        unsafe fn store_f32s(to: *mut f32, y: Self::f32s);
        unsafe fn stream_f32s(to: *mut f32, value: Self::f32s);
        unsafe fn store_masked_f32s(mask: Self::m32s, to: *mut f32, y: Self::f32s);
        unsafe fn store_low_bytes(to: *mut u8, y: Self::f32s);
        unsafe fn store_bytes<const N: usize>(to: *mut u8, y: [Self::f32s; N]);
        unsafe fn store_low_halves(to: *mut u16, y: Self::f32s);
    }

    // A sum keeps its old value.
    nothing_but! {
        add_f32s(a, b) = a;
        sub_f32s(a, b) = a;
        mul_f32s(a, b) = a;
        div_f32s(a, b) = a;
        mul_add_e_f32s(a, b, c) = c;
        dot_bf16s(sums, x, w) = sums;
        dot_s16s(sums, x, w) = sums;
        dot_bytes(sums, x, w) = sums;
        dot_u8s7(sums, x, w) = sums;
        add_s32s(a, b) = a;
        flip_bytes(a) = a;
        push_bytes(words, x) = words;
        push_halves(words, x) = words;
        sub_s32s(a, b) = a;
        quarters_of_s32s(a) = a;
        add_s16s(a, b) = a;
        sub_s16s(a, b) = a;
        floats_of_s32s(a) = a;
        s32s_of_floats(a) = a;
        bf16s_of_floats(a) = a;
        max_u8s(a, b) = a;
        max_s8s(a, b) = a;
        max_s16s(a, b) = a;
        and_bits(a, b) = a;
        or_bits(a, b) = a;
        keys_of_bf16s(a) = a;
        bf16s_of_keys(keys) = keys;
        max_f32s(a, b) = a;
        min_f32s(a, b) = a;
        abs_f32s(a) = a;
        neg_f32s(a) = a;
        raise_f32s(a, n) = a;
        sqrt_f32s(a) = a;
        inverse_sqrt_f32s(a) = a;
        at_least(least, y) = y;
        evens_f32s(a, b) = a;
        odds_f32s(a, b) = b;
    }

    #[inline(always)]
    fn dot_by_lane(
        self,
        _: Words,
        sums: Self::f32s,
        _: Self::f32s,
        _: usize,
        _: Self::f32s,
    ) -> Self::f32s {
        sums
    }
    #[inline(always)]
    fn shift_up(self, a: Self::f32s, _: u32) -> Self::f32s {
        a
    }
    #[inline(always)]
    fn shift_down(self, a: Self::f32s, _: u32) -> Self::f32s {
        a
    }
    #[inline(always)]
    fn select_f32s(self, _: Self::m32s, yes: Self::f32s, _: Self::f32s) -> Self::f32s {
        yes
    }
    #[inline(always)]
    fn reduce_sum_f32s(self, a: Self::f32s) -> f32 {
        bytemuck::cast_slice::<_, f32>(std::slice::from_ref(&a))[0]
    }
    #[inline(always)]
    fn swap_lanes<const DISTANCE: usize>(self, x: Self::f32s) -> Self::f32s {
        x
    }
    #[inline(always)]
    fn transpose_fours(self, rows: [Self::f32s; 4]) -> [Self::f32s; 4] {
        rows
    }

    #[inline(always)]
    unsafe fn load_f32s(self, at: *const f32) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.0.opaque(unsafe { self.0.load_f32s(at) })
    }
    #[inline(always)]
    unsafe fn broadcast<const N: usize>(self, from: *const f32, index: usize) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.0.opaque(unsafe { self.0.broadcast::<N>(from, index) })
    }
    #[inline(always)]
    unsafe fn load_fours(self, at: &[*const f32]) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.0.opaque(unsafe { self.0.load_fours(at) })
    }
    #[inline(always)]
    unsafe fn load_masked_f32s(self, mask: Self::m32s, at: *const f32) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.0.opaque(unsafe { self.0.load_masked_f32s(mask, at) })
    }
    #[inline(always)]
    fn load_part_f32s(self, from: &[f32]) -> Self::f32s {
        self.0.opaque(self.0.load_part_f32s(from))
    }
    #[inline(always)]
    unsafe fn load_u8s(self, at: *const u8) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.0.opaque(unsafe { self.0.load_u8s(at) })
    }
    #[inline(always)]
    unsafe fn load_s8s(self, at: *const i8) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.0.opaque(unsafe { self.0.load_s8s(at) })
    }
    #[inline(always)]
    unsafe fn load_u8_pairs(self, at: *const u8) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.0.opaque(unsafe { self.0.load_u8_pairs(at) })
    }
    #[inline(always)]
    unsafe fn load_s8_pairs(self, at: *const i8) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.0.opaque(unsafe { self.0.load_s8_pairs(at) })
    }
    #[inline(always)]
    unsafe fn load_bf16s(self, at: *const u16) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.0.opaque(unsafe { self.0.load_bf16s(at) })
    }
}

/// Instruction set whose loads return a register and whose stores do nothing. Results are opaque, or the compiler would
/// merge equal sums of equal products.
#[derive(Clone, Copy, Debug)]
pub struct ArithOnly<S: KernelSimd> {
    simd: S,
    x: S::f32s,
}

/// Delegates operations to the instruction set, and hides their results from the compiler.
macro_rules! opaquely {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $type),*) -> Self::f32s {
            self.simd.opaque(self.simd.$name($($arg),*))
        })*
    };
}

impl<S: KernelSimd> super::sealed::Sealed for ArithOnly<S> {}
impl<S: KernelSimd> KernelSimd for ArithOnly<S> {
    type f32s = S::f32s;
    type m32s = S::m32s;
    const REGISTER_COUNT: usize = S::REGISTER_COUNT;
    const NATIVE: bool = S::NATIVE;
    const TWIN: bool = true;
    const SIGNED_SOURCES: bool = S::SIGNED_SOURCES;
    const DOTS_BY_LANE: bool = S::DOTS_BY_LANE;

    #[inline(always)]
    fn call<K: SimdTask>(self, task: K) -> K::Output {
        self.simd.enter::<K, WithArithOnly>(task)
    }

    delegated! { simd:
        fn splat_f32s(x: f32) -> Self::f32s;
        fn equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        fn less_than_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        fn less_than_or_equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        fn and_m32s(a: Self::m32s, b: Self::m32s) -> Self::m32s;
        fn reduce_sum_f32s(a: Self::f32s) -> f32;
        fn first_lanes(lanes: usize) -> Self::m32s;
        fn opaque(x: Self::f32s) -> Self::f32s;
    }

    opaquely! {
        add_f32s(a: Self::f32s, b: Self::f32s);
        sub_f32s(a: Self::f32s, b: Self::f32s);
        mul_f32s(a: Self::f32s, b: Self::f32s);
        div_f32s(a: Self::f32s, b: Self::f32s);
        mul_add_e_f32s(a: Self::f32s, b: Self::f32s, c: Self::f32s);
        dot_bf16s(sums: Self::f32s, x: Self::f32s, w: Self::f32s);
        dot_s16s(sums: Self::f32s, x: Self::f32s, w: Self::f32s);
        dot_bytes(sums: Self::f32s, x: Self::f32s, w: Self::f32s);
        dot_u8s7(sums: Self::f32s, x: Self::f32s, w: Self::f32s);
        dot_by_lane(words: Words, sums: Self::f32s, x: Self::f32s, lane: usize, w: Self::f32s);
        add_s32s(a: Self::f32s, b: Self::f32s);
        flip_bytes(a: Self::f32s);
        push_bytes(words: Self::f32s, x: Self::f32s);
        push_halves(words: Self::f32s, x: Self::f32s);
        sub_s32s(a: Self::f32s, b: Self::f32s);
        quarters_of_s32s(a: Self::f32s);
        add_s16s(a: Self::f32s, b: Self::f32s);
        sub_s16s(a: Self::f32s, b: Self::f32s);
        floats_of_s32s(a: Self::f32s);
        s32s_of_floats(a: Self::f32s);
        bf16s_of_floats(a: Self::f32s);
        max_u8s(a: Self::f32s, b: Self::f32s);
        max_s8s(a: Self::f32s, b: Self::f32s);
        max_s16s(a: Self::f32s, b: Self::f32s);
        and_bits(a: Self::f32s, b: Self::f32s);
        or_bits(a: Self::f32s, b: Self::f32s);
        shift_up(a: Self::f32s, by: u32);
        shift_down(a: Self::f32s, by: u32);
        keys_of_bf16s(a: Self::f32s);
        bf16s_of_keys(keys: Self::f32s);
        max_f32s(a: Self::f32s, b: Self::f32s);
        min_f32s(a: Self::f32s, b: Self::f32s);
        abs_f32s(a: Self::f32s);
        neg_f32s(a: Self::f32s);
        raise_f32s(a: Self::f32s, n: Self::f32s);
        sqrt_f32s(a: Self::f32s);
        inverse_sqrt_f32s(a: Self::f32s);
        at_least(least: Self::f32s, y: Self::f32s);
        select_f32s(mask: Self::m32s, yes: Self::f32s, no: Self::f32s);
        evens_f32s(a: Self::f32s, b: Self::f32s);
        odds_f32s(a: Self::f32s, b: Self::f32s);
    }

    #[inline(always)]
    fn swap_lanes<const DISTANCE: usize>(self, x: Self::f32s) -> Self::f32s {
        self.simd.opaque(self.simd.swap_lanes::<DISTANCE>(x))
    }
    #[inline(always)]
    fn transpose_fours(self, rows: [Self::f32s; 4]) -> [Self::f32s; 4] {
        let columns = self.simd.transpose_fours(rows);
        array(|column| self.simd.opaque(columns[column]))
    }

    #[inline(always)]
    unsafe fn load_f32s(self, _: *const f32) -> Self::f32s {
        self.x
    }
    #[inline(always)]
    unsafe fn store_f32s(self, _: *mut f32, y: Self::f32s) {
        self.simd.opaque(y);
    }
    #[inline(always)]
    unsafe fn broadcast<const N: usize>(self, _: *const f32, _: usize) -> Self::f32s {
        self.x
    }
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
    #[inline(always)]
    fn prefetch_l2(self, _: *const f32) {}
    #[inline(always)]
    unsafe fn stream_f32s(self, _: *mut f32, y: Self::f32s) {
        self.simd.opaque(y);
    }
    #[inline(always)]
    unsafe fn load_fours(self, _: &[*const f32]) -> Self::f32s {
        self.x
    }
    #[inline(always)]
    unsafe fn load_masked_f32s(self, _: Self::m32s, _: *const f32) -> Self::f32s {
        self.x
    }
    #[inline(always)]
    unsafe fn store_masked_f32s(self, _: Self::m32s, _: *mut f32, y: Self::f32s) {
        self.simd.opaque(y);
    }
    #[inline(always)]
    fn load_part_f32s(self, _: &[f32]) -> Self::f32s {
        self.x
    }
    #[inline(always)]
    fn store_part_f32s(self, _: &mut [f32], y: Self::f32s) {
        self.simd.opaque(y);
    }
    #[inline(always)]
    unsafe fn load_u8s(self, _: *const u8) -> Self::f32s {
        self.x
    }
    #[inline(always)]
    unsafe fn load_s8s(self, _: *const i8) -> Self::f32s {
        self.x
    }
    #[inline(always)]
    unsafe fn load_u8_pairs(self, _: *const u8) -> Self::f32s {
        self.x
    }
    #[inline(always)]
    unsafe fn load_s8_pairs(self, _: *const i8) -> Self::f32s {
        self.x
    }
    #[inline(always)]
    unsafe fn load_bf16s(self, _: *const u16) -> Self::f32s {
        self.x
    }
    #[inline(always)]
    unsafe fn store_low_bytes(self, _: *mut u8, y: Self::f32s) {
        self.simd.opaque(y);
    }
    #[inline(always)]
    unsafe fn store_low_halves(self, _: *mut u16, y: Self::f32s) {
        self.simd.opaque(y);
    }
}
