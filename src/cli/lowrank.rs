//! `convroof lowrank`

use super::calibrate;
use super::layout::page;
use super::noise::{Disturbances, line_above};
use super::output::print;
use super::progress::Bar;
use super::rows::Format;
use super::select::{Cpus, seconds};
use crate::claims::{Lab, Setting};
use crate::lowrank::session::{
    Approximation, Convolution, Decomposed, LAYERS, SEEDED, measure, work,
};
use crate::machine::{fingerprint, pool::Workers};
use crate::measure::refuse_huge;
use crate::record::CandidateId;
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::units::time;
use crate::{interrupt, npy};
use anyhow::{Result, bail};
use convroof_kernels::dtype::DType;
use convroof_kernels::probe::Arithmetic;
use convroof_kernels::{Isa, Problem, Registry};
use std::path::PathBuf;
use std::time::Duration;

/// Seeded weights are random and have no low rank, so their errors are the worst case. Trained weights can be read
/// from a file. A layer and its pairs are measured in the same rounds, on one thread.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A convolution in benchdnn's format (repeatable) [default: the 3x3 layers of ResNet-50 at 56, 28 and 14 pixels]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    problem: Vec<String>,
    /// Its weights: c_out x c_in x kh x kw, float32, .npy
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Ranks [default: 1/8, 1/4, 1/2 and 3/4 of the full rank]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    ranks: Vec<usize>,
    /// Seconds of all rounds, shared by the layers; each layer has five rounds at least
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    budget: f64,
    #[command(flatten)]
    cpus: Cpus,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let stop = interrupt::watch();
    let topology = args.cpus.topology()?;
    let texts: Vec<&str> = match args.problem.is_empty() {
        true => LAYERS.to_vec(),
        false => args.problem.iter().map(String::as_str).collect(),
    };
    let problems: Vec<Problem> = texts.iter().map(|t| t.parse()).collect::<Result<_, _>>()?;
    if args.weights.is_some() && problems.len() != 1 {
        bail!("--weights is for one layer: give exactly one --problem");
    }
    let mut layers = Vec::new();
    for problem in &problems {
        refuse_huge(problem)?;
        let mut layer = Convolution::seeded(problem)?;
        if args.weights.is_some() {
            let dims = problem.weights_dims();
            let path = args.weights.as_deref();
            let dims = dims.as_ref().map(|d| &d[..]);
            layer.weights = npy::read("--weights", path, dims, DType::F32)?;
        }
        layers.push(Decomposed::new(layer, &args.ranks)?);
    }
    let machine = fingerprint::fingerprint(&topology);
    let workers = Workers::new(&topology, 1)?;
    let mut disturbances = Disturbances::begin(&topology, 1, Some(args.budget));
    let calibration = calibrate::measure(&topology, &[&workers], &[Arithmetic::F32])?;
    let variants = registry.variants(&Isa::REAL);
    let setting = Setting {
        topology: &topology,
        machine: &machine,
        calibration: &calibration,
        variants: &variants,
        budget: Duration::from_secs_f64(args.budget),
        stop,
    };
    let mut lab = Lab::new(setting, work(&layers, &args.ranks))?;
    let mut bar = Bar::new(layers.len(), "lowrank");
    let weights = args.weights.as_ref();
    let weights = weights.map_or(SEEDED.into(), |p| p.display().to_string());
    let lines = measure(
        &layers,
        &args.ranks,
        &weights,
        (&mut lab, &workers),
        &mut bar,
    )?;
    bar.finish();
    let facts = disturbances.facts("lowrank", &calibration);
    let noise = line_above(&facts, args.format.is_data());
    match args.format.rows() {
        Some(rows) => rows.print(&lines),
        None => print(&(noise + &text(&lines, &page()))),
    }
}

fn text(lines: &[Approximation], page: &Page) -> String {
    let mut table = Table::new([
        Column::text("form", "the convolutions that replace the layer").least(12),
        Column::number("rank", "of the weights, of the full rank"),
        Column::number("energy", "fraction of the squared weights that is kept"),
        Column::number("L2 error", "of the outputs, relative"),
        Column::number("time", "median time of a run"),
        Column::number("x direct", "how many times as fast as the layer itself"),
        Column::number("95 %", "interval of that ratio"),
        Column::number("max error", "largest error over the largest output"),
        Column::text("kernels", "variants that compute it").least(20),
    ]);
    for group in lines.chunk_by(|a, b| a.problem == b.problem) {
        table.section(&group[0].problem);
        for l in group {
            let rank = match (l.rank, l.full_rank) {
                (Some(rank), Some(full)) => format!("{rank} of {full}"),
                _ => "all".into(),
            };
            let kernels: Vec<&str> = l.kernels.iter().map(CandidateId::as_str).collect();
            table.row([
                Cell::new(&l.form),
                Cell::new(rank),
                Cell::new(format!("{:.1} %", 100.0 * l.energy)),
                Cell::new(format!("{:.1e}", l.error_l2)),
                Cell::new(time(l.ns)),
                Cell::new(format!("{:.2}", l.speedup)),
                Cell::new(format!("{:.2} to {:.2}", l.speedup_ci.0, l.speedup_ci.1)),
                Cell::new(format!("{:.1e}", l.error_max)),
                Cell::new(kernels.join(", ")),
            ]);
        }
    }
    let mut text = format!("\n{}\n", table.show(page));
    if lines.first().is_some_and(|l| l.weights == SEEDED) {
        text += &page.prose(
            "These weights are random and have no low rank. Trained ones (--weights FILE.npy) keep more energy.",
        );
    }
    text + &page.prose("Winograd computes the layer itself: its only errors are rounding errors.")
}
