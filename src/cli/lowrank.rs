//! `convroof lowrank`

use super::bench::check_budget;
use super::output::{print, print_json};
use super::progress::{Bar, stop_flag};
use super::select::Cpus;
use super::{calibrate, npy};
use crate::claims::{Lab, compute};
use crate::interrupt::Stopped;
use crate::lowrank::{Factors, Form};
use crate::machine::{fingerprint, pool::Workers};
use crate::record::CandidateId;
use crate::report::terminal::{right, table};
use crate::roofline::time;
use anyhow::{Result, bail};
use comfy_table::Cell;
use convroof_kernels::data::{Fill, Rng};
use convroof_kernels::instance::Deviation;
use convroof_kernels::problem::Op;
use convroof_kernels::reference::{self, Operands};
use convroof_kernels::{Isa, Problem, Registry};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Seeded weights are random, and have no low rank: their errors are the worst there is. Trained ones are read from a
/// file.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A convolution, as benchdnn writes it (repeatable) [default: the 3x3 layers of ResNet-50 at 56, 28 and 14]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    problem: Vec<String>,
    /// Its weights: c_out x c_in x kh x kw, float32, .npy
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Ranks [default: 1/8, 1/4, 1/2 and 3/4 of the full rank]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    ranks: Vec<usize>,
    /// Seconds of measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    budget: f64,
    #[command(flatten)]
    cpus: Cpus,
    /// One JSON object a rank
    #[arg(long)]
    json: bool,
}

/// A rank of a form of a layer; or the layer itself, whose form is `winograd` or `direct`. Times in nanoseconds.
#[derive(Serialize)]
struct Line {
    problem: String,
    /// `seeded` or the file.
    weights: String,
    form: String,
    rank: Option<usize>,
    full_rank: Option<usize>,
    /// What is kept of the sum of squared singular values.
    energy: f64,
    /// Against the full layer in f64, of the output's norm and of its largest.
    error_l2: f64,
    error_max: f64,
    ns: f64,
    /// The time of direct convolution over this one.
    speedup: f64,
    kernels: Vec<CandidateId>,
}

/// A layer's operands.
#[derive(Clone)]
struct Data {
    src: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

impl Data {
    fn new(problem: &Problem) -> Data {
        let mut rng = Rng::new(1);
        let mut fill = |dims: [usize; 4], wanted: bool| match wanted {
            true => rng.vec(Fill::Uniform, dims.iter().product()),
            false => Vec::new(),
        };
        let (dst, epilogue) = (problem.dst_dims(), problem.epilogue);
        Data {
            src: fill(problem.src_dims(), true),
            weights: fill(problem.weights_dims().unwrap_or_default(), true),
            bias: fill([1, dst[1], 1, 1], epilogue.bias),
            residual: fill(dst, epilogue.residual),
        }
    }

    fn operands(&self) -> Operands<'_> {
        Operands {
            src: &self.src,
            weights: &self.weights,
            bias: &self.bias,
            residual: &self.residual,
        }
    }
}

pub(super) fn run(registry: &Registry, args: &Args) -> Result<()> {
    let stop = stop_flag();
    check_budget(Some(args.budget))?;
    let topology = args.cpus.topology()?;
    let mut problems: Vec<Problem> = Vec::new();
    for text in &args.problem {
        problems.push(text.parse()?);
    }
    if problems.is_empty() {
        for text in [
            "mb1ic64ih56oc64oh56kh3ph1",
            "mb1ic128ih28oc128oh28kh3ph1",
            "mb1ic256ih14oc256oh14kh3ph1",
        ] {
            problems.push(text.parse()?);
        }
    }
    if args.weights.is_some() && problems.len() != 1 {
        bail!("--weights is of one layer: give one --problem");
    }
    let mut factors = Vec::new();
    for problem in &problems {
        crate::measure::refuse_huge(problem)?;
        let Op::Conv(conv) = &problem.op else {
            bail!("'{problem}' is no convolution");
        };
        let mut data = Data::new(problem);
        if args.weights.is_some() {
            let dims = problem.weights_dims();
            let path = args.weights.as_deref();
            data.weights = npy::read("--weights", path, dims.as_ref().map(|d| &d[..]))?;
        } else {
            let scale = (6.0 / conv.reduction_len() as f32).sqrt();
            data.weights.iter_mut().for_each(|w| *w *= scale);
        }
        for form in Form::ALL {
            let own = Factors::new(problem, &data.weights, form)?;
            for &rank in &args.ranks {
                own.pair(rank)?;
            }
            factors.push((problem, data.clone(), form, own));
        }
    }
    let machine = fingerprint::fingerprint(&topology);
    let workers = Workers::new(&topology, 1)?;
    let calibration = calibrate::measure(&topology, &[&workers])?;
    let variants = registry.variants(&Isa::REAL);
    let budget = Duration::from_secs_f64(args.budget);
    let mut lab = Lab::new(&topology, &machine, &calibration, &variants, budget, stop)?;
    let bar = Bar::new(factors.len(), "lowrank");
    let mut lines = Vec::new();
    let weights = args
        .weights
        .as_ref()
        .map_or("seeded".into(), |p| p.display().to_string());
    let mut measure = || -> Result<()> {
        for (problem, data, form, factors) in &factors {
            bar.say(&format!("{} form of {problem}", form.name()));
            let whole = workers.install(|exec| reference::compute(problem, data.operands(), exec));
            let direct = lab.by("direct", &problem.to_string())?;
            let line =
                |form: &str, rank: Option<usize>, energy, output: &[f32], ns: f64, kernels| {
                    let Deviation { max, l2, .. } = Deviation::between(output, &whole);
                    Line {
                        problem: problem.to_string(),
                        weights: weights.clone(),
                        form: form.into(),
                        full_rank: rank.map(|_| factors.full_rank()),
                        rank,
                        energy,
                        error_l2: l2,
                        error_max: max,
                        ns,
                        speedup: direct.ns / ns,
                        kernels,
                    }
                };
            if *form == Form::Channel {
                // The layer itself, exactly as it is: what there is to beat.
                let best = lab.best(&problem.to_string())?;
                for timed in [&direct, &best] {
                    let id = timed.variant.algorithm();
                    let output = compute(id, problem, data.operands())?;
                    lines.push(line(
                        id,
                        None,
                        1.0,
                        &output,
                        timed.ns,
                        vec![timed.variant.clone()],
                    ));
                }
            }
            let full = factors.full_rank();
            let ranks = match &args.ranks[..] {
                [] => [
                    full.div_ceil(8),
                    full.div_ceil(4),
                    full.div_ceil(2),
                    full * 3 / 4,
                ]
                .to_vec(),
                given => given.to_vec(),
            };
            for rank in ranks {
                let pair = factors.pair(rank)?;
                let mut src = data.src.clone();
                let (mut ns, mut kernels) = (0.0, Vec::new());
                for (i, (own, weights)) in pair.problems.iter().zip(&pair.weights).enumerate() {
                    let timed = lab.best(&own.to_string())?;
                    let x = Operands {
                        src: &src[..],
                        weights,
                        bias: if i == 1 { &data.bias } else { &[] },
                        residual: if i == 1 { &data.residual } else { &[] },
                    };
                    src = compute(timed.variant.algorithm(), own, x)?;
                    ns += timed.ns;
                    kernels.push(timed.variant);
                }
                lines.push(line(
                    form.name(),
                    Some(rank),
                    pair.energy,
                    &src,
                    ns,
                    kernels,
                ));
            }
            bar.step();
        }
        Ok(())
    };
    match measure() {
        // What was measured is printed.
        Err(error) if error.is::<Stopped>() => {}
        other => other?,
    }
    bar.finish();
    if args.json {
        return print_json(&lines);
    }
    print(&text(&lines))
}

fn text(lines: &[Line]) -> String {
    let mut out = table(&[
        "layer",
        "form",
        "rank",
        "energy",
        "L2 error",
        "max error",
        "time",
        "x direct",
        "kernels",
    ]);
    let mut last = "";
    for l in lines {
        let shown = if l.problem == last { "" } else { &l.problem };
        last = &l.problem;
        let rank = match (l.rank, l.full_rank) {
            (Some(rank), Some(full)) => format!("{rank} of {full}"),
            _ => "all".into(),
        };
        let kernels: Vec<&str> = l.kernels.iter().map(CandidateId::as_str).collect();
        out.add_row(vec![
            Cell::new(shown),
            Cell::new(&l.form),
            right(rank),
            right(format!("{:.1} %", 100.0 * l.energy)),
            right(format!("{:.1e}", l.error_l2)),
            right(format!("{:.1e}", l.error_max)),
            right(time(l.ns)),
            right(format!("{:.2}", l.speedup)),
            Cell::new(kernels.join(", ")),
        ]);
    }
    let note = match lines.first() {
        Some(l) if l.weights == "seeded" => {
            "Weights are random here, and have no low rank: trained ones (--weights FILE.npy) keep more energy.\n"
        }
        _ => "",
    };
    format!("{out}\n{note}Winograd computes the layer itself, and loses nothing but rounding.\n")
}
