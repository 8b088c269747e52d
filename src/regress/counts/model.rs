//! Counts from plans.

use super::table::Table;
use crate::machine::memory;
use crate::record::Text;
use convroof_kernels::blocking::Caches;
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
