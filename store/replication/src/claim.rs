//! Claims and promises: the words of the protocol that carry no behaviour.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use uuid::Uuid;

/// The number of one leadership, 1 to 2^31-1 (the Lease's `leaseTransitions` is an int32). 0: before the first one;
/// only the entries of the bootstrap carry it. It only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(pub u64);

impl Term {
    /// The last term, 2^31 - 1. A higher one is invalid: after a promise to it no term would be left.
    pub const MAX: Term = Term(i32::MAX as u64);
}

/// The number of an entry in the replicated log, from 1, without holes. 0: before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// No log reaches this, so a higher number is invalid, and adding one always gives a number.
    pub const MAX: Seq = Seq(u64::MAX >> 1);

    /// The sequence after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

/// One data volume, named by a UUID that was created on it. A wiped volume is a new replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaId(pub Uuid);

/// One run of the store process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub Uuid);

/// One cluster, named by its bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub Uuid);

/// Where a log ends (or an entry stands). Compared by term, then by sequence: the greater one is the better log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Term of the entry.
    pub term: Term,
    /// Its sequence.
    #[serde(rename = "sequence")]
    pub seq: Seq,
}

impl Position {
    /// Before the first entry.
    pub const ZERO: Position = Position { term: Term(0), seq: Seq(0) };

    /// The position (`term`, `seq`).
    pub fn new(term: u64, seq: u64) -> Position {
        Position { term: Term(term), seq: Seq(seq) }
    }
}

/// What durably binds a replica: it follows that leader and refuses every lower term, and any other incarnation of the same
/// term. The promise never goes down, nor does the incarnation change within a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// The term of the promised leader; 0 for none yet.
    pub term: Term,
    /// Its incarnation; the nil UUID for none yet.
    pub incarnation: Incarnation,
}

impl Promise {
    /// No promise yet.
    pub const NONE: Promise = Promise { term: Term(0), incarnation: Incarnation(Uuid::nil()) };
}

/// A claim that somebody leads. It is only a suggestion: a majority of promises makes it true.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The cluster that is led.
    pub cluster_id: ClusterId,
    /// The term of the leadership.
    pub term: Term,
    /// The run of the store that leads.
    pub incarnation: Incarnation,
    /// The name of its pod.
    pub name: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
    /// Its IPs, the newest knowledge first; the port is that of `peer_address`. Empty: none are known.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

impl Claim {
    /// The promise that a replica makes when it follows this claim.
    pub fn promise(&self) -> Promise {
        Promise { term: self.term, incarnation: self.incarnation }
    }

    /// Where to reach that leader.
    pub(crate) fn target(&self) -> crate::Target {
        let (name, peer_address) = (self.name.clone(), self.peer_address.clone());
        crate::Target { name, peer_address, addresses: self.addresses.clone() }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.seq)
    }
}
impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.term, self.incarnation)
    }
}
