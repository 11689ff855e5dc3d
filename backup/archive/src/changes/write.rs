//! Writes a file of changes.

use super::line::{Begin, Ending, Line};
use super::{LINE_BYTES_MAX, Mark};
use leasehold_replication::{ClusterId, Seq};
use serde::Serialize;
use std::io::{self, Write};

/// Writes the lines of one file, and refuses what would not be one chain. After an error the file is unusable.
#[derive(Debug)]
pub struct ChangesWriter<W> {
    out: W,
    begin: Mark,
    /// The data after what was written and passed.
    at: Mark,
    /// The last entry with an event.
    last_event: Seq,
    events: u64,
    bytes: u64,
}

/// A file that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The data before it.
    pub begin: Mark,
    /// Its first entry.
    pub first: Seq,
    /// The data after its last entry.
    pub end: Mark,
    /// Lines between the first and the last one.
    pub events: u64,
    /// Its length, before compression.
    pub bytes: u64,
}

/// Why a line was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The output failed.
    #[error("cannot write the file of changes: {0}")]
    Io(#[from] io::Error),
    /// Not an event of a watch.
    #[error("the watch said an event that cannot be kept: {0}")]
    Event(String),
    /// It does not follow what came before it.
    #[error("the watch broke off: after entry {} (hash {}) it said entry {} (hash {}): {why}", at.seq, at.hash, found.seq, found.hash)]
    Order {
        /// What came before.
        at: Mark,
        /// What came.
        found: Mark,
        /// The rule.
        why: &'static str,
    },
}

impl<W: Write> ChangesWriter<W> {
    /// Begins a file at this state.
    ///
    /// # Errors
    /// Errors of the output.
    pub fn begin(mut out: W, cluster_id: ClusterId, begin: Mark) -> Result<ChangesWriter<W>, WriteError> {
        let line = json(&First { begin: Begin { cluster_id, mark: begin } })?;
        writeln!(out, "{line}")?;
        Ok(ChangesWriter { out, begin, at: begin, last_event: begin.seq, events: 0, bytes: line.len() as u64 + 1 })
    }

    /// The data of an event of `/api/watch`, word for word. Returns the data after it.
    ///
    /// # Errors
    /// [`WriteError`]; nothing of it was written, except after an error of the output.
    pub fn event(&mut self, data: &str) -> Result<Mark, WriteError> {
        if data.len() > LINE_BYTES_MAX {
            return Err(WriteError::Event(format!("it has {} bytes; at most {LINE_BYTES_MAX} fit", data.len())));
        }
        if data.contains(['\n', '\r']) {
            return Err(WriteError::Event("it has a line break".to_owned()));
        }
        let line: Line = serde_json::from_str(data).map_err(|error| WriteError::Event(error.to_string()))?;
        let found = line.event().ok_or_else(|| WriteError::Event("it has no sequence or no hash".to_owned()))?;
        let wrong = |why| Err(WriteError::Order { at: self.at, found, why });
        if found.seq < self.at.seq || found.seq == self.begin.seq {
            return wrong("sequences must rise");
        }
        if found.seq == self.at.seq && found.seq != self.last_event {
            return wrong("that entry was said to change nothing");
        }
        if found.seq == self.at.seq && found.hash != self.at.hash {
            return wrong("lines of one entry have one hash");
        }
        writeln!(self.out, "{data}")?;
        self.at = Mark { time: found.time.max(self.at.time), ..found };
        self.last_event = found.seq;
        self.events += 1;
        self.bytes += data.len() as u64 + 1;
        Ok(self.at)
    }

    /// Entries up to there changed nothing else than was said.
    ///
    /// # Errors
    /// [`WriteError::Order`] if the hash says otherwise.
    pub fn pass(&mut self, to: Mark) -> Result<(), WriteError> {
        let wrong = |why| Err(WriteError::Order { at: self.at, found: to, why });
        if to.seq < self.at.seq {
            return wrong("sequences must rise");
        }
        if to.hash != self.at.hash {
            return wrong("the data changed without an event");
        }
        self.at = Mark { time: to.time.max(self.at.time), ..to };
        Ok(())
    }

    /// The data after all so far.
    pub fn at(&self) -> Mark {
        self.at
    }

    /// How many events it has.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Its length so far, before compression.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the file. It must have passed at least one entry.
    ///
    /// # Errors
    /// Errors of the output; [`WriteError::Order`] for a file without an entry.
    pub fn end(mut self) -> Result<(W, Written), WriteError> {
        if self.at.seq == self.begin.seq {
            return Err(WriteError::Order { at: self.begin, found: self.at, why: "a file has at least one entry" });
        }
        let line = json(&Last { end: Ending { mark: self.at, events: self.events } })?;
        writeln!(self.out, "{line}")?;
        let (begin, end) = (self.begin, self.at);
        let bytes = self.bytes + line.len() as u64 + 1;
        let written = Written { begin, first: begin.seq.next(), end, events: self.events, bytes };
        Ok((self.out, written))
    }
}

#[derive(Serialize)]
struct First {
    begin: Begin,
}

#[derive(Serialize)]
struct Last {
    end: Ending,
}

fn json(line: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(line)?)
}
