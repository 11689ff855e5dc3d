//! What the core asks of the shell.

use std::time::Duration;

use uuid::Uuid;

use crate::event::Event;
use crate::input::Member;
use crate::lease::{Body, Term, Version};

/// One thing to do. The shell carries effects out in order, and none waits for a request to end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// One GET of the Lease, with a time-out well below a third of the duration. Ends in `Input::LeaseRead`. (If it shows
    /// what the watch should have shown, the watch is deaf: open it again.)
    ReadLease,
    /// One create or replace, with the same time-out; the shell never repeats it. Ends in `Input::LeaseWritten`. At most
    /// one is under way.
    WriteLease(LeaseWrite),
    /// (plain apps) One GET of the record of terms, with the same time-out. Ends in `Input::RecordRead`.
    ReadRecord,
    /// (plain apps) One create or replace of the record of terms, with the same time-out; the shell never repeats it. Ends
    /// in `Input::RecordWritten`. At most one request about the record is under way.
    WriteRecord(RecordWrite),
    /// Replace role.json. (plain apps) Ends in `Input::RoleWritten`.
    PublishRole(RoleView),
    /// (plain apps under `exec`) As soon as the role.json before this stands in its place, wait until nobody holds
    /// `lead.lock`; then `Input::LeadLockFree`. Each one replaces the one before.
    AwaitLeadLock {
        /// To be given back.
        number: u64,
    },
    /// (plain apps) What the request in this very input, `StepDown` or `Released`, comes to. Each gets exactly one answer.
    Answer {
        /// The term of the request.
        term: Term,
        /// What it comes to.
        ending: Ending,
    },
    /// Point the Service of the leader at this pod, unless it already points at a pod with a higher term. The shell repeats
    /// it until it is done or the next one replaces it. If the pod is this one, the shell also maintains it until
    /// `LeaveEndpoints`.
    UpdateEndpoints {
        /// The leader's pod.
        name: String,
        /// Where clients reach it, if known; otherwise the shell's template applies.
        address: Option<String>,
        /// Its term.
        term: Term,
    },
    /// This pod no longer leads by the claim that it pointed the Service at: the shell stops maintaining and writing it.
    /// The present target stays until the next leader writes.
    LeaveEndpoints,
    /// Something that an operator wants to know: log, Kubernetes Event, counter.
    Tell(Event),
    /// Everything is let go of: the sidecar may exit.
    Stopped,
}

/// What a request to end a leadership comes to. Only the first two do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It ends this pod's leadership: role.json, as it is published from this step on, does not name this pod as the leader
    /// of that term.
    Ends,
    /// Of this pod's last leadership, which is over: by an earlier request, or by another cause.
    IsOver,
    /// This pod neither leads nor last led in that term. Nothing was done.
    OtherTerm {
        /// The term in which it leads, or last led. None: this run of the sidecar never led.
        led: Option<Term>,
    },
}

/// A compare-and-swap of the Lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseWrite {
    /// Replace exactly this version; none: create.
    pub expected: Option<Version>,
    /// The new content. The shell adds owner references and `renewTime`, and `acquireTime` where
    /// [`Why::is_new_leadership`]; it keeps the rest of the raw object.
    pub body: Body,
    /// The purpose of the write.
    pub why: Why,
}

/// A compare-and-swap of the record of terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordWrite {
    /// Replace exactly this version; none: create.
    pub expected: Option<Version>,
    /// Its `leaseTransitions`. It has no holder.
    pub term: Term,
    /// Its `leaseDurationSeconds`: the longest of those who wrote it.
    pub duration_seconds: u32,
    /// The mark of who creates it. None: the mark that it has is removed.
    pub created_by: Option<Uuid>,
}

/// The purpose of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The holder renews. Only the stamp changes (or a lost cluster-id, address or served annotation is restored).
    Renew,
    /// Rule 1: the Lease names this pod with an incarnation that is gone.
    TakeBack,
    /// Rule 2: the leader writes a Lease that does not count, or no longer does, with its own term.
    Restore,
    /// Rule 2: the leader takes a Lease without a holder whose term is above its own, or replaces an edit by hand.
    Outbid,
    /// Rule 2 (plain apps): the holder was cleared, or the Lease is gone, or its holder does not count.
    TakeFree,
    /// Rule 3 (plain apps): it expired.
    TakeExpired,
    /// Rule 4: the app campaigns.
    TakeCampaign,
    /// The bootstrap: the first Lease, with the cluster-id of a volume marked `bootstrapping`.
    Bootstrap,
    /// `needTerm`: the leader needs a new term.
    NewTerm,
    /// This sidecar writes a Lease that was below the promise for 10 s, for the leader whose own sidecar is blind.
    ForLeader,
    /// (plain apps) A Lease below a term that was seen gets a higher term, for the same holder.
    Raise,
    /// Letting go: transfer to a successor.
    Transfer,
    /// Letting go: the holder is cleared.
    Clear,
    /// (plain apps) There is no Lease: one without a holder, a term, a duration and stamps is created, as from a manifest.
    Place,
    /// (plain apps) Its app has stopped since the holder was cleared: the Lease says so now.
    Certify,
    /// (plain apps) The leader is unfit and this pod is fit, so it asks for a switchover. It renews nothing: `renewTime`
    /// stays.
    AskForLead,
}

impl Why {
    /// Whether the Lease gets a new stamp: a write that neither takes, renews nor clears keeps the old one, from which
    /// others count.
    pub fn is_stamped(self) -> bool {
        !matches!(self, Why::AskForLead | Why::Place)
    }

    /// Whether it begins a leadership, so that `acquireTime` is set.
    pub fn is_new_leadership(self) -> bool {
        match self {
            Why::Renew | Why::Clear | Why::Place | Why::Certify | Why::AskForLead => false,
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

/// This pod's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PodRole {
    /// A claim says that this pod leads.
    Leader,
    /// Another pod leads, or this pod must not.
    Follower,
    /// Nobody is known to lead.
    None,
}

/// All of role.json that the core knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleView {
    /// This pod's role.
    pub role: PodRole,
    /// The term of `leader`; the highest term seen when nobody leads. It never goes down.
    pub term: Term,
    /// The cluster-id of the Lease (of an off-lease claim: the app's own).
    pub cluster_id: Option<Uuid>,
    /// Who leads.
    pub leader: Option<Leader>,
    /// The wanted pods, as last reported; none: not known.
    pub members: Option<Vec<Member>>,
    /// A switchover requested of this pod while it leads.
    pub hand_over_to: Option<String>,
    /// No Lease contains the claim.
    pub off_lease: bool,
    /// No pod takes over by itself.
    pub paused: bool,
    /// The revision to which the StatefulSet's pods are being updated; none: not known.
    pub newest_revision: Option<String>,
    /// Until when this pod's own claim is valid without another renewal, on the clock of `now`, counted from the start of
    /// the request. None where this pod does not hold the Lease.
    pub valid_until: Option<Duration>,
    /// When this pod last saw another pod renew the Lease, on the clock of `now`. None where this pod leads, or saw no
    /// renewal.
    pub renewed_at: Option<Duration>,
}

/// The leader that is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    /// The name of its pod.
    pub name: String,
    /// The run of its app for which the term was issued.
    pub incarnation: Uuid,
    /// Where clients reach it, if known; otherwise the shell's template applies.
    pub address: Option<String>,
    /// Where other replicas reach it, if known; otherwise the shell's template applies.
    pub peer_address: Option<String>,
}
