//! Everything that an elector knows, for people and programs: `GET /v1/state`, and [`crate::Elector::state`].

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_contract::{Moment, Role, RoleFile, StatusFile};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock;
use crate::kube::upkeep::FailingObject;

/// How many changes of leadership are remembered.
pub(crate) const HISTORY_MAX: usize = 32;

/// What an elector knows at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct State {
    /// The name of this pod.
    pub name: String,
    /// The version of the sidecar.
    pub sidecar_version: String,
    /// The app fences itself by terms (`--app=fencing`).
    #[doc(hidden)]
    pub fencing: bool,
    /// The content of role.json. Null before the first.
    #[doc(hidden)]
    pub role: Option<RoleFile>,
    /// The content of status.json. Null for a plain app, and if it is unreadable.
    #[doc(hidden)]
    pub app: Option<StatusFile>,
    /// The app holds its lock (a plain app: always).
    #[doc(hidden)]
    pub app_alive: bool,
    /// What the checks of a plain app's health say. Null: nobody asked for such checks, and the app counts as fit.
    #[serde(default)]
    #[doc(hidden)]
    pub health: Option<Health>,
    /// The Lease as last seen. Null if there is none, or if it was not read yet.
    #[doc(hidden)]
    pub lease: Option<LeaseState>,
    /// The API server has answered a request for the Lease, once. Never unset: see `/readyz`.
    pub lease_read: bool,
    /// What is waited for or wrong at present, in words.
    pub waits: Vec<String>,
    /// The missing rights at the API server.
    pub missing_rights: Vec<String>,
    /// The objects that this sidecar maintains but cannot write at present: EndpointSlices, the pod's label.
    #[serde(default)]
    pub failing_objects: Vec<FailingObject>,
    /// The last changes of leadership, the newest last.
    pub history: Vec<Change>,
}

/// The Lease as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LeaseState {
    /// `resourceVersion`
    pub version: String,
    /// `holderIdentity`
    pub holder: Option<String>,
    /// `leaseTransitions`
    pub term: u64,
    /// The run of the app for which the term was issued.
    pub incarnation: Option<Uuid>,
    /// `renewTime`
    pub renew_time: Option<String>,
    /// `acquireTime`
    pub acquire_time: Option<String>,
    /// `leaseDurationSeconds`
    pub duration_seconds: Option<u32>,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Whether a plain app is fit to lead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Health {
    /// What is checked.
    pub check: String,
    /// It is fit: not the last three checks failed.
    pub fit: bool,
    /// Why the last check failed. Null: it did not.
    pub failure: Option<String>,
}

/// A change of the published leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Change {
    /// When, in Unix milliseconds.
    pub at_unix_ms: u64,
    /// The new leader. Null: none is known.
    pub leader: Option<String>,
    /// The leader's term, or the highest seen.
    pub term: u64,
}

impl State {
    /// Does this pod lead now, as far as a program may rely on it? It fails closed: a plain app's claim ends by the clock
    /// unless renewed, after two thirds of its duration, also when this process stood still meanwhile; and a fencing app
    /// counts only while it says that it is `leading`.
    pub fn leads(&self) -> bool {
        if !self.role.as_ref().is_some_and(|role| role.role == Role::Leader) {
            return false;
        }
        if self.fencing {
            let leading = |app: &StatusFile| app.state == leasehold_contract::State::Leading;
            self.app_alive && self.app.as_ref().is_some_and(leading)
        } else {
            self.claim_left().is_some()
        }
    }

    /// (plain apps) For how long this pod leads by the present claim, without another renewal. None: it does not.
    ///
    /// The election withdraws a claim after two thirds of its duration, long before another pod can take the Lease. A
    /// process that stood still finds its election as it was, so here the clock decides, in the same way.
    pub(crate) fn claim_left(&self) -> Option<Duration> {
        let role = self.role.as_ref().filter(|role| role.role == Role::Leader)?;
        let now = Moment::now();
        let until = role.lease.valid_until_boottime_ns?;
        let longest = role.lease.duration_ms.saturating_mul(1_000_000);
        // Both unknown: then the system does not say, and no process outlives its boot.
        let is_of_this_boot = role.boot_id == now.boot_id;
        if !is_of_this_boot || until > now.boottime_ns.saturating_add(longest) {
            return None;
        }
        let left = until.saturating_sub(longest.div_ceil(3)).checked_sub(now.boottime_ns)?;
        (left > 0).then_some(Duration::from_nanos(left))
    }

    /// The app is alive, but does not write its report, which it must do every few seconds: it is frozen, or has hardly any
    /// processor time. Its last report may be old.
    #[doc(hidden)]
    pub fn app_is_frozen(&self) -> bool {
        let until = self.app.as_ref().and_then(|app| app.holds_until_boottime_ns);
        self.app_alive && until.is_some_and(|until| until < clock::boottime_ns())
    }

    /// Why this process is unfit to lead: its own word ([`Handle::set_unfit`](crate::Handle::set_unfit)), or the checks of the
    /// app's health. None: it is fit.
    pub fn unfit(&self) -> Option<String> {
        let health = self.health.as_ref().filter(|health| !health.fit)?;
        let failure = health.failure.as_deref().unwrap_or("failed");
        Some(format!("{}: {failure}", health.check))
    }

    /// The role in one word. A plain app's expired leadership no longer counts.
    pub fn role_word(&self) -> &'static str {
        match &self.role {
            None => Role::None.as_str(),
            Some(role) if role.role == Role::Leader && !self.fencing && !self.leads() => Role::Follower.as_str(),
            Some(role) => role.role.as_str(),
        }
    }

    /// The term of the leader, or the highest that was seen. None: nothing is known yet.
    pub fn term(&self) -> Option<u64> {
        self.role.as_ref().map(|role| role.term)
    }

    /// Where clients reach the leader, `host:port`, if one is known.
    pub fn leader_address(&self) -> Option<&str> {
        self.role.as_ref()?.leader.as_ref().map(|leader| leader.address.as_str())
    }

    /// The name of the leader, if one is known.
    pub fn leader(&self) -> Option<&str> {
        self.role.as_ref()?.leader.as_ref().map(|leader| leader.name.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_contract::testing::role_of;

    const SECOND: u64 = 1_000_000_000;

    /// A plain leader whose claim of 15 s is valid until that much later.
    fn leading(ahead_ns: u64) -> State {
        let mut role = RoleFile { role: Role::Leader, term: 3, boot_id: Moment::now().boot_id, ..role_of("db-0") };
        role.lease.valid_until_boottime_ns = Some(clock::boottime_ns() + ahead_ns);
        State { role: Some(role), app_alive: true, ..State::default() }
    }

    /// A process that stood still for more than two thirds of a duration: its election has not withdrawn the claim yet.
    #[test]
    fn a_thawed_process_does_not_lead_in_the_last_third_of_its_claim() {
        assert!(leading(14 * SECOND).leads());
        let late = leading(5 * SECOND - 1);
        assert_eq!((late.leads(), late.role_word()), (false, "follower"));
    }

    /// Each is as if nobody had renewed: a state that came from elsewhere, or out of an image of another boot.
    #[test]
    fn a_claim_of_another_boot_or_from_the_future_is_none() {
        let mut other_boot = leading(14 * SECOND);
        other_boot.role.as_mut().unwrap().boot_id = Some(Uuid::from_u128(1));
        assert!(!other_boot.leads());
        assert!(!leading(16 * SECOND).leads(), "no request can have made it");
        let mut never = leading(0);
        never.role.as_mut().unwrap().lease.valid_until_boottime_ns = None;
        assert!(!never.leads());
    }
}
