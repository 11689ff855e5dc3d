//! What the core asks of the shell.

use std::time::Duration;

use uuid::Uuid;

use crate::event::Event;
use crate::input::Member;
use crate::lease::{Body, Term, Version};

/// One thing to do. Effects are carried out in their order; none waits for the end of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// One GET of the Lease, with a time-out well below a third of the duration. Ends in `Input::LeaseRead`. (If it
    /// shows what the watch should have shown, the watch is deaf: open it again.)
    ReadLease,
    /// One create or replace, with the same time-out, never repeated by the shell. Ends in `Input::LeaseWritten`.
    /// At most one is under way.
    WriteLease(LeaseWrite),
    /// Replace role.json.
    PublishRole(RoleView),
    /// Point the Service of the leader at this pod, unless it stands there with a higher term. The shell repeats it
    /// until it is done or replaced by the next one, and, if it is this pod, keeps it so until `LeaveEndpoints`.
    UpdateEndpoints {
        /// The leader's pod.
        name: String,
        /// Where clients reach it, where known; else the shell's template.
        address: Option<String>,
        /// Its term.
        term: Term,
    },
    /// This pod no longer leads by what it pointed the Service at: the shell neither keeps nor writes that any more. What
    /// stands there stays, until the next leader writes.
    LeaveEndpoints,
    /// Something that people want to know: log, Kubernetes Event, counter.
    Tell(Event),
    /// All is let go of: the sidecar may exit.
    Stopped,
}

/// A compare-and-swap of the Lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseWrite {
    /// Replace exactly this version; none: create.
    pub expected: Option<Version>,
    /// What it shall say. The shell adds owner references and `renewTime`, and `acquireTime` where
    /// [`Why::is_new_leadership`]; it keeps all else of the raw object.
    pub body: Body,
    /// What it is for.
    pub why: Why,
}

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The holder renews; nothing but the stamp changes (or a lost cluster-id, address or served annotation is mended).
    Renew,
    /// Rule 1: the Lease names this pod with an incarnation that is gone.
    TakeBack,
    /// Rule 2: the leader writes a Lease that does not count (any more), with its own term.
    Restore,
    /// Rule 2: the leader takes a Lease without holder whose term is above its own, or replaces an edit by hand.
    Outbid,
    /// Rule 2 (plain apps): the holder was cleared, or the Lease is gone or held by nobody that counts.
    TakeFree,
    /// Rule 3 (plain apps): it expired.
    TakeExpired,
    /// Rule 4: the app campaigns.
    TakeCampaign,
    /// The bootstrap: the first Lease, with the cluster-id of a volume marked `bootstrapping`.
    Bootstrap,
    /// `needTerm`: the leader needs a new term.
    NewTerm,
    /// A Lease below the promise for 10 s is written for the leader, whose sidecar is blind.
    ForLeader,
    /// (plain apps) A Lease below a term that was seen is raised above it, for the same holder.
    Raise,
    /// Letting go: to a successor.
    Transfer,
    /// Letting go: the holder is cleared.
    Clear,
}

impl Why {
    /// Whether it begins a leadership, so that `acquireTime` is set.
    pub fn is_new_leadership(self) -> bool {
        match self {
            Why::Renew | Why::Clear => false,
            Why::TakeBack
            | Why::Restore
            | Why::Outbid
            | Why::TakeFree
            | Why::TakeExpired
            | Why::TakeCampaign
            | Why::Bootstrap
            | Why::NewTerm
            | Why::ForLeader
            | Why::Raise
            | Why::Transfer => true,
        }
    }
}

/// What this pod is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// This pod is claimed to lead.
    Leader,
    /// Somebody else is, or this pod must not.
    Follower,
    /// Nobody is known to lead.
    None,
}

/// All of role.json that the core knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleView {
    /// What this pod is to do.
    pub role: Role,
    /// The term of `leader`; the highest seen when nobody leads. It never goes down.
    pub term: Term,
    /// The cluster-id that the Lease carries (an off-lease claim: the app's own).
    pub cluster_id: Option<Uuid>,
    /// Who leads.
    pub leader: Option<Leader>,
    /// The pods that are wanted, as they were last told; none: not known.
    pub members: Option<Vec<Member>>,
    /// A switchover that was asked for, where this pod leads.
    pub hand_over_to: Option<String>,
    /// The claim stands in no Lease.
    pub off_lease: bool,
    /// Nobody takes over by himself.
    pub paused: bool,
    /// The revision that the StatefulSet's pods are brought to; none: not known.
    pub newest_revision: Option<String>,
    /// Until when this pod's own claim is good without another renewal, on the clock of `now`, counted from the start
    /// of the request. None where this pod does not hold the Lease.
    pub valid_until: Option<Duration>,
    /// When another pod's renewal of the Lease was last seen, on the clock of `now`. None where this pod leads, or none was.
    pub renewed_at: Option<Duration>,
}

/// Who is said to lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    /// The name of its pod.
    pub name: String,
    /// The run of its app that the term was issued to.
    pub incarnation: Uuid,
    /// Where clients reach it, where known; else the shell's template.
    pub address: Option<String>,
    /// Where other replicas reach it, where known; else the shell's template.
    pub peer_address: Option<String>,
}
