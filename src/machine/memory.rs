//! Memory that this process may still allocate: free memory of the system, limited by its control group.

use super::cgroup;
use std::path::Path;

/// Bytes that can still be allocated; `usize::MAX` if unknown.
pub fn available() -> usize {
    available_under(Path::new("/"))
}

/// Available bytes according to the files below `root`.
fn available_under(root: &Path) -> usize {
    let meminfo = std::fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let of_system =
        field(&meminfo, "MemAvailable:").map(|kilobytes| kilobytes.saturating_mul(1024));
    let groups = cgroup::folders(root, "memory");
    let of_groups = groups.iter().filter_map(|folder| left(folder));
    of_groups.chain(of_system).min().unwrap_or(usize::MAX)
}

/// Free bytes within the limit of a control group; none without a limit.
fn left(folder: &Path) -> Option<usize> {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
    // The names of version 2, then those of version 1.
    let either = |[new, old]: [&str; 2]| read(new).or_else(|| read(old));
    // Without a limit: "max", or in version 1 a number larger than any memory.
    let limit: usize = either(["memory.max", "memory.limit_in_bytes"])?
        .trim()
        .parse()
        .ok()?;
    let used: usize = either(["memory.current", "memory.usage_in_bytes"])?
        .trim()
        .parse()
        .ok()?;
    // Inactive file cache is reclaimed before allocations fail. In version 1, the total includes the child groups.
    let stat = read("memory.stat").unwrap_or_default();
    let cached = field(&stat, "total_inactive_file").or_else(|| field(&stat, "inactive_file"));
    Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<usize> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let found = words.next() == Some(name);
        found.then(|| words.next()?.parse().ok())?
    })
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

    const MOUNT: (&str, &str) = (
        "proc/self/mountinfo",
        "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
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
            MOUNT,
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
            (
                "proc/self/mountinfo",
                "31 23 0:27 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
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
            MOUNT,
            ("sys/fs/cgroup/memory.max", "10\n"),
            ("sys/fs/cgroup/memory.current", "20\n"),
        ]);
        assert_eq!(available_under(root.path()), 0);
    }
}
