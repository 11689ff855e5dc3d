//! `POST /v1/step-down` and `POST /v1/released`, for plain apps: a leadership ends.
//!
//! ```text
//!   404 no such call here ─▶ 405 ─▶ 403 a page sends it ─▶ 401 the word ─▶ 415 ─▶ 400 the body ─▶ election
//!                                    200 role.json says `leader` of that term no more ◀──────────────┤
//!                                    202 it still does after 2 s (it cannot be written) ◀────────────┤
//!                                    409 this pod neither leads nor last led in that term ◀──────────┘
//! ```
//!
//! A page in a browser reaches every port that its reader reaches: by a name that it points here (so `Host` must be an IP or
//! `localhost`), or from its own origin (so `Origin` is refused: the sidecar has no pages that could send it).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::reply::{Reply, json, not_allowed, text, with_header};
use super::sources::Sources;
use crate::control::{Control, Outcome, Request, Wish};
use crate::notice::Notice;

/// `{"term": 5}` is short.
const BODY_BYTES_MAX: usize = 1024;
/// How long a request may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);
/// How long role.json may take. It is written at once, or cannot be written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
struct Asked {
    term: u64,
}

/// The body of 200, 202 and 409.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(flatten)]
    notice: Option<Notice>,
}

pub(super) async fn answer<B>(sources: &Sources, wish: Wish, head: &Parts, body: B) -> Reply
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let Some(control) = &sources.control else {
        return text(
            StatusCode::NOT_FOUND,
            "not found: this is for plain apps that share a directory with the sidecar",
        );
    };
    if let Some(refusal) = refusal(control, head) {
        return refusal;
    }
    let asked = match read(body).await {
        Ok(Asked { term }) => term,
        Err(refusal) => return refusal,
    };
    let (outcome, became) = oneshot::channel();
    match control.requests.try_send(Request { wish, term: asked, outcome }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return text(StatusCode::SERVICE_UNAVAILABLE, "too many requests; try again"),
        Err(TrySendError::Closed(_)) => return text(StatusCode::SERVICE_UNAVAILABLE, "the sidecar is ending"),
    }
    let became = tokio::time::timeout(WRITTEN_WITHIN, became).await;
    let notice = || Notice::of(&sources.state.borrow());
    match became {
        Ok(Ok(Outcome::LetGo)) => json(StatusCode::OK, &Answer { error: None, notice: notice() }),
        Ok(Ok(Outcome::OtherTerm(led))) => {
            let led = led.map_or_else(
                || "this pod has not led since its sidecar started".to_owned(),
                |led| format!("this pod leads, or last led, in term {led}"),
            );
            let error = format!("{led}, so nothing was done for term {asked}");
            json(StatusCode::CONFLICT, &Answer { error: Some(&error), notice: notice() })
        }
        Ok(Err(_)) => text(StatusCode::SERVICE_UNAVAILABLE, "the sidecar is ending"),
        Err(_) => {
            let error = "the leadership is ending, but role.json does not say so yet; see the log of the sidecar";
            json(StatusCode::ACCEPTED, &Answer { error: Some(error), notice: notice() })
        }
    }
}

/// What is wrong with the head.
fn refusal(control: &Control, head: &Parts) -> Option<Reply> {
    if head.method != Method::POST {
        return Some(not_allowed("POST"));
    }
    if let Some(why) = browser(head) {
        return Some(text(StatusCode::FORBIDDEN, why));
    }
    let said = head.headers.get(AUTHORIZATION).map(|said| said.as_bytes());
    let word = said.and_then(|said| said.split_at_checked("bearer ".len()));
    let word = word.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer ")).map(|(_, word)| word);
    if !word.is_some_and(|word| control.word.is(word.trim_ascii())) {
        let why = "the word is missing or wrong: send `Authorization: Bearer <word>`, with the present content of \
                   control.token in the shared directory";
        return Some(with_header(text(StatusCode::UNAUTHORIZED, why), WWW_AUTHENTICATE, "Bearer"));
    }
    let media = head.headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    let is_json = media.eq_ignore_ascii_case("application/json");
    (!is_json).then(|| text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json"))
}

/// Why a browser may not send it.
fn browser(head: &Parts) -> Option<&'static str> {
    let targets = head.uri.authority().map(|name| Some(name.clone())).into_iter();
    let hosts = head.headers.get_all(HOST).iter().map(|host| Authority::try_from(host.as_bytes()).ok());
    if !targets.chain(hosts).all(|name| name.is_some_and(|name| is_own(name.host()))) {
        return Some(
            "foreign Host: this call is answered by IP and localhost only, as any web page could be behind a name",
        );
    }
    let site = head.headers.get("sec-fetch-site");
    if head.headers.contains_key(ORIGIN) || site.is_some_and(|site| site != "none") {
        return Some("a web page may not do this");
    }
    None
}

/// No page can own it.
fn is_own(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok()
        || v6.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

async fn read<B>(body: B) -> Result<Asked, Reply>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let limited = Box::pin(Limited::new(body, BODY_BYTES_MAX));
    let body = match tokio::time::timeout(BODY_TIME_MAX, limited.collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(text(StatusCode::PAYLOAD_TOO_LARGE, "the body must be like {\"term\": 5}"));
        }
        Ok(Err(_)) | Err(_) => {
            return Err(text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive whole, and in time"));
        }
    };
    serde_json::from_slice(&body)
        .map_err(|error| text(StatusCode::BAD_REQUEST, &format!("the body must be like {{\"term\": 5}}: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::control::{self, Word};
    use crate::http::Heartbeat;
    use crate::notice::tests::{following, leading};
    use crate::telemetry::Metrics;
    use http_body_util::Full;
    use hyper::body::Bytes;
    use tokio::sync::{mpsc, watch};

    struct Served {
        sources: Sources,
        word: String,
        queue: mpsc::Receiver<Request>,
        _state: watch::Sender<crate::State>,
    }

    fn served() -> Served {
        let dir = tempfile::tempdir().unwrap();
        let word = Word::random().unwrap();
        control::TokenFile::write(dir.path().to_owned(), word.clone());
        let said = std::fs::read_to_string(dir.path().join("control.token")).unwrap();
        let (control, queue) = control::open(word);
        let (sender, state) = watch::channel(leading(5, 1, 60));
        let sources = Sources::new(state, Heartbeat::new(), Metrics::new(), Some(control));
        Served { sources, word: said.trim_end().to_owned(), queue, _state: sender }
    }

    async fn post(sources: &Sources, fields: &[(&str, &str)], body: &str) -> (u16, String) {
        let request = http::Request::post("/v1/step-down");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let head = request.body(()).unwrap().into_parts().0;
        let reply = answer(sources, Wish::StepDown, &head, Full::new(Bytes::copy_from_slice(body.as_bytes()))).await;
        (reply.status().as_u16(), reply.into_body())
    }

    #[tokio::test]
    async fn only_who_knows_the_word_and_is_no_page_is_heard() {
        let mut served = served();
        let bearer = format!("Bearer {}", served.word);
        let json = ("content-type", "application/json");
        let good = ("authorization", bearer.as_str());
        let local = ("host", "127.0.0.1:8088");
        let wrong = format!("Bearer {}", "0".repeat(64));
        let longer = format!("{bearer}0");
        let basic = format!("Basic {}", served.word);
        for (fields, status) in [
            (&[local, json][..], 401),
            (&[local, json, ("authorization", "")], 401),
            (&[local, json, ("authorization", "Bearer ")], 401),
            (&[local, json, ("authorization", &wrong)], 401),
            (&[local, json, ("authorization", &longer)], 401),
            (&[local, json, ("authorization", &basic)], 401),
            (&[local, json, ("authorization", &served.word)], 401),
            (&[local, good], 415),
            (&[local, good, ("content-type", "text/plain")], 415),
            (&[local, good, ("content-type", "application/x-www-form-urlencoded")], 415),
            (&[("host", "evil.example"), json, good], 403),
            (&[("host", "a b"), json, good], 403),
            (&[local, ("host", "evil.example"), json, good], 403),
            (&[local, json, good, ("origin", "http://evil.example")], 403),
            (&[local, json, good, ("origin", "null")], 403),
            (&[local, json, good, ("sec-fetch-site", "cross-site")], 403),
            (&[local, json, good, ("sec-fetch-site", "same-site")], 403),
        ] {
            let (code, body) = post(&served.sources, fields, "{\"term\": 5}").await;
            assert_eq!(code, status, "{fields:?}: {body}");
            assert!(served.queue.try_recv().is_err(), "{fields:?} reached the election");
        }
        for body in ["", "5", "{}", "{\"term\": \"5\"}", "{\"term\": -5}", "{\"term\": 5"] {
            assert_eq!(post(&served.sources, &[local, json, good], body).await.0, 400, "{body}");
        }
        let long = format!("{{\"term\": 5{}}}", " ".repeat(BODY_BYTES_MAX));
        assert_eq!(post(&served.sources, &[local, json, good], &long).await.0, 413);
        served.sources.control = None;
        assert_eq!(post(&served.sources, &[local, json, good], "{\"term\": 5}").await.0, 404);
    }

    #[tokio::test]
    async fn who_is_heard_gets_what_became_of_it() {
        let Served { sources, word, mut queue, _state } = served();
        let bearer = format!("bearer {word}");
        for (host, outcome, status) in [
            ("127.0.0.1:8088", Outcome::LetGo, 200),
            ("[::1]:8088", Outcome::LetGo, 200),
            ("localhost", Outcome::OtherTerm(Some(7)), 409),
            ("LOCALHOST:1", Outcome::OtherTerm(None), 409),
        ] {
            let fields =
                [("host", host), ("authorization", &bearer), ("content-type", "application/json; charset=utf-8")];
            let decide = async {
                let request = queue.recv().await.unwrap();
                assert_eq!((request.wish, request.term), (Wish::StepDown, 5));
                _state.send_replace(following(6, 2));
                request.outcome.send(outcome).unwrap();
            };
            let ((code, body), ()) = tokio::join!(post(&sources, &fields, "{\"term\": 5, \"more\": 1}"), decide);
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!((code, &body["role"], &body["term"]), (status, &"follower".into(), &6.into()), "{body}");
            assert_eq!(body["error"].is_string(), status == 409, "{body}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_json_that_is_not_written_is_no_success() {
        let served = served();
        let bearer = format!("Bearer {}", served.word);
        let fields = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let (code, body) = post(&served.sources, &fields, "{\"term\": 5}").await;
        assert!(code == 202 && body.contains("role.json"), "{code}: {body}");
    }
}
