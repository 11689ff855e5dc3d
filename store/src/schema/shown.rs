//! Texts and values as messages show them: their beginning.

use serde_json::Value;
use std::io::{self, Write};

/// Characters of a value in a message.
pub(super) const VALUE_CHARACTERS_MAX: usize = 100;

/// The beginning of a text, with `…` behind it if there is more.
pub(crate) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The beginning of a value's JSON, without writing all of it: it may be the whole record.
pub(super) fn shown(value: &Value) -> String {
    struct Beginning(Vec<u8>);
    impl Write for Beginning {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Four bytes a character, and one more character, by which `cut` sees that there is more.
            let room = ((VALUE_CHARACTERS_MAX + 1) * 4).saturating_sub(self.0.len());
            if room == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let taken = bytes.len().min(room);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut beginning = Beginning(Vec::new());
    // An error: it is full.
    let _ = serde_json::to_writer(&mut beginning, value);
    cut(String::from_utf8_lossy(&beginning.0).trim_end_matches('\u{fffd}'), VALUE_CHARACTERS_MAX)
}
