//! A replica that receives anything at all, in any order, from peers and a role.json that keep no rule.
//!
//! The bytes are a script: each step consumes a few of them and makes an input from a small alphabet (few replicas, terms,
//! positions, including the extremes), because random JSON would never pass the first check.

use crate::{
    Body, Claim, ClusterId, Config, ConnId, Diverged, DurableState, Effect, Entry, Frame, Hello, HelloAnswer,
    Incarnation, Input, InviteAnswer, KnownVolume, LeaderView, Level, Member, Payload, PeerState, Position, Promise,
    Proposal, ProposalId, Recovered, RefusalCode, Replica, ReplicaId, RequestId, RoleView, Room, Seq, Shortage, Since,
    SnapshotMeta, SnapshotPiece, Sum, Term, Ticket, Voter, Voters, WentBack,
};
use bytes::Bytes;
use std::time::Duration;
use uuid::Uuid;

/// The most effects of one step. A frame may bring a thousand entries, and each may be reported to a few followers.
const EFFECTS_MAX: usize = 20_000;

/// Bytes, one after the other; zeros after the end.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    fn yes(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn level(&mut self) -> Level {
        [Level::Near, Level::Over, Level::Far, Level::Full][usize::from(self.below(4))]
    }

    /// Small numbers mostly, and those at the ends.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => u64::MAX - 1,
            253 => i32::MAX as u64,
            252 => u64::MAX / 2,
            251 => u64::MAX / 2 - 2,
            byte => u64::from(byte % 12),
        }
    }

    fn position(&mut self) -> Position {
        Position { term: Term(self.number()), seq: Seq(self.number()) }
    }

    fn replica(&mut self) -> ReplicaId {
        ReplicaId(Uuid::from_u128(u128::from(self.below(5)) + 1))
    }

    fn known(&mut self) -> KnownVolume {
        KnownVolume { replica: self.replica(), term: Term(self.number()), position: self.position() }
    }

    fn sum(&mut self) -> Sum {
        Sum(u128::from(self.below(3)))
    }

    fn maybe_sum(&mut self) -> Option<Sum> {
        (self.below(4) > 0).then(|| self.sum())
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation(Uuid::from_u128(u128::from(self.below(4)) + 100))
    }

    fn cluster(&mut self) -> ClusterId {
        ClusterId(Uuid::from_u128(200 + u128::from(self.byte() > 240)))
    }

    fn maybe_cluster(&mut self) -> Option<ClusterId> {
        (self.below(8) > 0).then(|| self.cluster())
    }

    fn promise(&mut self) -> Promise {
        Promise { term: Term(self.number()), incarnation: self.incarnation() }
    }

    fn name(&mut self) -> String {
        format!("db-{}", self.below(5))
    }

    fn voters(&mut self) -> Voters {
        let voters = (0..self.below(5)).map(|_| {
            let name = self.name();
            Voter { replica: self.replica(), peer_address: format!("{name}:8090"), name }
        });
        let voters = voters.collect();
        Voters { format: self.number() as u32, floor: u32::from(self.below(4)), voters }
    }

    fn payload(&mut self) -> Payload {
        match self.below(4) {
            0 => Payload::Empty,
            1 => Payload::Voters(self.voters()),
            _ => Payload::Command(Bytes::from(vec![7; usize::from(self.byte())])),
        }
    }

    /// A chain that follows `previous`, as the decoder of frames guarantees.
    fn chain(&mut self, previous: Position) -> Vec<Entry> {
        let mut last = previous;
        let mut entries = Vec::new();
        for _ in 0..self.below(5) {
            let term = Term(last.term.0.saturating_add(u64::from(self.below(2))));
            if last.seq >= Seq::MAX {
                break;
            }
            let entry = Entry::new(last, term, self.payload());
            last = entry.position;
            entries.push(entry);
        }
        entries
    }

    fn claim(&mut self) -> Claim {
        let name = self.name();
        Claim {
            cluster_id: self.cluster(),
            term: Term(self.number()),
            incarnation: self.incarnation(),
            peer_address: format!("{name}:8090"),
            addresses: self.addresses(),
            name,
        }
    }

    fn addresses(&mut self) -> Vec<std::net::IpAddr> {
        let one = |number: u8| std::net::IpAddr::from([10, 0, 0, number]);
        (0..self.below(3)).map(one).collect()
    }

    fn role(&mut self) -> RoleView {
        let leader = (self.below(4) > 0).then(|| {
            let Claim { term, incarnation, name, peer_address, addresses, .. } = self.claim();
            LeaderView { term, incarnation, name, peer_address, addresses }
        });
        let members = (0..self.below(4)).map(|_| {
            let name = self.name();
            let (addresses, remembered) = (self.addresses(), self.yes());
            Member { peer_address: format!("{name}:8090"), name, addresses, remembered }
        });
        RoleView {
            leader,
            members: members.collect(),
            cluster_id: self.maybe_cluster(),
            hand_over_to: self.yes().then(|| self.name()),
            paused: self.yes(),
            newest_revision: None,
            self_addresses: self.addresses(),
            renewal_seen: None,
            lease_duration: Duration::from_secs(15),
        }
    }

    fn body(&mut self) -> Body {
        let kind = self.byte();
        // The highest ones came later: so the others mean in the corpus what they meant before.
        match kind % 8 {
            _ if kind == 255 => Body::AskSum { seq: Seq(self.number()) },
            _ if kind == 254 => Body::Sum { seq: Seq(self.number()), sum: self.maybe_sum() },
            _ if kind == 253 => {
                let seq = Seq(self.number());
                let sums = (0..self.below(5)).map(|_| (self.replica(), self.sum())).collect();
                Body::Sums { seq, sums }
            }
            0 | 1 => {
                let previous = self.position();
                Body::Append { previous, commit: Seq(self.number()), entries: self.chain(previous) }
            }
            2 => Body::Ack { seq: Seq(self.number()) },
            3 => Body::Mismatch { hint: self.position() },
            4 => Body::Heartbeat { round: self.number(), commit: Seq(self.number()) },
            5 => {
                let (round, eligible, draining, flags) = (self.number(), self.yes(), self.yes(), self.byte());
                let room = Shortage { memory: flags & 2 != 0, disk: flags & 4 != 0, full: flags & 8 != 0 };
                let time_ms = (flags & 32 != 0).then(|| self.number());
                Body::Echo {
                    round,
                    eligible,
                    draining,
                    stalled: flags & 1 != 0,
                    room,
                    diverged: flags & 16 != 0,
                    time_ms,
                }
            }
            6 => Body::Snapshot(SnapshotPiece {
                position: self.position(),
                length_bytes: 9,
                crc32: 9,
                offset: 0,
                bytes: Bytes::from_static(b"123456789"),
            }),
            _ => Body::Pull { position: self.position() },
        }
    }
}

/// Any inputs in any order: no panic, a promise that never goes down, and always a finite number of effects.
pub fn replica(data: &[u8]) {
    let mut script = Script(data);
    let recovered = recovered(&mut script);
    let own = ReplicaId(Uuid::from_u128(1));
    let config = Config {
        name: "db-0".to_owned(),
        replica: own,
        incarnation: Incarnation(Uuid::from_u128(100)),
        revision: String::new(),
        heartbeat: Duration::from_millis(100),
        lost_time: Duration::from_secs(1),
        disk_stall: Duration::from_secs(2),
        hand_over_max: Duration::from_secs(2),
        drain_min: Duration::ZERO,
        unready_after: Duration::from_secs(30),
        log_memory_bytes: 300,
        apply_bytes_max: 100,
        drain_max: Duration::from_secs(10),
        new_cluster_id: ClusterId(Uuid::from_u128(200)),
        initial_data: vec![Bytes::from_static(b"x")],
        initial_format: 1,
        restore: None,
        force_bootstrap: script.yes(),
        format_build: crate::FORMAT,
        format_allowed: crate::FORMAT,
        sums: true,
    };
    let mut promised = recovered.state.promise;
    let mut desk = Desk { replica: Replica::new(config, recovered), conns: Vec::new(), tickets: Vec::new(), number: 0 };
    let (mut now, mut said) = (Duration::ZERO, desk.replica.status());
    for _ in 0..300 {
        if script.0.is_empty() {
            break;
        }
        if script.yes() {
            now += Duration::from_millis(u64::from(script.byte()) * 8);
        }
        let Some(input) = desk.input(&mut script) else { continue };
        let effects = desk.replica.step(now, input);
        assert!(effects.len() < EFFECTS_MAX, "{} effects of one step", effects.len());
        let over = effects.iter().any(|effect| {
            matches!(effect, Effect::Fail { .. } | Effect::Unreadable { .. } | Effect::WipeVolume { .. })
        });
        desk.take(effects);
        let (since, status) = (desk.replica.recount(&mut said), desk.replica.status());
        assert_eq!(said == status, since != Since::Changed, "{since:?}: {said:?} and {status:?}");
        said.clone_from(&status);
        assert!(status.promise >= promised, "the promise went from {promised} to {}", status.promise);
        let swapped = status.promise.term == promised.term && promised.term > Term(0);
        assert!(!swapped || status.promise.incarnation == promised.incarnation, "a promise of one term to two");
        promised = status.promise;
        assert!(status.committed <= status.position.seq, "committed {} of {}", status.committed, status.position);
        if over {
            break;
        }
    }
}

/// A volume with a log that is consistent in itself: it was read from our own disk.
fn recovered(script: &mut Script<'_>) -> Recovered {
    if script.below(4) == 0 {
        return Recovered {
            state: DurableState::EMPTY,
            snapshot: None,
            entries: Vec::new(),
            committed: Position::ZERO,
            went_back: None,
            diverged: None,
            format: crate::FORMAT_MIN,
        };
    }
    let term = u64::from(script.below(4));
    let cluster_id = ClusterId(Uuid::from_u128(200));
    let state = DurableState {
        promise: Promise { term: Term(term + 1), incarnation: script.incarnation() },
        cluster_id: Some(cluster_id),
        bootstrapping: script.below(8) == 0,
    };
    let voter = |number: u128| Voter {
        replica: ReplicaId(Uuid::from_u128(number + 1)),
        name: format!("db-{number}"),
        peer_address: format!("db-{number}:8090"),
    };
    let count = u128::from(script.below(4));
    let voters = Voters { voters: (0..count).map(voter).collect(), ..Voters::none() };
    let base = if script.yes() { Position::new(term, 5) } else { Position::ZERO };
    let snapshot = (base > Position::ZERO).then(|| SnapshotMeta { cluster_id, position: base, voters: voters.clone() });
    let mut last = base;
    let mut entries = Vec::new();
    for at in 0..script.below(5) {
        let payload =
            if at == 0 { Payload::Voters(voters.clone()) } else { Payload::Command(Bytes::from_static(b"c")) };
        let entry = Entry::new(last, Term(term), payload);
        last = entry.position;
        entries.push(entry);
    }
    let mark = |script: &mut Script<'_>| WentBack {
        replica: script.replica(),
        known_by: script.name(),
        known_term: Term(term),
        known: script.position(),
        found_term: Term(term),
        found: last,
    };
    let marked = script.byte();
    let went_back = marked.is_multiple_of(16).then(|| mark(script));
    let diverged = (marked % 16 == 1).then(|| Diverged {
        replica: ReplicaId(Uuid::from_u128(1)),
        name: "db-0".to_owned(),
        sequence: last.seq,
        own: Sum(1),
        agreed: Some(Sum(2)),
        agreeing: Vec::new(),
    });
    let committed = if script.yes() { last } else { script.position() };
    Recovered { state, snapshot, entries, committed, went_back, diverged, format: crate::FORMAT_MIN }
}

/// The replica, and what its shell has under way.
struct Desk {
    replica: Replica,
    conns: Vec<ConnId>,
    tickets: Vec<Ticket>,
    number: u64,
}

impl Desk {
    /// What a shell could report to it next: about existing connections and tickets.
    fn input(&mut self, script: &mut Script<'_>) -> Option<Input> {
        self.number += 1;
        let kind = script.byte();
        // As with frames: the highest ones came later.
        Some(match kind % 16 {
            _ if kind == 253 => Input::TimeOfDay { ms: script.number() },
            _ if kind == 255 => Input::Sum { sequence: Seq(script.number()), sum: script.maybe_sum() },
            _ if kind == 254 => {
                let position = self.replica.status().position;
                Input::SumIsFalse { position, said: script.sum(), found: script.sum() }
            }
            0 => Input::Role(script.role()),
            1 | 2 => {
                let proposals = (0..1 + script.below(3)).map(|_| {
                    let number = script.byte();
                    let (id, grows) = (ProposalId(u64::from(number)), !number.is_multiple_of(4));
                    Proposal { id, command: Bytes::from_static(b"write"), grows }
                });
                Input::Propose(proposals.collect())
            }
            3 | 4 => {
                let kept = usize::from(script.byte()) % (self.tickets.len() + 1);
                let ticket = *self.tickets[..kept].last()?;
                self.tickets.drain(..kept);
                Input::Persisted { ticket }
            }
            5 if script.below(16) == 0 => Input::PersistFailed,
            5 | 6 => Input::Answered {
                conn: self.conn(script)?,
                answer: if script.below(4) > 0 {
                    HelloAnswer::Welcome {
                        format: script.number() as u32,
                        replica: script.yes().then(|| script.replica()),
                    }
                } else {
                    HelloAnswer::Refused {
                        reason: String::new(),
                        code: if script.yes() { RefusalCode::WentBack } else { RefusalCode::AlreadyConnected },
                        promise: script.promise(),
                        known: script.yes().then(|| script.known()),
                    }
                },
            },
            7 => {
                let conn = ConnId::Accepted(self.number);
                self.conns.push(conn);
                Input::Hello {
                    conn,
                    hello: Hello {
                        snapshot_part: None,
                        format_min: 1,
                        format_max: script.number() as u32,
                        format_allowed: crate::FORMAT,
                        cluster_id: script.maybe_cluster(),
                        name: script.name(),
                        replica: script.replica(),
                        incarnation: script.incarnation(),
                        revision: String::new(),
                        eligible: script.yes(),
                        promise: if script.yes() { self.replica.status().promise } else { script.promise() },
                        position: script.position(),
                        sums: true,
                    },
                }
            }
            8..=10 => {
                let conn = self.conn(script)?;
                let promise = if script.below(4) > 0 { self.replica.status().promise } else { script.promise() };
                let frame = Frame { term: promise.term, incarnation: promise.incarnation, body: script.body() };
                // Only what the decoder accepts arrives here.
                let frame = Frame::decode(frame.encode()).ok()?;
                Input::Frame { conn, frame }
            }
            11 => {
                let conn = self.conn(script)?;
                self.conns.retain(|other| *other != conn);
                Input::Closed { conn }
            }
            12 => Input::Invited { request: RequestId(self.number), claim: script.claim() },
            13 => Input::InviteAnswered {
                name: script.name(),
                answer: InviteAnswer {
                    name: script.yes().then(|| script.name()),
                    cluster_id: script.maybe_cluster(),
                    replica: script.replica(),
                    promise: script.promise(),
                    went_back: script.below(4) == 0,
                },
            },
            14 => match script.below(5) {
                0 => Input::Drain,
                4 if script.yes() => Input::Room(Room { memory: script.level(), disk: script.level() }),
                4 => Input::Disk { stalled: script.yes(), full: script.yes() },
                1 => {
                    let conn = self.conn(script)?;
                    let (cluster_id, mut position) = (script.cluster(), script.position());
                    // The shell has read it: a sequence that no log reaches is damage there.
                    position.seq = position.seq.min(Seq::MAX);
                    let voters = script.voters();
                    Input::SnapshotReceived { conn, meta: SnapshotMeta { cluster_id, position, voters } }
                }
                _ => Input::StateAnswered {
                    name: script.name(),
                    state: PeerState {
                        name: script.name(),
                        replica: script.replica(),
                        cluster_id: script.maybe_cluster(),
                        promise: script.promise(),
                        position: script.position(),
                        hears: script.yes().then(|| Term(script.number())),
                        eligible: script.yes(),
                        stalled: script.yes(),
                        went_back: script.below(4) == 0,
                        diverged: false,
                        known: (0..script.below(3)).map(|_| script.known()).collect(),
                        format_min: crate::FORMAT_MIN,
                        format_max: crate::FORMAT,
                        format_allowed: crate::FORMAT,
                    },
                },
            },
            _ => Input::Wake,
        })
    }

    fn conn(&self, script: &mut Script<'_>) -> Option<ConnId> {
        let at = usize::from(script.byte());
        (!self.conns.is_empty()).then(|| self.conns[at % self.conns.len()])
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist { ticket, .. }
                | Effect::InstallSnapshot { ticket, .. }
                | Effect::Restore { ticket, .. }
                | Effect::MarkWentBack { ticket, .. }
                | Effect::MarkDiverged { ticket, .. } => self.tickets.push(ticket),
                Effect::Dial { conn, .. } => self.conns.push(conn),
                Effect::Close { conn } => self.conns.retain(|other| *other != conn),
                Effect::Apply { .. }
                | Effect::Accepted { .. }
                | Effect::Rejected { .. }
                | Effect::Answer { .. }
                | Effect::Send { .. }
                | Effect::SendSnapshot { .. }
                | Effect::LookUp { .. }
                | Effect::KeepPiece { .. }
                | Effect::Invite { .. }
                | Effect::AnswerInvite { .. }
                | Effect::AskState { .. }
                | Effect::TellSum { .. }
                | Effect::WipeVolume { .. }
                | Effect::Fail { .. }
                | Effect::Unreadable { .. }
                | Effect::Report { .. }
                | Effect::GiveUp
                | Effect::ReadReady { .. }
                | Effect::ReadRefused { .. } => {}
            }
        }
    }
}
