//! role.json of made-up pods. A test begins with one of these and says what it is about: `RoleFile { term: 3, ..role_of("db-1") }`.

use uuid::Uuid;

use crate::{Leader, LeaseInfo, Member, Role, RoleFile, VERSION};

/// Of the pod of this name: nobody leads, nobody is wanted, and the Lease, of 15 s, was never renewed.
pub fn role_of(name: &str) -> RoleFile {
    RoleFile {
        version: VERSION,
        generation: 1,
        role: Role::None,
        term: 0,
        cluster_id: None,
        boot_id: None,
        self_name: name.to_owned(),
        self_addresses: Vec::new(),
        leader: None,
        members: Vec::new(),
        hand_over_to: None,
        off_lease: false,
        paused: false,
        newest_revision: None,
        lease: LeaseInfo {
            namespace: "n".to_owned(),
            name: "db".to_owned(),
            duration_ms: 15_000,
            valid_until_boottime_ns: None,
            valid_until_unix_ms: None,
            renewal_seen_boottime_ns: None,
        },
    }
}

/// Of a cluster of one: it leads where an incarnation is given.
pub fn alone(pod: Member, term: u64, cluster_id: Option<Uuid>, incarnation: Option<Uuid>) -> RoleFile {
    RoleFile {
        role: if incarnation.is_some() { Role::Leader } else { Role::None },
        term,
        cluster_id,
        leader: incarnation.map(|incarnation| leader(&pod, Some(incarnation))),
        members: vec![pod.clone()],
        ..role_of(&pod.name)
    }
}

/// A pod without IPs, which clients and other replicas reach there.
pub fn member(name: &str, address: &str, peer_address: &str) -> Member {
    Member {
        name: name.to_owned(),
        address: address.to_owned(),
        peer_address: peer_address.to_owned(),
        addresses: Vec::new(),
        remembered: false,
    }
}

/// That pod, as it leads with this run of its app.
pub fn leader(pod: &Member, incarnation: Option<Uuid>) -> Leader {
    Leader {
        name: pod.name.clone(),
        incarnation,
        address: pod.address.clone(),
        peer_address: pod.peer_address.clone(),
        addresses: pod.addresses.clone(),
    }
}
