//! `convroof claims`

use super::bench::check_budget;
use super::calibrate;
use super::output::{print, print_json};
use super::progress::{Bar, stop_flag};
use super::select::Cpus;
use crate::claims::{Answer, CLAIMS, Lab};
use crate::files;
use crate::machine::{fingerprint, pool::Workers};
use anyhow::{Result, bail};
use convroof_kernels::{Isa, Registry};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Counts come from the networks' tables. Times are measured on one thread.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Numbers of the claims [default: all]
    #[arg(value_name = "NUMBER")]
    numbers: Vec<usize>,
    /// Seconds of measuring, shared by the claims
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    budget: f64,
    #[command(flatten)]
    cpus: Cpus,
    /// Folder for the answers to all claims, which the report shows as a chapter [default: results]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Print one JSON object per claim
    #[arg(long)]
    json: bool,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let stop = stop_flag();
    check_budget(Some(args.budget))?;
    if let Some(wrong) = args.numbers.iter().find(|&&n| n == 0 || n > CLAIMS.len()) {
        bail!("there is no claim {wrong}: they are 1 to {}", CLAIMS.len());
    }
    let all = (1..=CLAIMS.len()).all(|n| args.numbers.is_empty() || args.numbers.contains(&n));
    if let Some(folder) = args.results.as_ref().filter(|_| !all) {
        bail!(
            "--results {}: only the answers to all claims are kept: omit the numbers or --results",
            folder.display()
        );
    }
    let topology = args.cpus.topology()?;
    let machine = fingerprint::fingerprint(&topology);
    let results = args.results.as_deref().unwrap_or(Path::new("results"));
    let path = path(results, &machine.id)?;
    // Checked before the measurements, which take minutes.
    files::check(&path)?;
    let workers = Workers::new(&topology, 1)?;
    let calibration = calibrate::measure(&topology, &[&workers])?;
    let variants = registry.variants(&Isa::REAL);
    let wanted: Vec<usize> = (1..=CLAIMS.len())
        .filter(|n| args.numbers.is_empty() || args.numbers.contains(n))
        .collect();
    let part = wanted.len() as f64 / CLAIMS.len() as f64;
    // Fewer claims measure fewer layers, so the budget per layer stays the same.
    let budget = Duration::from_secs_f64(args.budget / part);
    let mut lab = Lab::new(&topology, &machine, &calibration, &variants, budget, stop)?;
    let bar = Bar::new(wanted.len(), "claims");
    let mut answers = Vec::new();
    for number in wanted {
        let claim = &CLAIMS[number - 1];
        bar.say(claim.text);
        let answer = claim.answer(number, &mut lab);
        if stop.load(Ordering::SeqCst) {
            break;
        }
        answers.push(answer?);
        bar.step();
    }
    bar.finish();
    if answers.len() == CLAIMS.len() {
        files::write(&path, &(serde_json::to_string_pretty(&answers)? + "\n"))?;
        eprintln!("answers: {}", path.display());
    }
    if args.json {
        return print_json(&answers);
    }
    print(&answers.iter().map(text).collect::<String>())
}

/// Path of a machine's answers.
fn path(results: &Path, fingerprint: &str) -> Result<PathBuf, files::BadId> {
    files::by_id(&results.join("claims"), fingerprint, "json")
}

/// A machine's answers; empty if there are none or they can't be read.
pub(super) fn load(results: &Path, fingerprint: &str) -> Vec<Answer> {
    let text = path(results, fingerprint).map(|path| std::fs::read_to_string(path).ok());
    let text = text.ok().flatten().unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn text(answer: &Answer) -> String {
    let mut out = format!(
        "\n{}. {}\n   {}: {}\n",
        answer.number,
        answer.claim,
        answer.holds.label(),
        answer.answer
    );
    for figure in &answer.evidence {
        let value = match figure.value {
            v if v.fract() == 0.0 && v.abs() < 1e15 => format!("{v:.0}"),
            v if v.abs() < 0.01 => format!("{v:.1e}"),
            v => format!("{v:.2}"),
        };
        let how = if figure.measured {
            "measured"
        } else {
            "counted"
        };
        out += &format!("   - {}: {value} {} ({how})\n", figure.what, figure.unit)
            .replace("  (", " (");
    }
    out
}
