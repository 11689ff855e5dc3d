//! `role.json`: the sidecar's message to its app.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Moment;

/// This pod's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// A claim says that this pod leads: `leader` names its own incarnation.
    Leader,
    /// A claim says that another pod leads, or this pod must not.
    Follower,
    /// No leader is known.
    None,
}

impl Role {
    /// The word in the file `role`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::None => "none",
        }
    }
}

/// The whole of `role.json`. A claim to lead is a suggestion: its promises bind a fencing app, not this file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleFile {
    /// Format of this file, [`crate::VERSION`].
    pub version: u32,
    /// Counts the writes of this file by one sidecar process, from 1.
    pub generation: u64,
    /// This pod's role.
    pub role: Role,
    /// The term of `leader`; 0 when nobody leads and no term was ever seen.
    pub term: u64,
    /// The Lease's cluster-id (for an off-lease claim: the app's own); null if there is none.
    pub cluster_id: Option<Uuid>,
    /// The boot to which the stamps in `lease` belong; null: the system does not say. See [`RoleFile::leads`].
    #[serde(default)]
    pub boot_id: Option<Uuid>,
    /// The name of this pod.
    #[serde(rename = "self")]
    pub self_name: String,
    /// The known IPs of this pod. With them an app can tell others where it is.
    #[serde(default)]
    pub self_addresses: Vec<IpAddr>,
    /// Who leads: the higher of the Lease's claim and the claim that the app reports to follow. Null when nobody leads.
    pub leader: Option<Leader>,
    /// The wanted pods (by `spec.replicas`), in the order of their ordinals. Empty: not known, change nothing.
    #[serde(default)]
    pub members: Vec<Member>,
    /// The pod that should get the leadership by a requested switchover. Only the leader acts on it.
    #[serde(default)]
    pub hand_over_to: Option<String>,
    /// True: no Lease contains the claim, because the API server does not answer.
    #[serde(default)]
    pub off_lease: bool,
    /// True: an operator asked that no pod takes over by itself.
    #[serde(default)]
    pub paused: bool,
    /// The revision to which the StatefulSet's pods are being updated (`status.updateRevision`): a leader that leaves hands
    /// over to a pod of this revision, if it can. Null: not known.
    #[serde(default)]
    pub newest_revision: Option<String>,
    /// The Lease from which all this follows.
    pub lease: LeaseInfo,
}

impl RoleFile {
    /// Does this pod lead at that moment, as far as a **plain** app may rely on this file? True only if
    ///
    /// - `role` is `leader`,
    /// - `bootId` is present and names the present boot: the file may be older than the machine's last start,
    /// - now < `validUntilBoottimeNs` <= now + `durationMs`: nobody can have taken the Lease yet.
    ///
    /// ```
    /// # #[cfg(feature = "files")]
    /// # fn example(role: &leasehold_contract::RoleFile) {
    /// if role.leads(leasehold_contract::Moment::now()) { /* what only a leader may do */ }
    /// # }
    /// ```
    pub fn leads(&self, now: Moment) -> bool {
        let longest = now.boottime_ns.saturating_add(self.lease.duration_ms.saturating_mul(1_000_000));
        let is_valid = |until: u64| now.boottime_ns < until && until <= longest;
        self.role == Role::Leader
            && self.boot_id.is_some()
            && self.boot_id == now.boot_id
            && self.lease.valid_until_boottime_ns.is_some_and(is_valid)
    }
}

/// The claimed leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    /// The name of its pod.
    pub name: String,
    /// The run of its app for which the term was issued. Null where a plain app leads by an old claim.
    pub incarnation: Option<Uuid>,
    /// Where clients reach it, `host:port`.
    pub address: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
    /// Its IPs, the newest knowledge first; empty if none are known. The ports are those of the two addresses above. An IP
    /// may belong to another pod by now: a client that dials one must check who answers.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

/// A wanted pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The name of the pod, which ends in its ordinal: `database-cluster-1`.
    pub name: String,
    /// Where clients reach it, `host:port`.
    pub address: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
    /// Its IPs, like [`Leader::addresses`].
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// True: the API server does not confirm `addresses` now. They are from an earlier role.json, or the pod has left its
    /// Service since. They are good enough to dial, but if nothing answers there, that proves nothing.
    #[serde(default)]
    pub remembered: bool,
}

/// The Lease's name, and until when the present claim is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseInfo {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its duration in milliseconds.
    pub duration_ms: u64,
    /// Until when the holder's claim is valid without another renewal: nanoseconds of `CLOCK_BOOTTIME`, counted from the
    /// start of the request that renewed it. A plain app that reads only this file must compare it, and `bootId` as well:
    /// see [`RoleFile::leads`]. Null: never renewed.
    pub valid_until_boottime_ns: Option<u64>,
    /// The same moment in Unix milliseconds, for people.
    pub valid_until_unix_ms: Option<u64>,
    /// When this sidecar last saw another pod renew the Lease: nanoseconds of `CLOCK_BOOTTIME`. It grows while there is a
    /// leader that reaches the API server, and this pod does, too. Null where this pod leads, or no renewal was seen.
    #[serde(default)]
    pub renewal_seen_boottime_ns: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::role_file;

    const NOW: u64 = 900_000_000_000;
    const BOOT: Option<Uuid> = Some(Uuid::from_u128(1));

    /// Leads until `ahead` nanoseconds after [`NOW`], for 15 s at most.
    fn leading(ahead: i64) -> RoleFile {
        let mut role = RoleFile { boot_id: BOOT, ..role_file(3, 0) };
        role.lease.valid_until_boottime_ns = Some(NOW.saturating_add_signed(ahead));
        role
    }

    fn leads(role: &RoleFile) -> bool {
        role.leads(Moment { boot_id: BOOT, boottime_ns: NOW })
    }

    #[test]
    fn a_claim_is_valid_from_the_request_that_renewed_it_for_one_duration() {
        assert!(leads(&leading(1)));
        assert!(leads(&leading(15_000_000_000)));
        assert!(!leads(&leading(0)));
        assert!(!leads(&leading(-1)));
        assert!(!leads(&leading(15_000_000_001)), "no request can have made it");
        let mut never = leading(1);
        never.lease.valid_until_boottime_ns = None;
        assert!(!leads(&never));
        assert!(!leads(&RoleFile { role: Role::Follower, ..leading(1) }));
    }

    /// A8: the emptyDir survived a restart of the machine, and its clock started anew.
    #[test]
    fn a_claim_of_another_boot_is_no_claim() {
        let role = leading(1);
        assert!(!role.leads(Moment { boot_id: Some(Uuid::from_u128(2)), boottime_ns: NOW }));
        assert!(!role.leads(Moment { boot_id: Some(Uuid::from_u128(2)), boottime_ns: 30_000_000_000 }));
        assert!(!role.leads(Moment { boot_id: None, boottime_ns: NOW }));
        let unknown = RoleFile { boot_id: None, ..leading(1) };
        assert!(!leads(&unknown) && !unknown.leads(Moment { boot_id: None, boottime_ns: NOW }), "nothing is proven");
    }

    #[test]
    fn a_file_of_an_earlier_build_has_no_boot_and_is_read() {
        let mut text = serde_json::to_value(leading(1)).expect("plain data");
        assert!(text.as_object_mut().is_some_and(|fields| fields.remove("bootId").is_some()));
        let read: RoleFile = serde_json::from_value(text).expect("it is read");
        assert_eq!(read.boot_id, None);
    }
}
