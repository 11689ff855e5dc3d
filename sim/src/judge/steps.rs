//! Checks when a store reports or does something: against the other pods and the true time.

use crate::model::cluster::Cluster;
use crate::model::network::stranger;
use leasehold_replication::{Entry, Frame, Payload, Phase, Pulse, Seq};
use std::time::Duration;

impl Cluster {
    /// A replica's report on the age of its data must hold: everything applied anywhere before that moment is applied here.
    pub(crate) fn check_freshness(&mut self, pod: usize) {
        let found = &self.pods[pod];
        let Some(up) = found.store.up() else { return };
        let Some(as_of) = up.replica.fresh_as_of() else { return };
        let (as_of, next) = (found.global(as_of), up.applied.seq.0 as usize);
        // Its clock may be late by a rounding error.
        if let Some(at) = self.facts.applied_at.get(next).filter(|at| **at + Duration::from_micros(1) < as_of) {
            self.facts.violated(format!(
                "invariant 7: {} says that its data are as of {as_of:?}, and lacks entry {}, applied at {at:?}",
                found.name,
                next + 1
            ));
        }
    }

    /// A pod behind a slow link that becomes a voter must not lack more than the link delivers in about a second \[L14\].
    pub(crate) fn check_added(&mut self, leader: usize, entry: &Entry) {
        let (Payload::Voters(after), Some((slow, rate))) = (&entry.payload, self.network.slow) else { return };
        let log = &self.pods[leader].volume.log;
        let replica = self.pods[slow].volume.replica;
        let was = log.voters().is_some_and(|(_, before)| before.contains(replica));
        if slow == leader || was || !after.contains(replica) {
            return;
        }
        let lacks = log.last_seq().0.saturating_sub(self.pods[slow].volume.durable_log.last_seq().0);
        let bytes = self.settings.command_bytes as u64;
        if lacks * bytes > 2 * rate + 4 * bytes {
            self.violation(format!(
                "pod-{leader} makes pod-{slow} a voter that lacks {lacks} entries of {bytes} bytes, at {rate} bytes/s [L14]"
            ));
        }
    }

    pub(crate) fn check_ack(&mut self, pod: usize, frame: &Frame, seq: Seq) {
        let found = &self.pods[pod];
        let Some(up) = found.store.up() else { return };
        if up.incarnation == frame.incarnation {
            return; // A recovering leader that pulls.
        }
        let leader = self.pods.iter().find(|pod| {
            pod.store.up().is_some_and(|up| up.incarnation == frame.incarnation && up.status.promise.term == frame.term)
        });
        self.facts.acknowledged(&found.name, &found.volume, seq, leader.map(|leader| &leader.volume.log));
    }

    /// A store made a step: what it promised, wrote, applied, committed and opened, and what others must have of it.
    pub(crate) fn check_step(&mut self, pod: usize, before: &Pulse, after: &Pulse) {
        let found = &self.pods[pod];
        let (name, log) = (&found.name, &found.volume.log);
        let Some(up) = found.store.up() else { return };
        let (old, new) = (before.promise, after.promise);
        if new.term < old.term || (new.term == old.term && new.incarnation != old.incarnation) {
            self.facts.violated(format!("invariant 5: {name} promised {old}, and now {new}"));
        }
        if new.incarnation == stranger().incarnation {
            self.facts.violated(format!("{name} promises to the leader of another cluster [F3]"));
        }
        if after.position != log.last() {
            let last = log.last();
            self.facts.violated(format!("{name} says its log ends at {}, it wrote up to {last}", after.position));
        }
        if up.applied.seq > after.committed {
            let (applied, committed) = (up.applied, after.committed);
            self.facts.violated(format!("invariant 4: {name} applied {applied}, committed is {committed}"));
        }
        let leads = matches!(after.phase, Phase::Leading | Phase::Recovering) && new.incarnation == up.incarnation;
        if leads && after.committed > before.committed {
            self.facts.committed(name, log, after);
        }
        if after.phase == Phase::Leading && (before.phase != Phase::Leading || old != new) {
            self.facts.opened(name, up.incarnation, &up.status, log);
        }
        for (position, by) in self.facts.take_fresh() {
            for other in &self.pods {
                if let Some(up) = other.store.up() {
                    self.facts.must_have(&other.name, &up.status, &other.volume.log, position, by);
                }
            }
        }
    }
}
