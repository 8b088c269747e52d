//! Every algorithm on random convolutions: any valid stride, dilation, asymmetric padding, number of groups, tail of
//! channels and of pixels, epilogue and block size. Each result must pass the checks of [`conformance`]. A convolution
//! that fails is reduced to the smallest one that still fails.
//!
//! `PROPTEST_CASES` is the number of convolutions.
//!
//! [`conformance`]: convroof_kernels::conformance

use convroof_kernels::blocking::Tuning;
use convroof_kernels::conformance::{Outcome, check};
use convroof_kernels::problem::{ConvShape, ConvSpec, Epilogue, Pad};
use convroof_kernels::{Isa, IsaToken, Problem, Registry};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// One axis: filter, stride, dilation, padding before and after, and inputs beyond those of the first output.
fn axis() -> impl Strategy<Value = [usize; 6]> {
    let kernel = prop_oneof![4 => Just(3), 2 => Just(1), 1 => Just(5), 2 => 1..=5usize];
    let stride = prop_oneof![4 => Just(1), 3 => Just(2), 1 => Just(3)];
    let dilation = prop_oneof![5 => Just(1), 1 => 2..=3usize];
    let pad = 0..=2usize;
    (kernel, stride, dilation, pad.clone(), pad, 0..=13usize).prop_map(Into::into)
}

/// Input and output channels of a group, and the number of groups.
fn channels() -> impl Strategy<Value = [usize; 3]> {
    let few = (1..=4usize, 1..=4usize, 1..=17usize);
    // Groups of equally many inputs and outputs, up to 8, have a kernel of their own.
    let alike = (prop_oneof![Just(1), Just(2), Just(4), Just(8)], 1..=17usize);
    prop_oneof![
        3 => (1..=36usize, 1..=36usize).prop_map(|(c_in, c_out)| [c_in, c_out, 1]),
        1 => few.prop_map(|(c_in, c_out, groups)| [c_in, c_out, groups]),
        1 => alike.prop_map(|(channels, groups)| [channels, channels, groups]),
    ]
}

fn convolution() -> impl Strategy<Value = Problem> {
    // In most layers both axes have the same filter, stride and dilation.
    let axes = (axis(), axis(), prop::bool::weighted(0.7));
    let epilogue = (any::<bool>(), any::<bool>(), any::<bool>());
    let problem = (1..=2usize, channels(), axes, any::<bool>(), epilogue);
    problem.prop_filter_map("an invalid shape", |(n, channels, axes, flip, epilogue)| {
        let (mut down, mut across, alike) = axes;
        if alike {
            // Padding and size stay different.
            across[..3].copy_from_slice(&down[..3]);
        }
        if down[0] == 1 && across[0] == 1 {
            // A filter of one tap has no padding.
            [down[3], down[4], across[3], across[4]] = [0; 4];
        }
        let [[kh, sh, dh, top, bottom, _], [kw, sw, dw, left, right, _]] = [down, across];
        let size = |[kernel, _, dilation, before, after, more]: [usize; 6]| {
            let first = (kernel - 1) * dilation + 1;
            first.saturating_sub(before + after).max(1) + more
        };
        let [c_in, c_out, groups] = channels;
        let conv = ConvShape::try_from(ConvSpec {
            n,
            c_in: c_in * groups,
            h: size(down),
            w: size(across),
            c_out: c_out * groups,
            kernel: [kh, kw],
            stride: [sh, sw],
            pad: Pad {
                top,
                left,
                bottom,
                right,
            },
            dilation: [dh, dw],
            groups,
            flip,
        });
        let (bias, relu, residual) = epilogue;
        Some(Problem {
            epilogue: Epilogue {
                bias,
                relu,
                residual,
            },
            ..Problem::from(conv.ok()?)
        })
    })
}

fn tuning() -> impl Strategy<Value = Tuning> {
    let size = |most: usize| prop_oneof![Just(None), (1..=most).prop_map(Some)];
    (size(40), size(80)).prop_map(|(mc, nc)| Tuning { mc, nc })
}

/// Algorithms that must compute some of the convolutions.
const ALGORITHMS: [&str; 14] = [
    "direct",
    "direct-nchw",
    "gemm-1x1",
    "im2col",
    "implicit-gemm",
    "winograd-f2x3",
    "winograd-f2x3-s2",
    "winograd-f2x5",
    "winograd-f3x5",
    "winograd-f4x3",
    "winograd-f4x3-s2",
    "winograd-f4x3-std",
    "winograd-f4x5",
    "winograd-f6x3",
];

#[test]
fn every_algorithm_computes_random_convolutions() {
    let isas: Vec<IsaToken> = Isa::F32.into_iter().filter_map(Isa::detect).collect();
    let cases = (convolution(), tuning(), 0..isas.len());
    let computed = RefCell::new(BTreeMap::new());
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 4096,
        ..Config::default()
    };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let run = TestRunner::new_with_rng(config, seed).run(&cases, |(problem, tuning, isa)| {
        for algorithm in Registry::builtin().algorithms() {
            match check(*algorithm, isas[isa], &problem, tuning, &[]) {
                Ok(Outcome::Passed { .. }) => {
                    *computed
                        .borrow_mut()
                        .entry(algorithm.meta().id)
                        .or_insert(0) += 1;
                }
                Ok(Outcome::Refused(_)) => {}
                Err(failure) => {
                    let id = algorithm.meta().id;
                    return Err(TestCaseError::fail(format!("{id}: {failure}")));
                }
            }
        }
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
    let computed = computed.into_inner();
    println!("convolutions of each algorithm: {computed:?}");
    let few = |id: &&str| computed.get(id).is_none_or(|&count| count < 3);
    let few: Vec<_> = ALGORITHMS.into_iter().filter(few).collect();
    assert_eq!(few, [""; 0], "computed too few convolutions");
}
