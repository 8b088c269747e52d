//! Counts of this machine, and a folder of baselines, one table for each kind of count.

use super::model::{CACHES, THREADS, model};
use super::table::{Differences, Table, differences};
use super::valgrind;
use crate::files;
use crate::patterns::Patterns;
use crate::scratch::Scratch;
use anyhow::Result;
use convroof_kernels::{Problem, Registry, Variant};
use std::path::{Path, PathBuf};

/// Kind of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountKind {
    /// Counts of plans.
    Model,
    /// Instructions and cache accesses under valgrind.
    Instructions,
}

impl CountKind {
    /// Name of the file of its baseline.
    pub fn file(self) -> &'static str {
        match self {
            CountKind::Model => "model.tsv",
            CountKind::Instructions => "instructions.tsv",
        }
    }
}

/// Counts of this machine.
pub struct Counts {
    /// Their kind.
    pub kind: CountKind,
    /// The counts.
    pub table: Table,
}

/// Counts variants on problems, and with `valgrind` also the instructions of its fixed set of kernels.
///
/// # Errors
/// When valgrind can't be run.
pub fn count(
    registry: &Registry,
    variants: &[Variant],
    problems: &[Problem],
    valgrind: bool,
) -> Result<Vec<Counts>> {
    let mut all = vec![Counts {
        kind: CountKind::Model,
        table: model(variants, problems, &CACHES, THREADS),
    }];
    if valgrind {
        let scratch = Scratch::new()?;
        all.push(Counts {
            kind: CountKind::Instructions,
            table: valgrind::count(registry, scratch.path())?,
        });
    }
    Ok(all)
}

/// Differences between counts and their baseline.
pub struct BaselineCheck {
    /// Their kind.
    pub kind: CountKind,
    /// The differences.
    pub differences: Differences,
    /// The reason, if no row was compared.
    pub untested: Option<String>,
}

impl Counts {
    /// Compares with the baseline in a folder. Of a baseline of plans, only the rows of `problems` and `variants`
    /// count, since only those were requested.
    ///
    /// # Errors
    /// When the baseline is missing or damaged.
    pub fn check(
        &self,
        folder: &Path,
        problems: &[Problem],
        variants: &Patterns,
    ) -> Result<BaselineCheck> {
        let path = folder.join(self.kind.file());
        let mut baseline = Table::load(&path)?;
        if self.kind == CountKind::Model {
            baseline.rows.retain(|(problem, variant, _), _| {
                problem.value().is_some_and(|p| problems.contains(p))
                    && variants.is_match(variant.as_str())
            });
        }
        let differences = differences(&baseline, &self.table);
        let none = differences.same + differences.changes.len() == 0;
        let untested = none.then(|| {
            let why = differences.untested.first().map(String::as_str);
            let why = why.unwrap_or("it has no row for the chosen layers and variants");
            format!("{}: {why}", path.display())
        });
        Ok(BaselineCheck {
            kind: self.kind,
            differences,
            untested,
        })
    }

    /// Writes the baseline into a folder, and keeps rows of instruction sets that this machine can't count. Returns
    /// the file and its number of rows.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(mut self, folder: &Path) -> Result<(PathBuf, usize)> {
        let path = folder.join(self.kind.file());
        if let Ok(older) = Table::load(&path)
            && older.is_like(&self.table)
        {
            self.table.keep_from(&older);
        }
        files::write(&path, &self.table.text())?;
        Ok((path, self.table.rows.len()))
    }
}
