//! One question to all pods, one after the other, until one of them can be followed.

use super::step::{Ended, Pod};
use crate::changes::Mark;
use crate::time::Time;
use leasehold_replication::Seq;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// Who was not asked yet.
    open: Vec<Pod>,
    asked: usize,
    gone: usize,
    ahead: usize,
    foreign: usize,
    /// What one of those showed.
    shown: Option<Mark>,
    /// Who could not answer.
    failed: usize,
}

/// What the answers of all pods come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Another history, and nobody has ours.
    Foreign,
    /// The cluster has not committed that much.
    Ahead,
    /// Nobody has the changes.
    Gone,
    /// Those that answered do not have the changes; others did not answer.
    PerhapsGone,
    /// Nobody said anything.
    Silent,
}

impl Round {
    /// Begins with a pod that `turn` chooses.
    pub(super) fn new(mut pods: Vec<Pod>, turn: usize) -> Round {
        let by = turn % pods.len().max(1);
        pods.rotate_left(by);
        Round { asked: pods.len(), open: pods, gone: 0, ahead: 0, foreign: 0, shown: None, failed: 0 }
    }

    /// Whom to ask now; none: all were asked.
    pub(super) fn next(&mut self) -> Option<Pod> {
        self.open.pop()
    }

    /// The pod that was asked shows another history.
    pub(super) fn foreign(&mut self, mark: Mark) {
        self.foreign += 1;
        self.shown = Some(mark);
    }

    /// Of another history.
    pub(super) fn shown(&self) -> Option<(Seq, Time)> {
        self.shown.map(|mark| (mark.seq, mark.time))
    }

    /// The pod that was asked said so.
    pub(super) fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Gone => self.gone += 1,
            Ended::Ahead => self.ahead += 1,
            Ended::Broken | Ended::Denied | Ended::OtherCluster(_) => self.failed += 1,
        }
    }

    /// When all were asked. `most`: how many pods there were at once in the past; who is not in the DNS is silent, too.
    pub(super) fn verdict(&self, most: usize) -> Verdict {
        // A sequence that was never committed is the word of a majority; a history, that of one pod.
        if self.ahead > 0 {
            Verdict::Ahead
        } else if self.foreign > 0 {
            Verdict::Foreign
        } else if self.gone > 0 && self.failed == 0 && self.asked >= most {
            Verdict::Gone
        } else if self.gone > 0 {
            Verdict::PerhapsGone
        } else {
            Verdict::Silent
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn all_pods_are_asked_before_changes_count_as_gone() {
        let pods: Vec<Pod> = ["a", "b", "c"].map(Pod::from).to_vec();
        let mut round = Round::new(pods.clone(), 1);
        let mut asked = Vec::new();
        while let Some(pod) = round.next() {
            asked.push(pod);
            round.ended(Ended::Gone);
        }
        asked.sort();
        assert_eq!((asked, round.verdict(0)), (pods.clone(), Verdict::Gone));
        let mut round = Round::new(pods, 0);
        for ended in [Ended::Gone, Ended::Broken, Ended::Gone] {
            assert!(round.next().is_some());
            round.ended(ended);
        }
        assert_eq!((round.next(), round.verdict(0)), (None, Verdict::PerhapsGone));
    }
}
