//! role.json for the state machine: what of it a replica cares about, and its watch.
//!
//! ```text
//!   sidecar ──rename──▶ role.json ──Watch (notify)──▶ watch task ──latest value──▶ driver ──Input::Role──▶ Replica
//! ```
//!
//! A file that is missing or unreadable changes nothing: the last good one stays in force. A leader never stops because
//! of it \[L11\].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasehold_contract::{ROLE_FILE, RoleFile, Watch, WatchEvent};
use leasehold_replication::{ClusterId, Incarnation, LeaderView, Member, RoleView, Term};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// The latest good role.json; none before the first.
pub type RoleReceiver = watch::Receiver<Option<Arc<RoleFile>>>;

/// What a replica cares about. A leader without an incarnation is nobody: there is no run of a store to follow.
pub fn view(role: &RoleFile) -> RoleView {
    let leader = role.leader.as_ref().and_then(|leader| {
        Some(LeaderView {
            term: Term(role.term),
            incarnation: Incarnation(leader.incarnation?),
            name: leader.name.clone(),
            peer_address: leader.peer_address.clone(),
            addresses: leader.addresses.clone(),
        })
    });
    let member = |member: &leasehold_contract::Member| Member {
        name: member.name.clone(),
        peer_address: member.peer_address.clone(),
        addresses: member.addresses.clone(),
        remembered: member.remembered,
    };
    RoleView {
        cluster_id: role.cluster_id.map(ClusterId),
        leader,
        members: role.members.iter().map(member).collect(),
        hand_over_to: role.hand_over_to.clone(),
        paused: role.paused,
        newest_revision: role.newest_revision.clone(),
        self_addresses: role.self_addresses.clone(),
        renewal_seen: role.lease.renewal_seen_boottime_ns,
        lease_duration: Duration::from_millis(role.lease.duration_ms),
    }
}

/// Watches role.json in `dir` for the pod `name`, for ever. Ends only when nobody listens any more.
pub async fn watch(dir: &Path, name: &str, latest: watch::Sender<Option<Arc<RoleFile>>>) {
    let mut file = Watch::<RoleFile>::new(dir, ROLE_FILE);
    loop {
        let event = tokio::select! {
            event = file.next() => event,
            () = latest.closed() => return,
        };
        match event {
            WatchEvent::Value(role) if role.self_name != name => {
                // Two pods on one directory, or a wrong --name: its claims are not meant for us.
                error!(ours = name, theirs = role.self_name, "role.json is for another pod and is ignored");
            }
            WatchEvent::Value(role) => {
                let said = latest.borrow().as_deref().map(|last| (last.role, last.term));
                if said != Some((role.role, role.term)) {
                    let leader = role.leader.as_ref().map(|leader| leader.name.as_str());
                    info!(role = role.role.as_str(), term = role.term, leader, off_lease = role.off_lease, "role.json");
                }
                latest.send_replace(Some(Arc::new(role)));
            }
            WatchEvent::Missing => info!(dir = %dir.display(), "there is no role.json (yet); is the sidecar running?"),
            WatchEvent::Unreadable(error) => {
                warn!(%error, unreadable = file.unreadable(), "role.json is ignored, the last good one stays in force");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_contract::{Leader, LeaseInfo, Role, VERSION, replace_file};
    use std::net::IpAddr;
    use uuid::Uuid;

    fn role(term: u64, incarnation: Option<Uuid>) -> RoleFile {
        let member = |n: u32| leasehold_contract::Member {
            name: format!("store-{n}"),
            address: format!("10.0.0.{n}:8089"),
            peer_address: format!("store-{n}.peers:8090"),
            addresses: vec![format!("10.0.0.{n}").parse().unwrap(), format!("fd00::{n}").parse().unwrap()],
            remembered: true,
        };
        RoleFile {
            version: VERSION,
            generation: 1,
            role: Role::Follower,
            term,
            cluster_id: Some(Uuid::from_u128(3)),
            boot_id: None,
            self_name: "store-1".into(),
            self_addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            leader: Some(Leader {
                name: "store-0".into(),
                incarnation,
                address: "10.0.0.0:8089".into(),
                peer_address: "10.0.0.0:8090".into(),
                addresses: vec!["10.0.0.0".parse().unwrap()],
            }),
            members: vec![member(0), member(1)],
            hand_over_to: Some("store-1".into()),
            off_lease: false,
            paused: true,
            newest_revision: Some("r2".into()),
            lease: LeaseInfo {
                namespace: "n".into(),
                name: "l".into(),
                duration_ms: 15_000,
                valid_until_boottime_ns: None,
                valid_until_unix_ms: None,
                renewal_seen_boottime_ns: None,
            },
        }
    }

    #[test]
    fn only_a_leader_with_an_incarnation_counts() {
        let found = view(&role(4, Some(Uuid::from_u128(9))));
        let leader = found.leader.unwrap();
        assert_eq!((leader.term, leader.incarnation), (Term(4), Incarnation(Uuid::from_u128(9))));
        assert_eq!((leader.name.as_str(), leader.peer_address.as_str()), ("store-0", "10.0.0.0:8090"));
        assert_eq!(found.cluster_id, Some(ClusterId(Uuid::from_u128(3))));
        let member = Member {
            name: "store-1".into(),
            peer_address: "store-1.peers:8090".into(),
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            remembered: true,
        };
        assert_eq!(found.members[1], member);
        assert_eq!(leader.addresses, ["10.0.0.0".parse::<IpAddr>().unwrap()]);
        assert_eq!(found.self_addresses, member.addresses);
        assert_eq!((found.hand_over_to.as_deref(), found.paused), (Some("store-1"), true));
        assert_eq!(found.newest_revision.as_deref(), Some("r2"));
        assert_eq!(view(&role(4, None)).leader, None);
    }

    #[tokio::test]
    async fn the_last_good_file_of_this_pod_stays_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, mut latest) = watch::channel(None);
        let watched = dir.path().to_owned();
        let task = tokio::spawn(async move { super::watch(&watched, "store-1", sender).await });
        let write = |role: &RoleFile| {
            replace_file(dir.path(), ROLE_FILE, &serde_json::to_vec(role).unwrap()).unwrap();
        };
        let until = async |latest: &mut RoleReceiver, term: u64| {
            let found = latest.wait_for(|role| role.as_ref().is_some_and(|role| role.term == term));
            tokio::time::timeout(Duration::from_secs(10), found).await.expect("the role never came").unwrap();
        };
        write(&role(1, None));
        until(&mut latest, 1).await;
        replace_file(dir.path(), ROLE_FILE, b"{").unwrap();
        let another = RoleFile { self_name: "store-7".into(), ..role(2, None) };
        write(&another);
        std::fs::remove_file(dir.path().join(ROLE_FILE)).unwrap();
        write(&role(3, None));
        // Nothing but what is ours was ever shown on the way to the third.
        let seen = latest.wait_for(|role| role.as_ref().is_some_and(|role| role.term != 1));
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap().unwrap().as_ref().unwrap().term,
            3
        );
        drop(latest);
        tokio::time::timeout(Duration::from_secs(10), task).await.expect("it watches for nobody").unwrap();
    }
}
