//! What a pooling makes of a window's elements.
//!
//! A window is folded: elements are lifted to a state, states merged in any order, the last one finished.
//! What holds of all folds: a NaN in a window makes its output NaN.

use crate::arch::KernelSimd;

/// What is made of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduce {
    /// The largest element.
    Max,
    /// The sum over the number of elements that count ([`Window::counted`](super::pool::Window::counted)).
    Mean,
}

/// A loop over windows, written once for all folds.
pub(super) trait ReduceTask: Sized {
    /// The loop.
    fn with<S: KernelSimd, F: Fold<P>, const P: usize>(self, simd: S, fold: F);
}

impl Reduce {
    /// Runs a loop with the fold of this name.
    #[inline(always)]
    pub(super) fn run<S: KernelSimd>(self, simd: S, task: impl ReduceTask) {
        match self {
            Reduce::Max => task.with(simd, Largest),
            Reduce::Mean => task.with(simd, Mean),
        }
    }
}

/// How a window becomes one number. A state is `P` vectors.
pub(super) trait Fold<const P: usize>: Copy {
    /// Whether `merge` may lose a NaN. Whoever uses it then must look out for them (a sum of all elements
    /// is NaN where one is), and go over the windows again with [`Fold::careful`].
    const LOSES_NAN: bool = false;

    /// Whether windows side by side share the fold of a column: not worth its code for rare folds.
    const STRIPS: bool = true;

    /// The same, without losses.
    type Careful: Fold<P>;

    /// The same, without losses.
    fn careful(self) -> Self::Careful;

    /// The state of no element.
    fn nothing<S: KernelSimd>(self, simd: S) -> [S::f32s; P];

    /// The state of one element.
    fn lift<S: KernelSimd>(self, simd: S, x: S::f32s) -> [S::f32s; P];

    /// The state of the elements of both.
    fn merge<S: KernelSimd>(self, simd: S, a: [S::f32s; P], b: [S::f32s; P]) -> [S::f32s; P];

    /// The state of one element more.
    #[inline(always)]
    fn add<S: KernelSimd>(self, simd: S, state: [S::f32s; P], x: S::f32s) -> [S::f32s; P] {
        self.merge(simd, state, self.lift(simd, x))
    }

    /// The output of a window of `count` elements.
    fn finish<S: KernelSimd>(self, simd: S, state: [S::f32s; P], count: S::f32s) -> S::f32s;
}

/// The largest element, by the CPU's instruction: they differ in what they make of a NaN.
#[derive(Clone, Copy)]
struct Largest;

impl Fold<1> for Largest {
    const LOSES_NAN: bool = true;
    type Careful = LargestOrNan;

    #[inline(always)]
    fn careful(self) -> LargestOrNan {
        LargestOrNan
    }

    #[inline(always)]
    fn nothing<S: KernelSimd>(self, simd: S) -> [S::f32s; 1] {
        [simd.splat_f32s(f32::NEG_INFINITY)]
    }

    #[inline(always)]
    fn lift<S: KernelSimd>(self, _: S, x: S::f32s) -> [S::f32s; 1] {
        [x]
    }

    #[inline(always)]
    fn merge<S: KernelSimd>(self, simd: S, [a]: [S::f32s; 1], [b]: [S::f32s; 1]) -> [S::f32s; 1] {
        [simd.max_f32s(a, b)]
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(self, _: S, [max]: [S::f32s; 1], _: S::f32s) -> S::f32s {
        max
    }
}

/// The largest element; a NaN wins.
#[derive(Clone, Copy)]
struct LargestOrNan;

impl Fold<1> for LargestOrNan {
    type Careful = Self;

    #[inline(always)]
    fn careful(self) -> Self {
        self
    }

    #[inline(always)]
    fn nothing<S: KernelSimd>(self, simd: S) -> [S::f32s; 1] {
        Largest.nothing(simd)
    }

    #[inline(always)]
    fn lift<S: KernelSimd>(self, _: S, x: S::f32s) -> [S::f32s; 1] {
        [x]
    }

    #[inline(always)]
    fn merge<S: KernelSimd>(self, simd: S, [a]: [S::f32s; 1], [b]: [S::f32s; 1]) -> [S::f32s; 1] {
        // a where b is not larger, or a NaN itself; a NaN in b has the last word.
        let max = simd.select_f32s(simd.less_than_f32s(a, b), b, a);
        [simd.select_f32s(simd.equal_f32s(b, b), max, b)]
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(self, _: S, [max]: [S::f32s; 1], _: S::f32s) -> S::f32s {
        max
    }
}

/// The mean.
#[derive(Clone, Copy)]
struct Mean;

impl Fold<1> for Mean {
    type Careful = Self;

    #[inline(always)]
    fn careful(self) -> Self {
        self
    }

    #[inline(always)]
    fn nothing<S: KernelSimd>(self, simd: S) -> [S::f32s; 1] {
        [simd.splat_f32s(0.0)]
    }

    #[inline(always)]
    fn lift<S: KernelSimd>(self, _: S, x: S::f32s) -> [S::f32s; 1] {
        [x]
    }

    #[inline(always)]
    fn merge<S: KernelSimd>(self, simd: S, [a]: [S::f32s; 1], [b]: [S::f32s; 1]) -> [S::f32s; 1] {
        [simd.add_f32s(a, b)]
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(self, simd: S, [sum]: [S::f32s; 1], count: S::f32s) -> S::f32s {
        simd.div_f32s(sum, count)
    }
}
