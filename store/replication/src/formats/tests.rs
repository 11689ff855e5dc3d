//! What pods say of each other, and what goes out by which connection. (Whole lives with two builds: `tests/cluster/formats.rs`.)
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    ClusterId, DurableState, Entry, Incarnation, Input, LeaderView, Payload, Phase, Position, RoleView, Term, Voter,
};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use uuid::Uuid;

thread_local! {
    /// All frames are of the format after the lowest, for a test.
    pub(super) static IS_LATER: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn a_pod_that_holds_a_format_back_is_named_with_the_reason() {
    let said = |why| HoldsBack { name: "db-1".to_owned(), why }.to_string();
    assert_eq!(said(WhyHeldBack::OlderBuild { reads: 1 }), "db-1 (its build reads only format 1)");
    assert_eq!(said(WhyHeldBack::FormatMax { allowed: 1 }), "db-1 (--format-max 1)");
    assert_eq!(said(WhyHeldBack::NotConnected), "db-1 (not connected)");
    assert_eq!(said(WhyHeldBack::OutOfRoom), "db-1 (its disk is short of room)");
}

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));
const MS: Duration = Duration::from_millis(1);

/// Two voters, of builds that read and allow format 2: db-0 leads, db-1 follows. Disks and messages take no time.
struct Pair {
    now: Duration,
    pods: [Replica; 2],
    inputs: VecDeque<(usize, Input)>,
    /// The newest connection, by its name at either end.
    ends: BTreeMap<usize, ConnId>,
    /// Acks do not arrive.
    lose_acks: bool,
}

fn run_of(pod: usize) -> Incarnation {
    Incarnation(Uuid::from_u128(20 + pod as u128))
}

fn volume_of(pod: usize) -> ReplicaId {
    ReplicaId(Uuid::from_u128(10 + pod as u128))
}

fn replica(pod: usize) -> Replica {
    let voter = |pod| Voter { replica: volume_of(pod), name: format!("db-{pod}"), peer_address: String::new() };
    let voters = Voters { format: FORMAT_MIN, floor: 2, voters: (0..2).map(voter).collect() };
    let config = Config {
        name: format!("db-{pod}"),
        replica: volume_of(pod),
        incarnation: run_of(pod),
        revision: String::new(),
        heartbeat: 100 * MS,
        lost_time: 1000 * MS,
        disk_stall: 2000 * MS,
        unready_after: 30_000 * MS,
        log_memory_bytes: 1 << 20,
        apply_bytes_max: 1 << 18,
        hand_over_max: 2000 * MS,
        drain_min: 5000 * MS,
        drain_max: 55_000 * MS,
        new_cluster_id: CLUSTER,
        initial_data: Vec::new(),
        initial_format: 1,
        restore: None,
        force_bootstrap: false,
        format_build: FORMAT_MIN + 1,
        format_allowed: FORMAT_MIN + 1,
        sums: false,
    };
    let recovered = Recovered {
        state: DurableState { cluster_id: Some(CLUSTER), ..DurableState::EMPTY },
        snapshot: None,
        entries: vec![Entry::new(Position::ZERO, Term(0), Payload::Voters(voters))],
        committed: Position::ZERO,
        went_back: None,
        format: FORMAT_MIN,
        diverged: None,
    };
    Replica::new(config, recovered)
}

impl Pair {
    /// The wanted pods are not known, so nothing is raised.
    fn new() -> Pair {
        let pods = [replica(0), replica(1)];
        let (inputs, ends) = (VecDeque::new(), BTreeMap::new());
        let mut pair = Pair { now: Duration::ZERO, pods, inputs, ends, lose_acks: false };
        pair.show_role(&[]);
        pair.run_until(|pair| pair.pods[0].status().phase == Phase::Leading && pair.ends.len() == 2);
        pair
    }

    fn show_role(&mut self, members: &[usize]) {
        let leader = LeaderView {
            term: Term(1),
            incarnation: run_of(0),
            name: "db-0".to_owned(),
            peer_address: String::new(),
            addresses: Vec::new(),
        };
        let wanted = |pod: &usize| crate::Member {
            name: format!("db-{pod}"),
            peer_address: String::new(),
            addresses: Vec::new(),
            remembered: false,
        };
        let members = members.iter().map(wanted).collect();
        let view = RoleView { cluster_id: Some(CLUSTER), leader: Some(leader), members, ..RoleView::default() };
        self.inputs.extend((0..2).map(|pod| (pod, Input::Role(view.clone()))));
    }

    fn run_until(&mut self, done: impl Fn(&Pair) -> bool) {
        let limit = self.now + 30_000 * MS;
        while !done(self) {
            assert!(self.now < limit, "{:#?}", self.pods.each_ref().map(Replica::status));
            self.now += 10 * MS;
            self.inputs.extend((0..2).map(|pod| (pod, Input::Wake)));
            while let Some((pod, input)) = self.inputs.pop_front() {
                for effect in self.pods[pod].step(self.now, input) {
                    self.carry_out(pod, effect);
                }
            }
        }
    }

    fn carry_out(&mut self, pod: usize, effect: Effect) {
        let (other, far) = (1 - pod, self.ends.get(&(1 - pod)).copied());
        let mut arrives = |input| self.inputs.push_back((other, input));
        match effect {
            Effect::Persist { ticket, .. } => self.inputs.push_back((pod, Input::Persisted { ticket })),
            Effect::Dial { conn, hello, .. } => {
                let far = ConnId::Accepted(self.now.as_millis() as u64);
                arrives(Input::Hello { conn: far, hello });
                self.ends.extend([(pod, conn), (other, far)]);
            }
            Effect::Answer { answer, .. } => arrives(Input::Answered { conn: far.unwrap(), answer }),
            Effect::Send { frame, .. } if self.lose_acks && matches!(frame.body, Body::Ack { .. }) => {}
            Effect::Send { frame, .. } => arrives(Input::Frame { conn: far.unwrap(), frame }),
            Effect::AskState { .. } => {
                let (name, volume) = (format!("db-{other}"), volume_of(other));
                let state = self.pods[other].status().peer_state(&name, volume);
                self.inputs.push_back((pod, Input::StateAnswered { name, state }));
            }
            _ => {}
        }
    }

    /// Both ends lose their connection.
    fn hang_up(&mut self) {
        let ends = std::mem::take(&mut self.ends);
        self.inputs.extend(ends.into_iter().map(|(pod, conn)| (pod, Input::Closed { conn })));
    }

    /// Does a frame of the next format go out there: from the leader, and from the follower?
    fn sends(&mut self) -> [bool; 2] {
        IS_LATER.set(true);
        let sent = [0, 1].map(|pod| {
            let (replica, conn) = (&mut self.pods[pod], self.ends[&pod]);
            replica.send(conn, Body::Heartbeat { round: 0, commit: Seq(0) });
            std::mem::take(&mut replica.effects).iter().any(|effect| matches!(effect, Effect::Send { .. }))
        });
        IS_LATER.set(false);
        sent
    }
}

#[test]
fn a_frame_of_a_later_format_goes_only_to_a_connection_that_speaks_it() {
    let mut pair = Pair::new();
    assert_eq!(pair.sends(), [false, false], "welcomed in the lowest format");
    // The raise is appended and arrives; its ack does not.
    pair.lose_acks = true;
    pair.show_role(&[0, 1]);
    pair.run_until(|pair| pair.pods.iter().all(|pod| pod.log_format() == FORMAT_MIN + 1));
    assert_eq!(pair.sends(), [false, false], "the raise is in both logs, and not acked");
    pair.lose_acks = false;
    pair.hang_up();
    pair.run_until(|pair| pair.pods.iter().all(|pod| pod.format() == FORMAT_MIN + 1));
    assert_eq!(pair.sends(), [true, true], "acked on a connection that was welcomed in the lowest format");
    pair.hang_up();
    pair.run_until(|pair| pair.ends.len() == 2 && pair.pods[1].status().leader_heard);
    assert_eq!(pair.sends(), [true, true], "welcomed in the later format");
}
