//! The way of forwarded writes: who reaches the port for clients, and to whom nothing is sent.

use super::*;
use crate::peer::trust::tests::{Authority, KEY, Member};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use leasehold_daemon::serve::{Entrance, Gates, Server};
use warp::Filter;

const CLUSTER_ID: ClusterId = ClusterId(Uuid::from_u128(5));

/// A pod that accepts forwarded writes.
struct Taker {
    address: String,
    rejected: Arc<AtomicU64>,
    /// Requests that arrived at its port for clients.
    asked: Arc<AtomicU64>,
    _stop: tokio_util::sync::DropGuard,
    _folder: tempfile::TempDir,
}

fn counter() -> (Arc<AtomicU64>, Arc<AtomicU64>) {
    let counter = Arc::new(AtomicU64::new(0));
    (counter.clone(), counter)
}

fn taker(member: Member, cluster: ClusterId, address: &str) -> Taker {
    let (trust, folder) = member.trust();
    let ((rejected, counts), (asked, asks)) = (counter(), counter());
    let mut config = PeerConfig::new(LONG, move |_| {
        counts.fetch_add(1, Ordering::SeqCst);
    });
    config.trust = trust;
    let state = watch::channel(Some(PeerState { cluster_id: Some(cluster), ..peer_state() })).1;
    let (entrance, handing) = Entrance::with_handing(serve::bind("127.0.0.1:0".parse().unwrap()).unwrap());
    let stop = CancellationToken::new();
    let calls = warp::any().map(move || {
        asks.fetch_add(1, Ordering::SeqCst);
        warp::reply::Response::new("done".into())
    });
    let (service, limits) = (TowerToHyperService::new(warp::service(calls)), Limits::default());
    // Clients find this door shut.
    let shut: serve::Door = Arc::new(|_, _| Box::pin(async { None }));
    let gates = Gates { door: Some(shut), ..Gates::default() };
    tokio::spawn(Server { gates, limits, stop: stop.clone(), ..Server::default() }.run(entrance, service));
    let listener = Listener::new(config, mpsc::channel(1).0, state).handing_over_to(handing);
    let socket = serve::bind(address.parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let gates = Gates { door: Some(listener.door()), ..Gates::default() };
    tokio::spawn(Server { gates, stop: stop.clone(), ..Server::default() }.run_filter(socket, listener.routes()));
    Taker { address, rejected, asked, _stop: stop.drop_guard(), _folder: folder }
}

fn way(member: Member) -> (ForwardWay, tempfile::TempDir) {
    let (trust, folder) = member.trust();
    let mut config = PeerConfig::new(LONG, |_| {});
    config.trust = trust;
    (ForwardWay::new(config), folder)
}

async fn open(way: &ForwardWay, to: &Target) -> Result<crate::peer::trust::sniffed::BoxedStream, ForwardError> {
    tokio::time::timeout(LONG, way.open(to, CLUSTER_ID)).await.expect("no end of it")
}

/// Two requests by one connection.
async fn is_served(stream: crate::peer::trust::sniffed::BoxedStream) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = http::Request::post("/persons").header("host", "x").body(Full::new(Bytes::from("{}"))).unwrap();
        let answer = tokio::time::timeout(LONG, sender.send_request(request)).await.unwrap().unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "done");
    }
}

#[tokio::test]
async fn forwarded_writes_reach_the_port_for_clients_of_that_very_pod() {
    let authority = Authority::new();
    let ways: [&dyn Fn(&str) -> Member; 3] = [
        &|name| Member::new(name).key(KEY),
        &|name| Member::new(name).key(KEY).tls(&authority, &["127.0.0.1", "127.0.0.2"]),
        &|name| Member::new(name),
    ];
    for member in ways {
        let meant = taker(member("store-0"), CLUSTER_ID, "127.0.0.1:0");
        let port = meant.address.rsplit_once(':').unwrap().1;
        // Its newest address is another pod's by now.
        let other = taker(member("store-1"), CLUSTER_ID, &format!("127.0.0.2:{port}"));
        let (way, _folder) = way(member("store-2"));
        let to = Target { addresses: vec!["127.0.0.2".parse().unwrap()], ..at("store-0", &meant.address) };
        is_served(open(&way, &to).await.unwrap()).await;
        assert_eq!((meant.asked.load(Ordering::SeqCst), other.asked.load(Ordering::SeqCst)), (2, 0));
        let nowhere = open(&way, &at("store-0", &other.address)).await.map(drop).unwrap_err();
        assert!(matches!(nowhere, ForwardError::Untrusted(Rejection::Name, _)), "{nowhere:?}");
        assert_eq!(other.rejected.load(Ordering::SeqCst), 0, "addresses pass from pod to pod all the time");
    }
}

#[tokio::test]
async fn an_outsider_opens_no_way_and_gets_none() {
    let wrong = "somebody else's key, which is long too";
    let (keyed, bare) = (|name: &str| Member::new(name).key(KEY), |name: &str| Member::new(name));
    for (taker_is, asker_is) in [
        (keyed("store-0"), bare("store-1")),
        (keyed("store-0"), bare("store-1").key(wrong)),
        (bare("store-0"), keyed("store-1")),
        (bare("store-0").key(wrong), keyed("store-1")),
    ] {
        let taker = taker(taker_is, CLUSTER_ID, "127.0.0.1:0");
        let (way, _folder) = way(asker_is);
        let error = open(&way, &at("store-0", &taker.address)).await.map(drop).unwrap_err();
        assert!(matches!(error, ForwardError::Untrusted(reason, _) if reason != Rejection::Name), "{error:?}");
        assert_eq!((taker.rejected.load(Ordering::SeqCst), taker.asked.load(Ordering::SeqCst)), (1, 0));
    }
}

/// Two releases with one name, on one network, without a key or with the same one.
#[tokio::test]
async fn the_same_name_in_another_cluster_opens_no_way() {
    for member in [Member::new, |name: &str| Member::new(name).key(KEY)] {
        let stranger = taker(member("store-0"), ClusterId(uuid(57)), "127.0.0.1:0");
        let (way, _folder) = way(member("store-1"));
        let error = open(&way, &at("store-0", &stranger.address)).await.map(drop).unwrap_err();
        assert!(matches!(error, ForwardError::Untrusted(Rejection::Name, _)), "{error:?}");
        assert_eq!(stranger.asked.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn a_build_that_knows_no_such_way_says_so_as_that_pod() {
    let (trust, _a) = Member::new("store-0").key(KEY).trust();
    let node = Node::trusting(trust).await;
    let (way, _b) = way(Member::new("store-1").key(KEY));
    let error = open(&way, &at("store-0", &node.address)).await.map(drop).unwrap_err();
    assert!(matches!(error, ForwardError::PreviousBuild), "{error:?}");
}
