//! What can be broken, in words that fit processes and Kubernetes alike.

use std::fmt;

/// The target. Chosen by role, determined when the time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Leader,
    /// The first or second pod after the leader.
    Follower(u16),
}

impl Who {
    /// The pod's ordinal, of this many; without a leader pod 0 takes its place.
    pub(super) fn of(self, leader: Option<u16>, pods: u16) -> u16 {
        let leader = leader.unwrap_or(0);
        match self {
            Who::Leader => leader,
            Who::Follower(n) => (leader + n) % pods.max(1),
        }
    }
}

/// Which of a pod's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    Store,
    Sidecar,
    Both,
}

/// Of which build a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Build {
    /// The last release.
    Last,
    /// This one, with the last release's format as the highest: until the format rises, there is a way back.
    Held,
    /// This one.
    This,
}

/// Whether kill -9 meets a pod in the middle of its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Midway {
    Unharmed,
    /// Both old programs, when the store has begun to end.
    KilledEnding,
    /// The new store, as soon as it runs.
    KilledStarting,
}

/// One thing that is done to the cluster. What lasts is undone at the end of its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// kill -9. Held: it is started again at the end of the round only.
    Kill { who: Who, parts: Parts, held: bool },
    /// kill -9 of every process at once.
    KillAll,
    /// SIGSTOP.
    Freeze { who: Who, parts: Parts },
    /// Two pods do not hear each other, or one does not hear the other.
    CutPair { from: Who, to: Who, one_way: bool },
    /// A pod hears no other pod, and none hears it. Clients reach it.
    Isolate { who: Who },
    /// A pod's sidecar does not reach the API server.
    CutApi { who: Who },
    /// The API server.
    Api(ApiTrouble),
    /// Somebody else writes to the Lease.
    Lease(LeaseEdit),
    /// A volume is lost, if that is safe: all voters are there and have caught up.
    Wipe { who: Who },
    /// A disk.
    Disk { who: Who, trouble: DiskTrouble },
    /// `kubectl delete pod`; by force: the pod is not asked.
    DeletePod { who: Who, by_force: bool },
    /// A new version: one pod after the other, from the last.
    Rolling,
    /// One step of a rolling update: a pod's programs become those of the other build.
    Exchange { pod: u16, parts: Parts, to: Build, midway: Midway },
    /// This pod is asked to lead, until it does.
    Lead { pod: u16 },
    /// The format has risen: a collection is defined, and used at every pod.
    UseCollection,
    /// From three to so many and back.
    Scale { to: u16 },
    /// Somebody asks that this pod lead.
    Switchover { to: Who },
    /// The pod's machine.
    Node { who: Who, trouble: NodeTrouble },
    /// etcd dies and restarts.
    Etcd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiTrouble {
    Down,
    Slow,
    Answers(u16),
    LosesAnswers,
    DeafWatches,
    HangsUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskTrouble {
    Slow,
    VerySlow,
    Full,
    WritesFail,
    SyncsFail,
    OneSyncFails,
    SyncsHang,
    AllHangs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeTrouble {
    Cut,
    PowerCut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseEdit {
    Deleted,
    NoHolder,
    Stranger,
    OtherPod,
    OldTerm,
    NextTerm,
    HighestTerm,
    OldTimes,
    FutureTimes,
    NoSpec,
    NoAnnotations,
    NoIncarnation,
    WrongIncarnation,
    Paused,
}

impl LeaseEdit {
    pub(super) const ALL: [LeaseEdit; 14] = [
        LeaseEdit::Deleted,
        LeaseEdit::NoHolder,
        LeaseEdit::Stranger,
        LeaseEdit::OtherPod,
        LeaseEdit::OldTerm,
        LeaseEdit::NextTerm,
        LeaseEdit::HighestTerm,
        LeaseEdit::OldTimes,
        LeaseEdit::FutureTimes,
        LeaseEdit::NoSpec,
        LeaseEdit::NoAnnotations,
        LeaseEdit::NoIncarnation,
        LeaseEdit::WrongIncarnation,
        LeaseEdit::Paused,
    ];

    /// The merge patch for the present Lease and another pod's name; none: it is deleted.
    pub(super) fn patch(self, term: u64, other: &str) -> Option<serde_json::Value> {
        use serde_json::json;
        let long_ago = "2001-01-01T00:00:00.000000Z";
        let annotation = |name: &str, value: &str| json!({"metadata": {"annotations": {name: value}}});
        Some(match self {
            LeaseEdit::Deleted => return None,
            LeaseEdit::NoHolder => json!({"spec": {"holderIdentity": null}}),
            LeaseEdit::Stranger => json!({"spec": {"holderIdentity": "somebody-else"}}),
            LeaseEdit::OtherPod => json!({"spec": {"holderIdentity": other}}),
            LeaseEdit::OldTerm => json!({"spec": {"leaseTransitions": 0}}),
            LeaseEdit::NextTerm => json!({"spec": {"leaseTransitions": term + 1}}),
            LeaseEdit::HighestTerm => json!({"spec": {"leaseTransitions": 2_147_483_647, "holderIdentity": other}}),
            LeaseEdit::OldTimes => json!({"spec": {"renewTime": long_ago, "acquireTime": long_ago}}),
            LeaseEdit::FutureTimes => json!({"spec": {"renewTime": "2101-01-01T00:00:00.000000Z"}}),
            LeaseEdit::NoSpec => json!({"spec": null}),
            LeaseEdit::NoAnnotations => json!({"metadata": {"annotations": null}}),
            LeaseEdit::NoIncarnation => annotation("leasehold.dev/incarnation", "not a uuid"),
            LeaseEdit::WrongIncarnation => {
                annotation("leasehold.dev/incarnation", "00000000-0000-4000-8000-000000000000")
            }
            LeaseEdit::Paused => annotation("leasehold.dev/paused", "true"),
        })
    }

    fn words(self) -> &'static str {
        match self {
            LeaseEdit::Deleted => "the Lease is deleted",
            LeaseEdit::NoHolder => "the Lease: nobody holds it",
            LeaseEdit::Stranger => "the Lease: a stranger holds it",
            LeaseEdit::OtherPod => "the Lease: another pod holds it",
            LeaseEdit::OldTerm => "the Lease: term 0",
            LeaseEdit::NextTerm => "the Lease: a term more",
            LeaseEdit::HighestTerm => "the Lease: the highest term, another pod",
            LeaseEdit::OldTimes => "the Lease: times of long ago",
            LeaseEdit::FutureTimes => "the Lease: times to come",
            LeaseEdit::NoSpec => "the Lease: an empty spec",
            LeaseEdit::NoAnnotations => "the Lease: no annotations",
            LeaseEdit::NoIncarnation => "the Lease: an incarnation that is none",
            LeaseEdit::WrongIncarnation => "the Lease: a strange incarnation",
            LeaseEdit::Paused => "the Lease: paused",
        }
    }
}

impl Fault {
    /// Does it run on its own, one step after the other, beside the round's other faults?
    pub(super) fn is_procedure(&self) -> bool {
        self.is_step() || matches!(self, Fault::Rolling | Fault::Scale { .. } | Fault::DeletePod { .. })
    }

    /// Is it a step of an update? All else happens while it is made, or between two.
    pub(super) fn is_step(&self) -> bool {
        matches!(self, Fault::Exchange { .. } | Fault::Lead { .. } | Fault::UseCollection)
    }

    /// What it says, with the pods' numbers.
    pub(super) fn words(&self, leader: Option<u16>, pods: u16) -> String {
        let pod = |who: Who| match who {
            Who::Leader => format!("pod {} (leader)", who.of(leader, pods)),
            Who::Follower(_) => format!("pod {}", who.of(leader, pods)),
        };
        match *self {
            Fault::Kill { who, parts, held: false } => format!("kill -9 {parts} of {}", pod(who)),
            Fault::Kill { who, parts, held: true } => format!("kill -9 {parts} of {}, not started again yet", pod(who)),
            Fault::KillAll => "kill -9 everything".to_owned(),
            Fault::Freeze { who, parts } => format!("frozen: {parts} of {}", pod(who)),
            Fault::CutPair { from, to, one_way: true } => format!("{} does not hear {}", pod(to), pod(from)),
            Fault::CutPair { from, to, one_way: false } => format!("{} and {} cut off", pod(from), pod(to)),
            Fault::Isolate { who } => format!("{} hears no pod", pod(who)),
            Fault::CutApi { who } => format!("{} does not reach the API", pod(who)),
            Fault::Api(trouble) => trouble.to_string(),
            Fault::Lease(edit) => edit.words().to_owned(),
            Fault::Wipe { who } => format!("volume of {} wiped", pod(who)),
            Fault::Disk { who, trouble } => format!("disk of {}: {trouble}", pod(who)),
            Fault::DeletePod { who, by_force: false } => format!("{} deleted", pod(who)),
            Fault::DeletePod { who, by_force: true } => format!("{} deleted by force", pod(who)),
            Fault::Rolling => "rolling restart with a new version".to_owned(),
            Fault::Exchange { pod, parts, to, midway } => format!("pod {pod}: {parts} of {to}{midway}"),
            Fault::Lead { pod } => format!("pod {pod}: leads"),
            Fault::UseCollection => "a collection is defined and used".to_owned(),
            Fault::Scale { to } => format!("scaled to {to} and back to {pods}"),
            Fault::Switchover { to } => format!("{} asked to lead", pod(to)),
            Fault::Node { who, trouble: NodeTrouble::Cut } => format!("node of {} cut off", pod(who)),
            Fault::Node { who, trouble: NodeTrouble::PowerCut } => format!("node of {} without power", pod(who)),
            Fault::Etcd => "etcd killed".to_owned(),
        }
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Parts::Store => "store",
            Parts::Sidecar => "sidecar",
            Parts::Both => "store and sidecar",
        })
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Build::Last => "the last release",
            Build::Held => "this build, its format held back",
            Build::This => "this build",
        })
    }
}

impl fmt::Display for Midway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Midway::Unharmed => "",
            Midway::KilledEnding => ", the old ones killed while they end",
            Midway::KilledStarting => ", the store killed while it starts",
        })
    }
}

impl fmt::Display for ApiTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiTrouble::Down => f.write_str("API down"),
            ApiTrouble::Slow => f.write_str("API slow"),
            ApiTrouble::Answers(status) => write!(f, "API answers {status}"),
            ApiTrouble::LosesAnswers => f.write_str("API does what it is asked, and does not answer"),
            ApiTrouble::DeafWatches => f.write_str("API's watches are silent"),
            ApiTrouble::HangsUp => f.write_str("API hangs up"),
        }
    }
}

impl fmt::Display for DiskTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DiskTrouble::Slow => "each fsync takes 100 ms more",
            DiskTrouble::VerySlow => "each fsync takes 3 s more",
            DiskTrouble::Full => "full (ENOSPC)",
            DiskTrouble::WritesFail => "writes fail (EIO)",
            DiskTrouble::SyncsFail => "fsync fails (EIO)",
            DiskTrouble::OneSyncFails => "one fsync fails (EIO)",
            DiskTrouble::SyncsHang => "no fsync returns",
            DiskTrouble::AllHangs => "no write and no fsync returns",
        })
    }
}
