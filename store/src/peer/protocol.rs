//! The paths by which replicas reach each other over HTTP, and the headers that name the addressee and the sender.

/// A hello, an answer, a claim: JSON of a few hundred bytes. Longer ones are refused.
pub(crate) const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Where replicas connect.
pub(crate) const REPLICATE_PATH: &str = "/v1/replicate";
/// Where leaders invite.
pub(crate) const CLAIM_PATH: &str = "/v1/claim";
/// Where replicas ask each other.
pub(crate) const STATE_PATH: &str = "/v1/state";
/// The addressee of a request, and the sender of its answer: `cluster/pod`. An answer from another sender does not count
/// \[F2\].
pub(crate) const TO: &str = "leasehold-to";
pub(crate) const NAME: &str = "leasehold-name";
/// The cluster-id of the intended cluster; here and in the requests themselves.
pub const CLUSTER: &str = "leasehold-cluster";
/// What a listener that demands more than we show says in HTTP, the only protocol that it knows we speak.
pub(crate) const DEMANDS_MORE: &str =
    "the other end demands a proof of membership (or TLS), and this replica has none: set --peer-key or --peer-tls";
