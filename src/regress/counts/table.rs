//! Tables of counts, and their differences.

use crate::record::{CandidateId, IsaName, Text};
use convroof_kernels::Problem;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Counts of some kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Conditions that must be equal for two tables to be comparable, on one line.
    pub conditions: String,
    /// Names of the counts.
    pub columns: Vec<String>,
    /// Relative difference that counts as equal. It isn't part of the file.
    pub slack: f64,
    /// Counts by problem, variant and threads.
    pub rows: BTreeMap<Key, Vec<u64>>,
}

/// Problem, variant, threads.
pub type Key = (Text<Problem>, CandidateId, usize);

/// Reason why a baseline can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The file can't be read.
    #[error("can't read {path}: {error}; write it with convroof counts --write")]
    Read {
        /// The file.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file isn't a table.
    #[error("{path}, line {line}: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// Line number, from 1.
        line: usize,
        /// Description of the error.
        why: String,
    },
}

impl Table {
    /// The table as a file: a line of conditions, a line of names, and the rows, separated by tabs.
    pub fn text(&self) -> String {
        let mut text = format!("# {}\n", self.conditions);
        let _ = writeln!(
            text,
            "problem\tvariant\tthreads\t{}",
            self.columns.join("\t")
        );
        for ((problem, variant, threads), numbers) in &self.rows {
            let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let _ = writeln!(
                text,
                "{problem}\t{variant}\t{threads}\t{}",
                numbers.join("\t")
            );
        }
        text
    }

    /// Loads a table from a file.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn load(path: &Path) -> Result<Table, BaselineError> {
        let text = std::fs::read_to_string(path).map_err(|error| BaselineError::Read {
            path: path.display().to_string(),
            error,
        })?;
        Table::parse(&text).map_err(|(line, why)| BaselineError::Damaged {
            path: path.display().to_string(),
            line,
            why,
        })
    }

    fn parse(text: &str) -> Result<Table, (usize, String)> {
        let mut lines = text.lines();
        let conditions = lines.next().and_then(|l| l.strip_prefix("# "));
        let conditions = conditions.ok_or((1, "expected # and the conditions".into()))?;
        let names: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
        let ["problem", "variant", "threads", columns @ ..] = &names[..] else {
            return Err((
                2,
                "expected problem, variant, threads and names of numbers".into(),
            ));
        };
        let mut rows = BTreeMap::new();
        for (i, line) in lines.enumerate() {
            let wrong = || (i + 3, format!("'{line}' is not {} fields", names.len()));
            let fields: Vec<&str> = line.split('\t').collect();
            let [problem, variant, threads, numbers @ ..] = &fields[..] else {
                return Err(wrong());
            };
            let numbers: Result<Vec<u64>, _> = numbers.iter().map(|n| n.parse()).collect();
            match (threads.parse(), numbers) {
                (Ok(threads), Ok(numbers)) if numbers.len() == columns.len() => {
                    rows.insert(((*problem).into(), (*variant).into(), threads), numbers);
                }
                _ => return Err(wrong()),
            }
        }
        Ok(Table {
            conditions: conditions.into(),
            columns: columns.iter().map(|c| c.to_string()).collect(),
            slack: 0.0,
            rows,
        })
    }

    /// Takes rows of other instruction sets from an older table, since this machine can't count them.
    pub fn keep_from(&mut self, older: &Table) {
        let own = self.isas();
        let lost = older
            .rows
            .iter()
            .filter(|((_, variant, _), _)| !own.contains(variant.isa()));
        let lost: Vec<_> = lost.map(|(k, v)| (k.clone(), v.clone())).collect();
        self.rows.extend(lost);
    }

    /// True if both have the same conditions. The version of valgrind isn't one of them: it counts the program's
    /// instructions, which don't depend on it.
    pub fn is_like(&self, other: &Table) -> bool {
        let conditions = |table: &Table| -> Vec<String> {
            let parts = table.conditions.split(", ");
            let parts = parts.filter(|part| !part.starts_with("valgrind-"));
            parts.map(String::from).collect()
        };
        conditions(self) == conditions(other)
    }

    /// Instruction sets, sorted by name.
    fn isas(&self) -> Vec<IsaName> {
        let all = self.rows.keys().map(|(_, variant, _)| variant.isa());
        let mut isas: Vec<IsaName> = all.cloned().collect();
        isas.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        isas.dedup();
        isas
    }
}

/// Differences between a table and its baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// One line per change, with the old and the new count.
    pub changes: Vec<String>,
    /// Number of equal rows.
    pub same: usize,
    /// Rows that were not compared, with the reason.
    pub untested: Vec<String>,
}

/// Compares row by row, exactly except for the slack. Instruction sets that one side lacks are listed, not compared.
pub fn differences(baseline: &Table, now: &Table) -> Differences {
    let mut found = Differences::default();
    if !baseline.is_like(now) {
        found.untested.push(format!(
            "everything: the baseline is for '{}', this is '{}'; use the compiler of rust-toolchain.toml, or renew it with convroof counts --write",
            baseline.conditions, now.conditions
        ));
        return found;
    }
    let (theirs, ours) = (baseline.isas(), now.isas());
    let both =
        |(_, variant, _): &Key| theirs.contains(variant.isa()) && ours.contains(variant.isa());
    for (which, other, reason) in [
        (&theirs, &ours, "this machine can't plan for it"),
        (&ours, &theirs, "the baseline has none"),
    ] {
        for isa in which.iter().filter(|i| !other.contains(i)) {
            found.untested.push(format!("{isa}: {reason}"));
        }
    }
    let title =
        |(problem, variant, threads): &Key| format!("{problem} {variant}, threads {threads}");
    for (key, new) in now.rows.iter().filter(|(key, _)| both(key)) {
        let Some(old) = baseline.rows.get(key) else {
            found.changes.push(format!("{}: new", title(key)));
            continue;
        };
        let mut changed = Vec::new();
        for (i, column) in now.columns.iter().enumerate() {
            let was = baseline
                .columns
                .iter()
                .position(|c| c == column)
                .map(|j| old[j]);
            match was {
                Some(was) if was.abs_diff(new[i]) as f64 <= now.slack * was as f64 => {}
                Some(was) => changed.push(format!("{column} {was} -> {}", new[i])),
                None => changed.push(format!("{column} new")),
            }
        }
        if changed.is_empty() {
            found.same += 1;
        } else {
            found
                .changes
                .push(format!("{}: {}", title(key), changed.join(", ")));
        }
    }
    let gone = baseline
        .rows
        .keys()
        .filter(|key| both(key) && !now.rows.contains_key(*key));
    found
        .changes
        .extend(gone.map(|key| format!("{}: gone", title(key))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, &str, [u64; 2])]) -> Table {
        Table {
            conditions: "caches 1, 2, 3".into(),
            columns: vec!["flops".into(), "bytes".into()],
            slack: 0.0,
            rows: rows
                .iter()
                .map(|(p, v, n)| (((*p).into(), (*v).into(), 1), n.to_vec()))
                .collect(),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let table = table(&[
            ("p", "direct/avx2/st", [3, 4]),
            ("q", "direct/avx2/st", [5, 6]),
        ]);
        assert_eq!(Table::parse(&table.text()), Ok(table));
    }

    #[test]
    fn damage_has_a_line() {
        let text = table(&[("p", "direct/avx2/st", [3, 4])]).text();
        for (damaged, line) in [
            (text.replace("# ", ""), 1),
            (text.replace("problem", "?"), 2),
            (text.replace("\t4", ""), 3),
            (text.replace("\t4", "\tx"), 3),
        ] {
            assert_eq!(
                Table::parse(&damaged).map_err(|e| e.0),
                Err(line),
                "{damaged}"
            );
        }
    }

    #[test]
    fn one_more_byte_is_a_change_and_so_is_a_row() {
        let old = table(&[
            ("p", "direct/avx2/st", [3, 4]),
            ("q", "direct/avx2/st", [5, 6]),
        ]);
        assert_eq!(differences(&old, &old).changes, [""; 0]);
        let new = table(&[
            ("p", "direct/avx2/st", [3, 5]),
            ("r", "direct/avx2/st", [5, 6]),
        ]);
        assert_eq!(
            differences(&old, &new).changes,
            [
                "p direct/avx2/st, threads 1: bytes 4 -> 5",
                "r direct/avx2/st, threads 1: new",
                "q direct/avx2/st, threads 1: gone",
            ]
        );
    }

    #[test]
    fn only_like_is_compared_with_like() {
        let old = table(&[
            ("p", "direct/avx512/st", [3, 4]),
            ("p", "direct/avx2/st", [3, 4]),
        ]);
        let mut new = table(&[
            ("p", "direct/neon/st", [9, 9]),
            ("p", "direct/avx2/st", [3, 4]),
        ]);
        let found = differences(&old, &new);
        assert_eq!(
            (found.changes.len(), found.same, found.untested.len()),
            (0, 1, 2)
        );
        new.keep_from(&old);
        assert_eq!(new.rows.len(), 3);
        // A difference within the slack is no change.
        let off = |by: u64, slack| {
            let old = table(&[("p", "direct/avx2/st", [100_000, 4])]);
            let mut new = table(&[("p", "direct/avx2/st", [100_000 + by, 4])]);
            new.slack = slack;
            differences(&old, &new).changes.len()
        };
        assert_eq!([off(10, 1e-4), off(11, 1e-4), off(1, 0.0)], [0, 1, 1]);
        let elsewhere = Table {
            conditions: "other".into(),
            ..new
        };
        let found = differences(&old, &elsewhere);
        assert_eq!((found.same, found.untested.len()), (0, 1));
    }

    #[test]
    fn the_compiler_is_a_condition_and_valgrind_is_not() {
        let counted = |conditions: &str| Table {
            conditions: conditions.into(),
            ..table(&[("p", "direct/avx2/st", [3, 4])])
        };
        let old = counted("instructions 1: rustc 1.95.0 (598), valgrind-3.19.0, x86_64");
        for (conditions, same) in [
            (
                "instructions 1: rustc 1.95.0 (598), valgrind-3.22.0, x86_64",
                1,
            ),
            (
                "instructions 1: rustc 1.96.0 (123), valgrind-3.19.0, x86_64",
                0,
            ),
            (
                "instructions 1: rustc 1.95.0 (598), valgrind-3.19.0, aarch64",
                0,
            ),
        ] {
            assert_eq!(
                differences(&old, &counted(conditions)).same,
                same,
                "{conditions}"
            );
        }
    }
}
