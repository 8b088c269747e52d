//! `convroof check`

use super::failed::Failed;
use super::output::{print, print_json};
use super::progress::Bar;
use super::select::{self, Cpus, Layers, Variants};
use crate::check::{self, Tally};
use crate::machine::{Topology, pool::Workers};
use crate::measure::bench::problems;
use crate::measure::refuse_huge;
use crate::report::terminal::{right, table};
use anyhow::{Result, bail};
use comfy_table::Cell;
use convroof_kernels::{Problem, Registry, Variant};

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
    problems.iter().try_for_each(refuse_huge)?;
    let tallies = check(&variants, &problems, &workers, &topology)?;
    match args.json {
        true => print_json(&tallies)?,
        false => print(&text(&tallies))?,
    }
    verdict(&tallies)?;
    match nothing_checked(&tallies, problems.len()) {
        None => Ok(()),
        Some(why) => bail!("{why}"),
    }
}

/// Checks variants, with a progress bar.
pub(super) fn check(
    variants: &[Variant],
    problems: &[Problem],
    workers: &Workers,
    topology: &Topology,
) -> Result<Vec<Tally>> {
    let mut bar = Bar::new(variants.len() + problems.len(), "check");
    let tallies = check::check(variants, problems, workers, topology, &mut bar)?;
    bar.finish();
    Ok(tallies)
}

fn text(tallies: &[Tally]) -> String {
    let mut out = table(&["variant", "right", "refused", "worst error / tolerance"]);
    for tally in tallies {
        out.add_row([
            Cell::new(&tally.variant),
            right(tally.passed.to_string()),
            right(tally.refused.to_string()),
            right(format!("{:.0} %", 100.0 * tally.worst)),
        ]);
    }
    format!("{out}\n")
}

/// Reason why too little was checked: a variant without any checked shape, or layers that all variants refuse.
fn nothing_checked(tallies: &[Tally], layers: usize) -> Option<String> {
    let tried = |l: &Tally| l.passed + l.failures.len();
    if let Some(none) = tallies.iter().find(|l| tried(l) == 0) {
        return Some(format!(
            "nothing was checked of {}: it can do none of the shapes; see convroof list",
            none.variant
        ));
    }
    let refused = layers > 0 && tallies.iter().all(|l| l.refused == layers);
    refused.then(|| {
        let all = if layers == 1 { "the layer".into() } else { format!("each of the {layers} layers") };
        format!("every chosen variant refuses {all}, so only small shapes were checked; convroof list has the reasons")
    })
}

/// Fails with the first wrong output, if there is one.
pub(super) fn verdict(tallies: &[Tally]) -> Result<()> {
    let failures: Vec<_> = tallies
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
