//! Cores and caches: from sysfs on Linux, from CPUID on other x86-64 systems, assumed elsewhere.

use crate::record::CacheInfo;
use convroof_kernels::blocking::Caches;
use std::collections::BTreeMap;
use std::path::Path;

/// Cores that this process may use, and their caches.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// One logical CPU of each physical core, of the fastest kind where kinds differ.
    pub cores: Vec<usize>,
    /// Logical CPUs that this process may run on.
    pub online: usize,
    /// Sockets, if known.
    pub sockets: Option<usize>,
    /// Whether cores have siblings, if known.
    pub smt: Option<bool>,
    /// Data and unified caches of the first core, nearest first.
    pub caches: Vec<CacheInfo>,
}

impl Topology {
    /// Of the machine that this runs on.
    pub fn detect() -> Self {
        let allowed: Vec<usize> = match core_affinity::get_core_ids() {
            Some(ids) if !ids.is_empty() => ids.into_iter().map(|id| id.id).collect(),
            _ => (0..std::thread::available_parallelism().map_or(1, |n| n.get())).collect(),
        };
        let mut topology = from_sysfs(Path::new("/sys/devices/system/cpu"), &allowed);
        // A container may be given less than the CPUs it sees.
        let quota = std::thread::available_parallelism().map_or(allowed.len(), |n| n.get());
        topology.cores.truncate(quota.max(1));
        if topology.caches.is_empty() {
            topology.caches = caches_from_cpuid().unwrap_or_else(assumed_caches);
        }
        topology
    }

    /// Bytes of a level's cache as one of `threads` threads may count on it: shared caches in parts.
    pub fn share(&self, level: u32, threads: usize) -> usize {
        let cache = self.caches.iter().find(|c| c.level == level);
        cache.map_or(0, |c| c.bytes / c.shared_by.min(threads).max(1))
    }

    /// The caches to block for. Of the L3 that a guest is told of most belongs to its neighbours: no more than any core
    /// has to itself.
    pub fn caches(&self, threads: usize) -> Caches {
        let assumed = Caches::default();
        let or = |bytes: usize, assumed| if bytes == 0 { assumed } else { bytes };
        Caches {
            l1d: or(self.share(1, 1), assumed.l1d),
            l2: or(self.share(2, threads), assumed.l2),
            l3: self.share(3, threads).min(32 << 20),
        }
    }
}

/// Reads `root` (`/sys/devices/system/cpu`). Whatever is missing is left out.
fn from_sysfs(root: &Path, allowed: &[usize]) -> Topology {
    let cpu = |cpu: usize, file: &str| {
        let text = std::fs::read_to_string(root.join(format!("cpu{cpu}")).join(file)).ok()?;
        Some(text.trim().to_string())
    };
    let number = |c: usize, file: &str| cpu(c, file).and_then(|t| t.parse::<usize>().ok());

    // Cores by (package, core id), each with its allowed logical CPUs.
    let mut cores: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for &c in allowed {
        let package = number(c, "topology/physical_package_id").unwrap_or(0);
        let core = number(c, "topology/core_id").unwrap_or(c);
        cores.entry((package, core)).or_default().push(c);
    }
    // Kinds of cores tell themselves apart by capacity (Arm) or by highest frequency.
    let speed = |c: usize| {
        number(c, "cpu_capacity")
            .or_else(|| number(c, "cpufreq/cpuinfo_max_freq"))
            .unwrap_or(0)
    };
    let fastest = cores.values().map(|cpus| speed(cpus[0])).max().unwrap_or(0);
    let mut firsts: Vec<usize> = cores.values().map(|cpus| cpus[0]).collect();
    // Cores of one kind differ by a few percent in their highest boost.
    firsts.retain(|&c| speed(c) * 10 >= fastest * 8);
    firsts.sort_unstable();

    let known = root.join("cpu0/topology").exists();
    let sockets: std::collections::BTreeSet<_> = cores.keys().map(|(package, _)| package).collect();
    let first = firsts.first().copied().unwrap_or(0);
    let mut caches = Vec::new();
    for index in 0..8 {
        let file = |name: &str| cpu(first, &format!("cache/index{index}/{name}"));
        let (Some(level), Some(kind), Some(size)) = (file("level"), file("type"), file("size"))
        else {
            continue;
        };
        let (Ok(level), Some(bytes)) = (level.parse(), parse_size(&size)) else {
            continue;
        };
        if kind != "Instruction" {
            let shared_by = file("shared_cpu_list")
                .map_or(1, |list| count_list(&list))
                .max(1);
            caches.push(CacheInfo {
                level,
                bytes,
                shared_by,
                source: "sysfs".into(),
            });
        }
    }
    caches.sort_by_key(|c| c.level);
    Topology {
        cores: firsts,
        online: allowed.len(),
        sockets: known.then_some(sockets.len()),
        smt: known.then(|| cores.values().any(|cpus| cpus.len() > 1)),
        caches,
    }
}

/// `32K`, `1024K`, `32M`.
fn parse_size(text: &str) -> Option<usize> {
    let (digits, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let factor = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    digits
        .parse::<usize>()
        .ok()
        .filter(|&n| n > 0)?
        .checked_mul(factor)
}

/// How many numbers `0-3,8,10-11` lists.
fn count_list(text: &str) -> usize {
    let range = |part: &str| match part.split_once('-') {
        Some((lo, hi)) => match (lo.parse::<usize>(), hi.parse::<usize>()) {
            (Ok(lo), Ok(hi)) if lo <= hi => hi - lo + 1,
            _ => 0,
        },
        None => usize::from(part.parse::<usize>().is_ok()),
    };
    text.split(',').map(|part| range(part.trim())).sum()
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
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// Two fast cores with siblings and two slow ones, as hybrid CPUs have.
    #[test]
    fn one_cpu_of_each_fast_core() {
        let dir = tempfile::tempdir().expect("a folder");
        for (cpu, core, freq) in [
            (0, 0, 5000),
            (1, 0, 5000),
            (2, 4, 4900),
            (3, 4, 4900),
            (4, 8, 3800),
            (5, 9, 3800),
        ] {
            let at = |file: &str| format!("cpu{cpu}/{file}");
            write(dir.path(), &at("topology/core_id"), &core.to_string());
            write(dir.path(), &at("topology/physical_package_id"), "0\n");
            write(
                dir.path(),
                &at("cpufreq/cpuinfo_max_freq"),
                &freq.to_string(),
            );
        }
        for (index, level, kind, size, list) in [
            (0, 1, "Data", "48K", "0-1"),
            (1, 1, "Instruction", "32K", "0-1"),
            (2, 2, "Unified", "2048K", "0-1"),
            (3, 3, "Unified", "30M", "0-5"),
        ] {
            let at = |file: &str| format!("cpu0/cache/index{index}/{file}");
            write(dir.path(), &at("level"), &level.to_string());
            write(dir.path(), &at("type"), kind);
            write(dir.path(), &at("size"), size);
            write(dir.path(), &at("shared_cpu_list"), list);
        }
        let topology = from_sysfs(dir.path(), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(topology.cores, [0, 2]);
        assert_eq!(
            (topology.smt, topology.sockets, topology.online),
            (Some(true), Some(1), 6)
        );
        let sizes: Vec<_> = topology
            .caches
            .iter()
            .map(|c| (c.level, c.bytes, c.shared_by))
            .collect();
        assert_eq!(sizes, [(1, 48 << 10, 2), (2, 2 << 20, 2), (3, 30 << 20, 6)]);
        assert_eq!(topology.share(3, 2), 15 << 20);
    }

    #[test]
    fn nothing_known_is_survived() {
        let topology = from_sysfs(Path::new("/nowhere"), &[0, 1, 2]);
        assert_eq!(topology.cores, [0, 1, 2]);
        assert_eq!((topology.smt, topology.caches.len()), (None, 0));
    }

    #[test]
    fn lists_and_sizes() {
        assert_eq!(count_list("0-3,8,10-11"), 7);
        assert_eq!(parse_size("1024K"), Some(1 << 20));
        assert_eq!(parse_size("oops"), None);
    }
}
