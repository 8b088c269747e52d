//! Every variant against the reference, on shapes that straddle its edges, with one named test per variant. Variants
//! that this CPU can't run are reported as ignored, unless `CONVROOF_REQUIRE_ISA` requires them.

use convroof_kernels::blocking::Tuning;
use convroof_kernels::conformance::{Outcome, cases, check, required_isas, special};
use convroof_kernels::dtype::DType;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, PlanCx, Problem, Registry, Variant};
use libtest_mimic::{Arguments, Failed, Trial};

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
    // A variant for several threads also runs each of its plans on one thread. So the variant for one thread has the special
    // values, whose plans are for one thread anyway, and fewer shapes: one in five. One in four would leave out `flip`, which
    // each fourth shape has.
    let (pools, every): (Vec<_>, usize) = match variant.threading {
        Threading::St => {
            special(variant.algorithm, isa)?;
            (Vec::new(), 5)
        }
        Threading::Mt => ([2, 3].map(pool).into(), 1),
    };
    let pools: Vec<_> = pools.iter().collect();
    let caches = Default::default();
    let count = if variant.isa.is_emulated() { 40 } else { 80 };

    let (mut passed, mut refused) = (0, 0);
    let mut least = usize::MAX;
    for probe in cases::PROBES {
        let problem: Problem = probe.parse().map_err(|e| format!("{probe}: {e}"))?;
        let Ok(plan) = variant.algorithm.plan(&problem, &PlanCx::new(isa, &caches)) else {
            continue;
        };
        let edges = &plan.spec().granularity;
        // Other types than f32 also have tests of their own (`all/narrow.rs`, `all/narrow_layers.rs`).
        let count = if problem.dtypes.src == DType::F32 {
            count
        } else {
            count / 4
        };
        let fewest: usize = count / 4;
        least = least.min(fewest.div_ceil(every));
        let mut cases = cases::like(&problem, edges, count);
        let computed = |case: &cases::Case| {
            let plan = variant.algorithm.plan(&case.0, &PlanCx::new(isa, &caches));
            plan.is_ok()
        };
        // More cases for a kernel that refuses most shapes.
        let found = cases.iter().filter(|case| computed(case)).take(fewest);
        if found.count() < fewest {
            cases = cases::like(&problem, edges, 4 * count);
        }
        if every > 1 {
            cases.retain(computed);
        }
        for (problem, tuning) in cases.into_iter().step_by(every) {
            match check(variant.algorithm, isa, &problem, tuning, &pools)? {
                Outcome::Passed { .. } => passed += 1,
                Outcome::Refused(reason) if reason.is_empty() => {
                    return Err(format!("{problem} is refused without a reason").into());
                }
                Outcome::Refused(_) => refused += 1,
            }
        }
    }
    for text in cases::WIDE {
        let problem: Problem = text.parse().map_err(|e| format!("{text}: {e}"))?;
        check(variant.algorithm, isa, &problem, Tuning::default(), &pools)?;
    }
    if passed < least {
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
