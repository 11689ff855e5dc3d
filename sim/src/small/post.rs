//! The requests of replicas in the small world, and the connections between them.

use super::journal::{Item, Journal};
use super::world::{End, Letter, Message, World, incarnation, new_replica, node_of};
use leasehold_replication::{
    Body, ConnId, Effect, Frame, HelloAnswer, Input, Payload, Position, ReadId, Recovered, Seq, Voters,
};
use std::collections::VecDeque;

impl World {
    /// The node that receives this end's messages.
    pub(crate) fn receiver(&self, conn: u64, end: usize) -> usize {
        self.conns.get(&conn).map_or(0, |ends| ends[end].node)
    }

    /// The connections between two nodes.
    pub(crate) fn between(&self, a: usize, b: usize) -> Vec<u64> {
        let is_it = |ends: &[End; 2]| (ends[0].node, ends[1].node) == (a, b) || (ends[0].node, ends[1].node) == (b, a);
        self.conns.iter().filter(|(_, ends)| is_it(ends)).map(|(conn, _)| *conn).collect()
    }

    /// What waits from one node to another: connection, end, number of messages. The oldest connection first.
    pub(crate) fn waiting(&self, from: usize, to: usize) -> Vec<(u64, usize, usize)> {
        let between = self.between(from, to).into_iter();
        between
            .flat_map(|conn| (0..2).map(move |end| (conn, end)))
            .filter_map(|(conn, end)| {
                let one = &self.conns.get(&conn)?[end];
                (one.node == to && one.open && !one.inbox.is_empty()).then_some((conn, end, one.inbox.len()))
            })
            .collect()
    }

    /// The first waiting append arrives once more at the end.
    pub(crate) fn repeat_append(&mut self, from: usize, to: usize) {
        for (conn, end, _) in self.waiting(from, to) {
            if let Some(ends) = self.conns.get_mut(&conn) {
                let is_append =
                    |message: &&Message| matches!(message, Message::Frame(Frame { body: Body::Append { .. }, .. }));
                let again = ends[end].inbox.iter().find(is_append).cloned();
                ends[end].inbox.extend(again);
            }
        }
    }

    /// The last two waiting messages change places.
    pub(crate) fn swap_last(&mut self, from: usize, to: usize) {
        for (conn, end, count) in self.waiting(from, to) {
            if let Some(ends) = self.conns.get_mut(&conn)
                && count > 1
            {
                ends[end].inbox.swap(count - 1, count - 2);
            }
        }
    }

    pub(super) fn carry_out(&mut self, number: usize, effect: Effect) -> Result<(), String> {
        let runs = self.nodes[number].node.runs;
        match effect {
            Effect::Persist { ticket, records, .. } => {
                self.node(number).journal.begin(ticket, records.into_iter().map(Item::Record).collect());
            }
            Effect::InstallSnapshot { ticket, conn: _, meta, state, format: _ } => {
                self.judge.restored(meta.position)?;
                let node = self.node(number);
                node.applied = meta.position;
                node.voters = meta.voters.clone();
                node.journal.begin(ticket, vec![Item::Install(meta, state)]);
            }
            Effect::Restore { .. } => return Err(format!("n-{number} restores a backup, and there is none")),
            Effect::Apply { entries } => {
                for entry in entries {
                    let term = self.nodes[number].node.replica.promise().term;
                    self.judge.apply(&entry, term)?;
                    let node = self.node(number);
                    if node.applied != entry.previous {
                        let applied = node.applied;
                        return Err(format!("invariant 4: n-{number} applies {} after {applied}", entry.position));
                    }
                    node.applied = entry.position;
                    if let Payload::Voters(voters) = entry.payload {
                        node.voters = voters;
                    }
                }
            }
            Effect::Accepted { .. } | Effect::Rejected { .. } | Effect::GiveUp | Effect::AskState { .. } => {}
            Effect::ReadReady { upto } => {
                let node = self.node(number);
                let (answered, waiting) = node.reads.iter().copied().partition(|(id, _)| *id <= upto);
                node.reads = waiting;
                let answered: Vec<(ReadId, Seq)> = answered;
                let applied = node.applied.seq;
                if let Some((_, must)) = answered.into_iter().find(|(_, must)| applied < *must) {
                    return Err(format!("invariant 6: n-{number} reads at {applied} what must show {must} [S6]"));
                }
            }
            Effect::ReadRefused { upto, .. } => self.node(number).reads.retain(|(id, _)| *id > upto),
            Effect::Dial { conn, to, hello } => {
                let ConnId::Dialled(dialled) = conn else { return Err("an accepted connection is dialled".to_owned()) };
                let key = (number as u64 * 1000 + u64::from(runs)) * 1000 + dialled;
                let to = node_of(&to.peer_address);
                let end = |node, runs, id| End { node, runs, id, open: true, inbox: VecDeque::new() };
                let mut ends = [end(number, runs, conn), end(to, self.nodes[to].node.runs, ConnId::Accepted(key))];
                ends[1].inbox.push_back(Message::Hello(hello));
                self.conns.insert(key, ends);
            }
            Effect::Answer { conn, answer } => {
                let is_refused = matches!(answer, HelloAnswer::Refused { .. });
                self.put(number, conn, Message::Answer(answer));
                if is_refused {
                    self.close(number, conn);
                }
            }
            Effect::Send { conn, frame } => self.put(number, conn, Message::Frame(frame)),
            Effect::SendSnapshot { conn, .. } => {
                let Some(meta) = self.nodes[number].node.journal.begun.snapshot.clone() else {
                    return Err(format!("n-{number} is to send a snapshot, and has none"));
                };
                self.put(number, conn, Message::Snapshot(meta));
            }
            Effect::Close { conn } => self.close(number, conn),
            Effect::Invite { .. } if self.reduced.is_some_and(|reduced| !reduced.letters) => {}
            Effect::Invite { to, claim } => {
                let letter = Letter::Invite { from: number, runs, to: node_of(&to.peer_address), claim };
                if !self.letters.contains(&letter) {
                    self.letters.push(letter);
                }
            }
            Effect::AnswerInvite { request, answer } => {
                let (to, runs) = ((request.0 % 100) as usize, (request.0 / 100) as u32);
                let letter = Letter::Answer { to, runs, from: number, answer };
                if !self.letters.contains(&letter) {
                    self.letters.push(letter);
                }
            }
            Effect::LookUp { .. } => return Err("what is in memory is looked up on the disk".to_owned()),
            Effect::KeepPiece { .. } => return Err("a piece of a snapshot that nobody sent".to_owned()),
            Effect::MarkWentBack { ticket, mark } => {
                let node = self.node(number);
                if !node.is_set_back {
                    return Err(format!("n-{number} takes its volume for an older copy, and it is none: {mark}"));
                }
                node.mark = Some(mark);
                node.journal.begin(ticket, Vec::new());
            }
            // Sums are not compared in the small world.
            Effect::TellSum { .. } | Effect::MarkDiverged { .. } => {
                return Err(format!("n-{number} compares sums"));
            }
            Effect::WipeVolume { .. } => return Err(format!("n-{number} empties its volume")),
            Effect::Fail { reason } => return Err(format!("n-{number} fails: {reason}")),
            Effect::Unreadable { what } => return Err(format!("n-{number} cannot read its log: {what}")),
            Effect::Report { what } => return Err(format!("n-{number} reports: {what}")),
        }
        Ok(())
    }

    fn find(&self, number: usize, id: ConnId) -> Option<(u64, usize)> {
        let runs = self.nodes[number].node.runs;
        self.conns.iter().find_map(|(key, ends)| {
            let end = ends.iter().position(|e| e.node == number && e.runs == runs && e.id == id && e.open)?;
            Some((*key, end))
        })
    }

    fn put(&mut self, number: usize, id: ConnId, message: Message) {
        if let Some((key, end)) = self.find(number, id)
            && let Some(ends) = self.conns.get_mut(&key)
            && ends[1 - end].open
        {
            ends[1 - end].inbox.push_back(message);
        }
    }

    fn close(&mut self, number: usize, id: ConnId) {
        self.put(number, id, Message::End);
        if let Some((key, end)) = self.find(number, id)
            && let Some(ends) = self.conns.get_mut(&key)
        {
            ends[end].open = false;
            ends[end].inbox.clear();
            self.forget(key);
        }
    }

    fn forget(&mut self, key: u64) {
        if self.conns.get(&key).is_some_and(|ends| ends.iter().all(|end| !end.open)) {
            self.conns.remove(&key);
        }
    }

    pub(super) fn deliver(&mut self, key: u64, end: usize) -> Result<(), String> {
        let Some(ends) = self.conns.get_mut(&key) else { return Ok(()) };
        let to = &mut ends[end];
        let Some(message) = to.inbox.pop_front() else { return Ok(()) };
        let (number, conn) = (to.node, to.id);
        let input = match message {
            Message::Hello(hello) => Input::Hello { conn, hello },
            Message::Answer(answer) => Input::Answered { conn, answer },
            Message::Frame(frame) => Input::Frame { conn, frame },
            Message::Snapshot(meta) => Input::SnapshotReceived { conn, meta },
            Message::End => {
                to.open = false;
                to.inbox.clear();
                if ends[1 - end].open {
                    ends[1 - end].inbox.push_back(Message::End);
                }
                self.forget(key);
                Input::Closed { conn }
            }
        };
        self.step(number, input)
    }

    pub(super) fn crash(&mut self, number: usize, keep: usize) -> Result<(), String> {
        self.crash_alone(number);
        let node = self.node(number);
        let recovered = Recovered { went_back: node.mark.clone(), ..node.journal.crash(keep) };
        self.begin_again(number, recovered)?;
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.ask(number, &all)
    }

    /// The process ends, with what is not durable, and one of a build that reads that format starts on its volume.
    pub(super) fn exchange(&mut self, number: usize, format: u32) -> Result<(), String> {
        self.node(number).format = format;
        self.crash(number, 0)
    }

    /// An older copy of the volume replaces it while the process is down. Of the others only these answer it.
    pub(super) fn set_back(&mut self, number: usize, copy: Journal, answering: &[usize]) -> Result<(), String> {
        self.crash_alone(number);
        let node = self.node(number);
        (node.journal, node.is_set_back) = (copy, true);
        let recovered = Recovered { went_back: node.mark.clone(), ..node.journal.crash(0) };
        self.begin_again(number, recovered)?;
        self.ask(number, answering)
    }

    fn begin_again(&mut self, number: usize, recovered: Recovered) -> Result<(), String> {
        let node = self.node(number);
        let known = recovered.snapshot.as_ref().map(|meta| (meta.position, meta.voters.clone()));
        (node.applied, node.voters) = known.unwrap_or((Position::ZERO, Voters::none()));
        node.shown = None;
        node.reads.clear();
        node.replica = new_replica(number, node.runs, node.format, recovered);
        self.step(number, Input::Wake)
    }

    fn crash_alone(&mut self, number: usize) {
        for ends in self.conns.values_mut() {
            for end in 0..2 {
                if ends[end].node == number && ends[end].open {
                    ends[end].open = false;
                    ends[end].inbox.clear();
                    // What its kernel had accepted still goes out, and then the end.
                    if ends[1 - end].open {
                        ends[1 - end].inbox.push_back(Message::End);
                    }
                }
            }
        }
        self.conns.retain(|_, ends| ends.iter().any(|end| end.open));
        let node = self.node(number);
        node.runs += 1;
        node.incarnation = incarnation(number, node.runs);
    }
}
