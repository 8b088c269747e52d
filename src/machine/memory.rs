//! Memory that this process may still allocate: free memory of the system, limited by its control group.

use std::path::Path;

/// Bytes that can still be allocated; `usize::MAX` if unknown.
pub fn available() -> usize {
    available_under(Path::new("/"))
}

/// Available bytes according to the files below `root`.
fn available_under(root: &Path) -> usize {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let of_system = read("proc/meminfo").and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
        let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes.saturating_mul(1024))
    });
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let of_groups = groups.lines().filter_map(|line| {
        // hierarchy:controllers:path
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let group = if controllers.is_empty() {
            Group::V2
        } else if controllers.split(',').any(|c| c == "memory") {
            Group::V1
        } else {
            return None;
        };
        group.left(root, path)
    });
    of_groups.chain(of_system).min().unwrap_or(usize::MAX)
}

/// The versions of Linux's control groups.
#[derive(Clone, Copy)]
enum Group {
    V1,
    V2,
}

impl Group {
    /// Free bytes within the limits of a group and its parents; none if none of them has a limit.
    fn left(self, root: &Path, path: &str) -> Option<usize> {
        let (mount, limit, usage, inactive) = match self {
            Group::V1 => (
                "sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
            Group::V2 => (
                "sys/fs/cgroup",
                "memory.max",
                "memory.current",
                "inactive_file",
            ),
        };
        let mount = root.join(mount);
        // In a container the path may be the host's, and the mount shows only the container's own group.
        let own = mount.join(path.trim_start_matches('/'));
        let groups = own
            .ancestors()
            .take_while(|group| group.starts_with(&mount));
        let left = groups.filter_map(|group| {
            let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
            // Without a limit: "max", or in version 1 a number larger than any memory.
            let limit: usize = read(limit)?.trim().parse().ok()?;
            let used: usize = read(usage)?.trim().parse().ok()?;
            // Inactive file cache is reclaimed before allocations fail.
            let stat = read("memory.stat").unwrap_or_default();
            let cached = stat.lines().find_map(|line| {
                let (name, bytes) = line.split_once(' ')?;
                (name == inactive).then(|| bytes.trim().parse::<usize>().ok())?
            });
            let used = used.saturating_sub(cached.unwrap_or(0));
            Some(limit.saturating_sub(used))
        });
        left.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the files of a system, by their paths.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:       20000000 kB\nMemAvailable:   10000000 kB\n",
    );

    #[test]
    fn without_groups_it_is_what_the_system_has() {
        assert_eq!(available_under(system(&[]).path()), usize::MAX);
        let root = system(&[MEMINFO]);
        assert_eq!(available_under(root.path()), 10_000_000 * 1024);
    }

    #[test]
    fn the_smallest_of_all_groups_counts() {
        let root = system(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/memory.current", "100\n"),
            ("sys/fs/cgroup/outer/memory.max", "5000\n"),
            ("sys/fs/cgroup/outer/memory.current", "3000\n"),
            (
                "sys/fs/cgroup/outer/memory.stat",
                "anon 2000\ninactive_file 1000\n",
            ),
        ]);
        assert_eq!(available_under(root.path()), 3000);
    }

    #[test]
    fn a_container_sees_its_group_at_the_root() {
        let root = system(&[
            MEMINFO,
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1024\n"),
        ]);
        assert_eq!(available_under(root.path()), 3072);
    }

    #[test]
    fn what_is_used_beyond_the_limit_leaves_nothing() {
        let root = system(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "10\n"),
            ("sys/fs/cgroup/memory.current", "20\n"),
        ]);
        assert_eq!(available_under(root.path()), 0);
    }
}
