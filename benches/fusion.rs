//! `cargo bench --bench fusion`: gain of computing two layers as one.
//!
//! Two separate layers and the fused one run in interleaved rounds, on the best instruction set. Each of the two
//! reads the output of the one before. The bench prints the time of the two divided by that of the one (quartiles
//! over the rounds), and both medians in microseconds. An argument that is no flag selects names that contain it.

use convroof::machine::{Topology, pool::Workers};
use convroof::measure::chain::Chain;
use convroof::measure::turns::{Turns, ratios};
use convroof::stats::quartiles;
use std::time::Duration;

/// Name, fused algorithm, algorithms of the two layers, and the problem, which is split at ` + `.
const CASES: [(&str, &str, [&str; 2], &str); 7] = [
    (
        "resnet50/conv1+pool1",
        "direct-maxpool",
        ["direct", "maxpool"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic3ih224oc64oh112kh7sh2ph3 + --pool --alg=max mb1ic64ih112oh56kh3sh2ph1",
    ),
    (
        "alexnet/conv1+pool1",
        "direct-maxpool",
        ["direct", "maxpool"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic3ih224oc64oh55kh11sh4ph2 + --pool --alg=max mb1ic64ih55oh27kh3sh2ph0",
    ),
    (
        "11x11s4-96+pool",
        "direct-maxpool",
        ["direct", "maxpool"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic3ih227oc96oh55kh11sh4ph0 + --pool --alg=max mb1ic96ih55oh27kh3sh2ph0",
    ),
    (
        "resnet50/conv2_x.1x1+3x3",
        "gemm-1x1-direct",
        ["gemm-1x1", "direct"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic256ih56oc64oh56kh1ph0 + --dir=FWD_B --attr-post-ops=relu mb1ic64ih56oc64oh56kh3ph1",
    ),
    (
        "resnet50/conv3_1.1x1+3x3s2",
        "gemm-1x1-direct",
        ["gemm-1x1", "direct"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic256ih56oc128oh56kh1ph0 + --dir=FWD_B --attr-post-ops=relu mb1ic128ih56oc128oh28kh3sh2ph1",
    ),
    (
        "resnet50/conv3_x.1x1+3x3",
        "gemm-1x1-direct",
        ["gemm-1x1", "direct"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic512ih28oc128oh28kh1ph0 + --dir=FWD_B --attr-post-ops=relu mb1ic128ih28oc128oh28kh3ph1",
    ),
    (
        "resnet50/conv4_x.1x1+3x3",
        "gemm-1x1-direct",
        ["gemm-1x1", "direct"],
        "--dir=FWD_B --attr-post-ops=relu mb1ic1024ih14oc256oh14kh1ph0 + --dir=FWD_B --attr-post-ops=relu mb1ic256ih14oc256oh14kh3ph1",
    ),
];

fn main() {
    let part = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let part = part.unwrap_or_default();
    let topology = Topology::detect();
    println!("two layers / one: quartiles; microseconds of the two and of the one");
    for threads in [1, topology.threads()] {
        let Ok(workers) = Workers::new(&topology, threads) else {
            continue;
        };
        for (name, one, two, text) in CASES {
            let name = format!("{name}/{threads}");
            if !name.contains(&part) {
                continue;
            }
            let chain = |ids: &[&'static str], texts: &[&str]| {
                let problem = |text: &&str| text.parse().expect("a layer");
                let layers = ids.iter().copied().zip(texts.iter().map(problem));
                let layers: Vec<_> = layers.collect();
                Chain::new(&layers, &topology, &workers).expect("layers of theirs, and memory")
            };
            let (first, second) = text.split_once(" + ").expect("two layers");
            let mut chains = [chain(&two, &[first, second]), chain(&[one], &[text])];
            let ([low, middle, high], [two, one]) = found(&mut chains, &workers).expect("a round");
            println!("{name:32} {low:.3} {middle:.3} {high:.3}  {two:8.1} {one:8.1}");
        }
        if topology.threads() == 1 {
            break;
        }
    }
}

/// Quartiles of the first's time over the second's, and the medians of both in microseconds, from interleaved rounds.
fn found([two, one]: &mut [Chain; 2], workers: &Workers) -> Option<([f64; 3], [f64; 2])> {
    // `cargo bench -- --test` only checks that it runs.
    let turns = match std::env::args().any(|a| a == "--test") {
        true => Turns::ONE,
        false => Turns {
            rounds: 21,
            time: Duration::from_secs(2),
        },
    };
    let runs = (5e6 / two.sample(1, workers)).clamp(1.0, 1e3) as usize;
    let samples = turns.take(&mut [
        Box::new(|| two.sample(runs, workers)),
        Box::new(|| one.sample(runs, workers)),
    ]);
    let medians = [
        quartiles(&samples[0])?[1] / 1e3,
        quartiles(&samples[1])?[1] / 1e3,
    ];
    Some((quartiles(&ratios(&samples[0], &samples[1]))?, medians))
}
