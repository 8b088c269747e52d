//! Layers beside their pairs of lower rank: errors against the layer in f64, and times with the best kernels.

use super::{Factors, Form};
use crate::claims::{Lab, compute};
use crate::interrupt::Stopped;
use crate::machine::pool::Workers;
use crate::progress::Steps;
use crate::record::{CandidateId, Text};
use anyhow::{Result, bail};
use convroof_kernels::Problem;
use convroof_kernels::conformance::Deviation;
use convroof_kernels::data::{Fill, Rng};
use convroof_kernels::problem::Op;
use convroof_kernels::reference::{self, Operands};
use serde::Serialize;

/// Default layers of a session: the 3x3 layers of ResNet-50 at 56, 28 and 14 pixels.
pub const LAYERS: [&str; 3] = [
    "mb1ic64ih56oc64oh56kh3ph1",
    "mb1ic128ih28oc128oh28kh3ph1",
    "mb1ic256ih14oc256oh14kh3ph1",
];

/// Label of weights that come from no file.
pub const SEEDED: &str = "seeded";

/// A convolution and its operands.
#[derive(Clone)]
pub struct Convolution {
    /// The convolution.
    pub problem: Problem,
    /// Weights, c_out x c_in x kh x kw.
    pub weights: Vec<f32>,
    src: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

/// A layer and the factors of its weights.
pub struct Decomposed {
    layer: Convolution,
    factors: Vec<(Form, Factors)>,
}

/// A rank of a form of a layer. For the layer itself, `form` is the algorithm that computes it. Times in nanoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Approximation {
    /// The layer.
    pub problem: Text<Problem>,
    /// `seeded`, or the file of the weights.
    pub weights: String,
    /// `channel`, `spatial`, or an algorithm.
    pub form: String,
    /// The rank; none for the layer itself.
    pub rank: Option<usize>,
    /// The rank that loses nothing; none for the layer itself.
    pub full_rank: Option<usize>,
    /// Kept fraction of the sum of squared singular values.
    pub energy: f64,
    /// L2 norm of the error against the full layer in f64, over that of its output.
    pub error_l2: f64,
    /// max |error| against the full layer in f64, over its largest output.
    pub error_max: f64,
    /// Time of both convolutions.
    pub ns: f64,
    /// Speedup over direct convolution: its time over this one.
    pub speedup: f64,
    /// The kernels, in order.
    pub kernels: Vec<CandidateId>,
}

impl Convolution {
    /// A convolution with seeded operands.
    ///
    /// # Errors
    /// When the problem is no convolution.
    pub fn seeded(problem: &Problem) -> Result<Convolution> {
        let Op::Conv(conv) = &problem.op else {
            bail!("'{problem}' is no convolution");
        };
        let mut rng = Rng::new(1);
        let mut fill = |dims: [usize; 4], wanted: bool| match wanted {
            true => rng.vec(Fill::Uniform, dims.iter().product()),
            false => Vec::new(),
        };
        let (dst, epilogue) = (problem.dst_dims(), problem.epilogue);
        let src = fill(problem.src_dims(), true);
        let mut weights = fill(problem.weights_dims().unwrap_or_default(), true);
        let scale = (6.0 / conv.reduction_len() as f32).sqrt();
        weights.iter_mut().for_each(|w| *w *= scale);
        Ok(Convolution {
            problem: *problem,
            weights,
            src,
            bias: fill([1, dst[1], 1, 1], epilogue.bias),
            residual: fill(dst, epilogue.residual),
        })
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

impl Decomposed {
    /// Decomposes a layer's weights in each form.
    ///
    /// # Errors
    /// When the weights have no factors, or a rank is out of range.
    pub fn new(layer: Convolution, ranks: &[usize]) -> Result<Decomposed> {
        let mut factors = Vec::new();
        for form in Form::ALL {
            let own = Factors::new(&layer.problem, &layer.weights, form)?;
            for &rank in ranks {
                own.pair(rank)?;
            }
            factors.push((form, own));
        }
        Ok(Decomposed { layer, factors })
    }

    /// Forms of the layer.
    pub fn forms(&self) -> usize {
        self.factors.len()
    }
}

/// Measures some ranks of each layer and form. If `ranks` is empty, these are 1/8, 1/4, 1/2 and 3/4 of the full rank.
/// `weights` is the label of all weights. After a signal it returns the lines that are done.
///
/// # Errors
/// When a kernel is wrong, or there is no memory.
pub fn measure(
    cases: &[Decomposed],
    ranks: &[usize],
    weights: &str,
    (lab, workers): (&mut Lab<'_>, &Workers),
    progress: &mut dyn Steps,
) -> Result<Vec<Approximation>> {
    let mut lines = Vec::new();
    for case in cases {
        for (form, factors) in &case.factors {
            progress.begin(&format!("{} form of {}", form.name(), case.layer.problem));
            let own = case.measure(*form, factors, ranks, weights, (lab, workers), &mut lines);
            match own {
                Err(error) if error.is::<Stopped>() => return Ok(lines),
                other => other?,
            }
            progress.end();
        }
    }
    Ok(lines)
}

impl Decomposed {
    fn measure(
        &self,
        form: Form,
        factors: &Factors,
        ranks: &[usize],
        weights: &str,
        (lab, workers): (&mut Lab<'_>, &Workers),
        lines: &mut Vec<Approximation>,
    ) -> Result<()> {
        let Convolution { problem, .. } = &self.layer;
        let x = self.layer.operands();
        let whole = workers.install(|exec| reference::compute(problem, x, exec));
        let direct = lab.by("direct", &problem.to_string())?;
        let line = |form: &str, rank: Option<usize>, energy, output: &[f32], ns: f64, kernels| {
            let Deviation { max, l2, .. } = Deviation::between(output, &whole);
            Approximation {
                problem: Text::of(*problem),
                weights: weights.into(),
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
        if form == Form::Channel {
            // The layer itself is the baseline.
            let best = lab.best(&problem.to_string())?;
            for timed in [&direct, &best] {
                let id = timed.variant.algorithm();
                let output = compute(id, problem, x)?;
                let kernels = vec![timed.variant.clone()];
                lines.push(line(id, None, 1.0, &output, timed.ns, kernels));
            }
        }
        let full = factors.full_rank();
        let ranks = match ranks {
            [] => &[
                full.div_ceil(8),
                full.div_ceil(4),
                full.div_ceil(2),
                full * 3 / 4,
            ],
            given => given,
        };
        for &rank in ranks {
            let pair = factors.pair(rank)?;
            let mut src = self.layer.src.clone();
            let (mut ns, mut kernels) = (0.0, Vec::new());
            for (i, (own, weights)) in pair.problems.iter().zip(&pair.weights).enumerate() {
                let timed = lab.best(&own.to_string())?;
                let x = Operands {
                    src: &src[..],
                    weights,
                    bias: if i == 1 { x.bias } else { &[] },
                    residual: if i == 1 { x.residual } else { &[] },
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
        Ok(())
    }
}
