//! `convroof calibrate`

use super::layout::page;
use super::noise::{Disturbances, line_above};
use super::output::print;
use super::progress::Bar;
use super::rows::Format;
use super::select::{self, Cpus};
use crate::machine::{Topology, calibration, fingerprint, pool::Workers};
use crate::networks::requested_type;
use crate::record::Calibration;
use crate::report::page::Page;
use crate::report::table::{Cell, Column, Table};
use crate::units::{bytes, plural};
use anyhow::Result;
use convroof_kernels::dtype::DType;
use convroof_kernels::probe::Arithmetic;
use std::collections::BTreeSet;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Numbers of threads [default: 1 and all physical cores]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    threads: Vec<usize>,
    /// Element types of the peaks, separated by commas: f32, bf16, u8
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = requested_type, default_value = "f32,bf16,u8")]
    dt: Vec<DType>,
    #[command(flatten)]
    cpus: Cpus,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let topology = args.cpus.topology()?;
    let threads = select::threads(&args.threads, &topology)?;
    let most = threads.iter().copied().max().unwrap_or(1);
    let mut disturbances = Disturbances::begin(&topology, most, None);
    let arithmetics: BTreeSet<Arithmetic> = args.dt.iter().map(|&dt| Arithmetic::of(dt)).collect();
    let arithmetics: Vec<Arithmetic> = arithmetics.into_iter().collect();
    let pools = workers(&topology, &threads)?;
    let calibration = measure(&topology, &pools.iter().collect::<Vec<_>>(), &arithmetics)?;
    let facts = disturbances.facts("calibration", &calibration);
    let noise = line_above(&facts, args.format.is_data());
    if let Some(mut rows) = args.format.rows() {
        rows.add(&calibration.peaks)?;
        return rows.print(&calibration.bandwidths);
    }
    let machine = fingerprint::fingerprint(&topology);
    let page = page();
    let title = format!(
        "{}, {}",
        machine.cpu_model.as_deref().unwrap_or(&machine.arch),
        plural(machine.physical_cores, "physical core")
    );
    let head = page.prose(&title) + &page.item(noise.trim_end());
    print(&(head + &show(&calibration, &page)))
}

/// A pool for each number of threads, and the ceilings on them for layers of f32.
pub(super) fn pools(topology: &Topology, threads: &[usize]) -> Result<(Vec<Workers>, Calibration)> {
    let pools = workers(topology, threads)?;
    let calibration = measure(
        topology,
        &pools.iter().collect::<Vec<_>>(),
        &[Arithmetic::F32],
    )?;
    Ok((pools, calibration))
}

/// A pool for each number of threads.
fn workers(topology: &Topology, threads: &[usize]) -> Result<Vec<Workers>> {
    threads.iter().map(|&n| Workers::new(topology, n)).collect()
}

/// Measures the ceilings with a progress bar.
pub(super) fn measure(
    topology: &Topology,
    pools: &[&Workers],
    arithmetics: &[Arithmetic],
) -> Result<Calibration> {
    let bar = Bar::new(0, "calibrate");
    let result = calibration::calibrate(topology, pools, arithmetics, |what| bar.say(what));
    bar.finish();
    result
}

/// The ceilings as tables.
fn show(calibration: &Calibration, page: &Page) -> String {
    let spread = || Column::number("spread", "(best - median) / best of the samples");
    let mut peaks = Table::new([
        Column::text("isa", "instruction set"),
        Column::text("type", "element type of the factors; u8: u8 times s8"),
        Column::number("threads", "number of threads"),
        Column::number(
            "GFLOP/s",
            "peak of multiply-adds on all threads, 10^9 operations per second",
        ),
        spread(),
    ]);
    for p in &calibration.peaks {
        peaks.row([
            Cell::new(&p.isa),
            Cell::new(&p.dt),
            Cell::new(p.threads),
            Cell::new(format!("{:.1}", p.gflops)),
            Cell::new(format!("{:.1} %", 100.0 * p.spread)),
        ]);
    }
    let mut memory = Table::new([
        Column::text("level", "cache or memory"),
        Column::text("loop", "kind of access"),
        Column::text("isa", "instruction set"),
        Column::number("threads", "number of threads"),
        Column::number("GB/s", "bandwidth of all threads"),
        spread(),
        Column::number("set", "working set of a thread"),
    ]);
    for b in &calibration.bandwidths {
        memory.row([
            Cell::new(b.level.name()),
            Cell::new(&b.op),
            Cell::new(&b.isa),
            Cell::new(b.threads),
            Cell::new(format!("{:.1}", b.gbps)),
            Cell::new(format!("{:.1} %", 100.0 * b.spread)),
            Cell::new(bytes(b.working_set_bytes as f64)),
        ]);
    }
    let notes = calibration.notes.iter();
    let notes: String = notes.map(|n| page.item(&format!("Note: {n}."))).collect();
    format!("\n{}\n{}{notes}", peaks.show(page), memory.show(page))
}
