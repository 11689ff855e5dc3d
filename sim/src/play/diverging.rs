//! Data that differ, in runs of their own (`--diverging`): a bit flips in one replica's memory, or in what it keeps at rest,
//! or it applies otherwise than the others, as a build with a fault would.
//!
//! ```text
//!   chaos ─▶ damage, to a minority of the voters at most; a replica that knows it may be wiped, as its advice says
//!         ─▶ heal ─▶ all that are damaged say so? ─▶ a majority with diverged ones in it: a write is acknowledged? [D5]
//!         ─▶ all of them wiped ─▶ settled?
//! ```
//!
//! The sum that a shell tells is the digest of what was applied, and what is wrong with it. A snapshot that is sent is always
//! sound: else damage would spread to more replicas than the promises allow for.

use crate::model::cluster::Cluster;
use crate::model::event::Event;
use crate::model::life::Life;
use leasehold_replication::{Diverged, Input, ReplicaId, Seq, Sum, Ticket, Voters};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a build with a fault does to the sum: the same on every pod of it.
const OTHERWISE: u64 = 0x0bad;

impl Cluster {
    // ---- the shell

    /// The shell knows the sums of what it has applied since its start.
    pub(crate) fn tell_sum(&mut self, life: Life, sequence: Seq) {
        let Some(up) = self.pods[life.pod].store.up() else { return };
        if sequence > up.applied.seq {
            let what = format!("pod-{} is asked for the sum after {sequence}, which it has not applied", life.pod);
            return self.violation(what);
        }
        let is_known = sequence >= up.began_at;
        let digest = self.facts.digest(sequence).filter(|_| is_known);
        let sum = digest.map(|digest| Sum(u128::from(digest ^ up.damage_at(sequence))));
        self.schedule(self.now, Event::Store { life, input: Box::new(Input::Sum { sequence, sum }) });
    }

    pub(crate) fn mark_diverged(&mut self, life: Life, ticket: Ticket, mark: Diverged) {
        self.check_mark(life.pod, &mark);
        self.pods[life.pod].volume.diverged = Some(mark);
        self.begin(life, ticket, Vec::new());
    }

    /// While a snapshot is written, the sum is computed from the bytes: what flipped at rest shows. True: it is false, and
    /// there is no snapshot \[D3\].
    pub(crate) fn finds_false_sum(&mut self, pod: usize) -> bool {
        let Some(up) = self.pods[pod].store.up().filter(|up| up.at_rest) else { return false };
        let (position, life) = (up.applied, self.pods[pod].store.life);
        let said = self.facts.digest(position.seq).unwrap_or_default() ^ up.damage_at(position.seq);
        let (said, found) = (Sum(u128::from(said)), Sum(u128::from(said ^ 1)));
        let input = Box::new(Input::SumIsFalse { position, said, found });
        self.schedule(self.now, Event::Store { life, input });
        true
    }

    // ---- damage

    /// The replicas whose data differ, or may after their next start; and those that are marked for it.
    fn damaged(&self) -> BTreeSet<ReplicaId> {
        let all = self.pods.iter().filter(|pod| {
            let is_wrong = pod.store.up().is_some_and(|up| up.at_rest || up.damage_at(up.applied.seq.next()) != 0);
            is_wrong || pod.volume.snapshot_damage != 0 || pod.volume.diverged.is_some()
        });
        all.map(|pod| pod.volume.replica).collect()
    }

    /// With it, is still only a minority damaged: of the wanted pods, and of all voters by any log?
    fn may_be_damaged(&self, pod: usize) -> bool {
        let volume = &self.pods[pod].volume;
        let is_sound = self.pods[pod].store.is_up() && !self.damaged().contains(&volume.replica);
        let mut damaged = self.damaged();
        damaged.insert(volume.replica);
        let is_minority = |some: usize, all: usize| 2 * some < all;
        let sets = self.pods.iter().filter_map(|pod| pod.volume.voters()).filter(|set| !set.voters.is_empty());
        let sets: Vec<_> = sets.collect();
        let is_small = |set: &Voters| {
            let some = set.voters.iter().filter(|voter| damaged.contains(&voter.replica)).count();
            is_minority(some, set.voters.len())
        };
        // Before the first start nobody knows who will be the only voter.
        is_sound
            && !sets.is_empty()
            && is_minority(damaged.len(), self.api.wanted)
            && sets.into_iter().all(|set| is_small(&set))
    }

    /// From its next entry on the sum is another one.
    pub(crate) fn flip_bit(&mut self, pod: usize) {
        let bit = 1 << self.rng.below(64);
        self.damage(pod, bit);
    }

    pub(crate) fn apply_otherwise(&mut self, pod: usize) {
        self.damage(pod, OTHERWISE);
    }

    fn damage(&mut self, pod: usize, what: u64) {
        if self.may_be_damaged(pod)
            && let Some(up) = self.pods[pod].store.up_mut()
        {
            up.damage.push((up.applied.seq.next(), what));
            self.trace.add(self.now, || format!("pod-{pod} has other data from its next entry on"));
        }
    }

    /// The sum stays as it is, until it is computed anew.
    pub(crate) fn flip_bit_at_rest(&mut self, pod: usize) {
        if self.may_be_damaged(pod)
            && let Some(up) = self.pods[pod].store.up_mut()
        {
            up.at_rest = true;
            self.trace.add(self.now, || format!("pod-{pod} has another bit in a record at rest"));
        }
    }

    // ---- the end of a run

    /// All that are damaged find out; the cluster writes with them; a person wipes them. Returns how long it took to settle.
    pub(crate) fn find_out_and_mend(&mut self) -> Result<Duration, String> {
        let found = self.damaged().len();
        self.all_find_out()?;
        if found > 0 {
            self.writes_with_the_diverged()?;
        }
        for pod in 0..self.pods.len() {
            if self.pods[pod].volume.diverged.is_some() {
                if self.pods[pod].store.is_running() {
                    self.kill_store(pod, false);
                }
                self.wipe(pod);
            }
        }
        let settled = self.settle("after the diverged ones were wiped")?;
        self.stays_settled()?;
        Ok(settled)
    }

    /// Longer than anything takes to settle.
    fn patience(&self) -> Duration {
        Duration::from_secs(40) + 4 * self.settings.lease_duration + 2 * self.settings.grace
    }

    fn all_find_out(&mut self) -> Result<(), String> {
        let until = self.now + self.patience();
        while !self.facts.is_violated() {
            let is_unknown = |pod: &usize| {
                let found = &self.pods[*pod];
                self.damaged().contains(&found.volume.replica) && found.volume.diverged.is_none()
            };
            let Some(unknown) = (0..self.pods.len()).find(is_unknown) else { return Ok(()) };
            if self.now > until {
                let name = &self.pods[unknown].name;
                return Err(format!("liveness: the data of {name} differ, and it does not say so\n{}", self.explain()));
            }
            for pod in 0..self.pods.len() {
                self.finds_false_sum(pod);
            }
            self.write_once();
            self.run_until(self.now + Duration::from_millis(100));
        }
        Ok(())
    }

    /// So many sound voters are cut off that every commit needs all that is left \[D5\].
    fn writes_with_the_diverged(&mut self) -> Result<(), String> {
        let until = self.now + self.patience();
        let mut is_cut = false;
        while !self.facts.is_violated() {
            if is_cut && self.write_once() || self.lacks_a_snapshot() {
                self.network.mend();
                return Ok(());
            }
            if self.now > until {
                let what = "nothing is written with diverged replicas in the majority";
                return Err(format!("liveness: {what} [D5]\n{}", self.explain()));
            }
            if !is_cut {
                is_cut = self.cut_off_sound_followers(until);
            }
            self.run_until(self.now + Duration::from_millis(100));
        }
        Ok(())
    }

    /// Someone who has diverged is so far behind that only a snapshot would help, and it takes none.
    fn lacks_a_snapshot(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let base = self.pods[leader].volume.log.base().seq;
        self.pods.iter().any(|pod| pod.volume.diverged.is_some() && pod.volume.log.last_seq() < base)
    }

    /// True: there is a leader, all wanted pods are its voters and up, except for learners that have diverged, and the sound
    /// voters that nobody needs are cut off.
    fn cut_off_sound_followers(&mut self, until: Duration) -> bool {
        let Some(leader) = self.leader() else { return false };
        let status = self.pods[leader].store.status();
        let is_voter = |pod: &usize| status.voters.contains(self.pods[*pod].volume.replica);
        let is_sound = |pod: &usize| self.pods[*pod].volume.diverged.is_none();
        let is_in_order = |pod: usize| {
            let is_there = self.pods[pod].store.up().is_some_and(|up| up.status.position == status.position);
            is_there && is_voter(&pod) || !is_sound(&pod) && !is_voter(&pod)
        };
        if !status.leader_heard || !(0..self.api.wanted).all(is_in_order) {
            return false;
        }
        let others = (0..self.api.wanted).filter(|pod| *pod != leader && is_voter(pod) && is_sound(pod));
        let unneeded = status.voters.voters.len() - status.voters.majority();
        for pod in others.take(unneeded).collect::<Vec<usize>>() {
            self.trace.add(self.now, || format!("pod-{pod} is cut off, so the majority needs who has diverged"));
            (0..self.pods.len()).for_each(|other| self.network.cut_both(pod, other, until));
        }
        true
    }
}
