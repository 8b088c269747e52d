//! Hardware and software counters around a region of code, summed over pinned workers.
//!
//! An event that can't be counted is reported with its reason, never as 0. Most cloud machines expose no performance
//! monitoring unit (PMU), and everything else works without one.
//!
//! In reading order: this file, [`events`] (the events of each CPU), `perf.rs` (Linux's perf interface).

pub mod events;
#[cfg(target_os = "linux")]
mod perf;

use crate::machine::pool::Workers;
use crate::record::{CounterStatus, CounterValue, Level};
use events::Event;

/// Counters that are open on every worker of a pool.
pub struct Counters {
    #[cfg(target_os = "linux")]
    groups: perf::Groups,
    status: Vec<CounterStatus>,
}

impl Counters {
    /// Opens all events of this CPU that can be opened.
    pub fn open(workers: &Workers) -> Self {
        let events = events::for_this_cpu();
        Self::open_events(workers, &events)
    }

    #[cfg(target_os = "linux")]
    fn open_events(workers: &Workers, events: &[Event]) -> Self {
        let (groups, status) = perf::Groups::open(workers, events);
        let mut counters = Counters { groups, status };
        counters.self_test(workers);
        counters
    }

    #[cfg(not(target_os = "linux"))]
    fn open_events(_: &Workers, events: &[Event]) -> Self {
        let reason = format!(
            "counters are read through Linux's perf; this is {}",
            std::env::consts::OS
        );
        let status = events
            .iter()
            .map(|e| e.status(Err(reason.clone())))
            .collect();
        Counters { status }
    }

    /// Status of each event: available, or the reason why not.
    pub fn status(&self) -> &[CounterStatus] {
        &self.status
    }

    /// Calls `region` once and returns the counts divided by `runs`.
    #[cfg(target_os = "linux")]
    pub fn count(
        &mut self,
        workers: &Workers,
        runs: usize,
        region: impl FnOnce(),
    ) -> Vec<CounterValue> {
        self.groups.count(workers, runs, region)
    }

    /// Calls `region` once. This system has no counters.
    #[cfg(not(target_os = "linux"))]
    pub fn count(&mut self, _: &Workers, _: usize, region: impl FnOnce()) -> Vec<CounterValue> {
        region();
        Vec::new()
    }

    /// Counts a loop with a known number of operations. A FLOP counter that deviates by more than 5 % is marked as
    /// untrusted.
    #[cfg(target_os = "linux")]
    fn self_test(&mut self, workers: &Workers) {
        use convroof_kernels::Isa;
        let flop_events =
            |s: &CounterStatus| s.available && events::flops_per_event(&s.event).is_some();
        if !self.status.iter().any(flop_events) {
            return;
        }
        let isa = Isa::best();
        let rounds = 1 << 20;
        let expected = std::sync::atomic::AtomicU64::new(0);
        let values = self.count(workers, 1, || {
            workers.broadcast(|_| {
                let flops = convroof_kernels::probe::fma(isa, rounds);
                expected.fetch_add(flops, std::sync::atomic::Ordering::SeqCst);
            });
        });
        let counted = flops(&values).unwrap_or(0.0);
        let expected = expected.into_inner() as f64;
        if (counted / expected - 1.0).abs() > 0.05 {
            for status in self.status.iter_mut().filter(|s| flop_events(s)) {
                status.reason = Some(format!(
                    "distrusted: a loop of {expected:.3e} flops was counted as {counted:.3e}"
                ));
            }
        }
    }
}

/// Number of f32 operations, summed over the counters of all vector widths; none without such counters.
pub fn flops(values: &[CounterValue]) -> Option<f64> {
    let per_event = |v: &CounterValue| events::flops_per_event(&v.event).map(|n| n * v.per_run);
    let counts: Vec<f64> = values.iter().filter_map(per_event).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

/// Counted traffic from a level of the memory hierarchy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Level that the data came from.
    pub level: Level,
    /// Bytes of one run, summed over all workers.
    pub bytes: f64,
}

/// Traffic at the memory controllers, or else into L2; none if neither is counted.
pub fn traffic(values: &[CounterValue]) -> Option<Traffic> {
    let from = |level| {
        let own = values
            .iter()
            .filter(|v| events::lines_from(&v.event) == Some(level));
        let lines: Vec<f64> = own.map(|v| v.per_run).collect();
        (!lines.is_empty()).then(|| Traffic {
            level,
            bytes: lines.iter().sum::<f64>() * events::LINE_BYTES,
        })
    };
    // A layer that fits in the caches moves few bytes at the controllers. Then the traffic into L2 tells more.
    let (dram, l2) = (from(Level::Dram), from(Level::L3));
    match (dram, l2) {
        (Some(dram), Some(l2)) if dram.bytes < 0.5 * l2.bytes => Some(l2),
        (dram, l2) => dram.or(l2),
    }
}

/// Use of the issue slots of a run: the first level of top-down analysis, as fractions of all slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slots {
    /// The operation retired.
    pub retired: f64,
    /// Fetch and decode delivered no operation.
    pub frontend: f64,
    /// The back end couldn't accept an operation: it waited for data or for execution units.
    pub backend: f64,
    /// The slot was lost to wrong speculation.
    pub lost: f64,
}

/// Use of the issue slots; none if they aren't counted.
pub fn slots(values: &[CounterValue]) -> Option<Slots> {
    let value = |name: &str| {
        let own = values.iter().find(|v| v.event == name);
        own.map(|v| v.per_run)
    };
    let all = value(events::SLOTS).filter(|&n| n > 0.0)?;
    let share = |name| Some((value(name)? / all).clamp(0.0, 1.0));
    let (retired, frontend) = (share(events::RETIRED)?, share(events::FRONTEND)?);
    let rest = |known: f64| (1.0 - retired - frontend - known).max(0.0);
    let (backend, lost) = match share(events::BACKEND) {
        Some(backend) => (backend, rest(backend)),
        None => {
            let issued = (share(events::ISSUED)? - retired).max(0.0);
            let lost = issued + share(events::RECOVERY)?;
            (rest(lost), lost)
        }
    };
    Some(Slots {
        retired,
        frontend,
        backend,
        lost,
    })
}

#[cfg(test)]
mod values_tests {
    use super::*;
    use crate::record::CounterSource;

    fn lines(event: &str, per_run: f64) -> CounterValue {
        CounterValue {
            event: event.into(),
            source: CounterSource::Pmu,
            per_run,
            running_fraction: 1.0,
        }
    }

    #[test]
    fn the_farthest_level_that_moves_most_counts() {
        assert_eq!(traffic(&[lines("cycles", 1e6)]), None);
        let l2 = lines("l2-lines-in", 1000.0);
        let level = |values: &[CounterValue]| traffic(values).map(|t| (t.level, t.bytes));
        assert_eq!(level(std::slice::from_ref(&l2)), Some((Level::L3, 64e3)));
        let dram = [
            lines("dram-read-lines", 900.0),
            lines("dram-write-lines", 50.0),
            l2.clone(),
        ];
        assert_eq!(level(&dram), Some((Level::Dram, 950.0 * 64.0)));
        let quiet = [lines("dram-read-lines", 3.0), l2];
        assert_eq!(level(&quiet), Some((Level::L3, 64e3)));
    }

    #[test]
    fn slots_add_up() {
        assert_eq!(slots(&[lines("slots", 100.0)]), None);
        let value = |(name, n): (&str, f64)| lines(name, n);
        let modern = [
            ("slots", 100.0),
            ("slots-retired", 60.0),
            ("slots-frontend", 3.0),
            ("slots-backend", 35.0),
        ];
        let skylake = [
            ("slots", 100.0),
            ("slots-retired", 60.0),
            ("slots-frontend", 3.0),
            ("slots-issued", 61.0),
            ("slots-recovery", 1.0),
        ];
        for counted in [&modern[..], &skylake] {
            let values: Vec<CounterValue> = counted.iter().copied().map(value).collect();
            let found = slots(&values).expect("counted");
            let parts = [found.retired, found.frontend, found.backend, found.lost];
            let wanted = [0.6, 0.03, 0.35, 0.02];
            let near = |(a, b): (f64, f64)| (a - b).abs() < 1e-9;
            assert!(parts.into_iter().zip(wanted).all(near), "{parts:?}");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::machine::Topology;
    use crate::record::CounterSource;

    #[test]
    fn every_event_is_counted_or_excused() {
        let workers = Workers::new(&Topology::detect(), 1).expect("a worker");
        let mut counters = Counters::open(&workers);
        assert!(
            counters
                .status()
                .iter()
                .all(|s| s.available || s.reason.is_some())
        );
        let available = counters.status().iter().filter(|s| s.available).count();
        let values = counters.count(&workers, 1, || {
            workers.broadcast(|_| std::hint::black_box(vec![1u8; 8 << 20]).len());
        });
        assert_eq!(values.len(), available);
        let faults = values.iter().find(|v| v.event == "page-faults");
        if let Some(faults) = faults {
            assert_eq!(faults.source, CounterSource::Software);
            assert!(faults.per_run >= 1.0, "{faults:?}");
        }
    }
}
