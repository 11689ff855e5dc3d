//! What the objects of a cluster are called at its API.

/// The namespace of everything.
pub const NAMESPACE: &str = "database";
/// The name of the StatefulSet, and the stem of the pods' names.
pub const STATEFUL_SET: &str = "database-cluster";
/// The name of the Lease.
pub const LEASE: &str = "database-cluster";
/// The name of the headless Service.
pub const SERVICE: &str = "database-service";
