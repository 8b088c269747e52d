//! `convroof counts`

use super::failed::Failed;
use super::output::{note, print};
use super::rows::{Format, Typed};
use super::select::{Layers, Variants};
use super::types::Types;
use crate::files;
use crate::measure::bench::problems;
use crate::patterns::Patterns;
use crate::record::{CandidateId, Text};
use crate::regress::counts::baselines::{CountKind, Counts, count};
use crate::regress::counts::model::narrow;
use crate::regress::counts::table::Table;
use crate::units::plural;
use anyhow::{Result, bail};
use convroof_kernels::{Problem, Registry};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Counts are the same in every run, so every difference is a change. They are flops, bytes, packed weights and
/// scratch of each layer with each variant, for fixed cache sizes, and instructions under valgrind.
///
/// Exit code 1: a count changed. 2: nothing could be compared with a baseline, for example with another compiler.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    types: Types,
    #[command(flatten)]
    variants: Variants,
    /// Count also instructions and cache accesses under valgrind, for a fixed set of small kernels (scalar and AVX2)
    #[arg(long)]
    valgrind: bool,
    /// Compare with the baselines in this folder: exit code 1 if a count changed
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        default_missing_value = BASELINES,
        conflicts_with_all = ["json", "csv"]
    )]
    check: Option<PathBuf>,
    /// Write the baselines into this folder; counts that this machine can't make are kept
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        default_missing_value = BASELINES,
        conflicts_with_all = ["check", "json", "csv"]
    )]
    write: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

const BASELINES: &str = "results/baselines";

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let problems = args.problems()?;
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
    if let Some(mut printer) = args.format.rows() {
        for counts in &counts {
            let rows = rows(&counts.table);
            printer.add(&Typed::all(&rows, |row| row.problem.value().copied()))?;
        }
        return printer.end();
    }
    for counts in counts {
        if let Some(folder) = &args.write {
            let (path, rows) = counts.write(folder)?;
            print(&format!("{}: {}\n", path.display(), plural(rows, "row")))?;
        } else {
            print(&counts.table.text())?;
        }
    }
    Ok(())
}

impl Args {
    /// The chosen problems. Without a choice these are NiN and ResNet-50 in f32, and some layers of other types.
    fn problems(&self) -> Result<Vec<Problem>> {
        let layers = self.types.of(self.layers.choose("nin,resnet50")?)?;
        let mut problems = problems(&layers);
        if !self.layers.are_chosen() && !self.types.are_chosen() {
            problems.extend(narrow()?);
        }
        Ok(problems)
    }
}

/// Counts of a kernel on a layer.
#[derive(Serialize)]
struct Row<'a> {
    problem: &'a Text<Problem>,
    variant: &'a CandidateId,
    threads: usize,
    #[serde(flatten)]
    counts: BTreeMap<&'a str, u64>,
}

fn rows(table: &Table) -> Vec<Row<'_>> {
    let names = || table.columns.iter().map(String::as_str);
    let rows = table.rows.iter();
    rows.map(|((problem, variant, threads), counts)| Row {
        problem,
        variant,
        threads: *threads,
        counts: names().zip(counts.iter().copied()).collect(),
    })
    .collect()
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
            "{name}: {} equal, {} changed\n",
            plural(found.same, "row"),
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
            "{} changed against the baseline; if this is intended, update it with convroof counts --write",
            plural(changes.len(), "row")
        ))
        .into());
    }
    let instructions = CountKind::Instructions.file();
    if counts.iter().all(|c| c.kind != CountKind::Instructions)
        && folder.join(instructions).exists()
    {
        note(&format!("{instructions} is not compared: add --valgrind"));
    }
    match untested.is_empty() {
        true => Ok(()),
        false => bail!("nothing was compared with {}", untested.join("; with ")),
    }
}
