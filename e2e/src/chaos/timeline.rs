//! What happens, as a person can follow it: a line for each fault, each healing and each new leader, and a line every few
//! seconds that sums up. The gaps between acknowledged writes are measured here, and their causes named.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::Context;
use leasehold_api::lock;

/// Gaps below this are not reported.
const GAP_MIN: Duration = Duration::from_millis(100);

/// The time line. Everybody writes to it.
#[derive(Debug)]
pub(super) struct TimeLine {
    begun: Instant,
    file: Mutex<File>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// From when to when what was broken. No end: it is.
    faults: Vec<(Duration, Option<Duration>, String)>,
    last_acknowledged: Option<Duration>,
    acknowledged: u64,
    refused: u64,
    unknown: u64,
    gaps: Vec<(Duration, Duration)>,
    leader: Option<(u16, u64)>,
}

/// A time without an acknowledged write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: Duration,
    pub(super) length: Duration,
    pub(super) cause: String,
}

impl TimeLine {
    /// Prints, and keeps what it prints in this file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn new(file: &Path) -> anyhow::Result<TimeLine> {
        let file = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(TimeLine { begun: Instant::now(), file: Mutex::new(file), state: Mutex::default() })
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A line with the time before it.
    pub(super) fn say(&self, text: &str) {
        self.print(&format!("{:8.2} s  {text}", self.elapsed().as_secs_f64()));
    }

    /// A line, unchanged.
    pub(super) fn print(&self, text: &str) {
        // Perhaps nobody reads any longer: no reason to stop, or to leave pods behind.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
        let _ = writeln!(lock(&self.file), "{text}");
    }

    pub(super) fn acknowledged(&self) {
        let now = self.elapsed();
        let mut state = lock(&self.state);
        state.acknowledged += 1;
        if let Some(last) = state.last_acknowledged.replace(now).filter(|last| now.saturating_sub(*last) >= GAP_MIN) {
            state.gaps.push((last, now));
        }
    }

    pub(super) fn refused(&self) {
        lock(&self.state).refused += 1;
    }

    pub(super) fn unknown(&self) {
        lock(&self.state).unknown += 1;
    }

    pub(super) fn acknowledged_so_far(&self) -> u64 {
        lock(&self.state).acknowledged
    }

    /// Clients stop: what follows is no gap.
    pub(super) fn stop_measuring(&self) {
        let now = self.elapsed();
        let mut state = lock(&self.state);
        if let Some(last) = state.last_acknowledged.take().filter(|last| now.saturating_sub(*last) >= GAP_MIN) {
            state.gaps.push((last, now));
        }
    }

    /// Something is broken from now on.
    pub(super) fn breaks(&self, what: &str) {
        let now = self.elapsed();
        lock(&self.state).faults.push((now, None, what.to_owned()));
    }

    /// All faults are over.
    pub(super) fn healed(&self) {
        let now = self.elapsed();
        for (_, end, _) in &mut lock(&self.state).faults {
            end.get_or_insert(now);
        }
    }

    /// This pod says that it leads.
    pub(super) fn leads(&self, leader: Option<(u16, u64)>) {
        let before = std::mem::replace(&mut lock(&self.state).leader, leader);
        match leader {
            Some((pod, term)) if before != leader => self.say(&format!("pod {pod} leads in term {term}")),
            _ => {}
        }
    }

    pub(super) fn leader(&self) -> Option<u16> {
        lock(&self.state).leader.map(|(pod, _)| pod)
    }

    /// The line of every few seconds.
    pub(super) fn sum_up(&self) {
        let text = {
            let state = lock(&self.state);
            let broken: Vec<&str> =
                state.faults.iter().filter(|(_, end, _)| end.is_none()).map(|(_, _, what)| what.as_str()).collect();
            let broken = if broken.is_empty() { "nothing".to_owned() } else { broken.join("; ") };
            let leader =
                state.leader.map_or("nobody leads".to_owned(), |(pod, term)| format!("pod {pod} leads (term {term})"));
            let longest = state.gaps.iter().map(|(from, to)| *to - *from).max().unwrap_or_default();
            format!(
                "       {} writes acknowledged, {} refused, {} unknown; {leader}; longest gap {longest:.2?}; broken: {broken}",
                state.acknowledged, state.refused, state.unknown
            )
        };
        self.say(&text);
    }

    /// How many things were broken.
    pub(super) fn faults_so_far(&self) -> usize {
        lock(&self.state).faults.len()
    }

    /// The longest time without an acknowledged write, as far as it lies between these.
    pub(super) fn longest_gap_between(&self, from: Duration, to: Duration) -> Duration {
        let state = lock(&self.state);
        state
            .gaps
            .iter()
            .map(|(begin, end)| (*end).min(to).saturating_sub((*begin).max(from)))
            .max()
            .unwrap_or_default()
    }

    /// The longest gaps, longest first.
    pub(super) fn longest_gaps(&self, count: usize) -> Vec<Gap> {
        let state = lock(&self.state);
        let mut gaps = state.gaps.clone();
        gaps.sort_by_key(|(from, to)| std::cmp::Reverse(*to - *from));
        gaps.truncate(count);
        let gap = |(from, to): (Duration, Duration)| Gap { from, length: to - from, cause: state.cause(from, to) };
        gaps.into_iter().map(gap).collect()
    }
}

impl State {
    /// What was broken during that time, or had just been healed.
    fn cause(&self, from: Duration, to: Duration) -> String {
        const AFTERMATH: Duration = Duration::from_secs(1);
        let is_then = |(begin, end, _): &&(Duration, Option<Duration>, String)| {
            *begin <= to && end.is_none_or(|end| end + AFTERMATH >= from)
        };
        let causes: Vec<&str> = self.faults.iter().filter(is_then).map(|(_, _, what)| what.as_str()).collect();
        if causes.is_empty() { "nothing was broken".to_owned() } else { causes.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gap_is_measured_and_its_cause_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let line = TimeLine::new(&dir.path().join("line")).unwrap();
        let milliseconds = Duration::from_millis;
        {
            let mut state = lock(&line.state);
            state.faults.push((milliseconds(100), Some(milliseconds(200)), "long ago".into()));
            state.faults.push((milliseconds(5000), Some(milliseconds(7000)), "frozen".into()));
            state.gaps = vec![(milliseconds(5100), milliseconds(6300)), (milliseconds(8100), milliseconds(8300))];
        }
        let gaps = line.longest_gaps(5);
        assert_eq!((gaps[0].length, gaps[0].cause.as_str()), (milliseconds(1200), "frozen"));
        assert_eq!(gaps[1].cause, "nothing was broken");
        let between = |from, to| line.longest_gap_between(milliseconds(from), milliseconds(to));
        assert_eq!(
            (between(0, 9000), between(6000, 9000), between(7000, 8000)),
            (gaps[0].length, milliseconds(300), Duration::ZERO)
        );
        line.breaks("cut");
        line.healed();
        line.acknowledged();
        line.leads(Some((1, 7)));
        line.sum_up();
        let text = std::fs::read_to_string(dir.path().join("line")).unwrap();
        assert!(text.contains("1 writes acknowledged") && text.contains("longest gap 1.20s"), "{text}");
        assert_eq!(line.leader(), Some(1));
    }
}
