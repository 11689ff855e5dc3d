//! A YAML stream as trees whose nodes know where they stand in the text, so that an edit can leave all other bytes alone.
//!
//! ```text
//!   text ──granit-parser──▶ events with byte ranges ──▶ [Document { start, root: Node }]
//! ```
//!
//! It is the parser with which kube reads a kubeconfig, so it is in the program already. Comments are no nodes: they are
//! what lies between them. Not promised: that a document is valid for Kubernetes.

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle};
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Deeper nesting than any manifest has. The tree is walked recursively.
const DEPTH_MAX: usize = 100;

/// One document of the stream.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Node,
}

/// A value, and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    /// The bytes of it. A block collection's begins at its first key or item, and ends with the last of these.
    pub(super) range: Range<usize>,
    /// The line, from 1.
    pub(super) line: usize,
    /// The column, from 0.
    pub(super) column: usize,
    /// `{}` and `[]`, and all that stands within.
    pub(super) is_flow: bool,
    /// It has an anchor (`&name`): an alias elsewhere stands for the same value.
    pub(super) is_anchored: bool,
    /// Its tag, such as `!!binary`.
    tag: Option<String>,
}

#[derive(Debug)]
pub(super) enum Content {
    /// The text after escapes, and how it was written.
    Scalar(String, ScalarStyle),
    Map(Vec<(Node, Node)>),
    List(Vec<Node>),
    /// `*name`; the number of its anchor in the document.
    Alias(usize),
}

/// All documents of a stream.
///
/// # Errors
/// It is not valid YAML, with line and column; or a key stands twice in a mapping.
pub(super) fn read(text: &str) -> Result<Vec<Document>, Refusal> {
    let mut text = Cow::Borrowed(text);
    loop {
        let mut reader = Reader { text: &text, parser: Parser::new_from_str(&text), comments_at: None };
        let outcome = reader.documents();
        match (outcome, reader.comments_at.and_then(|line| without_comments(&text, line))) {
            (Err(_), Some(shorter)) => text = Cow::Owned(shorter),
            (outcome, _) => return outcome,
        }
    }
}

/// What the parser says where more comments follow each other than it keeps in mind (32).
const TOO_MANY_COMMENTS: &str = "too many consecutive comments";

/// The text with spaces in place of the comments around that line: all else keeps its place. The parser was between two
/// tokens there, so each line nearby that begins with # is a comment. None: there is nothing to remove.
fn without_comments(text: &str, line: usize) -> Option<String> {
    let is_comment = |line: &str| line.trim_start().starts_with('#');
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let at = line.checked_sub(1).filter(|at| lines.get(*at).is_some_and(|line| is_comment(line)))?;
    let begin = at - lines[..at].iter().rev().take_while(|line| is_comment(line)).take(31).count();
    let end = at + lines[at..].iter().take_while(|line| is_comment(line)).count();
    let blank = |line: &str| {
        let content = line.trim_end_matches(['\n', '\r']);
        format!("{}{}", " ".repeat(content.len()), &line[content.len()..])
    };
    let kept = |(index, line): (usize, &&str)| {
        if (begin..end).contains(&index) { blank(line) } else { (*line).to_owned() }
    };
    Some(lines.iter().enumerate().map(kept).collect())
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    /// The line at which the parser gave up because of comments.
    comments_at: Option<usize>,
}

impl<'a> Reader<'a> {
    fn documents(&mut self) -> Result<Vec<Document>, Refusal> {
        let mut documents = Vec::new();
        while let Some((event, _)) = self.next()? {
            if let Event::DocumentStart(..) = event {
                documents.push(Document { root: self.node(0)? });
            }
        }
        Ok(documents)
    }

    /// The next event that is no comment. None: the stream has ended.
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Refusal> {
        loop {
            match self.parser.next_event() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(next)) => return Ok(Some(next)),
                Some(Err(error)) => {
                    let (line, column) = (error.marker().line(), error.marker().col() + 1);
                    if error.info().contains(TOO_MANY_COMMENTS) {
                        self.comments_at = Some(line);
                    }
                    return Err(Refusal::new(format!(
                        "line {line}, column {column}: not valid YAML: {}; if this is a template of a chart, render it \
                         first: helm template … | sidecar inject -f - …",
                        error.info()
                    )));
                }
            }
        }
    }

    fn some(&mut self) -> Result<(Event<'a>, Span), Refusal> {
        self.next()?.ok_or_else(|| Refusal::new("the YAML ends within a document".to_owned()))
    }

    fn node(&mut self, depth: usize) -> Result<Node, Refusal> {
        let (event, span) = self.some()?;
        self.node_of(event, span, depth)
    }

    fn node_of(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Refusal> {
        let (line, column) = (span.start.line(), span.start.col());
        if depth > DEPTH_MAX {
            return Err(Refusal::new(format!("line {line}: nested more than {DEPTH_MAX} times; no manifest is")));
        }
        let is_anchored = event.anchor_id().is_some();
        let tag = event.tag().map(ToString::to_string);
        let mut range = span
            .byte_range()
            .filter(|range| self.text.get(range.clone()).is_some())
            .ok_or_else(|| Refusal::new(format!("line {line}: the parser lost its place in the text")))?;
        let mut is_flow = false;
        let content = match event {
            Event::Scalar(text, style, ..) => {
                if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
                    range.end = self.end_of_block_scalar(&range);
                }
                Content::Scalar(text.into_owned(), style)
            }
            Event::Alias(anchor) => Content::Alias(anchor),
            Event::MappingStart(style, ..) => {
                is_flow = style == StructureStyle::Flow;
                let (entries, end) = self.entries(depth)?;
                range.end = if is_flow { end } else { entries.last().map_or(range.end, |(_, value)| value.range.end) };
                Content::Map(entries)
            }
            Event::SequenceStart(style, ..) => {
                is_flow = style == StructureStyle::Flow;
                let (items, end) = self.items(depth)?;
                range.end = if is_flow { end } else { items.last().map_or(range.end, |item| item.range.end) };
                Content::List(items)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Comment(..)
            | Event::SequenceEnd
            | Event::MappingEnd => return Err(Refusal::new(format!("line {line}: a value is missing"))),
        };
        Ok(Node { content, range, line, column, is_flow, is_anchored, tag })
    }

    /// Keys and values, and where the closing brace ends.
    fn entries(&mut self, depth: usize) -> Result<(Vec<(Node, Node)>, usize), Refusal> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        loop {
            let (event, span) = self.some()?;
            if event == Event::MappingEnd {
                return Ok((entries, span.end.byte_offset().unwrap_or_default()));
            }
            let key = self.node_of(event, span, depth + 1)?;
            if let Some(text) = key.text()
                && entries.iter().any(|(other, _)| other.text() == Some(text))
            {
                return Err(Refusal::new(format!("line {}: the key {text} stands twice in one mapping", key.line)));
            }
            let value = self.node(depth + 1)?;
            entries.push((key, value));
        }
    }

    /// Items, and where the closing bracket ends.
    fn items(&mut self, depth: usize) -> Result<(Vec<Node>, usize), Refusal> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.some()?;
            if event == Event::SequenceEnd {
                return Ok((items, span.end.byte_offset().unwrap_or_default()));
            }
            items.push(self.node_of(event, span, depth + 1)?);
        }
    }

    /// The parser's range of a `|` or `>` leads to the next token. Empty lines behind it are content only with `+`.
    fn end_of_block_scalar(&self, range: &Range<usize>) -> usize {
        let header = self.text[..range.start].trim_end().lines().next_back().unwrap_or_default();
        let indicator = header.split(" #").next().unwrap_or_default().trim_end();
        let text = &self.text[range.clone()];
        if indicator.ends_with('+') || indicator.ends_with(|c: char| c.is_ascii_digit()) && indicator.contains('+') {
            let text = text.trim_end_matches(' ');
            return range.start + text.strip_suffix('\n').unwrap_or(text).len();
        }
        range.start + text.trim_end().len()
    }
}

impl Node {
    /// The value under a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&(Node, Node)> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(name, _)| name.text() == Some(key)),
            Content::Scalar(..) | Content::List(_) | Content::Alias(_) => None,
        }
    }

    /// The value at the end of a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Of a list; nothing if it is none.
    pub(super) fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            Content::Scalar(..) | Content::Map(_) | Content::Alias(_) => &[],
        }
    }

    /// The text of a scalar, whatever it means.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(text, _) => Some(text),
            Content::Map(_) | Content::List(_) | Content::Alias(_) => None,
        }
    }

    /// The text under a key.
    pub(super) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.text()
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.content, Content::Map(_))
    }

    /// Nothing, `null`, `~`, `{}` or `[]`: what a key has that is there for nothing.
    pub(super) fn is_empty(&self) -> bool {
        match &self.content {
            Content::Scalar(..) => self.value() == Value::Null,
            Content::Map(entries) => entries.is_empty(),
            Content::List(items) => items.is_empty(),
            Content::Alias(_) => false,
        }
    }

    /// What it means, to compare. An alias is not resolved: it is equal to itself alone.
    pub(super) fn value(&self) -> Value {
        let value = match &self.content {
            Content::Scalar(text, ScalarStyle::Plain) if self.tag.is_none() => of_plain(text),
            Content::Scalar(text, _) => Value::String(text.clone()),
            Content::List(items) => Value::Array(items.iter().map(Node::value).collect()),
            Content::Map(entries) => {
                let key = |node: &Node| node.text().map_or_else(|| node.value().to_string(), str::to_owned);
                Value::Object(entries.iter().map(|(name, value)| (key(name), value.value())).collect())
            }
            Content::Alias(anchor) => Value::Object(Map::from_iter([("*".to_owned(), Value::from(*anchor))])),
        };
        match &self.tag {
            Some(tag) => Value::Object(Map::from_iter([(tag.clone(), value)])),
            None => value,
        }
    }
}

/// A plain scalar by YAML's core schema.
fn of_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if is_number && let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    match text.parse::<f64>().ok().filter(|_| is_number).and_then(serde_json::Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_node_knows_its_bytes() {
        let text = "a:\n  b: [1, two]  # c\n  d: |+\n    x\n\n  e:\n  - f: \"ö\"\n    g: {h: i}\n# end\n";
        let documents = read(text).unwrap();
        let slice = |path: &[&str]| &text[documents[0].root.at(path).unwrap().range.clone()];
        assert_eq!(slice(&["a", "b"]), "[1, two]");
        assert_eq!(slice(&["a", "e"]), "f: \"ö\"\n    g: {h: i}");
        assert_eq!(slice(&["a"]), text[5..text.len() - 7].to_owned());
        assert_eq!(documents[0].root.at(&["a", "d"]).unwrap().value(), json!("x\n\n"));
    }

    #[test]
    fn scalars_mean_what_the_core_schema_says() {
        let text = "[1, -2, 1.5, 'x', yes, true, ~, null, '', \"1\", 1.2.3, 0755, 10m]";
        let expected = json!([1, -2, 1.5, "x", "yes", true, null, null, "", "1", "1.2.3", 755, "10m"]);
        assert_eq!(read(text).unwrap()[0].root.value(), expected);
    }

    /// The parser keeps 32 of them in mind.
    #[test]
    fn any_number_of_comments_may_follow_each_other() {
        let many = |indent: usize| format!("{}# ö: [\r\n", " ".repeat(indent)).repeat(100);
        let text = format!(
            "{0}a:\r\n{1}  b:\n{1}  - {{c: 1,\n{1}      d: 2}}\n{1}  -\n{1}    e\n  f: |\n{2}{1}  g: 3\n{0}---\n{0}h: i\n",
            many(0),
            many(2),
            many(4)
        );
        let documents = read(&text).unwrap();
        let f = "# ö: [\n".repeat(100);
        assert_eq!(documents[0].root.value(), json!({"a": {"b": [{"c": 1, "d": 2}, "e"], "f": f, "g": 3}}));
        assert_eq!(documents[1].root.value(), json!({"h": "i"}));
        let g = documents[0].root.at(&["a", "g"]).unwrap();
        assert_eq!(&text[g.range.clone()], "3");
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_place() {
        let refusal = |text: &str| read(text).unwrap_err().to_string();
        assert!(refusal("a: b\n  c: d\n").starts_with("line 2, column "), "{}", refusal("a: b\n  c: d\n"));
        assert!(refusal("a: 1\nb: 2\na: 3\n").starts_with("line 3: the key a stands twice"));
        assert!(refusal(&"[".repeat(1000)).contains("line 1"));
        assert!(refusal("a: {{ .Values.a }}\nb: c: d\n").contains("helm template"));
    }
}
