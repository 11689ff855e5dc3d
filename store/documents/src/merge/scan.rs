//! A walk through JSON that is known to be valid, without a look into what is only copied.

use std::borrow::Cow;

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Target or patch is not JSON, or has a key twice in one object.
    #[error("target or patch is not JSON, or has a key twice")]
    Json,
    /// Nested too deep.
    #[error("the patch is nested too deeply")]
    Depth,
}

/// Where the walk stands. Whatever the text is, it ends and stays inside; only of JSON it says what JSON means.
#[derive(Clone)]
pub(super) struct Scan<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn of(json: &'a str) -> Scan<'a> {
        Scan { json, at: 0 }
    }

    /// The next byte that is not white space.
    pub(super) fn next(&mut self) -> Option<u8> {
        let rest = &self.json.as_bytes()[self.at..];
        let space = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at += space;
        rest.get(space).copied()
    }

    /// Goes to the value of the object's next member, and gives its name; none behind the last one, and then it stands behind
    /// the object. The walk stands at the object's begin, or behind the value of a member.
    pub(super) fn member(&mut self) -> Result<Option<Cow<'a, str>>, MergeError> {
        if let Some(b'{' | b',') = self.next() {
            self.at += 1;
        }
        if self.next() != Some(b'"') {
            self.at = self.json.len().min(self.at + 1);
            return Ok(None);
        }
        let name = self.value();
        if self.next() != Some(b':') {
            return Err(MergeError::Json);
        }
        self.at += 1;
        text(name).map(Some)
    }

    /// The value that is next, as it is written; the walk stands behind it.
    pub(super) fn value(&mut self) -> &'a str {
        self.next();
        let begin = self.at;
        let bytes = self.json.as_bytes();
        let mut depth = 0_usize;
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' => self.skip_text(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => break,
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
                break;
            }
        }
        &self.json[begin..self.at]
    }

    fn skip_text(&mut self) {
        let bytes = self.json.as_bytes();
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    return;
                }
                // What is escaped may be a quotation mark. It is ASCII, so this ends between two characters.
                b'\\' => self.at = bytes.len().min(self.at + 2),
                _ => self.at += 1,
            }
        }
    }
}

/// What a JSON string says. Borrowed: it is written without an escape.
pub(super) fn text(json: &str) -> Result<Cow<'_, str>, MergeError> {
    let bare = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).ok_or(MergeError::Json)?;
    if !bare.contains('\\') {
        return Ok(bare.into());
    }
    serde_json::from_str(json).map(|text: String| text.into()).map_err(|_| MergeError::Json)
}
