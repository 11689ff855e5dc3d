//! The wanted members: the pods of the StatefulSet, by its `spec.replicas` and `spec.ordinals.start`.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Api, Resource};
use leasehold_election::Member;
use serde::Deserialize;
use tracing::info;

use crate::args::Config;
use crate::kube::observe::Observed;

/// The resource, for messages about rights.
pub(crate) const STATEFUL_SETS: &str = "statefulsets.apps";

/// More pods than this are an edit by hand, not a cluster; they would only fill role.json.
const MEMBERS_MAX: u64 = 1000;

/// The few fields of a StatefulSet that we read. The whole type would bring the code for every kind of volume with it: two
/// megabytes of program.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StatefulSet {
    metadata: ObjectMeta,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    update_revision: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Spec {
    replicas: Option<i32>,
    ordinals: Option<Ordinals>,
}

#[derive(Clone, Debug, Deserialize)]
struct Ordinals {
    start: Option<i32>,
}

impl Resource for StatefulSet {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "StatefulSet".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "apps".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "statefulsets".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The relevant content of the StatefulSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    /// The wanted pods in the order of their ordinals. None if no pod is wanted or the StatefulSet is gone: then the voters
    /// must not change.
    pub(crate) members: Option<Vec<Member>>,
    /// What owns the Lease and the EndpointSlices.
    pub(crate) owner: Option<OwnerReference>,
    /// The revision to which the pods are being updated: their label `controller-revision-hash`, once they are.
    pub(crate) newest_revision: Option<String>,
}

pub(crate) fn api(client: kube::Client, namespace: &str) -> Api<StatefulSet> {
    Api::namespaced(client, namespace)
}

/// What an observation says about the wanted pods. None: nothing new; what was known stays.
pub(crate) fn wanted(observed: Observed<StatefulSet>, config: &Config) -> Option<Wanted> {
    match observed {
        Observed::Listed(Some(stateful_set), _) | Observed::Changed(stateful_set) => Some(Wanted {
            members: members(&stateful_set, config),
            owner: owner(&stateful_set),
            newest_revision: stateful_set
                .status
                .and_then(|status| status.update_revision)
                .filter(|revision| !revision.is_empty()),
        }),
        Observed::Listed(None, _) => {
            info!(stateful_set = config.stateful_set, "the StatefulSet does not exist");
            Some(Wanted::default())
        }
        Observed::Deleted(stateful_set) => {
            info!(stateful_set = config.stateful_set, "the StatefulSet was deleted");
            // What this pod still creates until it ends is removed with it: the garbage collector deletes objects whose
            // owner does not exist.
            Some(Wanted { owner: owner(&stateful_set), ..Wanted::default() })
        }
        Observed::Lost | Observed::Failed => None,
    }
}

fn members(stateful_set: &StatefulSet, config: &Config) -> Option<Vec<Member>> {
    let name = stateful_set.metadata.name.as_ref()?;
    let spec = stateful_set.spec.as_ref()?;
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    let start = u64::try_from(start).ok()?;
    // The API server sets the default, 1, itself.
    let replicas = u64::try_from(spec.replicas.unwrap_or(1)).ok()?.min(MEMBERS_MAX);
    let member = |ordinal: u64| {
        let name = format!("{name}-{ordinal}");
        let address = config.member_address.render(&name).unwrap_or_default();
        let peer_address = config.member_peer_address.render(&name).unwrap_or_default();
        Member { name, address, peer_address }
    };
    (replicas > 0).then(|| (start..start.saturating_add(replicas)).map(member).collect())
}

/// Without `blockOwnerDeletion`: that would need the right to update the StatefulSet's finalizers.
///
/// None if its dependents must stay, with `--cascade=orphan`: the garbage collector first removes the reference from those
/// that exist, and deletes any object that names the owner after that. The last change removes the finalizer `orphan`. So
/// these signs tell the three ways apart: `background`, helm's own, sets no `deletionTimestamp`, and `foreground` has a
/// finalizer as long as pods are left.
fn owner(stateful_set: &StatefulSet) -> Option<OwnerReference> {
    let metadata = &stateful_set.metadata;
    let goes_last = |finalizers: &Vec<String>| finalizers.iter().any(|finalizer| finalizer == "foregroundDeletion");
    if metadata.deletion_timestamp.is_some() && !metadata.finalizers.as_ref().is_some_and(goes_last) {
        return None;
    }
    Some(OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "StatefulSet".to_owned(),
        name: stateful_set.metadata.name.clone()?,
        uid: stateful_set.metadata.uid.clone()?,
        controller: None,
        block_owner_deletion: None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(spec: Value) -> Option<Vec<String>> {
        let object = json!({"metadata": {"name": "db", "uid": "u", "resourceVersion": "1"}, "spec": spec});
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        let wanted = wanted(Observed::Changed(serde_json::from_value(object).unwrap()), &config).unwrap();
        assert_eq!(wanted.owner.unwrap().uid, "u");
        wanted.members.map(|members| members.into_iter().map(|member| member.name).collect())
    }

    #[test]
    fn the_wanted_are_counted_from_the_first_ordinal() {
        assert_eq!(of(json!({"replicas": 2, "template": {"anything": [1]}})).unwrap(), ["db-0", "db-1"]);
        assert_eq!(of(json!({"replicas": 2, "ordinals": {"start": 3}})).unwrap(), ["db-3", "db-4"]);
        assert_eq!(of(json!({})).unwrap(), ["db-0"]);
        assert_eq!(of(json!({"replicas": 2_000_000_000})).unwrap().len() as u64, MEMBERS_MAX);
    }

    #[test]
    fn the_revision_that_an_update_leads_to_is_seen() {
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        for (status, revision) in [
            (json!({"currentRevision": "db-1", "updateRevision": "db-2"}), Some("db-2")),
            (json!({"updateRevision": ""}), None),
            (json!({}), None),
            (Value::Null, None),
        ] {
            let object = json!({"metadata": {"name": "db"}, "spec": {"replicas": 1}, "status": status});
            let wanted = wanted(Observed::Changed(serde_json::from_value(object).unwrap()), &config).unwrap();
            assert_eq!(wanted.newest_revision.as_deref(), revision, "{status}");
        }
    }

    fn about_to_go(finalizers: &[&str]) -> StatefulSet {
        let deletion = "2026-01-01T00:00:00Z";
        let metadata = json!({"name": "db", "uid": "u", "deletionTimestamp": deletion, "finalizers": finalizers});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"replicas": 1}})).unwrap()
    }

    #[test]
    fn a_stateful_set_that_leaves_its_pods_owns_nothing_new() {
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        let going = wanted(Observed::Changed(about_to_go(&["orphan"])), &config).unwrap();
        assert_eq!((going.owner, going.members.map(|members| members.len())), (None, Some(1)));
        assert_eq!(wanted(Observed::Deleted(about_to_go(&[])), &config), Some(Wanted::default()));
    }

    #[test]
    fn what_is_made_while_the_pods_go_goes_with_their_stateful_set() {
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        let owner_of = |observed| wanted(observed, &config).unwrap().owner.map(|owner| owner.uid);
        // helm uninstall, kubectl delete: gone at once, its pods not yet.
        let object = json!({"metadata": {"name": "db", "uid": "u"}, "spec": {"replicas": 1}});
        let deleted = Observed::Deleted(serde_json::from_value(object).unwrap());
        assert_eq!(owner_of(deleted).as_deref(), Some("u"));
        // --cascade=foreground
        let going = Observed::Changed(about_to_go(&["foregroundDeletion"]));
        assert_eq!(owner_of(going).as_deref(), Some("u"));
    }

    #[test]
    fn nobody_wanted_and_no_stateful_set_change_nothing_and_an_outage_is_no_news() {
        assert_eq!(of(json!({"replicas": 0})), None);
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        assert_eq!(wanted(Observed::Listed(None, None), &config), Some(Wanted::default()));
        assert_eq!(wanted(Observed::Failed, &config), None);
        assert_eq!(wanted(Observed::Lost, &config), None);
    }
}
