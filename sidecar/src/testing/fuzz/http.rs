//! Requests to the sidecar: pages, the stream, and what an app may ask for.

use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use leasehold_contract::Moment;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use warp::reply::Response;

use super::runtime::on_runtime;
use crate::control::{self, Outcome, Request, Word};
use crate::http::{Heartbeat, Sources, answer};
use crate::notice::Notice;
use crate::state::State;
use crate::telemetry::Metrics;

/// How long UNTIL is away.
const CLAIM_NS: u64 = 15_000_000_000;

/// A script, line by line:
///
/// ```text
///   s JSON               this is known from now on: `State`, as GET /v1/state says it; BOOT is this boot, UNTIL a moment to come
///   h NAME: VALUE        a header of the next request; `WORD` stands for the word of control.token
///   b TEXT               its body
///   > METHOD TARGET      the request; whoever asked for an end of a leadership is answered
///   o | o TERM           those after this one are answered with: let go, or another term
///   w                    a watcher comes, and reads what there is; later states, too
/// ```
///
/// Every status is a documented one; nothing reaches the election without the word, as a POST, and with the term that the body
/// names; 200 for `/leader` is said only of a state that leads; a watcher gets the newest state, in one event, that can be read.
pub fn http(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let word = Word::random().expect("the system has random numbers");
    let (control, requests) = control::open(word.clone());
    let (sender, state) = watch::channel(State::default());
    let sources = Sources::new(state, Heartbeat::new(), Metrics::new(), Some(control));
    let mut desk =
        Desk { word, sources, sender, requests, headers: Vec::new(), body: String::new(), other: None, watcher: None };
    on_runtime(async {
        for line in text.lines().take(100) {
            desk.play(line).await;
        }
    });
}

struct Desk {
    word: Word,
    sources: Sources,
    sender: watch::Sender<State>,
    requests: mpsc::Receiver<Request>,
    headers: Vec<(String, String)>,
    body: String,
    /// The term that this pod leads in, where it is not the one that is asked for.
    other: Option<u64>,
    watcher: Option<Response>,
}

impl Desk {
    async fn play(&mut self, line: &str) {
        let (sign, rest) = line.split_at_checked(1).unwrap_or((line, ""));
        let rest = rest.trim_start();
        match sign {
            "s" => {
                if let Ok(state) = serde_json::from_str(&self.now(rest)) {
                    self.sender.send_replace(state);
                    self.watch();
                }
            }
            "h" => {
                if let Some((name, value)) = rest.split_once(':') {
                    self.headers.push((name.to_owned(), self.now(value.trim())));
                }
            }
            "b" => rest.clone_into(&mut self.body),
            "o" => self.other = rest.parse().ok(),
            "w" => {
                let request = hyper::Request::get("/v1/watch").body(body("")).expect("a request");
                self.watcher = Some(answer(&self.sources, request).await);
                self.watch();
            }
            ">" => self.ask(rest).await,
            _ => {}
        }
    }

    /// The text, with what only this run can know.
    fn now(&self, text: &str) -> String {
        let now = Moment::now();
        let boot = now.boot_id.map_or_else(String::new, |id| id.to_string());
        let until = now.boottime_ns.saturating_add(CLAIM_NS).to_string();
        text.replace("BOOT", &boot).replace("UNTIL", &until).replace("WORD", self.word.text())
    }

    async fn ask(&mut self, line: &str) {
        let (headers, text) = (std::mem::take(&mut self.headers), std::mem::take(&mut self.body));
        let (method, target) = line.split_once(' ').unwrap_or((line, "/"));
        let mut request = hyper::Request::builder().method(method).uri(target);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(body(&text)) else { return };
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let asked = async {
            let Request { term, outcome, .. } = self.requests.recv().await?;
            let _ = outcome.send(self.other.map_or(Outcome::LetGo, |other| Outcome::OtherTerm(Some(other))));
            Some(term)
        };
        let mut asked = std::pin::pin!(asked);
        let answered = answer(&self.sources, request);
        let mut answered = std::pin::pin!(answered);
        let mut heard = None;
        // Not joined: most requests never reach the election.
        let response = loop {
            tokio::select! {
                biased;
                response = &mut answered => break response,
                term = &mut asked, if heard.is_none() => heard = term,
            }
        };
        let status = response.status().as_u16();
        let documented = [200, 202, 400, 401, 403, 404, 405, 408, 409, 413, 415, 503];
        assert!(documented.contains(&status), "{method} {path}: {status}");
        if let Some(term) = heard {
            let knows = headers
                .iter()
                .any(|(name, value)| name.eq_ignore_ascii_case("authorization") && value.contains(self.word.text()));
            assert!(knows && method == "POST", "{method} {path} reached the election: {headers:?}");
            let said: Value = serde_json::from_str(&text).expect("only JSON reaches the election");
            assert_eq!(said["term"].as_u64(), Some(term), "{text}");
            assert_eq!(status, if self.other.is_some() { 409 } else { 200 }, "{path}");
        } else if matches!(path.as_str(), "/v1/step-down" | "/v1/released") {
            assert!(status >= 400, "{path} was not heard, and succeeds: {status}");
        }
        // A claim may have run out between the answer and this look, but none begins.
        if path == "/leader" && !self.sources.state.borrow().leads() && method == "GET" {
            let stale = self.sources.state.borrow().role.is_some();
            assert!(status == 503 || stale, "it leads, and knows nobody");
        }
    }

    /// What the watcher gets now: at most one event, which says what is known.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        if watcher.status() != 200 {
            return;
        }
        let mut events = String::new();
        while let Some(Some(Ok(frame))) = watcher.body_mut().frame().now_or_never() {
            events +=
                std::str::from_utf8(frame.data_ref().expect("a stream has no trailers")).expect("events are text");
        }
        let known = Notice::of(&self.sender.borrow());
        let data: Vec<_> = events.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert!(data.len() <= 1, "what is old was sent, too: {events}");
        let Some(data) = data.first() else { return };
        assert!(events.ends_with("\n\n"), "half an event: {events:?}");
        let said: Value = serde_json::from_str(data).expect("an event is JSON");
        let known = known.expect("an event of nothing");
        assert_eq!((&said["term"], &said["generation"]), (&known.term.into(), &known.generation.into()), "{events}");
        assert_eq!(said["self"], known.self_name.as_str());
        assert!(said["leads"] == known.leads || !known.leads, "it leads, and the watcher is told otherwise: {events}");
    }
}

fn body(text: &str) -> Full<Bytes> {
    Full::new(Bytes::copy_from_slice(text.as_bytes()))
}
