//! From a method and a path to what is meant by them, and the pages of discovery.

use http::Method;
use serde_json::{Value, json};

use super::{Failure, Kind, Verb};

/// What a path names.
#[derive(Debug)]
pub(super) enum Target {
    /// All objects of a kind, in one namespace or in all.
    Collection { kind: Kind, namespace: Option<String> },
    /// One object, or one of its sub-resources (`scale`, `status`).
    Object { kind: Kind, namespace: String, name: String, sub: Option<String> },
    /// A page of discovery or a health check.
    Page(Value),
}

impl Target {
    pub(super) fn parse(path: &str) -> Result<Target, Failure> {
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode_percent).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, rest) = match parts.as_slice() {
            [] | ["healthz" | "livez" | "readyz"] => return Ok(Target::Page("ok".into())),
            ["version"] => {
                return Ok(Target::Page(json!({"major": "1", "minor": "35", "gitVersion": "v1.35.0-leasehold-e2e"})));
            }
            ["api"] => return Ok(Target::Page(json!({"kind": "APIVersions", "versions": ["v1"]}))),
            ["apis"] => return Ok(Target::Page(groups())),
            ["api", "v1"] => return Ok(Target::Page(resources(""))),
            ["apis", group, "v1"] => return Ok(Target::Page(resources(group))),
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, "v1", rest @ ..] => (*group, rest),
            _ => return Err(Failure::no_such_path()),
        };
        let find = |plural: &str| Kind::find(group, plural).ok_or_else(Failure::no_such_path);
        match rest {
            [plural] => Ok(Target::Collection { kind: find(plural)?, namespace: None }),
            ["namespaces", ns, plural] => {
                Ok(Target::Collection { kind: find(plural)?, namespace: Some((*ns).to_owned()) })
            }
            ["namespaces", ns, plural, name, sub @ ..] if sub.len() <= 1 => {
                let kind = find(plural)?;
                let sub = sub.first().map(|sub| (*sub).to_owned());
                let known = match sub.as_deref() {
                    None => true,
                    Some("status") => matches!(kind, Kind::Pod | Kind::StatefulSet),
                    Some("scale") => kind == Kind::StatefulSet,
                    Some(_) => false,
                };
                if !known {
                    return Err(Failure::no_such_path());
                }
                Ok(Target::Object { kind, namespace: (*ns).to_owned(), name: (*name).to_owned(), sub })
            }
            _ => Err(Failure::no_such_path()),
        }
    }

    /// The refusal of a client that has no right to this.
    pub(super) fn forbidden(&self, client: &str, verb: Verb) -> Failure {
        match self {
            Target::Page(_) => Failure::no_such_path(),
            Target::Collection { kind, namespace } => Failure::forbidden(client, verb, *kind, namespace.as_deref(), ""),
            Target::Object { kind, namespace, name, .. } => {
                Failure::forbidden(client, verb, *kind, Some(namespace), name)
            }
        }
    }

    /// The kind and the verb, for the log and the faults; `None` for pages and for methods that nothing goes by.
    pub(super) fn verb(&self, method: &Method, query: &Query) -> Option<(Kind, Verb)> {
        match self {
            Target::Page(_) => None,
            Target::Collection { kind, .. } => match *method {
                Method::GET if query.flag("watch") => Some((*kind, Verb::Watch)),
                Method::GET => Some((*kind, Verb::List)),
                Method::POST => Some((*kind, Verb::Create)),
                _ => None,
            },
            Target::Object { kind, .. } => match *method {
                Method::GET => Some((*kind, Verb::Get)),
                Method::PUT => Some((*kind, Verb::Update)),
                Method::PATCH => Some((*kind, Verb::Patch)),
                Method::DELETE => Some((*kind, Verb::Delete)),
                _ => None,
            },
        }
    }
}

/// The part of a URL after the question mark.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_percent(name), decode_percent(&value.replace('+', " ")))
        });
        Query(pairs.collect())
    }

    /// The value of a parameter, empty where it is not given.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }
}

fn decode_percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if bytes[i] == b'%' => {
                out.push(byte);
                i += 3;
            }
            _ => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn groups() -> Value {
    let groups: Vec<Value> = Kind::ALL
        .iter()
        .filter(|kind| !kind.group().is_empty())
        .map(|kind| {
            let version = json!({"groupVersion": kind.api_version(), "version": "v1"});
            json!({"name": kind.group(), "versions": [version], "preferredVersion": version})
        })
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn resources(group: &str) -> Value {
    let resources: Vec<Value> = Kind::ALL
        .iter()
        .filter(|kind| kind.group() == group)
        .map(|kind| {
            let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
            let singular = kind.name().to_lowercase();
            json!({"name": kind.plural(), "singularName": singular, "namespaced": true, "kind": kind.name(), "verbs": verbs})
        })
        .collect();
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_name_collections_objects_and_sub_resources() {
        let lease = Target::parse("/apis/coordination.k8s.io/v1/namespaces/database/leases/a").unwrap();
        assert!(matches!(lease, Target::Object { kind: Kind::Lease, sub: None, ref name, .. } if name == "a"));
        let pods = Target::parse("/api/v1/pods").unwrap();
        assert!(matches!(pods, Target::Collection { kind: Kind::Pod, namespace: None }));
        let scale = Target::parse("/apis/apps/v1/namespaces/n/statefulsets/s/scale").unwrap();
        assert!(matches!(scale, Target::Object { kind: Kind::StatefulSet, sub: Some(ref s), .. } if s == "scale"));
        for unknown in ["/apis/apps/v1/namespaces/n/deployments/s", "/api/v2/pods", "/api/v1/namespaces/n/pods/a/exec"]
        {
            assert_eq!(Target::parse(unknown).unwrap_err().code, 404, "{unknown}");
        }
    }

    #[test]
    fn queries_are_percent_decoded() {
        let query = Query::parse("fieldSelector=metadata.name%3Da&watch=true&x=%zz");
        assert_eq!(query.get("fieldSelector"), "metadata.name=a");
        assert!(query.flag("watch"));
        assert_eq!(query.get("x"), "%zz");
    }
}
