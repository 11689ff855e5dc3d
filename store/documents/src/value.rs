//! What a definition needs of each record: the fields of its indexes, and its time of expiry.
//!
//! ```text
//!   record ──one parse, for all paths──▶ raw JSON at each path ──typed──▶ keys of the indexes, time of expiry
//!
//!   key     = field after field | 0x00, or 0x01 where a field is none
//!   field   = 0x01 | value, or 0x02: none, ordered last
//!   string  = UTF-8, each 0x00 as 0x00 0xff | 0x00 0x01
//!   number  = `number`
//!   boolean = 0x00: false, 0x01: true
//! ```
//!
//! Keys sort as the values do, field by field, and no field's bytes begin another one's: equal first fields are a common
//! prefix. The bytes are in memory and in cursors, never in the log or a snapshot; but what is *equal* decides at apply whether
//! a record breaks a unique index, so it is part of the format.
//!
//! A field sees values of its type alone; any other, null, nothing at all, or a number out of bounds is none. Paths lead
//! through objects, not arrays. Of two members of one name the last counts (the API refuses such records), and a record that
//! is no JSON object has none of the fields (nothing stores one).

use crate::definition::{Definition, FieldKind, Path};
use crate::letters::letters;
use crate::moment;
use crate::number::Decimal;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;

/// The longest string at an indexed path, in bytes.
pub const STRING_BYTES_MAX: usize = 1024;

const PRESENT: u8 = 1;
const NONE: u8 = 2;
const ALL_PRESENT: u8 = 0;
const HAS_NONE: u8 = 1;

/// What a definition needs of each record. A clone shares it.
#[derive(Clone, Debug)]
pub struct Shape(Arc<Needed>);

#[derive(Debug, Default)]
struct Needed {
    paths: Paths,
    /// The fields of each index: their places in `paths`.
    indexes: Vec<Vec<(usize, FieldKind)>>,
    expires: Option<usize>,
}

/// What a record has of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// One for each index, in the order of the definition.
    pub keys: Vec<IndexKey>,
    /// When the record goes, in milliseconds since 1970; none: never.
    pub expires_ms: Option<i64>,
}

/// A value that cannot stand where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    /// Where, as a JSON Pointer into the record.
    pub pointer: Box<str>,
    /// What it must be, for people.
    pub why: &'static str,
}

/// The values of a record in the fields of an index, as bytes that sort as they do. A clone shares them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexKey(Arc<[u8]>);

impl Shape {
    /// Of the records of such a collection.
    pub fn of(definition: &Definition) -> Shape {
        let mut paths = Paths::default();
        let of_field = |paths: &mut Paths, field: &crate::definition::Field| (paths.add(&field.path), field.kind);
        let indexes = definition.indexes.iter();
        let indexes = indexes.map(|index| index.fields.iter().map(|field| of_field(&mut paths, field)).collect());
        let indexes = indexes.collect();
        let expires = definition.expires.as_ref().map(|path| paths.add(path));
        Shape(Arc::new(Needed { paths, indexes, expires }))
    }

    /// It needs nothing.
    pub fn is_empty(&self) -> bool {
        self.0.paths.is_empty()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`BadValue`]: a string of more than [`STRING_BYTES_MAX`] bytes at an indexed path, or a time that is none.
    pub fn read(&self, record: &str) -> Result<Read, BadValue> {
        let Needed { paths, indexes, expires } = &*self.0;
        if paths.is_empty() {
            return Ok(Read {
                keys: indexes.iter().map(|_| IndexKey::of(Vec::new(), false)).collect(),
                expires_ms: None,
            });
        }
        let found = paths.read(record);
        let mut keys = Vec::with_capacity(indexes.len());
        for fields in indexes {
            let (mut key, mut has_none) = (Vec::with_capacity(32), false);
            for (slot, kind) in fields {
                let raw = found[*slot];
                if raw.is_some_and(is_long) {
                    return Err(paths.bad(*slot, "a text at an indexed path has at most 1,024 bytes"));
                }
                has_none |= !encode_raw(*kind, raw, &mut key);
            }
            keys.push(IndexKey::of(key, has_none));
        }
        let time = expires.and_then(|slot| Some((slot, found[slot]?))).filter(|(_, raw)| *raw != "null");
        let time = time.map(|(slot, raw)| moment::of_json(raw).map_err(|why| paths.bad(slot, why)));
        Ok(Read { keys, expires_ms: time.transpose()? })
    }
}

impl IndexKey {
    fn of(mut fields: Vec<u8>, has_none: bool) -> IndexKey {
        fields.push(if has_none { HAS_NONE } else { ALL_PRESENT });
        IndexKey(fields.into())
    }

    /// A place among the keys, whether or not one is there.
    pub(crate) fn at(bytes: Vec<u8>) -> IndexKey {
        IndexKey(bytes.into())
    }

    /// One of its fields is none: a unique index ignores it.
    pub fn has_none(&self) -> bool {
        self.0.last() == Some(&HAS_NONE)
    }

    /// See the module.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Appends a field of an index that a record has so, as raw JSON. False: it is none.
pub(crate) fn encode_raw(kind: FieldKind, raw: Option<&str>, to: &mut Vec<u8>) -> bool {
    let begin = to.len();
    to.push(PRESENT);
    let is_present = raw.is_some_and(|raw| match (kind, raw) {
        (FieldKind::String, raw) => letters(raw).map(|text| encode_string(&text, to)).is_some(),
        (FieldKind::Number, raw) => Decimal::parse(raw).map(|number| number.encode(to)).is_some(),
        (FieldKind::Boolean, "true" | "false") => {
            to.push(u8::from(raw == "true"));
            true
        }
        (FieldKind::Boolean, _) => false,
    });
    if !is_present {
        to.truncate(begin);
        to.push(NONE);
    }
    is_present
}

/// Appends what a client writes as text, as a value of that type. False, and nothing appended: it is not one.
pub(crate) fn encode_text(kind: FieldKind, text: &str, to: &mut Vec<u8>) -> bool {
    if kind == FieldKind::String {
        encode_letters(text, to);
        end_string(to);
        return true;
    }
    let begin = to.len();
    let is_value = encode_raw(kind, Some(text), to);
    if !is_value {
        to.truncate(begin);
    }
    is_value
}

/// Appends the bytes with which all strings begin that begin with this text.
pub(crate) fn encode_letters(text: &str, to: &mut Vec<u8>) {
    to.push(PRESENT);
    push_escaped(text, to);
}

/// All bytes of fields that are not none are at least this, and below [`AFTER_VALUES`].
pub(crate) const VALUES: u8 = PRESENT;
/// See [`VALUES`].
pub(crate) const AFTER_VALUES: u8 = NONE;

fn encode_string(text: &str, to: &mut Vec<u8>) {
    push_escaped(text, to);
    end_string(to);
}

fn push_escaped(text: &str, to: &mut Vec<u8>) {
    for byte in text.bytes() {
        to.push(byte);
        if byte == 0 {
            to.push(0xff);
        }
    }
}

fn end_string(to: &mut Vec<u8>) {
    to.extend_from_slice(&[0, 1]);
}

fn is_long(raw: &str) -> bool {
    // Escapes only shorten it.
    raw.len() > STRING_BYTES_MAX + 2 && letters(raw).is_some_and(|text| text.len() > STRING_BYTES_MAX)
}

/// Paths into records, as a tree, so that one parse finds all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    /// The first one, if any, is the record itself.
    nodes: Vec<Node>,
    /// Which each one is.
    paths: Vec<Path>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: Vec<(Box<str>, usize)>,
    /// A path ends here.
    slot: Option<usize>,
}

impl Paths {
    /// Where [`Paths::read`] has the value at this path; the same for the same path.
    pub(crate) fn add(&mut self, path: &Path) -> usize {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for name in path.names() {
            let known = self.nodes[at].children.iter().find(|(known, _)| known == name).map(|(_, child)| *child);
            at = known.unwrap_or_else(|| {
                let child = self.nodes.len();
                self.nodes.push(Node::default());
                self.nodes[at].children.push((name.clone(), child));
                child
            });
        }
        let next = self.paths.len();
        let slot = *self.nodes[at].slot.get_or_insert(next);
        if slot == next {
            self.paths.push(path.clone());
        }
        slot
    }

    /// There is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The raw JSON at each path, where there is any.
    pub(crate) fn read<'a>(&self, record: &'a str) -> Vec<Option<&'a str>> {
        let mut found = vec![None; self.paths.len()];
        if self.is_empty() {
            return found;
        }
        let mut json = serde_json::Deserializer::from_str(record);
        let at = At { paths: self, node: 0, found: &mut found };
        if at.deserialize(&mut json).is_err() {
            found.fill(None);
        }
        found
    }

    fn bad(&self, slot: usize, why: &'static str) -> BadValue {
        BadValue { pointer: self.paths[slot].to_pointer().into(), why }
    }

    /// Forgets what was found at a node and below.
    fn clear(&self, node: usize, found: &mut [Option<&str>]) {
        if let Some(slot) = self.nodes[node].slot {
            found[slot] = None;
        }
        self.nodes[node].children.iter().for_each(|(_, child)| self.clear(*child, found));
    }
}

/// A value in the record at which paths end, or through which they go.
struct At<'p, 'f, 'a> {
    paths: &'p Paths,
    node: usize,
    found: &'f mut [Option<&'a str>],
}

impl<'a> DeserializeSeed<'a> for At<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        let node = &self.paths.nodes[self.node];
        let Some(slot) = node.slot else { return json.deserialize_any(self) };
        let raw: &'a RawValue = serde::Deserialize::deserialize(json)?;
        self.found[slot] = Some(raw.get());
        // Only where one path is the beginning of another is a part of the record read twice.
        if !node.children.is_empty() && raw.get().starts_with('{') {
            let mut inner = serde_json::Deserializer::from_str(raw.get());
            inner.deserialize_any(self).map_err(D::Error::custom)?;
        }
        Ok(())
    }
}

impl<'a> Visitor<'a> for At<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        let children = &self.paths.nodes[self.node].children;
        while let Some(child) = members.next_key_seed(Child(children))? {
            match child {
                None => drop(members.next_value::<IgnoredAny>()?),
                Some(node) => {
                    self.paths.clear(node, self.found);
                    members.next_value_seed(At { paths: self.paths, node, found: &mut *self.found })?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// The name of a member: which child of the node it is, if any.
struct Child<'p>(&'p [(Box<str>, usize)]);

impl<'a> DeserializeSeed<'a> for Child<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Option<usize>, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Child<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().find(|(known, _)| **known == *name).map(|(_, child)| *child))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
