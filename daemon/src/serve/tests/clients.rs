//! Clients that are silent, slow, or many.

use super::*;
use bytes::Bytes;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;

const SOON: Duration = Duration::from_millis(200);
/// What no test waits for.
const NEVER: Duration = Duration::from_secs(3600);

/// A server whose limits are over soon, one at a time.
fn limits() -> Limits {
    Limits { header_max: NEVER, idle_max: NEVER, stall_max: NEVER, ..Limits::default() }
}

struct Serving {
    address: SocketAddr,
    counts: Arc<Counts>,
    farewell: Farewell,
    _stop: tokio_util::sync::DropGuard,
}

fn server(limits: Limits) -> Serving {
    server_behind(Gates::default(), limits)
}

fn server_behind(gates: Gates, limits: Limits) -> Serving {
    let listener = bind(ANY_PORT).unwrap();
    let (address, counts) = (listener.local_addr().unwrap(), Arc::clone(&limits.counts));
    let (farewell, stop) = (Farewell::default(), CancellationToken::new());
    let endless = warp::path("endless").map(|| {
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        warp::reply::stream(stream::repeat_with(move || Ok::<_, Infallible>(piece.clone()))).into_response()
    });
    let hangs = warp::path("hangs").then(std::future::pending::<Response>);
    let service = TowerToHyperService::new(warp::service(hello().or(endless).unify().or(hangs).unify().boxed()));
    let server = Server { gates, limits, leaving: farewell.leaving(), stop: stop.clone(), on_malformed: None };
    tokio::spawn(server.run(listener, service));
    Serving { address, counts, farewell, _stop: stop.drop_guard() }
}

/// All that still comes, until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("it stays open");
    String::from_utf8_lossy(&rest).into_owned()
}

async fn http2(address: SocketAddr) -> (http2::SendRequest<String>, tokio::task::JoinHandle<hyper::Result<()>>) {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(65_535);
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    (sender, tokio::spawn(connection))
}

async fn whole(mut body: Incoming) -> String {
    let mut whole = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|cx| hyper::body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)).await
    {
        whole.extend(frame.unwrap().into_data().unwrap());
    }
    String::from_utf8(whole).unwrap()
}

fn get(path: &str) -> hyper::Request<String> {
    hyper::Request::get(format!("http://x{path}")).body(String::new()).unwrap()
}

#[tokio::test]
async fn who_says_nothing_or_half_a_head_is_closed() {
    let server = server(Limits { header_max: SOON, ..limits() });
    for (turn, words) in
        ["", "G", "GET /hello HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"].iter().enumerate()
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        rest(&mut stream).await;
        until("it is counted", || server.counts.closed(Closed::Silent) == turn as u64 + 1).await;
    }
    until("no place is kept", || server.counts.open() == 0).await;
}

#[tokio::test]
async fn the_head_of_a_later_request_has_no_longer_either() {
    let server = server(Limits { header_max: SOON, ..limits() });
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    stream.write_all(b"GET /hel").await.unwrap();
    rest(&mut stream).await;
    assert_eq!(server.counts.closed(Closed::Silent), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_request_under_way_is_not() {
    // Shorter than the time for a head, so that it is this one that is over.
    let server = server(Limits { idle_max: SOON, ..limits() });
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(b"GET /hangs HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(rest(&mut idle).await.ends_with("you are 127.0.0.1"));
    let (mut sender, connection) = http2(server.address).await;
    assert_eq!(sender.send_request(get("/hello")).await.unwrap().status(), 200);
    timeout(LONG, connection).await.expect("an idle HTTP/2 connection is kept").unwrap().unwrap();
    assert_eq!(server.counts.closed(Closed::Idle), 2);
    until("the busy one alone is open", || server.counts.open() == 1).await;
    assert!(timeout(SOON, busy.read_u8()).await.is_err(), "the busy one was closed");
}

#[tokio::test]
async fn a_response_that_nobody_reads_is_cut() {
    let server = server(Limits { stall_max: SOON, ..limits() });
    let mut reads_on = TcpStream::connect(server.address).await.unwrap();
    reads_on.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut stalled = TcpStream::connect(server.address).await.unwrap();
    stalled.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let deadline = Instant::now() + LONG;
    let mut piece = vec![0; 1 << 20];
    while server.counts.closed(Closed::Stalled) == 0 {
        assert!(Instant::now() < deadline, "it is kept");
        assert!(reads_on.read(&mut piece).await.unwrap() > 0, "who reads was cut");
    }
    let read = timeout(LONG, stalled.read_to_end(&mut Vec::new())).await.expect("the kernel kept the rest for it");
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(reads_on.read(&mut piece).await.unwrap() > 0);
    assert_eq!(server.counts.closed(Closed::Stalled), 1);
}

#[tokio::test]
async fn a_stream_of_http2_that_nobody_reads_is_reset_and_the_others_go_on() {
    let server = server(Limits { stall_max: SOON, ..limits() });
    let (mut sender, _connection) = http2(server.address).await;
    // Its window is full, and the connection's is not: that of one stream is not opened again.
    let mut stalled = sender.send_request(get("/endless")).await.unwrap();
    assert_eq!(sender.send_request(get("/hello")).await.unwrap().status(), 200);
    until("it is cut", || server.counts.closed(Closed::Stalled) == 1).await;
    assert_eq!(sender.send_request(get("/hello")).await.unwrap().status(), 200, "the connection was cut");
    let read_on = async {
        while let Some(frame) =
            std::future::poll_fn(|cx| hyper::body::Body::poll_frame(std::pin::Pin::new(stalled.body_mut()), cx)).await
        {
            if let Err(error) = frame {
                return Some(error);
            }
        }
        None
    };
    let error = timeout(LONG, read_on).await.unwrap().expect("the body ended as if it were whole");
    assert!(!error.is_timeout(), "{error}");
}

/// It has left HTTP, and its place; a socket that is open it is until one end closes it.
#[tokio::test]
async fn a_connection_that_was_upgraded_is_counted_until_it_ends() {
    let upgrade = warp::ext::get::<hyper::upgrade::OnUpgrade>().map(|upgrade: hyper::upgrade::OnUpgrade| {
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let mut response = Response::default();
        *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
        response
    });
    let listener = bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { connections_max: 1, ..limits() };
    let (counts, stop) = (Arc::clone(&limits.counts), CancellationToken::new());
    tokio::spawn(Server { limits, stop: stop.clone(), ..Server::default() }.run_filter(listener, upgrade.boxed()));
    let mut upgraded = Vec::new();
    for number in 1..=3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await.unwrap();
        let mut head = vec![0; 512];
        let length = timeout(LONG, stream.read(&mut head)).await.expect("it takes a place").unwrap();
        assert!(head[..length].starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head[..length]));
        stream.write_all(b"?").await.unwrap();
        assert_eq!(timeout(LONG, stream.read_u8()).await.unwrap().unwrap(), b'?');
        upgraded.push(stream);
        // Its place is free again; the next one gets it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(counts.open(), number);
    }
    upgraded.pop();
    until("one that ended is counted", || counts.open() == 2).await;
    drop(upgraded);
    until("those that ended are counted", || counts.open() == 0).await;
    stop.cancel();
}

#[tokio::test]
async fn silent_connections_make_room_for_one_that_asks() {
    let server = server(Limits { connections_max: 8, ..limits() });
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    for _ in 0..3 {
        let answer = timeout(LONG, ask(server.address)).await.expect("no place was made");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(server.counts.closed(Closed::Room) >= 32, "{:?}", server.counts);
    assert!(server.counts.open() <= 8);
}

#[tokio::test]
async fn a_door_that_nobody_passes_is_no_place_to_stay() {
    let door: Door = Arc::new(|stream, _| {
        Box::pin(async move {
            let _kept = stream;
            std::future::pending::<Option<BoxedStream>>().await
        })
    });
    let gates = Gates { door: Some(door), ..Gates::default() };
    let server = server_behind(gates, Limits { header_max: SOON, ..limits() });
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    until("it is counted", || server.counts.closed(Closed::Silent) == 1).await;
}

#[tokio::test]
async fn a_farewell_ends_http2_connections_when_their_streams_have_ended_and_no_later_ones() {
    let server = server(limits());
    let (mut sender, connection) = http2(server.address).await;
    assert_eq!(sender.send_request(get("/hello")).await.unwrap().status(), 200);
    server.farewell.say();
    timeout(LONG, connection).await.expect("no GOAWAY").unwrap().unwrap();
    let (mut sender, connection) = http2(server.address).await;
    assert_eq!(sender.send_request(get("/hello")).await.unwrap().status(), 200);
    assert!(!connection.is_finished());
    server.farewell.say();
    timeout(LONG, connection).await.expect("no second GOAWAY").unwrap().unwrap();
}

#[tokio::test]
async fn what_is_not_fit_to_be_served_is_answered_in_the_servers_words() {
    let refuse: Refuse = |unfit| ("text/words", format!("{unfit:?}!"));
    let stamp: Stamp = Arc::new(|head| {
        let stamp = [("x-head", if head.is_some() { "read" } else { "unread" }), ("vary", "Origin")];
        stamp.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).into_iter().collect()
    });
    let server = server_behind(Gates { refuse: Some(refuse), stamp: Some(stamp), ..Gates::default() }, limits());
    let long = "x".repeat(70_000);
    let many = (0..200).map(|n| format!("x{n}: 1\r\n")).collect::<String>();
    for (request, status, words) in [
        ("GET /hel lo HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400, "Malformed!"),
        ("GET /hello HTTP/1.1\r\nhost: x\r\nno field\r\n\r\n".to_owned(), 400, "Malformed!"),
        (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), 414, "UriTooLong!"),
        (format!("GET /hello HTTP/1.1\r\nhost: x\r\n{many}\r\n"), 431, "HeadTooLarge!"),
        ("GET /hello HTTP/1.1\r\n\r\n".to_owned(), 400, "Host!"),
        ("GET /hello HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n".to_owned(), 400, "Host!"),
        ("GET /hello HTTP/1.0\r\n\r\n".to_owned(), 200, "you are 127.0.0.1"),
    ] {
        // Also behind a request that was fit.
        for before in ["", "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let mut answers = String::new();
            if !before.is_empty() {
                stream.write_all(before.as_bytes()).await.unwrap();
                let mut first = vec![0; 512];
                let length = timeout(LONG, stream.read(&mut first)).await.unwrap().unwrap();
                answers = String::from_utf8_lossy(&first[..length]).into_owned();
                assert!(answers.starts_with("HTTP/1.1 200"), "{answers}");
                answers.clear();
            }
            stream.write_all(request.as_bytes()).await.unwrap();
            answers.push_str(&rest(&mut stream).await);
            let start = &request[..request.len().min(60)];
            assert!(answers.contains(&format!(" {status} ")) && answers.ends_with(words), "{start:?}: {answers}");
            assert!(status == 200 || answers.contains("content-type: text/words"), "{start:?}: {answers}");
            let head = if matches!(words, "Malformed!" | "UriTooLong!" | "HeadTooLarge!") { "unread" } else { "read" };
            let is_stamped = answers.contains(&format!("x-head: {head}\r\n")) && answers.contains("vary: Origin\r\n");
            assert!(is_stamped, "{start:?}: {answers}");
        }
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_in_the_servers_words_over_http2_as_well() {
    let refuse: Refuse = |unfit| ("text/words", format!("{unfit:?}!"));
    let stamp: Stamp = Arc::new(|head| {
        let origin = head.and_then(|head| head.get("origin")).cloned();
        origin.map(|origin| ("x-origin".parse().unwrap(), origin)).into_iter().collect()
    });
    let server = server_behind(Gates { refuse: Some(refuse), stamp: Some(stamp), ..Gates::default() }, limits());
    let (mut sender, _connection) = http2(server.address).await;
    let long = |method: &str, path_bytes: usize, field_bytes: usize| {
        hyper::Request::builder()
            .method(method)
            .uri(format!("http://x/hello?{}", "p".repeat(path_bytes)))
            .header("origin", "https://app.example")
            .header("x-long", "x".repeat(field_bytes))
            .body("a body".to_owned())
            .unwrap()
    };
    for (method, path_bytes, field_bytes, is_fit) in [
        ("POST", 0, 16_000, true),
        ("POST", 16_000, 0, true),
        ("POST", 0, 17_000, false),
        ("POST", 17_000, 0, false),
        ("POST", 9_000, 9_000, false),
        ("HEAD", 0, 17_000, false),
        ("POST", 0, 60_000, false),
        ("POST", 0, 0, true),
    ] {
        let what = format!("{method} {path_bytes} {field_bytes}");
        let sent = sender.send_request(long(method, path_bytes, field_bytes));
        let answer = timeout(LONG, sent).await.unwrap().expect(&what);
        assert_eq!(answer.status(), if is_fit { 200 } else { 431 }, "{what}");
        assert_eq!(answer.headers()["x-origin"], "https://app.example", "{what}");
        if !is_fit {
            assert_eq!(answer.headers()["content-type"], "text/words", "{what}");
            let body = timeout(LONG, whole(answer.into_body())).await.unwrap();
            assert_eq!(body, if method == "HEAD" { "" } else { "HeadTooLarge!" }, "{what}");
        }
    }
    // What is beyond all bounds is refused by h2 itself, without a body, or with the connection.
    let beyond = timeout(LONG, sender.send_request(long("POST", 0, 70_000))).await.unwrap();
    assert_eq!(beyond.unwrap().status(), 431);
    let beyond = timeout(LONG, sender.send_request(long("POST", 0, 1_000_000))).await.unwrap();
    assert!(beyond.is_err_and(|error| !error.is_timeout()));
}

/// Without words of its own nothing is larger than hyper has it.
#[tokio::test]
async fn a_server_without_words_takes_no_larger_heads_over_http2() {
    let server = server(limits());
    let (mut sender, _connection) = http2(server.address).await;
    for (bytes, status) in [(15_000, 200), (17_000, 431)] {
        let mut request = get("/hello");
        request.headers_mut().insert("x-long", "x".repeat(bytes).parse().unwrap());
        assert_eq!(sender.send_request(request).await.unwrap().status(), status, "{bytes}");
    }
}

#[tokio::test]
async fn a_head_over_http2_is_answered_with_a_head_alone() {
    let server = server(limits());
    let (mut sender, _connection) = http2(server.address).await;
    for (path, length) in [("/hello", Some("17")), ("/endless", None)] {
        let request = hyper::Request::head(format!("http://x{path}")).body(String::new()).unwrap();
        let answer = timeout(LONG, sender.send_request(request)).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        let said = answer.headers().get("content-length").map(|length| length.to_str().unwrap());
        assert_eq!(said, length, "{path}: what a GET would say");
        assert!(hyper::body::Body::is_end_stream(answer.body()), "{path}: a body comes");
    }
}

/// It passes no door of this port, and uses one of its places; its idle time and its end are those of any other.
#[tokio::test]
async fn a_connection_that_another_port_hands_over_is_served_like_those_of_this_one() {
    let listener = bind(ANY_PORT).unwrap();
    let shut: Door = Arc::new(|_, _| Box::pin(async { None }));
    let guard: Guard = Arc::new(|head| {
        let is_handed = head.extensions.get::<HandedOver>().is_some();
        (!is_handed).then(|| "nobody vouches for it".into_response())
    });
    let gates = Gates { door: Some(shut), guard: Some(guard), ..Gates::default() };
    let limits = Limits { idle_max: SOON, ..limits() };
    let counts = Arc::clone(&limits.counts);
    let (entrance, handing) = Entrance::with_handing(listener);
    let service = TowerToHyperService::new(warp::service(hello()));
    let stop = CancellationToken::new();
    let server = Server { gates, limits, stop: stop.clone(), ..Default::default() };
    let server = tokio::spawn(server.run(entrance, service));
    let hand_over = || {
        let (ours, theirs) = tokio::io::duplex(4096);
        handing.place().expect("there is room").hand_over(Box::new(theirs), "10.1.2.3:4".parse().unwrap());
        ours
    };
    let mut first = hand_over();
    first.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(LONG, first.read_to_string(&mut answer)).await.expect("it stays idle").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("you are 10.1.2.3"), "{answer}");
    until("its place is free again", || counts.open() == 0).await;
    let mut silent = hand_over();
    until("it has a place", || counts.open() == 1).await;
    stop.cancel();
    timeout(LONG, silent.read_to_string(&mut answer)).await.expect("it outlives the server").unwrap();
    timeout(LONG, server).await.unwrap().unwrap();
    assert!(handing.place().is_none(), "nobody would serve it");
}

/// Sends all of it before it looks for an answer, as most clients do.
async fn post(stream: &mut TcpStream, path: &str, length: usize) -> std::io::Result<()> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&vec![b'x'; length]).await
}

/// `/no` by the guard, `/hello` by a service that reads no body.
fn server_that_reads_no_body(limits: Limits) -> Serving {
    let guard: Guard = Arc::new(|head| (head.uri.path() == "/no").then(|| "refused".into_response()));
    server_behind(Gates { guard: Some(guard), ..Gates::default() }, limits)
}

#[tokio::test]
async fn who_sends_a_long_body_that_nobody_reads_gets_the_answer() {
    let server = server_that_reads_no_body(limits());
    for (path, words) in [("/no", "refused"), ("/hello", "you are 127.0.0.1")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        timeout(LONG, post(&mut stream, path, 16 << 20)).await.unwrap().expect("the connection was reset");
        let answer = rest(&mut stream).await;
        assert!(answer.contains("connection: close\r\n") && answer.ends_with(words), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_short_body_that_nobody_reads_costs_no_connection() {
    let server = server_that_reads_no_body(limits());
    for (path, words) in [("/no", "refused"), ("/hello", "you are 127.0.0.1")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        for length in [1, 20_000, 200_000] {
            timeout(LONG, post(&mut stream, path, length)).await.unwrap().unwrap();
            let mut answer = String::new();
            while !answer.ends_with(words) {
                let mut piece = [0; 512];
                let length = timeout(LONG, stream.read(&mut piece)).await.unwrap().unwrap();
                assert!(length > 0, "{path}: closed after {answer}");
                answer.push_str(&String::from_utf8_lossy(&piece[..length]));
            }
            assert!(!answer.contains("connection: close"), "{path} {length}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_asked_for() {
    let server = server_that_reads_no_body(limits());
    for path in ["/no", "/hello"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close\r\n"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_never_ends_its_body_keeps_no_place() {
    let server = server_that_reads_no_body(Limits { linger_max: SOON, ..limits() });
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST /no HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.ends_with("refused"));
    until("its place is free", || server.counts.open() == 0).await;
    drop(stream);
}
