//! Every algorithm on scalar and emulated widths, on shapes so small that Miri can run them (`scripts/miri`), and
//! AddressSanitizer is fast (`scripts/asan`). The unsafe code of tiles, transforms and executors has to pass the checks
//! of `conformance.rs`.

use convroof_kernels::blocking::Tuning;
use convroof_kernels::conformance::{Outcome, check};
use convroof_kernels::{Isa, Problem, Registry};
use std::collections::BTreeSet;

/// Problems, at least one of which each algorithm supports.
const PROBLEMS: [&str; 30] = [
    "--dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb1ic5ih3iw2oc17oh3ow2kh3kw3sh1sw1ph1pw1dh0dw0",
    "g2mb1ic4ih3oc4oh2kh2sh2ph1",
    "g2mb1ic6ih3oc6oh2kh2sh2ph1",
    "g17mb1ic17ih3oc17oh3kh3ph1",
    "mb1ic2ih3oc3oh3kh1ph0",
    "mb1ic3ih4oc3oh2kh3sh2ph1",
    "mb1ic2ih5oc3oh5kh5ph2",
    "mb1ic3ih9oc4oh5kh5sh2ph2",
    "mb1ic3ih9oc4oh5kh7sh2ph3",
    "mb1ic32ih2oc64oh2kh1ph0",
    "mb1ic3ih7oc5oh4kh3sh2ph1 + --pool --alg=max mb1ic5ih4oh2kh3sh2ph1",
    "mb1ic3ih4oc5oh4kh1ph0 + mb1ic5ih4oc3oh4kh3ph1",
    "--pool --alg=max mb1ic2ih5oh3kh3sh2ph1",
    "--pool --alg=avg_np mb1ic17ih3oh1kh3ph0",
    "--ip mb2ic5ih2oc17",
    "--eltwise --alg=linear 1x17x3x2",
    "--eltwise --alg=relu 1x17x3x2",
    "--binary --alg=add --attr-post-ops=relu 2x3x3x2:2x3x3x2",
    "--binary --alg=add 1x3x3x2:1x3x1x1",
    "--bnorm --flags=GCH mb2ic17ih3",
    "--statistics mb2ic3ih3",
    "--softmax --axis=1 1x17x2x2",
    "--lrn mb1ic17ih2ls5alpha1beta0.75k1",
    "--concat --axis=1 1x3x2x2:1x17x2x2",
    "--attention --hidden=5 1x3x2x2",
    "--bilinear --alg=half 1x4x2x2",
    "--bilinear --alg=full_root 1x3x2x2",
    "--pool --alg=lp3 mb1ic2ih5oh3kh3sh2ph1",
    "--pool --alg=stochastic mb1ic17ih3oh3kh3ph1",
    "--pool --alg=draw1_index mb1ic17ih3oh3kh3ph1",
];

#[test]
fn every_algorithm_on_small_shapes_and_emulated_widths() {
    let registry = Registry::builtin();
    let algorithms = registry.algorithms();
    let mut computed = BTreeSet::new();
    for algorithm in algorithms {
        let id = algorithm.meta().id;
        for isa in [Isa::Scalar, Isa::Emu128, Isa::Emu256, Isa::Emu512] {
            let token = isa.detect().expect("runs anywhere");
            for text in PROBLEMS {
                let problem: Problem = text.parse().expect("a problem");
                let tuning = Tuning {
                    mc: Some(5),
                    nc: None,
                };
                // Under Miri this takes minutes. The output shows the progress (`--nocapture`).
                eprintln!("{id}/{isa}: {text}");
                match check(*algorithm, token, &problem, tuning, &[]) {
                    Ok(Outcome::Passed { .. }) => {
                        computed.insert((id, isa));
                    }
                    Ok(Outcome::Refused(_)) => {}
                    Err(failure) => panic!("{id}: {failure}"),
                }
            }
        }
    }
    // An algorithm that refuses all problems would not be tested.
    let left_out = |isa: Isa| {
        let ids = algorithms.iter().map(|a| a.meta());
        let ids = ids
            .filter(move |meta| meta.isas.contains(&isa))
            .map(|meta| meta.id);
        let ids = ids.filter(|id| !computed.contains(&(id, isa)));
        ids.collect::<Vec<_>>()
    };
    for isa in [Isa::Scalar, Isa::Emu128, Isa::Emu256, Isa::Emu512] {
        assert_eq!(
            left_out(isa),
            [""; 0],
            "computed no problem on {isa}: add one"
        );
    }
}
