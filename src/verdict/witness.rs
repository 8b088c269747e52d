//! Witnesses: each examines one kind of evidence, and votes or abstains.

use super::scaling::{DataScaling, Like, Scaling};
use crate::counters;
use crate::record::{CacheState, Level, Measurement};
use crate::roofline::{self, Ceilings, Placed, Verdict, is_short};
use crate::stats::median;
use crate::units::bytes;
use serde::Serialize;

/// Evidence of one kind on a measurement, and its vote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Witness {
    /// `roofline`, `ablation`, `cache`, `panel`, `threads` or `counters`.
    pub witness: &'static str,
    /// Vote; none if the evidence fits several verdicts.
    pub vote: Option<Verdict>,
    /// Weight of the vote.
    pub weight: f64,
    /// Evidence, in a clause.
    pub says: String,
}

impl Witness {
    fn new(witness: &'static str, vote: Option<Verdict>, weight: f64, says: String) -> Self {
        Witness {
            witness,
            vote,
            weight,
            says,
        }
    }
}

/// A measurement and the measurements to compare it with.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The measurement.
    pub m: &'a Measurement,
    /// Its position under the roofline.
    pub placed: &'a Placed,
    /// Ceilings for this measurement.
    pub ceilings: Option<&'a Ceilings>,
    /// All measurements of the run.
    pub others: &'a [Measurement],
    /// Ceilings for the instruction set, arithmetic and number of threads of any measurement.
    pub ceilings_of: &'a dyn Fn(&Measurement) -> Option<Ceilings>,
}

/// Least fraction of the kernel's time that a twin must take to explain it.
const EXPLAINS: f64 = 0.75;

/// Least fraction of the time that both twins take where either part alone would take it all: no vote.
const EITHER: f64 = 0.9;

/// Least difference between two explanations, as a fraction of the time. With a smaller difference, neither counts.
const APART: f64 = 0.08;

/// Least relative change of time that counts as more than noise.
const CHANGE: f64 = 0.1;

/// Least fraction of the time that a level's bandwidth must explain before another experiment's vote for data names it.
const FROM_LEVEL: f64 = 0.25;

/// Least such fraction for the ablation's vote, if the data are in L3 or main memory: their latencies count, too.
const FAR_LEVEL: f64 = 0.1;

/// Collects all witnesses that have evidence.
pub fn collect(case: Case<'_>) -> Vec<Witness> {
    let all = [roofline, ablation, cache, panel, threads, counted];
    all.iter().filter_map(|witness| witness(case)).collect()
}

/// The level of a vote for data: the one that the data come from according to the roofline. None if its bandwidth
/// explains too little of the time for that.
fn level(case: Case<'_>) -> Option<Level> {
    let judgement = case.placed.judgement.as_ref()?;
    judgement
        .home
        .filter(|_| judgement.data_share >= FROM_LEVEL)
}

/// A vote for data, if their level is plain.
fn data(case: Case<'_>) -> Option<Verdict> {
    level(case).map(Verdict::from)
}

/// A vote for the loads and stores of a kernel whose level explains little of its time. In the near caches it is their
/// number that takes the time. Farther away it is the distance, unless the level explains hardly anything.
fn loads_and_stores(case: Case<'_>) -> Option<Verdict> {
    let judgement = case.placed.judgement.as_ref()?;
    let home = judgement.home?;
    let far = home > Level::L2 && judgement.data_share >= FAR_LEVEL;
    Some(if far { home.into() } else { Verdict::L1 })
}

/// A vote for what the core does: compute bound only near the arithmetic roof. Farther below, instructions and latencies
/// take the time, or in a short run the overheads. None without ceilings.
fn core(case: Case<'_>) -> Option<Verdict> {
    let judgement = case.placed.judgement.as_ref()?;
    Some(if judgement.compute_share >= roofline::EXPLAINS {
        Verdict::Compute
    } else if is_short(case.placed.time.median, case.ceilings?) {
        Verdict::Overhead
    } else {
        Verdict::Core
    })
}

/// Witness of the position under the roofline. It counts twice if its bound leaves no room for another explanation.
fn roofline(case: Case<'_>) -> Option<Witness> {
    let j = case.placed.judgement.as_ref()?;
    let vote = (j.verdict != Verdict::Undecided).then_some(j.verdict);
    let weight = if j.clear() { 2.0 } else { 1.0 };
    Some(Witness::new("roofline", vote, weight, j.reason.clone()))
}

/// Median ratio of a twin's time to the kernel's, in the same rounds.
fn share(twin: &[f64], full: &[f64]) -> Option<f64> {
    median(
        &twin
            .iter()
            .zip(full)
            .map(|(t, f)| t / f)
            .collect::<Vec<_>>(),
    )
}

/// Witness of the ablation: the kernel without its arithmetic, and without its memory traffic. It counts twice, since
/// it is an experiment on the kernel itself. The others compare it with something else.
fn ablation(case: Case<'_>) -> Option<Witness> {
    let times = case.m.ablation.as_ref()?;
    let loads = share(&times.loads_only_ns, &times.full_ns)?;
    let arith = share(&times.arith_only_ns, &times.full_ns)?;
    let says = format!(
        "without its arithmetic it takes {:.0} % of the time, without its loads and stores {:.0} %",
        100.0 * loads,
        100.0 * arith
    );
    // A twin can't do its arithmetic faster than the FMA peak: if it seems so, it was disturbed less, or has less of it.
    let peak = case
        .placed
        .judgement
        .as_ref()
        .map_or(0.0, |j| j.compute_share);
    let arith = arith.max(peak.min(1.0));
    let vote = if loads.max(arith) < EXPLAINS {
        // Neither alone explains the time: they wait for each other, or for something else.
        core(case).filter(|&v| v == Verdict::Overhead)
    } else if loads.min(arith) >= EITHER {
        None
    } else if arith > loads + APART {
        core(case)
    } else if loads > arith + APART {
        data(case).or_else(|| loads_and_stores(case))
    } else {
        None
    };
    Some(Witness::new("ablation", vote, 2.0, says))
}

/// Witness of other cache contents: the same layer and kernel with warm caches.
fn cache(case: Case<'_>) -> Option<Witness> {
    let here = case.placed.time.median;
    if case.m.cache.is(&CacheState::Warm) {
        return None;
    }
    let same = |o: &&Measurement| {
        (&o.problem, &o.variant, o.threads) == (&case.m.problem, &case.m.variant, case.m.threads)
            && o.cache.is(&CacheState::Warm)
    };
    let warm = case.others.iter().find(same)?;
    // The warm time of the rounds with twins, for comparison with this one's.
    let warm = median(&warm.ablation.as_ref()?.full_ns)?;
    let ratio = here / warm;
    let read = case.m.cold_read.as_ref().and_then(|read| {
        let gbps = read.bytes as f64 / median(&read.ns)?;
        Some(format!(
            ", and a plain read of its {} of weights runs at {gbps:.1} GB/s",
            bytes(read.bytes as f64)
        ))
    });
    let says = format!(
        "{} it takes {ratio:.2} times as long as warm{}",
        case.m.cache,
        read.unwrap_or_default()
    );
    // Equal times are no evidence: a layer larger than the caches is never warm.
    let slower = ratio > 1.0 + CHANGE;
    let vote = if slower { data(case) } else { None };
    Some(Witness::new("cache", vote, 1.0, says))
}

/// Witness of the kernel with one panel of weights instead of all.
fn panel(case: Case<'_>) -> Option<Witness> {
    let times = case.m.ablation.as_ref()?;
    let one = share(&times.one_panel_ns, &times.full_ns)?;
    let weights = case.m.packed_bytes as f64;
    let streamed = (case.m.bytes_read + case.m.bytes_written) as f64;
    let says = format!(
        "with one panel of weights in place of all it takes {:.0} % of the time",
        100.0 * one
    );
    // The time that few weights cost is weak evidence.
    let vote = if one < 1.0 - CHANGE {
        data(case)
    } else if one > 1.0 - CHANGE / 2.0 && weights > 0.5 * streamed {
        core(case)
    } else {
        None
    };
    Some(Witness::new("panel", vote, 1.0, says))
}

/// Witness of one thread against several: arithmetic scales with the peak of the same rounds, data with their level's
/// bandwidth. It votes only where its evidence can tell both apart.
fn threads(case: Case<'_>) -> Option<Witness> {
    let m = case.m;
    let other = case.others.iter().find(|o| {
        o.problem == m.problem
            && o.cache == m.cache
            && o.variant.algorithm() == m.variant.algorithm()
            && o.variant.isa() == m.variant.isa()
            && (o.threads == 1) != (m.threads == 1)
    })?;
    let (one, more) = if m.threads == 1 {
        (m, other)
    } else {
        (other, m)
    };
    let n = more.threads;
    let Some(scaling) = Scaling::of(one, more) else {
        let says = format!("too few rounds in common with {} threads", other.threads);
        return Some(Witness::new("threads", None, 1.0, says));
    };
    let data_scaling = || {
        let (few, many) = ((case.ceilings_of)(one)?, (case.ceilings_of)(more)?);
        DataScaling::of(level(case)?, &few, &many)
    };
    let (like, why) = scaling.like(n, data_scaling());
    let vote = like.and_then(|like| match like {
        Like::Arithmetic => core(case),
        Like::Data => data(case),
    });
    let speed_up = scaling.kernel.median;
    let says = format!("{n} threads are {speed_up:.2} times as fast as one; {why}");
    Some(Witness::new("threads", vote, 1.0, says))
}

/// Witness of the hardware counters: counted bytes against compulsory bytes. The issue slots are only reported. They
/// are no vote, since busy units and late data both stall the back end.
fn counted(case: Case<'_>) -> Option<Witness> {
    let slots = counters::slots(&case.m.counters).map(|s| {
        format!(
            "of its issue slots {:.0} % retired, {:.0} % waited for units or data, {:.0} % for instructions, {:.0} % were lost",
            100.0 * s.retired,
            100.0 * s.backend,
            100.0 * s.frontend,
            100.0 * s.lost
        )
    });
    let (vote, moved) = match moved(case) {
        Some((vote, says)) => (vote, Some(says)),
        None => (None, None),
    };
    let says: Vec<String> = moved.into_iter().chain(slots).collect();
    (!says.is_empty()).then(|| Witness::new("counters", vote, 1.0, says.join("; ")))
}

/// Vote and description of the counted traffic from a level.
fn moved(case: Case<'_>) -> Option<(Option<Verdict>, String)> {
    let (m, ceilings) = (case.m, case.ceilings?);
    let traffic = counters::traffic(&m.counters)?;
    let compulsory = (m.bytes_read + m.bytes_written) as f64;
    let roof = ceilings.roofs.iter().find(|r| r.level == traffic.level)?;
    let share = traffic.bytes / roof.read / case.placed.time.median;
    let says = format!(
        "{} came from {}, {:.1} times the compulsory bytes: {:.0} % of the time at its bandwidth",
        bytes(traffic.bytes),
        traffic.level.name(),
        traffic.bytes / compulsory,
        100.0 * share
    );
    let vote = if share > EXPLAINS {
        Some(Verdict::from(traffic.level))
    } else if share < 0.3 {
        core(case).filter(|&v| v == Verdict::Compute)
    } else {
        None
    };
    Some((vote, says))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::record::{AblationTimes, Run};
    use crate::roofline::place;

    /// A run of one measurement: its time, its twins' times as fractions of it (without arithmetic, without loads and
    /// stores), its operations and bytes.
    fn run(ns: f64, [loads, arith]: [f64; 2], flops: u64, bytes: u64) -> Run {
        let mut run = sample();
        let m = &mut run.measurements[0];
        m.samples_ns = vec![ns; 5];
        m.flops_executed = flops;
        (m.bytes_read, m.bytes_written, m.packed_bytes) = (bytes, 0, 0);
        m.working_set_bytes = bytes;
        m.ablation = Some(AblationTimes {
            full_ns: vec![ns; 5],
            loads_only_ns: vec![loads * ns; 5],
            arith_only_ns: vec![arith * ns; 5],
            one_panel_ns: Vec::new(),
        });
        run
    }

    fn votes(run: &Run) -> Vec<(&'static str, Option<Verdict>)> {
        let ceilings_of = |m: &Measurement| Ceilings::of_measurement(run, m);
        let m = &run.measurements[0];
        let ceilings = ceilings_of(m);
        let found = collect(Case {
            m,
            placed: &place(m, ceilings.as_ref()).expect("samples"),
            ceilings: ceilings.as_ref(),
            others: &run.measurements,
            ceilings_of: &ceilings_of,
        });
        found.into_iter().map(|w| (w.witness, w.vote)).collect()
    }

    fn ablation(run: &Run) -> Option<Verdict> {
        let all = votes(run);
        all.into_iter().find(|(name, _)| *name == "ablation")?.1
    }

    #[test]
    fn arithmetic_is_compute_bound_only_near_the_peak() {
        // The peak is 118 GFLOP/s.
        let of = |ns, flops| ablation(&run(ns, [0.2, 0.98], flops, 4096));
        assert_eq!(of(1e6, 100_000_000), Some(Verdict::Compute));
        assert_eq!(of(1e6, 60_000_000), Some(Verdict::Compute));
        assert_eq!(of(1e6, 57_000_000), Some(Verdict::Core));
        assert_eq!(of(1e6, 1_000_000), Some(Verdict::Core), "a ReLU at 1 %");
        assert_eq!(of(149.0, 100), Some(Verdict::Overhead), "a pool of 149 ns");
    }

    #[test]
    fn twins_that_both_take_as_long_tell_nothing() {
        let of = |twins, flops| ablation(&run(1e6, twins, flops, 4096));
        for twins in [[0.92, 1.05], [1.05, 0.92], [0.85, 0.8]] {
            assert_eq!(of(twins, 100_000_000), None, "{twins:?}");
        }
        assert_eq!(of([0.5, 0.6], 1_000_000), None, "neither explains the time");
    }

    #[test]
    fn a_kernel_near_the_peak_is_not_bound_by_its_loads() {
        // 85 % of the peak. Its twin without loads and stores took less time than the arithmetic can.
        let of = |loads| ablation(&run(1e6, [loads, 0.7], 100_300_000, 4096));
        assert_eq!(of(0.84), None);
        assert_eq!(of(0.76), Some(Verdict::Compute));
        assert_eq!(of(0.99), Some(Verdict::L1));
    }

    #[test]
    fn loads_are_bound_by_a_level_that_explains_them() {
        // 1 MB is in L2, which reads 110 GB/s.
        let of = |ns| ablation(&run(ns, [0.98, 0.2], 1000, 1 << 20));
        assert_eq!(of(1.2e4), Some(Verdict::L2));
        assert_eq!(of(3e4), Some(Verdict::L2));
        assert_eq!(of(1e5), Some(Verdict::L1), "at a tenth of its bandwidth");
        // 64 MB are in main memory, 20 GB/s.
        let far = |ns| ablation(&run(ns, [0.98, 0.2], 1000, 64 << 20));
        assert_eq!(far(3e7), Some(Verdict::Dram), "at a tenth of its bandwidth");
        assert_eq!(far(1e8), Some(Verdict::L1), "at a thirtieth");
    }

    #[test]
    fn no_vote_is_for_arithmetic_far_below_the_peak() {
        for flops in [1_000, 1_000_000, 50_000_000] {
            for twins in [[0.2, 0.98], [0.98, 0.2], [0.9, 0.9], [0.5, 0.5]] {
                for bytes in [4096, 1 << 20, 32 << 20] {
                    let all = votes(&run(1e6, twins, flops, bytes));
                    let compute = |(_, v): &(_, Option<Verdict>)| *v == Some(Verdict::Compute);
                    assert!(
                        !all.iter().any(compute),
                        "{flops} {twins:?} {bytes}: {all:?}"
                    );
                }
            }
        }
    }
}
