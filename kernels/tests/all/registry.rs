//! The list of algorithms: names and promises. It isn't a unit test, because each program that uses the list compiles
//! all kernels, and one such program is enough.

use convroof_kernels::blocking::{Caches, Tuning};
use convroof_kernels::conformance::cases::{PROBES, like};
use convroof_kernels::conformance::{Data, Outcome, check};
use convroof_kernels::cost::Accuracy;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::compute;
use convroof_kernels::problem::Op;
use convroof_kernels::{Algorithm, Isa, IsaToken, PlanCx, Problem, Registry};

#[test]
fn ids_parse_back_and_are_unique() {
    let registry = Registry::builtin();
    let mut seen = std::collections::HashSet::new();
    for variant in registry.variants(&Isa::ALL) {
        let id = variant.id();
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert_eq!(registry.find(&id).expect("listed").id(), id);
        assert!(seen.insert(id));
    }
}

#[test]
fn wrong_names_say_what_is_right() {
    let registry = Registry::builtin();
    let find = |s: &str| s.parse().and_then(|id| registry.find(&id)).expect_err(s);
    assert!(find("direct").contains("direct/avx2/st"));
    assert!(find("direct/avx2/xx").contains("st|mt"));
    assert!(find("nonsense/avx2/st").contains("im2col"));
    assert!(find("direct-nchw/avx2/st").contains("it has scalar"));
}

/// Errors come close to their bounds. (`vector_faults.rs` shows that a lost term and results in bf16 exceed them.)
/// A single addition of these data is exact, so layers that are only an epilogue have no errors.
#[test]
fn bounds_are_at_most_a_hundred_times_the_largest_error() {
    let (isa, caches) = (Isa::best(), Caches::default());
    let mut loose = Vec::new();
    for algorithm in Registry::builtin().algorithms() {
        let meta = algorithm.meta();
        let mut cases = Vec::new();
        let mut rounds = false;
        for text in PROBES {
            let problem: Problem = text.parse().expect("a problem");
            if let Ok(plan) = algorithm.plan(&problem, &PlanCx::new(isa, &caches)) {
                cases.extend(like(&problem, &plan.spec().granularity, 24));
                rounds |= !matches!(problem.op, Op::Identity(_));
            }
        }
        let share = |(problem, tuning)| match check(*algorithm, isa, &problem, tuning, &[]) {
            Ok(Outcome::Passed { share, .. }) => share,
            Ok(Outcome::Refused(_)) => 0.0,
            Err(failure) => panic!("{}: {failure}", meta.id),
        };
        let largest = cases.into_iter().map(share).fold(0.0, f64::max);
        println!("{:26} {largest:.3}", meta.id);
        if rounds && meta.accuracy != Accuracy::Exact && largest < 0.01 {
            loose.push(format!("{}: {largest}", meta.id));
        }
    }
    assert_eq!(loose, Vec::<String>::new());
}

/// Each algorithm with a problem that it supports.
fn planned() -> Vec<(&'static dyn Algorithm, Problem)> {
    let mut all = Vec::new();
    let caches = Caches::default();
    for &algorithm in Registry::builtin().algorithms() {
        let problems = PROBES.iter().map(|text| text.parse().expect("a problem"));
        let does = |p: &Problem| algorithm.plan(p, &PlanCx::new(isa(), &caches)).is_ok();
        let before = all.len();
        all.extend(problems.filter(does).map(|problem| (algorithm, problem)));
        assert!(all.len() > before, "no probe of {}", algorithm.meta().id);
    }
    all
}

fn isa() -> IsaToken {
    Isa::Scalar.detect().expect("scalar code runs everywhere")
}

#[test]
fn what_no_plan_can_be_made_for_is_refused_with_the_reason() {
    let fine = Caches::default();
    let tuning = |mc, nc| Tuning { mc, nc };
    let huge = usize::MAX;
    let caches = [
        (Caches { l1d: 0, ..fine }, "0 bytes of L1"),
        (Caches { l2: 0, ..fine }, "0 bytes of L2"),
        (Caches { l1d: huge, ..fine }, "bytes of L1"),
        (Caches { l2: huge, ..fine }, "bytes of L2"),
        (Caches { l3: huge, ..fine }, "bytes of L3"),
    ];
    let cx = PlanCx::new(isa(), &fine);
    let mut wrong = vec![
        (cx.with_threads(0), "0 threads: it takes 1 to 4096"),
        (cx.with_threads(huge), "threads: it takes 1 to 4096"),
        (
            cx.with_tuning(tuning(Some(0), None)),
            "0 pixels in a block (mc)",
        ),
        (
            cx.with_tuning(tuning(Some(huge), None)),
            "pixels in a block (mc)",
        ),
        (
            cx.with_tuning(tuning(None, Some(0))),
            "0 output channels in a block (nc)",
        ),
        (
            cx.with_tuning(tuning(None, Some(huge))),
            "output channels in a block (nc)",
        ),
    ];
    wrong.extend(
        caches
            .iter()
            .map(|(c, reason)| (PlanCx::new(isa(), c), *reason)),
    );
    for (algorithm, problem) in planned() {
        for (cx, reason) in &wrong {
            let refused = algorithm.plan(&problem, cx).err().expect(reason);
            assert!(refused.to_string().contains(reason), "{refused}");
            assert_eq!(refused.tables(), None);
        }
    }
}

#[test]
fn plans_for_the_smallest_and_the_largest_of_all_are_right() {
    let least = Caches {
        l1d: 1,
        l2: 1,
        l3: 0,
    };
    let most = PlanCx::MAX_CACHE;
    let most = Caches {
        l1d: most,
        l2: most,
        l3: most,
    };
    let block = |size| Tuning {
        mc: Some(size),
        nc: Some(size),
    };
    for (algorithm, problem) in planned() {
        let data = Data::new(&problem, Fill::Integers, 1);
        let run = |cx: PlanCx<'_>| {
            let plan = algorithm.plan(&problem, &cx).expect("a plan");
            compute(plan, data.operands(), &Serial).expect("memory")
        };
        let expected = run(PlanCx::new(isa(), &Caches::default()));
        let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        for caches in [&least, &most] {
            let cx = PlanCx::new(isa(), caches);
            // The needs of thousands of threads are stated, but not allocated.
            let many = cx.with_threads(PlanCx::MAX_THREADS);
            let stated = algorithm.plan(&problem, &many).expect("a plan");
            assert_eq!(stated.spec().threads, PlanCx::MAX_THREADS);
            for cx in [
                cx.with_threads(5),
                cx.with_tuning(block(1)),
                cx.with_tuning(block(PlanCx::MAX_BLOCK)).with_threads(3),
            ] {
                for (y, e) in run(cx).iter().zip(&expected) {
                    let id = algorithm.meta().id;
                    assert!(
                        (y - e).abs() <= 1e-4 * largest,
                        "{id} of {problem}: {y} for {e}"
                    );
                }
            }
        }
    }
}

#[test]
fn tables_are_stated_and_refused_before_they_are_made() {
    let caches = Caches::default();
    let cx = PlanCx::new(isa(), &caches);
    let plan = |id: &str, text: &str, limit| {
        let variant = Registry::builtin().find(&format!("{id}/scalar/st").parse().expect("an id"));
        let problem = text.parse().expect("a problem");
        variant
            .expect("listed")
            .algorithm
            .plan(&problem, &cx.with_table_limit(limit))
    };
    for (id, text, pairs) in [
        // 8.9 GB of offsets.
        (
            "direct",
            "mb1ic16ih512oc16oh512kh65ph32",
            512 * 512 * 65 * 65,
        ),
        (
            "im2col",
            "mb1ic16ih512oc16oh512kh65ph32",
            512 * 512 * 65 * 65,
        ),
        ("implicit-gemm", "mb1ic16ih4096oc16kh7ph3", 4096 * 4096 * 49),
        ("gemm-1x1", "mb1ic16ih8192oc16kh1sh2", 4096 * 4096),
    ] {
        let refused = plan(id, text, 1 << 20).err().expect("too little");
        let needed = refused.tables().expect("nothing else is against it");
        assert!(needed >= 8 * pairs, "{id}: {needed}");
        assert!(
            refused.to_string().contains("more than the 1 MiB"),
            "{refused}"
        );
    }
    for (id, text) in [
        ("direct", "mb1ic16ih56oc16kh3ph1"),
        ("direct", "mb1ic3ih56oc16kh3ph1"),
        ("im2col", "g2mb1ic16ih56oc16kh3ph1"),
        ("maxpool", "--pool --alg=max mb1ic16ih56kh3sh2ph1"),
        ("maxpool-nchw", "--pool --alg=max mb1ic16ih8kh3sh2ph1"),
        ("fc", "--ip mb2ic16ih2oc320"),
    ] {
        let stated = plan(id, text, usize::MAX)
            .expect("a plan")
            .spec()
            .table_bytes;
        assert!(stated > 0, "{id}");
        assert!(
            plan(id, text, stated).is_ok(),
            "{id}: {stated} bytes are enough"
        );
        let refused = plan(id, text, stated - 1).err().expect("one byte less");
        assert_eq!(refused.tables(), Some(stated), "{id}");
    }
}

/// A refusal names only reasons that apply.
#[test]
fn a_stem_says_why_it_is_none() {
    let registry = Registry::builtin();
    let caches = Default::default();
    let stem = registry
        .algorithms()
        .iter()
        .find(|a| a.meta().id == "direct-maxpool");
    for (conv, why) in [
        ("mb1ic3ih28oc16oh24kh3ph0dh1", "dilated horizontally"),
        ("mb1ic5ih26oc16oh24kh3ph0", "more than 4 channels"),
        ("g2mb1ic4ih26oc16oh24kh3ph0", "grouped"),
        ("mb1ic3ih24oc16oh24kh1ph0", "1 wide"),
    ] {
        let text = format!("{conv} + --pool --alg=max mb1ic16ih24oh12kh2sh2ph0");
        let problem = text.parse().expect("a problem");
        let plan = stem
            .expect("listed")
            .plan(&problem, &PlanCx::new(Isa::best(), &caches));
        let refusal = plan.err().expect("refused").to_string();
        assert!(refusal.contains(why), "{text}: {refusal}");
    }
}
