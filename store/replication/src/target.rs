//! A pod to reach, and its place among the pods.

use crate::replica::Replica;
use std::net::IpAddr;

/// A pod to reach: by any of its IPs, or by the name. Only what this very pod says counts as an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// The name of the pod.
    pub name: String,
    /// `host:port`; the host is usually a DNS name.
    pub peer_address: String,
    /// Its IPs, the newest knowledge first; the port is that of `peer_address`.
    pub addresses: Vec<IpAddr>,
}

impl Replica {
    /// How that pod's replica is reached.
    pub(crate) fn target_of(&self, name: &str) -> Option<Target> {
        let member = self.sidecar.members().iter().find(|member| member.name == name).map(|member| member.target());
        let voter = || {
            let voter = self.volume.log().voters().named(name)?;
            let (name, peer_address) = (voter.name.clone(), voter.peer_address.clone());
            Some(Target { name, peer_address, addresses: Vec::new() })
        };
        member.or_else(voter)
    }

    /// Where that pod's replica is reached: by the members, else by the voters.
    pub(crate) fn address_of(&self, name: &str) -> Option<String> {
        let member =
            self.sidecar.members().iter().find(|member| member.name == name).map(|member| &member.peer_address);
        member.or_else(|| self.volume.log().voters().named(name).map(|voter| &voter.peer_address)).cloned()
    }
}

/// The number at the end of a pod's name. A name without one comes last.
pub(crate) fn ordinal(name: &str) -> u64 {
    name.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}
