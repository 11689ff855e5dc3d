//! The objects, one counter of versions for all of them, and the recent changes that watches are served from.
//!
//! ```text
//!   create / replace / patch / delete ──▶ version += 1 ──▶ live[key]      what GET and LIST see
//!                                                      └─▶ history (bounded, older ones: 410)  what WATCH sees
//! ```
//!
//! It imitates the API server in these points: an update that changes nothing keeps the version. A PUT of a missing Lease
//! creates it, even with a resourceVersion, unless its `metadata.uid` says which Lease was meant (then 409). A PATCH with a
//! resourceVersion is conditional, and may not remove the version where a PUT must have one. Versions are compared before
//! values are checked. `crate::conformance` compares each of these with a real API server.

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
    /// The feature gate of that name, which is off by default.
    pub(super) coordinated_leader_election: bool,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) kind: Kind,
    pub(super) namespace: String,
    /// The object before; `None`: it was made.
    pub(super) before: Option<Value>,
    /// The object after the change, or its last state before the deletion, with the deletion's version.
    pub(super) object: Value,
    pub(super) deleted: bool,
}

/// How many changes are kept for watches. The API server keeps five minutes, and its watch cache from a hundred on.
const HISTORY_MAX: usize = 10_000;

impl Objects {
    pub(super) fn new() -> Objects {
        // Not from 1, so that nobody mistakes a version for a count.
        Objects {
            version: 1_000,
            live: BTreeMap::new(),
            history: VecDeque::new(),
            oldest: 1_000,
            coordinated_leader_election: false,
        }
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
        let mut object = self.decode(kind, body)?;
        place(&mut object, namespace)?;
        let meta = &mut object["metadata"];
        if text(&meta["name"]).is_empty() && !text(&meta["generateName"]).is_empty() {
            let suffix = uuid::Uuid::new_v4().simple().to_string();
            meta["name"] = format!("{}{}", text(&meta["generateName"]), &suffix[..5]).into();
        }
        let name = text(&meta["name"]).to_owned();
        // Text that is not a number counts as none here, unlike in an update.
        if requested_version(&object).is_ok_and(|version| version != 0) {
            return Err(Failure::internal("resourceVersion should not be set on objects to be created"));
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

    /// As [`decode`], without the fields that only a feature gate makes known.
    fn decode(&self, kind: Kind, body: Value) -> Result<Value, Failure> {
        let mut object = decode(kind, body)?;
        if kind == Kind::Lease && !self.coordinated_leader_election {
            for field in ["strategy", "preferredHolder"] {
                remove(&mut object["spec"], field);
            }
        }
        Ok(object)
    }

    fn insert_new(&mut self, kind: Kind, namespace: &str, mut object: Value) -> Value {
        let name = text(&object["metadata"]["name"]).to_owned();
        object["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
        object["metadata"]["creationTimestamp"] =
            jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        for field in ["generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            remove(&mut object["metadata"], field);
        }
        if matches!(kind, Kind::StatefulSet | Kind::EndpointSlice) {
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
        let mut object = self.decode(kind, body)?;
        place(&mut object, namespace)?;
        same_name(&object, name)?;
        let Some(before) = self.live.get(&key(kind, namespace, name)).cloned() else {
            let uid = text(&object["metadata"]["uid"]);
            if !kind.put_may_create() {
                return Err(Failure::not_found(kind, name));
            }
            if !uid.is_empty() {
                return Err(wrong_uid(kind, namespace, name, uid, ""));
            }
            let causes = validate(kind, &object, None);
            if !causes.is_empty() {
                return Err(Failure::invalid(kind, name, causes));
            }
            return Ok((self.insert_new(kind, namespace, object), true));
        };
        let uid = text(&object["metadata"]["uid"]);
        if !uid.is_empty() && uid != text(&before["metadata"]["uid"]) {
            return Err(wrong_uid(kind, namespace, name, uid, text(&before["metadata"]["uid"])));
        }
        Ok((self.update(kind, namespace, name, &before, object)?, false))
    }

    /// Writes an object over the one of its name, whatever its version, or makes it.
    pub(super) fn put(&mut self, kind: Kind, namespace: &str, mut body: Value) -> Result<Value, Failure> {
        let name = text(&body["metadata"]["name"]).to_owned();
        let Ok(before) = self.get(kind, namespace, &name) else {
            remove(&mut body["metadata"], "resourceVersion");
            return self.create(kind, namespace, body);
        };
        for field in ["uid", "resourceVersion"] {
            body["metadata"][field] = before["metadata"][field].clone();
        }
        self.replace(kind, namespace, &name, body).map(|(object, _)| object)
    }

    /// A JSON Merge Patch (RFC 7396). With a resourceVersion in the patch it is conditional.
    pub(super) fn patch(&mut self, kind: Kind, namespace: &str, name: &str, patch: &Value) -> Result<Value, Failure> {
        let before = self.get(kind, namespace, name)?.clone();
        if !patch.is_object() {
            return Err(Failure::bad_request("the patch is not a JSON object"));
        }
        let mut object = before.clone();
        merge(&mut object, patch);
        // What is wrong with the object is wrong with the patch: 422, where a PUT gets 400.
        let mut object = self
            .decode(kind, object.clone())
            .map_err(|failure| Failure::invalid_patch(&object, after_colon(&failure.message)))?;
        place(&mut object, namespace)?;
        same_name(&object, name)?;
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
        match requested_version(&object)? {
            0 if !kind.put_may_be_blind() => return Err(Failure::no_version(kind, name)),
            0 => {}
            version if version != stored_version(before) => return Err(Failure::stale(kind, name)),
            _ => {}
        }
        let mut causes = Vec::new();
        for field in ["uid", "deletionTimestamp"] {
            let (sent, stored) = (&object["metadata"][field], &before["metadata"][field]);
            if !(sent.is_null() || text(sent).is_empty() || sent == stored) {
                causes.push(Cause::invalid(&format!("metadata.{field}"), sent, "field is immutable"));
            }
        }
        // What the server owns does not change, whatever the client sent.
        for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            match before["metadata"].get(field) {
                Some(value) => object["metadata"][field] = value.clone(),
                None => remove(&mut object["metadata"], field),
            }
        }
        object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        causes.extend(validate(kind, &object, Some(before)));
        if !causes.is_empty() {
            return Err(Failure::invalid(kind, name, causes));
        }
        if object == *before {
            return Ok(object);
        }
        if kind.generation_counts(before, &object) {
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
        for (field, title, may_be) in
            [("uid", "UID", "deleted and then recreated"), ("resourceVersion", "ResourceVersion", "modified")]
        {
            let (want, have) = (text(&options["preconditions"][field]), text(&object["metadata"][field]));
            if !want.is_empty() && want != have {
                let why = format!(
                    "the {title} in the precondition ({want}) does not match the {title} in record ({have}). The object \
                     might have been {may_be}"
                );
                return Err(Failure::precondition(kind, name, &why));
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
    /// 410 if some of them are no longer known.
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
        _ => {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}

/// The name in the body must be that of the path.
fn same_name(object: &Value, name: &str) -> Result<(), Failure> {
    match text(&object["metadata"]["name"]) {
        same if same == name => Ok(()),
        "" => Err(Failure::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        other => Err(Failure::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({name})"
        ))),
    }
}

/// 409 for an update that means another object of this name.
fn wrong_uid(kind: Kind, namespace: &str, name: &str, wanted: &str, had: &str) -> Failure {
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}/{namespace}/{name}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {had}",
        kind.plural()
    );
    Failure::conflict(kind, name, &why)
}

/// The words after "... cannot be handled as a Lease: ".
fn after_colon(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(_, why)| why)
}

/// The version in a body, 0 for none.
fn requested_version(object: &Value) -> Result<u64, Failure> {
    match text(&object["metadata"]["resourceVersion"]) {
        "" => Ok(0),
        digits => digits
            .parse()
            .map_err(|_| Failure::internal(format!("strconv.ParseUint: parsing {digits:?}: invalid syntax"))),
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
        assert!(blind.message.contains("metadata.resourceVersion: Invalid value: 0: must be specified for an update"));
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
