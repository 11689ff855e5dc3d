//! The Lease as the core sees it, and its numbers.
//!
//! A [`Lease`] is a faithful copy of what decides: version, holder, term, duration and **all** annotations, known or not.
//! The shell owns the stamps for people (`acquireTime`, `renewTime`), labels and owner references: it keeps the raw object
//! of the last version that it showed to the core, and puts a [`Body`] into it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use uuid::Uuid;

/// The names of our annotations.
pub mod annotation {
    /// The cluster that the Lease belongs to, a UUID. The bootstrap sets it once.
    pub const CLUSTER_ID: &str = "leasehold.dev/cluster-id";
    /// The run of the app for which the term was issued, a UUID.
    pub const INCARNATION: &str = "leasehold.dev/incarnation";
    /// Where the holder is reached, `ip:port`.
    pub const ADDRESS: &str = "leasehold.dev/address";
    /// The pod that an operator wants to lead.
    pub const PREFERRED_HOLDER: &str = "leasehold.dev/preferred-holder";
    /// `true`: no pod takes over by itself.
    pub const PAUSED: &str = "leasehold.dev/paused";
    /// (plain apps) The term in which the app has certainly stopped: the Lease may be taken at once.
    pub const RELEASED: &str = "leasehold.dev/released";
    /// (plain apps) `true`: the holder's app is unfit, and leads because no other was there.
    pub const UNFIT: &str = "leasehold.dev/unfit";
    /// (plain apps) On the record of terms: the run of a sidecar that created it, a UUID, until somebody replaces it.
    pub const CREATED_BY: &str = "leasehold.dev/created-by";
}

/// The number of one leadership. It is stored in `leaseTransitions`, an int32, so it ends at [`Term::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

impl Term {
    /// The last term: 2^31 - 1.
    pub const MAX: Term = Term(i32::MAX as u64);

    /// The next term. At the top there is none: an error, never a wrap.
    pub fn next(self) -> Option<Term> {
        (self < Term::MAX).then(|| Term(self.0 + 1))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The `resourceVersion` of an object: what a compare-and-swap compares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version(pub String);

impl Version {
    /// Whether it is older than the other, if that can be determined: both are decimal numbers, as the API server makes
    /// them. This shows when a watch lags behind our own writes.
    pub fn is_older_than(&self, other: &Version) -> bool {
        match (self.0.parse::<u128>(), other.0.parse::<u128>()) {
            (Ok(own), Ok(other)) => own < other,
            _ => false,
        }
    }
}

/// One version of the Lease, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Its `resourceVersion`.
    pub version: Version,
    /// Its `renewTime`, as text. It is only ever compared for equality: expiry depends on when *we* saw it change.
    pub renewed: Option<String>,
    /// Its content.
    pub body: Body,
}

/// The content of the Lease, as read or to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Body {
    /// `holderIdentity`, a pod name; an empty one in the object is none here.
    pub holder: Option<String>,
    /// `leaseTransitions`; an absent one is 0.
    pub term: Term,
    /// `leaseDurationSeconds`.
    pub duration_seconds: Option<u32>,
    /// All annotations, ours ([`annotation`]) and others, which every write keeps.
    pub annotations: BTreeMap<String, String>,
}

/// The meaning of the annotation `cluster-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClusterId {
    Absent,
    Known(Uuid),
    /// It is present but not a UUID: an edit by hand. It belongs to no cluster, so it is never touched.
    Unreadable,
}

impl Body {
    /// The run of the app for which the term was issued; also none if the annotation is not a UUID.
    pub fn incarnation(&self) -> Option<Uuid> {
        self.uuid(annotation::INCARNATION)
    }

    /// The cluster that the Lease belongs to; also none if the annotation is not a UUID.
    pub fn cluster_id(&self) -> Option<Uuid> {
        self.uuid(annotation::CLUSTER_ID)
    }

    /// Where the holder is reached.
    pub fn address(&self) -> Option<&str> {
        self.text(annotation::ADDRESS)
    }

    /// The pod that an operator wants to lead.
    pub fn preferred_holder(&self) -> Option<&str> {
        self.text(annotation::PREFERRED_HOLDER)
    }

    /// No pod takes over by itself.
    pub fn is_paused(&self) -> bool {
        self.text(annotation::PAUSED) == Some("true")
    }

    /// The holder let go, and its app has certainly stopped \[A11\].
    pub fn is_clean(&self) -> bool {
        self.holder.is_none() && self.text(annotation::RELEASED).is_some_and(|term| term == self.term.to_string())
    }

    /// The holder's app is unfit.
    pub fn is_unfit(&self) -> bool {
        self.text(annotation::UNFIT) == Some("true")
    }

    pub(crate) fn cluster(&self) -> ClusterId {
        match (self.text(annotation::CLUSTER_ID), self.cluster_id()) {
            (None, _) => ClusterId::Absent,
            (Some(_), Some(id)) => ClusterId::Known(id),
            (Some(_), None) => ClusterId::Unreadable,
        }
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        self.duration_seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Sets one annotation, or removes it.
    pub(crate) fn annotate(&mut self, name: &str, value: Option<String>) {
        match value {
            Some(value) => self.annotations.insert(name.to_owned(), value),
            None => self.annotations.remove(name),
        };
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn uuid(&self, name: &str) -> Option<Uuid> {
        self.text(name).and_then(|text| Uuid::parse_str(text).ok())
    }
}
