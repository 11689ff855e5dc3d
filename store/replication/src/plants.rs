//! Faults that are built in on purpose, to see that the simulator finds them.
//!
//! Each is a rule of docs/design.md that is left out in one place. The switch exists only with the feature `plants`, which
//! nothing that is shipped asks for; without it [`planted`] is a constant `false`, and the compiler drops the fault.

/// A rule that is left out. The mark is its trace in docs/design.md, section 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A voter with a better position counts as a vote, and its entries are not pulled.
    BetterPositionIsVote,
    /// A leader commits by counting entries of older terms.
    OldTermCommits,
    /// A promise binds to the term alone, not to the leader's incarnation.
    PromiseWithoutIncarnation,
    /// A restarted process leads on in the term of the run before \[S10\].
    SameTermAfterRestart,
    /// The voters are changed before the term's own entry is committed \[S7\].
    VotersBeforeOwnEntry,
    /// The voters are changed again before the last change is committed \[S7\].
    SeveralVotersChanges,
    /// A voter is exchanged for another one in one entry \[S7\].
    VoterSwapped,
    /// Only a committed set of voters counts \[S7\].
    OnlyCommittedVotersCount,
    /// The hello is said before the promise is durable.
    HelloBeforeDurable,
    /// The position that the hello tells was read before the promise was made \[S3\].
    PositionBeforePromise,
    /// Appends of the old leader are still taken after the promise to a new one \[S3\].
    OldTermAppends,
    /// A follower acks what is not durable.
    AckBeforeDurable,
    /// A follower acks its last sequence instead of the verified one \[S4\].
    AckOfTheLast,
    /// A follower commits up to the end of its log \[S5\].
    CommitToTheEnd,
    /// An append cuts all that stands behind it, also what is equal \[S5\].
    ShorterAppendCuts,
    /// Acks carry no term: a late one of an older leadership counts in a new one \[S4\].
    LateAcks,
    /// A leader counts its own promise before it is durable.
    OwnPromiseBeforeDurable,
    /// The first start does not ask the others whether they are empty \[S9\].
    BootstrapWithoutAsking,
    /// A volume that is marked `bootstrapping` opens for writes \[L4\].
    MarkedVolumeOpens,
    /// The sidecar is told of a bootstrap before the volume is durable \[L4\].
    LeaseBeforeVolume,
    /// A leader invites nobody \[L1\].
    NoInvitations,
    /// A leader hands over to who has a better log instead of pulling from it \[L2\].
    HandOverInsteadOfPull,
    /// Who lost the leader of t asks for a leader "of t" instead of "of t or above".
    OnlyThatTerm,
    /// Writes are taken with fewer voters than the floor \[L7\].
    NoFloor,
    /// A leader stops when nobody is named in role.json \[L11\].
    MissingLeaseStops,
    /// Who is told to end, ends at once \[L6\].
    LastVotersLeave,
    /// A strong read is confirmed by heartbeats that began before it came \[S6\].
    UnaskedHeartbeatsConfirm,
    /// A leader whose disk hangs, and that nobody takes over from, stays in touch with its followers \[B1\].
    HungLeaderTalksOn,
    /// A replica whose disk hangs counts as caught up \[B3\].
    HungReplicaHasCaughtUp,
    /// A leader whose disk hangs lets go although the others cannot do without it \[B4\].
    HungLeaderLetsGoAnyhow,
    /// An answer counts for the pod that was asked, whoever gave it \[F2\].
    AnyNameAnswers,
    /// An empty volume takes an invitation before it knows which cluster is its own \[F3\].
    StrangersInvite,
    /// A restarted replica promises before it asked what others know of its volume \[E1\].
    PromisesWithoutAsking,
    /// A replica that is refused as gone back does not mark itself \[E2\].
    WentBackIsForgotten,
    /// What a volume acknowledged and what it holds are compared by sequence alone \[E3\].
    SequencesCompared,
    /// What was acked and never committed counts against a volume, too \[E3\].
    UncommittedIsKnown,
    /// A replica has caught up when it lacks fewer than a thousand entries, however long they are.
    CaughtUpByEntries,
    /// A follower takes its data for as fresh as the last heartbeat.
    HeartbeatsProveFreshness,
    /// A leader takes its data for as fresh as the newest echo, whatever of them waits to be applied.
    UnappliedIsFresh,
    /// A replica becomes a voter with its first acknowledgement.
    VoterBeforeItCaughtUp,
    /// A follower whose disk is full still takes entries.
    FullTakesEntries,
    /// A leader that is over its limits still takes what grows the data.
    OverStillGrows,
}

#[cfg(feature = "plants")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Builds this fault (or none) into every replica of this thread.
#[cfg(feature = "plants")]
pub fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}

/// Is this fault built in?
#[cfg(feature = "plants")]
pub(crate) fn planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Is this fault built in? Never, in what is shipped.
#[cfg(not(feature = "plants"))]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}

/// What some faults have to remember.
#[cfg(feature = "plants")]
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Memory {
    /// The log's end when role.json was last read.
    pub(crate) position: crate::Position,
    /// An ack that is owed to a leader of an older term.
    pub(crate) owed: Option<(crate::ConnId, crate::Frame)>,
    /// Connections of earlier leaderships.
    pub(crate) connections: std::collections::BTreeMap<crate::ConnId, crate::ReplicaId>,
}
