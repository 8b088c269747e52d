//! Counts from plans.

use super::table::Table;
use crate::machine::memory;
use crate::record::Text;
use convroof_kernels::blocking::Caches;
use convroof_kernels::problem::ParseError;
use convroof_kernels::registry::Threading;
use convroof_kernels::{PlanCx, Problem, Variant};
use std::collections::BTreeMap;

/// Caches of a fixed model machine. They determine block sizes, so counts don't depend on the host.
pub const CACHES: Caches = Caches {
    l1d: 32 << 10,
    l2: 1 << 20,
    l3: 4 << 20,
};

/// Threads of multi-threaded variants.
pub const THREADS: usize = 2;

/// Layers of other types than f32: those of a quantised network and of one in bf16, with and without whole words of
/// channels.
const NARROW: [&str; 5] = [
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.02+wei:per_oc+dst:common:0.05 --attr-post-ops=relu mb1ic64ih56oc64oh56kh3ph1",
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.02+wei:per_oc+dst:common:0.05 --attr-post-ops=sum:0.03:0:u8+relu mb1ic64ih56oc256oh56kh1",
    "--dt=s8:s8:f32 --attr-zero-points=src:common:3 mb1ic3ih224oc64oh112kh7sh2ph3",
    "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=relu mb1ic64ih56oc64oh56kh3ph1",
    "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=relu mb1ic1024ih14oc256oh14kh1",
];

/// The layers of other types than f32 that the baselines count.
///
/// # Errors
/// Never: the layers are constants, and a test parses them.
pub fn narrow() -> Result<Vec<Problem>, ParseError> {
    NARROW.iter().map(|text| text.parse()).collect()
}

/// Counts of every variant for this CPU, on each problem that it supports.
pub fn model(variants: &[Variant], problems: &[Problem], caches: &Caches, threads: usize) -> Table {
    let mut rows = BTreeMap::new();
    for variant in variants {
        let Some(isa) = variant.isa.detect() else {
            continue;
        };
        let threads = match variant.threading {
            Threading::St => 1,
            Threading::Mt => threads,
        };
        let cx = PlanCx::new(isa, caches)
            .with_threads(threads)
            .with_table_limit(memory::available());
        for problem in problems {
            let Ok(plan) = variant.algorithm.plan(problem, &cx) else {
                continue;
            };
            let spec = plan.spec();
            let cost = spec.cost;
            let key = (Text::of(*problem), variant.id().into(), threads);
            let numbers = vec![
                cost.flops_nominal,
                cost.flops_executed,
                cost.bytes_read,
                cost.bytes_written,
                spec.packed_bytes() as u64,
                spec.workspace_bytes() as u64,
            ];
            rows.insert(key, numbers);
        }
    }
    let names = [
        "flops_nominal",
        "flops_executed",
        "bytes_read",
        "bytes_written",
        "packed_bytes",
        "workspace_bytes",
    ];
    Table {
        conditions: format!(
            "model 1: caches of {}, {}, {} bytes; mt variants on {threads} threads",
            caches.l1d, caches.l2, caches.l3
        ),
        columns: names.map(String::from).into(),
        slack: 0.0,
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convroof_kernels::{Isa, Registry};

    /// Scalar kernels, which every machine has, compute all of them. Bytes follow the types.
    #[test]
    fn layers_of_other_types_are_counted() {
        let variants = Registry::builtin().variants(&[Isa::Scalar]);
        let problems = narrow().expect("problems");
        let table = model(&variants, &problems, &CACHES, THREADS);
        for problem in &problems {
            let rows = table.rows.iter().filter(|(key, _)| key.0.is(problem));
            assert!(rows.count() >= 2, "{problem}");
        }
        let numbers = |text: &str| {
            let problem: Problem = text.parse().expect("a problem");
            let table = model(&variants, &[problem], &CACHES, THREADS);
            let key = (Text::of(problem), "implicit-gemm/scalar/st".into(), 1);
            table.rows[&key].clone()
        };
        let layer = "mb1ic16ih8oc16oh8kh3ph1";
        let [f32s, bytes] = ["f32", "s8"].map(|dt| numbers(&format!("--dt={dt} {layer}")));
        assert_eq!(f32s[0], bytes[0]);
        assert_eq!([f32s[2], f32s[3]], [4 * bytes[2], 4 * bytes[3]]);
    }

    #[test]
    fn numbers_follow_the_problem_and_not_the_machine() {
        let variants = Registry::builtin().variants(&[Isa::Scalar]);
        let problem: Problem = "mb1ic16ih8oc16oh8kh3ph1".parse().expect("a problem");
        let table = model(&variants, &[problem], &CACHES, THREADS);
        let key = (Text::of(problem), "direct/scalar/st".into(), 1);
        let numbers = &table.rows[&key];
        // 2 x 16 x 16 x 9 x 64 operations. The input and the weights are read, the output is written, the weights are
        // packed.
        assert_eq!(numbers[0], 2 * 16 * 16 * 9 * 64);
        assert_eq!(numbers[2..4], [4 * (16 * 64 + 16 * 16 * 9), 4 * 16 * 64]);
        assert!(numbers[4] >= 4 * 16 * 16 * 9, "{numbers:?}");
        let mt = (Text::of(problem), "direct/scalar/mt".into(), THREADS);
        assert!(table.rows.contains_key(&mt));
        assert!(table.rows.keys().all(|key| !key.1.starts_with("gemm-1x1")));
    }
}
