//! Reads a file of changes, entry by entry, in the memory of one entry.

use super::line::{Begin, Ending, Entry, Line};
use super::{LINE_BYTES_MAX, Mark};
use leasehold_replication::Seq;
use std::io::{self, BufRead, Read};

/// Reads the lines of one file, and checks that they are one chain.
#[derive(Debug)]
pub struct ChangesReader<R> {
    from: R,
    begin: Begin,
    /// The data after the last entry that was read.
    at: Mark,
    /// The event that was read beyond that entry.
    ahead: Option<(Mark, Box<str>)>,
    events: u64,
    /// Lines that were read.
    line: u64,
    end: Option<End>,
}

/// What the last line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The data after the last entry.
    pub mark: Mark,
    /// How many events the file has.
    pub events: u64,
}

/// A file of changes that cannot be read, or only up to there.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input failed, or does not decompress.
    #[error("cannot be read after line {line}: {source}")]
    Io {
        /// The last line that was read.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// Its content is not one chain of events.
    #[error("line {line}: {what}")]
    Damage {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
}

impl<R: BufRead> ChangesReader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`ReadError`]: it is no file of changes.
    pub fn open(mut from: R) -> Result<ChangesReader<R>, ReadError> {
        let mut line = 0;
        let first = next_line(&mut from, &mut line)?;
        let first = first.ok_or_else(|| damage(0, "it is empty".to_owned()))?;
        let parsed: Line = serde_json::from_str(&first).map_err(|error| damage(1, error.to_string()))?;
        let begin = parsed.begin.ok_or_else(|| damage(1, "the file does not begin with {\"begin\": …}".to_owned()))?;
        // An entry follows.
        if begin.mark.seq >= Seq::MAX {
            return Err(beyond(1, &begin.mark));
        }
        Ok(ChangesReader { from, begin, at: begin.mark, ahead: None, events: 0, line, end: None })
    }

    /// What the first line says.
    pub fn begin(&self) -> &Begin {
        &self.begin
    }

    /// What the last line says, after [`ChangesReader::next_entry`] has returned none.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The next entry; none after the last one, when all was as it must be.
    ///
    /// # Errors
    /// [`ReadError`]; the entries before it are good, and none follows.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let mut entry = self.ahead.take().map(|(mark, line)| Entry { mark, lines: vec![line] });
        loop {
            let Some(text) = next_line(&mut self.from, &mut self.line)? else {
                return Err(damage(self.line + 1, "it was cut off: the line {\"end\": …} is missing".to_owned()));
            };
            let line: Line = serde_json::from_str(&text).map_err(|error| damage(self.line, error.to_string()))?;
            if let Some(end) = line.end {
                let at = entry.as_ref().map_or(self.at, |entry| entry.mark);
                self.close(&end, at)?;
                return Ok(entry);
            }
            let Some(mark) = line.event() else { return Err(damage(self.line, "it is not an event".to_owned())) };
            if mark.seq > Seq::MAX {
                return Err(beyond(self.line, &mark));
            }
            self.events += 1;
            match &mut entry {
                None if mark.seq <= self.at.seq => return Err(self.disorder(&mark)),
                None => {
                    self.at = self.following(mark);
                    entry = Some(Entry { mark: self.at, lines: vec![text] });
                }
                Some(entry) if mark.seq == entry.mark.seq && mark.hash == entry.mark.hash => entry.lines.push(text),
                Some(entry) if mark.seq <= entry.mark.seq => {
                    self.at = entry.mark;
                    return Err(self.disorder(&mark));
                }
                Some(_) => {
                    self.at = self.following(mark);
                    self.ahead = Some((self.at, text));
                    return Ok(entry);
                }
            }
        }
    }

    /// Time never falls; an entry without one has that of the one before.
    fn following(&self, mark: Mark) -> Mark {
        Mark { time: mark.time.max(self.at.time), ..mark }
    }

    fn disorder(&self, mark: &Mark) -> ReadError {
        damage(self.line, format!("entry {} (hash {}) does not follow entry {}", mark.seq, mark.hash, self.at.seq))
    }

    /// The file ends after `at`.
    fn close(&mut self, end: &Ending, at: Mark) -> Result<(), ReadError> {
        let Ending { mark, events } = *end;
        if mark.seq > Seq::MAX {
            return Err(beyond(self.line, &mark));
        }
        let what = if mark.seq < at.seq || mark.seq == self.begin.mark.seq {
            Some(format!("it ends at entry {}, which is before entry {}", mark.seq, at.seq.next()))
        } else if mark.hash != at.hash {
            Some(format!("it ends with hash {}, but its last event has {}", mark.hash, at.hash))
        } else if events != self.events {
            Some(format!("it has {} events, and says {events}", self.events))
        } else {
            None
        };
        if let Some(what) = what {
            return Err(damage(self.line, what));
        }
        if next_line(&mut self.from, &mut self.line)?.is_some() {
            return Err(damage(self.line, "it goes on after its end".to_owned()));
        }
        self.end = Some(End { mark: Mark { time: mark.time.max(at.time), ..mark }, events });
        Ok(())
    }
}

/// No log reaches it.
fn beyond(line: u64, mark: &Mark) -> ReadError {
    damage(line, format!("{} is not the sequence of an entry", mark.seq))
}

fn damage(line: u64, what: String) -> ReadError {
    ReadError::Damage { line, what }
}

/// Without its line break; none at the end. A last line without a break was cut off.
fn next_line(from: &mut impl BufRead, line: &mut u64) -> Result<Option<Box<str>>, ReadError> {
    let mut bytes = Vec::new();
    let most = LINE_BYTES_MAX as u64 + 2;
    let io = |source| ReadError::Io { line: *line, source };
    from.by_ref().take(most).read_until(b'\n', &mut bytes).map_err(io)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    *line += 1;
    if bytes.pop() != Some(b'\n') {
        let is_long = bytes.len() > LINE_BYTES_MAX;
        let what =
            if is_long { format!("it is longer than {LINE_BYTES_MAX} bytes") } else { "it was cut off".to_owned() };
        return Err(damage(*line, what));
    }
    let text = String::from_utf8(bytes).map_err(|_| damage(*line, "it is not UTF-8".to_owned()))?;
    Ok(Some(text.into_boxed_str()))
}
