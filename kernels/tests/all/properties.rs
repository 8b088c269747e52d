//! Properties of every convolution, by any algorithm. A shifted input shifts the output. An output depends only on its
//! receptive field. A sum over channels can be divided.

use convroof_kernels::blocking::Caches;
use convroof_kernels::conformance::{Data, tolerance};
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::compute;
use convroof_kernels::problem::Op;
use convroof_kernels::reference::{self, Operands};
use convroof_kernels::{Isa, PlanCx, Problem, Registry, Variant};

/// Every algorithm on the widest instruction set and on scalar code, on one thread.
fn variants() -> Vec<Variant> {
    let st = |v: &Variant| v.id().to_string().ends_with("/st");
    Registry::builtin()
        .variants(&[Isa::Scalar, Isa::best().isa()])
        .into_iter()
        .filter(st)
        .collect()
}

/// Output in plain NCHW; `None` if the variant refuses the problem.
fn run(variant: &Variant, problem: &Problem, x: Operands<'_>) -> Option<Vec<f32>> {
    let caches = Caches::default();
    let isa = variant.isa.detect().expect("here");
    let plan = variant
        .algorithm
        .plan(problem, &PlanCx::new(isa, &caches))
        .ok()?;
    Some(compute(plan, x, &Serial).expect("memory"))
}

const PROBLEMS: [&str; 12] = [
    "mb1ic5ih12oc18oh12kh3ph1",
    "mb1ic16ih11oc16oh11kh5ph2",
    "mb1ic20ih10oc9oh10kh1ph0",
    "mb1ic4ih13oc6oh13kh3ph2dh1",
    "--pool --alg=max mb1ic17ih12oh12kh3ph1",
    "--eltwise --alg=linear 1x17x9x8",
    "--eltwise --alg=relu 1x17x9x8",
    "--binary --alg=add --attr-post-ops=relu 1x17x9x8:1x17x1x1",
    "--bnorm --flags=GCH mb1ic17ih9iw8",
    "--softmax --axis=1 1x17x9x8",
    "--concat --axis=1 1x17x9x8:1x5x9x8",
    "--lrn mb1ic17ih9iw8ls5alpha1beta0.75k1",
];

/// Copy of the maps `x`, moved down by `dy` and right by `dx`, with zeros moved in.
fn shifted(x: &[f32], h: usize, w: usize, dy: usize, dx: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    for (map, to) in x.chunks_exact(h * w).zip(out.chunks_exact_mut(h * w)) {
        for y in dy..h {
            to[y * w + dx..(y + 1) * w].copy_from_slice(&map[(y - dy) * w..(y - dy + 1) * w - dx]);
        }
    }
    out
}

/// Maximum distance, in rows and columns, from an output to its inputs.
fn reach(problem: &Problem) -> usize {
    match &problem.op {
        Op::Conv(c) => (c.kernel[0] - 1) * c.dilation[0],
        Op::Pool(p) => p.kernel[0] - 1,
        _ => 0,
    }
}

/// Largest allowed difference of two outputs on integers that are equal in exact arithmetic.
fn rounding(variant: &Variant, problem: &Problem, outputs: &[f32]) -> f64 {
    let accuracy = variant.algorithm.meta().accuracy;
    if accuracy.is_exact_on_integers() {
        return 0.0;
    }
    let largest = outputs.iter().fold(0.0f32, |max, y| max.max(y.abs()));
    let largest = f64::from(largest);
    // Each of the two may have the largest error.
    2.0 * tolerance(accuracy, problem, Fill::Integers.magnitude(), largest) * largest
}

#[test]
fn shifting_the_input_shifts_the_output() {
    let mut ran = 0;
    for text in PROBLEMS {
        let problem: Problem = text.parse().expect("a problem");
        let ([_, _, h, w], [_, _, ho, wo]) = (problem.src_dims(), problem.dst_dims());
        // Integers, so that sums are exact.
        let data = Data::new(&problem, Fill::Integers, 3);
        let x = data.operands();
        let (dy, dx) = (2, 1);
        let moved = shifted(x.src, h, w, dy, dx);
        for variant in variants() {
            let Some(out) = run(&variant, &problem, x) else {
                continue;
            };
            let after = run(&variant, &problem, Operands { src: &moved, ..x }).expect("as before");
            let allowed = rounding(&variant, &problem, &out);
            let border = reach(&problem) + dy;
            for (a, b) in out.chunks_exact(ho * wo).zip(after.chunks_exact(ho * wo)) {
                for y in border..ho.saturating_sub(border) {
                    for c in border..wo.saturating_sub(border) {
                        let (before, now) = (a[(y - dy) * wo + c - dx], b[y * wo + c]);
                        let difference = f64::from((before - now).abs());
                        assert!(
                            difference <= allowed,
                            "{variant:?} on {text}: {before} becomes {now}"
                        );
                        ran += 1;
                    }
                }
            }
        }
    }
    assert!(ran > 1000);
}

#[test]
fn an_output_depends_on_its_receptive_field_alone() {
    for text in PROBLEMS {
        let problem: Problem = text.parse().expect("a problem");
        let ([_, c, h, w], [_, _, ho, wo]) = (problem.src_dims(), problem.dst_dims());
        let data = Data::new(&problem, Fill::Uniform, 4);
        let x = data.operands();
        // One pixel is increased in all channels.
        let mut touched = x.src.to_vec();
        for channel in 0..c {
            touched[(channel * h + 1) * w + 2] += 8.0;
        }
        for variant in variants() {
            let Some(out) = run(&variant, &problem, x) else {
                continue;
            };
            let after =
                run(&variant, &problem, Operands { src: &touched, ..x }).expect("as before");
            // Winograd transforms a tile as a whole, so a large value affects the rounding of all its outputs.
            let slack = if variant.id().algorithm.starts_with("winograd") {
                6
            } else {
                0
            };
            let reach = reach(&problem) + slack;
            let mut changed = 0;
            for (i, (a, b)) in out.iter().zip(&after).enumerate() {
                let (y, col) = (i / wo % ho, i % wo);
                if y > 1 + reach || col > 2 + reach {
                    assert_eq!(a, b, "{variant:?} on {text} at {y}, {col}");
                }
                changed += usize::from(a != b);
            }
            assert!(changed > 0, "{variant:?} on {text}");
        }
    }
}

#[test]
fn a_nan_stays_in_its_receptive_field() {
    for variant in variants() {
        for text in PROBLEMS {
            let problem: Problem = text.parse().expect("a problem");
            let data = Data::new(&problem, Fill::Uniform, 5);
            let mut src = data.operands().src.to_vec();
            src[0] = f32::NAN;
            let x = Operands {
                src: &src,
                ..data.operands()
            };
            let Some(out) = run(&variant, &problem, x) else {
                continue;
            };
            let [_, _, ho, wo] = problem.dst_dims();
            let reach = reach(&problem)
                + if variant.id().algorithm.starts_with("winograd") {
                    6
                } else {
                    0
                };
            assert!(
                out.iter().any(|y| y.is_nan()),
                "{variant:?} on {text} lost a NaN"
            );
            for (i, y) in out.iter().enumerate() {
                let far = i / wo % ho > reach || i % wo > reach;
                assert!(
                    !(far && y.is_nan()),
                    "{variant:?} on {text}: a NaN travelled to {i}"
                );
            }
        }
    }
}

/// A single NaN at any position: poolings test it once where windows overlap.
#[test]
fn a_single_nan_reaches_all_windows_that_it_is_in_and_no_others() {
    let mut ran = 0;
    for text in [
        "--pool --alg=max mb1ic17ih9iw11oh4ow5kh3kw3sh2sw2ph0pw0",
        "--pool --alg=max mb1ic16ih8iw10oh4ow5kh3kw3sh2sw2ph1pw1",
        "--pool --alg=max mb1ic16ih7iw9oh7ow9kh3kw3sh1sw1ph1pw1",
        "--pool --alg=max mb1ic16ih7iw9oh3ow4kh2kw2sh2sw2ph0pw0",
        "--pool --alg=max mb1ic16ih9iw9oh3ow4kh5kw3sh2sw2ph0pw0",
        "--pool --alg=max mb1ic16ih9iw9oh9ow4kh5kw3sh1sw2ph2pw0",
        "--pool --alg=max mb1ic16ih9iw9oh8ow4kh2kw3sh1sw2ph0pw0",
        "--pool --alg=max mb1ic16ih9iw9oh11ow4kh3kw3sh1sw2ph2pw0",
        "--pool --alg=max mb1ic40ih9iw23oh4ow11kh3kw3sh2sw2ph0pw0",
        "--pool --alg=max mb1ic16ih9iw9oh3ow4kh3kw3sh2sw2ph0pw0dh1dw0",
        "--pool --alg=max mb1ic16ih9iw9oh3ow4kh2kw3sh3sw2ph0pw0",
        "--pool --alg=lpinf mb1ic16ih9iw9oh4ow4kh3kw3sh2sw2ph0pw0",
        "--pool --alg=lp2 mb1ic16ih9iw9oh4ow4kh3kw3sh2sw2ph0pw0",
        "--pool --alg=avg_p mb1ic16ih8iw10oh4ow5kh3kw3sh2sw2ph1pw1",
    ] {
        let problem: Problem = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        let data = Data::new(&problem, Fill::Uniform, 6);
        let [_, c, h, w] = problem.src_dims();
        for pixel in 0..h * w {
            let mut src = data.operands().src.to_vec();
            src[pixel * 5 % c * h * w + pixel] = f32::NAN;
            let x = Operands {
                src: &src,
                ..data.operands()
            };
            let expected = reference::compute(&problem, x, &Serial);
            for variant in variants() {
                let Some(out) = run(&variant, &problem, x) else {
                    continue;
                };
                ran += 1;
                let wrong = (out.iter().zip(&expected)).position(|(y, z)| y.is_nan() != z.is_nan());
                assert_eq!(wrong, None, "{variant:?} on {text}, NaN at pixel {pixel}");
            }
        }
    }
    assert!(ran > 1000, "{ran}");
}

/// Checks every variant that supports `--flip`: a true convolution is a cross-correlation with reversed filters.
#[test]
fn true_convolution_is_cross_correlation_with_flipped_filters() {
    let mut ran = std::collections::BTreeSet::new();
    for text in [
        "mb1ic5ih12oc18oh12kh3ph1",
        "mb1ic16ih11iw9oc16oh11ow9kh5kw3sh1sw1ph2pw1",
        "mb2ic17ih12oc20oh6kh3sh2ph1",
        "mb1ic3ih20oc16oh8kh7sh2ph0",
        "g8mb1ic16ih9oc16oh9kh3ph1",
        "mb1ic20iw15oc20ow15kw5pw2",
        "--ip mb1ic5ih4iw3oc20",
        "mb1ic16ih14oc16oh14kh5ph2",
    ] {
        let plain: Problem = text.parse().expect("a problem");
        let flipped: Problem = format!("--flip {text}").parse().expect("a problem");
        let data = Data::new(&plain, Fill::Integers, 6);
        let x = data.operands();
        let [_, _, kh, kw] = plain.weights_dims().expect("a convolution");
        let mut weights = x.weights.to_vec();
        weights.chunks_exact_mut(kh * kw).for_each(<[f32]>::reverse);
        for variant in variants() {
            let Some(convolved) = run(&variant, &flipped, x) else {
                continue;
            };
            let turned = Operands {
                weights: &weights,
                ..x
            };
            let correlated = run(&variant, &plain, turned).expect("as before");
            assert_eq!(convolved, correlated, "{variant:?} on {text}");
            assert_ne!(
                Some(convolved),
                run(&variant, &plain, x),
                "{variant:?} on {text}"
            );
            ran.insert(variant.id().algorithm);
        }
    }
    // Every algorithm for convolutions of more than one tap.
    let least = [
        "direct",
        "direct-nchw",
        "fc",
        "im2col",
        "implicit-gemm",
        "winograd-f2x3",
        "winograd-f2x3-s2",
        "winograd-f2x5",
        "winograd-f4x3",
        "winograd-f4x4-s2d",
    ];
    for id in least {
        assert!(ran.contains(id), "{id} did none of {ran:?}");
    }
}

/// Compares with sums written out here, along the only axis.
#[test]
fn one_dimensional_convolution_slides_along_its_axis() {
    let [c_in, c_out, w, kernel, pad] = [17, 20, 31, 3, 1];
    let text = format!("mb1ic{c_in}iw{w}oc{c_out}ow{w}kw{kernel}pw{pad}");
    let problem: Problem = text.parse().expect("a problem");
    assert_eq!(problem.to_string(), text);
    let data = Data::new(&problem, Fill::Integers, 9);
    let x = data.operands();
    let mut expected = vec![0.0f32; c_out * w];
    for k in 0..c_out {
        for c in 0..c_in {
            for (t, weight) in x.weights[(k * c_in + c) * kernel..][..kernel]
                .iter()
                .enumerate()
            {
                for o in 0..w {
                    if let Some(&input) = (o + t)
                        .checked_sub(pad)
                        .and_then(|i| x.src[c * w..][..w].get(i))
                    {
                        expected[k * w + o] += input * weight;
                    }
                }
            }
        }
    }
    let mut ran = std::collections::BTreeSet::new();
    for variant in variants() {
        if let Some(out) = run(&variant, &problem, x) {
            assert_eq!(out, expected, "{variant:?}");
            ran.insert(variant.id().algorithm);
        }
    }
    assert!(ran.len() >= 4, "only {ran:?}");
}
