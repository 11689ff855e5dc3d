//! Log lines of a replica's transitions: each once, with the words of the glossary.

use leasehold_replication::{Phase, Status};
use tracing::{debug, error, info, warn};

/// Logs what has changed.
pub(super) fn log(before: Option<&Status>, now: &Status) {
    let (phase, promise) = (before.map(|status| status.phase), before.map(|status| status.promise));
    if phase != Some(now.phase) || promise != Some(now.promise) {
        let leader = now.following.as_ref().map(|claim| claim.name.as_str());
        info!(phase = ?now.phase, term = %now.promise.term, leader, position = %now.position, "role changed");
    }
    let heard = before.map(|status| status.leader_heard);
    if heard != Some(now.leader_heard) && matches!(now.phase, Phase::Follower | Phase::Learner | Phase::Leading) {
        info!(leader_heard = now.leader_heard, term = %now.promise.term, "contact with the leader changed");
    }
    let cut_off = before.is_some_and(|status| status.cut_off);
    if now.cut_off && !cut_off {
        let leader = now.following.as_ref().map(|claim| claim.name.as_str());
        let address = now.following.as_ref().map(|claim| claim.peer_address.as_str());
        warn!(
            leader,
            address,
            "cut off: the Lease is being renewed, but this pod has not heard its holder for longer than \
             --unready-after; not ready until it does. Check whether this pod reaches that address (network policy, \
             node, peer key)"
        );
    } else if cut_off && !now.cut_off {
        info!("no longer cut off");
    }
    let campaign = before.and_then(|status| status.campaign);
    if campaign != now.campaign {
        info!(campaign = now.campaign.map(|term| term.0), rank = now.rank, "campaign");
    }
    let voters = before.map(|status| &status.voters);
    if voters != Some(&now.voters) {
        let names: Vec<&str> = now.voters.voters.iter().map(|voter| voter.name.as_str()).collect();
        info!(voters = ?names, floor = now.voters.floor, "voters");
    }
    let formats = before.map(|status| (status.formats.log, status.formats.in_force));
    if let Some((log, in_force)) = formats {
        let now = &now.formats;
        if now.log > log {
            info!(
                format = now.log,
                "the log contains the raise to a later format: older builds cannot read this volume any longer"
            );
        }
        if now.in_force > in_force {
            info!(format = now.in_force, "a later format is in force");
        }
    }
    let held_back = before.map(|status| &status.formats.held_back_by);
    if now.open && held_back != Some(&now.formats.held_back_by) && !now.formats.held_back_by.is_empty() {
        let pods: Vec<String> = now.formats.held_back_by.iter().map(ToString::to_string).collect();
        info!(format = now.formats.log + 1, ?pods, "the raise to a later format is held back");
    }
    let differing = before.and_then(|status| status.agreement.as_ref()).map(|agreement| &agreement.differing);
    if let Some(agreement) = &now.agreement
        && differing != Some(&agreement.differing)
    {
        let (sequence, pods) = (agreement.sequence, &agreement.differing);
        match agreement.sum {
            _ if pods.is_empty() => info!(%sequence, "all replicas that were compared have the same data"),
            Some(sum) => warn!(%sequence, %sum, ?pods, "the data of these pods are not those of the majority"),
            None => warn!(
                %sequence,
                ?pods,
                "the data of these pods differ, and no majority of all voters agrees: nobody is judged. Find out whose \
                 are right, and wipe the volumes of the others"
            ),
        }
    }
    let known = |what: &String| before.is_some_and(|status| status.waiting_for.contains(what));
    for what in now.waiting_for.iter().filter(|what| !known(what)) {
        info!(what, "waiting");
    }
    if let Some(foreign) = now.foreign_cluster_id
        && before.and_then(|status| status.foreign_cluster_id) != Some(foreign)
    {
        error!(theirs = %foreign, ours = ?now.cluster_id, "the Lease belongs to another cluster than this volume");
    }
    debug!(position = %now.position, committed = %now.committed, "status");
}
