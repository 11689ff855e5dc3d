//! Translates between the files and the sidecar's core: the election's decision becomes role.json, status.json its input.

use std::net::IpAddr;
use std::time::Duration;

use leasehold_election::{
    AppState, AppStatus, Claim, HandOver, Leader, Member, OldRole, PodRole, Promise, RoleView, Term,
};
use uuid::Uuid;

use crate::{LeaseInfo, Moment, RoleFile, State, StatusFile, VERSION};

/// What role.json says beside the decision. The election does not know it, but its shell does.
pub trait Surroundings {
    /// The name of this pod.
    fn name(&self) -> &str;
    /// The Lease: namespace and name.
    fn lease(&self) -> (&str, &str);
    /// How long it is valid without a renewal.
    fn lease_duration(&self) -> Duration;
    /// The boot that [`Surroundings::stamps`] counts from.
    fn boot_id(&self) -> Option<Uuid>;
    /// A moment of the election's clock, in nanoseconds of `CLOCK_BOOTTIME` and in Unix milliseconds.
    fn stamps(&self, moment: Duration) -> (u64, u64);
    /// Where clients reach a pod whose address the election does not know, `host:port`.
    fn address_of(&self, pod: &str) -> Option<String>;
    /// Where other replicas reach a pod whose address the election does not know, `host:port`.
    fn peer_address_of(&self, pod: &str) -> Option<String>;
    /// The IPs of this pod.
    fn self_addresses(&self) -> Vec<IpAddr>;
    /// The IPs of the leader, which advertises this address.
    fn leader_addresses(&self, pod: &str, advertised: Option<&str>) -> Vec<IpAddr>;
    /// The IPs of a member, and whether the API server no longer confirms them.
    fn member_addresses(&self, pod: &str) -> (Vec<IpAddr>, bool);
}

/// The content of role.json for the election's decision. Its writer counts the generations.
pub fn role_file(view: &RoleView, around: &impl Surroundings) -> RoleFile {
    let stamps = view.valid_until.map(|moment| around.stamps(moment));
    let (namespace, lease) = around.lease();
    RoleFile {
        version: VERSION,
        generation: 0,
        role: match view.role {
            PodRole::Leader => crate::Role::Leader,
            PodRole::Follower => crate::Role::Follower,
            PodRole::None => crate::Role::None,
        },
        term: view.term.0,
        cluster_id: view.cluster_id,
        boot_id: around.boot_id(),
        self_name: around.name().to_owned(),
        self_addresses: around.self_addresses(),
        leader: view.leader.as_ref().map(|leader| leader_entry(leader, around)),
        members: view.members.iter().flatten().map(|member| member_entry(member, around)).collect(),
        hand_over_to: view.hand_over_to.clone(),
        off_lease: view.off_lease,
        paused: view.paused,
        newest_revision: view.newest_revision.clone(),
        lease: LeaseInfo {
            namespace: namespace.to_owned(),
            name: lease.to_owned(),
            duration_ms: u64::try_from(around.lease_duration().as_millis()).unwrap_or(u64::MAX),
            valid_until_boottime_ns: stamps.map(|(boottime, _)| boottime),
            valid_until_unix_ms: stamps.map(|(_, unix)| unix),
            renewal_seen_boottime_ns: view.renewed_at.map(|moment| around.stamps(moment).0),
        },
    }
}

fn leader_entry(leader: &Leader, around: &impl Surroundings) -> crate::Leader {
    let address = leader.address.clone().or_else(|| around.address_of(&leader.name));
    let peer_address = leader.peer_address.clone().or_else(|| around.peer_address_of(&leader.name));
    crate::Leader {
        name: leader.name.clone(),
        incarnation: Some(leader.incarnation),
        addresses: around.leader_addresses(&leader.name, address.as_deref()),
        address: address.unwrap_or_default(),
        peer_address: peer_address.unwrap_or_default(),
    }
}

fn member_entry(member: &Member, around: &impl Surroundings) -> crate::Member {
    let (addresses, remembered) = around.member_addresses(&member.name);
    crate::Member {
        name: member.name.clone(),
        address: member.address.clone(),
        peer_address: member.peer_address.clone(),
        addresses,
        remembered,
    }
}

/// The claim of an earlier run of this pod's sidecar: its term counts as seen.
pub fn old_role(file: &RoleFile, name: &str, now: Moment) -> OldRole {
    let leader = file.leader.as_ref();
    let is_own = file.role == crate::Role::Leader
        && file.self_name == name
        && leader.is_some_and(|leader| leader.name == file.self_name);
    let incarnation = leader.and_then(|leader| leader.incarnation);
    OldRole {
        term: Term(file.term),
        paused: file.paused,
        off_lease: incarnation.filter(|_| file.off_lease),
        own_claim: incarnation.filter(|_| is_own),
        leads_for: file
            .lease
            .valid_until_boottime_ns
            .filter(|_| file.leads(now))
            .map(|until| Duration::from_nanos(until.saturating_sub(now.boottime_ns))),
    }
}

/// The part of status.json that the election needs.
pub fn app_status(status: &StatusFile) -> AppStatus {
    AppStatus {
        incarnation: status.incarnation,
        cluster_id: status.cluster_id,
        state: match status.state {
            State::Starting => AppState::Starting,
            State::Learner => AppState::Learner,
            State::Follower => AppState::Follower,
            State::Recovering => AppState::Recovering,
            State::Leading => AppState::Leading,
            State::Draining => AppState::Draining,
            State::Failed => AppState::Failed,
        },
        promised: Promise { term: term(status.promised.term), incarnation: status.promised.incarnation },
        following: status.following.as_ref().map(|claim| Claim {
            term: term(claim.term),
            incarnation: claim.incarnation,
            name: claim.name.clone(),
            peer_address: claim.peer_address.clone(),
        }),
        leader_heard: status.leader_heard,
        campaign: status.campaign.map(term),
        rank: status.rank,
        need_term: status.need_term.map(term),
        hand_over: status
            .hand_over
            .as_ref()
            .map(|hand_over| HandOver { to: hand_over.to.clone(), incarnation: hand_over.incarnation }),
        eligible: status.eligible,
        bootstrapping: status.bootstrapping,
    }
}

/// A number beyond the last term counts as the last: nothing can be taken or written above that.
fn term(number: u64) -> Term {
    Term(number).min(Term::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::json::tests::role_file as file_of;

    /// The emptyDir may have belonged to another pod, and a leader of another name is no claim of this one.
    #[test]
    fn an_old_claim_is_the_own_one_only_where_file_and_leader_name_this_pod() {
        let file = file_of(3, 0);
        let incarnation = file.leader.as_ref().unwrap().incarnation;
        assert!(incarnation.is_some());
        let now = Moment::now();
        assert_eq!(old_role(&file, "db-1", now).own_claim, incarnation);
        assert_eq!(old_role(&file, "db-2", now).own_claim, None);
        assert_eq!(old_role(&RoleFile { role: crate::Role::Follower, ..file.clone() }, "db-1", now).own_claim, None);
        assert_eq!(old_role(&file, "db-1", now).off_lease, None);
        assert_eq!(old_role(&RoleFile { off_lease: true, ..file.clone() }, "db-1", now).off_lease, incarnation);
        let mut file = RoleFile { boot_id: Some(Uuid::from_u128(1)), ..file };
        file.lease.valid_until_boottime_ns = Some(1000);
        let at = |boot_id, boottime_ns| old_role(&file, "db-1", Moment { boot_id, boottime_ns }).leads_for;
        let rest = |boottime_ns| at(file.boot_id, boottime_ns);
        assert_eq!((rest(995), rest(1000), at(None, 995)), (Some(Duration::from_nanos(5)), None, None));
    }
}
