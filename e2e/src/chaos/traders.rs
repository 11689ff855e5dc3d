//! Clients of two collections beside `persons`, with all that collections can do.
//!
//! ```text
//!   parcels    a schema, an index, a unique number, a time of expiry; written one by one and together, while the definition changes
//!   accounts   money goes from one to another in transactions: together they always have the same
//! ```
//!
//! What they were told, the lists that they got, and all commits (`watcher`) are judged afterwards (`crate::history::collections`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::patience::until;
use super::random::Random;
use super::scene::Scene;
use super::watcher::Watcher;
use crate::{
    client::{Answer, NoAnswer},
    history::{Answered, Does, Expected, Look, MARK, Step},
};

pub(super) const PARCELS: &str = "parcels";
const ACCOUNTS: &str = "accounts";
const BOTH: &str = "parcels,accounts";
const SUM: i64 = 400;
const NAMES: [&str; 4] = ["ann", "bob", "cay", "dan"];
/// How many clients write.
pub(super) const TRADERS: u16 = 3;
/// Their numbers begin here.
const FIRST: u16 = 500;

/// Defines the collections, gives the accounts what they have, and begins to watch.
///
/// # Errors
/// No store answers.
pub(super) async fn open(scene: &Arc<Scene>) -> anyhow::Result<Watcher> {
    let (_, address) = *scene.stores().first().context("no store is known")?;
    let from = scene.http.get(address, "/persons?limit=1").await?.sequence().context("no sequence")?;
    let watcher = Watcher::start(scene, BOTH, from);
    scene.recorder.note(|noted| noted.sums.push((ACCOUNTS.to_owned(), "balance".to_owned(), SUM)));
    let mut trader = Trader::new(scene, 0, 0);
    for (name, definition) in [(PARCELS, parcels(true, true, 100)), (ACCOUNTS, json!({"id": "string"}))] {
        until(&format!("{name} is defined"), async || {
            let status = trader.define(name, &definition).await?;
            anyhow::ensure!(matches!(status, 200 | 201), "{status}");
            Ok(())
        })
        .await?;
    }
    until("the accounts are there", async || {
        let found = trader.list(ACCOUNTS, "consistency=strong", None, None, true).await.context("no list")?;
        if found == NAMES.len() {
            return Ok(());
        }
        let steps = NAMES.map(|name| {
            let record = json!({"id": name, MARK: trader.mark(), "balance": SUM / NAMES.len() as i64});
            Step { collection: ACCOUNTS.into(), id: name.into(), only_if: Expected::Absent, does: Does::Put(record) }
        });
        trader.transact(steps.map(|step| (step, None)).to_vec()).await;
        anyhow::bail!("{found} of them are there")
    })
    .await?;
    Ok(watcher)
}

/// `parcels`: with an index, with a unique number, and with numbers up to that many (0: no schema).
fn parcels(has_index: bool, is_unique: bool, most: u64) -> Value {
    let mut indexes = Vec::new();
    if has_index {
        indexes.push(json!({"fields": ["/shelf", {"path": "/n", "type": "number"}]}));
    }
    if is_unique {
        indexes.push(json!({"fields": [{"path": "/number", "type": "number"}], "unique": true}));
    }
    let mut definition = json!({"id": "string", "indexes": indexes, "expires": "/goes"});
    if most > 0 {
        definition["schema"] = json!({
            "type": "object",
            "required": [MARK, "shelf"],
            "properties": {"n": {"type": "integer", "maximum": most}, "shelf": {"enum": ["a", "b", "c"]}},
        });
    }
    definition
}

/// A client.
pub(super) struct Trader {
    id: u16,
    scene: Arc<Scene>,
    random: Random,
}

/// A condition as a header and as a member of an operation: `If-Match` or not, and the tag.
type Tagged = Option<(bool, String)>;

impl Trader {
    pub(super) fn new(scene: &Arc<Scene>, seed: u64, number: u16) -> Trader {
        let id = FIRST + number;
        Trader { id, scene: scene.clone(), random: Random::new(seed, 900 + u64::from(number)) }
    }

    pub(super) async fn go_on_until(mut self, over: Arc<AtomicBool>) {
        while !over.load(Ordering::Relaxed) {
            let is_answered = match self.random.below(100) {
                0..50 => self.one().await,
                50..65 => self.transfer().await,
                65..72 => self.together().await,
                _ => self.look().await,
            };
            let pause = if is_answered { 10 + self.random.below(30) } else { 40 };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Changes the definition of `parcels` again and again; at last it is what it was at first.
    pub(super) async fn define_until(mut self, over: Arc<AtomicBool>) {
        while !over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(500 + self.random.below(3_000))).await;
            let most = *self.random.pick(&[0, 100, 100, 120, 1_000]);
            let definition = parcels(self.random.chance(70), self.random.chance(70), most);
            let _ = match self.random.below(8) {
                0 => self.send(Method::DELETE, "/api/collections/parcels/pending", None, None).await.map(|_| 0),
                _ => self.define(PARCELS, &definition).await,
            };
        }
    }

    async fn define(&mut self, name: &str, definition: &Value) -> Result<u16, NoAnswer> {
        let answer = self.send(Method::PUT, &format!("/api/collections/{name}"), Some(definition), None).await?;
        let is_expected = matches!(answer.status, 200 | 201 | 202 | 409 | 421 | 503 | 504);
        self.expect(is_expected, &format!("PUT of the definition of {name}"), &answer);
        Ok(answer.status)
    }

    fn mark(&self) -> u32 {
        self.scene.recorder.new_value().0
    }

    /// A parcel: sometimes of a number beyond what the schema lets in, sometimes of a number that another one has.
    fn parcel(&mut self, id: &str) -> Value {
        let shelf = *self.random.pick(&["a", "b", "c"]);
        let mut parcel = json!({"id": id, MARK: self.mark(), "shelf": shelf, "n": self.random.below(110)});
        if self.random.chance(80) {
            parcel["number"] = self.random.below(30).into();
        }
        if self.random.chance(25) {
            parcel["goes"] = (now() + 1 + self.random.below(20)).into();
        }
        parcel
    }

    fn parcel_id(&mut self) -> String {
        format!("p{}", self.random.below(16))
    }

    /// A write of one parcel.
    async fn one(&mut self) -> bool {
        if self.random.chance(10) {
            return self.short_lived().await;
        }
        let id = self.parcel_id();
        let path = format!("/{PARCELS}/{id}");
        let record = self.parcel(&id);
        let (method, path, body, only_if, does) = match self.random.below(10) {
            0..2 => (Method::POST, format!("/{PARCELS}"), Some(record.clone()), Expected::Absent, Does::Put(record)),
            2..6 => (Method::PUT, path, Some(record.clone()), Expected::Anything, Does::Put(record)),
            6..8 => {
                let patch = json!({MARK: self.mark(), "n": self.random.below(100), "number": null});
                (Method::PATCH, path, Some(patch.clone()), Expected::Exists, Does::Patch(patch))
            }
            _ => (Method::DELETE, path, None, Expected::Exists, Does::Delete),
        };
        let step = Step { collection: PARCELS.into(), id, only_if, does };
        self.write(method, &path, body, vec![step]).await
    }

    /// A parcel that nobody touches again: it goes when its time is over, and only then there can be another one.
    async fn short_lived(&mut self) -> bool {
        let id = format!("s{}", self.random.below(60));
        let goes = now() + 1 + self.random.below(8);
        let record = json!({"id": id, MARK: self.mark(), "shelf": "a", "n": self.random.below(100), "goes": goes});
        let (only_if, does) = (Expected::Absent, Does::Put(record.clone()));
        let step = Step { collection: PARCELS.into(), id, only_if, does };
        self.write(Method::POST, &format!("/{PARCELS}"), Some(record), vec![step]).await
    }

    /// Several parcels, or none.
    async fn together(&mut self) -> bool {
        let steps = (0..2 + self.random.below(3)).map(|_| {
            let id = self.parcel_id();
            let record = self.parcel(&id);
            let (only_if, does) = match self.random.below(5) {
                0 => (Expected::Exists, Does::Check),
                1 => (Expected::Absent, Does::Check),
                2 => (Expected::Exists, Does::Delete),
                _ => (Expected::Anything, Does::Put(record)),
            };
            (Step { collection: PARCELS.into(), id, only_if, does }, None)
        });
        let steps = steps.collect();
        self.transact(steps).await
    }

    /// From one account to another, if both are as they were read; and sometimes a parcel goes with it.
    async fn transfer(&mut self) -> bool {
        let mut names = NAMES;
        self.random.shuffle(&mut names);
        let amount = self.random.below(20) as i64;
        let mut steps = Vec::new();
        for (name, change) in [(names[0], -amount), (names[1], amount)] {
            let Ok(answer) = self.send(Method::GET, &format!("/{ACCOUNTS}/{name}"), None, None).await else {
                return false;
            };
            let tag = answer.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
            let (Some(tag), 200) = (tag, answer.status) else { return false };
            let account = answer.json();
            let balance = account["balance"].as_i64().unwrap_or(0) + change;
            let record = json!({"id": name, MARK: self.mark(), "balance": balance});
            let (only_if, does) = (Expected::Is(account), Does::Put(record));
            let step = Step { collection: ACCOUNTS.into(), id: name.into(), only_if, does };
            steps.push((step, Some((true, tag.to_owned()))));
        }
        if self.random.chance(40) {
            let id = self.parcel_id();
            let record = self.parcel(&id);
            let (only_if, does) = match self.random.below(3) {
                0 => (Expected::Exists, Does::Check),
                1 => (Expected::Absent, Does::Check),
                _ => (Expected::Absent, Does::Put(record)),
            };
            steps.push((Step { collection: PARCELS.into(), id, only_if, does }, None));
        }
        self.transact(steps).await
    }

    async fn transact(&mut self, steps: Vec<(Step, Tagged)>) -> bool {
        let operations: Vec<Value> = steps.iter().map(|(step, tag)| operation(step, tag.clone())).collect();
        let body = json!({"operations": operations});
        let steps = steps.into_iter().map(|(step, _)| step).collect();
        self.write(Method::POST, "/api/transaction", Some(body), steps).await
    }

    async fn write(&mut self, method: Method, path: &str, body: Option<Value>, steps: Vec<Step>) -> bool {
        let pod = self.scene.guess();
        let ticket = self.scene.recorder.write(self.id, pod, steps);
        let answer = self.send(method.clone(), path, body.as_ref(), Some(pod)).await;
        let told = match &answer {
            Err(NoAnswer::NotSent(why)) => Answered::Not(format!("not sent: {why}")),
            Err(NoAnswer::Lost(why)) => Answered::Unknown(why.clone()),
            Ok(answer) => {
                let kind = answer.json()["type"].as_str().unwrap_or("").replace("urn:leasehold:", "");
                let said = format!("{} {kind}", answer.status);
                // A schema, a unique number or a condition may stand against it; no other request of ours is wrong.
                let is_expected = matches!(answer.status, 200 | 201 | 204 | 404 | 409 | 412 | 421 | 503 | 504)
                    || (answer.status == 400 && kind == "invalid-record");
                self.expect(is_expected, &format!("{method} {path}"), answer);
                match (answer.status, answer.sequence()) {
                    (200 | 201 | 204, Some(sequence)) => Answered::Done(sequence),
                    (200 | 201 | 204, None) => Answered::Unknown(format!("{said} without a sequence")),
                    (..500 | 503, _) => Answered::Not(said),
                    _ => Answered::Unknown(said),
                }
            }
        };
        let is_done = matches!(told, Answered::Done(_));
        self.scene.recorder.written(&ticket, told);
        is_done
    }

    /// A list, which must be what was there.
    async fn look(&mut self) -> bool {
        let shelf = *self.random.pick(&["a", "b", "c"]);
        let by_shelf = Some(("shelf".to_owned(), json!(shelf)));
        let is_strong = self.random.chance(30);
        let strong = if is_strong { "&consistency=strong" } else { "" };
        let found = match self.random.below(5) {
            0 => self.list(PARCELS, strong, None, None, is_strong).await,
            1 => self.list(ACCOUNTS, strong, None, None, is_strong).await,
            2 => self.list(PARCELS, &format!("where.shelf={shelf}{strong}"), by_shelf, None, is_strong).await,
            3 => {
                let query = format!("where.shelf={shelf}&sort=n{strong}");
                self.list(PARCELS, &query, by_shelf, Some("n"), is_strong).await
            }
            _ => {
                let query = format!("where.shelf={shelf}&sort=-n{strong}");
                self.list(PARCELS, &query, by_shelf, Some("-n"), is_strong).await
            }
        };
        found.is_some()
    }

    /// How many there are.
    async fn list(
        &mut self,
        collection: &str,
        query: &str,
        filter: Option<(String, Value)>,
        sort: Option<&str>,
        is_strong: bool,
    ) -> Option<usize> {
        let stores = self.scene.stores();
        if stores.is_empty() {
            return None;
        }
        let pod = self.random.pick(&stores).0;
        let invoked = self.scene.recorder.nanoseconds();
        let path = format!("/{collection}?limit=1000&{}", query.trim_start_matches('&'));
        let answer = self.send(Method::GET, &path, None, Some(pod)).await.ok()?;
        let kind = answer.json()["type"].as_str().unwrap_or("").to_owned();
        // The index may be gone, and a pod that was away for long has no collection yet.
        let is_expected = matches!(answer.status, 200 | 404 | 421 | 503 | 504) || kind.ends_with("no-index");
        self.expect(is_expected, &path, &answer);
        let is_whole = answer.status == 200 && !answer.headers.contains_key(header::LINK);
        let (true, Value::Array(records), Some(sequence)) = (is_whole, answer.json(), answer.sequence()) else {
            return None;
        };
        let count = records.len();
        let (collection, sort) = (collection.to_owned(), sort.map(str::to_owned));
        let look = Look { pod, invoked, is_strong, collection, filter, sort, sequence, records };
        self.scene.recorder.note(|noted| noted.looks.push(look));
        Some(count)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        pod: Option<u16>,
    ) -> Result<Answer, NoAnswer> {
        let pod = pod.unwrap_or_else(|| self.scene.guess());
        let is_write = method != Method::GET;
        let nowhere = || NoAnswer::NotSent("nobody knows where the pod is".to_owned());
        let address = self.scene.store(pod).ok_or_else(nowhere)?;
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        let request = if body.is_some() { request.header(header::CONTENT_TYPE, kind) } else { request };
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(body)).map_err(|error| NoAnswer::NotSent(error.to_string()))?;
        let answer = self.scene.http.send_as_is(request, Duration::from_secs(4)).await;
        let is_elsewhere = answer.as_ref().map_or(true, |answer| matches!(answer.status, 421 | 503 | 504));
        if is_write && is_elsewhere {
            let said = answer.as_ref().ok().filter(|answer| answer.status == 421).map(Answer::text);
            self.scene.guess_other(pod, said.as_deref());
        }
        answer
    }

    fn expect(&self, is_expected: bool, what: &str, answer: &Answer) {
        if !is_expected {
            self.scene.recorder.violation(format!("{what} was answered with {} {}", answer.status, answer.text()));
        }
    }
}

/// In seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// As a transaction has it.
fn operation(step: &Step, tag: Tagged) -> Value {
    let Step { collection, id, only_if, does } = step;
    let mut operation = json!({"collection": collection, "id": id});
    let (op, content) = match does {
        Does::Put(record) => ("put", Some(("record", record))),
        Does::Patch(patch) => ("patch", Some(("patch", patch))),
        Does::Delete => ("delete", None),
        Does::Check => ("check", None),
    };
    operation["op"] = op.into();
    if let Some((name, content)) = content {
        operation[name] = content.clone();
    }
    let any = |is_match| Some((is_match, "*".to_owned()));
    let condition = tag.or(match only_if {
        Expected::Anything | Expected::Is(_) => None,
        // A delete without a record is not done anyway.
        Expected::Exists if *does == Does::Delete => None,
        Expected::Exists => any(true),
        Expected::Absent => any(false),
    });
    if let Some((is_match, tag)) = condition {
        operation[if is_match { "ifMatch" } else { "ifNoneMatch" }] = tag.into();
    }
    operation
}
