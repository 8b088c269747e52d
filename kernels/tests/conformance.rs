//! Every variant against the reference, on shapes that straddle its edges: one named test a variant.
//! What this CPU can't run is reported as ignored, unless `CONVROOF_REQUIRE_ISA` demands it.

use convroof_kernels::conformance::{Outcome, cases, check, required_isas};
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, PlanCx, Problem, Registry, Variant};
use libtest_mimic::{Arguments, Failed, Trial};

/// One problem for each kind of kernel, to ask a plan where its edges are.
const PROBES: [&str; 18] = [
    "g16mb1ic16ih14oc16oh14kh3ph1",
    "mb1ic16ih14oc32oh14kh3ph1",
    "mb1ic16ih14oc32oh14kh1ph0",
    "mb1ic16ih14oc32oh14kh5ph2",
    "mb1ic16ih14oc32oh7kh3sh2ph1",
    "mb1ic3ih17oc32oh9kh5sh2ph2",
    "--pool --alg=max mb1ic16ih14oh7kh3sh2ph1",
    "--pool --alg=avg_np mb1ic16ih7oh1kh7sh1ph0",
    "--ip mb2ic16ih2oc32",
    "--eltwise --alg=linear 1x16x7x7",
    "--eltwise --alg=relu 1x16x7x7",
    "--binary --alg=add 1x16x7x7:1x16x7x7",
    "--binary --alg=add 1x16x7x7:1x16x1x1",
    "--bnorm --flags=GCH mb1ic16ih7",
    "--statistics mb1ic16ih7",
    "--pool --alg=lp2 mb1ic16ih14oh7kh3sh2ph1",
    "--pool --alg=stochastic mb1ic16ih14oh7kh3sh2ph1",
    "--pool --alg=draw1 mb1ic16ih14oh7kh3sh2ph1",
];

fn main() {
    let required = required_isas().unwrap_or_else(|e| {
        eprintln!("CONVROOF_REQUIRE_ISA: {e}");
        std::process::exit(2);
    });
    let args = Arguments::from_args();
    let tests = Registry::builtin()
        .variants(&Isa::ALL)
        .into_iter()
        .map(|variant| {
            let missing = variant.isa.detect().is_none();
            let name = variant.id().to_string();
            let demanded = required.contains(&variant.isa);
            Trial::test(name, move || conforms(variant)).with_ignored_flag(missing && !demanded)
        });
    libtest_mimic::run(&args, tests.collect()).exit();
}

fn conforms(variant: Variant) -> Result<(), Failed> {
    let isa = variant
        .isa
        .detect()
        .ok_or_else(|| variant.isa.missing_reason())?;
    let pools: Vec<_> = match variant.threading {
        Threading::St => Vec::new(),
        Threading::Mt => [2, 3].map(pool).into(),
    };
    let pools: Vec<_> = pools.iter().collect();
    let caches = Default::default();
    let count = if variant.isa.is_emulated() { 40 } else { 80 };

    let (mut passed, mut refused) = (0, 0);
    for probe in PROBES {
        let problem: Problem = probe.parse().map_err(|e| format!("{probe}: {e}"))?;
        let Ok(plan) = variant.algorithm.plan(&problem, &PlanCx::new(isa, &caches)) else {
            continue;
        };
        for (problem, tuning) in cases::for_op(&problem.op, &plan.spec().granularity, count) {
            match check(variant.algorithm, isa, &problem, tuning, &pools)? {
                Outcome::Passed { .. } => passed += 1,
                Outcome::Refused(reason) if reason.is_empty() => {
                    return Err(format!("{problem} is refused without a reason").into());
                }
                Outcome::Refused(_) => refused += 1,
            }
        }
    }
    if passed < count / 4 {
        return Err(format!("only {passed} shapes were run, {refused} refused").into());
    }
    Ok(())
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a pool")
}
