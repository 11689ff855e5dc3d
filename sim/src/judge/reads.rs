//! Clients that read, on any pod: strongly, or whatever is there, or at least what they saw before.
//!
//! What has been applied anywhere was committed, and may have been seen. So the state that answers a strong read must
//! include everything that any replica had applied when the read arrived: that is the whole check, and it is exact.
//!
//! A session passes on what it saw last (`after`), usually to another pod. The answer must be the documents of some prefix
//! of the committed log, and never of an earlier one than before.

use crate::model::cluster::Cluster;
use crate::plant::{Plant, Shell};
use leasehold_replication::{Input, ReadId};
use std::time::Duration;

impl Cluster {
    /// A client reads at this pod.
    pub(crate) fn client_reads(&mut self, pod: usize) {
        let must_see = self.facts.applied_seq();
        let Some(up) = self.pods[pod].store.up_mut() else { return };
        up.reads.next += 1;
        let id = ReadId(up.reads.next);
        up.reads.waiting.insert(id, must_see);
        self.step_store(pod, Input::Read { id });
    }

    /// Reads at this pod are answered from what it has applied, or (`is_ready` is false) not at all.
    pub(crate) fn reads_answered(&mut self, pod: usize, upto: ReadId, is_ready: bool) {
        let found = &mut self.pods[pod];
        let Some(up) = found.store.up_mut() else { return };
        let later = up.reads.waiting.split_off(&ReadId(upto.0 + 1));
        let answered = std::mem::replace(&mut up.reads.waiting, later);
        let (applied, name) = (up.applied.seq, &found.name);
        if !is_ready {
            return;
        }
        self.clients.strong_reads += answered.len() as u64;
        if let Some(must_see) = answered.into_values().max().filter(|must_see| applied < *must_see) {
            self.facts.violated(format!(
                "invariant 6: {name} answers a strong read from {applied}; {must_see} was applied somewhere when it came"
            ));
        }
    }

    /// A client reads at every pod and waits for a second. Returns a pod that did not answer, if any.
    pub(crate) fn read_everywhere(&mut self) -> Option<String> {
        let up: Vec<usize> = (0..self.pods.len()).filter(|pod| self.pods[*pod].store.is_up()).collect();
        up.iter().for_each(|pod| self.client_reads(*pod));
        let until = self.now + Duration::from_secs(1);
        loop {
            let waits = |pod: &&usize| self.pods[**pod].store.up().is_none_or(|up| !up.reads.waiting.is_empty());
            let waiting = up.iter().find(waits).map(|pod| format!("pod-{pod} does not answer a strong read"));
            if waiting.is_none() || self.now >= until || self.facts.is_violated() {
                return waiting;
            }
            self.run_until(self.now + Duration::from_millis(5));
        }
    }

    /// A session reads at this pod, like the shell: not before this much is applied here.
    pub(crate) fn session_reads(&mut self, pod: usize) {
        let session = self.rng.below(self.clients.sessions.len());
        let after = self.clients.sessions[session];
        let waits = self.settings.plant != Some(Plant::Shell(Shell::ReadsDoNotWait));
        let found = &self.pods[pod];
        let Some(up) = found.store.up() else { return };
        let (seen, name) = (up.applied.seq, &found.name);
        // Before it has caught up once, it answers nothing; nor does it answer a client that has seen more. (That client
        // waits, or must retry.)
        if !up.status.caught_up
            || up.status.went_back.is_some()
            || up.status.diverged.is_some()
            || (waits && seen < after)
        {
            return;
        }
        if self.facts.digest(seen) != Some(up.digest) {
            self.facts.violated(format!("invariant 7: what {name} shows at {seen} is no prefix of what is committed"));
        }
        if seen < after {
            self.facts.violated(format!("invariant 7: {name} shows {seen} to who has seen {after}"));
        }
        self.clients.sessions[session] = seen;
        self.clients.local_reads += 1;
    }
}
