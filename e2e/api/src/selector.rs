//! Field and label selectors of lists and watches.

use serde_json::Value;

use super::{Failure, validation::text};

/// Which objects a list or watch is about. The default: all.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    /// (field, value, wanted equal)
    fields: Vec<(String, String, bool)>,
    labels: Vec<LabelRule>,
}

#[derive(Clone, Debug)]
enum LabelRule {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    /// # Errors
    /// 400 for a field that is not selectable, or for text that is not a selector.
    pub(super) fn parse(fields: &str, labels: &str) -> Result<Selector, Failure> {
        let mut selector = Selector::default();
        for term in fields.split(',').filter(|term| !term.is_empty()) {
            let (field, value, equal) = equality(term).ok_or_else(|| {
                Failure::bad_request(format!("invalid selector: '{fields}'; can't understand '{term}'"))
            })?;
            if !["metadata.name", "metadata.namespace"].contains(&field) {
                return Err(Failure::bad_request(format!(
                    "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )));
            }
            selector.fields.push((field.into(), value.into(), equal));
        }
        for term in outside_brackets(labels) {
            selector.labels.push(label_rule(term.trim())?);
        }
        Ok(selector)
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let meta = &object["metadata"];
        let fields = self.fields.iter().all(|(field, value, equal)| {
            let field = field.trim_start_matches("metadata.");
            (text(&meta[field]) == value) == *equal
        });
        let label = |key: &str| meta["labels"].get(key).and_then(Value::as_str);
        fields
            && self.labels.iter().all(|rule| match rule {
                LabelRule::In(key, values) => label(key).is_some_and(|have| values.iter().any(|v| v == have)),
                LabelRule::NotIn(key, values) => label(key).is_none_or(|have| values.iter().all(|v| v != have)),
                LabelRule::Exists(key) => label(key).is_some(),
                LabelRule::Missing(key) => label(key).is_none(),
            })
    }
}

fn equality(term: &str) -> Option<(&str, &str, bool)> {
    if let Some((field, value)) = term.split_once("!=") {
        return Some((field.trim(), value.trim(), false));
    }
    let (field, value) = term.split_once("==").or_else(|| term.split_once('='))?;
    Some((field.trim(), value.trim(), true))
}

fn label_rule(term: &str) -> Result<LabelRule, Failure> {
    let set = |rest: &str| -> Option<Vec<String>> {
        let inner = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|v| v.trim().to_owned()).collect())
    };
    let bad = || Failure::bad_request(format!("unable to parse requirement: {term:?}"));
    if let Some((key, rest)) = term.split_once(" notin ") {
        return Ok(LabelRule::NotIn(key.trim().into(), set(rest).ok_or_else(bad)?));
    }
    if let Some((key, rest)) = term.split_once(" in ") {
        return Ok(LabelRule::In(key.trim().into(), set(rest).ok_or_else(bad)?));
    }
    if let Some((key, value, equal)) = equality(term) {
        if key.is_empty() || key.contains(' ') || value.contains(' ') {
            return Err(bad());
        }
        let values = vec![value.to_owned()];
        return Ok(if equal { LabelRule::In(key.into(), values) } else { LabelRule::NotIn(key.into(), values) });
    }
    match term.strip_prefix('!') {
        Some(key) => Ok(LabelRule::Missing(key.trim().into())),
        None if term.contains([' ', '(', ')']) => Err(bad()),
        None => Ok(LabelRule::Exists(term.into())),
    }
}

/// Splits at the commas that are not within brackets.
fn outside_brackets(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_choose_by_name_and_labels() {
        let object = json!({"metadata": {"name": "a", "namespace": "n", "labels": {"app": "x", "tier": "db"}}});
        for (fields, labels, wanted) in [
            ("", "", true),
            ("metadata.name=a", "", true),
            ("metadata.name==b", "", false),
            ("metadata.name!=a", "", false),
            ("", "app=x,tier in (db,web)", true),
            ("", "app!=x", false),
            ("", "tier notin (db)", false),
            ("", "app,!other", true),
        ] {
            assert_eq!(Selector::parse(fields, labels).unwrap().matches(&object), wanted, "{fields} {labels}");
        }
        assert_eq!(Selector::parse("spec.holderIdentity=a", "").unwrap_err().code, 400);
        assert_eq!(Selector::parse("", "a in b").unwrap_err().code, 400);
    }
}
