//! Winograd's transforms, generated from their points.
//!
//! F(m, r) computes m outputs of an r-tap filter with t = m + r - 1 products: y = A' [(G g) * (B' d)] (Winograd 1980;
//! Lavin and Gray 2016). The matrices follow from t points, with or without infinity (Cook-Toom; Barabasz et al. 2018).
//! Let M(x) = prod (x - p_l) over the finite points and M_j = M / (x - p_j). Then
//!
//! * B' has the coefficients of M_j as the row of p_j, those of M as infinity's;
//! * G has (1, p_j, p_j^2, ..) / M_j(p_j) as the row of p_j, (0, .., 0, 1) as infinity's;
//! * A' has p_j^i in row i of p_j's column, and 1 in the last row of infinity's.
//!
//! Points are 0, pairs +-p, and infinity. For a pair, M_+-p = (x +- p) R with R = M / (x^2 - p^2), which is even or
//! odd. So B' is two sums f = R d and e = x R d, with zeros for half of the coefficients, and then e +- p f. A'
//! multiplies the powers of a pair by its sum or its difference ([`input`], [`output`]).
//!
//! **Stride 2** (3 taps): `y[o] = w0 x[2o] + w1 x[2o+1] + w2 x[2o+2]` is a two-tap filter `[w0, w2]` on the even
//! samples, and one tap on the odd ones. Both are F(m, 2), the latter with the taps `[w1, 0]`, which vanish at
//! infinity. So an axis has 2m + 1 products at m + 1 points. Products at the same point are added, so that one inverse
//! transform is enough.
//!
//! The matrices are exact, in the rationals extended by sqrt2 ([`Surd`]), and so are the tests.

use super::surd::Surd;
use crate::arch::KernelSimd;

/// Maximum products along an axis.
pub const MOST_PRODUCTS: usize = 9;
/// Maximum taps.
pub const MOST_TAPS: usize = 5;
/// Maximum outputs along an axis.
pub const MOST_OUTPUTS: usize = 6;
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
pub(super) use unroll;

/// Interpolation points.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    /// True if 0 is a point.
    pub zero: bool,
    /// Positive points of the pairs +-p.
    pub pairs: &'a [Surd],
    /// True if infinity is a point.
    pub infinity: bool,
}

impl Points<'_> {
    /// Number of points.
    pub const fn len(&self) -> usize {
        self.finite() + self.infinity as usize
    }

    /// True if there are no points.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn finite(&self) -> usize {
        self.zero as usize + 2 * self.pairs.len()
    }

    /// The `j`-th finite point: 0, p, -p, q, -q, ..
    const fn at(&self, j: usize) -> Surd {
        if self.zero && j == 0 {
            return Surd::ZERO;
        }
        let j = j - self.zero as usize;
        let p = self.pairs[j / 2];
        if j.is_multiple_of(2) { p } else { p.negative() }
    }

    /// Coefficients of prod (x - p_l) over the finite points except the `except`-th, lowest degree first.
    const fn product_but(&self, except: usize) -> [Surd; MOST_PRODUCTS] {
        let mut c = [Surd::ZERO; MOST_PRODUCTS];
        c[0] = Surd::ONE;
        let mut l = 0;
        while l < self.finite() {
            if l != except {
                let p = self.at(l);
                let mut i = MOST_PRODUCTS - 1;
                while i > 0 {
                    c[i] = c[i - 1].minus(c[i].times(p));
                    i -= 1;
                }
                c[0] = c[0].times(p).negative();
            }
            l += 1;
        }
        c
    }
}

const fn at(polynomial: &[Surd; MOST_PRODUCTS], x: Surd) -> Surd {
    let mut y = Surd::ZERO;
    let mut i = MOST_PRODUCTS;
    while i > 0 {
        i -= 1;
        y = y.times(x).plus(polynomial[i]);
    }
    y
}

/// Matrices of a scheme in one dimension: y = a [(g w) * (b d)]. With stride 2, the even samples' products at each
/// point come first. The odd samples' products at each point but infinity follow.
#[derive(Clone, Debug)]
pub struct Matrices {
    /// Outputs.
    pub outputs: usize,
    /// Taps of the filter.
    pub taps: usize,
    /// Distance between neighbouring outputs, in samples.
    pub stride: usize,
    /// Points.
    pub points: usize,
    /// Products, equal to the number of samples.
    pub products: usize,
    /// B', a row per product.
    pub b: [[Surd; MOST_PRODUCTS]; MOST_PRODUCTS],
    /// G, a row per product.
    pub g: [[Surd; MOST_TAPS]; MOST_PRODUCTS],
    /// A', a column per product.
    pub a: [[Surd; MOST_PRODUCTS]; MOST_OUTPUTS],
}

impl Matrices {
    /// Matrices of the points.
    ///
    /// # Panics
    /// If the number of points doesn't fit. With stride 2, if there are not three taps, or infinity is missing.
    pub const fn new(points: Points<'_>, outputs: usize, taps: usize, stride: usize) -> Self {
        let phase_taps = taps.div_ceil(stride);
        assert!(points.len() == outputs + phase_taps - 1);
        assert!(stride == 1 || (stride == 2 && taps == 3 && points.infinity));
        let t = points.len();
        let products = (outputs - 1) * stride + taps;
        let mut m = Matrices {
            outputs,
            taps,
            stride,
            points: t,
            products,
            b: [[Surd::ZERO; _]; _],
            g: [[Surd::ZERO; _]; _],
            a: [[Surd::ZERO; _]; _],
        };
        let mut product = 0;
        while product < products {
            let (phase, j) = (product / t, product % t);
            let finite = j < points.finite();
            let row = points.product_but(if finite { j } else { usize::MAX });
            let mut i = 0;
            while phase + i * stride < products {
                m.b[product][phase + i * stride] = row[i];
                i += 1;
            }
            let mut i = 0;
            while phase + i * stride < taps {
                m.g[product][phase + i * stride] = if finite {
                    points
                        .at(j)
                        .power(i)
                        .times(at(&row, points.at(j)).inverse())
                } else if i + 1 == phase_taps {
                    Surd::ONE
                } else {
                    Surd::ZERO
                };
                i += 1;
            }
            let mut i = 0;
            while i < outputs {
                m.a[i][product] = if finite {
                    points.at(j).power(i)
                } else if i + 1 == outputs {
                    Surd::ONE
                } else {
                    Surd::ZERO
                };
                i += 1;
            }
            product += 1;
        }
        m
    }

    /// Amplification of the rounding errors of a direct sum, in two dimensions.
    ///
    /// For independent inputs and weights of unit variance, product j has the variance |B_j|^2 |G_j|^2 per channel, and
    /// is rounded in proportion. Output i contains A_ij times product j. So the error's variance, relative to a sum of
    /// r terms, is `S_i = sum_j A_ij^2 |B_j|^2 |G_j|^2 / r`. Two dimensions multiply S of the row and S of the column.
    /// A standard deviation takes the root. Sums have r^2 times fewer terms than direct ones, whose error grows as the
    /// root of their number. That reduces the error r times. Together, in the L2 norm over a tile,
    ///
    /// ```text
    /// mean_i sum_j A_ij^2 |B_j|^2 |G_j|^2 / r^2
    /// ```
    ///
    /// It doesn't change when a row of B' is scaled and G's row by the inverse.
    pub const fn amplification(&self) -> f64 {
        let mut sum = 0.0;
        let mut i = 0;
        while i < self.outputs {
            sum += self.amplification_at(i);
            i += 1;
        }
        sum / self.outputs as f64
    }

    /// [`Matrices::amplification`] at a tile's worst output, where the highest powers of the points add up. Bounds of
    /// the largest error use it.
    pub const fn worst_amplification(&self) -> f64 {
        let mut worst = 0.0;
        let mut i = 0;
        while i < self.outputs {
            worst = f64::max(worst, self.amplification_at(i));
            i += 1;
        }
        worst
    }

    const fn amplification_at(&self, output: usize) -> f64 {
        let mut sum = 0.0;
        let mut j = 0;
        while j < self.products {
            let a = self.a[output][j].to_f64();
            sum += a * a * norm2(&self.b[j]) * norm2(&self.g[j]);
            j += 1;
        }
        sum / (self.taps * self.taps) as f64
    }
}

const fn norm2(row: &[Surd]) -> f64 {
    let mut sum = 0.0;
    let mut i = 0;
    while i < row.len() {
        sum += row[i].to_f64() * row[i].to_f64();
        i += 1;
    }
    sum
}

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

/// Transforms of one algorithm along an axis: `M` outputs from `N` samples by `N` products at `T` points. Product `a`
/// belongs to point `a % T`.
pub trait Scheme<const M: usize, const N: usize, const T: usize>:
    Copy + Send + Sync + 'static
{
    /// Matrices that the transforms implement.
    const MATRICES: Matrices;
    /// B' d.
    fn input<A: Arithmetic>(on: A, d: [A::Value; N]) -> [A::Value; N];
    /// A' m, where m are sums of the products at each point.
    fn output<A: Arithmetic>(on: A, m: [A::Value; T]) -> [A::Value; M];

    /// Operations of `input` and of `output`.
    fn operations() -> [usize; 2] {
        let count = |f: &dyn Fn(Counting<'_>)| {
            let cell = std::cell::Cell::new(0);
            f(Counting(&cell));
            cell.get()
        };
        [
            count(&|on| {
                Self::input(on, [(); N]);
            }),
            count(&|on| {
                Self::output(on, [(); T]);
            }),
        ]
    }
}

/// Defines a scheme by its points.
macro_rules! scheme {
    ($(#[$doc:meta])* $name:ident: F($m:literal, $r:literal), stride $stride:literal, $n:literal products,
        $t:literal points: zero $zero:literal, pairs $count:literal $pairs:expr, infinity $infinity:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl $name {
            /// Interpolation points.
            pub const POINTS: Points<'static> = Points {
                zero: $zero,
                pairs: &$pairs,
                infinity: $infinity,
            };
            const CONSTANTS: &'static Constants = &Constants::new(Self::POINTS);
        }

        impl Scheme<$m, $n, $t> for $name {
            const MATRICES: Matrices = Matrices::new(Self::POINTS, $m, $r, $stride);

            #[inline(always)]
            fn input<A: Arithmetic>(on: A, d: [A::Value; $n]) -> [A::Value; $n] {
                phases::<A, $zero, $count, $infinity, $stride, $n, $t>(on, Self::CONSTANTS, d)
            }

            #[inline(always)]
            fn output<A: Arithmetic>(on: A, m: [A::Value; $t]) -> [A::Value; $m] {
                output::<A, $zero, $count, $infinity, $m, $t>(on, Self::CONSTANTS, m)
            }
        }
    };
}

const fn q(n: i128, d: i128) -> Surd {
    Surd::rational(n, d)
}

scheme! {
    /// F(2, 3).
    F2x3: F(2, 3), stride 1, 4 products, 4 points: zero true, pairs 1 [q(1, 1)], infinity true
}
scheme! {
    /// F(4, 3) at points with about half of the usual points' error.
    F4x3: F(4, 3), stride 1, 6 products, 6 points:
        zero true, pairs 2 [Surd::sqrt2(1, 2), Surd::sqrt2(1, 1)], infinity true
}
scheme! {
    /// F(4, 3) at the usual points 0, +-1, +-2 and infinity.
    F4x3Std: F(4, 3), stride 1, 6 products, 6 points:
        zero true, pairs 2 [q(1, 1), q(2, 1)], infinity true
}
scheme! {
    /// F(6, 3).
    F6x3: F(6, 3), stride 1, 8 products, 8 points:
        zero true, pairs 3 [q(1, 2), q(1, 1), q(2, 1)], infinity true
}
scheme! {
    /// F(4, 4).
    F4x4: F(4, 4), stride 1, 7 products, 7 points:
        zero false, pairs 3 [q(1, 4), q(7, 8), q(7, 4)], infinity true
}
scheme! {
    /// F(2, 5).
    F2x5: F(2, 5), stride 1, 6 products, 6 points:
        zero true, pairs 2 [Surd::sqrt2(1, 2), Surd::sqrt2(1, 1)], infinity true
}
scheme! {
    /// F(3, 5).
    F3x5: F(3, 5), stride 1, 7 products, 7 points:
        zero false, pairs 3 [q(3, 8), q(7, 8), q(7, 4)], infinity true
}
scheme! {
    /// F(4, 5).
    F4x5: F(4, 5), stride 1, 8 products, 8 points:
        zero true, pairs 3 [q(1, 2), q(1, 1), q(2, 1)], infinity true
}
scheme! {
    /// F(2, 3) with stride 2.
    F2x3S2: F(2, 3), stride 2, 5 products, 3 points: zero false, pairs 1 [q(1, 1)], infinity true
}
scheme! {
    /// F(4, 3) with stride 2.
    F4x3S2: F(4, 3), stride 2, 9 products, 5 points:
        zero false, pairs 2 [q(1, 2), q(5, 4)], infinity true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exact numbers.
    #[derive(Clone, Copy)]
    struct Exact;

    impl Arithmetic for Exact {
        type Value = Surd;
        fn zero(self) -> Surd {
            Surd::ZERO
        }
        fn add(self, x: Surd, y: Surd) -> Surd {
            x.plus(y)
        }
        fn sub(self, x: Surd, y: Surd) -> Surd {
            x.minus(y)
        }
        fn mul(self, c: Constant, x: Surd) -> Surd {
            c.exact.times(x)
        }
        fn mul_add(self, c: Constant, x: Surd, y: Surd) -> Surd {
            c.exact.times(x).plus(y)
        }
    }

    fn unit<const N: usize>(at: usize) -> [Surd; N] {
        std::array::from_fn(|i| if i == at { Surd::ONE } else { Surd::ZERO })
    }

    /// True if y = a [(g w) * (b d)] is the filter, for each sample and tap.
    fn is_the_filter(m: &Matrices) -> bool {
        for sample in 0..m.products {
            for tap in 0..m.taps {
                for output in 0..m.outputs {
                    let mut y = Surd::ZERO;
                    for j in 0..m.products {
                        let product = m.g[j][tap].times(m.b[j][sample]);
                        y = y.plus(m.a[output][j].times(product));
                    }
                    let expected = output * m.stride + tap == sample;
                    if y != if expected { Surd::ONE } else { Surd::ZERO } {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn check<W: Scheme<M, N, T>, const M: usize, const N: usize, const T: usize>(name: &str) {
        let m = W::MATRICES;
        assert_eq!((m.outputs, m.products, m.points), (M, N, T), "{name}");
        assert!(is_the_filter(&m), "{name}: the matrices");

        // The code computes exactly the matrices.
        for sample in 0..N {
            let column = W::input(Exact, unit(sample));
            for (j, x) in column.into_iter().enumerate() {
                assert_eq!(x, m.b[j][sample], "{name}: B' at {j}, {sample}");
            }
        }
        for point in 0..T {
            let column = W::output(Exact, unit(point));
            for product in (point..N).step_by(T) {
                for (i, y) in column.into_iter().enumerate() {
                    assert_eq!(y, m.a[i][product], "{name}: A' at {i}, {product}");
                }
            }
        }

        // A change of one coefficient is detected.
        let wrong = |change: &dyn Fn(&mut Matrices) -> &mut Surd| {
            let mut m = m.clone();
            let x = change(&mut m);
            *x = x.plus(Surd::rational(1, 1 << 20));
            assert!(!is_the_filter(&m), "{name}: a mutant passed");
        };
        for j in 0..N {
            for i in 0..N {
                wrong(&|m| &mut m.b[j][i]);
            }
            for i in 0..m.taps {
                wrong(&|m| &mut m.g[j][i]);
            }
            for i in 0..M {
                wrong(&|m| &mut m.a[i][j]);
            }
        }
    }

    #[test]
    fn the_transforms_are_the_filter() {
        check::<F2x3, 2, 4, 4>("F2x3");
        check::<F4x3, 4, 6, 6>("F4x3");
        check::<F4x3Std, 4, 6, 6>("F4x3Std");
        check::<F6x3, 6, 8, 8>("F6x3");
        check::<F4x4, 4, 7, 7>("F4x4");
        check::<F2x5, 2, 6, 6>("F2x5");
        check::<F3x5, 3, 7, 7>("F3x5");
        check::<F4x5, 4, 8, 8>("F4x5");
        check::<F2x3S2, 2, 5, 3>("F2x3S2");
        check::<F4x3S2, 4, 9, 5>("F4x3S2");
    }

    #[test]
    fn symmetry_halves_the_work() {
        // An FMA is two operations. Without symmetry, six rows of six coefficients would be 66, four rows of six 44.
        assert_eq!(F4x3::operations(), [22, 16]);
        assert_eq!(F2x3::operations(), [4, 4]);
    }

    /// Amplifications that [`Accuracy`](crate::cost::Accuracy) bounds errors by: they grow with the tile, and good
    /// points reduce them.
    #[test]
    fn errors_grow_with_the_tile_and_shrink_with_good_points() {
        let amplifications = [
            F2x3::MATRICES.amplification(),
            F4x3::MATRICES.amplification(),
            F4x3Std::MATRICES.amplification(),
            F6x3::MATRICES.amplification(),
            F4x4::MATRICES.amplification(),
            F2x5::MATRICES.amplification(),
            F3x5::MATRICES.amplification(),
            F4x5::MATRICES.amplification(),
            F2x3S2::MATRICES.amplification(),
            F4x3S2::MATRICES.amplification(),
        ];
        let worst = [
            F2x3::MATRICES.worst_amplification(),
            F4x3::MATRICES.worst_amplification(),
            F4x3Std::MATRICES.worst_amplification(),
            F6x3::MATRICES.worst_amplification(),
        ];
        println!("{amplifications:.2?}, at the worst outputs {worst:.2?}");
        for (worst, mean) in worst.into_iter().zip(amplifications) {
            assert!((mean..4.0 * mean).contains(&worst));
        }
        assert!((amplifications[0] - 5.0 / 9.0).abs() < 1e-12);
        assert!(amplifications[..4].is_sorted());
    }
}
