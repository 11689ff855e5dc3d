//! Pods of two builds, in runs of their own (`--formats`): one reads format 1, the other one 1 and 2, and allows both or not.
//! Each start of a store may be of another build than the last one.
//!
//! ```text
//!   chaos ─▶ a store starts: of the image that is wanted now, mostly ─▶ can it read its volume? ── no: it ends, and starts again, of some build
//!         ─▶ heal: all are of the later build, and allow all ─▶ settled, with format 2 in force everywhere?
//! ```
//!
//! A command is of the format that is in force where it is proposed: the byte behind its number says so.

use crate::model::cluster::Cluster;
use crate::model::life::Life;
use crate::model::settings::Settings;
use crate::plant::{Plant, Shell};
use bytes::Bytes;
use leasehold_replication::{Fault, Input, SnapshotMeta};

/// What a build may read and allow.
const BUILDS: [(u32, u32); 5] = [(1, 1), (2, 1), (2, 2), (2, 2), (2, 2)];

impl Settings {
    /// The format that stands in a snapshot: that in force at its position.
    pub(crate) fn snapshot_format(&self, build: u32, meta: &SnapshotMeta) -> u32 {
        let is_planted = self.plant == Some(Plant::Shell(Shell::SnapshotInBuildsFormat));
        if is_planted { build } else { meta.voters.format }
    }
}

impl Cluster {
    /// The image of a store that starts.
    pub(crate) fn choose_build(&mut self, pod: usize) {
        if !self.settings.two_builds {
            return;
        }
        if !self.chaos.is_on() {
            self.settings.image = (2, 2);
        } else if self.rng.chance(100) {
            self.settings.image = *self.rng.pick(&BUILDS);
        }
        let is_other = self.chaos.is_on() && self.rng.chance(100);
        self.pods[pod].formats = if is_other { *self.rng.pick(&BUILDS) } else { self.settings.image };
        let formats = self.pods[pod].formats;
        self.trace
            .add(self.now, || format!("pod-{pod} is of a build that reads {} and allows {}", formats.0, formats.1));
    }

    /// Everything is updated.
    pub(crate) fn update_all(&mut self) {
        if !self.settings.two_builds {
            return;
        }
        for pod in 0..self.pods.len() {
            if self.pods[pod].formats != (2, 2) && self.pods[pod].store.is_running() {
                self.kill_store(pod, false);
            }
        }
    }

    /// The build that starts cannot read its volume: it ends, and touches nothing. True: it did.
    pub(crate) fn cannot_be_read(&mut self, life: Life) -> bool {
        let found = &mut self.pods[life.pod];
        let (build, needs) = (found.formats.0, found.volume.needs_format());
        if needs <= build || self.settings.plant == Some(Plant::Replication(Fault::UnreadableIsSkipped)) {
            found.ever_allowed = found.ever_allowed.max(found.formats.1);
            return false;
        }
        self.check_way_back(life.pod, build, needs);
        self.trace
            .add(self.now, || format!("pod-{} ends: its volume needs format {needs}, it reads {build}", life.pod));
        self.kill_store(life.pod, false);
        true
    }

    /// The journal begins a segment of that format before it writes anything of it.
    pub(crate) fn begins_segment(&mut self, pod: usize, format: u32) {
        self.check_segment(pod, format);
        if self.settings.plant != Some(Plant::Shell(Shell::NoNewSegment)) {
            self.pods[pod].volume.begin_segment(format);
        }
    }

    /// What clients write is of the format that is in force there.
    pub(crate) fn of_format_in_force(&self, pod: usize, input: Input) -> Input {
        let Input::Propose(mut proposals) = input else { return input };
        if let Some(up) = self.pods[pod].store.up().filter(|_| self.settings.two_builds) {
            for proposal in &mut proposals {
                let mut command = proposal.command.to_vec();
                command.resize(command.len().max(9), 0);
                command[8] = up.replica.format() as u8;
                proposal.command = Bytes::from(command);
            }
        }
        Input::Propose(proposals)
    }
}
