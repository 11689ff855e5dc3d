//! An open watch: bookmarks, and entries as a whole.

use super::failed::Failed;
use super::sse::{Event, Parser};
use leasehold_archive::agent::Ended;
use leasehold_archive::changes::Mark;
use leasehold_archive::time::Time;
use leasehold_daemon::logs::in_words;
use leasehold_replication::{ClusterId, Seq, Sum};
use reqwest::Response;
use serde::Deserialize;
use std::collections::VecDeque;

/// An entry has at most 4 MiB of records; with what JSON adds, and a definition beside each of them, never as much as this.
const ENTRY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Watch {
    answer: Response,
    parser: Parser,
    events: VecDeque<Event>,
    /// It ended, behind what was heard last.
    over: Option<Failed>,
    /// Lines of an entry that is not complete.
    lines: Vec<String>,
    bytes: usize,
}

/// What a watch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// How far it is.
    Bookmark(First),
    /// An entry that changed something.
    Entry {
        /// The data after it.
        mark: Mark,
        /// Its events' data, in order.
        lines: Vec<String>,
    },
}

/// A bookmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct First {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// How far it is.
    #[serde(flatten)]
    pub mark: Mark,
    /// The hash of the answers that are kept for retries.
    pub keys_hash: Option<Sum>,
    /// It has everything that was acknowledged anywhere longer ago than so many milliseconds; none: it does not know.
    #[serde(default)]
    pub stale_ms: Option<u64>,
    /// The pod leads; one of an earlier build does not say it.
    #[serde(default)]
    pub leads: bool,
}

/// What the agent reads of an event; the rest is kept as it is.
#[derive(Deserialize)]
struct Head {
    sequence: Seq,
    #[serde(default)]
    time: Time,
    hash: Sum,
}

#[derive(Deserialize)]
struct End {
    reason: String,
    #[serde(default)]
    detail: String,
}

impl Watch {
    pub(super) fn of(answer: Response) -> Watch {
        Watch { answer, parser: Parser::default(), events: VecDeque::new(), over: None, lines: Vec::new(), bytes: 0 }
    }

    /// What it says next.
    ///
    /// # Errors
    /// It ended. Lines of an entry that was not complete are forgotten: the next watch says them again.
    pub async fn next(&mut self) -> Result<Heard, Failed> {
        loop {
            if let Some(failed) = self.over.take() {
                return Err(failed);
            }
            while let Some(event) = self.events.pop_front() {
                if let Some(heard) = self.hear(event)? {
                    return Ok(heard);
                }
            }
            let piece = self.answer.chunk().await;
            let piece = piece.map_err(|error| Failed::broken(format!("the watch broke off: {}", in_words(&error))))?;
            let piece = piece.ok_or_else(|| Failed::broken("the watch ended without a word"))?;
            let events = self.parser.push(&piece).map_err(|error| Failed::broken(error.to_string()))?;
            self.events.extend(events);
        }
    }

    /// What it says next, and all that arrived with it.
    ///
    /// # Errors
    /// As there.
    pub async fn next_all(&mut self) -> Result<Vec<Heard>, Failed> {
        let mut all = vec![self.next().await?];
        while let Some(event) = self.events.pop_front() {
            match self.hear(event) {
                Ok(heard) => all.extend(heard),
                Err(failed) => {
                    self.over = Some(failed);
                    break;
                }
            }
        }
        Ok(all)
    }

    fn hear(&mut self, event: Event) -> Result<Option<Heard>, Failed> {
        let Some(data) = event.data else { return Ok(None) };
        let wrong = |error: serde_json::Error| Failed::broken(format!("the watch said what is no event: {error}"));
        match &*event.event {
            "bookmark" => Ok(Some(Heard::Bookmark(serde_json::from_str(&data).map_err(wrong)?))),
            "end" => {
                let End { reason, detail } = serde_json::from_str(&data).map_err(wrong)?;
                let ended = if reason == "gone" { Ended::Gone } else { Ended::Broken };
                Err(Failed { ended, what: format!("the watch ended ({reason}): {detail}") })
            }
            "" => {
                self.bytes += data.len();
                if self.bytes > ENTRY_BYTES_MAX {
                    return Err(Failed::broken("an entry of the watch does not end"));
                }
                self.lines.push(data);
                let (Some(_), Some(last)) = (event.id, self.lines.last()) else { return Ok(None) };
                let Head { sequence, time, hash } = serde_json::from_str(last).map_err(wrong)?;
                self.bytes = 0;
                let lines = std::mem::take(&mut self.lines);
                Ok(Some(Heard::Entry { mark: Mark { seq: sequence, time, hash }, lines }))
            }
            // A later release may say more.
            _ => Ok(None),
        }
    }
}
