//! Checks of variants against the reference: on small shapes around their block sizes, and on layers.

use crate::interrupt;
use crate::machine::{Topology, pool::Workers};
use crate::progress::Steps;
use anyhow::Result;
use convroof_kernels::conformance::{self, Data, cases};
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Serial;
use convroof_kernels::instance::Instance;
use convroof_kernels::registry::Threading;
use convroof_kernels::{PlanCx, Problem, Variant, reference};
use serde::Serialize;

/// Results of a variant.
#[derive(Clone, Debug, Serialize)]
pub struct Tally {
    /// The variant's id.
    pub variant: String,
    /// Number of small shapes and layers with right outputs.
    pub passed: usize,
    /// Number of layers that it refuses.
    pub refused: usize,
    /// Largest error over its tolerance among the layers.
    pub worst: f64,
    /// Wrong outputs, each described in a line.
    pub failures: Vec<String>,
}

/// Checks variants of this CPU's instruction sets on small shapes around their block sizes. Each variant is a step.
///
/// # Errors
/// After a signal.
pub fn small_shapes(variants: &[Variant], progress: &mut dyn Steps) -> Result<Vec<Tally>> {
    let mut tallies = Vec::new();
    for variant in variants {
        progress.begin(&variant.id().to_string());
        tallies.push(tally(variant)?);
        progress.end();
    }
    Ok(tallies)
}

/// Checks the variants on problems, and adds the results to their tallies. Each problem is a step.
///
/// # Errors
/// When there is no memory, or after a signal.
pub fn layers(
    tallies: &mut [Tally],
    variants: &[Variant],
    problems: &[Problem],
    (workers, topology): (&Workers, &Topology),
    progress: &mut dyn Steps,
) -> Result<()> {
    for problem in problems {
        progress.begin(&problem.to_string());
        interrupt::check()?;
        let data = Data::new(problem, Fill::Uniform, 1);
        let expected = workers.install(|exec| reference::compute(problem, data.operands(), exec));
        for (variant, tally) in variants.iter().zip(tallies.iter_mut()) {
            layer(
                variant,
                problem,
                (&data, &expected),
                workers,
                topology,
                tally,
            )?;
        }
        progress.end();
    }
    Ok(())
}

/// Checks a variant on the small shapes of each operation that it can do.
fn tally(variant: &Variant) -> Result<Tally> {
    let isa = variant.isa.detect().expect("a variant of this CPU");
    let mut tally = Tally {
        variant: variant.id().to_string(),
        passed: 0,
        refused: 0,
        worst: 0.0,
        failures: Vec::new(),
    };
    let caches = Default::default();
    for probe in cases::PROBES {
        interrupt::check()?;
        let problem: Problem = probe.parse()?;
        let Ok(plan) = variant.algorithm.plan(&problem, &PlanCx::new(isa, &caches)) else {
            continue;
        };
        for (problem, tuning) in cases::like(&problem, &plan.spec().granularity, 16) {
            match conformance::check(variant.algorithm, isa, &problem, tuning, &[]) {
                Ok(conformance::Outcome::Passed { .. }) => tally.passed += 1,
                Ok(conformance::Outcome::Refused(_)) => {}
                Err(failure) => tally.failures.push(failure.to_string()),
            }
        }
    }
    Ok(tally)
}

/// Checks a variant on a problem with these data, whose output in f64 is `expected`.
fn layer(
    variant: &Variant,
    problem: &Problem,
    (data, expected): (&Data, &[f64]),
    workers: &Workers,
    topology: &Topology,
    tally: &mut Tally,
) -> Result<()> {
    let isa = variant.isa.detect().expect("a variant of this CPU");
    let threads = if variant.threading == Threading::St {
        1
    } else {
        workers.threads()
    };
    let caches = topology.caches(threads);
    let Ok(plan) = crate::measure::plan(variant, isa, problem, &caches, threads) else {
        tally.refused += 1;
        return Ok(());
    };
    let mut instance = Instance::new(plan)?;
    let output = workers.install(|exec| {
        let exec = if threads == 1 { &Serial } else { exec };
        instance.load(data.operands(), exec);
        instance.run(exec);
        instance.exact_output_nchw(exec)
    })?;
    let (accuracy, magnitude) = (variant.algorithm.meta().accuracy, Fill::Uniform.magnitude());
    let compared = conformance::compare(accuracy, problem, magnitude, &output, expected);
    if !compared.passes() {
        tally.failures.push(format!("{problem}: {compared}"));
        return Ok(());
    }
    tally.passed += 1;
    if compared.tolerance > 0.0 {
        let share = compared.deviation.max / compared.tolerance;
        tally.worst = tally.worst.max(share);
    }
    Ok(())
}
