//! What a fencing app says about itself: the part of `status.json` that decides.

use std::time::Duration;

use uuid::Uuid;

use crate::lease::Term;

/// The part of `status.json` that the election needs. The shell converts; an unreadable file is `Input::AppSilent`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppStatus {
    /// This run of the app.
    pub incarnation: Uuid,
    /// The cluster that its volume belongs to; none: the volume is empty.
    pub cluster_id: Option<Uuid>,
    /// Where it is in its life.
    pub state: AppState,
    /// The promise it is bound to.
    pub promised: Promise,
    /// The claim that it follows, or leads by.
    pub following: Option<Claim>,
    /// It hears that leader (a leader: a majority).
    pub leader_heard: bool,
    /// It wants its pod to take the Lease: a majority has lost the leader of this term.
    pub campaign: Option<Term>,
    /// How its position stands among those known; 0 is the best, no two are alike.
    pub rank: u32,
    /// A term that the next leadership must be above.
    pub need_term: Option<Term>,
    /// It lets go of the leadership.
    pub hand_over: Option<HandOver>,
    /// It may lead (voter, wanted, not starting, draining or failed).
    pub eligible: bool,
    /// Its volume is marked `bootstrapping`.
    pub bootstrapping: bool,
}

/// Where the app is in its life. See `status.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AppState {
    Starting,
    Learner,
    Follower,
    Recovering,
    Leading,
    Draining,
    Failed,
}

/// (term, leader incarnation), durable on the app's volume. Term 0 and no incarnation: none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promise {
    /// Every lower term is refused.
    pub term: Term,
    /// Every other incarnation of the same term is refused.
    pub incarnation: Option<Uuid>,
}

/// Somebody is said to lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The number of the leadership.
    pub term: Term,
    /// The run of the app that claims.
    pub incarnation: Uuid,
    /// Its pod.
    pub name: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
}

/// To whom the app wants to hand over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HandOver {
    /// The successor's pod; none: nobody is fit, the holder is cleared.
    pub to: Option<String>,
    /// The successor's app; without it the holder is cleared, too.
    pub incarnation: Option<Uuid>,
}

/// The app as the election knows it.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct AppSight {
    /// Its last status; none for a plain app, or before the first.
    pub(crate) status: Option<AppStatus>,
    /// The last status is not readable at this moment.
    pub(crate) is_silent: bool,
    /// The kernel said that it is dead.
    pub(crate) died: bool,
    /// Since when it says `campaign` with this term.
    pub(crate) campaign_since: Duration,
}

impl AppSight {
    /// A status was read.
    pub(crate) fn see(&mut self, now: Duration, status: AppStatus) {
        let old = self.status.as_ref();
        let is_same_run = old.is_some_and(|old| old.incarnation == status.incarnation);
        if is_same_run && self.died {
            return; // The file outlives the process.
        }
        let is_same_campaign = is_same_run && old.is_some_and(|old| old.campaign == status.campaign);
        if !is_same_campaign || self.is_silent {
            self.campaign_since = now;
        }
        self.died = false;
        self.is_silent = false;
        self.status = Some(status);
    }

    /// The lock of a run was got.
    pub(crate) fn end(&mut self, incarnation: Uuid) {
        self.died |= self.status.as_ref().is_some_and(|status| status.incarnation == incarnation);
    }

    /// The status of an app that is alive: readable, and its lock is held.
    pub(crate) fn alive(&self) -> Option<&AppStatus> {
        self.status.as_ref().filter(|_| !self.is_silent && !self.died)
    }

    /// It will never lead again in this run: it is dead, or its disk failed.
    pub(crate) fn is_ended(&self) -> bool {
        self.died || self.status.as_ref().is_some_and(|status| status.state == AppState::Failed)
    }
}

impl AppStatus {
    /// The claim that it leads, or finds out whether it may, or ends to lead by: its own.
    pub(crate) fn own_claim(&self) -> Option<&Claim> {
        self.following.as_ref().filter(|claim| claim.incarnation == self.incarnation)
    }
}
