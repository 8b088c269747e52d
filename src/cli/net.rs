//! `convroof net`

use super::Failed;
use super::bench::check_budget;
use super::output::{colour, print, print_json};
use super::peers::{self, PeerArgs};
use super::progress::{Bar, stop_flag};
use super::select::{self, Cpus, Variants};
use super::{calibrate, tune::Plans};
use crate::escape;
use crate::interrupt::{self, Stopped};
use crate::machine::{fingerprint, pool::Workers};
use crate::net::bench::{self, Row, StepKind};
use crate::net::candidates::By;
use crate::net::model::Model;
use crate::net::{Candidates, Runner, reference, weights};
use crate::networks::Graph;
use crate::report::terminal::{self, percent, right, table};
use crate::roofline::{bytes, time};
use crate::stats::Summary;
use anyhow::{Context, Result, anyhow};
use comfy_table::Cell;
use convroof_kernels::Registry;
use serde::Serialize;
use std::time::{Duration, Instant};

/// The seed of weights and inputs.
const SEED: u64 = 1;

/// Parameters are seeded; the output is compared with the network in f64.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Networks: globs, several with commas
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Images at a time
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
    /// Seconds of rounds for each network and number of threads, after three rounds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    budget: f64,
    /// Don't compute the network in f64: a batch of a large network takes that minutes
    #[arg(long)]
    no_check: bool,
    #[command(flatten)]
    peers: PeerArgs,
    /// One JSON object for each network and number of threads
    #[arg(long)]
    json: bool,
}

/// A network's run. Times in nanoseconds; the keys are kept by later versions.
#[derive(Serialize)]
struct Line {
    network: String,
    batch: usize,
    threads: usize,
    median_ns: f64,
    ci_ns: (f64, f64),
    rounds: usize,
    /// max |error| / max |reference| of the output; none if it was not compared.
    error_max: Option<f64>,
    /// What it may be.
    tolerance: f64,
    /// ONNX Runtime's time.
    peer_ns: Option<f64>,
    /// ONNX Runtime's time over ours, the median over the rounds.
    ratio: Option<f64>,
    /// Everybody's.
    peers: Vec<PeerLine>,
    /// `measured` or `model`.
    selection: &'static str,
    /// What the model's choice takes beyond the measured best, if all layers were measured.
    regret: Option<f64>,
    gflops_nominal: f64,
    peak_gflops: f64,
    packed_bytes: usize,
    arena_bytes: usize,
    /// What the arena would be if no tensor shared memory with another.
    activation_bytes: usize,
    workspace_bytes: usize,
    /// Concatenated parts that are written where they belong.
    joined_in_place: usize,
    layers: Vec<Row>,
    /// True if a signal cut its rounds short.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
}

/// A library's run of the same network.
#[derive(Serialize)]
struct PeerLine {
    peer: String,
    median_ns: f64,
    /// Its time over ours, the median over the rounds, and a 95 % interval.
    ratio: f64,
    ratio_ci: (f64, f64),
    error_max: Option<f64>,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    check_budget(Some(args.budget))?;
    let stop = stop_flag();
    let topology = args.cpus.topology()?;
    let threads = select::threads(&args.threads, &topology)?;
    let variants = args.variants.here(registry)?;
    let guests = args.peers.guests()?;
    let graphs = select::graphs(&args.network, args.batch)?;
    let machine = fingerprint::fingerprint(&topology);
    let plans = args.plans.load(&machine.id)?;
    let pools: Vec<Workers> = threads
        .iter()
        .map(|&n| Workers::new(&topology, n))
        .collect::<Result<_>>()?;
    let calibration = calibrate::measure(&topology, &pools.iter().collect::<Vec<_>>())?;
    let mut wrong = Vec::new();
    for graph in &graphs {
        let input = weights::input(graph, SEED);
        // Once for all threads, with all of them.
        let mut expected = None;
        for workers in &pools {
            let model = Model::new(&calibration, &machine, workers.threads());
            let mut candidates = Candidates::new(graph, &variants, &topology, &model)?;
            if let Some(plans) = &plans {
                candidates.measured(graph, &plans.of(graph, workers.threads()));
            }
            let selection = candidates.choose(graph, &model, By::Measurement);
            let mut runner = workers
                .install(|exec| Runner::new(graph, &candidates, &selection, SEED, exec))
                .with_context(|| graph.network.name.clone())?;
            runner.load(&input);
            runner.poison();
            workers.install(|exec| runner.run(exec));
            if expected.is_none() && !args.no_check {
                let widest = pools.last().expect("a pool");
                expected = Some(in_f64(graph, &input, widest)?);
            }
            let check =
                |output: &[f32]| expected.as_deref().map(|e| bench::deviation(output, e).max);
            let tolerance = reference::tolerance(graph, &candidates, &selection);
            let mut rivals = match &guests {
                Some(guests) => {
                    peers::rivals(guests, &topology, workers.threads(), graph, SEED, &input)?
                }
                None => Vec::new(),
            };
            let deadline = Instant::now() + Duration::from_secs_f64(args.budget);
            let rounds = bench::rounds(&mut runner, &mut rivals, workers, (100, deadline), stop);
            let error_max = check(runner.output());
            if error_max.is_some_and(|e| e.is_nan() || e > tolerance) {
                wrong.push(format!(
                    "{} on {} threads: max |error| / max |reference| is {:.1e}, allowed {tolerance:.1e}",
                    graph.network.name,
                    workers.threads(),
                    error_max.unwrap_or(f64::NAN)
                ));
            }
            let time = Summary::of(&rounds.ours).ok_or_else(|| anyhow!("no samples"))?;
            let mut peers = Vec::new();
            for (rival, samples) in rivals.iter_mut().zip(&rounds.rivals) {
                let Some(ratio) = bench::ratio(samples, &rounds.ours) else {
                    continue;
                };
                let output = match rival.output() {
                    Ok(output) => output,
                    Err(error) => {
                        if !error.is::<Stopped>() {
                            let text = format!("without {}: {error:#}", rival.name());
                            eprintln!("{}", escape::note(&text));
                        }
                        continue;
                    }
                };
                let error_max = check(&output);
                if let Some(error) = error_max.filter(|&e| e.is_nan() || e > tolerance) {
                    let text = format!(
                        "without {} on {}, {} threads: its output is wrong, by {error:.1e} of the largest, allowed {tolerance:.1e}",
                        rival.name(),
                        graph.network.name,
                        workers.threads()
                    );
                    eprintln!("{}", escape::note(&text));
                    continue;
                }
                peers.push(PeerLine {
                    peer: rival.name(),
                    median_ns: crate::stats::median(samples).unwrap_or(f64::NAN),
                    ratio: ratio.median,
                    ratio_ci: ratio.ci,
                    error_max,
                });
            }
            let onnx = peers.iter().find(|p| p.peer.starts_with("ONNX"));
            let [packed_bytes, arena_bytes, workspace_bytes] = runner.bytes();
            let line = Line {
                network: graph.network.name.clone(),
                batch: args.batch,
                threads: workers.threads(),
                median_ns: time.median,
                ci_ns: time.ci,
                rounds: rounds.ours.len(),
                error_max,
                tolerance,
                peer_ns: onnx.map(|p| p.median_ns),
                ratio: onnx.map(|p| p.ratio),
                selection: if candidates.all_measured() {
                    "measured"
                } else {
                    "model"
                },
                regret: candidates.regret(graph, &model).map(|r| r.total),
                gflops_nominal: 2.0 * graph.network.macs() as f64 / time.median,
                peak_gflops: crate::stats::median(&rounds.peaks).unwrap_or(f64::NAN),
                packed_bytes,
                arena_bytes,
                activation_bytes: runner.schedule.all_bytes(),
                workspace_bytes,
                joined_in_place: runner.schedule.in_place,
                layers: bench::rows(
                    &runner,
                    &candidates,
                    &graph.network.layers,
                    &rounds,
                    |isa| model.ceilings(isa).cloned(),
                ),
                peers,
                interrupted: interrupt::requested(),
            };
            if args.json {
                print_json(std::slice::from_ref(&line))?;
            } else {
                print(&text(&line, &graph.network.title))?;
            }
            // Networks that it didn't come to are left out.
            if line.interrupted {
                return verdict(&wrong);
            }
        }
    }
    verdict(&wrong)
}

fn verdict(wrong: &[String]) -> Result<()> {
    match wrong.first() {
        None => Ok(()),
        Some(first) => Err(Failed(format!("wrong: {first}")).into()),
    }
}

/// The network's output by its definition.
fn in_f64(graph: &Graph, input: &[f32], workers: &Workers) -> Result<Vec<f64>> {
    let bar = Bar::new(graph.nodes.len(), "check");
    bar.say(&format!("{} in f64", graph.network.name));
    let output =
        workers.install(|exec| reference::compute(graph, SEED, input, exec, || bar.step()));
    bar.finish();
    Ok(output?)
}

fn text(line: &Line, title: &str) -> String {
    let threads = match line.threads {
        1 => "1 thread".to_string(),
        n => format!("{n} threads"),
    };
    let mut out = format!("\n{title}, {threads}, batch {}\n", line.batch);
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
    let reorders = line
        .layers
        .iter()
        .filter(|r| r.variant == StepKind::Reorder)
        .count();
    out += &format!(
        "{}: {} ({} to {}), {:.0} GFLOP/s, {} of the peak; {} steps, {reorders} of them reorders, {} parts joined in place\n",
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
        ("model", _) => "variants by the cost model: convroof tune measures them\n".to_string(),
        (_, Some(regret)) => format!(
            "variants by measurement; the cost model's would take {} longer\n",
            percent(regret)
        ),
        _ => String::new(),
    };
    if line.interrupted {
        out += &format!("interrupted after {} rounds\n", line.rounds);
    }
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
