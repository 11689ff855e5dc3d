//! What a query sees of a collection.

use crate::collection::Collection;
use crate::id::{Id, IdKind};
use crate::index::Index;
use crate::record::Record;
use imbl::OrdMap;
use std::sync::LazyLock;

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) kind: IdKind,
    pub(super) indexes: &'a [Index],
    pub(super) ids: &'a OrdMap<Id, u64>,
    pub(super) records: &'a OrdMap<u64, Record>,
}

impl<'a> Source<'a> {
    pub(super) fn of(collection: Option<&'a Collection>) -> Source<'a> {
        static NO_IDS: LazyLock<OrdMap<Id, u64>> = LazyLock::new(OrdMap::new);
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
