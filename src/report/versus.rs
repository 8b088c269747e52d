//! Comparison with peers: on each layer our best variant against the best peer. The ratio of their times comes from
//! the rounds that both took part in, so that disturbances of the machine affect both. Above 1 ours is faster.

use super::rows::{Row, Series, best_rows};
use crate::record::{CandidateId, Measurement, Run, Text};
use crate::stats::{Summary, geometric_mean};
use convroof_kernels::Problem;
use convroof_kernels::dtype::DType;
use convroof_kernels::problem::Op;
use serde::Serialize;

/// Comparison on one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Duel {
    /// The network.
    pub network: String,
    /// Element type in which it was requested.
    pub dt: Text<DType>,
    /// The layer.
    pub layer: String,
    /// Number of occurrences in the network.
    pub count: usize,
    /// Class of the layer: `1x1`, `3x3 s1`, `3x3 s2`, `5x5`, `stem`, `pool`, `fully connected`, `elementwise` or
    /// `other`.
    pub class: &'static str,
    /// Threads.
    pub threads: usize,
    /// Our best variant.
    pub ours: CandidateId,
    /// Its median time.
    pub ours_ns: f64,
    /// The best peer.
    pub peer: CandidateId,
    /// Its median time.
    pub peer_ns: f64,
    /// The library's own name for its implementation.
    pub implementation: Option<String>,
    /// Median of the peer's time over ours, round by round.
    pub ratio: f64,
    /// 95 % confidence interval of that median.
    pub ci: (f64, f64),
    /// Rounds that both took part in.
    pub rounds: usize,
}

impl Duel {
    /// True for the peer's row.
    pub fn is_of(&self, row: &Row) -> bool {
        let own = Series {
            network: &self.network,
            dt: &self.dt,
            threads: self.threads,
        };
        row.series() == own && (&row.layer, &row.variant) == (&self.layer, &self.peer)
    }

    /// Nanoseconds that the network would gain with the peer's kernel; negative where ours is faster.
    pub fn lost_ns(&self) -> f64 {
        self.count as f64 * (self.ours_ns - self.peer_ns)
    }
}

/// A geometric mean of ratios, over a network's layers or those of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// A class, or `all layers`.
    pub over: &'static str,
    /// Number of layers.
    pub layers: usize,
    /// The mean.
    pub ratio: f64,
    /// Layers on which we are slower.
    pub lost: usize,
}

/// Largest max |error| / max |reference| of a peer that takes part in the comparison. It is the error of F(6x6,3x3),
/// the least exact Winograd algorithm in use, on layers of this size.
pub const EQUAL: f64 = 1e-4;

/// The classes, in the order in which they are listed.
pub const CLASSES: [&str; 9] = [
    "stem",
    "1x1",
    "3x3 s1",
    "3x3 s2",
    "5x5",
    "other",
    "pool",
    "fully connected",
    "elementwise",
];

/// Class of a problem's layer.
fn class(problem: Option<&Problem>) -> &'static str {
    let conv = match problem.map(|p| &p.op) {
        Some(Op::Conv(conv)) => conv,
        Some(Op::ConvPool(_)) => return "stem",
        Some(Op::ConvPair(_)) => return "other",
        Some(Op::Pool(_) | Op::Attention(_) | Op::Bilinear(_)) => return "pool",
        _ => return "elementwise",
    };
    match (conv.kernel, conv.stride) {
        _ if [conv.h, conv.w] == conv.kernel && conv.pad == Default::default() => "fully connected",
        _ if conv.c_in <= 4 => "stem",
        ([1, 1], _) => "1x1",
        ([3, 3], [1, 1]) => "3x3 s1",
        ([3, 3], [2, 2]) => "3x3 s2",
        ([5, 5], _) => "5x5",
        _ => "other",
    }
}

/// The fastest peer on a layer among those that are as exact as ours. Those with enough samples come before the others.
fn fastest_peer<'a>(rows: &'a [Row], own: &Row) -> Option<&'a Row> {
    let peers = rows
        .iter()
        .filter(|r| r.is_peer() && r.is_warm() && r.error_max <= EQUAL && r.is_beside(own));
    peers.min_by(|a, b| {
        let few = || a.few_samples().cmp(&b.few_samples());
        few().then_with(|| a.median_ns.total_cmp(&b.median_ns))
    })
}

/// The duels of a series, in the order of its layers.
pub fn duels(run: &Run, rows: &[Row], series: Series<'_>) -> Vec<Duel> {
    let ours = best_rows(rows, series);
    let measurement = |row: &Row| {
        run.measurements.iter().find(|m| {
            m.problem == row.problem && m.variant == row.variant && m.threads == row.threads
        })
    };
    let mut duels = Vec::new();
    for own in ours {
        let Some(peer) = fastest_peer(rows, own) else {
            continue;
        };
        let (Some(a), Some(b)) = (measurement(own), measurement(peer)) else {
            continue;
        };
        let ratios = ratios(a, b);
        let Some(summary) = Summary::of(&ratios) else {
            continue;
        };
        duels.push(Duel {
            network: own.network.clone(),
            dt: own.dt.clone(),
            layer: own.layer.clone(),
            count: own.count,
            class: class(own.problem.value()),
            threads: own.threads,
            ours: own.variant.clone(),
            ours_ns: own.median_ns,
            peer: peer.variant.clone(),
            peer_ns: peer.median_ns,
            implementation: b.implementation.clone(),
            ratio: summary.median,
            ci: summary.ci,
            rounds: ratios.len(),
        });
    }
    duels
}

/// The peer's time over ours in each common round.
pub(super) fn ratios(ours: &Measurement, peer: &Measurement) -> Vec<f64> {
    let own = ours.rounds.iter().zip(&ours.samples_ns);
    own.filter_map(|(round, ns)| {
        let at = peer.rounds.iter().position(|r| r == round)?;
        Some(peer.samples_ns[at] / ns)
    })
    .collect()
}

/// Means of each class that occurs; the last is that of all layers.
pub fn means(duels: &[Duel]) -> Vec<Mean> {
    let mean = |over: &'static str, of: Vec<&Duel>| {
        let ratios: Vec<f64> = of.iter().map(|d| d.ratio).collect();
        Some(Mean {
            over,
            layers: of.len(),
            ratio: geometric_mean(&ratios)?,
            lost: of.iter().filter(|d| d.ratio < 1.0).count(),
        })
    };
    let mut means: Vec<Mean> = CLASSES
        .iter()
        .filter_map(|&c| mean(c, duels.iter().filter(|d| d.class == c).collect()))
        .collect();
    means.extend(mean("all layers", duels.iter().collect()));
    means
}

/// Layers on which we are slower, ordered by lost time, largest first.
pub fn lost(duels: &[Duel]) -> Vec<&Duel> {
    let mut lost: Vec<&Duel> = duels.iter().filter(|d| d.ratio < 1.0).collect();
    lost.sort_by(|a, b| b.lost_ns().total_cmp(&a.lost_ns()));
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::rows;

    fn with_peer(times: &[f64], rounds: &[u32]) -> Run {
        let mut run = sample();
        let mut peer = run.measurements[0].clone();
        run.measurements[0].samples_ns = vec![100.0, 200.0, 300.0, 400.0, 500.0];
        run.measurements[0].rounds = (0..5).collect();
        run.measurements[0].peak_gflops = vec![100.0; 5];
        peer.variant = "peer-onednn-any/auto/st".into();
        peer.samples_ns = times.to_vec();
        peer.rounds = rounds.to_vec();
        peer.peak_gflops = vec![100.0; times.len()];
        run.measurements.push(peer);
        run
    }

    fn duel(run: &Run) -> Duel {
        let rows = rows(run);
        duels(run, &rows, rows[0].series()).remove(0)
    }

    #[test]
    fn ratios_are_of_the_same_rounds() {
        // The peer takes twice our time in each common round, though its median is below ours.
        let run = with_peer(&[200.0, 400.0, 200.0, 200.0, 200.0], &[0, 1, 7, 8, 9]);
        let duel = duel(&run);
        assert_eq!((duel.ratio, duel.rounds), (2.0, 2));
        assert_eq!(duel.class, "3x3 s1");
    }

    #[test]
    fn peers_are_nobodys_best_variant() {
        let run = with_peer(&[1.0; 5], &[0, 1, 2, 3, 4]);
        let rows = rows(&run);
        let best = best_rows(&rows, rows[0].series());
        assert!(!best[0].is_peer());
        let duels = duels(&run, &rows, rows[0].series());
        assert_eq!(lost(&duels).len(), 1);
        assert_eq!(means(&duels).last().expect("all layers").lost, 1);
    }

    #[test]
    fn inexact_peers_are_not_compared() {
        let mut run = with_peer(&[1.0; 5], &[0, 1, 2, 3, 4]);
        run.measurements.last_mut().expect("the peer").error_max = 3e-4;
        let rows = rows(&run);
        assert!(duels(&run, &rows, rows[0].series()).is_empty());
    }

    #[test]
    fn layers_have_their_class() {
        for (text, want) in [
            ("mb1ic3ih224oc64oh112kh7sh2ph3", "stem"),
            ("mb1ic64ih56oc64oh56kh1ph0", "1x1"),
            ("mb1ic64ih56oc64oh28kh3sh2ph1", "3x3 s2"),
            ("mb1ic2048ih1oc1000oh1kh1ph0", "fully connected"),
            ("mb1ic512ih7oc4096oh1kh7ph0", "fully connected"),
            ("--pool --alg=max mb1ic64ih112oh56kh3sh2ph1", "pool"),
            ("--eltwise --alg=relu 1x64x56x56", "elementwise"),
        ] {
            assert_eq!(class(Text::from(text).value()), want, "{text}");
        }
    }
}
