//! The loop: the next event, and who handles it.

use crate::model::cluster::Cluster;
use crate::model::event::Event;
use crate::model::life::Life;
use std::time::Duration;

impl Cluster {
    /// Runs until `until`, or until an invariant is violated.
    pub(crate) fn run_until(&mut self, until: Duration) {
        while !self.facts.is_violated() {
            let Some((at, event)) = self.queue.pop(until) else {
                self.now = self.now.max(until);
                return;
            };
            self.now = at;
            match self.frozen_until(&event) {
                // A frozen process finds it all when it resumes, in the old order: before anything of a later moment.
                Some(until) if until >= at => {
                    self.queue.put_off(until, event);
                }
                _ => self.dispatch(event),
            }
        }
    }

    /// Until when the process that this event goes to is frozen.
    fn frozen_until(&self, event: &Event) -> Option<Duration> {
        let (pod, is_store) = match event {
            Event::StoreRecovered { life }
            | Event::StoreWakes { life }
            | Event::Store { life, .. }
            | Event::Synced { life, .. }
            | Event::SnapshotDone { life, .. }
            | Event::DiskStall { life, .. }
            | Event::StewardLooks { life }
            | Event::RoleRead { life, .. } => (life.pod, true),
            Event::Asked { to, .. } => (*to, true),
            Event::Deliver { conn, end } => (self.network.receiver(*conn, *end)?, true),
            Event::SidecarWakes { life }
            | Event::Sidecar { life, .. }
            | Event::StatusRead { life, .. }
            | Event::LockFree { life }
            | Event::DirectoryWritable { life }
            | Event::HealthLooks { life }
            | Event::WatchOpens { life }
            | Event::Watched { life, .. }
            | Event::MembersShown { life } => (life.pod, false),
            Event::StoreStarts { .. }
            | Event::StoreDies { .. }
            | Event::SidecarStarts { .. }
            | Event::Called { .. }
            | Event::PodStarts { .. }
            | Event::GraceEnds { .. }
            | Event::ExecStarts { .. }
            | Event::ExecLooks { .. }
            | Event::ExecEnds { .. }
            | Event::CommandEnds { .. }
            | Event::CommandDeadline { .. }
            | Event::LeaseApplied
            | Event::ClientsWrite
            | Event::ClocksChange
            | Event::Fault
            | Event::DiskHangs
            | Event::RoomChanges => return None,
        };
        Some(if is_store { self.pods[pod].store.frozen_until } else { self.pods[pod].sidecar.frozen_until })
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::StoreStarts { life } if self.is_store(life) => self.start_store(life),
            Event::StoreRecovered { life } if self.is_store(life) => self.recover_store(life),
            Event::StoreWakes { life } if self.is_store(life) => self.wake_store(life),
            Event::StoreDies { life } if self.is_store(life) && self.chaos.is_on() => {
                let power = self.rng.chance(500);
                self.kill_store(life.pod, power);
            }
            Event::Store { life, input } if self.is_store(life) => self.step_store(life.pod, *input),
            Event::Synced { life, covers } if self.is_store(life) => self.synced(life, covers),
            Event::SnapshotDone { life, number } if self.is_store(life) => self.snapshot_done(life, number),
            Event::RoleRead { life, again } if self.is_store(life) => self.read_role(life, again),
            Event::Deliver { conn, end } => self.deliver(conn, end),
            Event::Asked { from, meant, to, asked_at, request } => self.asked(from, meant, to, asked_at, *request),
            Event::SidecarStarts { life } if self.is_sidecar(life) => self.start_sidecar(life),
            Event::SidecarWakes { life } if self.is_sidecar(life) => self.wake_sidecar(life),
            Event::Sidecar { life, input } if self.is_sidecar(life) => self.step_sidecar(life.pod, *input),
            Event::StatusRead { life, again } if self.is_sidecar(life) => self.read_status(life, again),
            Event::LockFree { life } if self.is_sidecar(life) => self.lock_free(life),
            // A request of a process that died meanwhile is still under way.
            Event::Called { life, call, answer } => self.called(life, *call, answer),
            Event::HealthLooks { life } if self.is_sidecar(life) => self.look_at_health(life),
            Event::DirectoryWritable { life } if self.is_sidecar(life) => self.directory_is_writable(life),
            Event::WatchOpens { life } if self.is_sidecar(life) => self.open_watch(life),
            Event::Watched { life, watch, watched } if self.is_sidecar(life) => self.watched(life, watch, *watched),
            Event::MembersShown { life } if self.is_sidecar(life) => self.members_shown(life),
            Event::PodStarts { pod, generation } if self.pods[pod].generation == generation => self.start_pod(pod),
            Event::GraceEnds { pod, generation } if self.pods[pod].generation == generation => self.end_pod(pod),
            Event::ExecStarts { pod, generation } if self.pods[pod].generation == generation => self.start_exec(pod),
            Event::ExecLooks { pod, run } => self.exec_looks(pod, run),
            Event::ExecEnds { pod, run } => self.exec_ends(pod, run),
            Event::CommandEnds { pod, run } => self.command_ends(pod, run),
            Event::CommandDeadline { pod, run } => self.command_deadline(pod, run),
            Event::LeaseApplied => self.apply_lease(),
            Event::StewardLooks { life } if self.is_store(life) => self.steward_looks(life),
            Event::ClocksChange => self.change_clocks(),
            Event::ClientsWrite => self.clients_write(),
            Event::RoomChanges => self.change_room(),
            Event::Fault => self.next_fault(),
            Event::DiskHangs => self.next_hang(),
            Event::DiskStall { life, syncs } if self.is_store(life) => self.disk_stalled(life, syncs),
            // For a process or a pod that no longer exists.
            Event::StoreStarts { .. }
            | Event::StoreRecovered { .. }
            | Event::StoreWakes { .. }
            | Event::StoreDies { .. }
            | Event::Store { .. }
            | Event::Synced { .. }
            | Event::SnapshotDone { .. }
            | Event::DiskStall { .. }
            | Event::StewardLooks { .. }
            | Event::RoleRead { .. }
            | Event::SidecarStarts { .. }
            | Event::SidecarWakes { .. }
            | Event::Sidecar { .. }
            | Event::StatusRead { .. }
            | Event::LockFree { .. }
            | Event::DirectoryWritable { .. }
            | Event::HealthLooks { .. }
            | Event::WatchOpens { .. }
            | Event::Watched { .. }
            | Event::MembersShown { .. }
            | Event::PodStarts { .. }
            | Event::ExecStarts { .. }
            | Event::GraceEnds { .. } => {}
        }
    }

    fn is_store(&self, life: Life) -> bool {
        self.pods[life.pod].store.life == life
    }

    fn is_sidecar(&self, life: Life) -> bool {
        self.pods[life.pod].sidecar.life == life
    }
}
