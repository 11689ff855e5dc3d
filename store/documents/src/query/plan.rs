//! Which way a query takes.

use super::check::{Checks, encode};
use super::question::{Filter, PlanError, Query, Side, Test, is_id};
use super::source::Source;
use crate::definition::{FIELDS_MAX, FieldKind, Path};
use crate::id::{Id, IdKind};
use crate::value::{AFTER_VALUES, VALUES, encode_letters};
use std::ops::Bound;
use twox_hash::XxHash3_128;
use uuid::Uuid;

/// How to answer a query. It holds for the collection as it was planned for: its definition must not have changed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) way: Way,
    /// Of the collection.
    pub(super) ids: IdKind,
    pub(super) descending: bool,
    pub(super) checks: Checks,
    fingerprint: u64,
    /// For [`Plan::is_exact`].
    filtered: Vec<String>,
}

/// The way through the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In order of creation.
    Numbers,
    /// By id, in these spans, in order.
    Ids(Vec<(Bound<Id>, Bound<Id>)>),
    /// Through that index of the definition, in these spans of keys, in order: from the first, to before the second.
    Index(usize, Vec<(Vec<u8>, Vec<u8>)>),
}

impl Plan {
    /// Every record of its way is one of the answer.
    ///
    /// # Errors
    /// [`PlanError::NoIndex`]: it is not so, and such an index would make it so.
    pub fn is_exact(&self) -> Result<(), PlanError> {
        if self.checks.is_empty() { Ok(()) } else { Err(PlanError::NoIndex { fields: self.filtered.clone() }) }
    }

    /// Tells it from the plans of other queries, and of other definitions: a [`Place`](super::Place) is good for one of them.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// What a way would serve.
struct Served {
    /// The better, the higher.
    score: (bool, usize, bool),
    /// The filters that need no check, by their places.
    filters: Vec<usize>,
    /// Which of them must be equal, in the order of the fields.
    equal: Vec<usize>,
    /// The field behind those: all filters on it that are served.
    then: Vec<usize>,
}

pub(super) fn plan(query: &Query, source: Source<'_>) -> Result<Plan, PlanError> {
    let filters = readable(query, source)?;
    let kind_of = |path: &Path| kind_of(path, source);
    // What is equal in all of them orders nothing.
    let sort: Vec<&Path> =
        query.sort.iter().filter(|path| kind_of(path).is_none() || !is_equal(&filters, path)).collect();
    let untyped = filters.iter().find(|filter| is_range(filter) && kind_of(&filter.path).is_none());
    let missing = |by: &[&Path]| {
        let equal = filters.iter().filter(|one| matches!(one.test, Test::Equals(_)) && !is_id(&one.path));
        let mut fields: Vec<String> = Vec::new();
        for path in equal.map(|filter| &filter.path).take(FIELDS_MAX.saturating_sub(by.len())).chain(by.iter().copied())
        {
            let pointer = path.to_pointer();
            if !fields.contains(&pointer) {
                fields.push(pointer);
            }
        }
        PlanError::NoIndex { fields }
    };
    if let Some(untyped) = untyped {
        return Err(missing(&[&untyped.path]));
    }

    let mut best: Option<(Option<usize>, Served)> = None;
    let id = Path::from_names(vec!["id".into()]).expect("one name is a path");
    let ids = std::iter::once((None, vec![(&id, FieldKind::String)], true));
    let indexes = source.indexes.iter().enumerate().map(|(at, index)| {
        let definition = index.definition();
        let fields: Vec<(&Path, FieldKind)> = definition.fields.iter().map(|field| (&field.path, field.kind)).collect();
        (Some(at), fields, definition.unique)
    });
    for (at, fields, is_unique) in ids.chain(indexes) {
        // A field of another type than its path's ends what the index serves.
        let count = fields.len();
        let fields: Vec<&Path> =
            fields.into_iter().map_while(|(path, kind)| (kind_of(path) == Some(kind)).then_some(path)).collect();
        // Unique are all of its fields together.
        let is_unique = is_unique && fields.len() == count;
        let Some(served) = serve(&fields, is_unique, &filters, &sort) else { continue };
        if best.as_ref().is_none_or(|(_, known)| served.score > known.score) {
            best = Some((at, served));
        }
    }
    let range = filters.iter().find(|filter| needs_index(&filters, filter));
    let (way, served) = match (best, range) {
        (Some((None, served)), _) => (by_id(&filters, &served, source.kind), served.filters),
        (Some((Some(at), served)), _) => (Way::Index(at, spans(&filters, &served, &kind_of)), served.filters),
        (None, _) if !sort.is_empty() => return Err(missing(&sort)),
        (None, Some(range)) => return Err(missing(&[&range.path])),
        (None, None) => (Way::Numbers, Vec::new()),
    };
    let mut checks = Checks::default();
    for (at, filter) in filters.iter().enumerate() {
        if !served.contains(&at) && !checks.add(filter, kind_of(&filter.path)) {
            return Err(missing(&[&filter.path]));
        }
    }
    let mut filtered: Vec<String> = Vec::new();
    for pointer in filters.iter().map(|filter| filter.path.to_pointer()) {
        if !filtered.contains(&pointer) {
            filtered.push(pointer);
        }
    }
    let fingerprint = fingerprint(&way, query.descending, &query.sort, &filters, source);
    Ok(Plan { way, ids: source.kind, descending: query.descending, checks, fingerprint, filtered })
}

/// See the module `query`.
fn kind_of(path: &Path, source: Source<'_>) -> Option<FieldKind> {
    if is_id(path) {
        return Some(FieldKind::String);
    }
    let mut fields = source.indexes.iter().flat_map(|index| &index.definition().fields);
    fields.find(|field| field.path == *path).map(|field| field.kind)
}

/// The filters, with ids in their one form; each value is one of its path's type.
fn readable(query: &Query, source: Source<'_>) -> Result<Vec<Filter>, PlanError> {
    let mut filters = query.filters.clone();
    for (at, Filter { path, test }) in filters.iter_mut().enumerate() {
        let kind = kind_of(path, source);
        let is_uuid = is_id(path) && source.kind == IdKind::Uuid;
        let read = |value: &mut String| {
            if is_uuid {
                *value = IdKind::Uuid.parse(value).ok_or(PlanError::NoId { filter: at })?.to_string();
            }
            match kind {
                Some(kind) if encode(kind, value).is_none() => Err(PlanError::WrongType { filter: at, kind }),
                _ => Ok(()),
            }
        };
        match test {
            Test::Equals(value) | Test::Differs(value) | Test::Range(_, value) => read(value)?,
            Test::OneOf(values) => values.iter_mut().try_for_each(read)?,
            Test::Prefix(text) if is_uuid => {
                text.make_ascii_lowercase();
                uuids_from(text).ok_or(PlanError::NoId { filter: at })?;
            }
            Test::Prefix(_) if kind.is_some_and(|kind| kind != FieldKind::String) => {
                return Err(PlanError::WrongType { filter: at, kind: FieldKind::String });
            }
            Test::Prefix(_) | Test::Exists(_) => {}
        }
    }
    Ok(filters)
}

fn is_range_test(test: &Test) -> bool {
    matches!(test, Test::Range(..) | Test::Prefix(_))
}

fn is_range(filter: &Filter) -> bool {
    is_range_test(&filter.test)
}

fn is_equal(filters: &[Filter], path: &Path) -> bool {
    filters.iter().any(|filter| filter.path == *path && matches!(filter.test, Test::Equals(_)))
}

/// A range must be served, unless its value must be equal to one anyway.
fn needs_index(filters: &[Filter], filter: &Filter) -> bool {
    is_range(filter) && !is_equal(filters, &filter.path)
}

/// What an index of these fields serves; none if that is nothing, or not what the query needs.
fn serve(fields: &[&Path], is_unique: bool, filters: &[Filter], sort: &[&Path]) -> Option<Served> {
    let on = |path: &Path, is_so: &dyn Fn(&Test) -> bool| -> Vec<usize> {
        let all = filters.iter().enumerate();
        all.filter(|(_, filter)| filter.path == *path && is_so(&filter.test)).map(|(at, _)| at).collect()
    };
    let equal: Vec<usize> =
        fields.iter().map_while(|path| on(path, &|test| matches!(test, Test::Equals(_))).first().copied()).collect();
    // At most one record: it needs no order, and all else is checked.
    let is_one = is_unique && equal.len() == fields.len() && !fields.is_empty();
    let rest = &fields[equal.len()..];
    if !is_one && !sort.is_empty() && !rest.starts_with(sort) {
        return None;
    }
    let ranges = rest.first().map(|path| on(path, &is_range_test));
    let mut then = ranges.unwrap_or_default();
    let needs_range =
        sort.is_empty() && filters.iter().any(|one| matches!(one.test, Test::Range(..) | Test::Prefix(_)));
    if !is_one && needs_range && then.is_empty() {
        return None;
    }
    if let (true, Some(path)) = (then.is_empty(), rest.first()) {
        then = on(path, &|test| matches!(test, Test::OneOf(_)));
        then.truncate(1);
    }
    if equal.is_empty() && then.is_empty() && sort.is_empty() {
        return None;
    }
    let filters = equal.iter().chain(&then).copied().collect();
    Some(Served { score: (is_one, equal.len(), !then.is_empty()), filters, equal, then })
}

/// The spans of an index. Values were read before, so each has its bytes.
fn spans(filters: &[Filter], served: &Served, kind_of: &dyn Fn(&Path) -> Option<FieldKind>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes =
        |at: usize, value: &str| kind_of(&filters[at].path).and_then(|kind| encode(kind, value)).unwrap_or_default();
    let mut prefix = Vec::new();
    for at in &served.equal {
        if let Test::Equals(value) = &filters[*at].test {
            prefix.extend(bytes(*at, value));
        }
    }
    let behind = |more: &[u8]| [&prefix[..], more].concat();
    if let Some((at, Test::OneOf(values))) = served.then.first().map(|at| (*at, &filters[*at].test)) {
        let mut froms: Vec<Vec<u8>> = values.iter().map(|value| behind(&bytes(at, value))).collect();
        froms.sort_unstable();
        froms.dedup();
        return froms.into_iter().map(|from| (from.clone(), after(from))).collect();
    }
    let is_range = !served.then.is_empty();
    let mut from = if is_range { behind(&[VALUES]) } else { prefix.clone() };
    let mut to = if is_range { behind(&[AFTER_VALUES]) } else { after(prefix.clone()) };
    for at in &served.then {
        let (more_from, more_to) = match &filters[*at].test {
            Test::Range(Side::Above, value) => (Some(after(behind(&bytes(*at, value)))), None),
            Test::Range(Side::From, value) => (Some(behind(&bytes(*at, value))), None),
            Test::Range(Side::Below, value) => (None, Some(behind(&bytes(*at, value)))),
            Test::Range(Side::UpTo, value) => (None, Some(after(behind(&bytes(*at, value))))),
            Test::Prefix(text) => {
                let mut begin = prefix.clone();
                encode_letters(text, &mut begin);
                (Some(begin.clone()), Some(after(begin)))
            }
            Test::Equals(_) | Test::Differs(_) | Test::OneOf(_) | Test::Exists(_) => (None, None),
        };
        from = more_from.into_iter().fold(from, Ord::max);
        to = more_to.into_iter().fold(to, Ord::min);
    }
    if from < to { vec![(from, to)] } else { Vec::new() }
}

/// The first bytes after all that begin so. A key never begins with 0xff alone, and nothing at all is before everything.
fn after(mut bytes: Vec<u8>) -> Vec<u8> {
    while bytes.pop_if(|last| *last == 0xff).is_some() {}
    match bytes.last_mut() {
        Some(last) => *last += 1,
        None => bytes.push(0xff),
    }
    bytes
}

fn by_id(filters: &[Filter], served: &Served, kind: IdKind) -> Way {
    let id = |text: &str| match kind {
        IdKind::Uuid => Id::Uuid(Uuid::try_parse(text).unwrap_or_default()),
        IdKind::Text => Id::Text(text.into()),
    };
    let one = |text: &str| (Bound::Included(id(text)), Bound::Included(id(text)));
    let served = served.equal.iter().chain(&served.then).map(|at| &filters[*at].test);
    let (mut from, mut to) = (Bound::Unbounded, Bound::Unbounded);
    for test in served {
        let (more_from, more_to) = match test {
            Test::Equals(value) => return Way::Ids(vec![one(value)]),
            Test::OneOf(values) => {
                let mut values: Vec<&String> = values.iter().collect();
                values.sort_unstable();
                values.dedup();
                return Way::Ids(values.into_iter().map(|value| one(value)).collect());
            }
            Test::Range(Side::Above, value) => (Bound::Excluded(id(value)), Bound::Unbounded),
            Test::Range(Side::From, value) => (Bound::Included(id(value)), Bound::Unbounded),
            Test::Range(Side::Below, value) => (Bound::Unbounded, Bound::Excluded(id(value))),
            Test::Range(Side::UpTo, value) => (Bound::Unbounded, Bound::Included(id(value))),
            Test::Prefix(text) => match kind {
                IdKind::Uuid => uuids_from(text).unwrap_or((Bound::Unbounded, Bound::Unbounded)),
                IdKind::Text => (Bound::Included(id(text)), text_after(text)),
            },
            Test::Differs(_) | Test::Exists(_) => (Bound::Unbounded, Bound::Unbounded),
        };
        from = later(from, more_from);
        to = earlier(to, more_to);
    }
    Way::Ids(vec![(from, to)])
}

/// The later of two beginnings.
fn later(left: Bound<Id>, right: Bound<Id>) -> Bound<Id> {
    use Bound::{Excluded, Included, Unbounded};
    let is_right = match (&left, &right) {
        (_, Unbounded) => false,
        (Unbounded, _) => true,
        (Included(left) | Excluded(left), Included(right)) => right > left,
        (Included(left) | Excluded(left), Excluded(right)) => right >= left,
    };
    if is_right { right } else { left }
}

/// The earlier of two ends.
fn earlier(left: Bound<Id>, right: Bound<Id>) -> Bound<Id> {
    use Bound::{Excluded, Included, Unbounded};
    let is_right = match (&left, &right) {
        (_, Unbounded) => false,
        (Unbounded, _) => true,
        (Included(left) | Excluded(left), Included(right)) => right < left,
        (Included(left) | Excluded(left), Excluded(right)) => right <= left,
    };
    if is_right { right } else { left }
}

/// The UUIDs that begin so, in their usual form in lower case; none if that is the beginning of none.
fn uuids_from(text: &str) -> Option<(Bound<Id>, Bound<Id>)> {
    const FIRST: &str = "00000000-0000-0000-0000-000000000000";
    const LAST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let filled = |with: &str| {
        let whole = format!("{text}{}", with.get(text.len()..)?);
        Uuid::try_parse(&whole).ok().filter(|uuid| uuid.to_string() == whole).map(Id::Uuid)
    };
    Some((Bound::Included(filled(FIRST)?), Bound::Included(filled(LAST)?)))
}

/// The end of the texts that begin so.
fn text_after(text: &str) -> Bound<Id> {
    let mut characters: Vec<char> = text.chars().collect();
    while let Some(last) = characters.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            characters.push(next);
            return Bound::Excluded(Id::Text(characters.into_iter().collect::<String>().into()));
        }
    }
    Bound::Unbounded
}

/// Part of cursors, so that of later builds too: texts with their lengths in front, as they are.
fn fingerprint(way: &Way, descending: bool, sort: &[Path], filters: &[Filter], source: Source<'_>) -> u64 {
    fn add(to: &mut Vec<u8>, text: &str) {
        to.extend_from_slice(&(text.len() as u64).to_be_bytes());
        to.extend_from_slice(text.as_bytes());
    }
    let mut bytes = vec![u8::from(descending)];
    match way {
        Way::Numbers => bytes.push(0),
        Way::Ids(_) => bytes.push(1),
        Way::Index(at, _) => {
            bytes.push(2);
            for field in &source.indexes[*at].definition().fields {
                add(&mut bytes, &field.path.to_pointer());
                bytes.push(match field.kind {
                    FieldKind::String => 0,
                    FieldKind::Number => 1,
                    FieldKind::Boolean => 2,
                });
            }
        }
    }
    for path in sort {
        add(&mut bytes, &path.to_pointer());
    }
    let mut tests: Vec<Vec<u8>> = filters
        .iter()
        .map(|filter| {
            let mut bytes = Vec::new();
            add(&mut bytes, &filter.path.to_pointer());
            let (word, values) = match &filter.test {
                Test::Equals(value) => ("eq", std::slice::from_ref(value)),
                Test::Differs(value) => ("ne", std::slice::from_ref(value)),
                Test::OneOf(values) => ("in", &values[..]),
                Test::Range(Side::Above, value) => ("gt", std::slice::from_ref(value)),
                Test::Range(Side::From, value) => ("gte", std::slice::from_ref(value)),
                Test::Range(Side::Below, value) => ("lt", std::slice::from_ref(value)),
                Test::Range(Side::UpTo, value) => ("lte", std::slice::from_ref(value)),
                Test::Prefix(text) => ("prefix", std::slice::from_ref(text)),
                Test::Exists(true) => ("exists", &[][..]),
                Test::Exists(false) => ("absent", &[][..]),
            };
            add(&mut bytes, word);
            values.iter().for_each(|value| add(&mut bytes, value));
            bytes
        })
        .collect();
    tests.sort_unstable();
    bytes.push(0xff);
    tests.iter().for_each(|test| bytes.extend_from_slice(test));
    // The lower half.
    XxHash3_128::oneshot(&bytes) as u64
}
