//! `convroof ab`

mod text;

use super::failed::{Failed, none_gone};
use super::output::{note, print};
use super::progress::Bar;
use super::rows::Format;
use super::select::{self, Cpus, Layers, seconds};
use crate::machine::Topology;
use crate::measure::bench::problems;
use crate::measure::refuse_huge;
use crate::patterns::Patterns;
use crate::regress::ab::gate::{self, Judged, Measured, Outcome};
use crate::regress::ab::revision::Build;
use crate::regress::ab::rounds::Checked;
use crate::regress::ab::session::{self, Session};
use crate::regress::ab::wanted::Wanted;
use crate::{files, interrupt};
use anyhow::{Context, Result};
use convroof_kernels::Isa;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

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
    /// Variants: globs over <algorithm>/<isa>/<st|mt>, separated by commas [default: all of this CPU's widest
    /// instruction set]
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
    if let Some(out) = &args.out {
        // Checked before the builds and measurements, which take minutes.
        files::check(out)?;
    }
    let builds = [
        Build::of(Some(&args.base))?,
        Build::of(args.candidate.as_deref())?,
    ];
    let mut bar = Comparing(Bar::new(0, "ab"));
    let mut session = Session::new(&builds, &args.bin, &wanted, stop, &mut bar)?;
    let nothing = vec![0.0; session.checked().pairs.len()];
    let budget = Duration::from_secs_f64(args.budget);
    let measured = session.measure(&nothing, budget, &mut bar)?;
    if let Some(out) = &args.out {
        files::write(out, &serde_json::to_string(&measured)?)?;
    }
    if measured.interrupted {
        bar.0.finish();
        let text = interrupted(&measured);
        return match args.format.rows() {
            Some(_) => Ok(()),
            None => print(&text),
        };
    }
    let judged = session.judge(&measured, &mut bar)?;
    bar.0.finish();
    let result = text::Verdicts {
        sides: session.sides(),
        checked: session.checked(),
        judged: &judged,
        budget: args.budget,
    };
    if let Some(rows) = args.format.rows() {
        rows.print(&judged)?;
    } else if args.markdown {
        print(&result.markdown())?;
    } else {
        print(&result.text())?;
    }
    let gone = match args.allow_missing {
        true => Vec::new(),
        false => gone(session.checked()),
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

/// Progress bar of a comparison.
pub(super) struct Comparing(pub(super) Bar);

impl gate::Progress for Comparing {
    fn stage(&mut self, what: &str) {
        self.0.say(what);
    }

    fn block(&mut self, what: &'static str, done: usize, of: usize) {
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
        let problems = problems(&self.layers.choose(NETWORKS)?);
        problems.iter().try_for_each(refuse_huge)?;
        let variants = match &self.variant {
            Some(patterns) => patterns.clone(),
            None => format!("*/{}/*", Isa::best().isa()).parse()?,
        };
        Ok(Wanted {
            problems,
            variants,
            threads: select::threads(&self.threads, topology)?,
        })
    }
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
    use crate::regress::ab::Pair;

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
}
