//! Claims about layers and blocks: operations are counted, times are those of the fastest kernel of each layer, compared
//! within rounds.

use super::answer::{Figure, Found, Holds, counted, estimated, measured};
use super::lab::{Lab, Steps, Timed};
use crate::interrupt::Stopped;
use crate::measure::turns::{ratios, sums};
use crate::networks;
use crate::roofline::Verdict;
use crate::stats::Estimate;
use anyhow::Result;
use convroof_kernels::Problem;
use convroof_kernels::problem::Op;

/// Number of weights and of multiply-accumulates of some layers.
fn weigh(problems: &[String]) -> Result<(f64, f64)> {
    let mut sum = (0.0, 0.0);
    for problem in problems {
        let problem: Problem = problem.parse()?;
        if let Op::Conv(conv) = &problem.op {
            sum.0 += problem.weights_dims().map_or(0, |d| d.iter().product()) as f64;
            sum.1 += conv.macs() as f64;
        }
    }
    Ok(sum)
}

/// Problem text of a square convolution with a ReLU, at batch 1.
fn conv(c_in: usize, c_out: usize, size: usize, kernel: usize) -> String {
    format!(
        "--dir=FWD_B --attr-post-ops=relu mb1ic{c_in}ih{size}oc{c_out}oh{size}kh{kernel}ph{}",
        kernel / 2
    )
}

/// The median of some samples, of which there are none after a signal.
fn estimate(samples: &[f64]) -> Result<Estimate, Stopped> {
    Estimate::of(samples).ok_or(Stopped)
}

/// Comparison of two alternatives: weights, multiply-accumulates and time of the first, divided by those of the second.
struct Versus {
    weights: f64,
    macs: f64,
    time: Estimate,
    evidence: Vec<Figure>,
}

impl Versus {
    /// Conditions of a claim that the first alternative needs less of everything.
    fn is_less(&self) -> [Option<bool>; 3] {
        let counted = [self.weights, self.macs].map(|ratio| Some(ratio < 1.0));
        [counted[0], counted[1], self.time.below(1.0)]
    }
}

fn versus(lab: &mut Lab<'_>, a: (&str, &[String]), b: (&str, &[String])) -> Result<Versus> {
    let problems = a.1.iter().chain(b.1);
    let best: Vec<Timed> = problems.map(|p| lab.best(p)).collect::<Result<_>>()?;
    let samples = lab.together(&best)?;
    let (of_a, of_b) = samples.split_at(a.1.len());
    let times = [sums(of_a), sums(of_b)];
    let mut evidence = Vec::new();
    let mut figures = Vec::new();
    for ((name, problems), ns) in [a, b].iter().zip(&times) {
        let (weights, macs) = weigh(problems)?;
        evidence.push(counted(format!("{name}: weights"), weights, ""));
        evidence.push(counted(
            format!("{name}: multiply-accumulates"),
            macs / 1e6,
            "10^6",
        ));
        let what = format!("{name}: time, best kernels");
        evidence.push(estimated(what, &estimate(ns)?, 1e-3, "us"));
        figures.push([weights, macs]);
    }
    let time = estimate(&ratios(&times[0], &times[1]))?;
    let what = format!("{} over {}: time", a.0, b.0);
    evidence.push(estimated(what, &time, 1.0, "times"));
    let [weights, macs] = [0, 1].map(|i| figures[0][i] / figures[1][i]);
    Ok(Versus {
        weights,
        macs,
        time,
        evidence,
    })
}

pub(super) fn bottleneck_of_nin(lab: &mut Lab<'_>) -> Result<Found> {
    let mut evidence = Vec::new();
    let (mut holds, mut sentences) = (Vec::new(), Vec::new());
    for (name, claimed) in [
        ("nin", Some(["cccp5", "cccp6", "conv4"])),
        // d2l's layers have other names: take the stage of 384 channels, and the last 3x3.
        ("nin-d2l", None),
    ] {
        let network = networks::find(name)?;
        let of_claim = |layer: &str| -> bool {
            if let Some(claimed) = claimed {
                return claimed.contains(&layer);
            }
            let Some(Op::Conv(conv)) = network.layer(layer).map(|l| &l.problem.op) else {
                return false;
            };
            let last = network
                .layers
                .iter()
                .rfind(|l| matches!(&l.problem.op, Op::Conv(c) if c.kernel == [3, 3]));
            conv.kernel == [1, 1] && conv.c_in == 384 || last.is_some_and(|l| l.name == layer)
        };
        let steps = lab.network(name)?;
        let Steps { graph, rows, .. } = &steps;
        let total = graph.network.macs() as f64;
        let mut most = (String::new(), 0.0);
        let mut slowest = (String::new(), 0.0);
        for row in rows {
            let Some(layer) = &row.layer else { continue };
            let macs = graph.network.layer(layer).map_or(0, |l| l.macs()) as f64 / total;
            if macs > most.1 {
                most = (layer.clone(), macs);
            }
            if row.share > slowest.1 {
                slowest = (layer.clone(), row.share);
            }
            if of_claim(layer) || macs > 0.2 {
                evidence.push(counted(
                    format!("{name}/{layer}: of the work"),
                    100.0 * macs,
                    "%",
                ));
                evidence.push(measured(
                    format!("{name}/{layer}: of the time"),
                    100.0 * row.share,
                    "%",
                ));
            }
        }
        let slower = slowest_over_others(&steps, of_claim)?;
        evidence.push(estimated(
            format!("{name}: slowest of the claimed layers over the slowest of the others"),
            &slower,
            1.0,
            "times",
        ));
        holds.extend([Some(of_claim(&most.0)), slower.above(1.0)]);
        sentences.push(format!(
            "in {name} {} has {:.0} % of the work, and {} takes {:.0} % of the time",
            most.0,
            100.0 * most.1,
            slowest.0,
            100.0 * slowest.1
        ));
    }
    Ok((Holds::of(&holds), sentences.join("; "), evidence))
}

/// Time of the slowest of some layers over that of the slowest other step, in each run.
fn slowest_over_others(
    steps: &Steps,
    of_claim: impl Fn(&str) -> bool,
) -> Result<Estimate, Stopped> {
    let claimed = |i: &usize| steps.rows[*i].layer.as_deref().is_some_and(&of_claim);
    let slowest = |own: &[usize]| -> Vec<f64> {
        let runs = steps.samples.iter().map(Vec::len).min().unwrap_or(0);
        let most = |run: usize| {
            own.iter()
                .map(|&i| steps.samples[i][run])
                .fold(0.0, f64::max)
        };
        (0..runs).map(most).collect()
    };
    let (own, others): (Vec<usize>, Vec<usize>) = (0..steps.rows.len()).partition(claimed);
    estimate(&ratios(&slowest(&own), &slowest(&others)))
}

pub(super) fn one_by_one(lab: &mut Lab<'_>) -> Result<Found> {
    /// Least fraction of the peak that counts as high.
    const HIGH: f64 = 0.8;
    let mut evidence = Vec::new();
    let mut efficient = Vec::new();
    let mut least: Option<usize> = None;
    for (c, sizes) in [
        (256, &[56, 28, 14, 7, 4, 2, 1][..]),
        (1024, &[14, 7, 1][..]),
    ] {
        for &size in sizes {
            let timed = lab.best(&conv(c, c, size, 1))?;
            let name = format!("1x1 {c}-{c} @{size}");
            evidence.push(estimated(
                format!("{name}: of the peak"),
                &timed.of_peak,
                100.0,
                "%",
            ));
            evidence.push(counted(
                format!("{name}: intensity"),
                timed.intensity,
                "flop/byte",
            ));
            let high = timed.of_peak.above(HIGH);
            efficient.push(high);
            if c == 256 && high == Some(true) {
                least = Some(size);
            }
            if size == 1 && timed.verdict == Verdict::Compute {
                evidence.push(measured(format!("{name}: compute bound"), 1.0, ""));
            }
        }
    }
    let answer = match least {
        Some(size) => format!(
            "above {:.0} % of the FMA peak on maps of {size} x {size} pixels and more at 256 channels; each weight is used once a pixel, so with fewer pixels the weights' way from the caches takes the time, and on one pixel it is a fully connected layer",
            100.0 * HIGH
        ),
        None => format!("nowhere above {:.0} % of the FMA peak", 100.0 * HIGH),
    };
    Ok((Holds::of(&efficient), answer, evidence))
}

pub(super) fn fully_connected(lab: &mut Lab<'_>) -> Result<Found> {
    let vgg = networks::find("vgg16")?.parameters() as f64;
    let (first, replaced) = (512.0 * 49.0 * 4096.0, 512.0 * 4096.0);
    let fc = lab.best("--dir=FWD_B --attr-post-ops=relu mb1ic512ih7oc4096oh1kh7ph0")?;
    let pool = lab.best("--pool --alg=avg_np mb1ic512ih7oh1kh7ph0")?;
    let small = lab.best("--dir=FWD_B --attr-post-ops=relu mb1ic512ih1oc4096oh1kh1ph0")?;
    let bound = match fc.verdict {
        Verdict::Dram | Verdict::L3 | Verdict::L2 => Some(true),
        Verdict::Undecided => None,
        _ => Some(false),
    };
    let samples = lab.together(&[fc.clone(), pool, small])?;
    let [fc_ns, pool_ns, small_ns] = [0, 1, 2].map(|i| estimate(&samples[i]));
    let longer = estimate(&ratios(&samples[0], &sums(&samples[1..])))?;
    let removed = (first - replaced) / vgg;
    let dram = lab.dram_gbps;
    let evidence = vec![
        counted("vgg16: parameters", vgg, ""),
        counted("its first fully connected layer: weights", first, ""),
        counted(
            "global average pooling and a layer 512-4096: weights",
            replaced,
            "",
        ),
        counted("of all parameters removed", 100.0 * removed, "%"),
        counted("fully connected: intensity", fc.intensity, "flop/byte"),
        estimated("fully connected 25088-4096: time", &fc_ns?, 1e-3, "us"),
        measured("fully connected 25088-4096: bandwidth", fc.gbps, "GB/s"),
        measured("memory reads", dram, "GB/s"),
        estimated("global average pooling: time", &pool_ns?, 1e-3, "us"),
        estimated("fully connected 512-4096: time", &small_ns?, 1e-3, "us"),
        estimated("the first over the two others: time", &longer, 1.0, "times"),
    ];
    let answer = format!(
        "it removes {:.0} % of VGG-16's parameters; the layer reads its weights at {:.0} GB/s, where memory gives {dram:.0} ({}), and takes {:.0} times as long as the pooling and a layer 512-4096",
        100.0 * removed,
        fc.gbps,
        fc.verdict,
        longer.median
    );
    Ok((Holds::of(&[Some(removed > 0.5), bound]), answer, evidence))
}

pub(super) fn bottleneck_block(lab: &mut Lab<'_>) -> Result<Found> {
    let (mut evidence, mut holds, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for (c, size) in [(256, 56), (1024, 14)] {
        let inner = c / 4;
        let bottleneck = [
            conv(c, inner, size, 1),
            conv(inner, inner, size, 3),
            conv(inner, c, size, 1),
        ];
        let plain = [conv(c, c, size, 3), conv(c, c, size, 3)];
        let names = [
            format!("bottleneck {c}-{inner}-{c} @{size}"),
            format!("two 3x3 {c} @{size}"),
        ];
        let v = versus(lab, (&names[0], &bottleneck), (&names[1], &plain))?;
        holds.extend(v.is_less());
        parts.push(format!(
            "at {c} channels {:.0} times fewer weights and multiplications, {:.1} times less time beside the best kernels for 3x3 (Winograd's need fewer multiplications)",
            1.0 / v.weights,
            1.0 / v.time.median
        ));
        evidence.extend(v.evidence);
    }
    let answer = parts.join("; ");
    Ok((Holds::of(&holds), answer, evidence))
}

pub(super) fn stacked(lab: &mut Lab<'_>) -> Result<Found> {
    let (mut evidence, mut holds, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    let (c, size) = (128, 28);
    for (count, kernel) in [(2, 5), (3, 7)] {
        let stack = vec![conv(c, c, size, 3); count];
        let names = [format!("{count} of 3x3"), format!("one {kernel}x{kernel}")];
        let v = versus(
            lab,
            (&names[0], &stack),
            (&names[1], &[conv(c, c, size, kernel)]),
        )?;
        holds.push(Some(v.weights < 1.0));
        parts.push(format!(
            "{count} of 3x3 have {:.0} % of the weights of one {kernel}x{kernel} and take {:.0} % of its time",
            100.0 * v.weights,
            100.0 * v.time.median
        ));
        evidence.extend(v.evidence);
    }
    Ok((Holds::of(&holds), parts.join("; "), evidence))
}

pub(super) fn stride(lab: &mut Lab<'_>) -> Result<Found> {
    let problem = |stride: usize| {
        format!(
            "--dir=FWD_B --attr-post-ops=relu mb1ic64ih56oc64oh{}kh3sh{stride}ph1",
            (56 - 1) / stride + 1
        )
    };
    let (mut kernels, mut evidence) = (Vec::new(), Vec::new());
    for stride in [1, 2, 4] {
        let pixels = ((56 - 1) / stride + 1usize).pow(2) as f64;
        let name = format!("stride {stride}: output pixels");
        evidence.push(counted(name, pixels, ""));
        let direct = lab.by("direct", &problem(stride))?;
        kernels.push((format!("stride {stride}: time, direct"), direct));
        let best = lab.best(&problem(stride))?;
        kernels.push((format!("stride {stride}: time, {}", best.id()), best));
    }
    let timed: Vec<Timed> = kernels.iter().map(|(_, timed)| timed.clone()).collect();
    let samples = lab.together(&timed)?;
    for ((name, _), ns) in kernels.iter().zip(&samples) {
        evidence.push(estimated(name, &estimate(ns)?, 1e-3, "us"));
    }
    // How much less time a stride takes than stride 1, by direct convolution and by the best kernels.
    let less = |at: usize| estimate(&ratios(&samples[at % 2], &samples[at]));
    let (direct, best) = ([less(2)?, less(4)?], [less(3)?, less(5)?]);
    let quadratic = |ratio: &Estimate, wanted: f64| ratio.above(0.75 * wanted);
    let holds = [
        quadratic(&direct[0], 4.0),
        quadratic(&direct[1], 16.0),
        quadratic(&best[0], 4.0),
    ];
    for (name, [two, four]) in [("direct", &direct), ("best kernels", &best)] {
        let what = |stride: usize| format!("{name}: time at stride 1 over stride {stride}");
        evidence.push(estimated(what(2), two, 1.0, "times"));
        evidence.push(estimated(what(4), four, 1.0, "times"));
    }
    let answer = format!(
        "the map shrinks 4 and 16 times; direct convolution takes {:.1} and {:.1} times less time, but the best kernels only {:.1} and {:.1} times less, since at stride 1 Winograd saves more",
        direct[0].median, direct[1].median, best[0].median, best[1].median
    );
    Ok((Holds::of(&holds), answer, evidence))
}

pub(super) fn poolings(lab: &mut Lab<'_>) -> Result<Found> {
    /// Ratio above which a pooling counts as more expensive.
    const CHEAPER: f64 = 1.05;
    const LAYERS: [(&str, &str); 3] = [
        ("3x3 s2, 64 @112", "mb1ic64ih112oh56kh3sh2ph1"),
        ("3x3 s2, 256 @27", "mb1ic256ih27oh13kh3sh2ph0"),
        ("2x2 s2, 512 @28", "mb1ic512ih28oh14kh2sh2ph0"),
    ];
    let mut kernels = Vec::new();
    for (_, sizes) in LAYERS {
        kernels.push(lab.by("maxpool", &format!("--pool --alg=max {sizes}"))?);
        kernels.push(lab.by("avgpool", &format!("--pool --alg=avg_np {sizes}"))?);
    }
    let samples = lab.together(&kernels)?;
    let (mut evidence, mut cheaper, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (name, _)) in LAYERS.iter().enumerate() {
        let (max, avg) = (&samples[2 * i], &samples[2 * i + 1]);
        let ratio = estimate(&ratios(avg, max))?;
        for (what, ns) in [("max", max), ("average", avg)] {
            let what = format!("{name}: {what}");
            evidence.push(estimated(what, &estimate(ns)?, 1e-3, "us"));
        }
        evidence.push(estimated(
            format!("{name}: average over max, time"),
            &ratio,
            1.0,
            "times",
        ));
        let what = format!("{name}: max, bandwidth");
        evidence.push(measured(what, kernels[2 * i].gbps, "GB/s"));
        cheaper.push(ratio.above(CHEAPER));
        text.push(format!("{:.2}", ratio.median));
    }
    let answer = format!(
        "average pooling takes {} times the time of max pooling on the same layers: both compare or add each element once, and what takes the time is to read them",
        text.join(", ")
    );
    Ok((Holds::of(&cheaper), answer, evidence))
}

pub(super) fn inception(lab: &mut Lab<'_>) -> Result<Found> {
    let network = networks::find("googlenet")?;
    let branches = network
        .branches("inception_3a")
        .map(|i| &network.layers[i].problem);
    let with: Vec<String> = branches
        .filter(|problem| matches!(problem.op, Op::Conv(_)))
        .map(|problem| problem.to_string())
        .collect();
    // The pooled branch without its projection passes all 192 channels on.
    let without = [
        conv(192, 64, 28, 1),
        conv(192, 128, 28, 3),
        conv(192, 32, 28, 5),
    ];
    let v = versus(lab, ("3a with reductions", &with), ("3a without", &without))?;
    let answer = format!(
        "with them block 3a has {:.0} % of the weights and {:.0} % of the multiplications, and takes {:.0} % of the time; it also hands on 256 channels in place of 416",
        100.0 * v.weights,
        100.0 * v.macs,
        100.0 * v.time.median
    );
    Ok((Holds::of(&v.is_less()), answer, v.evidence))
}
