//! Strong reads (5.2 in docs/design.md): what a client sees here includes everything that was acknowledged anywhere before
//! it asked.
//!
//! ```text
//!   client ──Read──▶ follower ──readIndex──▶ leader   its own clients' reads stand in the same queue
//!                                              │ open: takes its commit, waits for a round that begins now or later \[S6\]
//!                                              ▼
//!                                            heartbeat ──▶ echoes of a majority of the voters
//!   client ◀─ReadReady─ applied ◀─readAnswer───┘
//! ```
//!
//! Why a round: a leader does not know that it was replaced. A voter that echoes has not promised to another leader at that
//! moment. So a majority of echoes to a round that began after the read shows that no other leader had committed anything
//! before the read arrived. An echo to an older round says nothing about the time since \[S6\].
//!
//! Reads are batched twice. Each replica has at most one question under way, for all reads that arrived before it was sent;
//! reads that arrive meanwhile go with the next. And the leader has at most one round under way for reads: the next one
//! serves questions that arrive meanwhile, or the next heartbeat, if that begins earlier.
//!
//! The shell numbers reads, and they are only ever answered "all up to this one", so nothing here grows with their number.
//! There is no time-out: a read without a leader waits for the next one. The shell gives up for its client. If the own disk
//! hangs before it has stored the promise to the leader, no leader can be asked: the read is refused at once \[B5\].

use crate::plants::reads_wait_for_later_heartbeats;
use crate::question::{ReadAsk, is_at_leisure};
use crate::replica::Replica;
use crate::stance::{Link, Stage, Stance};
use crate::{Body, ConnId, Effect, ReadId, Refusal, Seq, Term};

/// Rounds for reads leave out a follower that owes more rounds than this: a slow one must not be flooded. (It still gets
/// every heartbeat.)
const ROUNDS_OWED_MAX: u64 = 64;

/// The reads of our own clients.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Reads {
    /// The newest that arrived.
    newest: ReadId,
    /// All up to here are answered.
    answered: ReadId,
    question: Question,
}

/// What is under way for the reads up to `upto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Question {
    #[default]
    None,
    /// The leader was asked.
    Asked { whom: Asked, upto: ReadId },
    /// The leader answered: they may be answered when this is applied here. It stays valid under every later leader.
    Waiting { upto: ReadId, index: Seq },
}

/// The addressee of the question: only the present leader will ever answer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    /// The leader, by this connection.
    By(ConnId),
    /// Ourselves, who lead in this term.
    Ourselves(Term),
}

impl Replica {
    pub(crate) fn on_read(&mut self, id: ReadId) {
        self.reads.newest = self.reads.newest.max(id);
    }

    /// A follower asks. Its next question replaces the one before: a follower waits for one at a time, and for one at
    /// leisure.
    pub(crate) fn on_read_index(&mut self, conn: ConnId, number: u64) {
        let Stance::Leading(leading) = &mut self.stance else { return };
        leading.asks.retain(|ask| ask.from != Some(conn) || ask.is_at_leisure() != is_at_leisure(number));
        leading.asks.push(ReadAsk { from: Some(conn), number, at: None });
    }

    /// The leader answered with an index, or with none because it hears no majority.
    pub(crate) fn on_read_answer(&mut self, conn: ConnId, number: u64, index: Option<Seq>) {
        if is_at_leisure(number) {
            return self.on_leisurely_answer(conn, number, index);
        }
        let Question::Asked { whom: Asked::By(asked), upto } = self.reads.question else { return };
        if asked != conn || upto.0 != number {
            return;
        }
        match index {
            Some(index) => {
                self.reads.question = Question::Waiting { upto, index };
                // The leader has committed it, and it may be news.
                self.leader_commits(index);
            }
            None => self.refuse_reads(upto, Refusal::NoMajority),
        }
    }

    /// Nothing will ever be answered here: fails every waiting read.
    pub(crate) fn refuse_all_reads(&mut self, reason: Refusal) {
        if self.reads.newest > self.reads.answered {
            self.refuse_reads(self.reads.newest, reason);
        }
    }

    fn refuse_reads(&mut self, upto: ReadId, reason: Refusal) {
        self.reads.question = Question::None;
        self.reads.answered = upto;
        self.effects.push(Effect::ReadRefused { upto, reason });
    }

    /// Asks, answers, and reports which reads may proceed. Runs after the rest of a step: what that commits and applies
    /// counts.
    pub(crate) fn tend_reads(&mut self) {
        if self.past.has_gone_back() {
            return self.refuse_all_reads(Refusal::WentBack);
        }
        if self.checks.end_leading() {
            return self.refuse_all_reads(Refusal::Diverged);
        }
        if self.waits_to_promise() {
            return self.refuse_all_reads(Refusal::DiskStalled);
        }
        loop {
            if let Question::Waiting { upto, index } = self.reads.question
                && self.progress.applied() >= index
            {
                self.reads.question = Question::None;
                self.reads.answered = upto;
                self.effects.push(Effect::ReadReady { upto });
            }
            self.ask_for_index();
            if !self.answer_asks() {
                return;
            }
        }
    }

    fn ask_for_index(&mut self) {
        let whom = match &self.stance {
            Stance::Idle => None,
            Stance::Following(following) => match following.link {
                Link::Up(conn) => Some(Asked::By(conn)),
                Link::Down { .. } | Link::Dialled(_) => None,
            },
            Stance::Leading(_) => Some(Asked::Ourselves(self.volume.state().promise.term)),
        };
        if let Question::Asked { whom: asked, .. } = self.reads.question
            && Some(asked) != whom
        {
            self.reads.question = Question::None;
        }
        let upto = self.reads.newest;
        if self.reads.question != Question::None || upto == self.reads.answered {
            return;
        }
        let Some(whom) = whom else { return };
        self.reads.question = Question::Asked { whom, upto };
        match (whom, &mut self.stance) {
            (Asked::By(conn), _) => self.send(conn, Body::ReadIndex { number: upto.0 }),
            (Asked::Ourselves(_), Stance::Leading(leading)) => {
                leading.asks.push(ReadAsk { from: None, number: upto.0, at: None });
            }
            (Asked::Ourselves(_), Stance::Idle | Stance::Following(_)) => {}
        }
    }

    /// The leader's part. True: reads of our own got their index.
    fn answer_asks(&mut self) -> bool {
        let Stance::Leading(leading) = &mut self.stance else { return false };
        if leading.asks.is_empty() {
            return false;
        }
        let connected: Vec<ConnId> = leading.followers.values().filter_map(|follower| follower.conn).collect();
        leading.asks.retain(|ask| ask.from.is_none_or(|conn| connected.contains(&conn)));
        if self.lost.is_some() {
            let asks = std::mem::take(&mut leading.asks);
            asks.iter().for_each(|ask| self.answer_ask(ask, None));
            return false;
        }
        // What earlier terms committed is known only once an entry of this term is committed.
        if !matches!(leading.stage, Stage::Open(_)) {
            return false;
        }
        for ask in &mut leading.asks {
            ask.at.get_or_insert((self.progress.commit(), leading.round + 1));
        }
        // A question at leisure waits for the next heartbeat.
        let hurried = leading.asks.iter().filter(|ask| !ask.is_at_leisure());
        let wanted = hurried.filter_map(|ask| ask.at).map(|(_, round)| round).max();
        let (round, read_round) = (leading.round, leading.read_round);
        if wanted > Some(round) && self.echoed_round() >= read_round {
            self.begin_round(true);
        }
        let echoed = self.echoed_round();
        let Stance::Leading(leading) = &mut self.stance else { return false };
        let any = !reads_wait_for_later_heartbeats();
        let is_confirmed = |ask: &ReadAsk| ask.at.is_some_and(|(_, round)| round <= echoed || any && echoed > 0);
        let confirmed: Vec<ReadAsk> = leading.asks.iter().copied().filter(is_confirmed).collect();
        leading.asks.retain(|ask| !is_confirmed(ask));
        for ask in &confirmed {
            self.answer_ask(ask, ask.at.map(|(index, _)| index));
        }
        confirmed.iter().any(|ask| ask.from.is_none())
    }

    fn answer_ask(&mut self, ask: &ReadAsk, index: Option<Seq>) {
        let upto = ReadId(ask.number);
        match (ask.from, index) {
            (Some(conn), index) => self.send(conn, Body::ReadAnswer { number: ask.number, index }),
            (None, Some(index)) => self.reads.question = Question::Waiting { upto, index },
            (None, None) => self.refuse_reads(upto, Refusal::NoMajority),
        }
    }

    /// The newest round that a majority of the voters has echoed. As always, the last set in the log counts \[S7\].
    pub(crate) fn echoed_round(&self) -> u64 {
        let Stance::Leading(leading) = &self.stance else { return 0 };
        let own = self.config.replica;
        let echoed = |replica| {
            let round = if replica == own {
                leading.round
            } else {
                leading.followers.get(&replica).map_or(0, |one| one.echoed)
            };
            Seq(round)
        };
        self.volume.log().voters().committed(echoed).0
    }

    /// Begins a heartbeat round. A round for reads leaves out followers that owe many.
    pub(crate) fn begin_round(&mut self, for_reads: bool) {
        let commit = self.progress.commit();
        let Stance::Leading(leading) = &mut self.stance else { return };
        leading.next_heartbeat = self.clock.now() + self.config.heartbeat;
        leading.round += 1;
        let now = self.clock.now();
        leading.rounds.begun(leading.round, now);
        let round = leading.round;
        if for_reads {
            leading.read_round = round;
        }
        let mut conns = Vec::with_capacity(leading.followers.len());
        for follower in leading.followers.values_mut() {
            let Some(conn) = follower.conn else { continue };
            if for_reads && follower.begun.saturating_sub(follower.echoed) > ROUNDS_OWED_MAX {
                continue;
            }
            follower.begun = round;
            follower.clock.begin(round, now);
            conns.push(conn);
        }
        if !for_reads {
            self.tell_durable(false);
        }
        for conn in conns {
            self.send(conn, Body::Heartbeat { round, commit });
        }
    }
}
