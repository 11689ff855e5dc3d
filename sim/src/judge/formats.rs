//! What must hold where pods are of two builds (5.10 in docs/design.md): by what stands on the volumes, not by what is said.
//!
//! ```text
//!   C1  no entry is applied by a build that cannot read it, and none is sent to it     apply(), was_sent_unreadable()
//!   C3  no record, segment or snapshot is above the format that was committed          check_segment(), check_snapshot_format()
//!       and no record above its segment                                                check_formats_written()
//!       what is in force was committed, and never sinks                                check_format()
//!   C4  a raise changes nothing else, and all that count have allowed it               check_formats_written()
//!   and: who never had a raise on its volume can go back                               check_way_back()
//! ```

use crate::model::cluster::Cluster;
use crate::model::disk::{Item, format_of};
use crate::model::facts::Facts;
use leasehold_replication::{Entry, FORMAT_MIN, Payload, Voters};

impl Facts {
    /// Was a raise to that format (or a later one) ever durable on a majority of its voters?
    fn is_raised(&self, format: u32) -> bool {
        let has = |position| {
            move |replica| self.volume_numbers.get(&replica).is_some_and(|number| self.was_durable(*number, position))
        };
        format <= FORMAT_MIN.max(self.restored_format)
            || self
                .raises
                .iter()
                .any(|(position, voters)| voters.format >= format && voters.is_majority(has(*position)))
    }
}

impl Cluster {
    /// A store begins a segment.
    pub(crate) fn check_segment(&mut self, pod: usize, format: u32) {
        if format > self.pods[pod].volume.format && !self.facts.is_raised(format) {
            self.violation(format!("pod-{pod} begins a segment of format {format}, which was never committed [C3]"));
        }
    }

    /// A snapshot of its own is in place.
    pub(crate) fn check_snapshot_format(&mut self, pod: usize, number: u64, format: u32) {
        let meta = &self.snapshots[number as usize];
        if format > meta.voters.format || !self.facts.is_raised(format) {
            let position = meta.position;
            self.violation(format!("pod-{pod} writes a snapshot at {position} in format {format} [C3]"));
        }
    }

    /// A store begins to write this.
    pub(crate) fn check_formats_written(&mut self, pod: usize, items: &[Item]) {
        if !self.settings.two_builds {
            return;
        }
        for item in items {
            let Item::Entry(entry) = item else { continue };
            let (position, segment) = (entry.position, self.pods[pod].volume.format);
            let format = format_of(entry);
            match &entry.payload {
                Payload::Voters(voters) => self.check_raise(pod, entry, voters),
                Payload::Command(_) if format > segment => {
                    let what =
                        format!("pod-{pod} writes {position} of format {format} into a segment of {segment} [C3]");
                    return self.violation(what);
                }
                Payload::Command(_) | Payload::Empty => {}
            }
        }
    }

    /// Who raises the format changes nothing else, and by one; all voters and wanted pods have allowed it at some time.
    fn check_raise(&mut self, pod: usize, entry: &Entry, voters: &Voters) {
        let found = &self.pods[pod];
        let Some(up) = found.store.up().filter(|up| up.replica.promise().incarnation == up.incarnation) else { return };
        let Some((_, before)) = found.volume.log.voters() else { return };
        if entry.position.term != up.replica.promise().term || voters.format == before.format {
            return;
        }
        let (position, format) = (entry.position, voters.format);
        if format != before.format + 1 || (&voters.voters, voters.floor) != (&before.voters, before.floor) {
            return self.violation(format!("pod-{pod} raises the format to {format} in {position}, and more [C4]"));
        }
        let mut names = voters.voters.iter().map(|voter| &voter.name).chain(&up.members);
        let is_against = |name: &&String| self.find_pod(name).is_some_and(|pod| self.pods[pod].ever_allowed < format);
        if let Some(against) = names.find(is_against).cloned() {
            self.violation(format!(
                "pod-{pod} raises the format to {format} in {position}, {against} never allowed it [C4]"
            ));
        }
    }

    /// A store made a step.
    pub(crate) fn check_format(&mut self, pod: usize) {
        if !self.settings.two_builds {
            return;
        }
        let Some(up) = self.pods[pod].store.up() else { return };
        let (before, now, segment) = (up.format, up.replica.format(), self.pods[pod].volume.format);
        if now < before || now < segment {
            return self
                .violation(format!("pod-{pod}: format {now} is in force after {before}, in segments of {segment}"));
        }
        if now > before && !self.facts.is_raised(now) {
            return self.violation(format!("pod-{pod}: format {now} is in force, and was never committed"));
        }
        if let Some(up) = self.pods[pod].store.up_mut() {
            up.format = now;
        }
    }

    /// A store cannot go on with what it was sent. That never comes to pass while everybody keeps to the rules; but a backup
    /// may be of a later format than somebody allows.
    pub(crate) fn was_sent_unreadable(&mut self, pod: usize, what: &str) {
        if self.settings.restores.is_some() && what.starts_with("the data in restore.json") {
            return self.kill_store(pod, false);
        }
        self.violation(format!("pod-{pod} was sent what its build cannot read [C2]: {what}"));
    }

    /// A build does not read a volume: a raise must have come to that, be it committed or not.
    pub(crate) fn check_way_back(&mut self, pod: usize, build: u32, needs: u32) {
        if self.pods[pod].volume.saw_format < needs {
            self.violation(format!(
                "pod-{pod} was never part of a cluster of format {needs}, and cannot go back to a build of {build} [C3]"
            ));
        }
    }
}
