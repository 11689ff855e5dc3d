//! Binary data as text that a person reads.
//!
//! ```text
//!     0: 02                                              # kind, u8: 2
//!     1: 05 00 00 00 00 00 00 00                         # term, u64: 5
//!   offset: bytes                                        # what they are
//! ```
//!
//! Everything before `:` and after `#` is for the reader; only the bytes between them count.

use std::fmt::Write;

/// How many bytes stand in a line.
const WIDTH: usize = 16;

/// The bytes of such a text.
///
/// # Errors
/// What is wrong in it, with the line.
pub fn bytes_of(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        if line.trim().is_empty() {
            continue;
        }
        let (offset, digits) = line.split_once(':').ok_or(format!("line {number} has no offset"))?;
        if offset.trim().parse() != Ok(bytes.len()) {
            return Err(format!("line {number} stands at byte {}, and says {}", bytes.len(), offset.trim()));
        }
        for byte in digits.split_whitespace() {
            let value = u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2);
            bytes.push(value.ok_or(format!("line {number}: {byte:?} is not a byte"))?);
        }
    }
    Ok(bytes)
}

/// Writes such a text, part by part. Numbers are little-endian.
#[derive(Debug)]
pub struct Parts<'a> {
    bytes: &'a [u8],
    at: usize,
    text: String,
}

impl<'a> Parts<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Parts<'a> {
        Parts { bytes, at: 0, text: String::new() }
    }

    /// A line for the reader.
    pub fn heading(&mut self, what: &str) {
        writeln!(self.text, "# {what}").expect("text takes all");
    }

    /// The bytes that are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// So many bytes.
    ///
    /// # Panics
    /// As each of these: when fewer are left.
    pub fn bytes(&mut self, count: usize, what: &str) -> &'a [u8] {
        self.lines(count, |number, _| if number == 0 { what.to_owned() } else { String::new() })
    }

    /// A checksum of four bytes.
    pub fn sum(&mut self, what: &str) {
        let value = self.value(4);
        self.bytes(4, &format!("{what}: {value:08x}"));
    }

    /// An unsigned number of one byte.
    pub fn u8(&mut self, what: &str) -> u8 {
        self.number(1, what) as u8
    }

    /// Of two.
    pub fn u16(&mut self, what: &str) -> u16 {
        self.number(2, what) as u16
    }

    /// Of four.
    pub fn u32(&mut self, what: &str) -> u32 {
        self.number(4, what) as u32
    }

    /// Of eight.
    pub fn u64(&mut self, what: &str) -> u64 {
        self.number(8, what)
    }

    /// Text of so many bytes, which stands in the comments as well.
    pub fn text(&mut self, count: usize, what: &str) {
        if count > 0 {
            self.heading(what);
        }
        self.lines(count, |_, line| {
            let is_plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
            line.iter().map(|byte| if is_plain(byte) { char::from(*byte) } else { '.' }).collect()
        });
    }

    /// All that is left, as text.
    pub fn rest(&mut self, what: &str) {
        self.text(self.left(), what);
    }

    fn number(&mut self, count: usize, what: &str) -> u64 {
        let value = self.value(count);
        self.bytes(count, &format!("{what}, u{}: {value}", 8 * count));
        value
    }

    /// Of the next bytes, which stay.
    fn value(&self, count: usize) -> u64 {
        let end = (self.at + count).min(self.bytes.len());
        self.bytes[self.at..end].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// One line for each 16 bytes, with its comment.
    fn lines(&mut self, count: usize, comment: impl Fn(usize, &[u8]) -> String) -> &'a [u8] {
        assert!(count <= self.left(), "{count} bytes, and {} are left:\n{}", self.left(), self.text);
        let bytes = &self.bytes[self.at..self.at + count];
        for (number, line) in bytes.chunks(WIDTH).enumerate() {
            let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let (at, digits, comment) = (self.at + number * WIDTH, digits.join(" "), comment(number, line));
            let line = match comment.trim_end() {
                "" => format!("{at:5}: {digits}"),
                comment => format!("{at:5}: {digits:47}  # {comment}"),
            };
            writeln!(self.text, "{line}").expect("text takes all");
        }
        self.at += count;
        bytes
    }

    pub(super) fn finish(self) -> String {
        assert!(self.left() == 0, "the last {} bytes are not described:\n{}", self.left(), self.text);
        self.text
    }
}
