//! What a collection is: its ids, its schema, its indexes, when its records go, and how many there may be.
//!
//! ```text
//!   {"id": "string" | "uuid",
//!    "schema": {…},                                          JSON Schema 2020-12; kept as text: only API code reads it
//!    "indexes": [{"fields": ["/email"], "unique": true},     at most 8, of at most 4 fields
//!                {"fields": ["/tenant", {"path": "/price", "type": "number"}]}],
//!    "expires": "/expiresAt",                                the field with the time at which a record goes
//!    "maxRecords": 100000}
//! ```
//!
//! The log, snapshot.json and the sum have a definition in one form ([`Definition::to_json`]): members in this order, behind `id`
//! the form of its records if it is a special one (`"form":"persons"`, which clients cannot send), without white space, and
//! without what is the default. The schema stays as the client wrote it, without white space between its tokens.

mod text;

use crate::id::IdKind;
use std::sync::Arc;

/// The collection that each cluster begins with.
pub const PERSONS: &str = "persons";
/// How many collections there may be.
pub const COLLECTIONS_MAX: usize = 1_000;
/// The most indexes of a collection.
pub const INDEXES_MAX: usize = 8;
/// The most fields of an index.
pub const FIELDS_MAX: usize = 4;
/// The longest schema, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// The longest name of a collection.
pub const NAME_BYTES_MAX: usize = 63;
/// How many steps a path may have.
pub const PATH_STEPS_MAX: usize = 16;
/// The longest path, as a JSON Pointer, in bytes.
pub const PATH_BYTES_MAX: usize = 1_024;

/// First segments of paths that name no collection.
pub const RESERVED_NAMES: [&str; 7] = ["api", "docs", "ui", "metrics", "healthz", "readyz", "openapi.json"];

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What its ids are. It never changes.
    pub id: IdKind,
    /// The form of its records. Clients do not choose it.
    pub form: Form,
    /// JSON Schema 2020-12, as the client wrote it, without white space between tokens.
    pub schema: Option<Arc<str>>,
    /// At most [`INDEXES_MAX`], no two with the same fields. A path has the same type in all of them.
    pub indexes: Vec<IndexDefinition>,
    /// The field with the time at which a record goes. Not the id.
    pub expires: Option<Path>,
    /// How many records it may have at most.
    pub records_max: Option<u64>,
}

/// What its records look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Any JSON object, as it is sent.
    Any,
    /// `firstName`, `lastName` and `id`, in one form: the collection `persons` that each cluster begins with.
    Persons,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexDefinition {
    /// 1 to [`FIELDS_MAX`], no path twice.
    pub fields: Vec<Field>,
    /// No two records may have equal values in all of its fields.
    pub unique: bool,
}

/// A field of an index. It sees values of its type alone; any other counts as none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it is.
    pub path: Path,
    /// What it is.
    pub kind: FieldKind,
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Ordered by the bytes of its UTF-8.
    String,
    /// Ordered by its exact decimal value.
    Number,
    /// False before true.
    Boolean,
}

/// The way to a member of a record, through objects alone: a JSON Pointer (RFC 6901) of 1 to [`PATH_STEPS_MAX`] names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<[Box<str>]>);

/// Why a text is not a definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DefinitionError {
    /// The member that is wrong, as a JSON Pointer into the definition.
    pub pointer: String,
    /// For people.
    pub what: String,
}

impl Path {
    /// From a JSON Pointer; none if it is not one, or not the way to a member.
    pub fn from_pointer(pointer: &str) -> Option<Path> {
        let names = pointer.strip_prefix('/')?.split('/').map(unescape).collect::<Option<Vec<Box<str>>>>()?;
        Path::from_names(names)
    }

    /// From these names, from the outside in.
    pub fn from_names(names: Vec<Box<str>>) -> Option<Path> {
        (1..=PATH_STEPS_MAX).contains(&names.len()).then(|| Path(names.into()))
    }

    /// The names, from the outside in. At least one.
    pub fn names(&self) -> &[Box<str>] {
        &self.0
    }

    /// As a JSON Pointer.
    pub fn to_pointer(&self) -> String {
        self.0.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
    }
}

fn unescape(step: &str) -> Option<Box<str>> {
    let mut name = String::with_capacity(step.len());
    let mut rest = step.chars();
    while let Some(next) = rest.next() {
        name.push(match next {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(name.into())
}

/// May a collection have this name? `[a-z][a-z0-9-]{0,62}`, and not reserved.
pub fn is_name(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase();
    let is_later = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(is_first)
        && name.bytes().all(is_later)
        && !RESERVED_NAMES.contains(&name)
}

impl Definition {
    /// Of the collection `persons`, which every cluster begins with.
    pub fn persons() -> Definition {
        Definition {
            id: IdKind::Uuid,
            form: Form::Persons,
            schema: None,
            indexes: Vec::new(),
            expires: None,
            records_max: None,
        }
    }

    /// What it uses in memory, approximately.
    pub(crate) fn memory_bytes(&self) -> u64 {
        const BYTES: u64 = 512;
        const INDEX_BYTES: u64 = 512;
        BYTES + self.indexes.len() as u64 * INDEX_BYTES + self.schema.as_ref().map_or(0, |schema| schema.len() as u64)
    }

    /// What a change to `other` needs of the records that are there.
    pub fn change_to(&self, other: &Definition) -> DefinitionChange {
        if self == other {
            DefinitionChange::None
        } else if self.id != other.id || self.form != other.form {
            DefinitionChange::Immutable
        } else {
            let new_index = other.indexes.iter().any(|index| !self.indexes.contains(index));
            let new_schema = other.schema.is_some() && other.schema != self.schema;
            let new_expiry = other.expires.is_some() && other.expires != self.expires;
            if new_index || new_schema || new_expiry { DefinitionChange::Examine } else { DefinitionChange::AtOnce }
        }
    }
}

/// See [`Definition::change_to`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionChange {
    /// They are the same.
    None,
    /// It cannot be.
    Immutable,
    /// No record matters.
    AtOnce,
    /// Every record must be looked at first: the change is pending meanwhile.
    Examine,
}
