//! `convroof audit`

use super::ab::{Blocks, What, check, failed, seed};
use super::bench::check_budget;
use super::output::print;
use super::progress::{Bar, Scratch, stop_flag};
use crate::escape;
use crate::files;
use crate::machine::fingerprint;
use crate::regress::ab::client::Side;
use crate::regress::ab::gate::{Measured, measure};
use crate::regress::ab::revision::Source;
use crate::regress::ab::rounds::{Checked, Sitting};
use crate::regress::audit::{Draws, EFFECTS, Rate, Report, audit, injections};
use anyhow::{Context, Result, bail};
use convroof_kernels::data::Rng;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Compares this program with itself, and with copies in which some kernels are slowed down. An interrupted audit
/// continues where it stopped.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    what: What,
    /// Number of pairs of layer and variant, spread evenly over the chosen ones
    #[arg(long, value_name = "N", default_value_t = 60)]
    pairs: usize,
    /// Seconds of measuring for each gate
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    budget: f64,
    /// Number of gates of the program against itself, including those of earlier calls
    #[arg(long, value_name = "N", default_value_t = 10)]
    gates: usize,
    /// Number of gates with slow-downs of 1, 2, 5 and 10 % injected into a few pairs
    #[arg(long, value_name = "N", default_value_t = 3)]
    slowed: usize,
    /// Number of gates that are resampled from the blocks of real ones
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    draws: usize,
    /// Folder of results; the audit is written into this machine's subfolder
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
}

/// One measured gate on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GateFile {
    kind: String,
    schema: u32,
    #[serde(deserialize_with = "files::id")]
    fingerprint: String,
    started: String,
    revision: Option<String>,
    budget_s: f64,
    measured: Measured,
}

const KIND: &str = "convroof-gate";
const SCHEMA: u32 = 1;

pub(super) fn run(args: &Args) -> Result<()> {
    let stop = stop_flag();
    check_budget(Some(args.budget))?;
    if args.gates == 0 || args.pairs == 0 || args.draws == 0 {
        bail!("--gates, --pairs and --draws are at least 1");
    }
    let topology = args.what.topology()?;
    let machine = fingerprint::fingerprint(&topology);
    let wanted = args.what.wanted(&topology)?;
    files::check_id(&machine.id)?;
    let own = args.results.join(&machine.id);
    let folder = own.join("audit");
    // Two audits at once would disturb each other and write the same files.
    let _lock = files::Lock::now(&folder)?;
    let path = |kind: &str, i: usize| folder.join(format!("{kind}-{:02}.json", i + 1));
    let kinds = [("same", args.gates), ("slowed", args.slowed)];
    let left: Vec<(&str, usize)> = kinds
        .into_iter()
        .flat_map(|(kind, n)| (0..n).map(move |i| (kind, i)))
        .filter(|(kind, i)| !path(kind, *i).exists())
        .collect();
    // Gates of other pairs would falsify the result, so they are an error before any measurement.
    for (kind, _) in kinds {
        let first = path(kind, 0);
        if first.exists() && !wanted.covers(&load(&first, args.budget)?.pairs, args.pairs) {
            bail!(
                "{} has gates of other layers, variants or threads than these: move the folder away, or request the same ones",
                folder.display()
            );
        }
    }
    if !left.is_empty() {
        let scratch = Scratch::new()?;
        let sides = sides(scratch.path(), stop)?;
        let bar = Bar::new(0, "audit");
        let mut sitting = Sitting {
            a: &sides[0],
            b: &sides[1],
            stop,
            rng: Rng::new(seed()),
        };
        let checked = spread(check(&sitting, &wanted, &bar)?, args.pairs);
        for (kind, i) in left {
            let injected = match kind {
                "same" => vec![0.0; checked.pairs.len()],
                _ => injections(checked.pairs.len(), i),
            };
            let budget = Duration::from_secs_f64(args.budget);
            let started = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
            eprintln!(
                "convroof: {kind} gate {}, {} pairs",
                i + 1,
                checked.pairs.len()
            );
            let measured = measure(&mut sitting, &checked, &injected, budget, &mut Blocks(&bar));
            let measured = measured.map_err(failed)?;
            if measured.interrupted {
                eprintln!(
                    "convroof: stopped: finished gates are kept, and the same command continues"
                );
                break;
            }
            let file = GateFile {
                kind: KIND.into(),
                schema: SCHEMA,
                fingerprint: machine.id.clone(),
                started: started.to_string(),
                revision: fingerprint::tool().git_revision,
                budget_s: args.budget,
                measured,
            };
            files::write(&path(kind, i), &(serde_json::to_string(&file)? + "\n"))?;
        }
        bar.finish();
    }
    let load_all = |kind: &str| -> Result<Vec<Measured>> {
        let files = (0..).map(|i| path(kind, i)).take_while(|p| p.exists());
        files.map(|p| load(&p, args.budget)).collect()
    };
    let (same, slowed) = (load_all("same")?, load_all("slowed")?);
    if let Some(first) = same.first()
        && let Some(other) = same
            .iter()
            .chain(&slowed)
            .position(|g| g.pairs != first.pairs)
    {
        bail!(
            "gate {} of {} has other pairs than the first: move the folder away to start again",
            other + 1,
            folder.display()
        );
    }
    let draws = Draws {
        gates: args.draws,
        slowed: args.draws / 10,
    };
    let budgets = [args.budget / 5.0, args.budget / 2.0, args.budget];
    let bar = Bar::new(0, "audit");
    let report = audit(&same, &slowed, args.budget, &budgets, draws, |what| {
        bar.say(what);
    });
    bar.finish();
    let report = report.context("no gate is finished: there is nothing to audit")?;
    let text = markdown(
        &report,
        machine.cpu_model.as_deref().unwrap_or(&machine.arch),
    );
    files::write(&own.join("audit.md"), &text)?;
    files::write(
        &own.join("audit.json"),
        &(serde_json::to_string_pretty(&report)? + "\n"),
    )?;
    print(&text)
}

/// This program on both sides, prepared as in `ab`.
fn sides(folder: &Path, stop: &std::sync::atomic::AtomicBool) -> Result<[Side; 2]> {
    let own = Source::Program(std::env::current_exe()?);
    let side = |letter: char| -> Result<Side> {
        let program = folder.join(letter.to_string()).join("convroof");
        own.make("convroof", folder, &program, stop)?;
        Ok(Side {
            letter,
            label: "this program".into(),
            program,
        })
    };
    Ok([side('A')?, side('B')?])
}

/// A selection of at most `pairs` pairs, spread evenly.
fn spread(mut checked: Checked, pairs: usize) -> Checked {
    let all = checked.pairs.len();
    let pairs = pairs.min(all);
    checked.keep(|i| i * pairs / all != (i + 1) * pairs / all);
    checked
}

fn load(path: &Path, budget: f64) -> Result<Measured> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    let damaged = || format!("{} is damaged or no gate of an audit", path.display());
    let value: serde_json::Value = serde_json::from_str(&text).with_context(damaged)?;
    if value["schema"].as_u64() > Some(u64::from(SCHEMA)) {
        bail!(
            "{} has schema {}, this program reads up to {SCHEMA}: use the convroof that wrote it, or a newer one",
            path.display(),
            value["schema"]
        );
    }
    let file: GateFile = serde_json::from_value(value).with_context(damaged)?;
    if file.budget_s != budget {
        bail!(
            "{} has a budget of {} s, expected {budget} s: use the same --budget, or move the folder away",
            path.display(),
            file.budget_s
        );
    }
    Ok(file.measured)
}

fn markdown(report: &Report, machine: &str) -> String {
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    let rate = |r: Rate| match r.tries {
        0 => "not tried".to_string(),
        _ => format!(
            "{} of {} ({:.2} to {:.2} %)",
            r.hits,
            r.tries,
            100.0 * r.low,
            100.0 * r.high
        ),
    };
    let Report {
        pairs,
        budget_s,
        blocks,
        rounds,
        ..
    } = report;
    let machine = escape::markdown(machine);
    let mut text = format!(
        "# `convroof ab`, audited on {machine}\n\n\
         {pairs} pairs of layer and variant, {budget_s:.0} s of measuring, {blocks} blocks of {rounds:.0} rounds (median). \
         Intervals are exact 95 % ones (Clopper and Pearson). Made by `convroof audit`; the gates are in `audit/`.\n\n\
         ## False alarms\n\n\
         | gates of a program against itself | failed | alarmed before confirmation |\n|---|---|---|\n"
    );
    let _ = writeln!(
        text,
        "| real | {} | {} |",
        rate(report.real),
        rate(report.real_alarms)
    );
    for drawn in &report.drawn {
        let _ = writeln!(
            text,
            "| resampled from the blocks of real gates, {:.0} s | {} | |",
            drawn.budget_s,
            rate(drawn.false_alarms)
        );
    }
    text += "\n## Slow-downs found\n\n| gates |";
    EFFECTS
        .iter()
        .for_each(|e| text += &format!(" {:.0} % |", 100.0 * e));
    text += " half the time | 9 times in 10 |\n|---|---|---|---|---|---|---|\n| real, injected into a few pairs |";
    for detection in &report.injected {
        let _ = write!(text, " {} |", rate(detection.found));
    }
    text += " | |\n";
    for drawn in &report.drawn {
        let _ = write!(
            text,
            "| resampled, one pair slowed down, {:.0} s |",
            drawn.budget_s
        );
        for detection in &drawn.found {
            let _ = write!(text, " {} |", rate(detection.found));
        }
        let _ = writeln!(
            text,
            " {} | {} |",
            percent(drawn.half),
            percent(drawn.nine_in_ten)
        );
    }
    let _ = writeln!(
        text,
        "\nFalse alarms in the real gates with injections (pairs without an injection): {}.",
        rate(report.injected_others)
    );
    text
}
