//! The ids of records: UUIDs, or any text.

use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// The longest id that is a text, in bytes.
pub const ID_BYTES_MAX: usize = 255;

/// What the ids of a collection are. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// A UUID: 16 bytes, shown in lower case with hyphens.
    Uuid,
    /// 1 to [`ID_BYTES_MAX`] bytes of UTF-8 without control characters and `/`; not `.` or `..`, which paths would lose.
    Text,
}

/// The id of a record. All of one collection are of one kind, and are ordered by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// A UUID.
    Uuid(Uuid),
    /// A text.
    Text(Arc<str>),
}

/// An [`Id`] that something else owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdRef<'a> {
    /// A UUID.
    Uuid(Uuid),
    /// A text.
    Text(&'a str),
}

impl IdKind {
    /// The id that a client writes so. A UUID is accepted in its usual form alone, in lower or upper case.
    pub fn parse(self, text: &str) -> Option<IdRef<'_>> {
        match self {
            IdKind::Uuid if text.len() == uuid::fmt::Hyphenated::LENGTH => Uuid::try_parse(text).ok().map(IdRef::Uuid),
            IdKind::Uuid => None,
            IdKind::Text => is_text_id(text).then_some(IdRef::Text(text)),
        }
    }
}

fn is_text_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text != "."
        && text != ".."
        && !text.chars().any(|character| character == '/' || character.is_control())
}

impl Id {
    /// No record's: the answer to a command about no single record has it.
    pub const NONE: Id = Id::Uuid(Uuid::nil());

    /// The same, borrowed.
    pub fn as_ref(&self) -> IdRef<'_> {
        match self {
            Id::Uuid(uuid) => IdRef::Uuid(*uuid),
            Id::Text(text) => IdRef::Text(text),
        }
    }

    /// It is [`Id::NONE`].
    pub fn is_none(&self) -> bool {
        *self == Id::NONE
    }
}

impl IdRef<'_> {
    /// The same, owned.
    pub fn to_owned(self) -> Id {
        match self {
            IdRef::Uuid(uuid) => Id::Uuid(uuid),
            IdRef::Text(text) => Id::Text(text.into()),
        }
    }

    /// What it is.
    pub fn kind(self) -> IdKind {
        match self {
            IdRef::Uuid(_) => IdKind::Uuid,
            IdRef::Text(_) => IdKind::Text,
        }
    }
}

impl From<Uuid> for Id {
    fn from(uuid: Uuid) -> Id {
        Id::Uuid(uuid)
    }
}

impl From<Uuid> for IdRef<'_> {
    fn from(uuid: Uuid) -> Self {
        IdRef::Uuid(uuid)
    }
}

impl<'a> From<&'a Id> for IdRef<'a> {
    fn from(id: &'a Id) -> IdRef<'a> {
        id.as_ref()
    }
}

impl fmt::Display for IdRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdRef::Uuid(uuid) => uuid.fmt(f),
            IdRef::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_a_path_or_a_terminal_would_change_is_no_id() {
        for good in ["a", "Ä b", "x:y", "%2F", "...", "\u{7ff}", &"x".repeat(255)] {
            assert_eq!(IdKind::Text.parse(good), Some(IdRef::Text(good)));
        }
        for bad in ["", ".", "..", "a/b", "a\nb", "\u{0}", "\u{7f}", "\u{85}", &"x".repeat(256)] {
            assert_eq!(IdKind::Text.parse(bad), None, "{bad:?}");
        }
        let uuid = "E956B5D0-fa0c-40e8-9da9-333c214dcaf7";
        assert_eq!(IdKind::Uuid.parse(uuid).map(|id| id.to_string()), Some(uuid.to_lowercase()));
        for bad in ["", "e956b5d0fa0c40e89da9333c214dcaf7", "{e956b5d0-fa0c-40e8-9da9-333c214dcaf7}", "x"] {
            assert_eq!(IdKind::Uuid.parse(bad), None, "{bad:?}");
        }
    }
}
