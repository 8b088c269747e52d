//! Each kernel alone against a scalar loop, at the sizes of its tiles and one more or less. They run at every width:
//! the CPU's instruction sets, and emulated vectors of 4, 8 and 16 lanes. Operands have exactly the length that a
//! kernel may access, and lie between guards ([`Fenced`]). Builds for another machine have no emulated vectors (`build.rs`).
//!
//! They are functions of the library, in debug builds only: its unit tests are a program of their own, for which all kernels
//! would be compiled a second time. `kernels/tests/micro.rs` runs them.
//!
//! In reading order: this file (widths, operands, comparison), then a file for each group of kernels.

/// Tests, with their names.
macro_rules! tests {
    ($($name:ident)*) => {
        &[$((stringify!($name), $name as fn())),*]
    };
}

mod dot;
mod gemm;
mod grouped;
mod matrices;
mod narrow;
mod pixels;
mod pooling;
mod requantise;
mod sums;
mod winograd;
mod winograd_nhwc;

use crate::data::{Fill, Rng};
use crate::isa::{Isa, IsaToken, Sets, SimdTask};
use crate::tensor::{CacheLine, as_f32s, as_f32s_mut};
use std::ops::{Deref, DerefMut};

/// Tests of all kernels: subject, name and function.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str, fn())> {
    let subjects: [(&str, &[Test]); _] = [
        ("fences", TESTS),
        ("dot", dot::TESTS),
        ("gemm", gemm::TESTS),
        ("grouped", grouped::TESTS),
        ("matrices", matrices::TESTS),
        ("narrow", narrow::TESTS),
        ("pixels", pixels::TESTS),
        ("pooling", pooling::TESTS),
        ("requantise", requantise::TESTS),
        ("sums", sums::TESTS),
        ("winograd", winograd::TESTS),
        ("winograd_nhwc", winograd_nhwc::TESTS),
    ];
    let tests = |(subject, tests): (&'static str, &'static [Test])| {
        tests.iter().map(move |&(name, test)| (subject, name, test))
    };
    subjects.into_iter().flat_map(tests)
}

/// Name and function of a test.
type Test = (&'static str, fn());

const TESTS: &[Test] = tests! { a_write_outside_of_the_floats_is_found };

/// Instruction set that a kernel is compiled for.
#[derive(Clone, Copy, Debug)]
struct Width(IsaToken);

impl Width {
    /// All widths of this CPU. Miri, which is slow, takes one.
    fn all() -> Vec<Self> {
        Width::of(Sets::Bases)
    }

    /// Widths that a task is compiled for.
    fn of(sets: Sets) -> Vec<Self> {
        let all = if cfg!(miri) {
            &[Isa::Emu256][..]
        } else {
            &Isa::ALL
        };
        let compiled = |isa: &Isa| match sets {
            Sets::Bases => *isa == isa.base(),
            Sets::With(words) => *isa == isa.base() || isa.has_dots(words),
            Sets::Without(words) => *isa == isa.base() && !isa.has_dots(words),
            Sets::Only(words) => isa.has_dots(words),
        };
        let tokens = all.iter().copied().filter(compiled).filter_map(Isa::detect);
        tokens.map(Width).collect()
    }

    fn isa(self) -> Isa {
        self.0.isa()
    }

    fn lanes(self) -> usize {
        self.isa().lanes()
    }

    fn run<K: SimdTask>(self, task: K) -> K::Output {
        self.0.dispatch(task)
    }
}

/// Sizes at the edges of a tile: 1, and a multiple of `tile`, one less and one more.
fn around(tile: usize) -> Vec<usize> {
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
struct Fenced {
    lines: Vec<CacheLine>,
    len: usize,
}

/// Floats of a guard.
const GUARD: usize = 4 * CacheLine::F32S;
/// A NaN that no kernel makes.
const GUARD_BITS: u32 = 0x7fc5_a5a5;

impl Fenced {
    /// Floats that are NaN until a kernel writes them. They begin with a cache line.
    fn poisoned(len: usize) -> Self {
        let mut lines = vec![CacheLine::ZERO; CacheLine::for_f32s(len + 2 * GUARD)];
        as_f32s_mut(&mut lines).fill(f32::from_bits(GUARD_BITS));
        Fenced { lines, len }
    }

    fn of(data: &[f32]) -> Self {
        let mut fenced = Fenced::poisoned(data.len());
        fenced.copy_from_slice(data);
        fenced
    }

    /// Small integers. Sums of their products are exact, in any order.
    fn integers(len: usize, seed: u64) -> Self {
        Fenced::of(&Rng::new(seed).vec(Fill::Integers, len))
    }

    fn uniform(len: usize, seed: u64) -> Self {
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
fn assert_exact(y: &[f32], expected: &[f32], case: impl std::fmt::Debug) {
    assert_eq!(y.len(), expected.len());
    if let Some(at) = y.iter().zip(expected).position(|(y, e)| y != e) {
        panic!("{case:?}: element {at} is {} for {}", y[at], expected[at]);
    }
}

/// Compares with a result in f64. The largest error is `ulps` times 2^-23, relative to each element.
#[track_caller]
fn assert_near(y: &[f32], expected: &[f64], ulps: f64, case: impl std::fmt::Debug) {
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
