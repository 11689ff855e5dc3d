//! Who counts for majorities. Voters are part of the log: an entry carries the whole set.

use crate::{ReplicaId, Seq};
use serde::{Deserialize, Serialize};

/// A replica that counts for majorities.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Voter {
    /// Its volume. This alone is its identity.
    pub replica: ReplicaId,
    /// The name of its pod when it was added.
    pub name: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
}

/// The voters of a cluster, as one entry (or a snapshot) carries them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Voters {
    /// The format of all that is written once this entry is committed. All of them read it.
    pub format: u32,
    /// Client writes are refused while there are fewer voters than this \[L7\].
    pub floor: u32,
    /// In the order in which they were added.
    pub voters: Vec<Voter>,
}

impl Voters {
    /// No voters: an empty volume.
    pub fn none() -> Voters {
        Voters { format: crate::FORMAT_MIN, floor: 1, voters: Vec::new() }
    }

    /// How many of them are a majority. At least 1, so an empty set cannot have one by counting nobody.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Does this replica count?
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.voters.iter().any(|voter| voter.replica == replica)
    }

    /// The voter of that pod name, if any.
    pub fn named(&self, name: &str) -> Option<&Voter> {
        self.voters.iter().find(|voter| voter.name == name)
    }

    /// Does `has` hold for a majority of them?
    pub fn is_majority(&self, has: impl Fn(ReplicaId) -> bool) -> bool {
        self.voters.iter().filter(|voter| has(voter.replica)).count() >= self.majority()
    }

    /// The highest sequence that a majority has, where `durable` gives each voter's progress.
    pub fn committed(&self, durable: impl Fn(ReplicaId) -> Seq) -> Seq {
        // Few, and looked at in every step: each with each, without a list to sort.
        let all = self.voters.iter().map(|voter| durable(voter.replica));
        all.filter(|seq| self.is_majority(|replica| durable(replica) >= *seq)).max().unwrap_or(Seq(0))
    }
}
