//! Layers in other element types, as a quantised network has them.

use convroof_kernels::Problem;
use convroof_kernels::dtype::DType;
use convroof_kernels::problem::{Affine, Attributes, DTypes, Op, Quantisation, Scale, WeightScale};

/// Scales of u8 activations: of a source, of a destination, and of a residual. They differ, so that a kernel must apply
/// each. They don't change its speed.
const SCALES: [f32; 3] = [0.02, 0.05, 0.03];

/// Zero point of u8 values of both signs.
const MIDDLE: i32 = 128;

/// Parses a type in which networks can be requested.
///
/// # Errors
/// When there is no such type.
pub fn requested_type(name: &str) -> Result<DType, String> {
    match name.trim().parse() {
        Ok(dtype @ (DType::F32 | DType::Bf16 | DType::U8)) => Ok(dtype),
        _ => Err("expected f32, bf16 or u8, several with commas".into()),
    }
}

/// A layer of f32 in another type.
///
/// - In bf16 all tensors are bf16, and the bias is f32.
/// - In u8 activations are u8 and weights s8, with a scale for each output channel. Sources and residuals have the zero
///   point 0, like the output of a ReLU. So has a destination behind a ReLU. Any other destination has the zero point 128.
///
/// # Errors
/// When the layer isn't f32, or has no form in the type, such as a softmax.
pub fn in_type(problem: &Problem, dtype: DType) -> Result<Problem, String> {
    let Attributes {
        dtypes,
        quantisation,
        epilogue,
    } = problem.attributes();
    if dtypes != DTypes::default() || quantisation != Quantisation::default() {
        return Err("it states its own types: leave them out".into());
    }
    let weighted = problem.weights_dims().is_some();
    let attributes = Attributes {
        dtypes: DTypes {
            src: dtype,
            weights: match dtype {
                _ if !weighted => DType::F32,
                DType::U8 => DType::S8,
                other => other,
            },
            dst: dtype,
            residual: if epilogue.residual { dtype } else { DType::F32 },
        },
        quantisation: match (dtype, &problem.op) {
            (DType::U8, Op::Conv(_)) => quantised(epilogue.relu, epilogue.residual),
            _ => Quantisation::default(),
        },
        epilogue,
    };
    problem.op.check_types(&attributes)?;
    Ok(Problem::new(problem.op, attributes))
}

/// Quantisation of a convolution with u8 activations.
fn quantised(relu: bool, residual: bool) -> Quantisation {
    let [src, dst, added] = SCALES.map(|scale| Scale::new(scale).expect("in the limits"));
    let affine = |scale, zero| Affine { scale, zero };
    Quantisation {
        src: affine(src, 0),
        weights: WeightScale::PerChannel,
        dst: affine(dst, if relu { 0 } else { MIDDLE }),
        residual: match residual {
            true => affine(added, 0),
            false => Affine::default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(problem: &str, dtype: DType) -> Result<String, String> {
        let problem: Problem = problem.parse().expect("a problem");
        in_type(&problem, dtype).map(|p| p.to_string())
    }

    #[test]
    fn layers_have_the_types_of_a_quantised_network() {
        let conv = "--dir=FWD_B --attr-post-ops=relu mb1ic64ih56oc64oh56kh3ph1";
        let added =
            "--dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb1ic64ih56oc256oh56kh1ph0";
        let linear = "--dir=FWD_B mb1ic2048ih1oc1000oh1kh1ph0";
        let pool = "--pool --alg=max mb1ic64ih112oh56kh3sh2ph1";
        for (problem, dtype, expected) in [
            (
                conv,
                DType::Bf16,
                "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=relu mb1ic64ih56oc64oh56kh3ph1",
            ),
            (
                conv,
                DType::U8,
                "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.02+wei:per_oc+dst:common:0.05 --attr-post-ops=relu mb1ic64ih56oc64oh56kh3ph1",
            ),
            (
                added,
                DType::Bf16,
                "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=add:bf16:per_tensor+relu mb1ic64ih56oc256oh56kh1ph0",
            ),
            (
                added,
                DType::U8,
                "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.02+wei:per_oc+dst:common:0.05 --attr-post-ops=sum:0.03:0:u8+relu mb1ic64ih56oc256oh56kh1ph0",
            ),
            (
                linear,
                DType::U8,
                "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.02+wei:per_oc+dst:common:0.05 --attr-zero-points=dst:common:128 mb1ic2048ih1oc1000oh1kh1ph0",
            ),
            (
                pool,
                DType::U8,
                "--pool --dt=u8 --alg=max mb1ic64ih112oh56kh3sh2ph1",
            ),
            (pool, DType::F32, pool),
        ] {
            let found = text(problem, dtype).expect("a form");
            let parsed: Problem = expected.parse().expect("a problem");
            assert_eq!(found.parse::<Problem>(), Ok(parsed), "{found}");
        }
    }

    #[test]
    fn networks_have_three_types() {
        assert_eq!(requested_type(" bf16"), Ok(DType::Bf16));
        assert!(
            ["int8", "s8", "s32", ""]
                .iter()
                .all(|name| requested_type(name).is_err())
        );
    }

    #[test]
    fn layers_without_a_form_are_refused() {
        for dtype in [DType::Bf16, DType::U8] {
            let why = text("--softmax 1x1000x1x1", dtype).expect_err("f32 only");
            assert!(why.contains("f32 only"), "{why}");
        }
        let why = text("--dt=bf16 mb1ic16ih8oc16oh8kh3ph1", DType::U8).expect_err("stated");
        assert!(why.contains("states its own types"), "{why}");
    }

    #[test]
    fn every_layer_of_every_network_has_a_form_or_stays_f32() {
        for network in crate::networks::all() {
            for layer in network.layers {
                let is_sum = matches!(layer.problem.op, Op::Conv(_) | Op::Pool(_));
                for dtype in [DType::Bf16, DType::U8] {
                    let form = in_type(&layer.problem, dtype);
                    assert_eq!(form.is_ok(), is_sum, "{}: {form:?}", layer.problem);
                    let Ok(form) = form else { continue };
                    assert_eq!(form.to_string().parse(), Ok(form), "{form}");
                }
            }
        }
    }
}
