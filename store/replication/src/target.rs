//! A pod that is to be reached, and its place among the pods.

use std::net::IpAddr;

/// A pod that is to be reached: by any of its IPs, or by the name. Only what this very pod says counts as an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// The name of the pod.
    pub name: String,
    /// `host:port`; the host is a DNS name as a rule.
    pub peer_address: String,
    /// Its IPs, the newest knowledge first; the port is that of `peer_address`.
    pub addresses: Vec<IpAddr>,
}

/// The number at the end of a pod's name. A name without one comes last.
pub(crate) fn ordinal(name: &str) -> u64 {
    name.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}
