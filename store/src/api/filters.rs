//! `where.` and `sort`: which records a list has, and in which order.
//!
//! ```text
//!   where.<path>[.eq|ne|gt|gte|lt|lte|prefix|in|exists]=value       the path: names between dots; `.in` may be repeated
//!   sort=[-]<path>[,…]                                              all in one direction
//! ```
//!
//! Each value is one parameter, so nothing needs escapes but those of URLs. A field that is called like a test needs `.eq` behind
//! it. A name with a dot in it cannot be asked for.

use super::problem::{Code, Problem};
use leasehold_documents::{
    FIELDS_MAX, FieldKind, Filter, PATH_STEPS_MAX, Path, PlanError, Query, Side, Test, VALUES_MAX,
};
use serde_json::Value;

/// How the parameters with filters begin.
pub(super) const WHERE: &str = "where.";

/// The filters and the order that a client asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters {
    query: Query,
    /// The parameter of each filter.
    names: Vec<String>,
    /// As they came, for the link to the next page.
    pub(super) parameters: Vec<(String, String)>,
}

/// May this parameter come more than once?
pub(super) fn is_repeated(name: &str) -> bool {
    name.strip_prefix(WHERE).and_then(|path| path.rsplit_once('.')).is_some_and(|(_, test)| test == "in")
}

impl Filters {
    /// Any record, in any order.
    pub(super) fn is_empty(&self) -> bool {
        self.query.filters.is_empty() && self.query.sort.is_empty()
    }

    /// For the plan.
    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    /// Adds a filter that has another parameter than `where.`.
    pub(super) fn add_equal(&mut self, name: &str, value: &str) {
        if let Some(path) = Path::from_names(vec![name.into()]) {
            self.query.filters.push(Filter { path, test: Test::Equals(value.to_owned()) });
            self.names.push(name.to_owned());
        }
    }

    /// True: the parameter was one of these.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, Problem> {
        if name == "sort" {
            self.sort(value)?;
        } else if let Some(filter) = name.strip_prefix(WHERE) {
            self.filter(name, filter, value)?;
        } else {
            return Ok(false);
        }
        self.parameters.push((name.to_owned(), value.to_owned()));
        Ok(true)
    }

    fn filter(&mut self, name: &str, filter: &str, value: &str) -> Result<(), Problem> {
        let (path, test) = filter.rsplit_once('.').unwrap_or(("", filter));
        let value = || value.to_owned();
        let known = match test {
            "eq" => Some(Test::Equals(value())),
            "ne" => Some(Test::Differs(value())),
            "gt" => Some(Test::Range(Side::Above, value())),
            "gte" => Some(Test::Range(Side::From, value())),
            "lt" => Some(Test::Range(Side::Below, value())),
            "lte" => Some(Test::Range(Side::UpTo, value())),
            "prefix" => Some(Test::Prefix(value())),
            "in" => Some(Test::OneOf(vec![value()])),
            "exists" => Some(Test::Exists(match &*value() {
                "true" => true,
                "false" => false,
                other => return Err(wrong(name, format!("`{name}` must be true or false, not {other:?}"))),
            })),
            _ => None,
        };
        let (path, test) = match known {
            Some(test) => (path, test),
            None => (filter, Test::Equals(value())),
        };
        let path = path_of(path).ok_or_else(|| {
            let what = format!(
                "`{name}` must be {WHERE}<path>, or {WHERE}<path>.<test>: the names of 1 to {PATH_STEPS_MAX} members between \
                 dots, and eq, ne, gt, gte, lt, lte, prefix, in or exists. A member that is called so needs .eq behind it"
            );
            wrong(name, what)
        })?;
        if let Test::OneOf(more) = &test
            && let Some(at) = self.names.iter().position(|known| known == name)
            && let Test::OneOf(values) = &mut self.query.filters[at].test
        {
            if values.len() == VALUES_MAX {
                return Err(wrong(name, format!("`{name}` has more than {VALUES_MAX} values")));
            }
            values.extend_from_slice(more);
            return Ok(());
        }
        self.query.filters.push(Filter { path, test });
        self.names.push(name.to_owned());
        Ok(())
    }

    fn sort(&mut self, value: &str) -> Result<(), Problem> {
        let refused = |why: &str| {
            wrong("sort", format!("`sort` must be <path>[,<path>…] or -<path>[,-<path>…], not {value:?}: {why}"))
        };
        for (at, path) in value.split(',').enumerate() {
            let (descending, path) = path.strip_prefix('-').map_or((false, path), |path| (true, path));
            if at > 0 && descending != self.query.descending {
                return Err(refused("all of them go in one direction"));
            }
            self.query.descending = descending;
            let path = path_of(path).ok_or_else(|| refused("a path is the names of members between dots"))?;
            if self.query.sort.contains(&path) {
                return Err(refused("a path stands there twice"));
            }
            self.query.sort.push(path);
        }
        if self.query.sort.len() > FIELDS_MAX {
            return Err(refused(&format!("an index has at most {FIELDS_MAX} fields")));
        }
        Ok(())
    }

    /// Why there is no plan for these.
    pub(super) fn refused(&self, error: PlanError) -> Problem {
        let name = |filter: usize| self.names.get(filter).map_or("where", |name| name);
        match error {
            PlanError::NoIndex { fields } => {
                let what = format!(
                    "an order, a range and a count of filtered records need an index, and the collection has none of {}, in \
                     this order; add one to its definition, or leave that out",
                    fields.join(", ")
                );
                Problem::new(Code::NoIndex, what)
                    .with("fields", fields.into_iter().map(Value::from).collect::<Vec<_>>())
            }
            PlanError::WrongType { filter, kind } => {
                let name = name(filter);
                let word = match kind {
                    FieldKind::String => "a string",
                    FieldKind::Number => "a number of at most 40 digits",
                    FieldKind::Boolean => "true or false",
                };
                wrong(name, format!("`{name}` must be {word}: an index of the collection says so of this path"))
            }
            PlanError::NoId { filter } => {
                let name = name(filter);
                wrong(
                    name,
                    format!("`{name}` must be a UUID (of `prefix`: its beginning), as all ids of the collection are"),
                )
            }
        }
    }
}

/// Names between dots.
fn path_of(text: &str) -> Option<Path> {
    let names: Vec<Box<str>> = text.split('.').map(Box::from).collect();
    if names.iter().any(|name| name.is_empty()) { None } else { Path::from_names(names) }
}

fn wrong(name: &str, what: String) -> Problem {
    Problem::new(Code::InvalidQuery, what).with("parameter", name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(parameters: &[(&str, &str)]) -> Result<Filters, Problem> {
        let mut filters = Filters::default();
        for (name, value) in parameters {
            assert!(filters.take(name, value)?, "{name}");
        }
        Ok(filters)
    }

    fn one(name: &str, value: &str) -> (String, Test) {
        let filter = parse(&[(name, value)]).unwrap().query.filters.remove(0);
        (filter.path.to_pointer(), filter.test)
    }

    #[test]
    fn the_last_segment_is_a_test_if_it_is_called_so() {
        let value = || "v".to_owned();
        for (name, pointer, test) in [
            ("where.tenant", "/tenant", Test::Equals(value())),
            ("where.tenant.eq", "/tenant", Test::Equals(value())),
            ("where.address.city", "/address/city", Test::Equals(value())),
            ("where.a.ne", "/a", Test::Differs(value())),
            ("where.a.gt", "/a", Test::Range(Side::Above, value())),
            ("where.a.gte", "/a", Test::Range(Side::From, value())),
            ("where.a.lt", "/a", Test::Range(Side::Below, value())),
            ("where.a.b.lte", "/a/b", Test::Range(Side::UpTo, value())),
            ("where.id.prefix", "/id", Test::Prefix(value())),
            ("where.a.in", "/a", Test::OneOf(vec![value()])),
            ("where.gte.eq", "/gte", Test::Equals(value())),
            ("where.in.in", "/in", Test::OneOf(vec![value()])),
            ("where.a/b~", "/a~1b~0", Test::Equals(value())),
            ("where.Gte", "/Gte", Test::Equals(value())),
        ] {
            assert_eq!(one(name, "v"), (pointer.to_owned(), test), "{name}");
        }
        assert_eq!(one("where.a.exists", "false").1, Test::Exists(false));
        assert_eq!(one("where.a", "").1, Test::Equals(String::new()));
    }

    #[test]
    fn only_in_is_repeated_and_a_hundred_times_at_most() {
        let values: Vec<String> = (0..VALUES_MAX).map(|number| number.to_string()).collect();
        let mut parameters: Vec<(&str, &str)> = values.iter().map(|value| ("where.a.in", &**value)).collect();
        let filters = parse(&parameters).unwrap();
        assert_eq!(filters.query.filters.len(), 1);
        assert_eq!(filters.query.filters[0].test, Test::OneOf(values.clone()));
        assert_eq!(filters.parameters.len(), VALUES_MAX);
        parameters.push(("where.a.in", "x"));
        assert!(parse(&parameters).unwrap_err().detail().contains("where.a.in"));
        assert!(is_repeated("where.a.in") && is_repeated("where.in.in"));
        for name in ["where.a", "where.in", "where.a.in.eq", "in", "a.in", "limit"] {
            assert!(!is_repeated(name), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_by_its_name() {
        let deep = format!("where.{}", vec!["a"; PATH_STEPS_MAX + 1].join("."));
        for (name, value) in [
            ("where.", "1"),
            ("where.gte", "1"),
            ("where..a", "1"),
            ("where.a.", "1"),
            ("where.a..eq", "1"),
            (&*deep, "1"),
            ("where.a.exists", "yes"),
            ("where.a.exists", ""),
            ("sort", ""),
            ("sort", "-"),
            ("sort", "a,"),
            ("sort", "a,-b"),
            ("sort", "-a,b"),
            ("sort", "a,a"),
            ("sort", "a..b"),
            ("sort", "a,b,c,d,e"),
        ] {
            let problem = parse(&[(name, value)]).unwrap_err();
            assert_eq!((problem.code(), &problem.to_value()["parameter"]), (Code::InvalidQuery, &Value::from(name)));
            assert!(problem.detail().contains(name), "{}", problem.detail());
        }
        let sorted = parse(&[("sort", "-a.b,-c")]).unwrap();
        let paths: Vec<String> = sorted.query.sort.iter().map(Path::to_pointer).collect();
        assert_eq!((paths, sorted.query.descending), (vec!["/a/b".to_owned(), "/c".to_owned()], true));
    }

    #[test]
    fn a_plan_that_is_not_possible_names_the_parameter_or_the_fields() {
        let filters = parse(&[("where.a", "1"), ("where.price.gte", "x")]).unwrap();
        for (error, says) in [
            (PlanError::WrongType { filter: 1, kind: FieldKind::Number }, "where.price.gte"),
            (PlanError::NoId { filter: 0 }, "where.a"),
        ] {
            let problem = filters.refused(error);
            assert_eq!((problem.code(), &problem.to_value()["parameter"]), (Code::InvalidQuery, &Value::from(says)));
        }
        let problem = filters.refused(PlanError::NoIndex { fields: vec!["/a".to_owned(), "/price".to_owned()] });
        assert_eq!(problem.code(), Code::NoIndex);
        assert_eq!(problem.to_value()["fields"], serde_json::json!(["/a", "/price"]));
    }
}
