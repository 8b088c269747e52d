//! Atomics of a team, and its way to wait. `tests/all/stealing.rs` replaces them by those of a model checker.

pub(super) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Spins until a condition is true. Yields at times, for machines with more workers than cores.
///
/// It is never inlined, so that a profile tells waiting from computing by this name.
#[inline(never)]
pub(super) fn spin_until(condition: impl Fn() -> bool) {
    let mut spins = 0u32;
    while !condition() {
        spins += 1;
        if spins.is_multiple_of(1 << 12) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}
