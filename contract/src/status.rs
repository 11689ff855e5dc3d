//! `status.json`: what the app tells its sidecar. A plain app needs none.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the app is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It reads its journal, or waits for its directory or for the bootstrap.
    Starting,
    /// It catches up and counts for no majority.
    Learner,
    /// It follows a leader, or looks for one.
    Follower,
    /// It is claimed to lead and finds out whether it may: it counts promises and catches up.
    Recovering,
    /// It leads: its term's first entry is committed.
    Leading,
    /// It was told to end, and hands over what it has.
    Draining,
    /// Its disk failed, or its volume belongs to another cluster. A person must look.
    Failed,
}

/// The whole of `status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusFile {
    /// Format of this file, [`crate::VERSION`].
    pub version: u32,
    /// This run of the app: a UUID made at its start. A new one never inherits a leadership.
    pub incarnation: Uuid,
    /// The volume that it runs on. Null while it is not known yet.
    pub replica: Option<Uuid>,
    /// The cluster that the volume belongs to. Null: the volume is empty.
    pub cluster_id: Option<Uuid>,
    /// Where the app is in its life.
    pub state: State,
    /// It counts for majorities, by its own log.
    pub voter: bool,
    /// The promise it is bound to. Term 0 and no incarnation: none yet.
    pub promised: PromiseInfo,
    /// Its last entry.
    pub position: PositionInfo,
    /// The claim that it follows, or leads by.
    pub following: Option<ClaimInfo>,
    /// It hears that leader (a leader: it hears a majority).
    pub leader_heard: bool,
    /// It wants its pod to take the Lease, because a majority has lost the leader of this term.
    #[serde(default)]
    pub campaign: Option<u64>,
    /// How its position stands among those known: 0 is the best, no two are alike.
    #[serde(default)]
    pub rank: u32,
    /// A term that the next leadership must be above.
    #[serde(default)]
    pub need_term: Option<u64>,
    /// It lets go of the leadership, to this successor where there is one.
    #[serde(default)]
    pub hand_over: Option<HandOver>,
    /// It may lead.
    pub eligible: bool,
    /// Its disk hangs, or did so a moment ago.
    #[serde(default)]
    pub stalled: bool,
    /// The volume is marked `bootstrapping`: the cluster's first entry is written, the Lease does not carry its id yet.
    #[serde(default)]
    pub bootstrapping: bool,
    /// Traffic may be sent to it, as its readiness probe says. Null: it does not say.
    #[serde(default)]
    pub ready: Option<bool>,
    /// The volume has lost what it acknowledged, and counts for nothing (`state` is `failed` then): why, for people.
    #[serde(default)]
    pub went_back: Option<String>,
    /// The app's version, for people: `0.1.0`.
    #[serde(default)]
    pub app_version: String,
}

/// A promise as it stands in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromiseInfo {
    /// Its term, 0 for none.
    pub term: u64,
    /// The incarnation of the leader that was promised to.
    pub incarnation: Option<Uuid>,
}

/// A position in the replicated log as it stands in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PositionInfo {
    /// Term of the last entry.
    pub term: u64,
    /// Sequence of the last entry.
    pub sequence: u64,
}

/// A claim to lead as it stands in files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimInfo {
    /// Its term.
    pub term: u64,
    /// The run of the app that claims.
    pub incarnation: Uuid,
    /// Its pod.
    pub name: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
}

/// To whom the app wants to hand over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOver {
    /// The successor's pod. Null: nobody is fit; the holder is cleared.
    pub to: Option<String>,
    /// The successor's app. Null as well when `to` is.
    pub incarnation: Option<Uuid>,
}
