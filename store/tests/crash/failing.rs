//! A disk that fails once and is well again, and one that is full: the built store, over HTTP.

use super::random::Random;
use super::shim::Shim;
use super::store::{Answer, Store, ask, records};
use super::trace::{self, Event};
use super::world::World;
use leasehold_contract::State;
use leasehold_documents::Documents;
use leasehold_replication::Payload;
use leasehold_store::volume::{Opened, Options, Volume};
use std::path::Path;
use uuid::Uuid;

pub(crate) fn person(number: u64) -> String {
    let id = Uuid::from_u128(u128::from(number));
    format!(r#"{{"firstName":"Person","lastName":"{number}","id":"{id}"}}"#)
}

/// Writes persons one after the other until one is not acknowledged; gives those that were, and the one that was not.
fn write_until_it_fails(store: &Store, from: u64) -> (Vec<String>, String) {
    let mut acknowledged = Vec::new();
    for number in from..from + 200 {
        let person = person(number);
        match store.post(&person) {
            Some(Answer { status: 201, .. }) => acknowledged.push(person),
            Some(Answer { status: 503 | 504, .. }) | None => return (acknowledged, person),
            Some(other) => panic!("{other:?}"),
        }
        // Nobody may read what is not acknowledged, on the way to the failure as well.
        if let Some(answer) = super::store::ask(store.api, "GET", "/persons", "") {
            assert!(answer.status != 200 || acknowledged.ends_with(&records(&answer.body)[acknowledged.len()..]));
        }
    }
    panic!("the disk never failed\n{}", store.log());
}

#[test]
fn an_fsync_that_fails_once_ends_the_store_and_all_that_was_told_is_there_even_if_the_power_goes_later() {
    let root = super::scratch();
    let logs = super::scratch();
    let log = logs.path().join("log");
    let Some(shim) = Shim::new(root.path(), &log) else { return };
    let mut random = Random::new(3);
    let world = World::of(root.path());
    let mut store = Store::new(root.path());
    store.lead(Some((&shim, &[("CRASH_FAIL", "sync:12:EIO"), ("CRASH_MATCH", "journal/")])));
    let (acknowledged, lost) = write_until_it_fails(&store, 1);
    assert!(!acknowledged.is_empty(), "it failed before anything was written: a later sync must fail");
    let ended = store.ends();
    assert_eq!(ended.code(), Some(1), "{}", store.log());
    assert!(store.log().contains("Input/output error"), "it does not say why: {}", store.log());
    assert_eq!(store.status().unwrap().state, State::Failed);

    // The disk is well again. Whatever it serves from here on must stay, whatever it found in the cache.
    store.lead(Some((&shim, &[])));
    let served = store.list();
    assert_eq!(served[..acknowledged.len()], acknowledged);
    assert!(served.len() <= acknowledged.len() + 1 && served[acknowledged.len()..].iter().all(|one| *one == lost));
    let after = person(1000);
    assert_eq!(store.post(&after).unwrap().status, 201);
    store.kill();

    let events = trace::read(&log);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::SyncEnd { failed: true, .. })).count(), 1);
    power_goes(world, &events, &mut random, 10);
}

/// At some moments of the log the power goes: what the store answered with 201, or in a list, until then is there.
pub(crate) fn power_goes(mut world: World, events: &[Event], random: &mut Random, states: u64) {
    let mut told: Vec<String> = Vec::new();
    let first = events.iter().position(|event| tells(event).is_some()).expect("something was told");
    let mut moments: Vec<usize> =
        (0..states).map(|_| first + random.below((events.len() - first) as u64) as usize).collect();
    // The last moment is always one of them.
    moments.push(events.len() - 1);
    for (at, event) in events.iter().enumerate() {
        if *event == Event::Start {
            world.process_ended();
        }
        world.apply(event);
        for person in tells(event).unwrap_or_default() {
            if !told.contains(&person) {
                told.push(person);
            }
        }
        if moments.contains(&at) {
            let left = super::scratch();
            world.power_loss(random, left.path());
            let found = open(&left.path().join("data"));
            let there = persons(&found);
            found.journal.close();
            assert!(there.starts_with(&told), "after call {at}: {there:?} does not begin with {told:?}");
        }
    }
    world.assert_seen_whole();
}

/// The persons in an answer that leaves the process; none in anything else.
pub(crate) fn tells(event: &Event) -> Option<Vec<String>> {
    let Event::Out { to: 3.., bytes } = event else { return None };
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let is_told = head.starts_with("HTTP/1.1 201") || (head.starts_with("HTTP/1.1 200") && body.starts_with('['));
    if !is_told {
        return None;
    }
    Some(if body.starts_with('[') { records(body) } else { vec![body.to_owned()] })
}

fn open(volume: &Path) -> Opened {
    Volume::open(volume, Options::new(|_| {})).unwrap_or_else(|error| panic!("{error}"))
}

/// Everything on a volume, committed or not: with one voter all that is durable is.
fn persons(found: &Opened) -> Vec<String> {
    let mut documents: Documents = found.documents.clone();
    for entry in &found.recovered.entries {
        match &entry.payload {
            Payload::Command(command) => {
                documents.apply(entry.position, command, &mut Vec::new()).unwrap();
            }
            Payload::Empty => documents.skip(entry.position),
            Payload::Voters(voters) => documents.voters(entry.position, voters.format, &mut Vec::new()),
        }
    }
    let persons = documents.collection("persons").into_iter().flat_map(|persons| persons.after(0));
    persons.map(|(_, record)| record.as_str().to_owned()).collect()
}

#[test]
fn a_write_that_fails_ends_the_store_and_on_a_full_disk_it_starts_serves_and_takes_deletes() {
    let root = super::scratch();
    let logs = super::scratch();
    let Some(shim) = Shim::new(root.path(), &logs.path().join("log")) else { return };
    let mut store = Store::new(root.path());
    store.lead(None);
    // Its format begins with a segment of its own: not at the next start.
    let is_raised =
        || super::store::ask(store.api, "GET", "/api/status", "")?.body.contains("\"inForce\":2").then_some(());
    store.until("the format", is_raised);
    store.until("a reserve", || root.path().join("data/journal/reserve-2").exists().then_some(()));
    store.kill();
    // Room within the segment does not help on a file system that writes elsewhere: the write itself fails.
    store.lead(Some((&shim, &[("CRASH_FAIL", "write:536:ENOSPC"), ("CRASH_MATCH", "journal/next")])));
    let (acknowledged, lost) = write_until_it_fails(&store, 1);
    assert_eq!(store.ends().code(), Some(1), "{}", store.log());
    assert!(store.log().contains("No space left on device"), "it does not say why: {}", store.log());
    assert!(!acknowledged.is_empty());
    assert_eq!(store.status().unwrap().state, State::Failed);

    // No file can grow: it starts in what was set aside.
    let full: &[(&str, &str)] = &[("CRASH_FAIL", "grow:1:ENOSPC"), ("CRASH_MATCH", "/data/")];
    for _ in 0..3 {
        store.lead(Some((&shim, full)));
        assert!(store.log().contains("in a segment of its reserve"), "it does not say so: {}", store.log());
        let served = store.list();
        assert_eq!(served[..acknowledged.len()], acknowledged);
        assert!(served.len() <= acknowledged.len() + 1 && served[acknowledged.len()..].iter().all(|one| *one == lost));
        let is_there = |name: &str| root.path().join("data/journal").join(name).exists();
        store.until("the reserve, anew", || (is_there("reserve-1") && is_there("reserve-2")).then_some(()));
        store.kill();
    }
    // Without a reserve it says what it needs, leaves everything unchanged, and waits.
    for name in ["reserve-1", "reserve-2"] {
        std::fs::remove_file(root.path().join("data/journal").join(name)).unwrap();
    }
    store.start(Some((&shim, full)));
    let waits = store.until("waiting for room", || store.status()?.waits_for_room);
    for words in ["No space left on device", "reserve is used up", "/data", "enlarge"] {
        assert!(waits.contains(words) && store.log().contains(words), "{words}: {waits}\n{}", store.log());
    }
    store.kill();

    store.lead(None);
    assert_eq!(store.list()[..acknowledged.len()], acknowledged);
    assert_eq!(store.post(&person(1000)).unwrap().status, 201);
}

#[test]
fn a_new_volume_on_a_full_disk_waits_alive_and_says_so_and_begins_when_there_is_room() {
    for grows in ["grow:1:ENOSPC", "grow:3:ENOSPC"] {
        let root = super::scratch();
        let logs = super::scratch();
        let Some(shim) = Shim::new(root.path(), &logs.path().join("log")) else { return };
        let full = logs.path().join("full");
        std::fs::write(&full, "").unwrap();
        let mut store = Store::new(root.path());
        let words = [("CRASH_FAIL", grows), ("CRASH_MATCH", "/data/"), ("CRASH_WHILE", full.to_str().unwrap())];
        store.start(Some((&shim, &words)));
        let status = store.until("waiting for room", || store.status().filter(|now| now.waits_for_room.is_some()));
        assert_eq!((status.state, status.ready), (State::Starting, Some(false)));
        let why = status.waits_for_room.unwrap();
        assert!(why.contains("No space left on device") && why.contains("enlarge"), "{why}");
        assert!(store.log().contains("WARN") && store.log().contains("has no room for a start"), "{}", store.log());
        assert_eq!(ask(store.api, "GET", "/healthz", "").unwrap().status, 200);
        let ready = ask(store.api, "GET", "/readyz", "").unwrap();
        assert!(ready.status == 503 && ready.body.contains("enlarge"), "{ready:?}");
        std::fs::remove_file(&full).unwrap();
        store.go_on_to_lead();
        assert_eq!(store.status().unwrap().waits_for_room, None);
        assert_eq!(store.post(&person(1)).unwrap().status, 201);
    }
}
