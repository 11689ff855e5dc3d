//! Clients that wait for a strong read.
//!
//! All that wait at a time go to the state machine as one read; the answer covers all reads up to one, so there is no
//! search. Clients that gave up are forgotten when too many wait.

use std::collections::VecDeque;

use leasehold_replication::{ReadId, Refusal};

use crate::handle::ReadReply;

/// Below this many, clients that gave up are not looked for.
const FORGET_ABOVE: usize = 4096;
/// More than this many are refused.
const READERS_MAX: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub(super) struct Readers {
    next: u64,
    waiting: VecDeque<(ReadId, ReadReply)>,
    forget_at: usize,
}

impl Default for Readers {
    fn default() -> Readers {
        Readers { next: 0, waiting: VecDeque::new(), forget_at: FORGET_ABOVE }
    }
}

impl Readers {
    /// These arrived together. The read to ask for; none if all were refused.
    pub(super) fn add(&mut self, replies: impl Iterator<Item = ReadReply>) -> Option<ReadId> {
        let id = ReadId(self.next + 1);
        for reply in replies {
            if self.waiting.len() > self.forget_at {
                self.waiting.retain(|(_, reply)| !reply.is_closed());
                self.forget_at = FORGET_ABOVE.max(self.waiting.len() * 2);
            }
            if self.waiting.len() >= READERS_MAX {
                let _ = reply.send(Err(Refusal::Overloaded)); // a client that gave up does not wait
                continue;
            }
            self.next = id.0;
            self.waiting.push_back((id, reply));
        }
        (self.next == id.0).then_some(id)
    }

    /// All up to this one may proceed, or not.
    pub(super) fn answered(&mut self, upto: ReadId, answer: Result<(), Refusal>) {
        while self.waiting.front().is_some_and(|(id, _)| *id <= upto) {
            if let Some((_, reply)) = self.waiting.pop_front() {
                let _ = reply.send(answer); // a client that gave up does not wait
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn an_answer_is_for_all_that_came_up_to_it() {
        let mut readers = Readers::default();
        let (first, mut one) = oneshot::channel();
        let (second, mut two) = oneshot::channel();
        let (third, mut three) = oneshot::channel();
        let id = readers.add([first, second].into_iter()).unwrap();
        assert!(readers.add([third].into_iter()).unwrap() > id);
        readers.answered(id, Ok(()));
        assert_eq!((one.try_recv().unwrap(), two.try_recv().unwrap()), (Ok(()), Ok(())));
        assert!(three.try_recv().is_err());
        readers.answered(ReadId(9), Err(Refusal::NoMajority));
        assert_eq!(three.try_recv().unwrap(), Err(Refusal::NoMajority));
        assert_eq!(readers.add(std::iter::empty()), None);
    }

    #[test]
    fn clients_that_gave_up_are_forgotten_and_too_many_are_refused() {
        let mut readers = Readers::default();
        for _ in 0..FORGET_ABOVE * 3 {
            readers.add([oneshot::channel().0].into_iter());
        }
        assert!(readers.waiting.len() <= FORGET_ABOVE + 1);
        let mut kept = Vec::new();
        for _ in 0..READERS_MAX + 1 {
            let (reply, answer) = oneshot::channel();
            readers.add([reply].into_iter());
            kept.push(answer);
        }
        assert_eq!(kept.last_mut().unwrap().try_recv(), Ok(Err(Refusal::Overloaded)));
    }
}
