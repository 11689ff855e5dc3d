//! Changes of one document, carried out twice: in its text, and in what it means.
//!
//! ```text
//!   [Change] ──▶ text with the fewest bytes changed ──read──▶ value ─┐
//!      └───────▶ the document's value, changed as data ──────────────┴─ equal, or it is refused
//! ```
//!
//! The second way knows nothing of YAML's spelling. So whatever is unusual about a text (an anchor, a tag, a comment in an
//! odd place), the output means what was intended, or there is none.

use std::cmp::Reverse;
use std::ops::Range;

use granit_parser::ScalarStyle;
use serde_json::Value;

use super::document::{Content, Document, Node, read};
use super::piece::{Piece, Style, scalar};
use super::refusal::Refusal;

/// Where a value is: keys, and indexes of lists.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

pub(super) type Path = Vec<Step>;

pub(super) fn path(keys: &[&str]) -> Path {
    keys.iter().map(|key| Step::Key((*key).to_owned())).collect()
}

/// One change.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// The mapping there has this key with this value.
    Put(Path, String, Piece),
    /// The list there has these items, behind those that it has.
    Push(Path, Vec<Piece>),
    /// The list there has these items, before those that it has.
    Unshift(Path, Vec<Piece>),
    /// The value there is this one.
    Replace(Path, Piece),
}

impl Change {
    /// Where the mapping, the list or the value is.
    fn path(&self) -> &Path {
        let (Change::Put(path, ..) | Change::Push(path, _) | Change::Unshift(path, _) | Change::Replace(path, _)) =
            self;
        path
    }

    /// Whether a key that is there gets another value: that is deeper than a new key beside it.
    fn is_within_a_key(&self, root: &Node) -> bool {
        matches!(self, Change::Put(path, key, _) if place(root, path).is_ok_and(|node| node.entry(key).is_some()))
    }
}

/// Bytes that are replaced by a text.
struct Edit {
    range: Range<usize>,
    by: String,
}

/// The stream with the changes: of each named document, and with the `added` documents behind it.
///
/// # Errors
/// A place cannot be changed without a risk for the rest of its document.
pub(super) fn apply(
    stream: &str,
    documents: &[Document],
    changes: &[(usize, Vec<Change>)],
    added: &[Piece],
) -> Result<String, Refusal> {
    let newline = if stream.split_once('\n').is_some_and(|(line, _)| line.ends_with('\r')) { "\r\n" } else { "\n" };
    let mut edits = Vec::new();
    let mut expected: Vec<Value> = documents.iter().map(|document| document.root.value()).collect();
    for (index, changes) in changes {
        let root = &documents[*index].root;
        for change in changes {
            let depth = change.path().len() + usize::from(change.is_within_a_key(root));
            edits.extend(edits_of(stream, root, change)?.into_iter().map(|edit| (depth, edit)));
            meant(&mut expected[*index], change).ok_or_else(|| unsafe_place(root))?;
        }
    }
    // Where an inner and an outer block end on the same line, what belongs to the inner one goes first. The sort is stable:
    // what else goes to the same place keeps its order.
    edits.sort_by_key(|(depth, edit)| (edit.range.start, Reverse(*depth)));
    let mut text = String::with_capacity(stream.len() + 8192);
    let mut done = 0;
    for (_, edit) in &edits {
        text.push_str(stream.get(done..edit.range.start).ok_or_else(|| unsafe_place(&documents[0].root))?);
        text.push_str(&edit.by.replace('\n', newline));
        done = edit.range.end;
    }
    text.push_str(&stream[done..]);
    // Readers take a stream that begins with a brace for JSON to its end.
    if !added.is_empty() && text.trim_start().starts_with('{') {
        text.insert_str(0, &format!("---{newline}"));
    }
    for piece in added {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push_str(newline);
        }
        text.push_str(&format!("---\n{}\n", piece.block(0, Style { dash: 2 })).replace('\n', newline));
        expected.push(piece.value());
    }
    verify(documents, &text, expected)?;
    Ok(text)
}

/// Reads what was written, and compares. Empty documents, such as the one behind a last `---`, do not count.
fn verify(documents: &[Document], text: &str, expected: Vec<Value>) -> Result<(), Refusal> {
    let is_something = |value: &Value| *value != Value::Null;
    let expected: Vec<Value> = expected.into_iter().filter(is_something).collect();
    let written =
        read(text).map(|documents| documents.iter().map(|document| document.root.value()).collect::<Vec<_>>());
    let written: Vec<Value> = written.unwrap_or_default().into_iter().filter(is_something).collect();
    if written == expected {
        return Ok(());
    }
    let differs = written.iter().zip(&expected).position(|(one, other)| one != other);
    let full = documents.iter().filter(|document| is_something(&document.root.value()));
    let place = full.clone().nth(differs.unwrap_or_default()).or(documents.first());
    Err(place.map_or_else(|| Refusal::new("the stream is empty".to_owned()), |place| unsafe_place(&place.root)))
}

fn unsafe_place(node: &Node) -> Refusal {
    Refusal::new(format!(
        "line {}: this document is written in a way that cannot be changed without a risk for the rest of it: write it \
         plainly (kubectl create --dry-run=client -o yaml -f …), then inject",
        node.line
    ))
}

/// The same change of the value alone. None: there is no such place.
fn meant(value: &mut Value, change: &Change) -> Option<()> {
    let place = change.path().iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })?;
    match change {
        Change::Put(_, key, piece) => {
            place.as_object_mut()?.insert(key.clone(), piece.value());
        }
        Change::Push(_, pieces) => place.as_array_mut()?.extend(pieces.iter().map(Piece::value)),
        Change::Unshift(_, pieces) => {
            place.as_array_mut()?.splice(0..0, pieces.iter().map(Piece::value));
        }
        Change::Replace(_, piece) => *place = piece.value(),
    }
    Some(())
}

/// The node at the path, on which no alias and no anchor stands: what is changed there would change elsewhere, too.
fn place<'a>(root: &'a Node, path: &Path) -> Result<&'a Node, Refusal> {
    let mut node = root;
    plain(node, "")?;
    for step in path {
        node = match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.items().get(*index),
        }
        .ok_or_else(|| unsafe_place(root))?;
        plain(node, &name(step))?;
    }
    Ok(node)
}

fn name(step: &Step) -> String {
    match step {
        Step::Key(key) => key.clone(),
        Step::Index(index) => format!("item {index}"),
    }
}

/// # Errors
/// An alias, an anchor, or a merge key: a change there could not be confined to this place.
fn plain(node: &Node, name: &str) -> Result<(), Refusal> {
    let reason = match &node.content {
        Content::Alias(_) => "is an alias (*name)",
        _ if node.is_anchored => "has an anchor (&name)",
        Content::Map(_) if node.entry("<<").is_some() => "has a merge key (<<)",
        Content::Map(_) | Content::List(_) | Content::Scalar(..) => return Ok(()),
    };
    Err(Refusal::new(format!("line {}: {name} {reason}, and must be changed: write its values out", node.line)))
}

fn edits_of(stream: &str, root: &Node, change: &Change) -> Result<Vec<Edit>, Refusal> {
    let style = Style { dash: dash_of(stream, root) };
    match change {
        Change::Put(path, key, piece) => put(stream, place(root, path)?, key, piece, style),
        Change::Push(path, pieces) => push(stream, place(root, path)?, pieces, style),
        Change::Unshift(path, pieces) => unshift(stream, place(root, path)?, pieces, style).map(|edit| vec![edit]),
        Change::Replace(path, piece) => replace(place(root, path)?, piece, style).map(|edit| vec![edit]),
    }
}

/// How far the dashes of a document's lists stand behind their key: its first list in a block tells.
fn dash_of(stream: &str, node: &Node) -> usize {
    fn first(stream: &str, node: &Node) -> Option<usize> {
        let Content::Map(entries) = &node.content else {
            return node.items().iter().find_map(|item| first(stream, item));
        };
        entries.iter().find_map(|(key, value)| match value.items().first() {
            Some(item) if !value.is_flow => dash(stream, item)
                .and_then(|(_, column)| column.checked_sub(key.column))
                .or_else(|| first(stream, value)),
            _ => first(stream, value),
        })
    }
    first(stream, node).filter(|dash| [0, 2].contains(dash)).unwrap_or(2)
}

/// The dash before an item of a block: its byte, and its column. None: something unusual stands between the two.
fn dash(stream: &str, item: &Node) -> Option<(usize, usize)> {
    let mut end = item.range.start;
    loop {
        let begin = stream[..end].rfind('\n').map_or(0, |at| at + 1);
        let line = &stream[begin..end];
        // Behind the dash may be a comment, and lines of comments below it.
        let code = if line.trim_start().starts_with('#') { "" } else { line.split(" #").next().unwrap_or_default() };
        let code = code.trim_end();
        if !code.is_empty() {
            let is_dash = code.ends_with('-') && code.bytes().all(|b| b == b' ' || b == b'-');
            return is_dash.then_some((begin + code.len() - 1, code.len() - 1));
        }
        end = begin.checked_sub(1)?;
    }
}

/// The begin of the line behind the one in which `end` lies; and whether a line break is missing there.
fn line_behind(stream: &str, end: usize) -> (usize, bool) {
    match stream[end..].find('\n') {
        Some(length) => (end + length + 1, false),
        None => (stream.len(), true),
    }
}

/// Whole lines, behind the line in which `end` lies.
fn lines_behind(stream: &str, end: usize, indent: usize, lines: &str) -> Edit {
    let (at, is_broken_off) = line_behind(stream, end);
    let lines = format!("{}{lines}", " ".repeat(indent));
    let by = if is_broken_off { format!("\n{lines}") } else { format!("{lines}\n") };
    Edit { range: at..at, by }
}

/// Whether a mapping in braces is JSON: all its keys have quotes.
fn is_json(entries: &[(Node, Node)]) -> bool {
    !entries.is_empty() && entries.iter().all(|(key, _)| is_quoted(key))
}

fn is_quoted(node: &Node) -> bool {
    matches!(node.content, Content::Scalar(_, ScalarStyle::DoubleQuoted))
}

fn put(stream: &str, node: &Node, key: &str, piece: &Piece, style: Style) -> Result<Vec<Edit>, Refusal> {
    let Content::Map(entries) = &node.content else { return Err(unsafe_place(node)) };
    let Some((first, _)) = entries.first() else {
        let by = format!("{{{}: {}}}", scalar(key, false), piece.flow(false));
        return Ok(vec![Edit { range: node.range.clone(), by }]);
    };
    let json = is_json(entries);
    match node.entry(key) {
        // Nothing there yet, or an empty list: the block goes to the next line.
        Some((name, value)) if value.is_empty() && !node.is_flow && !value.is_anchored => {
            let behind = piece.behind_a_key(name.column, style);
            if value.range.is_empty() || !behind.starts_with('\n') {
                let colon = stream[name.range.end..].find(':').ok_or_else(|| unsafe_place(node))? + name.range.end + 1;
                if let Some(lines) = behind.strip_prefix('\n') {
                    return Ok(vec![lines_behind(stream, colon, 0, lines)]);
                }
                let end = value.range.end.max(colon);
                return Ok(vec![Edit { range: colon..end, by: behind }]);
            }
            let start = stream[..value.range.start].trim_end_matches(' ').len();
            let removed = Edit { range: start..value.range.end, by: String::new() };
            Ok(vec![removed, lines_behind(stream, value.range.end, 0, &behind[1..])])
        }
        Some((_, value)) => {
            plain(value, key)?;
            replace(value, piece, style).map(|edit| vec![edit])
        }
        None if node.is_flow => {
            let last = entries.last().map_or(first, |(_, value)| value);
            let by = format!(", {}: {}", scalar(key, json), piece.flow(json));
            Ok(vec![Edit { range: last.range.end..last.range.end, by }])
        }
        None => {
            let line = format!("{}:{}", scalar(key, false), piece.behind_a_key(first.column, style));
            Ok(vec![lines_behind(stream, node.range.end, first.column, &line)])
        }
    }
}

fn push(stream: &str, node: &Node, pieces: &[Piece], style: Style) -> Result<Vec<Edit>, Refusal> {
    let Some(last) = node.items().last() else { return Err(unsafe_place(node)) };
    if node.is_flow {
        let json = matches!(&last.content, Content::Map(entries) if is_json(entries));
        let by: String = pieces.iter().map(|piece| format!(", {}", piece.flow(json))).collect();
        return Ok(vec![Edit { range: last.range.end..last.range.end, by }]);
    }
    let first = node.items().first().and_then(|first| dash(stream, first));
    let (_, column) = first.ok_or_else(|| unsafe_place(node))?;
    let item =
        |piece: &Piece| lines_behind(stream, node.range.end, column, &format!("- {}", piece.block(column + 2, style)));
    Ok(pieces.iter().map(item).collect())
}

fn unshift(stream: &str, node: &Node, pieces: &[Piece], style: Style) -> Result<Edit, Refusal> {
    let Some(first) = node.items().first() else { return Err(unsafe_place(node)) };
    if node.is_flow {
        let by = pieces.iter().map(|piece| format!("{}, ", piece.flow(is_quoted(first)))).collect();
        return Ok(Edit { range: first.range.start..first.range.start, by });
    }
    let (dash, column) = dash(stream, first).ok_or_else(|| unsafe_place(node))?;
    let item = |piece: &Piece| format!("- {}\n{}", piece.block(column + 2, style), " ".repeat(column));
    Ok(Edit { range: dash..dash, by: pieces.iter().map(item).collect() })
}

fn replace(node: &Node, piece: &Piece, style: Style) -> Result<Edit, Refusal> {
    let by = match &node.content {
        Content::Map(entries) if node.is_flow => piece.flow(is_json(entries)),
        Content::Scalar(_, ScalarStyle::DoubleQuoted) => piece.flow(matches!(piece, Piece::Text(_))),
        Content::Map(_) | Content::List(_) if !node.is_flow => match piece {
            Piece::Map(_) | Piece::List(_) => piece.block(node.column, style),
            // A block begins on a line of its own; one line there is fine, too.
            Piece::Line(_) => piece.flow(false),
            Piece::Text(_) | Piece::Number(_) | Piece::Bool(_) => return Err(unsafe_place(node)),
        },
        Content::Alias(_) => return Err(unsafe_place(node)),
        Content::Scalar(..) | Content::Map(_) | Content::List(_) => piece.flow(false),
    };
    Ok(Edit { range: node.range.clone(), by })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::inject::piece::{line, map, text};

    fn changed(stream: &str, changes: Vec<Change>) -> Result<String, String> {
        let documents = read(stream).unwrap();
        apply(stream, &documents, &[(0, changes)], &[]).map_err(|refusal| refusal.to_string())
    }

    fn put_of(at: &[&str], key: &str, piece: Piece) -> Vec<Change> {
        vec![Change::Put(path(at), key.to_owned(), piece)]
    }

    #[test]
    fn a_key_goes_behind_the_last_one_and_all_comments_stay() {
        let piece = map([("x", text("z"))]);
        for (before, after) in [
            ("a:\n  b: 1 # one\n  # free\n\nc: 2\n", "a:\n  b: 1 # one\n  k:\n    x: z\n  # free\n\nc: 2\n"),
            ("a:\n  b: |\n    text\n\n# end\n", "a:\n  b: |\n    text\n  k:\n    x: z\n\n# end\n"),
            ("a:\n  b: |+\n    text\n\n# end\n", "a:\n  b: |+\n    text\n\n  k:\n    x: z\n# end\n"),
            ("a:\n  b: 1", "a:\n  b: 1\n  k:\n    x: z"),
            ("a: {b: 1}\n", "a: {b: 1, k: {x: z}}\n"),
            ("{\"a\": {\"b\": 1 }}\n", "{\"a\": {\"b\": 1, \"k\": {\"x\": \"z\"} }}\n"),
            ("a:\r\n  b: 1\r\nc: 2\r\n", "a:\r\n  b: 1\r\n  k:\r\n    x: z\r\nc: 2\r\n"),
            (
                "a:\n  b:\n    - 1\n    # in\n    - 2 # two\nc: 3\n",
                "a:\n  b:\n    - 1\n    # in\n    - 2 # two\n  k:\n    x: z\nc: 3\n",
            ),
            ("a:\n  b: 1\n  k: # none yet\nc: 3\n", "a:\n  b: 1\n  k: # none yet\n    x: z\nc: 3\n"),
            ("a:\n  k: {} # c\nc: 3\n", "a:\n  k: # c\n    x: z\nc: 3\n"),
        ] {
            assert_eq!(changed(before, put_of(&["a"], "k", piece.clone())).as_deref(), Ok(after), "{before}");
        }
    }

    #[test]
    fn an_item_goes_behind_the_last_one_in_the_style_of_the_list() {
        let item = map([("q", text("x")), ("l", Piece::List(vec![text("m")]))]);
        for (before, after) in [
            ("a:\n- b: 1\n  c: 2\n# d\n", "a:\n- b: 1\n  c: 2\n- q: x\n  l:\n  - m\n# d\n"),
            ("a:\n  -   b: 1\n      c: 2\n", "a:\n  -   b: 1\n      c: 2\n  - q: x\n    l:\n      - m\n"),
            ("a: [{b: 1}, ]\n", "a: [{b: 1}, {q: x, l: [m]}, ]\n"),
            ("a:\n  - - 1\n    - 2\n", "a:\n  - - 1\n    - 2\n  - q: x\n    l:\n      - m\n"),
        ] {
            assert_eq!(changed(before, vec![Change::Push(path(&["a"]), vec![item.clone()])]).unwrap(), after);
        }
    }

    #[test]
    fn an_item_goes_before_the_first_one() {
        for (before, after) in [
            ("a:\n  # c\n  - sh # d\n  - |\n    x\n", "a:\n  # c\n  - x\n  - --\n  - sh # d\n  - |\n    x\n"),
            ("a: [ sh, -c ]\n", "a: [ x, \"--\", sh, -c ]\n"),
            ("a: [\"sh\"]\n", "a: [\"x\", \"--\", \"sh\"]\n"),
        ] {
            let change = Change::Unshift(path(&["a"]), vec![text("x"), text("--")]);
            assert_eq!(changed(before, vec![change]).unwrap(), after.replace("- --", "- \"--\""));
        }
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        let at = |index| vec![Step::Key("a".to_owned()), Step::Index(index)];
        let piece = map([("q", text("x")), ("m", line([("o", Piece::Number(1))]))]);
        for (before, after) in [
            ("a:\n  - q: v # c\n    z: 1\n  - b\n", "a:\n  - q: x\n    m: {o: 1}\n  - b\n"),
            ("a: [{q: v}, b]\n", "a: [{q: x, m: {o: 1}}, b]\n"),
        ] {
            assert_eq!(changed(before, vec![Change::Replace(at(0), piece.clone())]).unwrap(), after);
        }
        assert_eq!(changed("a: \"b\" # c\n", put_of(&[], "a", text("d"))).unwrap(), "a: \"d\" # c\n");
    }

    #[test]
    fn what_stands_elsewhere_too_is_refused() {
        let refusal = |stream: &str| changed(stream, put_of(&["a"], "k", text("v"))).unwrap_err();
        assert!(refusal("x: &a {b: 1}\na: *a\n").contains("line 2: a is an alias"));
        assert!(refusal("a: &a\n  b: 1\nx: *a\n").contains("a has an anchor"));
        assert!(refusal("x: &x {b: 1}\na:\n  <<: *x\n").contains("a has a merge key"));
        assert!(refusal("a: [1]\n").starts_with("line 1"));
    }

    /// An edit that looked right, and was not, must not get out.
    #[test]
    fn a_text_that_does_not_mean_what_was_intended_is_refused() {
        let refusal = changed("a: {b: 1, c: }\n", put_of(&["a"], "k", text("v"))).unwrap_err();
        assert!(refusal.contains("cannot be changed without a risk"), "{refusal}");
    }
}
