//! What replicas said of their data, and whose sum it is that counts.

use crate::plants::{all_voters_count, learners_do_not_count, majority_decides};
use crate::{ConnId, ReplicaId, Seq, Sum, Voters};
use std::collections::BTreeMap;
use std::time::Duration;

/// A leader's question for sums, until it is judged.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Question {
    pub(crate) seq: Seq,
    pub(crate) since: Duration,
    /// Who was asked, and by which connection.
    pub(crate) asked: Vec<(ReplicaId, ConnId)>,
    /// Who answered, the leader itself included. None: not known there.
    pub(crate) answers: BTreeMap<ReplicaId, Option<Sum>>,
}

/// The sums after one entry: of voters alone, the leader's first if it knows its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Table {
    pub(crate) seq: Seq,
    pub(crate) sums: Vec<(ReplicaId, Sum)>,
}

impl Question {
    /// What is to be judged now.
    pub(crate) fn table(&self, leader: ReplicaId, is_voter: impl Fn(ReplicaId) -> bool) -> Table {
        let known = self.answers.iter().filter_map(|(replica, sum)| Some((*replica, (*sum)?)));
        let counted = known.filter(|(replica, _)| is_voter(*replica) || !learners_do_not_count());
        let mut sums: Vec<(ReplicaId, Sum)> = counted.collect();
        sums.sort_by_key(|(replica, _)| *replica != leader);
        Table { seq: self.seq, sums }
    }
}

impl Table {
    /// What that replica said.
    fn said_by(&self, replica: ReplicaId) -> Option<Sum> {
        self.sums.iter().find(|(known, _)| *known == replica).map(|(_, sum)| *sum)
    }

    /// The sum that a majority of ALL these voters gave \[D1\]. There is at most one: a majority of those that answered
    /// would not be enough, because two halves of a cluster could then each find the other one wrong.
    pub(crate) fn agreed(&self, voters: &Voters) -> Option<Sum> {
        if !majority_decides() {
            return self.sums.first().map(|(_, sum)| *sum);
        }
        let mut candidates = self.sums.iter().map(|(_, sum)| *sum);
        candidates.find(|sum| {
            let alike = self.sums.iter().filter(|(_, other)| other == sum).count();
            if !all_voters_count() {
                return alike > self.sums.len() / 2;
            }
            if !learners_do_not_count() {
                return alike >= voters.majority();
            }
            voters.is_majority(|replica| self.said_by(replica) == Some(*sum))
        })
    }

    /// The voters that gave this sum.
    pub(crate) fn with(&self, sum: Sum) -> impl Iterator<Item = ReplicaId> {
        self.sums.iter().filter(move |(_, other)| *other == sum).map(|(replica, _)| *replica)
    }

    /// The voters that gave another sum than the agreed one; without an agreed one all that answered, if they do not agree
    /// among themselves.
    pub(crate) fn differing(&self, agreed: Option<Sum>) -> impl Iterator<Item = ReplicaId> {
        let first = agreed.or(self.sums.first().map(|(_, sum)| *sum));
        let all_agree = self.sums.iter().all(|(_, sum)| Some(*sum) == first);
        let differs = move |sum: Sum| if agreed.is_some() { Some(sum) != agreed } else { !all_agree };
        self.sums.iter().filter(move |(_, sum)| differs(*sum)).map(|(replica, _)| *replica)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Voter;
    use uuid::Uuid;

    fn id(number: usize) -> ReplicaId {
        ReplicaId(Uuid::from_u128(number as u128 + 1))
    }

    fn voters(count: usize) -> Voters {
        let voter = |number| Voter { replica: id(number), name: format!("db-{number}"), peer_address: String::new() };
        Voters { voters: (0..count).map(voter).collect(), ..Voters::none() }
    }

    /// Of each replica its sum, or 0 for no answer.
    fn table(sums: &[u128]) -> Table {
        let answered = sums.iter().enumerate().filter(|(_, sum)| **sum > 0);
        Table { seq: Seq(9), sums: answered.map(|(number, sum)| (id(number), Sum(*sum))).collect() }
    }

    /// All tables of one to five voters, with up to three different sums and any of them silent. A second implementation:
    /// count for each sum, compare with the whole.
    #[test]
    fn a_sum_is_agreed_exactly_if_more_than_half_of_all_voters_gave_it() {
        let mut agreed = 0;
        for count in 1..=5usize {
            for number in 0..4usize.pow(count as u32) {
                let sums: Vec<u128> = (0..count as u32).map(|at| (number / 4usize.pow(at) % 4) as u128).collect();
                let expected = (1..4).find(|sum| 2 * sums.iter().filter(|said| *said == sum).count() > count);
                assert_eq!(table(&sums).agreed(&voters(count)), expected.map(Sum), "{sums:?}");
                agreed += usize::from(expected.is_some());
            }
        }
        assert!(agreed > 100);
    }

    #[test]
    fn neither_a_tie_nor_a_majority_of_the_answers_is_one_of_all() {
        assert_eq!(table(&[1, 2]).agreed(&voters(2)), None);
        assert_eq!(table(&[1, 2, 2]).agreed(&voters(5)), None);
        assert_eq!(table(&[1, 1, 2, 2]).agreed(&voters(4)), None);
        assert_eq!(table(&[]).agreed(&voters(3)), None);
    }

    #[test]
    fn a_replica_that_does_not_vote_makes_no_majority() {
        let with_learners = table(&[1, 2, 2, 2]);
        assert_eq!(with_learners.agreed(&voters(2)), None);
        let question = Question {
            seq: Seq(9),
            since: Duration::ZERO,
            asked: Vec::new(),
            answers: (0..4).map(|number| (id(number), Some(Sum(7)))).collect(),
        };
        let told = question.table(id(1), |replica| voters(2).contains(replica));
        assert_eq!(told.sums, [(id(1), Sum(7)), (id(0), Sum(7))], "the leader first, and no learner");
    }

    #[test]
    fn those_that_differ_are_named() {
        let differing = |sums: &[u128], agreed: Option<u128>| -> Vec<ReplicaId> {
            table(sums).differing(agreed.map(Sum)).collect()
        };
        assert_eq!(differing(&[1, 1, 2], Some(1)), [id(2)]);
        assert_eq!(differing(&[1, 1, 0], Some(1)), []);
        assert_eq!(differing(&[1, 2, 0], None), [id(0), id(1)]);
        assert_eq!(differing(&[1, 0, 0], None), []);
        assert_eq!(table(&[1, 1, 2]).with(Sum(1)).collect::<Vec<_>>(), [id(0), id(1)]);
    }
}
