//! How old the data here may be, and whether the leader is lost to this replica alone.
//!
//! ```text
//!   follower ──readIndex, at leisure──▶ leader          "how far must I have applied?", asked at t
//!                                         │ its next heartbeat, echoed by a majority of the voters
//!   follower ◀───────readAnswer(i)────────┘             applied up to i: all that was committed anywhere before t is here
//! ```
//!
//! This is the same proof as for strong reads, and as strong: it holds for a follower whose leader was replaced without
//! knowing, across any delay, and without comparing two clocks. A heartbeat alone proves nothing: it may have been under
//! way for a long time, and a deposed leader sends heartbeats, too \[S11\]. These questions start no round of their own, so
//! they cost one small frame and its answer for each heartbeat. A leader dates its data from the newest round that a
//! majority has echoed.
//!
//! A question at leisure has the highest bit of its number set. A leader that does not know this answers it like any other.

use crate::plants::{heartbeats_prove_nothing, only_applied_is_fresh};
use crate::question::AT_LEISURE;
use crate::replica::Replica;
use crate::stance::{Link, Stage, Stance};
use crate::{Body, ConnId, ReplicaId, RoleView, Seq};
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Freshness {
    /// All that was committed anywhere before this moment is applied here.
    as_of: Option<Duration>,
    /// The question under way: its addressee, its number, and when it was asked.
    asked: Option<(ConnId, u64, Duration)>,
    /// The answer that is not applied yet, and when its question was asked.
    waiting: Option<(Seq, Duration)>,
    /// The next question is not asked before this time.
    next_at: Duration,
    numbers: u64,
    /// When the leader was last heard; initially the start.
    pub(crate) heard_at: Duration,
    /// The last renewal of the Lease that was seen, and when.
    renewal: Option<(u64, Duration)>,
}

impl Replica {
    /// Everything that was committed anywhere before this moment (of [`Replica::step`]'s time) is applied here. None: not
    /// known since the start.
    pub fn fresh_as_of(&self) -> Option<Duration> {
        self.freshness.as_of
    }

    /// The leader's answer to a question at leisure.
    pub(crate) fn on_leisurely_answer(&mut self, conn: ConnId, number: u64, index: Option<Seq>) {
        let Some((_, _, at)) = self.freshness.asked.take_if(|(whom, asked, _)| *whom == conn && *asked == number)
        else {
            return;
        };
        if let Some(index) = index {
            self.freshness.waiting = Some((index, at));
            self.leader_commits(index);
        }
    }

    /// A heartbeat arrived. It proves nothing about the present \[S11\].
    pub(crate) fn after_heartbeat(&mut self) {
        if !heartbeats_prove_nothing() {
            self.freshness.as_of = Some(self.clock.now());
        }
    }

    /// Runs after the rest of a step, because what the step applies counts.
    pub(crate) fn tend_freshness(&mut self) {
        if let Some((_, at)) = self.freshness.waiting.take_if(|(index, _)| *index <= self.progress.applied()) {
            self.freshness.as_of = self.freshness.as_of.max(Some(at));
        }
        match &self.stance {
            Stance::Idle => {}
            Stance::Following(following) => {
                let Link::Up(conn) = following.link else { return };
                let is_open = self.freshness.asked.is_some_and(|(whom, ..)| whom == conn);
                if !is_open && self.freshness.waiting.is_none() && self.clock.now() >= self.freshness.next_at {
                    self.freshness.numbers += 1;
                    let number = self.freshness.numbers | AT_LEISURE;
                    self.freshness.asked = Some((conn, number, self.clock.now()));
                    self.freshness.next_at = self.clock.now() + self.config.heartbeat;
                    self.send(conn, Body::ReadIndex { number });
                }
            }
            Stance::Leading(_) => self.date_by_echoes(),
        }
    }

    /// What a leader has applied is as recent as the newest round that a majority has echoed: until then, nobody else had
    /// their promises \[S6\]. It knows what earlier terms committed only once an entry of its own is committed.
    fn date_by_echoes(&mut self) {
        let (own, echoed) = (self.config.replica, self.echoed_round());
        let alone = self.volume.log().voters().is_majority(|replica: ReplicaId| replica == own);
        let (now, is_applied) =
            (self.clock.now(), self.progress.applied() == self.progress.commit() || !only_applied_is_fresh());
        let Stance::Leading(leading) = &mut self.stance else { return };
        if !matches!(leading.stage, Stage::Open(_)) || !is_applied {
            return;
        }
        self.freshness.heard_at = if self.lost.is_none() { now } else { self.freshness.heard_at };
        let at = if alone { Some(now) } else { leading.rounds.echoed(echoed) };
        self.freshness.as_of = self.freshness.as_of.max(at);
    }

    /// role.json was read.
    pub(crate) fn note_renewal(&mut self, view: &RoleView) {
        let Some(seen) = view.renewal_seen else { return };
        // The first one may be old: the sidecar may be dead.
        match self.freshness.renewal {
            Some((before, _)) if before == seen => {}
            Some(_) => self.freshness.renewal = Some((seen, self.clock.now())),
            None => self.freshness.renewal = Some((seen, Duration::ZERO)),
        }
    }

    /// There is a leader, by a Lease that is being renewed, and this replica lost it so long ago that clients should not
    /// ask it for data. Without a leader anywhere all replicas are equally good, and stay ready.
    pub(crate) fn cut_off(&self) -> bool {
        !matches!(self.stance, Stance::Leading(_))
            && self.clock.now() >= self.freshness.heard_at + self.config.unready_after
            && self.lease_is_renewed()
    }

    /// Another pod renews the Lease, as of this moment and while the leader is not heard.
    fn lease_is_renewed(&self) -> bool {
        let Some(view) = self.sidecar.view() else { return false };
        let by_another = view.leader.as_ref().is_some_and(|leader| leader.name != self.config.name);
        let renewed = self
            .freshness
            .renewal
            .is_some_and(|(_, at)| at > self.freshness.heard_at && self.clock.now() < at + view.lease_duration);
        by_another && renewed
    }

    /// When [`Replica::cut_off`] may change by time alone.
    pub(crate) fn freshness_deadline(&self) -> Option<Duration> {
        let begins = self.freshness.heard_at + self.config.unready_after;
        if matches!(self.stance, Stance::Leading(_)) || !self.lease_is_renewed() {
            return None;
        }
        let duration = self.sidecar.view().map(|view| view.lease_duration).unwrap_or_default();
        let ends = self.freshness.renewal.map(|(_, at)| at + duration);
        if self.clock.now() < begins { Some(begins) } else { ends }
    }
}
