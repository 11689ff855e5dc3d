//! The apps, as far as an election depends on them: promises, invitations, majorities, campaigns. No data.

use std::time::Duration;

use leasehold_election::{AppState, AppStatus, Claim, HandOver, Input, Promise, Term};
use uuid::Uuid;

use super::{CLUSTER, Happening, LOST_TIME, World, ms};

/// One app with its volume. The promise survives its death.
#[derive(Debug)]
pub struct Replica {
    pub incarnation: Uuid,
    pub is_alive: bool,
    state: AppState,
    promised: Promise,
    following: Option<Claim>,
    heard_at: Duration,
    is_heard: bool,
    campaign: Option<Term>,
    rank: u32,
    need_term: Option<Term>,
    hand_over: Option<HandOver>,
    told: Option<AppStatus>,
}

impl Replica {
    pub fn new(incarnation: Uuid, now: Duration) -> Replica {
        Replica {
            incarnation,
            is_alive: true,
            state: AppState::Follower,
            promised: Promise::default(),
            following: None,
            heard_at: now,
            is_heard: false,
            campaign: None,
            rank: 0,
            need_term: None,
            hand_over: None,
            told: None,
        }
    }

    pub fn status(&self) -> AppStatus {
        AppStatus {
            incarnation: self.incarnation,
            cluster_id: Some(CLUSTER),
            state: self.state,
            promised: self.promised,
            following: self.following.clone(),
            leader_heard: self.is_heard,
            campaign: self.campaign,
            rank: self.rank,
            need_term: self.need_term,
            hand_over: self.hand_over.clone(),
            eligible: true,
            bootstrapping: false,
        }
    }

    pub fn is_leading(&self) -> bool {
        self.is_alive && self.state == AppState::Leading
    }

    pub fn leads_with(&self, incarnation: Uuid, term: Term) -> bool {
        self.is_leading() && self.incarnation == incarnation && self.promised.term == term
    }

    fn is_in_office(&self) -> bool {
        self.is_alive && matches!(self.state, AppState::Recovering | AppState::Leading)
    }

    fn take(&mut self, claim: Claim, now: Duration) {
        let is_own = claim.incarnation == self.incarnation;
        self.promised = Promise { term: claim.term, incarnation: Some(claim.incarnation) };
        self.state = if is_own { AppState::Recovering } else { AppState::Follower };
        self.following = Some(claim);
        self.heard_at = now;
        self.is_heard = true;
        self.campaign = None;
        self.need_term = None;
        self.hand_over = None;
    }
}

impl World {
    pub fn app_dies(&mut self, pod: usize, span: Duration) {
        let app = &mut self.pods[pod].replica;
        if app.is_alive {
            app.is_alive = false;
            let incarnation = app.incarnation;
            let run = self.pods[pod].run;
            self.after(ms(1), Happening::Deliver(pod, run, Input::AppDied { incarnation }));
            self.after(span, Happening::AppStart(pod));
        }
    }

    pub fn app_start(&mut self, pod: usize) {
        if self.pods[pod].replica.is_alive {
            return;
        }
        let promised = self.pods[pod].replica.promised;
        let incarnation = self.fresh_id();
        let now = self.now;
        self.pods[pod].replica = Replica { promised, ..Replica::new(incarnation, now) };
        self.tell(pod);
        self.after(ms(20), Happening::AppTick(pod));
    }

    /// role.json changed.
    pub fn app_reacts(&mut self, pod: usize) {
        if self.pods[pod].replica.is_alive {
            self.read_role(pod);
            self.tell(pod);
        }
    }

    pub fn app_tick(&mut self, pod: usize) {
        if !self.pods[pod].replica.is_alive {
            return; // The next run starts a new row of ticks.
        }
        self.read_role(pod);
        if self.pods[pod].replica.is_in_office() {
            self.lead(pod);
        }
        self.look_for_leader(pod);
        self.tell(pod);
        self.after(ms(50), Happening::AppTick(pod));
    }

    fn read_role(&mut self, pod: usize) {
        let now = self.now;
        let Some(role) = self.pods[pod].role.clone() else { return };
        let app = &mut self.pods[pod].replica;
        if let Some(leader) = role.leader.filter(|_| role.term > app.promised.term) {
            let peer_address = format!("{}:8090", leader.name);
            app.take(Claim { term: role.term, incarnation: leader.incarnation, name: leader.name, peer_address }, now);
            return;
        }
        let Some(to) = role.hand_over_to.filter(|_| app.is_leading()) else {
            app.hand_over = None;
            return;
        };
        let promised = app.promised;
        let successor = self.pods.iter().find(|other| other.name == to).map(|other| &other.replica);
        let successor = successor.filter(|successor| successor.is_alive && successor.promised == promised);
        let hand_over = successor.map(|successor| HandOver { to: Some(to), incarnation: Some(successor.incarnation) });
        self.pods[pod].replica.hand_over = hand_over;
    }

    /// Invites all, and counts who is bound to exactly this leadership.
    fn lead(&mut self, pod: usize) {
        let now = self.now;
        let own = self.pods[pod].replica.promised;
        let Some(claim) = self.pods[pod].replica.following.clone() else { return };
        for other in (0..self.pods.len()).filter(|other| *other != pod) {
            if !self.pods[other].replica.is_alive {
                continue;
            }
            let promised = self.pods[other].replica.promised;
            if promised.term < own.term {
                self.pods[other].replica.take(claim.clone(), now);
                self.tell(other);
            } else if promised.term > own.term {
                let app = &mut self.pods[pod].replica;
                app.state = AppState::Follower;
                app.is_heard = false;
                app.heard_at = Duration::ZERO;
                return;
            } else if promised.incarnation != own.incarnation {
                self.pods[pod].replica.need_term = Some(own.term);
            }
        }
        let bound = self.pods.iter().filter(|pod| pod.replica.is_alive && pod.replica.promised == own).count();
        let has_majority = bound * 2 > self.pods.len();
        if has_majority {
            let app = &mut self.pods[pod].replica;
            app.state = AppState::Leading;
            app.heard_at = now;
            app.is_heard = true;
            let known = *self.by_majority.entry(own.term).or_insert(app.incarnation);
            assert_eq!(known, app.incarnation, "two majorities in term {}", own.term);
        }
    }

    fn look_for_leader(&mut self, pod: usize) {
        let now = self.now;
        let app = &self.pods[pod].replica;
        let term = app.promised.term;
        if !app.is_in_office() {
            let leads = |leader: &Replica| leader.is_in_office() && leader.promised == app.promised;
            if self
                .pods
                .iter()
                .any(|other| leads(&other.replica) && Some(other.replica.incarnation) == app.promised.incarnation)
            {
                let app = &mut self.pods[pod].replica;
                (app.heard_at, app.is_heard) = (now, true);
            }
        }
        let is_lost = now >= self.pods[pod].replica.heard_at + LOST_TIME;
        let hears = |app: &Replica| app.is_heard && app.promised.term >= term;
        let alive = || self.pods.iter().map(|pod| &pod.replica).filter(|app| app.is_alive);
        let deaf = alive().filter(|app| !hears(app)).count() + usize::from(hears(&self.pods[pod].replica));
        let highest = alive().map(|app| app.promised.term).max();
        let campaigns = is_lost && deaf * 2 > self.pods.len();
        let app = &mut self.pods[pod].replica;
        if is_lost {
            app.is_heard = false;
        }
        app.campaign = campaigns.then_some(term);
        app.rank = pod as u32;
        if !app.is_in_office() {
            app.need_term = highest.filter(|_| campaigns);
        }
    }

    fn tell(&mut self, pod: usize) {
        let status = self.pods[pod].replica.status();
        if self.pods[pod].replica.told.as_ref() != Some(&status) {
            self.pods[pod].replica.told = Some(status.clone());
            let run = self.pods[pod].run;
            self.after(ms(2), Happening::Deliver(pod, run, Input::AppSeen(status)));
        }
    }
}
