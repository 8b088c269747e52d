//! Requantisation: how the exact sum of an integer layer becomes an output.

use super::attributes::Attributes;
use super::quantisation::{Affine, Quantisation, Scale, WeightScale};
use crate::dtype::DType;

/// Definition of an integer layer's outputs, to the last bit. A kernel's output must equal it.
///
/// The sum over the taps, of (x - zero of the source) w, is an exact integer. A tap in the padding adds 0: the padding
/// holds the zero point. The average of a pooling is the exact sum divided by the number of elements. The sum of a conversion
/// is its element ([`ConversionShape`](super::ConversionShape)). The rest are single
/// operations in f32, each rounded to nearest, ties to even, in this order and never fused into a multiply-add:
///
/// 1. y = the sum, converted to f32;
/// 2. y = y f, where f is [`Requantisation::factors`] of the output channel: the product of the scales of source and
///    weights, itself rounded to f32;
/// 3. y = y + bias;
/// 4. y = y + scale (r - zero), with scale and zero point of the residual r;
/// 5. ReLU: y = 0 if y < 0;
/// 6. y = y s, where s is 1 / scale of the destination, rounded to f32. oneDNN's compiled kernels and benchdnn's reference
///    multiply, too. (Its plain reference divides.)
/// 7. y = y + zero of the destination;
/// 8. y is rounded to an integer, ties to even, and saturated to the type's [`DType::limits`]. A NaN becomes 0.
///
/// Steps without an operand are left out. An f32 destination ends after step 6.
///
/// There is one exception. An s32 output without scales, bias and residual is the sum itself, or 0 if there is a ReLU and
/// the sum is negative. In f32, sums beyond 2^24 would be rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Requantisation {
    dst: DType,
    relu: bool,
    /// The output is the sum itself.
    exact: bool,
    residual: Affine,
    /// 1 / scale of the destination.
    inverse: f32,
    /// Zero point of the destination.
    zero: f32,
}

impl Requantisation {
    /// Requantisation of a layer with these attributes.
    pub fn new(attributes: &Attributes) -> Self {
        let Attributes {
            dtypes,
            quantisation,
            epilogue,
        } = attributes;
        let plain = !quantisation.has_scales() && !epilogue.bias && !epilogue.residual;
        Requantisation {
            dst: dtypes.dst,
            relu: epilogue.relu,
            exact: dtypes.dst == DType::S32 && plain,
            residual: quantisation.residual,
            inverse: 1.0 / quantisation.dst.scale.get(),
            zero: quantisation.dst.zero as f32,
        }
    }

    /// Type of the outputs.
    pub fn dst(&self) -> DType {
        self.dst
    }

    /// True if an output is the sum itself, or 0 in place of a negative one after a ReLU.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// True if negative outputs become 0.
    pub fn relu(&self) -> bool {
        self.relu
    }

    /// Scale and zero point of the residual.
    pub fn residual(&self) -> Affine {
        self.residual
    }

    /// The last factor: 1 / scale of the destination.
    pub fn inverse(&self) -> f32 {
        self.inverse
    }

    /// Zero point of the destination.
    pub fn zero(&self) -> f32 {
        self.zero
    }

    /// Factors of the sums, one for each of `channels` output channels. `scales` are the weights' scales if each channel
    /// has its own.
    ///
    /// # Panics
    /// If `scales` are too few.
    pub fn factors(quantisation: &Quantisation, scales: &[f32], channels: usize) -> Vec<f32> {
        let src: Scale = quantisation.src.scale;
        match quantisation.weights {
            WeightScale::Common(weights) => vec![src.get() * weights.get(); channels],
            WeightScale::PerChannel => {
                let scales = scales[..channels].iter();
                scales.map(|weights| src.get() * weights).collect()
            }
        }
    }

    /// Output of a sum: the value of the stored element. `residual` is the value of its stored element.
    ///
    /// The sum is an f64, which holds all sums of less than 2^53 exactly, and averages.
    pub fn output(&self, sum: f64, factor: f32, bias: Option<f32>, residual: Option<f32>) -> f64 {
        if self.exact {
            let least = if self.relu { 0.0 } else { f64::from(i32::MIN) };
            return sum.clamp(least, f64::from(i32::MAX));
        }
        let mut y = sum as f32;
        y *= factor;
        if let Some(bias) = bias {
            y += bias;
        }
        if let Some(residual) = residual {
            let difference = residual - self.residual.zero as f32;
            y += self.residual.scale.get() * difference;
        }
        if self.relu && y < 0.0 {
            y = 0.0;
        }
        y *= self.inverse;
        let Some([least, most]) = self.dst.limits() else {
            return f64::from(y);
        };
        y += self.zero;
        if y.is_nan() {
            return 0.0;
        }
        f64::from(y.round_ties_even().clamp(least, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problem;

    fn requantisation(flags: &str) -> Requantisation {
        let text = format!("{flags} mb1ic4ih3oc2kh1");
        let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{e}"));
        Requantisation::new(&problem.attributes())
    }

    #[test]
    fn rounding_is_to_even_and_saturates() {
        let of = |types: &str, sum: f64| {
            requantisation(&format!("--dt={types}")).output(sum, 0.5, None, None)
        };
        let sums = [-1.0, 1.0, 3.0, 5.0, 509.0, 511.0, 1e6];
        assert_eq!(
            sums.map(|x| of("u8:s8:u8", x)),
            [0., 0., 2., 2., 254., 255., 255.]
        );
        let sums = [-1e6, -257.0, -3.0, -1.0, 1.0, 253.0, 255.0];
        assert_eq!(
            sums.map(|x| of("u8:s8:s8", x)),
            [-128., -128., -2., 0., 0., 126., 127.]
        );
        assert_eq!(of("s8:s8:f32", -3.0), -1.5);
    }

    #[test]
    fn sums_of_32_bits_are_stored_as_they_are() {
        let sum = f64::from(i32::MAX);
        let plain = requantisation("--dt=u8:s8:s32");
        assert_eq!(plain.output(sum, 1.0, None, None), sum);
        assert_eq!(plain.output(16_777_217.0, 1.0, None, None), 16_777_217.0);
        assert_eq!(plain.output(-5.0, 1.0, None, None), -5.0);
        let shifted = requantisation("--dt=u8:s8:s32 --attr-zero-points=src:common:7");
        assert_eq!(shifted.output(sum, 1.0, None, None), sum);
        let relu = requantisation("--dt=u8:s8:s32 --attr-post-ops=relu");
        assert_eq!(relu.output(-5.0, 1.0, None, None), 0.0);
        // A bias is added in f32. The limit is the largest f32 below 2^31.
        let bias = requantisation("--dir=FWD_B --dt=u8:s8:s32");
        assert_eq!(
            bias.output(16_777_217.0, 1.0, Some(0.0), None),
            16_777_216.0
        );
        assert_eq!(bias.output(sum, 1.0, Some(1e9), None), 2_147_483_520.0);
    }

    /// All steps, with numbers whose products are exact.
    #[test]
    fn the_steps_have_an_order() {
        let all = requantisation(
            "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.5+wei:per_oc+dst:common:4 --attr-zero-points=src:common:3+dst:common:100 --attr-post-ops=sum:0.25:8:u8+relu",
        );
        // (1000 0.125 + 3 + (28 - 8) 0.25) / 4 + 100 = 133 / 4 + 100
        assert_eq!(all.output(1000.0, 0.125, Some(3.0), Some(28.0)), 133.0);
        // A negative sum is 0 after the ReLU, so the output is the zero point.
        assert_eq!(all.output(-1000.0, 0.125, Some(3.0), Some(28.0)), 100.0);
    }

    /// Sums at which another order, a fused multiply-add or a division would give another output.
    #[test]
    fn each_step_is_one_f32_operation() {
        let flags = "--dt=u8:s8:f32 --dir=FWD_B --attr-scales=dst:common:3";
        let y = requantisation(flags).output(33.0, 0.1, Some(0.7), None);
        let (product, inverse) = (33.0f32 * 0.1, 1.0f32 / 3.0);
        assert_eq!(y, f64::from((product + 0.7) * inverse));
        let differs = (1..1000u16).any(|sum| {
            let fused = f32::from(sum).mul_add(0.1, 0.7) * inverse;
            requantisation(flags).output(f64::from(sum), 0.1, Some(0.7), None) != f64::from(fused)
        });
        assert!(differs, "fused");
        let differs = (1..1000u16).any(|sum| {
            let divided = (f32::from(sum) * 0.1 + 0.7) / 3.0;
            requantisation(flags).output(f64::from(sum), 0.1, Some(0.7), None) != f64::from(divided)
        });
        assert!(differs, "divided");
    }

    #[test]
    fn factors_are_products_in_f32() {
        let of = |flags: &str, scales: &[f32]| {
            let text = format!("{flags} mb1ic4ih3oc2kh1");
            let problem: Problem = text.parse().expect("a problem");
            Requantisation::factors(&problem.quantisation, scales, 2)
        };
        assert_eq!(of("--dt=u8:s8:u8", &[]), [1.0; 2]);
        let common = "--dt=u8:s8:u8 --attr-scales=src:common:0.1+wei:common:0.3";
        assert_eq!(of(common, &[]), [0.1f32 * 0.3; 2]);
        let each = "--dt=u8:s8:u8 --attr-scales=src:common:0.1+wei:per_oc";
        assert_eq!(of(each, &[0.3, 2.0]), [0.1f32 * 0.3, 0.2]);
    }
}
