//! Reductions of a pooling window to one number.
//!
//! A window is folded: elements are lifted to states, states are merged in any order, and the last state is finished.
//! In all folds, a NaN in a window makes its output NaN.

use crate::arch::KernelSimd;

/// Reduction of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduce {
    /// The largest element.
    Max,
    /// The sum divided by the number of counted elements ([`Window::counted`](crate::window::Window::counted)).
    Mean,
    /// The p-th root of the sum, or of the mean, of p-th powers of magnitudes.
    Powers(u32),
    /// The largest magnitude.
    Magnitude,
    /// sum a^2 / sum a, with a = max(x, 0). It is 0 if all a are 0.
    Expectation,
}

/// A loop over windows, written once for all folds.
pub(super) trait ReduceTask: Sized {
    /// Runs the loop: a few calls of functions for some windows each ([`KernelSimd::call`]).
    fn with<S: KernelSimd, F: Fold<P>, const P: usize>(self, simd: S, fold: F);
}

impl Reduce {
    /// Runs a loop with the fold for this reduction.
    #[inline(always)]
    pub(super) fn run<S: KernelSimd>(self, simd: S, task: impl ReduceTask) {
        match self {
            Reduce::Max => task.with(simd, Largest::<false>),
            Reduce::Mean => task.with(simd, Mean),
            _ if const { S::TWIN } => unreachable!("only maxima and means have twins"),
            Reduce::Powers(2) => task.with(simd, Squares),
            Reduce::Powers(p) => task.with(simd, Powers(p)),
            Reduce::Magnitude => task.with(simd, Largest::<true>),
            Reduce::Expectation => task.with(simd, Expectation),
        }
    }
}

/// Fold of a window to one number. A state is `P` vectors.
pub(super) trait Fold<const P: usize>: Copy {
    /// Tells if `merge` may lose a NaN. Its caller must then detect NaNs, for example by a sum of all elements, which
    /// is NaN if an element is NaN. If there is one, the caller folds the windows again with [`Fold::careful`].
    const LOSES_NAN: bool = false;

    /// True if networks often use this fold. Its loops are also compiled for the usual windows, with sizes that the
    /// compiler knows.
    const USUAL: bool = false;

    /// Fold with the same result that loses no NaN.
    type Careful: Fold<P>;

    /// Makes the fold that loses no NaN.
    fn careful(self) -> Self::Careful;

    /// The state of no element.
    fn nothing<S: KernelSimd>(self, simd: S) -> [S::f32s; P];

    /// The state of one element.
    fn lift<S: KernelSimd>(self, simd: S, x: S::f32s) -> [S::f32s; P];

    /// Merges two states into the state of all their elements.
    fn merge<S: KernelSimd>(self, simd: S, a: [S::f32s; P], b: [S::f32s; P]) -> [S::f32s; P];

    /// Adds one element to a state.
    #[inline(always)]
    fn add<S: KernelSimd>(self, simd: S, state: [S::f32s; P], x: S::f32s) -> [S::f32s; P] {
        self.merge(simd, state, self.lift(simd, x))
    }

    /// The output of a window. `scale` turns a sum into a mean, or is 1.
    fn finish<S: KernelSimd>(self, simd: S, state: [S::f32s; P], scale: S::f32s) -> S::f32s;
}

/// The largest element or, with `ABS`, the largest magnitude, by the CPU's instruction. CPUs differ in how their
/// instruction treats a NaN.
#[derive(Clone, Copy)]
struct Largest<const ABS: bool>;

impl<const ABS: bool> Fold<1> for Largest<ABS> {
    const LOSES_NAN: bool = true;
    const USUAL: bool = !ABS;
    type Careful = LargestOrNan<ABS>;

    #[inline(always)]
    fn careful(self) -> LargestOrNan<ABS> {
        LargestOrNan
    }

    #[inline(always)]
    fn nothing<S: KernelSimd>(self, simd: S) -> [S::f32s; 1] {
        [simd.splat_f32s(f32::NEG_INFINITY)]
    }

    #[inline(always)]
    fn lift<S: KernelSimd>(self, simd: S, x: S::f32s) -> [S::f32s; 1] {
        [if ABS { simd.abs_f32s(x) } else { x }]
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

/// The largest element or, with `ABS`, the largest magnitude. A NaN wins.
#[derive(Clone, Copy)]
struct LargestOrNan<const ABS: bool>;

impl<const ABS: bool> Fold<1> for LargestOrNan<ABS> {
    type Careful = Self;

    #[inline(always)]
    fn careful(self) -> Self {
        self
    }

    #[inline(always)]
    fn nothing<S: KernelSimd>(self, simd: S) -> [S::f32s; 1] {
        Largest::<ABS>.nothing(simd)
    }

    #[inline(always)]
    fn lift<S: KernelSimd>(self, simd: S, x: S::f32s) -> [S::f32s; 1] {
        Largest::<ABS>.lift(simd, x)
    }

    #[inline(always)]
    fn merge<S: KernelSimd>(self, simd: S, [a]: [S::f32s; 1], [b]: [S::f32s; 1]) -> [S::f32s; 1] {
        // a if b is not larger, or if a is a NaN. A NaN in b replaces either.
        let max = simd.select_f32s(simd.less_than_f32s(a, b), b, a);
        [simd.select_f32s(simd.equal_f32s(b, b), max, b)]
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(self, _: S, [max]: [S::f32s; 1], _: S::f32s) -> S::f32s {
        max
    }
}

/// Defines the common parts of folds that sum.
macro_rules! sum {
    () => {
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
        fn merge<S: KernelSimd>(
            self,
            simd: S,
            [a]: [S::f32s; 1],
            [b]: [S::f32s; 1],
        ) -> [S::f32s; 1] {
            [simd.add_f32s(a, b)]
        }
    };
}

/// The mean.
#[derive(Clone, Copy)]
struct Mean;

impl Fold<1> for Mean {
    const USUAL: bool = true;
    sum!();

    #[inline(always)]
    fn lift<S: KernelSimd>(self, _: S, x: S::f32s) -> [S::f32s; 1] {
        [x]
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(self, simd: S, [sum]: [S::f32s; 1], scale: S::f32s) -> S::f32s {
        simd.mul_f32s(sum, scale)
    }
}

/// The root of the sum, or of the mean, of squares.
#[derive(Clone, Copy)]
struct Squares;

impl Fold<1> for Squares {
    sum!();

    #[inline(always)]
    fn lift<S: KernelSimd>(self, simd: S, x: S::f32s) -> [S::f32s; 1] {
        [simd.mul_f32s(x, x)]
    }

    #[inline(always)]
    fn add<S: KernelSimd>(self, simd: S, [sum]: [S::f32s; 1], x: S::f32s) -> [S::f32s; 1] {
        [simd.mul_add_e_f32s(x, x, sum)]
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(self, simd: S, [sum]: [S::f32s; 1], scale: S::f32s) -> S::f32s {
        simd.sqrt_f32s(simd.mul_f32s(sum, scale))
    }
}

/// The p-th root of the sum, or of the mean, of p-th powers of magnitudes.
#[derive(Clone, Copy)]
struct Powers(u32);

impl Fold<1> for Powers {
    sum!();

    #[inline(always)]
    fn lift<S: KernelSimd>(self, simd: S, x: S::f32s) -> [S::f32s; 1] {
        let magnitude = simd.abs_f32s(x);
        let mut power = magnitude;
        for _ in 1..self.0 {
            power = simd.mul_f32s(power, magnitude);
        }
        [power]
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(self, simd: S, [sum]: [S::f32s; 1], scale: S::f32s) -> S::f32s {
        let mut root = simd.mul_f32s(sum, scale);
        // p is an odd number times 2^squares. So the root is `squares` square roots, then a root of odd degree, which
        // is often 1.
        let squares = self.0.trailing_zeros();
        for _ in 0..squares {
            root = simd.sqrt_f32s(root);
        }
        let odd = self.0 >> squares;
        if odd > 1 {
            let lanes = bytemuck::cast_slice_mut::<_, f32>(std::slice::from_mut(&mut root));
            for lane in lanes {
                *lane = lane.powf(1.0 / odd as f32);
            }
        }
        root
    }
}

/// sum a^2 / sum a, with a = max(x, 0). It is 0 if all a are 0.
#[derive(Clone, Copy)]
struct Expectation;

impl Fold<2> for Expectation {
    type Careful = Self;

    #[inline(always)]
    fn careful(self) -> Self {
        self
    }

    #[inline(always)]
    fn nothing<S: KernelSimd>(self, simd: S) -> [S::f32s; 2] {
        [simd.splat_f32s(0.0); 2]
    }

    #[inline(always)]
    fn lift<S: KernelSimd>(self, simd: S, x: S::f32s) -> [S::f32s; 2] {
        let a = simd.at_least(simd.splat_f32s(0.0), x);
        [simd.mul_f32s(a, a), a]
    }

    #[inline(always)]
    fn merge<S: KernelSimd>(self, simd: S, a: [S::f32s; 2], b: [S::f32s; 2]) -> [S::f32s; 2] {
        [simd.add_f32s(a[0], b[0]), simd.add_f32s(a[1], b[1])]
    }

    #[inline(always)]
    fn add<S: KernelSimd>(self, simd: S, state: [S::f32s; 2], x: S::f32s) -> [S::f32s; 2] {
        let [squares, sum] = state;
        let a = simd.at_least(simd.splat_f32s(0.0), x);
        [simd.mul_add_e_f32s(a, a, squares), simd.add_f32s(sum, a)]
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(self, simd: S, state: [S::f32s; 2], _: S::f32s) -> S::f32s {
        let ([squares, sum], zero) = (state, simd.splat_f32s(0.0));
        let mean = simd.div_f32s(squares, sum);
        simd.select_f32s(simd.equal_f32s(sum, zero), zero, mean)
    }
}
