//! The Lease, and the words for shells, as each release wrote them: docs/golden.md has the rules. Sidecars of two releases share a
//! Lease during an update. The EndpointSlice is tested beside its code (`kube/endpoints.rs`).

#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease as RawLease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use leasehold_contract::testing::{leader, member, role_of};
use leasehold_contract::{LEADER_WORD_FILE, ROLE_WORD_FILE, Role, RoleFile};
use leasehold_election::{Body, LeaseWrite, Term, Why, annotation};
use leasehold_testkit::golden::Golden;
use uuid::Uuid;

use crate::args::Config;
use crate::kube::lease::{LeaseClient, view};
use crate::kube::request::Requester;
use crate::role::RoleWriter;
use crate::telemetry::Metrics;
use crate::testing::fuzz::nowhere;

pub(crate) fn golden() -> Golden {
    Golden::of(env!("CARGO_MANIFEST_DIR"))
}

const CLUSTER: Uuid = Uuid::from_u128(0xc1);
const INCARNATION: Uuid = Uuid::from_u128(0x1a);

fn leases() -> Vec<(&'static str, Body, Why)> {
    let annotated = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let held = Body {
        holder: Some("db-0".to_owned()),
        term: Term(5),
        duration_seconds: Some(15),
        annotations: [
            annotated(annotation::CLUSTER_ID, &CLUSTER.to_string()),
            annotated(annotation::INCARNATION, &INCARNATION.to_string()),
            annotated(annotation::ADDRESS, "10.0.0.1:8089"),
            annotated(annotation::PREFERRED_HOLDER, "db-1"),
            annotated(annotation::PAUSED, "true"),
            annotated("example.com/note", "of others"),
        ]
        .into(),
    };
    let cleared = Body {
        holder: None,
        annotations: [annotated(annotation::CLUSTER_ID, &CLUSTER.to_string())].into(),
        ..held.clone()
    };
    vec![("lease-held.json", held, Why::TakeCampaign), ("lease-cleared.json", cleared, Why::Clear)]
}

/// The object of such a write, but for the stamps of the present moment.
fn object(body: Body, why: Why) -> RawLease {
    let config = Config::plain("n", "db", "db-0", "10.0.0.1:8089").unwrap();
    let mut client = LeaseClient::new(Requester::new(nowhere(), &config, Metrics::new()), "db");
    client.set_owner(Some(OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "StatefulSet".to_owned(),
        name: "db".to_owned(),
        uid: "u".to_owned(),
        ..OwnerReference::default()
    }));
    let mut object = client.object(&LeaseWrite { expected: None, body, why }).unwrap();
    let spec = object.spec.as_mut().unwrap();
    for stamp in [&mut spec.renew_time, &mut spec.acquire_time] {
        *stamp = stamp.take().map(|_| MicroTime("2026-01-01T00:00:00.123456Z".parse::<Timestamp>().unwrap()));
    }
    object
}

#[test]
fn golden_leases_are_read_as_these_values() {
    for (name, body, _) in leases() {
        for (version, json) in golden().stored(name) {
            let lease = view(&serde_json::from_slice(&json).unwrap());
            assert_eq!(lease.body, body, "{version}/{name}");
            assert_eq!(lease.body.cluster_id(), Some(CLUSTER), "{version}/{name}");
            let is_held = name == "lease-held.json";
            assert_eq!(lease.body.incarnation(), is_held.then_some(INCARNATION), "{version}/{name}");
            assert_eq!(lease.body.address(), is_held.then_some("10.0.0.1:8089"), "{version}/{name}");
            assert_eq!(lease.body.preferred_holder(), is_held.then_some("db-1"), "{version}/{name}");
            assert_eq!(lease.body.is_paused(), is_held, "{version}/{name}");
        }
    }
}

#[tokio::test]
async fn golden_leases_are_what_these_values_are_written_as() {
    for (name, body, why) in leases() {
        golden().is_written(name, &serde_json::to_vec_pretty(&object(body, why)).unwrap());
    }
}

/// Words for shells: the file's name among the golden ones, and what it is of.
const WORDS: [(&str, &str, Role); 5] = [
    ("role-of-a-leader", ROLE_WORD_FILE, Role::Leader),
    ("role-of-a-follower", ROLE_WORD_FILE, Role::Follower),
    ("role-of-none", ROLE_WORD_FILE, Role::None),
    ("leader", LEADER_WORD_FILE, Role::Follower),
    ("leader-of-none", LEADER_WORD_FILE, Role::None),
];

/// Shells read them, so there is no reader here.
#[test]
fn golden_words_are_what_these_roles_are_written_as() {
    for (name, file, role) in WORDS {
        let folder = tempfile::tempdir().unwrap();
        let pod =
            member("db-0", "db-0.db-service.n.svc.cluster.local:8089", "db-0.db-service.n.svc.cluster.local:8090");
        let leads = (role != Role::None).then(|| leader(&pod, Some(INCARNATION)));
        RoleWriter::new(Some(folder.path().to_owned())).publish(RoleFile { role, leader: leads, ..role_of("db-0") });
        golden().is_written(name, &std::fs::read(folder.path().join(file)).unwrap());
    }
}

#[test]
fn golden_files_of_the_sidecar_are_all_tested() {
    let leases = leases().into_iter().map(|(name, ..)| name);
    let words = WORDS.into_iter().map(|(name, ..)| name);
    golden().has_exactly(&leases.chain(words).chain(["endpoint-slice.json"]).collect::<Vec<_>>());
}
