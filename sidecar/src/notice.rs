//! What listeners receive of the role: by `GET /v1/watch`, by `--notify`, and as the answer to a request.

use std::time::Duration;

use leasehold_contract::Role;
use serde::Serialize;

use crate::clock;
use crate::state::State;

/// Who leads, as this pod knows it, in the words of role.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Notice {
    /// Counts the versions of role.json, from 1 in each run of the sidecar.
    pub(crate) generation: u64,
    /// `leader`, `follower` or `none`.
    pub(crate) role: &'static str,
    /// The term of the leader, or the highest seen.
    pub(crate) term: u64,
    /// The name of this pod.
    #[serde(rename = "self")]
    pub(crate) self_name: String,
    /// This pod leads now, as far as a program may rely on it.
    pub(crate) leads: bool,
    /// Null: none is known.
    pub(crate) leader: Option<Leader>,
    /// Until when this pod leads without another renewal; null where it does not.
    pub(crate) valid_until_boottime_ns: Option<u64>,
    /// The same in Unix milliseconds.
    pub(crate) valid_until_unix_ms: Option<u64>,
    /// The same from the moment at which this was written.
    pub(crate) valid_for_ms: Option<u64>,
    /// In how long `leads` becomes false by the clock alone, from the moment at which this was made. None: it does not; a
    /// fencing app may lead on.
    #[serde(skip)]
    pub(crate) lapses_in: Option<Duration>,
}

/// The leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Leader {
    pub(crate) name: String,
    /// Where clients reach it, `host:port`.
    pub(crate) address: String,
}

impl Notice {
    /// None: nothing is known yet.
    pub(crate) fn of(state: &State) -> Option<Notice> {
        let role = state.role.as_ref()?;
        let until = role.lease.valid_until_boottime_ns.filter(|_| role.role == Role::Leader);
        // Read once: between two looks at the clock a claim could lapse, and nobody would wake for it.
        let lapses_in = state.claim_left().filter(|_| !state.fencing);
        Some(Notice {
            generation: role.generation,
            role: state.role_word(),
            term: role.term,
            self_name: role.self_name.clone(),
            leads: if state.fencing { state.leads() } else { lapses_in.is_some() },
            leader: role.leader.as_ref().map(|one| Leader { name: one.name.clone(), address: one.address.clone() }),
            valid_until_boottime_ns: until,
            valid_until_unix_ms: until.and(role.lease.valid_until_unix_ms),
            valid_for_ms: until.map(|until| until.saturating_sub(clock::boottime_ns()) / 1_000_000),
            lapses_in,
        })
    }

    /// Role, term and leader are the same; the claim may have been renewed.
    pub(crate) fn is_as(&self, other: &Notice) -> bool {
        let decides = |notice: &Notice| (notice.role, notice.leads, notice.term, notice.leader.clone());
        decides(self) == decides(other)
    }

    /// The same, and the same claim.
    pub(crate) fn is_as_long_as(&self, other: &Notice) -> bool {
        self.is_as(other) && self.valid_until_boottime_ns == other.valid_until_boottime_ns
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use leasehold_contract::testing::{leader, member, role_of};
    use leasehold_contract::{Moment, RoleFile};

    /// `db-0` leads in that term, by a claim of so many seconds that was renewed just now.
    pub(crate) fn leading(term: u64, generation: u64, seconds: u64) -> State {
        let mut role = RoleFile {
            generation,
            role: Role::Leader,
            term,
            leader: Some(leader(&member("db-0", "a:1", ""), None)),
            boot_id: Moment::now().boot_id,
            ..role_of("db-0")
        };
        role.lease.duration_ms = seconds * 1000;
        role.lease.valid_until_boottime_ns = Some(clock::boottime_ns() + seconds * 1_000_000_000);
        role.lease.valid_until_unix_ms = Some(clock::unix_ms() + seconds * 1000);
        State { name: "db-0".into(), role: Some(role), app_alive: true, ..State::default() }
    }

    /// `db-1` leads in that term.
    pub(crate) fn following(term: u64, generation: u64) -> State {
        let leader = Some(leader(&member("db-1", "b:1", ""), None));
        let role = RoleFile { generation, role: Role::Follower, term, leader, ..role_of("db-0") };
        State { name: "db-0".into(), role: Some(role), app_alive: true, ..State::default() }
    }

    #[test]
    fn its_words_are_those_of_role_json() {
        let json = serde_json::to_value(Notice::of(&leading(5, 3, 10)).unwrap()).unwrap();
        assert_eq!((&json["role"], &json["term"], &json["self"]), (&"leader".into(), &5.into(), &"db-0".into()));
        assert_eq!((&json["leads"], &json["leader"]["address"]), (&true.into(), &"a:1".into()));
        assert!((9_000..=10_000).contains(&json["validForMs"].as_u64().unwrap()), "{json}");
        let json = serde_json::to_value(Notice::of(&following(6, 4)).unwrap()).unwrap();
        assert_eq!((&json["leads"], &json["leader"]["name"]), (&false.into(), &"db-1".into()));
        assert!(json["validForMs"].is_null() && json["validUntilUnixMs"].is_null(), "{json}");
        assert_eq!(Notice::of(&State::default()), None);
    }

    #[test]
    fn a_claim_that_has_run_out_is_none() {
        let notice = Notice::of(&leading(5, 3, 0)).unwrap();
        assert_eq!((notice.role, notice.leads, notice.valid_for_ms), ("follower", false, Some(0)));
    }

    /// While the API server is silent. A watcher that waited for this moment again and again would never rest.
    #[test]
    fn the_claim_of_a_fencing_leader_that_has_run_out_runs_out_no_more() {
        let app = serde_json::json!({
            "version": 1, "incarnation": uuid::Uuid::nil(), "replica": null, "clusterId": null, "state": "leading",
            "voter": true, "promised": {"term": 5, "incarnation": null}, "position": {"term": 5, "sequence": 1},
            "following": null, "leaderHeard": true, "eligible": true, "ready": true, "appVersion": "0.1.0",
        });
        let app = Some(serde_json::from_value(app).unwrap());
        let notice = Notice::of(&State { fencing: true, app, ..leading(5, 3, 0) }).unwrap();
        assert_eq!((notice.leads, notice.lapses_in), (true, None));
        let notice = Notice::of(&leading(5, 3, 10)).unwrap();
        assert!(notice.lapses_in.is_some_and(|left| left > Duration::from_secs(5)));
    }

    #[test]
    fn a_renewal_is_another_claim_of_the_same_leader() {
        let (old, renewed) = (Notice::of(&leading(5, 3, 10)).unwrap(), Notice::of(&leading(5, 4, 15)).unwrap());
        assert!(renewed.is_as(&old) && !renewed.is_as_long_as(&old));
        let other = Notice::of(&leading(6, 4, 10)).unwrap();
        assert!(!other.is_as(&old));
    }
}
