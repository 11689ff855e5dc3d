//! What the machine asks for.

use std::time::Duration;

use crate::claim::Claim;

/// What the shell does, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Try to lock `status.lock`, and answer by `Entered`.
    TryEnter,
    /// Try to lock `lead.lock`, and answer by `Locked`.
    TryLock,
    /// Read role.json, now, and answer by `RoleChecked`.
    CheckRole,
    /// Start CMD, which inherits `lead.lock`. Answer by `StartFailed` if that is impossible.
    Start(Claim),
    /// Send the stop signal to CMD's process group.
    Stop,
    /// Send this signal to CMD's process group.
    Forward(i32),
    /// Send SIGKILL to every descendant.
    Kill,
    /// Free `lead.lock`.
    Unlock,
    /// End with this code. The last effect of all.
    Exit(u8),
    /// Tell people.
    Say(Saying),
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    /// Another `exec`, or an app that holds `status.lock` itself, lives in this directory: this one waits for its end.
    DirectoryTaken,
    /// This pod leads, but `lead.lock` is held: by what is left of an earlier leadership.
    LeadLockHeld,
    /// There is no readable role.json since the start.
    NoRole,
    /// Waiting until this pod leads.
    Waiting {
        /// The term of the one that leads, or the highest known.
        term: u64,
        /// Which pod leads instead.
        leader: Option<String>,
    },
    /// CMD starts.
    Starting {
        /// Its term.
        term: u64,
    },
    /// CMD is ended: role.json no longer says that this pod leads in this term.
    Lost {
        /// The term that is over.
        term: u64,
        /// How long CMD has.
        grace: Duration,
    },
    /// CMD is ended: the claim is about to run out, and nobody renewed it.
    NotRenewed {
        /// The term.
        term: u64,
        /// How long CMD has.
        grace: Duration,
    },
    /// Time is over: everything that is left is killed.
    Killing {
        /// The term.
        term: u64,
    },
    /// SIGKILL did not end all of it for seconds: `lead.lock` stays held, and the Lease runs out.
    CannotKill,
    /// CMD and all its descendants are gone, and this wrapper continues: it waits again.
    Ended {
        /// CMD's code.
        code: u8,
    },
}
