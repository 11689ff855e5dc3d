//! Whole requests, as text: paths, queries, conditions, bodies, one after the other on one replica.
//!
//! ```text
//!   METHOD TARGET       each request is answered; every error is a problem from the one list, with its status;
//!   name: value         what is refused was not given to the log; what was answered with 200 or 201 is there
//!
//!   body                and is a person by our own rules. `%%` in a line of its own: another request
//! ```
//!
//! All of them twice: in format 1, and in format 2, where there is a collection `orders`, too.

use crate::api::person::{self, Person};
use crate::api::problem::Code;
use crate::api::{Calls, Config, SEQUENCE};
use crate::handle::{Handle, HandleServer, Written, handle};
use crate::schema::Schema;
use crate::telemetry::Metrics;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use leasehold_documents::{Collection, Command, Define, DefinitionCondition, Documents, Form, IdKind, On, Work};
use leasehold_replication::{
    Claim, ClusterId, FormatStatus, Incarnation, Phase, Position, Promise, ReplicaId, Seq, Status, Term, Voters,
};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;
use warp::http::{Method, Request, StatusCode};
use warp::reply::Response;

const BODY_LIMIT_BYTES: usize = 2_000;
const REQUESTS_MAX: usize = 8;
/// Each kind of thing that a definition can say.
const ORDERS: &str = r#"{"id":"string","schema":{"type":"object","properties":{"n":{"type":"number"}}},"indexes":[{"fields":["/x",{"path":"/n","type":"number"}]},{"fields":["/u"],"unique":true}],"expires":"/t","maxRecords":3}"#;
const NIKLAS: &str = r#"[{"firstName":"Niklas","lastName":"Heidloff","id":"e0a08c5b-62d5-4b20-a024-e1c270d901c2"}]"#;

/// Requests in a row, on a leader with one person; in either format.
pub fn http(data: &[u8]) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    }
    RUNTIME.with(|runtime| {
        runtime.block_on(requests(data, 1));
        runtime.block_on(requests(data, 2));
    });
}

async fn requests(data: &[u8], format: u32) {
    let (handle, server) = handle("pod-0", Incarnation(Uuid::from_u128(7)));
    let mut leader = Leader { server, documents: Documents::new(), taken: 0 };
    for command in person::initial_data(NIKLAS.as_bytes()).unwrap() {
        leader.apply(&command);
    }
    if format > 1 {
        leader.raise();
    }
    let formats = FormatStatus { in_force: format, log: format, allowed: format, build: format, ..Default::default() };
    leader.server.set_status(ReplicaId(Uuid::from_u128(1)), Status { formats, ..status() });
    for text in split(data, b"\n%%\n").take(REQUESTS_MAX) {
        let Some(request) = parse(text) else { continue };
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let keyed = request.headers().contains_key("idempotency-key");
        let before = leader.taken;
        let response = answer(&handle, &mut leader, request).await;
        check(&leader, (&method, &path, keyed), before, response).await;
    }
    for (name, collection) in leader.documents.collections() {
        what_is_stored(name, collection);
    }
    assert_eq!(leader.documents.check_sum(), Ok(()));
}

/// Each record is as its collection wants it.
fn what_is_stored(name: &str, collection: &Collection) {
    let definition = collection.definition();
    // A schema may have come into force without a step of ours only where it changed nothing.
    let schema = definition.schema.as_deref().map(|schema| Schema::compile(schema).expect("it is in force"));
    for (_, record) in collection.after(0) {
        let text = record.as_str();
        assert!(collection.id_of(record).is_some(), "{name}: {text} has no id");
        if definition.form == Form::Persons {
            let person = Person::parse(text.as_bytes()).expect("what is stored is a person");
            assert_eq!(person.to_json(person.id.unwrap()), text, "stored in another form than ours");
        }
        if let Some(schema) = &schema {
            assert_eq!(schema.check(text), Ok(()), "{name}: {text}");
        }
    }
}

/// Both at once: the call, and the replica that commits what it is sent.
async fn answer(handle: &Handle, leader: &mut Leader, request: Request<Full<Bytes>>) -> Response {
    let config = Config {
        body_limit_bytes: BODY_LIMIT_BYTES,
        // Nobody is in the way here, so no write is tried for long.
        write_timeout: Duration::from_secs(60),
        read_timeout: Duration::from_millis(50),
        body_timeout: Duration::from_secs(60),
        ..Config::default()
    };
    let calls = Calls::new(handle.clone(), config, Metrics::new());
    let mut answered = std::pin::pin!(calls.respond(request));
    loop {
        tokio::select! {
            biased;
            answer = &mut answered => return answer,
            Some(write) = leader.server.writes.recv() => {
                leader.taken += 1;
                let written = leader.apply(&write.command);
                let _ = write.reply.send(Ok(written));
                leader.step();
            }
            Some(read) = leader.server.reads.recv() => {
                let _ = read.send(Ok(()));
            }
        }
    }
}

async fn check(leader: &Leader, (method, path, keyed): (&Method, &str, bool), before: usize, response: Response) {
    let status = response.status();
    let headers = response.headers().clone();
    // A slash behind the path changes nothing.
    let path = path.strip_suffix('/').unwrap_or(path);
    if headers.get("content-type").is_some_and(|kind| kind == "text/event-stream") {
        // A watch, which does not end by itself.
        assert_eq!(status, StatusCode::OK);
        let lower = path.to_ascii_lowercase();
        return assert!(lower.contains(":watch") || lower.contains("%3awatch") || path == "/api/watch", "{path}");
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let sequence = headers.get(SEQUENCE).expect("every answer carries the sequence").to_str().unwrap();
    assert!(sequence.parse::<u64>().unwrap() <= leader.documents.applied().seq.0);
    let at = format!("{method} {path}: {status} {}", String::from_utf8_lossy(&body));
    let persons = leader.documents.collection(person::COLLECTION);
    let has_persons = persons.is_none_or(|persons| persons.definition().form == Form::Persons);
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        return;
    }
    if status.is_success() {
        if *method == Method::POST && (path.ends_with(":batch") || path == "/api/transaction") {
            let answer: Value = serde_json::from_slice(&body).expect("it is answered with JSON");
            let results = answer["results"].as_array().expect("a result for each operation");
            let is_done = |one: &Value| one["status"].as_u64().is_some_and(|status| (200..300).contains(&status));
            assert!(results.iter().all(is_done), "{at}");
        } else if path == "/persons" && (*method == Method::GET || *method == Method::HEAD) {
            // A HEAD's body is left out only where it would go to the wire.
            assert!(serde_json::from_slice::<Vec<Value>>(&body).is_ok(), "{at}");
        } else if let Some(id) = path.strip_prefix("/orders/").filter(|_| !body.is_empty()) {
            let record: Value = serde_json::from_slice(&body).expect("what is answered is a record");
            let orders = leader.documents.collection("orders").expect("it was there");
            let id = record["id"].as_str().unwrap_or_else(|| panic!("{id} has no id: {at}"));
            let stored = orders.definition().id.parse(id).and_then(|id| orders.get(id));
            assert!(keyed || stored.map(|record| record.as_str().as_bytes()) == Some(&body[..]), "{at}");
        } else if path.starts_with("/persons") && has_persons && !body.is_empty() {
            let person = Person::parse(&body).expect("what is answered is a person");
            let persons = leader.documents.collection(person::COLLECTION).unwrap();
            let stored = persons.get(person.id.unwrap()).map(|record| record.as_str().as_bytes());
            // A key's first answer is repeated, whatever happened to the record since.
            assert!(keyed || stored == Some(&body[..]), "{at}");
        }
        return;
    }
    if status == StatusCode::NOT_MODIFIED {
        return assert!(body.is_empty(), "{at}");
    }
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{at}");
    // A condition, a conflict, a missing record, a key that was used are decided by the log; all else is refused before.
    // In format 2 so is what indexes and expiry need of a record, and under a key every refusal is kept.
    let is_decided = ["409", "404", "412", "422"].contains(&status.as_str())
        || leader.documents.format() > 1 && (keyed || ["400", "413"].contains(&status.as_str()));
    if !is_decided {
        assert_eq!(leader.taken, before, "refused, and given to the log: {at}");
    }
    assert_eq!(headers.get("content-type").unwrap(), "application/problem+json", "{at}");
    let problem: Value = serde_json::from_slice(&body).unwrap();
    let word = problem["type"].as_str().unwrap().strip_prefix("urn:leasehold:").unwrap();
    let code = Code::ALL.iter().find(|code| code.as_str() == word).expect("a code from the list");
    assert_eq!((code.status(), problem["status"].as_u64()), (status, Some(u64::from(status.as_u16()))), "{at}");
    assert!(!problem["detail"].as_str().unwrap().is_empty(), "{at}");
    assert!(body.len() < 16 * BODY_LIMIT_BYTES, "much was made of little: {} bytes", body.len());
}

fn parse(text: &[u8]) -> Option<Request<Full<Bytes>>> {
    let (head, body) = match text.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&text[..at], &text[at + 2..]),
        None => (text, &b""[..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::builder().method(words.next()?).uri(words.next()?);
    for line in lines.take(16) {
        let at = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..at], line[at + 1..].trim_ascii());
    }
    request.body(Full::new(Bytes::copy_from_slice(body))).ok()
}

fn split<'a>(data: &'a [u8], by: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let whole = rest?;
        match whole.windows(by.len()).position(|bytes| bytes == by) {
            Some(at) => {
                rest = Some(&whole[at + by.len()..]);
                Some(&whole[..at])
            }
            None => rest.take(),
        }
    })
}

/// Commits and applies all that it is sent.
struct Leader {
    server: HandleServer,
    documents: Documents,
    /// Writes that reached the log.
    taken: usize,
}

impl Leader {
    /// Format 2 is in force, and there are orders.
    fn raise(&mut self) {
        let position = Position::new(3, self.documents.applied().seq.0 + 1);
        let mut changes = Vec::new();
        self.documents.voters(position, 2, &mut changes);
        self.server.note(&self.documents, changes);
        self.server.set_documents(&self.documents);
        let condition = DefinitionCondition::None;
        let define = Define { collection: "orders", definition: ORDERS, condition, unless_expired_ms: None };
        self.apply(&Command::new(Work::Define(define)).encode(2));
        for record in [r#"{"id":"a","x":"1","n":2,"u":"k"}"#, r#"{"id":"b","x":"1","n":1.50,"t":99999999999}"#] {
            let id = if record.contains(r#""a""#) { "a" } else { "b" };
            let epoch = self.documents.collection("orders").and_then(Collection::epoch);
            let on = On { collection: "orders", epoch };
            let id = IdKind::Text.parse(id).unwrap();
            let action = leasehold_documents::Action::Put { record };
            let condition = leasehold_documents::Condition::None;
            self.apply(
                &Command::new(Work::One(on, leasehold_documents::Operation::new(id, action, condition))).encode(2),
            );
        }
    }

    /// What the steward does: a pending change gets on. Here it examines all records at once.
    fn step(&mut self) {
        let pending = self.documents.collections().find_map(|(name, collection)| {
            let pending = collection.pending()?;
            Some((name.to_owned(), collection.epoch(), pending.definition.schema.clone()))
        });
        let Some((name, epoch, schema)) = pending else { return };
        let on = On { collection: &name, epoch };
        let schema = schema.map(|schema| Schema::compile(&schema).expect("it was taken"));
        let collection = self.documents.collection(&name).unwrap();
        let wrong =
            collection.after(0).find(|(_, record)| schema.as_ref().is_some_and(|s| s.check(record.as_str()).is_err()));
        let command = match wrong {
            None => Command::new(Work::Advance { on, upto: u64::MAX }).encode(2),
            Some((_, record)) => {
                let id = collection.id_of(record).unwrap();
                let (tag, pointer, rule) = (record.tag(), "/x", "type");
                Command::new(Work::DoesNotFit { on, id: id.as_ref(), tag, pointer, rule }).encode(2)
            }
        };
        self.apply(&command);
    }

    fn apply(&mut self, command: &[u8]) -> Written {
        let position = Position::new(3, self.documents.applied().seq.0 + 1);
        let mut changes = Vec::new();
        let answer = self.documents.apply(position, command, &mut changes).unwrap();
        self.server.note(&self.documents, changes);
        self.server.set_documents(&self.documents);
        self.server.tell();
        Written { position, answer }
    }
}

fn status() -> Status {
    let incarnation = Incarnation(Uuid::from_u128(7));
    Status {
        formats: leasehold_replication::FormatStatus::default(),
        room: Default::default(),
        phase: Phase::Leading,
        open: true,
        cluster_id: Some(ClusterId(Uuid::from_u128(9))),
        bootstrapping: false,
        foreign_cluster_id: None,
        voter: true,
        eligible: true,
        stalled: false,
        promise: Promise { term: Term(3), incarnation },
        position: Position::new(3, 4),
        committed: Seq(4),
        following: Some(Claim {
            cluster_id: ClusterId(Uuid::from_u128(9)),
            term: Term(3),
            incarnation,
            name: "pod-0".to_owned(),
            peer_address: "10.0.0.1:8090".to_owned(),
            addresses: Vec::new(),
        }),
        leader_heard: true,
        campaign: None,
        rank: 0,
        need_term: None,
        hand_over: None,
        voters: Voters::none(),
        followers: Vec::new(),
        caught_up: true,
        cut_off: false,
        drained: false,
        waiting_for: Vec::new(),
        went_back: None,
        diverged: None,
        agreement: None,
        known: Vec::new(),
    }
}
