//! The sidecar's work at the API server, by the crate `kube`: each request goes through a [`request::Requester`], which
//! gives it a time-out and sorts the outcomes by what the caller does next.
//!
//! ```text
//!   connect ──▶ the client for all of them
//!   observe ──▶ the Lease, and the StatefulSet as members reads it        ┐
//!   addresses ▶ the IPs of the pods                                       ├──▶ driver
//!   lease ◀───▶ reads and compare-and-swaps                               ┘
//!   endpoints, label ──▶ kept right; upkeep says what is not, and why
//!   events ──▶ what people shall know
//! ```
//!
//! Nothing here decides who leads, and nothing here knows the driver. `kube::Api` is the crate's, `crate::kube` is this
//! module: only in `lib.rs` both are in scope.

pub(crate) mod addresses;
pub(crate) mod connect;
pub(crate) mod endpoints;
pub(crate) mod events;
pub(crate) mod label;
pub(crate) mod lease;
pub(crate) mod members;
pub(crate) mod observe;
pub(crate) mod record;
pub(crate) mod request;
pub(crate) mod upkeep;
