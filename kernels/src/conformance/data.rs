//! Seeded operands of a problem, for each element type.

use crate::data::{Fill, Rng};
use crate::problem::{DType, Problem, Quantisation};
use crate::reference::Operands;

/// Owned operands of a problem, in plain NCHW. They are values of their element types.
#[derive(Clone, Debug)]
pub struct Data {
    pub(super) src: Vec<f32>,
    pub(super) weights: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
    scales: Vec<f32>,
    /// Element type and zero point of source and residual.
    inputs: [(DType, i32); 2],
}

impl Data {
    /// Operands from a seed.
    ///
    /// In integer layers, weights' scales that are data bring typical sums to a typical output. Some are powers of two, the
    /// others round badly. A share of the outputs is saturated.
    pub fn new(problem: &Problem, fill: Fill, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (dtypes, quantisation) = (problem.dtypes, &problem.quantisation);
        let inputs = [
            (dtypes.src, quantisation.src.zero),
            (dtypes.residual, quantisation.residual.zero),
        ];
        let [src, residual] = inputs;
        let residuals = if problem.epilogue.residual {
            len(problem.dst_dims())
        } else {
            0
        };
        let src = values(&mut rng, fill, src, len(problem.src_dims()));
        // Weights have both signs for every kind of activations.
        let signed = match fill {
            Fill::PostRelu => Fill::Uniform,
            _ => fill,
        };
        let weights = problem.weights_dims().map_or(0, len);
        let mut weights = values(&mut rng, signed, (dtypes.weights, 0), weights);
        problem.op.constrain_weights(&mut weights);
        let mut bias = rng.vec(fill, problem.biases());
        if dtypes.are_integers() && fill != Fill::Integers {
            let unit = TYPICAL_OUTPUT * quantisation.dst.scale.get();
            bias.iter_mut().for_each(|bias| *bias *= unit);
        }
        Data {
            bias,
            residual: values(&mut rng, fill, residual, residuals),
            scales: scales(
                &mut rng,
                problem,
                rms(&src, quantisation.src.zero),
                rms(&weights, 0),
            ),
            src,
            weights,
            inputs,
        }
    }

    /// Operands of an integer layer at the limits of their types, which make the largest sums. The first half of the source
    /// is all at the upper limit, the other half alternates. Filters are all at the lower limit, all at the upper one, or
    /// alternate.
    pub fn at_limits(problem: &Problem, seed: u64) -> Self {
        let mut data = Data::new(problem, Fill::Uniform, seed);
        let limits = |dtype: DType| dtype.limits().unwrap_or([-1.0, 1.0]);
        let [low, high] = limits(problem.dtypes.src);
        let half = data.src.len() / 2;
        for (i, x) in data.src.iter_mut().enumerate() {
            *x = if i < half || i % 2 == 0 { high } else { low };
        }
        let limits = limits(problem.dtypes.weights);
        let filters = problem.weights_dims().map_or(1, |[filters, ..]| filters);
        let filter = (data.weights.len() / filters).max(1);
        for (k, filter) in data.weights.chunks_mut(filter).enumerate() {
            for (i, w) in filter.iter_mut().enumerate() {
                *w = limits[[0, 1, i % 2][k % 3]];
            }
        }
        data
    }

    /// Copy with other inputs, but equal weights and bias.
    pub fn with_other_inputs(&self, fill: Fill, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let [src, residual] = self.inputs;
        Data {
            src: values(&mut rng, fill, src, self.src.len()),
            residual: values(&mut rng, fill, residual, self.residual.len()),
            ..self.clone()
        }
    }

    /// Copy whose weights are even and from -64 to 62, if the layer is of integers. Then the sum of two products fits into
    /// 16 bits, also if a source of s8 is shifted into u8, and weights can be halved without an error. Libraries that add two
    /// products in 16 bits are exact on such weights only.
    pub fn with_small_weights(mut self) -> Self {
        let [(src, _), _] = self.inputs;
        if src.is_integer() {
            for w in &mut self.weights {
                *w = 2.0 * (*w / 4.0).floor();
            }
        }
        self
    }

    /// Operands for the reference.
    pub fn operands(&self) -> Operands<'_> {
        Operands {
            src: &self.src,
            weights: &self.weights,
            bias: &self.bias,
            residual: &self.residual,
            scales: &self.scales,
        }
    }
}

fn len(dims: [usize; 4]) -> usize {
    dims.iter().product()
}

/// `len` values of an element type with a zero point. For integers, `fill` means:
///
/// * [`Fill::Integers`]: at most 4 from the zero point, like benchdnn's data;
/// * [`Fill::Uniform`]: all values of a byte, equally often;
/// * [`Fill::PostRelu`]: half of them the zero point, the rest above it;
/// * [`Fill::Gaussian`]: around the zero point, with a standard deviation of 32.
fn values(rng: &mut Rng, fill: Fill, (dtype, zero): (DType, i32), len: usize) -> Vec<f32> {
    let mut values = rng.vec(fill, len);
    let zero = zero as f32;
    let Some([low, high]) = dtype.limits() else {
        for x in &mut values {
            *x = dtype.stored(f64::from(*x)) as f32;
        }
        return values;
    };
    let (half, middle) = match dtype {
        // Exact in f32, and in sums with it.
        DType::S32 => (f32::from(i16::MAX), 0.0),
        _ => ((high - low) / 2.0, (high + low) / 2.0),
    };
    let (scale, offset) = match fill {
        Fill::Integers => (1.0, zero),
        Fill::Uniform => (half, middle),
        Fill::PostRelu => (middle + half - zero, zero),
        Fill::Gaussian => (32.0, zero),
    };
    for x in &mut values {
        *x = dtype.stored(f64::from(*x * scale + offset)) as f32;
    }
    values
}

/// Quantised magnitude of a typical output.
const TYPICAL_OUTPUT: f32 = 48.0;

/// Fractions of the typical scale. The powers of two are exact in a product, the others aren't.
const FRACTIONS: [f32; 8] = [1.0, 0.5, 2.0, 4.0, 0.1, 1.0 / 3.0, 0.7, 1.1];

/// Scales of the weights of each output channel, if they are data. `x` and `w` are typical magnitudes of source and
/// weights.
fn scales(rng: &mut Rng, problem: &Problem, x: f32, w: f32) -> Vec<f32> {
    let Quantisation { src, dst, .. } = problem.quantisation;
    let dims = problem.weights_dims().unwrap_or([1; 4]);
    let terms = (len(dims) / dims[0].max(1)) as f32;
    let sum = x * w * terms.sqrt();
    let typical = TYPICAL_OUTPUT * dst.scale.get() / (src.scale.get() * sum.max(1.0));
    let power = typical.log2().round().exp2();
    let scale = |_| power * rng.pick(&FRACTIONS);
    (0..problem.scales()).map(scale).collect()
}

/// Root of the mean square of the differences from a zero point.
fn rms(values: &[f32], zero: i32) -> f32 {
    let squares = values.iter().map(|x| (x - zero as f32).powi(2));
    (squares.sum::<f32>() / values.len().max(1) as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str, fill: Fill) -> Data {
        Data::new(&text.parse().expect("a problem"), fill, 3)
    }

    const LAYER: &str = "--dt=u8:s8:s8 --attr-scales=wei:per_oc --attr-zero-points=src:common:250 mb1ic16ih16oc24kh3";

    #[test]
    fn every_byte_occurs() {
        let Data { src, weights, .. } = data(LAYER, Fill::Uniform);
        for byte in 0..=255 {
            assert!(src.contains(&(byte as f32)), "{byte}");
            assert!(weights.contains(&((byte - 128) as f32)), "{}", byte - 128);
        }
    }

    #[test]
    fn small_integers_lie_around_the_zero_point() {
        let Data { src, .. } = data(LAYER, Fill::Integers);
        assert!(src.iter().all(|x| (246.0..=254.0).contains(x)));
        let Data { src, .. } = data(LAYER, Fill::PostRelu);
        let zeros = src.iter().filter(|&&x| x == 250.0).count();
        assert!((src.len() * 2 / 5..src.len() * 7 / 10).contains(&zeros));
        assert!(src.iter().all(|x| (250.0..=255.0).contains(x)));
    }

    #[test]
    fn values_of_bf16_are_rounded() {
        let text = "--dt=bf16:bf16:f32 mb1ic16ih16oc24kh3";
        let Data { src, weights, .. } = data(text, Fill::Uniform);
        let all = || src.iter().chain(&weights);
        assert!(all().all(|&x| DType::Bf16.stored(x.into()) == x.into()));
        let f32s = data("mb1ic16ih16oc24kh3", Fill::Uniform);
        assert!(
            all()
                .zip(f32s.src.iter().chain(&f32s.weights))
                .all(|(a, b)| (a - b).abs() < 0.01)
        );
    }

    #[test]
    fn products_with_small_weights_fit_into_pairs_of_16_bits() {
        let data = |text: &str| data(text, Fill::Uniform);
        let small = data(LAYER).with_small_weights();
        let limits = small.weights.iter().fold([0.0f32; 2], |[low, high], &w| {
            assert_eq!(w % 2.0, 0.0);
            [low.min(w), high.max(w)]
        });
        assert_eq!(limits, [-64.0, 62.0]);
        assert!(limits.iter().all(|w| 2.0 * 255.0 * w.abs() <= 32768.0));
        assert_eq!(small.src, data(LAYER).src);
        let f32s = "mb1ic16ih16oc24kh3";
        assert_eq!(data(f32s).with_small_weights().weights, data(f32s).weights);
    }

    #[test]
    fn some_outputs_are_saturated_and_most_are_not() {
        use crate::{exec::Serial, reference::compute};
        let problem = LAYER.parse().expect("a problem");
        for fill in [Fill::Integers, Fill::Uniform] {
            let output = compute(&problem, Data::new(&problem, fill, 3).operands(), &Serial);
            let saturated = output
                .iter()
                .filter(|&&y| y == 127.0 || y == -128.0)
                .count();
            let share = saturated as f64 / output.len() as f64;
            assert!((0.01..0.5).contains(&share), "{share} on {fill:?}");
        }
        let data = Data::at_limits(&problem, 3);
        assert_eq!(data.weights[..16 * 9], [-128.0; 16 * 9]);
        assert_eq!(data.src[..8 * 256], [255.0; 8 * 256]);
    }
}
