//! What is going to happen.

use super::lease::{AnswerTime, Call};
use super::life::Life;
use super::network::Request;
use std::time::Duration;

/// What is going to happen. Large contents are boxed: the queue moves these about.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    StoreStarts {
        life: Life,
    },
    StoreRecovered {
        life: Life,
    },
    StoreWakes {
        life: Life,
    },
    /// In the middle of an action.
    StoreDies {
        life: Life,
    },
    Store {
        life: Life,
        input: Box<leasehold_replication::Input>,
    },
    Synced {
        life: Life,
        covers: u64,
    },
    SnapshotDone {
        life: Life,
        number: u64,
    },
    RoleRead {
        life: Life,
        again: bool,
    },
    Deliver {
        conn: u64,
        end: usize,
    },
    Asked {
        from: Life,
        meant: usize,
        to: usize,
        asked_at: Duration,
        request: Box<Request>,
    },
    SidecarStarts {
        life: Life,
    },
    SidecarWakes {
        life: Life,
    },
    Sidecar {
        life: Life,
        input: Box<leasehold_election::Input>,
    },
    StatusRead {
        life: Life,
        again: bool,
    },
    LockFree {
        life: Life,
    },
    Called {
        life: Life,
        call: Box<Call>,
        answer: AnswerTime,
    },
    WatchOpens {
        life: Life,
    },
    Watched {
        life: Life,
        watch: u64,
        watched: Box<leasehold_election::Watched>,
    },
    MembersShown {
        life: Life,
    },
    PodStarts {
        pod: usize,
        generation: u32,
    },
    GraceEnds {
        pod: usize,
        generation: u32,
    },
    /// An fsync, by its number, may have been under way for too long.
    DiskStall {
        life: Life,
        syncs: u64,
    },
    /// (plain apps) The app's container starts: `exec`.
    ExecStarts {
        pod: usize,
        generation: u32,
    },
    /// (plain apps under `exec`) It looks at the health of its command.
    HealthLooks {
        life: Life,
    },
    /// (plain apps) Its directory may be written again.
    DirectoryWritable {
        life: Life,
    },
    /// It looks at role.json.
    ExecLooks {
        pod: usize,
        run: u32,
    },
    ExecEnds {
        pod: usize,
        run: u32,
    },
    CommandEnds {
        pod: usize,
        run: u32,
    },
    /// The claim by which it runs is nearly over.
    CommandDeadline {
        pod: usize,
        run: u32,
    },
    /// (plain apps) Somebody applies the Lease's manifest.
    LeaseApplied,
    ClientsWrite,
    /// The steward of a store looks at clocks and data.
    StewardLooks {
        life: Life,
    },
    /// Somebody sets a clock.
    ClocksChange,
    /// A replica has more room, or less.
    RoomChanges,
    Fault,
    DiskHangs,
}
