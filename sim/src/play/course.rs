//! The course of a run with fencing apps: chaos, then order, then a few single faults in a healthy cluster.
//!
//! ```text
//!   chaos ─▶ heal, all pods wanted ─▶ settled? ─▶ stays so ─▶ a planned leave (`leave`) ─▶ scaled to some other size ─▶ settled? ─▶ leader killed ─▶ settled?
//!         ─▶ API gone for longer than a Lease, leader killed ─▶ settled except for the Lease? ─▶ API back ─▶ same leader, true Lease?
//!         ─▶ disks hang (`hang`) ─▶ settled?
//!   with collections: chaos ─▶ heal ─▶ settled? ─▶ the data, too? ─▶ leader killed ─▶ settled? (`collections`)
//!   where data differ: chaos ─▶ heal ─▶ found out? mended? (`diverging`)
//! ```

use crate::model::cluster::Cluster;
use crate::model::event::Event;
use std::time::Duration;

impl Cluster {
    /// Chaos, then order, then a few single faults in a healthy cluster. Returns how long the first settling took, or who
    /// waits for what.
    pub(crate) fn play(&mut self) -> Result<Duration, String> {
        if self.settings.runs_short {
            self.schedule(self.now, Event::RoomChanges);
        }
        self.run_until(self.settings.chaos);
        self.heal();
        // A majority may be among the pods that were scaled away: all of them return first.
        self.scale_to(self.pods.len());
        if self.settings.diverging {
            return self.find_out_and_mend();
        }
        let settled = self.settle("after healing")?;
        self.stays_settled()?;
        if self.settings.runs_short {
            self.run_short()?;
            return Ok(settled);
        }
        if self.settings.collections {
            self.settle_data()?;
            self.kill_leader();
            self.settle("after the leader's death")?;
            self.settle_data()?;
            return Ok(settled);
        }
        if self.settings.two_builds {
            self.kill_leader();
            self.settle("after the leader's death")?;
            return Ok(settled);
        }
        self.leave_as_planned()?;
        let other_size = 1 + self.rng.below(self.pods.len());
        if other_size != self.pods.len() {
            self.scale_to(other_size);
            self.settle("after scaling")?;
            self.stays_settled()?;
        }
        match self.rng.below(6) {
            0 | 1 => {
                self.kill_leader();
                self.settle("after the leader's death")?;
            }
            2 | 3 => self.outlive_the_api()?,
            4 => self.lose_the_lease()?,
            _ => self.down_to_zero_and_back()?,
        }
        self.outlive_hung_disks()?;
        Ok(settled)
    }

    /// The Lease is deleted: a healthy leader writes it again, and continues \[L11\].
    fn lose_the_lease(&mut self) -> Result<(), String> {
        let term = self.leader_term();
        self.delete_lease();
        self.run_until(self.now + self.settings.lost_time);
        self.settle("after the Lease was deleted")?;
        self.is_still(term, "the Lease was deleted")
    }

    /// No pod is wanted, and then all are again.
    fn down_to_zero_and_back(&mut self) -> Result<(), String> {
        self.scale_to(0);
        let until = self.now + self.settings.grace + Duration::from_secs(5);
        self.run_until(until);
        if let Some(pod) = self.pods.iter().find(|pod| pod.exists) {
            return Err(format!("liveness: nobody is wanted, and {} is still there", pod.name));
        }
        self.scale_to(self.pods.len());
        self.settle("after nobody was wanted for a while").map(|_| ())
    }

    fn kill_leader(&mut self) {
        if let Some(leader) = self.leader() {
            self.trace.add(self.now, || format!("pod-{leader} loses power, as the leader"));
            self.kill_store(leader, true);
        }
    }

    /// The API is gone for longer than a Lease lasts, and then the leader dies: rule 5 of docs/design.md.
    fn outlive_the_api(&mut self) -> Result<(), String> {
        self.trace.add(self.now, || "the API is gone for all".to_owned());
        let back = self.now + Duration::from_secs(100_000);
        (0..self.pods.len()).for_each(|pod| self.lose_api(pod, back));
        self.run_until(self.now + self.settings.lease_duration + 2 * self.settings.lost_time);
        self.settle("while the API is gone")?;
        if self.rng.chance(500) {
            // The sidecars restart, too, and no longer know the Lease.
            (0..self.pods.len())
                .filter(|pod| self.pods[*pod].sidecar.is_up())
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|pod| self.kill_sidecar(pod));
        }
        self.kill_leader();
        self.settle("after the leader's death while the API is gone")?;
        let term = self.leader_term();
        self.api.mend();
        self.settle("after the API came back")?;
        self.is_still(term, "the API came back")
    }
}
