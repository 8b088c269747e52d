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
    /// Where workers run, in their order: one logical CPU of each physical core, of the fastest kind where kinds
    /// differ; or the CPUs that were chosen (`--cpus`).
    pub cores: Vec<usize>,
    /// Logical CPUs that this process may run on.
    pub online: usize,
    /// Sockets, if known.
    pub sockets: Option<usize>,
    /// Whether cores have siblings, if known.
    pub smt: Option<bool>,
    /// Data and unified caches of the first core, nearest first.
    pub caches: Vec<CacheInfo>,
    /// CPUs' worth of time that a control group leaves this process, if it has a quota.
    pub quota: Option<f64>,
    /// True if `cores` were chosen.
    chosen: bool,
    /// What the system says of each of `cores`; nothing if it says nothing.
    cpus: Vec<Cpu>,
}

/// Why workers can't run where they were told to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--cpus {list}: {why}")]
pub struct CpusError {
    list: String,
    why: String,
}

impl Topology {
    /// Of the machine that this runs on.
    pub fn detect() -> Self {
        Topology::below(Path::new("/"))
    }

    /// The same with workers on these CPUs, in this order (`0,2,4-7`).
    ///
    /// # Errors
    /// When it is no list of CPUs that this process may run on.
    pub fn on(list: &str) -> Result<Self, CpusError> {
        Topology::on_below(Path::new("/"), list)
    }

    /// Of the machine that the files below `root` describe.
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

    /// With workers on `cores`, of the CPUs that may be used.
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

    /// The default number of threads: a worker for each core, but no more than a quota lets run at once.
    pub fn threads(&self) -> usize {
        let quota = self.quota.map_or(usize::MAX, |q| q as usize);
        self.cores.len().min(quota).max(1)
    }

    /// Limit on the number of threads, in words.
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

    /// The CPUs of the workers as `--cpus` would have them.
    pub fn list(&self) -> String {
        cpulist::text(&self.cores)
    }

    /// Physical cores that workers run on. A quota counts as fewer cores: machines are told apart by this number, and
    /// always were.
    pub fn physical_cores(&self) -> usize {
        let own: BTreeSet<usize> = self.cpus.iter().map(|c| c.core[0]).collect();
        let cores = if own.is_empty() {
            self.cores.len()
        } else {
            own.len()
        };
        cores.min(self.threads())
    }

    /// Bytes of a level's cache as one of `threads` threads may count on it. A cache is shared by the workers that run
    /// on its CPUs; CPUs without a worker, such as the siblings of cores, take nothing.
    pub fn share(&self, level: u32, threads: usize) -> usize {
        let workers = &self.cpus[..threads.min(self.cpus.len())];
        let share = |cpu: &Cpu| {
            let cache = cpu.caches.iter().find(|c| c.level == level)?;
            let sharing = workers.iter().filter(|w| cache.cpus.contains(&w.number));
            Some(cache.bytes / sharing.count().max(1))
        };
        // The smallest, since all workers use the same blocks.
        if let Some(share) = workers.iter().filter_map(share).min() {
            return share;
        }
        let cache = self.caches.iter().find(|c| c.level == level);
        cache.map_or(0, |c| c.bytes / c.cores(&self.caches).min(threads).max(1))
    }

    /// The caches to block for. Of the L3 that a guest is told of most belongs to its neighbours: no more than any core
    /// has to itself.
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

/// The CPUs of a system that describes none.
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

/// A small common denominator.
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
