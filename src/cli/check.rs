//! `convroof check`

use super::Failed;
use super::output::{print, print_json};
use super::progress::Bar;
use super::select::{self, Cpus, Layers, Variants};
use crate::interrupt;
use crate::machine::{Topology, pool::Workers};
use crate::measure::bench::problems;
use crate::report::terminal::{right, table};
use anyhow::{Result, bail};
use comfy_table::Cell;
use convroof_kernels::conformance::{self, Data, cases};
use convroof_kernels::data::Fill;
use convroof_kernels::instance::{Deviation, Instance};
use convroof_kernels::registry::Threading;
use convroof_kernels::{PlanCx, Problem, Registry, Variant, reference};
use serde::Serialize;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    variants: Variants,
    /// Threads of multi-threaded variants [default: all physical cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    cpus: Cpus,
    /// Check only small shapes around each kernel's block sizes, no layers
    #[arg(long, conflicts_with_all = ["network", "layer", "problem", "batch"])]
    small: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Result of one variant.
#[derive(Serialize)]
pub(super) struct Line {
    variant: String,
    /// Number of small shapes and layers with right outputs.
    passed: usize,
    /// Number of layers that it refuses.
    refused: usize,
    /// Largest error over its tolerance among the layers.
    worst: f64,
    failures: Vec<String>,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let variants = args.variants.here(registry)?;
    let topology = args.cpus.topology()?;
    let threads = match args.threads {
        Some(n) => select::threads(&[n], &topology)?[0],
        None => topology.threads(),
    };
    if let Some(n) = args.threads {
        if args.small {
            bail!("--threads {n} is for the layers, which --small leaves out: omit one of them");
        }
        if n > 1 {
            select::check_threads(&[n], &variants)?;
        }
    }
    let workers = Workers::new(&topology, threads)?;
    let problems = if args.small {
        Vec::new()
    } else {
        problems(&args.layers.choose("*")?)
    };
    problems.iter().try_for_each(crate::measure::refuse_huge)?;
    let lines = check(&variants, &problems, &workers, &topology)?;
    let passed_over = nothing_checked(&lines, problems.len());
    if args.json {
        print_json(&lines)?;
    } else {
        let mut out = table(&["variant", "right", "refused", "worst error / tolerance"]);
        for line in &lines {
            let worst = right(format!("{:.0} %", 100.0 * line.worst));
            let (passed, refused) = (
                right(line.passed.to_string()),
                right(line.refused.to_string()),
            );
            out.add_row(vec![Cell::new(&line.variant), passed, refused, worst]);
        }
        print(&format!("{out}\n"))?;
    }
    verdict(&lines)?;
    match passed_over {
        None => Ok(()),
        Some(why) => bail!("{why}"),
    }
}

/// Reason why too little was checked: a variant without any checked shape, or layers that all variants refuse.
fn nothing_checked(lines: &[Line], layers: usize) -> Option<String> {
    let tried = |l: &Line| l.passed + l.failures.len();
    if let Some(none) = lines.iter().find(|l| tried(l) == 0) {
        return Some(format!(
            "nothing was checked of {}: it can do none of the shapes; see convroof list",
            none.variant
        ));
    }
    let refused = layers > 0 && lines.iter().all(|l| l.refused == layers);
    refused.then(|| {
        let all = if layers == 1 { "the layer".into() } else { format!("each of the {layers} layers") };
        format!("every chosen variant refuses {all}, so only small shapes were checked; convroof list has the reasons")
    })
}

/// Fails with the first wrong output, if there is one.
pub(super) fn verdict(lines: &[Line]) -> Result<()> {
    let failures: Vec<_> = lines
        .iter()
        .flat_map(|l| l.failures.iter().map(move |f| (l, f)))
        .collect();
    match failures.first() {
        None => Ok(()),
        Some((line, first)) => {
            let more = match failures.len() {
                1 => String::new(),
                n => format!(" ({} failures more)", n - 1),
            };
            Err(Failed(format!("{} is wrong: {first}{more}", line.variant)).into())
        }
    }
}

/// Checks variants of this CPU's instruction sets on small shapes and on problems.
pub(super) fn check(
    variants: &[Variant],
    problems: &[Problem],
    workers: &Workers,
    topology: &Topology,
) -> Result<Vec<Line>> {
    let bar = Bar::new(variants.len() + problems.len(), "check");
    let mut lines: Vec<Line> = Vec::new();
    for variant in variants {
        bar.say(&variant.id().to_string());
        lines.push(small_shapes(variant)?);
        bar.step();
    }
    for problem in problems {
        bar.say(&problem.to_string());
        interrupt::check()?;
        let data = Data::new(problem, Fill::Uniform, 1);
        let expected = workers.install(|exec| reference::compute(problem, data.operands(), exec));
        for (variant, line) in variants.iter().zip(&mut lines) {
            layer(variant, problem, &data, &expected, workers, topology, line)?;
        }
        bar.step();
    }
    bar.finish();
    Ok(lines)
}

fn small_shapes(variant: &Variant) -> Result<Line> {
    let isa = variant.isa.detect().expect("a variant of this CPU");
    let mut line = Line {
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
        for (problem, tuning) in cases::for_op(&problem.op, &plan.spec().granularity, 16) {
            match conformance::check(variant.algorithm, isa, &problem, tuning, &[]) {
                Ok(conformance::Outcome::Passed { .. }) => line.passed += 1,
                Ok(conformance::Outcome::Refused(_)) => {}
                Err(failure) => line.failures.push(failure.to_string()),
            }
        }
    }
    Ok(line)
}

fn layer(
    variant: &Variant,
    problem: &Problem,
    data: &Data,
    expected: &[f64],
    workers: &Workers,
    topology: &Topology,
    line: &mut Line,
) -> Result<()> {
    let isa = variant.isa.detect().expect("a variant of this CPU");
    let threads = if variant.threading == Threading::St {
        1
    } else {
        workers.threads()
    };
    let caches = topology.caches(threads);
    let Ok(plan) = crate::measure::plan(variant, isa, problem, &caches, threads) else {
        line.refused += 1;
        return Ok(());
    };
    let mut instance = Instance::new(plan)?;
    instance.poison_output(f32::NAN);
    let serial = &convroof_kernels::exec::Serial;
    let output = workers.install(|exec| {
        instance.load(data.operands(), serial);
        instance.run(if threads == 1 { serial } else { exec });
        instance.output_nchw(serial)
    })?;
    let deviation = Deviation::between(output.f32s(), expected);
    let accuracy = variant.algorithm.meta().accuracy;
    let allowed = conformance::tolerance(
        accuracy,
        problem,
        Fill::Uniform.magnitude(),
        deviation.largest,
    );
    if deviation.max <= allowed {
        line.passed += 1;
        line.worst = line.worst.max(if allowed > 0.0 {
            deviation.max / allowed
        } else {
            0.0
        });
    } else {
        line.failures.push(format!(
            "{problem}: max |error| / max |reference| is {:.2e}, allowed {allowed:.2e}",
            deviation.max
        ));
    }
    Ok(())
}
