//! The creation number of each id of a collection, in the order of the ids.
//!
//! A map for each kind: all ids of a collection are of one kind, and a UUID takes 16 bytes then, not the 24 of an [`Id`].
//! Every write copies a path of this map, so its size is the size of a write.

use crate::id::{Id, IdKind, IdRef};
use imbl::OrdMap;
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

/// See the module. A clone is cheap.
#[derive(Clone, Debug)]
pub(crate) enum Ids {
    Uuids(OrdMap<Uuid, u64>),
    Texts(OrdMap<Arc<str>, u64>),
}

impl Ids {
    /// There is none.
    pub(crate) fn of(kind: IdKind) -> Ids {
        match kind {
            IdKind::Uuid => Ids::Uuids(OrdMap::new()),
            IdKind::Text => Ids::Texts(OrdMap::new()),
        }
    }

    pub(crate) fn kind(&self) -> IdKind {
        match self {
            Ids::Uuids(_) => IdKind::Uuid,
            Ids::Texts(_) => IdKind::Text,
        }
    }

    /// None of an id of another kind.
    pub(crate) fn get(&self, id: IdRef<'_>) -> Option<u64> {
        match (self, id) {
            (Ids::Uuids(numbers), IdRef::Uuid(uuid)) => numbers.get(&uuid).copied(),
            (Ids::Texts(numbers), IdRef::Text(text)) => numbers.get(text).copied(),
            (Ids::Uuids(_), IdRef::Text(_)) | (Ids::Texts(_), IdRef::Uuid(_)) => None,
        }
    }

    /// False: it was there. An id of another kind is not entered.
    pub(crate) fn insert(&mut self, id: IdRef<'_>, number: u64) -> bool {
        match (self, id) {
            (Ids::Uuids(numbers), IdRef::Uuid(uuid)) => numbers.insert(uuid, number).is_none(),
            (Ids::Texts(numbers), IdRef::Text(text)) => numbers.insert(text.into(), number).is_none(),
            (Ids::Uuids(_), IdRef::Text(_)) | (Ids::Texts(_), IdRef::Uuid(_)) => {
                debug_assert!(false, "an id of another kind");
                false
            }
        }
    }

    /// Its number; none if it was not there.
    pub(crate) fn remove(&mut self, id: IdRef<'_>) -> Option<u64> {
        match (self, id) {
            (Ids::Uuids(numbers), IdRef::Uuid(uuid)) => numbers.remove(&uuid),
            (Ids::Texts(numbers), IdRef::Text(text)) => numbers.remove(text),
            (Ids::Uuids(_), IdRef::Text(_)) | (Ids::Texts(_), IdRef::Uuid(_)) => None,
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (IdRef<'_>, u64)> + '_> {
        match self {
            Ids::Uuids(numbers) => Box::new(numbers.iter().map(|(uuid, number)| (IdRef::Uuid(*uuid), *number))),
            Ids::Texts(numbers) => Box::new(numbers.iter().map(|(text, number)| (IdRef::Text(text), *number))),
        }
    }

    /// Those between the bounds, which are of its kind.
    pub(crate) fn range(
        &self,
        (from, to): (Bound<Id>, Bound<Id>),
    ) -> Box<dyn DoubleEndedIterator<Item = (IdRef<'_>, u64)> + '_> {
        match self {
            Ids::Uuids(numbers) => match (from.uuid(), to.uuid()) {
                (Some(from), Some(to)) => {
                    Box::new(numbers.range((from, to)).map(|(uuid, number)| (IdRef::Uuid(*uuid), *number)))
                }
                _ => Box::new(std::iter::empty()),
            },
            Ids::Texts(numbers) => match (from.text(), to.text()) {
                (Some(from), Some(to)) => {
                    Box::new(numbers.range((from, to)).map(|(text, number)| (IdRef::Text(text), *number)))
                }
                _ => Box::new(std::iter::empty()),
            },
        }
    }
}

/// A bound of ids as one of a kind's; none if it is of another kind.
trait OfKind {
    fn uuid(self) -> Option<Bound<Uuid>>;
    fn text(self) -> Option<Bound<Arc<str>>>;
}

impl OfKind for Bound<Id> {
    fn uuid(self) -> Option<Bound<Uuid>> {
        match self {
            Bound::Included(Id::Uuid(uuid)) => Some(Bound::Included(uuid)),
            Bound::Excluded(Id::Uuid(uuid)) => Some(Bound::Excluded(uuid)),
            Bound::Unbounded => Some(Bound::Unbounded),
            Bound::Included(Id::Text(_)) | Bound::Excluded(Id::Text(_)) => None,
        }
    }

    fn text(self) -> Option<Bound<Arc<str>>> {
        match self {
            Bound::Included(Id::Text(text)) => Some(Bound::Included(text)),
            Bound::Excluded(Id::Text(text)) => Some(Bound::Excluded(text)),
            Bound::Unbounded => Some(Bound::Unbounded),
            Bound::Included(Id::Uuid(_)) | Bound::Excluded(Id::Uuid(_)) => None,
        }
    }
}
