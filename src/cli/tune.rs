//! `convroof tune`, and the plan files that it writes.

use super::calibrate;
use super::output::{print, print_json};
use super::progress::{Bar, stop_flag};
use super::select::{self, Cpus, Variants};
use crate::interrupt;
use crate::machine::{fingerprint, pool::Workers};
use crate::net::Candidates;
use crate::net::candidates::Regret;
use crate::net::model::Model;
use crate::net::tune::{PlanFile, Tuning, measure};
use crate::report::terminal::{percent, right, table};
use crate::roofline::time;
use anyhow::{Result, bail};
use comfy_table::Cell;
use convroof_kernels::Registry;
use serde::Serialize;
use std::path::PathBuf;

/// Options for plan files.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Plans {
    /// Folder of plan files, one for each machine
    #[arg(long, value_name = "DIR", default_value = "results/plans")]
    plans: PathBuf,
    /// Choose by the cost model, even if there are measurements
    #[arg(long, conflicts_with = "plans")]
    model: bool,
}

impl Plans {
    /// This machine's plan file; none if there is none or `--model` is given.
    pub(super) fn load(&self, fingerprint: &str) -> Result<Option<PlanFile>> {
        if self.model {
            return Ok(None);
        }
        PlanFile::load(&PlanFile::path(&self.plans, fingerprint)?, fingerprint)
    }
}

/// Each candidate is timed under the network's conditions: inputs just written, weights displaced from the caches.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Networks: globs, separated by commas
    #[arg(long, value_name = "GLOBS", default_value = "nin,resnet50")]
    network: String,
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
    /// Folder of plan files, one for each machine
    #[arg(long, value_name = "DIR", default_value = "results/plans")]
    plans: PathBuf,
    /// Print one JSON object for each network and number of threads
    #[arg(long)]
    json: bool,
}

/// Loss of the cost model's selection.
#[derive(Serialize)]
struct Line {
    network: String,
    batch: usize,
    threads: usize,
    #[serde(flatten)]
    regret: Regret,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    stop_flag();
    let topology = args.cpus.topology()?;
    let threads = select::threads(&args.threads, &topology)?;
    let variants = args.variants.here(registry)?;
    let graphs = select::graphs(&args.network, args.batch)?;
    let machine = fingerprint::fingerprint(&topology);
    let path = PlanFile::path(&args.plans, &machine.id)?;
    // Before any work, so that a read-only folder or a damaged file is reported at once.
    let mut file = PlanFile::update(&path, &machine.id, |_| ())?;
    let pools: Vec<Workers> = threads
        .iter()
        .map(|&n| Workers::new(&topology, n))
        .collect::<Result<_>>()?;
    let calibration = calibrate::measure(&topology, &pools.iter().collect::<Vec<_>>())?;
    let layers: usize = graphs.iter().map(|g| g.network.layers.len()).sum();
    let bar = Bar::new(layers * pools.len(), "tune");
    let mut lines = Vec::new();
    'all: for graph in &graphs {
        for workers in &pools {
            let model = Model::new(&calibration, &machine, workers.threads());
            let mut candidates = Candidates::new(graph, &variants, &topology, &model)?;
            let (times, complete) = measure(graph, &candidates, &topology, workers, |layer| {
                bar.step();
                bar.say(&format!("{}/{layer}", graph.network.name));
            })?;
            let tuning = Tuning::of(graph, workers.threads());
            file = PlanFile::update(&path, &machine.id, |file| {
                file.replace(tuning, times, complete);
            })?;
            if !complete {
                break 'all;
            }
            candidates.measured(graph, &file.of(graph, workers.threads()));
            if let Some(regret) = candidates.regret(graph, &model) {
                lines.push(Line {
                    network: graph.network.name.clone(),
                    batch: args.batch,
                    threads: workers.threads(),
                    regret,
                });
            }
        }
    }
    bar.finish();
    let left: Vec<&str> = file.incomplete.iter().map(|t| t.network.as_str()).collect();
    let note = match left.is_empty() {
        true => String::new(),
        false => format!(
            "; interrupted, so that layers are missing: {}",
            left.join(", ")
        ),
    };
    eprintln!("plans: {}{note}", path.display());
    if lines.is_empty() && !interrupt::requested() {
        bail!(
            "nothing was measured: no layer of {} has a time",
            args.network
        );
    }
    if args.json {
        return print_json(&lines);
    }
    print(&lines.iter().map(text).collect::<String>())
}

fn text(line: &Line) -> String {
    let mut layers = table(&[
        "layer",
        "the model's choice",
        "time",
        "measured best",
        "time",
        "regret",
    ]);
    for l in line.regret.layers.iter().filter(|l| l.guess != l.best) {
        layers.add_row(vec![
            Cell::new(&l.name),
            Cell::new(&l.guess),
            right(time(l.guess_ns)),
            Cell::new(&l.best),
            right(time(l.best_ns)),
            right(percent(l.guess_ns / l.best_ns - 1.0)),
        ]);
    }
    let same = line
        .regret
        .layers
        .iter()
        .filter(|l| l.guess == l.best)
        .count();
    let body = if layers.is_empty() {
        String::new()
    } else {
        format!("{layers}\n")
    };
    format!(
        "\n{}, {} threads, batch {}: the model chooses the measured best for {same} of {} layers; its selection takes {} longer\n{body}",
        line.network,
        line.threads,
        line.batch,
        line.regret.layers.len(),
        percent(line.regret.total),
    )
}
