//! Writes under an `Idempotency-Key`, which are sent again, at any pod: however often, they count as one operation.
//!
//! ```text
//!   first answer:   none, or unknown ──▶ sent again until it is known ──▶ that is its outcome, and it was done once
//!                   done             ──▶ now and then sent again      ──▶ must be the same answer, number and all
//!                   refused          ──▶ left alone: it was not done, and never will be
//! ```

use std::sync::atomic::{AtomicU32, Ordering};

use crate::history::{Call, Effect, Outcome, Ticket};

/// A request, so that the very same can be sent again.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) key: u32,
    pub(super) id: String,
    pub(super) call: Call,
    /// The ETag that a condition names.
    pub(super) tag: Option<String>,
    /// `Idempotency-Key`.
    pub(super) idempotency: Option<String>,
}

/// A write that will be sent again.
#[derive(Debug)]
pub(super) struct Keyed {
    pub(super) asked: Asked,
    pub(super) ticket: Ticket,
    told: Told,
    /// How often it may be sent yet.
    left: u32,
}

/// What is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It may be done.
    Nothing,
    /// It is, with this effect and this sequence.
    Done(Effect, Option<u64>),
}

/// What another answer changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// Nothing: it is as open, or as done, as before.
    Nothing,
    /// Its outcome is known now.
    Known,
    /// It got the same answer again.
    Same,
    /// It must never get this answer.
    Wrong(String),
}

/// How often a write is sent again before its client gives up.
const TRIES: u32 = 6;

/// How many writes were sent again, and the results.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent_again: AtomicU32,
    pub(super) known: AtomicU32,
    pub(super) same: AtomicU32,
}

impl Counts {
    pub(super) fn count(&self, lesson: &Lesson) {
        self.sent_again.fetch_add(1, Ordering::Relaxed);
        match lesson {
            Lesson::Known => self.known.fetch_add(1, Ordering::Relaxed),
            Lesson::Same => self.same.fetch_add(1, Ordering::Relaxed),
            Lesson::Nothing | Lesson::Wrong(_) => 0,
        };
    }
}

impl Keyed {
    /// A write whose first answer this was; none, if it is not to be sent again. `repeat`: also if it is done.
    pub(super) fn after(
        asked: Asked,
        ticket: Ticket,
        outcome: &Outcome,
        sequence: Option<u64>,
        repeat: bool,
    ) -> Option<Keyed> {
        let (told, left) = match outcome {
            Outcome::Unknown(_) => (Told::Nothing, TRIES),
            Outcome::Done(effect) if repeat => (Told::Done(*effect, sequence), 1),
            Outcome::Done(_) | Outcome::Refused(_) => return None,
        };
        Some(Keyed { asked, ticket, told, left })
    }

    /// It was sent again, with this result.
    pub(super) fn learn(&mut self, outcome: &Outcome, sequence: Option<u64>) -> Lesson {
        self.left = self.left.saturating_sub(1);
        match (self.told, outcome) {
            (Told::Nothing, Outcome::Done(effect)) => {
                self.told = Told::Done(*effect, sequence);
                self.left = 1;
                Lesson::Known
            }
            (Told::Done(effect, first), Outcome::Done(now)) if effect == *now && first == sequence => Lesson::Same,
            (Told::Done(effect, first), Outcome::Done(now)) => {
                let number = |sequence: Option<u64>| sequence.map_or("none".to_owned(), |number| number.to_string());
                let (first, second) = (number(first), number(sequence));
                Lesson::Wrong(format!("first {effect} (sequence {first}), then {now} (sequence {second})"))
            }
            // A refusal concerns only the last try. The request itself is as valid as before.
            (_, Outcome::Refused(why)) if ["421", "503", "not sent"].iter().any(|good| why.starts_with(good)) => {
                Lesson::Nothing
            }
            (_, Outcome::Refused(why)) => Lesson::Wrong(format!("it was taken, and then refused: {why}")),
            (_, Outcome::Unknown(_)) => Lesson::Nothing,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::history::{Condition, Recorder, Written};

    fn first(outcome: Outcome, sequence: Option<u64>) -> Option<Keyed> {
        let recorder = Recorder::default();
        let call = Call::Put(Written(1), Condition::Always);
        let asked = Asked { key: 0, id: "an-id".into(), call, tag: None, idempotency: Some("a-key".into()) };
        let ticket = recorder.call(0, 0, recorder.new_key("an-id".into()), call);
        Keyed::after(asked, ticket, &outcome, sequence, true)
    }

    fn unknown() -> Outcome {
        Outcome::Unknown("504 timeout".into())
    }

    #[test]
    fn an_unknown_outcome_is_asked_for_until_it_is_known() {
        let mut keyed = first(unknown(), None).unwrap();
        assert_eq!(keyed.learn(&Outcome::Refused("503 no-leader".into()), None), Lesson::Nothing);
        assert_eq!(keyed.learn(&Outcome::Refused("not sent: x".into()), None), Lesson::Nothing);
        assert_eq!(keyed.learn(&unknown(), None), Lesson::Nothing);
        assert_eq!(keyed.learn(&Outcome::Done(Effect::Stored), Some(7)), Lesson::Known);
        assert!(!keyed.is_over(), "and once more, to be told the same");
        assert_eq!(keyed.learn(&Outcome::Done(Effect::Stored), Some(7)), Lesson::Same);
        assert!(keyed.is_over());
    }

    #[test]
    fn a_client_gives_up_in_the_end() {
        let mut keyed = first(unknown(), None).unwrap();
        for _ in 0..TRIES {
            assert!(!keyed.is_over());
            keyed.learn(&unknown(), None);
        }
        assert!(keyed.is_over());
    }

    #[test]
    fn another_answer_than_the_first_one_is_wrong() {
        for (outcome, sequence) in [
            (Outcome::Done(Effect::Stored), Some(8)),
            (Outcome::Done(Effect::Created), Some(7)),
            (Outcome::Done(Effect::Stored), None),
            (Outcome::Refused("422 key-reused".into()), None),
            (Outcome::Refused("412 failed".into()), None),
        ] {
            let mut keyed = first(Outcome::Done(Effect::Stored), Some(7)).unwrap();
            assert!(matches!(keyed.learn(&outcome, sequence), Lesson::Wrong(_)), "{outcome}");
        }
        let mut keyed = first(unknown(), None).unwrap();
        assert!(matches!(keyed.learn(&Outcome::Refused("422 key-reused".into()), None), Lesson::Wrong(_)));
    }

    #[test]
    fn what_was_refused_is_left_alone() {
        assert!(first(Outcome::Refused("503 no-leader".into()), None).is_none());
    }
}
