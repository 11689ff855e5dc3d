//! A watch: the objects at its start, then each change, bookmarks between, and the end at its time-out.
//!
//! With `resourceVersion` it starts after that version (410 as an ERROR event if that is too old). Without one, or with 0,
//! or if initial events are requested, it starts with the present objects, and a bookmark marks their end. Bookmarks arrive
//! once a minute, and two seconds before the end: a shorter watch gets none.

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
    /// The ledger's count when the request arrived; another one ends the watch.
    drops: u64,
    selector: Selector,
    /// Where to start; `None`: with the present objects.
    from: Option<u64>,
    bookmarks: bool,
    lives: Duration,
}

/// How long a watch without `timeoutSeconds` lives.
const WATCH_DEFAULT: Duration = Duration::from_secs(1800);
/// How often an idle watch gets a bookmark; the API server does it about once a minute, too.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before a watch's end its last bookmark arrives.
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

    /// How this watch sees a change: an object that begins or ceases to match is added or deleted.
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
        // What leaves the selection is shown as it last matched, with the version of the change.
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
    let mut telling = Telling { shared, stream, sender, seen: 0 };
    if telling.begin().await.is_err() {
        return;
    }
    let mut bookmark_at = telling.next_bookmark(ends);
    loop {
        changed.borrow_and_update();
        let (dropped, silent) = telling.faults();
        if dropped {
            return;
        }
        if !silent {
            if telling.tell_changes().await.is_err() {
                return;
            }
            if bookmark_at.is_some_and(|at| Instant::now() >= at) {
                bookmark_at = telling.next_bookmark(ends);
                if telling.send(&telling.stream.bookmark(telling.seen)).await.is_err() {
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
            () = telling.sender.closed() => return,
            () = tokio::time::sleep_until(wake.into()) => {}
            alive = changed.changed() => if alive.is_err() { return },
        }
    }
}

/// One watch while it runs.
struct Telling {
    shared: Arc<Shared>,
    stream: Stream,
    sender: mpsc::Sender<Bytes>,
    /// Changes up to this version were sent.
    seen: u64,
}

/// The client left, or was sent an error: the stream ends.
struct Over;

impl Telling {
    /// Begins after a version, or with what is there.
    async fn begin(&mut self) -> Result<(), Over> {
        if let Some(version) = self.stream.from {
            self.seen = version;
            return Ok(());
        }
        let (items, version) = {
            let (stream, objects) = (&self.stream, lock(&self.shared.objects));
            (objects.list(stream.kind, stream.namespace.as_deref(), &stream.selector), objects.version())
        };
        self.seen = version;
        for object in items {
            self.send(&json!({"type": "ADDED", "object": object})).await?;
        }
        if self.stream.bookmarks {
            let mut bookmark = self.stream.bookmark(version);
            bookmark["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            self.send(&bookmark).await?;
        }
        Ok(())
    }

    /// For a watch that is too short the last one would be in the past: then there is none.
    fn next_bookmark(&self, ends: Instant) -> Option<Instant> {
        let last = ends.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(ends);
        let now = Instant::now();
        let next = (now + BOOKMARK_EVERY).min(last);
        Some(next).filter(|next| self.stream.bookmarks && *next > now)
    }

    /// Whether the watch was dropped on command, and whether it is to be silent.
    fn faults(&self) -> (bool, bool) {
        let ledger = lock(&self.shared.ledger);
        let faults = ledger.of(&self.stream.client);
        (ledger.drops(&self.stream.client) != self.stream.drops, faults.silent_watches || faults.black_hole)
    }

    async fn tell_changes(&mut self) -> Result<(), Over> {
        let changes = lock(&self.shared.objects).changes_since(self.seen);
        let changes = match changes {
            Ok(changes) => changes,
            Err(failure) => {
                // 200 was said long ago: the error comes as an event, and the stream ends.
                self.send(&json!({"type": "ERROR", "object": failure.to_json()})).await?;
                return Err(Over);
            }
        };
        for change in changes {
            self.seen = change.version;
            if let Some(event) = self.stream.event(&change) {
                self.send(&event).await?;
            }
        }
        Ok(())
    }

    async fn send(&self, event: &Value) -> Result<(), Over> {
        let mut line = event.to_string();
        line.push('\n');
        self.sender.send(line.into()).await.map_err(|_| Over)
    }
}
