//! The table of calls: every path with its methods, in one place. Routing (`dispatch`), `Allow`, `GET /` and the paths of
//! `/openapi.json` derive from it.

use std::sync::LazyLock;

use warp::http::Method;

/// One call.
pub(super) struct Call {
    pub(super) method: Method,
    /// `{id}` stands for one segment, the last.
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
}

const fn call(method: Method, path: &'static str, kind: Kind, summary: &'static str, hint: &'static str) -> Call {
    Call { method, path, summary, hint, kind }
}

/// All of them.
#[rustfmt::skip]
pub(super) static CALLS: [Call; 16] = [
    call(Method::GET, "/persons", Kind::List, "The persons, in order of creation",
        "filters: firstName, lastName, id; pages: limit, cursor; consistency, after, max-staleness, timeout"),
    call(Method::POST, "/persons", Kind::Create, "Add a person (at the leader)", ""),
    call(Method::GET, "/persons/{id}", Kind::Read, "One person", ""),
    call(Method::PUT, "/persons/{id}", Kind::Replace, "Add or replace a person (at the leader)", ""),
    call(Method::PATCH, "/persons/{id}", Kind::Patch, "Change a person by a JSON Merge Patch, RFC 7396 (at the leader)", ""),
    call(Method::DELETE, "/persons/{id}", Kind::Delete, "Remove a person (at the leader)", ""),
    call(Method::POST, "/persons:batch", Kind::Batch, "Up to 1,000 operations, all or none (at the leader)", ""),
    call(Method::GET, "/persons:watch", Kind::Watch, "Every committed change, as server-sent events", "after"),
    call(Method::GET, "/api/leader", Kind::Leader, "Who leads", "Accept: text/plain: true or false"),
    call(Method::GET, "/api/status", Kind::Status, "What this replica reports about itself", ""),
    call(Method::GET, "/healthz", Kind::Healthz, "Is the process alive?", ""),
    call(Method::GET, "/readyz", Kind::Readyz, "Does this replica accept requests?", ""),
    call(Method::GET, "/metrics", Kind::Metrics, "For Prometheus", ""),
    call(Method::GET, "/openapi.json", Kind::OpenApi, "These calls, for programs", ""),
    call(Method::GET, "/docs", Kind::Docs, "These calls, as a page to read", ""),
    call(Method::GET, "/", Kind::Index, "These calls in short", ""),
];

/// All methods of any path.
pub(super) const ANY_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Every path and its methods.
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
            Kind::Create | Kind::Replace | Kind::Patch | Kind::Delete | Kind::Batch | Kind::Leader | Kind::Status => {
                true
            }
            Kind::List
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
    /// For a reader at a terminal.
    pub(super) fn in_short(&self) -> String {
        if self.hint.is_empty() { self.summary.to_owned() } else { format!("{}; {}", self.summary, self.hint) }
    }

    /// `HEAD` goes to the same call as `GET`; the head of an endless stream is not worth asking for.
    fn takes_head(&self) -> bool {
        self.method == Method::GET && self.kind != Kind::Watch
    }
}

/// The target of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// This call, for the record with that id, as it appears in the path.
    Call(Kind, &'a str),
    /// The path has these methods.
    OtherMethods(&'static str),
    /// There is no such path.
    Nothing,
}

/// Looks up the call. A slash at the end of a path is ignored.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
    let path = path.strip_suffix('/').filter(|shorter| !shorter.is_empty()).unwrap_or(path);
    let matches = |template: &str| match template.strip_suffix("{id}") {
        Some(before) => path.strip_prefix(before).filter(|id| !id.is_empty() && !id.contains('/')),
        None => (path == template).then_some(""),
    };
    let takes = |call: &Call| call.method == *method || (*method == Method::HEAD && call.takes_head());
    let mut template = None;
    for call in &CALLS {
        if let Some(id) = matches(call.path) {
            if takes(call) {
                return Found::Call(call.kind, id);
            }
            template = Some(call.path);
        }
    }
    let methods = PATHS.iter().find(|(path, _)| Some(*path) == template);
    methods.map_or(Found::Nothing, |(_, methods)| Found::OtherMethods(methods))
}

/// A path's methods; none if there is no such path.
pub(super) fn methods_of(path: &str) -> Option<&'static str> {
    match find(&Method::OPTIONS, path) {
        Found::OtherMethods(methods) => Some(methods),
        Found::Nothing | Found::Call(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_the_methods_of_its_calls() {
        let all = [
            ("/persons", "GET, HEAD, POST, OPTIONS"),
            ("/persons/{id}", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
            ("/persons:batch", "POST, OPTIONS"),
            ("/persons:watch", "GET, OPTIONS"),
            ("/api/leader", "GET, HEAD, OPTIONS"),
        ];
        for (path, methods) in all {
            assert!(PATHS.iter().any(|known| *known == (path, methods.to_owned())), "{path}: {:?}", *PATHS);
        }
        let any = |method: &str| PATHS.iter().any(|(_, methods)| methods.split(", ").any(|one| one == method));
        assert!(ANY_METHODS.split(", ").all(any));
    }

    #[test]
    fn a_call_is_found_by_method_and_path() {
        for (method, path, found) in [
            (Method::GET, "/persons", Found::Call(Kind::List, "")),
            (Method::HEAD, "/persons/", Found::Call(Kind::List, "")),
            (Method::PATCH, "/persons/x%20y", Found::Call(Kind::Patch, "x%20y")),
            (Method::GET, "/persons/x/", Found::Call(Kind::Read, "x")),
            (Method::GET, "/", Found::Call(Kind::Index, "")),
            (Method::HEAD, "/persons:watch", Found::OtherMethods("GET, OPTIONS")),
            (Method::PUT, "/persons", Found::OtherMethods("GET, HEAD, POST, OPTIONS")),
            (Method::GET, "/persons/x/y", Found::Nothing),
            (Method::GET, "/persons//", Found::Nothing),
            (Method::GET, "//", Found::Call(Kind::Index, "")),
            (Method::GET, "", Found::Nothing),
        ] {
            assert_eq!(find(&method, path), found, "{method} {path:?}");
        }
    }
}
