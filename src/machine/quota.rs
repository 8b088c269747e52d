//! Effects of a CPU quota on a run, for its record.

use super::Topology;
use crate::record::{Run, Throttling};

/// CPU quota of this process's control group, and its throttling before the run.
pub struct Quota {
    cpus: Option<f64>,
    before: Option<Throttling>,
    /// Throttling of earlier parts of the run.
    earlier: Throttling,
}

/// Prefix of the note that a quota was used up.
const NOTE: &str = "a quota stopped this run";

impl Quota {
    /// Begins to watch a run. `old` is the record that it continues.
    pub fn watch(topology: &Topology, old: Option<&Run>) -> Quota {
        Quota {
            cpus: topology.quota,
            before: super::throttling(),
            earlier: old
                .and_then(|run| run.conditions.throttling)
                .unwrap_or_default(),
        }
    }

    /// Writes the quota and its effect into a record. `now` are the system's present counts.
    pub fn note(&self, run: &mut Run, now: Option<Throttling>) {
        let so_far = grown(self.before, now).map(|since| Throttling {
            periods: since.periods.saturating_add(self.earlier.periods),
            us: since.us.saturating_add(self.earlier.us),
        });
        run.conditions.quota_cpus = self.cpus;
        run.conditions.throttling = so_far.or(run.conditions.throttling);
        run.notes.retain(|note| !note.starts_with(NOTE));
        run.notes.extend(run.conditions.throttling.and_then(text));
    }
}

/// Throttling between two moments.
fn grown(before: Option<Throttling>, now: Option<Throttling>) -> Option<Throttling> {
    let (before, now) = (before?, now?);
    Some(Throttling {
        periods: now.periods.saturating_sub(before.periods),
        us: now.us.saturating_sub(before.us),
    })
}

/// The note; none without throttling.
fn text(t: Throttling) -> Option<String> {
    let text = format!(
        "{NOTE} in {} periods of its control group, for {:.1} ms of all CPUs together: its times are too long",
        t.periods,
        t.us as f64 / 1000.0
    );
    (t.periods > 0).then_some(text)
}

/// Message about throttling between two moments; none if there was no throttling.
pub fn throttled(before: Option<Throttling>, now: Option<Throttling>) -> Option<String> {
    grown(before, now).and_then(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    fn throttling(periods: u64, us: u64) -> Throttling {
        Throttling { periods, us }
    }

    #[test]
    fn what_happened_meanwhile_is_noted_once() {
        let mut run = sample();
        let notes = run.notes.clone();
        let quota = |earlier| Quota {
            cpus: Some(1.5),
            before: Some(throttling(7, 1000)),
            earlier,
        };
        run.conditions.throttling = None;
        let own = quota(throttling(0, 0));
        own.note(&mut run, Some(throttling(7, 1000)));
        assert_eq!(
            run.conditions.throttling,
            Some(throttling(0, 0)),
            "watched, and nothing happened"
        );
        assert_eq!((run.conditions.quota_cpus, &run.notes), (Some(1.5), &notes));
        // The record is written after each layer.
        for now in [throttling(8, 1500), throttling(10, 5500)] {
            own.note(&mut run, Some(now));
        }
        assert_eq!(run.conditions.throttling, Some(throttling(3, 4500)));
        assert_eq!(run.notes.len(), notes.len() + 1);
        let note = run.notes.last().expect("a note");
        assert!(
            note.contains("in 3 periods") && note.contains("4.5 ms"),
            "{note}"
        );
        // A continued record keeps its earlier throttling.
        quota(throttling(3, 4500)).note(&mut run, Some(throttling(8, 1100)));
        assert_eq!(run.conditions.throttling, Some(throttling(4, 4600)));
        assert_eq!(run.notes.len(), notes.len() + 1);
        // A damaged record, or a group whose counts restarted.
        quota(throttling(u64::MAX, u64::MAX)).note(&mut run, Some(throttling(9, 0)));
        assert_eq!(
            run.conditions.throttling,
            Some(throttling(u64::MAX, u64::MAX))
        );
    }

    #[test]
    fn what_is_not_counted_is_absent() {
        let mut run = sample();
        run.conditions.throttling = None;
        let quota = Quota {
            cpus: None,
            before: None,
            earlier: Throttling::default(),
        };
        quota.note(&mut run, None);
        assert_eq!(
            (run.conditions.throttling, run.conditions.quota_cpus),
            (None, None)
        );
    }
}
