//! `convroof calibrate`

use super::noise::{Disturbances, line_above};
use super::output::{print, print_json};
use super::progress::Bar;
use super::select::{self, Cpus};
use crate::machine::{Topology, calibration, fingerprint, pool::Workers};
use crate::record::Calibration;
use crate::report::terminal::{right, table};
use crate::units::bytes;
use anyhow::Result;
use comfy_table::Cell;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Numbers of threads [default: 1 and all physical cores]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    threads: Vec<usize>,
    #[command(flatten)]
    cpus: Cpus,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let topology = args.cpus.topology()?;
    let threads = select::threads(&args.threads, &topology)?;
    let most = threads.iter().copied().max().unwrap_or(1);
    let mut disturbances = Disturbances::begin(&topology, most, None);
    let (_, calibration) = pools(&topology, &threads)?;
    let noise = line_above(&disturbances.facts("calibration", &calibration), args.json);
    if args.json {
        print_json(&calibration.peaks)?;
        return print_json(&calibration.bandwidths);
    }
    let machine = fingerprint::fingerprint(&topology);
    let name = machine.cpu_model.as_deref().unwrap_or(&machine.arch);
    print(&format!(
        "{name}, {} physical cores\n{noise}\n{}",
        machine.physical_cores,
        show(&calibration)
    ))
}

/// A pool for each number of threads, and the ceilings on them.
pub(super) fn pools(topology: &Topology, threads: &[usize]) -> Result<(Vec<Workers>, Calibration)> {
    let pools = threads.iter().map(|&n| Workers::new(topology, n));
    let pools = pools.collect::<Result<Vec<_>>>()?;
    let calibration = measure(topology, &pools.iter().collect::<Vec<_>>())?;
    Ok((pools, calibration))
}

/// Measures the ceilings with a progress bar.
pub(super) fn measure(topology: &Topology, pools: &[&Workers]) -> Result<Calibration> {
    let bar = Bar::new(0, "calibrate");
    let result = calibration::calibrate(topology, pools, |what| bar.say(what));
    bar.finish();
    result
}

fn show(calibration: &Calibration) -> String {
    let mut peaks = table(&["isa", "threads", "peak GFLOP/s", "spread"]);
    for p in &calibration.peaks {
        peaks.add_row(vec![
            Cell::new(&p.isa),
            right(p.threads.to_string()),
            right(format!("{:.1}", p.gflops)),
            right(format!("{:.1} %", 100.0 * p.spread)),
        ]);
    }
    let mut memory = table(&[
        "level",
        "loop",
        "isa",
        "threads",
        "set a thread",
        "GB/s",
        "spread",
    ]);
    for b in &calibration.bandwidths {
        memory.add_row(vec![
            Cell::new(b.level.name()),
            Cell::new(&b.op),
            Cell::new(&b.isa),
            right(b.threads.to_string()),
            right(bytes(b.working_set_bytes as f64)),
            right(format!("{:.1}", b.gbps)),
            right(format!("{:.1} %", 100.0 * b.spread)),
        ]);
    }
    let notes: String = calibration
        .notes
        .iter()
        .map(|n| format!("Note: {n}.\n"))
        .collect();
    format!("{peaks}\n\n{memory}\n{notes}")
}
