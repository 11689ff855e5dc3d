//! A volume that went back in time: somebody restored an older copy of it, or its disk lied about what it had written.
//!
//! ```text
//!   start ──AskState──▶ all voters ──▶ "known": what each has seen this volume acknowledge, or promise
//!       all answered, or a lost-time went by, and none knows more than this volume holds ──▶ it may promise
//!       one of them knows more                                                           ──▶ marked
//!   hello below what the leader verified ──▶ refused {"code": "went-back"}               ──▶ marked
//!   marked: durably, forever. Promises nothing, counts for nothing, serves nothing. Wiped, it joins as a new replica.
//! ```
//!
//! Why it must not vote: an entry was acknowledged because this volume had it. A vote without that entry could complete a
//! majority that has never seen it. Why it asks before its first promise, and does not wait for a leader's refusal: its old
//! promise may send it to a leader that knows nothing of it, or even to a deposed one.
//!
//! What counts as known: only what was acked, never the claims of a hello, and no further than the commit, because a later
//! leader may legitimately cut more. A promise counts as soon as it was said: promises never go down. Positions are
//! compared, not sequences: 2/9 is less than 3/8.
//!
//! Not promised: a volume that goes back while no replica that knows it answers is not noticed.

use crate::plants::{gone_back_is_marked, only_committed_is_known, promises_wait_for_answers, terms_compare_first};
use crate::replica::Replica;
use crate::stance::Stance;
use crate::{Body, Claim, Effect, Hello, KnownVolume, PeerState, Position, Refusal, ReplicaId, Seq, Target, WentBack};
use std::collections::BTreeSet;
use std::time::Duration;

/// The most volumes that are remembered. Only voters are, so the others were wiped long ago.
const KNOWN_MAX: usize = 16;
/// While appends flow, a leader reports its own volume's progress at most this often; otherwise with each commit and
/// heartbeat.
const TELL_DURABLE_AFTER: Duration = Duration::from_millis(10);

/// The questions before the first promise.
#[derive(Clone, Debug, Default, Hash)]
struct Asking {
    /// The pods that answered.
    answered: BTreeSet<String>,
    /// The highest claim that arrived meanwhile.
    deferred: Option<Claim>,
}

/// What is known of volumes from before: of this one by earlier runs and by others, and of others by this one.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Past {
    /// The questions that come before the first promise; none when they are over \[E1\].
    asking: Option<Asking>,
    /// The volume has gone back in time \[E2\].
    went_back: Option<WentBack>,
    /// Committed, by what an earlier run noted on the volume: not applied again before it is known anew.
    noted: Seq,
    /// Entries were cut that an earlier run knew to be committed: which, for people.
    cut_committed: Option<String>,
    /// What is known of other volumes, of this and of earlier stances of this run \[E1\].
    known: Vec<KnownVolume>,
}

impl Past {
    /// As the volume shows it at the start.
    pub(crate) fn new(went_back: Option<WentBack>, noted: Seq) -> Past {
        let asking = went_back.is_none().then(Asking::default);
        Past { asking, went_back, noted, cut_committed: None, known: Vec::new() }
    }

    pub(crate) fn has_gone_back(&self) -> bool {
        self.went_back.is_some()
    }

    pub(crate) fn went_back(&self) -> Option<&WentBack> {
        self.went_back.as_ref()
    }

    pub(crate) fn noted(&self) -> Seq {
        self.noted
    }

    pub(crate) fn cut_committed(&self) -> Option<&str> {
        self.cut_committed.as_deref()
    }

    pub(crate) fn known(&self) -> &[KnownVolume] {
        &self.known
    }
}

/// Does a log that ends at `found` lack what is known to be at `known`?
fn is_before(found: Position, known: Position) -> bool {
    if terms_compare_first() { found < known } else { found.seq < known.seq }
}

impl Replica {
    // ---- before the first promise

    /// It has not asked enough yet to promise anything.
    pub fn is_asking(&self) -> bool {
        self.past.asking.is_some() && promises_wait_for_answers()
    }

    /// Keeps a claim until it may be accepted.
    pub(crate) fn defer(&mut self, claim: Claim) {
        let Some(asking) = &mut self.past.asking else { return };
        if asking.deferred.as_ref().is_none_or(|kept| kept.term < claim.term) {
            asking.deferred = Some(claim);
        }
    }

    /// The replicas that may know this volume, while they must be asked: the voters by its own log, and the wanted pods.
    pub(crate) fn asked_at_the_start(&self) -> Option<Vec<Target>> {
        if !self.is_asking() {
            return None;
        }
        let voters = self.volume.log().voters().voters.iter().map(|voter| &voter.name);
        let names: BTreeSet<&String> = voters.chain(self.sidecar.members().iter().map(|member| &member.name)).collect();
        let others = names.into_iter().filter(|name| **name != self.config.name);
        Some(others.filter_map(|name| self.target_of(name)).collect())
    }

    /// Promises are allowed once all of them have answered, and after a lost-time in any case, so that nobody waits for a
    /// pod that is gone. The voters alone are not enough: an older copy may date from a time when it was the only one.
    pub(crate) fn tend_asking(&mut self) {
        let Some(asking) = &self.past.asking else { return };
        let has_answered = |name: &String| *name == self.config.name || asking.answered.contains(name);
        let voters = &self.volume.log().voters().voters;
        let have_all = self.sidecar.view().is_some()
            && self.sidecar.members().iter().all(|member| has_answered(&member.name))
            && voters.iter().all(|voter| has_answered(&voter.name));
        if self.is_asking() && !have_all && self.clock.now() < self.asks_until() {
            return;
        }
        let deferred = self.past.asking.take().and_then(|asking| asking.deferred);
        if let Some(claim) = deferred {
            self.consider(claim);
        }
        if let Some(view) = self.sidecar.view().cloned() {
            self.on_role(view);
        }
    }

    fn asks_until(&self) -> Duration {
        self.clock.began() + self.config.lost_time
    }

    pub(crate) fn asking_deadline(&self) -> Option<Duration> {
        self.past.asking.as_ref().map(|_| self.asks_until())
    }

    /// Another replica answered. If it knows more of this volume than the volume holds, nothing else counts.
    pub(crate) fn learn_of_itself(&mut self, name: &str, state: &PeerState) {
        if let Some(asking) = &mut self.past.asking {
            asking.answered.insert(name.to_owned());
        }
        let is_ours = self.volume.state().cluster_id.is_none_or(|own| state.cluster_id == Some(own));
        let known = state.known.iter().find(|known| known.replica == self.config.replica);
        if let Some(known) = known.filter(|known| is_ours && self.is_behind(known)) {
            self.go_back(name, *known);
        }
    }

    fn is_behind(&self, known: &KnownVolume) -> bool {
        known.term > self.volume.state().promise.term || is_before(self.volume.log().last(), known.position)
    }

    /// Marks itself, durably, before anything else. From here on it follows nobody, and never leads.
    pub(crate) fn go_back(&mut self, known_by: &str, known: KnownVolume) {
        if self.past.has_gone_back() || !gone_back_is_marked() {
            return;
        }
        self.end_stance();
        self.past.asking = None;
        let mark = WentBack {
            replica: self.config.replica,
            known_by: known_by.to_owned(),
            known_term: known.term,
            known: known.position,
            found_term: self.volume.state().promise.term,
            found: self.volume.log().last(),
        };
        self.past.went_back = Some(mark.clone());
        self.refuse_all_reads(Refusal::WentBack);
        let ticket = self.volume.issue();
        self.effects.push(Effect::MarkWentBack { ticket, mark });
    }

    // ---- others have lost what this volume holds

    /// Entries are about to be cut. If an earlier run knew some of them to be committed, a majority of the volumes has lost
    /// what was acknowledged. All that can be done here is to report it.
    pub(crate) fn tell_of_lost(&mut self, keep: Seq, by: Position) {
        if keep >= self.past.noted {
            return;
        }
        let (first, last) = (keep.next(), self.past.noted);
        let what = format!(
            "the entries {first} to {last} were committed and acknowledged to clients, and are lost: the cluster has \
             {by} in their place. Volumes of other pods went back in time"
        );
        self.past.noted = keep;
        self.effects.push(Effect::Report { what: what.clone() });
        self.past.cut_committed = Some(what);
    }

    /// What a later run may consider committed: it is durable here, too. For a note on the volume, now and then.
    pub fn committed_here(&self) -> Position {
        self.volume.durable_of(self.progress.commit())
    }

    // ---- what others are known to have

    /// Notes what the present role has shown of other volumes. Runs at every step, so it allocates nothing.
    pub(crate) fn note_known(&mut self) {
        let (log, commit) = (self.volume.log(), self.progress.commit());
        let position = |acked: Seq| {
            let upto = if only_committed_is_known() { acked.min(commit) } else { acked };
            if upto == Seq(0) { None } else { log.position_at(upto) }
        };
        let voters = log.voters();
        match &self.stance {
            Stance::Idle => {}
            Stance::Following(following) => {
                let acked = following.leader_durable.min(following.verified);
                if let (Some(replica), Some(position)) = (following.leader_replica, position(acked)) {
                    let known = KnownVolume { replica, term: following.claim.term, position };
                    learn(&mut self.past.known, known, |replica| voters.contains(replica));
                }
            }
            Stance::Leading(leading) => {
                for (replica, follower) in &leading.followers {
                    let position = position(follower.verified).unwrap_or(Position::ZERO);
                    let known = KnownVolume { replica: *replica, term: self.volume.state().promise.term, position };
                    learn(&mut self.past.known, known, |replica| voters.contains(replica));
                }
            }
        }
    }

    /// The leader reports its own volume's progress: a follower must know that, too, in case the leader's volume goes back.
    pub(crate) fn on_leader_acks(&mut self, seq: Seq) {
        if let Stance::Following(following) = &mut self.stance {
            following.leader_durable = following.leader_durable.max(seq);
        }
    }

    /// The leader's part: with each commit and heartbeat, and now and then while appends flow.
    pub(crate) fn tell_durable(&mut self, only_if_due: bool) {
        let (now, durable) = (self.clock.now(), self.volume.writes().durable());
        let Stance::Leading(leading) = &mut self.stance else { return };
        // Behind its term's first entry its own promise is durable, too.
        if leading.first_entry().is_none_or(|first| durable < first) || only_if_due && now < leading.next_durable {
            return;
        }
        leading.next_durable = now + TELL_DURABLE_AFTER;
        let mut conns = Vec::new();
        for follower in leading.followers.values_mut().filter(|follower| follower.durable_told < durable) {
            if let Some(conn) = follower.conn {
                follower.durable_told = durable;
                conns.push(conn);
            }
        }
        for conn in conns {
            self.send(conn, Body::Ack { seq: durable });
        }
    }

    // ---- the leader refuses it

    /// What this leader knows of the volume that says hello, if that is more than the hello claims.
    pub(crate) fn knows_better(&self, hello: &Hello) -> Option<KnownVolume> {
        let Stance::Leading(leading) = &self.stance else { return None };
        let replica = hello.replica;
        let under_us = leading.followers.get(&replica).map(|follower| follower.acked);
        let before = self.past.known.iter().find(|known| known.replica == replica).map(|known| known.position);
        let position = under_us.max(before).filter(|known| is_before(hello.position, *known))?;
        Some(KnownVolume { replica, term: self.volume.state().promise.term, position })
    }

    /// A volume is known to have gone back, by its hello or by its own report: nothing of it counts.
    pub(crate) fn disown(&mut self, replica: ReplicaId) {
        let Stance::Leading(leading) = &mut self.stance else { return };
        leading.gone_back.insert(replica);
        let Some(follower) = leading.followers.get_mut(&replica) else { return };
        follower.verified = Seq(0);
        follower.outbound.verified = Seq(0);
        if let Some(conn) = follower.conn.take() {
            self.effects.push(Effect::Close { conn });
        }
    }
}

/// Remembers the most that was seen of a volume. Only of voters: no other replica's ack ever counted.
fn learn(known: &mut Vec<KnownVolume>, new: KnownVolume, is_voter: impl Fn(ReplicaId) -> bool) {
    if let Some(old) = known.iter_mut().find(|old| old.replica == new.replica) {
        old.term = old.term.max(new.term);
        old.position = old.position.max(new.position);
        return;
    }
    if !is_voter(new.replica) {
        return;
    }
    if known.len() >= KNOWN_MAX {
        known.retain(|old| is_voter(old.replica));
    }
    if known.len() < KNOWN_MAX {
        known.push(new);
    }
}
