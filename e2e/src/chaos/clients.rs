//! Clients that read and write the same few records at once, and record the answers.
//!
//! Some follow the leader, as a good client does; one for each pod stays with its pod, so that a pod that hangs delays
//! nobody else, and the first acknowledgement of a new leader is seen at once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::keyed::{Asked, Keyed, Lesson};
use super::random::Random;
use super::scene::Scene;
use super::traders::{TRADERS, Trader};
use crate::{
    client::{Answer, Http, NoAnswer},
    history::{Call, Condition, Effect, Outcome, Written},
};

/// Running clients.
#[derive(Debug)]
pub(super) struct Clients {
    over: Arc<AtomicBool>,
    all: JoinSet<()>,
}

impl Clients {
    /// One for each of this many pods, and this many that go to the leader.
    pub(super) fn start(scene: &Arc<Scene>, seed: u64, pods: u16, roaming: u16) -> Clients {
        let over = Arc::new(AtomicBool::new(false));
        let mut all = JoinSet::new();
        for id in 0..pods + roaming {
            let client = Client {
                id,
                home: (id < pods).then_some(id),
                scene: scene.clone(),
                http: Http::default(),
                random: Random::new(seed, 100 + u64::from(id)),
                seen: HashMap::new(),
                again: None,
                keyed: Vec::new(),
            };
            all.spawn(client.go_on_until(over.clone()));
        }
        all.spawn(scene.clone().watch_the_leader(over.clone()));
        Clients { over, all }
    }

    /// With those of collections, whose definition changes meanwhile.
    pub(super) fn trade(&mut self, scene: &Arc<Scene>, seed: u64) {
        for number in 0..TRADERS {
            self.all.spawn(Trader::new(scene, seed, number).go_on_until(self.over.clone()));
        }
        self.all.spawn(Trader::new(scene, seed, TRADERS).define_until(self.over.clone()));
    }

    /// Lets the requests that are on their way end.
    ///
    /// # Errors
    /// A client panicked.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.all.join_next().await {
            ended.context("a client died")?;
        }
        Ok(())
    }
}

struct Client {
    id: u16,
    /// The pod that it stays with.
    home: Option<u16>,
    scene: Arc<Scene>,
    http: Http,
    random: Random,
    /// What it last saw of a record, and the ETag of that.
    seen: HashMap<u32, (Written, String)>,
    /// A POST of unknown outcome, which is sent again: the same record is stored once.
    again: Option<(u32, String, Written)>,
    /// Writes that are sent again under their keys.
    keyed: Vec<Keyed>,
}

/// So many writes at most wait to be sent again.
const KEYED: usize = 4;

impl Client {
    async fn go_on_until(mut self, over: Arc<AtomicBool>) {
        while !over.load(Ordering::Relaxed) {
            let reads = self.random.chance(25);
            // A local read may be asked for anywhere; writes and strong reads where one can hope.
            let pod = match self.home {
                Some(home) => home,
                None if reads => {
                    let stores = self.scene.stores();
                    if stores.is_empty() { 0 } else { self.random.pick(&stores).0 }
                }
                None => self.scene.guess(),
            };
            let pause = if self.scene.store(pod).is_none() {
                100
            } else if self.ask(pod, reads).await {
                3 + self.random.below(15)
            } else {
                20
            };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One request. Did it get an answer that lets it continue?
    async fn ask(&mut self, pod: u16, reads: bool) -> bool {
        if !reads && !self.keyed.is_empty() && self.random.chance(40) {
            return self.ask_again(pod).await;
        }
        let (key, id, call) = match self.again.take() {
            Some((key, id, value)) if !reads => (key, id, Call::Create(value)),
            again => {
                self.again = again;
                let (key, id) = self.scene.pick(&mut self.random);
                (key, id, self.choose(key, reads))
            }
        };
        let Some(asked) = self.asked(key, id, call) else { return false };
        let Some(request) = self.request(pod, &asked) else { return false };
        let ticket = self.scene.recorder.call(self.id, pod, key, call);
        let answer = self.http.send_as_is(request, self.deadline(call)).await;
        let outcome = tell(call, &answer);
        let sequence = answer.as_ref().ok().and_then(Answer::sequence);
        self.scene.recorder.returned(&ticket, outcome.clone(), sequence);
        self.learn(pod, &asked, &outcome, answer.as_ref().ok());
        match outcome {
            Outcome::Done(_) if call.is_write() => self.scene.line.acknowledged(),
            Outcome::Refused(_) if call.is_write() => self.scene.line.refused(),
            Outcome::Unknown(_) if call.is_write() => self.scene.line.unknown(),
            _ => {}
        }
        if asked.idempotency.is_some() && self.keyed.len() < KEYED {
            let repeat = self.random.chance(20);
            self.keyed.extend(Keyed::after(asked, ticket, &outcome, sequence, repeat));
        }
        matches!(outcome, Outcome::Done(_))
    }

    /// A write once more, under the key that it had: the same operation.
    async fn ask_again(&mut self, pod: u16) -> bool {
        let place = usize::try_from(self.random.below(self.keyed.len() as u64)).unwrap_or(0);
        let mut keyed = self.keyed.swap_remove(place);
        let Some(request) = self.request(pod, &keyed.asked) else {
            self.keyed.push(keyed);
            return false;
        };
        let call = keyed.asked.call;
        let answer = self.http.send_as_is(request, self.deadline(call)).await;
        let outcome = tell(call, &answer);
        let sequence = answer.as_ref().ok().and_then(Answer::sequence);
        let lesson = keyed.learn(&outcome, sequence);
        self.scene.keyed.count(&lesson);
        match &lesson {
            Lesson::Known => {
                self.scene.recorder.returned(&keyed.ticket, outcome.clone(), sequence);
                self.scene.line.acknowledged();
            }
            Lesson::Wrong(what) => {
                let Asked { id, call, idempotency, .. } = &keyed.asked;
                let key = idempotency.as_deref().unwrap_or_default();
                let what = format!("record {id}: {call}, sent again to pod {pod} under Idempotency-Key {key}: {what}");
                self.scene.line.say(&format!("VIOLATION {what}"));
                self.scene.recorder.violation(what);
            }
            Lesson::Nothing | Lesson::Same => {}
        }
        if !matches!(outcome, Outcome::Done(_)) {
            self.look_elsewhere(pod, answer.as_ref().ok());
        }
        if !keyed.is_over() && !matches!(lesson, Lesson::Wrong(_)) {
            self.keyed.push(keyed);
        }
        matches!(outcome, Outcome::Done(_))
    }

    fn deadline(&self, call: Call) -> Duration {
        match (call, self.home) {
            (Call::LocalRead, _) => Duration::from_secs(1),
            (_, Some(_)) => Duration::from_millis(2500),
            (_, None) => Duration::from_secs(5),
        }
    }

    fn choose(&mut self, key: u32, reads: bool) -> Call {
        if reads {
            let strong = self.scene.strong_reads.load(Ordering::Relaxed) && self.random.chance(50);
            return if strong { Call::Read } else { Call::LocalRead };
        }
        let value = self.scene.recorder.new_value();
        let seen = self.seen.get(&key).map(|(value, _)| *value);
        let is_seen = seen.map_or(Condition::Exists, Condition::Is);
        match self.random.below(100) {
            0..20 => Call::Create(value),
            20..50 => Call::Put(value, Condition::Always),
            50..70 => Call::Put(value, is_seen),
            // The same value again, if it is there: that is a read that the log decides.
            70..80 => seen.map_or(Call::Create(value), |seen| Call::Put(seen, Condition::Is(seen))),
            80..85 => Call::Put(value, Condition::Absent),
            85..95 => Call::Delete(Condition::Always),
            _ => Call::Delete(is_seen),
        }
    }

    /// Everything about a request; none if the ETag that it needs is unknown.
    fn asked(&mut self, key: u32, id: String, call: Call) -> Option<Asked> {
        let tag = match call {
            Call::Put(_, Condition::Is(value)) | Call::Delete(Condition::Is(value)) => {
                Some(self.seen.get(&key).filter(|(seen, _)| *seen == value)?.1.clone())
            }
            _ => None,
        };
        let is_keyed = call.is_write() && self.random.chance(40);
        let idempotency = is_keyed.then(|| format!("chaos-{}-{:016x}", self.id, self.random.next()));
        Some(Asked { key, id, call, tag, idempotency })
    }

    fn request(&self, pod: u16, asked: &Asked) -> Option<Request<Full<Bytes>>> {
        let one = format!("/persons/{}", asked.id);
        let (method, path, value, condition) = match asked.call {
            Call::Create(value) => (Method::POST, "/persons".to_owned(), Some(value), Condition::Always),
            Call::Put(value, condition) => (Method::PUT, one, Some(value), condition),
            Call::Delete(condition) => (Method::DELETE, one, None, condition),
            Call::LocalRead => (Method::GET, one, None, Condition::Always),
            Call::Read => (Method::GET, format!("{one}?consistency=strong"), None, Condition::Always),
        };
        let address = self.scene.store(pod)?;
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        request = match condition {
            Condition::Always => request,
            Condition::Exists => request.header(header::IF_MATCH, "*"),
            Condition::Absent => request.header(header::IF_NONE_MATCH, "*"),
            Condition::Is(_) => request.header(header::IF_MATCH, asked.tag.as_deref()?),
        };
        if let Some(key) = &asked.idempotency {
            request = request.header("idempotency-key", format!("\"{key}\""));
        }
        let body = match value {
            Some(value) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(person(&asked.id, value).to_string())
            }
            None => Bytes::new(),
        };
        request.body(Full::new(body)).ok()
    }

    /// Remembers ETags, where the leader is, and what to send again.
    fn learn(&mut self, pod: u16, asked: &Asked, outcome: &Outcome, answer: Option<&Answer>) {
        let (key, call) = (asked.key, asked.call);
        let content = match (outcome, call) {
            (Outcome::Done(Effect::Found(Some(value))), _) => Some(*value),
            (Outcome::Done(Effect::Created | Effect::Stored | Effect::Same), _) => call.leaves().flatten(),
            _ => None,
        };
        let tag = answer.and_then(|answer| answer.headers.get(header::ETAG)?.to_str().ok().map(str::to_owned));
        if let (Some(value), Some(tag)) = (content, tag) {
            self.seen.insert(key, (value, tag));
            // This forgets records that are no longer in use.
            if self.seen.len() > 64 {
                self.seen.retain(|other, _| *other + 32 > key);
            }
        }
        if let (Outcome::Unknown(_), Call::Create(value)) = (outcome, call)
            && asked.idempotency.is_none()
            && self.random.chance(50)
        {
            self.again = Some((key, asked.id.clone(), value));
        }
        if !matches!(outcome, Outcome::Done(_)) && call.is_write() {
            self.look_elsewhere(pod, answer);
        }
    }

    /// The next write goes to another pod, if this client is not at home at one.
    fn look_elsewhere(&self, pod: u16, answer: Option<&Answer>) {
        if self.home.is_none() {
            let body = answer.filter(|answer| answer.status == 421).map(Answer::text);
            self.scene.guess_other(pod, body.as_deref());
        }
    }
}

/// The record that carries this value.
fn person(id: &str, value: Written) -> Value {
    json!({"firstName": value.to_string(), "lastName": "chaos", "id": id})
}

/// The value that a record carries.
pub(super) fn value_of(person: &Value) -> Option<Written> {
    person["firstName"].as_str()?.strip_prefix('v')?.parse().ok().map(Written)
}

/// What an answer says.
fn tell(call: Call, answer: &Result<Answer, NoAnswer>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(NoAnswer::NotSent(why)) => return Outcome::Refused(format!("not sent: {why}")),
        Err(NoAnswer::Lost(why)) => return Outcome::Unknown(why.clone()),
    };
    let effect = match (call, answer.status) {
        (Call::Create(_) | Call::Put(..), 201) => Effect::Created,
        (Call::Create(_), 200) => Effect::Same,
        (Call::Put(..), 200) => Effect::Stored,
        (Call::Create(_), 409) => Effect::Conflict,
        (Call::Put(..) | Call::Delete(_), 412) => Effect::Failed,
        (Call::Delete(_), 204) => Effect::Deleted,
        (Call::Delete(_), 404) => Effect::Missing,
        (Call::Read | Call::LocalRead, 404) => Effect::Found(None),
        (Call::Read | Call::LocalRead, 200) => match value_of(&answer.json()) {
            Some(value) => Effect::Found(Some(value)),
            None => return Outcome::Unknown(format!("200 with {}", answer.text())),
        },
        (_, status) => {
            let kind = answer.json()["type"].as_str().unwrap_or("").replace("urn:leasehold:", "");
            let said = format!("{status} {kind}");
            // By contract: 421 and 503 are never done. So is what a client did wrong; a 5xx says nothing.
            return if status < 500 || status == 503 { Outcome::Refused(said) } else { Outcome::Unknown(said) };
        }
    };
    Outcome::Done(effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_the_api_promises() {
        let call = Call::Put(Written(7), Condition::Always);
        let answer = |status, body: &str| {
            Ok(Answer { status, headers: http::HeaderMap::new(), body: Bytes::from(body.to_owned()) })
        };
        assert_eq!(tell(call, &answer(200, "")), Outcome::Done(Effect::Stored));
        assert_eq!(tell(call, &answer(201, "")), Outcome::Done(Effect::Created));
        assert_eq!(tell(call, &answer(412, "")), Outcome::Done(Effect::Failed));
        for (status, is_refused) in [(421, true), (503, true), (504, false), (500, false), (400, true)] {
            let told = tell(call, &answer(status, "{}"));
            assert_eq!(matches!(told, Outcome::Refused(_)), is_refused, "{status}");
            assert_eq!(matches!(told, Outcome::Unknown(_)), !is_refused, "{status}");
        }
        assert!(matches!(tell(call, &Err(NoAnswer::NotSent("x".into()))), Outcome::Refused(_)));
        assert!(matches!(tell(call, &Err(NoAnswer::Lost("x".into()))), Outcome::Unknown(_)));
        let record = person("some-id", Written(7)).to_string();
        assert_eq!(tell(Call::Read, &answer(200, &record)), Outcome::Done(Effect::Found(Some(Written(7)))));
        assert_eq!(tell(Call::LocalRead, &answer(404, "{}")), Outcome::Done(Effect::Found(None)));
        assert!(matches!(tell(Call::LocalRead, &answer(503, "{}")), Outcome::Refused(_)));
    }
}
