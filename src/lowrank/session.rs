//! Layers beside their pairs of lower rank: errors against the layer in f64, and times with the best kernels. The layer
//! and all its pairs are measured in the same rounds.

use super::{Factors, Form};
use crate::claims::{Lab, Timed, Work, compute};
use crate::interrupt::Stopped;
use crate::machine::pool::Workers;
use crate::measure::turns::{ratios, sums};
use crate::progress::Steps;
use crate::record::{CandidateId, Text};
use crate::stats::Estimate;
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
    /// Median time of both convolutions.
    pub ns: f64,
    /// Speedup over direct convolution: its time over this one, the median over the rounds.
    pub speedup: f64,
    /// 95 % confidence interval of the speedup.
    pub speedup_ci: (f64, f64),
    /// Number of rounds.
    pub rounds: usize,
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
            ..Operands::default()
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
}

/// Measurements of some layers: each itself and both layers of each pair, in one comparison a layer.
pub fn work(cases: &[Decomposed], ranks: &[usize]) -> Work {
    let forms = cases.iter().flat_map(|case| &case.factors);
    let pairs = forms.map(|(_, factors)| wanted(ranks, factors).len());
    Work {
        layers: cases.len() + 2 * pairs.sum::<usize>(),
        comparisons: cases.len(),
    }
}

/// The ranks of a form: those that are given, or parts of the full rank.
fn wanted(ranks: &[usize], factors: &Factors) -> Vec<usize> {
    if !ranks.is_empty() {
        return ranks.into();
    }
    let full = factors.full_rank();
    let eighths = [1, 2, 4].map(|part: usize| (full * part).div_ceil(8));
    let mut parts = Vec::from(eighths);
    parts.push((full * 3 / 4).max(1));
    parts.dedup();
    parts
}

/// Measures some ranks of each layer and form. If `ranks` is empty, these are 1/8, 1/4, 1/2 and 3/4 of the full rank.
/// `weights` is the label of all weights. After a signal it returns the lines of the layers that are done.
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
        progress.begin(&case.layer.problem.to_string());
        match case.measure(ranks, weights, (lab, workers)) {
            Err(error) if error.is::<Stopped>() => return Ok(lines),
            own => lines.extend(own?),
        }
        progress.end();
    }
    Ok(lines)
}

/// A way to compute a layer: by itself, or by a pair.
struct Way {
    /// Algorithm or form.
    form: String,
    /// Rank and full rank of a pair.
    ranks: Option<(usize, usize)>,
    energy: f64,
    output: Vec<f32>,
    /// The kernels, in order.
    kernels: Vec<Timed>,
}

impl Decomposed {
    fn measure(
        &self,
        ranks: &[usize],
        weights: &str,
        (lab, workers): (&mut Lab<'_>, &Workers),
    ) -> Result<Vec<Approximation>> {
        let Convolution { problem, .. } = &self.layer;
        let x = self.layer.operands();
        let whole = workers.install(|exec| reference::compute(problem, x, exec));
        // The layer itself by direct convolution comes first: it is the baseline.
        let mut ways = self.whole(lab)?;
        for (form, factors) in &self.factors {
            for rank in wanted(ranks, factors) {
                ways.push(self.pair(*form, factors, rank, lab)?);
            }
        }
        let kernels = ways.iter().flat_map(|way| &way.kernels).cloned();
        let mut samples = lab.together(&kernels.collect::<Vec<_>>())?.into_iter();
        let times = ways.iter().map(|way| {
            let own: Vec<_> = samples.by_ref().take(way.kernels.len()).collect();
            sums(&own)
        });
        let times: Vec<Vec<f64>> = times.collect();
        let mut lines = Vec::new();
        for (way, ns) in ways.into_iter().zip(&times) {
            let time = Estimate::of(ns).ok_or(Stopped)?;
            let speedup = Estimate::of(&ratios(&times[0], ns)).ok_or(Stopped)?;
            let Deviation { max, l2, .. } = Deviation::between(&way.output, &whole);
            lines.push(Approximation {
                problem: Text::of(*problem),
                weights: weights.into(),
                form: way.form,
                rank: way.ranks.map(|(rank, _)| rank),
                full_rank: way.ranks.map(|(_, full)| full),
                energy: way.energy,
                error_l2: l2,
                error_max: max,
                ns: time.median,
                speedup: speedup.median,
                speedup_ci: speedup.ci,
                rounds: speedup.samples,
                kernels: way.kernels.iter().map(Timed::id).collect(),
            });
        }
        Ok(lines)
    }

    /// The layer itself, by direct convolution and by the fastest kernel.
    fn whole(&self, lab: &mut Lab<'_>) -> Result<Vec<Way>> {
        let problem = self.layer.problem.to_string();
        let kernels = [lab.by("direct", &problem)?, lab.best(&problem)?];
        let way = |timed: Timed| {
            let form = timed.id().algorithm().to_string();
            Ok(Way {
                output: compute(&form, &self.layer.problem, self.layer.operands())?,
                form,
                ranks: None,
                energy: 1.0,
                kernels: vec![timed],
            })
        };
        kernels.into_iter().map(way).collect()
    }

    /// The pair of a rank.
    fn pair(&self, form: Form, factors: &Factors, rank: usize, lab: &mut Lab<'_>) -> Result<Way> {
        let x = self.layer.operands();
        let pair = factors.pair(rank)?;
        let (mut src, mut kernels) = (self.layer.src.clone(), Vec::new());
        for (i, (own, weights)) in pair.problems.iter().zip(&pair.weights).enumerate() {
            let timed = lab.best(&own.to_string())?;
            let x = Operands {
                src: &src[..],
                weights,
                bias: if i == 1 { x.bias } else { &[] },
                residual: if i == 1 { x.residual } else { &[] },
                ..x
            };
            src = compute(timed.id().algorithm(), own, x)?;
            kernels.push(timed);
        }
        Ok(Way {
            form: form.name().into(),
            ranks: Some((rank, factors.full_rank())),
            energy: pair.energy,
            output: src,
            kernels,
        })
    }
}
