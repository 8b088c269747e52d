//! `convroof counts`

use super::failed::Failed;
use super::output::print;
use super::select::{Layers, Variants};
use crate::files;
use crate::measure::bench::problems;
use crate::patterns::Patterns;
use crate::regress::counts::baselines::{CountKind, Counts, count};
use anyhow::{Result, bail};
use convroof_kernels::{Problem, Registry};
use std::path::{Path, PathBuf};

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
        files::check(&folder.join(CountKind::Model.file()))?;
    }
    let counts = count(registry, &variants, &problems, args.valgrind)?;
    if let Some(folder) = &args.check {
        return check(&counts, folder, &problems, &args.variants.variant);
    }
    if let Some(empty) = counts.iter().find(|c| c.table.rows.is_empty()) {
        bail!(
            "{}: there is nothing to count: every chosen variant refuses every chosen layer",
            empty.kind.file()
        );
    }
    for counts in counts {
        if let Some(folder) = &args.write {
            let (path, rows) = counts.write(folder)?;
            print(&format!("{}: {rows} rows\n", path.display()))?;
        } else {
            print(&counts.table.text())?;
        }
    }
    Ok(())
}

/// Compares with a folder of baselines. Fails, with exit code 1, if a count changed.
fn check(
    counts: &[Counts],
    folder: &Path,
    problems: &[Problem],
    variants: &Patterns,
) -> Result<()> {
    let (mut changes, mut untested) = (Vec::new(), Vec::new());
    for counts in counts {
        let check = counts.check(folder, problems, variants)?;
        let (name, found) = (check.kind.file(), check.differences);
        print(&format!(
            "{name}: {} rows are equal, {} changed\n",
            found.same,
            found.changes.len()
        ))?;
        for line in &found.untested {
            print(&format!("{name}: not compared: {line}\n"))?;
        }
        changes.extend(found.changes);
        untested.extend(check.untested);
    }
    if !changes.is_empty() {
        print(&(changes.join("\n") + "\n"))?;
        return Err(Failed(format!(
            "{} rows differ from the baseline; if this is intended, update it with convroof counts --write",
            changes.len()
        ))
        .into());
    }
    match untested.is_empty() {
        true => Ok(()),
        false => bail!("nothing was compared with {}", untested.join("; with ")),
    }
}
