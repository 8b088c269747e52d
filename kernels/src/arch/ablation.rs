//! Kernels without their arithmetic, or without their memory traffic: what takes the time?
//!
//! The method of MAQAO's DECAN (Koliai et al. 2013, *Quantifying performance bottleneck cost through differential
//! analysis*): if a kernel takes as long with its arithmetic taken out, it waits for data; if it takes as long
//! with its loads and stores taken out, for arithmetic. Both twins come from the kernel's one source, compiled
//! for another [`KernelSimd`]. Their results are worthless, and their control flow the kernel's.

use super::{KernelSimd, SimdTask, array};

/// What is taken out of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ablation {
    /// Its arithmetic: every load and store is still executed.
    LoadsOnly,
    /// Its memory traffic: the arithmetic is done on registers. Lists of offsets are still read, and addresses
    /// computed.
    ArithOnly,
    /// Its weights but for one panel, which is read over and over: what do they cost, coming from where they are?
    OnePanel,
}

impl Ablation {
    /// All.
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

/// What a task is compiled as: itself, or one of its twins. A type, so that each has a function of its own.
pub trait Twin {
    /// The instruction set that the task is run with.
    type Of<S: KernelSimd>: KernelSimd;
    /// Makes it, inside of the function that is compiled for `simd`.
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

/// The task without its arithmetic.
pub(crate) enum WithLoadsOnly {}

impl Twin for WithLoadsOnly {
    type Of<S: KernelSimd> = LoadsOnly<S>;
    #[inline(always)]
    fn of<S: KernelSimd>(simd: S) -> LoadsOnly<S> {
        LoadsOnly(simd)
    }
}

/// The task without its memory traffic.
pub(crate) enum WithArithOnly {}

impl Twin for WithArithOnly {
    type Of<S: KernelSimd> = ArithOnly<S>;
    #[inline(always)]
    fn of<S: KernelSimd>(simd: S) -> ArithOnly<S> {
        // A number whose sums, products and quotients stay far from the denormal ones, which are slow.
        let x = simd.opaque(simd.splat_f32s(0.5));
        ArithOnly { simd, x }
    }
}

/// Delegates operations to the instruction set.
macro_rules! as_before {
    ($simd:tt: $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $type),*) -> $out {
            self.$simd.$name($($arg),*)
        })*
    };
}

/// Operations that return one of their operands, which is no work.
macro_rules! nothing_but {
    ($($name:ident($($arg:ident),*) = $kept:ident;)*) => {
        $(#[inline(always)]
        #[allow(unused_variables)]
        fn $name(self, $($arg: Self::f32s),*) -> Self::f32s {
            $kept
        })*
    };
}

/// An instruction set whose arithmetic does nothing. What is loaded is also consumed, by an empty instruction.
#[derive(Clone, Copy, Debug)]
pub struct LoadsOnly<S>(S);

impl<S: KernelSimd> super::sealed::Sealed for LoadsOnly<S> {}
impl<S: KernelSimd> KernelSimd for LoadsOnly<S> {
    type f32s = S::f32s;
    type m32s = S::m32s;
    const REGISTER_COUNT: usize = S::REGISTER_COUNT;
    const NATIVE: bool = S::NATIVE;
    const TWIN: bool = true;

    #[inline(always)]
    fn call<K: SimdTask>(self, task: K) -> K::Output {
        self.0.enter::<K, WithLoadsOnly>(task)
    }

    as_before! { 0:
        splat_f32s(x: f32) -> Self::f32s;
        equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        less_than_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        less_than_or_equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        and_m32s(a: Self::m32s, b: Self::m32s) -> Self::m32s;
        first_lanes(lanes: usize) -> Self::m32s;
        opaque(x: Self::f32s) -> Self::f32s;
    }

    // Of a sum the part that there was before.
    nothing_but! {
        add_f32s(a, b) = a;
        sub_f32s(a, b) = a;
        mul_f32s(a, b) = a;
        div_f32s(a, b) = a;
        mul_add_e_f32s(a, b, c) = c;
        max_f32s(a, b) = a;
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
    unsafe fn store_f32s(self, to: *mut f32, y: Self::f32s) {
        // SAFETY: the caller's promise.
        unsafe { self.0.store_f32s(to, y) }
    }
    #[inline(always)]
    unsafe fn broadcast<const N: usize>(self, from: *const f32, index: usize) -> Self::f32s {
        // SAFETY: the caller's promise.
        self.0.opaque(unsafe { self.0.broadcast::<N>(from, index) })
    }
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        self.0.prefetch(at);
    }
    #[inline(always)]
    fn prefetch_l2(self, at: *const f32) {
        self.0.prefetch_l2(at);
    }
    #[inline(always)]
    unsafe fn stream_f32s(self, to: *mut f32, value: Self::f32s) {
        // SAFETY: the caller's promise.
        unsafe { self.0.stream_f32s(to, value) }
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
    unsafe fn store_masked_f32s(self, mask: Self::m32s, to: *mut f32, y: Self::f32s) {
        // SAFETY: the caller's promise.
        unsafe { self.0.store_masked_f32s(mask, to, y) }
    }
    #[inline(always)]
    fn load_part_f32s(self, from: &[f32]) -> Self::f32s {
        self.0.opaque(self.0.load_part_f32s(from))
    }
    #[inline(always)]
    fn store_part_f32s(self, to: &mut [f32], y: Self::f32s) {
        self.0.store_part_f32s(to, y);
    }
}

/// An instruction set whose loads give what is in a register and whose stores do nothing. Results are opaque:
/// equal sums of equal products would be computed once.
#[derive(Clone, Copy, Debug)]
pub struct ArithOnly<S: KernelSimd> {
    simd: S,
    x: S::f32s,
}

/// Operations as before, whose results the compiler can't foresee.
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

    #[inline(always)]
    fn call<K: SimdTask>(self, task: K) -> K::Output {
        self.simd.enter::<K, WithArithOnly>(task)
    }

    as_before! { simd:
        splat_f32s(x: f32) -> Self::f32s;
        equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        less_than_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        less_than_or_equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        and_m32s(a: Self::m32s, b: Self::m32s) -> Self::m32s;
        reduce_sum_f32s(a: Self::f32s) -> f32;
        first_lanes(lanes: usize) -> Self::m32s;
        opaque(x: Self::f32s) -> Self::f32s;
    }

    opaquely! {
        add_f32s(a: Self::f32s, b: Self::f32s);
        sub_f32s(a: Self::f32s, b: Self::f32s);
        mul_f32s(a: Self::f32s, b: Self::f32s);
        div_f32s(a: Self::f32s, b: Self::f32s);
        mul_add_e_f32s(a: Self::f32s, b: Self::f32s, c: Self::f32s);
        max_f32s(a: Self::f32s, b: Self::f32s);
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
}
