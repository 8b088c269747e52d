//! `convroof exec`: one variant on NumPy arrays.

use super::noise::{Disturbances, line_above};
use super::one;
use super::output::{print, written};
use super::select::{self, Cpus};
use crate::files;
use crate::measure::once::Once;
use crate::npy::{self, read};
use crate::record::Calibration;
use crate::units::time;
use anyhow::Result;
use convroof_kernels::reference::Operands;
use convroof_kernels::{Problem, Registry};
use std::path::PathBuf;

/// Arrays are f32: activations n x c x h x w, weights c_out x c_in/groups x kh x kw, bias c_out.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The variant: <algorithm>/<isa>/<st|mt>
    #[arg(long, value_name = "ID")]
    variant: String,
    /// The layer in benchdnn's format; --bias and --residual add to its epilogue
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    problem: String,
    /// Source array
    #[arg(long, value_name = "FILE")]
    src: PathBuf,
    /// Weights of a convolution, or gamma, beta, means and variances of a batch normalisation
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Bias array
    #[arg(long, value_name = "FILE")]
    bias: Option<PathBuf>,
    /// Array that is added to the output
    #[arg(long, value_name = "FILE")]
    residual: Option<PathBuf>,
    /// Output file
    #[arg(long, value_name = "FILE")]
    dst: PathBuf,
    /// Threads of a multi-threaded variant [default: all physical cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    cpus: Cpus,
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let variant = select::variant(registry, &args.variant)?;
    let mut problem: Problem = args.problem.parse()?;
    problem.epilogue.bias |= args.bias.is_some();
    problem.epilogue.residual |= args.residual.is_some();
    let topology = args.cpus.topology()?;
    let threads = one::threads(&variant, args.threads, &topology)?;
    let once = Once::new(&variant, &problem, &topology, threads)?;
    let dst = problem.dst_dims();
    let src = read("--src", Some(&args.src), Some(&problem.src_dims()))?;
    let weights = read(
        "--weights",
        args.weights.as_deref(),
        problem.weights_dims().as_ref().map(|d| &d[..]),
    )?;
    let bias = read(
        "--bias",
        args.bias.as_deref(),
        (problem.biases() > 0).then_some(&[problem.biases()][..]),
    )?;
    let residual = read(
        "--residual",
        args.residual.as_deref(),
        problem.epilogue.residual.then_some(&dst[..]),
    )?;
    let operands = Operands {
        src: &src,
        weights: &weights,
        bias: &bias,
        residual: &residual,
        ..Operands::default()
    };

    files::check(&args.dst)?;
    // A single run is not worth waiting for a quiet moment.
    let mut disturbances = Disturbances::begin(&topology, threads, Some(0.0));
    let (output, took) = once.run(operands)?;
    let noise = line_above(&disturbances.facts("exec", &Calibration::default()), false);
    npy::write(&args.dst, &output, &dst)?;
    let shape = dst.map(|d| d.to_string()).join(" x ");
    let line = format!(
        "{noise}{}: {shape}, by {} in {} (one cold run)\n",
        args.dst.display(),
        variant.id(),
        time(took.as_nanos() as f64)
    );
    if files::is_stream(&args.dst) {
        // The array may be on standard output, so the line goes to standard error.
        written(line.trim_end());
        return Ok(());
    }
    print(&line)
}
