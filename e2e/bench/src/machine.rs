//! What the kernel says about processors and memory: whose time it was, and whether anybody else was there.

use std::time::Instant;

/// The kernel's clock ticks a second in /proc (USER_HZ), which is 100 on every Linux.
const TICKS: f64 = 100.0;

/// One look at the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    at: Instant,
    busy: f64,
    steal: f64,
    processors: f64,
}

/// What happened between two looks, as shares of all processors' time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Between {
    pub(super) busy_seconds: f64,
    /// Taken by the host.
    pub(super) steal_share: f64,
    /// How many processor seconds there were.
    pub(super) seconds: f64,
}

impl Look {
    pub(super) fn now() -> Look {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let mut looked = Look { at: Instant::now(), busy: 0.0, steal: 0.0, processors: 0.0 };
        for line in stat.lines() {
            if line.starts_with("cpu ") {
                // user nice system idle iowait irq softirq steal
                let field: Vec<f64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
                let at = |i: usize| field.get(i).copied().unwrap_or(0.0) / TICKS;
                looked.busy = at(0) + at(1) + at(2) + at(5) + at(6);
                looked.steal = at(7);
            } else if line.starts_with("cpu") {
                looked.processors += 1.0;
            }
        }
        looked
    }

    pub(super) fn since(self, before: Look) -> Between {
        let seconds = ((self.at - before.at).as_secs_f64() * self.processors).max(1e-9);
        Between {
            busy_seconds: self.busy - before.busy,
            steal_share: ((self.steal - before.steal) / seconds).clamp(0.0, 1.0),
            seconds,
        }
    }
}

/// User and system time in the text of a `/proc/…/stat`, in seconds. The name may contain anything, even brackets.
pub(super) fn cpu_of_stat(stat: &str) -> Option<f64> {
    let rest = stat.rsplit_once(") ")?.1;
    let field: Vec<&str> = rest.split_whitespace().collect();
    let ticks: f64 = field.get(11)?.parse::<f64>().ok()? + field.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS)
}

/// What a process has used of the processors, in seconds; nothing if it is gone.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| cpu_of_stat(&stat)).unwrap_or(0.0)
}

/// Resident memory that a process cannot do without, in bytes; nothing if it is gone. Pages of files (programs, etcd's
/// mapped database) are left out: the kernel reclaims them when it needs them.
pub(super) fn resident_bytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

/// The processor and memory, for readers of the figures.
pub(super) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_matches([':', '\t', ' ']);
    let count = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let meminfo = read("/proc/meminfo");
    let kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{count} x {model}, {} GiB, Linux {}", kib / (1024 * 1024), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_brackets_in_its_name_is_read_right() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(cpu_of_stat(stat), Some(2.0));
        assert_eq!(cpu_of_stat(""), None);
        assert!(cpu_seconds(std::process::id()) >= 0.0 && resident_bytes(std::process::id()) > 1e5);
    }
}
