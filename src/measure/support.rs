//! The problems that a variant supports, and its reasons for refusing the others.

use crate::machine::{Topology, memory};
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, PlanCx, Problem, Variant};
use serde::Serialize;

/// A variant with its refusals.
#[derive(Clone, Debug, Serialize)]
pub struct Support {
    /// The variant's id.
    pub variant: String,
    /// Its algorithm in a phrase.
    pub summary: &'static str,
    /// True if this CPU can run it.
    pub available: bool,
    /// The reason, if this CPU can't run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Number of problems that it can do.
    pub supported: usize,
    /// Number of all problems.
    pub problems: usize,
    /// The refusals.
    pub refusals: Vec<Refusals>,
}

/// A reason for refusals, with its problems.
#[derive(Clone, Debug, Serialize)]
pub struct Refusals {
    /// The reason, as a phrase.
    pub reason: String,
    /// Text forms of the problems.
    pub problems: Vec<String>,
}

/// Limit in bytes for the tables of plans. A plan with larger tables that still fit into memory counts as supported
/// without being made. For huge problems, plans of all variants would take minutes.
const TABLES: usize = 8 << 20;

impl Support {
    /// The support of a variant for some problems. Of an instruction set that is missing here, the best one here gives
    /// the reasons, since refusals don't depend on the vector width.
    pub fn of(variant: &Variant, problems: &[Problem], topology: &Topology) -> Support {
        let detected = variant.isa.detect();
        let caches = topology.caches(1);
        let cx = PlanCx::new(detected.unwrap_or_else(Isa::best), &caches);
        let cx = cx.with_threads(match variant.threading {
            Threading::St => 1,
            Threading::Mt => topology.threads(),
        });
        let available = memory::available();
        let mut refusals: Vec<Refusals> = Vec::new();
        let mut supported = 0;
        for problem in problems {
            let Some(reason) = refusal(variant, problem, &cx, available) else {
                supported += 1;
                continue;
            };
            let problem = problem.to_string();
            match refusals.iter_mut().find(|r| r.reason == reason) {
                Some(known) => known.problems.push(problem),
                None => refusals.push(Refusals {
                    reason,
                    problems: vec![problem],
                }),
            }
        }
        Support {
            variant: variant.id().to_string(),
            summary: variant.algorithm.meta().summary,
            available: detected.is_some(),
            missing: detected.is_none().then(|| variant.isa.missing_reason()),
            supported,
            problems: problems.len(),
            refusals,
        }
    }
}

/// The reason why a variant can't do a problem with this much memory; none if it can.
fn refusal(
    variant: &Variant,
    problem: &Problem,
    cx: &PlanCx<'_>,
    available: usize,
) -> Option<String> {
    let refused = |tables| {
        let cx = cx.with_table_limit(tables);
        variant.algorithm.plan(problem, &cx).err()
    };
    let first = refused(TABLES.min(available))?;
    let refused = match first.tables() {
        Some(needed) if needed <= available => None,
        Some(_) => refused(available),
        None => Some(first),
    };
    refused.map(|why| why.to_string())
}
