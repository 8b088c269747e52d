//! Linux control groups: cpuset, CPU quota, and how often the quota was used up. [`folders`] finds the group of any
//! controller.
//!
//! Both versions of control groups are read, and mixtures of them. `/proc/self/cgroup` gives the group's path, and
//! `/proc/self/mountinfo` the mount point. A limit of a parent also holds for its children.

use super::cpulist;
use crate::record::Throttling;
use std::path::{Path, PathBuf};

/// CPU quota of this process, in CPUs: 1.5 is one CPU and half of another. None without a quota.
pub(super) fn quota(root: &Path) -> Option<f64> {
    let quota = |folder: PathBuf| {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        // Version 2: `max 100000` or `150000 100000`. Version 1: -1 or 150000, with the period in another file.
        let text = match read("cpu.max") {
            Some(text) => text,
            None => format!(
                "{} {}",
                read("cpu.cfs_quota_us")?,
                read("cpu.cfs_period_us")?
            ),
        };
        let mut numbers = text.split_whitespace().map(|n| n.parse::<f64>().ok());
        let (quota, period) = (numbers.next()??, numbers.next()??);
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    };
    folders(root, "cpu")
        .into_iter()
        .filter_map(quota)
        .reduce(f64::min)
}

/// CPUs of this process's cpuset; none if there is no readable one.
pub(super) fn cpuset(root: &Path) -> Option<Vec<usize>> {
    let files = [
        "cpuset.cpus.effective",
        "cpuset.effective_cpus",
        "cpuset.cpus",
    ];
    // The nearest group with CPUs, since in version 2 not every group has the controller.
    folders(root, "cpuset").into_iter().find_map(|folder| {
        files.into_iter().find_map(|file| {
            let text = std::fs::read_to_string(folder.join(file)).ok()?;
            cpulist::parse(&text).filter(|cpus| !cpus.is_empty())
        })
    })
}

/// How often and how long the quota stopped this process's groups since they were created. None if the system doesn't
/// count it.
pub(super) fn throttling(root: &Path) -> Option<Throttling> {
    let stat = |folder: PathBuf| {
        let text = std::fs::read_to_string(folder.join("cpu.stat")).ok()?;
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line?.trim().parse::<u64>().ok()
        };
        let us = field("throttled_usec").or_else(|| field("throttled_time").map(|ns| ns / 1000));
        Some(Throttling {
            periods: field("nr_throttled")?,
            us: us.unwrap_or(0),
        })
    };
    let all = folders(root, "cpu").into_iter().filter_map(stat);
    all.reduce(|a, b| Throttling {
        periods: a.periods.saturating_add(b.periods),
        us: a.us.saturating_add(b.us),
    })
}

/// Folders of this process's group for a controller and of its parents, nearest first.
pub(super) fn folders(root: &Path, controller: &str) -> Vec<PathBuf> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let find = |v1: bool| {
        let group = groups.lines().find_map(|line| {
            // `4:cpu,cpuacct:/a/b`. Version 2 lists no controllers.
            let mut fields = line.splitn(3, ':');
            let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
            let own = match v1 {
                true => names.split(',').any(|n| n == controller),
                false => names.is_empty(),
            };
            own.then(|| PathBuf::from(path))
        })?;
        let (top, point) = mounts
            .lines()
            .find_map(|line| mount(line, v1.then_some(controller)))?;
        Some((group, top, point))
    };
    let Some((group, top, point)) = find(true).or_else(|| find(false)) else {
        return Vec::new();
    };
    let point = root.join(point.strip_prefix("/").unwrap_or(&point));
    // In a container, the mount may show only the container's own group. The path is then the host's, or leads out of
    // the mount.
    let below = group.strip_prefix(&top).unwrap_or(Path::new(""));
    let normal = |c| matches!(c, std::path::Component::Normal(_));
    let mut folder = point.clone();
    if below.components().all(normal) {
        folder.push(below);
    }
    let all = folder.ancestors().take_while(|f| f.starts_with(&point));
    all.map(Path::to_path_buf).collect()
}

/// Root and mount point of a line of `mountinfo`, if it mounts this controller of version 1, or version 2 for none.
fn mount(line: &str, controller: Option<&str>) -> Option<(PathBuf, PathBuf)> {
    let (head, tail) = line.split_once(" - ")?;
    let mut tail = tail.split(' ');
    let (kind, options) = (tail.next()?, tail.nth(1).unwrap_or(""));
    let wanted = match controller {
        Some(name) => kind == "cgroup" && options.split(',').any(|o| o == name),
        None => kind == "cgroup2",
    };
    let mut head = head.split(' ').skip(3);
    // Spaces in paths are octal escapes.
    let path = |text: &str| PathBuf::from(text.replace("\\040", " "));
    wanted.then_some((path(head.next()?), path(head.next()?)))
}
