//! What must hold where data differ (5.11 in docs/design.md): by what is wrong with them, not by what is said.
//!
//! ```text
//!   D1  no sound replica is called diverged                             check_mark()
//!   D4  a diverged leader takes no writes, and hands over into the majority
//!   D5  a diverged replica answers nothing, neither leads nor campaigns, and neither sends nor takes a snapshot; the next
//!       run knows of it
//! ```

use crate::model::cluster::Cluster;
use leasehold_replication::{Diverged, Effect, Phase};

impl Cluster {
    /// A replica says that its data have diverged.
    pub(crate) fn check_mark(&mut self, pod: usize, mark: &Diverged) {
        let Some(up) = self.pods[pod].store.up() else { return };
        let is_true = match mark.agreed {
            Some(_) => up.damage_at(mark.sequence) != 0,
            None => up.at_rest,
        };
        if !is_true {
            self.violation(format!("pod-{pod} is sound, and says that its data have diverged [D1]: {mark}"));
        }
    }

    /// A replica starts.
    pub(crate) fn check_mark_is_found(&mut self, pod: usize) {
        let found = &self.pods[pod];
        let is_known = found.store.up().is_some_and(|up| up.status.diverged.is_some());
        if found.volume.diverged.is_some() && !is_known {
            self.violation(format!("pod-{pod} starts, and does not know that its data have diverged [D5]"));
        }
    }

    /// An effect that a diverged replica has none of.
    pub(crate) fn check_effect(&mut self, pod: usize, effect: &Effect) {
        if self.pods[pod].volume.diverged.is_none() {
            return;
        }
        let what = match effect {
            Effect::Accepted { .. } => "takes a write [D4]",
            Effect::ReadReady { .. } => "answers a read [D5]",
            Effect::SendSnapshot { .. } => "sends a snapshot [D5]",
            Effect::InstallSnapshot { .. } => "takes a snapshot [D5]",
            _ => return,
        };
        self.violation(format!("pod-{pod} knows that its data have diverged, and {what}"));
    }

    /// A store made a step.
    pub(crate) fn check_diverged(&mut self, pod: usize) {
        let Some(up) = self.pods[pod].store.up() else { return };
        let Some(mark) = &up.status.diverged else { return };
        let status = &up.status;
        if status.phase == Phase::Leading || status.open || status.eligible || status.campaign.is_some() {
            let phase = status.phase;
            let what = format!("pod-{pod} knows that its data have diverged, and leads, or wants to ({phase:?}) [D5]");
            return self.violation(what);
        }
        if let Some((to, _)) = &status.hand_over
            && mark.agreed.is_some()
            && !mark.agreeing.contains(to)
        {
            let what = format!("pod-{pod} has diverged, and hands over to {to}, which is not of the majority [D4]");
            self.violation(what);
        }
    }
}
