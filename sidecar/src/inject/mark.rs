//! The marks by which `inject` knows what is its own, and what it is asked for.

/// The annotation of a workload that was injected; its value is the name of the Lease.
pub(super) const INJECTED: &str = "leasehold.dev/injected";
/// The annotation by which a workload asks for it, among several; its value is `true`.
pub(super) const INJECT: &str = "leasehold.dev/inject";
/// The value of `app.kubernetes.io/managed-by` on objects that are ours.
pub(super) const MANAGER: &str = "sidecar-inject";
