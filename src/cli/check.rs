//! `convroof check`

use super::failed::Failed;
use super::layout::page;
use super::output::print;
use super::progress::Bar;
use super::rows::Format;
use super::select::{self, Cpus, Layers, Variants, Words};
use super::types::Types;
use crate::check::{self, Tally};
use crate::machine::{Topology, pool::Workers};
use crate::measure::bench::problems;
use crate::measure::refuse_huge;
use crate::progress::Steps;
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::units::plural;
use anyhow::{Result, bail};
use convroof_kernels::cost::Cost;
use convroof_kernels::{Problem, Registry, Variant};
use indicatif::HumanDuration;
use std::time::Duration;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    types: Types,
    #[command(flatten)]
    variants: Variants,
    /// Threads of multi-threaded variants [default: all physical cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    cpus: Cpus,
    /// Check only small shapes around each kernel's block sizes, no layers
    #[arg(long, conflicts_with_all = ["words", "network", "layer", "problem", "batch", "dt"])]
    small: bool,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let variants = args.variants.here(registry)?;
    let topology = args.cpus.topology()?;
    let threads = match args.threads {
        Some(n) => select::threads(&[n], &topology)?[0],
        None => topology.threads(),
    };
    if let Some(n) = args.threads {
        if args.small {
            bail!("--threads {n} is for the layers, which --small leaves out: omit one of them");
        }
        if n > 1 {
            select::check_threads(&[n], &variants)?;
        }
    }
    let workers = Workers::new(&topology, threads)?;
    let problems = if args.small {
        Vec::new()
    } else {
        let layers = args.layers.with(&args.words)?.choose("*")?;
        problems(&args.types.of(layers)?)
    };
    problems.iter().try_for_each(refuse_huge)?;
    let format = args.format.rows();
    if format.is_none() {
        print(&extent(variants.len(), problems.len()))?;
    }
    let tallies = check(&variants, &problems, &workers, &topology)?;
    match format {
        Some(rows) => rows.print(&tallies)?,
        None => print(&text(&tallies, &page()))?,
    }
    verdict(&tallies)?;
    match nothing_checked(&tallies, problems.len()) {
        None => Ok(()),
        Some(why) => bail!("{why}"),
    }
}

/// A line that says what there is to check.
fn extent(variants: usize, layers: usize) -> String {
    let layers = match layers {
        0 => String::new(),
        n => format!(
            ", then on {} ({} of both)",
            plural(n, "layer"),
            plural(n * variants, "pair")
        ),
    };
    format!(
        "Checking {} on small shapes{layers}.\n",
        plural(variants, "variant")
    )
}

/// Checks variants, with progress bars.
pub(super) fn check(
    variants: &[Variant],
    problems: &[Problem],
    workers: &Workers,
    topology: &Topology,
) -> Result<Vec<Tally>> {
    let mut bar = Bar::new(variants.len(), "shapes");
    let mut tallies = check::small_shapes(variants, &mut bar)?;
    bar.finish();
    if !problems.is_empty() {
        let mut bar = Forecast::new(problems);
        let machine = (workers, topology);
        check::layers(&mut tallies, variants, problems, machine, &mut bar)?;
        bar.bar.finish();
    }
    Ok(tallies)
}

/// Progress of the layers, with a note about the remaining time as soon as there is an estimate.
struct Forecast {
    bar: Bar,
    noted: bool,
}

impl Forecast {
    /// Share of the work that an estimate needs.
    const SHARE: f64 = 0.02;
    /// Time after which an estimate is made from a smaller share.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// Shortest remaining time with a note.
    const LONG: Duration = Duration::from_secs(20);

    fn new(problems: &[Problem]) -> Self {
        let work: Vec<f64> = problems.iter().map(work).collect();
        Forecast {
            bar: Bar::weighted(&work, "layers"),
            noted: false,
        }
    }

    /// The note; none if the remaining time is short.
    fn text(rest: Duration, share: f64) -> Option<String> {
        (rest >= Self::LONG).then(|| {
            format!(
                "the layers take about {} more, judged by the first {:.0} % of their work",
                HumanDuration(rest),
                100.0 * share.max(0.01)
            )
        })
    }
}

/// Work of a problem's check, in any unit. The reference takes most of the time: it computes by definition.
fn work(problem: &Problem) -> f64 {
    let cost = Cost::new(problem, 0);
    cost.flops_nominal as f64 + cost.bytes() as f64
}

impl Steps for Forecast {
    fn begin(&mut self, what: &str) {
        self.bar.say(what);
    }

    fn end(&mut self) {
        self.bar.step();
        let Some((rest, share)) = self.bar.forecast().filter(|_| !self.noted) else {
            return;
        };
        if share >= Self::SHARE || self.bar.elapsed() >= Self::PATIENCE {
            self.noted = true;
            if let Some(text) = Self::text(rest, share) {
                self.bar.note(&text);
            }
        }
    }
}

fn text(tallies: &[Tally], page: &Page) -> String {
    let mut table = Table::new([
        Column::text("variant", "algorithm/instruction set/threads").least(20),
        Column::number("right", "outputs within the tolerance"),
        Column::number("wrong", "outputs beyond it"),
        Column::number("refused", "problems that it can't compute"),
        Column::number("worst", "largest error over the tolerance"),
    ]);
    for tally in tallies {
        table.row([
            Cell::new(&tally.variant),
            Cell::new(tally.passed),
            Cell::new(tally.failures.len()),
            Cell::new(tally.refused),
            Cell::new(format!("{:.0} %", 100.0 * tally.worst)),
        ]);
    }
    format!("{}\n{}", table.show(page), total(tallies))
}

/// Upper limit for the wrong variants in the last line.
const NAMES: usize = 10;

/// The last line: how many variants are right, or which are wrong.
fn total(tallies: &[Tally]) -> String {
    let wrong: Vec<&str> = tallies
        .iter()
        .filter(|tally| !tally.failures.is_empty())
        .map(|tally| tally.variant.as_str())
        .collect();
    let outputs: usize = tallies
        .iter()
        .map(|tally| tally.passed + tally.failures.len())
        .sum();
    let names = match wrong.len() {
        0 => String::new(),
        n if n <= NAMES => format!("; wrong: {}", wrong.join(", ")),
        n => format!(
            "; wrong: {} and {} more",
            wrong[..NAMES].join(", "),
            n - NAMES
        ),
    };
    format!(
        "{} of {} right, by {}{names}\n",
        tallies.len() - wrong.len(),
        plural(tallies.len(), "variant"),
        plural(outputs, "output"),
    )
}

/// Reason why too little was checked: a variant without any checked shape, or layers that all variants refuse.
fn nothing_checked(tallies: &[Tally], layers: usize) -> Option<String> {
    let tried = |l: &Tally| l.passed + l.failures.len();
    if let Some(none) = tallies.iter().find(|l| tried(l) == 0) {
        return Some(format!(
            "nothing was checked of {}: it can do none of the shapes; see convroof list",
            none.variant
        ));
    }
    let refused = layers > 0 && tallies.iter().all(|l| l.refused == layers);
    refused.then(|| {
        let all = if layers == 1 { "the layer".into() } else { format!("each of the {layers} layers") };
        format!("every chosen variant refuses {all}, so only small shapes were checked; convroof list has the reasons")
    })
}

/// Fails with the first wrong output, if there is one.
pub(super) fn verdict(tallies: &[Tally]) -> Result<()> {
    let failures: Vec<_> = tallies
        .iter()
        .flat_map(|l| l.failures.iter().map(move |f| (l, f)))
        .collect();
    match failures.first() {
        None => Ok(()),
        Some((line, first)) => {
            let more = match failures.len() {
                1 => String::new(),
                n => format!(" ({} more)", plural(n - 1, "failure")),
            };
            Err(Failed(format!("{} is wrong: {first}{more}", line.variant)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(variant: &str, passed: usize, failures: usize) -> Tally {
        Tally {
            variant: variant.into(),
            passed,
            refused: 0,
            worst: 0.5,
            failures: vec!["off".into(); failures],
        }
    }

    #[test]
    fn the_last_line_counts_the_right_and_names_the_wrong() {
        let right = [tally("a", 3, 0), tally("b", 4, 0)];
        assert_eq!(total(&right), "2 of 2 variants right, by 7 outputs\n");
        let wrong = [tally("a", 3, 0), tally("b", 4, 1)];
        assert_eq!(
            total(&wrong),
            "1 of 2 variants right, by 8 outputs; wrong: b\n"
        );
        assert_eq!(total(&right[..1]), "1 of 1 variant right, by 3 outputs\n");
        let many = vec![tally("x", 0, 1); 12];
        assert!(total(&many).ends_with("x, x and 2 more\n"));
        let error = verdict(&many).expect_err("wrong").to_string();
        assert_eq!(error, "x is wrong: off (11 failures more)");
    }

    #[test]
    fn the_extent_counts_pairs() {
        assert_eq!(extent(1, 0), "Checking 1 variant on small shapes.\n");
        assert_eq!(
            extent(10, 3),
            "Checking 10 variants on small shapes, then on 3 layers (30 pairs of both).\n"
        );
    }

    #[test]
    fn only_a_long_check_has_a_note_about_its_time() {
        assert_eq!(Forecast::text(Duration::from_secs(5), 0.5), None);
        let text = Forecast::text(Duration::from_secs(600), 0.021).expect("a note");
        assert_eq!(
            text,
            "the layers take about 10 minutes more, judged by the first 2 % of their work"
        );
    }
}
