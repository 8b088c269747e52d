//! Claims about what can be counted.

use super::answer::{Found, Holds, counted, measured};
use super::lab::Lab;
use crate::networks::{self, Graph, Source};
use anyhow::{Result, anyhow};

/// Bytes of all tensors of a network for one image, as f32. Training keeps them for the backward pass.
fn kept(name: &str) -> Result<f64> {
    let graph = Graph::new(networks::find(name)?).map_err(|e| anyhow!(e))?;
    let nodes = (0..graph.nodes.len()).map(Source::Node);
    let all = nodes.chain([Source::Input]);
    let elements: usize = all.map(|s| graph.dims(s).iter().product::<usize>()).sum();
    Ok((elements * size_of::<f32>()) as f64)
}

pub(super) fn memory_of_nin(lab: &mut Lab<'_>) -> Result<Found> {
    const MIB: f64 = (1 << 20) as f64;
    let mut evidence = Vec::new();
    let mut holds = Vec::new();
    let mut sentences = Vec::new();
    for name in ["nin", "nin-d2l"] {
        let parameters = networks::find(name)?.parameter_bytes() as f64;
        let reused = lab.arena_bytes(name, 1)? as f64;
        let kept = kept(name)?;
        evidence.push(counted(
            format!("{name}: parameters"),
            parameters / MIB,
            "MiB",
        ));
        evidence.push(counted(
            format!("{name}: activations of one image, buffers reused (the arena that runs use)"),
            reused / MIB,
            "MiB",
        ));
        evidence.push(counted(
            format!("{name}: activations of one image, all kept for training"),
            kept / MIB,
            "MiB",
        ));
        let mut crossover = 1;
        while (lab.arena_bytes(name, crossover)? as f64) <= parameters && crossover < 1024 {
            crossover += 1;
        }
        let training = (parameters / kept).floor() as usize + 1;
        evidence.push(counted(
            format!("{name}: images from which activations are more, buffers reused"),
            crossover as f64,
            "images",
        ));
        evidence.push(counted(
            format!("{name}: images from which activations are more, all kept"),
            training as f64,
            "images",
        ));
        holds.extend([Some(crossover == 1), Some(training == 1)]);
        sentences.push(format!(
            "{name} has {:.1} MiB of parameters, {:.1} MiB of activations at batch 1 with buffers reused and {:.1} MiB with all kept: activations are more from {crossover} images on in inference, from {training} in training",
            parameters / MIB,
            reused / MIB,
            kept / MIB
        ));
    }
    // With a large enough batch, activations always exceed the weights.
    let holds = match Holds::of(&holds) {
        Holds::No => Holds::InPart,
        other => other,
    };
    let [packed, arena, _] = lab.network("nin")?.bytes;
    evidence.push(measured("nin: arena of a run", arena as f64 / MIB, "MiB"));
    evidence.push(measured(
        "nin: packed weights of a run (Winograd's are larger than the parameters)",
        packed as f64 / MIB,
        "MiB",
    ));
    Ok((holds, sentences.join("; "), evidence))
}

pub(super) fn alexnet_and_lenet(_: &mut Lab<'_>) -> Result<Found> {
    let parameters = |name: &str| Ok::<_, anyhow::Error>(networks::find(name)?.parameters() as f64);
    let mut evidence = Vec::new();
    let alexnet = parameters("alexnet")?;
    evidence.push(counted("alexnet: parameters", alexnet, ""));
    let mut ratios = Vec::new();
    for name in ["lenet5", "lenet-d2l"] {
        let own = parameters(name)?;
        evidence.push(counted(format!("{name}: parameters"), own, ""));
        evidence.push(counted(
            format!("alexnet over {name}"),
            alexnet / own,
            "times",
        ));
        ratios.push(alexnet / own);
    }
    let about = |r: &f64| Some((500.0..2000.0).contains(r));
    let holds: Vec<Option<bool>> = ratios.iter().map(about).collect();
    let answer = format!(
        "{:.0} times those of Caffe's LeNet (20-50-500), {:.0} times those of the LeNet of 1998 and d2l.ai",
        ratios[0], ratios[1]
    );
    Ok((Holds::of(&holds), answer, evidence))
}
