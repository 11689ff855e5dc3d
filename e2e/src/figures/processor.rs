//! Processor time of processes, as `/proc` has it.
//!
//! Unlike writes per second it says what a program costs on a machine that it shares with others: whoever waits uses none.

use std::time::Duration;

use anyhow::Context;

/// Linux counts in hundredths of a second for programs, whatever its own clock is (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// What the process has used so far, in its own code and the kernel's.
///
/// # Errors
/// It has gone.
pub(super) fn used(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse(&stat).with_context(|| format!("no times in {path}: {stat:?}"))
}

/// `utime` and `stime`: the 14th and the 15th field. The second is a name in brackets, which may have spaces and brackets.
fn parse(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()? + TICK * ticks()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 9 9 20 0 4 0 1";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 250"), None);
    }

    #[test]
    fn who_works_uses_time() {
        let begun = used(std::process::id()).expect("this process runs");
        let mut sum = 0_u64;
        leasehold_testkit::until_blocking("its time shows", || {
            sum = (0..100_000_u64).fold(sum, |sum, n| std::hint::black_box(sum.wrapping_mul(31) ^ n));
            used(std::process::id()).is_ok_and(|used| used > begun)
        });
    }
}
