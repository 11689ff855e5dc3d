//! Watching changes.
use super::*;
use leasehold_daemon::serve::{self, Server};
use leasehold_documents::{Action, Command, Condition};
use leasehold_testkit::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// The events of a whole stream: (id, data), without comments.
fn events(text: &str) -> Vec<(u64, Value)> {
    let one = |event: &str| {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = serde_json::from_str(&field("data: ")?).unwrap();
        Some((field("id: ").map_or(0, |id| id.parse().unwrap()), data))
    };
    text.split("\n\n").filter_map(one).collect()
}

/// Watches until the replica drains; returns what arrived, the end last.
async fn watched(api: &Api, path: &str, last_event_id: Option<&str>, meanwhile: impl AsyncFn()) -> Vec<(u64, Value)> {
    let mut request = asking().path(path);
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let watching = api.send(request);
    let drain = async {
        tokio::task::yield_now().await;
        meanwhile().await;
        api.set_status(status(Phase::Draining, "pod-0"));
    };
    let (response, ()) = tokio::join!(watching, drain);
    assert_eq!(response.status(), StatusCode::OK, "{response:?}");
    assert_eq!(header(&response, "content-type"), Some("text/event-stream"));
    api.set_status(status(Phase::Leading, "pod-0"));
    events(std::str::from_utf8(response.body()).unwrap())
}

#[tokio::test]
async fn a_watch_tells_each_change_with_its_sequence_and_ends_politely() {
    let api = Api::leader();
    let seen = watched(&api, "/persons:watch", None, async || {
        api.post(JOHANNA).await;
        api.post(JOHANNA).await;
        api.json("PUT", JOHANNA_PATH, JOHANNA.replace("Koester", "K")).await;
        api.json("DELETE", JOHANNA_PATH, "").await;
    })
    .await;
    let (last, changes) = seen.split_last().unwrap();
    assert_eq!(last.1["reason"], "draining");
    assert_eq!(last.1["after"], 8, "and it may go on there");
    let told: Vec<(u64, &str)> =
        changes.iter().map(|(id, data)| (*id, data["changes"][0]["change"].as_str().unwrap())).collect();
    assert_eq!(told, [(5, "created"), (7, "replaced"), (8, "deleted")]);
    assert_eq!(changes[0].1["sequence"], 5);
    assert_eq!(changes[0].1["changes"][0]["record"], serde_json::from_str::<Value>(JOHANNA).unwrap());
    assert_eq!(changes[2].1["changes"][0]["record"], Value::Null);
}

#[tokio::test]
async fn a_watch_goes_on_after_a_sequence_without_a_gap_or_a_double() {
    let api = Api::leader();
    for (path, last, first) in [
        ("/persons:watch?after=0", None, 1),
        ("/persons:watch?after=2", None, 3),
        ("/persons:watch?after=1", Some("3"), 4),
        ("/persons:watch", Some("4"), 0),
    ] {
        let seen = watched(&api, path, last, async || {}).await;
        let ids: Vec<u64> = seen[..seen.len() - 1].iter().map(|(id, _)| *id).collect();
        let expected: Vec<u64> = if first == 0 { Vec::new() } else { (first..=4).collect() };
        assert_eq!(ids, expected, "{path} {last:?}");
    }
}

#[tokio::test]
async fn a_batch_is_one_event() {
    let api = Api::leader();
    let seen = watched(&api, "/persons:watch", None, async || {
        let body = r#"{"operations":[{"op":"create","record":{"firstName":"A","lastName":"B"}},{"op":"delete","id":"918b0da0-afda-4cbf-a370-0347a6ede98e"}]}"#;
        assert_eq!(api.json("POST", "/persons:batch", body).await.status(), StatusCode::OK);
    })
    .await;
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].1["changes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_not_known_any_more_is_410_with_the_way_to_go_on() {
    let api = Api::leader();
    {
        let parts = api.lock();
        parts.server.restore(&parts.documents);
    }
    let body = problem(&api.get("/persons:watch?after=3").await, Code::HistoryGone);
    assert_eq!(body["oldest"], 4);
    assert!(body["detail"].as_str().unwrap().contains("GET /persons"), "{body}");
    assert_eq!(watched(&api, "/persons:watch?after=4", None, async || {}).await.len(), 1);
    for bad in ["/persons:watch?after=x", "/persons:watch?limit=1"] {
        problem(&api.get(bad).await, Code::InvalidQuery);
    }
    let bad = asking().path("/persons:watch").header("last-event-id", "x");
    problem(&api.send(bad).await, Code::InvalidQuery);
}

#[tokio::test]
async fn a_watcher_that_has_seen_what_was_never_committed_is_told_so() {
    let api = Api::leader();
    let body = problem(&api.get("/persons:watch?after=5").await, Code::Ahead);
    assert_eq!(body["committed"], 4);
    let again = asking().path("/persons:watch").header("last-event-id", "104");
    problem(&api.send(again).await, Code::Ahead);
    // Nobody can say whether it was.
    api.lock().confirms = None;
    problem(&api.get("/persons:watch?after=5").await, Code::NotApplied);
}

/// A watcher on a socket of its own, which it does not read unless asked to.
async fn connect(address: std::net::SocketAddr, path: &str) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_slow_watcher_is_cut_with_its_last_id_and_too_many_are_refused() {
    let api = Api::leader();
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(Server { stop: stop.clone(), ..Server::default() }.run(listener, api.calls.clone()));
    let mut slow = connect(address, "/persons:watch?after=4").await;
    let gone = connect(address, "/persons:watch?after=4").await;
    let watchers = || api.handle.history().watchers();
    until("two watch", || watchers() == 2).await;
    problem(&api.get("/persons:watch?after=4").await, Code::TooManyWatchers);
    drop(gone);
    // More than the sockets hold.
    for number in 0..70u128 {
        let id = Uuid::from_u128(number);
        let record = format!(r#"{{"id":"{id}","filling":"{}"}}"#, "x".repeat(100_000));
        let command = Command::one("persons", id, Action::Create { record: &record }, Condition::None).encode(1);
        api.lock().apply(&command);
        tokio::task::yield_now().await;
    }
    until("both are let go", || watchers() == 0).await;
    let mut text = Vec::new();
    let mut piece = vec![0; 65_536];
    // Chunks end within lines; what matters is found in what is left without them.
    while !text.ends_with(b"\r\n0\r\n\r\n") {
        let read = tokio::time::timeout(Duration::from_secs(20), slow.read(&mut piece)).await.unwrap().unwrap();
        assert!(read > 0, "the answer has no end");
        text.extend_from_slice(&piece[..read]);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("event: end") && text.contains("\"reason\":\"slow\""), "{}", &text[text.len() - 500..]);
    let ids: Vec<u64> = text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    assert_eq!(ids, (4..4 + ids.len() as u64).collect::<Vec<_>>());
    assert!(text.contains(&format!("\"after\":{}", ids.last().unwrap())), "it says where to go on");
    stop.cancel();
}
