//! What is added to a document: values with an order, written as YAML in the style of the place where they go.

use serde_json::Value;

/// A value to write.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Number(u64),
    Bool(bool),
    /// A mapping; in a block each key has a line.
    Map(Vec<(String, Piece)>),
    /// A mapping or list that is short enough for one line, also within a block.
    Line(Box<Piece>),
    List(Vec<Piece>),
}

pub(super) fn text(text: impl Into<String>) -> Piece {
    Piece::Text(text.into())
}

pub(super) fn map<const N: usize>(entries: [(&str, Piece); N]) -> Piece {
    Piece::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A mapping on one line.
pub(super) fn line<const N: usize>(entries: [(&str, Piece); N]) -> Piece {
    Piece::Line(Box::new(map(entries)))
}

/// A list of texts on one line.
pub(super) fn words<T: Into<String>>(words: impl IntoIterator<Item = T>) -> Piece {
    Piece::Line(Box::new(Piece::List(words.into_iter().map(text).collect())))
}

/// How the place where a piece goes is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// How far the dashes of a list stand behind the key of the list.
    pub(super) dash: usize,
}

impl Piece {
    /// What it means, to compare.
    pub(super) fn value(&self) -> Value {
        match self {
            Piece::Text(text) => Value::String(text.clone()),
            Piece::Number(number) => Value::from(*number),
            Piece::Bool(bool) => Value::Bool(*bool),
            Piece::Line(inner) => inner.value(),
            Piece::List(items) => Value::Array(items.iter().map(Piece::value).collect()),
            Piece::Map(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.clone(), value.value())).collect())
            }
        }
    }

    /// On one line. `json`: with quotes around all texts, for a document that is JSON.
    pub(super) fn flow(&self, json: bool) -> String {
        match self {
            Piece::Text(text) => scalar(text, json),
            Piece::Number(number) => number.to_string(),
            Piece::Bool(bool) => bool.to_string(),
            Piece::Line(inner) => inner.flow(json),
            Piece::List(items) => {
                format!("[{}]", items.iter().map(|item| item.flow(json)).collect::<Vec<_>>().join(", "))
            }
            Piece::Map(entries) => {
                let entry = |(key, value): &(String, Piece)| format!("{}: {}", scalar(key, json), value.flow(json));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Lines of a block whose first column is `indent`; the first line is not indented, for its place may be behind a dash.
    pub(super) fn block(&self, indent: usize, style: Style) -> String {
        let lines: Vec<String> = match self {
            Piece::Map(entries) if !entries.is_empty() => entries
                .iter()
                .map(|(key, value)| format!("{}:{}", scalar(key, false), value.behind_a_key(indent, style)))
                .collect(),
            Piece::List(items) if !items.is_empty() => {
                items.iter().map(|item| format!("- {}", item.block(indent + 2, style))).collect()
            }
            _ => return self.flow(false),
        };
        lines.join(&format!("\n{}", " ".repeat(indent)))
    }

    /// The value of a key at `indent`, from behind the colon.
    pub(super) fn behind_a_key(&self, indent: usize, style: Style) -> String {
        let inner = match self {
            Piece::Map(entries) if !entries.is_empty() => indent + 2,
            Piece::List(items) if !items.is_empty() => indent + style.dash,
            _ => return format!(" {}", self.flow(false)),
        };
        format!("\n{}{}", " ".repeat(inner), self.block(inner, style))
    }
}

/// A text as a scalar: plain where no reader of YAML 1.1 or 1.2 takes it for something else.
pub(super) fn scalar(text: &str, json: bool) -> String {
    // A flag such as --exec, too.
    let is_word = text.trim_start_matches("--").starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:@".contains(&b))
        && !text.ends_with(':');
    let lower = text.to_ascii_lowercase();
    let means_something = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&lower.as_str());
    // Quantities: 10m, 16Mi, 15s.
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_quantity = digits.len() < text.len() && ["m", "Ki", "Mi", "Gi", "s"].contains(&digits);
    if !json && (is_word && !means_something || is_quantity) {
        return text.to_owned();
    }
    // JSON's escapes are YAML's.
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::inject::document::read;

    fn piece() -> Piece {
        map([
            ("name", text("a")),
            ("env", Piece::List(vec![line([("name", text("B")), ("value", text("true"))]), map([("c", text("1e3"))])])),
            ("command", words(["/bin/sh", "-c", "echo \"x\"\n: #y", ""])),
            ("deep", map([("er", Piece::List(vec![Piece::Number(1), Piece::Bool(true), text("10m")]))])),
        ])
    }

    #[test]
    fn a_piece_means_the_same_in_every_style() {
        for written in [
            piece().block(0, Style { dash: 0 }),
            piece().block(0, Style { dash: 2 }),
            piece().flow(false),
            piece().flow(true),
        ] {
            assert_eq!(read(&written).unwrap()[0].root.value(), piece().value(), "{written}");
        }
        assert_eq!(serde_json::from_str::<Value>(&piece().flow(true)).unwrap(), piece().value());
    }

    #[test]
    fn a_block_follows_the_style_of_lists() {
        let written = map([("a", Piece::List(vec![map([("b", text("c")), ("d", Piece::List(vec![text("e")]))])]))]);
        assert_eq!(written.block(0, Style { dash: 0 }), "a:\n- b: c\n  d:\n  - e");
        assert_eq!(written.block(2, Style { dash: 2 }), "a:\n    - b: c\n      d:\n        - e");
    }

    #[test]
    fn texts_that_mean_something_else_are_quoted() {
        for (text, written) in [
            ("web", "web"),
            ("/run/leasehold", "/run/leasehold"),
            ("r.example:5000/a:1@sha256", "r.example:5000/a:1@sha256"),
            ("a:", "\"a:\""),
            ("no", "\"no\""),
            ("True", "\"True\""),
            ("0x1f", "\"0x1f\""),
            ("1e3", "\"1e3\""),
            ("15s", "15s"),
            ("123", "\"123\""),
            ("$(POD_IP):80", "\"$(POD_IP):80\""),
            ("", "\"\""),
            ("-", "\"-\""),
            ("--", "\"--\""),
            ("--exec", "--exec"),
            ("a: b", "\"a: b\""),
        ] {
            assert_eq!(scalar(text, false), written);
        }
    }
}
