//! Who is wanted: the pods of the StatefulSet, by its `spec.replicas` and `spec.ordinals.start`.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use leasehold_election::Member;
use tracing::info;

use crate::args::Config;
use crate::observe::Observed;

/// The resource, for messages about rights.
pub(crate) const STATEFUL_SETS: &str = "statefulsets.apps";

/// More pods than this are an edit by hand, not a cluster; they would only fill role.json.
const MEMBERS_MAX: u64 = 1000;

/// What the StatefulSet says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    /// The wanted pods in the order of their ordinals. None where nobody is wanted or the StatefulSet is gone: then
    /// nothing is to be changed in who counts.
    pub(crate) members: Option<Vec<Member>>,
    /// What owns the Lease and the EndpointSlices.
    pub(crate) owner: Option<OwnerReference>,
}

pub(crate) fn api(client: kube::Client, namespace: &str) -> Api<StatefulSet> {
    Api::namespaced(client, namespace)
}

/// What an observation says about who is wanted. None: nothing new; what was known stays.
pub(crate) fn wanted(observed: Observed<StatefulSet>, config: &Config) -> Option<Wanted> {
    match observed {
        Observed::Listed(Some(stateful_set), _) | Observed::Changed(stateful_set) => {
            Some(Wanted { members: members(&stateful_set, config), owner: owner(&stateful_set) })
        }
        Observed::Listed(None, _) | Observed::Deleted(_) => {
            info!(stateful_set = config.stateful_set, "the StatefulSet is not there");
            Some(Wanted::default())
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
fn owner(stateful_set: &StatefulSet) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "StatefulSet".to_owned(),
        name: stateful_set.metadata.name.clone()?,
        uid: stateful_set.metadata.uid.clone()?,
        controller: None,
        block_owner_deletion: None,
    })
}
