//! Faults built in on purpose, to check that the simulator finds them.
//!
//! Each leaves out one rule of docs/design.md in one place. The switch exists only with the feature `plants`, which no
//! shipped build enables. The core asks by name whether a rule holds (`claims_lapse()`), so that its conditions read as the
//! rules; without the feature each is a constant `true`, and the compiler drops the fault.

/// A rule that is left out. Its mark is that of its trace in docs/design.md, section 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// `needTerm` starts a new term at every sidecar that learns of it \[L3\].
    NeedTermByOthers,
    /// A sidecar that has not read the Lease yet does not lead off it.
    NoOffLeaseBeforeRead,
    /// A Lease of the promise's term with another incarnation counts \[L12\].
    SameTermOfAnotherCounts,
    /// Nobody asks when the watch has been silent for a long time \[L13\].
    DeafWatchIsBelieved,
    /// A Lease with an absurd term is believed \[L8\].
    AbsurdTermIsBelieved,
    /// The leader does not write a Lease that is gone \[L11\].
    LeaderLeavesLeaseGone,
    /// A plain app's sidecar continues to lead when it could not renew.
    NeverLapses,
    /// A plain app's sidecar counts an outage of the API towards the expiry of the Lease.
    OutageCountsAsExpiry,
    /// A plain app's sidecar that cleared the Lease continues to lead by what it wrote before \[A2\].
    ClearedLeadsOn,
    /// A plain app's sidecar counts its wait from the first of several clears \[A3\].
    ClearsAreAlike,
    /// A plain app's sidecar takes back a Lease that names its pod, without knowing that the named run is over \[A4\].
    NamesakeIsOwnRun,
    /// A plain app's sidecar takes the Lease from a pod that is not wanted, however recently that pod renewed it \[L15\].
    UnwantedRenewalsAreNone,
    /// A plain app's sidecar takes a Lease at once that looks as if nobody ever held it \[A1\].
    NeverHeldIsFree,
    /// A sidecar under `exec` clears the Lease, and says that it may be taken, while the command still runs \[A5\].
    RunningCommandIsStopped,
    /// Who took the Lease unfit lets it go because it is unfit \[A9\].
    UnfitLeadersGo,
    /// Everybody takes a cleared Lease as soon as the pod that a switchover names \[A10\].
    PreferredPodsQueue,
    /// Terms are not recorded outside the Lease: they begin anew with it \[A12\].
    TermsAreForgotten,
    /// After a create of the record of terms without an answer, any record that is found counts as the own one \[A1\].
    AnyRecordIsOwn,
    /// A plain app's sidecar clears the Lease whatever the role.json says that stands in its place \[A5\].
    StaleRoleIsIgnored,
    /// An unfit command counts as fit again as soon as another pod leads \[A9\].
    UnfitIsFitAgain,
    /// A plain app's sidecar believes a Lease at once that went back in time and names it.
    FormerLeaderReturns,
    /// A plain app's sidecar counts the expiry by its own duration, whatever the Lease says.
    OwnDurationDecides,
}

#[cfg(feature = "plants")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Builds this fault (or none) into every election of this thread.
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
    /// `needTerm` starts a new term only at the sidecar of the leader \[L3\].
    only_leaders_need_terms unless NeedTermByOthers;
    /// A sidecar that has not read the Lease yet also leads off it.
    unread_lease_forbids_nothing unless NoOffLeaseBeforeRead;
    /// A Lease of the promise's term counts only with the promised incarnation \[L12\].
    promised_incarnation_decides unless SameTermOfAnotherCounts;
    /// A watch that has been silent for a long time is doubted: somebody asks \[L13\].
    silent_watches_are_doubted unless DeafWatchIsBelieved;
    /// A Lease with an absurd term is not believed \[L8\].
    absurd_terms_are_doubted unless AbsurdTermIsBelieved;
    /// The leader writes a Lease that is gone \[L11\].
    leaders_restore_lease unless LeaderLeavesLeaseGone;
    /// A plain app's sidecar that could not renew no longer leads.
    claims_lapse unless NeverLapses;
    /// An outage of the API does not count towards the expiry of the Lease.
    outages_stop_the_wait unless OutageCountsAsExpiry;
    /// A sidecar that cleared the Lease no longer leads by what it wrote before \[A2\].
    clears_end_leaderships unless ClearedLeadsOn;
    /// Each clear starts the wait anew \[A3\].
    each_clear_is_another unless ClearsAreAlike;
    /// A Lease that names this pod is its own only if the named run is over \[A4\].
    namesakes_are_strangers unless NamesakeIsOwnRun;
    /// The Lease of a pod that is not wanted stands as long as that pod renews it \[L15\].
    unwanted_renewals_count unless UnwantedRenewalsAreNone;
    /// Only who created the record of terms takes a Lease at once that nobody ever held \[A1\].
    never_held_needs_record unless NeverHeldIsFree;
    /// Under `exec` only a free `lead.lock` shows that the command has stopped \[A5\].
    only_the_lock_is_certain unless RunningCommandIsStopped;
    /// Who took the Lease unfit keeps it until it has been fit once \[A9\].
    unfit_leaders_stay unless UnfitLeadersGo;
    /// The pod that a switchover names goes first \[A10\].
    preferred_pods_go_first unless PreferredPodsQueue;
    /// Every term is recorded outside the Lease before it begins \[A12\].
    terms_are_recorded unless TermsAreForgotten;
    /// A record of terms that is found after a create without an answer is the own one by its mark and term alone \[A1\].
    only_own_marks_count unless AnyRecordIsOwn;
    /// The Lease is not cleared while the role.json that stands in its place says that this pod leads \[A5\].
    role_files_count unless StaleRoleIsIgnored;
    /// An unfit command is fit again only when another pod has led well for long \[A9\].
    unfit_ones_wait unless UnfitIsFitAgain;
    /// A Lease that went back in time gives nobody its leadership back.
    forgotten_runs_wait unless FormerLeaderReturns;
    /// The duration in the Lease counts where it is longer than the own one.
    leases_durations_count unless OwnDurationDecides;
}
