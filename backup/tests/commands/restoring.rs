//! restore, into an empty volume and into a cluster that runs.

use crate::fixture::Fixture;
use crate::store::Store;
use leasehold_archive::testing::CLUSTER;
use leasehold_contract::testing::{alone, member};
use leasehold_documents::{FORMAT, snapshot};
use leasehold_replication::{ClusterId, Position, Seq};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use uuid::Uuid;

const N3: &str = r#"[{"id":"a","n":3},{"id":"c","n":4},{"id":"b","n":5},{"id":"d","n":6}]"#;

fn restore_to(fixture: &Fixture, data: &Path, more: &str) -> crate::fixture::Run {
    fixture.run(&format!("restore --to {} {more}", data.display()))
}

#[test]
fn an_empty_volume_gets_the_data_for_its_first_start() {
    let fixture = Fixture::whole();
    let data = tempfile::tempdir().unwrap();
    for at in [4, 9] {
        let restore = restore_to(&fixture, data.path(), &format!("--at {at}"));
        assert!(restore.code == 0 && restore.out.contains("restore.json is ready"), "{restore:?}");
        let file = fs::File::open(data.path().join("restore.json")).unwrap();
        let read = snapshot::read(file, FORMAT).unwrap();
        assert_eq!((read.head.cluster_id, read.head.position), (CLUSTER, Position::new(0, at)));
        assert_eq!(read.documents.data_sum(), fixture.history.mark(Seq(at)).hash);
        assert!(read.head.voters.voters.is_empty() && read.documents.expiry_paused());
        assert_eq!(read.said, Some(read.documents.sum()));
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "nothing else is left");
    }
}

#[test]
fn a_folder_that_is_not_a_volume_is_refused() {
    let fixture = Fixture::whole();
    let data = tempfile::tempdir().unwrap();
    for name in ["lost+found", "journal", ".snapshot"] {
        fs::create_dir(data.path().join(name)).unwrap();
    }
    assert_eq!(restore_to(&fixture, data.path(), "").code, 0);
    fs::write(data.path().join("thesis.odt"), "").unwrap();
    let refused = restore_to(&fixture, data.path(), "--at 4");
    assert!(
        refused.code == 1 && refused.err.contains("is not the volume of a store: it has thesis.odt; "),
        "{refused:?}"
    );
    // Neither is an archive.
    let archive = restore_to(&fixture, fixture.folder.path(), "");
    assert!(archive.code == 1 && archive.err.contains(&CLUSTER.0.to_string()), "{archive:?}");
    assert!(!fixture.folder.path().join("restore.json").exists());
}

#[test]
fn a_cluster_begins_with_the_data_and_restores_no_second_time() {
    let fixture = Fixture::whole();
    let data = tempfile::tempdir().unwrap();
    assert_eq!(restore_to(&fixture, data.path(), "").code, 0);
    let store = Store::lead(data.path());
    assert_ne!(ClusterId(store.cluster), CLUSTER);
    assert_eq!(store.ask("GET", "/orders", "").1.replace([' ', '\n'], ""), N3);
    assert_eq!(store.ask("PUT", "/orders/e", r#"{"id":"e"}"#).0, 201);
    assert!(store.json("/api/status")["applied"]["sequence"].as_u64().unwrap() > 9);
    drop(store);
    // The bucket is not even asked: its folder is gone.
    fs::remove_dir_all(fixture.folder.path()).unwrap();
    let again = restore_to(&fixture, data.path(), "");
    assert!(again.code == 0 && again.out.starts_with("nothing to restore: the volume at "), "{again:?}");
    assert!(again.out.contains("to go back in time, use an empty volume, or --into"), "{again:?}");
    assert!(!data.path().join("restore.json").exists());
}

#[test]
fn only_the_first_member_of_a_new_cluster_restores() {
    let fixture = Fixture::whole();
    let folder = tempfile::tempdir().unwrap();
    let (data, role) = (folder.path().join("data"), folder.path().join("role.json"));
    let write = |cluster: Option<Uuid>| {
        let file = alone(member("db-0", "127.0.0.1:1", "127.0.0.1:2"), 0, cluster, None);
        fs::write(&role, serde_json::to_vec(&file).unwrap()).unwrap();
    };
    let nowhere = |name: &str| {
        let words = format!(
            "restore --to {} --role {} --name {name} --url s3://dead/x --endpoint http://127.0.0.1:1",
            data.display(),
            role.display()
        );
        crate::fixture::run(words.split(' '))
    };
    assert!(nowhere("db-0").err.contains("mount the volume there"));
    fs::create_dir(&data).unwrap();
    write(None);
    let second = nowhere("db-1");
    assert!(second.code == 0 && second.out.contains("db-1 is not the first member"), "{second:?}");
    write(Some(Uuid::from_u128(7)));
    let first = nowhere("db-0");
    assert!(
        first.code == 0 && first.out.contains("names the cluster 00000000-0000-0000-0000-000000000007"),
        "{first:?}"
    );
    write(None);
    let named = format!("--role {} --name db-0", role.display());
    let restore = restore_to(&fixture, &data, &named);
    assert!(restore.code == 0 && data.join("restore.json").exists(), "{restore:?}");
    fs::remove_file(&role).unwrap();
    let waits = restore_to(&fixture, &data, &format!("{named} --role-timeout 1s"));
    assert!(waits.code == 1 && waits.err.contains("waited 1 s for the sidecar's"), "{waits:?}");
}

#[test]
fn a_running_cluster_gets_definitions_and_records() {
    let mut fixture = Fixture::whole();
    for n in 0..2100 {
        fixture.history.put(&format!("many/{n}").replace('/', " "), n);
    }
    let last = fixture.history.last().0;
    fixture.changes(10, last);
    let data = tempfile::tempdir().unwrap();
    let store = Store::lead(data.path());
    let into = |fixture: &Fixture, more: &str| fixture.run(&format!("restore --into {} {more}", store.url()));
    assert_eq!(store.ask("PUT", "/api/collections/orders", r#"{"id":"string"}"#).0, 201);
    assert_eq!(store.ask("PUT", "/orders/kept", r#"{"id":"kept"}"#).0, 201);
    for _ in 0..2 {
        let restore = into(&fixture, "");
        assert!(restore.code == 0 && restore.out.starts_with("restored 2104 records of 2 collections"), "{restore:?}");
        let count = store.json("/api/collections/orders")["count"].as_u64();
        assert_eq!(count, Some(2105));
    }
    assert_eq!(store.ask("GET", "/orders/many%20712", "").1.replace([' ', '\n'], ""), r#"{"id":"many712","n":712}"#);
    assert_eq!(store.ask("DELETE", "/api/collections/orders?records=delete", "").0, 204);
    let restore = into(&fixture, "--at 4 --collections orders");
    assert!(restore.out.starts_with("restored 2 records of 1 collection"), "{restore:?}");
    assert!(restore.out.contains("1 definition new"), "{restore:?}");
    let missing = into(&fixture, "--collections users");
    assert!(
        missing.code == 1 && missing.err.contains("there was no collection users; there were: orders"),
        "{missing:?}"
    );
}

/// Answers every request so, as a pod that does not do it.
fn answers(head: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let _ = write!(connection, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    url
}

#[test]
fn a_pod_that_does_not_lead_names_the_leader_which_gets_the_records() {
    let fixture = Fixture::whole();
    let data = tempfile::tempdir().unwrap();
    let store = Store::lead(data.path());
    let follower = answers(format!("421 Misdirected Request\r\nLocation: {}/api/status", store.url()));
    let restore = fixture.run(&format!("restore --into {follower}"));
    assert!(restore.code == 0 && restore.out.starts_with("restored 4 records"), "{restore:?}");
    assert!(restore.err.contains(&format!("does not lead; asking {}", store.url())), "{restore:?}");
    let other = fixture.run(&format!("restore --into {}", answers("421 Misdirected Request".to_owned())));
    assert!(other.code == 1 && other.err.contains("name the leader's address with --into"), "{other:?}");
    assert!(!other.err.contains("what was written"), "{other:?}");
}

#[test]
fn a_store_that_wants_a_token_gets_no_second_request() {
    let fixture = Fixture::whole();
    let restore = fixture.run(&format!("restore --into {}", answers("401 Unauthorized".to_owned())));
    assert!(restore.code == 1 && restore.err.contains("right admin with --token-file"), "{restore:?}");
    let invalid = fixture.run("restore --into db-0:8089");
    assert!(invalid.code == 2 && invalid.err.contains("--into") && invalid.err.contains("http://host"), "{invalid:?}");
}

#[test]
fn records_that_may_expire_at_once_are_named_before() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::lead(data.path());
    assert_eq!(store.ask("PUT", "/api/collections/locks", r#"{"id":"string","expires":"/until"}"#).0, 201);
    assert_eq!(store.ask("PUT", "/locks/a", r#"{"id":"a","until":"2999-01-01T00:00:00Z"}"#).0, 201);
    let read = snapshot::read(store.ask("GET", "/api/snapshot", "").1.as_bytes(), FORMAT).unwrap();
    let mut fixture = Fixture::new();
    fixture.history.cluster = ClusterId(store.cluster);
    let time = leasehold_archive::time::Time::from_ms(read.documents.time_ms());
    let name = leasehold_archive::name::Name::Full { seq: read.head.position.seq, time, encrypted: false };
    fixture.write(name, store.ask("GET", "/api/snapshot", "").1.as_bytes());
    let into = || fixture.run(&format!("restore --into {} --same-cluster-too", store.url()));
    let warned = into();
    assert!(warned.code == 0 && warned.err.contains("warning: records of locks have a time of expiry"), "{warned:?}");
    assert_eq!(store.ask("PUT", "/api/expiry", r#"{"paused": true}"#).0, 200);
    let paused = into();
    assert!(paused.code == 0 && paused.err.is_empty(), "{paused:?}");
}

#[test]
fn the_archives_own_cluster_is_overwritten_only_on_purpose() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::lead(data.path());
    let mut fixture = Fixture::new();
    fixture.history.cluster = ClusterId(store.cluster);
    fixture.full(9);
    let into = |more: &str| fixture.run(&format!("restore --into {} {more}", store.url()));
    let refused = into("");
    assert!(refused.code == 1 && refused.err.contains("--same-cluster-too"), "{refused:?}");
    assert_eq!(store.ask("GET", "/orders", "").0, 404);
    assert_eq!(into("--same-cluster-too").code, 0);
    assert_eq!(store.ask("GET", "/orders", "").1.replace([' ', '\n'], ""), N3);
}

#[test]
fn what_cat_prints_is_accepted_by_a_store() {
    let fixture = Fixture::whole();
    let data = tempfile::tempdir().unwrap();
    let store = Store::lead(data.path());
    assert_eq!(store.ask("PUT", "/api/collections/orders", r#"{"id":"string"}"#).0, 201);
    let batch = fixture.run("cat --collection orders --batch").out;
    assert_eq!(store.ask("POST", "/orders:batch", &batch).0, 200);
    assert_eq!(store.ask("GET", "/orders", "").1.replace([' ', '\n'], ""), N3);
}

#[test]
fn the_snapshot_that_a_store_serves_is_a_full() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::lead(data.path());
    assert_eq!(store.ask("PUT", "/api/collections/orders", r#"{"id":"string","indexes":[{"fields":["/n"]}]}"#).0, 201);
    assert_eq!(store.ask("PUT", "/orders/a", r#"{"id":"a","n":1}"#).0, 201);
    let (status, content) = store.ask("GET", "/api/snapshot", "");
    assert_eq!(status, 200);
    let read = snapshot::read(content.as_bytes(), FORMAT).unwrap();
    let mut fixture = Fixture::new();
    fixture.history.cluster = ClusterId(store.cluster);
    let time = leasehold_archive::time::Time::from_ms(read.documents.time_ms());
    let name = leasehold_archive::name::Name::Full { seq: read.head.position.seq, time, encrypted: false };
    fixture.write(name, content.as_bytes());
    let drill = fixture.run("drill");
    assert!(drill.code == 0 && drill.out.starts_with("restored 1 record in 2 collections"), "{drill:?}");
}
