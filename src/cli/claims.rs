//! `convroof claims`

use super::calibrate;
use super::noise::{Disturbances, line_above};
use super::output::{print, written};
use super::progress::Bar;
use super::rows::Format;
use super::select::{Cpus, seconds};
use crate::claims::session;
use crate::claims::{Answer, CLAIMS, Figure, Setting};
use crate::machine::{fingerprint, pool::Workers};
use crate::{files, interrupt};
use anyhow::{Result, bail};
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::{Isa, Registry};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Counts come from the networks' tables. Times are measured on one thread and compared within rounds. A claim about
/// times holds, or doesn't, if the whole 95 % interval is on one side of its bound. Otherwise the answer is "can't
/// tell": a larger budget gives narrower intervals.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Numbers of the claims [default: all]
    #[arg(value_name = "NUMBER")]
    numbers: Vec<usize>,
    /// Seconds of all rounds, shared by the claims; each comparison has five rounds at least
    #[arg(long, value_name = "SECONDS", default_value_t = 80.0, value_parser = seconds)]
    budget: f64,
    #[command(flatten)]
    cpus: Cpus,
    /// Folder for the answers to all claims, which the report shows as a chapter [default: results]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let stop = interrupt::watch();
    if let Some(wrong) = args.numbers.iter().find(|&&n| n == 0 || n > CLAIMS.len()) {
        bail!("there is no claim {wrong}: they are 1 to {}", CLAIMS.len());
    }
    let wanted = |n: &usize| args.numbers.is_empty() || args.numbers.contains(n);
    let numbers: Vec<usize> = (1..=CLAIMS.len()).filter(wanted).collect();
    if let Some(folder) = args.results.as_ref()
        && numbers.len() < CLAIMS.len()
    {
        bail!(
            "--results {}: only the answers to all claims are kept: omit the numbers or --results",
            folder.display()
        );
    }
    let topology = args.cpus.topology()?;
    let machine = fingerprint::fingerprint(&topology);
    let results = args.results.as_deref().unwrap_or(Path::new("results"));
    let path = session::path(results, &machine.id)?;
    // Checked before the measurements, which take minutes.
    files::check(&path)?;
    let mut disturbances = Disturbances::begin(&topology, 1, Some(args.budget));
    let calibration =
        calibrate::measure(&topology, &[&Workers::new(&topology, 1)?], &Arithmetic::ALL)?;
    let setting = Setting {
        topology: &topology,
        machine: &machine,
        calibration: &calibration,
        variants: &registry.variants(&Isa::REAL),
        budget: Duration::from_secs_f64(args.budget),
        stop,
    };
    let mut bar = Bar::new(numbers.len(), "claims");
    let answers = session::run(setting, &numbers, &mut bar)?;
    bar.finish();
    if answers.len() == CLAIMS.len() {
        session::save(&path, &answers)?;
        written(&format!("answers: {}", path.display()));
    }
    let facts = disturbances.facts("claims", &calibration);
    let noise = line_above(&facts, args.format.is_data());
    match args.format.rows() {
        Some(rows) => rows.print(&answers),
        None => print(&(noise + &answers.iter().map(text).collect::<String>())),
    }
}

fn text(answer: &Answer) -> String {
    let out = format!(
        "\n{}. {}\n   {}: {}\n",
        answer.number,
        answer.claim,
        answer.holds.label(),
        answer.answer
    );
    out + &answer.evidence.iter().map(line).collect::<String>()
}

/// A figure in a line.
fn line(figure: &Figure) -> String {
    let how = match figure.measured {
        true => "measured",
        false => "counted",
    };
    let interval = figure.ci.map_or(String::new(), |(low, high)| {
        format!(" ({} to {})", number(low), number(high))
    });
    let value = format!("{}{interval} {}", number(figure.value), figure.unit);
    format!("   - {}: {} ({how})\n", figure.what, value.trim_end())
}

fn number(value: f64) -> String {
    match value {
        v if v.fract() == 0.0 && v.abs() < 1e15 => format!("{v:.0}"),
        v if v.abs() < 0.01 => format!("{v:.1e}"),
        v => format!("{v:.2}"),
    }
}
