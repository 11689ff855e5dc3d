//! What replicas know of each other's volumes, and the mark of one that went back in time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Position, ReplicaId, Term};

/// What a replica knows of another volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownVolume {
    /// The volume.
    pub replica: ReplicaId,
    /// A promise of this term, or of a later one, binds it.
    pub term: Term,
    /// It acked everything up to here, and that is committed.
    pub position: Position,
}

/// Why a replica no longer votes or counts. The volume keeps this in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WentBack {
    /// The volume. The mark does not apply to another volume in its place.
    pub replica: ReplicaId,
    /// The pod that knew more of the volume than the volume holds.
    pub known_by: String,
    /// The highest term that the volume is known to have promised.
    pub known_term: Term,
    /// The volume is known to have acknowledged everything up to here.
    pub known: Position,
    /// The term of the promise that was found on it.
    pub found_term: Term,
    /// Its last entry, as it was found.
    pub found: Position,
}

impl WentBack {
    /// What happened, and the way out, for people. `pod`: the pod of the volume.
    pub fn advice(&self, pod: &str) -> String {
        format!(
            "{self}. It holds an older copy, or its disk lost writes, so it neither votes nor answers clients. To \
             repair it, wipe this one volume, and it joins again with the data of the others (kubectl delete pvc \
             data-{pod} --wait=false; kubectl delete pod {pod})"
        )
    }
}

impl fmt::Display for WentBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WentBack { replica, known_by, known_term, known, found_term, found } = self;
        write!(f, "the volume {replica} went back in time: ")?;
        if found < known {
            write!(
                f,
                "{known_by} knows that it acknowledged everything up to {known} (term/sequence), but it ends at {found}"
            )
        } else {
            write!(f, "{known_by} knows that it promised term {known_term}, but its promise is of term {found_term}")
        }
    }
}
