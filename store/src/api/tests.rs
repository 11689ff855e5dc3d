//! Every call and every bad input, against a made-up replica that applies what it is sent.

mod bad_input;
mod calls;
mod collections;
mod compressed;
mod definitions;
mod documented;
mod forwarding;
mod golden;
mod leading;
mod lists;
mod locked;
mod many;
mod orders;
mod reads;
mod snapshots;
mod transactions;
mod watches;
mod watching;

use super::calls::PATHS;
use super::problem::Code;
use super::*;
use crate::handle::Handle;
use crate::handle::{HandleServer, ReadReply, WriteError, WriteRequest, Written, handle};
use crate::telemetry::Metrics;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use leasehold_contract::testing::{leader, member, role_of};
use leasehold_contract::{Role, RoleFile};
use leasehold_documents::{Applied, Command, Define, Definition, DefinitionCondition, Documents, Id, Outcome, Work};
use leasehold_replication::{
    Claim, ClusterId, FormatStatus, Incarnation, Phase, Position, Promise, Refusal, ReplicaId, Seq, Status, Term,
    Voter, Voters,
};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;
use warp::http::{HeaderValue, Request, Response, StatusCode};

const JOHANNA: &str = r#"{"firstName": "Johanna","lastName": "Koester","id": "e956b5d0-fa0c-40e8-9da9-333c214dcaf7"}"#;
const JOHANNA_STORED: &str =
    r#"{"firstName":"Johanna","lastName":"Koester","id":"e956b5d0-fa0c-40e8-9da9-333c214dcaf7"}"#;
const JOHANNA_PATH: &str = "/persons/e956b5d0-fa0c-40e8-9da9-333c214dcaf7";
const SEED: &str = r#"[
  { "firstName": "Niklas", "lastName": "Heidloff",    "id": "e0a08c5b-62d5-4b20-a024-e1c270d901c2" },
  { "firstName": "Adam",   "lastName": "Deleeuw",     "id": "93115462-543c-4149-9b75-2b1a84bd326c" },
  { "firstName": "Thomas", "lastName": "Suedbroecker","id": "dd35e011-093b-4c63-9d54-040a5dc3d28f" },
  { "firstName": "Alain",  "lastName": "Airom",       "id": "918b0da0-afda-4cbf-a370-0347a6ede98e" }
]"#;

/// What the made-up replica does with a write.
#[derive(Clone, Copy, Debug)]
enum Serving {
    /// Commits and applies it.
    Applies,
    /// Answers this.
    Says(WriteError),
    /// Takes it and never answers.
    Hangs,
    /// Takes it and loses it.
    Drops,
}

/// The API of the pod `pod-0`, over a made-up replica.
struct Api {
    calls: Calls,
    handle: Handle,
    server: Arc<Mutex<HandleServerParts>>,
    task: tokio::task::JoinHandle<()>,
}

struct HandleServerParts {
    server: HandleServer,
    documents: Documents,
    serving: Serving,
    /// Writes that reached the replica.
    taken: usize,
    /// What strong reads are answered; none: nothing.
    confirms: Option<Result<(), Refusal>>,
    /// Strong reads that reached the replica.
    asked: usize,
    /// Commands of others that are applied just before the next write.
    meanwhile: Vec<Bytes>,
    /// The format is raised just before the next write.
    raises: bool,
    /// The outcome of each write, whatever it is; nothing is done.
    says: Option<Outcome>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Api {
    /// The leader, with the four persons.
    fn leader() -> Api {
        let api = Api::starting();
        api.load(SEED);
        api.set_status(status(Phase::Leading, "pod-0"));
        api
    }

    /// The same, where format 2 is in force.
    fn leader_of_collections() -> Api {
        let api = Api::leader();
        api.raise_to(2);
        api
    }

    /// Raises the format that is in force.
    fn raise_to(&self, format: u32) {
        self.lock().raise(format);
        let formats =
            FormatStatus { in_force: format, log: format, build: format, allowed: format, ..Default::default() };
        self.set_status(Status { formats, ..status(Phase::Leading, "pod-0") });
    }

    /// Defines a collection, or changes it.
    fn defined_as(&self, name: &str, definition: &str) {
        let answer = self.lock().apply(&defining(name, definition)).answer;
        assert!(answer.outcome.is_done(), "{answer:?}");
    }

    /// A follower of pod-1, with the four persons.
    fn follower() -> Api {
        let api = Api::starting();
        api.load(SEED);
        api.set_status(status(Phase::Follower, "pod-1"));
        api.serve(Serving::Says(WriteError::Refused(Refusal::NotLeader)));
        api.lock().server.set_role(role("pod-1"));
        api
    }

    /// A replica whose volume is not open.
    fn starting() -> Api {
        let (handle, mut server) = handle("pod-0", Incarnation(Uuid::from_u128(7)));
        let (_, nobody) = tokio::sync::mpsc::channel(1);
        let mut writes = std::mem::replace(&mut server.writes, nobody);
        let mut reads = std::mem::replace(&mut server.reads, tokio::sync::mpsc::channel(1).1);
        let (serving, confirms) = (Serving::Applies, Some(Ok(())));
        let (documents, meanwhile) = (Documents::new(), Vec::new());
        let (raises, says) = (false, None);
        let parts =
            HandleServerParts { server, documents, serving, taken: 0, confirms, asked: 0, meanwhile, raises, says };
        let parts = Arc::new(Mutex::new(parts));
        let served = parts.clone();
        let task = tokio::spawn(async move {
            let (mut kept, mut unanswered) = (Vec::new(), Vec::new());
            loop {
                tokio::select! {
                    Some(request) = writes.recv() => kept.extend(served.lock().unwrap().serve(request)),
                    Some(reply) = reads.recv() => unanswered.extend(served.lock().unwrap().confirm(reply)),
                    else => return,
                }
            }
        });
        let config = Config {
            body_limit_bytes: 2_000,
            write_timeout: Duration::from_millis(200),
            body_timeout: Duration::from_millis(200),
            read_timeout: Duration::from_millis(200),
            watchers_max: 2,
            watch_stall_max: Duration::from_millis(200),
            ..Config::default()
        };
        let calls = Calls::new(handle.clone(), config, Metrics::new());
        Api { calls, handle, server: parts, task }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HandleServerParts> {
        self.server.lock().unwrap()
    }

    fn load(&self, json: &str) {
        let mut parts = self.lock();
        for command in person::initial_data(json.as_bytes()).unwrap() {
            parts.apply(&command);
        }
    }

    fn set_status(&self, status: Status) {
        self.lock().server.set_status(ReplicaId(Uuid::from_u128(1)), status);
    }

    fn serve(&self, serving: Serving) {
        self.lock().serving = serving;
    }

    async fn send(&self, request: Asking) -> Response<Bytes> {
        let (head, body) = self.calls.respond(request.into_request()).await.into_parts();
        let response = Response::from_parts(head, body.collect().await.unwrap().to_bytes());
        assert!(response.headers().contains_key(SEQUENCE), "every answer carries the sequence: {response:?}");
        response
    }

    async fn get(&self, path: &str) -> Response<Bytes> {
        self.send(asking().path(path)).await
    }

    async fn json(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Response<Bytes> {
        let request = asking().method(method).path(path).header("content-type", "application/json");
        self.send(request.body(body)).await
    }

    async fn post(&self, body: impl AsRef<[u8]>) -> Response<Bytes> {
        self.json("POST", "/persons", body).await
    }

    async fn count(&self) -> usize {
        let list = self.get("/persons").await;
        value(&list).as_array().unwrap().len()
    }
}

/// A request, word by word.
struct Asking {
    head: warp::http::request::Builder,
    body: Bytes,
}

fn asking() -> Asking {
    Asking { head: Request::builder(), body: Bytes::new() }
}

impl Asking {
    fn method(self, method: &str) -> Asking {
        Asking { head: self.head.method(method), ..self }
    }

    fn path(self, path: &str) -> Asking {
        Asking { head: self.head.uri(path), ..self }
    }

    fn header(self, name: &str, value: impl AsRef<[u8]>) -> Asking {
        Asking { head: self.head.header(name, HeaderValue::from_bytes(value.as_ref()).unwrap()), ..self }
    }

    fn body(self, body: impl AsRef<[u8]>) -> Asking {
        Asking { body: Bytes::copy_from_slice(body.as_ref()), ..self }
    }

    fn into_request(self) -> Request<Full<Bytes>> {
        self.head.body(Full::new(self.body)).unwrap()
    }
}

/// The command that defines a collection.
fn defining(name: &str, definition: &str) -> Bytes {
    let definition = Definition::parse(definition).unwrap().to_json();
    let condition = DefinitionCondition::None;
    let define = Define { collection: name, definition: &definition, condition, unless_expired_ms: None };
    Command::new(Work::Define(define)).encode(2)
}

impl HandleServerParts {
    /// The entry that raises the format.
    fn raise(&mut self, format: u32) {
        let position = Position::new(3, self.documents.applied().seq.0 + 1);
        let mut changes = Vec::new();
        self.documents.voters(position, format, &mut changes);
        self.server.note(&self.documents, changes);
        self.server.set_documents(&self.documents);
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

    fn decide(&mut self, command: &[u8]) -> Written {
        let Some(outcome) = self.says.clone() else { return self.apply(command) };
        let position = self.documents.applied();
        let answer = Applied { seq: position.seq, outcome, id: Id::NONE, record: None, operations: Vec::new() };
        Written { position, answer }
    }

    /// A read that must get no answer is returned, to be kept.
    fn confirm(&mut self, reply: ReadReply) -> Option<ReadReply> {
        self.asked += 1;
        match self.confirms {
            Some(answer) => reply.send(answer).err().and(None),
            None => Some(reply),
        }
    }

    /// A request that must hang is returned, to be kept.
    fn serve(&mut self, request: WriteRequest) -> Option<WriteRequest> {
        self.taken += 1;
        let answer = match self.serving {
            Serving::Applies => {
                if std::mem::take(&mut self.raises) {
                    self.raise(2);
                }
                for command in std::mem::take(&mut self.meanwhile) {
                    self.apply(&command);
                }
                Ok(self.decide(&request.command))
            }
            Serving::Says(error) => Err(error),
            Serving::Hangs => return Some(request),
            Serving::Drops => return None,
        };
        let _ = request.reply.send(answer);
        None
    }
}

pub(crate) fn status(phase: Phase, leader: &str) -> Status {
    let incarnation = Incarnation(Uuid::from_u128(if leader == "pod-0" { 7 } else { 8 }));
    let voters = (0..3)
        .map(|ordinal| Voter {
            replica: ReplicaId(Uuid::from_u128(1 + ordinal)),
            name: format!("pod-{ordinal}"),
            peer_address: format!("10.0.0.{ordinal}:8090"),
        })
        .collect();
    Status {
        formats: leasehold_replication::FormatStatus::default(),
        room: Default::default(),
        phase,
        open: phase == Phase::Leading || (phase == Phase::Draining && leader == "pod-0"),
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
            name: leader.to_owned(),
            peer_address: "10.0.0.1:8090".to_owned(),
            addresses: Vec::new(),
        }),
        leader_heard: true,
        campaign: None,
        rank: 0,
        need_term: None,
        hand_over: None,
        voters: Voters { format: 1, floor: 2, voters },
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

fn role(leader_name: &str) -> RoleFile {
    let pod =
        |name: &str| member(name, &format!("{name}.database-service.database.svc.cluster.local:8089"), "10.0.0.1:8090");
    let incarnation = Uuid::from_u128(if leader_name == "pod-0" { 7 } else { 8 });
    RoleFile {
        role: if leader_name == "pod-0" { Role::Leader } else { Role::Follower },
        term: 3,
        cluster_id: Some(Uuid::from_u128(9)),
        leader: Some(leader(&pod(leader_name), Some(incarnation))),
        members: ["pod-0", "pod-1", "pod-2"].map(pod).to_vec(),
        ..role_of("pod-0")
    }
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

fn value(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

/// The problem of a response: it has the code, the code's status, and reads as RFC 9457 says.
#[track_caller]
fn problem(response: &Response<Bytes>, code: Code) -> Value {
    let body = value(response);
    assert_eq!(body["type"], format!("urn:leasehold:{}", code.as_str()), "{body}");
    assert_eq!(response.status(), code.status(), "{body}");
    assert_eq!(body["status"], code.status().as_u16());
    assert_eq!(body["title"], code.title());
    assert!(!body["detail"].as_str().unwrap().is_empty());
    assert_eq!(header(response, "content-type"), Some("application/problem+json"));
    let is_unavailable = code.status() == StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(header(response, "retry-after"), is_unavailable.then_some("1"));
    body
}
