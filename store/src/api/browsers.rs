//! What protects the user of a browser from pages that are not this store's own. Clients that are not browsers pass: they send
//! neither `Origin` nor `Sec-Fetch-Site`, and a name of ours in `Host`.
//!
//! ```text
//!   request ──▶ without tokens: is its Host a name of ours? ──no──▶ 403 foreign-host
//!           ──▶ it changes something, and a page of another origin sends it ──▶ 403 foreign-origin
//!           ──▶ tokens, the calls
//! ```
//!
//! With tokens the name does not matter: a stranger's page has none. The origin does: a page needs no answer to do harm, and
//! a browser asks before it sends (a preflight) only where a page sets more than a form could. A `POST` of a form can have no
//! `Content-Type: application/json`, which all calls demand.
//!
//! A connection that another replica's port handed over is not a browser's: that replica has judged its own client.

use std::sync::Arc;

use leasehold_daemon::serve::{Gates, HandedOver};
use warp::http::header::{HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use warp::http::request::Parts;
use warp::http::uri::Authority;
use warp::http::{HeaderMap, HeaderValue};

use super::cors::Origins;
use super::hosts::Hosts;
use super::need::reads;
use super::paths::{self, Place};
use super::problem::{Code, Problem};
use crate::handle::Handle;

/// What the requests of pages must fulfil.
#[derive(Clone)]
pub struct Browsers {
    /// None: any name will do.
    hosts: Option<Hosts>,
    /// Pages of these may do what the store's own may.
    origins: Option<Origins>,
    handle: Handle,
}

impl Browsers {
    /// For the replica behind this handle. `names`: of `--api-hosts`; none: there are tokens, so any name will do.
    pub fn new(names: Option<&[String]>, origins: Option<Origins>, handle: Handle) -> Browsers {
        Browsers { hosts: names.map(|names| Hosts::new(handle.name(), names)), origins, handle }
    }

    /// Before everything else; the answers to preflights come first.
    pub fn around(self, gates: Gates) -> Gates {
        let (origins, guard, stamp) = (self.origins.clone(), gates.guard, gates.stamp);
        let gates = Gates {
            guard: Some(Arc::new(move |head| match self.refusal(head) {
                Some(problem) => Some(problem.into_response()),
                None => guard.as_ref()?(head),
            })),
            stamp: Some(Arc::new(move |head| {
                let mut stamp = stamp.as_ref().map_or_else(HeaderMap::new, |stamp| stamp(head));
                // No answer is anything else than it says, a script above all.
                stamp.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                stamp
            })),
            ..gates
        };
        match origins {
            Some(origins) => origins.around(gates),
            None => gates,
        }
    }

    /// Why a request may not pass.
    fn refusal(&self, head: &Parts) -> Option<Problem> {
        if head.extensions.get::<HandedOver>().is_some() {
            return None;
        }
        self.foreign_host(head).or_else(|| self.foreign_origin(head))
    }

    fn foreign_host(&self, head: &Parts) -> Option<Problem> {
        let hosts = self.hosts.as_ref()?;
        let is_known = |name: &Authority| hosts.know(name.host(), || self.handle.role());
        let what = match asked(head) {
            Ok(names) => format!("{:?} is no name of this store", names.iter().find(|name| !is_known(name))?.host()),
            Err(Nameless) => "the Host of this request cannot be read".to_owned(),
        };
        // Of load balancers and Prometheus, which know addresses of their own; they show no data.
        if let Ok(Place::Fixed("/healthz" | "/readyz" | "/metrics")) = paths::read(paths::of(&head.uri)) {
            return None;
        }
        let detail = format!(
            "{what}: without tokens it answers only by IP, localhost, and the names of its Services and pods, because any \
             web page could be behind another name. Add the name to --api-hosts (in the chart: apiHosts), or set tokens. \
             Not done"
        );
        Some(Problem::new(Code::ForeignHost, detail))
    }

    fn foreign_origin(&self, head: &Parts) -> Option<Problem> {
        if reads(&head.method) {
            return None;
        }
        let origin = head.headers.get(ORIGIN);
        if let (Some(origin), Some(allowed)) = (origin, &self.origins)
            && allowed.allows(origin)
        {
            return None;
        }
        let is_cross_site = head.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
        // The target's own name is what the browser went by.
        let is_own = |origin: &HeaderValue| {
            let names = asked(head).unwrap_or_default();
            origin.to_str().is_ok_and(|origin| names.first().is_some_and(|name| is_same(origin, name)))
        };
        let is_foreign = is_cross_site || origin.is_some_and(|origin| !is_own(origin));
        is_foreign.then(|| {
            let origin = origin.map_or("another site".into(), |origin| String::from_utf8_lossy(origin.as_bytes()));
            let detail = format!(
                "a page of {origin} may not do this here. Name its origin in --cors-origin (in the chart: \
                 store.corsOrigins); behind a proxy, let it pass Host as the browser sends it. Not done"
            );
            Problem::new(Code::ForeignOrigin, detail)
        })
    }
}

/// A name is there, and cannot be read.
#[derive(Debug)]
struct Nameless;

/// The names by which a request asks: in its target (HTTP/2, or an absolute one), and in `Host`. HTTP/1.0 may have none.
fn asked(head: &Parts) -> Result<Vec<Authority>, Nameless> {
    let mut names: Vec<Authority> = head.uri.authority().cloned().into_iter().collect();
    for host in head.headers.get_all(HOST) {
        names.push(Authority::try_from(host.as_bytes()).map_err(|_| Nameless)?);
    }
    Ok(names)
}

/// Is the origin that of this name? The scheme may be another: a proxy may have ended TLS.
fn is_same(origin: &str, name: &Authority) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let plain = |name: &str| name.strip_suffix(default).unwrap_or(name).to_ascii_lowercase();
    plain(origin) == plain(name.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::handle::handle;
    use leasehold_daemon::serve::Guard;
    use leasehold_replication::Incarnation;
    use warp::http::Request;

    const APP: &str = "https://app.example";

    fn guard(names: Option<&[&str]>, origins: &[&str]) -> Guard {
        let names = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
        let handle = handle("db-0", Incarnation(uuid::Uuid::nil())).0;
        let browsers = Browsers::new(names.as_deref(), Origins::of(&origins).unwrap(), handle);
        browsers.around(Gates::default()).guard.unwrap()
    }

    /// The word of the refusal; empty: it passes.
    fn refusal(guard: &Guard, line: &str, fields: &[(&str, &str)]) -> String {
        let (method, target) = line.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(target);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = guard(&mut request.body(()).unwrap().into_parts().0);
        answer.map_or_else(String::new, |answer| {
            assert_eq!(answer.status(), if answer.status().is_success() { 204 } else { 403 });
            futures_util::FutureExt::now_or_never(http_body_util::BodyExt::collect(answer.into_body()))
                .and_then(|body| Code::of_body(&body.unwrap().to_bytes()))
                .map_or_else(String::new, |code| code.as_str().to_owned())
        })
    }

    #[test]
    fn without_tokens_the_store_answers_to_names_of_its_own() {
        let (open, locked) = (guard(Some(&["db.example"]), &[]), guard(None, &[]));
        for (line, fields, word) in [
            ("GET /persons", &[("host", "db.example")][..], ""),
            ("GET /persons", &[("host", "db.example:8089")], ""),
            ("GET /persons", &[("host", "127.0.0.1:8089")], ""),
            ("GET /persons", &[("host", "[::1]:8089")], ""),
            ("GET /persons", &[("host", "localhost:1")], ""),
            ("GET /persons", &[("host", "db-0:8089")], ""),
            ("GET /persons", &[], ""),
            ("GET /persons", &[("host", "evil.example:8089")], "foreign-host"),
            ("GET /", &[("host", "evil.example")], "foreign-host"),
            ("OPTIONS /persons", &[("host", "evil.example")], "foreign-host"),
            ("PUT /persons/x", &[("host", "evil.example"), ("origin", "http://evil.example")], "foreign-host"),
            ("GET /persons", &[("host", "")], "foreign-host"),
            ("GET /persons", &[("host", "a b")], "foreign-host"),
            ("GET /persons", &[("host", "localhost"), ("host", "evil.example")], "foreign-host"),
            ("GET http://evil.example/persons", &[("host", "localhost")], "foreign-host"),
            ("GET http://localhost/persons", &[("host", "evil.example")], "foreign-host"),
            ("GET http://localhost:8089/persons", &[], ""),
            ("GET /healthz", &[("host", "evil.example")], ""),
            ("GET /%72eadyz", &[("host", "evil.example")], ""),
            ("GET /metrics", &[("host", "evil.example")], ""),
        ] {
            assert_eq!(refusal(&open, line, fields), word, "{line} {fields:?}");
            assert_eq!(refusal(&locked, line, fields), "", "{line} {fields:?}");
        }
        assert_eq!(refusal(&guard(Some(&["*"]), &[]), "GET /persons", &[("host", "evil.example")]), "");
    }

    #[test]
    fn pages_of_other_origins_may_change_nothing() {
        let plain = |name: &'static str| ("host", name);
        for (line, fields, word, word_if_allowed) in [
            ("POST /persons", &[plain("localhost:8089")][..], "", ""),
            ("POST /persons", &[plain("localhost:8089"), ("origin", "http://localhost:8089")], "", ""),
            ("POST /persons", &[plain("LOCALHOST:8089"), ("origin", "http://localhost:8089")], "", ""),
            ("POST /persons", &[plain("localhost"), ("origin", "http://localhost")], "", ""),
            ("POST /persons", &[plain("localhost:80"), ("origin", "http://localhost")], "", ""),
            ("POST /persons", &[plain("localhost:443"), ("origin", "https://localhost")], "", ""),
            ("POST http://localhost:1/persons", &[("origin", "http://localhost:1")], "", ""),
            (
                "POST /persons",
                &[plain("localhost:8089"), ("origin", "http://localhost:3000")],
                "foreign-origin",
                "foreign-origin",
            ),
            (
                "POST /persons",
                &[plain("localhost:80"), ("origin", "https://localhost")],
                "foreign-origin",
                "foreign-origin",
            ),
            ("POST /persons", &[plain("localhost"), ("origin", "null")], "foreign-origin", "foreign-origin"),
            ("POST /persons", &[plain("localhost"), ("origin", "")], "foreign-origin", "foreign-origin"),
            ("POST /persons", &[plain("localhost"), ("origin", APP)], "foreign-origin", ""),
            (
                "POST /persons",
                &[plain("localhost"), ("origin", APP), ("sec-fetch-site", "cross-site")],
                "foreign-origin",
                "",
            ),
            (
                "POST /persons",
                &[plain("localhost"), ("sec-fetch-site", "cross-site")],
                "foreign-origin",
                "foreign-origin",
            ),
            ("POST /persons", &[plain("localhost"), ("sec-fetch-site", "same-origin")], "", ""),
            ("POST /persons", &[plain("localhost"), ("sec-fetch-site", "none")], "", ""),
            (
                "PUT /persons/x",
                &[plain("localhost"), ("origin", "http://evil.example")],
                "foreign-origin",
                "foreign-origin",
            ),
            (
                "DELETE /persons/x",
                &[plain("localhost"), ("origin", "http://evil.example")],
                "foreign-origin",
                "foreign-origin",
            ),
            (
                "PATCH /persons/x",
                &[plain("localhost"), ("origin", "http://evil.example")],
                "foreign-origin",
                "foreign-origin",
            ),
            (
                "BREW /persons/x",
                &[plain("localhost"), ("origin", "http://evil.example")],
                "foreign-origin",
                "foreign-origin",
            ),
            ("GET /persons", &[plain("localhost"), ("origin", "http://evil.example")], "", ""),
            ("HEAD /persons", &[plain("localhost"), ("sec-fetch-site", "cross-site")], "", ""),
            ("OPTIONS /persons", &[plain("localhost"), ("origin", "http://evil.example")], "", ""),
        ] {
            for names in [Some(&[][..]), None] {
                assert_eq!(refusal(&guard(names, &[]), line, fields), word, "{line} {fields:?}");
                assert_eq!(refusal(&guard(names, &[APP]), line, fields), word_if_allowed, "{line} {fields:?}");
            }
            assert_eq!(
                refusal(&guard(None, &["*"]), line, fields).as_str(),
                if fields.iter().any(|(name, _)| *name == "origin") { "" } else { word }
            );
        }
    }

    #[test]
    fn what_another_replicas_port_handed_over_has_been_judged_there() {
        let guard = guard(Some(&[]), &[]);
        let request = Request::post("/persons").header("host", "db-1.elsewhere:8090").header("origin", APP);
        let mut head = request.body(()).unwrap().into_parts().0;
        assert!(guard(&mut head).is_some());
        head.extensions.insert(HandedOver);
        assert!(guard(&mut head).is_none());
    }

    #[test]
    fn every_answer_says_that_it_is_what_it_says() {
        let handle = handle("db-0", Incarnation(uuid::Uuid::nil())).0;
        for origins in [None, Some(Origins::Any)] {
            let stamp = Browsers::new(None, origins.clone(), handle.clone()).around(Gates::default()).stamp.unwrap();
            for head in [None, Some(&HeaderMap::new())] {
                assert_eq!(stamp(head)["x-content-type-options"], "nosniff");
                assert_eq!(stamp(head).contains_key("access-control-allow-origin"), origins.is_some());
            }
        }
    }
}
