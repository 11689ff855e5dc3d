//! The table of calls: every path with its methods, in one place. Routing (`dispatch`), `Allow`, `GET /` and the paths of
//! `/openapi.json` derive from it. The rows of `/{collection}` are those of every collection; where `persons` has its own
//! form, [`PERSONS_CALLS`] has the same calls in the words of persons.

use std::sync::LazyLock;

use warp::http::Method;

use super::paths::{self, Place};

/// One call.
pub(super) struct Call {
    pub(super) method: Method,
    /// As [`Place::template`] has it.
    pub(super) path: &'static str,
    /// A few words for `GET /` and `/openapi.json`.
    pub(super) summary: &'static str,
    /// What else a user at a terminal should know, for `GET /`: `/openapi.json` has it in more detail. Mostly empty.
    pub(super) hint: &'static str,
    pub(super) kind: Kind,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Create,
    Read,
    Replace,
    Patch,
    Delete,
    Batch,
    Watch,
    Leader,
    Status,
    Healthz,
    Readyz,
    Metrics,
    OpenApi,
    Docs,
    Index,
    Transaction,
    WatchAll,
    Snapshot,
    Definitions,
    Definition,
    Define,
    Drop,
    GiveUp,
    PauseExpiry,
}

const fn call(method: Method, path: &'static str, kind: Kind, summary: &'static str, hint: &'static str) -> Call {
    Call { method, path, summary, hint, kind }
}

/// All of them.
#[rustfmt::skip]
pub(super) static CALLS: [Call; 25] = [
    call(Method::GET, "/{collection}", Kind::List, "The records, in order of creation",
        "filters: where.<path>; sort, count; pages: limit, cursor; consistency, after, max-staleness, timeout"),
    call(Method::POST, "/{collection}", Kind::Create, "Add a record (at the leader)", ""),
    call(Method::GET, "/{collection}/{id}", Kind::Read, "One record", ""),
    call(Method::PUT, "/{collection}/{id}", Kind::Replace, "Add or replace a record (at the leader)", ""),
    call(Method::PATCH, "/{collection}/{id}", Kind::Patch, "Change a record by a JSON Merge Patch, RFC 7396 (at the leader)", ""),
    call(Method::DELETE, "/{collection}/{id}", Kind::Delete, "Remove a record (at the leader)", ""),
    call(Method::POST, "/{collection}:batch", Kind::Batch, "Up to 1,000 operations, all or none (at the leader)", ""),
    call(Method::GET, "/{collection}:watch", Kind::Watch, "Every committed change, as server-sent events", "after, cluster"),
    call(Method::GET, "/api/collections", Kind::Definitions, "The collections, and what each is", ""),
    call(Method::GET, "/api/collections/{collection}", Kind::Definition, "What a collection is, and how it stands", ""),
    call(Method::PUT, "/api/collections/{collection}", Kind::Define, "Define a collection, or change it (at the leader)", "expire-now=true"),
    call(Method::DELETE, "/api/collections/{collection}", Kind::Drop, "Remove a collection (at the leader)", "records=delete"),
    call(Method::DELETE, "/api/collections/{collection}/pending", Kind::GiveUp, "Give up the pending change of a definition (at the leader)", ""),
    call(Method::POST, "/api/transaction", Kind::Transaction, "Up to 1,000 operations over any collections, all or none (at the leader)", ""),
    call(Method::GET, "/api/watch", Kind::WatchAll, "Every committed change of every collection, as server-sent events", "after, cluster, collections"),
    call(Method::GET, "/api/snapshot", Kind::Snapshot, "All data as one file, snapshot.json: a backup",
        "consistency, after, max-staleness, timeout"),
    call(Method::PUT, "/api/expiry", Kind::PauseExpiry, "Pause expiry, or end the pause (at the leader)", ""),
    call(Method::GET, "/api/leader", Kind::Leader, "Who leads", "Accept: text/plain: true or false"),
    call(Method::GET, "/api/status", Kind::Status, "What this replica reports about itself", ""),
    call(Method::GET, "/healthz", Kind::Healthz, "Is the process alive?", ""),
    call(Method::GET, "/readyz", Kind::Readyz, "Does this replica accept requests?", ""),
    call(Method::GET, "/metrics", Kind::Metrics, "For Prometheus", ""),
    call(Method::GET, "/openapi.json", Kind::OpenApi, "These calls, for programs", ""),
    call(Method::GET, "/docs", Kind::Docs, "These calls, as a page to read", ""),
    call(Method::GET, "/", Kind::Index, "These calls in short", ""),
];

/// Those of `persons`, in words of their own: routing does not need them.
#[rustfmt::skip]
pub(super) static PERSONS_CALLS: [Call; 8] = [
    call(Method::GET, "/persons", Kind::List, "The persons, in order of creation",
        "filters: firstName, lastName, id; pages: limit, cursor; consistency, after, max-staleness, timeout"),
    call(Method::POST, "/persons", Kind::Create, "Add a person (at the leader)", ""),
    call(Method::GET, "/persons/{id}", Kind::Read, "One person", ""),
    call(Method::PUT, "/persons/{id}", Kind::Replace, "Add or replace a person (at the leader)", ""),
    call(Method::PATCH, "/persons/{id}", Kind::Patch, "Change a person by a JSON Merge Patch, RFC 7396 (at the leader)", ""),
    call(Method::DELETE, "/persons/{id}", Kind::Delete, "Remove a person (at the leader)", ""),
    call(Method::POST, "/persons:batch", Kind::Batch, "Up to 1,000 operations, all or none (at the leader)", ""),
    call(Method::GET, "/persons:watch", Kind::Watch, "Every committed change, as server-sent events", "after"),
];

/// All methods of any path.
pub(super) const ANY_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Every path of [`CALLS`] and its methods.
pub(super) static PATHS: LazyLock<Vec<(&'static str, String)>> = LazyLock::new(|| {
    let mut paths: Vec<(&'static str, String)> = Vec::new();
    for call in &CALLS {
        if paths.last().is_none_or(|(path, _)| *path != call.path) {
            paths.push((call.path, String::new()));
        }
        if let Some((_, methods)) = paths.last_mut() {
            methods.push_str(call.method.as_str());
            methods.push_str(if call.takes_head() { ", HEAD, " } else { ", " });
        }
    }
    for (_, methods) in &mut paths {
        methods.push_str("OPTIONS");
    }
    paths
});

impl Kind {
    /// Does it read no query parameter, and refuse every one? Probes and pages for people ignore them: a wrong query is not
    /// worth a restart.
    pub(super) fn refuses_parameters(self) -> bool {
        match self {
            Kind::Delete
            | Kind::Batch
            | Kind::Leader
            | Kind::Status
            | Kind::Transaction
            | Kind::GiveUp
            | Kind::PauseExpiry => true,
            Kind::Create
            | Kind::Replace
            | Kind::Patch
            | Kind::WatchAll
            | Kind::Snapshot
            | Kind::Definitions
            | Kind::Definition
            | Kind::Define
            | Kind::Drop
            | Kind::List
            | Kind::Read
            | Kind::Watch
            | Kind::Healthz
            | Kind::Readyz
            | Kind::Metrics
            | Kind::OpenApi
            | Kind::Docs
            | Kind::Index => false,
        }
    }
}

impl Call {
    /// Is it one of those that each collection has?
    pub(super) fn is_of_records(&self) -> bool {
        self.path.starts_with("/{collection}")
    }

    /// For a reader at a terminal.
    pub(super) fn in_short(&self) -> String {
        if self.hint.is_empty() { self.summary.to_owned() } else { format!("{}; {}", self.summary, self.hint) }
    }

    /// `HEAD` goes to the same call as `GET`; the head of an endless stream is not worth asking for.
    fn takes_head(&self) -> bool {
        self.method == Method::GET && !matches!(self.kind, Kind::Watch | Kind::WatchAll)
    }
}

/// The target of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This call.
    Call(Kind),
    /// The path has these methods.
    OtherMethods(&'static str),
    /// There is no such path.
    Nothing,
}

/// Looks up the call.
pub(super) fn find(method: &Method, place: &Place<'_>) -> Found {
    let Some(template) = place.template() else { return Found::Nothing };
    let takes = |call: &&Call| {
        call.path == template && (call.method == *method || (*method == Method::HEAD && call.takes_head()))
    };
    if let Some(call) = CALLS.iter().find(takes) {
        return Found::Call(call.kind);
    }
    let methods = PATHS.iter().find(|(path, _)| *path == template);
    methods.map_or(Found::Nothing, |(_, methods)| Found::OtherMethods(methods))
}

/// A path's methods; none if there is no such path.
pub(super) fn methods_of(path: &str) -> Option<&'static str> {
    match find(&Method::OPTIONS, &paths::read(path).ok()?) {
        Found::OtherMethods(methods) => Some(methods),
        Found::Nothing | Found::Call(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_the_methods_of_its_calls() {
        let all = [
            ("/{collection}", "GET, HEAD, POST, OPTIONS"),
            ("/{collection}/{id}", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
            ("/{collection}:batch", "POST, OPTIONS"),
            ("/{collection}:watch", "GET, OPTIONS"),
            ("/api/collections/{collection}", "GET, HEAD, PUT, DELETE, OPTIONS"),
            ("/api/collections/{collection}/pending", "DELETE, OPTIONS"),
            ("/api/leader", "GET, HEAD, OPTIONS"),
            ("/api/snapshot", "GET, HEAD, OPTIONS"),
        ];
        for (path, methods) in all {
            assert!(PATHS.iter().any(|known| *known == (path, methods.to_owned())), "{path}: {:?}", *PATHS);
        }
        let any = |method: &str| PATHS.iter().any(|(_, methods)| methods.split(", ").any(|one| one == method));
        assert!(ANY_METHODS.split(", ").all(any));
    }

    #[test]
    fn persons_have_the_calls_of_every_collection() {
        let of_records = CALLS.iter().filter(|call| call.is_of_records());
        let all: Vec<_> = of_records.map(|call| (&call.method, call.path.replace("{collection}", "persons"))).collect();
        let persons: Vec<_> = PERSONS_CALLS.iter().map(|call| (&call.method, call.path.to_owned())).collect();
        assert_eq!(persons, all);
    }

    #[test]
    fn a_call_is_found_by_method_and_path() {
        for (method, path, found) in [
            (Method::GET, "/persons", Found::Call(Kind::List)),
            (Method::HEAD, "/persons/", Found::Call(Kind::List)),
            (Method::PATCH, "/persons/x%20y", Found::Call(Kind::Patch)),
            (Method::GET, "/orders/x/", Found::Call(Kind::Read)),
            (Method::POST, "/orders%3Abatch", Found::Call(Kind::Batch)),
            (Method::GET, "/", Found::Call(Kind::Index)),
            (Method::HEAD, "/persons:watch", Found::OtherMethods("GET, OPTIONS")),
            (Method::PUT, "/orders", Found::OtherMethods("GET, HEAD, POST, OPTIONS")),
            (Method::DELETE, "/orders/", Found::OtherMethods("GET, HEAD, POST, OPTIONS")),
            (Method::POST, "/api/collections/orders", Found::OtherMethods("GET, HEAD, PUT, DELETE, OPTIONS")),
            (Method::POST, "/api/transaction", Found::Call(Kind::Transaction)),
            (Method::GET, "/persons/x/y", Found::Nothing),
            (Method::GET, "/persons//", Found::Nothing),
            (Method::GET, "//", Found::Call(Kind::Index)),
            (Method::GET, "", Found::Nothing),
        ] {
            assert_eq!(find(&method, &paths::read(path).unwrap()), found, "{method} {path:?}");
        }
    }
}
