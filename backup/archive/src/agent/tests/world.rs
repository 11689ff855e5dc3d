//! Clusters, their pods, a bucket, and a clock.

use crate::changes::Mark;
use crate::name::Name;
use crate::time::Time;
use leasehold_replication::{ClusterId, Seq, Sum};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

pub(super) const FULL_EVERY: Duration = Duration::from_secs(3600);
pub(super) const PODS: usize = 3;

/// What an entry does: the hash afterwards follows from it and the hash before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) mark: Mark,
    pub(super) what: u64,
}

impl Change {
    pub(super) fn hash_after(before: Sum, what: u64) -> Sum {
        Sum((before.0 ^ u128::from(what)).wrapping_mul(0x2d99_787c_926d_46e5_24e4_a5b1_8f4b_1f2d).rotate_left(31))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) id: ClusterId,
    /// By sequence; what did not change anything has no change.
    pub(super) entries: Vec<(Mark, Option<u64>)>,
    pub(super) pods: Vec<PodState>,
    /// The pod that leads, as long as it is up.
    pub(super) leader: usize,
}

#[derive(Clone, Debug)]
pub(super) struct PodState {
    pub(super) is_up: bool,
    /// It answers, and learns nothing new.
    pub(super) is_cut_off: bool,
    pub(super) applied: u64,
    pub(super) oldest: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Full(Mark),
    Verified(Mark),
    Changes { begin: Mark, changes: Vec<Change>, end: Mark },
}

#[derive(Clone, Debug)]
pub(super) struct World {
    random: u64,
    pub(super) now: Duration,
    /// All that ever lived.
    pub(super) clusters: Vec<Cluster>,
    pub(super) live: usize,
    pub(super) bucket: BTreeMap<(ClusterId, Name), Object>,
    pub(super) bucket_is_down: bool,
    /// Objects can be written, and nobody says what is there.
    pub(super) lists_fail: bool,
    /// Every file is closed as it should be.
    pub(super) disk_is_sound: bool,
    pub(super) has_lost: bool,
    /// No agent's spool fails.
    pub(super) spools_are_sound: bool,
    leaders_ms: u64,
}

impl Cluster {
    fn new(id: u128) -> Cluster {
        let begin = Mark { seq: Seq(0), time: Time::UNSAID, hash: Sum(0) };
        let pods = vec![PodState { is_up: true, is_cut_off: false, applied: 0, oldest: 0 }; PODS];
        Cluster { id: ClusterId(Uuid::from_u128(id)), entries: vec![(begin, None)], pods, leader: 0 }
    }

    pub(super) fn end(&self) -> u64 {
        self.entries.len() as u64 - 1
    }

    pub(super) fn mark(&self, seq: u64) -> Mark {
        self.entries[seq as usize].0
    }

    pub(super) fn last_change(&self) -> Mark {
        self.entries.iter().rev().find(|(_, what)| what.is_some()).map_or(self.mark(0), |(mark, _)| *mark)
    }
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        World {
            random,
            now: Duration::from_secs(1),
            clusters: vec![Cluster::new(1)],
            live: 0,
            bucket: BTreeMap::new(),
            bucket_is_down: false,
            lists_fail: false,
            disk_is_sound: false,
            has_lost: false,
            spools_are_sound: false,
            leaders_ms: 1_000_000,
        }
    }

    pub(super) fn below(&mut self, most: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % most.max(1)
    }

    /// One in so many.
    pub(super) fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(super) fn live(&self) -> &Cluster {
        &self.clusters[self.live]
    }

    pub(super) fn live_mut(&mut self) -> &mut Cluster {
        &mut self.clusters[self.live]
    }

    pub(super) fn write(&mut self) {
        if self.chance(4) { self.write_idle() } else { self.write_change() }
    }

    pub(super) fn write_change(&mut self) {
        let what = self.below(usize::MAX) as u64;
        self.append(Some(what));
    }

    pub(super) fn write_idle(&mut self) {
        self.append(None);
    }

    fn append(&mut self, what: Option<u64>) {
        // Two histories part in their times, too, and in what they do.
        self.leaders_ms += 1 + self.below(3000) as u64;
        let (time, lags) = (Time::from_ms(self.leaders_ms), self.chance(3));
        let cluster = self.live_mut();
        let before = cluster.mark(cluster.end());
        let hash = what.map_or(before.hash, |what| Change::hash_after(before.hash, what));
        cluster.entries.push((Mark { seq: before.seq.next(), time, hash }, what));
        let (end, leader) = (cluster.end(), cluster.leader);
        for (at, pod) in cluster.pods.iter_mut().enumerate() {
            if pod.is_up && !pod.is_cut_off && (at == leader || !lags) {
                pod.applied = end;
            }
        }
    }

    pub(super) fn catch_up(&mut self) {
        let cluster = self.live_mut();
        let end = cluster.end();
        cluster.pods.iter_mut().filter(|pod| pod.is_up && !pod.is_cut_off).for_each(|pod| pod.applied = end);
    }

    /// To any pod.
    pub(super) fn move_leadership(&mut self) {
        self.live_mut().leader = self.below(PODS);
    }

    pub(super) fn jump(&mut self) {
        self.leaders_ms += self.below(30 * 24 * 3600) as u64 * 1000;
    }

    pub(super) fn toggle_pod(&mut self) {
        let at = self.below(PODS);
        let pod = &mut self.live_mut().pods[at];
        pod.is_up = !pod.is_up;
    }

    /// One pod, or all of them.
    pub(super) fn forget_history(&mut self) {
        let at = self.below(PODS);
        if self.chance(3) { self.forget_in(&[0, 1, 2]) } else { self.forget_in(&[at]) }
    }

    pub(super) fn forget_in(&mut self, pods: &[usize]) {
        for at in pods {
            let pod = &mut self.live_mut().pods[*at];
            pod.oldest = pod.applied;
        }
    }

    pub(super) fn lose_object(&mut self) {
        let names: Vec<_> = self.bucket.keys().copied().collect();
        if !names.is_empty() {
            let at = self.below(names.len());
            self.bucket.remove(&names[at]);
            self.has_lost = true;
        }
    }

    pub(super) fn new_cluster(&mut self) {
        let mut cluster = Cluster::new(self.clusters.len() as u128 + 1);
        // As a restore makes it: numbers go on.
        if self.chance(2) {
            cluster.entries = self.live().entries.clone();
            let end = cluster.end();
            cluster.pods.iter_mut().for_each(|pod| (pod.applied, pod.oldest) = (end, end));
        }
        self.clusters.push(cluster);
        self.live = self.clusters.len() - 1;
    }

    /// The same id, without its last entries.
    pub(super) fn clone_cluster(&mut self, without: usize) {
        let mut cluster = self.live().clone();
        cluster.entries.truncate(cluster.entries.len() - without);
        let end = cluster.end();
        cluster.pods.iter_mut().for_each(|pod| (pod.applied, pod.oldest) = (end, 0));
        self.clusters.push(cluster);
        self.live = self.clusters.len() - 1;
    }

    pub(super) fn unclone(&mut self) {
        self.live -= 1;
    }

    /// Only after there is one.
    pub(super) fn see_clone(&mut self, is_clone: bool) {
        self.live = usize::from(is_clone).min(self.clusters.len() - 1);
    }

    pub(super) fn heal(&mut self) {
        self.bucket_is_down = false;
        self.live_mut().pods.iter_mut().for_each(|pod| pod.is_up = true);
        self.catch_up();
    }
}
