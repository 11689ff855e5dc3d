//! A watch: the objects at its start, then each change, bookmarks between, and the end at its time-out.
//!
//! With `resourceVersion` it begins after that version (410 as an ERROR event when that is too old); without one, or
//! with 0, it begins with what is there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Failure, Kind, Shared, lock, objects::Change, request::Query, selector::Selector, serve::WATCH_DEFAULT};

/// What one watch asked for.
#[derive(Debug)]
pub(super) struct Stream {
    kind: Kind,
    namespace: Option<String>,
    client: String,
    selector: Selector,
    /// Where to begin; `None`: with what is there.
    from: Option<u64>,
    initial_events: bool,
    bookmarks: bool,
    lives: Duration,
}

/// How often an idle watch gets a bookmark; the API server does it about once a minute, too.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

impl Stream {
    pub(super) fn new(kind: Kind, namespace: Option<String>, client: String, query: &Query) -> Result<Stream, Failure> {
        let selector = Selector::parse(query.get("fieldSelector"), query.get("labelSelector"))?;
        let from = match query.get("resourceVersion") {
            "" | "0" => None,
            digits => Some(digits.parse().map_err(|_| {
                Failure::bad_request(format!("resourceVersion: Invalid value: {digits:?}: must be an unsigned integer"))
            })?),
        };
        let lives = match query.get("timeoutSeconds") {
            "" | "0" => WATCH_DEFAULT,
            digits => Duration::from_secs(
                digits.parse().map_err(|_| Failure::bad_request(format!("timeoutSeconds: invalid: {digits:?}")))?,
            ),
        };
        Ok(Stream {
            kind,
            namespace,
            client,
            selector,
            from,
            initial_events: query.flag("sendInitialEvents"),
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
        Some(json!({"type": kind, "object": change.object}))
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
    let drops = lock(&shared.ledger).drops(&stream.client);
    // Subscribed before the first look, so that no change falls between.
    let mut changed = shared.changed.subscribe();
    let mut seen = match stream.from {
        Some(version) if !stream.initial_events => version,
        _ => {
            let (items, version) = {
                let objects = lock(&shared.objects);
                (objects.list(stream.kind, stream.namespace.as_deref(), &stream.selector), objects.version())
            };
            let mut events: Vec<Value> = items.into_iter().map(|o| json!({"type": "ADDED", "object": o})).collect();
            if stream.initial_events {
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
    let mut bookmark_at = Instant::now() + BOOKMARK_EVERY;
    loop {
        changed.borrow_and_update();
        let (dropped, silent) = {
            let ledger = lock(&shared.ledger);
            let faults = ledger.of(&stream.client);
            (ledger.drops(&stream.client) != drops, faults.silent_watches || faults.black_hole)
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
            let over = Instant::now() >= ends;
            if stream.bookmarks && (over || Instant::now() >= bookmark_at) {
                bookmark_at = Instant::now() + BOOKMARK_EVERY;
                if send(&sender, &stream.bookmark(seen)).await.is_err() {
                    return;
                }
            }
        }
        if Instant::now() >= ends && !silent {
            return;
        }
        let wake = if silent { Instant::now() + Duration::from_secs(3600) } else { ends.min(bookmark_at) };
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
