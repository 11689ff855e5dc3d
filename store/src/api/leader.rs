//! Who leads, for clients that are sent elsewhere, and for writes that are sent on.

use std::net::IpAddr;

use leasehold_contract::RoleFile;
use leasehold_replication::{Phase, Target};
use uuid::Uuid;

use crate::handle::Handle;

/// Who leads, as far as this replica knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    /// Its pod.
    pub(super) name: String,
    /// Where clients reach it; none if no role.json said so.
    pub(super) address: Option<String>,
    /// Its term.
    pub(super) term: u64,
    /// Its run, if known.
    pub(super) incarnation: Option<Uuid>,
    /// How other replicas reach it.
    pub(super) peer: Target,
}

/// The leader that this replica hears, or itself. A claim that was never heard does not count, unless the own disk hangs:
/// then this replica cannot dial the successor of its hand-over.
pub(super) fn leader_seen(handle: &Handle) -> Option<Leader> {
    let status = handle.status()?;
    let claim = status
        .following
        .as_ref()
        .filter(|_| status.leader_heard || status.phase == Phase::Leading || status.stalled)?;
    let role = handle.role();
    let named = role.as_ref().and_then(|role| {
        role.leader.as_ref().filter(|leader| {
            leader.name == claim.name && leader.incarnation.is_none_or(|found| found == claim.incarnation.0)
        })
    });
    let member = || role.as_ref().and_then(|role| role.members.iter().find(|member| member.name == claim.name));
    let address = named.map(|leader| &leader.address).or_else(|| member().map(|member| &member.address)).cloned();
    let mut addresses = named.map(|leader| leader.addresses.clone()).unwrap_or_default();
    add_addresses(&mut addresses, member().map_or(&[][..], |member| &member.addresses));
    add_addresses(&mut addresses, &claim.addresses);
    let peer_address = named.map_or(&claim.peer_address, |leader| &leader.peer_address).clone();
    let peer = Target { name: claim.name.clone(), peer_address, addresses };
    let incarnation = Some(claim.incarnation.0);
    Some(Leader { name: claim.name.clone(), address, term: claim.term.0, incarnation, peer })
}

/// The leader that role.json names, heard or not: this replica may be the only one that does not hear it.
pub(super) fn leader_named(handle: &Handle) -> Option<Leader> {
    let role = handle.role()?;
    let leader = role.leader.as_ref().filter(|leader| leader.name != role.self_name)?;
    let RoleFile { term, members, .. } = &*role;
    let mut addresses = leader.addresses.clone();
    let member = members.iter().find(|member| member.name == leader.name);
    add_addresses(&mut addresses, member.map_or(&[][..], |member| &member.addresses));
    let peer = Target { name: leader.name.clone(), peer_address: leader.peer_address.clone(), addresses };
    let address = Some(leader.address.clone()).filter(|address| !address.is_empty());
    Some(Leader { name: leader.name.clone(), address, term: *term, incarnation: leader.incarnation, peer })
}

/// Older knowledge after the newer.
fn add_addresses(addresses: &mut Vec<IpAddr>, older: &[IpAddr]) {
    for address in older {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
}
