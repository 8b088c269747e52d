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
//!
//! In reading order: `matrices.rs` (the matrices of some points), `transforms.rs` (the code that computes them), this file
//! (the schemes).

mod matrices;
mod transforms;

pub use matrices::{MOST_OUTPUTS, MOST_PRODUCTS, MOST_TAPS, Matrices, Points};
pub(super) use transforms::unroll;
pub use transforms::{
    Arithmetic, Constant, Constants, Counting, MOST_PAIRS, Vectors, input, output, phases,
};

use super::surd::Surd;

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

    /// Only F(2, 3) transforms integers without a multiplication, and its filters fit into 16 bits: four times a sum of nine
    /// products with at most 1 each.
    #[test]
    fn integers_are_transformed_exactly_by_f2x3() {
        assert!(F2x3::MATRICES.is_exact());
        let others = [
            F4x3::MATRICES,
            F4x3Std::MATRICES,
            F6x3::MATRICES,
            F4x4::MATRICES,
            F2x5::MATRICES,
            F4x3S2::MATRICES,
        ];
        assert!(others.iter().all(|m| !m.is_exact()));
        let sum = |row: &[Surd]| row.iter().map(|x| x.to_f64().abs()).sum::<f64>();
        let most = |rows: &mut dyn Iterator<Item = f64>| rows.fold(0.0, f64::max);
        let Matrices { b, g, .. } = F2x3::MATRICES;
        assert_eq!(most(&mut b.iter().map(|row| sum(row))), 2.0);
        assert_eq!(most(&mut g.iter().map(|row| 2.0 * sum(row))), 3.0);
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
