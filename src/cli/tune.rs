//! `convroof tune`, and the plan files that it writes.

use super::calibrate;
use super::layout::page;
use super::noise::{Disturbances, line_above};
use super::output::{print, print_json};
use super::progress::Bar;
use super::select::{self, Cpus, Variants};
use crate::interrupt;
use crate::machine::fingerprint;
use crate::net::tune::PlanFile;
use crate::net::tuning::{self, NetworkRegret, Setting};
use crate::patterns::Patterns;
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::report::terminal::percent;
use crate::units::{plural, threads, time};
use anyhow::{Result, bail};
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
    let page = page();
    let texts = regrets.iter().map(|line| text(line, &page));
    print(&(page.item(noise.trim_end()) + &texts.collect::<String>()))
}

/// How good the cost model's choice is, and the layers on which it isn't the measured best.
fn text(line: &NetworkRegret, page: &Page) -> String {
    let mut layers = Table::new([
        Column::text("layer", "on which the model doesn't choose the best").least(16),
        Column::number("regret", "extra time of the model's choice"),
        Column::text("best", "the variant measured as the fastest").least(20),
        Column::text("model", "the variant that the model chooses").least(20),
        Column::number("best's", "its time"),
        Column::number("model's", "its time"),
    ]);
    let all = &line.regret.layers;
    for l in all.iter().filter(|l| l.guess != l.best) {
        layers.row([
            Cell::new(&l.name),
            Cell::new(percent(l.guess_ns / l.best_ns - 1.0)),
            Cell::new(&l.best),
            Cell::new(&l.guess),
            Cell::new(time(l.best_ns)),
            Cell::new(time(l.guess_ns)),
        ]);
    }
    let same = all.iter().filter(|l| l.guess == l.best).count();
    let conclusion = format!(
        "{}, {}, batch {}: the model chooses the measured best for {same} of {}; its selection takes {} longer.",
        line.network,
        threads(line.threads),
        line.batch,
        plural(all.len(), "layer"),
        percent(line.regret.total),
    );
    let body = match layers.is_empty() {
        true => String::new(),
        false => layers.show(page),
    };
    format!("\n{}{body}", page.item(&conclusion))
}
