//! A claim about element types: layers of networks in f32, bf16 and u8, by the fastest kernel of each type.

use super::answer::{Figure, Found, Holds, estimated, measured};
use super::lab::{Lab, Timed};
use crate::interrupt::Stopped;
use crate::measure::turns::ratios;
use crate::networks::{self, in_type};
use crate::roofline::Verdict;
use crate::stats::Estimate;
use anyhow::{Result, anyhow};
use convroof_kernels::dtype::DType;
use convroof_kernels::probe::Arithmetic;

/// The types, f32 first. Activations of u8 have weights of s8.
const TYPES: [DType; 3] = [DType::F32, DType::Bf16, DType::U8];

/// Layers of each kind: 3x3 and 1x1 convolutions on large and small maps, and a fully connected layer.
const LAYERS: [(&str, &str); 6] = [
    ("resnet50", "conv2_x.3x3"),
    ("resnet50", "conv2_x.1x1b"),
    ("resnet50", "conv4_x.1x1b"),
    ("resnet50", "conv5_x.3x3"),
    ("resnet50", "fc"),
    ("nin", "cccp1"),
];

/// A layer in all types.
struct Forms {
    verdicts: [Verdict; TYPES.len()],
    /// Time in f32 over that in u8.
    speed_up: f64,
}

impl Forms {
    /// Measures a layer, and adds its figures.
    fn measure(lab: &mut Lab<'_>, network: &str, name: &str, to: &mut Vec<Figure>) -> Result<Self> {
        let table = networks::find(network)?;
        let layer = table.layer(name);
        let layer = layer.ok_or_else(|| anyhow!("{network} has no layer {name}"))?;
        let mut forms: Vec<Timed> = Vec::new();
        for dtype in TYPES {
            let problem = in_type(&layer.problem, dtype).map_err(|why| anyhow!("{name}: {why}"))?;
            forms.push(lab.best(&problem.to_string())?);
        }
        let samples = lab.together(&forms)?;
        let estimate = |samples: &[f64]| Estimate::of(samples).ok_or(Stopped);
        for ((dtype, timed), ns) in TYPES.iter().zip(&forms).zip(&samples) {
            let what = format!("{network}/{name} in {dtype}, {}", timed.id());
            to.push(estimated(
                format!("{what}: time"),
                &estimate(ns)?,
                1e-3,
                "us",
            ));
            let of_peak = format!("{what}, {}: of its type's peak", timed.verdict);
            to.push(estimated(of_peak, &timed.of_peak, 100.0, "%"));
        }
        let speed_up = estimate(&ratios(&samples[0], &samples[2]))?;
        let what = format!("{network}/{name}: time in f32 over u8");
        to.push(estimated(what, &speed_up, 1.0, "times"));
        Ok(Forms {
            verdicts: [0, 1, 2].map(|i| forms[i].verdict),
            speed_up: speed_up.median,
        })
    }

    /// True if a layer that is compute bound in f32 is bandwidth bound in `TYPES[at]`. None for one that has another
    /// verdict in f32.
    fn changes(&self, at: usize) -> Option<Option<bool>> {
        let changes = match self.verdicts[at] {
            Verdict::Undecided => None,
            verdict => Some(verdict.is_bandwidth()),
        };
        (self.verdicts[0] == Verdict::Compute).then_some(changes)
    }
}

/// Conditions of the claim for `TYPES[at]`, one for each layer that is compute bound in f32.
fn conditions(layers: &[Forms], at: usize) -> Vec<Option<bool>> {
    layers
        .iter()
        .filter_map(|forms| forms.changes(at))
        .collect()
}

pub(super) fn int8_and_bandwidth(lab: &mut Lab<'_>) -> Result<Found> {
    let mut evidence = Vec::new();
    let over_f32 = [Arithmetic::Bf16, Arithmetic::Int8].map(|arithmetic| {
        let ratio = lab.peak(arithmetic) / lab.peak(Arithmetic::F32);
        let what = format!("peak of {} over that of f32", arithmetic.name());
        evidence.push(measured(what, ratio, "times"));
        ratio
    });
    let mut layers = Vec::new();
    for (network, name) in LAYERS {
        layers.push(Forms::measure(lab, network, name, &mut evidence)?);
    }
    let found = conditions(&layers, 2);
    let bandwidth = |at: usize| {
        let all = conditions(&layers, at).into_iter();
        all.filter(|c| *c == Some(true)).count()
    };
    let speed_ups = layers.iter().map(|forms| forms.speed_up);
    let answer = format!(
        "{} of {} layers are compute bound in f32, and of these {} in bf16 and {} in int8 are bandwidth bound; the peaks of bf16 and int8 are {:.1} and {:.1} times that of f32, and the fastest kernels in int8 are {:.1} to {:.1} times as fast as those in f32, Winograd's included",
        found.len(),
        LAYERS.len(),
        bandwidth(1),
        bandwidth(2),
        over_f32[0],
        over_f32[1],
        speed_ups.clone().fold(f64::INFINITY, f64::min),
        speed_ups.fold(0.0, f64::max),
    );
    // Without a layer that is compute bound in f32, nothing is known.
    let holds = match found[..] {
        [] => Holds::CantTell,
        _ => Holds::of(&found),
    };
    Ok((holds, answer, evidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_layers_that_are_compute_bound_in_f32_count() {
        let forms = |verdicts| Forms {
            verdicts,
            speed_up: 2.0,
        };
        let layers = [
            forms([Verdict::Compute, Verdict::Compute, Verdict::L2]),
            forms([Verdict::Compute, Verdict::Core, Verdict::Compute]),
            forms([Verdict::Compute, Verdict::L3, Verdict::Undecided]),
            forms([Verdict::L3, Verdict::L3, Verdict::Dram]),
        ];
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(conditions(&layers, 1), [no, no, yes]);
        assert_eq!(conditions(&layers, 2), [yes, no, None]);
        assert_eq!(Holds::of(&conditions(&layers, 2)), Holds::InPart);
        assert!(conditions(&layers[3..], 2).is_empty());
    }

    #[test]
    fn each_layer_has_a_form_in_each_type() {
        for (network, name) in LAYERS {
            let network = networks::find(network).expect("a network");
            let layer = network.layer(name).expect("a layer");
            for dtype in TYPES {
                assert!(in_type(&layer.problem, dtype).is_ok(), "{name} in {dtype}");
            }
        }
    }
}
