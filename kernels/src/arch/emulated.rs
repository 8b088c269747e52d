//! Emulated vectors of any width. Only debug builds have them.
//!
//! A test may falsify the operations on eight lanes ([`with_fault`]). It then sees if the checks of a kernel find the fault.

use super::{KernelSimd, sealed::Sealed};
use bytemuck::cast;
use std::cell::Cell;

/// Floats of a vector that a fault may alter.
pub type Lanes = [f32; 8];

/// A fault: results that replace those of operations. By default, they stay.
pub trait Fault {
    /// Result of a sum, difference, product, quotient or root.
    fn result(&self, y: Lanes) -> Lanes {
        y
    }
    /// Result `y` of a b + c.
    fn sum(&self, operands: [Lanes; 3], y: Lanes) -> Lanes {
        let _ = operands;
        y
    }
    /// Result of a load.
    fn loaded(&self, x: Lanes) -> Lanes {
        x
    }
    /// Floats that a store writes over the floats `before`.
    fn stored(&self, to: *const f32, before: Lanes, y: Lanes) -> Lanes {
        let _ = (to, before);
        y
    }
    /// Lanes of a mask of the first `lanes` lanes.
    fn mask(&self, lanes: usize) -> usize {
        lanes
    }
    /// Tells if a masked store writes all lanes.
    fn stores_all(&self) -> bool {
        false
    }
    /// Floats that a partial store writes, of `len` or fewer.
    fn stored_part(&self, len: usize) -> usize {
        len
    }
    /// Tells if lanes are exchanged.
    fn swaps(&self) -> bool {
        true
    }
}

thread_local! {
    static FAULT: Cell<Option<&'static dyn Fault>> = const { Cell::new(None) };
}

/// Calls `f` with a fault of this thread's [`Isa::Emu256`](crate::Isa::Emu256).
///
/// # Safety
/// If the fault widens masks or stores all lanes, then eight floats after the end of each tensor, packed buffer and
/// workspace belong to the same allocation.
pub unsafe fn with_fault<R>(fault: &'static dyn Fault, f: impl FnOnce() -> R) -> R {
    let before = FAULT.replace(Some(fault));
    let result = f();
    FAULT.set(before);
    result
}

/// The fault, for vectors of eight lanes.
#[inline(always)]
fn fault<P: KernelSimd>() -> Option<&'static dyn Fault> {
    if P::F32_LANES == size_of::<Lanes>() / size_of::<f32>() {
        FAULT.get()
    } else {
        None
    }
}

/// Vector after the fault, if there is one.
#[inline(always)]
fn altered<P: KernelSimd>(y: P::f32s, by: impl FnOnce(&dyn Fault, Lanes) -> Lanes) -> P::f32s {
    match fault::<P>() {
        Some(fault) => cast(by(fault, cast(y))),
        None => y,
    }
}

/// The vectors of `P`, whose operations are functions of their own.
///
/// pulp's emulated vectors are unrolled loops over lanes. If they were inlined, they would be most of a test build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emulation<P>(pub(crate) P);

/// Defines operations by those of `P`.
macro_rules! as_plain {
    (
        $(fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*
        $(unsafe fn $unsafe:ident($($at:ident: $to:ty),*) $(-> $y:ty)?;)*
    ) => {
        $(#[inline(never)]
        fn $name(self, $($arg: $type),*) -> $out {
            self.0.$name($($arg),*)
        })*
        $(#[inline(never)]
        unsafe fn $unsafe(self, $($at: $to),*) $(-> $y)? {
            // SAFETY: the caller's promise.
            unsafe { self.0.$unsafe($($at),*) }
        })*
    };
}

/// Defines arithmetic by that of `P`, with [`Fault::result`].
macro_rules! arithmetic {
    ($($name:ident($($arg:ident),*);)*) => {
        $(#[inline(never)]
        fn $name(self, $($arg: Self::f32s),*) -> Self::f32s {
            altered::<P>(self.0.$name($($arg),*), |fault, y| fault.result(y))
        })*
    };
}

impl<P> Sealed for Emulation<P> {}
impl<P: KernelSimd> KernelSimd for Emulation<P> {
    type f32s = P::f32s;
    type m32s = P::m32s;
    const REGISTER_COUNT: usize = P::REGISTER_COUNT;
    const EMULATED: bool = true;
    const SIGNED_SOURCES: bool = P::SIGNED_SOURCES;

    as_plain! {
        fn splat_f32s(x: f32) -> Self::f32s;
        fn max_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
        fn min_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
        fn abs_f32s(a: Self::f32s) -> Self::f32s;
        fn raise_f32s(a: Self::f32s, n: Self::f32s) -> Self::f32s;
        fn equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        fn less_than_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        fn less_than_or_equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
        fn and_m32s(a: Self::m32s, b: Self::m32s) -> Self::m32s;
        fn select_f32s(mask: Self::m32s, yes: Self::f32s, no: Self::f32s) -> Self::f32s;
        fn reduce_sum_f32s(a: Self::f32s) -> f32;
        fn dot_bf16s(sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s;
        fn dot_s16s(sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s;
        fn dot_bytes(sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s;
        fn dot_u8s7(sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s;
        fn flip_bytes(a: Self::f32s) -> Self::f32s;
        fn floats_of_s32s(a: Self::f32s) -> Self::f32s;
        fn s32s_of_floats(a: Self::f32s) -> Self::f32s;
        fn bf16s_of_floats(a: Self::f32s) -> Self::f32s;
        fn load_part_f32s(from: &[f32]) -> Self::f32s;
        fn evens_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
        fn odds_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
        fn transpose_fours(rows: [Self::f32s; 4]) -> [Self::f32s; 4];
        unsafe fn load_u8s(at: *const u8) -> Self::f32s;
        unsafe fn load_s8s(at: *const i8) -> Self::f32s;
        unsafe fn load_bf16s(at: *const u16) -> Self::f32s;
        unsafe fn load_masked_f32s(mask: Self::m32s, at: *const f32) -> Self::f32s;
        unsafe fn load_fours(at: &[*const f32]) -> Self::f32s;
        unsafe fn store_low_bytes(to: *mut u8, y: Self::f32s);
        unsafe fn store_low_halves(to: *mut u16, y: Self::f32s);
    }

    arithmetic! {
        add_f32s(a, b);
        sub_f32s(a, b);
        mul_f32s(a, b);
        div_f32s(a, b);
        sqrt_f32s(a);
    }

    #[inline(never)]
    fn mul_add_e_f32s(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
        altered::<P>(self.0.mul_add_e_f32s(a, b, c), |fault, y| {
            fault.sum([cast(a), cast(b), cast(c)], y)
        })
    }

    #[inline(never)]
    unsafe fn load_f32s(self, at: *const f32) -> Self::f32s {
        // SAFETY: the caller's promise.
        altered::<P>(unsafe { self.0.load_f32s(at) }, |fault, x| fault.loaded(x))
    }

    #[inline(never)]
    unsafe fn store_f32s(self, to: *mut f32, y: Self::f32s) {
        let y = altered::<P>(y, |fault, y| {
            // SAFETY: the caller's promise. Floats that a test gives to a kernel are initialised.
            let before = cast(unsafe { self.0.load_f32s(to) });
            fault.stored(to, before, y)
        });
        // SAFETY: the caller's promise.
        unsafe { self.0.store_f32s(to, y) };
    }

    #[inline(never)]
    unsafe fn stream_f32s(self, to: *mut f32, y: Self::f32s) {
        // SAFETY: the caller's promise.
        unsafe { self.store_f32s(to, y) };
    }

    #[inline(never)]
    fn first_lanes(self, lanes: usize) -> Self::m32s {
        let lanes = fault::<P>().map_or(lanes, |fault| fault.mask(lanes));
        self.0.first_lanes(lanes.min(Self::F32_LANES))
    }

    #[inline(never)]
    unsafe fn store_masked_f32s(self, mask: Self::m32s, to: *mut f32, y: Self::f32s) {
        let all = fault::<P>().is_some_and(|fault| fault.stores_all());
        // SAFETY: the caller's promise, or that of `with_fault`.
        unsafe {
            if all {
                self.0.store_f32s(to, y);
            } else {
                self.0.store_masked_f32s(mask, to, y);
            }
        }
    }

    #[inline(never)]
    fn store_part_f32s(self, to: &mut [f32], y: Self::f32s) {
        let len = to.len().min(Self::F32_LANES);
        let len = fault::<P>().map_or(len, |fault| fault.stored_part(len).min(len));
        self.0.store_part_f32s(&mut to[..len], y);
    }

    #[inline(never)]
    fn swap_lanes<const DISTANCE: usize>(self, x: Self::f32s) -> Self::f32s {
        match fault::<P>() {
            Some(fault) if !fault.swaps() => x,
            _ => self.0.swap_lanes::<DISTANCE>(x),
        }
    }
}
