//! Shared parts of the tests of kernels: the instruction sets that they run on, operands between guards, and comparisons.

use crate::data::{Fill, Rng};
use crate::isa::{Isa, IsaToken, Sets, SimdTask, has_code_for};
use crate::tensor::{CacheLine, as_f32s, as_f32s_mut};
use std::ops::{Deref, DerefMut};

/// Name and function of a test.
pub(super) type Test = (&'static str, fn());

pub(super) const TESTS: &[Test] = tests! { a_write_outside_of_the_floats_is_found };

/// Instruction set that a kernel is compiled for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Width(IsaToken);

impl Width {
    /// All widths of this CPU. Miri, which is slow, takes one.
    pub(super) fn all() -> Vec<Self> {
        Width::of(Sets::Bases)
    }

    /// Widths that a task is compiled for.
    pub(super) fn of(sets: Sets) -> Vec<Self> {
        let all = if cfg!(miri) {
            &[Isa::Emu256][..]
        } else {
            &Isa::ALL
        };
        let compiled = all.iter().filter(|&&isa| has_code_for(isa, sets));
        let tokens = compiled.filter_map(|isa| isa.detect());
        tokens.map(Width).collect()
    }

    pub(super) fn isa(self) -> Isa {
        self.0.isa()
    }

    pub(super) fn lanes(self) -> usize {
        self.isa().lanes()
    }

    pub(super) fn run<K: SimdTask>(self, task: K) -> K::Output {
        self.0.dispatch(task)
    }
}

/// Sizes at the edges of a tile: 1, and a multiple of `tile`, one less and one more.
pub(super) fn around(tile: usize) -> Vec<usize> {
    let edges = [tile, 2 * tile].map(|edge| [edge.saturating_sub(1), edge, edge + 1]);
    let mut sizes = [&[1], edges.as_flattened()].concat();
    sizes.retain(|&size| size > 0);
    sizes.sort_unstable();
    sizes.dedup();
    if cfg!(miri) {
        sizes.truncate(4);
    }
    sizes
}

/// Floats between guards of four cache lines. A guard is a NaN, so a read of it makes results NaN. It must be unchanged
/// at the end.
pub(super) struct Fenced {
    lines: Vec<CacheLine>,
    len: usize,
}

/// Floats of a guard.
pub(super) const GUARD: usize = 4 * CacheLine::F32S;
/// A NaN that no kernel makes.
pub(super) const GUARD_BITS: u32 = 0x7fc5_a5a5;

impl Fenced {
    /// Floats that are NaN until a kernel writes them. They begin with a cache line.
    pub(super) fn poisoned(len: usize) -> Self {
        let mut lines = vec![CacheLine::ZERO; CacheLine::for_f32s(len + 2 * GUARD)];
        as_f32s_mut(&mut lines).fill(f32::from_bits(GUARD_BITS));
        Fenced { lines, len }
    }

    pub(super) fn of(data: &[f32]) -> Self {
        let mut fenced = Fenced::poisoned(data.len());
        fenced.copy_from_slice(data);
        fenced
    }

    /// Small integers. Sums of their products are exact, in any order.
    pub(super) fn integers(len: usize, seed: u64) -> Self {
        Fenced::of(&Rng::new(seed).vec(Fill::Integers, len))
    }

    pub(super) fn uniform(len: usize, seed: u64) -> Self {
        Fenced::of(&Rng::new(seed).vec(Fill::Uniform, len))
    }
}

impl Deref for Fenced {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &as_f32s(&self.lines)[GUARD..][..self.len]
    }
}

impl DerefMut for Fenced {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut as_f32s_mut(&mut self.lines)[GUARD..][..self.len]
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        let all = as_f32s(&self.lines);
        let (before, after) = (&all[..GUARD], &all[GUARD + self.len..]);
        let intact = [before, after]
            .concat()
            .iter()
            .all(|x| x.to_bits() == GUARD_BITS);
        assert!(
            intact || std::thread::panicking(),
            "written outside of the floats"
        );
    }
}

/// Compares with an exact result.
#[track_caller]
pub(super) fn assert_exact(y: &[f32], expected: &[f32], case: impl std::fmt::Debug) {
    assert_eq!(y.len(), expected.len());
    if let Some(at) = y.iter().zip(expected).position(|(y, e)| y != e) {
        panic!("{case:?}: element {at} is {} for {}", y[at], expected[at]);
    }
}

/// Compares with a result in f64. The largest error is `ulps` times 2^-23, relative to each element.
#[track_caller]
pub(super) fn assert_near(y: &[f32], expected: &[f64], ulps: f64, case: impl std::fmt::Debug) {
    assert_eq!(y.len(), expected.len());
    let near = |(y, e): (&f32, &f64)| (f64::from(*y) - e).abs() <= ulps * 2f64.powi(-23) * e.abs();
    if let Some(at) = y.iter().zip(expected).position(|pair| !near(pair)) {
        panic!("{case:?}: element {at} is {} for {}", y[at], expected[at]);
    }
}

fn a_write_outside_of_the_floats_is_found() {
    let mut fenced = Fenced::poisoned(5);
    as_f32s_mut(&mut fenced.lines)[GUARD + 5] = 0.0;
    let found = std::panic::catch_unwind(|| drop(fenced));
    assert!(found.is_err());
}
