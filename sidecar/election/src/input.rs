//! What the shell reports to the core.

use uuid::Uuid;

use crate::app::AppStatus;
use crate::lease::{Lease, Term, Version};

/// One thing that happened. The shell hands each over at once, in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The one answer to the last `Effect::ReadLease`; every such effect gets exactly one.
    LeaseRead(ReadOutcome),
    /// The watch showed the Lease, by an event or by its initial list.
    LeaseWatched(Watched),
    /// The watch ended or was cut. The shell reopens it by itself, with growing pauses.
    WatchLost,
    /// The watch (or its list) could not be opened: a request about the Lease without an answer.
    WatchFailed,
    /// The one answer to the last `Effect::WriteLease`; every such effect gets exactly one.
    LeaseWritten(WriteOutcome),
    /// `status.json` was read, and the app holds its lock. (The shell may repeat it: the same status changes nothing.)
    AppSeen(AppStatus),
    /// The sidecar acquired the lock of this run of the app: the kernel says that it is dead.
    AppDied {
        /// The run, as named by the last status.json.
        incarnation: Uuid,
    },
    /// `status.json` is missing or unreadable. The app does not count as dead, but it takes nothing.
    AppSilent,
    /// The wanted pods, in the order of their ordinals. `None`: every pod is a member, or the members are unknown.
    MembersSeen(Option<Vec<Member>>),
    /// The revision to which the StatefulSet's pods are being updated, or `None`: not known. It is only passed on to the
    /// app.
    RevisionSeen(Option<String>),
    /// The one answer to the last `Effect::ReadRecord`; every such effect gets exactly one.
    RecordRead(RecordRead),
    /// The one answer to the last `Effect::WriteRecord`; every such effect gets exactly one.
    RecordWritten(RecordWritten),
    /// (plain apps under `exec`) Whether `exec` lives: whether somebody holds `status.lock`.
    ExecSeen(bool),
    /// (plain apps under `exec`) `lead.lock` was found free, after the role.json of that `Effect::AwaitLeadLock` stood in
    /// its place.
    LeadLockFree {
        /// The number in the effect.
        number: u64,
    },
    /// (plain apps) Whether the last `Effect::PublishRole` stands in its place, or role.json could not be replaced. The shell
    /// says so behind the effects of that step and before any other input, and again when it changes. Without files it
    /// stands at once.
    RoleWritten(bool),
    /// (plain apps) Whether the app is fit to lead, as its health says. A sidecar that is told nothing takes it for fit.
    FitnessSeen(bool),
    /// (plain apps) Somebody asks this pod to let go of the leadership of that term. Of another term: nothing happens.
    /// `Effect::Answer` says which.
    StepDown {
        /// The term.
        term: Term,
    },
    /// (plain apps) The app says that it has stopped leading in that term, for good. Of another term: nothing happens.
    /// `Effect::Answer` says which.
    Released {
        /// The term.
        term: Term,
    },
    /// SIGTERM. Ends in `Effect::Stopped`.
    Stop,
    /// The `deadline` has passed.
    Wake,
}

/// The outcome of a GET. Only these are answers: 200 and 404.
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
    /// The present Lease.
    Present(Lease),
    /// There is none: it was deleted, or the list did not contain it.
    Absent {
        /// The version of the deletion (of the deleted object in the event, or of the list), where the shell has it.
        as_of: Option<Version>,
    },
}

/// The outcome of a create or replace. Only these are answers: success, 404 and 409.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// 200 or 201: the resulting Lease.
    Written(Lease),
    /// 409, or 404 for a replace: another writer was faster. (The shell also reports this if it no longer has the raw
    /// object of the expected version.)
    Conflict,
    /// No answer, and the write may have happened: time-out, cut connection, 5xx.
    Unknown,
    /// No answer, and the write did not happen: refused connection, 401, 403, 422, 429.
    Refused,
}

/// The outcome of a GET of the record of terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecordRead {
    /// 200.
    Found {
        /// Its `resourceVersion`.
        version: Version,
        /// Its `leaseTransitions`; an absent one is 0.
        term: Term,
        /// Its `leaseDurationSeconds`.
        duration_seconds: Option<u32>,
        /// The run of a sidecar that created it, if nobody replaced it since.
        created_by: Option<Uuid>,
    },
    /// 404.
    NotFound,
    /// 401, 403: this sidecar lacks the right.
    Denied,
    /// No answer.
    NoAnswer,
}

/// The outcome of a write of the record of terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecordWritten {
    /// 200 or 201; for a create **only** 201, the answer to this very request.
    Written {
        /// The version that it made.
        version: Version,
    },
    /// 409 (or 404 for a replace): somebody else wrote it.
    Conflict,
    /// 401, 403, 422: this sidecar may not.
    Denied,
    /// No answer; the write may have happened.
    Unknown,
}

/// A wanted pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The name of the pod.
    pub name: String,
    /// Where clients reach it, `host:port`.
    pub address: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
}
