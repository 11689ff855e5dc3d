//! What a fencing app says about itself: the part of `status.json` that decides.

use std::time::Duration;

use uuid::Uuid;

use crate::lease::Term;

/// The part of `status.json` that the election needs. `contract::election` converts; an unreadable file is `Input::AppSilent`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppStatus {
    /// This run of the app.
    pub incarnation: Uuid,
    /// The cluster that its volume belongs to; none if the volume is empty.
    pub cluster_id: Option<Uuid>,
    /// Its stage of life.
    pub state: AppState,
    /// The promise that binds it.
    pub promised: Promise,
    /// The claim that it follows, or leads by.
    pub following: Option<Claim>,
    /// It hears that leader (if it leads: it hears a majority).
    pub leader_heard: bool,
    /// It asks its pod to take the Lease: a majority has lost the leader of this term.
    pub campaign: Option<Term>,
    /// The rank of its position among the known ones; 0 is the best, and no two are equal.
    pub rank: u32,
    /// The next leadership needs a term above this one.
    pub need_term: Option<Term>,
    /// It is letting go of the leadership.
    pub hand_over: Option<HandOver>,
    /// It may lead (voter, wanted, not starting, draining or failed).
    pub eligible: bool,
    /// Its volume is marked `bootstrapping`.
    pub bootstrapping: bool,
}

/// The app's stage of life. See `status.json`.
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

/// (term, leader incarnation), durable on the app's volume. Term 0 without an incarnation: no promise yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promise {
    /// Every lower term is refused.
    pub term: Term,
    /// Every other incarnation of the same term is refused.
    pub incarnation: Option<Uuid>,
}

/// A claim that somebody leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The number of the leadership.
    pub term: Term,
    /// The run of the app that claims.
    pub incarnation: Uuid,
    /// The name of its pod.
    pub name: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
}

/// The successor to whom the app wants to hand over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HandOver {
    /// The successor's pod; none if no pod is fit: then the holder is cleared.
    pub to: Option<String>,
    /// The successor's app; without it the holder is cleared, too.
    pub incarnation: Option<Uuid>,
}

/// The app as the election knows it.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct AppSight {
    /// Its last status; none for a plain app, or before the first status.
    pub(crate) status: Option<AppStatus>,
    /// The status cannot be read at present.
    pub(crate) is_silent: bool,
    /// The kernel reported its death.
    pub(crate) died: bool,
    /// Since when it has said `campaign` with this term.
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

    /// The sidecar acquired the lock of a run.
    pub(crate) fn end(&mut self, incarnation: Uuid) {
        self.died |= self.status.as_ref().is_some_and(|status| status.incarnation == incarnation);
    }

    /// The status of an app that is alive: readable, and the app holds its lock.
    pub(crate) fn alive(&self) -> Option<&AppStatus> {
        self.status.as_ref().filter(|_| !self.is_silent && !self.died)
    }

    /// It will never lead again in this run: it is dead, or its disk failed.
    pub(crate) fn is_ended(&self) -> bool {
        self.died || self.status.as_ref().is_some_and(|status| status.state == AppState::Failed)
    }
}

impl AppStatus {
    /// Its own claim: it leads by it, is finding out whether it may, or is ending that leadership.
    pub(crate) fn own_claim(&self) -> Option<&Claim> {
        self.following.as_ref().filter(|claim| claim.incarnation == self.incarnation)
    }
}
