#![allow(clippy::unwrap_used)]

mod forwards;
mod trusted;

use super::protocol::{CLAIM_PATH, REPLICATE_PATH, TEXT_BYTES_MAX};
use super::*;
use crate::peer::trust::peers::PeerTrust;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use leasehold_daemon::serve::{self, Counts, Limits, Server};
use leasehold_replication::{
    Body, ClusterId, Entry, Incarnation, Payload, PeerState, Position, Promise, RefusalCode, ReplicaId,
    SNAPSHOT_PIECE_BYTES, Seq, SnapshotPiece, Term,
};
use leasehold_testkit::{until, until_seen};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(10);
const TERM: Term = Term(7);

/// One replica's peer side, without a replica.
struct Node {
    peers: Peers,
    events: mpsc::Receiver<PeerEvent>,
    address: String,
    rejected: Arc<AtomicU64>,
    counts: Arc<Counts>,
    state: watch::Sender<Option<PeerState>>,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Node {
    async fn start() -> Node {
        Node::trusting(PeerTrust::default()).await
    }

    async fn trusting(trust: PeerTrust) -> Node {
        Node::patient(trust, Duration::from_secs(1)).await
    }

    /// Waits this long for a hello.
    async fn patient(trust: PeerTrust, hello_max: Duration) -> Node {
        Node::at(trust, hello_max, "127.0.0.1:0").await
    }

    /// Listens there.
    async fn at(trust: PeerTrust, hello_max: Duration, address: &str) -> Node {
        let rejected = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&rejected);
        let mut config = PeerConfig::new(Duration::from_secs(5), move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        config.hello_max = hello_max;
        config.trust = trust;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (state, state_receiver) = watch::channel(Some(peer_state()));
        let listener = Listener::new(config.clone(), sender.clone(), state_receiver);
        let socket = serve::bind(address.parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let malformed = Some(listener.on_malformed());
        let gates = serve::Gates { door: Some(listener.door()), ..Default::default() };
        let (routes, stopped, limits) = (listener.routes(), stop.clone(), Limits::default());
        let counts = Arc::clone(&limits.counts);
        tokio::spawn(
            Server { gates, limits, on_malformed: malformed, stop: stopped, ..Server::default() }
                .run_filter(socket, routes),
        );
        Node { peers: Peers::new(config, sender), events, address, rejected, counts, state, stop }
    }

    async fn next(&mut self) -> Input {
        loop {
            let event = tokio::time::timeout(LONG, self.events.recv()).await.expect("nothing happened").unwrap();
            // On a busy machine a frame may arrive in parts.
            match self.peers.admit(event) {
                Some(Admitted { input, .. }) if !matches!(input, Input::Heard { .. }) => return input,
                _ => {}
            }
        }
    }

    async fn next_frame(&mut self) -> Frame {
        match self.next().await {
            Input::Frame { frame, .. } => frame,
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    async fn is_rejected(&self, times: u64) {
        let rejected = || self.rejected.load(Ordering::SeqCst);
        assert_eq!(until_seen("they are rejected", rejected, |rejected| *rejected >= times).await, times);
    }
}

fn at(name: &str, address: &str) -> Target {
    Target { name: name.to_owned(), peer_address: address.to_owned(), addresses: Vec::new() }
}

/// A follower that is welcome at a leader: (leader, its connection, follower, its connection).
async fn connected() -> (Node, ConnId, Node, ConnId) {
    let (mut leader, mut follower) = (Node::start().await, Node::start().await);
    let dialled = ConnId::Dialled(1);
    follower.peers.dial(dialled, at("store-0", &leader.address), hello());
    let Input::Hello { conn: accepted, hello: said } = leader.next().await else { panic!("no hello") };
    assert_eq!(said, hello());
    assert!(leader.peers.answer(accepted, HelloAnswer::Welcome { format: 1, replica: None }));
    match follower.next().await {
        Input::Answered { conn, answer: HelloAnswer::Welcome { format: 1, replica: None } } => {
            assert_eq!(conn, dialled)
        }
        other => panic!("{other:?}"),
    }
    (leader, accepted, follower, dialled)
}

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn hello() -> Hello {
    Hello {
        snapshot_part: None,
        format_min: 1,
        format_max: 1,
        format_allowed: 1,
        cluster_id: None,
        name: "store-1".into(),
        replica: ReplicaId(uuid(1)),
        incarnation: Incarnation(uuid(2)),
        revision: String::new(),
        eligible: true,
        promise: Promise { term: TERM, incarnation: Incarnation(uuid(9)) },
        position: Position::new(3, 14),
        sums: true,
    }
}

fn claim(term: u64) -> Claim {
    Claim {
        cluster_id: ClusterId(uuid(5)),
        term: Term(term),
        incarnation: Incarnation(uuid(9)),
        name: "store-0".into(),
        peer_address: "127.0.0.1:1".into(),
        addresses: vec!["127.0.0.2".parse().unwrap()],
    }
}

fn peer_state() -> PeerState {
    PeerState {
        name: "store-0".into(),
        replica: ReplicaId(uuid(1)),
        cluster_id: Some(ClusterId(uuid(5))),
        promise: Promise::NONE,
        position: Position::new(1, 2),
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

fn frame(body: Body) -> Frame {
    Frame { term: TERM, incarnation: Incarnation(uuid(9)), body }
}

fn ack(seq: u64) -> Frame {
    frame(Body::Ack { seq: Seq(seq) })
}

fn heartbeat(round: u64) -> Frame {
    frame(Body::Heartbeat { round, commit: Seq(0) })
}

/// The frame that appends `length` bytes after sequence `seq`.
fn append(seq: u64, length: usize) -> Frame {
    let previous = Position::new(1, seq);
    let entries = vec![Entry::new(previous, TERM, Payload::Command(Bytes::from(vec![b'x'; length])))];
    frame(Body::Append { previous, commit: Seq(0), entries })
}

async fn dial_by_hand(address: &str) -> tokio_tungstenite::WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    tokio_tungstenite::client_async(format!("ws://{address}{REPLICATE_PATH}"), stream).await.unwrap().0
}

async fn ends(mut socket: tokio_tungstenite::WebSocketStream<TcpStream>) {
    let end = async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, end).await.expect("it was not closed");
}

#[tokio::test]
async fn frames_arrive_in_order_both_ways() {
    let (mut leader, down, mut follower, up) = connected().await;
    for seq in 0..500 {
        assert!(leader.peers.send(down, append(seq, 100)));
        assert!(follower.peers.send(up, ack(seq)));
    }
    for seq in 0..500 {
        assert_eq!(follower.next_frame().await, append(seq, 100));
        assert_eq!(leader.next_frame().await, ack(seq));
    }
    assert_eq!(leader.rejected.load(Ordering::SeqCst) + follower.rejected.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_refusal_is_told_and_nothing_after_it() {
    let (mut leader, mut follower) = (Node::start().await, Node::start().await);
    follower.peers.dial(ConnId::Dialled(1), at("store-0", &leader.address), hello());
    let Input::Hello { conn, .. } = leader.next().await else { panic!("no hello") };
    let refusal = HelloAnswer::Refused {
        reason: "another cluster".into(),
        code: RefusalCode::OtherCluster,
        promise: Promise::NONE,
        known: None,
    };
    assert!(leader.peers.answer(conn, refusal.clone()));
    match follower.next().await {
        Input::Answered { conn: ConnId::Dialled(1), answer } => assert_eq!(answer, refusal),
        other => panic!("{other:?}"),
    }
    assert!(!follower.peers.has(ConnId::Dialled(1)) && !leader.peers.has(conn));
    // The next thing that either hears is of the next connection, not an end of the first.
    follower.peers.dial(ConnId::Dialled(2), at("store-0", &leader.address), hello());
    assert!(matches!(leader.next().await, Input::Hello { conn: second, .. } if second != conn));
}

#[tokio::test]
async fn a_leader_that_is_not_there_is_told_long_before_the_time_out() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut follower = Node::start().await;
    follower.peers.dial(ConnId::Dialled(4), at("store-0", &free.to_string()), hello());
    let told = tokio::time::timeout(Duration::from_secs(2), follower.next()).await.expect("it waited for the time-out");
    assert!(matches!(told, Input::Closed { conn: ConnId::Dialled(4) }), "{told:?}");
}

#[tokio::test]
async fn a_leader_with_a_nonsense_address_is_closed() {
    let mut follower = Node::start().await;
    for (n, address) in ["", "no port", "127.0.0.1:99999", "[::1", "\0:1"].into_iter().enumerate() {
        let conn = ConnId::Dialled(n as u64);
        follower.peers.dial(conn, at("store-0", address), hello());
        assert!(matches!(follower.next().await, Input::Closed { conn: told } if told == conn), "{address:?}");
    }
}

#[tokio::test]
async fn a_leader_that_dies_is_told_after_its_last_frame() {
    let (mut leader, down, mut follower, up) = connected().await;
    assert!(leader.peers.send(down, ack(1)));
    leader.peers.close(down);
    assert_eq!(follower.next_frame().await, ack(1));
    assert!(matches!(follower.next().await, Input::Closed { conn } if conn == up));
    assert!(follower.peers.send(up, ack(2)), "what is sent by a connection that is gone is no second loss of it");
}

/// It has left HTTP, as a WebSocket.
#[tokio::test]
async fn a_follower_is_counted_at_its_leaders_port_until_it_is_gone() {
    let (leader, _, mut follower, up) = connected().await;
    // HTTP's own task has ended by then.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((leader.counts.open(), follower.counts.open()), (1, 0));
    follower.peers.close(up);
    until("it is no longer counted", || leader.counts.open() == 0).await;
}

#[tokio::test]
async fn nothing_is_told_of_a_connection_that_was_closed_here() {
    let (mut leader, down, mut follower, up) = connected().await;
    assert!(leader.peers.send(down, ack(1)));
    // The frame is on its way or already in the queue of events; the driver closes first.
    let event = tokio::time::timeout(LONG, follower.events.recv()).await.unwrap().unwrap();
    follower.peers.close(up);
    assert!(follower.peers.admit(event).is_none());
    assert!(matches!(leader.next().await, Input::Closed { conn } if conn == down));
}

#[tokio::test]
async fn hostile_first_words_close_the_connection_and_are_counted() {
    let mut node = Node::start().await;
    let words = [
        WsMessage::Binary(ack(1).encode()),
        WsMessage::Text("not json".into()),
        WsMessage::Text("{\"formatMin\":1}".into()),
        WsMessage::Text("x".repeat(TEXT_BYTES_MAX + 1).into()),
        WsMessage::Binary(vec![0; leasehold_replication::FRAME_BYTES_MAX + 1].into()),
    ];
    for (n, word) in words.into_iter().enumerate() {
        let mut socket = dial_by_hand(&node.address).await;
        let _ = socket.send(word).await;
        ends(socket).await;
        node.is_rejected(n as u64 + 1).await;
    }
    assert!(node.events.try_recv().is_err(), "something of it came through");
}

#[tokio::test]
async fn hostile_frames_close_a_welcomed_connection_and_are_counted() {
    let mut node = Node::start().await;
    let mut torn = append(3, 50).encode().to_vec();
    let last = torn.len() - 1;
    torn[last] ^= 1;
    let words = [
        WsMessage::Binary(Bytes::from_static(b"\x01")),
        WsMessage::Binary(vec![250; 64].into()),
        WsMessage::Binary(torn.into()),
        WsMessage::Text("hello again".into()),
    ];
    for (n, word) in words.into_iter().enumerate() {
        let mut socket = dial_by_hand(&node.address).await;
        socket.send(WsMessage::Text(serde_json::to_string(&hello()).unwrap().into())).await.unwrap();
        let Input::Hello { conn, .. } = node.next().await else { panic!("no hello") };
        assert!(node.peers.answer(conn, HelloAnswer::Welcome { format: 1, replica: None }));
        socket.send(word).await.unwrap();
        assert!(matches!(node.next().await, Input::Closed { conn: told } if told == conn));
        ends(socket).await;
        node.is_rejected(n as u64 + 1).await;
    }
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_closed_and_counted() {
    let node = Node::start().await;
    let socket = dial_by_hand(&node.address).await;
    ends(socket).await;
    node.is_rejected(1).await;
    let mut raw = TcpStream::connect(&node.address).await.unwrap();
    raw.write_all(&[0xff; 512]).await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(LONG, raw.read_to_end(&mut rest)).await.expect("it was not closed");
    node.is_rejected(2).await;
}

#[tokio::test]
async fn a_dialled_leader_that_talks_nonsense_is_closed_and_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        socket.send(WsMessage::Text("welcome!".into())).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    let mut follower = Node::start().await;
    follower.peers.dial(ConnId::Dialled(1), at("store-0", &address), hello());
    assert!(matches!(follower.next().await, Input::Closed { conn: ConnId::Dialled(1) }));
    follower.is_rejected(1).await;
}

#[tokio::test]
async fn a_dialled_leader_that_is_silent_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    let mut follower = Node::start().await;
    follower.peers.dial(ConnId::Dialled(1), at("store-0", &address), hello());
    assert!(matches!(follower.next().await, Input::Closed { conn: ConnId::Dialled(1) }));
    tokio::time::timeout(LONG, silent).await.expect("its socket was kept").unwrap();
}

#[tokio::test]
async fn an_invitation_is_answered_and_the_answer_comes_back() {
    let (mut leader, mut follower) = (Node::start().await, Node::start().await);
    let address = follower.address.clone();
    leader.peers.invite(at("store-1", &address), claim(7));
    let Input::Invited { request, claim: invited } = follower.next().await else { panic!("no invitation") };
    assert_eq!(invited, claim(7));
    let said = InviteAnswer {
        name: Some("store-1".into()),
        cluster_id: None,
        replica: ReplicaId(uuid(1)),
        promise: claim(7).promise(),
        went_back: false,
    };
    follower.peers.answer_invite(request, said.clone());
    match leader.next().await {
        Input::InviteAnswered { name, answer } => assert_eq!((name.as_str(), answer), ("store-1", said)),
        other => panic!("{other:?}"),
    }
    // A newer claim replaces a hanging one; the same one is not sent twice.
    leader.peers.invite(at("store-1", &address), claim(8));
    leader.peers.invite(at("store-1", &address), claim(8));
    let Input::Invited { claim: first, .. } = follower.next().await else { panic!("no invitation") };
    leader.peers.invite(at("store-1", &address), claim(9));
    let Input::Invited { claim: second, request } = follower.next().await else { panic!("no invitation") };
    assert_eq!((first.term, second.term), (Term(8), Term(9)));
    let said = InviteAnswer {
        name: Some("store-1".into()),
        cluster_id: None,
        replica: ReplicaId(uuid(1)),
        promise: claim(9).promise(),
        went_back: false,
    };
    follower.peers.answer_invite(request, said.clone());
    assert!(matches!(leader.next().await, Input::InviteAnswered { answer, .. } if answer == said));
}

#[tokio::test]
async fn the_state_is_answered_without_the_driver() {
    let (mut asker, asked) = (Node::start().await, Node::start().await);
    // Nobody receives events from `asked` here: the answer comes from what was published.
    asker.peers.ask_state(at("store-0", &asked.address));
    match asker.next().await {
        Input::StateAnswered { name, state } => assert_eq!((name.as_str(), state), ("store-0", peer_state())),
        other => panic!("{other:?}"),
    }
    asked.state.send_replace(None);
    assert!(matches!(
        request::state(&at("store-0", &asked.address), &asked.peers.config).await,
        Err(request::RequestError::Refused(http::StatusCode::SERVICE_UNAVAILABLE))
    ));
    assert!(matches!(
        request::invite(&at("store-0", &asked.address), &claim(1), &asked.peers.config).await,
        Err(request::RequestError::Refused(http::StatusCode::SERVICE_UNAVAILABLE))
    ));
}

#[tokio::test]
async fn a_replica_that_starts_takes_no_hello() {
    let (mut follower, mut leader) = (Node::start().await, Node::start().await);
    leader.state.send_replace(None);
    follower.peers.dial(ConnId::Dialled(1), at("store-0", &leader.address), hello());
    assert!(matches!(follower.next().await, Input::Closed { conn: ConnId::Dialled(1) }));
    assert!(leader.events.try_recv().is_err(), "nobody is there yet to hear it");
}

#[tokio::test]
async fn connections_that_say_nothing_are_bounded_and_make_room_again() {
    let (mut follower, mut leader) = (Node::start().await, Node::patient(PeerTrust::default(), 6 * LONG).await);
    let mut strangers = Vec::new();
    for _ in 0..64 {
        strangers.push(dial_by_hand(&leader.address).await);
    }
    let stream = TcpStream::connect(&leader.address).await.unwrap();
    let address = &leader.address;
    match tokio_tungstenite::client_async(format!("ws://{address}{REPLICATE_PATH}"), stream).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
            assert_eq!(response.status(), http::StatusCode::SERVICE_UNAVAILABLE);
        }
        other => panic!("{:?}", other.map(|_| "a place")),
    }
    strangers.clear();
    // It is noticed some time later that they are gone; a follower dials again until then.
    let deadline = tokio::time::Instant::now() + LONG;
    for number in 1.. {
        follower.peers.dial(ConnId::Dialled(number), at("store-0", &leader.address), hello());
        tokio::select! {
            input = leader.next() => {
                assert!(matches!(input, Input::Hello { .. }), "{input:?}");
                break;
            }
            input = follower.next() => assert!(matches!(input, Input::Closed { .. }), "{input:?}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "there is no room again");
    }
}

#[tokio::test]
async fn a_claim_that_the_driver_does_not_answer_is_told_to_come_later() {
    let mut node = Node::start().await;
    let config = PeerConfig { lost_time: LONG, ..node.peers.config.clone() };
    let (to, asked) = (at("store-0", &node.address), claim(8));
    let (answer, ()) = tokio::join!(request::invite(&to, &asked, &config), async {
        // The driver ends, and with it what it would have answered by.
        let event = node.events.recv().await;
        assert!(matches!(event, Some(PeerEvent::Invited { .. })));
    });
    assert!(matches!(answer, Err(request::RequestError::Refused(http::StatusCode::SERVICE_UNAVAILABLE))), "{answer:?}");
}

#[tokio::test]
async fn a_claim_that_is_none_is_refused_and_counted() {
    let node = Node::start().await;
    for (n, body) in ["{}".to_owned(), "\0".to_owned(), "[".repeat(10_000)].into_iter().enumerate() {
        let mut stream = TcpStream::connect(&node.address).await.unwrap();
        let head = format!(
            "POST {CLAIM_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        node.is_rejected(n as u64 + 1).await;
    }
}

#[tokio::test]
async fn a_request_that_no_replica_makes_is_refused_and_counted() {
    let node = Node::start().await;
    let too_long = format!(
        "POST {CLAIM_PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n11000\r\n{}",
        " ".repeat(0x11000)
    );
    let never_ends = format!("POST {CLAIM_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{{");
    let requests = [
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "404"),
        (format!("GET {CLAIM_PATH} HTTP/1.1\r\nhost: x\r\n\r\n"), "404"),
        (format!("GET {REPLICATE_PATH} HTTP/1.1\r\nhost: x\r\n\r\n"), "404"),
        (too_long, "400"),
        (never_ends, "400"),
    ];
    for (n, (request, status)) in requests.into_iter().enumerate() {
        let mut stream = TcpStream::connect(&node.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        tokio::time::timeout(LONG, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"));
        node.is_rejected(n as u64 + 1).await;
    }
}

#[tokio::test]
async fn a_request_to_somebody_who_never_answers_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = PeerConfig::new(Duration::from_millis(50), |_| {});
    let asked = request::state(&at("store-0", &address), &config).await;
    assert!(matches!(asked, Err(request::RequestError::TimedOut(_))), "{asked:?}");
}

#[tokio::test]
async fn a_snapshot_goes_in_pieces_heartbeats_pass_it_and_appends_wait() {
    let (mut leader, down, mut follower, _) = connected().await;
    let bytes: Vec<u8> = (0..SNAPSHOT_PIECE_BYTES * 40 + 17).map(|n| (n % 251) as u8).collect();
    let position = Position::new(3, 99);
    let (source, crc32) = (bytes.clone(), crc32fast::hash(&bytes));
    let piece = move |offset: u64| {
        let rest = &source[offset as usize..];
        let bytes = Bytes::copy_from_slice(&rest[..rest.len().min(SNAPSHOT_PIECE_BYTES)]);
        let length_bytes = source.len() as u64;
        Ok((!bytes.is_empty()).then_some(SnapshotPiece { position, length_bytes, crc32, offset, bytes }))
    };
    let snapshot = SnapshotOut { piece: Arc::new(piece), term: TERM, incarnation: Incarnation(uuid(9)), from: 0 };
    assert!(leader.peers.send(down, ack(1)));
    assert!(leader.peers.send_snapshot(down, snapshot));
    assert!(leader.peers.send(down, append(99, 10)));
    assert!(leader.peers.send(down, heartbeat(1)));
    assert!(leader.peers.send(down, ack(2)));
    assert_eq!(follower.next_frame().await, ack(1));
    let (mut got, mut beaten, mut pieces) = (Vec::new(), None, 0);
    while got.len() < bytes.len() {
        match follower.next_frame().await.body {
            Body::Snapshot(piece) => {
                assert_eq!(
                    (piece.position, piece.offset, piece.length_bytes),
                    (position, got.len() as u64, bytes.len() as u64)
                );
                assert!(piece.bytes.len() <= SNAPSHOT_PIECE_BYTES);
                got.extend_from_slice(&piece.bytes);
                pieces += 1;
            }
            Body::Heartbeat { round: 1, .. } => beaten = Some(pieces),
            other => panic!("{other:?} among the pieces"),
        }
    }
    assert!(got == bytes);
    assert!(beaten.is_some_and(|after| after < pieces), "the heartbeat came behind the snapshot: {beaten:?}");
    assert_eq!(follower.next_frame().await, append(99, 10));
    assert_eq!(follower.next_frame().await, ack(2));
}

#[tokio::test]
async fn a_connection_that_takes_nothing_is_closed_when_its_queue_is_full() {
    let (mut leader, down, mut follower, up) = connected().await;
    // The follower's driver receives no events, so its connection reads no more, so the leader's queue fills.
    let mut sent = 0;
    while leader.peers.send(down, append(sent, 1024 * 1024)) {
        sent += 1;
        assert!(sent < 1000, "the queue has no end");
        tokio::task::yield_now().await;
    }
    assert!(!leader.peers.has(down));
    for seq in 0..EVENTS_MAX as u64 / 4 {
        assert_eq!(follower.next_frame().await, append(seq, 1024 * 1024));
    }
    loop {
        match follower.next().await {
            Input::Frame { .. } => {}
            Input::Closed { conn } => break assert_eq!(conn, up),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_end_waits_for_what_is_queued() {
    let (mut leader, down, mut follower, _) = connected().await;
    for seq in 0..200 {
        assert!(leader.peers.send(down, append(seq, 1000)));
    }
    let Node { .. } = &leader;
    let peers =
        std::mem::replace(&mut leader.peers, Peers::new(follower.peers.config.clone(), follower.peers.events.clone()));
    tokio::join!(peers.finish(LONG), async {
        for seq in 0..200 {
            assert_eq!(follower.next_frame().await, append(seq, 1000));
        }
    });
}
