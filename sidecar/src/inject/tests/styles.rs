//! The same pods, written in any style: they are injected, what they meant is still there, and a second time changes nothing.

use proptest::prelude::*;
use serde_json::Value;

use super::{inject, known_to_kubernetes, values};

/// Bytes that decide how something is written.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn of(&mut self, count: u8) -> u8 {
        self.0.next().unwrap_or(0) % count
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::from(self.of(words.len().try_into().unwrap()))]
    }
}

/// A value in some style; `indent` is that of the key before it.
fn written(value: &Value, indent: usize, is_flow: bool, choices: &mut Choices) -> String {
    let is_flow = is_flow || choices.of(6) == 0;
    let end = |choices: &mut Choices| if is_flow { "" } else { choices.pick(&["", "", "   # why: {not}", "  "]) };
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            let mut text = String::new();
            let inner = indent + 2;
            for (count, (key, value)) in entries.iter().enumerate() {
                if is_flow {
                    let value = written(value, 0, true, choices);
                    text += &format!("{}{key}: {value}", if count > 0 { choices.pick(&[", ", " , "]) } else { "" });
                } else {
                    for _ in 0..choices.of(3) {
                        text += choices.pick(&["\n", &format!("\n{}# note - a: b", " ".repeat(inner)), "\n# left"]);
                    }
                    text += &format!("\n{}{key}:", " ".repeat(inner));
                    text += &written(value, inner, false, choices);
                }
            }
            if is_flow { format!(" {{{text}}}{}", choices.pick(&["", " "])) } else { text }
        }
        Value::Array(items) if !items.is_empty() => {
            if is_flow {
                let items: Vec<String> = items.iter().map(|item| written(item, 0, true, choices)).collect();
                return format!(" [{}{}]", items.join(","), choices.pick(&["", " ", ", "]));
            }
            let dash = indent + usize::from(choices.of(2)) * 2;
            let mut text = String::new();
            for item in items {
                text += choices.pick(&["", "\n", &format!("\n{}# item", " ".repeat(dash))]);
                // An item's mapping begins behind the dash, so it is written as if on a line of its own, and moved there.
                let item = written(item, dash, false, choices);
                let item = match item.strip_prefix('\n') {
                    Some(lines) if lines.starts_with(&" ".repeat(dash + 2)) && !lines.trim_start().starts_with('#') => {
                        format!(" {}", lines.trim_start())
                    }
                    Some(_) => format!("\n{}", &item[1..]),
                    None => item,
                };
                text += &format!("\n{}-{item}", " ".repeat(dash));
            }
            text
        }
        Value::String(text) if !is_flow && text.ends_with('\n') => {
            let indent = " ".repeat(indent + 2);
            let sign = if text.ends_with("\n\n") { "|+" } else { "|" };
            let lines: Vec<String> =
                text.trim_end_matches('\n').lines().map(|line| format!("\n{indent}{line}")).collect();
            // With `+`, each line break behind the text is content.
            format!(" {sign}{}{}", lines.concat(), if sign == "|+" { "\n" } else { "" })
        }
        Value::String(text) => {
            let quoted = Value::from(text.as_str()).to_string();
            let single = format!("'{text}'");
            let is_simple = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'/');
            let plain = if is_simple { text.as_str() } else { &quoted };
            let single = if text.contains('\n') { quoted.as_str() } else { &single };
            format!(" {}{}", choices.pick(&[plain, &quoted, single]), end(choices))
        }
        other => format!(" {other}{}", end(choices)),
    }
}

fn deployment(choices: &mut Choices) -> Value {
    let mut container =
        serde_json::json!({"name": "web", "image": "web:1", "command": ["sh", "-c", "a\nb\n"], "stdin": false});
    if choices.of(2) == 0 {
        container["volumeMounts"] = serde_json::json!([{"name": "data", "mountPath": "/data"}]);
    }
    if choices.of(3) == 0 {
        container["ports"] = serde_json::json!([{"containerPort": 80}]);
    }
    let mut containers = vec![container];
    if choices.of(2) == 0 {
        containers.push(serde_json::json!({"name": "log", "image": "log", "args": ["x\n\n"]}));
    }
    let mut spec = serde_json::json!({"containers": containers});
    if choices.of(2) == 0 {
        spec["volumes"] = serde_json::json!([{"name": "data", "emptyDir": {}}]);
    }
    match choices.of(4) {
        0 => spec["initContainers"] = serde_json::json!([{"name": "init", "image": "init"}]),
        1 => spec["initContainers"] = serde_json::json!([]),
        _ => {}
    }
    let mut metadata = serde_json::json!({"name": "web", "labels": {"app": "web"}});
    match choices.of(4) {
        0 => metadata["annotations"] = serde_json::json!({"a": "b"}),
        1 => metadata["annotations"] = Value::Null,
        _ => {}
    }
    let template = serde_json::json!({"metadata": {"labels": {"app": "web"}}, "spec": spec});
    let spec = serde_json::json!({"selector": {"matchLabels": {"app": "web"}}, "template": template});
    serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
}

/// Without the line breaks at the end of texts: with `|+`, empty lines behind it are content.
fn trimmed(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(text.trim_end_matches('\n')),
        Value::Array(items) => items.iter().map(trimmed).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), trimmed(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// What was there is still there: with more members and items, and with other words before those of a command.
fn contains(all: &Value, part: &Value) -> bool {
    match (all, part) {
        (Value::Object(all), Value::Object(part)) => {
            part.iter().all(|(key, part)| all.get(key).is_some_and(|all| contains(all, part)))
        }
        (Value::Array(all), Value::Array(part)) => part.iter().all(|part| all.iter().any(|all| contains(all, part))),
        (_, Value::Null) => true,
        (all, part) => all == part,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_style_is_injected_once(bytes in prop::collection::vec(any::<u8>(), 0..400), exec in any::<bool>(), is_crlf in any::<bool>()) {
        let mut choices = Choices(bytes.into_iter());
        let wanted = deployment(&mut choices);
        let mut stream = written(&wanted, 0, false, &mut choices).replace("\n  ", "\n").trim_start_matches('\n').to_owned();
        stream = stream.trim_start_matches(' ').to_owned() + choices.pick(&["", "\n", "\n\n# end\n", "\n---\n", "\n...\n"]);
        if is_crlf {
            stream = stream.replace('\n', "\r\n");
        }
        let before = values(&stream);
        let same = before.len() == 1 && trimmed(&before[0]) == trimmed(&wanted);
        prop_assert!(same, "the test's own writing: {}", stream);
        let flags: &[&str] = if exec { &["--lease", "web", "--exec", "--container", "web"] } else { &["--lease", "web"] };
        let output = match inject(&stream, flags) {
            Ok(output) => output,
            Err(refusal) => return Err(TestCaseError::fail(format!("{refusal}\n{stream}"))),
        };
        let after = values(&output);
        prop_assert!(contains(&after[0], &before[0]), "{}", output);
        prop_assert_eq!(after.len(), 5);
        known_to_kubernetes(&output);
        prop_assert_eq!(inject(&output, flags).unwrap(), output);
    }

    /// A text that is damaged is refused, or injected as what it then means; nothing panics.
    #[test]
    fn a_damaged_text_is_refused_or_injected(
        file in 0..6_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"\n\r\t -:#&*{}[]|>'\"!%ax\\".to_vec()), 0..3_u8), 1..5)
    ) {
        let (name, flags) = super::GOLDEN[file];
        let mut text = std::fs::read(super::folder().join(name)).unwrap();
        for (at, byte, kind) in damage {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => { text.remove(at); }
            }
        }
        let text = String::from_utf8(text).unwrap();
        if let Ok(output) = inject(&text, flags) {
            prop_assert_eq!(inject(&output, flags).unwrap(), output);
        }
    }
}
