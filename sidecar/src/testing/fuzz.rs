//! What `fuzz/` and the replay of its corpora call. Nothing else uses it, and no shipped program contains it.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease as RawLease;
use leasehold_contract::StatusFile;
use leasehold_election::{
    App, Effect, Election, Ending, Input, LeaseWrite, Member, PodRole, ReadOutcome, RecordRead, RecordWritten, Term,
    Version, Watched, WriteOutcome,
};
use uuid::Uuid;

use crate::args::Config;
use crate::kube::lease::{LeaseClient, LeaseResponse, seconds_of, term_of};
use crate::kube::observe::Observed;
use crate::kube::request::Requester;
use crate::telemetry::Metrics;

mod answer;
mod config;
mod http;
mod inject;
mod runtime;

use runtime::on_runtime;

pub use answer::answer;
pub use config::config;
pub use http::http;
pub use inject::inject;

const NAME: &str = "db-0";
const OWN: Uuid = Uuid::from_u128(0xa);
/// The most effects of one step.
const EFFECTS_MAX: usize = 64;
/// Steps at one moment before time must move on.
const WAKES_MAX: usize = 64;

/// What an API server, an app and people could show one election, line by line:
///
/// ```text
///   p | x | f        the first line: a plain app, one that exec runs, or a fencing one
///   l JSON           the watch shows this Lease         d   it was deleted
///   r JSON           a GET shows it                     n   404      e   no answer
///   w                our write is done                  W JSON   it is done, and the answer is this Lease
///   c | u | x        our write: conflict, unknown, refused
///   s JSON           status.json                        q   it is gone      k   the app died
///   m 3              three members                      o   watch lost      z   SIGTERM
///   R 7 | R 7 60     the record of terms has term 7, and 60 s       N   404    D   no right    E   no answer
///   R JSON           it is this Lease
///   B | C | U        its write: done, conflict, unknown
///   v | V            exec lives, or not                 L   lead.lock is free
///   h | H            the app is fit, or not             y 3   step down     g 3   it stopped leading in term 3
///   a | A            role.json can be replaced, or not
///   t 1500           this many milliseconds later
/// ```
pub fn lease(data: &[u8]) {
    thread_local! {
        static CLIENT: RefCell<Option<kube::Client>> = const { RefCell::new(None) };
    }
    on_runtime(async {
        let client = CLIENT.with(|client| client.borrow_mut().get_or_insert_with(nowhere).clone());
        let Ok(text) = std::str::from_utf8(data) else { return };
        let mut lines = text.lines();
        let app = match lines.next() {
            Some("p") => App::Plain { incarnation: OWN, exec: false },
            Some("x") => App::Plain { incarnation: OWN, exec: true },
            _ => App::Fencing,
        };
        let mut desk = Desk::new(app, client);
        desk.step(Input::Wake);
        for line in lines.take(200) {
            if let Some(input) = desk.input(line) {
                desk.step(input);
            }
        }
    });
}

/// A client that never gets a request.
pub(super) fn nowhere() -> kube::Client {
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    kube::Client::try_from(config).unwrap()
}

struct Desk {
    election: Election,
    lease: LeaseClient,
    is_plain: bool,
    now: Duration,
    /// The write that waits for its answer: the object to send; none where the shell itself says "conflict".
    writing: Option<Option<RawLease>>,
    reading: bool,
    record: Option<Asked>,
    lock: u64,
    writes_role: bool,
    version: u64,
}

/// The request about the record of terms that waits for its answer.
#[derive(PartialEq, Eq)]
enum Asked {
    Read,
    Write,
}

impl Desk {
    fn new(app: App, client: kube::Client) -> Desk {
        let config = Config::plain("n", "db", NAME, "10.0.0.1:8089").unwrap();
        let requester = Requester::new(client, &config, Metrics::new());
        let election = Election::new(leasehold_election::Config {
            name: NAME.to_owned(),
            address: "10.0.0.1:8089".to_owned(),
            app,
            duration: Duration::from_secs(15),
            lost_time: Duration::from_secs(1),
            fitness_patience: Duration::from_secs(3),
            stop_bound: Duration::from_secs(50),
            seed: 1,
            old_role: None,
        });
        Desk {
            election,
            lease: LeaseClient::new(requester, "db"),
            is_plain: matches!(app, App::Plain { .. }),
            now: Duration::ZERO,
            writing: None,
            reading: false,
            record: None,
            lock: 0,
            writes_role: true,
            version: 1 << 32,
        }
    }

    fn input(&mut self, line: &str) -> Option<Input> {
        let (word, rest) = line.split_at_checked(1)?;
        let rest = rest.trim_start();
        Some(match word {
            "l" => self.lease.watched(Observed::Changed(raw(rest)?)),
            "d" => Input::LeaseWatched(Watched::Absent { as_of: None }),
            "r" if std::mem::take(&mut self.reading) => match raw(rest) {
                Some(raw) => self.lease.input(LeaseResponse::Read(Ok(Some(Box::new(raw))))),
                None => Input::LeaseRead(ReadOutcome::NoAnswer),
            },
            "n" if std::mem::take(&mut self.reading) => Input::LeaseRead(ReadOutcome::NotFound),
            "e" if std::mem::take(&mut self.reading) => Input::LeaseRead(ReadOutcome::NoAnswer),
            "w" => {
                let Some(mut object) = self.writing.take()? else {
                    return Some(Input::LeaseWritten(WriteOutcome::Conflict));
                };
                self.version += 1;
                object.metadata.resource_version = Some(self.version.to_string());
                self.written(object)
            }
            "W" => {
                self.writing.take()?;
                match raw(rest) {
                    Some(raw) => self.written(raw),
                    None => Input::LeaseWritten(WriteOutcome::Unknown),
                }
            }
            "c" => self.writing.take().map(|_| Input::LeaseWritten(WriteOutcome::Conflict))?,
            "u" => self.writing.take().map(|_| Input::LeaseWritten(WriteOutcome::Unknown))?,
            "x" => self.writing.take().map(|_| Input::LeaseWritten(WriteOutcome::Refused))?,
            "R" | "N" | "D" | "E" if self.record.take_if(|asked| *asked == Asked::Read).is_some() => {
                Input::RecordRead(match word {
                    "R" => {
                        let (term, duration_seconds) = recorded(rest)?;
                        RecordRead::Found { version: self.next_version(), term, duration_seconds, created_by: None }
                    }
                    "N" => RecordRead::NotFound,
                    "D" => RecordRead::Denied,
                    _ => RecordRead::NoAnswer,
                })
            }
            "B" | "C" | "D" | "U" if self.record.take_if(|asked| *asked == Asked::Write).is_some() => {
                Input::RecordWritten(match word {
                    "B" => RecordWritten::Written { version: self.next_version() },
                    "C" => RecordWritten::Conflict,
                    "D" => RecordWritten::Denied,
                    _ => RecordWritten::Unknown,
                })
            }
            "v" | "V" => Input::ExecSeen(word == "v"),
            "a" | "A" => {
                self.writes_role = word == "a";
                Input::RoleWritten(self.writes_role)
            }
            "L" => Input::LeadLockFree { number: self.lock },
            "h" | "H" => Input::FitnessSeen(word == "h"),
            "y" => Input::StepDown { term: Term(rest.parse().ok()?) },
            "g" => Input::Released { term: Term(rest.parse().ok()?) },
            "s" => Input::AppSeen(leasehold_contract::election::app_status(
                &serde_json::from_str::<StatusFile>(rest).ok()?,
            )),
            "q" => Input::AppSilent,
            "k" => Input::AppDied { incarnation: OWN },
            "m" => {
                let count: usize = rest.parse().ok().filter(|count| *count < 8)?;
                Input::MembersSeen((count > 0).then(|| (0..count).map(member).collect()))
            }
            "o" => Input::WatchLost,
            "z" => Input::Stop,
            "t" => {
                let ms: u32 = rest.parse().ok()?;
                self.now += Duration::from_millis(u64::from(ms));
                Input::Wake
            }
            _ => return None,
        })
    }

    fn next_version(&mut self) -> Version {
        self.version += 1;
        Version(self.version.to_string())
    }

    fn written(&mut self, raw: RawLease) -> Input {
        self.lease.input(LeaseResponse::Written { result: Ok(Box::new(raw)), create: false })
    }

    /// A step, and everything that its own alarm asks for at the same moment.
    fn step(&mut self, input: Input) {
        let effects = self.election.step(self.now, input);
        self.take(effects);
        for wakes in 0.. {
            if self.election.deadline().is_none_or(|deadline| deadline > self.now) {
                return;
            }
            assert!(wakes < WAKES_MAX, "it wakes forever at {:?}", self.now);
            let effects = self.election.step(self.now, Input::Wake);
            self.take(effects);
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        assert!(effects.len() <= EFFECTS_MAX, "{} effects of one step", effects.len());
        let publishes = effects.iter().any(|effect| matches!(effect, Effect::PublishRole(_)));
        for effect in effects {
            match effect {
                Effect::ReadLease => {
                    assert!(!std::mem::replace(&mut self.reading, true), "two reads under way");
                }
                Effect::WriteLease(write) => {
                    assert!(self.writing.is_none(), "two writes under way");
                    assert!(write.body.term <= Term::MAX, "term {} is written", write.body.term);
                    let object = self.lease.object(&write);
                    if let Some(object) = &object {
                        check_object(&write, object);
                    }
                    self.writing = Some(object);
                }
                Effect::ReadRecord => assert!(self.record.replace(Asked::Read).is_none(), "two requests under way"),
                Effect::WriteRecord(write) => {
                    assert!(write.term <= Term::MAX, "term {} is recorded", write.term);
                    assert!(self.record.replace(Asked::Write).is_none(), "two requests under way");
                }
                Effect::AwaitLeadLock { number } => {
                    assert!(number > self.lock, "the wait for the lock has an old number");
                    self.lock = number;
                }
                Effect::PublishRole(role) => {
                    let own = role.leader.as_ref().is_some_and(|leader| leader.name == NAME);
                    assert!(role.role != PodRole::Leader || own, "it leads, and another one is named");
                    // A plain app's sidecar is its own app.
                    let ours = role.leader.as_ref().is_some_and(|leader| leader.incarnation == OWN);
                    assert!(
                        !self.is_plain || role.role != PodRole::Leader || ours,
                        "it leads with another's incarnation"
                    );
                    assert!(role.valid_until.is_none_or(|until| until <= self.now + Duration::from_secs(15)));
                }
                Effect::Answer { ending: Ending::OtherTerm { .. }, .. } => {}
                Effect::Answer { term, ending: Ending::Ends | Ending::IsOver } => {
                    let role = self.election.role().expect("something was published");
                    assert!(self.is_plain && (role.role != PodRole::Leader || role.term != term), "{term} is not over");
                }
                Effect::UpdateEndpoints { .. } | Effect::LeaveEndpoints | Effect::Tell(_) | Effect::Stopped => {}
            }
        }
        if publishes {
            let effects = self.election.step(self.now, Input::RoleWritten(self.writes_role));
            self.take(effects);
        }
    }
}

/// The object equals the decision, can be sent, and returns unchanged.
fn check_object(write: &LeaseWrite, object: &RawLease) {
    let text = serde_json::to_string(object).unwrap();
    let again: RawLease = serde_json::from_str(&text).unwrap();
    let mut body = crate::kube::lease::view(&again).body;
    if write.expected.is_none() {
        // One that is created again keeps what others wrote into the one before.
        body.annotations
            .retain(|name, _| name.starts_with("leasehold.dev/") || write.body.annotations.contains_key(name));
    }
    assert_eq!(body, write.body, "{text}");
    let version = write.expected.as_ref().map(|version| version.0.as_str());
    let carried = object.metadata.resource_version.as_deref();
    // A create carries none; a replace always does, or it would be unconditional.
    assert_eq!(carried, version);
    assert!(version.is_none_or(|version| !version.is_empty()), "an unconditional replace");
}

/// The term and the duration of the record: a number or two, or the object as the API server has it.
fn recorded(text: &str) -> Option<(Term, Option<u32>)> {
    let (term, seconds) = text.split_once(' ').map_or((text, None), |(term, seconds)| (term, Some(seconds)));
    if let Ok(term) = term.parse() {
        return Some((Term(term), seconds.and_then(|seconds| seconds.parse().ok())));
    }
    let raw = raw(text)?;
    Some((term_of(&raw), seconds_of(&raw)))
}

fn raw(json: &str) -> Option<RawLease> {
    serde_json::from_str(json).ok()
}

fn member(ordinal: usize) -> Member {
    Member {
        name: format!("db-{ordinal}"),
        address: format!("db-{ordinal}:8089"),
        peer_address: format!("db-{ordinal}:8090"),
    }
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod days;

#[cfg(test)]
mod tests {
    #[test]
    fn no_lease_and_no_status_of_the_corpus_upsets_the_election() {
        super::replay::all("lease", super::lease);
    }

    #[test]
    fn no_request_of_the_corpus_upsets_the_sidecar() {
        super::replay::all("sidecar_http", super::http);
    }

    #[test]
    fn no_answer_of_the_corpus_upsets_who_asked() {
        super::replay::all("answer", super::answer);
    }

    #[test]
    fn no_manifest_of_the_corpus_upsets_inject() {
        super::replay::all("inject", super::inject);
    }

    #[test]
    fn no_config_of_the_corpus_upsets_the_library() {
        super::replay::all("config", super::config);
    }

    #[test]
    fn no_day_that_chance_makes_upsets_the_election() {
        // More of them: LEASEHOLD_DAYS=1000000.
        let days = std::env::var("LEASEHOLD_DAYS").map_or(400, |days| days.parse().unwrap());
        for seed in 1..=days {
            let day = super::days::day(seed);
            let lived = std::panic::catch_unwind(|| super::lease(day.as_bytes()));
            assert!(lived.is_ok(), "day {seed}:\n{day}");
        }
    }
}
