//! Helpers for tests of algorithms that multiply sums of inputs.

use convroof_kernels::blocking::{Caches, Tuning};
use convroof_kernels::conformance::{Data, Deviation, tolerance};
use convroof_kernels::data::{Fill, Rng};
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::compute;
use convroof_kernels::reference::{self, Operands};
use convroof_kernels::{Algorithm, Isa, PlanCx, Problem};

/// Output of an algorithm on this machine's best instruction set.
pub(crate) fn run(
    algorithm: &dyn Algorithm,
    problem: &Problem,
    x: Operands<'_>,
    tuning: Tuning,
) -> Vec<f32> {
    let caches = Caches::default();
    let cx = PlanCx::new(Isa::best(), &caches).with_tuning(tuning);
    let plan = algorithm.plan(problem, &cx).expect("a plan");
    compute(plan, x, &Serial).expect("memory")
}

/// Checks the error bound on inputs that are hard for sums of inputs. Errors must stay in proportion to the largest
/// value.
pub(crate) fn errors_follow_the_largest_value(algorithm: &dyn Algorithm, problem: &Problem) {
    let [_, _, h, w] = problem.src_dims();
    let map = h * w;
    let data = Data::new(problem, Fill::Uniform, 6);
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
    let meta = algorithm.meta();
    for (name, src) in cases {
        let x = Operands {
            src: &src,
            ..data.operands()
        };
        let expected = reference::compute(problem, x, &Serial);
        let out = run(algorithm, problem, x, Tuning::default());
        let deviation = Deviation::between(&out, &expected);
        let largest = src.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        let allowed =
            tolerance(meta.accuracy, problem, 1.0, deviation.largest) * f64::from(largest);
        println!(
            "{:18} {name:10} max {:.1e} of {allowed:.1e}, l2 {:.1e}",
            meta.id, deviation.max, deviation.l2
        );
        assert!(deviation.max <= allowed, "{} on {name}, {problem}", meta.id);
    }
}
