//! `convroof tune`, and the plan files that it writes.

use super::calibrate;
use super::layout::page;
use super::noise::{Disturbances, line_above};
use super::output::{detail, print, written};
use super::progress::Bar;
use super::rows::Format;
use super::select::{self, Cpus, Variants, Words};
use crate::interrupt;
use crate::machine::fingerprint;
use crate::net::plan_file::PlanFile;
use crate::net::regret::LayerRegret;
use crate::net::tuning::{self, NetworkRegret, Repeated, Setting};
use crate::patterns::Patterns;
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::ties::Certainty;
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
        let path = PlanFile::path(&self.plans, fingerprint)?;
        let file = PlanFile::load(&path, fingerprint)?;
        let found = if file.is_some() { "" } else { " (none)" };
        detail(&format!("plans: {}{found}", path.display()));
        Ok(file)
    }
}

/// Each candidate is timed under the network's conditions: inputs just written, weights displaced from the caches. Then
/// the selections of the cost model and of the measurements run as whole networks, in turns.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    words: Words,
    /// Networks: globs, separated by commas [default: nin,resnet50]
    #[arg(long, value_name = "GLOBS")]
    network: Option<Patterns>,
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
    /// Tune each network this often, and print the median regret of the cost model
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    interrupt::watch();
    let topology = args.cpus.topology()?;
    let threads = select::threads(&args.threads, &topology)?;
    let variants = args.variants.here(registry)?;
    let network = match args.words.networks(args.network.as_ref())? {
        Some(network) => network,
        None => "nin,resnet50".parse()?,
    };
    let graphs = select::graphs(&network, args.batch)?;
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
        repeat: args.repeat.into(),
    };
    let layers: usize = graphs.iter().map(|g| g.network.layers.len()).sum();
    let mut bar = Bar::new(setting.repeat * layers * pools.len(), "tune");
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
    written(&format!("plans: {}{note}", path.display()));
    if regrets.is_empty() && !interrupt::requested() {
        bail!("nothing was measured: no layer of {network} has a time");
    }
    let facts = disturbances.facts("tuning", &calibration);
    let noise = line_above(&facts, args.format.is_data());
    if let Some(rows) = args.format.rows() {
        return rows.print(&regrets);
    }
    let page = page();
    let texts: String = match setting.repeat {
        1 => regrets.iter().map(|line| text(line, &page)).collect(),
        _ => {
            let all = tuning::repeated(&regrets);
            all.iter().map(|line| page.item(&repeated(line))).collect()
        }
    };
    print(&(page.item(noise.trim_end()) + &texts))
}

/// The regret in words, from the fraction by which the model's selection takes longer, and its interval.
pub(super) fn regret(total: f64, (low, high): (f64, f64)) -> String {
    if (total, low, high) == (0.0, 0.0, 0.0) {
        return "the cost model selects the same variants".into();
    }
    format!(
        "the cost model's selection takes {:.2} times as long ({:.2} to {:.2})",
        1.0 + total,
        1.0 + low,
        1.0 + high
    )
}

/// The conclusion, the choices, and the layers on which the cost model chooses a slower variant.
fn text(line: &NetworkRegret, page: &Page) -> String {
    let mut seen = Vec::new();
    // A layer that occurs several times usually has the same variant everywhere.
    let layers = line.regret.layers.iter().filter(|l| {
        let new = !seen.contains(&(&l.layer, &l.best, &l.guess));
        seen.push((&l.layer, &l.best, &l.guess));
        new
    });
    let layers: Vec<&LayerRegret> = layers.collect();
    let of = |sure: Certainty| layers.iter().filter(|l| l.sure == Some(sure)).count();
    let conclusion = format!(
        "{}, {}, batch {}: of {} {} are sure, {} are ties, {} can't be told; {}.",
        line.network,
        threads(line.threads),
        line.batch,
        plural(layers.len(), "choice"),
        of(Certainty::Sure),
        of(Certainty::Tie),
        of(Certainty::CantTell),
        match (line.regret.total, line.regret.total_ci) {
            (Some(total), Some(ci)) => regret(total, ci),
            _ => "the cost model's selection was not measured beside it".into(),
        }
    );
    format!(
        "\n{}{}{}",
        page.item(&conclusion),
        chosen(&layers, page),
        lost(&layers, page)
    )
}

/// The chosen variant of each layer, and how sure the choice is.
fn chosen(layers: &[&LayerRegret], page: &Page) -> String {
    let sure =
        "no other variant is as fast, the number of variants that are equally fast, or can't tell";
    let mut rows = Table::new([
        Column::text("layer", "of the network's table").least(16),
        Column::text("choice", sure).least(10),
        Column::number("time", "of the chosen variant"),
        Column::text("variant", "the chosen one").least(20),
    ]);
    for l in layers {
        let sure = match l.sure {
            None => String::new(),
            Some(Certainty::Tie) => format!("tie of {}", l.ties.len()),
            Some(sure) => sure.to_string(),
        };
        rows.row([
            Cell::new(&l.layer),
            Cell::new(sure),
            Cell::new(time(l.best_ns)),
            Cell::new(&l.best),
        ]);
    }
    rows.show(page)
}

/// Layers on which the cost model's choice is slower.
fn lost(layers: &[&LayerRegret], page: &Page) -> String {
    let mut rows = Table::new([
        Column::text("layer", "on which the cost model chooses a slower variant").least(16),
        Column::number(
            "ratio",
            "time of the model's choice / time of the fastest variant",
        ),
        Column::number("95 %", "the interval of the ratio"),
        Column::text("model", "the variant that the model chooses").least(20),
    ]);
    for l in layers {
        if l.guess == l.best || l.ties.contains(&l.guess) {
            continue;
        }
        let interval = |low: f64, high: f64| format!("{low:.2} to {high:.2}");
        rows.row([
            Cell::new(&l.layer),
            l.guess_ratio.map(|r| format!("{:.2}", r.median)).into(),
            l.guess_ratio.map(|r| interval(r.ci.0, r.ci.1)).into(),
            Cell::new(&l.guess),
        ]);
    }
    match rows.is_empty() {
        true => String::new(),
        false => rows.show(page),
    }
}

/// The regrets of several tunings.
fn repeated(line: &Repeated) -> String {
    let (stable, layers) = (line.stable, line.layers);
    let found = match (line.median, &line.regrets[..]) {
        (Some(median), [least, .., most]) => regret(median, (*least, *most)),
        _ => "the regret of the cost model was measured less than twice".into(),
    };
    format!(
        "{}, {}, batch {}, median of {} (least to most): {found}; {stable} of {} had the same variant in each.",
        line.network,
        threads(line.threads),
        line.batch,
        plural(line.regrets.len(), "tuning"),
        plural(layers, "layer"),
    )
}
