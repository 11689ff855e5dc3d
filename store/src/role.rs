//! Watches role.json for the state machine. The part of it that a replica needs: `contract::replication::role_view`.
//!
//! ```text
//!   sidecar ──rename──▶ role.json ──Watch (notify)──▶ watch task ──latest value──▶ driver ──Input::Role──▶ Replica
//! ```
//!
//! A missing or unreadable file changes nothing: the last good one stays in force. A leader never stops because of it
//! \[L11\].

use std::path::Path;
use std::sync::Arc;

use leasehold_contract::{ROLE_FILE, RoleFile, Watch, WatchEvent};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// The latest good role.json; none before the first.
pub type RoleReceiver = watch::Receiver<Option<Arc<RoleFile>>>;

/// Watches role.json in `dir` for the pod `name`, forever. Ends only when the receiver is dropped.
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
                error!(ours = name, theirs = role.self_name, "role.json is for another pod; ignoring it");
            }
            WatchEvent::Value(role) => {
                let said = latest.borrow().as_deref().map(|last| (last.role, last.term));
                if said != Some((role.role, role.term)) {
                    let leader = role.leader.as_ref().map(|leader| leader.name.as_str());
                    info!(role = role.role.as_str(), term = role.term, leader, off_lease = role.off_lease, "role.json");
                }
                latest.send_replace(Some(Arc::new(role)));
            }
            WatchEvent::Missing => {
                info!(dir = %dir.display(), "role.json does not exist (yet); is the sidecar running?")
            }
            WatchEvent::Unreadable(error) => {
                warn!(%error, unreadable = file.unreadable(), "invalid role.json; keeping the last good one");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_contract::testing::{leader, member, role_of};
    use leasehold_contract::{Member, Role, replace_file};
    use std::time::Duration;
    use uuid::Uuid;

    fn role(term: u64, incarnation: Option<Uuid>) -> RoleFile {
        let pod = |n: u32| Member {
            addresses: vec![format!("10.0.0.{n}").parse().unwrap(), format!("fd00::{n}").parse().unwrap()],
            remembered: true,
            ..member(&format!("store-{n}"), &format!("10.0.0.{n}:8089"), &format!("store-{n}.peers:8090"))
        };
        RoleFile {
            role: Role::Follower,
            term,
            cluster_id: Some(Uuid::from_u128(3)),
            self_addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            leader: Some(leader(&pod(0), incarnation)),
            members: vec![pod(0), pod(1)],
            hand_over_to: Some("store-1".into()),
            paused: true,
            newest_revision: Some("r2".into()),
            ..role_of("store-1")
        }
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
        // On the way to the third, only our own content was ever published.
        let seen = latest.wait_for(|role| role.as_ref().is_some_and(|role| role.term != 1));
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap().unwrap().as_ref().unwrap().term,
            3
        );
        drop(latest);
        tokio::time::timeout(Duration::from_secs(10), task).await.expect("it watches for nobody").unwrap();
    }
}
