//! `convroof report`

use super::layout;
use super::output::{detail, print, written};
use super::rows::Format;
use crate::claims::session as claims;
use crate::files;
use crate::patterns;
use crate::record::{self, Run};
use crate::report::document::Source;
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
    /// Write the HTML report to this file [default: RESULTS/report.html; of a given record, RECORD with the extension
    /// html, in the folder --results or else beside the record]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print Markdown instead of the table; of a given record, write HTML only with --html or --results
    #[arg(long, conflicts_with_all = ["json", "csv"])]
    markdown: bool,
    /// Write the roofline of one network and number of threads as an SVG picture
    #[arg(
        long,
        value_name = "FILE",
        requires_all = ["network", "threads"],
        conflicts_with_all = ["html", "markdown", "json", "csv"]
    )]
    svg: Option<PathBuf>,
    /// Network of the picture
    #[arg(long, requires = "svg")]
    network: Option<String>,
    /// Number of threads of the picture
    #[arg(long, requires = "svg")]
    threads: Option<usize>,
    #[command(flatten)]
    format: Format,
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
    detail(&format!("record: {}", path.display()));
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
        let mut names: Vec<&str> = run.layers.iter().map(|l| l.network.as_str()).collect();
        names.dedup();
        let network = patterns::meant(network, &names).unwrap_or(network);
        let Some(picture) = picture::standalone(&run, network, threads) else {
            bail!(
                "{} has no layer of {network} on {}: its networks are {}",
                path.display(),
                crate::units::threads(threads),
                names.join(", ")
            );
        };
        return Ok(files::write(file, &picture)?);
    }
    let target = target(args, results);
    let format = args.format.rows();
    if !args.markdown && format.is_none() {
        return show(&run, &path, &target, results);
    }
    // Markdown and rows of a given record need no page, unless an option says where.
    if args.html.is_some() || args.results.is_some() || args.record.is_none() {
        files::write(&target, &page(&run, &path, results))?;
        written(&format!("report: {}", target.display()));
    }
    match format {
        None => print(&markdown::markdown(&run, &rows(&run))),
        Some(format) => format.print(&rows(&run)),
    }
}

/// File of the HTML report. Of a given record it has the record's name, so that it replaces no report of another.
fn target(args: &Args, results: &Path) -> PathBuf {
    if let Some(html) = &args.html {
        return html.clone();
    }
    let name = args
        .record
        .as_deref()
        .filter(|record| !files::is_stream(record));
    match name {
        None => results.join("report.html"),
        Some(record) => {
            let html = record.with_extension("html");
            match (&args.results, html.file_name()) {
                (Some(folder), Some(name)) => folder.join(name),
                _ => html,
            }
        }
    }
}

/// The report of a run, with the answers to claims if there are some from its machine (`convroof claims`).
pub(super) fn page(run: &Run, record: &Path, results: &Path) -> String {
    let claims = claims::load(results, &run.fingerprint.id);
    let file = record.file_name().unwrap_or_default().to_string_lossy();
    let source = Source {
        file: &file,
        run,
        claims: &claims,
    };
    html::page(&[source], None)
}

/// Prints the verdicts, writes the report and prints its path.
pub(super) fn show(run: &Run, record: &Path, target: &Path, results: &Path) -> Result<()> {
    files::write(target, &page(run, record, results))?;
    print(&terminal::verdicts(run, &rows(run), &layout::page()))?;
    print(&format!("Report: {}\n", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_report_of_a_record_has_its_name() {
        let file = |words: &[&str]| {
            let line = ["report"].iter().chain(words);
            let args = Line::try_parse_from(line).expect("arguments").args;
            let results = args.results.clone().unwrap_or("results".into());
            target(&args, &results)
        };
        for (words, path) in [
            (&[][..], "results/report.html"),
            (&["--results", "out"], "out/report.html"),
            (&["results/runs/a.json"], "results/runs/a.html"),
            (&["results/runs/a.json", "--results", "out"], "out/a.html"),
            (&["results/runs/a.json", "--html", "b.html"], "b.html"),
        ] {
            assert_eq!(file(words), Path::new(path), "{words:?}");
        }
    }
}
