//! How much memory this process uses, and how much it may still get.

use std::fs;
use std::path::Path;

/// Returns the process's peak resident memory in bytes, 0 where the system does not tell.
pub fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    kib(&status, "VmHWM:").unwrap_or(0)
}

/// Returns the bytes that this process may still take before the machine or its control group runs out; none where the system does not tell.
pub fn available() -> Option<u64> {
    available_below(Path::new("/"))
}

/// As [`available`], of the system whose `/proc` and `/sys` lie below `root`.
fn available_below(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let machine = kib(&read("proc/meminfo")?, "MemAvailable:")?;
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    let limits = lines.filter_map(|(controllers, path)| match controllers {
        // Version 2 has one tree for all controllers.
        "" => group_left(&root.join("sys/fs/cgroup"), path, ["memory.max", "memory.current", "inactive_file "]),
        _ if controllers.split(',').any(|c| c == "memory") => {
            let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "];
            group_left(&root.join("sys/fs/cgroup/memory"), path, files)
        }
        _ => None,
    });
    Some(limits.fold(machine, u64::min))
}

/// The least that a control group or one above it leaves: its limit less what it uses, but for cached files, which give way.
fn group_left(tree: &Path, path: &str, [limit, usage, cached]: [&str; 3]) -> Option<u64> {
    let whole = tree.join(path.trim_start_matches('/'));
    // In a container the group's own path may not be visible: then the tree starts at the group itself.
    let groups = whole.ancestors().take_while(|group| group.starts_with(tree));
    let left = groups.filter_map(|group| {
        let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        let (limit, used) = (number(limit)?, number(usage)?);
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix(cached)?.trim().parse::<u64>().ok()).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    });
    left.min()
}

/// Returns the value after `name` in lines such as `MemAvailable:   123 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        available_below(root.path())
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    4000 kB\n");

    #[test]
    fn the_machine_s_memory_counts_where_no_group_has_a_limit() {
        assert_eq!(system(&[]), None);
        assert_eq!(system(&[MACHINE]), Some(4000 << 10));
        let unlimited = [MACHINE, ("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "max\n")];
        assert_eq!(system(&unlimited), Some(4000 << 10));
    }

    #[test]
    fn a_limit_of_any_group_above_counts_less_what_is_used_but_for_cached_files() {
        let second = [
            MACHINE,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "1000000\n"),
            ("sys/fs/cgroup/a/memory.current", "700000\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 200000\n"),
        ];
        assert_eq!(system(&second), Some(500_000));
        let first = [
            MACHINE,
            ("proc/self/cgroup", "4:cpu,memory:/c\n1:cpu:/\n"),
            ("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/c/memory.usage_in_bytes", "400\n"),
        ];
        assert_eq!(system(&first), Some(600));
    }
}
