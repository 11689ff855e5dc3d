//! A watch: the objects at its start, then each change, bookmarks between, and the end at its time-out.
//!
//! With `resourceVersion` it begins after that version (410 as an ERROR event when that is too old); without one, or
//! with 0, or when initial events are asked for, it begins with what is there, and a bookmark says where that ends.
//! Bookmarks come once a minute, and two seconds before the end: a watch that is shorter gets none.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Cause, Failure, Kind,
    objects::Change,
    request::Query,
    selector::Selector,
    shared::{Shared, lock},
};

/// What one watch asked for.
#[derive(Debug)]
pub(super) struct Stream {
    kind: Kind,
    namespace: Option<String>,
    client: String,
    /// The ledger's count when the request came in; another one ends the watch.
    drops: u64,
    selector: Selector,
    /// Where to begin; `None`: with what is there.
    from: Option<u64>,
    bookmarks: bool,
    lives: Duration,
}

/// How long a watch without `timeoutSeconds` lives.
const WATCH_DEFAULT: Duration = Duration::from_secs(1800);
/// How often an idle watch gets a bookmark; the API server does it about once a minute, too.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before a watch's end its last bookmark comes.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

impl Stream {
    pub(super) fn new(
        kind: Kind,
        namespace: Option<String>,
        client: String,
        drops: u64,
        query: &Query,
    ) -> Result<Stream, Failure> {
        let selector = Selector::parse(query.get("fieldSelector"), query.get("labelSelector"))?;
        let from = match query.get("resourceVersion") {
            "" | "0" => None,
            digits => Some(digits.parse().map_err(|_| {
                let why = format!("strconv.ParseUint: parsing {digits:?}: invalid syntax");
                Failure::internal(format!("resourceVersion: Invalid value: {digits:?}: {why}"))
            })?),
        };
        let matching =
            |why: &str| Err(Failure::invalid_options("ListOptions", Cause::forbidden("resourceVersionMatch", why)));
        let initial_events = query.flag("sendInitialEvents");
        match (query.get("sendInitialEvents"), query.get("resourceVersionMatch")) {
            ("", "") => {}
            ("", _) => {
                return matching("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
            (_, "NotOlderThan") => {}
            _ => return matching("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        }
        let lives =
            match query.get("timeoutSeconds") {
                "" | "0" => WATCH_DEFAULT,
                digits => Duration::from_secs(digits.parse().map_err(|_| {
                    Failure::bad_request(format!("strconv.ParseInt: parsing {digits:?}: invalid syntax"))
                })?),
            };
        Ok(Stream {
            kind,
            namespace,
            client,
            drops,
            selector,
            from: from.filter(|_| !initial_events),
            bookmarks: query.flag("allowWatchBookmarks"),
            lives,
        })
    }

    /// What this watch is told of a change: an object that begins or ceases to match is added or deleted.
    fn event(&self, change: &Change) -> Option<Value> {
        if change.kind != self.kind || self.namespace.as_ref().is_some_and(|ns| *ns != change.namespace) {
            return None;
        }
        let before = change.before.as_ref().is_some_and(|object| self.selector.matches(object));
        let after = !change.deleted && self.selector.matches(&change.object);
        let kind = match (before, after) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        // What leaves the selection is shown as it was when it last matched, with the version of the change.
        let mut object = change.before.as_ref().filter(|_| kind == "DELETED").unwrap_or(&change.object).clone();
        object["metadata"]["resourceVersion"] = change.version.to_string().into();
        Some(json!({"type": kind, "object": object}))
    }

    fn bookmark(&self, version: u64) -> Value {
        json!({"type": "BOOKMARK", "object": {
            "kind": self.kind.name(), "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": version.to_string()},
        }})
    }
}

/// Runs until the client leaves, the watch's time is over, it was dropped on command, or its version is too old.
pub(super) async fn stream_changes(shared: Arc<Shared>, stream: Stream, sender: mpsc::Sender<Bytes>) {
    let ends = Instant::now() + stream.lives;
    // Subscribed before the first look, so that no change falls between.
    let mut changed = shared.changed.subscribe();
    let mut seen = match stream.from {
        Some(version) => version,
        None => {
            let (items, version) = {
                let objects = lock(&shared.objects);
                (objects.list(stream.kind, stream.namespace.as_deref(), &stream.selector), objects.version())
            };
            let mut events: Vec<Value> = items.into_iter().map(|o| json!({"type": "ADDED", "object": o})).collect();
            if stream.bookmarks {
                let mut bookmark = stream.bookmark(version);
                bookmark["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
                events.push(bookmark);
            }
            for event in events {
                if send(&sender, &event).await.is_err() {
                    return;
                }
            }
            version
        }
    };
    // Also in the past, for a watch that is too short: then there is none.
    let last_bookmark = ends.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(ends);
    let next_bookmark = || {
        let now = Instant::now();
        let next = (now + BOOKMARK_EVERY).min(last_bookmark);
        Some(next).filter(|next| stream.bookmarks && *next > now)
    };
    let mut bookmark_at = next_bookmark();
    loop {
        changed.borrow_and_update();
        let (dropped, silent) = {
            let ledger = lock(&shared.ledger);
            let faults = ledger.of(&stream.client);
            (ledger.drops(&stream.client) != stream.drops, faults.silent_watches || faults.black_hole)
        };
        if dropped {
            return;
        }
        if !silent {
            let changes = {
                let objects = lock(&shared.objects);
                objects.changes_since(seen)
            };
            let changes = match changes {
                Ok(changes) => changes,
                Err(failure) => {
                    // 200 was said long ago: the error comes as an event, and the stream ends.
                    let _ = send(&sender, &json!({"type": "ERROR", "object": failure.to_json()})).await;
                    return;
                }
            };
            for change in changes {
                seen = change.version;
                if let Some(event) = stream.event(&change)
                    && send(&sender, &event).await.is_err()
                {
                    return;
                }
            }
            if bookmark_at.is_some_and(|at| Instant::now() >= at) {
                bookmark_at = next_bookmark();
                if send(&sender, &stream.bookmark(seen)).await.is_err() {
                    return;
                }
            }
        }
        if Instant::now() >= ends && !silent {
            return;
        }
        let wake =
            if silent { Instant::now() + Duration::from_secs(3600) } else { ends.min(bookmark_at.unwrap_or(ends)) };
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep_until(wake.into()) => {}
            alive = changed.changed() => if alive.is_err() { return },
        }
    }
}

async fn send(sender: &mpsc::Sender<Bytes>, event: &Value) -> Result<(), mpsc::error::SendError<Bytes>> {
    let mut line = event.to_string();
    line.push('\n');
    sender.send(line.into()).await
}
