//! What the shell tells the core.

use uuid::Uuid;

use crate::app::AppStatus;
use crate::lease::{Lease, Version};

/// One thing that happened. Each is handed over at once, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The one answer to the last `Effect::ReadLease`; every such effect gets exactly one.
    LeaseRead(ReadOutcome),
    /// The watch showed the Lease, by an event or by the list that it begins with.
    LeaseWatched(Watched),
    /// The watch ended or was cut. The shell opens it again by itself, with a pause that grows.
    WatchLost,
    /// The watch (or its list) could not be opened: a request about the Lease that got no answer.
    WatchFailed,
    /// The one answer to the last `Effect::WriteLease`; every such effect gets exactly one.
    LeaseWritten(WriteOutcome),
    /// `status.json` was read, and the app's lock is held. (The shell may repeat it: the same status changes nothing.)
    AppSeen(AppStatus),
    /// The lock of this run of the app was got: it is dead, said by the kernel.
    AppDied {
        /// The run, as it stood in the last status.json.
        incarnation: Uuid,
    },
    /// `status.json` is missing or unreadable. The app is not taken for dead, but it takes nothing.
    AppSilent,
    /// The pods that are wanted, in the order of their ordinals, or `None`: every pod is a member, or not known.
    MembersSeen(Option<Vec<Member>>),
    /// The revision that the StatefulSet's pods are brought to, or `None`: not known. It is only passed on to the app.
    RevisionSeen(Option<String>),
    /// SIGTERM. Ends in `Effect::Stopped`.
    Stop,
    /// The `deadline` came.
    Wake,
}

/// What came of a GET. Only these are answers: 200 and 404.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReadOutcome {
    /// 200.
    Found(Lease),
    /// 404.
    NotFound,
    /// Time-out, refused connection, 5xx, 401, 403, 429: no answer.
    NoAnswer,
}

/// What a watch showed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Watched {
    /// The Lease as it is.
    Present(Lease),
    /// There is none: it was deleted, or was not in the list.
    Absent {
        /// The version of the deletion (of the deleted object in the event, or of the list), where the shell has it.
        as_of: Option<Version>,
    },
}

/// What came of a create or replace. Only these are answers: success, 404 and 409.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// 200 or 201: the Lease as it now stands.
    Written(Lease),
    /// 409, or 404 for a replace: somebody was faster. (Also the shell's own answer if it no longer has the raw object
    /// of the expected version.)
    Conflict,
    /// No answer, and it may have been done: time-out, cut connection, 5xx.
    Unknown,
    /// No answer, and it was not done: refused connection, 401, 403, 422, 429.
    Refused,
}

/// A pod that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The name of the pod.
    pub name: String,
    /// Where clients reach it, `host:port`.
    pub address: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
}
