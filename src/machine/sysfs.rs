//! CPUs and caches from Linux's files below `/sys` and `/proc`.

use super::{cgroup, cpulist};
use std::collections::BTreeMap;
use std::path::Path;

/// A logical CPU that this process may run on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cpu {
    /// CPU number.
    pub(super) number: usize,
    /// CPUs of the same physical core, including this one.
    pub(super) core: Vec<usize>,
    /// Socket, if known.
    pub(super) package: Option<i64>,
    /// Features that distinguish kinds of cores.
    kind: CoreKind,
    /// Capacity (Arm) or highest frequency; comparable only within a machine.
    speed: usize,
    /// Data and unified caches, from L1 on.
    pub(super) caches: Vec<Cache>,
}

/// Features that distinguish kinds of cores: the sizes of L1 and L2, and on Arm the register that names the design.
/// Frequencies don't distinguish them: on some CPUs the frequencies of both kinds are close.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CoreKind {
    l1: usize,
    l2: usize,
    midr: String,
}

/// A cache of a CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cache {
    /// 1, 2 or 3.
    pub(super) level: u32,
    /// Size in bytes.
    pub(super) bytes: usize,
    /// The CPUs that share it.
    pub(super) cpus: Vec<usize>,
}

/// CPUs of the machine below `root`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Available {
    /// All CPUs of the machine.
    pub(super) present: Vec<usize>,
    /// CPUs that are online.
    pub(super) online: Vec<usize>,
    /// CPUs that this process may run on, according to its affinity and its cpuset.
    pub(super) allowed: Vec<usize>,
}

/// Number of CPUs in an affinity mask.
const MASK: usize = 1024;

/// CPUs that this process may run on; none if the system doesn't tell.
pub(super) fn available(root: &Path) -> Option<Available> {
    let list = |path: &str| cpulist::parse(&read(root, path)?);
    let status = read(root, "proc/self/status")?;
    let affinity = status
        .lines()
        .find_map(|l| l.strip_prefix("Cpus_allowed_list:"));
    let affinity = cpulist::parse(affinity?)?;
    let online = list("sys/devices/system/cpu/online").unwrap_or_else(|| affinity.clone());
    let mut allowed = affinity;
    allowed.retain(|c| *c < MASK);
    // The mask may contain offline CPUs or CPUs that don't exist. Some containers number their CPUs anew: a list that
    // shares no CPU with the mask is ignored.
    for list in [Some(online.clone()), cgroup::cpuset(root)]
        .into_iter()
        .flatten()
    {
        if allowed.iter().any(|c| list.contains(c)) {
            allowed.retain(|c| list.contains(c));
        }
    }
    (!allowed.is_empty()).then(|| Available {
        present: list("sys/devices/system/cpu/present").unwrap_or_else(|| online.clone()),
        online,
        allowed,
    })
}

/// Describes CPUs. Unknown properties stay empty.
pub(super) fn cpus(root: &Path, numbers: &[usize]) -> Vec<Cpu> {
    numbers.iter().map(|&number| cpu(root, number)).collect()
}

fn cpu(root: &Path, number: usize) -> Cpu {
    let file = |name: &str| read(root, &format!("sys/devices/system/cpu/cpu{number}/{name}"));
    let count = |name: &str| file(name).and_then(|t| t.parse::<usize>().ok());
    // Core ids aren't unique: arm64 counts from 0 in each cluster. Before Linux 5.2 the list had the other name.
    let siblings =
        file("topology/core_cpus_list").or_else(|| file("topology/thread_siblings_list"));
    let siblings = siblings.and_then(|t| cpulist::parse(&t));
    let core = siblings.filter(|list| list.contains(&number));
    let caches = caches(number, file);
    let size = |level| {
        caches
            .iter()
            .find(|c| c.level == level)
            .map_or(0, |c| c.bytes)
    };
    let kind = CoreKind {
        l1: size(1),
        l2: size(2),
        midr: file("regs/identification/midr_el1").unwrap_or_default(),
    };
    Cpu {
        number,
        core: core.unwrap_or_else(|| vec![number]),
        package: file("topology/physical_package_id").and_then(|t| t.parse().ok()),
        speed: count("cpu_capacity")
            .or_else(|| count("cpufreq/cpuinfo_max_freq"))
            .unwrap_or(0),
        kind,
        caches,
    }
}

fn caches(number: usize, file: impl Fn(&str) -> Option<String>) -> Vec<Cache> {
    let cache = |index: usize| {
        let file = |name: &str| file(&format!("cache/index{index}/{name}"));
        let cache = Cache {
            level: file("level")?.parse().ok()?,
            bytes: parse_size(&file("size")?)?,
            cpus: file("shared_cpu_list")
                .and_then(|t| cpulist::parse(&t))
                .filter(|cpus| cpus.contains(&number))
                .unwrap_or_else(|| vec![number]),
        };
        (file("type")? != "Instruction").then_some(cache)
    };
    let mut caches: Vec<Cache> = (0..8).filter_map(cache).collect();
    caches.sort_by_key(|c| c.level);
    caches
}

/// One CPU of each physical core of the fastest kind. They are sorted by socket, then by L3, so that the first few are
/// close to each other.
pub(super) fn workers(root: &Path, cpus: &[Cpu]) -> Vec<usize> {
    let mut cores: BTreeMap<usize, &Cpu> = BTreeMap::new();
    for cpu in fastest(root, cpus) {
        // The first CPU identifies a core, even if this process may not use that CPU.
        cores.entry(cpu.core[0]).or_insert(cpu);
    }
    let mut cores: Vec<&Cpu> = cores.into_values().collect();
    let place = |cpu: &Cpu| {
        let l3 = cpu.caches.iter().find(|c| c.level == 3);
        (cpu.package, l3.map(|c| c.cpus[0]), cpu.number)
    };
    cores.sort_by_key(|cpu| place(cpu));
    cores.into_iter().map(|cpu| cpu.number).collect()
}

fn fastest<'a>(root: &Path, cpus: &'a [Cpu]) -> Vec<&'a Cpu> {
    // Intel's hybrid CPUs have an event source per kind of core, which lists its CPUs.
    let performance = read(root, "sys/devices/cpu_core/cpus").and_then(|t| cpulist::parse(&t));
    if let Some(list) = performance {
        let named: Vec<&Cpu> = cpus.iter().filter(|c| list.contains(&c.number)).collect();
        if !named.is_empty() {
            return named;
        }
    }
    // If no speed is known, the kind with the larger L1 counts as faster.
    let known = cpus.iter().any(|c| c.speed > 0);
    let speed = |cpu: &Cpu| if known { cpu.speed } else { cpu.kind.l1 };
    let mut kinds: BTreeMap<&CoreKind, usize> = BTreeMap::new();
    for cpu in cpus {
        let best = kinds.entry(&cpu.kind).or_default();
        *best = speed(cpu).max(*best);
    }
    let top = kinds.values().copied().max().unwrap_or(0);
    let fast = |cpu: &&Cpu| {
        let kind = kinds[&cpu.kind];
        // Tolerances: equal kinds may differ by rounding, and cores of one kind in their highest boost.
        kind * 100 >= top * 97 && speed(cpu) * 10 >= kind * 8
    };
    cpus.iter().filter(fast).collect()
}

/// `32K`, `1024K`, `32M`.
fn parse_size(text: &str) -> Option<usize> {
    let (digits, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let factor = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits
        .parse::<usize>()
        .ok()
        .filter(|&n| n > 0)?
        .checked_mul(factor)
}

fn read(root: &Path, path: &str) -> Option<String> {
    let text = std::fs::read_to_string(root.join(path)).ok()?;
    Some(text.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1024K"), Some(1 << 20));
        assert_eq!(parse_size("105M"), Some(105 << 20));
        for wrong in ["oops", "0K", "K", "", "99999999999999999999K"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }
}
