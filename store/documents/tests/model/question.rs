//! Queries, answered by looking at every record.

use crate::definition::Definition;
use crate::json::{Json, Kind, Typed, letters};
use crate::model::{Collection, Record};
use crate::story::Dice;
use leasehold_documents as real;
use leasehold_documents::{Budget, Filter, Path, PlanError, Query, Side, Test};

fn path(pointer: &str) -> Path {
    Path::from_pointer(pointer).expect("a JSON Pointer")
}

/// What somebody may ask of this collection: for each index its order, and one question more.
pub(crate) fn questions(of: &Collection, dice: &mut Dice) -> Vec<Query> {
    let all = |fields: &[(&str, Kind)]| fields.iter().map(|(pointer, _)| path(pointer)).collect();
    let sorted = |sort: Vec<Path>, descending| Query { filters: Vec::new(), sort, descending };
    let mut questions: Vec<Query> = Vec::new();
    for index in &of.definition.indexes {
        questions.extend([false, true].map(|descending| sorted(all(&index.fields), descending)));
        if let [(first, _), rest @ ..] = &index.fields[..] {
            let equal = Filter { path: path(first), test: Test::Equals(value(dice, first)) };
            questions.push(Query { filters: vec![equal], sort: all(rest), descending: dice.one_in(2) });
        }
    }
    let filters = (0..dice.below(3)).map(|_| filter(dice, of)).collect();
    let sort = if dice.one_in(4) { vec![path(dice.pick(&["/x", "/n", "/id", "/o/y"]))] } else { Vec::new() };
    questions.push(Query { filters, sort, descending: dice.one_in(2) });
    questions
}

fn value(dice: &mut Dice, pointer: &str) -> String {
    match pointer {
        "/n" => dice.pick(&["1", "1.00", "2.5", "-3", "0", "1e400"]),
        "/b" => dice.pick(&["true", "false"]),
        _ => dice.pick(&["1", "2", "3", "7"]),
    }
    .to_owned()
}

fn filter(dice: &mut Dice, of: &Collection) -> Filter {
    let pointer = dice.pick(&["/x", "/n", "/b", "/o/y", "/t", "/id"]);
    let mut value = || match (pointer, of.records.len()) {
        ("/id", count @ 1..) => of.records[dice.below(count as u64) as usize].id.clone(),
        _ => value(dice, pointer),
    };
    let (one, other) = (value(), value());
    let test = match dice.below(10) {
        0..=2 => Test::Equals(one),
        3 => Test::Differs(one),
        4 => Test::OneOf(vec![one, other]),
        5..=7 => Test::Range(dice.pick(&[Side::Above, Side::From, Side::Below, Side::UpTo]), one),
        8 => Test::Prefix(one.chars().take(1).collect()),
        _ => Test::Exists(dice.one_in(2)),
    };
    Filter { path: path(pointer), test }
}

/// The first index that names a path gives it its type.
fn kind(definition: &Definition, pointer: &str) -> Option<Kind> {
    let mut fields = definition.indexes.iter().flat_map(|index| &index.fields);
    let of_index = fields.find(|(path, _)| *path == pointer).map(|(_, kind)| *kind);
    if pointer == "/id" { Some(Kind::Text) } else { of_index }
}

fn holds(definition: &Definition, filter: &Filter, record: &Json) -> bool {
    let pointer = filter.path.to_pointer();
    let kind = kind(definition, &pointer);
    let found = record.at(&pointer);
    let equals = |wanted: &str| match (kind, found) {
        (Some(kind), found) => kind.of(found) != Typed::None && kind.of(found) == kind.of_letters(wanted),
        (None, Some(Json::Other(text))) if text.starts_with('"') => letters(text) == wanted,
        (None, found) => [Kind::Number, Kind::Boolean].into_iter().any(|kind| {
            let read = kind.of(found);
            read != Typed::None && read == kind.of_letters(wanted)
        }),
    };
    match &filter.test {
        Test::Equals(wanted) => equals(wanted),
        Test::Differs(wanted) => !equals(wanted),
        Test::OneOf(all) => all.iter().any(|wanted| equals(wanted)),
        Test::Exists(wanted) => found.is_some() == *wanted,
        Test::Prefix(start) => matches!(Kind::Text.of(found), Typed::Text(text) if text.starts_with(start.as_str())),
        Test::Range(side, bound) => {
            let kind = kind.expect("a range needs a type");
            let (found, bound) = (kind.of(found), kind.of_letters(bound));
            let is_in = match side {
                Side::Above => found > bound,
                Side::From => found >= bound,
                Side::Below => found < bound,
                Side::UpTo => found <= bound,
            };
            found != Typed::None && is_in
        }
    }
}

/// Must there be a plan? None: either is right.
fn has_plan(definition: &Definition, query: &Query) -> Option<bool> {
    let sort: Vec<String> = query.sort.iter().map(Path::to_pointer).collect();
    let is_range = |filter: &&Filter| matches!(filter.test, Test::Range(..) | Test::Prefix(_));
    let is_indexed = |pointer: &String| kind(definition, pointer).is_some();
    if sort.is_empty() && !query.filters.iter().any(|filter| is_range(&filter)) {
        return Some(true);
    }
    // Where an index types the path otherwise it does not serve.
    let serves = |index: &crate::definition::Index| {
        let fields: Vec<&(&str, Kind)> = index.fields.iter().collect();
        let typed = fields.iter().all(|(pointer, of)| kind(definition, pointer) == Some(*of));
        let is_equal = |pointer: &str| {
            let equals =
                |filter: &Filter| matches!(filter.test, Test::Equals(_)) && filter.path.to_pointer() == pointer;
            query.filters.iter().any(equals)
        };
        let equal = fields.iter().take_while(|(pointer, _)| is_equal(pointer)).count();
        let rest: Vec<&str> = fields[equal..].iter().map(|(pointer, _)| *pointer).collect();
        typed && !sort.is_empty() && rest.len() >= sort.len() && rest.iter().zip(&sort).all(|(one, other)| one == other)
    };
    if definition.indexes.iter().any(serves) && !query.filters.iter().any(|filter| is_range(&filter)) {
        return Some(true);
    }
    // One record at most needs no order.
    let may_be_one = query.filters.iter().any(|filter| matches!(filter.test, Test::Equals(_) | Test::OneOf(_)));
    (!may_be_one && sort.iter().any(|pointer| !is_indexed(pointer))).then_some(false)
}

/// What is wrong with the store's answer.
pub(crate) fn judge(of: &Collection, real: &real::Collection, query: &Query) -> Result<(), String> {
    let definition = &of.definition;
    let plan = match (query.plan(Some(real)), has_plan(definition, query)) {
        (Ok(_), Some(false)) => return Err("there is a plan without an index".into()),
        (Ok(plan), _) => plan,
        (Err(PlanError::NoIndex { .. }), Some(true)) => return Err("an index serves it".into()),
        (Err(PlanError::WrongType { filter, .. }), _) => {
            let wrong = &query.filters[filter];
            let pointer = wrong.path.to_pointer();
            let of_letters = |text: &String| kind(definition, &pointer).map(|kind| kind.of_letters(text));
            let is_wrong = match &wrong.test {
                Test::Equals(text) | Test::Differs(text) | Test::Range(_, text) => {
                    of_letters(text) == Some(Typed::None)
                }
                Test::OneOf(all) => all.iter().any(|text| of_letters(text) == Some(Typed::None)),
                Test::Prefix(_) => kind(definition, &pointer) != Some(Kind::Text),
                Test::Exists(_) => false,
            };
            return is_wrong.then_some(()).ok_or_else(|| "it is of the right type".to_owned());
        }
        (Err(PlanError::NoId { .. }), _) if definition.has_uuids => return Ok(()),
        (Err(PlanError::NoId { .. }), _) => return Err("any text may be an id".into()),
        (Err(PlanError::NoIndex { .. }), _) => return Ok(()),
    };
    let wanted = |record: &&Record| {
        let json = Json::parse(&record.text);
        query.filters.iter().all(|filter| holds(definition, filter, &json))
    };
    let mut expected: Vec<String> = of.records.iter().filter(wanted).map(|record| record.text.clone()).collect();
    let mut shown: Vec<String> = Vec::new();
    let (mut place, mut pages) = (None, 0);
    loop {
        let page = plan.page(Some(real), place.as_ref(), 2, Budget { records: 3, bytes: usize::MAX });
        shown.extend(page.records.iter().map(|record| record.as_str().to_owned()));
        let Some(next) = page.next else { break };
        place = Some(plan.place(&next.to_bytes()).ok_or("a place does not come back from its bytes")?);
        pages += 1;
        if pages > 100 {
            return Err("the pages do not end".into());
        }
    }
    if plan.is_exact().is_ok() && plan.count(Some(real), None, usize::MAX).count != expected.len() as u64 {
        return Err(format!("the count is not {}", expected.len()));
    }
    let key = |text: &String| -> Vec<Typed> {
        let json = Json::parse(text);
        let typed = |path: &Path| {
            kind(definition, &path.to_pointer()).map_or(Typed::None, |kind| kind.of(json.at(&path.to_pointer())))
        };
        query.sort.iter().map(typed).collect()
    };
    let is_right = |pair: &[String]| {
        let (one, other) = (key(&pair[0]), key(&pair[1]));
        if query.descending { one >= other } else { one <= other }
    };
    if !query.sort.is_empty() && !shown.windows(2).all(is_right) {
        return Err(format!("the order is wrong: {shown:?}"));
    }
    if query.filters.is_empty() && query.sort.is_empty() && !query.descending && shown != expected {
        return Err(format!("not in the order of creation: {shown:?}"));
    }
    shown.sort();
    expected.sort();
    (shown == expected).then_some(()).ok_or_else(|| format!("{shown:?}, and it should be {expected:?}"))
}
