//! Percent-encoding in paths and queries (RFC 3986, 2.1), read strictly.
//!
//! Invalid encoding, or bytes that are not UTF-8, are refused with their position. A reader that substitutes U+FFFD would
//! look for another name than the client meant, and find nothing: a wrong answer.

use super::problem::{Code, Problem};
use std::borrow::Cow;

/// The parameters of a query, decoded, in the order of the request.
pub(super) type Query = Vec<(String, String)>;

/// A mistake, and the byte of the text at which it begins.
#[derive(Debug, PartialEq)]
struct Broken<'a> {
    at: usize,
    piece: &'a str,
    is_digits: bool,
}

/// One segment of a path, decoded. `what` says which one.
pub(super) fn segment(what: impl FnOnce() -> String, text: &str) -> Result<Cow<'_, str>, Problem> {
    decode(text).map_err(|broken| broken.problem(&what()))
}

/// Text as a segment of a path: everything but the unreserved characters of RFC 3986 is encoded.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A query in the format of forms: pairs between `&`, `+` for a space.
pub(super) fn query(text: &str) -> Result<Query, Problem> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let read = |what: &str, text: &str| {
                let text = text.replace('+', " ");
                let read = decode(&text).map(Cow::into_owned);
                read.map_err(|broken| {
                    broken.problem(&format!("the {what} of the parameter `{name}`")).with("parameter", name)
                })
            };
            Ok((read("name", name)?, read("value", value)?))
        })
        .collect()
}

fn decode(text: &str) -> Result<Cow<'_, str>, Broken<'_>> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    // For each decoded byte, its position in the text.
    let (mut decoded, mut places) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(bytes.len()));
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        places.push(at);
        if *byte != b'%' {
            decoded.push(*byte);
            at += 1;
            continue;
        }
        let digit = |at: usize| bytes.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
            return Err(Broken { at, piece: piece(text, at), is_digits: false });
        };
        // Two digits of four bits each.
        decoded.push((high << 4 | low) as u8);
        at += 3;
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|error| {
        let at = places.get(error.utf8_error().valid_up_to()).copied().unwrap_or(0);
        Broken { at, piece: piece(text, at), is_digits: true }
    })
}

/// Three characters from there on, or the rest.
fn piece(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or("");
    rest.char_indices().nth(3).map_or(rest, |(end, _)| &rest[..end])
}

impl Broken<'_> {
    fn problem(&self, place: &str) -> Problem {
        let Broken { at, piece, is_digits } = self;
        let what = if *is_digits {
            "does not decode to UTF-8; encode the bytes of each character in UTF-8, ü as %C3%BC"
        } else {
            "is not valid percent-encoding: write % and two hexadecimal digits, and % itself as %25"
        };
        Problem::new(Code::MalformedEncoding, format!("{place}: {piece:?} at byte {} {what}", at + 1))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,20}", percent in "[%0-9a-fA-FzZ]{0,12}") {
            let text = format!("{text}{percent}");
            let _ = query(&text);
            if let Err(broken) = decode(&text) {
                prop_assert_eq!(text.as_bytes()[broken.at], b'%');
            }
        }

        #[test]
        fn what_was_encoded_comes_back(text in ".{0,20}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode(&encoded).unwrap(), &*text);
            let encoded = encode(&text);
            prop_assert_eq!(decode(&encoded).unwrap(), &*text);
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_once() {
        for (text, decoded) in [
            ("", ""),
            ("abc+", "abc+"),
            ("%41%2f%00", "A/\0"),
            ("K%C3%B6%c3%b6", "Köö"),
            ("ö%25", "ö%"),
            ("%2541", "%41"),
        ] {
            assert_eq!(decode(text).unwrap(), decoded);
        }
    }

    #[test]
    fn what_is_broken_is_refused_with_its_place() {
        for (text, at, piece, is_digits) in [
            ("%", 0, "%", false),
            ("ab%f", 2, "%f", false),
            ("%zz", 0, "%zz", false),
            ("%+1", 0, "%+1", false),
            ("%öö", 0, "%öö", false),
            ("%41%FF", 3, "%FF", true),
            ("ö%C3ö", 2, "%C3", true),
            ("a%ED%A0%80", 1, "%ED", true),
            ("a%C0%AF", 1, "%C0", true),
        ] {
            assert_eq!(decode(text), Err(Broken { at, piece, is_digits }), "{text}");
        }
    }

    #[test]
    fn a_query_is_read_as_forms_write_it() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let read = query("a=1+2&&b&=c&d=e=f&%61=%2B%26").unwrap();
        assert_eq!(read, [pair("a", "1 2"), pair("b", ""), pair("", "c"), pair("d", "e=f"), pair("a", "+&")]);
        assert_eq!(query("").unwrap(), []);
    }
}
