//! Every algorithm on scalar and emulated widths, on shapes so small that Miri can run them
//! (`scripts/miri`): the unsafe code of tiles, transforms and executors, held to the same checks as in
//! `conformance.rs`.

use convroof_kernels::blocking::Tuning;
use convroof_kernels::conformance::{Outcome, check};
use convroof_kernels::{Isa, Problem, Registry};

const PROBLEMS: [&str; 16] = [
    "--dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb1ic5ih3iw2oc17oh3ow2kh3kw3sh1sw1ph1pw1dh0dw0",
    "g2mb1ic4ih3oc4oh2kh2sh2ph1",
    "g2mb1ic6ih3oc6oh2kh2sh2ph1",
    "g17mb1ic17ih3oc17oh3kh3ph1",
    "mb1ic2ih3oc3oh3kh1ph0",
    "mb1ic3ih4oc3oh2kh3sh2ph1",
    "--pool --alg=max mb1ic2ih5oh3kh3sh2ph1",
    "--pool --alg=avg_np mb1ic17ih3oh1kh3ph0",
    "--ip mb2ic5ih2oc17",
    "--eltwise --alg=relu 1x17x3x2",
    "--binary --alg=add --attr-post-ops=relu 2x3x3x2:2x3x3x2",
    "--bnorm --flags=GCH mb2ic17ih3",
    "--statistics mb2ic3ih3",
    "--pool --alg=lp3 mb1ic2ih5oh3kh3sh2ph1",
    "--pool --alg=stochastic mb1ic17ih3oh3kh3ph1",
    "--pool --alg=draw1_index mb1ic17ih3oh3kh3ph1",
];

#[test]
fn small_shapes_on_every_emulated_width() {
    let mut ran = 0;
    for algorithm in Registry::builtin().algorithms() {
        for isa in [Isa::Scalar, Isa::Emu128, Isa::Emu256, Isa::Emu512] {
            let token = isa.detect().expect("runs anywhere");
            for text in PROBLEMS {
                let problem: Problem = text.parse().expect("a problem");
                let tuning = Tuning {
                    mc: Some(5),
                    nc: None,
                };
                // Under Miri this takes minutes: say where it is (`--nocapture`).
                eprintln!("{}/{isa}: {text}", algorithm.meta().id);
                match check(*algorithm, token, &problem, tuning, &[]) {
                    Ok(Outcome::Passed { .. }) => ran += 1,
                    Ok(Outcome::Refused(_)) => {}
                    Err(failure) => panic!("{}: {failure}", algorithm.meta().id),
                }
            }
        }
    }
    assert!(ran > 50, "{ran}");
}
