//! `convroof ab`

mod text;

use super::failed::{Failed, none_gone};
use super::layout::page;
use super::output::{note, print};
use super::progress::Bar;
use super::rows::{Format, Typed};
use super::select::{self, Cpus, Layers, seconds};
use super::types::Types;
use crate::machine::Topology;
use crate::measure::bench::problems;
use crate::measure::refuse_huge;
use crate::patterns::Patterns;
use crate::regress::ab::gate::{Judged, Measured, Outcome};
use crate::regress::ab::revision::Build;
use crate::regress::ab::session::{self, LeftOut, Session};
use crate::regress::ab::survey::Survey;
use crate::regress::ab::wanted::Wanted;
use crate::regress::ab::{Pair, Progress};
use crate::{files, interrupt};
use anyhow::{Context, Result};
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::{Isa, Problem};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Both builds take turns, first on all pairs of layer and variant, then on the suspects. Ratios are B's time over A's in
/// the same round. Above 1, B is slower.
///
/// Exit code 0: no pair is slower. 1: a pair is slower, missing or wrong. 2: the input was bad, a build failed, or the
/// budget is too small for any pair.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Base (A): a git revision, or a program (./NAME if NAME is both)
    base: OsString,
    /// Candidate (B): a git revision, or a program [default: the tracked files of this work tree]
    candidate: Option<OsString>,
    /// Program of a revision: cargo's name of the binary that calls convroof::cli::main
    #[arg(long, value_name = "NAME", default_value = "convroof")]
    bin: String,
    #[command(flatten)]
    what: What,
    /// Seconds of measuring, after builds and checks. If not all pairs fit, the most telling are measured, and the rest
    /// is listed
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0, value_parser = seconds)]
    budget: f64,
    /// Write all measurements to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Ignore pairs that A can compute and B can't; without this flag they give exit code 1
    #[arg(long)]
    allow_missing: bool,
    /// Print Markdown instead of the table
    #[arg(long, conflicts_with_all = ["json", "csv"])]
    markdown: bool,
    #[command(flatten)]
    format: Format,
}

/// Layers, variants and threads of a comparison.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct What {
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    types: Types,
    /// Variants: globs over <algorithm>/<isa>/<st|mt>, separated by commas [default: all of this CPU's widest
    /// instruction set, with dot products for layers of bf16, u8 and s8]
    #[arg(long, value_name = "GLOBS")]
    variant: Option<Patterns>,
    /// Numbers of threads
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1")]
    threads: Vec<usize>,
    #[command(flatten)]
    cpus: Cpus,
}

/// The networks of a comparison that names none.
const NETWORKS: &str = "nin,resnet50";

pub(super) fn run(args: &Args) -> Result<()> {
    let stop = interrupt::watch();
    let wanted = args.what.wanted(&args.what.topology()?)?;
    // Before the builds and measurements, which take minutes.
    session::check_budget(args.budget)?;
    if let Some(out) = &args.out {
        files::check(out)?;
    }
    let builds = [
        Build::of(Some(&args.base))?,
        Build::of(args.candidate.as_deref())?,
    ];
    let mut bar = Comparing(Bar::new(0, "ab"));
    let mut session = Session::new(&builds, &args.bin, &wanted, stop, &mut bar)?;
    let budget = Duration::from_secs_f64(args.budget);
    session.compare_code(&mut bar)?;
    session.choose(budget)?;
    announce(&session, args.budget, &mut bar);
    session.check(&mut bar)?;
    let nothing = vec![0.0; session.survey().pairs.len()];
    let measured = session.measure(&nothing, budget, &mut bar)?;
    if let Some(out) = &args.out {
        files::write(out, &serde_json::to_string(&measured)?)?;
    }
    let judged = session.judge(&measured, &mut bar)?;
    bar.0.finish();
    let result = text::Verdicts {
        sides: session.sides(),
        survey: session.survey(),
        left_out: session.left_out().map(left_out),
        interrupted: measured.interrupted.then(|| interrupted(&measured)),
        judged: &judged,
        budget: args.budget,
    };
    if let Some(mut rows) = args.format.rows() {
        rows.add(&Typed::all(&judged, |row| {
            row.pair.problem.value().copied()
        }))?;
        let left_out = session.left_out().map_or(&[][..], |out| &out.pairs);
        let left_out = left_out.iter().map(|pair| NotMeasured {
            pair,
            outcome: "not-measured",
        });
        let left_out: Vec<NotMeasured<'_>> = left_out.collect();
        rows.print(&Typed::all(&left_out, |row| {
            row.pair.problem.value().copied()
        }))?;
    } else if args.markdown {
        print(&result.markdown())?;
    } else {
        print(&result.text(&page()))?;
    }
    if measured.interrupted {
        return Ok(());
    }
    let gone = match args.allow_missing {
        true => Vec::new(),
        false => gone(session.survey()),
    };
    verdict(&judged, &gone)
}

/// A row for a pair that didn't fit into the budget.
#[derive(Serialize)]
struct NotMeasured<'a> {
    #[serde(flatten)]
    pair: &'a Pair,
    outcome: &'static str,
}

/// Notes what is checked and measured, and what isn't.
fn announce(session: &Session<'_>, budget: f64, bar: &mut Comparing) {
    let pairs = session.survey().pairs.len();
    if let Some(out) = session.left_out() {
        bar.note(&left_out(out));
    }
    if pairs >= session::MANY_PAIRS {
        bar.note(&format!(
            "checking {pairs} pairs against the reference, then measuring them for up to {budget} s"
        ));
    }
}

/// The pairs that didn't fit, in sentences, with the command that measures them, too.
fn left_out(out: &LeftOut) -> String {
    let names: Vec<String> = out.pairs.iter().take(3).map(ToString::to_string).collect();
    let more = match out.pairs.len() - names.len() {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    let remedy = match out.budget_s {
        Some(seconds) => format!("{} measures all", command(seconds)),
        None => "they don't fit into memory together: choose some with --layer or --variant".into(),
    };
    let pairs = match out.pairs.len() {
        1 => "1 pair".into(),
        n => format!("{n} pairs"),
    };
    let code = match out.may_differ {
        true => "",
        false => ", all with equal machine code in both builds",
    };
    format!(
        "{pairs} not measured{code}: {}{more}. {remedy}.",
        names.join("; ")
    )
}

/// This command with another budget, as a shell accepts it.
fn command(budget: f64) -> String {
    let mut words = vec!["convroof".to_string()];
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        let arg = arg.to_string_lossy().into_owned();
        if arg == "--budget" {
            args.next();
        } else if !arg.starts_with("--budget=") {
            words.push(quoted(&arg));
        }
    }
    words.push(format!("--budget {budget}"));
    words.join(" ")
}

/// A word of a shell's command.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./,:=@~^+%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Pairs that A computes and B can't.
fn gone(survey: &Survey) -> Vec<String> {
    let missing = survey.missing.iter().filter(|(letter, ..)| *letter == 'A');
    missing
        .map(|(_, pair, why)| format!("{pair} ({why})"))
        .collect()
}

/// Head of the results of an interrupted comparison.
fn interrupted(measured: &Measured) -> String {
    let (blocks, again) = (measured.blocks.len(), measured.confirmation.len());
    let confirming = match measured.alarms.len() {
        0 => String::new(),
        n => format!(", and after {again} blocks of {n} suspects"),
    };
    format!("Interrupted after {blocks} blocks{confirming}: there is no verdict. So far:")
}

/// Progress bar of a comparison.
pub(super) struct Comparing(pub(super) Bar);

impl Progress for Comparing {
    fn stage(&mut self, what: &str) {
        self.0.say(what);
    }

    fn count(&mut self, what: &'static str, done: usize, of: usize) {
        self.0.at(done, of);
        self.0.say(what);
    }

    fn note(&mut self, text: &str) {
        note(text);
    }
}

impl What {
    /// The machine as the workers of both builds see it.
    pub(super) fn topology(&self) -> Result<Topology> {
        let topology = self.cpus.topology()?;
        if let Some(list) = &self.cpus.cpus {
            session::check_cpus(&topology).with_context(|| format!("--cpus {list}"))?;
        }
        Ok(topology)
    }

    /// The requested layers, variants and threads.
    pub(super) fn wanted(&self, topology: &Topology) -> Result<Wanted> {
        let problems = problems(&self.types.of(self.layers.choose(NETWORKS)?)?);
        problems.iter().try_for_each(refuse_huge)?;
        let variants = match &self.variant {
            Some(patterns) => patterns.clone(),
            None => widest(&problems).parse()?,
        };
        Ok(Wanted {
            problems,
            variants,
            threads: select::threads(&self.threads, topology)?,
        })
    }
}

/// Globs of the variants for this CPU's widest instruction sets with the arithmetic of some problems.
fn widest(problems: &[Problem]) -> String {
    let all = problems.iter().map(|p| Arithmetic::of(p.dtypes.src));
    let distinct: BTreeSet<Isa> = all.map(|arithmetic| arithmetic.best().isa()).collect();
    let globs: Vec<String> = distinct.iter().map(|isa| format!("*/{isa}/*")).collect();
    globs.join(",")
}

/// Fails, with exit code 1, if a pair is slower or gone.
fn verdict(judged: &[Judged], gone: &[String]) -> Result<()> {
    let slower: Vec<&Judged> = judged
        .iter()
        .filter(|j| j.outcome == Outcome::Slower)
        .collect();
    let Some(worst) = slower
        .iter()
        .max_by(|x, y| x.result.effect.total_cmp(&y.result.effect))
    else {
        return none_gone(gone, "pairs of layer and variant", "A", "B");
    };
    Err(Failed(format!(
        "{} of {} slower: {}; worst is {} by {:.1} %",
        slower.len(),
        judged.len(),
        names(&slower),
        worst.pair,
        100.0 * worst.result.effect
    ))
    .into())
}

/// The distinct variants of some pairs.
fn names(judged: &[&Judged]) -> String {
    let mut names: Vec<&str> = judged.iter().map(|j| j.pair.variant.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(letters: &[char]) -> Survey {
        let pair = |threads| Pair {
            problem: "mb1ic16ih8oc16kh3ph1".into(),
            variant: "direct/avx2/st".into(),
            threads,
        };
        let missing = letters.iter().enumerate();
        let missing = missing.map(|(i, &l)| (l, pair(i + 1), "it is gone".into()));
        Survey {
            missing: missing.collect(),
            ..Survey::default()
        }
    }

    #[test]
    fn what_the_candidate_lost_is_a_failure_and_what_it_gained_is_none() {
        assert!(verdict(&[], &gone(&survey(&['B', 'B']))).is_ok());
        let error = verdict(&[], &gone(&survey(&['A', 'B', 'A']))).expect_err("gone");
        assert!(error.is::<Failed>(), "exit code 1");
        let text = error.to_string();
        assert!(
            text.starts_with("2 pairs of layer and variant of A are missing in B: "),
            "{text}"
        );
        assert!(
            text.contains("on mb1ic16ih8oc16kh3ph1, 1 thread (it is gone); "),
            "{text}"
        );
        assert!(
            text.contains("3 threads") && text.contains("--allow-missing"),
            "{text}"
        );
        // A long list is shortened.
        let text = verdict(&[], &gone(&survey(&['A'; 500])))
            .expect_err("gone")
            .to_string();
        assert!(text.contains("and 495 more") && text.len() < 1000, "{text}");
    }

    #[test]
    fn the_widest_instruction_sets_have_the_arithmetic_of_the_layers() {
        let problems = |types: &[&str]| -> Vec<Problem> {
            let text = |dt: &&str| format!("--dt={dt} mb1ic16ih8oc16oh8kh3ph1");
            let parsed = types.iter().map(|dt| text(dt).parse().expect("a problem"));
            parsed.collect()
        };
        let f32s = format!("*/{}/*", Isa::best().isa());
        assert_eq!(widest(&problems(&["f32", "f32"])), f32s);
        let int8 = Arithmetic::Int8.best().isa();
        assert_eq!(widest(&problems(&["s8"])), format!("*/{int8}/*"));
        let both = widest(&problems(&["s8", "f32", "u8:s8:u8"]));
        assert!(both.split(',').any(|glob| glob == f32s), "{both}");
        let isas = if int8 == Isa::best().isa() { 1 } else { 2 };
        assert_eq!(both.split(',').count(), isas, "{both}");
    }

    #[test]
    fn what_was_left_out_has_a_command() {
        let pair = |threads| Pair {
            problem: "mb1ic16ih8oc16kh3ph1".into(),
            variant: "direct/avx2/st".into(),
            threads,
        };
        let out = |n: usize, budget_s| LeftOut {
            pairs: (1..=n).map(pair).collect(),
            may_differ: budget_s != Some(40.0),
            budget_s,
        };
        let text = left_out(&out(200, Some(1000.0)));
        assert!(
            text.starts_with("200 pairs not measured: direct/avx2/st on mb1ic16"),
            "{text}"
        );
        assert!(
            text.contains("and 197 more. convroof ") && text.len() < 2000,
            "{text}"
        );
        assert!(text.ends_with("--budget 1000 measures all."), "{text}");
        let text = left_out(&out(1, Some(40.0)));
        assert!(
            text.starts_with("1 pair not measured, all with equal machine code"),
            "{text}"
        );
        assert!(!text.contains("more."), "{text}");
        assert!(left_out(&out(2, None)).contains("memory"));
        assert_eq!(quoted("HEAD~1"), "HEAD~1");
        assert_eq!(quoted("direct/*,it's"), "'direct/*,it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
