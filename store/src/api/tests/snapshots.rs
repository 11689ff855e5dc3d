//! `GET /api/snapshot`: what it holds, while writes go on, and clients that do not read it.
use super::*;
use futures_util::StreamExt;
use leasehold_daemon::serve::{self, Limits, Server};
use leasehold_documents::replay::Replay;
use leasehold_documents::snapshot::{ReadSnapshot, read};
use leasehold_documents::{Action, Condition, IdRef, On, Operation};
use leasehold_testkit::until;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

const PATH: &str = "/api/snapshot";
const LONG: usize = 1024 * 1024 - 100;

impl Api {
    /// `orders`, with so many records of this length.
    fn with_orders(count: usize, length: usize) -> Api {
        let api = Api::leader_of_collections();
        api.defined_as("orders", r#"{"id": "string", "indexes": [{"fields": ["/x"]}]}"#);
        (0..count).for_each(|number| api.puts(&number.to_string(), length));
        api
    }

    fn puts(&self, id: &str, length: usize) {
        let record = format!(r#"{{"id":"{id}","x":"{id}","filling":"{}"}}"#, "x".repeat(length));
        let epoch = self.lock().documents.collection("orders").unwrap().epoch().unwrap();
        let put = Operation::new(IdRef::Text(id), Action::Put { record: &record }, Condition::None);
        let done = self.lock().apply(&Command::new(Work::One(On::at("orders", epoch), put)).encode(2));
        assert!(done.answer.outcome.is_done(), "{:?}", done.answer);
    }

    /// The answer, of whose body nothing is read yet.
    async fn begun(&self) -> warp::reply::Response {
        let response = self.calls.respond(asking().path(PATH).into_request()).await;
        assert_eq!(response.status(), StatusCode::OK);
        response
    }

    /// How many more may be read.
    fn free(&self) -> usize {
        self.calls.context().snapshots.available_permits()
    }

    fn served(&self) -> String {
        let metrics = self.calls.context().metrics.encode(&self.handle).unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("leasehold_store_snapshots_served_total "));
        line.unwrap().to_owned()
    }
}

fn sequence(response: &warp::reply::Response) -> u64 {
    response.headers()[SEQUENCE].to_str().unwrap().parse().unwrap()
}

async fn whole(response: warp::reply::Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// It is what a replica could have written, and its sum is that of its data.
fn loaded(bytes: &[u8]) -> ReadSnapshot {
    let found = read(bytes, 2).unwrap();
    assert_eq!((found.said, found.documents.check_sum()), (Some(found.documents.sum()), Ok(())));
    found
}

#[tokio::test]
async fn it_holds_all_data_in_either_format_and_a_watch_after_it_continues() {
    for api in [Api::leader(), Api::with_orders(3, 10)] {
        let response = api.get(PATH).await;
        assert_eq!(header(&response, "content-type"), Some("application/json"));
        let found = loaded(response.body());
        let real = api.lock().documents.clone();
        assert_eq!(header(&response, SEQUENCE), Some(&*real.applied().seq.to_string()));
        assert_eq!((found.head.position, found.head.format), (real.applied(), real.format()));
        assert_eq!(found.head.cluster_id, api.handle.status().unwrap().cluster_id.unwrap());
        assert_eq!((found.head.voters.format, found.head.voters.voters.len()), (real.format(), 3));
        assert_eq!(found.documents.sum(), real.sum());
        assert_eq!(
            Replay::new(found.documents).data_sum(),
            api.handle.history().mark(real.applied().seq).unwrap().data
        );
        until("it is counted", || api.served() == "1").await;
    }
}

#[tokio::test]
async fn it_is_as_of_one_entry_while_writes_go_on() {
    let api = Api::with_orders(40, 100_000);
    let response = api.begun().await;
    let then = api.lock().documents.clone();
    assert_eq!(sequence(&response), then.applied().seq.0);
    let mut body = http_body_util::BodyStream::new(response.into_body());
    let (mut bytes, mut pieces) = (Vec::new(), 0);
    while let Some(frame) = body.next().await {
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
        api.puts(&(pieces % 50).to_string(), 200_000 + pieces);
        pieces += 1;
    }
    assert!(pieces > 20, "{pieces}");
    let found = loaded(&bytes);
    assert_eq!((found.head.position, found.documents.sum()), (then.applied(), then.sum()));
    assert_ne!(api.lock().documents.sum(), then.sum());
}

#[tokio::test]
async fn a_replica_that_is_not_readable_has_none_and_reads_wait_for_what_they_ask_for() {
    let api = Api::starting();
    problem(&api.get(PATH).await, Code::NotReady);
    let api = Api::follower();
    assert_eq!(api.get(PATH).await.status(), StatusCode::OK);
    problem(&api.get("/api/snapshot?after=5").await, Code::Ahead);
    assert_eq!(api.get("/api/snapshot?after=4&timeout=1s&consistency=strong").await.status(), StatusCode::OK);
    problem(&api.get("/api/snapshot?limit=5").await, Code::InvalidQuery);
    let mut unknown = status(Phase::Follower, "pod-1");
    unknown.cluster_id = None;
    api.set_status(unknown);
    problem(&api.get(PATH).await, Code::NotReady);
}

#[tokio::test]
async fn two_are_read_at_a_time_and_a_head_reads_none() {
    let api = Api::with_orders(10, 100_000);
    let head = api.calls.respond(asking().method("HEAD").path(PATH).into_request()).await;
    assert_eq!((head.status(), sequence(&head)), (StatusCode::OK, api.lock().documents.applied().seq.0));
    drop(head);
    assert_eq!(api.free(), 2, "no thread was begun");
    let both = [api.begun().await, api.begun().await];
    problem(&api.get(PATH).await, Code::Overloaded);
    let [one, other] = both;
    drop(other);
    let again = api.begun().await;
    problem(&api.get(PATH).await, Code::Overloaded);
    assert_eq!(loaded(&whole(one).await).documents.sum(), loaded(&whole(again).await).documents.sum());
    until("both places are free and both are counted", || api.free() == 2 && api.served() == "2").await;
}

/// Serves it, with little patience.
fn serve_it(api: &Api) -> (SocketAddr, CancellationToken) {
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let limits = Limits { stall_max: Duration::from_millis(100), ..Limits::default() };
    tokio::spawn(Server { limits, stop: stop.clone(), ..Server::default() }.run(listener, api.calls.clone()));
    (address, stop)
}

/// A client that reads nothing unless asked to.
async fn connect(address: SocketAddr) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(format!("GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_goes_away_or_reads_nothing_ends_its_thread_and_frees_what_it_held() {
    // More than the sockets hold.
    let api = Api::with_orders(16, LONG);
    let (address, stop) = serve_it(&api);
    let mut stalled = connect(address).await;
    let mut gone = connect(address).await;
    let mut first = [0; 12];
    gone.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let views_then = api.lock().documents.renew();
    api.puts("0", 10);
    drop(gone);
    until("both threads have ended", || api.free() == 2).await;
    until("nobody holds the data of then", || views_then.strong_count() == 0).await;
    // What is cut ends before its last member.
    let mut text = Vec::new();
    let _ = stalled.read_to_end(&mut text).await;
    assert!(text.starts_with(b"HTTP/1.1 200") && !text.windows(5).any(|part| part == b"\"sum\""));
    assert_eq!(api.served(), "0");
    stop.cancel();
}
