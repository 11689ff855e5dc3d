//! The parameters of reads: how fresh they must be, which page, which records. Unknown ones are refused: a misspelt
//! parameter would otherwise give a wrong answer.

use super::context::READ_TIMEOUT_MAX;
use super::cursor;
use super::percent::Query;
use super::person::{Stored, parse_id};
use super::problem::{Code, Problem};
use leasehold_daemon::durations;
use leasehold_replication::Seq;
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

/// What a client asks of `GET /persons`.
#[derive(Debug, Default)]
pub(super) struct ListQuery {
    pub(super) freshness: Freshness,
    pub(super) filter: PersonFilter,
    /// At most this many; none: all.
    pub(super) limit: Option<usize>,
    /// Those created after this number.
    pub(super) after_number: u64,
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
    pub(super) fn parse(query: Query) -> Result<ListQuery, Problem> {
        let mut list = ListQuery::default();
        for (name, value) in unique(query)? {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    list.limit = Some(limit.ok_or_else(|| {
                        wrong(&name, format!("`limit` must be a number from 1 to {PAGE_MAX}, not {value:?}"))
                    })?);
                }
                "cursor" => list.after_number = cursor::read(&value)?,
                "firstName" => list.filter.first_name = Some(value),
                "lastName" => list.filter.last_name = Some(value),
                "id" => {
                    let id = parse_id(&value);
                    list.filter.id =
                        Some(id.ok_or_else(|| wrong(&name, format!("`id` must be a UUID, not {value:?}")))?);
                }
                _ if list.freshness.take(&name, &value)? => {}
                _ => {
                    let known = "the list can be filtered by firstName, lastName and id; it also accepts limit, \
                                 cursor, consistency, after, max-staleness and timeout";
                    return Err(unknown(&name, known));
                }
            }
        }
        Ok(list)
    }

    /// The path of the page that begins after `number`. It waits for what this one has seen, so pages never go back.
    pub(super) fn next_page(&self, path: &str, number: u64, seen: Seq) -> String {
        let mut url = path.to_owned();
        let mut add = |name: &str, value: &str| {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(name);
            url.push('=');
            url.push_str(&percent(value));
        };
        for (name, value) in [("firstName", &self.filter.first_name), ("lastName", &self.filter.last_name)] {
            if let Some(value) = value {
                add(name, value);
            }
        }
        if let Some(id) = self.filter.id {
            add("id", &id.to_string());
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
        add("cursor", &cursor::write(number));
        url
    }
}

impl PersonFilter {
    pub(super) fn keeps(&self, record: &str) -> bool {
        if self.first_name.is_none() && self.last_name.is_none() && self.id.is_none() {
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

/// `after` of a watch, and nothing else.
pub(super) fn watch_after(query: Query) -> Result<Option<Seq>, Problem> {
    let mut after = None;
    for (name, value) in unique(query)? {
        match name.as_str() {
            "after" => after = Some(sequence(&name, &value)?),
            _ => return Err(unknown(&name, "this call accepts after")),
        }
    }
    Ok(after)
}

fn sequence(name: &str, value: &str) -> Result<Seq, Problem> {
    let is_number = !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit());
    let number = value.parse().ok().filter(|_| is_number).map(Seq);
    number.ok_or_else(|| {
        wrong(name, format!("`{name}` must be a sequence, a number as in Leasehold-Sequence, not {value:?}"))
    })
}

/// Each parameter once.
fn unique(query: Query) -> Result<Query, Problem> {
    if query.len() > PARAMETERS_MAX {
        let what = format!("{} parameters; at most {PARAMETERS_MAX} are allowed", query.len());
        return Err(Problem::new(Code::InvalidQuery, what));
    }
    for (at, (name, _)) in query.iter().enumerate() {
        if query[..at].iter().any(|(before, _)| before == name) {
            return Err(wrong(name, format!("the parameter `{name}` occurs twice")));
        }
    }
    Ok(query)
}

fn unknown(name: &str, known: &str) -> Problem {
    wrong(name, format!("unknown parameter `{name}`; {known}"))
}

fn wrong(name: &str, what: String) -> Problem {
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
        let list = ListQuery::parse(query(&asked)).unwrap();
        let url = list.next_page("/persons", 7, Seq(99));
        let expected = "/persons?lastName=K%C3%B6ster%20%26%20S%C3%B6hne&consistency=strong&timeout=2000ms&after=99&limit=10&cursor=";
        assert_eq!(url, format!("{expected}{}", cursor::write(7)));
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
        ] {
            let problem = ListQuery::parse(query(&[(name, value)])).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidQuery);
            assert!(problem.detail().contains(name), "{}", problem.detail());
        }
        assert!(ListQuery::parse(query(&[("after", "1"), ("after", "1")])).unwrap_err().detail().contains("twice"));
        assert!(Freshness::parse(query(&[("limit", "1")])).unwrap_err().detail().contains("limit"));
    }
}
