//! An audit of this machine: measures the gates that are missing, then computes the rates.

use super::audit;
use super::gates::{GateKind, Gates};
use super::markdown::markdown;
use super::rates::{Draws, injections};
use crate::files;
use crate::record::Fingerprint;
use crate::regress::ab::Progress;
use crate::regress::ab::revision::Build;
use crate::regress::ab::session::Session;
use crate::regress::ab::wanted::Wanted;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

/// Conditions of an audit.
pub struct Setting<'a> {
    /// The machine.
    pub machine: &'a Fingerprint,
    /// Layers, variants and threads.
    pub wanted: &'a Wanted,
    /// Most pairs of layer and variant, spread evenly over the wanted ones.
    pub pairs: usize,
    /// Measuring time of a gate, seconds.
    pub budget_s: f64,
    /// Number of gates of the program against itself, including earlier ones.
    pub same: usize,
    /// Number of gates with injected slow-downs, including earlier ones.
    pub slowed: usize,
    /// Number of gates that are resampled from the blocks of real ones.
    pub draws: usize,
    /// Folder of results; the audit is written into the machine's subfolder.
    pub results: &'a Path,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// Audits the gate, writes `audit.md` and `audit.json`, and returns the Markdown. After a signal, uses the gates that
/// are finished.
///
/// # Errors
/// When no gate is finished, there are gates of other pairs or of another budget, or a [`Session`] fails.
pub fn run(setting: &Setting<'_>, progress: &mut dyn Progress) -> Result<String> {
    let machine = setting.machine;
    files::check_id(&machine.id)?;
    let own = setting.results.join(&machine.id);
    let gates = Gates::of(own.join("audit"), &machine.id, setting.budget_s);
    // Two audits at once would disturb each other and write the same files.
    let _lock = files::Lock::now(gates.folder())?;
    measure_missing(setting, &gates, progress)?;
    let same = gates.load_all(GateKind::Same)?;
    let slowed = gates.load_all(GateKind::Slowed)?;
    let first = same
        .first()
        .context("no gate is finished: there is nothing to audit")?;
    let mut all = same.iter().chain(&slowed);
    if let Some(other) = all.position(|g| g.pairs != first.pairs) {
        bail!(
            "gate {} of {} has other pairs than the first: move the folder away to start again",
            other + 1,
            gates.folder().display()
        );
    }
    let draws = Draws {
        gates: setting.draws,
        slowed: setting.draws / 10,
    };
    let budget = setting.budget_s;
    let budgets = [budget / 5.0, budget / 2.0, budget];
    let report = audit(&same, &slowed, budget, &budgets, draws, |what| {
        progress.stage(what);
    });
    let report = report.context("the gates have no blocks: there is nothing to audit")?;
    let text = markdown(
        &report,
        machine.cpu_model.as_deref().unwrap_or(&machine.arch),
    );
    files::write(&own.join("audit.md"), &text)?;
    let json = serde_json::to_string_pretty(&report)? + "\n";
    files::write(&own.join("audit.json"), &json)?;
    Ok(text)
}

/// Measures the gates that the folder lacks, until a signal stops it.
fn measure_missing(
    setting: &Setting<'_>,
    gates: &Gates,
    progress: &mut dyn Progress,
) -> Result<()> {
    let kinds = [
        (GateKind::Same, setting.same),
        (GateKind::Slowed, setting.slowed),
    ];
    // Gates of other pairs would falsify the result, so they are an error before any measurement.
    for (kind, _) in kinds {
        if gates.has(kind, 0) {
            let pairs = gates.load(kind, 0)?.pairs;
            if !setting.wanted.covers(&pairs, setting.pairs) {
                bail!(
                    "{} has gates of other layers, variants or threads than these: move the folder away, or request the same ones",
                    gates.folder().display()
                );
            }
        }
    }
    let all = kinds
        .into_iter()
        .flat_map(|(kind, n)| (0..n).map(move |i| (kind, i)));
    let missing: Vec<_> = all.filter(|(kind, i)| !gates.has(*kind, *i)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // This program on both sides.
    let builds = [Build::Own, Build::Own];
    let mut session = Session::new(&builds, "convroof", setting.wanted, setting.stop, progress)?;
    session.spread(setting.pairs);
    let pairs = session.survey().pairs.len();
    let budget = Duration::from_secs_f64(setting.budget_s);
    session.choose(budget)?;
    if let Some(out) = session.left_out() {
        let enough = match out.budget_s {
            Some(seconds) => format!("--budget {seconds} or more, or "),
            None => String::new(),
        };
        bail!(
            "{} of {pairs} pairs don't fit: use {enough}fewer --pairs",
            out.pairs.len()
        );
    }
    session.check(progress)?;
    for (kind, i) in missing {
        let injected = match kind {
            GateKind::Same => vec![0.0; pairs],
            GateKind::Slowed => injections(pairs, i),
        };
        let started = humantime::format_rfc3339_seconds(SystemTime::now());
        progress.note(&format!("{} gate {}, {pairs} pairs", kind.name(), i + 1));
        let measured = session.measure(&injected, budget, progress)?;
        if measured.interrupted {
            progress.note("stopped: finished gates are kept, and the same command continues");
            break;
        }
        gates.save(kind, i, started.to_string(), measured)?;
    }
    Ok(())
}
