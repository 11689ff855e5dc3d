//! How much memory this process may have: its cgroup's limit (version 2 or 1), else the machine's memory.

use std::path::Path;

/// The data may use this part of it; the rest is for the program, for copies, and for what is not counted.
const PERCENT: u64 = 60;
/// Above this a limit of version 1 means none.
const NO_LIMIT: u64 = 1 << 60;
/// The assumption if nothing can be read.
const UNKNOWN: u64 = 512 * 1024 * 1024;

/// The default memory for data.
pub fn memory_limit() -> u64 {
    of(Path::new("/")) / 100 * PERCENT
}

/// How much the process may use, by the files below `root`.
fn of(root: &Path) -> u64 {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        // number:controllers:path
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|one| one == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // Each parent group limits, too. Within a container the path may be the host's, and the mount the group's own.
        let group = group.trim_start_matches('/');
        let paths = std::iter::successors(Some(Path::new(group)), |path| path.parent());
        for path in paths {
            let found = read(&format!("{mount}/{}/{file}", path.display()));
            let limit = found.and_then(|text| text.trim().parse::<u64>().ok()).filter(|limit| *limit < NO_LIMIT);
            least = least.into_iter().chain(limit).min();
        }
    }
    let machine = read("proc/meminfo").and_then(|text| {
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        kilobytes.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    });
    let machine = machine.map(|kilobytes| kilobytes.saturating_mul(1024));
    least.into_iter().chain(machine).min().unwrap_or(UNKNOWN)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        of(root.path())
    }

    #[test]
    fn the_least_limit_counts_of_either_version_else_the_machine() {
        const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        1000000 kB\nMemFree: 5 kB\n");
        assert_eq!(machine(&[]), UNKNOWN);
        assert_eq!(machine(&[MEMINFO]), 1_024_000_000);
        // In a container: the path is the host's, but the mount shows the group itself.
        let own = ("proc/self/cgroup", "0::/kubepods/pod1/abc\n");
        assert_eq!(machine(&[MEMINFO, own, ("sys/fs/cgroup/memory.max", "134217728\n")]), 134_217_728);
        assert_eq!(machine(&[MEMINFO, own, ("sys/fs/cgroup/memory.max", "max\n")]), 1_024_000_000);
        let above = [
            MEMINFO,
            own,
            ("sys/fs/cgroup/kubepods/pod1/memory.max", "1000\n"),
            ("sys/fs/cgroup/kubepods/pod1/abc/memory.max", "5000\n"),
        ];
        assert_eq!(machine(&above), 1000);
        let one = ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n");
        let limit = ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "99999999\n");
        assert_eq!(machine(&[MEMINFO, one, limit]), 99_999_999);
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[MEMINFO, one, none]), 1_024_000_000);
        assert_eq!(machine(&[MEMINFO, ("proc/self/cgroup", "nonsense")]), 1_024_000_000);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(memory_limit() > 1024 * 1024);
    }
}
