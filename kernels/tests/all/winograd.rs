//! Winograd's algorithms: the reach of a NaN, and errors for values of different magnitudes.

use crate::fast::{self, run};
use convroof_kernels::blocking::{Caches, Tuning};
use convroof_kernels::conformance::Data;
use convroof_kernels::data::Fill;
use convroof_kernels::problem::{ConvShape, Op};
use convroof_kernels::reference::Operands;
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
