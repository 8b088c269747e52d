//! `convroof ab`

use super::Failed;
use super::bench::check_budget;
use super::output::{print, print_json};
use super::progress::{Bar, Scratch, stop_flag};
use super::select::{self, Cpus, Layers, globs};
use crate::escape;
use crate::files;
use crate::machine::Topology;
use crate::measure::bench::problems;
use crate::record::{CandidateId, Text};
use crate::regress::ab::Pair;
use crate::regress::ab::client::{Client, Side};
use crate::regress::ab::gate::{self, Judged, Measured, Outcome};
use crate::regress::ab::revision::Source;
use crate::regress::ab::rounds::{Checked, Sitting, Wrong};
use crate::regress::ab::verdict::{ALPHA, LEAST, NOISES};
use crate::report::terminal::{right, table};
use crate::roofline::time;
use crate::stats::median;
use anyhow::{Result, bail};
use comfy_table::Cell;
use convroof_kernels::data::Rng;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, Problem};
use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Ratios are B's time over A's in the same round. Above 1, B is slower.
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
    /// Seconds of measuring, without builds and checks
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    budget: f64,
    /// Write all measurements to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Ignore pairs that A can compute and B can't; without this flag they give exit code 1
    #[arg(long)]
    allow_missing: bool,
    /// Print Markdown instead of the table
    #[arg(long)]
    markdown: bool,
    /// Print one JSON object per line, for each pair
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
}

/// Layers, variants and threads of a comparison.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct What {
    #[command(flatten)]
    layers: Layers,
    /// Variants: globs over <algorithm>/<isa>/<st|mt>, separated by commas [default: all of this CPU's widest
    /// instruction set]
    #[arg(long, value_name = "GLOBS")]
    variant: Option<String>,
    /// Numbers of threads
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1")]
    threads: Vec<usize>,
    #[command(flatten)]
    cpus: Cpus,
}

/// The networks of a comparison that names none.
const NETWORKS: &str = "nin,resnet50";

pub(super) fn run(args: &Args) -> Result<()> {
    let stop = stop_flag();
    check_budget(Some(args.budget))?;
    let topology = args.what.topology()?;
    let wanted = args.what.wanted(&topology)?;
    if let Some(out) = &args.out {
        // Checked before the builds and measurements, which take minutes.
        files::check(out)?;
    }
    let sources = [
        Source::of(Some(&args.base))?,
        Source::of(args.candidate.as_deref())?,
    ];
    let scratch = Scratch::new()?;
    let bar = Bar::new(0, "ab");
    let mut sides = Vec::new();
    for (letter, source) in ['A', 'B'].into_iter().zip(&sources) {
        bar.say(&format!("building {letter}: {}", source.label()));
        // Both paths have the same length: the arguments and environment of a process shift its stack.
        let program = scratch.path().join(letter.to_string()).join("convroof");
        source.make(&args.bin, scratch.path(), &program, stop)?;
        let label = source.label();
        sides.push(Side {
            letter,
            label,
            program,
        });
    }
    let mut sitting = Sitting {
        a: &sides[0],
        b: &sides[1],
        stop,
        rng: Rng::new(seed()),
    };
    let checked = check(&sitting, &wanted, &bar)?;
    let nothing = vec![0.0; checked.pairs.len()];
    let budget = Duration::from_secs_f64(args.budget);
    let measured = gate::measure(&mut sitting, &checked, &nothing, budget, &mut Blocks(&bar));
    let measured = measured.map_err(failed)?;
    if let Some(out) = &args.out {
        files::write(out, &serde_json::to_string(&measured)?)?;
    }
    if measured.interrupted {
        bar.finish();
        let text = interrupted(&measured);
        return if args.json { Ok(()) } else { print(&text) };
    }
    let mut judged = gate::judged(&measured);
    bar.say("comparing the code of slower kernels");
    gate::label_layout(&sitting, &mut judged)?;
    bar.finish();
    if args.json {
        print_json(&judged)?;
    } else {
        let shown = Shown {
            sides: &sides,
            checked: &checked,
            judged: &judged,
            budget: args.budget,
        };
        print(&if args.markdown {
            shown.markdown()
        } else {
            shown.text()
        })?;
    }
    let gone = if args.allow_missing {
        Vec::new()
    } else {
        gone(&checked)
    };
    verdict(&judged, &gone)
}

/// Pairs that A computes and B can't.
fn gone(checked: &Checked) -> Vec<String> {
    let missing = checked.missing.iter().filter(|(letter, ..)| *letter == 'A');
    missing
        .map(|(_, pair, why)| format!("{pair} ({why})"))
        .collect()
}

/// Message of an interrupted comparison: too little was measured to judge.
fn interrupted(measured: &Measured) -> String {
    let (blocks, again) = (measured.blocks.len(), measured.confirmation.len());
    let confirming = match measured.alarms.len() {
        0 => String::new(),
        n => format!(" and {again} of {n} alarms that were being confirmed"),
    };
    format!("Interrupted after {blocks} blocks{confirming}: there is no verdict.\n")
}

/// A seed that differs in each run, so that an unlucky order isn't repeated.
pub(super) fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |d| d.as_nanos() as u64)
}

/// Turns a wrong output into [`Failed`], with exit code 1. Other errors stay, with exit code 2.
pub(super) fn failed(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Wrong>() {
        Some(Wrong(text)) => Failed(text.clone()).into(),
        None => error,
    }
}

/// Checks both builds against the reference.
pub(super) fn check(sitting: &Sitting<'_>, wanted: &Wanted, bar: &Bar) -> Result<Checked> {
    let mut variants = Vec::new();
    for side in [sitting.a, sitting.b] {
        // A build may have variants that the other build, or this program, doesn't have.
        variants.extend(Client::start(side)?.variants.clone());
    }
    let pairs = wanted.pairs(&variants)?;
    let checked = sitting.check(&pairs, |pair| bar.say(&format!("checking {pair}")));
    let checked = checked.map_err(failed)?;
    if checked.pairs.is_empty() {
        bail!("no layer and variant that both builds can do: see convroof list");
    }
    let compared = |p: &&Problem| checked.pairs.iter().any(|pair| pair.problem.is(p));
    let without: Vec<_> = wanted.problems.iter().filter(|p| !compared(p)).collect();
    if let Some(first) = without.first() {
        eprintln!(
            "convroof: {} of {} layers are not compared, since no variant of both builds can do them, such as {first}",
            without.len(),
            wanted.problems.len()
        );
    }
    if checked.debug {
        eprintln!("convroof: a debug build takes part: its times are meaningless");
    }
    Ok(checked)
}

/// Progress bar over the blocks.
pub(super) struct Blocks<'a>(pub(super) &'a Bar);

impl gate::Progress for Blocks<'_> {
    fn block(&mut self, what: &'static str, done: usize, of: usize) {
        self.0.at(done, of);
        self.0.say(what);
    }
}

/// Layers, variants and threads that were requested. Some builds may not support them.
pub(super) struct Wanted {
    problems: Vec<Problem>,
    variant: String,
    threads: Vec<usize>,
}

impl What {
    /// The machine as the workers of both builds see it. Workers of older builds don't know --cpus and choose one CPU
    /// of each core themselves. They inherit only the restriction to these CPUs.
    pub(super) fn topology(&self) -> Result<Topology> {
        let topology = self.cpus.topology()?;
        if let Some(list) = &self.cpus.cpus {
            let seen = Topology::detect();
            let sorted = |t: &Topology| {
                let mut cores = t.cores.clone();
                cores.sort_unstable();
                cores
            };
            if cfg!(target_os = "linux") && sorted(&topology) != sorted(&seen) {
                bail!(
                    "--cpus {list}: workers of the builds would run on {} only: name CPUs of one kind and of different cores",
                    seen.list()
                );
            }
        }
        Ok(topology)
    }

    pub(super) fn wanted(&self, topology: &Topology) -> Result<Wanted> {
        let problems = problems(&self.layers.choose(NETWORKS)?);
        problems.iter().try_for_each(crate::measure::refuse_huge)?;
        let widest = || format!("*/{}/*", Isa::best().isa());
        let variant = self.variant.clone().unwrap_or_else(widest);
        globs(&variant)?;
        Ok(Wanted {
            problems,
            variant,
            threads: select::threads(&self.threads, topology)?,
        })
    }
}

impl Wanted {
    /// True if `pairs` are at most `most` and all of them were requested.
    pub(super) fn covers(&self, pairs: &[Pair], most: usize) -> bool {
        let Ok(set) = globs(&self.variant) else {
            return false;
        };
        let own = |p: &Pair| {
            self.problems.iter().any(|own| p.problem.is(own))
                && set.is_match(p.variant.as_str())
                && self.threads.contains(&p.threads)
        };
        pairs.len() <= most && pairs.iter().all(own)
    }

    fn pairs(&self, variants: &[CandidateId]) -> Result<Vec<Pair>> {
        let set = globs(&self.variant)?;
        let mut known: Vec<&CandidateId> = Vec::new();
        for id in variants.iter().filter(|id| set.is_match(id.as_str())) {
            if !known.contains(&id) {
                known.push(id);
            }
        }
        if known.is_empty() {
            bail!(
                "no variant matches '{}': write <algorithm>/<isa>/<st|mt>, or patterns such as 'direct/*'; convroof list has all",
                self.variant
            );
        }
        for part in select::parts(&self.variant) {
            let one = globs(part)?;
            if !known.iter().any(|id| one.is_match(id.as_str())) {
                let text = format!("no variant of '{part}' runs on this machine in either build");
                eprintln!("{}", escape::note(&text));
            }
        }
        let fits = |id: &CandidateId, threads: usize| {
            let threading = id.variant().map(|id| id.threading);
            threading.is_some_and(|t| (t == Threading::St) == (threads == 1))
        };
        for &threads in &self.threads {
            if !known.iter().any(|id| fits(id, threads)) {
                bail!(
                    "--threads {threads}: none of the variants of '{}' runs on {threads}: st variants run on 1 thread, mt variants on 2 or more",
                    self.variant
                );
            }
        }
        let mut pairs = Vec::new();
        for problem in &self.problems {
            for id in &known {
                for &threads in &self.threads {
                    if fits(id, threads) {
                        pairs.push(Pair {
                            problem: Text::of(*problem),
                            variant: (*id).clone(),
                            threads,
                        });
                    }
                }
            }
        }
        Ok(pairs)
    }
}

fn verdict(judged: &[Judged], gone: &[String]) -> Result<()> {
    let slower: Vec<&Judged> = judged
        .iter()
        .filter(|j| j.outcome == Outcome::Slower)
        .collect();
    let Some(worst) = slower
        .iter()
        .max_by(|x, y| x.finding.effect.total_cmp(&y.finding.effect))
    else {
        return select::none_gone(gone, "pairs of layer and variant", "A", "B");
    };
    Err(Failed(format!(
        "{} of {} slower: {}; worst is {} by {:.1} %",
        slower.len(),
        judged.len(),
        names(&slower),
        worst.pair,
        100.0 * worst.finding.effect
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

/// Result of a comparison, for output.
struct Shown<'a> {
    sides: &'a [Side],
    checked: &'a Checked,
    judged: &'a [Judged],
    budget: f64,
}

impl Shown<'_> {
    /// All pairs except the unchanged ones, slowest first.
    fn changes(&self) -> Vec<&Judged> {
        let changed = self
            .judged
            .iter()
            .filter(|j| j.outcome != Outcome::Unchanged);
        let mut changes: Vec<&Judged> = changed.collect();
        changes.sort_by(|x, y| y.finding.effect.total_cmp(&x.finding.effect));
        changes
    }

    /// Names of both sides; `escaped` escapes them.
    fn head(&self, escaped: impl Fn(&str) -> String) -> String {
        let sides = self.sides.iter();
        let sides: Vec<String> = sides
            .map(|s| format!("{}: {}", s.letter, escaped(&s.label)))
            .collect();
        sides.join("\n")
    }

    /// The findings, in sentences; `escaped` escapes names.
    fn summary(&self, escaped: impl Fn(&str) -> String) -> String {
        let count = |outcome| self.judged.iter().filter(|j| j.outcome == outcome).count();
        let mut text = format!("{} pairs of layer and variant:", self.judged.len());
        for (outcome, words) in [
            (Outcome::Slower, "slower"),
            (
                Outcome::Layout,
                "slower by layout only (both builds have the same hot code, so this is no failure)",
            ),
            (
                Outcome::Unconfirmed,
                "slower at first, but not confirmed in fresh processes",
            ),
            (Outcome::Faster, "faster"),
            (Outcome::Unchanged, "without a detectable change"),
        ] {
            let n = count(outcome);
            if n > 0 || outcome == Outcome::Slower {
                let _ = write!(text, " {n} {words},");
            }
        }
        text.pop();
        let finds = |j: &Judged| j.finds.unwrap_or(f64::INFINITY);
        let all: Vec<f64> = self.judged.iter().map(finds).collect();
        let worst = self
            .judged
            .iter()
            .max_by(|x, y| finds(x).total_cmp(&finds(y)));
        if let (Some(median), Some(worst)) = (median(&all), worst) {
            let _ = write!(
                text,
                ".\nThe smallest slow-down that is found here half the time within {:.0} s: {} (median of the pairs), at worst {} ({}).\n\
                 An alarm is at least {:.0} % and {NOISES} times the noise, and is confirmed in fresh processes. The family-wise false-alarm rate is at most {ALPHA}.\n",
                self.budget,
                percent(median),
                percent(finds(worst)),
                escaped(&worst.pair.to_string()),
                100.0 * LEAST,
            );
        }
        for (letter, pair, why) in &self.checked.missing {
            let (pair, why) = (escaped(&pair.to_string()), escaped(why));
            let _ = writeln!(text, "Only in {letter}: {pair} (the other: {why}).");
        }
        text
    }

    fn rows(&self) -> Vec<[String; 7]> {
        let row = |j: &&Judged| {
            let again = j.confirmation.as_ref();
            [
                j.pair.variant.to_string(),
                j.pair.problem.to_string(),
                j.pair.threads.to_string(),
                time(j.a_ns),
                format!("{:.3}", 1.0 + j.finding.effect),
                again.map_or("-".into(), |c| format!("{:.3}", 1.0 + c.effect)),
                format!("{:?}", j.outcome).to_lowercase(),
            ]
        };
        self.changes().iter().map(row).collect()
    }

    const HEADS: [&'static str; 7] = ["variant", "problem", "threads", "A", "B/A", "again", ""];

    fn text(&self) -> String {
        let mut text = self.head(|text| escape::visible(text).into()) + "\n";
        let rows = self.rows();
        if !rows.is_empty() {
            let mut out = table(&Self::HEADS);
            for row in rows {
                let cells = row.into_iter().enumerate();
                out.add_row(cells.map(|(i, cell)| {
                    if (2..6).contains(&i) {
                        right(cell)
                    } else {
                        Cell::new(cell)
                    }
                }));
            }
            let _ = writeln!(
                text,
                "B/A is the ratio of times in the same round. Above 1, B is slower.\n{out}"
            );
        }
        text + &self.summary(|text| escape::visible(text).into())
    }

    fn markdown(&self) -> String {
        let markdown = |text: &str| escape::markdown(text).into_owned();
        let mut text = format!(
            "### convroof ab\n\n{}\n\n",
            self.head(markdown).replace('\n', "  \n")
        );
        let rows = self.rows();
        if !rows.is_empty() {
            let _ = writeln!(
                text,
                "| {} |\n|---|---|--:|--:|--:|--:|---|",
                Self::HEADS.join(" | ")
            );
            for row in rows {
                let cells: Vec<_> = row.iter().map(|cell| escape::markdown(cell)).collect();
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
            text.push_str(
                "\nB/A is the ratio of times in the same round. Above 1, B is slower.\n\n",
            );
        }
        text + &self.summary(markdown).replace('\n', "  \n")
    }
}

fn percent(x: f64) -> String {
    if x.is_finite() {
        format!("{:.1} %", 100.0 * x)
    } else {
        "none".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(letters: &[char]) -> Checked {
        let pair = |threads| Pair {
            problem: "mb1ic16ih8oc16kh3ph1".into(),
            variant: "direct/avx2/st".into(),
            threads,
        };
        let missing = letters.iter().enumerate();
        let missing = missing.map(|(i, &l)| (l, pair(i + 1), "it is gone".into()));
        let mut checked = Checked::default();
        checked.missing.extend(missing);
        checked
    }

    #[test]
    fn what_the_candidate_lost_is_a_failure_and_what_it_gained_is_none() {
        assert!(verdict(&[], &gone(&checked(&['B', 'B']))).is_ok());
        let error = verdict(&[], &gone(&checked(&['A', 'B', 'A']))).expect_err("gone");
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
        let text = verdict(&[], &gone(&checked(&['A'; 500])))
            .expect_err("gone")
            .to_string();
        assert!(text.contains("and 495 more") && text.len() < 1000, "{text}");
    }

    #[test]
    fn a_pattern_or_a_number_of_threads_without_a_variant_is_refused() {
        let wanted = |variant: &str, threads: &[usize]| Wanted {
            problems: vec!["mb1ic16ih8oc16kh3ph1".parse().expect("a problem")],
            variant: variant.into(),
            threads: threads.to_vec(),
        };
        let known = ["direct/avx2/st", "direct/avx2/mt"].map(CandidateId::from);
        assert_eq!(
            wanted("direct/*", &[1, 2])
                .pairs(&known)
                .expect("pairs")
                .len(),
            2
        );
        for (variant, threads) in [
            ("direct/*/st", &[1, 2][..]),
            ("direct/*/mt", &[1]),
            ("fc/*", &[1]),
        ] {
            assert!(wanted(variant, threads).pairs(&known).is_err(), "{variant}");
        }
    }
}
