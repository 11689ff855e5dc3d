//! Decides which Lease counts, before any rule.

use uuid::Uuid;

use crate::app::{Claim, Promise};
use crate::event::Event;
use crate::input::Member;
use crate::lease::{ClusterId, Lease, Term};
use crate::plants::{absurd_terms_are_doubted, promised_incarnation_decides};
use crate::timing::TERM_LEAP_MAX;

/// What the Lease means for this pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not been read yet.
    Unread,
    /// It belongs to a cluster other than that of the app's volume: never touched.
    Foreign { lease: Option<Uuid>, volume: Uuid },
    /// There is none, or none that counts.
    NoLease(NoLease),
    /// It counts, and so does its term, but nobody holds it.
    NoHolder(NoHolder, Term),
    /// Somebody holds it.
    Held(Holder),
}

/// Why there is no Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoLease {
    Gone,
    /// Its term is below the app's promise.
    BelowPromise,
    /// It has the promise's term, but another incarnation \[L12\].
    OtherIncarnation,
    /// Its term is absurd \[L8\].
    EditedByHand(Term),
}

/// Why nobody holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoHolder {
    Cleared,
    NoMember(String),
    /// It has no incarnation, or one that is known to be another pod's: its writer knows nothing of ours.
    NoIncarnation(String),
}

/// The holder: name **and** incarnation \[S10\].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) incarnation: Uuid,
    pub(crate) term: Term,
}

/// What the Lease is compared with.
pub(crate) struct Measure<'a> {
    /// The app's promise. A plain app has none: `known` alone judges leaps of its terms.
    pub(crate) promise: Option<Promise>,
    /// A term that leaps far above this is an edit by hand. None: nothing is known yet, so nothing is absurd.
    pub(crate) known: Option<Term>,
    /// The cluster of the app's volume.
    pub(crate) cluster_id: Option<Uuid>,
    pub(crate) members: Option<&'a [Member]>,
    /// This pod with its present incarnation, and the leader that its app follows: they show whose an incarnation is.
    pub(crate) owners: &'a [(Uuid, &'a str)],
}

impl Measure<'_> {
    /// Whether a term is plausible.
    pub(crate) fn is_plausible(&self, term: Term) -> bool {
        !absurd_terms_are_doubted() || self.known.is_none_or(|known| term.0 <= known.0.saturating_add(TERM_LEAP_MAX))
    }

    /// Judges the Lease.
    pub(crate) fn judge(&self, lease: Option<Option<&Lease>>) -> Standing {
        let body = match lease {
            None => return Standing::Unread,
            Some(None) => return Standing::NoLease(NoLease::Gone),
            Some(Some(lease)) => &lease.body,
        };
        match (body.cluster(), self.cluster_id) {
            (ClusterId::Known(lease), Some(volume)) if lease != volume => {
                return Standing::Foreign { lease: Some(lease), volume };
            }
            (ClusterId::Unreadable, Some(volume)) => return Standing::Foreign { lease: None, volume },
            (ClusterId::Known(_) | ClusterId::Unreadable | ClusterId::Absent, _) => {}
        }
        let term = body.term;
        if !self.is_plausible(term) {
            return Standing::NoLease(NoLease::EditedByHand(term));
        }
        let promise = self.promise.unwrap_or_default();
        if term < promise.term {
            return Standing::NoLease(NoLease::BelowPromise);
        }
        let Some(name) = body.holder.clone() else { return Standing::NoHolder(NoHolder::Cleared, term) };
        if !is_member(self.members, &name) {
            return Standing::NoHolder(NoHolder::NoMember(name), term);
        }
        let is_stolen = |incarnation| self.owners.iter().any(|(known, owner)| *known == incarnation && *owner != name);
        let Some(incarnation) = body.incarnation().filter(|incarnation| !is_stolen(*incarnation)) else {
            return Standing::NoHolder(NoHolder::NoIncarnation(name), term);
        };
        let is_of_another = promise.incarnation.is_some_and(|promised| promised != incarnation);
        if term == promise.term && is_of_another && promised_incarnation_decides() {
            return Standing::NoLease(NoLease::OtherIncarnation);
        }
        Standing::Held(Holder { name, incarnation, term })
    }
}

impl Standing {
    /// The term in the Lease, if it counts.
    pub(crate) fn term(&self) -> Option<Term> {
        match self {
            Standing::Unread | Standing::Foreign { .. } | Standing::NoLease(_) => None,
            Standing::NoHolder(_, term) | Standing::Held(Holder { term, .. }) => Some(*term),
        }
    }

    /// What an operator should know about it.
    pub(crate) fn remark(&self, promised: Term) -> Option<Event> {
        match self {
            Standing::Foreign { lease, volume } => Some(Event::ForeignCluster { lease: *lease, volume: *volume }),
            Standing::NoLease(NoLease::EditedByHand(term)) => Some(Event::EditedByHand { term: *term, promised }),
            Standing::NoHolder(NoHolder::NoMember(holder), _) => {
                Some(Event::HolderIsNoMember { holder: holder.clone() })
            }
            Standing::NoHolder(NoHolder::NoIncarnation(holder), _) => {
                Some(Event::HolderWithoutIncarnation { holder: holder.clone() })
            }
            Standing::Unread
            | Standing::NoLease(NoLease::Gone | NoLease::BelowPromise | NoLease::OtherIncarnation)
            | Standing::NoHolder(NoHolder::Cleared, _)
            | Standing::Held(_) => None,
        }
    }
}

impl From<&Claim> for Holder {
    fn from(claim: &Claim) -> Holder {
        Holder { name: claim.name.clone(), incarnation: claim.incarnation, term: claim.term }
    }
}

/// Whether the pod is wanted; while the members are unknown, every pod is.
pub(crate) fn is_member(members: Option<&[Member]>, name: &str) -> bool {
    members.is_none_or(|members| members.iter().any(|member| member.name == name))
}
