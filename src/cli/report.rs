//! `convroof report`

use super::layout;
use super::output::{print, print_json};
use crate::claims::session as claims;
use crate::files;
use crate::record::{self, Run};
use crate::report::{html, markdown, picture, rows, terminal};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The record [default: the newest in RESULTS/runs]
    record: Option<PathBuf>,
    /// Folder of records and reports [default: results]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Write the HTML report to this file [default: RESULTS/report.html]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print Markdown instead of the table
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Write the roofline of one network and number of threads as an SVG picture
    #[arg(
        long,
        value_name = "FILE",
        requires_all = ["network", "threads"],
        conflicts_with_all = ["html", "markdown", "json"]
    )]
    svg: Option<PathBuf>,
    /// Network of the picture
    #[arg(long, requires = "svg")]
    network: Option<String>,
    /// Number of threads of the picture
    #[arg(long, requires = "svg")]
    threads: Option<usize>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let results = args.results.as_deref().unwrap_or(Path::new("results"));
    if let (Some(_), Some(_), Some(folder)) = (&args.record, &args.svg, &args.results) {
        bail!(
            "--results {}: a picture of a given record needs no folder",
            folder.display()
        );
    }
    let path = match &args.record {
        Some(path) => path.clone(),
        None => record::newest(&results.join("runs"))?,
    };
    let run = record::load(&path)?;
    if run.measurements.is_empty() {
        let why = match run.refusals.first() {
            _ if !run.complete => format!(
                "it was interrupted before the first; go on with: convroof bench --resume {}",
                path.display()
            ),
            Some(r) => format!("{} refuses {}: {}", r.variant, r.problem, r.reason),
            None => "it has no refusals either".into(),
        };
        bail!("{} has no measurements: {why}", path.display());
    }
    if let (Some(file), Some(network), Some(threads)) = (&args.svg, &args.network, args.threads) {
        let Some(picture) = picture::standalone(&run, network, threads) else {
            bail!(
                "{} has no layer of {network} on {}",
                path.display(),
                crate::units::threads(threads)
            );
        };
        return Ok(files::write(file, &picture)?);
    }
    let target = args
        .html
        .clone()
        .unwrap_or_else(|| results.join("report.html"));
    if !args.markdown && !args.json {
        return show(&run, &target, results);
    }
    files::write(&target, &page(&run, results))?;
    match args.markdown {
        true => print(&markdown::markdown(&run, &rows(&run))),
        false => print_json(&rows(&run)),
    }
}

/// The report of a run, with the answers to claims if there are some from its machine (`convroof claims`).
pub(super) fn page(run: &Run, results: &Path) -> String {
    html::html_with(run, &claims::load(results, &run.fingerprint.id))
}

/// Prints the verdicts, writes the report and prints its path.
pub(super) fn show(run: &Run, target: &Path, results: &Path) -> Result<()> {
    files::write(target, &page(run, results))?;
    print(&terminal::verdicts(run, &rows(run), &layout::page()))?;
    print(&format!("Report: {}\n", target.display()))
}
