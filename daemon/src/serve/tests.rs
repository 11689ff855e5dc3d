//! Whole connections, on real sockets.

use super::*;
use leasehold_testkit::http::send;
use leasehold_testkit::until;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use warp::Reply;

const LONG: Duration = Duration::from_secs(10);
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn hello() -> BoxedFilter<(Response,)> {
    warp::path("hello")
        .and(warp::ext::get::<Remote>())
        .map(|remote: Remote| format!("you are {}", remote.0.ip()).into_response())
        .boxed()
}

async fn ask(address: SocketAddr) -> String {
    send(address, "GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await
}

#[tokio::test]
async fn a_request_is_answered_and_knows_where_it_came_from() {
    let listener = bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(Server { stop: stop.clone(), ..Server::default() }.run_filter(listener, hello()));
    assert!(ask(address).await.ends_with("you are 127.0.0.1"));
    stop.cancel();
    timeout(LONG, server).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it still accepts");
}

#[tokio::test]
async fn a_guard_answers_some_requests_and_leaves_what_it_learns_of_the_others() {
    #[derive(Clone)]
    struct Learnt(String);
    let guard: Guard = Arc::new(|head| {
        assert!(head.extensions.get::<HandedOver>().is_none(), "it came by this port");
        if head.uri.path() == "/no" {
            return Some("refused".into_response());
        }
        let Remote(remote) = *head.extensions.get().unwrap();
        head.extensions.insert(Learnt(format!("{} from {}", head.method, remote.ip())));
        None
    });
    let listener = bind(ANY_PORT).unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let learnt = warp::ext::get::<Learnt>().map(|learnt: Learnt| learnt.0.into_response()).boxed();
    let gates = Gates { guard: Some(guard), ..Gates::default() };
    tokio::spawn(Server { gates, stop: stop.clone(), ..Server::default() }.run_filter(listener, learnt));
    let ask = async |path: &str| send(address, &format!("PUT {path} HTTP/1.0\r\n\r\n")).await;
    assert!(ask("/yes").await.ends_with("PUT from 127.0.0.1"));
    assert!(ask("/no").await.ends_with("refused"));
    stop.cancel();
}

#[tokio::test]
async fn the_unspecified_address_takes_ipv4_too() {
    let listener = bind("[::]:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    tokio::spawn(Server { stop: stop.clone(), ..Server::default() }.run_filter(listener, hello()));
    let answer = ask(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stop.cancel();
}

#[tokio::test]
async fn a_taken_port_is_said_plainly() {
    let first = bind(ANY_PORT).unwrap();
    let error = bind(first.local_addr().unwrap()).unwrap_err();
    assert!(matches!(error, BindError::Taken { .. }), "{error:?}");
    assert!(error.to_string().contains("is taken"));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever_for_a_request_that_hangs() {
    let listener = bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let (began, mut begun) = tokio::sync::mpsc::channel(1);
    let hang = warp::any()
        .then(move || {
            let began = began.clone();
            async move {
                began.send(()).await.unwrap();
                std::future::pending::<Response>().await
            }
        })
        .boxed();
    let stop = CancellationToken::new();
    let limits = Limits { stop_max: Duration::from_millis(50), ..Limits::default() };
    let server = tokio::spawn(Server { limits, stop: stop.clone(), ..Server::default() }.run_filter(listener, hang));
    let asked = tokio::spawn(ask(address));
    begun.recv().await.unwrap();
    stop.cancel();
    timeout(LONG, server).await.expect("the stop waited for the request").unwrap();
    assert_eq!(asked.await.unwrap(), "", "the connection was cut");
}

#[tokio::test]
async fn who_connected_just_before_the_end_is_answered_and_nobody_after_it() {
    let listener = bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    // Nobody accepts yet: the connection waits in the kernel's queue.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stop.cancel();
    let server = tokio::spawn(Server { stop, ..Server::default() }.run_filter(listener, hello()));
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    timeout(LONG, server).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it still accepts");
}

#[tokio::test]
async fn a_connection_that_speaks_no_http_is_told_and_closed() {
    let listener = bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let on_malformed: OnMalformed = Arc::new(move |remote, _| seen.lock().unwrap().push(remote));
    let stop = CancellationToken::new();
    tokio::spawn(
        Server { on_malformed: Some(on_malformed), stop: stop.clone(), ..Server::default() }
            .run_filter(listener, hello()),
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x02\x00 this is no http\r\n\r\n\0\0\0").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("it was not closed");
    until("somebody is told", || !told.lock().unwrap().is_empty()).await;
    assert_eq!(told.lock().unwrap()[0], stream.local_addr().unwrap());
    stop.cancel();
}

#[tokio::test]
async fn a_target_without_a_path_is_answered_as_the_root() {
    let listener = bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let routes = path().map(|path: String| format!("at {path}").into_response()).boxed();
    tokio::spawn(Server { stop: stop.clone(), ..Server::default() }.run_filter(listener, routes));
    for (line, path) in [("CONNECT db:80", "/"), ("GET persons", "/"), ("GET /", "/"), ("GET /a/b?c", "/a/b")] {
        let answer = send(address, &format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        // The answer to a CONNECT has no body.
        let said = line.starts_with("CONNECT") || answer.ends_with(&format!("at {path}"));
        assert!(answer.starts_with("HTTP/1.1 200") && said, "{line}: {answer}");
    }
    stop.cancel();
}

mod clients;
