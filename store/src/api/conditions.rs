//! `If-Match` and `If-None-Match`, as RFC 9110 (8.8.3, 13.1, 13.2) defines them.
//!
//! ```text
//!   header ──tags──▶ *, or each tag: is it one of ours, is it weak ──▶ a read: send, 304, 412
//!                                   └──▶ a write: Wanted ──condition_for──▶ Condition, decided where the command is applied
//! ```
//!
//! A tag that this store never issued matches nothing; that is no error. For writes, text that is not a tag is one.
//!
//! Proxies that compress weaken a tag (`"…"` becomes `W/"…"`), and by the letter of the RFC a weak tag never matches for
//! `If-Match`: clients behind them could not write conditionally at all. Our tags are hashes of the content, so a weakened
//! one still identifies exactly what the client has read; it matches unless [`Config::match_weakened`](super::Config) is
//! off.

use super::problem::{Code, Problem};
use leasehold_documents::Condition;
use std::fmt::Write as _;
use warp::http::header::{IF_MATCH, IF_NONE_MATCH};
use warp::http::{HeaderMap, HeaderName};

/// What a read's conditions decide for the record with this tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadVerdict {
    /// Send it.
    Send,
    /// The client has it: 304.
    NotModified,
    /// `If-Match` does not hold: 412.
    Failed,
}

/// The `ETag` of a record.
pub(super) fn etag(tag: u128) -> String {
    let mut text = String::with_capacity(34);
    // Writing to a string does not fail.
    let _ = write!(text, "\"{tag:032x}\"");
    text
}

/// The conditions of a write. Empty: there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    if_match: Option<Those>,
    if_none_match: Option<Those>,
}

/// The records that one condition covers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Those {
    /// `*`: any record.
    Any,
    /// Those with one of these tags of ours. The first is separate: usually there is only one, and it needs no list.
    Tagged(Option<u128>, Vec<u128>),
}

impl Those {
    fn is_in(&self, tag: u128) -> bool {
        match self {
            Those::Any => true,
            Those::Tagged(first, more) => *first == Some(tag) || more.contains(&tag),
        }
    }

    fn tags(&self) -> impl Iterator<Item = u128> + '_ {
        let (first, more) = match self {
            Those::Any => (None, &[][..]),
            Those::Tagged(first, more) => (*first, &more[..]),
        };
        first.into_iter().chain(more.iter().copied())
    }
}

impl Wanted {
    pub(super) fn is_none(&self) -> bool {
        *self == Wanted::default()
    }

    /// The condition to check when the command is applied. `tag_now` is called if there is more than one tag: the log
    /// supports a condition on only one tag. The result never holds where the wanted conditions do not. Where they hold
    /// now, the result holds unless the record changes in between; then the answer is 412.
    pub(super) fn condition_for(&self, tag_now: impl FnOnce() -> Option<u128>) -> Condition {
        /// No record has it: tags are hashes.
        const NEVER: Condition = Condition::Tag(0);
        match (&self.if_match, &self.if_none_match) {
            (None, None) => Condition::None,
            (Some(Those::Any), None) => Condition::Exists,
            (None, Some(Those::Any)) => Condition::Absent,
            (Some(Those::Tagged(Some(tag), more)), None) if more.is_empty() => Condition::Tag(*tag),
            (None, Some(those)) => match tag_now() {
                // If the record is gone by then, it has none of the tags.
                Some(now) if those.is_in(now) => Condition::Absent,
                Some(now) => Condition::Tag(now),
                None => Condition::Absent,
            },
            (Some(those), others) => {
                let is_meant = |tag: u128| those.is_in(tag) && !others.as_ref().is_some_and(|others| others.is_in(tag));
                let now = tag_now().filter(|now| is_meant(*now));
                now.or_else(|| those.tags().find(|tag| is_meant(*tag))).map_or(NEVER, Condition::Tag)
            }
        }
    }

    /// One form for the same conditions: for an idempotency key, a difference here means another request.
    pub(super) fn word(&self) -> String {
        let word = |name: &str, those: &Those| match those {
            Those::Any => name.to_owned(),
            Those::Tagged(..) => format!("{name}{}", those.tags().map(etag).collect::<String>()),
        };
        match (&self.if_match, &self.if_none_match) {
            (None, None) => "none".to_owned(),
            (Some(Those::Any), None) => "exists".to_owned(),
            (None, Some(Those::Any)) => "absent".to_owned(),
            (Some(Those::Tagged(Some(tag), more)), None) if more.is_empty() => etag(*tag),
            (is, is_not) => {
                let parts =
                    [is.as_ref().map(|is| word("is", is)), is_not.as_ref().map(|is_not| word("is-not", is_not))];
                parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// Adds the value of one condition, in a header or in an operation of a batch. Lines of one header are one list.
    pub(super) fn add(&mut self, is_match: bool, value: &[u8], match_weakened: bool) -> Result<(), &'static str> {
        let slot = if is_match { &mut self.if_match } else { &mut self.if_none_match };
        if value.trim_ascii() == b"*" {
            let was = slot.replace(Those::Any);
            return if was.is_none() { Ok(()) } else { Err("`*` means all, so it must be alone") };
        }
        let (mut is_there, mut tags) = (false, slot.take());
        for each in Tags(value) {
            let each = each?;
            let (tag, is_weak) = (each.tag(), each.is_weak);
            is_there = true;
            let Those::Tagged(first, more) = tags.get_or_insert(Those::Tagged(None, Vec::new())) else {
                return Err("`*` means all, so it must be alone");
            };
            match tag.filter(|_| !is_match || !is_weak || match_weakened) {
                Some(tag) if first.is_none() => *first = Some(tag),
                Some(tag) if *first != Some(tag) && !more.contains(&tag) => more.push(tag),
                Some(_) | None => {}
            }
            if more.len() >= TAGS_MAX {
                return Err("too many ETags");
            }
        }
        *slot = tags;
        if is_there { Ok(()) } else { Err("it is empty: send * or ETags") }
    }
}

/// Tags of ours in one condition. A client has not read more versions of a record than this.
const TAGS_MAX: usize = 64;

/// The conditions of a write.
pub(super) fn of_write(headers: &HeaderMap, match_weakened: bool) -> Result<Wanted, Problem> {
    let mut wanted = Wanted::default();
    for (name, is_match) in [(IF_MATCH, true), (IF_NONE_MATCH, false)] {
        for value in headers.get_all(&name) {
            wanted.add(is_match, value.as_bytes(), match_weakened).map_err(|what| {
                let name = if is_match { "If-Match" } else { "If-None-Match" };
                Problem::new(Code::InvalidCondition, format!("{name}: {what}"))
            })?;
        }
    }
    Ok(wanted)
}

/// A read's conditions: `If-Match` first. Text that is not a tag matches nothing.
pub(super) fn of_read(headers: &HeaderMap, tag: u128, match_weakened: bool) -> ReadVerdict {
    let matches = |name: HeaderName, weakened: bool| {
        let mut values = headers.get_all(name).iter().map(|value| value.as_bytes()).peekable();
        values.peek()?;
        Some(values.any(|value| {
            let is_it = |each: Each<'_>| each.tag() == Some(tag) && (weakened || !each.is_weak);
            value.trim_ascii() == b"*" || Tags(value).map_while(Result::ok).any(is_it)
        }))
    };
    match (matches(IF_MATCH, match_weakened), matches(IF_NONE_MATCH, true)) {
        (Some(false), _) => ReadVerdict::Failed,
        (_, Some(true)) => ReadVerdict::NotModified,
        _ => ReadVerdict::Send,
    }
}

/// The entity tags of a list. A comma inside quotes belongs to the tag.
/// The tags of a header, one after the other.
pub(super) struct Tags<'a>(pub(super) &'a [u8]);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Each<'a> {
    /// What is within its quotes: also a comma.
    pub(super) opaque: &'a [u8],
    pub(super) is_weak: bool,
}

impl Each<'_> {
    /// A record's; none: this store never issues it.
    fn tag(&self) -> Option<u128> {
        let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        let ours = Some(self.opaque).filter(|opaque| opaque.len() == 32 && opaque.iter().all(is_digit))?;
        u128::from_str_radix(std::str::from_utf8(ours).ok()?, 16).ok()
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Result<Each<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        const WRONG: &str = "send * or ETags, each in quotes, separated by commas";
        let start = self.0.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let rest = &self.0[start..];
        self.0 = b"";
        let (is_weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let Some(opaque) = quoted.strip_prefix(b"\"") else { return Some(Err(WRONG)) };
        let Some(length) = opaque.iter().position(|byte| *byte == b'"') else { return Some(Err(WRONG)) };
        let (opaque, after) = (&opaque[..length], &opaque[length + 1..]);
        let is_etagc = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        let is_followed = matches!(after.trim_ascii_start().first(), None | Some(b','));
        if !opaque.iter().all(is_etagc) || !is_followed {
            return Some(Err(WRONG));
        }
        self.0 = after;
        Some(Ok(Each { opaque, is_weak }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: u128 = 0xa;
    const B: u128 = 0xb;

    fn wanted(conditions: &[(bool, &str)]) -> Result<Wanted, &'static str> {
        let mut wanted = Wanted::default();
        for (is_match, value) in conditions {
            wanted.add(*is_match, value.as_bytes(), true)?;
        }
        Ok(wanted)
    }

    /// By the words of the RFC, except that weakened tags of ours count as well.
    fn holds(wanted: &Wanted, tag: Option<u128>) -> bool {
        let is = |those: &Those| tag.is_some_and(|tag| those.is_in(tag));
        wanted.if_match.as_ref().is_none_or(is) && !wanted.if_none_match.as_ref().is_some_and(is)
    }

    fn holds_at_apply(condition: Condition, tag: Option<u128>) -> bool {
        match condition {
            Condition::None => true,
            Condition::Exists => tag.is_some(),
            Condition::Absent => tag.is_none(),
            Condition::Tag(wanted) => tag == Some(wanted),
        }
    }

    proptest! {
        #[test]
        fn what_goes_into_the_log_is_never_weaker_and_holds_where_nothing_changes_in_between(
            lists in proptest::collection::vec((any::<bool>(), proptest::collection::vec(1_u128..6, 0..4), any::<bool>()), 0..4),
            now in proptest::option::of(1_u128..6), then in proptest::option::of(1_u128..6)
        ) {
            let values: Vec<(bool, String)> = lists.iter().map(|(is_match, tags, any)| {
                let tags: Vec<String> = tags.iter().map(|tag| etag(*tag)).collect();
                (*is_match, if *any { "*".to_owned() } else { format!("\"x\", {}", tags.join(", ")) })
            }).collect();
            let values: Vec<(bool, &str)> = values.iter().map(|(is_match, value)| (*is_match, value.as_str())).collect();
            if let Ok(wanted) = wanted(&values) {
                let condition = wanted.condition_for(|| now);
                prop_assert!(!holds_at_apply(condition, then) || holds(&wanted, then), "{wanted:?} {condition:?} {now:?} {then:?}");
                prop_assert_eq!(holds_at_apply(condition, now), holds(&wanted, now), "{:?} {:?} {:?}", wanted, condition, now);
            }
        }

        #[test]
        fn any_bytes_are_read(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            for each in Tags(&value) {
                let _ = each;
            }
        }
    }

    #[test]
    fn lists_are_read_as_they_are_written() {
        let all = |value: &str| {
            let each = |each: Result<Each<'_>, _>| each.map(|each| (each.tag(), each.is_weak));
            Tags(value.as_bytes()).map(each).collect::<Result<Vec<_>, _>>()
        };
        let list = format!(" , \"x,\u{e4}\" ,,W/{}\t, {},", etag(A), etag(B));
        assert_eq!(all(&list), Ok(vec![(None, false), (Some(A), true), (Some(B), false)]));
        assert_eq!(all("\"\""), Ok(vec![(None, false)]));
        for wrong in ["x", "\"", "\"a\" \"b\"", "\"a\"b", "w/\"a\"", "W/ \"a\"", "\"a b\"", "*, \"a\"", "\"a\", *"] {
            assert!(all(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn foreign_tags_match_nothing_and_a_list_is_one_condition() {
        let (a, b) = (etag(A), etag(B));
        assert_eq!(wanted(&[(true, "\"x\"")]).unwrap().condition_for(|| Some(A)), Condition::Tag(0));
        assert_eq!(wanted(&[(false, "\"x\"")]).unwrap().condition_for(|| Some(A)), Condition::Tag(A));
        assert_eq!(wanted(&[(false, "\"x\"")]).unwrap().condition_for(|| None), Condition::Absent);
        let both = wanted(&[(true, &a), (true, &b)]).unwrap();
        assert_eq!(both, wanted(&[(true, &format!("{a}, \"x\", {b}, {a}"))]).unwrap());
        assert_eq!(both.condition_for(|| Some(B)), Condition::Tag(B));
        for wrong in [&[(true, "")][..], &[(true, " , ")], &[(true, "*"), (true, "*")], &[(true, "*"), (true, "\"x\"")]]
        {
            assert!(wanted(wrong).is_err(), "{wrong:?}");
        }
        let many: Vec<String> = (1..=100).map(etag).collect();
        assert!(wanted(&[(true, &many.join(","))]).is_err());
    }

    #[test]
    fn a_weakened_tag_of_ours_matches_for_if_match_only_where_that_is_wanted() {
        let weak = format!("W/{}", etag(A));
        for (match_weakened, condition) in [(true, Condition::Tag(A)), (false, Condition::Tag(0))] {
            let mut wanted = Wanted::default();
            wanted.add(true, weak.as_bytes(), match_weakened).unwrap();
            assert_eq!(wanted.condition_for(|| Some(A)), condition);
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, weak.parse().unwrap());
            let verdict = if match_weakened { ReadVerdict::Send } else { ReadVerdict::Failed };
            assert_eq!(of_read(&headers, A, match_weakened), verdict);
            // If-None-Match always compares weakly.
            headers.insert(IF_NONE_MATCH, headers[IF_MATCH].clone());
            headers.remove(IF_MATCH);
            assert_eq!(of_read(&headers, A, match_weakened), ReadVerdict::NotModified);
        }
    }

    #[test]
    fn the_same_conditions_have_one_word_and_others_another() {
        let (a, b) = (etag(A), etag(B));
        let words: Vec<String> = [
            &[][..],
            &[(true, "*")],
            &[(false, "*")],
            &[(true, &a)],
            &[(true, &b)],
            &[(false, &a)],
            &[(true, "\"x\"")],
            &[(true, &a), (true, &b)],
            &[(true, &a), (false, &b)],
            &[(true, "*"), (false, "*")],
        ]
        .iter()
        .map(|conditions| wanted(conditions).unwrap().word())
        .collect();
        let distinct: std::collections::HashSet<&String> = words.iter().collect();
        assert_eq!(distinct.len(), words.len(), "{words:?}");
        assert_eq!(&words[..4], ["none", "exists", "absent", &a]);
    }
}
