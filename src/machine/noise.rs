//! Disturbances by other processes and by the hypervisor, from Linux's `/proc` and `/sys`. Other systems have no such
//! files, so that all values are unknown there.

use super::Topology;
use crate::interrupt;
use crate::record::NoisePeriod;
use crate::stats::shorten;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Length of an observation of the idle machine.
const WINDOW: Duration = Duration::from_millis(100);

/// Fraction of the cores' time that others may take at a quiet moment.
const QUIET: f64 = 0.1;

/// Text beside the progress bar during [`settle`].
pub const WAITING: &str = "waiting for a quiet moment";

/// Counter of disturbances of the workers' cores, SMT siblings included.
pub struct Watch {
    root: PathBuf,
    cpus: Vec<usize>,
    since: Instant,
    last: Counts,
}

impl Watch {
    /// Begins to count for the cores of the first `threads` workers.
    pub fn begin(topology: &Topology, threads: usize) -> Watch {
        Watch::below(Path::new("/"), topology.logical_cpus(threads))
    }

    /// Counts from the files below `root`.
    fn below(root: &Path, cpus: Vec<usize>) -> Watch {
        Watch {
            last: Counts::read(root, &cpus),
            root: root.to_path_buf(),
            cpus,
            since: Instant::now(),
        }
    }

    /// Disturbances since the previous call, or since the beginning. It takes some milliseconds, so it is called
    /// between samples.
    pub fn period(&mut self, during: impl ToString) -> NoisePeriod {
        let now = Counts::read(&self.root, &self.cpus);
        let seconds = self.since.elapsed().as_secs_f64();
        let before = std::mem::replace(&mut self.last, now);
        self.since = Instant::now();
        let (steal, others) = self.last.taken_since(&before).unzip();
        NoisePeriod {
            during: during.to_string(),
            seconds: shorten(seconds, 3),
            load_average: load_average(&self.root),
            steal,
            others: others.flatten(),
            switches: self.last.switches_since(&before),
            mhz: clocks(&self.root, &self.cpus),
        }
    }
}

/// Longest wait for a quiet moment: 3 s, but at most 5 % of the budget. A debug build never waits, since its times are
/// meaningless.
pub fn patience(budget: Option<Duration>) -> Duration {
    let most = Duration::from_secs(3);
    match budget {
        _ if cfg!(debug_assertions) => Duration::ZERO,
        Some(budget) => most.min(budget / 20),
        None => most,
    }
}

/// Observes the machine before a measurement. While others take more than 10 % of the workers' cores, it waits, for at
/// most `patience`. `waiting` is called once if it waits. Returns the last observation.
pub fn settle(watch: &mut Watch, patience: Duration, waiting: impl FnOnce()) -> NoisePeriod {
    let observe = || {
        std::thread::sleep(WINDOW);
        watch.period("before")
    };
    let most = patience.as_millis() / WINDOW.as_millis();
    settled(observe, most as usize, waiting)
}

/// Observes once, and up to `most` times more until the machine is quiet.
fn settled(
    mut observe: impl FnMut() -> NoisePeriod,
    most: usize,
    waiting: impl FnOnce(),
) -> NoisePeriod {
    let busy = |p: &NoisePeriod| p.others.unwrap_or(0.0) + p.steal.unwrap_or(0.0) > QUIET;
    let mut period = observe();
    let mut waiting = Some(waiting);
    for _ in 0..most {
        if !busy(&period) || interrupt::requested() {
            break;
        }
        if let Some(waiting) = waiting.take() {
            waiting();
        }
        period = observe();
    }
    period
}

/// Counts since the machine or the process started.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counts {
    /// Time of the workers' cores.
    cores: Option<CoreTime>,
    /// CPU time of this process and its descendants, in ticks.
    own: Option<u64>,
    /// Involuntary context switches of each worker, by its thread id.
    switches: Option<BTreeMap<String, u64>>,
}

/// Time of some CPUs in ticks of the system's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct CoreTime {
    all: u64,
    busy: u64,
    steal: u64,
}

impl Counts {
    fn read(root: &Path, cpus: &[usize]) -> Counts {
        Counts {
            cores: read(root, "proc/stat").and_then(|text| core_time(&text, cpus)),
            own: own_time(root),
            switches: switches(root),
        }
    }

    /// Fractions of the cores' time that the hypervisor and that other processes took. Time of this process on other
    /// cores counts as if it were on these, so the second is a lower bound.
    fn taken_since(&self, before: &Counts) -> Option<(f64, Option<f64>)> {
        let (now, then) = (self.cores?, before.cores?);
        let all = now.all.saturating_sub(then.all);
        let fraction = |ticks: u64| shorten(ticks as f64 / all as f64, 4);
        let own = self.own.zip(before.own);
        let own = own.map(|(now, then)| now.saturating_sub(then));
        let busy = now.busy.saturating_sub(then.busy);
        (all > 0).then(|| {
            (
                fraction(now.steal.saturating_sub(then.steal)),
                own.map(|own| fraction(busy.saturating_sub(own))),
            )
        })
    }

    /// Involuntary context switches of all workers. A worker that has ended counts no more.
    fn switches_since(&self, before: &Counts) -> Option<u64> {
        let (now, then) = (self.switches.as_ref()?, before.switches.as_ref()?);
        let more = now
            .iter()
            .map(|(thread, n)| n.saturating_sub(then.get(thread).copied().unwrap_or(0)));
        Some(more.sum())
    }
}

fn read(root: &Path, path: &str) -> Option<String> {
    std::fs::read_to_string(root.join(path)).ok()
}

/// Time of some CPUs according to `/proc/stat`; none if it lists none of them.
fn core_time(stat: &str, cpus: &[usize]) -> Option<CoreTime> {
    let times = stat.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let cpu: usize = words.next()?.strip_prefix("cpu")?.parse().ok()?;
        // user, nice, system, idle, iowait, irq, softirq, steal. Time of guests follows, which `user` includes.
        let ticks: Vec<u64> = words.take(8).map_while(|w| w.parse().ok()).collect();
        let sum = |fields: &[usize]| fields.iter().filter_map(|&f| ticks.get(f)).sum();
        cpus.contains(&cpu).then(|| CoreTime {
            all: ticks.iter().sum(),
            busy: sum(&[0, 1, 2, 5, 6]),
            steal: sum(&[7]),
        })
    });
    times.reduce(|a, b| CoreTime {
        all: a.all + b.all,
        busy: a.busy + b.busy,
        steal: a.steal + b.steal,
    })
}

/// CPU time of this process and its descendants, such as hosts of other libraries, in ticks.
fn own_time(root: &Path) -> Option<u64> {
    let (own, _) = process(&read(root, "proc/self/stat")?)?;
    let folders = std::fs::read_dir(root.join("proc")).ok()?.flatten();
    let numbered = folders.filter(|f| {
        let name = f.file_name();
        name.to_str().is_some_and(|n| n.parse::<u32>().is_ok())
    });
    let all: BTreeMap<u32, Process> = numbered
        .filter_map(|f| process(&read(&f.path(), "stat")?))
        .collect();
    let descends = |mut number: u32| {
        // Bounded, since a process may end while the list is read, and another one get its number.
        for _ in 0..64 {
            match all.get(&number) {
                _ if number == own => return true,
                Some(process) => number = process.parent,
                None => return false,
            }
        }
        false
    };
    let ours = all.iter().filter(|(number, _)| descends(**number));
    Some(ours.map(|(_, process)| process.ticks).sum())
}

/// A process by its file `stat`.
struct Process {
    parent: u32,
    /// CPU time, and that of its children that have ended.
    ticks: u64,
}

/// Number and description of a process from its file `stat`.
fn process(stat: &str) -> Option<(u32, Process)> {
    let number = stat.split(' ').next()?.parse().ok()?;
    // The name is in brackets and may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|t| t.parse::<u64>().ok());
    let parent = fields.get(1)?.parse().ok()?;
    Some((
        number,
        Process {
            parent,
            ticks: ticks.sum::<Option<u64>>()?,
        },
    ))
}

/// Involuntary context switches of each worker since it started. The pools name their threads `worker-0` and so on.
fn switches(root: &Path) -> Option<BTreeMap<String, u64>> {
    let tasks = std::fs::read_dir(root.join("proc/self/task"))
        .ok()?
        .flatten();
    let of_worker = |folder: PathBuf| {
        let name = read(&folder, "comm")?;
        let status = read(&folder, "status")?;
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("nonvoluntary_ctxt_switches:"))?;
        let count = line.trim().parse().ok()?;
        name.starts_with("worker-").then_some(count)
    };
    let counts = tasks.filter_map(|task| {
        let thread = task.file_name().to_string_lossy().into_owned();
        Some((thread, of_worker(task.path())?))
    });
    Some(counts.collect())
}

/// Mean number of runnable processes in the last minute.
fn load_average(root: &Path) -> Option<f64> {
    read(root, "proc/loadavg")?.split(' ').next()?.parse().ok()
}

/// Lowest and highest present clock of some CPUs, MHz; none where the system doesn't tell, such as in most virtual
/// machines.
fn clocks(root: &Path, cpus: &[usize]) -> Option<(f64, f64)> {
    let clock = |cpu: &usize| {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq");
        let khz: f64 = read(root, &path)?.trim().parse().ok()?;
        Some((khz / 1000.0, khz / 1000.0))
    };
    let clocks = cpus.iter().filter_map(clock);
    clocks.reduce(|(low, high), (a, b)| (low.min(a), high.max(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes files below a folder, by their paths.
    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
    }

    fn stat(pid: u32, parent: u32, ticks: [u64; 4]) -> String {
        let [user, system, children, theirs] = ticks;
        format!(
            "{pid} (a) b) R {parent} 1 1 0 -1 4194304 97 0 0 0 {user} {system} {children} {theirs} 20 0 1 0 9 9 9\n"
        )
    }

    #[test]
    fn disturbances_are_what_others_took_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let (own, child) = (stat(7, 1, [10, 0, 0, 0]), stat(9, 7, [5, 0, 0, 0]));
        write(
            root,
            &[
                (
                    "proc/stat",
                    "cpu  1 1\ncpu0 100 0 0 900 0 0 0 0 0 0\ncpu1 0 0 0 1000 0 0 0 0\ncpu2 9 9 9 9 9 9 9 9\n",
                ),
                ("proc/self/stat", &own),
                ("proc/7/stat", &own),
                ("proc/9/stat", &child),
                ("proc/self/task/7/comm", "convroof\n"),
                (
                    "proc/self/task/7/status",
                    "nonvoluntary_ctxt_switches:\t9\n",
                ),
                ("proc/self/task/8/comm", "worker-0\n"),
                (
                    "proc/self/task/8/status",
                    "nonvoluntary_ctxt_switches:\t3\n",
                ),
            ],
        );
        let mut watch = Watch::below(root, vec![0, 1]);
        // 200 ticks on two CPUs: 20 stolen, 100 busy, of which 30 are ours, 10 of a child and 10 of a new grandchild.
        let (own, child) = (stat(7, 1, [30, 10, 0, 0]), stat(9, 7, [5, 10, 0, 0]));
        let grandchild = stat(10, 9, [1, 2, 3, 4]);
        write(
            root,
            &[
                (
                    "proc/stat",
                    "cpu0 140 10 10 920 0 10 10 0 0 0\ncpu1 20 0 0 1060 0 0 0 20\ncpu2 99 9 9 9 9 9 9 9\n",
                ),
                ("proc/self/stat", &own),
                ("proc/7/stat", &own),
                ("proc/9/stat", &child),
                ("proc/10/stat", &grandchild),
                ("proc/11/stat", &stat(11, 1, [50, 0, 0, 0])),
                ("proc/loadavg", "1.25 0.5 0.1 1/100 99\n"),
                (
                    "proc/self/task/8/status",
                    "nonvoluntary_ctxt_switches:\t5\n",
                ),
                ("proc/self/task/9/comm", "worker-1\n"),
                (
                    "proc/self/task/9/status",
                    "nonvoluntary_ctxt_switches:\t4\n",
                ),
                (
                    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
                    "2100000\n",
                ),
                (
                    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq",
                    "3400000\n",
                ),
            ],
        );
        let period = watch.period("a part");
        assert_eq!(period.during, "a part");
        assert_eq!((period.steal, period.others), (Some(0.1), Some(0.25)));
        assert_eq!(
            (period.load_average, period.switches),
            (Some(1.25), Some(6))
        );
        assert_eq!(period.mhz, Some((2100.0, 3400.0)));
        // Nothing happened since, and no tick passed.
        let period = watch.period("another");
        assert_eq!((period.steal, period.others), (None, None));
        assert_eq!(period.switches, Some(0));
    }

    #[test]
    fn damaged_and_missing_files_count_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let unknown = NoisePeriod {
            during: "x".into(),
            ..NoisePeriod::default()
        };
        let observed = |root: &Path| NoisePeriod {
            seconds: 0.0,
            ..Watch::below(root, vec![0]).period("x")
        };
        assert_eq!(observed(folder.path()), unknown);
        write(
            folder.path(),
            &[
                ("proc/stat", "cpu0 1 x\ncpu\ncpux 1\n\n"),
                ("proc/self/stat", "7 (a) R 1 1\n"),
                ("proc/7/stat", ")"),
                ("proc/loadavg", ""),
            ],
        );
        assert_eq!(observed(folder.path()), unknown);
    }

    #[test]
    fn a_process_whose_parents_form_a_circle_is_not_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = stat(7, 1, [10, 0, 0, 0]);
        write(
            folder.path(),
            &[
                ("proc/self/stat", &own),
                ("proc/7/stat", &own),
                ("proc/8/stat", &stat(8, 9, [1, 1, 1, 1])),
                ("proc/9/stat", &stat(9, 8, [1, 1, 1, 1])),
            ],
        );
        assert_eq!(own_time(folder.path()), Some(10));
    }

    #[test]
    fn it_waits_for_a_quiet_moment_but_not_for_ever() {
        let after = |busy: usize, most: usize| {
            let (mut windows, mut waited) = (0, 0);
            let observe = || {
                windows += 1;
                NoisePeriod {
                    others: Some(if windows > busy { 0.01 } else { 0.5 }),
                    ..NoisePeriod::default()
                }
            };
            let last = settled(observe, most, || waited += 1);
            (windows, waited, last.others)
        };
        assert_eq!(after(0, 30), (1, 0, Some(0.01)));
        assert_eq!(after(3, 30), (4, 1, Some(0.01)));
        assert_eq!(after(99, 30), (31, 1, Some(0.5)));
        assert_eq!(after(99, 0), (1, 0, Some(0.5)), "no patience");
        // A system that counts nothing is never waited for.
        let quiet = settled(NoisePeriod::default, 30, || panic!("it waits"));
        assert_eq!(quiet, NoisePeriod::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_work_is_no_disturbance() {
        let topology = Topology::detect();
        let mut watch = Watch::begin(&topology, topology.cores.len());
        let own = |counts: &Counts| counts.own.expect("a CPU time");
        let before = own(&watch.last);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let period = watch.period("spinning");
        assert!(own(&watch.last) > before, "no CPU time was counted");
        let known = (period.others, period.switches);
        assert!(known.0.is_some() && known.1.is_some(), "{period:?}");
        assert!(period.seconds >= 0.2, "{period:?}");
    }
}
