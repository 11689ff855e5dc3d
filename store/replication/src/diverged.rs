//! What is known of replicas whose data differ: the mark of one that has diverged, and the last verdict about all.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ReplicaId, Seq, Sum};

/// Why a replica serves nothing any longer: its data are not those of the others. The volume keeps this in a file of its
/// own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diverged {
    /// The volume. The mark does not apply to another volume in its place.
    pub replica: ReplicaId,
    /// Its pod.
    pub name: String,
    /// The data after this entry differ.
    pub sequence: Seq,
    /// Their sum here.
    pub own: Sum,
    /// Their sum on a majority of the voters. None: this replica found by itself that its data do not have the sum that they
    /// should have \[D3\].
    pub agreed: Option<Sum>,
    /// The pods that have the agreed sum.
    pub agreeing: Vec<String>,
}

/// The last verdict about the data of all, as this replica knows it. It knows none before the first one since its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Agreement {
    /// The sums after this entry were compared.
    pub sequence: Seq,
    /// The sum that a majority of all voters gave. None: there was no such sum, so nobody was judged \[D1\].
    pub sum: Option<Sum>,
    /// The pods whose sums differ from it. Without a sum of a majority: all voters that answered, if not all of them gave
    /// the same one; otherwise nobody.
    pub differing: Vec<String>,
}

impl Diverged {
    /// What happened, and the way out, for people. `pod`: the pod of the volume.
    pub fn advice(&self, pod: &str) -> String {
        let way_out = format!(
            "Keep a copy of the volume if you want to find out why. To repair it, wipe this one volume, and it joins again \
             with the data of the others (kubectl delete pvc data-{pod} --wait=false; kubectl delete pod {pod})"
        );
        match self.agreed {
            Some(_) => format!(
                "{self}. It answers no clients and never leads, but still acknowledges what its leader writes. {way_out}"
            ),
            None => format!(
                "{self}. Its memory or its disk has changed them, so it answers no clients and never leads, but still \
                 acknowledges what its leader writes. {way_out}. If no other replica has the data, restore a backup instead"
            ),
        }
    }
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diverged { replica, name, sequence, own, agreed, agreeing } = self;
        write!(f, "the data of {name} (volume {replica}) have diverged: after entry {sequence} their sum is {own}, ")?;
        match agreed {
            Some(agreed) => write!(f, "and {agreed} on {}", agreeing.join(", ")),
            None => f.write_str("and that is not the sum that was kept with them"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn mark(agreed: Option<Sum>) -> Diverged {
        let agreeing = if agreed.is_some() { vec!["db-0".to_owned(), "db-2".to_owned()] } else { Vec::new() };
        let replica = ReplicaId(Uuid::from_u128(7));
        Diverged { replica, name: "db-1".to_owned(), sequence: Seq(9), own: Sum(1), agreed, agreeing }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let text = serde_json::to_string(&mark(Some(Sum(2)))).unwrap();
        let expected = "{\"replica\":\"00000000-0000-0000-0000-000000000007\",\"name\":\"db-1\",\"sequence\":9,\
                        \"own\":\"00000000000000000000000000000001\",\"agreed\":\"00000000000000000000000000000002\",\
                        \"agreeing\":[\"db-0\",\"db-2\"]}";
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Diverged>(&text).unwrap(), mark(Some(Sum(2))));
    }

    #[test]
    fn the_advice_says_what_differs_and_names_the_volume_to_wipe() {
        let told = mark(Some(Sum(2))).advice("db-1");
        assert!(told.contains("after entry 9") && told.contains("on db-0, db-2"), "{told}");
        assert!(told.contains("kubectl delete pvc data-db-1"), "{told}");
        let alone = mark(None).advice("db-1");
        assert!(alone.contains("not the sum that was kept with them") && alone.contains("a backup"), "{alone}");
    }
}
