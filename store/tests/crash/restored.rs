//! A cluster that begins with a backup: the built store over HTTP, and the power that goes while it begins.

use super::failing::{person, tells};
use super::random::Random;
use super::shim::Shim;
use super::store::{Store, ask};
use super::trace;
use super::world::World;
use leasehold_documents::replay::Replay;
use leasehold_documents::snapshot::{self, Head};
use leasehold_documents::{Action, Command, Condition, Documents};
use leasehold_replication::{ClusterId, DurableState, Entry, Payload, Position, Record, Seq, Term, Ticket, Voters};
use leasehold_store::volume::journal::JournalEvent;
use leasehold_store::volume::{Options, Volume, cluster_of};
use leasehold_testkit::http;
use std::fs::{self, File};
use std::path::Path;
use uuid::Uuid;

/// How many persons the backup has, and its last sequence: behind them comes the raise to format 2.
const PERSONS: u64 = 30;
const LAST: Position = Position { term: Term(0), seq: Seq(PERSONS + 1) };
/// States that are tried.
const STATES: u64 = 40;

/// Puts a restore.json on the volume, as `backup restore --to` does; gives its persons.
fn put_backup(root: &Path) -> Vec<String> {
    let mut documents = Documents::new();
    let persons: Vec<String> = (1..=PERSONS).map(person).collect();
    for (record, number) in persons.iter().zip(1..) {
        let id = Uuid::from_u128(u128::from(number));
        let command = Command::one("persons", id, Action::Create { record }, Condition::None).encode(1);
        documents.apply(Position::new(7, number), &command, &mut Vec::new()).unwrap();
    }
    documents.voters(Position::new(7, LAST.seq.0), 2, &mut Vec::new());
    let restored = Replay::new(documents).into_restored().unwrap();
    assert_eq!(restored.applied(), LAST);
    let voters = Voters { format: 2, ..Voters::none() };
    let head = Head { format: 2, cluster_id: ClusterId(Uuid::from_u128(0xc0)), position: LAST, voters };
    fs::create_dir_all(root.join("data")).unwrap();
    let mut file = File::create(root.join("data/restore.json")).unwrap();
    snapshot::write(&mut file, &head, &restored).unwrap();
    file.sync_all().unwrap();
    persons
}

fn metric(store: &Store, name: &str) -> String {
    let text = http::ask_blocking(("127.0.0.1", store.api), "GET", "/metrics", "").unwrap().body;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

#[test]
fn a_store_begins_with_a_backup_goes_on_behind_it_and_restores_once() {
    let root = super::scratch();
    let logs = super::scratch();
    let Some(shim) = Shim::new(root.path(), &logs.path().join("log")) else { return };
    let file = root.path().join("data/restore.json");
    let mut persons = put_backup(root.path());
    let initial = logs.path().join("initial.json");
    fs::write(&initial, "no JSON, and nobody reads it").unwrap();
    let mut store = Store::new(root.path());
    store.lead(Some((&shim, &[("LEASEHOLD_STORE_INITIAL_DATA", initial.to_str().unwrap())])));
    assert!(store.log().contains("the new cluster begins with the data of restore.json"), "{}", store.log());
    assert!(store.log().contains("the initial data are not used"), "{}", store.log());
    assert_eq!(store.list(), persons);
    store.until("restore.json is removed", || (!file.exists()).then_some(()));
    let cluster = cluster_of(&root.path().join("data")).unwrap().expect("a cluster of its own");
    assert_ne!(cluster.0, Uuid::from_u128(0xc0));

    let added = person(1000);
    let answer = store.post(&added).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(answer.sequence > LAST.seq.0 + 1, "{answer:?} does not follow the backup");
    persons.push(added);
    assert_eq!(metric(&store, "leasehold_store_expiry_paused "), "1");
    let answer = ask(store.api, "PUT", "/api/expiry", r#"{"paused": false}"#).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(metric(&store, "leasehold_store_expiry_paused "), "0");

    store.kill();
    put_backup(root.path());
    store.lead(None);
    assert!(!file.exists() && store.log().contains("removed restore.json"), "{}", store.log());
    assert_eq!(store.list(), persons);
    assert_eq!(cluster_of(&root.path().join("data")).unwrap(), Some(cluster));
    assert_eq!(metric(&store, "leasehold_store_expiry_paused "), "0", "what was let go on stays so");
}

#[test]
fn a_backup_that_cannot_be_read_ends_with_3_and_names_the_file_and_without_it_the_store_begins() {
    let root = super::scratch();
    put_backup(root.path());
    let file = root.path().join("data/restore.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() - 100]).unwrap();
    let mut store = Store::new(root.path());
    store.start(None);
    assert_eq!(store.ends().code(), Some(3), "{}", store.log());
    let log = store.log();
    assert!(log.contains("restore.json is damaged") && log.contains("the volume is still empty"), "{log}");
    fs::remove_file(&file).unwrap();
    store.lead(None);
    assert_eq!(store.list(), Vec::<String>::new());
}

#[test]
fn the_power_goes_at_any_moment_of_a_first_start_from_a_backup() {
    let root = super::scratch();
    let logs = super::scratch();
    let log = logs.path().join("log");
    let Some(shim) = Shim::new(root.path(), &log) else { return };
    let persons = put_backup(root.path());
    let mut world = World::of(root.path());
    let mut store = Store::new(root.path());
    store.lead(Some((&shim, &[])));
    assert_eq!(store.list(), persons);
    store.kill();

    let events = trace::read(&log);
    let mut random = Random::new(5);
    let (mut again, mut done) = (0, 0);
    let serves = events.iter().position(|event| tells(event).is_some()).expect("it served");
    let mut moments: Vec<usize> = (0..STATES).map(|_| random.below(events.len() as u64) as usize).collect();
    moments.push(events.len() - 1);
    for (at, event) in events.iter().enumerate() {
        world.apply(event);
        for _ in moments.iter().filter(|moment| **moment == at) {
            let left = super::scratch();
            world.power_loss(&mut random, left.path());
            let opened = Volume::open(&left.path().join("data"), Options::new(|_| {}));
            let opened = opened.unwrap_or_else(|error| panic!("after call {at} of {}: {error}", events.len()));
            match &opened.restored {
                Some(restored) => {
                    assert!(at < serves, "after call {at}: what was served already is restored once more");
                    assert_eq!(opened.recovered.state, DurableState::EMPTY, "after call {at}");
                    assert_eq!(restored.documents.applied(), LAST);
                    again += 1;
                }
                None => {
                    let found = opened.recovered.snapshot.as_ref().map(|meta| meta.position);
                    assert_eq!(found, Some(LAST), "after call {at}: neither the backup nor what was made of it");
                    let held = opened.documents.collection("persons").map_or(0, |persons| persons.len());
                    assert_eq!(held as u64, PERSONS, "after call {at}");
                    assert!(!opened.recovered.entries.is_empty(), "after call {at}: there are no voters");
                    done += 1;
                }
            }
            opened.journal.close();
        }
    }
    assert!(again > 0 && done > 0, "{again} starts restored again, and {done} had all of it");
}

/// The first batch of a long list of initial data was durable, and the voters behind it were not.
#[test]
fn a_first_start_that_was_torn_within_its_data_is_done_again() {
    let root = super::scratch();
    let data = root.path().join("data");
    let (sender, events) = std::sync::mpsc::channel();
    let opened = Volume::open(&data, Options::new(move |event| drop(sender.send(event)))).unwrap();
    let torn = ClusterId(Uuid::from_u128(0xdead));
    let state = DurableState { cluster_id: Some(torn), bootstrapping: true, ..DurableState::EMPTY };
    let (id, record) = (Uuid::from_u128(1), person(1));
    let command = Command::one("persons", id, Action::Create { record: &record }, Condition::None);
    let entry = Entry::new(Position::ZERO, Term(0), Payload::Command(command.encode(1)));
    opened.journal.append(Ticket(1), 1, vec![Record::State(state), Record::Entry(entry)]).unwrap();
    assert!(matches!(events.recv().unwrap(), JournalEvent::Persisted { .. }));
    opened.journal.close();
    assert_eq!(cluster_of(&data).unwrap(), None, "without voters it never was");

    let mut store = Store::new(root.path());
    store.lead(None);
    assert_eq!(store.list(), Vec::<String>::new(), "there are no initial data this time");
    store.kill();
    put_backup(root.path());
    store.lead(None);
    assert_eq!(store.list(), Vec::<String>::new());
}
