use super::*;
use crate::definition::{Definition, Field, Form, IndexDefinition};
use crate::definition::{FieldKind, Path};
use crate::id::{Id, IdKind};
use crate::ids::Ids;
use crate::index::Index;
use crate::record::Record;
use crate::value::Shape;
use imbl::OrdMap;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A collection, in the simplest way.
#[derive(Debug)]
struct World {
    definition: Definition,
    indexes: Vec<Index>,
    ids: Ids,
    records: OrdMap<u64, Record>,
}

fn path(pointer: &str) -> Path {
    Path::from_pointer(pointer).unwrap()
}

fn index_of(fields: &[(&str, FieldKind)], unique: bool) -> IndexDefinition {
    let fields = fields.iter().map(|(pointer, kind)| Field { path: path(pointer), kind: *kind });
    IndexDefinition { fields: fields.collect(), unique }
}

impl World {
    fn new(kind: IdKind, indexes: Vec<IndexDefinition>) -> World {
        let definition =
            Definition { id: kind, form: Form::Any, schema: None, indexes, expires: None, records_max: None };
        let indexes = definition.indexes.iter().cloned().map(Index::new).collect();
        World { definition, indexes, ids: Ids::of(kind), records: OrdMap::new() }
    }

    fn id(&self, number: u64) -> Id {
        match self.definition.id {
            // Not in the order of creation.
            IdKind::Uuid => Id::Uuid(Uuid::from_u128(u128::from(number * 7 % 32) << 100 | u128::from(number))),
            IdKind::Text => Id::Text(format!("{}-{number}", ["ä", "a", "zz", "a\u{1}"][number as usize % 4]).into()),
        }
    }

    /// Adds or replaces it.
    fn put(&mut self, number: u64, mut record: Value) {
        self.remove(number);
        let id = self.id(number);
        record["id"] = json!(id.to_string());
        let record = record.to_string();
        let keys = Shape::of(&self.definition).read(&record).unwrap().keys;
        self.indexes.iter_mut().zip(keys).for_each(|(index, key)| index.insert(key, number));
        self.ids.insert(id.as_ref(), number);
        self.records.insert(number, Record::from(record));
    }

    fn remove(&mut self, number: u64) {
        if let Some(record) = self.records.remove(&number) {
            let keys = Shape::of(&self.definition).read(record.as_str()).unwrap().keys;
            self.indexes.iter_mut().zip(keys).for_each(|(index, key)| index.remove(&key, number));
            self.ids.remove(self.id(number).as_ref());
        }
    }

    fn source(&self) -> Source<'_> {
        Source { kind: self.definition.id, indexes: &self.indexes, ids: &self.ids, records: &self.records }
    }

    fn plan(&self, query: &Query) -> Result<Plan, PlanError> {
        plan::plan(query, self.source())
    }

    /// Page after page, and the limit of each.
    fn pages(&self, plan: &Plan, limits: &[usize], budget: Budget) -> Vec<Value> {
        let (mut all, mut place) = (Vec::new(), None);
        for limit in limits.iter().cycle() {
            let page = plan.page_of(self.source(), place.as_ref(), *limit, budget);
            assert!(page.records.len() <= *limit && page.looked_at <= budget.records);
            all.extend(page.records.iter().map(|record| serde_json::from_str::<Value>(record.as_str()).unwrap()));
            match page.next {
                None => return all,
                Some(next) => {
                    assert_ne!(place, Some(next.clone()), "a page without progress");
                    place = Some(next);
                }
            }
        }
        unreachable!("some page is the last")
    }

    fn kind_of(&self, path: &Path) -> Option<FieldKind> {
        if path.to_pointer() == "/id" {
            return Some(FieldKind::String);
        }
        let mut fields = self.definition.indexes.iter().flat_map(|index| &index.fields);
        fields.find(|field| field.path == *path).map(|field| field.kind)
    }

    fn keeps(&self, record: &Value, filter: &Filter) -> bool {
        let found = Some(&record[&*filter.path.names()[0]]).filter(|value| !value.is_null());
        let kind = self.kind_of(&filter.path);
        let equals = |text: &String| {
            found.is_some_and(|found| match (found, kind) {
                (Value::String(found), None | Some(FieldKind::String)) => found == text,
                (Value::Number(found), None | Some(FieldKind::Number)) => {
                    serde_json::from_str::<f64>(text).is_ok_and(|text| Some(text) == found.as_f64())
                }
                (Value::Bool(found), None | Some(FieldKind::Boolean)) => found.to_string() == *text,
                _ => false,
            })
        };
        match &filter.test {
            Test::Equals(text) => equals(text),
            Test::Differs(text) => !equals(text),
            Test::OneOf(texts) => texts.iter().any(equals),
            Test::Exists(wanted) => found.is_some() == *wanted,
            Test::Prefix(text) => found.and_then(Value::as_str).is_some_and(|found| found.starts_with(text)),
            Test::Range(side, text) => {
                let value = match kind.unwrap() {
                    FieldKind::String => json!(text),
                    FieldKind::Number | FieldKind::Boolean => serde_json::from_str(text).unwrap(),
                };
                let order = compare(kind.unwrap(), found.unwrap_or(&Value::Null), &value);
                let is_of_kind = compare(kind.unwrap(), found.unwrap_or(&Value::Null), &Value::Null) == Ordering::Less;
                is_of_kind
                    && match side {
                        Side::Above => order == Ordering::Greater,
                        Side::From => order != Ordering::Less,
                        Side::Below => order == Ordering::Less,
                        Side::UpTo => order != Ordering::Greater,
                    }
            }
        }
    }

    /// The whole answer, in no order.
    fn naive(&self, query: &Query) -> BTreeSet<String> {
        let records = self.records.values().map(|record| serde_json::from_str::<Value>(record.as_str()).unwrap());
        let kept = records.filter(|record| query.filters.iter().all(|filter| self.keeps(record, filter)));
        kept.map(|record| record["id"].as_str().unwrap().to_owned()).collect()
    }

    fn order(&self, query: &Query, left: &Value, right: &Value) -> Ordering {
        let by = query.sort.iter().map(|path| {
            let name = &*path.names()[0];
            compare(self.kind_of(path).unwrap(), &left[name], &right[name])
        });
        let order = by.fold(Ordering::Equal, Ordering::then);
        if query.descending { order.reverse() } else { order }
    }
}

/// What is not of the kind is last.
fn compare(kind: FieldKind, left: &Value, right: &Value) -> Ordering {
    let rank = |value: &Value| match kind {
        FieldKind::String => !value.is_string(),
        FieldKind::Number => !value.is_number(),
        FieldKind::Boolean => !value.is_boolean(),
    };
    match (rank(left), rank(right)) {
        (false, false) => match kind {
            FieldKind::String => left.as_str().cmp(&right.as_str()),
            FieldKind::Number => left.as_f64().unwrap().total_cmp(&right.as_f64().unwrap()),
            FieldKind::Boolean => left.as_bool().cmp(&right.as_bool()),
        },
        (left, right) => left.cmp(&right),
    }
}

const NAMES: [&str; 4] = ["/a", "/b", "/c", "/id"];
const TEXTS: [&str; 10] = ["x", "xy", "1", "1.0", "-2", "0", "true", "false", "", "a-5"];

fn value() -> impl Strategy<Value = Value> {
    let all = [
        json!("x"),
        json!("xy"),
        json!("y"),
        json!("1"),
        json!("true"),
        json!(""),
        json!(1),
        json!(1.0),
        json!(-2),
        json!(0),
        json!(0.5),
        json!(true),
        json!(false),
        Value::Null,
        json!(["x"]),
    ];
    prop::sample::select(all.to_vec())
}

fn kind() -> impl Strategy<Value = FieldKind> {
    // Strings more often: an answer of none tests little.
    prop::sample::select(vec![FieldKind::String, FieldKind::String, FieldKind::Number, FieldKind::Boolean])
}

fn index() -> impl Strategy<Value = IndexDefinition> {
    let fields = prop::sample::subsequence(NAMES.to_vec(), 1..=3).prop_shuffle();
    (fields, prop::collection::vec(kind(), 3)).prop_map(|(names, kinds)| {
        let fields: Vec<_> = names.into_iter().zip(kinds).collect();
        index_of(&fields, false)
    })
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(TEXTS.to_vec()).prop_map(str::to_owned)
}

fn filter() -> impl Strategy<Value = Filter> {
    let side = prop::sample::select(vec![Side::Above, Side::From, Side::Below, Side::UpTo]);
    let test = prop_oneof![
        3 => text().prop_map(Test::Equals),
        1 => text().prop_map(Test::Differs),
        1 => prop::collection::vec(text(), 1..4).prop_map(Test::OneOf),
        3 => (side, text()).prop_map(|(side, text)| Test::Range(side, text)),
        1 => text().prop_map(Test::Prefix),
        1 => any::<bool>().prop_map(Test::Exists),
    ];
    (prop::sample::select(NAMES.to_vec()), test).prop_map(|(name, test)| Filter { path: path(name), test })
}

fn query() -> impl Strategy<Value = Query> {
    let sort = prop::sample::subsequence(NAMES.to_vec(), 0..=2).prop_shuffle();
    (prop::collection::vec(filter(), 0..4), sort, any::<bool>()).prop_map(|(filters, sort, descending)| Query {
        filters,
        descending: descending && !sort.is_empty(),
        sort: sort.into_iter().map(path).collect(),
    })
}

fn world() -> impl Strategy<Value = World> {
    let records = prop::collection::vec((value(), value(), value()), 0..40);
    let kind = prop::sample::select(vec![IdKind::Uuid, IdKind::Text, IdKind::Text]);
    (kind, prop::collection::vec(index(), 0..4), records).prop_map(|(kind, indexes, records)| {
        let mut world = World::new(kind, indexes);
        for (number, (a, b, c)) in (1..).zip(records) {
            world.put(number, json!({"a": a, "b": b, "c": c}));
        }
        world
    })
}

const ALL: Budget = Budget { records: usize::MAX, bytes: usize::MAX };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn pages_have_what_a_filter_and_a_sort_in_memory_have(
        world in world(),
        query in query(),
        limits in prop::collection::vec(1..9_usize, 1..4),
        records in 1..20_usize,
    ) {
        let Ok(plan) = world.plan(&query) else { return Ok(()) };
        let answer = world.pages(&plan, &limits, Budget { records, bytes: usize::MAX });
        let ids: BTreeSet<String> = answer.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect();
        prop_assert_eq!(ids.len(), answer.len(), "a record came twice");
        prop_assert_eq!(&ids, &world.naive(&query), "{:?}", plan);
        for pair in answer.windows(2) {
            prop_assert_ne!(world.order(&query, &pair[0], &pair[1]), Ordering::Greater, "{:?}", plan);
        }
        let by_byte = world.pages(&plan, &[usize::MAX], Budget { records: usize::MAX, bytes: 1 });
        prop_assert_eq!(&by_byte, &answer);
        if plan.is_exact().is_ok() {
            let (mut count, mut place) = (0, None);
            loop {
                let counted = plan.count_of(world.source(), place.as_ref(), records);
                count += counted.count;
                place = counted.next;
                if place.is_none() {
                    break;
                }
            }
            prop_assert_eq!(count, answer.len() as u64);
        }
    }

    #[test]
    fn what_an_index_is_missing_for_has_a_plan_with_that_index(world in world(), query in query()) {
        if let Err(PlanError::NoIndex { fields }) = world.plan(&query) {
            let kind = |pointer: &str| world.kind_of(&path(pointer)).unwrap_or(FieldKind::String);
            let missing: Vec<_> = fields.iter().map(|pointer| (&**pointer, kind(pointer))).collect();
            let mut indexes = world.definition.indexes.clone();
            indexes.push(index_of(&missing, false));
            let with = World::new(world.definition.id, indexes).plan(&query);
            // A second range may have no type yet; and the first may read the values as another type.
            let is_other = !matches!(&with, Err(PlanError::NoIndex { fields: again }) if *again == fields);
            prop_assert!(is_other, "{fields:?} {with:?}");
        }
    }

    #[test]
    fn a_record_that_keeps_its_key_is_seen_once_whatever_is_written_between_two_pages(
        mut world in world(),
        query in query(),
        writes in prop::collection::vec((1..60_u64, prop::option::of((value(), value(), value()))), 0..60),
        limit in 1..6_usize,
    ) {
        let Ok(plan) = world.plan(&query) else { return Ok(()) };
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let before = world.records.clone();
        let (mut place, mut writes, mut written) = (None, writes.into_iter(), BTreeSet::new());
        let expected = world.naive(&query);
        loop {
            let page = plan.page_of(world.source(), place.as_ref(), limit, ALL);
            for record in &page.records {
                let record: Value = serde_json::from_str(record.as_str()).unwrap();
                *seen.entry(record["id"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            place = match page.next {
                // As a cursor carries it.
                Some(next) => {
                    let carried = plan.place(&next.to_bytes());
                    prop_assert_eq!(carried, Some(next.clone()));
                    Some(next)
                }
                None => break,
            };
            for (number, record) in writes.by_ref().take(5) {
                written.insert(world.id(number).to_string());
                match record {
                    Some((a, b, c)) => world.put(number, json!({"a": a, "b": b, "c": c})),
                    None => world.remove(number),
                }
            }
        }
        let untouched = before.keys().map(|number| world.id(*number).to_string()).filter(|id| !written.contains(id));
        for id in untouched {
            prop_assert_eq!(seen.get(&id).copied().unwrap_or(0), usize::from(expected.contains(&id)), "{}", id);
        }
    }
}

fn ask(filters: &[(&str, Test)], sort: &[&str]) -> Query {
    Query {
        filters: filters.iter().map(|(pointer, test)| Filter { path: path(pointer), test: test.clone() }).collect(),
        sort: sort.iter().map(|pointer| path(pointer)).collect(),
        descending: false,
    }
}

fn equals(text: &str) -> Test {
    Test::Equals(text.to_owned())
}

fn at_least(text: &str) -> Test {
    Test::Range(Side::From, text.to_owned())
}

fn shop() -> World {
    let (text, number) = (FieldKind::String, FieldKind::Number);
    let indexes = vec![
        index_of(&[("/tenant", text), ("/priority", number)], false),
        index_of(&[("/email", text)], true),
        index_of(&[("/price", number)], false),
    ];
    World::new(IdKind::Text, indexes)
}

#[test]
fn the_way_with_the_most_equal_fields_is_taken_and_one_record_needs_no_more() {
    let way = |query: &Query| match shop().plan(query).unwrap().way {
        plan::Way::Numbers => "numbers".to_owned(),
        plan::Way::Ids(spans) => format!("ids {}", spans.len()),
        plan::Way::Index(at, spans) => format!("index {at} {}", spans.len()),
    };
    for (query, expected) in [
        (ask(&[], &[]), "numbers"),
        (ask(&[("/colour", equals("red"))], &[]), "numbers"),
        (ask(&[("/tenant", equals("a"))], &[]), "index 0 1"),
        (ask(&[("/tenant", equals("a")), ("/price", at_least("1"))], &[]), "index 2 1"),
        (ask(&[("/tenant", equals("a")), ("/priority", at_least("1"))], &["/priority"]), "index 0 1"),
        (ask(&[("/tenant", equals("a"))], &["/price"]), "index 2 1"),
        (ask(&[("/tenant", equals("a"))], &["/tenant", "/priority"]), "index 0 1"),
        (ask(&[("/email", equals("e")), ("/tenant", equals("a"))], &["/anything"]), "index 1 1"),
        (ask(&[("/id", equals("1")), ("/price", at_least("1"))], &["/colour"]), "ids 1"),
        (ask(&[("/id", Test::OneOf(vec!["1".into(), "2".into(), "1".into()]))], &[]), "ids 2"),
        (ask(&[("/email", Test::OneOf(vec!["1".into(), "2".into()]))], &["/email"]), "index 1 2"),
        (ask(&[("/tenant", equals("a"))], &["/id"]), "ids 1"),
        (ask(&[("/price", at_least("5")), ("/price", Test::Range(Side::Below, "5".into()))], &[]), "index 2 0"),
    ] {
        assert_eq!(way(&query), expected, "{query:?}");
    }
}

#[test]
fn a_missing_index_is_named_by_its_fields_equal_ones_first() {
    let missing = |query: &Query| match shop().plan(query) {
        Err(PlanError::NoIndex { fields }) => fields.join(" "),
        other => format!("{other:?}"),
    };
    for (query, expected) in [
        (ask(&[("/size", at_least("1"))], &[]), "/size"),
        (ask(&[], &["/size"]), "/size"),
        (ask(&[("/tenant", equals("a")), ("/size", at_least("1"))], &[]), "/tenant /size"),
        (ask(&[("/tenant", equals("a"))], &["/size", "/colour"]), "/tenant /size /colour"),
        (ask(&[("/name", Test::Prefix("a".into()))], &[]), "/name"),
        // It is the second field of an index: only behind an equal tenant.
        (ask(&[("/priority", at_least("1"))], &[]), "/priority"),
        (ask(&[], &["/priority", "/tenant"]), "/priority /tenant"),
    ] {
        assert_eq!(missing(&query), expected, "{query:?}");
    }
    let counted = shop().plan(&ask(&[("/tenant", equals("a")), ("/colour", equals("b"))], &[])).unwrap();
    let fields = vec!["/tenant".to_owned(), "/colour".to_owned()];
    assert_eq!(counted.is_exact(), Err(PlanError::NoIndex { fields }));
    assert_eq!(shop().plan(&ask(&[("/tenant", equals("a"))], &[])).unwrap().is_exact(), Ok(()));
}

#[test]
fn a_value_that_is_not_of_the_type_of_its_path_is_refused_by_its_filter() {
    let error = |query: &Query| shop().plan(query).unwrap_err();
    let number = PlanError::WrongType { filter: 1, kind: FieldKind::Number };
    let tenant = ("/tenant", equals("a"));
    for test in [
        equals("cheap"),
        at_least("1e999"),
        Test::Differs(String::new()),
        Test::OneOf(vec!["1".to_owned(), "01".to_owned()]),
    ] {
        assert_eq!(error(&ask(&[tenant.clone(), ("/price", test)], &[])), number);
    }
    let text = PlanError::WrongType { filter: 0, kind: FieldKind::String };
    assert_eq!(error(&ask(&[("/price", Test::Prefix("1".to_owned()))], &[])), text);
    let uuids = World::new(IdKind::Uuid, Vec::new());
    for test in [equals("5"), at_least("e956"), Test::Prefix("e956b5d0f".to_owned()), Test::Prefix("x".to_owned())] {
        assert_eq!(uuids.plan(&ask(&[("/id", test)], &[])).unwrap_err(), PlanError::NoId { filter: 0 });
    }
}

#[test]
fn without_an_index_a_value_equals_its_letters_and_what_it_reads_as() {
    let mut world = World::new(IdKind::Text, Vec::new());
    for (number, zip) in (1..).zip(["\"01234\"", "1234", "\"1234\"", "1234.0", "12340e-1", "true", "\"true\"", "null"])
    {
        world.put(number, json!({"zip": serde_json::from_str::<Value>(zip).unwrap()}));
    }
    let count = |test: Test| {
        let plan = world.plan(&ask(&[("/zip", test)], &[])).unwrap();
        world.pages(&plan, &[100], ALL).len()
    };
    assert_eq!(count(equals("01234")), 1);
    assert_eq!(count(equals("1234")), 4);
    assert_eq!(count(equals("1.234e3")), 3);
    assert_eq!(count(equals("true")), 2);
    assert_eq!(count(equals("null")), 0);
    assert_eq!(count(Test::Differs("true".to_owned())), 6);
    assert_eq!(count(Test::Exists(false)), 1);
    assert_eq!(count(Test::Exists(true)), 7);
}

#[test]
fn uuids_are_found_in_upper_case_too_and_by_how_they_begin() {
    let mut world = World::new(IdKind::Uuid, Vec::new());
    (1..30).for_each(|number| world.put(number, json!({})));
    let id = world.id(5).to_string();
    let count = |test: Test| {
        let plan = world.plan(&ask(&[("/id", test)], &[])).unwrap();
        plan.is_exact().unwrap();
        world.pages(&plan, &[100], ALL).len()
    };
    assert_eq!(count(equals(&id.to_uppercase())), 1);
    assert_eq!(count(Test::OneOf(vec![id.to_uppercase(), id.clone(), world.id(6).to_string()])), 2);
    for length in [0, 1, 8, 9, 13, 36] {
        let expected = world.ids.iter().filter(|(other, _)| other.to_string().starts_with(&id[..length])).count();
        assert_eq!(count(Test::Prefix(id[..length].to_uppercase())), expected, "{length}");
    }
}

#[test]
fn a_fingerprint_tells_plans_apart_but_not_the_order_of_their_filters() {
    let of = |query: &Query| shop().plan(query).unwrap().fingerprint();
    let (a, b) = (("/tenant", equals("a")), ("/colour", equals("b")));
    assert_eq!(of(&ask(&[a.clone(), b.clone()], &[])), of(&ask(&[b.clone(), a.clone()], &[])));
    let down = Query { descending: true, ..ask(&[], &["/price"]) };
    let all = [
        of(&ask(&[], &[])),
        of(&ask(std::slice::from_ref(&a), &[])),
        of(&ask(std::slice::from_ref(&b), &[])),
        of(&ask(&[("/tenant", equals("b"))], &[])),
        of(&ask(&[("/tenant", Test::Differs("a".to_owned()))], &[])),
        of(&ask(&[], &["/price"])),
        of(&ask(&[], &["/id"])),
        of(&down),
    ];
    assert_eq!(BTreeSet::from(all).len(), all.len());
    // It is in cursors that clients hold.
    assert_eq!(of(&ask(&[], &[])), EMPTY);
}

const EMPTY: u64 = 8_488_657_204_776_831_332;
