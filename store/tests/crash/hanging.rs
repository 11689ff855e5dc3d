//! A disk that hangs under a store that is alone: it leads on, acknowledges nothing, and reports it to every client.

use super::failing::{person, power_goes};
use super::random::Random;
use super::shim::Shim;
use super::store::{Store, ask};
use super::trace;
use super::world::World;

#[test]
fn while_the_disk_hangs_nothing_is_acknowledged_and_if_the_power_goes_then_all_that_was_told_is_there() {
    let root = super::scratch();
    let logs = super::scratch();
    let log = logs.path().join("log");
    let Some(shim) = Shim::new(root.path(), &log) else { return };
    let hang = logs.path().join("hang");
    let words = [
        ("CRASH_HANG", hang.to_str().unwrap()),
        ("CRASH_MATCH", "/data/"),
        ("LEASEHOLD_STORE_DISK_STALL", "300ms"),
        ("LEASEHOLD_STORE_WRITE_TIMEOUT", "1s"),
    ];
    let world = World::of(root.path());
    let mut store = Store::new(root.path());
    store.lead(Some((&shim, &words)));
    let told: Vec<String> = (1..=20).map(person).collect();
    for person in &told {
        assert_eq!(store.post(person).unwrap().status, 201);
    }

    std::fs::write(&hang, "").unwrap();
    let in_flight = person(21);
    let answer = store.post(&in_flight).unwrap();
    assert_eq!(answer.status, 504, "it may still be done: {}", answer.body);
    store.until("a status that says so", || store.status().filter(|status| status.stalled));
    let answer = store.post(&person(22)).unwrap();
    assert!(answer.status == 503 && answer.body.contains("disk-stalled"), "{answer:?}");
    assert_eq!(store.list(), told, "what is not durable is not read");
    let status = ask(store.api, "GET", "/api/status", "").unwrap().body;
    assert!(status.contains("\"waitsFor\":\"") && status.contains(root.path().to_str().unwrap()), "{status}");
    assert!(store.log().contains("the disk hangs"), "{}", store.log());

    // Killed, it starts on that disk: alive, and it says what it waits for.
    store.kill();
    let before = store.status().map(|status| status.incarnation);
    store.start(Some((&shim, &words)));
    store.until("a start that says what it waits for", || store.log().contains("the start waits for it").then_some(()));
    assert_eq!(ask(store.api, "GET", "/healthz", "").unwrap().status, 200);
    assert_eq!(ask(store.api, "GET", "/persons", "").unwrap().status, 503);
    std::fs::remove_file(&hang).unwrap();
    store.becomes_leader(before);
    let served = store.list();
    assert_eq!(served[..told.len()], told);
    assert!(served.len() <= told.len() + 1 && served[told.len()..].iter().all(|one| *one == in_flight), "{served:?}");
    assert_eq!(store.post(&person(1000)).unwrap().status, 201);
    store.kill();

    power_goes(world, &trace::read(&log), &mut Random::new(7), 10);
}
