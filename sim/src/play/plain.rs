//! The course of a run with plain apps: only sidecars.
//!
//! ```text
//!   chaos without edits of the Lease ─▶ heal ─▶ one leader, a true Lease ─▶ leader killed ─▶ one ─▶ all watches dead, leader
//!     killed ─▶ one ─▶ API gone for longer than a Lease ─▶ the same one ─▶ all unfit ─▶ at most one other ─▶ one
//! ```

use crate::model::cluster::Cluster;
use std::time::Duration;

impl Cluster {
    /// The run of a cluster of plain apps.
    pub(crate) fn play_plain(&mut self) -> Result<Duration, String> {
        self.run_until(self.settings.chaos);
        self.heal();
        self.scale_to(self.settings.pods);
        let settled = self.settle_plain("after healing")?;
        self.kill_plain_leader();
        self.settle_plain("after the leader's death")?;
        let forever = self.now + Duration::from_secs(1_000_000);
        (0..self.pods.len()).for_each(|pod| self.api.deafen(pod, forever));
        self.kill_plain_leader();
        self.settle_plain("after the leader's death, with all watches dead")?;
        self.outlive_the_api_plainly()?;
        self.outlive_unfitness()?;
        Ok(settled)
    }

    /// All apps are unfit for a long time: somebody leads all the same, and the leadership does not go round \[A9\].
    fn outlive_unfitness(&mut self) -> Result<(), String> {
        let before = self.api.takes;
        (0..self.pods.len()).for_each(|pod| self.tell_fitness(pod, false));
        self.run_until(self.now + 12 * self.longest_duration());
        let takes = self.api.takes - before;
        // A check that fails everywhere moves it to each pod once, for only who leads can be looked at.
        let most = if self.settings.health_period.is_some() { self.pods.len() as u64 + 1 } else { 1 };
        if takes > most && !self.facts.is_violated() {
            return Err(format!("liveness: while all apps were unfit, the Lease was taken {takes} times [A9]"));
        }
        (0..self.pods.len()).for_each(|pod| self.tell_fitness(pod, true));
        self.settle_plain("after all were unfit")?;
        Ok(())
    }

    /// The API is gone for longer than a Lease lasts. The holder could not renew, so it gets a whole duration for that.
    fn outlive_the_api_plainly(&mut self) -> Result<(), String> {
        let holder = self.api.lease().map(|lease| (lease.body.holder.clone(), lease.body.term));
        let back = self.now + 3 * self.longest_duration();
        (0..self.pods.len()).for_each(|pod| self.lose_api(pod, back));
        self.run_until(back);
        self.settle_plain("after the API came back")?;
        let now = self.api.lease().map(|lease| (lease.body.holder.clone(), lease.body.term));
        if now != holder && !self.facts.is_violated() {
            return Err(format!(
                "liveness: the API came back, and the healthy leader {holder:?} was replaced by {now:?}"
            ));
        }
        Ok(())
    }

    /// The Lease's, in any pod.
    pub(crate) fn longest_duration(&self) -> Duration {
        self.settings.later_duration.unwrap_or(self.settings.lease_duration)
    }

    fn kill_plain_leader(&mut self) {
        if let Some(leader) = (0..self.pods.len()).find(|pod| self.publishes_leader(*pod)) {
            self.trace.add(self.now, || format!("pod-{leader} sidecar dies, as the leader"));
            self.kill_sidecar(leader);
        }
    }
}
