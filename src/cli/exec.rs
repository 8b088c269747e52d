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
use anyhow::{Result, bail};
use convroof_kernels::dtype::DType;
use convroof_kernels::problem::{Scale, WeightScale};
use convroof_kernels::reference::Operands;
use convroof_kernels::{Problem, Registry};
use std::path::{Path, PathBuf};

/// Arrays: activations n x c x h x w, weights c_out x c_in/groups x kh x kw, bias and scales c_out.
///
/// Source, weights, residual and output have the types of the layer, f32 without --dt. Bias and scales are f32. bf16 is
/// the bfloat16 of the Python package ml_dtypes, or its bits as uint16. The output in bf16 is
/// np.load(FILE).view(ml_dtypes.bfloat16).
#[derive(clap::Args)]
pub(super) struct Args {
    /// The variant: <algorithm>/<isa>/<st|mt>
    #[arg(long, value_name = "ID")]
    variant: String,
    /// The layer in benchdnn's format; --bias and --residual add to its epilogue, --scales to its scales
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
    /// Scales of the weights, one for each output channel, as wei:per_oc in --attr-scales
    #[arg(long, value_name = "FILE")]
    scales: Option<PathBuf>,
    /// Array that is added to the output; in the output's type, unless --attr-post-ops states another
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
    let problem = args.problem()?;
    let topology = args.cpus.topology()?;
    let threads = one::threads(&variant, args.threads, &topology)?;
    let once = Once::new(&variant, &problem, &topology, threads)?;
    let (dst, dtypes) = (problem.dst_dims(), problem.dtypes);
    let src = read(
        "--src",
        Some(&args.src),
        Some(&problem.src_dims()),
        dtypes.src,
    )?;
    let weights = read(
        "--weights",
        args.weights.as_deref(),
        problem.weights_dims().as_ref().map(|d| &d[..]),
        dtypes.weights,
    )?;
    let bias = channels("--bias", args.bias.as_deref(), problem.biases())?;
    let scales = channels("--scales", args.scales.as_deref(), problem.scales())?;
    check_scales(&scales)?;
    let residual = read(
        "--residual",
        args.residual.as_deref(),
        problem.epilogue.residual.then_some(&dst[..]),
        dtypes.residual,
    )?;
    let operands = Operands {
        src: &src,
        weights: &weights,
        bias: &bias,
        residual: &residual,
        scales: &scales,
    };

    files::check(&args.dst)?;
    // A single run is not worth waiting for a quiet moment.
    let mut disturbances = Disturbances::begin(&topology, threads, Some(0.0));
    let (output, took) = once.run(operands)?;
    let noise = line_above(&disturbances.facts("exec", &Calibration::default()), false);
    npy::write(&args.dst, &output, &dst, dtypes.dst)?;
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

impl Args {
    /// The layer, with the operands that only options name.
    ///
    /// # Errors
    /// When the text is no layer, or the layer can't have such an operand.
    fn problem(&self) -> Result<Problem> {
        let mut problem: Problem = self.problem.parse()?;
        problem.epilogue.bias |= self.bias.is_some();
        if self.residual.is_some() && !problem.epilogue.residual {
            problem.epilogue.residual = true;
            problem.dtypes.residual = problem.dtypes.dst;
        }
        if self.scales.is_some() {
            let weights = &mut problem.quantisation.weights;
            if let WeightScale::Common(scale) = *weights
                && scale != Scale::ONE
            {
                bail!(
                    "--scales is given, but all weights have the scale {scale}: write wei:per_oc in place of wei:common:{scale}, or omit --scales"
                );
            }
            *weights = WeightScale::PerChannel;
        }
        match problem.op.check_types(&problem.attributes()) {
            Ok(()) => Ok(problem),
            Err(why) => bail!("'{problem}' is impossible: {why}"),
        }
    }
}

/// An operand with one f32 for each of `channels` output channels; empty if there are none.
fn channels(flag: &str, path: Option<&Path>, channels: usize) -> Result<Vec<f32>> {
    let shape = [channels];
    read(flag, path, (channels > 0).then_some(&shape[..]), DType::F32)
}

/// Checks scales of weights.
fn check_scales(scales: &[f32]) -> Result<()> {
    let wrong = |&(_, &scale): &(usize, &f32)| Scale::new(scale).is_none();
    match scales.iter().enumerate().find(wrong) {
        None => Ok(()),
        Some((channel, scale)) => bail!(
            "--scales has {scale} for output channel {channel}: expected numbers from {:e} to {:e}",
            Scale::LEAST,
            Scale::MOST
        ),
    }
}
