//! Pages: the records of a plan's way, from a place on.

use super::plan::{Plan, Way};
use super::source::Source;
use crate::collection::Collection;
use crate::id::{Id, IdKind, IdRef};
use crate::index::Entry;
use crate::record::Record;
use crate::value::IndexKey;
use std::ops::Bound;

/// How much may be looked at, before others get their turn.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Records.
    pub records: usize,
    /// Their bytes. The record that passes it is the last.
    pub bytes: usize,
}

/// A position of a plan's way: behind a record that was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(At);

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Number(u64),
    Id(Id),
    Entry(Entry),
}

/// Some of the answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order of the way. There may be none, and still be a next place.
    pub records: Vec<Record>,
    /// Behind the last record that was looked at; none: that was the end.
    pub next: Option<Place>,
    /// How many records were looked at.
    pub looked_at: usize,
}

/// Some of the count.
#[derive(Clone, Debug)]
pub struct Counted {
    /// So many records up to here.
    pub count: u64,
    /// As [`Page::next`].
    pub next: Option<Place>,
}

impl Place {
    /// For a cursor.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            At::Number(number) => number.to_be_bytes().to_vec(),
            At::Id(Id::Uuid(uuid)) => uuid.as_bytes().to_vec(),
            At::Id(Id::Text(text)) => text.as_bytes().to_vec(),
            At::Entry((key, number)) => [&number.to_be_bytes()[..], key.as_bytes()].concat(),
        }
    }

    /// The creation number, where that is the order.
    pub fn number(&self) -> Option<u64> {
        match self.0 {
            At::Number(number) => Some(number),
            At::Id(_) | At::Entry(_) => None,
        }
    }
}

impl Plan {
    /// The place that has these bytes; none if none has. A place of another plan may have them, too.
    pub fn place(&self, bytes: &[u8]) -> Option<Place> {
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        let at = match &self.way {
            Way::Numbers => At::Number(number(bytes)?),
            Way::Ids(_) => At::Id(match self.ids {
                IdKind::Uuid => Id::Uuid(uuid::Uuid::from_slice(bytes).ok()?),
                IdKind::Text => IdRef::Text(std::str::from_utf8(bytes).ok()?).to_owned(),
            }),
            Way::Index(..) => {
                let (first, key) = bytes.split_at_checked(8)?;
                At::Entry((IndexKey::at(key.to_vec()), number(first)?))
            }
        };
        Some(Place(at))
    }

    /// The next records behind `after` (none: from the beginning), at most `limit`.
    pub fn page(&self, collection: Option<&Collection>, after: Option<&Place>, limit: usize, budget: Budget) -> Page {
        self.page_of(Source::of(collection), after, limit, budget)
    }

    pub(super) fn page_of(&self, source: Source<'_>, after: Option<&Place>, limit: usize, budget: Budget) -> Page {
        let mut page = Page { records: Vec::new(), next: None, looked_at: 0 };
        let (mut bytes, mut last) = (0, None);
        for step in self.steps(source, after) {
            if page.records.len() >= limit || page.looked_at >= budget.records || bytes >= budget.bytes {
                // There is more. Nothing looked at: no budget, so this page ends where it began.
                page.next = last.map(Step::place).or_else(|| after.cloned());
                return page;
            }
            page.looked_at += 1;
            last = Some(step);
            let Some(record) = source.records.get(&step.number()) else { continue };
            bytes += record.as_str().len();
            if self.checks.hold(record.as_str()) {
                page.records.push(record.clone());
            }
        }
        page
    }

    /// How many records the whole way has, at most `steps` at once. For a plan that is exact, this is the count of the answer.
    pub fn count(&self, collection: Option<&Collection>, after: Option<&Place>, steps: usize) -> Counted {
        self.count_of(Source::of(collection), after, steps)
    }

    pub(super) fn count_of(&self, source: Source<'_>, after: Option<&Place>, steps: usize) -> Counted {
        if after.is_none() && self.way == Way::Numbers {
            return Counted { count: source.records.len() as u64, next: None };
        }
        let (mut count, mut last) = (0, None);
        for step in self.steps(source, after) {
            if count >= steps.max(1) {
                return Counted { count: count as u64, next: last.map(Step::place) };
            }
            count += 1;
            last = Some(step);
        }
        Counted { count: count as u64, next: None }
    }

    /// All steps behind `after`. A place that is of another way counts as the end.
    fn steps<'a>(&'a self, source: Source<'a>, after: Option<&'a Place>) -> Box<dyn Iterator<Item = Step<'a>> + 'a> {
        let is_down = self.descending;
        let after = after.map(|place| &place.0);
        match (&self.way, after) {
            (Way::Numbers, None | Some(At::Number(_))) => {
                let behind = after.map_or(Bound::Unbounded, |at| match at {
                    At::Number(number) => Bound::Excluded(*number),
                    At::Id(_) | At::Entry(_) => Bound::Unbounded,
                });
                let Some((from, to)) = clip((Bound::Unbounded, Bound::Unbounded), behind, is_down) else {
                    return Box::new(std::iter::empty());
                };
                let steps = source.records.range((from, to)).map(|(number, _)| Step::Number(*number));
                directed(steps, is_down)
            }
            (Way::Ids(spans), None | Some(At::Id(_))) => {
                let behind = after.map_or(Bound::Unbounded, |at| match at {
                    At::Id(id) => Bound::Excluded(id.clone()),
                    At::Number(_) | At::Entry(_) => Bound::Unbounded,
                });
                let spans = directed(spans.iter(), is_down);
                Box::new(spans.filter_map(move |span| clip(span.clone(), behind.clone(), is_down)).flat_map(
                    move |(from, to)| {
                        let ids = source.ids.range((from, to)).map(|(id, number)| Step::Id(id, number));
                        directed(ids, is_down)
                    },
                ))
            }
            (Way::Index(at, spans), None | Some(At::Entry(_))) => {
                let Some(index) = source.indexes.get(*at) else { return Box::new(std::iter::empty()) };
                let behind = after.map_or(Bound::Unbounded, |at| match at {
                    At::Entry(entry) => Bound::Excluded(entry.clone()),
                    At::Number(_) | At::Id(_) => Bound::Unbounded,
                });
                // Creation numbers begin with 1, so these are before every entry of their keys.
                let bound = |(from, to): &(Vec<u8>, Vec<u8>)| {
                    let entry = |bytes: &Vec<u8>| (IndexKey::at(bytes.clone()), 0);
                    (Bound::Included(entry(from)), Bound::Excluded(entry(to)))
                };
                let spans = directed(spans.iter(), is_down);
                Box::new(
                    spans
                        .filter_map(move |span| clip(bound(span), behind.clone(), is_down))
                        .flat_map(move |(from, to)| directed(index.range(from, to).map(Step::Entry), is_down)),
                )
            }
            (Way::Numbers | Way::Ids(_) | Way::Index(..), Some(_)) => Box::new(std::iter::empty()),
        }
    }
}

/// A record's position of the way.
#[derive(Clone, Copy)]
enum Step<'a> {
    Number(u64),
    Id(IdRef<'a>, u64),
    Entry(&'a Entry),
}

impl Step<'_> {
    fn number(self) -> u64 {
        match self {
            Step::Number(number) | Step::Id(_, number) => number,
            Step::Entry((_, number)) => *number,
        }
    }

    fn place(self) -> Place {
        Place(match self {
            Step::Number(number) => At::Number(number),
            Step::Id(id, _) => At::Id(id.to_owned()),
            Step::Entry(entry) => At::Entry(entry.clone()),
        })
    }
}

fn directed<'a, I: DoubleEndedIterator + 'a>(steps: I, is_down: bool) -> Box<dyn Iterator<Item = I::Item> + 'a> {
    if is_down { Box::new(steps.rev()) } else { Box::new(steps) }
}

/// What of the span lies behind that, in this direction; none if nothing can.
fn clip<T: Ord + Clone>(span: (Bound<T>, Bound<T>), behind: Bound<T>, is_down: bool) -> Option<(Bound<T>, Bound<T>)> {
    use Bound::{Excluded, Included, Unbounded};
    let (mut from, mut to) = span;
    if let Excluded(at) = behind {
        if is_down {
            let is_later = match &to {
                Unbounded => false,
                Included(to) => at > *to,
                Excluded(to) => at >= *to,
            };
            if !is_later {
                to = Excluded(at);
            }
        } else {
            let is_earlier = match &from {
                Unbounded => false,
                Included(from) | Excluded(from) => at < *from,
            };
            if !is_earlier {
                from = Excluded(at);
            }
        }
    }
    let is_empty = match (&from, &to) {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(from), Included(to)) => from > to,
        (Included(from) | Excluded(from), Excluded(to)) | (Excluded(from), Included(to)) => from >= to,
    };
    (!is_empty).then_some((from, to))
}
