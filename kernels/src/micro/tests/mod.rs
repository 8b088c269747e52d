//! Each kernel alone against a scalar loop, at the sizes of its tiles and one more or less. They run at every width:
//! the CPU's instruction sets, and emulated vectors of 4, 8 and 16 lanes. Operands have exactly the length that a
//! kernel may access, and lie between guards (`Fenced`). Builds for another machine have no emulated vectors (`build.rs`).
//!
//! They are functions of the library, in debug builds only: its unit tests are a program of their own, for which all kernels
//! would be compiled a second time. `kernels/tests/micro.rs` runs them.
//!
//! In reading order: `harness.rs` (instruction sets, operands, comparisons), then a file for each group of kernels.

/// Tests, with their names.
macro_rules! tests {
    ($($name:ident)*) => {
        &[$((stringify!($name), $name as fn())),*]
    };
}

mod dot;
mod gemm;
mod grouped;
mod harness;
mod matrices;
mod narrow;
mod pixels;
mod pooling;
mod requantise;
mod sums;
mod winograd;
mod winograd_nhwc;

use harness::Test;

/// Tests of all kernels: subject, name and function.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str, fn())> {
    let subjects: [(&str, &[Test]); _] = [
        ("harness", harness::TESTS),
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
