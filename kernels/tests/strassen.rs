//! What Strassen's product promises beside right results: how far what is not finite gets, and how errors grow.

use convroof_kernels::algo::strassen::Strassen1x1;
use convroof_kernels::blocking::{Caches, Tuning};
use convroof_kernels::conformance::{Data, tolerance};
use convroof_kernels::data::{Fill, Rng};
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::{Deviation, Instance};
use convroof_kernels::reference::{self, Operands};
use convroof_kernels::{Algorithm, Isa, PlanCx, Problem};

const PROBLEMS: [&str; 3] = [
    "mb1ic64ih8oc128oh8kh1",
    // An odd pixel, an odd block of channels, and panels without a partner.
    "mb1ic48ih7oc168oh7kh1",
    "mb1ic100ih9oc128oh5kh1sh2",
];

fn run(problem: &Problem, x: Operands<'_>, tuning: Tuning) -> Vec<f32> {
    let caches = Caches::default();
    let cx = PlanCx {
        tuning,
        ..PlanCx::new(Isa::best(), &caches)
    };
    let plan = Strassen1x1.plan(problem, &cx).expect("supported");
    let mut instance = Instance::new(plan).expect("memory");
    instance.load(x, &Serial);
    instance.run(&Serial);
    let output = instance.output_nchw(&Serial).expect("memory");
    output.f32s().to_vec()
}

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
                for (i, y) in run(&problem, x, Tuning::default()).iter().enumerate() {
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

/// The pairs are the image's, not a task's.
#[test]
fn results_do_not_depend_on_how_tasks_are_cut() {
    for text in PROBLEMS {
        let problem: Problem = text.parse().expect("a problem");
        let data = Data::new(&problem, Fill::Uniform, 7);
        let whole = run(&problem, data.operands(), Tuning::default());
        for mc in [1, 2, 5, 13] {
            for nc in [None, Some(1)] {
                let tuning = Tuning { mc: Some(mc), nc };
                assert_eq!(run(&problem, data.operands(), tuning), whole, "{text} {mc}");
            }
        }
    }
}

/// Inputs that sums of inputs like less than plain ones do: errors stay in proportion to the largest value.
#[test]
fn errors_follow_the_largest_value() {
    for text in PROBLEMS {
        let problem: Problem = text.parse().expect("a problem");
        let [_, _, h, w] = problem.src_dims();
        let map = h * w;
        let data = Data::new(&problem, Fill::Uniform, 6);
        let offset = data.operands().src.iter().map(|x| x + 1000.0).collect();
        let mut channel = data.operands().src.to_vec();
        channel[map..2 * map].iter_mut().for_each(|x| *x *= 1e4);
        let mut pixel = data.operands().src.to_vec();
        pixel[map / 2] = 1e6;
        let gauss = Rng::new(1).vec(Fill::Gaussian, data.operands().src.len());
        let cases: [(&str, Vec<f32>); 4] = [
            ("an offset", offset),
            ("a channel", channel),
            ("a pixel", pixel),
            ("normal", gauss),
        ];
        for (name, src) in cases {
            let x = Operands {
                src: &src,
                ..data.operands()
            };
            let expected = reference::compute(&problem, x, &Serial);
            let deviation = Deviation::between(&run(&problem, x, Tuning::default()), &expected);
            let largest = src.iter().fold(0.0f32, |a, x| a.max(x.abs()));
            let accuracy = Strassen1x1.meta().accuracy;
            let allowed =
                tolerance(accuracy, &problem, 1.0, deviation.largest) * f64::from(largest);
            println!(
                "{text:26} {name:10} max {:.1e} of {allowed:.1e}, l2 {:.1e}",
                deviation.max, deviation.l2
            );
            assert!(deviation.max <= allowed, "{text} on {name}");
        }
    }
}
