//! Eight emulated lanes whose operations a test may falsify ([`with_fault`]). The test then sees if the checks of a
//! kernel find the fault. Only debug builds have them.
//!
//! Operations are functions of their own, so an emulated kernel is little code.

use super::{KernelSimd, sealed::Sealed};
use bytemuck::must_cast;
use std::cell::Cell;

/// Floats of a vector.
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

/// The vectors without a fault.
const PLAIN: pulp::Scalar256b = pulp::Scalar256b;

type F = <pulp::Scalar256b as KernelSimd>::f32s;
type M = <pulp::Scalar256b as KernelSimd>::m32s;

/// Vector after the fault, if there is one.
#[inline(always)]
fn altered(y: F, by: impl FnOnce(&dyn Fault, Lanes) -> Lanes) -> F {
    match FAULT.get() {
        Some(fault) => must_cast(by(fault, must_cast(y))),
        None => y,
    }
}

/// Eight emulated lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emulated256;

/// Defines operations by those of [`PLAIN`].
macro_rules! as_plain {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        $(#[inline(never)]
        fn $name(self, $($arg: $type),*) -> $out {
            PLAIN.$name($($arg),*)
        })*
    };
}

/// Defines arithmetic by that of [`PLAIN`], with [`Fault::result`].
macro_rules! arithmetic {
    ($($name:ident($($arg:ident),*);)*) => {
        $(#[inline(never)]
        fn $name(self, $($arg: F),*) -> F {
            altered(PLAIN.$name($($arg),*), |fault, y| fault.result(y))
        })*
    };
}

impl Sealed for Emulated256 {}
impl KernelSimd for Emulated256 {
    type f32s = F;
    type m32s = M;
    const REGISTER_COUNT: usize = pulp::Scalar256b::REGISTER_COUNT;

    as_plain! {
        splat_f32s(x: f32) -> F;
        max_f32s(a: F, b: F) -> F;
        raise_f32s(a: F, n: F) -> F;
        equal_f32s(a: F, b: F) -> M;
        less_than_f32s(a: F, b: F) -> M;
        less_than_or_equal_f32s(a: F, b: F) -> M;
        and_m32s(a: M, b: M) -> M;
        select_f32s(mask: M, yes: F, no: F) -> F;
        reduce_sum_f32s(a: F) -> f32;
    }

    arithmetic! {
        add_f32s(a, b);
        sub_f32s(a, b);
        mul_f32s(a, b);
        div_f32s(a, b);
        sqrt_f32s(a);
    }

    #[inline(never)]
    fn mul_add_e_f32s(self, a: F, b: F, c: F) -> F {
        let operands = [a, b, c];
        altered(PLAIN.mul_add_e_f32s(a, b, c), |fault, y| {
            fault.sum(operands.map(must_cast), y)
        })
    }

    #[inline(never)]
    unsafe fn load_f32s(self, at: *const f32) -> F {
        // SAFETY: the caller's promise.
        altered(unsafe { PLAIN.load_f32s(at) }, |fault, x| fault.loaded(x))
    }

    #[inline(never)]
    unsafe fn store_f32s(self, to: *mut f32, y: F) {
        let y = altered(y, |fault, y| {
            // SAFETY: the caller's promise. Floats that a test gives to a kernel are initialised.
            let before = must_cast(unsafe { PLAIN.load_f32s(to) });
            fault.stored(to, before, y)
        });
        // SAFETY: the caller's promise.
        unsafe { PLAIN.store_f32s(to, y) };
    }

    #[inline(never)]
    unsafe fn stream_f32s(self, to: *mut f32, y: F) {
        // SAFETY: the caller's promise.
        unsafe { self.store_f32s(to, y) };
    }

    #[inline(never)]
    fn first_lanes(self, lanes: usize) -> M {
        let lanes = FAULT.get().map_or(lanes, |fault| fault.mask(lanes));
        PLAIN.first_lanes(lanes.min(Self::F32_LANES))
    }

    #[inline(never)]
    unsafe fn load_masked_f32s(self, mask: M, at: *const f32) -> F {
        // SAFETY: the caller's promise, or that of `with_fault`.
        unsafe { PLAIN.load_masked_f32s(mask, at) }
    }

    #[inline(never)]
    unsafe fn store_masked_f32s(self, mask: M, to: *mut f32, y: F) {
        let all = FAULT.get().is_some_and(|fault| fault.stores_all());
        // SAFETY: the caller's promise, or that of `with_fault`.
        unsafe {
            if all {
                PLAIN.store_f32s(to, y);
            } else {
                PLAIN.store_masked_f32s(mask, to, y);
            }
        }
    }

    #[inline(never)]
    fn load_part_f32s(self, from: &[f32]) -> F {
        PLAIN.load_part_f32s(from)
    }

    #[inline(never)]
    fn store_part_f32s(self, to: &mut [f32], y: F) {
        let len = to.len().min(Self::F32_LANES);
        let len = FAULT
            .get()
            .map_or(len, |fault| fault.stored_part(len).min(len));
        PLAIN.store_part_f32s(&mut to[..len], y);
    }

    #[inline(never)]
    fn swap_lanes<const DISTANCE: usize>(self, x: F) -> F {
        match FAULT.get() {
            Some(fault) if !fault.swaps() => x,
            _ => PLAIN.swap_lanes::<DISTANCE>(x),
        }
    }
}
