//! What a query sees of a collection.

use crate::collection::Collection;
use crate::id::IdKind;
use crate::ids::Ids;
use crate::index::Index;
use crate::record::Record;
use imbl::OrdMap;
use std::sync::LazyLock;

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) kind: IdKind,
    pub(super) indexes: &'a [Index],
    pub(super) ids: &'a Ids,
    pub(super) records: &'a OrdMap<u64, Record>,
}

impl<'a> Source<'a> {
    pub(super) fn of(collection: Option<&'a Collection>) -> Source<'a> {
        static NO_IDS: LazyLock<Ids> = LazyLock::new(|| Ids::of(IdKind::Uuid));
        static NO_RECORDS: LazyLock<OrdMap<u64, Record>> = LazyLock::new(OrdMap::new);
        match collection {
            Some(collection) => Source {
                kind: collection.definition().id,
                indexes: collection.indexes(),
                ids: collection.ids(),
                records: &collection.by_number,
            },
            None => Source { kind: IdKind::Uuid, indexes: &[], ids: &NO_IDS, records: &NO_RECORDS },
        }
    }
}
