//! Do the sequence numbers in clients' answers agree with time, and local reads with the sequence numbers?
//!
//! Every write that was decided, even if it was declined (409, 412), is in the log under its number. So, over all records:
//!
//! - no number is given twice;
//! - what was answered before another was asked has the lower number;
//! - a local read that says "I have everything up to n" shows what the writes up to n left, or what a write of unknown
//!   outcome may have left. Never what was refused, never what nobody wrote, never what is asked for only later.

use std::collections::{BTreeMap, HashMap};

use super::operation::{Call, Content, Effect, Operation, Outcome, Value};

/// What is wrong, and the operations that show it.
pub(super) type Wrong<'a> = (String, Vec<&'a Operation>);

/// The writes that were decided, by their numbers.
pub(super) fn numbers(operations: &[Operation]) -> Vec<Wrong<'_>> {
    let mut wrong = Vec::new();
    let decided = |operation: &&Operation| operation.call.is_write() && operation.effect().is_some();
    let mut by_number: BTreeMap<u64, &Operation> = BTreeMap::new();
    for operation in operations.iter().filter(decided) {
        let Some(number) = operation.sequence else {
            wrong.push(("a write was answered without its sequence".to_owned(), vec![operation]));
            continue;
        };
        if let Some(other) = by_number.insert(number, operation) {
            wrong.push((format!("sequence {number} was given to two writes"), vec![other, operation]));
        }
    }
    let mut latest: Option<&Operation> = None;
    for operation in by_number.values() {
        if let Some(earlier) = latest.filter(|earlier| operation.returned < earlier.invoked) {
            let what = "the later write has the lower sequence".to_owned();
            wrong.push((what, vec![operation, earlier]));
        }
        if latest.is_none_or(|latest| operation.invoked > latest.invoked) {
            latest = Some(operation);
        }
    }
    wrong
}

/// One record's local reads.
pub(super) fn local_reads<'a>(operations: &[&'a Operation]) -> Vec<Wrong<'a>> {
    let mut left: BTreeMap<u64, (Content, &Operation)> = BTreeMap::new();
    let mut writers: HashMap<Value, Vec<&Operation>> = HashMap::new();
    for operation in operations.iter().copied() {
        if let Some(Some(value)) = operation.call.leaves() {
            writers.entry(value).or_default().push(operation);
        }
        let Some(content) = operation.call.leaves() else { continue };
        let Some(number) = operation.sequence else { continue };
        if matches!(operation.effect(), Some(Effect::Created | Effect::Stored | Effect::Deleted)) {
            left.insert(number, (content, operation));
        }
    }
    let open: Vec<&Operation> = operations.iter().copied().filter(|operation| operation.is_open()).collect();
    let mut wrong = Vec::new();
    for read in operations.iter().copied().filter(|operation| operation.call == Call::LocalRead) {
        let Some(Effect::Found(content)) = read.effect() else { continue };
        let may_be = |write: &&&Operation| write.call.leaves() == Some(content) && write.invoked <= read.returned;
        if let Some(value) = content
            && let Some(what) = never(writers.get(&value), read)
        {
            let mut shown = writers.get(&value).cloned().unwrap_or_default();
            shown.push(read);
            wrong.push((format!("a local read saw {value}, {what}"), shown));
            continue;
        }
        // Before the first write there was no record, and a 404 does not say how far the replica is.
        let Some(number) = read.sequence else { continue };
        let last = left.range(..=number).next_back().map(|(_, last)| *last);
        if last.and_then(|(content, _)| content) == content || open.iter().any(|write| may_be(&write)) {
            continue;
        }
        let (what, mut shown) = match last {
            None => ("there was no record yet".to_owned(), Vec::new()),
            Some((left, write)) => {
                let left = left.map_or("no record".to_owned(), |value| value.to_string());
                (format!("the last write before it left {left}"), vec![write])
            }
        };
        shown.extend(content.and_then(|value| writers.get(&value)).into_iter().flatten());
        shown.push(read);
        wrong.push((format!("a local read at sequence {number} is no prefix of the log: {what}"), shown));
    }
    wrong
}

/// Why nobody may ever see this value, if so.
fn never(writers: Option<&Vec<&Operation>>, read: &Operation) -> Option<String> {
    let Some(writers) = writers else { return Some("which nobody wrote".to_owned()) };
    if writers.iter().all(|write| matches!(write.outcome, Outcome::Refused(_))) {
        return Some("whose write was refused".to_owned());
    }
    if writers.iter().all(|write| write.invoked > read.returned) {
        return Some("which was written only later".to_owned());
    }
    let declined = |write: &&Operation| matches!(write.effect(), Some(Effect::Conflict | Effect::Failed));
    let all = writers.iter().all(|write| matches!(write.outcome, Outcome::Refused(_)) || declined(write));
    all.then(|| "whose write was declined".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::operation::Condition;
    use super::*;

    fn operation(invoked: u64, returned: u64, call: Call, outcome: Outcome, sequence: Option<u64>) -> Operation {
        Operation { client: 0, pod: 0, key: 0, call, invoked, returned, outcome, sequence }
    }

    fn put(at: u64, value: u32, sequence: u64) -> Operation {
        let call = Call::Put(Value(value), Condition::Always);
        operation(at, at + 1, call, Outcome::Done(Effect::Stored), Some(sequence))
    }

    fn read(at: u64, content: Option<u32>, sequence: Option<u64>) -> Operation {
        operation(at, at + 1, Call::LocalRead, Outcome::Done(Effect::Found(content.map(Value))), sequence)
    }

    fn wrong(operations: &[Operation]) -> usize {
        let list: Vec<&Operation> = operations.iter().collect();
        local_reads(&list).len() + numbers(operations).len()
    }

    #[test]
    fn numbers_are_given_once_and_in_the_order_of_time() {
        assert_eq!(wrong(&[put(0, 1, 5), put(2, 2, 6), put(4, 3, 9)]), 0);
        assert_eq!(wrong(&[put(0, 1, 5), put(2, 2, 5)]), 1);
        assert_eq!(wrong(&[put(0, 1, 6), put(2, 2, 5)]), 1);
        // The two overlap: either may be first.
        let mut long = put(0, 1, 6);
        long.returned = 4;
        assert_eq!(wrong(&[long, put(2, 2, 5)]), 0);
        let mut without = put(0, 1, 1);
        without.sequence = None;
        assert_eq!(wrong(&[without]), 1);
    }

    #[test]
    fn a_local_read_may_be_old_but_must_be_a_prefix() {
        let writes = [put(0, 1, 5), put(10, 2, 8)];
        for (content, sequence, fine) in [
            (None, Some(4), true),
            (None, None, true),
            (None, Some(5), false),
            (Some(1), Some(4), false),
            (Some(1), Some(5), true),
            (Some(1), Some(7), true),
            (Some(1), Some(8), false),
            (Some(2), Some(7), false),
            (Some(2), Some(20), true),
            (Some(3), Some(20), false),
        ] {
            let mut all = writes.to_vec();
            all.push(read(20, content, sequence));
            assert_eq!(wrong(&all) == 0, fine, "{content:?} at {sequence:?}");
        }
        assert_eq!(wrong(&[read(2, Some(1), Some(9)), put(4, 1, 5)]), 1, "from the future");
    }

    #[test]
    fn what_was_refused_is_never_seen_and_what_is_unknown_may_be() {
        let call = Call::Create(Value(7));
        for (outcome, fine) in [
            (Outcome::Refused("503".into()), false),
            (Outcome::Unknown("504".into()), true),
            (Outcome::Done(Effect::Conflict), false),
        ] {
            let sequence = matches!(outcome, Outcome::Done(_)).then_some(2);
            let all = [put(0, 1, 1), operation(2, 3, call, outcome.clone(), sequence), read(5, Some(7), Some(9))];
            assert_eq!(wrong(&all) == 0, fine, "{outcome}");
        }
    }
}
