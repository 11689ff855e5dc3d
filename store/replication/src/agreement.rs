//! Replicas that check each other (5.11 in docs/design.md): the sums of their data are compared every second, and the
//! majority decides.
//!
//! ```text
//!   open leader ──askSum──▶ followers ──applied──TellSum──▶ shell ──Sum──▶ ──sum──▶ leader, which asks its own shell, too
//!     │ all have answered; or a second is over, and a majority of ALL voters gave the same sum \[D1, D6\]
//!     └─sums (the table)─▶ followers: each judges itself by it, and so does the leader
//!          own sum is not that of the majority                             ──▶ marked
//!   SumIsFalse: data that do not have the sum that was kept with them \[D3\] ──▶ marked
//!   marked: durably, for the life of the volume. It promises, says hello, appends and acks. It serves nothing, never leads,
//!     takes, sends and installs no snapshot \[D5\]. A leader also refuses writes at once, hands over to a voter that has
//!     the sum of the majority, or else falls silent after the lost-time \[D4\]
//! ```
//!
//! Why the majority and not the leader: the leader's data may be the damaged ones. Why a majority of all voters, not of the
//! answers: two replicas that both differ from a third one may be the ones that happen to answer. Why a diverged replica
//! still acks: its log is sound, and with one more replica down the cluster could write nothing without it.
//!
//! A question stays open until it is judged, so that a replica that is always a little behind is judged, too: by the table
//! that it has kept until it has applied that much. A build of another time says in its hello that it knows none of this,
//! and is not asked.
//!
//! Not promised: that a fault is found which leaves the sum as it was (a record at rest is read again only with the next
//! snapshot), nor that anybody is judged where no majority agrees.

use crate::plants::{
    diverged_hand_over_into_majority, diverged_leaders_let_go, diverged_never_lead, learners_do_not_count,
    open_questions_stay,
};
use crate::replica::Replica;
use crate::stance::{Link, Stage, Stance};
use crate::table::{Question, Table};
use crate::{Agreement, Body, ConnId, Diverged, Effect, Position, Refusal, ReplicaId, Seq, Sum, Voters};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often an open leader compares.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A question that has found no majority in this time is given up: a voter that lacks very much may answer much later, or
/// never, and another one that came meanwhile was not asked.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// Questions that a follower keeps: the open one, and the newest behind it.
const ASKED_MAX: usize = 2;

/// What is known of this replica's data, and of those of the others.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Checks {
    /// The data here have diverged \[D5\].
    mark: Option<Diverged>,
    /// The last verdict.
    verdict: Option<Agreement>,
    /// The voters that had the sum of the majority, by the last table with one.
    agreeing: Vec<ReplicaId>,
    /// What the shell was asked for and has not told yet: few, and it answers at once.
    telling: Vec<Seq>,
}

impl Checks {
    /// As the volume shows it at the start.
    pub(crate) fn new(mark: Option<Diverged>) -> Checks {
        Checks { mark, verdict: None, agreeing: Vec::new(), telling: Vec::new() }
    }

    pub(crate) fn mark(&self) -> Option<&Diverged> {
        self.mark.as_ref()
    }

    pub(crate) fn verdict(&self) -> Option<&Agreement> {
        self.verdict.as_ref()
    }

    pub(crate) fn have_diverged(&self) -> bool {
        self.mark.is_some()
    }

    /// It must not lead \[D5\].
    pub(crate) fn forbid_leading(&self) -> bool {
        self.mark.is_some() && diverged_never_lead()
    }

    /// A leader must stop \[D4\].
    pub(crate) fn end_leading(&self) -> bool {
        self.mark.is_some() && diverged_leaders_let_go()
    }

    /// That voter may lead after this replica: anyone may, unless the data here have diverged \[D4\].
    pub(crate) fn allow_successor(&self, replica: ReplicaId) -> bool {
        self.mark.is_none() || self.agreeing.contains(&replica) || !diverged_hand_over_into_majority()
    }
}

impl Replica {
    /// Its data are not those of the others, as it found in this or an earlier run. It stays so \[D5\].
    pub fn has_diverged(&self) -> bool {
        self.checks.have_diverged()
    }

    // ---- questions and answers

    /// After what this step applied: the leader's next question, and what a follower owes.
    pub(crate) fn tend_sums(&mut self) {
        if self.past.has_gone_back() {
            return;
        }
        let applied = self.progress.applied();
        let due: Vec<Seq> = match &self.stance {
            Stance::Idle => Vec::new(),
            Stance::Following(following) => {
                let table = following.table.as_ref().map(|table| table.seq);
                following.asked.front().copied().into_iter().chain(table).filter(|seq| *seq <= applied).collect()
            }
            Stance::Leading(_) => return self.ask_for_sums(),
        };
        due.into_iter().for_each(|seq| self.ask_shell(seq));
    }

    fn ask_shell(&mut self, sequence: Seq) {
        if !self.checks.telling.contains(&sequence) {
            self.checks.telling.push(sequence);
            self.effects.push(Effect::TellSum { sequence });
        }
    }

    fn ask_for_sums(&mut self) {
        let (now, seq) = (self.clock.now(), self.progress.applied());
        let is_well = self.is_open() && self.lost.is_none() && !self.checks.have_diverged();
        let Stance::Leading(leading) = &mut self.stance else { return };
        let is_busy = leading.question.is_some() && open_questions_stay();
        if !is_well || !self.config.sums || is_busy || now < leading.next_question {
            return;
        }
        let knowing = leading.followers.iter().filter(|(_, one)| one.sums);
        let asked: Vec<(ReplicaId, ConnId)> =
            knowing.filter_map(|(replica, one)| Some((*replica, one.conn?))).collect();
        if asked.is_empty() {
            return;
        }
        leading.next_question = now + ASK_EVERY;
        leading.question = Some(Question { seq, since: now, asked: asked.clone(), answers: BTreeMap::new() });
        self.ask_shell(seq);
        for (_, conn) in asked {
            self.send(conn, Body::AskSum { seq });
        }
    }

    /// The leader asks. The open question stays in front \[D6\].
    pub(crate) fn on_ask_sum(&mut self, seq: Seq) {
        let Stance::Following(following) = &mut self.stance else { return };
        if !open_questions_stay() {
            following.asked.clear();
        }
        following.asked.truncate(ASKED_MAX - 1);
        following.asked.push_back(seq);
    }

    /// The leader's table. It waits here until that much is applied; until then a newer one is dropped \[D6\].
    pub(crate) fn on_sums(&mut self, seq: Seq, sums: Vec<(ReplicaId, Sum)>) {
        let Stance::Following(following) = &mut self.stance else { return };
        if !open_questions_stay() {
            following.table = None;
        }
        following.table.get_or_insert(Table { seq, sums });
    }

    /// A follower answers.
    pub(crate) fn on_follower_sum(&mut self, replica: ReplicaId, seq: Seq, sum: Option<Sum>) {
        let Stance::Leading(leading) = &mut self.stance else { return };
        if let Some(question) = leading.question.as_mut().filter(|question| question.seq == seq) {
            question.answers.insert(replica, sum);
        }
    }

    /// The shell tells the sum that it was asked for.
    pub(crate) fn on_sum(&mut self, sequence: Seq, sum: Option<Sum>) {
        self.checks.telling.retain(|asked| *asked != sequence);
        let own = self.config.replica;
        match &mut self.stance {
            Stance::Idle => {}
            Stance::Leading(leading) => {
                if let Some(question) = leading.question.as_mut().filter(|question| question.seq == sequence) {
                    question.answers.insert(own, sum);
                }
            }
            Stance::Following(following) => {
                let conn = match following.link {
                    Link::Up(conn) => Some(conn),
                    Link::Down { .. } | Link::Dialled(_) => None,
                };
                let is_asked = following.asked.front() == Some(&sequence);
                if is_asked {
                    following.asked.pop_front();
                }
                let table = following.table.take_if(|table| table.seq == sequence);
                if let Some(conn) = conn.filter(|_| is_asked) {
                    self.send(conn, Body::Sum { seq: sequence, sum });
                }
                if let Some(table) = table {
                    let own = sum.map(|sum| (own, sum));
                    self.judge(&table, own, own.into_iter().collect());
                }
            }
        }
    }

    /// (a leader) Judges what was answered, as soon as that is possible, and tells it to all that know of sums.
    pub(crate) fn tend_question(&mut self) {
        let (now, lost_time, own) = (self.clock.now(), self.config.lost_time, self.config.replica);
        let Stance::Leading(leading) = &self.stance else { return };
        let Some(question) = &leading.question else { return };
        let Some(mine) = question.answers.get(&own).copied() else { return };
        let [then, now_in_log] = self.judging_voters(question.seq);
        let is_voter = |replica: ReplicaId| then.contains(replica) || now_in_log.contains(replica);
        let table = question.table(own, is_voter);
        let is_awaited = |(replica, conn): &(ReplicaId, ConnId)| {
            let is_there = leading.followers.get(replica).is_some_and(|one| one.conn == Some(*conn));
            // One that has diverged may never get so far: it takes no snapshot.
            let is_needed = leading.followers.get(replica).is_some_and(|one| !one.diverged);
            is_there && is_needed && leading.hears(*replica, now, lost_time) && !question.answers.contains_key(replica)
        };
        let is_late = now >= question.since + ASK_EVERY && self.agreed(&table).is_some();
        if question.asked.iter().any(is_awaited) && !is_late && now < question.since + GIVE_UP_AFTER {
            return;
        }
        let learners = question.answers.iter().filter(|(replica, _)| !is_voter(**replica));
        let learners = learners.filter_map(|(replica, sum)| Some((*replica, (*sum)?))).collect();
        let knowing = leading.followers.values().filter(|one| one.sums);
        let conns: Vec<ConnId> = knowing.filter_map(|one| one.conn).collect();
        let Stance::Leading(leading) = &mut self.stance else { return };
        leading.question = None;
        if table.sums.is_empty() {
            return;
        }
        for conn in conns {
            self.send(conn, Body::Sums { seq: table.seq, sums: table.sums.clone() });
        }
        self.judge(&table, mine.map(|sum| (own, sum)), learners);
    }

    /// When a leader's question, or what it does about its own data, is next due by time alone.
    pub(crate) fn sums_deadline(&self) -> Option<Duration> {
        let Stance::Leading(leading) = &self.stance else { return None };
        if self.checks.end_leading() {
            return leading.diverged_since.filter(|_| !leading.is_silent).map(|since| since + self.config.lost_time);
        }
        let is_asking = self.config.sums && self.is_open() && self.lost.is_none() && !self.checks.have_diverged();
        let has_whom = leading.followers.values().any(|one| one.sums && one.conn.is_some());
        match &leading.question {
            Some(question) => {
                let bounds = [question.since + ASK_EVERY, question.since + GIVE_UP_AFTER];
                bounds.into_iter().find(|at| *at > self.clock.now())
            }
            None => (is_asking && has_whom).then_some(leading.next_question),
        }
    }

    // ---- verdicts

    /// Whose majority it takes: the voters that were in force at that entry, and the last ones in the log. A replica that starts
    /// again may apply entries of a time when it was the only voter, or be asked about them.
    fn judging_voters(&self, at: Seq) -> [&Voters; 2] {
        [self.volume.log().voters_at(at), self.volume.log().voters()]
    }

    fn agreed(&self, table: &Table) -> Option<Sum> {
        let [then, now] = self.judging_voters(table.seq).map(|voters| table.agreed(voters));
        then.filter(|_| then == now)
    }

    /// Everybody judges itself \[D1\]. `own`: the sum here. `learners`: what is known of replicas that do not count, this one
    /// perhaps among them.
    fn judge(&mut self, table: &Table, own: Option<(ReplicaId, Sum)>, learners: Vec<(ReplicaId, Sum)>) {
        let agreed = self.agreed(table);
        let is_voter = |replica: ReplicaId| self.judging_voters(table.seq).iter().any(|set| set.contains(replica));
        let is_other = |(replica, sum): &&(ReplicaId, Sum)| {
            !is_voter(*replica) && agreed.is_some_and(|agreed| agreed != *sum) && learners_do_not_count()
        };
        let others = learners.iter().filter(is_other).map(|(replica, _)| *replica);
        let differing = self.names(table.seq, table.differing(agreed).chain(others));
        let agreeing: Vec<ReplicaId> = agreed.into_iter().flat_map(|agreed| table.with(agreed)).collect();
        let names = self.names(table.seq, agreeing.iter().copied());
        self.checks.verdict = Some(Agreement { sequence: table.seq, sum: agreed, differing });
        let Some(agreed) = agreed else { return };
        self.checks.agreeing = agreeing;
        if let Some((replica, own)) = own.filter(|(_, own)| *own != agreed) {
            let (name, sequence, agreed) = (self.config.name.clone(), table.seq, Some(agreed));
            self.diverge(Diverged { replica, name, sequence, own, agreed, agreeing: names });
        }
    }

    /// The pods of these replicas, as far as they are known.
    fn names(&self, at: Seq, replicas: impl Iterator<Item = ReplicaId>) -> Vec<String> {
        let sets = self.judging_voters(at);
        let name = |replica: ReplicaId| {
            let voter = sets.iter().flat_map(|set| &set.voters).find(|voter| voter.replica == replica);
            let follower = || match &self.stance {
                Stance::Leading(leading) => leading.followers.get(&replica).map(|one| &one.name),
                Stance::Idle | Stance::Following(_) => None,
            };
            let own = || (replica == self.config.replica).then_some(&self.config.name);
            voter.map(|voter| &voter.name).or_else(own).or_else(follower).cloned()
        };
        replicas.filter_map(name).collect()
    }

    /// The shell found data that do not have the sum that was kept with them \[D3\].
    pub(crate) fn on_false_sum(&mut self, position: Position, found: Sum) {
        let (replica, name) = (self.config.replica, self.config.name.clone());
        let (sequence, own, agreed, agreeing) = (position.seq, found, None, Vec::new());
        self.diverge(Diverged { replica, name, sequence, own, agreed, agreeing });
    }

    /// Marks itself, durably, and serves nothing from here on \[D5\].
    fn diverge(&mut self, mark: Diverged) {
        if self.checks.have_diverged() || self.past.has_gone_back() {
            return;
        }
        self.checks.mark = Some(mark.clone());
        let ticket = self.volume.issue();
        self.effects.push(Effect::MarkDiverged { ticket, mark });
        if self.checks.end_leading() {
            self.refuse_all_reads(Refusal::Diverged);
            // Whether a condition of a write under way holds would be decided by these data.
            if matches!(self.stance, Stance::Leading(_)) {
                self.effects.push(Effect::GiveUp);
            }
        }
    }

    /// (a leader) It lets go \[D4\]: `tend_draining` hands over, and if nobody takes over within the lost-time, silence makes
    /// the others look for a leader.
    pub(crate) fn tend_divergence(&mut self) {
        let ends = self.checks.end_leading();
        let (now, lost_time) = (self.clock.now(), self.config.lost_time);
        let Stance::Leading(leading) = &mut self.stance else { return };
        if !ends || leading.is_silent {
            return;
        }
        let since = *leading.diverged_since.get_or_insert(now);
        // A leader that is not open yet has nobody to hand over to: its followers have only just said hello.
        if now >= since + lost_time || !matches!(leading.stage, Stage::Open(_)) {
            self.fall_silent();
        }
    }
}
