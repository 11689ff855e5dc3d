//! The objects, one counter of versions for all of them, and the recent changes that watches are served from.
//!
//! ```text
//!   create / replace / patch / delete ──▶ version += 1 ──▶ live[key]      what GET and LIST see
//!                                                      └─▶ history (bounded, older ones: 410)  what WATCH sees
//! ```
//!
//! Imitated, as the API server does it: an update that changes nothing keeps the version; a PUT of a missing Lease makes
//! it, also with a resourceVersion, unless its `metadata.uid` says which Lease was meant (then 409); a PATCH with a
//! resourceVersion is conditional.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::{
    Cause, Failure, Kind,
    selector::Selector,
    validation::{decode, text, validate},
};

type Key = (Kind, String, String);

/// All objects of the embedded API.
#[derive(Debug)]
pub(super) struct Objects {
    /// The version of the newest change. Only grows.
    version: u64,
    live: BTreeMap<Key, Value>,
    /// The changes since `oldest`, in order.
    history: VecDeque<Change>,
    /// A watch may start at this version or later.
    oldest: u64,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) kind: Kind,
    pub(super) namespace: String,
    /// The object before; `None`: it was made.
    pub(super) before: Option<Value>,
    /// The object after, or as it was deleted, with the version of the deletion.
    pub(super) object: Value,
    pub(super) deleted: bool,
}

/// How many changes are kept for watches. The API server keeps five minutes, and its watch cache from a hundred on.
const HISTORY_MAX: usize = 10_000;

impl Objects {
    pub(super) fn new() -> Objects {
        // Not from 1, so that nobody takes a version for a count.
        Objects { version: 1_000, live: BTreeMap::new(), history: VecDeque::new(), oldest: 1_000 }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<&Value, Failure> {
        self.live.get(&key(kind, namespace, name)).ok_or_else(|| Failure::not_found(kind, name))
    }

    pub(super) fn list(&self, kind: Kind, namespace: Option<&str>, selector: &Selector) -> Vec<Value> {
        self.live
            .iter()
            .filter(|((k, ns, _), object)| *k == kind && namespace.is_none_or(|n| n == ns) && selector.matches(object))
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub(super) fn create(&mut self, kind: Kind, namespace: &str, body: Value) -> Result<Value, Failure> {
        let mut object = decode(kind, body)?;
        place(&mut object, namespace)?;
        let meta = &mut object["metadata"];
        if text(&meta["name"]).is_empty() && !text(&meta["generateName"]).is_empty() {
            let suffix = uuid::Uuid::new_v4().simple().to_string();
            meta["name"] = format!("{}{}", text(&meta["generateName"]), &suffix[..5]).into();
        }
        let name = text(&meta["name"]).to_owned();
        if requested_version(&object)? != 0 {
            let message = "resourceVersion should not be set on objects to be created".to_owned();
            return Err(Failure { code: 500, reason: "", message, details: None });
        }
        if self.live.contains_key(&key(kind, namespace, &name)) {
            return Err(Failure::already_exists(kind, &name));
        }
        let causes = validate(kind, &object, None);
        if !causes.is_empty() {
            return Err(Failure::invalid(kind, &name, causes));
        }
        Ok(self.insert_new(kind, namespace, object))
    }

    fn insert_new(&mut self, kind: Kind, namespace: &str, mut object: Value) -> Value {
        let name = text(&object["metadata"]["name"]).to_owned();
        object["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
        object["metadata"]["creationTimestamp"] =
            jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        if kind == Kind::StatefulSet {
            object["metadata"]["generation"] = 1.into();
        }
        self.commit(kind, namespace, &name, Some(object), false)
    }

    /// A PUT. True: the object was made.
    pub(super) fn replace(
        &mut self,
        kind: Kind,
        namespace: &str,
        name: &str,
        body: Value,
    ) -> Result<(Value, bool), Failure> {
        let mut object = decode(kind, body)?;
        place(&mut object, namespace)?;
        let named = text(&object["metadata"]["name"]);
        if named != name {
            return Err(Failure::bad_request(format!(
                "the name of the object ({named}) does not match the name on the URL ({name})"
            )));
        }
        let version = requested_version(&object)?;
        let Some(before) = self.live.get(&key(kind, namespace, name)).cloned() else {
            let uid = text(&object["metadata"]["uid"]);
            if !kind.put_may_create() {
                return Err(Failure::not_found(kind, name));
            }
            if !uid.is_empty() {
                let why = format!(
                    "StorageError: invalid object, Code: 4, Key: /registry/{}/{namespace}/{name}, ResourceVersion: 0, \
                     AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: ",
                    kind.plural()
                );
                return Err(Failure::conflict(kind, name, &why));
            }
            let causes = validate(kind, &object, None);
            if !causes.is_empty() {
                return Err(Failure::invalid(kind, name, causes));
            }
            return Ok((self.insert_new(kind, namespace, object), true));
        };
        let uid = text(&object["metadata"]["uid"]);
        if !uid.is_empty() && uid != text(&before["metadata"]["uid"]) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                text(&before["metadata"]["uid"])
            );
            return Err(Failure::conflict(kind, name, &why));
        }
        if version == 0 && !kind.put_may_be_blind() {
            let value = "must be specified for an update";
            let cause = Cause {
                reason: "FieldValueInvalid",
                field: "metadata.resourceVersion".into(),
                message: format!("Invalid value: 0x0: {value}"),
            };
            return Err(Failure::invalid_as(&kind.qualified(), kind, name, vec![cause]));
        }
        if version != 0 && version != stored_version(&before) {
            return Err(Failure::stale(kind, name));
        }
        Ok((self.update(kind, namespace, name, &before, object)?, false))
    }

    /// A JSON Merge Patch (RFC 7396). With a resourceVersion in the patch it is conditional.
    pub(super) fn patch(&mut self, kind: Kind, namespace: &str, name: &str, patch: &Value) -> Result<Value, Failure> {
        let before = self.get(kind, namespace, name)?.clone();
        if !patch.is_object() {
            return Err(Failure::bad_request("the patch is not a JSON object"));
        }
        let mut object = before.clone();
        merge(&mut object, patch);
        let object = decode(kind, object)?;
        for field in ["name", "namespace", "uid"] {
            if object["metadata"][field] != before["metadata"][field] {
                let cause =
                    Cause::invalid(&format!("metadata.{field}"), &object["metadata"][field], "field is immutable");
                return Err(Failure::invalid(kind, name, vec![cause]));
            }
        }
        let version = requested_version(&object)?;
        if version != 0 && version != stored_version(&before) {
            return Err(Failure::stale(kind, name));
        }
        self.update(kind, namespace, name, &before, object)
    }

    /// A server-side apply, without its bookkeeping of who owns which field: made if missing, else merged.
    pub(super) fn apply(
        &mut self,
        kind: Kind,
        namespace: &str,
        name: &str,
        mut body: Value,
    ) -> Result<(Value, bool), Failure> {
        if self.get(kind, namespace, name).is_ok() {
            return Ok((self.patch(kind, namespace, name, &body)?, false));
        }
        if !body.is_object() {
            return Err(Failure::bad_request("the body is not a JSON object"));
        }
        body["metadata"]["name"] = name.into();
        Ok((self.create(kind, namespace, body)?, true))
    }

    fn update(
        &mut self,
        kind: Kind,
        namespace: &str,
        name: &str,
        before: &Value,
        mut object: Value,
    ) -> Result<Value, Failure> {
        // What the server owns stays as it is, whatever the client sent.
        for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            match before["metadata"].get(field) {
                Some(value) => object["metadata"][field] = value.clone(),
                None => remove(&mut object["metadata"], field),
            }
        }
        object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        let causes = validate(kind, &object, Some(before));
        if !causes.is_empty() {
            return Err(Failure::invalid(kind, name, causes));
        }
        if object == *before {
            return Ok(object);
        }
        if kind == Kind::StatefulSet && object["spec"] != before["spec"] {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(1);
            object["metadata"]["generation"] = (generation + 1).into();
        }
        Ok(self.commit(kind, namespace, name, Some(object), false))
    }

    /// A DELETE. A Pod is only marked, as long as it has a grace period: its kubelet ends it and removes it then.
    pub(super) fn delete(
        &mut self,
        kind: Kind,
        namespace: &str,
        name: &str,
        options: &Value,
    ) -> Result<Value, Failure> {
        let mut object = self.get(kind, namespace, name)?.clone();
        let wanted = &options["preconditions"];
        for field in ["uid", "resourceVersion"] {
            let (want, have) = (text(&wanted[field]), text(&object["metadata"][field]));
            if !want.is_empty() && want != have {
                let why =
                    format!("Precondition failed: {field} in precondition: {want}, {field} in object meta: {have}");
                return Err(Failure::conflict(kind, name, &why));
            }
        }
        if kind == Kind::Pod && options["gracePeriodSeconds"] != 0 {
            if object["metadata"]["deletionTimestamp"].is_null() {
                object["metadata"]["deletionTimestamp"] =
                    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
                object["metadata"]["deletionGracePeriodSeconds"] = 60.into();
                object = self.commit(kind, namespace, name, Some(object), false);
            }
            return Ok(object);
        }
        let uid = object["metadata"]["uid"].clone();
        self.commit(kind, namespace, name, None, true);
        Ok(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": name, "group": kind.group(), "kind": kind.plural(), "uid": uid},
        }))
    }

    /// The one place where anything changes.
    fn commit(&mut self, kind: Kind, namespace: &str, name: &str, after: Option<Value>, deleted: bool) -> Value {
        self.version += 1;
        let key = key(kind, namespace, name);
        let before = self.live.remove(&key);
        let mut object = after.or_else(|| before.clone()).unwrap_or(Value::Null);
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if !deleted {
            self.live.insert(key, object.clone());
        }
        let namespace = namespace.to_owned();
        self.history.push_back(Change {
            version: self.version,
            kind,
            namespace,
            before,
            object: object.clone(),
            deleted,
        });
        while self.history.len() > HISTORY_MAX {
            if let Some(dropped) = self.history.pop_front() {
                self.oldest = dropped.version;
            }
        }
        object
    }

    /// The changes after `version`.
    ///
    /// # Errors
    /// 410 when some of them are no longer known.
    pub(super) fn changes_since(&self, version: u64) -> Result<Vec<Change>, Failure> {
        if version < self.oldest {
            return Err(Failure::expired(version, self.oldest));
        }
        let from = self.history.partition_point(|change| change.version <= version);
        Ok(self.history.range(from..).cloned().collect())
    }

    /// Forgets the history, as etcd's compaction does: every watch from an older version gets 410.
    pub(super) fn compact(&mut self) {
        // Versions are also used up elsewhere in a real server, so that the newest change is old, too.
        self.version += 1;
        self.oldest = self.version;
        self.history.clear();
    }
}

fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    (kind, namespace.to_owned(), name.to_owned())
}

fn remove(object: &mut Value, field: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(field);
    }
}

/// Puts the object into the namespace of the path.
fn place(object: &mut Value, namespace: &str) -> Result<(), Failure> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    match text(&object["metadata"]["namespace"]) {
        "" => object["metadata"]["namespace"] = namespace.into(),
        same if same == namespace => {}
        other => {
            return Err(Failure::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({other}, {namespace})"
            )));
        }
    }
    Ok(())
}

/// The version in a body, 0 for none.
fn requested_version(object: &Value) -> Result<u64, Failure> {
    match text(&object["metadata"]["resourceVersion"]) {
        "" => Ok(0),
        digits => digits.parse().map_err(|_| {
            let cause = Cause::invalid("metadata.resourceVersion", &digits.into(), "must be an unsigned integer");
            Failure::invalid(Kind::Lease, text(&object["metadata"]["name"]), vec![cause])
        }),
    }
}

fn stored_version(object: &Value) -> u64 {
    text(&object["metadata"]["resourceVersion"]).parse().unwrap_or(0)
}

/// RFC 7396: objects merge, null removes, all else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            remove(target, name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lease(name: &str, spec: Value) -> Value {
        json!({"metadata": {"name": name}, "spec": spec})
    }

    #[test]
    fn every_change_of_any_object_takes_one_version_and_an_empty_change_takes_none() {
        let mut objects = Objects::new();
        let first = objects.create(Kind::Lease, "ns", lease("a", json!({"leaseTransitions": 1}))).unwrap();
        let other = objects.create(Kind::Lease, "ns", lease("b", json!({}))).unwrap();
        assert_eq!(stored_version(&other), stored_version(&first) + 1);
        let same = objects.patch(Kind::Lease, "ns", "a", &json!({"spec": {"leaseTransitions": 1}})).unwrap();
        assert_eq!(same, first);
        assert_eq!(objects.version(), stored_version(&other));
    }

    #[test]
    fn a_put_is_a_compare_and_swap() {
        let mut objects = Objects::new();
        let first = objects.create(Kind::Lease, "ns", lease("a", json!({"holderIdentity": "x"}))).unwrap();
        let mut next = first.clone();
        next["spec"]["holderIdentity"] = "y".into();
        assert!(objects.replace(Kind::Lease, "ns", "a", next.clone()).is_ok());
        let stale = objects.replace(Kind::Lease, "ns", "a", next.clone()).unwrap_err();
        assert_eq!((stale.code, stale.reason), (409, "Conflict"));
        remove(&mut next["metadata"], "resourceVersion");
        let blind = objects.replace(Kind::Lease, "ns", "a", next).unwrap_err();
        assert_eq!(blind.code, 422);
        assert!(
            blind.message.contains("metadata.resourceVersion: Invalid value: 0x0: must be specified for an update")
        );
    }

    #[test]
    fn a_put_after_a_deletion_makes_the_lease_anew_unless_its_uid_was_given() {
        let mut objects = Objects::new();
        let mut first = objects.create(Kind::Lease, "ns", lease("a", json!({}))).unwrap();
        objects.delete(Kind::Lease, "ns", "a", &json!({})).unwrap();
        let refused = objects.replace(Kind::Lease, "ns", "a", first.clone()).unwrap_err();
        assert_eq!((refused.code, refused.reason), (409, "Conflict"));
        remove(&mut first["metadata"], "uid");
        let (made, created) = objects.replace(Kind::Lease, "ns", "a", first.clone()).unwrap();
        assert!(created);
        assert_ne!(made["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        let pod = json!({"metadata": {"name": "p"}});
        assert_eq!(objects.replace(Kind::Pod, "ns", "p", pod).unwrap_err().code, 404);
    }

    #[test]
    fn a_patch_is_conditional_only_with_a_version() {
        let mut objects = Objects::new();
        let first = objects.create(Kind::Lease, "ns", lease("a", json!({"holderIdentity": "x"}))).unwrap();
        objects.patch(Kind::Lease, "ns", "a", &json!({"spec": {"holderIdentity": "y"}})).unwrap();
        let version = first["metadata"]["resourceVersion"].clone();
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": "z"}});
        assert_eq!(objects.patch(Kind::Lease, "ns", "a", &patch).unwrap_err().reason, "Conflict");
        let cleared = objects.patch(Kind::Lease, "ns", "a", &json!({"spec": {"holderIdentity": null}})).unwrap();
        assert!(cleared["spec"].get("holderIdentity").is_none());
        assert_eq!(objects.patch(Kind::Lease, "ns", "b", &json!({})).unwrap_err().code, 404);
    }

    #[test]
    fn a_watch_from_before_the_compaction_is_refused_with_410() {
        let mut objects = Objects::new();
        let from = objects.version();
        objects.create(Kind::Lease, "ns", lease("a", json!({}))).unwrap();
        assert_eq!(objects.changes_since(from).unwrap().len(), 1);
        objects.compact();
        assert_eq!(objects.changes_since(from).unwrap_err().code, 410);
        assert!(objects.changes_since(objects.version()).unwrap().is_empty());
    }

    #[test]
    fn a_create_with_a_version_or_of_an_existing_object_is_refused() {
        let mut objects = Objects::new();
        let made = objects.create(Kind::Lease, "ns", lease("a", json!({}))).unwrap();
        assert_eq!(objects.create(Kind::Lease, "ns", lease("a", json!({}))).unwrap_err().reason, "AlreadyExists");
        assert_eq!(objects.create(Kind::Lease, "ns", made).unwrap_err().code, 500);
        let elsewhere = json!({"metadata": {"name": "a", "namespace": "other"}});
        assert_eq!(objects.create(Kind::Lease, "ns", elsewhere).unwrap_err().code, 400);
    }
}
