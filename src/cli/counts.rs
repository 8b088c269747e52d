//! `convroof counts`

use super::Failed;
use super::output::print;
use super::progress::Scratch;
use super::select::{Layers, Variants, globs};
use crate::files;
use crate::measure::bench::problems;
use crate::regress::counts::model::{CACHES, THREADS, model};
use crate::regress::counts::{Table, differences, valgrind};
use anyhow::{Result, bail};
use convroof_kernels::{Problem, Registry};
use globset::GlobSet;
use std::path::PathBuf;

/// Counts are the same in every run, so every difference is a change. They are flops, bytes, packed weights and
/// scratch of each layer with each variant, for fixed cache sizes, and instructions under valgrind.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    variants: Variants,
    /// Count also instructions and cache accesses under valgrind, for a fixed set of small kernels (scalar and AVX2)
    #[arg(long)]
    valgrind: bool,
    /// Compare with the baselines in this folder: exit code 1 if a count changed
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = BASELINES)]
    check: Option<PathBuf>,
    /// Write the baselines into this folder; counts that this machine can't make are kept
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = BASELINES, conflicts_with = "check")]
    write: Option<PathBuf>,
}

const BASELINES: &str = "results/baselines";

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let problems = problems(&args.layers.choose("nin,resnet50")?);
    let variants = args.variants.choose(registry)?;
    // With a baseline, variants that this machine lacks are listed as not compared.
    if args.check.is_none() {
        args.variants.here(registry)?;
    }
    if let Some(folder) = &args.write {
        files::check(&folder.join("model.tsv"))?;
    }
    let mut tables = vec![("model.tsv", model(&variants, &problems, &CACHES, THREADS))];
    if args.valgrind {
        let scratch = Scratch::new()?;
        tables.push((
            "instructions.tsv",
            valgrind::count(registry, scratch.path())?,
        ));
    }
    let empty = tables.iter().find(|(_, table)| table.rows.is_empty());
    if let Some((name, _)) = empty.filter(|_| args.check.is_none()) {
        bail!("{name}: there is nothing to count: every chosen variant refuses every chosen layer");
    }
    let mut changes = Vec::new();
    let mut untried = Vec::new();
    for (name, mut table) in tables {
        if let Some(folder) = &args.check {
            let mut baseline = Table::load(&folder.join(name))?;
            if name == "model.tsv" {
                restrict(&mut baseline, &problems, &globs(&args.variants.variant)?);
            }
            let found = differences(&baseline, &table);
            print(&format!(
                "{name}: {} rows are equal, {} changed\n",
                found.same,
                found.changes.len()
            ))?;
            for line in &found.untested {
                print(&format!("{name}: not compared: {line}\n"))?;
            }
            if found.same + found.changes.len() == 0 {
                let why = found
                    .untested
                    .first()
                    .map_or("it has no row for the chosen layers and variants", |s| s);
                untried.push(format!("{}: {why}", folder.join(name).display()));
            }
            changes.extend(found.changes);
        } else if let Some(folder) = &args.write {
            let path = folder.join(name);
            if let Ok(older) = Table::load(&path)
                && older.conditions == table.conditions
            {
                table.keep_from(&older);
            }
            files::write(&path, &table.text())?;
            print(&format!("{}: {} rows\n", path.display(), table.rows.len()))?;
        } else {
            print(&table.text())?;
        }
    }
    if changes.is_empty() {
        return match untried.is_empty() {
            true => Ok(()),
            false => bail!("nothing was compared with {}", untried.join("; with ")),
        };
    }
    print(&(changes.join("\n") + "\n"))?;
    Err(Failed(format!(
        "{} rows differ from the baseline; if this is intended, update it with convroof counts --write",
        changes.len()
    ))
    .into())
}

/// Removes rows that were not requested from a baseline.
fn restrict(baseline: &mut Table, problems: &[Problem], variants: &GlobSet) {
    let wanted = |problem: &Problem| problems.contains(problem);
    baseline.rows.retain(|(problem, variant, _), _| {
        problem.value().is_some_and(wanted) && variants.is_match(variant.as_str())
    });
}
