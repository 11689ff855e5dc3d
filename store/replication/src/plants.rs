//! Faults built in on purpose, to check that the simulator finds them.
//!
//! Each leaves out one rule of docs/design.md in one place. The switch exists only with the feature `plants`, which no
//! shipped build enables. The cores ask by name whether a rule holds (`floor_holds()`), so that their conditions read as
//! the protocol; without the feature every rule is a constant `true`, and the compiler drops the fault.

#[cfg(feature = "plants")]
use crate::Body;
use crate::{ConnId, Frame, Position, ReplicaId, Seq, Voters};
#[cfg(feature = "plants")]
use std::collections::BTreeMap;

/// A rule that is left out. Its mark is that of its trace in docs/design.md, section 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A voter with a better position counts as a vote, and its entries are not pulled.
    BetterPositionIsVote,
    /// A leader commits by counting entries of older terms.
    OldTermCommits,
    /// A promise binds to the term alone, not to the leader's incarnation.
    PromiseWithoutIncarnation,
    /// A restarted process leads on in the term of its previous run \[S10\].
    SameTermAfterRestart,
    /// The voters are changed before the term's own entry is committed \[S7\].
    VotersBeforeOwnEntry,
    /// The voters are changed again before the last change is committed \[S7\].
    SeveralVotersChanges,
    /// One entry exchanges a voter for another one \[S7\].
    VoterSwapped,
    /// Only a committed set of voters counts \[S7\].
    OnlyCommittedVotersCount,
    /// The hello is said before the promise is durable.
    HelloBeforeDurable,
    /// The hello gives a position that was read before the promise was made \[S3\].
    PositionBeforePromise,
    /// Appends of the old leader are still accepted after the promise to a new one \[S3\].
    OldTermAppends,
    /// A follower acks what is not durable.
    AckBeforeDurable,
    /// A follower acks its last sequence instead of the verified one \[S4\].
    AckOfTheLast,
    /// A follower commits up to the end of its log \[S5\].
    CommitToTheEnd,
    /// An append cuts everything behind it, even what is equal \[S5\].
    ShorterAppendCuts,
    /// Acks carry no term: a late one of an older leadership counts in a new one \[S4\].
    LateAcks,
    /// A leader counts its own promise before it is durable.
    OwnPromiseBeforeDurable,
    /// The first start does not ask the others whether they are empty \[S9\].
    BootstrapWithoutAsking,
    /// A first start from a backup does not ask the others whether they are empty \[R1\].
    RestoreWithoutAsking,
    /// A new cluster begins with data of whatever format \[R3\].
    RestoreOfAnyFormat,
    /// A volume that is marked `bootstrapping` opens for writes \[L4\].
    MarkedVolumeOpens,
    /// The sidecar learns of a bootstrap before the volume is durable \[L4\].
    LeaseBeforeVolume,
    /// A leader invites nobody \[L1\].
    NoInvitations,
    /// A leader hands over to a replica with a better log instead of pulling from it \[L2\].
    HandOverInsteadOfPull,
    /// A replica that lost the leader of t asks for a leader "of t" instead of "of t or above".
    OnlyThatTerm,
    /// Writes are accepted with fewer voters than the floor \[L7\].
    NoFloor,
    /// A leader stops when role.json names nobody \[L11\].
    MissingLeaseStops,
    /// A replica that is asked to end ends at once \[L6\].
    LastVotersLeave,
    /// A leader that nobody succeeds, and whose pod is not wanted, ends as a voter \[L6\].
    UnwantedLeaderStaysVoter,
    /// Heartbeats that began before a strong read arrived confirm it \[S6\].
    UnaskedHeartbeatsConfirm,
    /// A leader whose disk hangs, and from whom nobody takes over, stays in touch with its followers \[B1\].
    HungLeaderTalksOn,
    /// A replica whose disk hangs counts as caught up \[B3\].
    HungReplicaHasCaughtUp,
    /// A leader whose disk hangs lets go although the others cannot do without it \[B4\].
    HungLeaderLetsGoAnyhow,
    /// An answer counts for the pod that was asked, whichever pod gave it \[F2\].
    AnyNameAnswers,
    /// An empty volume accepts an invitation before it knows its own cluster \[F3\].
    StrangersInvite,
    /// A restarted replica promises before it has asked what others know of its volume \[E1\].
    PromisesWithoutAsking,
    /// A replica that is refused as gone back does not mark itself \[E2\].
    WentBackIsForgotten,
    /// What a volume acknowledged and what it holds are compared by sequence alone \[E3\].
    SequencesCompared,
    /// What was acked but never committed counts against a volume, too \[E3\].
    UncommittedIsKnown,
    /// A replica has caught up when it lacks fewer than a thousand entries, however long they are.
    CaughtUpByEntries,
    /// A follower considers its data as fresh as the last heartbeat.
    HeartbeatsProveFreshness,
    /// A leader considers its data as fresh as the newest echo, however much waits to be applied.
    UnappliedIsFresh,
    /// A replica becomes a voter with its first acknowledgement.
    VoterBeforeItCaughtUp,
    /// A follower whose disk is full still accepts entries.
    FullTakesEntries,
    /// A leader that is over its limits still accepts writes that grow the data.
    OverStillGrows,
    /// The format is raised without asking whether everybody allows it \[C4\].
    RaisedTooEarly,
    /// The format is raised without asking who is wanted and no voter yet \[C4\].
    RaisedWithoutMembers,
    /// What a build cannot read is taken and passed over \[C1\].
    UnreadableIsSkipped,
    /// A leader welcomes a replica that reads less than its log's format \[C2\].
    OldBuildsWelcome,
    /// A hello tells the lowest format of the build instead of the log's \[C2\].
    FormatMinOfTheBuild,
    /// A leader keeps its connections when its log's format rises \[C2\].
    OldBuildsStay,
    /// What is written is of the log's format, committed or not \[C3\].
    NewFormatBeforeCommit,
    /// The leader's sum decides, not that of the majority \[D1\].
    LeaderDecides,
    /// Sums of replicas that do not vote count, too \[D1\].
    LearnersAreCounted,
    /// A majority of those that answered decides \[D1\].
    AnswersDecide,
    /// A newer question for sums replaces the open one \[D6\].
    NewerQuestionReplaces,
    /// A leader whose data have diverged goes on \[D4\].
    DivergedLeaderGoesOn,
    /// A leader whose data have diverged hands over to any voter \[D4\].
    DivergedHandsOverToAny,
    /// A replica whose data have diverged leads, if it is named \[D5\].
    DivergedLeadsAgain,
    /// A replica whose data have diverged acks nothing \[D5\].
    DivergedStopsAcking,
    /// The mark of data that have diverged is not found again at a start \[D5\].
    DivergedIsForgotten,
    /// A replica whose data have diverged sends them to others \[D5\].
    DivergedSendsSnapshot,
    /// The leader's clock alone says what is over \[T1\].
    OneClockExpires,
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

/// Each rule is a question that conditions ask by name: does it hold? In shipped builds the answer is the constant `true`.
macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident unless $fault:ident;)*) => {$(
        $(#[$doc])*
        #[cfg(feature = "plants")]
        pub(crate) fn $rule() -> bool {
            PLANTED.get() != Some(Fault::$fault)
        }

        $(#[$doc])*
        #[cfg(not(feature = "plants"))]
        pub(crate) const fn $rule() -> bool {
            true
        }
    )*};
}

rules! {
    /// A leader pulls the entries that a voter has and it lacks, before it counts that vote.
    better_positions_are_pulled unless BetterPositionIsVote;
    /// A leader commits by counting entries of its own term alone.
    only_own_terms_are_counted unless OldTermCommits;
    /// A promise binds to the leader's incarnation, not to the term alone.
    promises_name_incarnations unless PromiseWithoutIncarnation;
    /// A restarted process leads only in a new term \[S10\].
    restarts_need_new_terms unless SameTermAfterRestart;
    /// The voters change only after the term's own entry is committed \[S7\].
    voters_wait_for_own_entry unless VotersBeforeOwnEntry;
    /// The voters change again only after the last change is committed \[S7\].
    voters_change_one_by_one unless SeveralVotersChanges;
    /// One entry adds or removes one voter, and exchanges none \[S7\].
    one_voter_an_entry unless VoterSwapped;
    /// The last voters in the log count, committed or not \[S7\].
    appended_voters_count unless OnlyCommittedVotersCount;
    /// The hello is said after the promise is durable.
    hello_waits_for_promise unless HelloBeforeDurable;
    /// The hello gives the position that the log has after the promise \[S3\].
    hello_reads_log_after_promise unless PositionBeforePromise;
    /// After a promise nothing from the old leader is accepted \[S3\].
    old_appends_are_dropped unless OldTermAppends;
    /// A follower acks what is durable.
    only_durable_is_acked unless AckBeforeDurable;
    /// A follower acks what is verified \[S4\].
    only_verified_is_acked unless AckOfTheLast;
    /// A follower commits what is verified \[S5\].
    only_verified_is_committed unless CommitToTheEnd;
    /// An append leaves what is equal \[S5\].
    equal_entries_stay unless ShorterAppendCuts;
    /// An ack counts in its own term \[S4\].
    late_acks_are_dropped unless LateAcks;
    /// A leader counts its own promise when that is durable.
    own_promise_waits_for_disk unless OwnPromiseBeforeDurable;
    /// The first start asks the others whether they are empty \[S9\].
    first_start_asks_others unless BootstrapWithoutAsking;
    /// A first start from a backup asks the others, too \[R1\].
    restores_ask_others unless RestoreWithoutAsking;
    /// A new cluster has the format of the data with which it begins, or a later one \[R3\].
    restores_fit_the_format unless RestoreOfAnyFormat;
    /// A volume that is marked `bootstrapping` does not open for writes \[L4\].
    marked_volumes_stay_closed unless MarkedVolumeOpens;
    /// The sidecar learns of a bootstrap when the volume is durable \[L4\].
    bootstrap_waits_for_disk unless LeaseBeforeVolume;
    /// A leader invites \[L1\].
    leaders_invite unless NoInvitations;
    /// A leader that lacks entries pulls them; it does not hand over instead \[L2\].
    lacking_leaders_pull unless HandOverInsteadOfPull;
    /// A replica that lost the leader of a term also follows one of any later term.
    later_leaders_count unless OnlyThatTerm;
    /// Writes need as many voters as the floor \[L7\].
    floor_holds unless NoFloor;
    /// A leader needs no Lease to continue leading \[L11\].
    leaders_need_no_lease unless MissingLeaseStops;
    /// A replica that is asked to end stays while the others need it \[L6\].
    needed_replicas_stay unless LastVotersLeave;
    /// A leader that nobody succeeds, and whose pod is not wanted, leaves the voters before it ends \[L6\].
    unwanted_leaders_remove_themselves unless UnwantedLeaderStaysVoter;
    /// A strong read waits for a heartbeat that began after the read arrived \[S6\].
    reads_wait_for_later_heartbeats unless UnaskedHeartbeatsConfirm;
    /// A leader whose disk hangs falls silent, so that others may take over \[B1\].
    hung_leaders_fall_silent unless HungLeaderTalksOn;
    /// A replica whose disk hangs has not caught up \[B3\].
    hung_replicas_lag unless HungReplicaHasCaughtUp;
    /// A leader that the others cannot do without stays, even though its disk hangs \[B4\].
    needed_hung_leaders_stay unless HungLeaderLetsGoAnyhow;
    /// An answer counts only if the pod that gave it is the one that was asked \[F2\].
    answers_count_by_name unless AnyNameAnswers;
    /// An empty volume takes no invitation before it knows its own cluster \[F3\].
    strangers_are_refused unless StrangersInvite;
    /// A restarted replica asks what others know of its volume before it promises \[E1\].
    promises_wait_for_answers unless PromisesWithoutAsking;
    /// A replica that is refused as gone back marks itself \[E2\].
    gone_back_is_marked unless WentBackIsForgotten;
    /// What a volume acknowledged and what it holds are compared by term first \[E3\].
    terms_compare_first unless SequencesCompared;
    /// Only what was committed counts against a volume \[E3\].
    only_committed_is_known unless UncommittedIsKnown;
    /// Catching up is measured in bytes and time.
    distance_is_bytes_and_time unless CaughtUpByEntries;
    /// A heartbeat proves nothing about the age of data.
    heartbeats_prove_nothing unless HeartbeatsProveFreshness;
    /// A leader's data are fresh when everything committed is applied.
    only_applied_is_fresh unless UnappliedIsFresh;
    /// A replica becomes a voter when it has caught up.
    voters_have_caught_up unless VoterBeforeItCaughtUp;
    /// A follower whose disk is full accepts no entries.
    full_disks_take_nothing unless FullTakesEntries;
    /// A leader that is over its limits accepts nothing that grows the data.
    limits_hold unless OverStillGrows;
    /// The format rises when everybody who counts allows it \[C4\].
    raises_wait_for_all unless RaisedTooEarly;
    /// Who is wanted counts for a raise, voter or not \[C4\].
    wanted_members_are_asked unless RaisedWithoutMembers;
    /// What a build cannot read ends the process \[C1\].
    unreadable_ends unless UnreadableIsSkipped;
    /// A leader refuses a replica that reads less than its log's format \[C2\].
    old_builds_are_refused unless OldBuildsWelcome;
    /// A hello tells the format of the log \[C2\].
    hello_tells_log_format unless FormatMinOfTheBuild;
    /// A leader drops a follower that reads less when its log's format rises \[C2\].
    old_builds_are_dropped unless OldBuildsStay;
    /// The new format is written when the raise is committed \[C3\].
    new_format_waits_for_commit unless NewFormatBeforeCommit;
    /// The sum of a majority decides \[D1\].
    majority_decides unless LeaderDecides;
    /// Sums of voters alone count \[D1\].
    learners_do_not_count unless LearnersAreCounted;
    /// A majority of all voters decides, not one of those that answered \[D1\].
    all_voters_count unless AnswersDecide;
    /// A question for sums stays until it is judged \[D6\].
    open_questions_stay unless NewerQuestionReplaces;
    /// A leader whose data have diverged lets go at once \[D4\].
    diverged_leaders_let_go unless DivergedLeaderGoesOn;
    /// A leader whose data have diverged hands over to a voter with the sum of the majority \[D4\].
    diverged_hand_over_into_majority unless DivergedHandsOverToAny;
    /// A replica whose data have diverged never leads \[D5\].
    diverged_never_lead unless DivergedLeadsAgain;
    /// A replica whose data have diverged still acks \[D5\].
    diverged_still_ack unless DivergedStopsAcking;
    /// The mark of data that have diverged holds for all later runs \[D5\].
    marks_of_diverged_stay unless DivergedIsForgotten;
    /// A replica whose data have diverged sends no snapshot \[D5\].
    diverged_send_no_snapshots unless DivergedSendsSnapshot;
    /// The clocks of a majority agree with the leader's before it removes what is over \[T1\].
    clocks_of_a_majority_agree unless OneClockExpires;
}

/// What some faults have to remember: nothing, in shipped builds.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Memory {
    /// The log's end when role.json was last read.
    #[cfg(feature = "plants")]
    position: Position,
    /// An ack owed to a leader of an older term.
    #[cfg(feature = "plants")]
    owed: Option<(ConnId, Frame)>,
    /// Connections of earlier leaderships.
    #[cfg(feature = "plants")]
    connections: BTreeMap<ConnId, ReplicaId>,
}

#[cfg(feature = "plants")]
impl Memory {
    /// role.json is read while the log ends there.
    pub(crate) fn note_role_read(&mut self, position: Position) {
        self.position = position;
    }

    /// Where the log ended then.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// A leadership with these connections ends, and they stay open.
    pub(crate) fn keep(&mut self, connections: impl Iterator<Item = (ConnId, ReplicaId)>) {
        self.connections.extend(connections);
    }

    /// The replica at the other end of a connection of an earlier leadership.
    pub(crate) fn earlier(&self, conn: ConnId) -> Option<ReplicaId> {
        self.connections.get(&conn).copied()
    }

    /// This ack goes out when it is durable.
    pub(crate) fn owe(&mut self, conn: ConnId, ack: Frame) {
        self.owed = Some((conn, ack));
    }

    /// The ack that is owed, if everything up to it is durable.
    pub(crate) fn take_owed(&mut self, durable: Seq) -> Option<(ConnId, Frame)> {
        self.owed.take_if(|(_, frame)| match frame.body {
            Body::Ack { seq } => seq <= durable,
            _ => true,
        })
    }
}

#[cfg(not(feature = "plants"))]
impl Memory {
    pub(crate) const fn note_role_read(&mut self, _: Position) {}

    pub(crate) const fn position(&self) -> Position {
        Position::ZERO
    }

    pub(crate) fn keep(&mut self, _: impl Iterator<Item = (ConnId, ReplicaId)>) {}

    pub(crate) const fn earlier(&self, _: ConnId) -> Option<ReplicaId> {
        None
    }

    pub(crate) fn owe(&mut self, _: ConnId, _: Frame) {}

    pub(crate) const fn take_owed(&mut self, _: Seq) -> Option<(ConnId, Frame)> {
        None
    }
}

/// What the log has to remember for a fault: how much is committed. Nothing, in shipped builds.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Committed {
    #[cfg(feature = "plants")]
    upto: Seq,
}

#[cfg(feature = "plants")]
impl Committed {
    /// This much is committed.
    pub(crate) fn note(&mut self, upto: Seq) {
        self.upto = upto;
    }

    /// The last committed set of voters, or else the first one; none where all are empty.
    pub(crate) fn voters<'a>(&self, all: &'a [(Seq, Voters)]) -> Option<&'a Voters> {
        let mut sets = all.iter().filter(|(_, set)| !set.voters.is_empty());
        let committed = sets.clone().rev().find(|(seq, _)| *seq <= self.upto);
        committed.or_else(|| sets.next()).map(|(_, set)| set)
    }
}

#[cfg(not(feature = "plants"))]
impl Committed {
    pub(crate) const fn note(&mut self, _: Seq) {}

    pub(crate) const fn voters<'a>(&self, _: &'a [(Seq, Voters)]) -> Option<&'a Voters> {
        None
    }
}
