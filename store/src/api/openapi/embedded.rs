//! The schema of a collection as components of the document.
//!
//! ```text
//!   orders: {"$ref": "#/$defs/money", "$defs": {"money": {…}}}
//!     ──▶ components.schemas.orders        {"$ref": "#/components/schemas/orders.money"}
//!         components.schemas.orders.money  {…}
//! ```
//!
//! A schema's references are to places in itself, and the document is another place. An `$id` would keep them as they are, by
//! JSON Schema; but no tool that was tried (validators, generators of clients) heeds it there, and generators follow references
//! to components alone. So definitions become components, and references are written anew. What they mean is the same.

use crate::api::percent;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// How a keyword has its subschemas.
enum Holds {
    One,
    List,
    ByName,
    None,
}

fn holds(keyword: &str) -> Holds {
    match keyword {
        "not"
        | "if"
        | "then"
        | "else"
        | "additionalProperties"
        | "unevaluatedProperties"
        | "propertyNames"
        | "items"
        | "contains"
        | "unevaluatedItems"
        | "contentSchema" => Holds::One,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Holds::List,
        "properties" | "patternProperties" | "dependentSchemas" | "$defs" => Holds::ByName,
        _ => Holds::None,
    }
}

/// The components that this schema becomes: itself, under `name`, and its definitions.
pub(super) fn components(name: &str, schema: &Value) -> Vec<(String, Value)> {
    let mut moving = Moving { name, anchors: HashMap::new() };
    moving.find_anchors(schema, String::new());
    let Value::Object(members) = schema else { return vec![(name.to_owned(), schema.clone())] };
    let (mut root, mut all) = (members.clone(), Vec::new());
    if let Some(Value::Object(definitions)) = members.get("$defs") {
        let (components, others): (Vec<_>, Vec<_>) = definitions.iter().partition(|(key, _)| is_component(key));
        all.extend(components.into_iter().map(|(key, schema)| (format!("{name}.{key}"), moving.moved(schema))));
        if others.is_empty() {
            root.remove("$defs");
        } else {
            let others = others.into_iter().map(|(key, schema)| (key.clone(), schema.clone())).collect();
            root.insert("$defs".to_owned(), Value::Object(others));
        }
    }
    all.push((name.to_owned(), moving.moved(&Value::Object(root))));
    all
}

/// May this be a part of a component's name?
fn is_component(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

struct Moving<'a> {
    name: &'a str,
    /// The pointers of anchors, in the schema.
    anchors: HashMap<&'a str, String>,
}

impl<'a> Moving<'a> {
    fn find_anchors(&mut self, schema: &'a Value, pointer: String) {
        let Value::Object(members) = schema else { return };
        for (keyword, value) in members {
            let within = format!("{pointer}/{keyword}");
            match (holds(keyword), value) {
                (Holds::One, _) => self.find_anchors(value, within),
                (Holds::List, Value::Array(all)) => {
                    for (at, one) in all.iter().enumerate() {
                        self.find_anchors(one, format!("{within}/{at}"));
                    }
                }
                (Holds::ByName, Value::Object(all)) => {
                    for (key, one) in all {
                        self.find_anchors(one, format!("{within}/{}", key.replace('~', "~0").replace('/', "~1")));
                    }
                }
                (Holds::None, Value::String(anchor)) if keyword == "$anchor" || keyword == "$dynamicAnchor" => {
                    self.anchors.insert(anchor, pointer.clone());
                }
                _ => {}
            }
        }
    }

    /// A subschema, for its new place.
    fn moved(&self, schema: &Value) -> Value {
        let Value::Object(members) = schema else { return schema.clone() };
        let mut moved = Map::new();
        let mut dynamic = None;
        for (keyword, value) in members {
            let value = match (holds(keyword), value) {
                (Holds::One, _) => self.moved(value),
                (Holds::List, Value::Array(all)) => all.iter().map(|one| self.moved(one)).collect(),
                (Holds::ByName, Value::Object(all)) => {
                    all.iter().map(|(key, one)| (key.clone(), self.moved(one))).collect::<Map<_, _>>().into()
                }
                (_, Value::String(reference)) if keyword == "$ref" => self.reference(reference).into(),
                // In a schema without parts that have ids it leads where a `$ref` would.
                (_, Value::String(reference)) if keyword == "$dynamicRef" => {
                    dynamic = Some(self.reference(reference));
                    continue;
                }
                _ if matches!(&**keyword, "$id" | "$schema" | "$anchor" | "$dynamicAnchor") => continue,
                _ => value.clone(),
            };
            moved.insert(keyword.clone(), value);
        }
        match dynamic {
            Some(reference) if moved.contains_key("$ref") => {
                let more = serde_json::json!({ "$ref": reference });
                match moved.get_mut("allOf") {
                    Some(Value::Array(all)) => all.push(more),
                    _ => drop(moved.insert("allOf".to_owned(), Value::Array(vec![more]))),
                }
            }
            Some(reference) => drop(moved.insert("$ref".to_owned(), reference.into())),
            None => {}
        }
        moved.into()
    }

    /// Where a reference of the schema leads in the document.
    fn reference(&self, reference: &str) -> String {
        // Only references into itself were accepted, and only ones that lead somewhere.
        let fragment = reference.strip_prefix('#').unwrap_or_default();
        let decoded = percent::segment(|| "the reference".to_owned(), fragment).unwrap_or_default();
        let pointer = match &*decoded {
            anchor if !anchor.is_empty() && !anchor.starts_with('/') => self.anchors.get(anchor).map_or("", |at| at),
            pointer => pointer,
        };
        let mut component = self.name.to_owned();
        let mut steps: Vec<&str> = pointer.split('/').skip(1).collect();
        if let ["$defs", key, ..] = *steps.as_slice()
            && is_component(key)
        {
            component = format!("{component}.{key}");
            steps.drain(..2);
        }
        let within: String = steps.iter().map(|step| format!("/{}", percent::encode(step))).collect();
        format!("#/components/schemas/{component}{within}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn definitions_become_components_and_references_lead_to_them() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://x.example/orders",
            "type": "object", "default": {"$ref": "#/no-reference"},
            "properties": {
                "$ref": {"$ref": "#/$defs/money"},
                "child": {"$ref": "#"},
                "currency": {"$ref": "#/%24defs/money/properties/currency"},
                "odd": {"$ref": "#/$defs/a~1b%20c"},
                "named": {"$ref": "#amount", "$dynamicRef": "#amount"},
                "other": {"items": [], "prefixItems": [{"$ref": "#/properties/child"}, true]},
            },
            "$defs": {
                "money": {"properties": {"currency": {"type": "string"}, "n": {"$anchor": "amount", "type": "number"}}},
                "a/b c": {"$ref": "#/$defs/money"},
            },
        });
        let all: HashMap<String, Value> = components("orders", &schema).into_iter().collect();
        let at = |name: &str| format!("#/components/schemas/{name}");
        let to = |name: &str| json!({ "$ref": at(name) });
        let amount = at("orders.money/properties/n");
        assert_eq!(all.len(), 2);
        assert_eq!(
            all["orders"],
            json!({
                "type": "object", "default": {"$ref": "#/no-reference"},
                "properties": {
                    "$ref": to("orders.money"),
                    "child": to("orders"),
                    "currency": to("orders.money/properties/currency"),
                    "odd": to("orders/%24defs/a~1b%20c"),
                    "named": {"$ref": amount, "allOf": [{"$ref": amount}]},
                    "other": {"items": [], "prefixItems": [to("orders/properties/child"), true]},
                },
                "$defs": {"a/b c": to("orders.money")},
            })
        );
        let money = json!({"properties": {"currency": {"type": "string"}, "n": {"type": "number"}}});
        assert_eq!(all["orders.money"], money);
        assert_eq!(components("any", &Value::Bool(true)), [("any".to_owned(), Value::Bool(true))]);
    }
}
