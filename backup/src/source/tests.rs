//! Against a server that says what a store would say only in trouble.

use super::*;
use leasehold_archive::changes::Mark;
use leasehold_archive::time::Time;
use leasehold_replication::Sum;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

/// Answers one request after the other with these texts, and returns what was asked.
async fn serve(answers: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
            asked.push(String::from_utf8(head).unwrap());
        }
        asked
    });
    (url, asked)
}

fn refused(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn events(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{text}")
}

fn source(url: &str) -> Source {
    crate::crypto::install();
    Source::new(&[url.to_owned()], None, None).unwrap()
}

#[tokio::test]
async fn a_watch_says_bookmarks_and_whole_entries_and_why_it_ends() {
    let hash = "0000000000000000000000000000000a";
    let event = |seq: u64, more: &str| format!(r#"{{"sequence":{seq},"time":null,"hash":"{hash}",{more}}}"#);
    let cluster = Uuid::from_u128(9);
    let (definition, records) = (event(8, r#""definition":{"name":"a"}"#), event(8, r#""changes":[]"#));
    let text = format!(
        "retry: 1000\nid: 7\n: watching\n\nevent: bookmark\nid: 7\ndata: {{\"clusterId\":\"{cluster}\",\"sequence\":7,\
         \"time\":\"1970-01-01T00:00:07.000Z\",\"hash\":\"{hash}\",\"keysHash\":\"{hash}\"}}\n\ndata: {definition}\n\nid: 8\n\
         data: {records}\n\nevent: bookmark\ndata: {{\"clusterId\":\"{cluster}\",\"sequence\":8,\"time\":null,\"hash\":\"{hash}\",\"keysHash\":\"{hash}\",\"staleMs\":5,\"leads\":true}}\n\nevent: news\ndata: later\n\ndata: {definition}\n\nevent: end\ndata: {{\"reason\":\"gone\"}}\n\n"
    );
    let (url, asked) = serve(vec![events(&text)]).await;
    let source = source(&url);
    let pods = source.pods().await;
    let mut watch = source.watch(&pods[0], Some(ClusterId(cluster)), Some(Seq(7))).await.unwrap();
    let mark = |seq: u64, time: u64| Mark { seq: Seq(seq), time: Time::from_ms(time), hash: Sum(10) };
    let first = First {
        cluster_id: ClusterId(cluster),
        mark: mark(7, 7000),
        keys_hash: Some(Sum(10)),
        stale_ms: None,
        leads: false,
    };
    assert_eq!(watch.next().await.unwrap(), Heard::Bookmark(first));
    let entry = Heard::Entry { mark: mark(8, 0), lines: vec![definition, records] };
    assert_eq!(watch.next().await.unwrap(), entry);
    let leads = First { mark: mark(8, 0), stale_ms: Some(5), leads: true, ..first };
    assert_eq!(watch.next().await.unwrap(), Heard::Bookmark(leads));
    assert_eq!(watch.next().await.unwrap_err().ended, Ended::Gone, "half an entry is never said");
    let asked = asked.await.unwrap();
    assert!(asked[0].starts_with(&format!("GET /api/watch?cluster={cluster}&after=7 HTTP/1.1\r\n")), "{asked:?}");
}

#[tokio::test]
async fn what_arrives_at_once_is_heard_at_once_and_the_end_after_it() {
    let event = |seq: u64| {
        format!("id: {seq}\ndata: {{\"sequence\":{seq},\"time\":null,\"hash\":\"{:032x}\",\"changes\":[]}}\n\n", 10)
    };
    let text = format!("{}{}event: end\ndata: {{\"reason\":\"gone\"}}\n\n{}", event(8), event(9), event(10));
    let (url, _asked) = serve(vec![events(&text)]).await;
    let source = source(&url);
    let pods = source.pods().await;
    let mut watch = source.watch(&pods[0], None, None).await.unwrap();
    let mut heard = Vec::new();
    let ended = loop {
        match watch.next_all().await {
            Ok(all) => heard.extend(all),
            Err(failed) => break failed.ended,
        }
    };
    let sequences = heard.iter().map(|heard| match heard {
        Heard::Entry { mark, .. } => mark.seq.0,
        Heard::Bookmark(_) => 0,
    });
    assert_eq!((sequences.collect::<Vec<_>>(), ended), (vec![8, 9], Ended::Gone));
}

#[tokio::test]
async fn a_refusal_says_what_follows_from_it() {
    let other = Uuid::from_u128(5);
    let problem = |code: &str| format!(r#"{{"type":"urn:leasehold:{code}","detail":"words","clusterId":"{other}"}}"#);
    let cases = [
        (refused("409 Conflict", &problem("ahead")), Ended::Ahead),
        (refused("409 Conflict", &problem("other-cluster")), Ended::OtherCluster(ClusterId(other))),
        (refused("410 Gone", &problem("history-gone")), Ended::Gone),
        (refused("401 Unauthorized", ""), Ended::Denied),
        (refused("403 Forbidden", "<html>"), Ended::Denied),
        (refused("503 Service Unavailable", &problem("starting")), Ended::Broken),
        (refused("302 Found", ""), Ended::Broken),
        (events("data: {}\nid: 8\n\n"), Ended::Broken),
        (events("event: bookmark\ndata: {}\n\n"), Ended::Broken),
        (events(""), Ended::Broken),
        ("no HTTP at all".to_owned(), Ended::Broken),
    ];
    let (url, _asked) = serve(cases.iter().map(|(answer, _)| answer.clone()).collect()).await;
    let source = source(&url);
    let pods = source.pods().await;
    for (answer, expected) in cases {
        let found = match source.watch(&pods[0], None, None).await {
            Ok(mut watch) => watch.next().await.unwrap_err(),
            Err(failed) => failed,
        };
        assert_eq!(found.ended, expected, "{answer}: {}", found.what);
    }
}

#[tokio::test]
async fn the_token_is_read_anew_and_each_address_is_a_pod_once() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let (url, asked) = serve(vec![refused("503 x", ""), refused("503 x", "")]).await;
    crate::crypto::install();
    // A pod's own name and that of a Service lead to one address: it cannot vouch for itself.
    let by_name = url.replace("127.0.0.1", "localhost");
    let source = Source::new(&[url.clone(), by_name, url.clone()], Some(token.clone()), None).unwrap();
    let pods: Vec<Pod> = source.pods().await.into_iter().filter(|pod| !pod.contains("[::1]")).collect();
    assert_eq!(pods, [format!("{url} at {}", &url["http://".len()..]).into()]);
    let missing = source.watch(&pods[0], None, None).await.unwrap_err();
    assert_eq!(missing.ended, Ended::Denied);
    for text in ["one\n", "two"] {
        std::fs::write(&token, text).unwrap();
        let _ = source.watch(&pods[0], None, None).await;
    }
    let asked = asked.await.unwrap();
    assert!(asked[0].contains("authorization: Bearer one\r\n") && asked[1].contains("authorization: Bearer two\r\n"));
    assert!(Source::new(&["db:8089".to_owned()], None, None).is_err());
    assert!(Source::new(&["ftp://db".to_owned()], None, None).is_err());
}
