//! `status.json`: the app's message to its sidecar. A plain app needs none.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::VERSION;

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
    /// A claim says that it leads, and it is finding out whether it may: it counts promises and catches up.
    Recovering,
    /// It leads: its term's first entry is committed.
    Leading,
    /// It received a signal to end, and hands over what it has.
    Draining,
    /// Its disk failed, or its volume belongs to another cluster. An operator must look.
    Failed,
}

/// The whole of `status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusFile {
    /// Format of this file, [`crate::VERSION`].
    pub version: u32,
    /// This run of the app: a UUID made at its start. A new run never inherits a leadership.
    pub incarnation: Uuid,
    /// Its volume. Null while unknown.
    pub replica: Option<Uuid>,
    /// The cluster that the volume belongs to. Null: the volume is empty.
    pub cluster_id: Option<Uuid>,
    /// The app's stage of life.
    pub state: State,
    /// It counts for majorities, by its own log.
    pub voter: bool,
    /// The promise that binds it. Term 0 without an incarnation: none yet.
    pub promised: PromiseInfo,
    /// Its last entry.
    pub position: PositionInfo,
    /// The claim that it follows, or leads by.
    pub following: Option<ClaimInfo>,
    /// It hears that leader (if it leads: it hears a majority).
    pub leader_heard: bool,
    /// It asks its pod to take the Lease, because a majority has lost the leader of this term.
    #[serde(default)]
    pub campaign: Option<u64>,
    /// The rank of its position among the known ones: 0 is the best, and no two are equal.
    #[serde(default)]
    pub rank: u32,
    /// A term that the next leadership must exceed.
    #[serde(default)]
    pub need_term: Option<u64>,
    /// It is letting go of the leadership, to this successor if there is one.
    #[serde(default)]
    pub hand_over: Option<HandOver>,
    /// It may lead.
    pub eligible: bool,
    /// Its disk hangs, or did so a moment ago.
    #[serde(default)]
    pub stalled: bool,
    /// The volume is marked `bootstrapping`: the cluster's first entry is written, but the Lease does not carry its id yet.
    #[serde(default)]
    pub bootstrapping: bool,
    /// It is ready for traffic, by its readiness probe. Null: it does not say.
    #[serde(default)]
    pub ready: Option<bool>,
    /// The volume has lost what it acknowledged, and counts for nothing (`state` is `failed` then): the reason, for people.
    #[serde(default)]
    pub went_back: Option<String>,
    /// Its data are not those of the other replicas, so it neither leads nor answers clients (`state` is that of a follower
    /// that is not eligible; of a leader that lets go: `draining`): how they differ, and what to do, for people.
    #[serde(default)]
    pub diverged: Option<String>,
    /// An operation that takes longer than a few seconds, and its progress. Null: there is none.
    #[serde(default)]
    pub progress: Option<ProgressInfo>,
    /// The limits that its data exceed; empty while there is room. The figures are at most one second old.
    #[serde(default)]
    pub out_of_room: Vec<OutOfRoom>,
    /// It waits for more memory or disk before it continues: how much, and what to do, for people.
    #[serde(default)]
    pub waits_for_room: Option<String>,
    /// (a leader) Definitions that its operator wants by a file, and that are not in force because they were refused: which,
    /// and why, for people.
    #[serde(default)]
    pub refused_definitions: Option<String>,
    /// All this is valid until that moment of `CLOCK_BOOTTIME`, in nanoseconds: an app that sets this rewrites the file
    /// before then, as long as it does its work. After that the app is frozen. Null: valid until the next change.
    #[serde(default)]
    pub holds_until_boottime_ns: Option<u64>,
    /// The app's version, for people: `0.1.0`.
    #[serde(default)]
    pub app_version: String,
}

impl StatusFile {
    /// What an app says first: it starts, is bound by nothing, wants nothing, and does not say whether it is ready.
    pub fn starting(incarnation: Uuid) -> StatusFile {
        StatusFile {
            version: VERSION,
            incarnation,
            replica: None,
            cluster_id: None,
            state: State::Starting,
            voter: false,
            promised: PromiseInfo::default(),
            position: PositionInfo::default(),
            following: None,
            leader_heard: false,
            campaign: None,
            rank: 0,
            need_term: None,
            hand_over: None,
            eligible: false,
            stalled: false,
            bootstrapping: false,
            ready: None,
            went_back: None,
            diverged: None,
            progress: None,
            out_of_room: Vec::new(),
            waits_for_room: None,
            refused_definitions: None,
            holds_until_boottime_ns: None,
            app_version: String::new(),
        }
    }
}

/// What an app does that may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Doing {
    /// It reads its journal and its snapshot.
    Start,
    /// It receives a snapshot from the leader, or the entries that it lacks.
    Join,
    /// It writes a snapshot of its own.
    Snapshot,
}

/// The progress of an operation: in bytes or in entries, and the total. The total may be an estimate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgressInfo {
    /// The operation.
    pub what: Doing,
    /// Finished bytes; null where entries are counted.
    pub done_bytes: Option<u64>,
    /// The total of bytes.
    pub of_bytes: Option<u64>,
    /// Finished entries; null where bytes are counted.
    pub done_entries: Option<u64>,
    /// The total of entries.
    pub of_entries: Option<u64>,
    /// When it began, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

impl ProgressInfo {
    /// The finished part in percent, 0 to 100; none if the total is unknown.
    pub fn percent(&self) -> Option<u64> {
        let (done, of) = self.done_bytes.zip(self.of_bytes).or(self.done_entries.zip(self.of_entries))?;
        let percent = u128::from(done.min(of)) * 100 / u128::from((of > 0).then_some(of)?);
        u64::try_from(percent).ok()
    }

    /// For people: `joins 43 %`.
    pub fn words(&self) -> String {
        let what = match self.what {
            Doing::Start => "starts",
            Doing::Join => "joins",
            Doing::Snapshot => "writes a snapshot",
        };
        self.percent().map_or(what.to_owned(), |percent| format!("{what} {percent} %"))
    }
}

/// The kind of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RoomKind {
    /// For data in memory.
    Memory,
    /// On the volume's file system.
    Disk,
}

/// A limit that is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutOfRoom {
    /// The kind of room.
    pub what: RoomKind,
    /// The used amount.
    pub used_bytes: u64,
    /// The allowed amount.
    pub allowed_bytes: u64,
}

impl OutOfRoom {
    /// For people: `out of memory: 97 of 96 MiB`.
    pub fn words(&self) -> String {
        const MIB: u64 = 1024 * 1024;
        let what = self.what.as_str();
        format!("out of {what}: {} of {} MiB", self.used_bytes.div_ceil(MIB), self.allowed_bytes / MIB)
    }
}

impl RoomKind {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            RoomKind::Memory => "memory",
            RoomKind::Disk => "disk",
        }
    }
}

/// A promise as the files contain it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromiseInfo {
    /// Its term, 0 for none.
    pub term: u64,
    /// The incarnation of the promised leader.
    pub incarnation: Option<Uuid>,
}

/// A position in the replicated log as the files contain it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PositionInfo {
    /// Term of the last entry.
    pub term: u64,
    /// Sequence of the last entry.
    pub sequence: u64,
}

/// A claim to lead as the files contain it.
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

/// The successor to whom the app wants to hand over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOver {
    /// The successor's pod. Null: no pod is fit; the holder is cleared.
    pub to: Option<String>,
    /// The successor's app. Also null when `to` is.
    pub incarnation: Option<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(what: Doing, done_bytes: u64, of_bytes: u64) -> ProgressInfo {
        ProgressInfo {
            what,
            done_bytes: Some(done_bytes),
            of_bytes: Some(of_bytes),
            done_entries: None,
            of_entries: None,
            since_unix_ms: 0,
        }
    }

    #[test]
    fn progress_is_told_in_percent_of_what_is_known_and_never_above_a_hundred() {
        assert_eq!(progress(Doing::Join, 43, 100).words(), "joins 43 %");
        assert_eq!(progress(Doing::Snapshot, 7, 5).words(), "writes a snapshot 100 %", "the whole is an estimate");
        assert_eq!(progress(Doing::Start, 0, 0).words(), "starts");
        assert_eq!(progress(Doing::Start, u64::MAX / 2, u64::MAX).percent(), Some(49));
        let entries = ProgressInfo { done_entries: Some(1), of_entries: Some(3), ..progress(Doing::Join, 0, 0) };
        assert_eq!(ProgressInfo { done_bytes: None, of_bytes: None, ..entries }.percent(), Some(33));
    }

    #[test]
    fn who_is_out_of_room_never_seems_to_be_within_it() {
        let out = OutOfRoom { what: RoomKind::Memory, used_bytes: (96 << 20) + 1, allowed_bytes: 96 << 20 };
        assert_eq!(out.words(), "out of memory: 97 of 96 MiB");
    }
}
