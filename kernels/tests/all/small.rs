//! Every algorithm on scalar and emulated widths, on shapes so small that Miri can run them (`scripts/miri`), and
//! AddressSanitizer is fast (`scripts/asan`). The unsafe code of tiles, transforms and executors has to pass the checks
//! of `conformance.rs`. Debug builds alone have the emulated widths.
#![cfg(emulated)]

use crate::problems::PROBLEMS;
use convroof_kernels::blocking::Tuning;
use convroof_kernels::conformance::{Outcome, check};
use convroof_kernels::{Isa, Problem, Registry};
use std::collections::BTreeSet;

/// Problems of narrow elements, with whole and broken vectors of channels.
const NARROW: [&str; 3] = [
    "--dt=u8:s8:s8 --dir=FWD_B --attr-scales=wei:per_oc --attr-zero-points=src:common:3 --attr-post-ops=relu mb1ic5ih3iw2oc17oh3ow2kh3kw3ph1pw1",
    "--dt=s8:s8:s32 --attr-zero-points=src:common:-4 mb1ic32ih3oc4oh3kh3ph1",
    "--dt=bf16:bf16:bf16 --attr-post-ops=add:bf16:per_tensor mb1ic17ih3iw2oc5oh3ow2kh3kw3ph1pw1",
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
            for text in PROBLEMS.iter().chain(&NARROW) {
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
