//! Translates between the files and the store's core: role.json becomes its input, its status becomes status.json.

use std::time::Duration;

use leasehold_replication::{
    Claim, ClusterId, Incarnation, LeaderView, Member, Phase, Position, Promise, ReplicaId, RoleView, Status, Term,
};

use crate::{ClaimInfo, HandOver, PositionInfo, PromiseInfo, RoleFile, State, StatusFile};

/// The part of role.json that a replica needs. A leader without an incarnation does not count: there is no run of a store
/// to follow.
pub fn role_view(role: &RoleFile) -> RoleView {
    let leader = role.leader.as_ref().and_then(|leader| {
        Some(LeaderView {
            term: Term(role.term),
            incarnation: Incarnation(leader.incarnation?),
            name: leader.name.clone(),
            peer_address: leader.peer_address.clone(),
            addresses: leader.addresses.clone(),
        })
    });
    let member = |member: &crate::Member| Member {
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

/// The content of status.json before there is a replica. `app_version` is for people.
pub fn starting(incarnation: Incarnation, app_version: &str) -> StatusFile {
    StatusFile { ready: Some(false), app_version: app_version.to_owned(), ..StatusFile::starting(incarnation.0) }
}

/// The content of status.json for a replica.
pub fn status_file(incarnation: Incarnation, replica: ReplicaId, status: &Status, app_version: &str) -> StatusFile {
    StatusFile {
        replica: Some(replica.0),
        cluster_id: status.cluster_id.map(|id| id.0),
        state: state(incarnation, status),
        voter: status.voter,
        promised: promise(status.promise),
        position: position(status.position),
        following: status.following.as_ref().map(claim),
        leader_heard: status.leader_heard,
        campaign: status.campaign.map(|term| term.0),
        rank: status.rank,
        need_term: status.need_term.map(|term| term.0),
        hand_over: status
            .hand_over
            .as_ref()
            .map(|(name, incarnation)| HandOver { to: Some(name.clone()), incarnation: Some(incarnation.0) }),
        eligible: status.eligible,
        stalled: status.stalled,
        bootstrapping: status.bootstrapping,
        ready: Some(is_ready(status)),
        // What it waits for tells an operator what to do.
        went_back: status.went_back.as_ref().map(|_| status.waiting_for.join("; ")),
        diverged: status.diverged.as_ref().map(|_| status.waiting_for.join("; ")),
        ..starting(incarnation, app_version)
    }
}

/// The same answer as `GET /readyz`.
fn is_ready(status: &Status) -> bool {
    let serves =
        !matches!(status.phase, Phase::Starting | Phase::Draining | Phase::Failed | Phase::WentBack | Phase::Diverged);
    serves && status.caught_up && !status.cut_off && status.foreign_cluster_id.is_none()
}

fn state(incarnation: Incarnation, status: &Status) -> State {
    match status.phase {
        Phase::Starting => State::Starting,
        Phase::Learner => State::Learner,
        Phase::Follower => State::Follower,
        Phase::Recovering => State::Recovering,
        Phase::Leading => State::Leading,
        Phase::Draining => State::Draining,
        // This also serves a sidecar of another build, which knows no further state.
        Phase::Failed | Phase::WentBack => State::Failed,
        // It may follow, and never leads: a leader that finds this out is letting go.
        Phase::Diverged if is_named_leader(incarnation, status) => State::Draining,
        Phase::Diverged if status.voter => State::Follower,
        Phase::Diverged => State::Learner,
    }
}

/// The claim that binds it is its own.
fn is_named_leader(incarnation: Incarnation, status: &Status) -> bool {
    status.following.as_ref().is_some_and(|claim| claim.incarnation == incarnation)
}

fn promise(promise: Promise) -> PromiseInfo {
    PromiseInfo { term: promise.term.0, incarnation: (promise != Promise::NONE).then_some(promise.incarnation.0) }
}

/// A position in the format of status.json.
pub fn position(position: Position) -> PositionInfo {
    PositionInfo { term: position.term.0, sequence: position.seq.0 }
}

fn claim(claim: &Claim) -> ClaimInfo {
    ClaimInfo {
        term: claim.term.0,
        incarnation: claim.incarnation.0,
        name: claim.name.clone(),
        peer_address: claim.peer_address.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::json::tests::role_file;
    use std::net::IpAddr;
    use uuid::Uuid;

    fn role(incarnation: Option<Uuid>) -> RoleFile {
        let mut role = RoleFile {
            cluster_id: Some(Uuid::from_u128(3)),
            self_addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            hand_over_to: Some("db-1".into()),
            paused: true,
            newest_revision: Some("r2".into()),
            ..role_file(4, 2)
        };
        role.leader.as_mut().unwrap().incarnation = incarnation;
        role.members[1].remembered = true;
        role.lease.renewal_seen_boottime_ns = Some(77);
        role
    }

    #[test]
    fn only_a_leader_with_an_incarnation_counts() {
        let found = role_view(&role(Some(Uuid::from_u128(9))));
        let leader = found.leader.unwrap();
        assert_eq!((leader.term, leader.incarnation), (Term(4), Incarnation(Uuid::from_u128(9))));
        assert_eq!((leader.name.as_str(), leader.peer_address.as_str()), ("db-1", "10.0.0.1:8090"));
        assert_eq!(leader.addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(role_view(&role(None)).leader, None);
    }

    #[test]
    fn a_replica_sees_all_of_role_json_that_it_decides_by() {
        let found = role_view(&role(None));
        assert_eq!(found.cluster_id, Some(ClusterId(Uuid::from_u128(3))));
        let member = Member {
            name: "db-1".into(),
            peer_address: "a:2".into(),
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            remembered: true,
        };
        assert_eq!(found.members[1], member);
        assert_eq!(found.self_addresses, member.addresses);
        assert_eq!((found.hand_over_to.as_deref(), found.paused), (Some("db-1"), true));
        assert_eq!(found.newest_revision.as_deref(), Some("r2"));
        assert_eq!((found.renewal_seen, found.lease_duration), (Some(77), Duration::from_secs(15)));
    }

    #[test]
    fn a_promise_to_nobody_names_nobody() {
        assert_eq!(promise(Promise::NONE), PromiseInfo { term: 0, incarnation: None });
        let id = Uuid::from_u128(4);
        let bound = Promise { term: Term(3), incarnation: Incarnation(id) };
        assert_eq!(promise(bound), PromiseInfo { term: 3, incarnation: Some(id) });
    }
}
