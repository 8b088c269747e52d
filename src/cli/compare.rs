//! `convroof compare`

use super::failed::{Failed, none_gone};
use super::layout::page;
use super::output::print;
use super::rows::{Format, Rows, Typed};
use crate::record::{self, Run};
use crate::regress::{CantTell, Comparisons, compare};
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::report::{interruption, noise_line};
use crate::units::{plural, time};
use anyhow::{Result, bail};
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
    #[command(flatten)]
    format: Format,
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
    if let Some(rows) = args.format.rows() {
        print_lines(rows, &result, &interrupted)?;
    } else {
        let page = page();
        let mut text = noise([&a, &b], &page) + &text(&result, &interrupted, &page);
        if a.fingerprint.id != b.fingerprint.id {
            text += &page.prose("The records are of different machines, so the ratios compare machines and not kernels.");
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

/// Prints a row per ratio, per measurement of only one record, and per interrupted record.
fn print_lines(mut rows: Rows, result: &Comparisons, interrupted: &[(&str, String)]) -> Result<()> {
    rows.add(&Typed::all(&result.rows, |row| {
        row.problem.value().copied()
    }))?;
    let sides = [("A", &result.only_a), ("B", &result.only_b)].into_iter();
    let only = sides.flat_map(|(side, list)| {
        list.iter().map(move |what| Only {
            only_in: side,
            what,
        })
    });
    rows.add(&only.collect::<Vec<_>>())?;
    let interrupted = interrupted.iter().map(|(side, what)| Interrupted {
        interrupted: side,
        what,
    });
    rows.print(&interrupted.collect::<Vec<_>>())
}

/// The noise of both records.
fn noise(runs: [&Run; 2], page: &Page) -> String {
    let lines = ["A", "B"].into_iter().zip(runs);
    lines
        .map(|(side, run)| page.item(&format!("{side}: {}.", noise_line(run))))
        .collect()
}

/// The ratios as a table, and what else there is to say, in sentences.
fn text(result: &Comparisons, interrupted: &[(&str, String)], page: &Page) -> String {
    let mut text = format!("\n{}\n", ratios(result).show(page));
    text += &unknown(result, page);
    for (side, line) in interrupted {
        text += &page.item(&format!("{side}: {line}."));
    }
    for (which, list) in [("A", &result.only_a), ("B", &result.only_b)] {
        for name in list.iter().take(SHOWN) {
            text += &page.item(&format!("only in {which}: {name}"));
        }
        if let more @ 1.. = list.len().saturating_sub(SHOWN) {
            text += &page.item(&format!("only in {which}: {more} more (--json names all)"));
        }
    }
    let all = plural(result.rows.len(), "ratio");
    if let Some(mean) = result.geometric_mean {
        text += &page.prose(&format!("geometric mean of {all}: {mean:.3}"));
    }
    let bare = result.rows.iter().filter(|r| !r.normalised).count();
    if bare > 0 {
        let why = "a record has no peaks beside its samples";
        text += &page.prose(&format!("Not normalised, since {why}: {bare} of {all}."));
    }
    text
}

/// Rows in which the records can't tell a change, with the reasons, and the command that can; empty without such rows.
fn unknown(result: &Comparisons, page: &Page) -> String {
    let whys: Vec<CantTell> = result.rows.iter().filter_map(|r| r.cant_tell).collect();
    let mut text = String::new();
    for why in whys.iter().collect::<BTreeSet<_>>() {
        let rows = whys.iter().filter(|w| *w == why).count();
        text += &page.item(&format!(
            "{} ({rows} of {}): {}.",
            why.label(),
            result.rows.len(),
            why.meaning()
        ));
    }
    if !whys.is_empty() {
        text += &page.item("convroof ab measures both builds in turns, and finds smaller changes than two records can.");
    }
    text
}

fn ratios(result: &Comparisons) -> Table<10> {
    let mut table = Table::new([
        Column::text("problem", "the layer").least(20),
        Column::number(
            "A/B",
            "ratio of times, each normalised by the peak of its own round, above 1 if B is faster",
        ),
        Column::number("interval", "of the ratio"),
        Column::text("B is", "a change beyond the threshold"),
        Column::text("can't tell", "why the records can't tell a change"),
        Column::text("variant", "algorithm/instruction set/threads").least(20),
        Column::number("threads", "number of threads"),
        Column::number("A", "median time of a run"),
        Column::number("B", "median time of a run"),
        Column::text("cache", "state of the caches"),
    ]);
    for row in &result.rows {
        let interval = row.ratio_ci;
        let interval = interval.map(|[low, high]| format!("{low:.2} to {high:.2}"));
        let change = match (row.slower, row.faster) {
            (true, _) => Some("slower"),
            (_, true) => Some("faster"),
            _ => None,
        };
        table.row([
            Cell::new(&row.problem),
            Cell::new(format!("{:.3}", row.ratio)),
            interval.into(),
            change.into(),
            row.cant_tell.map(CantTell::label).into(),
            Cell::new(&row.variant),
            Cell::new(row.threads),
            Cell::new(time(row.a_ns)),
            Cell::new(time(row.b_ns)),
            Cell::new(&row.cache),
        ]);
    }
    table
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
