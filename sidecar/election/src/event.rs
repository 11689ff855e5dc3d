//! What people want to know: each change of leadership, each refusal, each wait that a person can end.

use uuid::Uuid;

use crate::lease::Term;

/// Something to log, to count, and to write as a Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Who is published as leader changed (none: nobody is known to lead).
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
    /// (plain apps) The Lease could not be renewed for two thirds of its duration: this pod stops leading.
    Lapsed {
        /// The term.
        term: Term,
    },
    /// The leader's sidecar is blind; this one wrote the Lease for it.
    WrittenForLeader {
        /// The leader's pod.
        leader: String,
        /// Its term.
        term: Term,
    },
    /// A switchover ended as it was asked for.
    SwitchoverDone {
        /// The pod that was asked for.
        to: String,
    },
    /// A switchover was asked for to a pod that is no member. The request was removed.
    SwitchoverRefused {
        /// The pod that was asked for.
        to: String,
    },
    /// A switchover did not come about in time, or another pod took over. The request was removed.
    SwitchoverGivenUp {
        /// The pod that was asked for.
        to: String,
    },
    /// The Lease's term is more than a million above all that is known: an edit by hand, not believed.
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
    /// The holder has no incarnation of its own, so it counts as none: not one of us wrote it.
    HolderWithoutIncarnation {
        /// The holder.
        holder: String,
    },
    /// The volume belongs to another cluster than the Lease. Nothing is touched; a person must look.
    ForeignCluster {
        /// The cluster-id in the Lease; none: it is no UUID.
        lease: Option<Uuid>,
        /// The cluster-id of the volume.
        volume: Uuid,
    },
    /// There is no term left: 2^31 - 1 is reached. A person must look.
    TermsExhausted,
    /// A take-over is due, and waits because the Lease is paused.
    WaitsForResume,
    /// No request about the Lease got an answer for a duration.
    ApiSilent,
    /// It answers again.
    ApiAnswers,
    /// Writes of the Lease stay undecided for a duration while reads work.
    WritesUndecided,
}
