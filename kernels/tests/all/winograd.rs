//! Winograd's algorithms: the reach of a NaN, errors for values of different magnitudes, and narrow elements.

use crate::fast::{self, run};
use convroof_kernels::blocking::{Caches, Tuning};
use convroof_kernels::conformance::{Data, Outcome, check};
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::Instance;
use convroof_kernels::isa::{IsaToken, Words};
use convroof_kernels::problem::{ConvShape, Op};
use convroof_kernels::reference::{self, Operands};
use convroof_kernels::{Algorithm, Isa, PlanCx, Problem, Registry};

/// Algorithms, each with the outputs of a tile along an axis and with a problem.
fn algorithms() -> impl Iterator<Item = (&'static dyn Algorithm, usize, Problem)> {
    let registry = Registry::builtin();
    let all = registry.algorithms().to_vec().into_iter();
    all.filter_map(|algorithm| {
        let id = algorithm.meta().id;
        let digits = id.strip_prefix("winograd-f")?;
        let text = match digits {
            "4x3-s2d" => "mb1ic4ih13iw11oc17oh7ow6kh5kw5sh2sw2ph2pw2",
            "4x4-s2d" => "mb1ic4ih13iw11oc17oh7ow6kh7kw7sh2sw2ph3pw3",
            _ if digits.ends_with("x3-s2") => "mb1ic20ih13iw11oc17oh7ow6kh3kw3sh2sw2ph1pw1",
            _ if digits.ends_with("x5") => "mb1ic20ih13iw11oc17oh13ow11kh5kw5ph2pw2",
            _ => "mb1ic20ih13iw11oc17oh13ow11kh3kw3ph1pw1",
        };
        let outputs = digits[..1].parse().expect("outputs of a tile");
        Some((algorithm, outputs, text.parse().expect("a problem")))
    })
}

fn conv(problem: &Problem) -> &ConvShape {
    match &problem.op {
        Op::Conv(conv) => conv,
        _ => unreachable!("a convolution"),
    }
}

#[test]
fn what_is_not_finite_reaches_the_tiles_that_read_it() {
    for (algorithm, m, problem) in algorithms() {
        let conv = conv(&problem);
        let data = Data::new(&problem, Fill::Uniform, 5);
        let plan = algorithm
            .plan(&problem, &PlanCx::new(Isa::best(), &Caches::default()))
            .expect("a plan");
        assert_eq!(plan.spec().granularity.h_out, m);
        for bad in [f32::NAN, f32::INFINITY] {
            for (y, x) in [(0, 0), (5, 4), (6, 7), (12, 10), (3, 8)] {
                let mut src = data.operands().src.to_vec();
                src[(3 * conv.h + y) * conv.w + x] = bad;
                let operands = Operands {
                    src: &src,
                    ..data.operands()
                };
                let out = run(algorithm, &problem, operands, Tuning::default());
                // A tile of an image's phases reads equally many samples of each phase.
                let phases = algorithm.meta().id.ends_with("-s2d");
                let taps = |axis: usize, len: usize| match (phases, len) {
                    (true, 2..) => conv.kernel[axis].next_multiple_of(conv.stride[axis]),
                    _ => conv.kernel[axis],
                };
                // True if outputs `first..first + len` along an axis read the input at `at`.
                let reads = |first: usize, len: usize, at: usize, axis: usize, pad: usize| {
                    let stride = conv.stride[axis];
                    let start = first * stride;
                    (start..start + (len - 1) * stride + taps(axis, len)).contains(&(at + pad))
                };
                let mut tiles = std::collections::BTreeSet::new();
                for (i, value) in out.iter().enumerate() {
                    let (row, col) = (i / conv.w_out() % conv.h_out(), i % conv.w_out());
                    let own =
                        reads(row, 1, y, 0, conv.pad.top) && reads(col, 1, x, 1, conv.pad.left);
                    let tile = (row / m, col / m);
                    let by_tile = reads(tile.0 * m, m, y, 0, conv.pad.top)
                        && reads(tile.1 * m, m, x, 1, conv.pad.left);
                    let id = algorithm.meta().id;
                    if own {
                        assert!(
                            !value.is_finite(),
                            "{id} lost {bad} of {y}, {x} at {row}, {col}"
                        );
                    }
                    if !value.is_finite() {
                        assert!(by_tile, "{id}: {bad} of {y}, {x} got to {row}, {col}");
                        tiles.insert(tile);
                    }
                }
                // Number of tiles that overlap along an axis: two, or three for small tiles with large filters.
                let step = m * conv.stride[0];
                let most = ((m - 1) * conv.stride[0] + conv.kernel[0]).div_ceil(step);
                assert!((1..=most * most).contains(&tiles.len()), "{tiles:?}");
            }
        }
    }
}

#[test]
fn errors_follow_the_largest_value() {
    for (algorithm, _, problem) in algorithms() {
        fast::errors_follow_the_largest_value(algorithm, &problem);
    }
}

/// Algorithms of narrow elements. The second one has no exact transforms of integers.
const NARROW: [&str; 2] = ["winograd-f2x3", "winograd-f4x3"];

fn algorithm(id: &str) -> &'static dyn Algorithm {
    Registry::builtin().algorithm(id).expect(id)
}

fn problem(text: &str) -> Problem {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Types and attributes of integer layers.
const INTEGERS: [&str; 6] = [
    "--dt=u8:s8:s32 --attr-zero-points=src:common:255",
    "--dt=s8:s8:s32 --attr-zero-points=src:common:-128 --attr-post-ops=relu",
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.1+wei:per_oc+dst:common:0.3 --attr-zero-points=src:common:3+dst:common:128 --attr-post-ops=sum:0.25:8:u8+relu",
    "--dt=s8:s8:s8 --attr-scales=src:common:0.02+wei:per_oc --attr-zero-points=src:common:127+dst:common:-20 --attr-post-ops=sum:0.3:-4:s8",
    "--dt=u8:s8:f32 --dir=FWD_B --attr-scales=wei:common:0.01 --attr-post-ops=add:f32:per_tensor",
    "--dt=s8:s8:u8 --dir=FWD_B --attr-scales=wei:common:0.01+dst:common:3 --attr-post-ops=add:s32:per_tensor",
];

/// Types and attributes of bf16 layers.
const BF16: [&str; 3] = [
    "--dt=bf16:bf16:f32 --dir=FWD_B --attr-post-ops=add:f32:per_tensor",
    "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=relu",
    "--dt=bf16:bf16:bf16 --attr-post-ops=add:bf16:per_tensor+relu",
];

/// Shapes: whole and broken vectors of channels, panels, and tiles; one output, one row of tiles, uneven padding, true
/// convolution, several images.
const SHAPES: [&str; 9] = [
    "mb1ic1ih3oc1kh3ph0",
    "mb1ic3ih1iw9oc5kh3kw3ph1pw1",
    "mb2ic7ih6iw5oc17kh3kw3ph1pw1",
    "mb1ic16ih7oc16kh3ph1",
    "mb1ic33ih9iw4oc33kh3kw3ph0pw2",
    "mb1ic64ih8oc40kh3ph1",
    "mb2ic66ih10iw3oc70kh3kw3ph2pw0",
    "--flip mb1ic20ih6oc18kh3ph1",
    "mb1ic32ih13oc130kh3ph1",
];

/// Blocks: derived, and small ones, so that there are several tasks, and several runs of panels.
const TUNINGS: [Tuning; 2] = [
    Tuning { mc: None, nc: None },
    Tuning {
        mc: Some(5),
        nc: Some(16),
    },
];

/// Checks all shapes with some types on each instruction set of an algorithm. Those that extend another by no dot products
/// of `words` must be refused.
fn conform(id: &str, types: &str, words: Words) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
    let pool = pool.expect("a pool");
    let meta = algorithm(id).meta();
    let isas: Vec<IsaToken> = meta.isas.iter().filter_map(|isa| isa.detect()).collect();
    for shape in SHAPES {
        let text = match shape.strip_prefix("--flip ") {
            Some(shape) => format!("--flip {types} {shape}"),
            None => format!("{types} {shape}"),
        };
        for &isa in &isas {
            let computes = isa.isa().base() == isa.isa() || isa.isa().has_dots(words);
            for tuning in TUNINGS {
                let checked = check(algorithm(id), isa, &problem(&text), tuning, &[&pool]);
                match checked.unwrap_or_else(|wrong| panic!("{id}: {wrong}")) {
                    Outcome::Passed { .. } => assert!(computes, "{id}: {text}"),
                    Outcome::Refused(why) => {
                        let expected = !computes && why.contains("no dot products of");
                        assert!(expected, "{id}, {text}: {why}");
                    }
                }
            }
        }
    }
}

#[test]
fn integers_are_exact() {
    for types in INTEGERS {
        conform("winograd-f2x3", types, Words::S16);
    }
}

#[test]
fn bf16s_are_within_their_bounds() {
    for (id, types) in NARROW
        .into_iter()
        .flat_map(|id| BF16.map(|types| (id, types)))
    {
        conform(id, types, Words::Bf16);
    }
}

/// The most channels, with all values at their limits: four times a sum almost reaches 2^31. With one more, it might not fit.
#[test]
fn integers_are_exact_up_to_the_largest_sums() {
    for (types, x) in [
        ("--dt=u8:s8:s32", 255.0),
        ("--dt=s8:s8:s32 --attr-zero-points=src:common:127", -128.0),
    ] {
        let layer = |channels: usize| problem(&format!("{types} mb1ic{channels}ih4oc2kh3ph1"));
        let (largest, f2x3) = (layer(1827), algorithm("winograd-f2x3"));
        let src = vec![x; 1827 * 16];
        for w in [-128.0, 127.0] {
            let weights = vec![w; 2 * 1827 * 9];
            let operands = Operands {
                src: &src,
                weights: &weights,
                bias: &[],
                residual: &[],
                scales: &[],
            };
            let expected = reference::compute(&largest, operands, &Serial);
            assert!(expected.iter().any(|y| y.abs() > 2f64.powi(29) * 0.99));
            for isa in f2x3.meta().isas.iter().filter_map(|isa| isa.detect()) {
                let caches = Caches::default();
                let Ok(plan) = f2x3.plan(&largest, &PlanCx::new(isa, &caches)) else {
                    continue;
                };
                let mut instance = Instance::new(plan).expect("memory");
                instance.load(operands, &Serial);
                instance.run(&Serial);
                let output = instance.exact_output_nchw(&Serial).expect("memory");
                assert_eq!(output, expected, "{types} on {}", isa.isa());
            }
        }
        let caches = Caches::default();
        let refused = f2x3.plan(&layer(1828), &PlanCx::new(Isa::best(), &caches));
        let reason = refused.err().expect("too many channels").to_string();
        assert!(reason.contains("more than 32 bits hold"), "{reason}");
    }
}

/// Transformed values are rounded to bf16 only where the CPU multiplies them.
#[test]
fn bf16s_lose_accuracy_with_their_dot_products_only() {
    let layer = problem("--dt=bf16:bf16:f32 mb1ic40ih12oc32kh3ph1");
    for id in NARROW {
        let isas = algorithm(id).meta().isas.iter();
        for isa in isas.filter_map(|isa| isa.detect()) {
            match check(algorithm(id), isa, &layer, Tuning::default(), &[]) {
                Ok(Outcome::Passed { share, .. }) => {
                    let rounded = isa.isa().has_dots(Words::Bf16);
                    assert_eq!(share > 0.03, rounded, "{id} on {}: {share}", isa.isa());
                }
                Ok(Outcome::Refused(why)) => assert!(why.contains("bf16"), "{why}"),
                Err(wrong) => panic!("{id}: {wrong}"),
            }
        }
    }
}

#[test]
fn narrow_layers_that_a_scheme_does_not_compute_are_refused_with_a_reason() {
    let (caches, u8s, bf16s) = (Caches::default(), "--dt=u8:s8:u8", "--dt=bf16:bf16:bf16");
    for (id, types, shape, reason) in [
        (
            "winograd-f2x3",
            u8s,
            "mb1ic8ih8oc8kh3sh2ph1",
            "the stride is not 1",
        ),
        (
            "winograd-f2x3",
            u8s,
            "mb1ic8ih8oc8kh5ph2",
            "the kernel is not 3x3",
        ),
        (
            "winograd-f2x3",
            bf16s,
            "mb1ic8ih8oc8kh3ph1dh1",
            "the filter is dilated",
        ),
        (
            "winograd-f4x3",
            bf16s,
            "g2mb1ic8ih8oc8kh3ph1",
            "the channels are grouped",
        ),
        (
            "winograd-f4x3",
            u8s,
            "mb1ic8ih8oc8kh3ph1",
            "its transforms of integers round",
        ),
        (
            "winograd-f6x3",
            bf16s,
            "mb1ic8ih8oc8kh3ph1",
            "computes in f32 only",
        ),
    ] {
        let layer = problem(&format!("{types} {shape}"));
        let plan = algorithm(id).plan(&layer, &PlanCx::new(Isa::best(), &caches));
        let refused = plan
            .err()
            .unwrap_or_else(|| panic!("{id} computes {layer}"));
        assert_eq!(refused.to_string(), reason, "{id}");
    }
}
