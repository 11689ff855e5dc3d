//! `?expires-in=30s`: the time at which a record goes, counted from the leader's clock.

use super::percent::Query;
use super::problem::{Code, Problem};
use super::record::invalid;
use super::rfc3339;
use leasehold_daemon::durations;
use leasehold_documents::{Defined, Path};
use serde_json::{Map, Value};
use std::time::Duration;

const NAME: &str = "expires-in";
/// A record that is to stay longer needs no such time.
const MOST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// The query of a call that accepts this parameter alone.
pub(super) fn parse(query: &Query) -> Result<Option<Duration>, Problem> {
    let mut found = None;
    for (name, value) in query {
        let wrong = |what: String| Err(Problem::new(Code::InvalidQuery, what).with("parameter", name.as_str()));
        if name != NAME {
            return wrong(format!("unknown parameter `{name}`; this call accepts {NAME}"));
        }
        if found.is_some() {
            return wrong(format!("`{NAME}` is given twice"));
        }
        match durations::parse(value) {
            Ok(time) if time <= MOST => found = Some(time),
            _ => return wrong(format!("`{NAME}` must be a time such as 30s or 500ms, not {value:?}")),
        }
    }
    Ok(found)
}

/// When a record goes, and where it has that.
pub(super) struct Expiry<'a> {
    path: &'a Path,
    at_ms: u64,
}

impl<'a> Expiry<'a> {
    /// So much later than this time of the leader's clock.
    pub(super) fn of(defined: &'a Defined, now_ms: u64, after: Duration) -> Result<Expiry<'a>, Problem> {
        let Some(path) = &defined.definition.expires else {
            let what = format!(
                "`{NAME}`: the records of this collection have no time of expiry (`expires` of its definition)"
            );
            return Err(Problem::new(Code::InvalidQuery, what).with("parameter", NAME));
        };
        let at_ms = now_ms.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        Ok(Expiry { path, at_ms })
    }

    /// The patch that sets the time in this record, which is at `pointer` in the body. An integer where the record's own time
    /// is one, in whole seconds and never too early; else a text. A patch would replace what is no object on the way there.
    pub(super) fn patch(&self, record: &str, pointer: &str) -> Result<String, Problem> {
        let record = serde_json::from_str::<Value>(record).unwrap_or_default();
        let (mut present, mut place) = (Some(&record), pointer.to_owned());
        for name in self.path.names() {
            match present {
                None | Some(Value::Null) => present = None,
                Some(Value::Object(members)) => present = members.get(&**name),
                Some(other) => {
                    let to = self.path.to_pointer();
                    let what =
                        format!("`{NAME}` sets the time at {to}, and this value on the way there is not an object");
                    return Err(invalid(&what, &place, "expires", &other.to_string()));
                }
            }
            place.push_str(&format!("/{}", name.replace('~', "~0").replace('/', "~1")));
        }
        let time = match present {
            Some(Value::Number(_)) => Value::from(self.at_ms.div_ceil(1000)),
            _ => Value::from(rfc3339::text(self.at_ms)),
        };
        Ok(nested(self.path, time).to_string())
    }
}

fn nested(path: &Path, value: Value) -> Value {
    path.names().iter().rev().fold(value, |value, name| Value::Object(Map::from_iter([(name.to_string(), value)])))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_documents::Definition;
    use leasehold_replication::Seq;
    use std::sync::Arc;

    fn defined(pointer: Option<&str>) -> Defined {
        let expires = pointer.map(|pointer| Path::from_pointer(pointer).unwrap());
        let definition = Arc::new(Definition { expires, ..Definition::persons() });
        let (created, revision, epoch) = (Seq(1), Seq(1), Seq(1));
        Defined { definition, created, revision, epoch, pending: None, last_refused: None }
    }

    fn patch(defined: &Defined, record: &str) -> Result<String, Problem> {
        Expiry::of(defined, 1, Duration::from_secs(60))?.patch(record, "/operations/3/record")
    }

    #[test]
    fn the_time_is_set_where_the_definition_has_it_and_as_the_record_has_it() {
        let day = defined(Some("/meta/expiresAt"));
        for record in ["{}", r#"{"meta":null}"#, r#"{"meta":{"expiresAt":"x"}}"#] {
            assert_eq!(
                patch(&day, record).unwrap(),
                r#"{"meta":{"expiresAt":"1970-01-01T00:01:00.001Z"}}"#,
                "{record}"
            );
        }
        assert_eq!(patch(&day, r#"{"meta":{"expiresAt":5}}"#).unwrap(), r#"{"meta":{"expiresAt":61}}"#);
        assert_eq!(patch(&defined(None), "{}").unwrap_err().code(), Code::InvalidQuery);
    }

    #[test]
    fn what_is_no_object_on_the_way_to_the_time_is_not_replaced() {
        let deep = defined(Some("/a~1b/at/end"));
        for value in ["5", r#""x""#, "true", "[]"] {
            let refused = patch(&deep, &format!(r#"{{"a/b":{{"at":{value}}}}}"#)).unwrap_err();
            let body = refused.to_value();
            assert_eq!(refused.code(), Code::InvalidRecord, "{value}");
            assert_eq!((&body["pointer"], &body["rule"]), (&"/operations/3/record/a~1b/at".into(), &"expires".into()));
            assert_eq!(body["value"], value);
        }
    }

    #[test]
    fn no_other_parameter_is_accepted_and_none_twice() {
        let query = |pairs: &[(&str, &str)]| parse(&pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect());
        assert_eq!(query(&[]).unwrap(), None);
        assert_eq!(query(&[("expires-in", "30s")]).unwrap(), Some(Duration::from_secs(30)));
        for bad in [&[("expires-in", "x")][..], &[("expires-in", "1s"), ("expires-in", "2s")], &[("limit", "1")]] {
            assert_eq!(query(bad).unwrap_err().code(), Code::InvalidQuery);
        }
    }
}
