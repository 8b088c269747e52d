//! Linux's perf interface, through the crate perf-event. Groups of counters are opened on each worker's thread.
//!
//! Inherited counters can't be read as a group. So each worker has its own groups, and the counts are added up.

use super::events::{Code, Event};
use crate::machine::pool::Workers;
use crate::record::{CounterStatus, CounterValue};
use perf_event::{Builder, Counter, Group};
use std::io;
use std::path::Path;
use std::sync::Mutex;

/// Counters that run at the same time.
struct OpenGroup {
    group: Group,
    members: Vec<(Event, Counter)>,
}

/// All groups of all workers. The groups of memory controllers belong to worker 0.
pub(super) struct Groups {
    workers: Vec<Mutex<Vec<OpenGroup>>>,
}

impl Groups {
    pub(super) fn open(workers: &Workers, events: &[Event]) -> (Self, Vec<CounterStatus>) {
        let opened = workers.broadcast(|worker| open_on_this_thread(worker, events));
        // An event is available only if it opens on every worker.
        let mut failures: Vec<Option<String>> = vec![None; events.len()];
        for (_, results) in &opened {
            for (failure, result) in failures.iter_mut().zip(results) {
                if let Err(reason) = result {
                    failure.get_or_insert_with(|| reason.clone());
                }
            }
        }
        let status = events
            .iter()
            .zip(&failures)
            .map(|(event, failure)| event.status(failure.clone().map_or(Ok(()), Err)));
        let status = status.collect();
        let failed: Vec<_> = events
            .iter()
            .zip(&failures)
            .filter(|(_, f)| f.is_some())
            .collect();
        let keep = |event: &Event| !failed.iter().any(|(e, _)| e.name == event.name);
        let workers = opened.into_iter().map(|(mut groups, _)| {
            for group in &mut groups {
                group.members.retain(|(event, _)| keep(event));
            }
            Mutex::new(groups)
        });
        (
            Groups {
                workers: workers.collect(),
            },
            status,
        )
    }

    pub(super) fn count(
        &self,
        workers: &Workers,
        runs: usize,
        region: impl FnOnce(),
    ) -> Vec<CounterValue> {
        let each = |f: &(dyn Fn(&mut OpenGroup) + Sync)| {
            workers.broadcast(|worker| {
                let mut groups = self.workers[worker].lock().expect("no one panics here");
                groups.iter_mut().for_each(f);
            });
        };
        // A group that can't be enabled counts nothing, and is skipped below.
        each(&|g| {
            let _ = g.group.reset();
            let _ = g.group.enable();
        });
        region();
        each(&|g| {
            let _ = g.group.disable();
        });
        let mut values: Vec<CounterValue> = Vec::new();
        for groups in &self.workers {
            for open in groups.lock().expect("no one panics here").iter_mut() {
                let Ok(counts) = open.group.read() else {
                    continue;
                };
                let (enabled, running) =
                    (counts.time_enabled() as f64, counts.time_running() as f64);
                let fraction = if enabled > 0.0 {
                    running / enabled
                } else {
                    1.0
                };
                for (event, counter) in &open.members {
                    let Some(&count) = counts.get(counter) else {
                        continue;
                    };
                    // If a group had to share the counters, its count is extrapolated. The record marks that.
                    let count = if fraction > 0.0 {
                        count as f64 / fraction
                    } else {
                        0.0
                    };
                    let per_run = event.scale * count / runs as f64;
                    add(&mut values, event, per_run, fraction);
                }
            }
        }
        values
    }
}

fn add(values: &mut Vec<CounterValue>, event: &Event, per_run: f64, running_fraction: f64) {
    match values.iter_mut().find(|v| v.event == event.name) {
        Some(value) => {
            value.per_run += per_run;
            value.running_fraction = value.running_fraction.min(running_fraction);
        }
        None => values.push(CounterValue {
            event: event.name.into(),
            source: event.source(),
            per_run,
            running_fraction,
        }),
    }
}

type Opened = (Vec<OpenGroup>, Vec<Result<(), String>>);

fn open_on_this_thread(worker: usize, events: &[Event]) -> Opened {
    let mut results = Vec::new();
    let mut uncore = Vec::new();
    // Groups in the order of their first event.
    let mut wanted: Vec<Vec<&Event>> = Vec::new();
    for event in events {
        let result = match event.code {
            // Memory controllers count the traffic of all workers, so one worker reads them.
            Code::Uncore(..) if worker != 0 => Ok(()),
            Code::Uncore(prefix, config) => {
                open_uncore(event, prefix, config).map(|groups| uncore.extend(groups))
            }
            // Open each event alone first: a group with one failing member can't be read.
            _ => builder(event).build().map(drop).map_err(|e| excuse(&e)),
        };
        if result.is_ok() && !matches!(event.code, Code::Uncore(..)) {
            match wanted
                .iter_mut()
                .find(|group| group[0].group == event.group)
            {
                Some(group) => group.push(event),
                None => wanted.push(vec![event]),
            }
        }
        results.push(result);
    }
    let mut groups = Vec::new();
    for group in wanted {
        open_group(&group, &mut groups);
    }
    groups.extend(uncore);
    (groups, results)
}

fn builder<'a>(event: &Event) -> Builder<'a> {
    let mut builder = Builder::new();
    let (kind, config) = match event.code {
        Code::Hardware(config) => (0, config),
        Code::Software(config) => (1, config),
        Code::Raw(config) | Code::Uncore(_, config) => (4, config),
    };
    builder.attrs_mut().type_ = kind;
    builder.attrs_mut().config = config;
    builder
}

/// Opens events as one group, or as several if there are too few counters.
fn open_group(events: &[&Event], groups: &mut Vec<OpenGroup>) {
    let open = || -> io::Result<OpenGroup> {
        let mut group = Group::new()?;
        let mut members = Vec::new();
        for &event in events {
            members.push((event.clone(), builder(event).group(&mut group).build()?));
        }
        Ok(OpenGroup { group, members })
    };
    match open() {
        Ok(group) => groups.push(group),
        Err(_) if events.len() > 1 => {
            let (left, right) = events.split_at(events.len() / 2);
            open_group(left, groups);
            open_group(right, groups);
        }
        // The event opened alone before. Now it has no value, which readers of the record can see.
        Err(_) => {}
    }
}

/// Opens a group for each memory controller whose name has this prefix.
fn open_uncore(event: &Event, prefix: &str, config: u64) -> Result<Vec<OpenGroup>, String> {
    let devices = Path::new("/sys/bus/event_source/devices");
    let entries = std::fs::read_dir(devices).map_err(|e| excuse(&e))?;
    let mut groups = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let numbered = name
            .to_string_lossy()
            .strip_prefix(prefix)
            .map(str::to_string);
        let is_one = numbered.is_some_and(|rest| {
            rest.trim_start_matches('_')
                .chars()
                .all(|c| c.is_ascii_digit())
        });
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).ok();
        let Some(kind) = read("type")
            .and_then(|t| t.trim().parse().ok())
            .filter(|_| is_one)
        else {
            continue;
        };
        let mask = read("cpumask").unwrap_or_default();
        let cpu = mask
            .split([',', '-'])
            .next()
            .and_then(|c| c.trim().parse().ok())
            .unwrap_or(0);
        let open = || -> io::Result<OpenGroup> {
            let mut group = Group::new()?;
            let mut builder = Builder::new().group(&mut group).any_pid().one_cpu(cpu);
            builder.attrs_mut().type_ = kind;
            builder.attrs_mut().config = config;
            // Memory-controller counters can't exclude accesses of the operating system's kernel.
            builder.attrs_mut().set_exclude_kernel(0);
            builder.attrs_mut().set_exclude_hv(0);
            let counter = builder.build()?;
            Ok(OpenGroup {
                group,
                members: vec![(event.clone(), counter)],
            })
        };
        groups.push(open().map_err(|e| excuse(&e))?);
    }
    if groups.is_empty() {
        return Err(format!("there is no {prefix} in {}", devices.display()));
    }
    Ok(groups)
}

/// Message that explains why an event couldn't be opened.
fn excuse(error: &io::Error) -> String {
    let paranoid = || {
        let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
        level.map_or("unknown".to_string(), |l| l.trim().to_string())
    };
    match error.raw_os_error() {
        Some(libc_errno::ENOENT) => "not exposed by this CPU or its hypervisor".into(),
        Some(libc_errno::EACCES) => format!("not permitted: perf_event_paranoid is {}", paranoid()),
        Some(libc_errno::EPERM) => {
            format!(
                "not permitted: perf_event_paranoid is {}, or a container's seccomp filter",
                paranoid()
            )
        }
        Some(libc_errno::EINVAL) => "this CPU has no such event".into(),
        Some(libc_errno::ENODEV | libc_errno::EOPNOTSUPP) => "this CPU can't count it".into(),
        _ => error.to_string(),
    }
}

/// Error numbers of Linux, equal on all architectures that we support.
mod libc_errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EACCES: i32 = 13;
    pub(super) const ENODEV: i32 = 19;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const EOPNOTSUPP: i32 = 95;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excuses_name_the_cause() {
        let excuse = |errno| excuse(&io::Error::from_raw_os_error(errno));
        assert!(excuse(2).contains("hypervisor"));
        assert!(excuse(13).contains("perf_event_paranoid"));
        assert!(excuse(1).contains("seccomp"));
        assert!(excuse(22).contains("no such event"));
    }
}
