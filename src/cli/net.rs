//! `convroof net`

use super::failed::Failed;
use super::noise::{Disturbances, line_above};
use super::output::{colour, note, print, print_json};
use super::peers::PeerArgs;
use super::progress::Bar;
use super::select::{self, Cpus, Variants, seconds};
use super::{calibrate, tune::Plans};
use crate::interrupt;
use crate::machine::fingerprint;
use crate::net::bench::StepKind;
use crate::net::layer_plans::By;
use crate::net::session::{NetworkRun, Progress, SEED, Session, Setting};
use crate::networks::Graph;
use crate::patterns::Patterns;
use crate::report::terminal::{self, percent, right, table};
use crate::units::{bytes, threads, time};
use anyhow::Result;
use comfy_table::Cell;
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
    /// Seconds for the rounds of each network and number of threads, after the first three
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    budget: f64,
    /// Skip the network in f64, which takes minutes for a batch of a large network
    #[arg(long)]
    no_check: bool,
    #[command(flatten)]
    peers: PeerArgs,
    /// Print one JSON object for each network and number of threads
    #[arg(long)]
    json: bool,
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
    let mut wrong = Vec::new();
    for graph in &graphs {
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
            let noise = line_above(&noise, args.json);
            if args.json {
                print_json(std::slice::from_ref(&outcome))?;
            } else {
                print(&text(&outcome, &graph.network.title, &noise))?;
            }
            wrong.extend(outcome.wrong);
            // The remaining networks are left out.
            if outcome.interrupted {
                return verdict(&wrong);
            }
        }
    }
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

fn text(line: &NetworkRun, title: &str, noise: &str) -> String {
    let mut out = format!(
        "\n{title}, {}, batch {}\n{noise}",
        threads(line.threads),
        line.batch
    );
    let mut layers = table(&[
        "step", "variant", "from", "to", "time", "share", "GFLOP/s", "bytes", "bound by",
    ]);
    let colour = colour();
    for row in &line.layers {
        layers.add_row(vec![
            Cell::new(&row.name),
            Cell::new(&row.variant),
            Cell::new(&row.layouts[0]),
            Cell::new(&row.layouts[1]),
            right(time(row.ns)),
            right(format!("{:.1} %", 100.0 * row.share)),
            right(format!("{:.1}", row.gflops)),
            right(bytes(row.bytes as f64)),
            terminal::verdict(row.verdict, colour),
        ]);
    }
    out += &format!("{layers}\n");
    out += &summary(line);
    for peer in &line.peers {
        out += &format!(
            "{}: {}, {:.2} times ours ({:.2} to {:.2}){}\n",
            peer.peer,
            time(peer.median_ns),
            peer.ratio,
            peer.ratio_ci.0,
            peer.ratio_ci.1,
            peer.error_max
                .map_or(String::new(), |e| format!(", error {e:.1e}"))
        );
    }
    out
}

/// Time, memory, error and selection of a run, in sentences.
fn summary(line: &NetworkRun) -> String {
    let reorders = line
        .layers
        .iter()
        .filter(|r| r.variant == StepKind::Reorder)
        .count();
    let mut out = format!(
        "{}: {} ({} to {}), {:.0} GFLOP/s, {} of the peak; {} steps, {reorders} of them reorders, {} parts written straight into concatenations\n",
        line.network,
        time(line.median_ns),
        time(line.ci_ns.0),
        time(line.ci_ns.1),
        line.gflops_nominal,
        percent(line.gflops_nominal / line.peak_gflops),
        line.layers.len(),
        line.joined_in_place,
    );
    out += &format!(
        "memory: {} of packed weights, {} of activations ({} if none shared memory), {} of scratch\n",
        bytes(line.packed_bytes as f64),
        bytes(line.arena_bytes as f64),
        bytes(line.activation_bytes as f64),
        bytes(line.workspace_bytes as f64),
    );
    out += &match line.error_max {
        Some(error) => format!(
            "error against the network in f64: {error:.1e} of the largest output, allowed {:.1e}\n",
            line.tolerance
        ),
        None => "the output was not compared with the network in f64 (--no-check)\n".into(),
    };
    out += &match (line.selection, line.regret) {
        (By::Model, _) => "variants by the cost model: convroof tune measures them\n".to_string(),
        (_, Some(regret)) => format!(
            "variants by measurement; those of the cost model would take {} longer\n",
            percent(regret)
        ),
        _ => String::new(),
    };
    if line.interrupted {
        out += &format!("interrupted after {} rounds\n", line.rounds);
    }
    out
}
