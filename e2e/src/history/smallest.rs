//! What of a long record a person must look at to see that no order explains it.
//!
//! ```text
//!   all ──▶ the shortest prefix (by answers) that has no order ──▶ forget one answer after the other, as long as
//!           there is still none ──▶ the answers that are left, and the writes that they are about
//! ```
//!
//! To forget the answer of a write makes its outcome unknown; to forget that of a read removes it. Both only allow more,
//! so what is left has no order either, and every answer that is left is needed for that.

use super::linear::{Linear, Step, check};
use super::operation::{Call, Condition, Effect, Value};

/// Each try may visit this many pairs. What cannot be decided within it is not forgotten.
const BUDGET: usize = 50_000;

/// The places of the answers that contradict each other, and of the writes that they name. The record must have no order.
pub(super) fn smallest(steps: &[Step]) -> Vec<usize> {
    let mut kept: Vec<Option<Step>> = shortest_prefix(steps);
    let answered = |kept: &[Option<Step>], i: usize| kept[i].is_some_and(|step| step.returned.is_some());
    // Reads first: without them most values are alike, and the search is quick.
    for reads in [true, false] {
        let is_meant = |i: &usize| matches!(steps[*i].call, Call::Read) == reads;
        let mut part = steps.len().next_power_of_two();
        while part > 0 {
            let list: Vec<usize> = (0..steps.len()).filter(|i| answered(&kept, *i)).filter(is_meant).collect();
            for chunk in list.chunks(part) {
                let before: Vec<_> = chunk.iter().map(|i| kept[*i]).collect();
                for i in chunk {
                    kept[*i] = kept[*i].filter(|_| !reads).map(|step| Step { returned: None, effect: None, ..step });
                }
                if !has_none(&kept) {
                    for (i, step) in chunk.iter().zip(before) {
                        kept[*i] = step;
                    }
                }
            }
            part /= 2;
        }
    }
    let named: Vec<Value> = (0..steps.len()).filter(|i| answered(&kept, *i)).flat_map(|i| names(&steps[i])).collect();
    (0..steps.len())
        .filter(|i| {
            let is_about = kept[*i].is_some_and(|step| writes(step.call).is_some_and(|value| named.contains(&value)));
            answered(&kept, *i) || is_about
        })
        .collect()
}

fn has_none(kept: &[Option<Step>]) -> bool {
    let steps: Vec<Step> = kept.iter().flatten().copied().collect();
    check(&steps, BUDGET) == Linear::No
}

/// Everything up to the first answer that cannot be explained. What had not returned by then is open.
fn shortest_prefix(steps: &[Step]) -> Vec<Option<Step>> {
    let mut ends: Vec<u64> = steps.iter().filter_map(|step| step.returned).collect();
    ends.sort_unstable();
    let until = |end: u64| -> Vec<Option<Step>> {
        let cut = |step: &Step| match step.returned {
            _ if step.invoked > end => None,
            Some(returned) if returned <= end => Some(*step),
            _ if step.call.is_write() => Some(Step { returned: None, effect: None, ..*step }),
            _ => None,
        };
        steps.iter().map(cut).collect()
    };
    let at = ends.partition_point(|end| {
        let steps: Vec<Step> = until(*end).into_iter().flatten().collect();
        check(&steps, super::linear::BUDGET) != Linear::No
    });
    ends.get(at).map_or_else(|| steps.iter().copied().map(Some).collect(), |end| until(*end))
}

fn writes(call: Call) -> Option<Value> {
    call.leaves().flatten()
}

/// The values that a call and its answer are about.
fn names(step: &Step) -> Vec<Value> {
    let mut named: Vec<Value> = writes(step.call).into_iter().collect();
    if let Call::Put(_, Condition::Is(value)) | Call::Delete(Condition::Is(value)) = step.call {
        named.push(value);
    }
    if let Some(Effect::Found(Some(value))) = step.effect {
        named.push(value);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_record_only_the_contradiction_is_left() {
        let put = |value| Call::Put(Value(value), Condition::Always);
        let at =
            |i: u64, call, effect| Step { invoked: i, returned: Some(i + 1), call, effect: Some(effect), rank: None };
        let mut steps = vec![at(0, put(1), Effect::Created)];
        for i in 1..300_u32 {
            let begin = u64::from(i) * 10;
            steps.push(at(begin, put(i + 1), Effect::Stored));
            steps.push(at(begin + 2, Call::Read, Effect::Found(Some(Value(i + 1)))));
        }
        // A read of what was overwritten long ago; the 100th put and its successor are enough to see it.
        steps.push(at(5000, Call::Read, Effect::Found(Some(Value(100)))));
        steps.push(at(5002, put(1000), Effect::Stored));
        assert_eq!(check(&steps, 100_000), Linear::No);
        let small = smallest(&steps);
        assert!(small.len() <= 4, "{small:?}");
        let is_the_put = |i: &usize| steps[*i].call == put(100);
        assert!(small.iter().any(is_the_put) && small.contains(&(steps.len() - 2)), "{small:?}");
    }
}
