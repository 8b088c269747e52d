//! `convroof compare`

use super::failed::{Failed, none_gone};
use super::output::{print, print_json};
use crate::record::{self, Run};
use crate::regress::{CantTell, Comparisons, compare};
use crate::report::terminal::{right, table};
use crate::report::{interruption, noise_line};
use crate::units::time;
use anyhow::{Result, bail};
use comfy_table::Cell;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Ratios are A's time over B's, each normalised by the peak of its own round. Above 1, B is faster.
///
/// A row has changed if both records have at least five samples of it, and if its whole interval lies beyond the
/// threshold. All intervals together hold with probability 95 %. Where two records can't tell, `convroof ab` can: it
/// measures both builds in turns.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Record A, the baseline
    a: PathBuf,
    /// Record B
    b: PathBuf,
    /// Smallest change that counts, in percent
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
        print_lines(&result, &interrupted)?;
    } else {
        let mut text = noise([&a, &b]) + &text(&result, &interrupted);
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
    verdict(&result, args)
}

/// Prints one JSON object per ratio, per measurement of only one record, and per interrupted record.
fn print_lines(result: &Comparisons, interrupted: &[(&str, String)]) -> Result<()> {
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
    print_json(&interrupted.collect::<Vec<_>>())
}

/// The noise of both records.
fn noise(runs: [&Run; 2]) -> String {
    let lines = ["A", "B"].into_iter().zip(runs);
    lines
        .map(|(side, run)| format!("{side}: {}.\n", noise_line(run)))
        .collect()
}

/// The ratios as a table, and what else there is to say, in sentences.
fn text(result: &Comparisons, interrupted: &[(&str, String)]) -> String {
    let mut out = table(&[
        "problem",
        "variant",
        "threads",
        "A",
        "B",
        "A/B",
        "interval",
        "B is",
        "can't tell",
    ]);
    for row in &result.rows {
        let interval = row
            .ratio_ci
            .map(|[low, high]| format!("{low:.2} to {high:.2}"));
        out.add_row(vec![
            Cell::new(&row.problem),
            Cell::new(&row.variant),
            right(row.threads.to_string()),
            right(time(row.a_ns)),
            right(time(row.b_ns)),
            right(format!("{:.3}", row.ratio)),
            right(interval.unwrap_or_else(|| "-".into())),
            Cell::new(match (row.slower, row.faster) {
                (true, _) => "slower",
                (_, true) => "faster",
                _ => "",
            }),
            Cell::new(row.cant_tell.map_or("", CantTell::label)),
        ]);
    }
    let mut text = format!(
        "A/B is the ratio of times, each normalised by the peak of its own round. Above 1, B is faster.\n{out}\n"
    );
    text += &unknown(result);
    for (side, line) in interrupted {
        text += &format!("{side}: {line}.\n");
    }
    for (which, list) in [("A", &result.only_a), ("B", &result.only_b)] {
        for name in list.iter().take(SHOWN) {
            text += &format!("only in {which}: {name}\n");
        }
        if list.len() > SHOWN {
            let more = list.len() - SHOWN;
            text += &format!("only in {which}: {more} more (--json names all)\n");
        }
    }
    let all = result.rows.len();
    if let Some(mean) = result.geometric_mean {
        text += &format!("geometric mean of {all} ratios: {mean:.3}\n");
    }
    let bare = result.rows.iter().filter(|r| !r.normalised).count();
    if bare > 0 {
        text +=
            &format!("{bare} of {all} ratios are not normalised, since a record has no peaks.\n");
    }
    text
}

/// Rows in which the records can't tell a change, with the reasons, and the command that can; empty without such rows.
fn unknown(result: &Comparisons) -> String {
    let whys: Vec<CantTell> = result.rows.iter().filter_map(|r| r.cant_tell).collect();
    let mut text = String::new();
    for why in whys.iter().collect::<BTreeSet<_>>() {
        let rows = whys.iter().filter(|w| *w == why).count();
        text += &format!(
            "{} ({rows} of {}): {}.\n",
            why.label(),
            result.rows.len(),
            why.meaning()
        );
    }
    if !whys.is_empty() {
        text += "convroof ab measures both builds in turns, and finds smaller changes than two records can.\n";
    }
    text
}

/// Fails, with exit code 1, if a measurement of B is slower or missing.
fn verdict(result: &Comparisons, args: &Args) -> Result<()> {
    let slower = result.rows.iter().filter(|r| r.slower);
    let Some(worst) = slower.clone().min_by(|x, y| x.ratio.total_cmp(&y.ratio)) else {
        let gone = match args.allow_missing {
            true => &[][..],
            false => &result.only_a,
        };
        return none_gone(gone, "measurements", "A", "B");
    };
    let gone = match result.only_a.len() {
        0 => String::new(),
        n => format!("; {n} measurements of A are missing in B"),
    };
    Err(Failed(format!(
        "{} of {} are slower by more than {} %; worst is {} on {} with {:.3}{gone}; convroof ab measures both builds in turns",
        slower.count(),
        result.rows.len(),
        args.threshold,
        worst.variant,
        worst.problem,
        worst.ratio
    ))
    .into())
}
