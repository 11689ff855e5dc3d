//! The kinds of object that the embedded API knows, and the rules in which they differ.

use k8s_openapi::api::{
    apps::v1::StatefulSet, coordination::v1::Lease, core::v1::Pod, discovery::v1::EndpointSlice, events::v1::Event,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `coordination.k8s.io/v1`
    Lease,
    /// `events.k8s.io/v1`
    Event,
    /// `v1`
    Pod,
    /// `apps/v1`
    StatefulSet,
    /// `discovery.k8s.io/v1`
    EndpointSlice,
}

impl Kind {
    /// Every kind, for discovery and look-ups.
    pub const ALL: [Kind; 5] = [Kind::Lease, Kind::Event, Kind::Pod, Kind::StatefulSet, Kind::EndpointSlice];

    /// The `kind` of its objects.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Lease => "Lease",
            Kind::Event => "Event",
            Kind::Pod => "Pod",
            Kind::StatefulSet => "StatefulSet",
            Kind::EndpointSlice => "EndpointSlice",
        }
    }

    /// The API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Kind::Lease => "coordination.k8s.io",
            Kind::Event => "events.k8s.io",
            Kind::Pod => "",
            Kind::StatefulSet => "apps",
            Kind::EndpointSlice => "discovery.k8s.io",
        }
    }

    /// The `apiVersion` of its objects; every kind here is served as v1 only.
    pub fn api_version(self) -> String {
        if self.group().is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group()) }
    }

    /// The resource, as in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Lease => "leases",
            Kind::Event => "events",
            Kind::Pod => "pods",
            Kind::StatefulSet => "statefulsets",
            Kind::EndpointSlice => "endpointslices",
        }
    }

    /// The resource with its group, as in messages.
    pub fn qualified(self) -> String {
        if self.group().is_empty() { self.plural().to_owned() } else { format!("{}.{}", self.plural(), self.group()) }
    }

    /// The kind with its group, as in messages about the object itself.
    pub fn with_group(self) -> String {
        if self.group().is_empty() { self.name().to_owned() } else { format!("{}.{}", self.name(), self.group()) }
    }

    /// The kind that a path names.
    pub fn find(group: &str, plural: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.group() == group && kind.plural() == plural)
    }

    /// A PUT of a missing object makes it (in the API server: `AllowCreateOnUpdate` of the kind's strategy).
    pub fn put_may_create(self) -> bool {
        matches!(self, Kind::Lease | Kind::Event)
    }

    /// Its objects have a `metadata.generation`, and it counts changes of what.
    pub(super) fn generation_counts(self, before: &Value, after: &Value) -> bool {
        match self {
            Kind::StatefulSet => before["spec"] != after["spec"],
            Kind::EndpointSlice => {
                let fields = ["addressType", "endpoints", "ports"];
                fields.iter().any(|field| before[field] != after[field])
                    || before["metadata"]["labels"] != after["metadata"]["labels"]
            }
            Kind::Lease | Kind::Event | Kind::Pod => false,
        }
    }

    /// A PUT without a resourceVersion overwrites (`AllowUnconditionalUpdate`). Not so for Leases.
    pub fn put_may_be_blind(self) -> bool {
        self != Kind::Lease
    }

    /// Reads the object into its Rust type and writes it again: wrong types and numbers out of range are errors, fields
    /// that the type does not have are dropped, as the API server drops them.
    pub(super) fn normalized(self, object: Value) -> Result<Value, serde_json::Error> {
        fn through<T: DeserializeOwned + Serialize>(object: Value) -> Result<Value, serde_json::Error> {
            serde_json::to_value(serde_json::from_value::<T>(object)?)
        }
        match self {
            Kind::Lease => through::<Lease>(object),
            Kind::Event => through::<Event>(object),
            Kind::Pod => through::<Pod>(object),
            Kind::StatefulSet => through::<StatefulSet>(object),
            Kind::EndpointSlice => through::<EndpointSlice>(object),
        }
    }
}
