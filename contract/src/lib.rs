//! What sidecar and app both know: the files of the directory that they share, and nothing else.
//!
//! ```text
//!   sidecar ──writes──▶ role.json    ──notify──▶ app        who leads, which term, who is wanted
//!           ──writes──▶ role, leader            shells     the same in one word and in one address
//!           ──writes──▶ control.token           app        the word for requests to the sidecar (plain apps)
//!   app     ──writes──▶ status.json  ──notify──▶ sidecar    its promise, position, wish to lead
//!           ──locks───▶ status.lock  ──flock───▶ sidecar    the kernel tells of the app's death
//!   exec    ──locks───▶ lead.lock    ──flock───▶ sidecar    held while what leads may run, with all its descendants
//! ```
//!
//! Each file has one writer. It is replaced whole (write a temporary file beside it, rename), so a reader sees the old
//! or the new content, never a mix. Unknown fields are ignored, so either side may be the newer one. A file that cannot
//! be read is reported as an error value; the last good content stays in force.
//!
//! Not promised: that a reader sees every version. It sees the latest, soon.
//!
//! # Features
//!
//! The types and their JSON are always available. `files`, on by default, contains what needs a file system and a runtime:
//! replace, read, watch, lock. `election` and `replication` translate between the files and the two state machines; sidecar
//! and store have one each, and the simulator has both (`cores`), so that it runs the very code that is shipped:
//!
//! ```text
//!   Election ──RoleView──▶ RoleFile ──role.json────▶ RoleView ──▶ Replica       election::role_file, replication::role_view
//!   Replica ───Status────▶ StatusFile ─status.json─▶ AppStatus ─▶ Election      replication::status_file, election::app_status
//! ```

#[cfg(feature = "election")]
pub mod election;
mod json;
#[cfg(feature = "files")]
mod lock;
mod moment;
#[cfg(feature = "files")]
mod replace;
#[cfg(feature = "replication")]
pub mod replication;
mod role;
mod status;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
#[cfg(feature = "files")]
mod watch;

pub use json::{FILE_BYTES_MAX, ReadError, parse_json};
#[cfg(feature = "files")]
pub use lock::{LeadLock, Release, StatusLock, is_locked, wait_for_release};
pub use moment::Moment;
#[cfg(feature = "files")]
pub use replace::{read_json, replace_file};
pub use role::{Leader, LeaseInfo, Member, Role, RoleFile};
pub use status::{
    ClaimInfo, Doing, HandOver, OutOfRoom, PositionInfo, ProgressInfo, PromiseInfo, RoomKind, State, StatusFile,
};
#[cfg(feature = "files")]
pub use watch::{Watch, WatchEvent};

/// The default directory that sidecar and app share (an emptyDir in Kubernetes).
pub const DEFAULT_DIRECTORY: &str = "/var/run/leasehold";
/// Who leads: written by the sidecar.
pub const ROLE_FILE: &str = "role.json";
/// The role in one word, for shells: `leader`, `follower` or `none`. Derived from [`ROLE_FILE`].
pub const ROLE_WORD_FILE: &str = "role";
/// The leader's address in one line, for shells; empty when nobody leads. Derived from [`ROLE_FILE`].
pub const LEADER_WORD_FILE: &str = "leader";
/// The word by which a plain app proves to its sidecar that it is beside it, in one line: new in each run of the sidecar, which
/// writes it.
pub const CONTROL_TOKEN_FILE: &str = "control.token";
/// What the app reports about itself: written by the app.
pub const STATUS_FILE: &str = "status.json";
/// The app locks it (`flock`, exclusive) while it lives. Never unlinked, never replaced.
pub const LOCK_FILE: &str = "status.lock";
/// `sidecar exec` and all that it starts lock it (`flock`, exclusive) while they may act as leader. Never unlinked, never
/// replaced.
pub const LEAD_LOCK_FILE: &str = "lead.lock";
/// The `version` that this build writes into both files and the highest that it reads.
pub const VERSION: u32 = 1;
