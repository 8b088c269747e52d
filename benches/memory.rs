//! `cargo bench --bench memory`: bandwidth of memory-bound layers, relative to plain loops.
//!
//! Each layer is interleaved with the plain loop of its traffic, on the same working set, threads and instruction
//! set. The loop is a read for fully connected layers, pooling and statistics, a copy for most others, and a triad
//! where two tensors are read. The bench prints the loop's time per byte divided by the layer's (quartiles over the
//! rounds), and both GB/s.
//!
//! Bytes are compulsory ones. Ordinary stores also read each line before they overwrite it. Neither side counts those
//! bytes, so a streaming store may exceed 1. An argument that is no flag selects names that contain it.

use convroof::machine::{Topology, pool::Workers};
use convroof::measure::chain::Chain;
use convroof::measure::stream::PlainLoop;
use convroof::measure::turns::{Loop, Turns, ratios};
use convroof::stats::quartiles;
use convroof_kernels::Isa;
use convroof_kernels::probe::Stream;
use std::time::Duration;

/// Interleaved group: layers with the algorithms that compute them, and the loop of their traffic.
struct Case {
    layers: Vec<(String, &'static str)>,
    stream: Stream,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |stream, layers: &[(&str, &'static str)]| {
        let layers = layers.iter().map(|(text, id)| (text.to_string(), *id));
        cases.push(Case {
            layers: layers.collect(),
            stream,
        });
    };
    for sizes in [
        "ic512oc1000",
        "ic2048oc1000",
        "ic4096oc4096",
        "ic512ih7oc4096",
    ] {
        case(Stream::Read, &[(&format!("--ip mb1{sizes}"), "fc")]);
    }
    // Maps of ResNet-50 whose output is in L2, L3 and memory.
    for (c, hw) in [(64, 28), (256, 56), (256, 224)] {
        let dims = format!("1x{c}x{hw}x{hw}");
        let maps = format!("mb1ic{c}ih{hw}");
        let mut both = |text: &str, [plain, stream]: [&'static str; 2], as_fast_as| {
            case(as_fast_as, &[(text, plain), (text, stream)]);
        };
        both(
            &format!("--eltwise --alg=linear {dims}"),
            ["copy", "copy-stream"],
            Stream::Copy,
        );
        both(
            &format!("--eltwise --alg=relu {dims}"),
            ["relu", "relu-stream"],
            Stream::Copy,
        );
        both(
            &format!("--binary --alg=add --attr-post-ops=relu {dims}:{dims}"),
            ["add", "add-stream"],
            Stream::Triad,
        );
        both(
            &format!("--binary --alg=add {dims}:1x{c}x1x1"),
            ["bias", "bias-stream"],
            Stream::Copy,
        );
        both(
            &format!("--bnorm --flags=GCH --attr-post-ops=relu {maps}"),
            ["batchnorm", "batchnorm-stream"],
            Stream::Copy,
        );
        both(
            &format!("--statistics {maps}"),
            ["statistics", "statistics-welford"],
            Stream::Read,
        );
    }
    // GoogLeNet's first concatenation and its second normalisation.
    let concat = "--concat --axis=1 1x64x28x28:1x128x28x28:1x32x28x28:1x32x28x28";
    let lrn = "--lrn mb1ic192ih56ls5alpha0.0001beta0.75k1";
    for (text, id) in [(concat, "concat"), (lrn, "lrn")] {
        case(Stream::Copy, &[(text, id)]);
    }
    // Poolings of ResNet and NiN in both layouts, interleaved with other reductions over the same window.
    let pools = [
        "mb1ic64ih112oh56kh3sh2ph1",
        "mb1ic96ih54oh26kh3sh2ph0",
        "mb1ic256ih26oh12kh3sh2ph0",
        "mb1ic384ih12oh5kh3sh2ph0",
    ];
    for sizes in pools {
        let max = format!("--pool --alg=max {sizes}");
        case(Stream::Read, &[(&max, "maxpool"), (&max, "maxpool-nchw")]);
        let [mean, squares, draws] =
            ["avg_np", "lp2", "stochastic"].map(|alg| format!("--pool --alg={alg} {sizes}"));
        let layers: [(&str, &str); 4] = [
            (&mean, "avgpool"),
            (&mean, "avgpool-nchw"),
            (&squares, "lppool"),
            (&draws, "stochastic-pool"),
        ];
        case(Stream::Read, &layers);
    }
    for sizes in ["mb1ic2048ih7oh1kh7ph0", "mb1ic1000ih6oh1kh6ph0"] {
        let text = format!("--pool --alg=avg_np {sizes}");
        case(Stream::Read, &[(&text, "global-avgpool")]);
    }
    cases
}

fn main() {
    let part = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let part = part.unwrap_or_default();
    let topology = Topology::detect();
    let isa = Isa::best();
    println!("loop / layer: quartiles; GB/s of the layer and of the loop");
    for threads in [1, topology.threads()] {
        let Ok(workers) = Workers::new(&topology, threads) else {
            continue;
        };
        for Case { layers, stream } in cases() {
            let name = |text: &str, id: &str| format!("{id}/{}/{threads} {text}", isa.isa());
            let chosen: Vec<_> = layers
                .iter()
                .filter(|(text, id)| name(text, id).contains(&part))
                .collect();
            if chosen.is_empty() {
                continue;
            }
            let mut layers: Vec<Chain> = chosen
                .iter()
                .map(|(text, id)| {
                    let layer = (*id, text.parse().expect("a layer"));
                    let layer = Chain::new(&[layer], &topology, &workers);
                    layer.expect("a layer of its, and memory")
                })
                .collect();
            let plain = PlainLoop::new(isa, stream, layers[0].working_set(), &workers);
            let found = found(&mut layers, &mut plain.expect("memory"), &workers);
            for ((text, id), found) in chosen.iter().zip(found.expect("a round")) {
                let ([low, middle, high], [own, other]) = found;
                println!(
                    "{:84} {low:.3} {middle:.3} {high:.3}  {own:6.1} {other:6.1}",
                    name(text, id)
                );
            }
        }
        if topology.threads() == 1 {
            break;
        }
    }
}

/// For each layer quartiles of the loop's time over the layer's, and GB/s of both medians, from interleaved rounds.
fn found(
    layers: &mut [Chain],
    plain: &mut PlainLoop,
    workers: &Workers,
) -> Option<Vec<([f64; 3], [f64; 2])>> {
    let once = plain.sample(1, workers) * layers[0].bytes() as f64;
    let runs = ((1e6 / once) as usize).clamp(1, 2000);
    // `cargo bench -- --test` only checks that it runs.
    let turns = match std::env::args().any(|a| a == "--test") {
        true => Turns::ONE,
        false => Turns {
            rounds: 21,
            time: Duration::from_millis(300),
        },
    };
    let mut loops: Vec<Loop<'_>> = vec![Box::new(|| plain.sample(runs, workers))];
    for layer in layers {
        let bytes = layer.bytes() as f64;
        loops.push(Box::new(move || layer.sample(runs, workers) / bytes));
    }
    let samples = turns.take(&mut loops);
    let (plain, layers) = samples.split_first()?;
    let gbps = |times: &[f64]| Some(1.0 / quartiles(times)?[1]);
    let of = |layer: &Vec<f64>| {
        let ratio = quartiles(&ratios(plain, layer))?;
        Some((ratio, [gbps(layer)?, gbps(plain)?]))
    };
    layers.iter().map(of).collect()
}
