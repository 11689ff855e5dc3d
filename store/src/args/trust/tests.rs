//! Clients of the API: TLS and tokens.

use super::*;
use crate::peer::trust::tests::{Authority, LONG};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The clients' port as the program serves it, with certificates and tokens; a client that trusts the authority.
#[tokio::test]
async fn clients_need_tls_and_a_token_and_both_are_exchanged_without_a_restart() {
    use leasehold_daemon::serve::{Server, bind};
    use warp::{Filter, Reply};

    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), &["localhost"]);
    let directory = folder.path().join("tokens");
    std::fs::create_dir(&directory).unwrap();
    let tokens = |read: &str, write: &str| {
        std::fs::write(directory.join("read"), read).unwrap();
        std::fs::write(directory.join("write"), write).unwrap();
    };
    tokens("reads-0123456789", "writes-0123456789");
    let (api_tls, api_tokens) = (Some(folder.path().to_owned()), Some(directory.clone()));
    let args = TrustArgs { api_tls, api_tokens, ..TrustArgs::default() };
    let trust = args.open("db-0").unwrap();
    let (socket, stop) = (bind("127.0.0.1:0".parse().unwrap()).unwrap(), tokio_util::sync::CancellationToken::new());
    let address = socket.local_addr().unwrap();
    let calls = warp::any().map(|| "done".into_response()).boxed();
    tokio::spawn(
        Server { gates: trust.api_gates(), stop: stop.clone(), ..Server::default() }.run_filter(socket, calls),
    );

    let name = || ServerName::try_from("localhost").unwrap();
    let ask = async |method: &str, path: &str, token: &str| {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = trust.api_tls.as_ref().unwrap().get().connect(stream, name()).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    for (method, path, token, status) in [
        ("GET", "/persons", "reads-0123456789", 200),
        ("DELETE", "/persons/1", "writes-0123456789", 200),
        ("DELETE", "/persons/1", "reads-0123456789", 403),
        ("GET", "/persons", "nonsense", 401),
        ("GET", "/healthz", "nonsense", 200),
    ] {
        let answer = ask(method, path, token).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {answer}");
        assert_eq!(answer.contains("www-authenticate: Bearer"), status != 200, "{answer}");
        assert_eq!(answer.contains("urn:leasehold:"), status != 200, "{answer}");
    }

    // Another replica, which sends a request on, gets through; by a bare address only with the name given to it.
    use hyper_util::client::legacy::{Client, connect::HttpConnector};
    let mut route = trust.api_route();
    assert_eq!(route.scheme(), "https");
    for (name, gets_through) in [(Some(name()), true), (None, false)] {
        route.name = name;
        let client: Client<_, http_body_util::Full<bytes::Bytes>> =
            Client::builder(hyper_util::rt::TokioExecutor::new()).build(route.connector(HttpConnector::new()));
        let answer = client.get(format!("http://{address}/healthz").parse().unwrap()).await;
        assert_eq!(answer.is_ok(), gets_through, "{answer:?}");
        assert!(answer.is_ok_and(|answer| answer.status() == 200) == gets_through);
    }

    // Plain HTTP gets no answer.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LONG, plain.read_to_end(&mut answer)).await.expect("it was not closed");
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1 200"));

    // Another authority: an end that trusts only the old one does not get in; one that trusts the new one does.
    let old = trust.api_tls.as_ref().unwrap().get();
    Authority::new().issue(folder.path(), &["localhost"]);
    tokens("reads-9876543210", "writes-9876543210");
    trust.reloads().iter().for_each(|one| one.reload());
    let stream = TcpStream::connect(address).await.unwrap();
    assert!(old.connect(stream, name()).await.is_err(), "the old certificate is still shown");
    assert!(ask("GET", "/persons", "reads-9876543210").await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(ask("GET", "/persons", "reads-0123456789").await.unwrap().starts_with("HTTP/1.1 401"));
    stop.cancel();
}
