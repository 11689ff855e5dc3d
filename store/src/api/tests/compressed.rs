//! Long answers as clients that accept gzip get them, through all that stands around the calls.

use super::forwarding::{LONG, Leader, answer, around, request};
use super::*;
use crate::api::forward::FollowerWrites;
use flate2::read::GzDecoder;
use std::io::Read;

fn unpacked(response: &Response<Bytes>) -> Vec<u8> {
    assert_eq!(header(response, "content-encoding"), Some("gzip"));
    assert_eq!((header(response, "vary"), header(response, "content-length")), (Some("accept-encoding"), None));
    let mut unpacked = Vec::new();
    GzDecoder::new(response.body().as_ref()).read_to_end(&mut unpacked).unwrap();
    unpacked
}

/// A leader with enough records for a list of several pieces.
fn loaded() -> Api {
    let api = Api::leader();
    let persons: Vec<String> = (0..1_500)
        .map(|n| {
            format!(r#"{{"firstName":"First {n}","lastName":"{}","id":"{}"}}"#, "x".repeat(80), Uuid::from_u128(n))
        })
        .collect();
    api.load(&format!("[{}]", persons.join(",")));
    api
}

async fn get(api: &crate::api::forward::Forwarding, method: &str, path: &str, accept: &str) -> Response<Bytes> {
    let mut sent = request(method, path, "");
    sent.headers_mut().insert("accept-encoding", accept.parse().unwrap());
    answer(api, sent).await
}

#[tokio::test]
async fn long_answers_are_the_same_with_gzip_and_without() {
    let api = loaded();
    let around = around(&api, FollowerWrites::Reject, LONG);
    for path in ["/persons", "/persons?limit=200", "/openapi.json", "/docs"] {
        let plain = get(&around, "GET", path, "gzip;q=0").await;
        assert_eq!(
            (header(&plain, "content-encoding"), header(&plain, "vary")),
            (None, Some("accept-encoding")),
            "{path}"
        );
        let packed = get(&around, "GET", path, "br, gzip").await;
        assert!(unpacked(&packed) == plain.body().as_ref() && packed.body().len() < plain.body().len() / 2, "{path}");
        for name in ["content-type", "link", SEQUENCE] {
            assert_eq!(header(&packed, name), header(&plain, name), "{path}");
        }
        let mut head = get(&around, "HEAD", path, "gzip").await.headers().clone();
        let mut all = packed.headers().clone();
        for headers in [&mut head, &mut all] {
            headers.remove(STALENESS);
        }
        assert_eq!(head, all, "{path}");
    }
    assert!(unpacked(&get(&around, "GET", "/metrics", "gzip").await).ends_with(b"# EOF\n"));
}

#[tokio::test]
async fn one_record_keeps_its_strong_tag_and_a_watch_its_pace() {
    let api = loaded();
    let around = around(&api, FollowerWrites::Reject, LONG);
    let name = "ü".repeat(256);
    let long = format!(r#"{{"firstName":"{name}","lastName":"{name}"}}"#);
    let path = format!("/persons/{}", Uuid::from_u128(7));
    let put = answer(&around, request("PUT", &path, &long)).await;
    let read = get(&around, "GET", &path, "gzip").await;
    assert!(read.body().len() > 1024 && header(&read, "etag").unwrap().starts_with('"'));
    assert_eq!((header(&read, "etag"), header(&read, "content-encoding")), (header(&put, "etag"), None));
    let mut watch = request("GET", "/persons:watch", "");
    watch.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
    let watch = around.answer(watch).await;
    assert!(!watch.headers().contains_key("content-encoding") && !watch.headers().contains_key("vary"));
}

#[tokio::test]
async fn an_answer_of_the_leader_comes_plain_and_is_compressed_for_the_client() {
    let results = format!(r#"{{"results":[{}]}}"#, vec!["{}"; 1_000].join(","));
    // One that is refused first: its reason must be read.
    let leader = Leader::answers(vec![Leader::refuses(Code::Recovering), (200, results.clone())]);
    let api = Api::follower();
    api.is_led_at(leader.ports);
    let around = around(&api, FollowerWrites::Forward, LONG);
    let mut sent = request("POST", "/persons", JOHANNA);
    sent.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
    let packed = answer(&around, sent).await;
    assert_eq!(unpacked(&packed), results.as_bytes());
    let seen = leader.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|(_, headers, _)| !headers.contains_key("accept-encoding")), "{seen:?}");
}
