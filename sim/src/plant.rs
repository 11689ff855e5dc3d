//! Faults built in on purpose, to check that they are found: `tests/planted.rs` has the table.

/// A rule that is left out, in one of the cores or in a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// In the simulator's part of the production shells.
    Shell(Shell),
    /// In the store's core. Only with the feature `plants`.
    Replication(leasehold_replication::Fault),
    /// In the documents. Only with the feature `plants`.
    Documents(leasehold_documents::Fault),
    /// In the sidecar's core. Only with the feature `plants`.
    Election(leasehold_election::Fault),
}

/// A fault of the shells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// The journal reports records as durable before they are.
    ToldBeforeDurable,
    /// A restarted process considers what it reads from the page cache durable \[S2\].
    PageCacheIsDurable,
    /// The promise is lost when the journal is read again \[S1\].
    PromiseLost,
    /// An emptied volume keeps its UUID.
    WipedKeepsIdentity,
    /// The tail of an older journal is replayed over a newer snapshot \[S8\].
    OldTailIsReplayed,
    /// The Lease is replaced without a look at its version, as a merge PATCH does.
    LeaseWithoutCompare,
    /// A read with `after` does not wait until that much is applied.
    ReadsDoNotWait,
    /// Every connection of a race says hello, not the winner alone \[F4\].
    HelloByEveryAddress,
    /// The translation of role.json forgets the wanted pods.
    MembersAreLost,
    /// The translation of status.json forgets that the app is letting go of the leadership.
    HandOverIsLost,
    /// A snapshot is written in the format of the build \[C3\].
    SnapshotInBuildsFormat,
    /// The journal begins no segment for a later format \[C3\].
    NoNewSegment,
    /// A replica that plays its log again leaves out the last operation of each transaction.
    ReplaySkipsHalf,
    /// A start with data believes restore.json more than its volume \[R1\].
    RestoreAtAnyStart,
    /// What is restored keeps the term of the cluster that it is from \[R2\].
    RestoreTermKept,
    /// The restored data and the voters behind them become durable one after the other \[R2\].
    RestoreInTwoWrites,
    /// restore.json is removed when it is read, before what was made of it is durable \[R2\].
    RestoreDeletedEarly,
    /// `exec` reads role.json, and locks `lead.lock` after that \[A6\].
    ExecReadsFirst,
    /// A plain app believes a role.json of an earlier boot of its machine \[A8\].
    OldBootCounts,
}

impl Plant {
    /// Every fault.
    pub fn all() -> Vec<Plant> {
        use leasehold_documents::Fault as D;
        use leasehold_election::Fault as E;
        use leasehold_replication::Fault as R;
        let shell = [
            Shell::ToldBeforeDurable,
            Shell::PageCacheIsDurable,
            Shell::PromiseLost,
            Shell::WipedKeepsIdentity,
            Shell::OldTailIsReplayed,
            Shell::LeaseWithoutCompare,
            Shell::ReadsDoNotWait,
            Shell::HelloByEveryAddress,
            Shell::MembersAreLost,
            Shell::HandOverIsLost,
            Shell::OldBootCounts,
            Shell::ExecReadsFirst,
            Shell::SnapshotInBuildsFormat,
            Shell::NoNewSegment,
            Shell::ReplaySkipsHalf,
            Shell::RestoreAtAnyStart,
            Shell::RestoreTermKept,
            Shell::RestoreInTwoWrites,
            Shell::RestoreDeletedEarly,
        ];
        let replication = [
            R::BetterPositionIsVote,
            R::OldTermCommits,
            R::PromiseWithoutIncarnation,
            R::SameTermAfterRestart,
            R::VotersBeforeOwnEntry,
            R::SeveralVotersChanges,
            R::VoterSwapped,
            R::OnlyCommittedVotersCount,
            R::HelloBeforeDurable,
            R::PositionBeforePromise,
            R::OldTermAppends,
            R::AckBeforeDurable,
            R::AckOfTheLast,
            R::CommitToTheEnd,
            R::ShorterAppendCuts,
            R::LateAcks,
            R::OwnPromiseBeforeDurable,
            R::BootstrapWithoutAsking,
            R::RestoreWithoutAsking,
            R::RestoreOfAnyFormat,
            R::MarkedVolumeOpens,
            R::LeaseBeforeVolume,
            R::NoInvitations,
            R::HandOverInsteadOfPull,
            R::OnlyThatTerm,
            R::NoFloor,
            R::MissingLeaseStops,
            R::LastVotersLeave,
            R::UnwantedLeaderStaysVoter,
            R::UnaskedHeartbeatsConfirm,
            R::HungLeaderTalksOn,
            R::HungReplicaHasCaughtUp,
            R::HungLeaderLetsGoAnyhow,
            R::AnyNameAnswers,
            R::StrangersInvite,
            R::PromisesWithoutAsking,
            R::WentBackIsForgotten,
            R::SequencesCompared,
            R::UncommittedIsKnown,
            R::CaughtUpByEntries,
            R::VoterBeforeItCaughtUp,
            R::HeartbeatsProveFreshness,
            R::UnappliedIsFresh,
            R::FullTakesEntries,
            R::OverStillGrows,
            R::RaisedTooEarly,
            R::RaisedWithoutMembers,
            R::UnreadableIsSkipped,
            R::FormatMinOfTheBuild,
            R::OldBuildsStay,
            R::NewFormatBeforeCommit,
            R::LeaderDecides,
            R::AnswersDecide,
            R::DivergedLeaderGoesOn,
            R::DivergedLeadsAgain,
            R::DivergedStopsAcking,
            R::DivergedIsForgotten,
            R::DivergedSendsSnapshot,
            R::OneClockExpires,
        ];
        let documents = [
            D::RestoredIndexIsWhole,
            D::StepsOfAnyEpoch,
            D::WritesOfAnyEpoch,
            D::HalfTransactions,
            D::KeysAreForgotten,
        ];
        let election = [
            E::NeedTermByOthers,
            E::NoOffLeaseBeforeRead,
            E::SameTermOfAnotherCounts,
            E::DeafWatchIsBelieved,
            E::AbsurdTermIsBelieved,
            E::LeaderLeavesLeaseGone,
            E::NeverLapses,
            E::OutageCountsAsExpiry,
            E::ClearedLeadsOn,
            E::ClearsAreAlike,
            E::NamesakeIsOwnRun,
            E::NeverHeldIsFree,
            E::RunningCommandIsStopped,
            E::UnfitLeadersGo,
            E::PreferredPodsQueue,
            E::TermsAreForgotten,
            E::UnwantedRenewalsAreNone,
            E::AnyRecordIsOwn,
            E::StaleRoleIsIgnored,
            E::UnfitIsFitAgain,
            E::FormerLeaderReturns,
            E::OwnDurationDecides,
        ];
        let replication = replication.into_iter().map(Plant::Replication);
        shell
            .into_iter()
            .map(Plant::Shell)
            .chain(replication)
            .chain(documents.into_iter().map(Plant::Documents))
            .chain(election.into_iter().map(Plant::Election))
            .collect()
    }

    /// Its name, without its place.
    pub fn name(&self) -> String {
        match self {
            Plant::Shell(fault) => format!("{fault:?}"),
            Plant::Replication(fault) => format!("{fault:?}"),
            Plant::Documents(fault) => format!("{fault:?}"),
            Plant::Election(fault) => format!("{fault:?}"),
        }
    }
}

/// While this lives, the fault is built into the cores of this thread.
pub(crate) struct Planted;

impl Planted {
    /// Builds it in. A fault of a core needs the feature `plants`.
    pub(crate) fn new(fault: Option<Plant>) -> Planted {
        set(fault);
        Planted
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        set(None);
    }
}

#[cfg(feature = "plants")]
fn set(fault: Option<Plant>) {
    let (replication, documents, election) = match fault {
        None | Some(Plant::Shell(_)) => (None, None, None),
        Some(Plant::Replication(fault)) => (Some(fault), None, None),
        Some(Plant::Documents(fault)) => (None, Some(fault), None),
        Some(Plant::Election(fault)) => (None, None, Some(fault)),
    };
    leasehold_documents::plant(documents);
    leasehold_replication::plant(replication);
    leasehold_election::plant(election);
}

#[cfg(not(feature = "plants"))]
fn set(fault: Option<Plant>) {
    let is_none = !matches!(fault, Some(Plant::Replication(_) | Plant::Documents(_) | Plant::Election(_)));
    assert!(is_none, "{fault:?} needs the feature `plants`");
}
