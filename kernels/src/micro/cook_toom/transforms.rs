//! Code of the transforms along an axis, for any arithmetic. The symmetry of pairs of points halves the operations.

use super::matrices::{MOST_PRODUCTS, Points};
use crate::arch::KernelSimd;
use crate::micro::surd::Surd;

/// Maximum pairs of points.
pub const MOST_PAIRS: usize = 3;

/// Repeats the body for each index below a constant. The compiler doesn't reliably unroll loops over tables of
/// constants. It would then load the constants and keep the values in memory.
macro_rules! unroll {
    ($i:ident < $n:expr, $body:block) => {
        unroll!(@ $i, $n, $body, 0 1 2 3 4 5 6 7 8)
    };
    (pair $i:ident < $n:expr, $body:block) => {
        unroll!(@ $i, $n, $body, 0 1 2)
    };
    (@ $i:ident, $n:expr, $body:block, $($l:literal)*) => {
        $(if const { $l < $n } {
            let $i: usize = $l;
            $body
        })*
    };
}
pub(in crate::micro) use unroll;

/// A constant of a transform, exact and rounded.
#[derive(Clone, Copy, Debug)]
pub struct Constant {
    /// Exact value.
    pub exact: Surd,
    /// Value rounded to f32.
    pub rounded: f32,
}

impl Constant {
    /// A constant.
    pub const fn new(exact: Surd) -> Self {
        Constant {
            exact,
            rounded: exact.to_f64() as f32,
        }
    }

    #[inline(always)]
    fn negative(self) -> Self {
        Constant {
            exact: self.exact.negative(),
            rounded: -self.rounded,
        }
    }
}

/// Constants of [`input`] and [`output`].
#[derive(Clone, Debug)]
pub struct Constants {
    /// p_k.
    point: [Constant; MOST_PAIRS],
    /// Coefficients of prod (y - p_l^2), l other than k.
    quotient: [[Constant; MOST_PAIRS]; MOST_PAIRS],
    /// Coefficients of prod (y - p_l^2).
    product: [Constant; MOST_PAIRS + 1],
    /// p_k^i.
    power: [[Constant; MOST_PRODUCTS]; MOST_PAIRS],
}

impl Constants {
    /// Constants of the points.
    pub const fn new(points: Points<'_>) -> Self {
        let zero = Constant::new(Surd::ZERO);
        let mut c = Constants {
            point: [zero; _],
            quotient: [[zero; _]; _],
            product: [zero; _],
            power: [[zero; _]; _],
        };
        let n = points.pairs.len();
        let mut k = 0;
        while k <= n {
            // prod (y - p_l^2) without the k-th factor; all factors for k = n.
            let mut coefficients = [Surd::ZERO; MOST_PAIRS + 1];
            coefficients[0] = Surd::ONE;
            let mut l = 0;
            while l < n {
                if l != k {
                    let square = points.pairs[l].power(2);
                    let mut i = MOST_PAIRS;
                    while i > 0 {
                        coefficients[i] = coefficients[i - 1].minus(coefficients[i].times(square));
                        i -= 1;
                    }
                    coefficients[0] = coefficients[0].times(square).negative();
                }
                l += 1;
            }
            let mut i = 0;
            while i <= n {
                if k == n {
                    c.product[i] = Constant::new(coefficients[i]);
                } else if i < n {
                    c.quotient[k][i] = Constant::new(coefficients[i]);
                }
                i += 1;
            }
            if k < n {
                c.point[k] = Constant::new(points.pairs[k]);
                let mut i = 0;
                while i < MOST_PRODUCTS {
                    c.power[k][i] = Constant::new(points.pairs[k].power(i));
                    i += 1;
                }
            }
            k += 1;
        }
        c
    }
}

/// Arithmetic of the transforms: on vectors, and for tests on exact numbers or on a counter of operations.
pub trait Arithmetic: Copy {
    /// Type of the values.
    type Value: Copy;
    /// 0.
    fn zero(self) -> Self::Value;
    /// x + y.
    fn add(self, x: Self::Value, y: Self::Value) -> Self::Value;
    /// x - y.
    fn sub(self, x: Self::Value, y: Self::Value) -> Self::Value;
    /// c x.
    fn mul(self, c: Constant, x: Self::Value) -> Self::Value;
    /// c x + y.
    fn mul_add(self, c: Constant, x: Self::Value, y: Self::Value) -> Self::Value;
}

/// Vectors of f32.
#[derive(Clone, Copy)]
pub struct Vectors<S>(pub S);

impl<S: KernelSimd> Arithmetic for Vectors<S> {
    type Value = S::f32s;
    #[inline(always)]
    fn zero(self) -> S::f32s {
        self.0.splat_f32s(0.0)
    }
    #[inline(always)]
    fn add(self, x: S::f32s, y: S::f32s) -> S::f32s {
        self.0.add_f32s(x, y)
    }
    #[inline(always)]
    fn sub(self, x: S::f32s, y: S::f32s) -> S::f32s {
        self.0.sub_f32s(x, y)
    }
    #[inline(always)]
    fn mul(self, c: Constant, x: S::f32s) -> S::f32s {
        // The constants are known at compile time, so no branch remains.
        if c.rounded == 1.0 {
            x
        } else {
            self.0.mul_f32s(self.0.splat_f32s(c.rounded), x)
        }
    }
    #[inline(always)]
    fn mul_add(self, c: Constant, x: S::f32s, y: S::f32s) -> S::f32s {
        if c.rounded == 1.0 {
            self.0.add_f32s(y, x)
        } else if c.rounded == -1.0 {
            self.0.sub_f32s(y, x)
        } else if c.rounded == 0.0 {
            y
        } else {
            self.0.mul_add_e_f32s(self.0.splat_f32s(c.rounded), x, y)
        }
    }
}

/// Counts the operations that [`Vectors`] performs, an FMA as two.
#[derive(Clone, Copy, Debug)]
pub struct Counting<'a>(pub &'a std::cell::Cell<usize>);

impl Counting<'_> {
    fn count(self, operations: usize) {
        self.0.set(self.0.get() + operations);
    }
}

impl Arithmetic for Counting<'_> {
    type Value = ();
    fn zero(self) {}
    fn add(self, (): (), (): ()) {
        self.count(1);
    }
    fn sub(self, (): (), (): ()) {
        self.count(1);
    }
    fn mul(self, c: Constant, (): ()) {
        self.count(usize::from(c.exact != Surd::ONE));
    }
    fn mul_add(self, c: Constant, (): (), (): ()) {
        let one = Surd::ONE;
        self.count(match c.exact {
            zero if zero == Surd::ZERO => 0,
            unit if unit == one || unit == one.negative() => 1,
            _ => 2,
        });
    }
}

/// B' d of F(m, r), as the module's documentation derives it.
#[inline(always)]
pub fn input<
    A: Arithmetic,
    const ZERO: bool,
    const PAIRS: usize,
    const INFINITY: bool,
    const T: usize,
>(
    on: A,
    c: &Constants,
    d: [A::Value; T],
) -> [A::Value; T] {
    let z = const { ZERO as usize };
    let mut out = [on.zero(); T];
    unroll!(pair k < PAIRS, {
        let top = z + 2 * (PAIRS - 1);
        let (mut f, mut e) = (d[top], d[top + 1]);
        unroll!(pair down < PAIRS - 1, {
            let i = PAIRS - 2 - down;
            f = on.mul_add(c.quotient[k][i], d[z + 2 * i], f);
            e = on.mul_add(c.quotient[k][i], d[z + 1 + 2 * i], e);
        });
        out[z + 2 * k] = on.mul_add(c.point[k], f, e);
        out[z + 2 * k + 1] = on.mul_add(c.point[k].negative(), f, e);
    });
    if ZERO {
        let mut y = d[2 * PAIRS];
        unroll!(pair down < PAIRS, {
            let i = PAIRS - 1 - down;
            y = on.mul_add(c.product[i], d[2 * i], y);
        });
        out[0] = y;
    }
    if INFINITY {
        let mut y = d[z + 2 * PAIRS];
        unroll!(pair down < PAIRS, {
            let i = PAIRS - 1 - down;
            y = on.mul_add(c.product[i], d[z + 2 * i], y);
        });
        out[T - 1] = y;
    }
    out
}

/// B' d of each phase of the samples, one after another. With stride 1 there is one phase.
#[inline(always)]
pub fn phases<
    A: Arithmetic,
    const ZERO: bool,
    const PAIRS: usize,
    const INFINITY: bool,
    const STRIDE: usize,
    const N: usize,
    const T: usize,
>(
    on: A,
    c: &Constants,
    d: [A::Value; N],
) -> [A::Value; N] {
    let mut out = [on.zero(); N];
    unroll!(phase < STRIDE, {
        let mut samples = [on.zero(); T];
        unroll!(i < T, {
            // A shorter phase lacks its last sample. Only its product at infinity, which doesn't exist, would need it.
            if phase + i * STRIDE < N {
                samples[i] = d[phase + i * STRIDE];
            }
        });
        let values = input::<A, ZERO, PAIRS, INFINITY, T>(on, c, samples);
        unroll!(i < T, {
            if phase * T + i < N {
                out[phase * T + i] = values[i];
            }
        });
    });
    out
}

/// A' m of F(m, r), as the module's documentation derives it.
#[inline(always)]
pub fn output<
    A: Arithmetic,
    const ZERO: bool,
    const PAIRS: usize,
    const INFINITY: bool,
    const M: usize,
    const T: usize,
>(
    on: A,
    c: &Constants,
    m: [A::Value; T],
) -> [A::Value; M] {
    let z = const { ZERO as usize };
    let (mut even, mut odd) = ([on.zero(); PAIRS], [on.zero(); PAIRS]);
    unroll!(pair k < PAIRS, {
        even[k] = on.add(m[z + 2 * k], m[z + 2 * k + 1]);
        odd[k] = on.sub(m[z + 2 * k], m[z + 2 * k + 1]);
    });
    let mut out = [on.zero(); M];
    unroll!(i < M, {
        let term = if i.is_multiple_of(2) { even } else { odd };
        // Terms without a power first: 0's product and infinity's.
        let mut y = None;
        if ZERO && i == 0 {
            y = Some(m[0]);
        }
        if INFINITY && i == M - 1 {
            let last = m[T - 1];
            y = match y {
                None => Some(last),
                Some(y) => Some(on.add(y, last)),
            };
        }
        unroll!(pair k < PAIRS, {
            y = Some(match y {
                None => on.mul(c.power[k][i], term[k]),
                Some(y) => on.mul_add(c.power[k][i], term[k], y),
            });
        });
        if let Some(y) = y {
            out[i] = y;
        }
    });
    out
}
