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
    /// The sum over the number of elements that count ([`Window::counted`](crate::window::Window::counted)).
    Mean,
    /// The p-th root of the sum, or the mean, of p-th powers of magnitudes.
    Powers(u32),
    /// The largest magnitude.
    Magnitude,
    /// sum a^2 / sum a, a = max(x, 0); 0 where all are 0.
    Expectation,
}

/// A loop over windows, written once for all folds.
pub(super) trait ReduceTask: Sized {
    /// The loop: a few calls of functions for some windows each ([`KernelSimd::call`]).
    fn with<S: KernelSimd, F: Fold<P>, const P: usize>(self, simd: S, fold: F);
}

impl Reduce {
    /// Runs a loop with the fold of this name.
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

/// How a window becomes one number. A state is `P` vectors.
pub(super) trait Fold<const P: usize>: Copy {
    /// Whether `merge` may lose a NaN. Whoever uses it then must look out for them (a sum of all elements
    /// is NaN where one is), and go over the windows again with [`Fold::careful`].
    const LOSES_NAN: bool = false;

    /// Common in networks: its loops are also compiled for the usual windows, whose sizes the compiler then knows.
    const USUAL: bool = false;

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

    /// The output of a window; `scale` is what turns a sum into a mean, or 1.
    fn finish<S: KernelSimd>(self, simd: S, state: [S::f32s; P], scale: S::f32s) -> S::f32s;
}

/// The largest element or, with `ABS`, magnitude, by the CPU's instruction: they differ in what they make
/// of a NaN.
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

/// The same; a NaN wins.
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
        // a where b is not larger, or a NaN itself; a NaN in b has the last word.
        let max = simd.select_f32s(simd.less_than_f32s(a, b), b, a);
        [simd.select_f32s(simd.equal_f32s(b, b), max, b)]
    }

    #[inline(always)]
    fn finish<S: KernelSimd>(self, _: S, [max]: [S::f32s; 1], _: S::f32s) -> S::f32s {
        max
    }
}

/// What sums have in common.
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

/// The root of the sum, or the mean, of squares.
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

/// The p-th root of the sum, or the mean, of p-th powers of magnitudes.
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
        // p is an odd number times 2^squares: as many square roots, and that root of them, often none.
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

/// sum a^2 / sum a, a = max(x, 0); 0 where all are 0.
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
