//! The stream, and notifications.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use leasehold_api::ApiServer;
use leasehold_testkit::{PATIENCE, until_seen_blocking};
use serde_json::Value;

use crate::pod::Pod;
use crate::target::Target;

/// What a watcher reads.
struct Events(BufReader<TcpStream>);

impl Events {
    fn of(pod: &Pod) -> Events {
        let mut stream = TcpStream::connect(pod.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /v1/watch HTTP/1.0\r\n\r\n").unwrap();
        let mut events = Events(BufReader::new(stream));
        let head: String = std::iter::from_fn(|| Some(events.line())).take_while(|line| line != "\r\n").collect();
        assert!(head.starts_with("HTTP/1.0 200") && head.contains("content-type: text/event-stream"), "{head}");
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended");
        line
    }

    fn next(&mut self) -> Value {
        loop {
            if let Some(data) = self.line().strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

#[test]
fn a_watcher_sees_each_leader_with_rising_terms_and_a_leader_its_renewals() {
    let api = ApiServer::start(0).unwrap();
    let a = Pod::start(&api, "a", &[]);
    let term = a.leads();
    let b = Pod::start(&api, "b", &[]);
    b.follows(&a);
    let (mut of_a, mut of_b) = (Events::of(&a), Events::of(&b));
    let now = of_b.next();
    assert_eq!((&now["role"], &now["self"], &now["term"]), (&"follower".into(), &"b".into(), &term.into()));
    assert_eq!((&now["leader"]["name"], &now["leader"]["address"]), (&"a".into(), &"a:80".into()));
    assert_eq!((&now["leads"], &now["validForMs"]), (&false.into(), &Value::Null));
    let first = of_a.next();
    let renewed = of_a.next();
    assert_eq!((&renewed["role"], &renewed["term"]), (&"leader".into(), &term.into()), "{renewed}");
    assert!(renewed["validUntilBoottimeNs"].as_u64() > first["validUntilBoottimeNs"].as_u64(), "{first} {renewed}");
    assert!(renewed["validUntilUnixMs"].is_u64() && renewed["validForMs"].is_u64() && renewed["leads"] == true);

    assert_eq!(a.ask("released", term).0, 200);
    let mut seen = vec![now];
    while seen.last().unwrap()["role"] != "leader" {
        seen.push(of_b.next());
    }
    let rises = |pair: &[Value]| {
        pair[0]["term"].as_u64() <= pair[1]["term"].as_u64()
            && pair[0]["generation"].as_u64() < pair[1]["generation"].as_u64()
    };
    assert!(seen.windows(2).all(rises), "{seen:#?}");
    // Of renewals by another pod a follower hears nothing: each event was news.
    let news = |event: &Value| [&event["role"], &event["term"], &event["leader"]].map(Value::to_string);
    assert!(seen.windows(2).all(|pair| news(&pair[0]) != news(&pair[1])), "{seen:#?}");
    let next = b.leads();
    let followed = std::iter::from_fn(|| Some(of_a.next())).find(|event| event["leader"]["name"] == "b").unwrap();
    assert_eq!((&followed["role"], &followed["term"]), (&"follower".into(), &next.into()));
}

fn metric(pod: &Pod, outcome: &str) -> u64 {
    let name = format!("leasehold_sidecar_notifications_total{{outcome=\"{outcome}\"}} ");
    let text = pod.get("/metrics").1;
    let line = text.as_str().unwrap().lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn a_target_that_fails_and_recovers_gets_the_newest_alone() {
    let api = ApiServer::start(0).unwrap();
    let a = Pod::start(&api, "a", &[]);
    let term = a.leads();
    let target = Target::start(500);
    let b = Pod::start(&api, "b", &["--notify", &target.url]);
    let has = |role: &str, term: u64| {
        let role = role.to_owned();
        move |asked: &Vec<(Value, u16)>| asked.iter().any(|(body, _)| body["role"] == role && body["term"] == term)
    };
    until_seen_blocking("it was tried", || target.asked(), has("follower", term));
    assert_eq!(a.ask("released", term).0, 200);
    let next = b.leads();
    until_seen_blocking("news is tried at once", || target.asked(), has("leader", next));
    target.answers(200);
    let asked = until_seen_blocking(
        "it is delivered",
        || target.asked(),
        |asked| asked.last().is_some_and(|(_, status)| *status == 200),
    );
    let delivered: Vec<_> = asked.iter().filter(|(_, status)| *status == 200).collect();
    assert_eq!(delivered.len(), 1, "{asked:#?}");
    assert_eq!((&delivered[0].0["role"], &delivered[0].0["term"]), (&"leader".into(), &next.into()));
    assert!(
        asked.windows(2).all(|pair| pair[0].0["generation"].as_u64() <= pair[1].0["generation"].as_u64()),
        "an older one came after a newer one: {asked:#?}"
    );
    until_seen_blocking("it counts", || metric(&b, "delivered"), |count| *count == 1);
    assert_eq!(metric(&b, "failed"), asked.len() as u64 - 1);
    assert!(metric(&b, "replaced") >= 1);
    let warned = b.log().iter().filter(|line| line.contains("cannot notify of the role")).count();
    assert_eq!(warned, 1, "{:#?}", b.log());

    // Renewals are no news: the next request is about the next leader.
    let mut of_b = Events::of(&b);
    for _ in 0..3 {
        assert_eq!(of_b.next()["role"], "leader");
    }
    assert_eq!(target.asked().len(), asked.len());
    assert_eq!(b.ask("released", next).0, 200);
    let third = a.leads();
    until_seen_blocking("the next is delivered", || target.asked(), has("follower", third));
}

/// A pod that ends says so.
#[test]
fn the_last_notice_is_sent_before_the_sidecar_ends() {
    let api = ApiServer::start(0).unwrap();
    let target = Target::start(200);
    let mut a = Pod::start(&api, "a", &["--notify", &target.url]);
    let term = a.leads();
    let is_leader = |asked: &Vec<(Value, u16)>| asked.last().is_some_and(|(body, _)| body["role"] == "leader");
    until_seen_blocking("it leads", || target.asked(), is_leader);
    assert_eq!(a.terminated(), Some(0));
    let asked = target.asked();
    let (last, _) = asked.last().unwrap();
    assert_ne!(last["role"], "leader", "{asked:#?}");
    assert_eq!((&last["leads"], &last["term"]), (&false.into(), &term.into()));
}
