//! `convroof report`

use super::layout;
use super::output::{detail, note, print, written};
use super::rows::{Format, line};
use crate::claims::session as claims;
use crate::patterns;
use crate::record::{self, Run};
use crate::regress::layers::{Differences, Side, differences};
use crate::report::document::{Source, name};
use crate::report::{Row, html, markdown, picture, rows, terminal, trackers};
use crate::{escape, files, fleet};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The record, or several to compare with the first [default: the newest in RESULTS/runs]
    records: Vec<PathBuf>,
    /// Folder of records and reports; of one without runs/, a page for all records in it [default: results]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Write the HTML report to this file [default: RESULTS/report.html; of a given record, RECORD with the extension
    /// html, in the folder --results or else beside the record; of several, compare.html there]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print Markdown instead of the table; of a given record, write HTML only with --html or --results
    #[arg(long, conflicts_with_all = ["json", "csv"])]
    markdown: bool,
    /// Address of the HTML report, for a link in the Markdown
    #[arg(long, value_name = "URL", requires = "markdown", value_parser = address)]
    link: Option<String>,
    /// Print the best times in the format of a service that tracks benchmarks
    #[arg(long = "format", value_name = "FORMAT", conflicts_with_all = ["json", "csv", "markdown", "svg"])]
    tracker: Option<Tracker>,
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

/// Formats of services that track benchmarks.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Tracker {
    /// Bencher Metric Format: latencies in nanoseconds, with their intervals.
    Bencher,
    /// github-action-benchmark's customSmallerIsBetter.
    GithubActionBenchmark,
}

/// An address that Markdown can hold.
fn address(text: &str) -> Result<String, String> {
    let known = ["https://", "http://"]
        .iter()
        .any(|start| text.starts_with(start));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&*+,;=%".contains(c);
    match known && text.chars().all(plain) {
        true => Ok(text.into()),
        false => Err("expected an address that begins with https:// or http://, without spaces, quotes or brackets".into()),
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    let results = args.results.as_deref().unwrap_or(Path::new("results"));
    let given = !args.records.is_empty();
    if let (true, Some(_), Some(folder)) = (given, &args.svg, &args.results) {
        bail!(
            "--results {}: a picture of a given record needs no folder",
            folder.display()
        );
    }
    if args.records.len() > 1 {
        return compared(args, results);
    }
    let path = match args.records.first() {
        Some(path) => path.clone(),
        None if args.results.is_some() && fleet::is_one(results) => {
            return of_folder(args, results);
        }
        None => record::newest(&results.join("runs"))?,
    };
    detail(&format!("record: {}", path.display()));
    let run = measured(&path)?;
    if let (Some(file), Some(network), Some(threads)) = (&args.svg, &args.network, args.threads) {
        return draw(&run, &path, file, network, threads);
    }
    let target = target(args, results);
    let format = args.format.rows();
    let as_text = !args.markdown && args.tracker.is_none() && format.is_none();
    if as_text {
        return show(&run, &path, &target, results);
    }
    let rows = rows(&run);
    // Markdown and data of a given record need no page, unless an option says where.
    if args.html.is_some() || args.results.is_some() || !given {
        files::write(&target, &page(&run, &rows, &path, results))?;
        written(&format!("report: {}", target.display()));
    }
    match (args.tracker, format) {
        (Some(Tracker::Bencher), _) => print(&line(&trackers::bencher(&run, &rows))?),
        (Some(Tracker::GithubActionBenchmark), _) => {
            print(&line(&trackers::smaller_is_better(&run, &rows))?)
        }
        (None, Some(format)) => format.print(&rows),
        (None, None) => print(&markdown::with_link(&run, &rows, args.link.as_deref())),
    }
}

/// Reads a record that has measurements.
fn measured(path: &Path) -> Result<Run> {
    let run = record::load(path)?;
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
    Ok(run)
}

/// Writes the roofline of a network as a picture.
fn draw(run: &Run, path: &Path, file: &Path, network: &str, threads: usize) -> Result<()> {
    let mut names: Vec<&str> = run.layers.iter().map(|l| l.network.as_str()).collect();
    names.dedup();
    let network = patterns::meant(network, &names).unwrap_or(network);
    let Some(picture) = picture::standalone(run, network, threads) else {
        bail!(
            "{} has no layer of {network} on {}: its networks are {}",
            path.display(),
            crate::units::threads(threads),
            names.join(", ")
        );
    };
    Ok(files::write(file, &picture)?)
}

/// Fails if an option needs a single record.
fn only_a_page(args: &Args, what: &str) -> Result<()> {
    let options = [
        ("--svg", args.svg.is_some()),
        ("--markdown", args.markdown),
        ("--format", args.tracker.is_some()),
        ("--json or --csv", args.format.is_data()),
    ];
    match options.iter().find(|(_, wanted)| *wanted) {
        Some((option, _)) => bail!("{option} takes one record: {what}"),
        None => Ok(()),
    }
}

/// One page of several records, compared with the first.
fn compared(args: &Args, results: &Path) -> Result<()> {
    only_a_page(args, &format!("{} are given", args.records.len()))?;
    let runs: Vec<Run> = args
        .records
        .iter()
        .map(|path| measured(path))
        .collect::<Result<_>>()?;
    let rows: Vec<Vec<Row>> = runs.iter().map(rows).collect();
    let names: Vec<String> = (0..runs.len()).map(name).collect();
    let files_of: Vec<_> = args.records.iter().map(|path| file_name(path)).collect();
    let claims: Vec<_> = runs
        .iter()
        .map(|run| claims::load(results, &run.fingerprint.id))
        .collect();
    let each = runs.iter().zip(&rows);
    let sides: Vec<Side<'_>> = each
        .clone()
        .zip(&names)
        .map(|((run, rows), name)| Side { name, run, rows })
        .collect();
    let differences = differences(&sides);
    let sources: Vec<(Source<'_>, &[Row])> = each
        .zip(&files_of)
        .zip(&claims)
        .map(|(((run, rows), file), claims)| (Source { file, run, claims }, rows.as_slice()))
        .collect();
    let folder = args.results.clone().or_else(|| {
        let file = args
            .records
            .iter()
            .find(|record| !files::is_stream(record))?;
        Some(file.parent()?.to_path_buf())
    });
    let target = match &args.html {
        Some(html) => html.clone(),
        None => folder.unwrap_or_default().join("compare.html"),
    };
    let comparison = serde_json::to_value(&differences)?;
    files::write(&target, &html::page(&sources, Some(comparison)))?;
    print(&said(&differences, &names, &files_of))?;
    print(&format!("Report: {}\n", target.display()))
}

/// The sentences of a comparison.
fn said(differences: &Differences, names: &[String], files: &[String]) -> String {
    let page = layout::page();
    let files = names.iter().zip(files);
    let mut text: String = files
        .map(|(name, file)| page.item(&format!("{name}: {file}")))
        .collect();
    for run in &differences.runs {
        for sentence in &run.sentences {
            text += &page.item(sentence);
        }
        if run.layers.is_empty() {
            text += &page.item(&format!(
                "{} and {} have no layer in common.",
                names[0], run.name
            ));
        }
    }
    text
}

/// The pages of a folder of records.
fn of_folder(args: &Args, results: &Path) -> Result<()> {
    only_a_page(
        args,
        &format!("{} is a folder of records", results.display()),
    )?;
    if let Some(html) = &args.html {
        bail!(
            "--html {}: the pages of a folder of records are written into it",
            html.display()
        );
    }
    let pages = fleet::write(results)?;
    for line in &pages.left_out {
        note(line);
    }
    print(&format!("Report: {}\n", pages.index.display()))
}

/// Name of a record's file.
fn file_name(record: &Path) -> String {
    let name = record.file_name().unwrap_or_default();
    escape::visible(&name.to_string_lossy()).into()
}

/// File of the HTML report. Of a given record it has the record's name, so that it replaces no report of another.
fn target(args: &Args, results: &Path) -> PathBuf {
    if let Some(html) = &args.html {
        return html.clone();
    }
    let record = args
        .records
        .first()
        .filter(|record| !files::is_stream(record));
    match record {
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
pub(super) fn page(run: &Run, rows: &[Row], record: &Path, results: &Path) -> String {
    let claims = claims::load(results, &run.fingerprint.id);
    let source = Source {
        file: &file_name(record),
        run,
        claims: &claims,
    };
    html::page(&[(source, rows)], None)
}

/// Prints the verdicts, writes the report and prints its path.
pub(super) fn show(run: &Run, record: &Path, target: &Path, results: &Path) -> Result<()> {
    let rows = rows(run);
    files::write(target, &page(run, &rows, record, results))?;
    print(&terminal::verdicts(run, &rows, &layout::page()))?;
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

    #[test]
    fn an_address_is_plain() {
        assert!(address("https://example.com/a?b=1#c").is_ok());
        for bad in [
            "javascript:alert(1)",
            "https://a b",
            "https://a)(b",
            "http://a\n",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
