//! `If-Match` and `If-None-Match` of definitions. Their `ETag` is the sequence of the entry that last changed them: `"42"`.

use crate::api::conditions::{Each, Tags};
use crate::api::problem::{Code, Problem};
use leasehold_documents::DefinitionCondition;
use leasehold_replication::Seq;
use warp::http::header::{IF_MATCH, IF_NONE_MATCH};
use warp::http::{HeaderMap, HeaderName};

/// Tags in one request. A client has not read more revisions than this.
const TAGS_MAX: usize = 64;
/// No entry has it.
const NEVER: Seq = Seq(u64::MAX);

/// The revisions that one header names.
#[derive(Debug, PartialEq, Eq)]
enum Those {
    /// `*`: any.
    Any,
    /// Those of ours among its tags: another store's match nothing.
    Tagged(Vec<Seq>),
}

/// What a read's conditions decide.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send it.
    Send,
    /// The client has it: 304.
    NotModified,
    /// `If-Match` does not hold: 412.
    Failed,
}

/// The tag of a definition.
pub(super) fn etag(revision: Seq) -> String {
    format!("\"{revision}\"")
}

/// What must hold for a write. `now`: the present revision.
pub(super) fn of_write(
    headers: &HeaderMap,
    now: Option<Seq>,
    match_weakened: bool,
) -> Result<DefinitionCondition, Problem> {
    let is = read(headers, &IF_MATCH, match_weakened).map_err(|what| wrong("If-Match", what))?;
    let is_not = read(headers, &IF_NONE_MATCH, true).map_err(|what| wrong("If-None-Match", what))?;
    match (is, is_not) {
        (None, None) => Ok(DefinitionCondition::None),
        (Some(Those::Any), None) => Ok(DefinitionCondition::Exists),
        (None, Some(Those::Any)) => Ok(DefinitionCondition::Absent),
        // The log knows one revision: the present one, if it is meant; then it holds, unless it changes in between.
        (Some(Those::Tagged(tags)), None) => {
            let now = now.filter(|now| tags.contains(now));
            Ok(DefinitionCondition::Revision(now.or(tags.first().copied()).unwrap_or(NEVER)))
        }
        (None, Some(Those::Tagged(_))) => {
            Err(wrong("If-None-Match", "a definition accepts only `*`: it must not exist yet"))
        }
        (Some(_), Some(_)) => Err(wrong("If-None-Match", "send either this or If-Match")),
    }
}

/// What a read's conditions decide for a definition with this revision. Text that is no tag matches nothing.
pub(super) fn of_read(headers: &HeaderMap, now: Seq, match_weakened: bool) -> Verdict {
    let is_in = |those: Those| match those {
        Those::Any => true,
        Those::Tagged(tags) => tags.contains(&now),
    };
    let is = read(headers, &IF_MATCH, match_weakened).map_or(Some(false), |those| those.map(is_in));
    let is_not = read(headers, &IF_NONE_MATCH, true).map_or(Some(false), |those| those.map(is_in));
    match (is, is_not) {
        (Some(false), _) => Verdict::Failed,
        (_, Some(true)) => Verdict::NotModified,
        _ => Verdict::Send,
    }
}

fn wrong(header: &str, what: &str) -> Problem {
    Problem::new(Code::InvalidCondition, format!("{header}: {what}"))
}

fn read(headers: &HeaderMap, name: &HeaderName, match_weakened: bool) -> Result<Option<Those>, &'static str> {
    let mut found = None;
    for value in headers.get_all(name) {
        let value = value.as_bytes();
        if value.trim_ascii() == b"*" {
            if found.replace(Those::Any).is_some() {
                return Err("`*` means all, so it must be alone");
            }
            continue;
        }
        let Those::Tagged(tags) = found.get_or_insert(Those::Tagged(Vec::new())) else {
            return Err("`*` means all, so it must be alone");
        };
        for each in Tags(value) {
            let Each { opaque, is_weak } = each?;
            tags.extend(revision(opaque).filter(|_| !is_weak || match_weakened));
            if tags.len() > TAGS_MAX {
                return Err("too many ETags");
            }
        }
    }
    Ok(found)
}

/// None: this store never issues it.
fn revision(opaque: &[u8]) -> Option<Seq> {
    let digits = Some(opaque).filter(|opaque| opaque.iter().all(u8::is_ascii_digit))?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Seq)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_writes_condition_is_one_revision_or_that_it_exists_or_not() {
        let of = |pairs: &[(HeaderName, &str)]| {
            of_write(&headers(pairs), Some(Seq(7)), true).map_err(|problem| problem.code())
        };
        assert_eq!(of(&[]), Ok(DefinitionCondition::None));
        assert_eq!(of(&[(IF_MATCH, "*")]), Ok(DefinitionCondition::Exists));
        assert_eq!(of(&[(IF_NONE_MATCH, "*")]), Ok(DefinitionCondition::Absent));
        assert_eq!(of(&[(IF_MATCH, "\"7\"")]), Ok(DefinitionCondition::Revision(Seq(7))));
        assert_eq!(of(&[(IF_MATCH, "\"5\", W/\"7\"")]), Ok(DefinitionCondition::Revision(Seq(7))));
        assert_eq!(of(&[(IF_MATCH, "\"5\"")]), Ok(DefinitionCondition::Revision(Seq(5))));
        assert_eq!(of(&[(IF_MATCH, "\"x\"")]), Ok(DefinitionCondition::Revision(NEVER)));
        // A comma within the quotes belongs to the tag (RFC 9110, 8.8.3).
        assert_eq!(of(&[(IF_MATCH, "W/\"a,\\b(\"  ,  \"\", \"7\"")]), Ok(DefinitionCondition::Revision(Seq(7))));
        assert_eq!(of(&[(IF_MATCH, "\",7,\"")]), Ok(DefinitionCondition::Revision(NEVER)));
        for wrong in [
            &[(IF_MATCH, "7")][..],
            &[(IF_MATCH, "\"7")],
            &[(IF_MATCH, "\"7\"\"8\"")],
            &[(IF_MATCH, "\"7 \"")],
            &[(IF_MATCH, "*"), (IF_MATCH, "\"7\"")],
            &[(IF_MATCH, "\"7\""), (IF_MATCH, "*")],
            &[(IF_NONE_MATCH, "\"7\"")],
            &[(IF_MATCH, "\"7\""), (IF_NONE_MATCH, "*")],
        ] {
            assert_eq!(of(wrong), Err(Code::InvalidCondition), "{wrong:?}");
        }
        assert_eq!(
            of_write(&headers(&[(IF_MATCH, "W/\"7\"")]), Some(Seq(7)), false).unwrap(),
            DefinitionCondition::Revision(NEVER)
        );
    }

    #[test]
    fn a_read_is_not_sent_to_who_has_it() {
        let of = |pairs: &[(HeaderName, &str)]| of_read(&headers(pairs), Seq(7), true);
        assert_eq!(of(&[]), Verdict::Send);
        assert_eq!(of(&[(IF_NONE_MATCH, "\"7\"")]), Verdict::NotModified);
        assert_eq!(of(&[(IF_NONE_MATCH, "\"6\", W/\"7\"")]), Verdict::NotModified);
        assert_eq!(of(&[(IF_NONE_MATCH, "\"6\"")]), Verdict::Send);
        assert_eq!(of(&[(IF_MATCH, "\"6\""), (IF_NONE_MATCH, "\"7\"")]), Verdict::Failed);
        assert_eq!(of(&[(IF_MATCH, "x")]), Verdict::Failed);
    }
}
