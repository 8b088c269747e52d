//! `convroof tune`, and the plan files that it writes.

use super::calibrate;
use super::noise::{Disturbances, line_above};
use super::output::{print, print_json};
use super::progress::Bar;
use super::select::{self, Cpus, Variants};
use crate::interrupt;
use crate::machine::fingerprint;
use crate::net::tune::PlanFile;
use crate::net::tuning::{self, NetworkRegret, Setting};
use crate::patterns::Patterns;
use crate::report::terminal::{percent, right, table};
use crate::units::{threads, time};
use anyhow::{Result, bail};
use comfy_table::Cell;
use convroof_kernels::Registry;
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
    /// Folder of plan files, one for each machine
    #[arg(long, value_name = "DIR", default_value = "results/plans")]
    plans: PathBuf,
    /// Print one JSON object for each network and number of threads
    #[arg(long)]
    json: bool,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    interrupt::watch();
    let topology = args.cpus.topology()?;
    let threads = select::threads(&args.threads, &topology)?;
    let variants = args.variants.here(registry)?;
    let graphs = select::graphs(&args.network, args.batch)?;
    let machine = fingerprint::fingerprint(&topology);
    let path = PlanFile::path(&args.plans, &machine.id)?;
    // Before any work, so that a read-only folder or a damaged file is reported at once.
    let file = PlanFile::update(&path, &machine.id, |_| ())?;
    let most = threads.iter().copied().max().unwrap_or(1);
    let mut disturbances = Disturbances::begin(&topology, most, None);
    let (pools, calibration) = calibrate::pools(&topology, &threads)?;
    let setting = Setting {
        topology: &topology,
        machine: &machine,
        calibration: &calibration,
        pools: &pools,
        variants: &variants,
        plans: &path,
    };
    let layers: usize = graphs.iter().map(|g| g.network.layers.len()).sum();
    let mut bar = Bar::new(layers * pools.len(), "tune");
    let (file, regrets) = tuning::run(&setting, &graphs, file, &mut bar)?;
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
    if regrets.is_empty() && !interrupt::requested() {
        bail!(
            "nothing was measured: no layer of {} has a time",
            args.network
        );
    }
    let noise = line_above(&disturbances.facts("tuning", &calibration), args.json);
    if args.json {
        return print_json(&regrets);
    }
    print(&(noise + &regrets.iter().map(text).collect::<String>()))
}

fn text(line: &NetworkRegret) -> String {
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
        "\n{}, {}, batch {}: the model chooses the measured best for {same} of {} layers; its selection takes {} longer\n{body}",
        line.network,
        threads(line.threads),
        line.batch,
        line.regret.layers.len(),
        percent(line.regret.total),
    )
}
