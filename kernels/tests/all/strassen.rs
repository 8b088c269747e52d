//! Strassen's algorithm: the reach of non-finite values, and the growth of errors.

use crate::fast::{self, run};
use convroof_kernels::Problem;
use convroof_kernels::algo::strassen::Strassen1x1;
use convroof_kernels::blocking::Tuning;
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::reference::Operands;

const PROBLEMS: [&str; 3] = [
    "mb1ic64ih8oc128oh8kh1",
    // An odd pixel, an odd block of channels, and panels without a partner.
    "mb1ic48ih7oc168oh7kh1",
    "mb1ic100ih9oc128oh5kh1sh2",
];

#[test]
fn what_is_not_finite_reaches_its_pixel_and_the_one_paired_with_it() {
    for text in PROBLEMS {
        let problem: Problem = text.parse().expect("a problem");
        let ([_, _, h, w], [_, _, ho, wo]) = (problem.src_dims(), problem.dst_dims());
        let stride = h.div_ceil(ho);
        let pixels = ho * wo;
        let first = pixels.div_ceil(2);
        let data = Data::new(&problem, Fill::Uniform, 5);
        for pixel in [0, 3, first - 1, first, pixels - 1] {
            for bad in [f32::NAN, f32::INFINITY] {
                let mut src = data.operands().src.to_vec();
                src[17 * h * w + pixel / wo * stride * w + pixel % wo * stride] = bad;
                let x = Operands {
                    src: &src,
                    ..data.operands()
                };
                let partner = (pixel + first) % (2 * first);
                for (i, y) in run(&Strassen1x1, &problem, x, Tuning::default())
                    .iter()
                    .enumerate()
                {
                    let at = i % pixels;
                    assert!(at != pixel || !y.is_finite(), "{text}: lost at {i}");
                    assert!(
                        at == pixel || at == partner || y.is_finite(),
                        "{text}: {bad} of pixel {pixel} got to {at}"
                    );
                }
            }
        }
    }
}

/// Pairs of pixels belong to the image, not to a task.
#[test]
fn results_do_not_depend_on_how_tasks_are_cut() {
    for text in PROBLEMS {
        let problem: Problem = text.parse().expect("a problem");
        let data = Data::new(&problem, Fill::Uniform, 7);
        let whole = run(&Strassen1x1, &problem, data.operands(), Tuning::default());
        for mc in [1, 2, 5, 13] {
            for nc in [None, Some(1)] {
                let tuning = Tuning { mc: Some(mc), nc };
                assert_eq!(
                    run(&Strassen1x1, &problem, data.operands(), tuning),
                    whole,
                    "{text} {mc}"
                );
            }
        }
    }
}

#[test]
fn errors_follow_the_largest_value() {
    for text in PROBLEMS {
        fast::errors_follow_the_largest_value(&Strassen1x1, &text.parse().expect("a problem"));
    }
}
