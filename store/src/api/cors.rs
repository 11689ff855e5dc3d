//! What pages of other origins may do in a browser (CORS, as the Fetch standard defines it). Nothing, unless an operator
//! allows it.
//!
//! ```text
//!   OPTIONS with Access-Control-Request-Method ──▶ 204: methods, headers, for how long      (before any token is checked)
//!   every answer, whoever made it              ──▶ Access-Control-Allow-Origin, -Expose-Headers, Vary
//! ```
//!
//! It protects only the user of a browser from foreign pages: a client that is not a browser needs none of this. What pages may
//! send at all is for [`browsers`](super::browsers).
//! `Access-Control-Allow-Credentials` is never sent: this API knows tokens that a page sends by itself, and no cookies.
//!
//! Not promised: that a page can follow a 307. The browser sends the origin `null` to the pod that it leads to.

use super::calls::{ANY_METHODS, methods_of};
use super::{paths, reply};
use leasehold_daemon::serve::Gates;
use std::net::Ipv6Addr;
use std::sync::Arc;
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::Response;

/// What a page may send beyond what every page may.
const ALLOW_HEADERS: &str =
    "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, Last-Event-ID, Leasehold-Cluster";
/// What a page may read beyond what every page may.
const EXPOSE_HEADERS: &str = "ETag, Location, Link, Allow, Retry-After, WWW-Authenticate, Leasehold-Sequence, \
                              Leasehold-Staleness-Ms, Leasehold-Forwarded";
/// How long a browser may remember a preflight, in seconds. Chromium remembers it for two hours at most.
const MAX_AGE: &str = "7200";

/// The origins whose pages may read the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All.
    Any,
    /// These, as browsers write them.
    Those(Vec<HeaderValue>),
}

impl Origins {
    /// From the flag's values, each checked by [`origin`]. None: there are none.
    ///
    /// # Errors
    /// `*` appears beside others.
    pub fn of(origins: &[String]) -> Result<Option<Origins>, String> {
        if origins.iter().any(|origin| origin == "*") {
            let is_alone = origins.iter().all(|origin| origin == "*");
            return if is_alone {
                Ok(Some(Origins::Any))
            } else {
                Err("`*` means all, so it must be alone".to_owned())
            };
        }
        let those: Vec<HeaderValue> = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
        Ok((!those.is_empty()).then_some(Origins::Those(those)))
    }

    /// Before and around everything else.
    pub fn around(self, gates: Gates) -> Gates {
        let (origins, guard, stamp) = (Arc::new(self), gates.guard, gates.stamp);
        let stamping = Arc::clone(&origins);
        Gates {
            guard: Some(Arc::new(move |head| {
                let preflight = origins.preflight(&head.method, paths::of(&head.uri), &head.headers);
                preflight.or_else(|| guard.as_ref()?(head))
            })),
            stamp: Some(Arc::new(move |headers| {
                let mut whole = stamp.as_ref().map_or_else(HeaderMap::new, |stamp| stamp(headers));
                whole.extend(stamping.stamp(headers));
                whole
            })),
            ..gates
        }
    }

    /// The answer to a browser that asks whether a page may send a request. Only for a permitted origin; others are treated
    /// like any `OPTIONS`.
    fn preflight(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        let origin = headers.get(ORIGIN)?;
        let is_one = *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_one || !self.allows(origin) {
            return None;
        }
        let mut response = reply::empty(StatusCode::NO_CONTENT);
        // If there is nothing, the page should be able to read exactly that.
        let methods = HeaderValue::from_static(methods_of(path).unwrap_or(ANY_METHODS));
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOW_HEADERS));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        Some(response)
    }

    /// What the answer to a request with this head says; without a head, to a request that could not be read.
    fn stamp(&self, headers: Option<&HeaderMap>) -> HeaderMap {
        let mut stamp = HeaderMap::new();
        let asks = match headers {
            Some(headers) => headers.get(ORIGIN).filter(|origin| self.allows(origin)).cloned(),
            // The asker is unknown. Where all get the same answer, it need not be known.
            None => match self {
                Origins::Those(those) if those.len() == 1 => those.first().cloned(),
                Origins::Those(_) | Origins::Any => None,
            },
        };
        let allowed = match self {
            // The same for all, so that caches keep one answer.
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Those(_) => {
                stamp.insert(VARY, HeaderValue::from_static("Origin"));
                asks
            }
        };
        if let Some(allowed) = allowed {
            stamp.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            stamp.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSE_HEADERS));
        }
        stamp
    }

    /// Does it belong to them?
    pub(super) fn allows(&self, origin: &HeaderValue) -> bool {
        match self {
            Origins::Any => true,
            Origins::Those(those) => those.contains(origin),
        }
    }
}

/// `*`, or an origin as browsers write it: scheme and host in lower case, the port unless it is the scheme's own.
///
/// # Errors
/// What is wrong with it.
pub fn origin(text: &str) -> Result<String, String> {
    const LIKE: &str = "an origin is like https://app.example:8443, or * for all of them";
    // Lists have a space after each comma.
    let text = text.trim();
    if text == "*" {
        return Ok(text.to_owned());
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("it has no scheme: {LIKE}"))?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !is_scheme {
        return Err(format!("{scheme:?} is not a valid scheme: {LIKE}"));
    }
    if rest.contains(['/', '?', '#']) {
        return Err(format!("it has a path or a query (even a lone slash is a path): {LIKE}"));
    }
    if rest.contains('*') {
        return Err("patterns are not supported: name each origin, or use * alone for all of them".to_owned());
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => ip
            .parse::<Ipv6Addr>()
            .map(|ip| format!("[{ip}]"))
            .map_err(|_| format!("{host} is not a valid IPv6 address")),
        None if !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')) => {
            Ok(host.to_ascii_lowercase())
        }
        None => Err(format!("{host:?} is not a valid host (write names beyond ASCII as xn--…): {LIKE}")),
    }?;
    let scheme = scheme.to_ascii_lowercase();
    let port = port.map(|port| {
        let number = port.parse::<u16>().ok().filter(|number| *number > 0 && !port.starts_with('+'));
        number.ok_or_else(|| format!("{port:?} is not a valid port: {LIKE}"))
    });
    Ok(match (scheme.as_str(), port.transpose()?) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const APP: &str = "https://app.example";

    fn origins(origins: &[&str]) -> Origins {
        let origins: Vec<String> = origins.iter().map(|text| origin(text).unwrap()).collect();
        Origins::of(&origins).unwrap().unwrap()
    }

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn allowed(stamp: &HeaderMap) -> Option<&str> {
        assert_eq!(stamp.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), stamp.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS));
        stamp.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|origin| origin.to_str().unwrap())
    }

    #[test]
    fn origins_are_taken_as_browsers_write_them() {
        for (text, written) in [
            ("*", "*"),
            (APP, APP),
            ("HTTPS://App.Example:443", APP),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
            (" https://app.example\t", APP),
            (" * ", "*"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(written), "{text}");
        }
        for (text, word) in [
            ("", "no scheme"),
            (" ", "no scheme"),
            ("app.example", "no scheme"),
            ("null", "no scheme"),
            ("://app.example", "not a valid scheme"),
            ("https://app.example/", "a path"),
            ("https://app.example/a", "a path"),
            ("https://app.example?a", "a query"),
            ("https://*.app.example", "patterns"),
            ("https://", "not a valid host"),
            ("https://a b", "not a valid host"),
            ("https://user@app.example", "not a valid host"),
            ("https://äpp.example", "xn--"),
            ("https://app.example:0", "not a valid port"),
            ("https://app.example:+1", "not a valid port"),
            ("https://app.example:99999", "not a valid port"),
            ("https://[::g]", "IPv6"),
        ] {
            assert!(origin(text).unwrap_err().contains(word), "{text}: {:?}", origin(text));
        }
        assert_eq!(Origins::of(&[]), Ok(None));
        assert!(Origins::of(&["*".to_owned(), APP.to_owned()]).is_err());
    }

    #[test]
    fn an_answer_names_the_origin_that_asked_if_it_may() {
        let two = origins(&[APP, "http://localhost:3000"]);
        for (asks, may) in [(APP, true), ("http://localhost:3000", true), ("http://localhost", false), ("null", false)]
        {
            let stamp = two.stamp(Some(&head(&[("origin", asks)])));
            assert_eq!(allowed(&stamp), may.then_some(asks));
            assert_eq!(stamp[VARY], "Origin", "also where it does not match: a cache must not give it to another");
        }
        assert_eq!(allowed(&two.stamp(Some(&head(&[])))), None);
        assert_eq!(allowed(&two.stamp(None)), None, "who asked is not known");
        assert_eq!(allowed(&origins(&[APP]).stamp(None)), Some(APP));
        for headers in [None, Some(&head(&[])), Some(&head(&[("origin", "null")]))] {
            let stamp = origins(&["*"]).stamp(headers);
            assert_eq!((allowed(&stamp), stamp.get(VARY)), (Some("*"), None));
            assert!(!stamp.contains_key("access-control-allow-credentials"));
        }
    }

    #[test]
    fn a_preflight_needs_no_token_and_other_requests_do() {
        let locked =
            Gates { guard: Some(Arc::new(|_| Some(reply::empty(StatusCode::UNAUTHORIZED)))), ..Gates::default() };
        let judging = |gates: Gates| {
            move |method: &Method, path: &str, headers: &HeaderMap| {
                let mut head = warp::http::Request::new(()).into_parts().0;
                (head.method, head.uri, head.headers) = (method.clone(), path.parse().unwrap(), headers.clone());
                gates.guard.as_ref().unwrap()(&mut head)
            }
        };
        let guard = judging(origins(&[APP]).around(locked));
        let asks = |origin| head(&[("origin", origin), ("access-control-request-method", "PUT")]);
        let preflight = guard(&Method::OPTIONS, "/persons/1", &asks(APP)).unwrap();
        assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
        assert_eq!(preflight.headers()[ACCESS_CONTROL_ALLOW_METHODS], "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
        assert_eq!(preflight.headers()[ACCESS_CONTROL_ALLOW_HEADERS], ALLOW_HEADERS);
        assert_eq!(preflight.headers()[ACCESS_CONTROL_MAX_AGE], MAX_AGE);
        let nowhere = guard(&Method::OPTIONS, "/api/nowhere", &asks(APP)).unwrap();
        assert_eq!(nowhere.headers()[ACCESS_CONTROL_ALLOW_METHODS], ANY_METHODS);
        for (method, headers) in [
            (Method::OPTIONS, asks("https://other.example")),
            (Method::OPTIONS, head(&[("origin", APP)])),
            (Method::OPTIONS, head(&[("access-control-request-method", "PUT")])),
            (Method::PUT, asks(APP)),
        ] {
            assert_eq!(guard(&method, "/persons/1", &headers).unwrap().status(), StatusCode::UNAUTHORIZED);
        }
        let open = judging(origins(&["*"]).around(Gates::default()));
        assert!(open(&Method::GET, "/persons", &head(&[("origin", APP)])).is_none());
    }
}
