//! What a long command shows meanwhile, on standard error: a line that moves on a terminal, nothing elsewhere. And the summary.

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal as _, Read};
use std::time::{Duration, Instant};

/// What was done so far.
#[derive(Clone, Debug)]
pub struct Progress {
    bar: ProgressBar,
    begun: Instant,
    /// Objects that were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Changes of records that were applied.
    pub changes: u64,
}

impl Progress {
    /// Begins now.
    pub fn new() -> Progress {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {msg} {bytes} ({bytes_per_sec})");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        if io::stderr().is_terminal() {
            bar.enable_steady_tick(Duration::from_millis(200));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Progress { bar, begun: Instant::now(), objects: 0, bytes: 0, changes: 0 }
    }

    /// An object is read now.
    pub fn reads(&mut self, what: &dyn fmt::Display) {
        self.objects += 1;
        self.bar.set_message(what.to_string());
    }

    /// Something else is done now.
    pub fn shows(&mut self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Counts what is read of it.
    pub fn counted<R: Read>(&self, from: R) -> Counted<R> {
        Counted { from, bar: self.bar.clone() }
    }

    /// It was read.
    pub fn has_read(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Prints a line, and the moving one again below it.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Since it began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// `3 objects, 12.3 MiB, 400 changes, 1.2 s`
    pub fn summary(&self) -> String {
        self.bar.finish_and_clear();
        let (objects, changes) = (count(self.objects, "object"), count(self.changes, "change"));
        format!("{objects}, {}, {changes}, {:.1} s", HumanBytes(self.bytes), self.elapsed().as_secs_f64())
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

/// `1 object`, `2 objects`
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Moves the line.
pub struct Counted<R> {
    from: R,
    bar: ProgressBar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(to)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}
