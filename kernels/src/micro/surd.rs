//! Exact numbers (a + b sqrt2) / d: the field of Winograd's points and transforms. They are evaluated at compile time.

/// (a + b sqrt2) / d in lowest terms, d positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surd {
    a: i128,
    b: i128,
    d: i128,
}

impl Surd {
    /// 0.
    pub const ZERO: Surd = Surd::rational(0, 1);
    /// 1.
    pub const ONE: Surd = Surd::rational(1, 1);

    /// n / d.
    pub const fn rational(n: i128, d: i128) -> Self {
        Surd::reduced(n, 0, d)
    }

    /// n sqrt2 / d.
    pub const fn sqrt2(n: i128, d: i128) -> Self {
        Surd::reduced(0, n, d)
    }

    const fn reduced(a: i128, b: i128, d: i128) -> Self {
        assert!(d != 0, "division by zero");
        let g = gcd(gcd(a, b), d) * if d < 0 { -1 } else { 1 };
        Surd {
            a: a / g,
            b: b / g,
            d: d / g,
        }
    }

    /// self + y.
    pub const fn plus(self, y: Surd) -> Self {
        let (a, b) = (self.a * y.d + y.a * self.d, self.b * y.d + y.b * self.d);
        Surd::reduced(a, b, self.d * y.d)
    }

    /// self - y.
    pub const fn minus(self, y: Surd) -> Self {
        self.plus(y.negative())
    }

    /// -self.
    pub const fn negative(self) -> Self {
        Surd {
            a: -self.a,
            b: -self.b,
            d: self.d,
        }
    }

    /// self * y.
    pub const fn times(self, y: Surd) -> Self {
        let (a, b) = (self.a * y.a + 2 * self.b * y.b, self.a * y.b + self.b * y.a);
        Surd::reduced(a, b, self.d * y.d)
    }

    /// 1 / self, by the conjugate: (a + b sqrt2)(a - b sqrt2) = a^2 - 2 b^2, which is 0 only for 0.
    pub const fn inverse(self) -> Self {
        let norm = self.a * self.a - 2 * self.b * self.b;
        Surd::reduced(self.a * self.d, -self.b * self.d, norm)
    }

    /// self^n.
    pub const fn power(self, n: usize) -> Self {
        let mut y = Surd::ONE;
        let mut i = 0;
        while i < n {
            y = y.times(self);
            i += 1;
        }
        y
    }

    /// Converts to f64, with an error of a few units in the last place.
    pub const fn to_f64(self) -> f64 {
        (self.a as f64 + self.b as f64 * std::f64::consts::SQRT_2) / self.d as f64
    }
}

impl std::fmt::Display for Surd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let over = |n: i128, unit: &str| match (n, self.d, unit) {
            (1, 1, "") => "1".to_string(),
            (n, 1, "") => format!("{n}"),
            (1, 1, unit) => unit.to_string(),
            (1, d, "") => format!("1/{d}"),
            (n, d, "") => format!("{n}/{d}"),
            (1, d, unit) => format!("{unit}/{d}"),
            (n, 1, unit) => format!("{n}{unit}"),
            (n, d, unit) => format!("{n}{unit}/{d}"),
        };
        f.pad(&match (self.a, self.b) {
            (a, 0) => over(a, ""),
            (0, b) => over(b, "sqrt2"),
            (a, b) => format!("{}+{}", over(a, ""), over(b, "sqrt2")),
        })
    }
}

const fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_field() {
        let numbers = [
            Surd::rational(-3, 8),
            Surd::sqrt2(1, 2),
            Surd::ONE.plus(Surd::sqrt2(-5, 7)),
            Surd::rational(11, 1),
        ];
        for x in numbers {
            assert_eq!(x.times(x.inverse()), Surd::ONE);
            assert_eq!(x.minus(x), Surd::ZERO);
            assert_eq!(x.power(3), x.times(x).times(x));
            for y in numbers {
                assert_eq!(x.plus(y).minus(y), x);
                assert_eq!(x.times(y), y.times(x));
                assert_eq!(x.times(y.plus(x)), x.times(y).plus(x.times(x)));
                let product = x.to_f64() * y.to_f64();
                assert!((x.times(y).to_f64() - product).abs() < 1e-13);
            }
        }
        assert_eq!(Surd::sqrt2(2, 4).power(2), Surd::rational(1, 2));
        assert_eq!(Surd::sqrt2(1, 2).to_string(), "sqrt2/2");
    }
}
