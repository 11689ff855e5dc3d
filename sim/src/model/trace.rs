//! What happened, in lines for people. Nothing is formatted unless it is wanted: a failed run is repeated with its trace
//! switched on, which costs nothing in the thousands of runs that succeed.

use leasehold_replication::{Body, Effect, Entry, Frame, Input, Payload, Record, Status};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

/// A line is cut after this many characters.
const LINE_MAX: usize = 320;

/// The last lines of a run.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// How many lines are kept; 0: none, and none is formatted.
    lines_max: usize,
    lines: VecDeque<String>,
}

impl Trace {
    /// Keeps this many lines.
    pub(crate) fn new(lines_max: usize) -> Trace {
        Trace { lines_max, lines: VecDeque::new() }
    }

    /// Are lines kept?
    pub(crate) fn is_on(&self) -> bool {
        self.lines_max > 0
    }

    /// Adds the line that `text` makes.
    pub(crate) fn add(&mut self, now: Duration, text: impl FnOnce() -> String) {
        if self.lines_max == 0 {
            return;
        }
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>12.6}  {}", now.as_secs_f64(), shorten_ids(&text())));
    }

    /// The lines, oldest first.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

/// An input of a store in one line.
pub(crate) fn input(input: &Input) -> String {
    match input {
        Input::Propose(proposals) => {
            format!("Propose {:?}", proposals.iter().map(|proposal| proposal.id.0).collect::<Vec<_>>())
        }
        Input::Frame { conn, frame: body } => format!("{conn:?} {}", frame(body)),
        other => shorten(&format!("{other:?}")),
    }
}

/// An effect of a store in one line.
pub(crate) fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Send { conn, frame: body } => format!("Send {conn:?} {}", frame(body)),
        Effect::Persist { ticket, records, .. } => {
            let records: Vec<String> = records.iter().map(record).collect();
            format!("Persist {} [{}]", ticket.0, records.join(", "))
        }
        Effect::Apply { entries: applied } => format!("Apply [{}]", entries(applied)),
        other => shorten(&format!("{other:?}")),
    }
}

/// A store's report about itself in one line.
pub(crate) fn status(status: &Status) -> String {
    let mut text = format!(
        "{:?} promise {} at {} committed {} voters {:?} heard {}",
        status.phase,
        status.promise,
        status.position,
        status.committed,
        status.voters.voters.iter().map(|voter| voter.name.trim_start_matches("pod-")).collect::<Vec<_>>(),
        status.leader_heard
    );
    if let Some(claim) = &status.following {
        let _ = write!(text, " following {} in {}", claim.name, claim.term);
    }
    if let Some(term) = status.campaign {
        let _ = write!(text, " CAMPAIGN {term} rank {}", status.rank);
    }
    if let Some(term) = status.need_term {
        let _ = write!(text, " needs term {term}");
    }
    if let Some(to) = &status.hand_over {
        let _ = write!(text, " hands over to {to:?}");
    }
    if !status.eligible {
        text.push_str(" not eligible");
    }
    if status.bootstrapping {
        text.push_str(" bootstrapping");
    }
    for what in &status.waiting_for {
        let _ = write!(text, "; {what}");
    }
    text
}

fn record(record: &Record) -> String {
    match record {
        Record::State(state) => format!("promise {} cluster {:?}", state.promise, state.cluster_id.map(|id| id.0)),
        Record::Entry(entry) => entries(std::slice::from_ref(entry)),
        Record::Snapshot(mark) => format!("snapshot {}", mark.position),
    }
}

fn entries(entries: &[Entry]) -> String {
    let one = |entry: &Entry| {
        let what = match &entry.payload {
            Payload::Empty => "empty".to_owned(),
            Payload::Voters(voters) => {
                format!("voters {:?}", voters.voters.iter().map(|voter| voter.name.as_str()).collect::<Vec<_>>())
            }
            Payload::Command(command) => match command.get(..8) {
                Some(id) => format!("write {}", u64::from_le_bytes(id.try_into().expect("eight bytes"))),
                None => "command".to_owned(),
            },
        };
        format!("{} {what}", entry.position)
    };
    entries.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn frame(frame: &Frame) -> String {
    let body = match &frame.body {
        Body::Append { previous, commit, entries: all } => {
            format!("append after {previous} commit {commit} [{}]", entries(all))
        }
        other => format!("{other:?}"),
    };
    format!("term {} of {} {body}", frame.term, frame.incarnation)
}

/// Cuts a line that is too long to read.
pub(crate) fn shorten(text: &str) -> String {
    let text = shorten_ids(text);
    match text.char_indices().nth(LINE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Shortens every UUID in `text` to its first eight digits, which is enough to tell them apart in one run.
pub(crate) fn shorten_ids(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_id = |at: usize| {
        bytes.get(at..at + 36).is_some_and(|id| {
            id.iter().enumerate().all(|(i, b)| match i {
                8 | 13 | 18 | 23 => *b == b'-',
                _ => b.is_ascii_hexdigit(),
            })
        })
    };
    let mut short = String::with_capacity(text.len());
    let mut at = 0;
    let mut from = 0;
    while at < bytes.len() {
        if is_id(at) {
            short.push_str(&text[from..at + 8]);
            at += 36;
            from = at;
        } else {
            at += 1;
        }
    }
    short.push_str(&text[from..]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shortened_and_everything_else_stays() {
        let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
        assert_eq!(shorten_ids(&format!("ä {id}-{id} x")), "ä 0f8fad5b-0f8fad5b x");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut trace = Trace::new(2);
        (0..5).for_each(|i| trace.add(Duration::ZERO, || format!("line {i}")));
        let lines = trace.into_lines();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].ends_with("line 4"));
    }
}
