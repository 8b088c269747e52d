//! Points, and the exact matrices that follow from them.

use crate::micro::surd::Surd;

/// Maximum products along an axis.
pub const MOST_PRODUCTS: usize = 9;
/// Maximum taps.
pub const MOST_TAPS: usize = 5;
/// Maximum outputs along an axis.
pub const MOST_OUTPUTS: usize = 6;
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

    /// True if B' and A' have only 0 and +-1, and G also +-1/2. Then transforms of integers are sums and differences. With the
    /// filters (2 G) g (2 G)', which are integers, outputs are four times those of a direct convolution, exactly.
    pub const fn is_exact(&self) -> bool {
        let (mut j, mut exact) = (0, true);
        while j < self.products {
            let mut i = 0;
            while i < self.products {
                exact &= is_sign(self.b[j][i].to_f64());
                i += 1;
            }
            let mut i = 0;
            while i < self.outputs {
                exact &= is_sign(self.a[i][j].to_f64());
                i += 1;
            }
            let mut i = 0;
            while i < self.taps {
                let g = self.g[j][i].to_f64();
                exact &= is_sign(g) || is_sign(2.0 * g);
                i += 1;
            }
            j += 1;
        }
        exact
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

const fn is_sign(x: f64) -> bool {
    x == 0.0 || x == 1.0 || x == -1.0
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
