//! Cores and caches: from `/sys` and `/proc` on Linux, from CPUID on other x86-64 systems, assumed elsewhere.

use super::sysfs::{self, Available, Cpu};
use super::{cgroup, cpulist};
use crate::record::CacheInfo;
use convroof_kernels::blocking::Caches;
use std::collections::BTreeSet;
use std::path::Path;

/// Cores that this process may use, and their caches.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// CPUs of the workers, in order. By default one logical CPU of each physical core, of the fastest kind if kinds
    /// differ. Otherwise the CPUs chosen by `--cpus`.
    pub cores: Vec<usize>,
    /// Logical CPUs that this process may run on.
    pub online: usize,
    /// Number of sockets, if known.
    pub sockets: Option<usize>,
    /// True if cores have several logical CPUs (SMT), if known.
    pub smt: Option<bool>,
    /// Data and unified caches of the first core, nearest first.
    pub caches: Vec<CacheInfo>,
    /// CPU quota of the control group, in CPUs, if there is one.
    pub quota: Option<f64>,
    /// True if `--cpus` chose `cores`.
    chosen: bool,
    /// Description of each of `cores`; empty if the system gives none.
    cpus: Vec<Cpu>,
}

/// Reason why workers can't run on the CPUs of `--cpus`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--cpus {list}: {why}")]
pub struct CpusError {
    list: String,
    why: String,
}

impl Topology {
    /// Topology of the machine that this program runs on.
    pub fn detect() -> Self {
        Topology::below(Path::new("/"))
    }

    /// Topology with workers on these CPUs, in this order (`0,2,4-7`).
    ///
    /// # Errors
    /// When it isn't a list of CPUs that this process may run on.
    pub fn on(list: &str) -> Result<Self, CpusError> {
        Topology::on_below(Path::new("/"), list)
    }

    /// Topology of the machine that the files below `root` describe.
    fn below(root: &Path) -> Self {
        let available = sysfs::available(root).unwrap_or_else(assumed_cpus);
        let cpus = sysfs::cpus(root, &available.allowed);
        let cores = sysfs::workers(root, &cpus);
        Topology::of(root, &cpus, cores, false)
    }

    fn on_below(root: &Path, list: &str) -> Result<Self, CpusError> {
        let available = sysfs::available(root).unwrap_or_else(assumed_cpus);
        let cores = chosen(&available, list)?;
        let cpus = sysfs::cpus(root, &cores);
        Ok(Topology::of(root, &cpus, cores, true))
    }

    /// Topology with workers on `cores`, a subset of the allowed `cpus`.
    fn of(root: &Path, cpus: &[Cpu], cores: Vec<usize>, chosen: bool) -> Self {
        let packages: BTreeSet<i64> = cpus.iter().filter_map(|c| c.package).collect();
        let known = !packages.is_empty();
        let find = |&core: &usize| cpus.iter().find(|c| c.number == core).cloned();
        let own: Vec<Cpu> = cores.iter().filter_map(find).collect();
        let info = |c: &sysfs::Cache| CacheInfo {
            level: c.level,
            bytes: c.bytes,
            shared_by: c.cpus.len(),
            source: "sysfs".into(),
        };
        let first = own.first().map_or(&[][..], |first| &first.caches);
        let mut caches: Vec<CacheInfo> = first.iter().map(info).collect();
        if caches.is_empty() {
            caches = caches_from_cpuid().unwrap_or_else(assumed_caches);
        }
        Topology {
            cores,
            online: cpus.len(),
            sockets: known.then_some(packages.len()),
            smt: known.then(|| cpus.iter().any(|c| c.core.len() > 1)),
            caches,
            quota: cgroup::quota(root),
            chosen,
            cpus: own,
        }
    }

    /// Default number of threads: one per core, at most the whole CPUs of the quota.
    pub fn threads(&self) -> usize {
        let quota = self.quota.map_or(usize::MAX, |q| q as usize);
        self.cores.len().min(quota).max(1)
    }

    /// Limit on the number of threads, as text.
    pub fn limit(&self) -> String {
        let n = self.cores.len();
        match self.chosen {
            true => format!("--cpus names {n} CPU{}", if n == 1 { "" } else { "s" }),
            false => format!(
                "this machine has {n} physical core{}",
                if n == 1 { "" } else { "s" }
            ),
        }
    }

    /// The workers' CPUs in the syntax of `--cpus`.
    pub fn list(&self) -> String {
        cpulist::text(&self.cores)
    }

    /// Logical CPUs of the cores of the first `threads` workers, SMT siblings included.
    pub fn logical_cpus(&self, threads: usize) -> Vec<usize> {
        let workers = self.cores.iter().take(threads);
        let siblings = |core: &usize| {
            let known = self.cpus.iter().find(|c| c.number == *core);
            known.map_or_else(|| vec![*core], |c| c.core.clone())
        };
        let all: BTreeSet<usize> = workers.flat_map(siblings).collect();
        all.into_iter().collect()
    }

    /// Number of physical cores of the workers. A quota counts as fewer cores, since this number is part of the
    /// machine's id, which must stay the same.
    pub fn physical_cores(&self) -> usize {
        let own: BTreeSet<usize> = self.cpus.iter().map(|c| c.core[0]).collect();
        let cores = if own.is_empty() {
            self.cores.len()
        } else {
            own.len()
        };
        cores.min(self.threads())
    }

    /// Bytes of a level's cache that one of `threads` threads may use. The workers on a cache's CPUs share it. CPUs
    /// without a worker, such as SMT siblings, use none.
    pub fn share(&self, level: u32, threads: usize) -> usize {
        let workers = &self.cpus[..threads.min(self.cpus.len())];
        let share = |cpu: &Cpu| {
            let cache = cpu.caches.iter().find(|c| c.level == level)?;
            let sharing = workers.iter().filter(|w| cache.cpus.contains(&w.number));
            Some(cache.bytes / sharing.count().max(1))
        };
        // The smallest share, since all workers use the same blocks.
        if let Some(share) = workers.iter().filter_map(share).min() {
            return share;
        }
        let cache = self.caches.iter().find(|c| c.level == level);
        cache.map_or(0, |c| c.bytes / c.cores(&self.caches).min(threads).max(1))
    }

    /// Caches to compute block sizes from. A guest shares the L3 that the system reports with other guests, so it
    /// counts as at most one core's part.
    pub fn caches(&self, threads: usize) -> Caches {
        let assumed = Caches::default();
        let or = |bytes: usize, assumed| if bytes == 0 { assumed } else { bytes };
        Caches {
            l1d: or(self.share(1, threads), assumed.l1d),
            l2: or(self.share(2, threads), assumed.l2),
            l3: self.share(3, threads).min(32 << 20),
        }
    }
}

/// The CPUs of a list, if workers can run on them.
fn chosen(available: &Available, list: &str) -> Result<Vec<usize>, CpusError> {
    let wrong = |why: String| CpusError {
        list: list.chars().filter(|c| !c.is_control()).take(64).collect(),
        why,
    };
    let cpus = cpulist::parse(list).filter(|cpus| !cpus.is_empty());
    let cpus = cpus.ok_or_else(|| wrong("expected numbers of CPUs, such as 0,2,4-7".into()))?;
    let allowed = cpulist::text(&available.allowed);
    let mut seen = BTreeSet::new();
    for &cpu in &cpus {
        if !seen.insert(cpu) {
            return Err(wrong(format!("CPU {cpu} is named twice")));
        }
        if available.allowed.contains(&cpu) {
            continue;
        }
        return Err(wrong(if !available.present.contains(&cpu) {
            let all = cpulist::text(&available.present);
            format!("there is no CPU {cpu}: this machine has {all}")
        } else if !available.online.contains(&cpu) {
            format!("CPU {cpu} is offline: this process may use {allowed}")
        } else {
            format!("affinity or cpuset keep this process from CPU {cpu}: it may use {allowed}")
        }));
    }
    Ok(cpus)
}

/// The CPUs of a system that doesn't describe them.
fn assumed_cpus() -> Available {
    let count = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let cpus: Vec<usize> = match core_affinity::get_core_ids() {
        Some(ids) if !ids.is_empty() => ids.into_iter().map(|id| id.id).collect(),
        _ => (0..count()).collect(),
    };
    Available {
        present: cpus.clone(),
        online: cpus.clone(),
        allowed: cpus,
    }
}

#[cfg(target_arch = "x86_64")]
fn caches_from_cpuid() -> Option<Vec<CacheInfo>> {
    use raw_cpuid::{CacheType, CpuId};
    let parameters = CpuId::new().get_cache_parameters()?;
    let mut caches: Vec<CacheInfo> = parameters
        .filter(|c| matches!(c.cache_type(), CacheType::Data | CacheType::Unified))
        .map(|c| CacheInfo {
            level: u32::from(c.level()),
            bytes: c.sets()
                * c.associativity()
                * c.coherency_line_size()
                * c.physical_line_partitions(),
            shared_by: c.max_cores_for_cache(),
            source: "cpuid".into(),
        })
        .collect();
    caches.sort_by_key(|c| c.level);
    (!caches.is_empty()).then_some(caches)
}

#[cfg(not(target_arch = "x86_64"))]
fn caches_from_cpuid() -> Option<Vec<CacheInfo>> {
    None
}

/// Small caches that nearly every machine exceeds.
fn assumed_caches() -> Vec<CacheInfo> {
    let Caches { l1d, l2, l3 } = Caches::default();
    let cache = |(level, bytes)| CacheInfo {
        level,
        bytes,
        shared_by: 1,
        source: "assumed".into(),
    };
    [(1, l1d), (2, l2), (3, l3)].map(cache).into()
}

#[cfg(test)]
mod tests;
