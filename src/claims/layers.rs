//! Claims about layers and blocks: operations are counted, times are those of the fastest kernel of each layer.

use super::answer::{Figure, Found, Holds, counted, measured};
use super::lab::Lab;
use crate::networks;
use crate::roofline::Verdict;
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

/// Comparison of two alternatives: weights, multiply-accumulates and time of the first, divided by those of the second.
struct Versus {
    weights: f64,
    macs: f64,
    ns: f64,
    evidence: Vec<Figure>,
}

fn versus(lab: &mut Lab<'_>, a: (&str, &[String]), b: (&str, &[String])) -> Result<Versus> {
    let mut evidence = Vec::new();
    let mut figures = Vec::new();
    for (name, problems) in [a, b] {
        let ((weights, macs), ns) = (weigh(problems)?, lab.sum(problems)?);
        evidence.push(counted(format!("{name}: weights"), weights, ""));
        evidence.push(counted(
            format!("{name}: multiply-accumulates"),
            macs / 1e6,
            "10^6",
        ));
        evidence.push(measured(
            format!("{name}: time, best kernels"),
            ns / 1e3,
            "us",
        ));
        figures.push([weights, macs, ns]);
    }
    let [weights, macs, ns] = [0, 1, 2].map(|i| figures[0][i] / figures[1][i]);
    Ok(Versus {
        weights,
        macs,
        ns,
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
        let (graph, rows, _) = lab.network(name)?;
        let total = graph.network.macs() as f64;
        let mut most = (String::new(), 0.0);
        let mut slowest = (String::new(), 0.0);
        for row in &rows {
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
        holds.extend([of_claim(&most.0), of_claim(&slowest.0)]);
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
            evidence.push(measured(
                format!("{name}: of the peak"),
                100.0 * timed.of_peak,
                "%",
            ));
            evidence.push(counted(
                format!("{name}: intensity"),
                timed.intensity,
                "flop/byte",
            ));
            efficient.push(timed.of_peak >= HIGH);
            if c == 256 && timed.of_peak >= HIGH {
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
    let bound = matches!(fc.verdict, Verdict::Dram | Verdict::L3 | Verdict::L2);
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
        measured("fully connected 25088-4096: time", fc.ns / 1e3, "us"),
        measured("fully connected 25088-4096: bandwidth", fc.gbps, "GB/s"),
        measured("memory reads", dram, "GB/s"),
        measured("global average pooling: time", pool.ns / 1e3, "us"),
        measured("fully connected 512-4096: time", small.ns / 1e3, "us"),
    ];
    let answer = format!(
        "it removes {:.0} % of VGG-16's parameters; the layer reads its weights at {:.0} GB/s, where memory gives {dram:.0} ({}), and takes {:.0} times as long as the pooling and a layer 512-4096",
        100.0 * removed,
        fc.gbps,
        fc.verdict,
        fc.ns / (pool.ns + small.ns)
    );
    Ok((Holds::of(&[removed > 0.5, bound]), answer, evidence))
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
        holds.extend([v.weights < 1.0, v.macs < 1.0, v.ns < 1.0]);
        parts.push(format!(
            "at {c} channels {:.0} times fewer weights and multiplications, {:.1} times less time beside the best kernels for 3x3 (Winograd's need fewer multiplications)",
            1.0 / v.weights,
            1.0 / v.ns
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
        holds.push(v.weights < 1.0);
        parts.push(format!(
            "{count} of 3x3 have {:.0} % of the weights of one {kernel}x{kernel} and take {:.0} % of its time",
            100.0 * v.weights,
            100.0 * v.ns
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
    let mut evidence = Vec::new();
    let (mut direct, mut best) = (Vec::new(), Vec::new());
    for stride in [1, 2, 4] {
        let (d, b) = (
            lab.by("direct", &problem(stride))?,
            lab.best(&problem(stride))?,
        );
        let pixels = ((56 - 1) / stride + 1usize).pow(2) as f64;
        evidence.push(counted(
            format!("stride {stride}: output pixels"),
            pixels,
            "",
        ));
        evidence.push(measured(
            format!("stride {stride}: time, direct"),
            d.ns / 1e3,
            "us",
        ));
        evidence.push(measured(
            format!("stride {stride}: time, {}", b.variant),
            b.ns / 1e3,
            "us",
        ));
        direct.push(d.ns);
        best.push(b.ns);
    }
    let quadratic = |ratio: f64, wanted: f64| ratio > 0.75 * wanted;
    let holds = [
        quadratic(direct[0] / direct[1], 4.0),
        quadratic(direct[0] / direct[2], 16.0),
        quadratic(best[0] / best[1], 4.0),
    ];
    let answer = format!(
        "the map shrinks 4 and 16 times; direct convolution takes {:.1} and {:.1} times less time, but the best kernels only {:.1} and {:.1} times less, since at stride 1 Winograd saves more",
        direct[0] / direct[1],
        direct[0] / direct[2],
        best[0] / best[1],
        best[0] / best[2]
    );
    Ok((Holds::of(&holds), answer, evidence))
}

pub(super) fn poolings(lab: &mut Lab<'_>) -> Result<Found> {
    let (mut evidence, mut cheaper, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for (name, sizes) in [
        ("3x3 s2, 64 @112", "mb1ic64ih112oh56kh3sh2ph1"),
        ("3x3 s2, 256 @27", "mb1ic256ih27oh13kh3sh2ph0"),
        ("2x2 s2, 512 @28", "mb1ic512ih28oh14kh2sh2ph0"),
    ] {
        let max = lab.by("maxpool", &format!("--pool --alg=max {sizes}"))?;
        let avg = lab.by("avgpool", &format!("--pool --alg=avg_np {sizes}"))?;
        evidence.push(measured(format!("{name}: max"), max.ns / 1e3, "us"));
        evidence.push(measured(format!("{name}: average"), avg.ns / 1e3, "us"));
        evidence.push(measured(
            format!("{name}: max, bandwidth"),
            max.gbps,
            "GB/s",
        ));
        // A smaller difference is within the noise of a shared machine.
        cheaper.push(max.ns < 0.95 * avg.ns);
        ratios.push(avg.ns / max.ns);
    }
    let text: Vec<String> = ratios.iter().map(|r| format!("{r:.2}")).collect();
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
        100.0 * v.ns
    );
    Ok((
        Holds::of(&[v.weights < 1.0, v.macs < 1.0, v.ns < 1.0]),
        answer,
        v.evidence,
    ))
}
