//! A store's requests to its disk: writes, fsyncs, snapshots.
//!
//! ```text
//!   Persist, InstallSnapshot ─▶ journal ─▶ Synced ─▶ Input::Persisted        group commit: one fsync for all that waits
//!   enough applied ─▶ a snapshot ─▶ SnapshotDone ─▶ Input::SnapshotTaken
//! ```

use crate::model::cluster::Cluster;
use crate::model::disk::{Item, Volume};
use crate::model::event::Event;
use crate::model::life::Life;
use crate::plant::{Plant, Shell};
use leasehold_replication::{Input, ReplicaId, SnapshotMeta, Ticket};
use std::rc::Rc;
use std::time::Duration;

/// No fsync takes longer: one that is under way when everything is healed must not look like a waiting cluster.
const FSYNC_US_MAX: u64 = 2_000_000;

impl Cluster {
    pub(crate) fn begin(&mut self, life: Life, ticket: Ticket, items: Vec<Item>) {
        self.check_formats_written(life.pod, &items);
        for item in &items {
            if let Item::Entry(entry) = item {
                if let Some(what) = self.writes_to_full_disk(life.pod, entry) {
                    return self.violation(what);
                }
                self.check_added(life.pod, entry);
            }
        }
        let pod = &mut self.pods[life.pod];
        for item in &items {
            match item {
                Item::State(state) | Item::Install(_, state) => pod.volume.begun_state = *state,
                Item::Segment(_) => {}
                Item::Entry(entry) => {
                    self.facts.begun(&pod.name, entry, pod.volume.begun_state.cluster_id);
                    if let Some(up) = pod.store.up()
                        && up.pulse.promise.incarnation == up.incarnation
                        && entry.position.term == up.pulse.promise.term
                    {
                        // The replica already contains what this very step committed.
                        self.facts.begins_term(&pod.name, &pod.volume.log, up.pulse.promise, entry);
                        let committed = up.replica.pulse().committed;
                        self.facts.voters_changed(&pod.name, &pod.volume.log, committed, entry);
                    } else {
                        self.facts.entry_of(&pod.name, &pod.volume, entry);
                    }
                }
            }
        }
        if !pod.volume.begin(ticket, items.into_iter()) {
            let what = format!("{} writes an entry that follows nothing in its log [S8]", pod.name);
            return self.violation(what);
        }
        self.fills_up(life);
        self.sync(life);
    }

    /// Starts an fsync of everything that was started, unless one is running.
    fn sync(&mut self, life: Life) {
        let pod = &mut self.pods[life.pod];
        let covers = pod.volume.begun();
        let is_busy = pod.volume.is_busy();
        let Some(up) = pod.store.up_mut() else { return };
        if up.sync_running || !is_busy {
            return;
        }
        up.sync_running = true;
        (up.sync_since, up.syncs) = (self.now, up.syncs + 1);
        let factor = if self.rng.chance(self.settings.fsync_late) { 300 } else { 1 };
        let at = self.now + self.rng.micros(20, (self.settings.fsync_us * factor).min(FSYNC_US_MAX));
        self.schedule(at, Event::Synced { life, covers });
        if self.settings.plant == Some(Plant::Shell(Shell::ToldBeforeDurable))
            && let Some(ticket) = self.pods[life.pod].volume.take_unsynced()
        {
            let input = Box::new(Input::Persisted { ticket });
            self.schedule(self.now, Event::Store { life, input });
        }
    }

    pub(crate) fn synced(&mut self, life: Life, covers: u64) {
        if self.waits_for_disk(life, Event::Synced { life, covers }) {
            return;
        }
        let pod = &mut self.pods[life.pod];
        let Some(up) = pod.store.up_mut() else { return };
        up.sync_running = false;
        let (facts, name, number) = (&mut self.facts, &pod.name, pod.volume.number);
        let ticket = pod.volume.synced(covers, |item| facts.made_durable(name, number, item));
        if self.settings.restores.is_some() {
            // A crash may come before the file is removed.
            pod.volume.forget_restore(|| self.rng.chance(500));
        }
        if let Some(ticket) = ticket {
            self.step_store(life.pod, Input::Persisted { ticket });
        }
        if self.pods[life.pod].store.life == life {
            self.disk_answered(life);
        }
        if self.pods[life.pod].store.life == life {
            self.sync(life);
        }
    }

    /// Now and then the shell takes a snapshot of what is applied.
    pub(crate) fn take_snapshot(&mut self, pod: usize) {
        if self.finds_false_sum(pod) {
            return;
        }
        let found = &mut self.pods[pod];
        let life = found.store.life;
        let Some(up) = found.store.up_mut() else { return };
        if found.volume.diverged.is_some() {
            return;
        }
        let Some(cluster_id) = up.status.cluster_id else { return };
        let number = self.snapshots.len() as u64;
        up.since_snapshot = 0;
        up.snapshot_running = Some(number);
        let meta = SnapshotMeta { cluster_id, position: up.applied, voters: up.applied_voters.clone() };
        self.snapshots.push(Rc::new(meta));
        self.write_data(pod);
        let at = self.now + self.rng.micros(100, self.settings.fsync_us * 4);
        self.schedule(at, Event::SnapshotDone { life, number });
    }

    pub(crate) fn snapshot_done(&mut self, life: Life, number: u64) {
        if self.waits_for_disk(life, Event::SnapshotDone { life, number }) {
            return;
        }
        let pod = &mut self.pods[life.pod];
        let Some(up) = pod.store.up_mut() else { return };
        if up.snapshot_running != Some(number) {
            return; // A received one overtook it.
        }
        let meta = self.snapshots[number as usize].clone();
        let position = meta.position;
        if pod.volume.durable_log.last_seq() < position.seq {
            // It gets its name with a segment that starts when the one before is durable.
            let at = self.now + Duration::from_micros(self.settings.fsync_us);
            return self.schedule(at, Event::SnapshotDone { life, number });
        }
        up.snapshot_running = None;
        pod.volume.snapshot_damage = up.damage_at(position.seq);
        let format = self.settings.snapshot_format(pod.formats.0, &meta);
        pod.volume.snapshot_taken(meta, format, &mut self.rng);
        self.facts.snapshot_durable(pod.volume.number, position);
        self.check_snapshot_format(life.pod, number, format);
        self.step_store(life.pod, Input::SnapshotTaken { position });
    }

    /// A write or an fsync fails. What was not durable stays in the page cache, or not.
    pub(crate) fn fail_disk(&mut self, pod: usize) {
        if let Some(up) = self.pods[pod].store.up_mut() {
            up.disk_failed = true;
            // Every later fsync of this process fails.
            up.sync_running = true;
            self.step_store(pod, Input::PersistFailed);
            if self.pods[pod].store.is_up() {
                self.violation(format!("pod-{pod} store continues after a failed write"));
            }
        }
    }

    /// An empty volume replaces it: a new replica.
    pub(crate) fn wipe(&mut self, pod: usize) {
        let replica = ReplicaId(self.rng.uuid());
        let keeps = self.settings.plant == Some(Plant::Shell(Shell::WipedKeepsIdentity));
        let old = &self.pods[pod].volume;
        let (replica, number) =
            if keeps { (old.replica, old.number) } else { (replica, self.facts.add_volume(replica)) };
        self.trace.add(self.now, || format!("pod-{pod} has an empty volume now: {replica}"));
        self.pods[pod].volume = Volume::new(replica, number);
        self.run_init_container(pod);
    }
}
