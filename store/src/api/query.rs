//! The parameters of reads: how fresh they must be, which page, which records. Unknown ones are refused: a misspelt
//! parameter would otherwise give a wrong answer.

use super::context::READ_TIMEOUT_MAX;
use super::cursor::Cursor;
use super::filters::{self, Filters};
use super::percent::Query;
use super::person::{COLLECTION, Stored, parse_id};
use super::problem::{Code, Problem};
use leasehold_daemon::durations;
use leasehold_replication::Seq;
use std::borrow::Cow;
use std::time::Duration;
use uuid::Uuid;

/// The longest page.
pub(super) const PAGE_MAX: usize = 1_000;

/// More than any call has.
const PARAMETERS_MAX: usize = 32;

/// How fresh an answer must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Freshness {
    /// Linearizable.
    pub(super) strong: bool,
    /// At least this entry.
    pub(super) after: Option<Seq>,
    /// Its data may be at most this old.
    pub(super) max_staleness: Option<Duration>,
    /// How long the client is ready to wait for that.
    pub(super) timeout: Option<Duration>,
}

/// What a client asks of a list.
#[derive(Debug, Default)]
pub(super) struct ListQuery {
    pub(super) freshness: Freshness,
    /// Of `persons` alone.
    pub(super) filter: PersonFilter,
    /// `where.` and `sort`.
    pub(super) filters: Filters,
    /// At most this many; none: all, or as many as a page may have.
    pub(super) limit: Option<usize>,
    /// Those behind this place.
    pub(super) cursor: Option<Cursor>,
    /// Say how many there are.
    pub(super) count: bool,
}

/// The values that a listed person must have.
#[derive(Clone, Debug, Default)]
pub(super) struct PersonFilter {
    first_name: Option<String>,
    last_name: Option<String>,
    id: Option<Uuid>,
}

impl Freshness {
    /// The parameters of a call that takes no others.
    pub(super) fn parse(query: Query) -> Result<Freshness, Problem> {
        let mut freshness = Freshness::default();
        for (name, value) in unique(query)? {
            if !freshness.take(&name, &value)? {
                return Err(unknown(&name, "this call accepts consistency, after, max-staleness and timeout"));
            }
        }
        Ok(freshness)
    }

    /// True: the parameter was one of these.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, Problem> {
        match name {
            "consistency" => match value {
                "strong" => self.strong = true,
                "local" => self.strong = false,
                _ => return Err(wrong(name, format!("`consistency` must be local or strong, not {value:?}"))),
            },
            "after" => self.after = Some(sequence(name, value)?),
            "max-staleness" => {
                let most = durations::parse(value).ok();
                self.max_staleness = Some(most.ok_or_else(|| {
                    wrong(name, format!("`max-staleness` must be a time such as 500ms or 5s, not {value:?}"))
                })?);
            }
            "timeout" => {
                let timeout = durations::parse(value).ok().filter(|time| !time.is_zero() && *time <= READ_TIMEOUT_MAX);
                self.timeout = Some(timeout.ok_or_else(|| {
                    let most = READ_TIMEOUT_MAX.as_secs();
                    wrong(
                        name,
                        format!("`timeout` must be a time such as 500ms or 2s, from 1ms to {most}s, not {value:?}"),
                    )
                })?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl ListQuery {
    pub(super) fn parse(collection: &str, query: Query) -> Result<ListQuery, Problem> {
        let mut list = ListQuery::default();
        for (name, value) in unique(query)? {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    list.limit = Some(limit.ok_or_else(|| {
                        wrong(&name, format!("`limit` must be a number from 1 to {PAGE_MAX}, not {value:?}"))
                    })?);
                }
                "cursor" => list.cursor = Some(Cursor::read(&value)?),
                "count" => {
                    list.count = match value.as_str() {
                        "true" => true,
                        "false" => false,
                        _ => return Err(wrong(&name, format!("`count` must be true or false, not {value:?}"))),
                    }
                }
                "firstName" if collection == COLLECTION => list.filter.first_name = Some(value),
                "lastName" if collection == COLLECTION => list.filter.last_name = Some(value),
                "id" if collection == COLLECTION => {
                    let id = parse_id(&value);
                    list.filter.id =
                        Some(id.ok_or_else(|| wrong(&name, format!("`id` must be a UUID, not {value:?}")))?);
                }
                _ if list.filters.take(&name, &value)? || list.freshness.take(&name, &value)? => {}
                _ => {
                    let of_persons = if collection == COLLECTION { "firstName, lastName, id and " } else { "" };
                    let known = format!(
                        "the list can be filtered by {of_persons}where.<path>; it also accepts sort, count, limit, cursor, \
                         consistency, after, max-staleness and timeout"
                    );
                    return Err(unknown(&name, &known));
                }
            }
        }
        Ok(list)
    }

    /// All filters: those of `persons` are filters like others.
    pub(super) fn all_filters(&self) -> Filters {
        let mut filters = self.filters.clone();
        self.filter.parameters().for_each(|(name, value)| filters.add_equal(name, &value));
        filters
    }

    /// The path of the page that begins with that cursor. It waits for what this one has seen, so pages never go back. The
    /// count is not asked for again.
    pub(super) fn next_page(&self, path: &str, cursor: &Cursor, seen: Seq) -> String {
        let mut url = path.to_owned();
        let mut add = |name: &str, value: &str| {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&percent(name));
            url.push('=');
            url.push_str(&percent(value));
        };
        for (name, value) in self.filter.parameters() {
            add(name, &value);
        }
        for (name, value) in &self.filters.parameters {
            add(name, value);
        }
        if self.freshness.strong {
            add("consistency", "strong");
        }
        if let Some(most) = self.freshness.max_staleness {
            add("max-staleness", &format!("{}ms", most.as_millis()));
        }
        if let Some(timeout) = self.freshness.timeout {
            add("timeout", &format!("{}ms", timeout.as_millis()));
        }
        add("after", &seen.to_string());
        if let Some(limit) = self.limit {
            add("limit", &limit.to_string());
        }
        add("cursor", &cursor.write());
        url
    }
}

impl PersonFilter {
    /// It keeps all.
    pub(super) fn is_empty(&self) -> bool {
        self.parameters().next().is_none()
    }

    fn parameters(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let id = self.id.map(|id| Cow::Owned(id.to_string()));
        let all = [
            ("firstName", self.first_name.as_deref().map(Cow::Borrowed)),
            ("lastName", self.last_name.as_deref().map(Cow::Borrowed)),
            ("id", id),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    pub(super) fn keeps(&self, record: &str) -> bool {
        if self.is_empty() {
            return true;
        }
        // Stored records were checked; a record of another shape matches no filter.
        let Ok(person) = serde_json::from_str::<Stored<'_>>(record) else { return false };
        let is_equal = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is_equal(&self.first_name, &person.first_name)
            && is_equal(&self.last_name, &person.last_name)
            && self.id.is_none_or(|id| id == person.id)
    }
}

pub(super) fn sequence(name: &str, value: &str) -> Result<Seq, Problem> {
    let is_number = !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit());
    let number = value.parse().ok().filter(|_| is_number).map(Seq);
    number.ok_or_else(|| {
        wrong(name, format!("`{name}` must be a sequence, a number as in Leasehold-Sequence, not {value:?}"))
    })
}

/// Each parameter once, but for those that list values.
pub(super) fn unique(query: Query) -> Result<Query, Problem> {
    let mut known: Vec<&str> = Vec::new();
    let mut several = 0;
    for (name, _) in &query {
        match known.contains(&name.as_str()) {
            true if filters::is_repeated(name) => several += 1,
            true => return Err(wrong(name, format!("the parameter `{name}` occurs twice"))),
            // Beyond that it is refused anyway, and a query of thousands is not compared with itself.
            false if known.len() > PARAMETERS_MAX => {}
            false => known.push(name),
        }
    }
    let count = query.len() - several;
    if count > PARAMETERS_MAX {
        let what = format!("{count} parameters; at most {PARAMETERS_MAX} are allowed");
        return Err(Problem::new(Code::InvalidQuery, what));
    }
    Ok(query)
}

pub(super) fn unknown(name: &str, known: &str) -> Problem {
    wrong(name, format!("unknown parameter `{name}`; {known}"))
}

pub(super) fn wrong(name: &str, what: String) -> Problem {
    Problem::new(Code::InvalidQuery, what).with("parameter", name)
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_next_page_keeps_what_was_asked_for() {
        let asked = [("lastName", "Köster & Söhne"), ("limit", "10"), ("consistency", "strong"), ("timeout", "2s")];
        let list = ListQuery::parse("persons", query(&asked)).unwrap();
        let url = list.next_page("/persons", &Cursor::Persons(7), Seq(99));
        let expected = "/persons?lastName=K%C3%B6ster%20%26%20S%C3%B6hne&consistency=strong&timeout=2000ms&after=99&limit=10&cursor=";
        assert_eq!(url, format!("{expected}{}", Cursor::Persons(7).write()));
        let asked = [("where.a b.in", "&"), ("sort", "-a"), ("where.a b.in", "="), ("count", "true")];
        let list = ListQuery::parse("orders", query(&asked)).unwrap();
        let url = list.next_page("/orders", &Cursor::Persons(7), Seq(99));
        let expected = "/orders?where.a%20b.in=%26&sort=-a&where.a%20b.in=%3D&after=99&cursor=";
        assert_eq!(url, format!("{expected}{}", Cursor::Persons(7).write()));
    }

    #[test]
    fn what_is_no_parameter_or_no_value_is_refused_by_its_name() {
        for (name, value) in [
            ("consistency", "Strong"),
            ("consistency", ""),
            ("after", "-1"),
            ("after", "+1"),
            ("after", "x"),
            ("after", "99999999999999999999"),
            ("timeout", "5"),
            ("timeout", "0ms"),
            ("timeout", "31s"),
            ("limit", "0"),
            ("limit", "1001"),
            ("limit", "all"),
            ("cursor", "abc"),
            ("id", "abc"),
            ("lastname", "x"),
            ("count", "yes"),
            ("where", "x"),
            ("where.a.exists", "x"),
            ("sort", "a,-b"),
        ] {
            let problem = ListQuery::parse("persons", query(&[(name, value)])).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidQuery);
            assert!(problem.detail().contains(name), "{}", problem.detail());
        }
        for name in ["after", "where.a", "where.a.eq", "sort"] {
            let problem = ListQuery::parse("persons", query(&[(name, "1"), (name, "1")])).unwrap_err();
            assert!(problem.detail().contains("twice") && problem.detail().contains(name), "{}", problem.detail());
        }
        for name in ["firstName", "lastName", "id"] {
            let value = "e956b5d0-fa0c-40e8-9da9-333c214dcaf7";
            assert!(ListQuery::parse("persons", query(&[(name, value)])).is_ok());
            assert!(ListQuery::parse("orders", query(&[(name, value)])).unwrap_err().detail().contains(name));
        }
        assert!(Freshness::parse(query(&[("limit", "1")])).unwrap_err().detail().contains("limit"));
    }
}
