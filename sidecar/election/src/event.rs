//! What operators want to know: each change of leadership, each refusal, each wait that an operator can end.

use uuid::Uuid;

use crate::lease::Term;

/// Something to log, to count, and to write as a Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The published leader changed (none: no leader is known).
    LeaderChanged {
        /// The leader's pod.
        leader: Option<String>,
        /// Its term, or the highest seen.
        term: Term,
        /// It is this pod.
        is_self: bool,
    },
    /// Rule 5: this pod is named leader without the Lease, because the API server does not answer.
    OffLease {
        /// The term of the claim.
        term: Term,
    },
    /// Letting go: the Lease now names the successor.
    HandedOver {
        /// The successor's pod.
        to: String,
        /// Its term.
        term: Term,
    },
    /// Letting go: the holder was cleared.
    Cleared {
        /// The term that ended.
        term: Term,
    },
    /// (plain apps) The leader of that term is unfit, so this pod, which is fit, asked for a switchover to itself.
    AskedForLead {
        /// The leader's term.
        term: Term,
    },
    /// (plain apps) The Lease could not be renewed for two thirds of its duration: this pod stops leading.
    Lapsed {
        /// The term.
        term: Term,
    },
    /// The leader's sidecar is blind, so this one wrote the Lease for it.
    WrittenForLeader {
        /// The leader's pod.
        leader: String,
        /// Its term.
        term: Term,
    },
    /// A switchover succeeded.
    SwitchoverDone {
        /// The requested pod.
        to: String,
    },
    /// A switchover named a pod that is no member. The request was removed.
    SwitchoverRefused {
        /// The requested pod.
        to: String,
    },
    /// A switchover did not happen in time, or another pod took over. The request was removed.
    SwitchoverGivenUp {
        /// The requested pod.
        to: String,
    },
    /// The Lease's term is more than a million above all known terms: an edit by hand, not believed.
    EditedByHand {
        /// The term in the Lease.
        term: Term,
        /// The app's promise.
        promised: Term,
    },
    /// The holder is no member, so it counts as none.
    HolderIsNoMember {
        /// The holder.
        holder: String,
    },
    /// The holder has no incarnation of its own, so it counts as none: no sidecar of ours wrote it.
    HolderWithoutIncarnation {
        /// The holder.
        holder: String,
    },
    /// The volume belongs to another cluster than the Lease. Nothing is touched; an operator must look.
    ForeignCluster {
        /// The cluster-id in the Lease; none if it is not a UUID.
        lease: Option<Uuid>,
        /// The cluster-id of the volume.
        volume: Uuid,
    },
    /// No term is left: 2^31 - 1 is reached. An operator must look.
    TermsExhausted,
    /// A take-over is due but waits, because the Lease is paused.
    WaitsForResume,
    /// No request about the Lease got an answer for a duration.
    ApiSilent,
    /// The API server answers again.
    ApiAnswers,
    /// Writes of the Lease have been undecided for a duration while reads work.
    WritesUndecided,
}
