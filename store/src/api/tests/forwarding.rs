//! Writes at a replica that does not lead: refused, redirected, sent on; never twice, never in a circle.

use super::*;
use crate::api::context::TIME_LEFT;
use crate::api::forward::route::ApiRoute;
use crate::api::forward::{FollowerWrites, Forwarding};
use crate::peer::trust::tests::Member as Trusting;
use crate::peer::{Listener, PeerConfig};
use http_body_util::{BodyExt, Full};
use hyper_util::service::TowerToHyperService;
use leasehold_daemon::serve::{self, Limits, Server};
use leasehold_replication::PeerState;
use leasehold_testkit::until;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use warp::Filter;
use warp::http::header::{CONNECTION, LOCATION};
use warp::http::{HeaderMap, Request};

pub(super) const LONG: Duration = Duration::from_secs(10);
const CLUSTER_ID: Uuid = Uuid::from_u128(9);
const ANOTHER_CLUSTER: Uuid = Uuid::from_u128(57);

pub(super) fn around(api: &Api, follower_writes: FollowerWrites, write_timeout: Duration) -> Forwarding {
    Forwarding::new(api.calls.clone(), api.handle.clone(), config(follower_writes, write_timeout))
}

fn config(follower_writes: FollowerWrites, write_timeout: Duration) -> forward::Config {
    forward::Config {
        follower_writes,
        write_timeout,
        body_limit_bytes: 2_000,
        forwards_max: 64,
        peers: PeerConfig::new(LONG, |_| {}),
        route: ApiRoute::default(),
    }
}

pub(super) fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

pub(super) async fn answer(api: &Forwarding, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let (head, body) = tokio::time::timeout(LONG, api.answer(request)).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert!(head.headers.contains_key(SEQUENCE) || head.headers.contains_key(FORWARDED), "{head:?}");
    Response::from_parts(head, body)
}

impl Api {
    /// From now on pod-1 leads, and its clients are served there.
    pub(super) fn is_led_at(&self, ports: impl Into<Ports>) {
        let (mut file, ports) = (role("pod-1"), ports.into());
        let leader = file.leader.as_mut().unwrap();
        (leader.address, leader.peer_address) = (ports.api.to_string(), ports.peer.to_string());
        self.lock().server.set_role(file);
        self.set_status(status(Phase::Follower, "pod-1"));
        self.serve(Serving::Says(WriteError::Refused(Refusal::NotLeader)));
    }
}

/// Where a pod listens.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    api: SocketAddr,
    peer: SocketAddr,
}

/// One port for both.
impl From<SocketAddr> for Ports {
    fn from(both: SocketAddr) -> Ports {
        Ports { api: both, peer: both }
    }
}

/// A made-up leader: what it was sent by whichever port, and what it answers.
pub(super) struct Leader {
    pub(super) ports: Ports,
    /// Connections that its peer port knew nothing to do with.
    rejected: Arc<AtomicUsize>,
    pub(super) seen: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
    stop: CancellationToken,
}

impl Leader {
    pub(super) fn answers(answers: Vec<(u16, String)>) -> Leader {
        Leader::of(CLUSTER_ID, true, answers)
    }

    /// It knows nothing of forwarded writes on its peer port.
    fn of_the_previous_build(answers: Vec<(u16, String)>) -> Leader {
        Leader::of(CLUSTER_ID, false, answers)
    }

    fn of(cluster: Uuid, takes_forwards: bool, answers: Vec<(u16, String)>) -> Leader {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (noted, answers) = (seen.clone(), Arc::new(Mutex::new(VecDeque::from(answers))));
        let routes = warp::method()
            .and(warp::path::full())
            .and(warp::header::headers_cloned())
            .and(warp::body::bytes())
            .map(move |method, path: warp::path::FullPath, headers, body| -> warp::reply::Response {
                noted.lock().unwrap().push((format!("{method} {}", path.as_str()), headers, body));
                let (status, body) = answers.lock().unwrap().pop_front().expect("one request too many");
                // A long one is a batch's.
                let (name, value) =
                    if body.len() > 1024 { ("content-type", "application/json") } else { ("etag", "\"e\"") };
                let response = warp::http::Response::builder().status(status).header(name, value);
                response.header("connection", "keep-alive, x-own").header("x-own", "1").body(body.into()).unwrap()
            })
            .boxed();
        let [api, peer] = [(); 2].map(|()| serve::bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let ports = Ports { api: api.local_addr().unwrap(), peer: peer.local_addr().unwrap() };
        let ((entrance, handing), stop) = (serve::Entrance::with_handing(api), CancellationToken::new());
        let service = TowerToHyperService::new(warp::service(routes));
        let (leaving, limits) = (serve::Leaving::never(), Limits::default());
        tokio::spawn(Server { limits, leaving, stop: stop.clone(), ..Server::default() }.run(entrance, service));
        let rejected = Arc::new(AtomicUsize::new(0));
        let counted = rejected.clone();
        let config = PeerConfig::new(LONG, move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let state = tokio::sync::watch::channel(Some(peer_state(cluster))).1;
        let mut listener = Listener::new(config, tokio::sync::mpsc::channel(1).0, state);
        if takes_forwards {
            listener = listener.handing_over_to(handing);
        }
        tokio::spawn(Server { stop: stop.clone(), ..Server::default() }.run_filter(peer, listener.routes()));
        Leader { ports, rejected, seen, stop }
    }

    pub(super) fn refuses(code: Code) -> (u16, String) {
        let body = serde_json::json!({"type": format!("urn:leasehold:{}", code.as_str())});
        (code.status().as_u16(), body.to_string())
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn peer_state(cluster: Uuid) -> PeerState {
    PeerState {
        name: "pod-1".into(),
        replica: ReplicaId(Uuid::from_u128(2)),
        cluster_id: Some(ClusterId(cluster)),
        promise: Promise::NONE,
        position: Position::new(3, 4),
        hears: None,
        eligible: true,
        stalled: false,
        went_back: false,
        diverged: false,
        known: Vec::new(),
        format_min: 1,
        format_max: 1,
        format_allowed: 1,
    }
}

/// A hand-made leader's answer to a request for forwarded writes.
fn opened(cluster: Uuid) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: leasehold-forward\r\n\
         leasehold-cluster: {cluster}\r\n\r\n"
    )
}

/// The head of a request, read directly.
async fn head(stream: &mut tokio::net::TcpStream) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(seen).unwrap()
}

fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_follower_sends_a_write_on_as_it_is_and_the_leaders_answer_back() {
    let (api, leader) = (Api::follower(), Leader::answers(vec![(201, "done".into()), (204, String::new())]));
    api.is_led_at(leader.ports);
    let around = around(&api, FollowerWrites::Forward, LONG);
    let mut sent = request("POST", "/persons", JOHANNA);
    for (name, value) in [
        ("authorization", "Bearer x"),
        ("idempotency-key", "k"),
        ("accept", "application/json"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("host", "database-service:8089"),
    ] {
        sent.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let done = answer(&around, sent).await;
    assert_eq!((done.status().as_u16(), done.body().as_ref()), (201, &b"done"[..]));
    assert_eq!((header(&done, "etag"), header(&done, FORWARDED)), (Some("\"e\""), Some("pod-0")));
    assert_eq!((header(&done, "x-own"), header(&done, "connection")), (None, None));
    {
        let seen = leader.seen.lock().unwrap();
        let (what, headers, body) = &seen[0];
        assert_eq!((what.as_str(), body.as_ref()), ("POST /persons", JOHANNA.as_bytes()));
        for (name, value) in [
            ("authorization", Some("Bearer x")),
            ("idempotency-key", Some("k")),
            ("accept", Some("application/json")),
            ("content-type", Some("application/json")),
            (FORWARDED, Some("pod-0")),
            ("x-hop", None),
            ("te", None),
            ("expect", None),
            ("host", Some(leader.ports.peer.to_string().as_str())),
        ] {
            assert_eq!(headers.get(name).map(|value| value.to_str().unwrap()), value, "{name}");
        }
        // Of ten seconds half of one is for the way back.
        let left_ms: u64 = headers[TIME_LEFT].to_str().unwrap().parse().unwrap();
        assert!((5_000..=9_500).contains(&left_ms), "{left_ms}");
    }
    assert_eq!(answer(&around, request("DELETE", JOHANNA_PATH, "")).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(leader.seen.lock().unwrap()[1].0, format!("DELETE {JOHANNA_PATH}"));
}

#[tokio::test]
async fn a_pod_that_hears_no_leader_for_a_while_sends_writes_to_the_one_that_role_json_names() {
    let (api, leader) = (Api::follower(), Leader::answers(vec![(201, "done".into())]));
    api.is_led_at(leader.ports);
    api.set_status(Status { leader_heard: false, ..status(Phase::Follower, "pod-1") });
    let began = tokio::time::Instant::now();
    let around = around(&api, FollowerWrites::Forward, LONG);
    let done = answer(&around, request("POST", "/persons", JOHANNA)).await;
    assert_eq!((done.status().as_u16(), done.body().as_ref()), (201, &b"done"[..]));
    // Not at once: the leader that was just lost is mostly dead.
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(leader.requests(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_said_here_and_reads_stay() {
    let (api, leader) = (Api::follower(), Leader::answers(Vec::new()));
    api.is_led_at(leader.ports);
    let around = around(&api, FollowerWrites::Forward, LONG);
    problem(&answer(&around, request("POST", "/persons", "{")).await, Code::MalformedJson);
    let long = format!("{{\"firstName\": \"{}\"}}", "x".repeat(3_000));
    problem(&answer(&around, request("POST", "/persons", &long)).await, Code::BodyTooLarge);
    assert_eq!(answer(&around, request("GET", "/persons", "")).await.status(), StatusCode::OK);
    assert_eq!(leader.requests(), 0);
}

#[tokio::test]
async fn by_default_a_follower_refuses_and_by_redirect_it_says_where_to_go() {
    let (api, leader) = (Api::follower(), Leader::answers(Vec::new()));
    api.is_led_at(leader.ports);
    let refused = around(&api, FollowerWrites::Reject, LONG);
    let told = answer(&refused, request("POST", "/persons", JOHANNA)).await;
    problem(&told, Code::NotLeader);
    assert_eq!(header(&told, "connection"), Some("close"), "the next write would come here, too");
    let mut over_http2 = request("POST", "/persons", JOHANNA);
    *over_http2.version_mut() = warp::http::Version::HTTP_2;
    assert_eq!(header(&answer(&refused, over_http2).await, "connection"), None);
    let read = answer(&refused, request("GET", "/persons", "")).await;
    assert_eq!(header(&read, "connection"), None, "reads are welcome");
    let redirected = around(&api, FollowerWrites::Redirect, LONG);
    let moved = answer(&redirected, request("DELETE", &format!("{JOHANNA_PATH}?"), "")).await;
    assert_eq!(moved.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(header(&moved, "connection"), Some("close"));
    let wanted = format!("http://{}{JOHANNA_PATH}?", leader.ports.api);
    assert_eq!(moved.headers()[LOCATION], wanted.as_str());
    api.set_status(Status { leader_heard: false, ..status(Phase::Follower, "pod-1") });
    for around in [refused, redirected] {
        problem(&answer(&around, request("POST", "/persons", JOHANNA)).await, Code::NoLeader);
    }
}

#[test]
fn a_redirect_to_https_names_the_pod_as_its_certificate_does() {
    let peer = "db-1.db-service.ns.svc.cluster.local:8090";
    assert_eq!(forward::by_name("10.1.2.3:8089", peer), "db-1.db-service.ns.svc.cluster.local:8089");
    assert_eq!(forward::by_name("[fd00::7]:8443", peer), "db-1.db-service.ns.svc.cluster.local:8443");
    assert_eq!(forward::by_name("127.0.0.1:8089", "[::1]:8090"), "[::1]:8089");
    assert_eq!(forward::by_name("db-1", peer), "db-1", "without a port there is nothing to join");
}

#[tokio::test]
async fn a_request_that_was_sent_on_once_is_not_sent_on_again() {
    let (api, leader) = (Api::follower(), Leader::answers(Vec::new()));
    api.is_led_at(leader.ports);
    let around = around(&api, FollowerWrites::Forward, LONG);
    let mut sent = request("POST", "/persons", JOHANNA);
    sent.headers_mut().insert(FORWARDED, HeaderValue::from_static("pod-2"));
    problem(&answer(&around, sent).await, Code::NotLeader);
    assert_eq!(leader.requests(), 0);
}

#[tokio::test]
async fn a_write_that_was_sent_on_and_got_no_answer_is_not_sent_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (api, address) = (Api::follower(), listener.local_addr().unwrap());
    api.is_led_at(address);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // It took the whole request, and died.
            assert!(head(&mut stream).await.starts_with("GET /v1/forward "));
            stream.write_all(opened(CLUSTER_ID).as_bytes()).await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"}") && stream.read_buf(&mut seen).await.unwrap() > 0 {}
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let around = around(&api, FollowerWrites::Forward, LONG);
    let unknown = answer(&around, request("POST", "/persons", JOHANNA)).await;
    problem(&unknown, Code::OutcomeUnknown);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_write_whose_answer_breaks_off_or_does_not_come_in_time_has_an_unknown_outcome_and_is_not_sent_again() {
    for (said, why) in [("HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{", "was cut off"), ("", "timed out")] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (api, address) = (Api::follower(), listener.local_addr().unwrap());
        api.is_led_at(address);
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let leader = tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                head(&mut stream).await;
                stream.write_all(opened(CLUSTER_ID).as_bytes()).await.unwrap();
                let mut seen = Vec::new();
                while !seen.ends_with(b"}") && stream.read_buf(&mut seen).await.unwrap() > 0 {}
                counted.fetch_add(1, Ordering::Relaxed);
                stream.write_all(said.as_bytes()).await.unwrap();
                if said.is_empty() {
                    silent.push(stream);
                }
            }
        });
        let around = around(&api, FollowerWrites::Forward, Duration::from_millis(100));
        let unknown = answer(&around, request("POST", "/persons", JOHANNA)).await;
        let body = problem(&unknown, Code::OutcomeUnknown);
        assert!(body["detail"].as_str().unwrap().contains(why), "{body}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        leader.abort();
    }
}

#[tokio::test]
async fn a_write_for_a_leader_whose_address_is_none_is_not_done() {
    let api = Api::follower();
    api.is_led_at(nobody());
    let mut file = role("pod-1");
    file.leader.as_mut().unwrap().peer_address = "no address".to_owned();
    api.lock().server.set_role(file);
    let around = around(&api, FollowerWrites::Forward, Duration::from_millis(100));
    problem(&answer(&around, request("POST", "/persons", JOHANNA)).await, Code::NoLeader);
}

#[tokio::test]
async fn what_was_not_done_there_is_sent_to_the_next_leader_and_what_was_refused_stays_refused() {
    let refusals = [Code::NoMajority].into_iter().chain(std::iter::repeat_n(Code::NotLeader, 500));
    let old = Leader::answers(refusals.map(Leader::refuses).collect());
    let new = Leader::answers(vec![(201, "done".into()), Leader::refuses(Code::TooFewVoters)]);
    let api = Arc::new(Api::follower());
    api.is_led_at(old.ports);
    let around = around(&api, FollowerWrites::Forward, LONG);
    let sent = tokio::spawn({
        let around = around.clone();
        async move { answer(&around, request("POST", "/persons", JOHANNA)).await }
    });
    tokio::time::timeout(LONG, async {
        while old.requests() == 0 {
            tokio::task::yield_now().await;
        }
        api.is_led_at(new.ports);
    })
    .await
    .unwrap();
    assert_eq!(sent.await.unwrap().body().as_ref(), b"done");
    problem_word(&answer(&around, request("POST", "/persons", JOHANNA)).await, Code::TooFewVoters);
    assert_eq!(new.requests(), 2);
}

fn problem_word(response: &Response<Bytes>, code: Code) {
    assert_eq!((response.status(), Code::of_body(response.body())), (code.status(), Some(code)));
}

#[tokio::test]
async fn without_a_leader_a_write_waits_its_time_and_is_not_done() {
    let api = Api::follower();
    let around = around(&api, FollowerWrites::Forward, Duration::from_millis(100));
    api.is_led_at(nobody());
    problem(&answer(&around, request("POST", "/persons", JOHANNA)).await, Code::NoLeader);
    api.set_status(Status { leader_heard: false, ..status(Phase::Follower, "pod-1") });
    problem(&answer(&around, request("POST", "/persons", JOHANNA)).await, Code::NoLeader);
}

#[tokio::test]
async fn who_is_about_to_lead_keeps_a_write_until_it_does() {
    let api = Arc::new(Api::leader());
    api.set_status(status(Phase::Recovering, "pod-0"));
    api.serve(Serving::Says(WriteError::Refused(Refusal::Recovering)));
    let around = around(&api, FollowerWrites::Reject, LONG);
    let mut sent = request("POST", "/persons", JOHANNA);
    sent.headers_mut().insert(FORWARDED, HeaderValue::from_static("pod-2"));
    let waiting = tokio::spawn(async move { answer(&around, sent).await });
    tokio::time::timeout(LONG, async {
        while api.lock().taken == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(!waiting.is_finished());
    api.serve(Serving::Applies);
    api.set_status(status(Phase::Leading, "pod-0"));
    assert_eq!(waiting.await.unwrap().status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_pod_that_drains_serves_on_and_asks_its_clients_to_come_back_by_another_way() {
    let (api, leader) = (Api::leader(), Leader::answers(vec![(201, "done".into())]));
    let around = around(&api, FollowerWrites::Reject, LONG);
    // It still leads, and says so.
    api.set_status(status(Phase::Draining, "pod-0"));
    let said = answer(&around, request("GET", "/api/leader", "")).await;
    assert_eq!(value(&said)["isLeader"], true);
    let done = answer(&around, request("POST", "/persons", JOHANNA)).await;
    assert_eq!((done.status(), &done.headers()[CONNECTION]), (StatusCode::CREATED, &HeaderValue::from_static("close")));
    // Another one does.
    api.is_led_at(leader.ports);
    api.set_status(status(Phase::Draining, "pod-1"));
    for sent in [request("POST", "/persons", JOHANNA), request("GET", "/persons", "")] {
        let done = answer(&around, sent).await;
        assert!(done.status().is_success(), "{done:?}");
        assert_eq!(header(&done, "connection"), Some("close"));
    }
    assert_eq!(leader.requests(), 1);
}

#[tokio::test]
async fn who_led_a_moment_ago_takes_writes_to_its_successor() {
    let (api, leader) = (Api::leader(), Leader::answers(vec![(201, "done".into())]));
    api.is_led_at(leader.ports);
    let around = around(&api, FollowerWrites::Reject, LONG);
    let done = answer(&around, request("POST", "/persons", JOHANNA)).await;
    assert_eq!((done.status().as_u16(), header(&done, "connection")), (201, Some("close")));
    // One that followed all the time does not.
    let api = Api::follower();
    api.is_led_at(leader.ports);
    let around = self::around(&api, FollowerWrites::Reject, LONG);
    problem(&answer(&around, request("POST", "/persons", JOHANNA)).await, Code::NotLeader);
}

#[tokio::test]
async fn an_entry_that_was_overwritten_was_not_done_and_is_sent_to_the_leader() {
    let (api, leader) = (Api::follower(), Leader::answers(vec![(201, "done".into())]));
    api.is_led_at(leader.ports);
    api.serve(Serving::Says(WriteError::Overwritten));
    let around = around(&api, FollowerWrites::Forward, LONG);
    assert_eq!(answer(&around, request("POST", "/persons", JOHANNA)).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_request_that_names_another_cluster_is_refused_and_one_that_was_sent_on_names_its_own() {
    let api = Api::leader();
    let around_leader = around(&api, FollowerWrites::Reject, LONG);
    let own = api.handle.status().unwrap().cluster_id.unwrap().to_string();
    for (named, code) in [("00000000-0000-0000-0000-000000000057", Some(Code::OtherCluster)), (own.as_str(), None)] {
        for method in ["POST", "GET"] {
            let body = if method == "POST" { JOHANNA } else { "" };
            let mut sent = request(method, "/persons", body);
            sent.headers_mut().insert(forward::CLUSTER, HeaderValue::from_str(named).unwrap());
            let said = answer(&around_leader, sent).await;
            assert_eq!(said.status().is_success(), code.is_none(), "{method} {named}: {said:?}");
            if let Some(code) = code {
                problem(&said, code);
            }
        }
    }
    let (follower, leader) = (Api::follower(), Leader::answers(vec![(201, "done".into())]));
    follower.is_led_at(leader.ports);
    let around_follower = around(&follower, FollowerWrites::Forward, LONG);
    assert_eq!(answer(&around_follower, request("POST", "/persons", JOHANNA)).await.status(), StatusCode::CREATED);
    let seen = leader.seen.lock().unwrap();
    assert_eq!(seen[0].1.get(forward::CLUSTER).unwrap(), own.as_str());
}

/// F1: an address is another release's leader's by now, which would have done it.
/// F1: an address is a stranger's by now. Whatever it says, it gets neither the token nor the record.
#[tokio::test]
async fn who_does_not_show_that_it_is_this_pod_of_this_cluster_gets_no_byte_of_a_request() {
    let own = opened(CLUSTER_ID);
    let no_cluster = own.replace("leasehold-cluster", "x-cluster");
    let named = |name: &str| own.replace("\r\n\r\n", &format!("\r\nleasehold-name: {name}\r\n\r\n"));
    let told = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let strangers = [
        (opened(ANOTHER_CLUSTER), false),
        (no_cluster, false),
        (told("421 Misdirected Request"), false),
        (told("200 OK"), false),
        (told("401 Unauthorized"), false),
        // A pod that knows who it is demands a name.
        (own.clone(), true),
        (named("db/pod-2"), true),
        (named("another/pod-1"), true),
        (told("404 Not Found"), true),
    ];
    for (said, knows_itself) in strangers {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (api, address) = (Api::follower(), listener.local_addr().unwrap());
        api.is_led_at(address);
        let mut config = config(FollowerWrites::Forward, Duration::from_millis(100));
        if knows_itself {
            config.peers.trust = Trusting::new("pod-0").trust().0;
        }
        let around = Forwarding::new(api.calls.clone(), api.handle.clone(), config);
        let (heard, answer_by_hand) = (Arc::new(Mutex::new(Vec::new())), said.clone());
        let hears = heard.clone();
        let stranger = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut all = head(&mut stream).await.into_bytes();
                let _ = stream.write_all(answer_by_hand.as_bytes()).await;
                // Until it is given up.
                let _ = stream.read_to_end(&mut all).await;
                hears.lock().unwrap().push(String::from_utf8_lossy(&all).into_owned());
            }
        });
        let mut sent = request("POST", "/persons", JOHANNA);
        sent.headers_mut().insert("authorization", HeaderValue::from_static("Bearer secret"));
        problem(&answer(&around, sent).await, Code::NoLeader);
        // It notes what it read when the line is closed, which is a moment after the answer.
        until("somebody asked", || !heard.lock().unwrap().is_empty()).await;
        stranger.abort();
        let heard = heard.lock().unwrap();
        for all in heard.iter() {
            assert!(all.starts_with("GET /v1/forward ") && all.ends_with("\r\n\r\n"), "{said}: {all}");
            assert!(!all.contains("secret") && !all.contains("Johanna"), "{said}: {all}");
        }
    }
}

#[tokio::test]
async fn the_leader_of_another_cluster_at_an_old_address_is_not_written_to() {
    for takes_forwards in [true, false] {
        let (api, stranger) = (Api::follower(), Leader::of(ANOTHER_CLUSTER, takes_forwards, Vec::new()));
        api.is_led_at(stranger.ports);
        let mut config = config(FollowerWrites::Forward, Duration::from_millis(100));
        config.peers.trust = Trusting::new("pod-0").trust().0;
        let around = Forwarding::new(api.calls.clone(), api.handle.clone(), config);
        problem(&answer(&around, request("POST", "/persons", JOHANNA)).await, Code::NoLeader);
        assert_eq!(stranger.requests(), 0);
    }
}

#[tokio::test]
async fn a_leader_of_the_previous_build_gets_writes_by_its_port_for_clients() {
    let answers = (0..3).map(|_| (201, "done".into())).collect();
    let (api, leader) = (Api::follower(), Leader::of_the_previous_build(answers));
    api.is_led_at(leader.ports);
    let around = around(&api, FollowerWrites::Forward, LONG);
    for _ in 0..3 {
        assert_eq!(answer(&around, request("POST", "/persons", JOHANNA)).await.body().as_ref(), b"done");
    }
    assert_eq!(leader.rejected.load(Ordering::Relaxed), 1, "it is not asked for each write");
    for (_, headers, _) in leader.seen.lock().unwrap().iter() {
        assert_eq!(headers.get(forward::CLUSTER).unwrap(), CLUSTER_ID.to_string().as_str());
        assert_eq!(headers.get("host").unwrap(), leader.ports.api.to_string().as_str());
    }
}

#[tokio::test]
async fn many_writes_are_sent_on_at_a_time() {
    let answers = (0..64).map(|_| (201, "done".into())).collect();
    let (api, leader) = (Api::follower(), Leader::answers(answers));
    api.is_led_at(leader.ports);
    let around = around(&api, FollowerWrites::Forward, LONG);
    let writes = (0..64).map(|_| answer(&around, request("POST", "/persons", JOHANNA)));
    for done in futures_util::future::join_all(writes).await {
        assert_eq!(done.status(), StatusCode::CREATED);
    }
    assert_eq!(leader.requests(), 64);
}
