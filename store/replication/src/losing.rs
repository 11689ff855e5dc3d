//! Losing the leader (5.3 in docs/design.md): ask every voter, and campaign when a majority has lost it, too.
//!
//! ```text
//!   lost ──AskState──▶ every other voter ──▶ "do you hear a leader of t or above?"
//!        a majority, itself included, does not  ──▶ campaign {t}, rank, needTerm   in status.json
//!        heard again, or a claim was taken      ──▶ withdrawn
//! ```
//!
//! It only asks for the Lease. The replica that gets it still has to find its majority of promises.

use crate::plants::{answers_count_by_name, bootstrap_waits_for_disk, later_leaders_count};
use crate::replica::Replica;
use crate::stance::Stance;
use crate::target::ordinal;
use crate::{PeerState, Promise, ReplicaId, Target, Term};
use std::collections::BTreeMap;
use std::time::Duration;

const ASK_FIRST: Duration = Duration::from_millis(20);
const ASK_MOST: Duration = Duration::from_millis(200);
/// How long a bootstrap may rely on the answer that others are empty.
pub(crate) const ANSWER_GOOD: Duration = Duration::from_secs(5);

/// No leader is heard.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Lost {
    /// Since when. Earlier answers do not count.
    pub(crate) since: Duration,
    /// The highest promise that another replica reported.
    pub(crate) told: Promise,
}

/// What the other replicas say when they are asked, and when they are asked next.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Peers {
    /// The last answer of each pod, and when it arrived.
    answers: BTreeMap<String, (Duration, PeerState)>,
    ask_at: Duration,
    /// The pause after the next questions.
    ask_pause: Duration,
}

impl Peers {
    /// When they are asked next, if anybody is to be asked then.
    pub(crate) fn ask_at(&self) -> Duration {
        self.ask_at
    }

    pub(crate) fn ask_soon(&mut self, now: Duration) {
        self.ask_at = now;
        self.ask_pause = ASK_FIRST;
    }

    /// They were asked: the pause before the next questions grows.
    fn asked(&mut self, now: Duration) {
        self.ask_pause = (self.ask_pause * 2).clamp(ASK_FIRST, ASK_MOST);
        self.ask_at = now + self.ask_pause;
    }

    fn answered(&mut self, name: String, now: Duration, state: PeerState) {
        self.answers.insert(name, (now, state));
    }

    /// What that pod said last, unless it was before `since`.
    pub(crate) fn said(&self, name: &str, since: Duration) -> Option<&PeerState> {
        self.answers.get(name).filter(|(at, _)| *at >= since).map(|(_, state)| state)
    }

    /// All that was said since then.
    pub(crate) fn since(&self, since: Duration) -> impl Iterator<Item = &PeerState> {
        self.answers.values().filter(move |(at, _)| *at >= since).map(|(_, state)| state)
    }
}

impl Replica {
    /// The leader is lost (for a leader: its majority). Does nothing if that is known already.
    pub(crate) fn lose(&mut self) {
        if self.lost.is_none() {
            self.lost = Some(Lost { since: self.clock.now(), told: Promise::NONE });
            self.peers.ask_soon(self.clock.now());
        }
    }

    /// Somebody is bound to this promise. One of a term that cannot be would leave no term to campaign for.
    pub(crate) fn told_of(&mut self, promise: Promise) {
        if promise.term <= Term::MAX
            && let Some(lost) = &mut self.lost
        {
            lost.told = lost.told.max(promise);
        }
    }

    pub(crate) fn on_state_answered(&mut self, name: String, state: PeerState) {
        if state.name != name && answers_count_by_name() {
            // That pod's address belongs to another pod by now. Its statement is not an answer [F2].
            return;
        }
        self.learn_of_itself(&name, &state);
        if self.past.has_gone_back() {
            return;
        }
        if state.went_back {
            self.disown(state.replica);
        }
        self.told_of(state.promise);
        // Of the questions before the first promise nothing else is of use.
        if self.lost.is_some() || self.ending.is_draining() || self.asked_for_bootstrap().is_some() {
            self.peers.answered(name, self.clock.now(), state);
        }
    }

    /// Starts looking for a leader where there is none to follow, and keeps asking while it is lost.
    pub(crate) fn tend_losing(&mut self) {
        let knows_of_none = matches!(self.stance, Stance::Idle) && self.is_voter() && !self.past.has_gone_back();
        // Right after a start role.json is still to be read; its sidecar may also be dead for good.
        if knows_of_none && (self.sidecar.view().is_some() || self.clock.now() >= self.waits_for_view_until()) {
            self.lose();
        }
        if self.clock.now() < self.peers.ask_at() {
            return;
        }
        let asked = self.whom_to_ask();
        if asked.is_empty() {
            return;
        }
        for to in asked {
            self.effects.push(crate::Effect::AskState { to });
        }
        self.peers.asked(self.clock.now());
    }

    pub(crate) fn losing_deadline(&self) -> Option<Duration> {
        let waits_for_view =
            matches!(self.stance, Stance::Idle) && self.is_voter() && self.lost.is_none() && !self.past.has_gone_back();
        waits_for_view.then(|| self.waits_for_view_until())
    }

    fn waits_for_view_until(&self) -> Duration {
        self.clock.began() + self.config.lost_time
    }

    /// The pods to ask for their state now, and where.
    pub(crate) fn whom_to_ask(&self) -> Vec<Target> {
        // It asks all the others, and only where they are known to be now [F2].
        if let Some(members) = self.asked_for_bootstrap() {
            return members;
        }
        if let Some(all) = self.asked_at_the_start() {
            return all;
        }
        if !self.is_voter() || (self.lost.is_none() && !self.ending.is_draining()) {
            return Vec::new();
        }
        let others = self.volume.log().voters().voters.iter().filter(|voter| voter.replica != self.config.replica);
        others.filter_map(|voter| self.target_of(&voter.name)).collect()
    }

    /// The term after which it campaigns, if a majority of the voters has lost its leader.
    pub(crate) fn campaign(&self) -> Option<Term> {
        let lost = self.lost.as_ref()?;
        let term = self.volume.state().promise.term;
        let is_none_of_ours = |heard: Term| if later_leaders_count() { heard < term } else { heard != term };
        let deaf = |replica: ReplicaId| {
            replica == self.config.replica
                || self.peers.since(lost.since).any(|state| {
                    state.replica == replica && !state.went_back && state.hears.is_none_or(is_none_of_ours)
                })
        };
        // A bootstrap must be durable before anybody is told of it [L4].
        let is_durable = self.volume.writes().all_durable() || !bootstrap_waits_for_disk();
        let is_fit = !self.disk.hangs() && !self.is_asking() && !self.checks.forbid_leading();
        (self.is_voter() && is_fit && is_durable && self.volume.log().voters().is_majority(deaf)).then_some(term)
    }

    /// How many of the voters that could lead rank higher: by a better position, or the same and a lower ordinal.
    pub(crate) fn rank(&self) -> u32 {
        let Some(lost) = &self.lost else { return 0 };
        let own = (self.volume.log().last(), std::cmp::Reverse(ordinal(&self.config.name)));
        let is_doubted = self.is_stalled();
        let better = self.peers.since(lost.since).filter(|state| {
            state.eligible
                && state.replica != self.config.replica
                && self.volume.log().voters().contains(state.replica)
                && (is_doubted || (state.position, std::cmp::Reverse(ordinal(&state.name))) > own)
        });
        // A replica whose disk hung a moment ago ranks after all others, even those that have not answered yet.
        better.count() as u32 + u32::from(is_doubted)
    }
}
