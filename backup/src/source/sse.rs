//! Server-sent events, as a watch sends them: the part of the format that it uses, and nothing that a stranger's bytes could
//! make grow without end.

use std::mem;

/// More than the largest entry. What is longer is not from a store.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An event has one line of data, as a store sends it.
const EVENT_BYTES_MAX: usize = LINE_BYTES_MAX + 1024 * 1024;

/// One event: what stood between two empty lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its kind; empty: a message.
    pub(super) event: String,
    pub(super) id: Option<String>,
    pub(super) data: Option<String>,
}

/// What was sent is not what a store sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SseError {
    #[error("a line of the watch is longer than {LINE_BYTES_MAX} bytes")]
    Long,
    #[error("an event of the watch is longer than {EVENT_BYTES_MAX} bytes")]
    Endless,
    #[error("the watch is not UTF-8")]
    NotText,
}

/// Takes bytes in pieces of any length, and returns the events that are complete.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    event: Event,
    /// The last byte ended a line with a carriage return: a line feed that follows belongs to it.
    after_return: bool,
}

impl Parser {
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, SseError> {
        let mut events = Vec::new();
        if mem::take(&mut self.after_return) && bytes.first() == Some(&b'\n') {
            bytes = &bytes[1..];
        }
        while let Some(at) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend(&bytes[..at])?;
            let is_return = bytes[at] == b'\r';
            bytes = &bytes[at + 1..];
            if is_return {
                match bytes.first() {
                    Some(b'\n') => bytes = &bytes[1..],
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
            let line = String::from_utf8(mem::take(&mut self.line)).map_err(|_| SseError::NotText)?;
            events.extend(self.line(&line));
            let Event { event, id, data } = &self.event;
            if event.len() + id.as_ref().map_or(0, String::len) + data.as_ref().map_or(0, String::len) > EVENT_BYTES_MAX
            {
                return Err(SseError::Endless);
            }
        }
        self.extend(bytes)?;
        Ok(events)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.line.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(SseError::Long);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = mem::take(&mut self.event);
            return (event != Event::default()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.event),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.event.data = Some(value.to_owned()),
            },
            // Comments, `retry`, and what others may invent.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(event: &str, id: Option<&str>, data: Option<&str>) -> Event {
        Event { event: event.to_owned(), id: id.map(str::to_owned), data: data.map(str::to_owned) }
    }

    const TEXT: &str = "retry: 1000\nid: 7\n: watching\n\nevent: bookmark\nid: 8\ndata: {\"a\":1}\n\ndata: x\ndata:  y\r\n\r\nid\rdata\r\r";

    fn expected() -> Vec<Event> {
        vec![
            event("", Some("7"), None),
            event("bookmark", Some("8"), Some("{\"a\":1}")),
            event("", None, Some("x\n y")),
            event("", Some(""), Some("")),
        ]
    }

    #[test]
    fn events_are_what_stands_between_empty_lines() {
        assert_eq!(Parser::default().push(TEXT.as_bytes()).unwrap(), expected());
        assert_eq!(Parser::default().push(b"data: cut").unwrap(), []);
        assert_eq!(Parser::default().push(b"data: \xff\n"), Err(SseError::NotText));
    }

    #[test]
    fn neither_a_line_nor_an_event_grows_without_end() {
        let (mut parser, piece) = (Parser::default(), vec![b'x'; 1 << 20]);
        let ends = (0..100).find_map(|_| parser.push(&piece).err());
        assert_eq!(ends, Some(SseError::Long));
        let (mut parser, line) = (Parser::default(), [b"data: ", &piece[..], b"\n"].concat());
        let ends = (0..100).find_map(|_| parser.push(&line).err());
        assert_eq!(ends, Some(SseError::Endless), "without an empty line");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(cuts in prop::collection::vec(0..TEXT.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, TEXT.len()]);
            cuts.sort_unstable();
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for pair in cuts.windows(2) {
                events.extend(parser.push(&TEXT.as_bytes()[pair[0]..pair[1]]).unwrap());
            }
            prop_assert_eq!(events, expected());
        }

        #[test]
        fn no_bytes_are_too_strange(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
            let mut parser = Parser::default();
            for piece in pieces {
                if parser.push(&piece).is_err() {
                    break;
                }
            }
        }
    }
}
