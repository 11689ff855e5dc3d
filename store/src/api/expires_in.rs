//! `?expires-in=30s`: the time at which a record goes, counted from the leader's clock.

use super::percent::Query;
use super::problem::{Code, Problem};
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

/// The patch that sets the time. An integer where the record's own time is one, in whole seconds and never too early;
/// else a text.
pub(super) fn patch(defined: &Defined, present: Option<&str>, now_ms: u64, after: Duration) -> Result<String, Problem> {
    let Some(path) = &defined.definition.expires else {
        let what =
            format!("`{NAME}`: the records of this collection have no time of expiry (`expires` of its definition)");
        return Err(Problem::new(Code::InvalidQuery, what).with("parameter", NAME));
    };
    let at_ms = now_ms.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    let is_number = present
        .and_then(|record| serde_json::from_str::<Value>(record).ok())
        .is_some_and(|record| record.pointer(&path.to_pointer()).is_some_and(Value::is_number));
    let time = if is_number { Value::from(at_ms.div_ceil(1000)) } else { Value::from(rfc3339::text(at_ms)) };
    Ok(nested(path, time).to_string())
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

    #[test]
    fn the_time_is_set_where_the_definition_has_it_and_as_the_record_has_it() {
        let (day, minute) = (defined(Some("/meta/expiresAt")), Duration::from_secs(60));
        assert_eq!(patch(&day, None, 1, minute).unwrap(), r#"{"meta":{"expiresAt":"1970-01-01T00:01:00.001Z"}}"#);
        let numbered = Some(r#"{"meta":{"expiresAt":5}}"#);
        assert_eq!(patch(&day, numbered, 1, minute).unwrap(), r#"{"meta":{"expiresAt":61}}"#);
        assert_eq!(patch(&defined(None), None, 1, minute).unwrap_err().code(), Code::InvalidQuery);
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
