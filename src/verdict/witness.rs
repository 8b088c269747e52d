//! Witnesses: each examines one kind of evidence, and votes or abstains.

use crate::counters;
use crate::record::{CacheState, Measurement};
use crate::roofline::{Ceilings, OVERHEAD_NS, Placed, Verdict};
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
    /// Ceilings for the instruction set and number of threads of any measurement.
    pub ceilings_of: &'a dyn Fn(&Measurement) -> Option<Ceilings>,
}

/// Least fraction of the kernel's time that explains its speed.
const EXPLAINS: f64 = 0.75;

/// Least difference between two explanations, as a fraction of the time. With a smaller difference, neither counts.
const APART: f64 = 0.08;

/// Least relative change of time that counts as more than noise.
const CHANGE: f64 = 0.1;

/// Collects all witnesses that have evidence.
pub fn collect(case: Case<'_>) -> Vec<Witness> {
    let all = [roofline, ablation, cache, panel, threads, counted];
    all.iter().filter_map(|witness| witness(case)).collect()
}

/// Memory level that the data come from, according to the roofline.
fn data_level(case: Case<'_>) -> Option<Verdict> {
    let judgement = case.placed.judgement.as_ref()?;
    judgement.home.map(Verdict::from)
}

/// Witness of the position under the roofline.
fn roofline(case: Case<'_>) -> Option<Witness> {
    let j = case.placed.judgement.as_ref()?;
    let vote = (j.verdict != Verdict::Undecided).then_some(j.verdict);
    Some(Witness::new("roofline", vote, 1.0, j.reason.clone()))
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
    let vote = if loads.max(arith) < EXPLAINS {
        // Neither alone explains the time: they wait for each other, or for something else.
        let short = case.placed.time.median < OVERHEAD_NS;
        short.then_some(Verdict::Overhead)
    } else if arith > loads + APART {
        Some(Verdict::Compute)
    } else if loads > arith + APART {
        data_level(case)
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
    let vote = if slower { data_level(case) } else { None };
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
        data_level(case)
    } else if one > 1.0 - CHANGE / 2.0 && weights > 0.5 * streamed {
        Some(Verdict::Compute)
    } else {
        None
    };
    Some(Witness::new("panel", vote, 1.0, says))
}

/// Witness of one thread against several: arithmetic scales with the peak, data with their level's bandwidth.
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
    let efficiency = median(&one.samples_ns)? / median(&more.samples_ns)? / n as f64;
    let says = format!(
        "{n} threads are {:.2} times as fast as one",
        efficiency * n as f64
    );
    let (few, many) = ((case.ceilings_of)(one)?, (case.ceilings_of)(more)?);
    let home = case.placed.judgement.as_ref()?.home?;
    let read = |c: &Ceilings| c.roofs.iter().find(|r| r.level == home).map(|r| r.read);
    let arithmetic = many.peak / few.peak / n as f64;
    let data = read(&many)? / read(&few)? / n as f64;
    // If both would scale alike, the efficiency is no evidence.
    let vote = if (arithmetic - data).abs() < 0.2 {
        None
    } else if (efficiency - arithmetic).abs() < (efficiency - data).abs() {
        Some(Verdict::Compute)
    } else {
        data_level(case)
    };
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
    } else if share < 0.3 && case.placed.roof_fraction > EXPLAINS {
        Some(Verdict::Compute)
    } else {
        None
    };
    Some((vote, says))
}
