//! What a client asks to watch.

use super::super::need::Need;
use super::super::percent::Query;
use super::super::problem::{Code, Problem};
use super::super::query::{sequence, unique, unknown, wrong};
use super::super::rights::Rights;
use leasehold_documents::{Change, is_name};
use leasehold_replication::{ClusterId, Seq};
use std::collections::BTreeSet;
use uuid::Uuid;
use warp::http::HeaderMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The changes after this entry; none: from now on.
    pub(super) after: Option<Seq>,
    /// The cluster that `after` is a sequence of, as the client knows it.
    pub(super) cluster: Option<ClusterId>,
    pub(super) what: What,
}

/// Which changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum What {
    /// Of the records of this collection whose ids begin so.
    Records { collection: String, id_prefix: String },
    /// Of all collections.
    #[default]
    All,
    /// Of these collections.
    Collections(BTreeSet<String>),
    /// Of all that there are, as far as they are these: nobody named them, so that one is dropped ends nothing.
    Readable(BTreeSet<String>),
}

impl Asked {
    /// Of that collection; of none: what `/api/watch` shows.
    pub(super) fn parse(collection: Option<&str>, headers: &HeaderMap, query: Query) -> Result<Asked, Problem> {
        let mut asked = Asked::default();
        let (mut id_prefix, mut collections) = (String::new(), None);
        for (name, value) in unique(query)? {
            match (name.as_str(), collection) {
                ("after", _) => asked.after = Some(sequence(&name, &value)?),
                ("cluster", _) => asked.cluster = Some(cluster(&name, &value)?),
                ("where.id.prefix", Some(_)) => id_prefix = value,
                ("collections", None) => collections = Some(names(&name, &value)?),
                (_, Some(_)) => return Err(unknown(&name, "this call accepts after, cluster and where.id.prefix")),
                (_, None) => return Err(unknown(&name, "this call accepts after, cluster and collections")),
            }
        }
        // A browser that reconnects sends the old URL and, newer than that, this.
        asked.after = last_event_id(headers)?.or(asked.after);
        asked.what = match (collection, collections) {
            (Some(collection), _) => What::Records { collection: collection.to_owned(), id_prefix },
            (None, Some(collections)) => What::Collections(collections),
            (None, None) => What::All,
        };
        Ok(asked)
    }
}

impl What {
    /// The same, as far as it may be watched.
    ///
    /// # Errors
    /// It names a collection that may not.
    pub(super) fn within(self, rights: &Rights) -> Result<What, Problem> {
        match &self {
            What::All if !rights.watches_all() => return Ok(What::Readable(rights.named())),
            What::Collections(names) => {
                if let Some(name) = names.iter().find(|name| !rights.watches(name)) {
                    return Err(Need::Watch(name).refusal(&format!("a watch of {name}")));
                }
            }
            // The guard knows what the path names.
            What::All | What::Records { .. } | What::Readable(_) => {}
        }
        Ok(self)
    }

    /// Is this change one of them? That a collection is gone, or is another one now, is told to whoever watches its records.
    pub(super) fn includes(&self, change: &Change) -> bool {
        match (self, change) {
            (What::Records { collection, id_prefix }, Change::Record(change)) => {
                *change.collection == **collection
                    && (id_prefix.is_empty() || change.id.to_string().starts_with(&**id_prefix))
            }
            (What::Records { .. }, Change::Definition { .. }) => false,
            (What::All, _) => true,
            (What::Collections(collections) | What::Readable(collections), change) => {
                collections.contains(change.collection())
            }
        }
    }

    /// Must the watch end with this change, because a collection that it names is gone?
    pub(super) fn ends_with(&self, change: &Change) -> bool {
        let Change::Definition { collection, definition: None, .. } = change else { return false };
        match self {
            What::Records { collection: watched, .. } => **collection == **watched,
            What::All | What::Readable(_) => false,
            What::Collections(collections) => collections.contains(&**collection),
        }
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Seq>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|value| value.trim().parse().ok()).map(Seq);
    let wrong = || Problem::new(Code::InvalidQuery, "Last-Event-ID is not the `id` of an event of this store");
    number.map(Some).ok_or_else(|| wrong().with("parameter", "Last-Event-ID"))
}

fn cluster(name: &str, value: &str) -> Result<ClusterId, Problem> {
    Uuid::try_parse(value).map(ClusterId).map_err(|_| {
        wrong(name, format!("`{name}` must be the clusterId of a bookmark or of /api/status, not {value:?}"))
    })
}

fn names(name: &str, value: &str) -> Result<BTreeSet<String>, Problem> {
    let each = value.split(',').map(|one| {
        let is_one = is_name(one).then(|| one.to_owned());
        is_one.ok_or_else(|| {
            wrong(name, format!("`{name}` must be names of collections with commas between them; {one:?} is none"))
        })
    });
    each.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(collection: Option<&str>, query: &[(&str, &str)]) -> Result<Asked, Problem> {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Asked::parse(collection, &HeaderMap::new(), query)
    }

    #[test]
    fn each_watch_takes_its_own_parameters_and_no_others() {
        let cluster = "00000000-0000-0000-0000-000000000009";
        let asked = parse(Some("orders"), &[("after", "7"), ("cluster", cluster), ("where.id.prefix", "a/")]).unwrap();
        assert_eq!((asked.after, asked.cluster), (Some(Seq(7)), Some(ClusterId(Uuid::from_u128(9)))));
        assert_eq!(asked.what, What::Records { collection: "orders".to_owned(), id_prefix: "a/".to_owned() });
        assert_eq!(parse(None, &[]).unwrap().what, What::All);
        let named = ["a-1", "b"].map(str::to_owned);
        assert_eq!(parse(None, &[("collections", "b,a-1,b")]).unwrap().what, What::Collections(named.into()));
        for (collection, query) in [
            (Some("orders"), ("collections", "a")),
            (None, ("where.id.prefix", "a")),
            (None, ("collections", "")),
            (None, ("collections", "a,,b")),
            (None, ("collections", "Orders")),
            (None, ("cluster", "x")),
            (None, ("after", "-1")),
        ] {
            assert_eq!(parse(collection, &[query]).unwrap_err().code(), Code::InvalidQuery, "{query:?}");
        }
    }
}
