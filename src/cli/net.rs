//! `convroof net`

use super::calibrate;
use super::failed::Failed;
use super::layout::page;
use super::noise::{Disturbances, line_above};
use super::output::{note, print};
use super::peers::PeerArgs;
use super::progress::Bar;
use super::rows::{Format, Rows};
use super::select::{self, Cpus, Variants, seconds};
use super::tune::{self, Plans};
use crate::interrupt;
use crate::machine::fingerprint;
use crate::net::bench::StepKind;
use crate::net::layer_plans::By;
use crate::net::session::{NetworkRun, Progress, SEED, Session, Setting};
use crate::networks::Graph;
use crate::patterns::Patterns;
use crate::report::conclusion::{Part, shares};
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::report::terminal::{percent, verdict as verdict_cell};
use crate::units::{bytes, plural, threads, time};
use anyhow::Result;
use convroof_kernels::Registry;
use std::time::Duration;

/// Parameters are seeded. The output is compared with the network in f64.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Networks: globs, separated by commas
    #[arg(value_name = "NETWORK")]
    network: Patterns,
    /// Number of images
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Numbers of threads [default: 1 and all physical cores]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    threads: Vec<usize>,
    #[command(flatten)]
    cpus: Cpus,
    #[command(flatten)]
    variants: Variants,
    #[command(flatten)]
    plans: Plans,
    /// Seconds for the rounds of each network and number of threads, after the first three; a quarter of it is for the
    /// selection of the cost model, if the network was tuned
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    budget: f64,
    /// Skip the network in f64, which takes minutes for a batch of a large network
    #[arg(long)]
    no_check: bool,
    #[command(flatten)]
    peers: PeerArgs,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let stop = interrupt::watch();
    let topology = args.cpus.topology()?;
    let threads = select::threads(&args.threads, &topology)?;
    let variants = args.variants.here(registry)?;
    let libraries = args.peers.libraries()?;
    let graphs = select::graphs(&args.network, args.batch)?;
    let machine = fingerprint::fingerprint(&topology);
    let plans = args.plans.load(&machine.id)?;
    let most = threads.iter().copied().max().unwrap_or(1);
    let mut disturbances = Disturbances::begin(&topology, most, Some(args.budget));
    let (pools, calibration) = calibrate::pools(&topology, &threads)?;
    let setting = Setting {
        topology: &topology,
        machine: &machine,
        calibration: &calibration,
        pools: &pools,
        variants: &variants,
        plans: plans.as_ref(),
        budget: Duration::from_secs_f64(args.budget),
        check: !args.no_check,
        stop,
    };
    let (mut rows, mut wrong) = (args.format.rows(), Vec::new());
    'runs: for graph in &graphs {
        let mut session = Session::new(graph, setting);
        for workers in &pools {
            let rivals = |input: &[f32]| match &libraries {
                Some(libraries) => {
                    let network = (graph, SEED, input);
                    libraries.rivals(&topology, workers.threads(), network, note)
                }
                None => Ok(Vec::new()),
            };
            let outcome = session.run(workers, rivals, &mut Checking(None))?;
            outcome.notes.iter().for_each(|text| note(text));
            let noise = disturbances.facts(&graph.network.name, &calibration);
            let noise = noise.peaks([(outcome.threads, outcome.peaks.clone())]);
            let noise = line_above(&noise, rows.is_some());
            match &mut rows {
                Some(rows) => rows.add(std::slice::from_ref(&outcome))?,
                None => print(&text(&outcome, &graph.network.title, &noise, &page()))?,
            }
            wrong.extend(outcome.wrong);
            // The remaining networks are left out.
            if outcome.interrupted {
                break 'runs;
            }
        }
    }
    rows.map_or(Ok(()), Rows::end)?;
    verdict(&wrong)
}

/// Progress bar of a network in f64.
struct Checking(Option<Bar>);

impl Progress for Checking {
    fn begin(&mut self, graph: &Graph) {
        let bar = self.0.insert(Bar::new(graph.nodes.len(), "check"));
        bar.say(&format!("{} in f64", graph.network.name));
    }

    fn node(&mut self) {
        if let Some(bar) = &self.0 {
            bar.step();
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish();
        }
    }
}

fn verdict(wrong: &[String]) -> Result<()> {
    match wrong.first() {
        None => Ok(()),
        Some(first) => Err(Failed(format!("wrong: {first}")).into()),
    }
}

/// The noise, the conclusion, the steps, what else there is to say, and the conclusion once more.
fn text(line: &NetworkRun, title: &str, noise: &str, page: &Page) -> String {
    let title = format!("{title}, {}, batch {}", threads(line.threads), line.batch);
    let conclusion = page.item(&conclusion(line));
    let head = page.prose(&title) + &page.item(noise.trim_end());
    let mut out = format!("\n{head}{conclusion}\n");
    out += &steps(line).show(page);
    out += "\n";
    for sentence in summary(line) {
        out += &page.item(&sentence);
    }
    out + &conclusion
}

/// Time of the network, and the share of each verdict.
fn conclusion(line: &NetworkRun) -> String {
    let parts = line.layers.iter().map(|row| Part {
        name: &row.name,
        verdict: row.verdict,
        ns: row.ns,
    });
    let shares = shares(&parts.collect::<Vec<_>>(), str::to_string);
    let (on, time) = (threads(line.threads), time(line.median_ns));
    format!("{}, {on}: {time}; {shares}.", line.network)
}

fn steps(line: &NetworkRun) -> Table<9> {
    let mut table = Table::new([
        Column::text("step", "a layer, or a reorder of its input").least(16),
        Column::text("bound by", "the verdict, from the roofline alone"),
        Column::number("time", "median in the network"),
        Column::number("share", "of the time of all steps"),
        Column::text("variant", "the chosen one").least(24),
        Column::number("GFLOP/s", "nominal operations, those of the definition"),
        Column::number(
            "bytes",
            "compulsory bytes of activations and the packed weights",
        ),
        Column::text("from", "layout read").least(8),
        Column::text("to", "layout written").least(8),
    ]);
    for row in &line.layers {
        table.row([
            Cell::new(&row.name),
            verdict_cell(row.verdict),
            Cell::new(time(row.ns)),
            Cell::new(format!("{:.1} %", 100.0 * row.share)),
            Cell::new(&row.variant),
            Cell::new(format!("{:.1}", row.gflops)),
            Cell::new(bytes(row.bytes as f64)),
            Cell::new(&row.layouts[0]),
            Cell::new(&row.layouts[1]),
        ]);
    }
    table
}

/// Time, memory, error, selection and peers of a run, in sentences.
fn summary(line: &NetworkRun) -> Vec<String> {
    let reorders = line.layers.iter();
    let reorders = reorders.filter(|r| r.variant == StepKind::Reorder).count();
    let mut sentences = vec![
        format!(
            "{}: {} ({} to {}), {:.0} GFLOP/s, {} of the peak; {}, {reorders} of them reorders, {} written straight into concatenations",
            line.network,
            time(line.median_ns),
            time(line.ci_ns.0),
            time(line.ci_ns.1),
            line.gflops_nominal,
            percent(line.gflops_nominal / line.peak_gflops),
            plural(line.layers.len(), "step"),
            plural(line.joined_in_place, "part"),
        ),
        format!(
            "memory: {} of packed weights, {} of activations ({} if none shared memory), {} of scratch",
            bytes(line.packed_bytes as f64),
            bytes(line.arena_bytes as f64),
            bytes(line.activation_bytes as f64),
            bytes(line.workspace_bytes as f64),
        ),
        match line.error_max {
            Some(error) => format!(
                "error against the network in f64: {error:.1e} of the largest output, allowed {:.1e}",
                line.tolerance
            ),
            None => "the output was not compared with the network in f64 (--no-check)".into(),
        },
    ];
    sentences.push(selection(line));
    if line.interrupted {
        sentences.push(format!(
            "interrupted after {}",
            plural(line.rounds, "round")
        ));
    }
    sentences.extend(line.peers.iter().map(|peer| {
        let error = peer.error_max.map(|e| format!(", error {e:.1e}"));
        format!(
            "{}: {}, {:.2} times ours ({:.2} to {:.2}){}",
            peer.peer,
            time(peer.median_ns),
            peer.ratio,
            peer.ratio_ci.0,
            peer.ratio_ci.1,
            error.unwrap_or_default()
        )
    }));
    sentences
}

/// How the variants were chosen.
fn selection(line: &NetworkRun) -> String {
    match (line.selection, line.regret, line.regret_ci) {
        (By::Model, ..) => "variants by the cost model: convroof tune measures them".into(),
        (_, Some(regret), Some(ci)) => {
            format!("variants by measurement; {}", tune::regret(regret, ci))
        }
        _ => "variants by measurement".into(),
    }
}
