//! `convroof compare`

use super::Failed;
use super::output::{print, print_json};
use super::select::none_gone;
use crate::record;
use crate::regress::compare;
use crate::report::interruption;
use crate::report::terminal::{right, table};
use crate::roofline::time;
use anyhow::{Result, bail};
use comfy_table::Cell;
use serde::Serialize;
use std::path::PathBuf;

/// Ratios are A's time over B's, each normalised by the peak of its own round. Above 1, B is faster.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Record A, the baseline
    a: PathBuf,
    /// Record B
    b: PathBuf,
    /// Smallest slow-down that counts, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    threshold: f64,
    /// Ignore measurements that A has and B lacks; without this flag they give exit code 1
    #[arg(long)]
    allow_missing: bool,
    /// Compare records of different machines
    #[arg(long)]
    force: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Upper limit for the lines that list what only one record has.
const SHOWN: usize = 20;

/// A measurement that only one record has.
#[derive(Serialize)]
struct Only<'a> {
    only_in: &'static str,
    what: &'a str,
}

/// An interrupted record.
#[derive(Serialize)]
struct Interrupted<'a> {
    interrupted: &'a str,
    what: &'a str,
}

pub(super) fn run(args: &Args) -> Result<()> {
    if !(args.threshold > 0.0 && args.threshold < 1000.0) {
        bail!(
            "--threshold {}: expected percent, more than 0 and less than 1000",
            args.threshold
        );
    }
    let (a, b) = (record::load(&args.a)?, record::load(&args.b)?);
    let interrupted: Vec<(&str, String)> = [("A", &a), ("B", &b)]
        .into_iter()
        .filter_map(|(side, run)| Some((side, interruption(run)?)))
        .collect();
    let result = compare(&a, &b, args.threshold / 100.0, args.force)?;
    if args.json {
        print_json(&result.rows)?;
        let sides = [("A", &result.only_a), ("B", &result.only_b)].into_iter();
        let only = sides.flat_map(|(side, list)| {
            list.iter().map(move |what| Only {
                only_in: side,
                what,
            })
        });
        print_json(&only.collect::<Vec<_>>())?;
        let interrupted = interrupted.iter().map(|(side, what)| Interrupted {
            interrupted: side,
            what,
        });
        print_json(&interrupted.collect::<Vec<_>>())?;
    } else {
        let mut out = table(&["problem", "variant", "threads", "A", "B", "A/B", ""]);
        for row in &result.rows {
            out.add_row(vec![
                Cell::new(&row.problem),
                Cell::new(&row.variant),
                right(row.threads.to_string()),
                right(time(row.a_ns)),
                right(time(row.b_ns)),
                right(format!("{:.3}", row.ratio)),
                Cell::new(if row.slower { "slower" } else { "" }),
            ]);
        }
        let mut text = format!(
            "A/B is the ratio of times, each normalised by the peak of its own round. Above 1, B is faster.\n{out}\n"
        );
        for (side, line) in &interrupted {
            text += &format!("{side}: {line}.\n");
        }
        for (which, list) in [("A", &result.only_a), ("B", &result.only_b)] {
            list.iter()
                .take(SHOWN)
                .for_each(|name| text += &format!("only in {which}: {name}\n"));
            if list.len() > SHOWN {
                text += &format!(
                    "only in {which}: {} more (--json names all)\n",
                    list.len() - SHOWN
                );
            }
        }
        if let Some(mean) = result.geometric_mean {
            text += &format!(
                "geometric mean of {} ratios: {mean:.3}\n",
                result.rows.len()
            );
        }
        let bare = result.rows.iter().filter(|r| !r.normalised).count();
        if bare > 0 {
            text += &format!(
                "{bare} of {} ratios are not normalised, since a record has no peaks.\n",
                result.rows.len()
            );
        }
        if a.fingerprint.id != b.fingerprint.id {
            text += "The records are of different machines, so the ratios compare machines and not kernels.\n";
        }
        print(&text)?;
    }
    if result.rows.is_empty() {
        bail!(
            "the records have nothing in common: {} has {} measurements, {} has {}",
            args.a.display(),
            a.measurements.len(),
            args.b.display(),
            b.measurements.len()
        );
    }
    let slower = result.rows.iter().filter(|r| r.slower).count();
    if slower > 0 {
        let worst = result
            .rows
            .iter()
            .min_by(|x, y| x.ratio.total_cmp(&y.ratio))
            .expect("not empty");
        let gone = match result.only_a.len() {
            0 => String::new(),
            n => format!("; {n} measurements of A are missing in B"),
        };
        return Err(Failed(format!(
            "{slower} of {} are slower by more than {} %; worst is {} on {} with {:.3}{gone}",
            result.rows.len(),
            args.threshold,
            worst.variant,
            worst.problem,
            worst.ratio
        ))
        .into());
    }
    let gone = if args.allow_missing {
        &[][..]
    } else {
        &result.only_a
    };
    none_gone(gone, "measurements", "A", "B")
}
