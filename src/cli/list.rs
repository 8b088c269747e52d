//! `convroof list`

use super::output::{print, print_json};
use super::select::{Layers, Variants};
use crate::machine::{Topology, memory};
use crate::measure::bench::problems;
use crate::report::terminal::{right, table};
use anyhow::Result;
use comfy_table::Cell;
use convroof_kernels::registry::Threading;
use convroof_kernels::{PlanCx, Registry, Variant};
use serde::Serialize;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    variants: Variants,
    /// List layers instead of variants
    #[arg(long = "layers", conflicts_with = "variant")]
    list_layers: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// A variant with its refusals.
#[derive(Serialize)]
struct Line {
    variant: String,
    summary: &'static str,
    /// True if this CPU can run it.
    available: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    /// Number of chosen problems that it can do.
    supported: usize,
    problems: usize,
    refusals: Vec<Refusals>,
}

/// A reason for refusals, with its problems.
#[derive(Serialize)]
struct Refusals {
    reason: String,
    problems: Vec<String>,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let chosen = args.layers.choose("*")?;
    if args.list_layers {
        if args.json {
            return print_json(&chosen);
        }
        let mut out = table(&["network", "layer", "x", "kind", "problem"]);
        for l in &chosen {
            let count = right(l.count.to_string());
            out.add_row(vec![
                Cell::new(&l.network),
                Cell::new(&l.layer),
                count,
                Cell::new(&l.kind),
                Cell::new(&l.problem),
            ]);
        }
        return print(&format!("{out}\n"));
    }
    let problems = problems(&chosen);
    let (topology, available) = (Topology::detect(), memory::available());
    let lines: Vec<Line> = args
        .variants
        .choose(registry)?
        .iter()
        .map(|v| line(v, &problems, &topology, available))
        .collect();
    if args.json {
        return print_json(&lines);
    }
    let mut out = table(&["variant", "here", "layers", "description and refusals"]);
    let mut last = "";
    for line in &lines {
        // Each algorithm's summary is shown once.
        let text = if line.summary == last {
            String::new()
        } else {
            line.summary.to_string()
        };
        last = line.summary;
        let here = if line.available { "yes" } else { "no" };
        let layers = right(format!("{}/{}", line.supported, line.problems));
        out.add_row(vec![
            Cell::new(&line.variant),
            Cell::new(here),
            layers,
            Cell::new(text),
        ]);
        if let Some(missing) = &line.missing {
            out.add_row(vec![
                Cell::new(""),
                Cell::new(""),
                Cell::new(""),
                Cell::new(format!("  {missing}")),
            ]);
        }
        for refusal in &line.refusals {
            let text = format!(
                "  refuses {} layers: {}",
                refusal.problems.len(),
                refusal.reason
            );
            out.add_row(vec![
                Cell::new(""),
                Cell::new(""),
                Cell::new(""),
                Cell::new(text),
            ]);
        }
    }
    print(&format!("{out}\n"))
}

/// Limit in bytes for the tables of plans. A plan with larger tables that still fit into memory counts as supported
/// without being made. For huge problems, plans of all variants would take minutes.
const TABLES: usize = 8 << 20;

fn line(
    variant: &Variant,
    problems: &[convroof_kernels::Problem],
    topology: &Topology,
    available: usize,
) -> Line {
    let caches = topology.caches(1);
    // Refusals don't depend on the vector width: for a missing instruction set, the best one here gives the reasons.
    let detected = variant.isa.detect();
    let isa = detected.unwrap_or_else(convroof_kernels::Isa::best);
    let threads = if variant.threading == Threading::St {
        1
    } else {
        topology.threads()
    };
    let mut refusals: Vec<Refusals> = Vec::new();
    let mut supported = 0;
    for problem in problems {
        let cx = PlanCx::new(isa, &caches).with_threads(threads);
        let plan = |tables| {
            let plan = variant
                .algorithm
                .plan(problem, &cx.with_table_limit(tables));
            plan.err()
        };
        let refused = plan(TABLES.min(available));
        let refused = refused.and_then(|refused| match refused.tables() {
            Some(needed) if needed <= available => None,
            Some(_) => plan(available),
            None => Some(refused),
        });
        match refused {
            None => supported += 1,
            Some(refused) => {
                let reason = refused.to_string();
                match refusals.iter_mut().find(|r| r.reason == reason) {
                    Some(r) => r.problems.push(problem.to_string()),
                    None => refusals.push(Refusals {
                        reason,
                        problems: vec![problem.to_string()],
                    }),
                }
            }
        }
    }
    Line {
        variant: variant.id().to_string(),
        summary: variant.algorithm.meta().summary,
        available: detected.is_some(),
        missing: detected.is_none().then(|| variant.isa.missing_reason()),
        supported,
        problems: problems.len(),
        refusals,
    }
}
