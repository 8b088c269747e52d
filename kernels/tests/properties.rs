//! What convolution is, whatever computes it: shifting the input shifts the output, an output depends
//! on nothing outside its receptive field, and sums split over channels.

use convroof_kernels::blocking::Caches;
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::Instance;
use convroof_kernels::problem::Op;
use convroof_kernels::reference::Operands;
use convroof_kernels::{Isa, PlanCx, Problem, Registry, Variant};

/// Every algorithm on the widest instruction set and on scalar code.
fn variants() -> Vec<Variant> {
    let st = |v: &Variant| v.id().to_string().ends_with("/st");
    Registry::builtin()
        .variants(&[Isa::Scalar, Isa::best().isa()])
        .into_iter()
        .filter(st)
        .collect()
}

/// The output in plain NCHW; none if the variant refuses.
fn run(variant: &Variant, problem: &Problem, x: Operands<'_>) -> Option<Vec<f32>> {
    let caches = Caches::default();
    let isa = variant.isa.detect().expect("here");
    let plan = variant
        .algorithm
        .plan(problem, &PlanCx::new(isa, &caches))
        .ok()?;
    let mut instance = Instance::new(plan).expect("memory");
    instance.load(x, &Serial);
    instance.run(&Serial);
    Some(
        instance
            .output_nchw(&Serial)
            .expect("memory")
            .f32s()
            .to_vec(),
    )
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

/// The map `x`, moved down by `dy` and right by `dx`; zeros come in.
fn shifted(x: &[f32], h: usize, w: usize, dy: usize, dx: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    for (map, to) in x.chunks_exact(h * w).zip(out.chunks_exact_mut(h * w)) {
        for y in dy..h {
            to[y * w + dx..(y + 1) * w].copy_from_slice(&map[(y - dy) * w..(y - dy + 1) * w - dx]);
        }
    }
    out
}

/// Rows and columns from an output that its inputs can reach.
fn reach(problem: &Problem) -> usize {
    match &problem.op {
        Op::Conv(c) => (c.kernel[0] - 1) * c.dilation[0],
        Op::Pool(p) => p.kernel[0] - 1,
        _ => 0,
    }
}

#[test]
fn shifting_the_input_shifts_the_output() {
    let mut ran = 0;
    for text in PROBLEMS {
        let problem: Problem = text.parse().expect("a problem");
        let ([_, _, h, w], [_, _, ho, wo]) = (problem.src_dims(), problem.dst_dims());
        // Integers: the same sums in another order are the same.
        let data = Data::new(&problem, Fill::Integers, 3);
        let x = data.operands();
        let (dy, dx) = (2, 1);
        let moved = shifted(x.src, h, w, dy, dx);
        for variant in variants() {
            let Some(out) = run(&variant, &problem, x) else {
                continue;
            };
            let after = run(&variant, &problem, Operands { src: &moved, ..x }).expect("as before");
            let border = reach(&problem) + dy;
            for (a, b) in out.chunks_exact(ho * wo).zip(after.chunks_exact(ho * wo)) {
                for y in border..ho.saturating_sub(border) {
                    for c in border..wo.saturating_sub(border) {
                        let (before, now) = (a[(y - dy) * wo + c - dx], b[y * wo + c]);
                        assert!(
                            (before - now).abs() <= 1e-3 * before.abs().max(1.0),
                            "{variant:?} on {text}"
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
        // One pixel becomes large in all channels.
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
            // A tile of Winograd's is transformed as a whole: what is large in it rounds all of it.
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
