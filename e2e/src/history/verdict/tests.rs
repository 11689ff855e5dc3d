#![allow(clippy::unwrap_used)]
use super::super::operation::{Condition, Content, Value};
use super::*;

/// A history of one record, written down by hand.
#[derive(Default)]
struct Story {
    recorded: Recorded,
    now: u64,
    sequence: u64,
}

impl Story {
    fn new() -> Story {
        let mut story = Story::default();
        story.recorded.keys.push("the-record".into());
        story
    }

    fn tell(mut self, client: u16, call: Call, outcome: Outcome) -> Story {
        self.now += 1_000_000;
        let is_decided = matches!(outcome, Outcome::Done(_)) && call.is_write();
        self.sequence += u64::from(is_decided);
        let sequence = is_decided.then_some(self.sequence);
        let (invoked, returned) = (self.now, self.now + 500_000);
        let operation = Operation { client, pod: 0, key: 0, call, invoked, returned, outcome, sequence };
        self.recorded.operations.push(operation);
        self
    }

    fn put(self, value: u32, effect: Effect) -> Story {
        self.tell(1, Call::Put(Value(value), Condition::Always), Outcome::Done(effect))
    }

    fn read(self, content: Option<u32>) -> Story {
        self.tell(2, Call::Read, Outcome::Done(Effect::Found(content.map(Value))))
    }

    fn last_look(self, content: Content) -> Verdict {
        self.tell(LAST_LOOK, Call::Read, Outcome::Done(Effect::Found(content))).recorded.verdict()
    }
}

#[test]
fn a_stale_read_is_told_with_the_operations_that_show_it() {
    let mut story = Story::new().put(1, Effect::Created);
    for value in 2..100 {
        story = story.put(value, Effect::Stored).read(Some(value));
    }
    let verdict = story.read(Some(50)).put(100, Effect::Stored).last_look(Some(Value(100)));
    assert_eq!((verdict.violations.len(), verdict.lost), (1, 0));
    let text = verdict.to_string();
    assert!(text.contains("the-record") && text.contains("strong GET") && text.contains("200, v50"), "{text}");
    assert!(text.lines().count() < 8, "{text}");
}

#[test]
fn a_write_that_is_not_there_in_the_end_is_lost() {
    let verdict = Story::new().put(1, Effect::Created).put(2, Effect::Stored).last_look(Some(Value(1)));
    assert_eq!((verdict.violations.len(), verdict.lost), (1, 1));
    assert!(verdict.to_string().contains("a write is lost"), "{verdict}");
    assert_eq!(verdict.counts.acknowledged, 2);
    let verdict = Story::new().put(1, Effect::Created).last_look(None);
    assert_eq!(verdict.lost, 1);
}

#[test]
fn a_refused_write_that_took_effect_is_found_and_shown() {
    let refused = Outcome::Refused("503 no-leader".into());
    let call = Call::Put(Value(2), Condition::Always);
    let verdict = Story::new().put(1, Effect::Created).tell(3, call, refused.clone()).last_look(Some(Value(2)));
    assert_eq!(verdict.violations.len(), 1);
    assert!(verdict.to_string().contains("refused: 503 no-leader"), "{verdict}");
    // A delete has no value that could be seen.
    let delete = Call::Delete(Condition::Always);
    let verdict = Story::new().put(1, Effect::Created).tell(3, delete, refused.clone()).last_look(None);
    assert_eq!(verdict.violations.len(), 1);
    // And where it did not: nothing.
    assert!(Story::new().put(1, Effect::Created).tell(3, call, refused).last_look(Some(Value(1))).is_fine());
}

#[test]
fn a_write_that_took_effect_twice_is_found() {
    let unknown = || Outcome::Unknown("504".into());
    let call = Call::Put(Value(2), Condition::Always);
    let once = || Story::new().put(1, Effect::Created).tell(3, call, unknown()).read(Some(2));
    assert!(once().put(3, Effect::Stored).last_look(Some(Value(3))).is_fine());
    assert!(!once().put(3, Effect::Stored).last_look(Some(Value(2))).is_fine());
}

#[test]
fn what_the_recorder_saw_is_a_violation_too() {
    let mut story = Story::new().put(1, Effect::Created);
    story.recorded.violations.push("pods 0 and 1 both led in term 3".into());
    assert!(!story.last_look(Some(Value(1))).is_fine());
}
