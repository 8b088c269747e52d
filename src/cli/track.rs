//! `convroof track`

use super::output::{note, print};
use super::rows::Format;
use crate::record;
use crate::regress::history::session::{Tracked, track};
use crate::regress::history::{CREEP, Doubt, Series, page};
use crate::report::interruption;
use crate::report::terminal::{right, table};
use crate::units::{plural, time};
use anyhow::{Result, bail};
use comfy_table::Cell;
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
        Some(rows) => rows.print(&tracked.series),
        None => print(&text(&tracked)),
    }
}

fn text(tracked: &Tracked) -> String {
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
    let mut text = format!(
        "{}: {}, {} series; {} with a step, {} slower than a baseline by more than {:.0} %\n",
        file.display(),
        plural(history.entries.len(), "run"),
        series.len(),
        series.iter().filter(|s| !s.steps.is_empty()).count(),
        series.iter().filter(|s| s.slower()).count(),
        100.0 * CREEP
    );
    let interrupted = history.entries.iter().filter(|e| e.interrupted).count();
    if interrupted > 0 {
        text += &format!("{interrupted} of the runs were interrupted: their series lack a point\n");
    }
    if !moved.is_empty() {
        let mut out = table(&[
            "layer",
            "variant",
            "threads",
            "newest",
            "over the first",
            "over those before",
            "steps",
        ]);
        let ratio = |r: Option<f64>| right(r.map_or("-".into(), |r| format!("{r:.3}")));
        for s in moved {
            let steps = s.steps.iter();
            let steps =
                steps.map(|s| page::step(s.run, &s.started, s.revision.as_deref(), s.ratio));
            out.add_row(vec![
                Cell::new(&s.layer),
                Cell::new(&s.key.variant),
                right(s.key.threads.to_string()),
                right(time(s.newest_ns)),
                ratio(s.fixed),
                ratio(s.rolling),
                Cell::new(steps.collect::<Vec<_>>().join("\n")),
            ]);
        }
        text += &format!("{out}\n");
    }
    text + &format!("Page: {}\n", html.display())
}
