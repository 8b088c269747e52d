//! Claims about numerical results, answered by small experiments with the kernels.

use super::answer::{Found, Holds, counted, estimated, measured};
use super::lab::Lab;
use super::lab::compute;
use anyhow::Result;
use convroof_kernels::conformance::Deviation;
use convroof_kernels::data::{Fill, Rng};
use convroof_kernels::reference::Operands;

pub(super) fn one_dimension(lab: &mut Lab<'_>) -> Result<Found> {
    let (c_in, c_out, len, taps) = (32, 48, 200, 5);
    let mut rng = Rng::new(1);
    let src = rng.vec(Fill::Uniform, c_in * len);
    let weights = rng.vec(Fill::Uniform, c_out * c_in * taps);
    // Reference: direct convolution along one axis.
    let mut series = vec![0.0f64; c_out * len];
    for (k, row) in series.chunks_exact_mut(len).enumerate() {
        for (t, y) in row.iter_mut().enumerate() {
            for c in 0..c_in {
                for s in 0..taps {
                    if let Some(at) = (t + s).checked_sub(taps / 2).filter(|&at| at < len) {
                        let w = weights[(k * c_in + c) * taps + s];
                        *y += f64::from(src[c * len + at]) * f64::from(w);
                    }
                }
            }
        }
    }
    let problem = format!(
        "mb1ic{c_in}ih1iw{len}oc{c_out}oh1ow{len}kh1kw{taps}ph0pw{}",
        taps / 2
    );
    let x = Operands {
        src: &src[..],
        weights: &weights,
        ..Operands::default()
    };
    let deviation = Deviation::between(&compute("direct", &problem.parse()?, x)?, &series);
    let timed = lab.by("direct", &problem)?;
    let same = deviation.max < 1e-5;
    let evidence = vec![
        measured(
            "1-D definition against the 2-D kernel: max error",
            deviation.max,
            "",
        ),
        estimated(
            "the same layer: of the FMA peak",
            &timed.of_peak,
            100.0,
            "%",
        ),
    ];
    let answer = format!(
        "the 2-D kernel on height 1 gives the 1-D sums to {:.0e} of the largest, at {:.0} % of the FMA peak",
        deviation.max,
        100.0 * timed.of_peak.median
    );
    Ok((Holds::of(&[Some(same)]), answer, evidence))
}

pub(super) fn l2_pooling(_: &mut Lab<'_>) -> Result<Found> {
    let sizes = "mb1ic16ih32oh16kh2sh2ph0";
    let mut rng = Rng::new(2);
    let src: Vec<f32> = rng
        .vec(Fill::Gaussian, 16 * 32 * 32)
        .iter()
        .map(|x| x.abs())
        .collect();
    let pool = |algorithm: &str, alg: &str| {
        let x = Operands {
            src: &src[..],
            ..Operands::default()
        };
        compute(
            algorithm,
            &format!("--pool --alg={alg} {sizes}").parse()?,
            x,
        )
    };
    let (max, avg) = (pool("maxpool", "max")?, pool("avgpool", "avg_np")?);
    let (mean, sum) = (pool("lppool", "lp2_mean")?, pool("lppool", "lp2")?);
    let between = |of: &[f32]| {
        let inside = of.iter().zip(&max).zip(&avg);
        let inside =
            inside.filter(|((y, max), avg)| **y <= **max * 1.000_001 && **y >= **avg * 0.999_999);
        inside.count() as f64 / of.len() as f64
    };
    let (mean_share, sum_share) = (between(&mean), between(&sum));
    let evidence = vec![
        measured(
            "windows of |x| where the mean form lies between",
            100.0 * mean_share,
            "%",
        ),
        measured(
            "windows of |x| where the sum form lies between",
            100.0 * sum_share,
            "%",
        ),
        measured(
            "sum form over mean form (the root of the window's 4 elements)",
            f64::from(sum[0] / mean[0]),
            "times",
        ),
    ];
    let answer = format!(
        "true of the mean form (root mean square) on |x|, in {:.0} % of windows; the sum form, which ONNX's LpPool has, is 2 times that on windows of 4 and lies between in {:.0} %, above the maximum elsewhere",
        100.0 * mean_share,
        100.0 * sum_share
    );
    Ok((
        Holds::of(&[Some(mean_share == 1.0), Some(sum_share == 1.0)]),
        answer,
        evidence,
    ))
}

fn operands<'a>(src: &'a [f32], weights: &'a [f32]) -> Operands<'a> {
    Operands {
        src,
        weights,
        ..Operands::default()
    }
}

pub(super) fn pixel_by_pixel(_: &mut Lab<'_>) -> Result<Found> {
    let (c_in, c_out, pixels) = (64, 48, 36);
    let mut rng = Rng::new(3);
    let src = rng.vec(Fill::Uniform, c_in * pixels);
    let weights = rng.vec(Fill::Uniform, c_out * c_in);
    let conv = compute(
        "gemm-1x1",
        &"mb1ic64ih6oc48oh6kh1ph0".parse()?,
        operands(&src, &weights),
    )?;
    let mut layers = vec![0.0f64; c_out * pixels];
    for pixel in 0..pixels {
        let column: Vec<f32> = (0..c_in).map(|c| src[c * pixels + pixel]).collect();
        let out = compute(
            "fc",
            &"mb1ic64ih1oc48oh1kh1ph0".parse()?,
            operands(&column, &weights),
        )?;
        for (k, y) in out.iter().enumerate() {
            layers[k * pixels + pixel] = f64::from(*y);
        }
    }
    let deviation = Deviation::between(&conv, &layers);
    let evidence = vec![measured(
        "1x1 convolution against a fully connected layer at each pixel: max error",
        deviation.max,
        "",
    )];
    let answer = format!(
        "the two kernels agree to {:.0e} of the largest output; only the speed differs, since the convolution uses each weight for every pixel",
        deviation.max
    );
    Ok((Holds::of(&[Some(deviation.max < 1e-5)]), answer, evidence))
}

/// Mean and (population) variance.
fn moments(x: &[f32]) -> (f64, f64) {
    let count = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let squares = x
        .iter()
        .map(|&x| (f64::from(x) - mean).powi(2))
        .sum::<f64>();
    (mean, squares / count)
}

/// Li et al. 2018, "Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift".
pub(super) fn dropout(_: &mut Lab<'_>) -> Result<Found> {
    const DROP: f64 = 0.5;
    let mut rng = Rng::new(4);
    let (channels, samples) = (64, 4096);
    let dropped = |rng: &mut Rng, x: f32| match rng.below(1000) < (1000.0 * DROP) as usize {
        true => 0.0,
        false => (f64::from(x) / (1.0 - DROP)) as f32,
    };
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for _ in 0..channels {
        let x: Vec<f32> = rng
            .vec(Fill::Gaussian, samples)
            .iter()
            .map(|x| x.max(0.0))
            .collect();
        let (mean, variance) = moments(&x);
        // Dropout before batch normalisation: the variance that it learns in training, over the one at inference.
        let training: Vec<f32> = x.iter().map(|&x| dropped(&mut rng, x)).collect();
        before.push(moments(&training).1 / variance);
        // Dropout after it: batch normalisation has the same input in both, and its output is dropped.
        let normal: Vec<f32> = x
            .iter()
            .map(|&x| ((f64::from(x) - mean) / variance.sqrt()) as f32)
            .collect();
        let training: Vec<f32> = normal.iter().map(|&x| dropped(&mut rng, x)).collect();
        behind.push(moments(&training).1 / moments(&normal).1);
    }
    let average = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let (shift, after) = (average(&before), average(&behind));
    let evidence = vec![
        counted("share of activations dropped", 100.0 * DROP, "%"),
        measured(
            "dropout before: variance in training over that at inference, as the normalisation sees it",
            shift,
            "times",
        ),
        measured(
            "dropout before: scale of what it puts out at inference",
            1.0 / shift.sqrt(),
            "times",
        ),
        measured(
            "dropout behind: the same ratio for its own input",
            1.0,
            "times",
        ),
        measured(
            "dropout behind: variance in training over that at inference, for the layer that follows",
            after,
            "times",
        ),
    ];
    let answer = format!(
        "with half dropped before it, the variance that batch normalisation learns is {shift:.1} times that at inference, so outputs shrink to {:.0} %; behind it its statistics are right, and only the layer that follows sees variances differ, by {after:.1}",
        100.0 / shift.sqrt()
    );
    Ok((Holds::of(&[Some(shift > 1.2)]), answer, evidence))
}
