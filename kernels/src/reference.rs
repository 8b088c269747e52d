//! Definition of every operation: naive loops in f64, simple enough to check by reading. All kernels are compared with
//! it. The loops are those of [`Operation::reference`](crate::problem::Operation::reference).

use crate::exec::Executor;
use crate::problem::{DType, DTypes, Problem};
use std::borrow::Cow;

pub use crate::problem::Operands;

/// Output of a problem in plain NCHW. Operands are first converted to their types ([`DType::stored`]). Then all is computed
/// in f64, and outputs of f32 and bf16 are not rounded to their types. Integers are computed as
/// [`Requantisation`](crate::problem::Requantisation) defines, to the last bit.
///
/// # Panics
/// If an operand is too short.
pub fn compute<T: Copy + Into<f64>>(
    problem: &Problem,
    operands: Operands<'_, T>,
    exec: &dyn Executor,
) -> Vec<f64> {
    let DTypes {
        src,
        weights,
        residual,
        ..
    } = problem.dtypes;
    let stored = |values: &[T], dtype: DType| -> Vec<f64> {
        values.iter().map(|&x| dtype.stored(x.into())).collect()
    };
    let (src, residual) = (
        stored(operands.src, src),
        stored(operands.residual, residual),
    );
    let weights: Cow<'_, [f32]> = match weights {
        DType::F32 => operands.weights.into(),
        _ => {
            let stored = |&w: &f32| weights.stored(w.into()) as f32;
            operands.weights.iter().map(stored).collect()
        }
    };
    let operands = Operands {
        src: &src,
        weights: &weights,
        bias: operands.bias,
        residual: &residual,
        scales: operands.scales,
    };
    problem.op.reference(&problem.attributes(), operands, exec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Serial;
    use crate::problem::BATCH_NORM_EPSILON;

    fn problem(text: &str) -> Problem {
        text.parse().expect("a valid problem")
    }

    /// 3x3 over 3x3 with padding 1: sums that can be checked by hand.
    #[test]
    fn a_box_filter_counts_its_neighbours() {
        let p = problem("mb1ic1ih3oc1oh3kh3ph1");
        let x = Operands {
            src: &[1.0; 9],
            weights: &[1.0; 9],
            ..Operands::default()
        };
        assert_eq!(
            compute(&p, x, &Serial),
            [4., 6., 4., 6., 9., 6., 4., 6., 4.]
        );
    }

    /// Windows of 1, 2, 3 and 4. The frequency of each draw is in proportion to its value, and the index matches.
    #[test]
    fn draws_have_their_probabilities() {
        let src: Vec<f32> = [1.0, 2.0]
            .repeat(100)
            .into_iter()
            .chain([3.0, 4.0].repeat(100))
            .collect();
        let src = src.repeat(50);
        let drawn = |alg: &str| {
            let p = problem(&format!(
                "--pool --alg={alg} mb1ic50ih2iw200oh1ow100kh2kw2sh2sw2ph0pw0"
            ));
            let x = Operands {
                src: &src,
                ..Operands::default()
            };
            compute(&p, x, &Serial)
        };
        let (values, indices) = (drawn("draw3"), drawn("draw3_index"));
        assert_ne!(values, drawn("draw4"));
        for (y, i) in values.iter().zip(&indices) {
            assert_eq!(*y, f64::from(src[*i as usize]));
        }
        let outputs = values.len() as f64;
        for a in [1.0, 2.0, 3.0, 4.0] {
            let p: f64 = a / 10.0;
            let times = values.iter().filter(|&&y| y == a).count() as f64;
            let deviations = (times - outputs * p) / (outputs * p * (1.0 - p)).sqrt();
            assert!(
                deviations.abs() < 4.0,
                "{a}: {times} times, {deviations} off"
            );
        }
    }

    #[test]
    fn it_is_a_cross_correlation() {
        let p = problem("mb1ic1ih1iw3oc1oh1ow2kh1kw2ph0pw0");
        let x = Operands {
            src: &[1.0, 2.0, 4.0],
            weights: &[10.0, 1.0],
            ..Operands::default()
        };
        assert_eq!(compute(&p, x, &Serial), [12.0, 24.0]);
    }

    #[test]
    fn a_true_convolution_turns_its_filters_around() {
        let p = problem("--flip mb1ic1iw3oc1kw2");
        let x = Operands {
            src: &[1.0, 2.0, 4.0],
            weights: &[10.0, 1.0],
            ..Operands::default()
        };
        assert_eq!(compute(&p, x, &Serial), [21.0, 42.0]);
        let p = problem("--flip mb1ic1ih2oc1kh2");
        let x = Operands {
            src: &[1.0, 10.0, 100.0, 1000.0],
            weights: &[1.0, 2.0, 3.0, 4.0],
            ..Operands::default()
        };
        assert_eq!(compute(&p, x, &Serial), [1234.0]);
    }

    #[test]
    fn statistics_are_those_of_all_images() {
        let x = Operands {
            src: &[1.0, 3.0, 10.0, 10.0, 5.0, 7.0, 10.0, 14.0],
            ..Operands::default()
        };
        let p = problem("--statistics mb2ic2ih1iw2");
        assert_eq!(compute(&p, x, &Serial), [4.0, 11.0, 5.0, 3.0]);
    }

    #[test]
    fn a_window_ends_where_channels_do() {
        let x = Operands {
            src: &[3.0, 0.0, 2.0, 1.0],
            ..Operands::default()
        };
        let p = problem("--lrn mb1ic4ih1ls3alpha3beta0.5k7");
        let y = compute(&p, x, &Serial);
        assert_eq!(y[..3], [3.0 / 4.0, 0.0, 2.0 / 12f64.sqrt()]);
    }

    /// Positions (1, 0) and (0, 2). V selects the first channel, so the scores are ln 3 tanh 1 / tanh 1 and 0.
    #[test]
    fn attention_weighs_positions() {
        let w = 3f64.ln() / 1f64.tanh();
        let x = Operands {
            src: &[1.0, 0.0, 0.0, 2.0],
            weights: &[1.0, 0.0, w as f32],
            ..Operands::default()
        };
        let y = compute(&problem("--attention --hidden=1 1x2x1x2"), x, &Serial);
        assert!(
            (y[0] - 0.75).abs() < 1e-7 && (y[1] - 0.5).abs() < 1e-7,
            "{y:?}"
        );
    }

    #[test]
    fn bilinear_pooling_sums_products() {
        let x = Operands {
            src: &[1.0, 2.0, -3.0, 1.0],
            ..Operands::default()
        };
        let pool = |alg: &str| {
            let p = problem(&format!("--bilinear --alg={alg} 1x2x2x1"));
            compute(&p, x, &Serial)
        };
        assert_eq!(pool("full"), [5.0, -1.0, -1.0, 10.0]);
        assert_eq!(pool("half"), [5.0, -1.0, 10.0]);
        assert_eq!(pool("half_root"), [5f64.sqrt(), -1.0, 10f64.sqrt()]);
        let norm = pool("half_root_l2").iter().map(|y| y * y).sum::<f64>();
        assert!((norm - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_softmax_is_a_distribution() {
        let x = Operands {
            src: &[1000.0, 1000.0, f32::NEG_INFINITY, -1000.0],
            ..Operands::default()
        };
        let y = compute(&problem("--softmax 1x4x1x1"), x, &Serial);
        assert_eq!(y, [0.5, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn a_batch_normalised_mean_is_beta() {
        let x = Operands {
            src: &[3.0, 5.0],
            weights: &[2.0, 0.5, 3.0, 4.0 - BATCH_NORM_EPSILON as f32],
            ..Operands::default()
        };
        let y = compute(&problem("--bnorm --flags=GCH mb1ic1ih1iw2"), x, &Serial);
        assert_eq!(y[0], 0.5);
        assert!((y[1] - 2.5).abs() < 1e-6);
    }
}
