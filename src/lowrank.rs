//! Approximation of a convolution by two of lower rank, by singular values.
//!
//! * *Channel form* (Zhang et al. 2016): the weights as a matrix of c_out x (c_in kh kw). Of rank d it is a
//!   convolution with the same window to d channels, followed by a 1x1 convolution.
//! * *Spatial form* (Jaderberg et al. 2014): the weights as a matrix of (c_in kh) x (c_out kw). Of rank d it is a kh
//!   x 1 convolution to d channels, followed by a 1 x kw convolution.
//!
//! Truncation to the d largest singular values is the best approximation of rank d (Eckart and Young 1936). The
//! *energy* of a rank is the sum of the kept squared singular values over the sum of all. The first convolution has
//! no epilogue: bias and ReLU stay with the second.

pub mod session;

use anyhow::{Result, anyhow, bail};
use convroof_kernels::Problem;
use convroof_kernels::problem::{ConvShape, ConvSpec, DTypes, Epilogue, Op, Pad};
use nalgebra::{DMatrix, SymmetricEigen};

/// Steps after which the iteration for eigenvalues gives up. It needs about two for each eigenvalue.
const MOST_STEPS: usize = 1 << 20;

/// Matrix form of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// c_out x (c_in kh kw).
    Channel,
    /// (c_in kh) x (c_out kw).
    Spatial,
}

impl Form {
    /// Both forms.
    pub const ALL: [Form; 2] = [Form::Channel, Form::Spatial];

    /// `channel` or `spatial`.
    pub fn name(self) -> &'static str {
        match self {
            Form::Channel => "channel",
            Form::Spatial => "spatial",
        }
    }
}

/// The singular values and vectors of a convolution's weights.
///
/// They come from the eigenvalues of A A^T, the smaller Gram matrix. Singular values below about 1e-8 of the largest
/// are lost in its rounding. Truncation drops them first, and f32 weights don't hold them.
pub struct Factors {
    form: Form,
    problem: Problem,
    conv: ConvShape,
    /// Singular values, in descending order.
    singular: Vec<f64>,
    /// Left singular vectors, one a column.
    u: DMatrix<f64>,
    /// Right singular vectors, one a column.
    v: DMatrix<f64>,
}

/// Two convolutions that replace one.
pub struct FactorPair {
    /// Problems, in order.
    pub problems: [Problem; 2],
    /// Their weights.
    pub weights: [Vec<f32>; 2],
    /// Kept fraction of the energy, 0 to 1.
    pub energy: f64,
}

impl Factors {
    /// Decomposes the weights of a convolution.
    ///
    /// # Errors
    /// When the problem is no convolution, has groups, or the weights are not finite.
    pub fn new(problem: &Problem, weights: &[f32], form: Form) -> Result<Factors> {
        let is_f32 = problem.dtypes == DTypes::default();
        let conv = match &problem.op {
            Op::Conv(conv) if conv.groups == 1 && !conv.flip && is_f32 => *conv,
            _ => bail!("can't factorise '{problem}': expected a convolution of f32 without groups"),
        };
        if weights.iter().any(|w| !w.is_finite()) {
            bail!("weights must be finite numbers");
        }
        let (c_in, [kh, kw]) = (conv.c_in, conv.kernel);
        let at = |k: usize, c: usize, r: usize, s: usize| {
            f64::from(weights[((k * c_in + c) * kh + r) * kw + s])
        };
        let matrix = match form {
            Form::Channel => DMatrix::from_fn(conv.c_out, c_in * kh * kw, |k, j| {
                at(k, j / (kh * kw), j / kw % kh, j % kw)
            }),
            Form::Spatial => DMatrix::from_fn(c_in * kh, conv.c_out * kw, |i, j| {
                at(j / kw, i / kh, i % kh, j % kw)
            }),
        };
        let wide = matrix.nrows() <= matrix.ncols();
        let (singular, u, v) = if wide {
            decompose(&matrix)?
        } else {
            let (singular, v, u) = decompose(&matrix.transpose())?;
            (singular, u, v)
        };
        Ok(Factors {
            form,
            problem: *problem,
            conv,
            singular,
            u,
            v,
        })
    }

    /// The highest rank, which loses nothing.
    pub fn full_rank(&self) -> usize {
        self.singular.len()
    }

    /// The two convolutions of a rank.
    ///
    /// # Errors
    /// When the rank is 0 or higher than the full rank.
    pub fn pair(&self, rank: usize) -> Result<FactorPair> {
        if rank == 0 || rank > self.full_rank() {
            bail!(
                "rank {rank}: the {} form of '{}' has ranks 1 to {}",
                self.form.name(),
                self.problem,
                self.full_rank()
            );
        }
        let conv = self.conv;
        let spec = *conv.spec();
        let [kh, kw] = conv.kernel;
        let energy = |values: &[f64]| values.iter().map(|s| s * s).sum::<f64>();
        let kept = energy(&self.singular[..rank]) / energy(&self.singular).max(f64::MIN_POSITIVE);
        let root = |q: usize| self.singular[q].sqrt();
        let (first, second, weights) = match self.form {
            Form::Channel => {
                let first = ConvSpec {
                    c_out: rank,
                    ..spec
                };
                let second = ConvSpec {
                    c_in: rank,
                    h: conv.h_out(),
                    w: conv.w_out(),
                    kernel: [1, 1],
                    stride: [1, 1],
                    pad: Pad::default(),
                    dilation: [1, 1],
                    ..spec
                };
                let taps = conv.c_in * kh * kw;
                let a = (0..rank).flat_map(|q| (0..taps).map(move |j| (q, j)));
                let a = a.map(|(q, j)| (root(q) * self.v[(j, q)]) as f32);
                let b = (0..conv.c_out).flat_map(|k| (0..rank).map(move |q| (k, q)));
                let b = b.map(|(k, q)| (root(q) * self.u[(k, q)]) as f32);
                (first, second, [a.collect(), b.collect()])
            }
            Form::Spatial => {
                let first = ConvSpec {
                    c_out: rank,
                    kernel: [kh, 1],
                    stride: [conv.stride[0], 1],
                    dilation: [conv.dilation[0], 1],
                    pad: Pad {
                        left: 0,
                        right: 0,
                        ..conv.pad
                    },
                    ..spec
                };
                let second = ConvSpec {
                    c_in: rank,
                    h: conv.h_out(),
                    kernel: [1, kw],
                    stride: [1, conv.stride[1]],
                    dilation: [1, conv.dilation[1]],
                    pad: Pad {
                        top: 0,
                        bottom: 0,
                        ..conv.pad
                    },
                    ..spec
                };
                let a = (0..rank).flat_map(|q| (0..conv.c_in * kh).map(move |i| (q, i)));
                let a = a.map(|(q, i)| (root(q) * self.u[(i, q)]) as f32);
                let places = move |k: usize| {
                    (0..rank).flat_map(move |q| (0..kw).map(move |s| (k * kw + s, q)))
                };
                let b = (0..conv.c_out).flat_map(places);
                let b = b.map(|(j, q)| (root(q) * self.v[(j, q)]) as f32);
                (first, second, [a.collect(), b.collect()])
            }
        };
        let problem = |spec: ConvSpec, epilogue: Epilogue| -> Result<Problem> {
            Ok(Problem {
                op: Op::Conv(spec.try_into()?),
                epilogue,
                ..self.problem
            })
        };
        Ok(FactorPair {
            problems: [
                problem(first, Epilogue::default())?,
                problem(second, self.problem.epilogue)?,
            ],
            weights,
            energy: kept,
        })
    }
}

/// Singular values in descending order, left and right singular vectors of a matrix with no more rows than columns.
fn decompose(matrix: &DMatrix<f64>) -> Result<(Vec<f64>, DMatrix<f64>, DMatrix<f64>)> {
    let eigen = SymmetricEigen::try_new(matrix * matrix.transpose(), f64::EPSILON, MOST_STEPS)
        .ok_or_else(|| anyhow!("no singular values were found in {MOST_STEPS} steps"))?;
    let mut order: Vec<usize> = (0..matrix.nrows()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    // Rounding may leave an eigenvalue slightly below 0.
    let singular = order.iter().map(|&q| eigen.eigenvalues[q].max(0.0).sqrt());
    let singular: Vec<f64> = singular.collect();
    let u = eigen.eigenvectors.select_columns(&order);
    let mut v = matrix.transpose() * &u;
    for (mut column, &value) in v.column_iter_mut().zip(&singular) {
        // A vector of a singular value of 0 has no weight in any rank.
        column /= value.max(f64::MIN_POSITIVE);
    }
    Ok((singular, u, v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use convroof_kernels::data::{Fill, Rng};
    use convroof_kernels::exec::Serial;
    use convroof_kernels::reference::{Operands, compute};

    fn of_pair(pair: &FactorPair, src: &[f32]) -> Vec<f64> {
        let [first, second] = &pair.problems;
        let x = Operands {
            src,
            weights: &pair.weights[0],
            ..Operands::default()
        };
        let between = compute(first, x, &Serial);
        let x = Operands {
            src: &between[..],
            weights: &pair.weights[1],
            ..Operands::default()
        };
        compute(second, x, &Serial)
    }

    #[test]
    fn the_full_rank_is_the_layer_itself() {
        let mut rng = Rng::new(1);
        for text in [
            "mb1ic5ih9oc7oh9kh3ph1",
            "mb1ic4ih11iw8oc6oh5ow8kh3kw1sh2sw1ph0pw0",
            "mb2ic3ih10oc8oh5kh5sh2ph2",
        ] {
            let problem: Problem = text.parse().expect(text);
            let len = |dims: [usize; 4]| dims.iter().product();
            let src = rng.vec(Fill::Uniform, len(problem.src_dims()));
            let weights = rng.vec(Fill::Uniform, len(problem.weights_dims().expect("weights")));
            let x = Operands {
                src: &src[..],
                weights: &weights,
                ..Operands::default()
            };
            let whole = compute(&problem, x, &Serial);
            let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            for form in Form::ALL {
                let factors = Factors::new(&problem, &weights, form).expect("factors");
                let mut errors = Vec::new();
                for rank in [1, factors.full_rank() / 2, factors.full_rank()] {
                    let pair = factors.pair(rank).expect("a rank");
                    let cut = of_pair(&pair, &src);
                    let difference: Vec<f64> = cut.iter().zip(&whole).map(|(a, b)| a - b).collect();
                    errors.push(norm(&difference) / norm(&whole));
                    assert!(pair.energy > 0.0 && pair.energy < 1.0 + 1e-9);
                }
                assert!(
                    errors[0] > errors[1] && errors[1] > 1e-3,
                    "{text}: {errors:?}"
                );
                assert!(errors[2] < 1e-6, "{text} {form:?}: {errors:?}");
            }
        }
    }

    #[test]
    fn what_has_rank_one_needs_no_more() {
        // All filters are multiples of one.
        let problem: Problem = "mb1ic4ih6oc8oh6kh3ph1".parse().expect("a problem");
        let filter = Rng::new(2).vec(Fill::Uniform, 36);
        let weights: Vec<f32> = (1..=8)
            .flat_map(|k| filter.iter().map(move |w| k as f32 * w))
            .collect();
        let factors = Factors::new(&problem, &weights, Form::Channel).expect("factors");
        assert!(factors.pair(1).expect("rank 1").energy > 1.0 - 1e-9);
        let error = factors.pair(9).err().expect("no such rank").to_string();
        assert!(error.contains("ranks 1 to 8"), "{error}");
    }
}
