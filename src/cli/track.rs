//! `convroof track`

use super::layout;
use super::output::{note, print};
use super::rows::{Format, Typed};
use crate::record;
use crate::regress::history::page::step as step_text;
use crate::regress::history::session::{Tracked, track};
use crate::regress::history::{CREEP, Doubt, Series};
use crate::report::interruption;
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::units::{plural, threads, time};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Adds a run to its machine's history, looks for steps and creep in it, and writes a page about it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The record [default: the newest in RESULTS/runs]
    record: Option<PathBuf>,
    /// Folder of records [default: results]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Folder of histories, one file per machine [default: RESULTS/history]
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// Write the page to this file [default: beside the history]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let results = args.results.as_deref().unwrap_or(Path::new("results"));
    if let (Some(_), Some(_), Some(folder)) = (&args.record, &args.history, &args.results) {
        bail!(
            "--results {}: record and history are given, so it isn't needed",
            folder.display()
        );
    }
    let path = match &args.record {
        Some(path) => path.clone(),
        None => record::newest(&results.join("runs"))?,
    };
    let run = record::load(&path)?;
    if let Some(line) = interruption(&run) {
        note(&format!("{}: {line}", path.display()));
    }
    let folder = args
        .history
        .clone()
        .unwrap_or_else(|| results.join("history"));
    let Some(tracked) = track(&run, &folder, args.html.as_deref())? else {
        bail!(
            "{} has nothing to track: it has no peaks to normalise samples by",
            path.display()
        );
    };
    if !tracked.added {
        note(&format!("{} is in the history already", path.display()));
    }
    for Doubt { line, why } in &tracked.history.doubts {
        let name = tracked.file.display();
        note(&format!(
            "{name}, line {line}: {why}; it is kept but ignored"
        ));
    }
    match args.format.rows() {
        Some(rows) => rows.print(&Typed::all(&tracked.series, |series| {
            series.key.problem.parse().ok()
        })),
        None => print(&text(&tracked, &layout::page())),
    }
}

fn text(tracked: &Tracked, page: &Page) -> String {
    let Tracked {
        file,
        history,
        series,
        html,
        ..
    } = tracked;
    let moved: Vec<&Series> = series
        .iter()
        .filter(|s| s.slower() || !s.steps.is_empty())
        .collect();
    let mut text = page.prose(&format!(
        "{}: {}, {} series; {} with a step, {} slower than a baseline by more than {:.0} %.",
        file.display(),
        plural(history.entries.len(), "run"),
        series.len(),
        series.iter().filter(|s| !s.steps.is_empty()).count(),
        series.iter().filter(|s| s.slower()).count(),
        100.0 * CREEP
    ));
    let interrupted = history.entries.iter().filter(|e| e.interrupted).count();
    if interrupted > 0 {
        text += &page.prose(&format!(
            "{interrupted} of the runs were interrupted: their series lack a point."
        ));
    }
    if !moved.is_empty() {
        text += &format!("\n{}\n", moves(&moved).show(page));
        for s in moved {
            for step in &s.steps {
                let what = step_text(
                    step.run,
                    &step.started,
                    step.revision.as_deref(),
                    step.ratio,
                );
                text += &page.item(&format!(
                    "{}, {}, {}: {what}.",
                    s.layer,
                    s.key.variant,
                    threads(s.key.threads)
                ));
            }
        }
    }
    text + &page.item(&format!("Page: {}", html.display()))
}

/// Series that moved.
fn moves(series: &[&Series]) -> Table<6> {
    let mut table = Table::new([
        Column::text("layer", "of the run").least(16),
        Column::number("over first", "the newest cost over that of the first runs"),
        Column::number(
            "over before",
            "the newest cost over that of the runs before it",
        ),
        Column::text("variant", "algorithm/instruction set/threads").least(16),
        Column::number("newest", "median time of a run"),
        Column::number("threads", "number of threads"),
    ]);
    let ratio = |r: Option<f64>| Cell::from(r.map(|r| format!("{r:.3}")));
    for s in series {
        table.row([
            Cell::new(&s.layer),
            ratio(s.fixed),
            ratio(s.rolling),
            Cell::new(&s.key.variant),
            Cell::new(time(s.newest_ns)),
            Cell::new(s.key.threads),
        ]);
    }
    table
}
