//! What passes over the network: dials, messages, resets and ends of connections, and requests that may be lost.

use crate::model::cluster::Cluster;
use crate::model::event::Event;
use crate::model::life::Life;
use crate::model::network::{Conn, End, Message, Reply, Request, stranger};
use leasehold_replication::{Body, ConnId, Frame, Hello, Input, RequestId};
use std::time::Duration;

/// The most messages that wait in one direction. At the bound the connection is reset, as by the shell's queue.
const INBOX_MAX: usize = 4096;

impl Cluster {
    /// A store connects to another one and says hello.
    pub(crate) fn dial(&mut self, from: Life, id: ConnId, to: Option<usize>, hello: Hello) {
        let ConnId::Dialled(number) = id else {
            return self.violation(format!("{} dials with the id of an accepted connection", self.pods[from.pod].name));
        };
        let conn = self.network.fresh();
        let to_pod = to.unwrap_or(from.pod);
        // The acceptor's run is not known before the hello arrives; until then its end counts as open.
        let to_end = End::new(Life { pod: to_pod, run: 0 }, ConnId::Accepted(conn), true);
        let ends = [End::new(from, id, true), to_end];
        self.network.conns.insert(conn, Conn { ends, stalled_since: None });
        if self.network.dialled.insert((from, number), conn).is_some() {
            self.violation(format!("{} dials twice with number {number}", self.pods[from.pod].name));
        }
        match to {
            Some(_) => self.put(conn, 1, Message::Hello(Box::new(hello))),
            None => self.put(conn, 0, Message::End),
        }
    }

    /// One more hello of a dial, on a connection whose near end nobody uses.
    pub(crate) fn say_hello_twice(&mut self, to: Option<usize>, hello: Hello) {
        let Some(to) = to else { return };
        let conn = self.network.fresh();
        let nobody = End::new(Life { pod: to, run: u32::MAX }, ConnId::Dialled(conn), false);
        let ends = [nobody, End::new(Life { pod: to, run: 0 }, ConnId::Accepted(conn), true)];
        self.network.conns.insert(conn, Conn { ends, stalled_since: None });
        self.put(conn, 1, Message::Hello(Box::new(hello)));
    }

    /// A store sends on a connection. If that has ended in the meantime, the message is lost.
    pub(crate) fn send(&mut self, life: Life, id: ConnId, message: Message) {
        if let Some((conn, end)) = self.network.find(life, id) {
            self.put(conn, 1 - end, message);
        }
    }

    /// A store closes a connection: it receives no more on it, and the other end learns it in time.
    pub(crate) fn close(&mut self, life: Life, id: ConnId) {
        if let Some((conn, end)) = self.network.find(life, id) {
            if let Some(conn) = self.network.conns.get_mut(&conn) {
                conn.ends[end].open = false;
                conn.ends[end].inbox.clear();
            }
            self.put(conn, 1 - end, Message::End);
            self.forget_if_over(conn);
        }
    }

    /// A random connection is reset: both ends learn it, each in its time.
    pub(crate) fn reset_some_connection(&mut self) {
        let keys: Vec<u64> = self.network.conns.keys().copied().collect();
        if !keys.is_empty() {
            let conn = *self.rng.pick(&keys);
            self.reset(conn);
        }
    }

    fn reset(&mut self, conn: u64) {
        for end in 0..2 {
            if let Some(conn) = self.network.conns.get_mut(&conn) {
                // What was under way is lost from some point on.
                let keep = self.rng.below(conn.ends[end].inbox.len() + 1);
                conn.ends[end].inbox.truncate(keep);
            }
            self.put(conn, end, Message::End);
        }
    }

    fn put(&mut self, conn: u64, end: usize, message: Message) {
        let Some(to) = self.network.receiver(conn, end) else { return };
        let leaves = self.network.leaves(self.now, to, &message);
        let Some(found) = self.network.conns.get_mut(&conn) else { return };
        let to = &mut found.ends[end];
        if !to.open {
            return;
        }
        let over = to.inbox.len() >= INBOX_MAX && !matches!(message, Message::End);
        to.inbox.push_back(message);
        to.last_at = to.last_at.max(leaves + self.network.weather.delay(&mut self.rng));
        let at = to.last_at;
        self.schedule(at, Event::Deliver { conn, end });
        if over {
            self.reset(conn);
        }
    }

    /// The next message of a connection arrives.
    pub(crate) fn deliver(&mut self, conn: u64, end: usize) {
        let Some(found) = self.network.conns.get_mut(&conn) else { return };
        let (from, to) = (found.ends[1 - end].life.pod, found.ends[end].life.pod);
        if !found.ends[end].open || found.ends[end].inbox.is_empty() {
            return;
        }
        if self.network.cut_until[from][to] > self.now {
            let since = *found.stalled_since.get_or_insert(self.now);
            if self.now - since > Duration::from_secs(4) {
                found.stalled_since = None;
                // Dropped: each end notices by itself, without a message from the other.
                for end in 0..2 {
                    self.end_silently(conn, end);
                }
            } else {
                let at = self.now + self.rng.millis(10, 150);
                self.schedule(at, Event::Deliver { conn, end });
            }
            return;
        }
        found.stalled_since = None;
        let life = self.pods[to].store.life;
        let is_up = self.pods[to].store.is_up();
        let target = &mut found.ends[end];
        let Some(message) = target.inbox.pop_front() else { return };
        let id = target.id;
        if let Message::Hello(_) = message {
            if !is_up {
                target.open = false;
                self.put(conn, 0, Message::End);
                return;
            }
            target.life = life;
        }
        if target.life != life || !is_up {
            return;
        }
        let input = match message {
            Message::Hello(hello) => Input::Hello { conn: id, hello: *hello },
            Message::Answer(answer) => Input::Answered { conn: id, answer },
            Message::Frame(frame) => Input::Frame { conn: id, frame: self.rewritten(frame) },
            Message::End => {
                target.open = false;
                target.inbox.clear();
                self.put(conn, 1 - end, Message::End);
                self.forget_if_over(conn);
                Input::Closed { conn: id }
            }
        };
        self.step_store(to, input);
    }

    /// Some frames are encoded and decoded, so that the format is tested, too.
    fn rewritten(&mut self, frame: Frame) -> Frame {
        if !self.rng.chance(20) {
            return frame;
        }
        match Frame::decode(frame.encode()) {
            Ok(read) if read == frame => read,
            other => {
                self.violation(format!("a frame changes on its way: {frame:?} becomes {other:?}"));
                frame
            }
        }
    }

    fn end_silently(&mut self, conn: u64, end: usize) {
        let Some(found) = self.network.conns.get_mut(&conn) else { return };
        found.ends[end].inbox.clear();
        if found.ends[end].open {
            found.ends[end].open = false;
            let (life, id) = (found.ends[end].life, found.ends[end].id);
            let at = self.now + self.rng.millis(0, 2000);
            self.schedule(at, Event::Store { life, input: Box::new(Input::Closed { conn: id }) });
        }
        self.forget_if_over(conn);
    }

    /// A store died. `silent`: its machine did, so nobody learns it for a while.
    pub(crate) fn drop_connections(&mut self, pod: usize, silent: bool) {
        let mine: Vec<(u64, usize)> = (self.network.conns.iter())
            .flat_map(|(key, conn)| (0..2).filter(|end| conn.ends[*end].life.pod == pod).map(|end| (*key, end)))
            .collect();
        for (key, end) in mine {
            let Some(conn) = self.network.conns.get_mut(&key) else { continue };
            if end == 1 && conn.ends[1].life.run == 0 {
                continue; // The hello is still under way: it finds nobody, or the next run.
            }
            conn.ends[end].open = false;
            conn.ends[end].inbox.clear();
            let other = &mut conn.ends[1 - end];
            let keep = self.rng.below(other.inbox.len() + 1);
            if silent {
                other.inbox.truncate(keep);
                if other.open {
                    other.last_at = other.last_at.max(self.now + self.rng.millis(0, 10_000));
                }
            } else if self.rng.chance(500) {
                other.inbox.truncate(keep);
            }
            self.put(key, 1 - end, Message::End);
            self.forget_if_over(key);
        }
    }

    fn forget_if_over(&mut self, conn: u64) {
        if let Some(found) = self.network.conns.get(&conn)
            && found.ends.iter().all(|end| !end.open)
        {
            if let ConnId::Dialled(number) = found.ends[0].id {
                self.network.dialled.remove(&(found.ends[0].life, number));
            }
            self.network.conns.remove(&conn);
        }
    }

    /// A store sends another one a request over HTTP.
    pub(crate) fn request(&mut self, from: Life, to: Option<usize>, request: Request) {
        let Some(meant) = to else { return };
        let to = self.led_astray(meant);
        if self.rng.chance(self.network.weather.lost) || self.network.is_cut(self.now, from.pod, to) {
            return;
        }
        if self.rng.chance(self.network.weather.lost / 2) {
            // It arrives twice, the second time late.
            let at = self.now + 10 * self.network.weather.delay(&mut self.rng);
            let request = Box::new(request.clone());
            self.schedule(at, Event::Asked { from, meant, to, asked_at: self.now, request });
        }
        let at = self.now + self.network.weather.delay(&mut self.rng);
        self.schedule(at, Event::Asked { from, meant, to, asked_at: self.now, request: Box::new(request) });
    }

    /// The pod behind an address: another one if the address was its own before. And a stranger's leader, whose pods have
    /// our names, sometimes has an address of ours, and invites.
    fn led_astray(&mut self, meant: usize) -> usize {
        if !self.settings.strangers || !self.chaos.is_on() {
            return meant;
        }
        if self.rng.chance(50) {
            let to = self.rng.below(self.pods.len());
            let (life, number) = (self.pods[to].store.life, self.network.fresh());
            let at = self.now + self.network.weather.delay(&mut self.rng);
            let input = Box::new(Input::Invited { request: RequestId(number), claim: stranger() });
            self.schedule(at, Event::Store { life, input });
        }
        if self.rng.chance(200) { self.rng.below(self.pods.len()) } else { meant }
    }

    /// The request arrives.
    pub(crate) fn asked(&mut self, from: Life, meant: usize, to: usize, asked_at: Duration, request: Request) {
        if self.network.is_cut(self.now, from.pod, to) || !self.pods[to].store.is_up() {
            return;
        }
        match request {
            Request::Invite(claim) => {
                let number = self.network.fresh();
                self.pods[to].store.questions.insert(number, (from, meant, asked_at));
                self.step_store(to, Input::Invited { request: RequestId(number), claim });
            }
            Request::State => {
                let pod = &self.pods[to];
                let Some(up) = pod.store.up() else { return };
                let state = up.replica.status().peer_state(&pod.name, pod.volume.replica);
                self.reply(to, meant, from, asked_at, Reply::State(state));
            }
        }
    }

    /// The answer goes back, if it still can, and if the asker still waits.
    pub(crate) fn reply(&mut self, by: usize, meant: usize, to: Life, asked_at: Duration, reply: Reply) {
        if self.network.is_cut(self.now, by, to.pod) || self.rng.chance(self.network.weather.lost) {
            return;
        }
        let at = self.now + self.network.weather.delay(&mut self.rng);
        if at - asked_at > self.settings.lost_time {
            return; // The shell's time-out.
        }
        let name = self.pods[meant].name.clone();
        let input = match reply {
            Reply::Invite(answer) => Input::InviteAnswered { name, answer },
            Reply::State(state) => Input::StateAnswered { name, state },
        };
        self.schedule(at, Event::Store { life: to, input: Box::new(input) });
    }

    /// A snapshot is sent over a connection in a few pieces. Its bytes are only its number in the run's list.
    pub(crate) fn send_snapshot(&mut self, life: Life, conn: ConnId, head: Frame, number: u64) {
        let meta = self.snapshots[number as usize].clone();
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let mut offset = 0;
        while offset < bytes.len() {
            let end = (offset + 1 + self.rng.below(bytes.len() - offset)).min(bytes.len());
            let piece = leasehold_replication::SnapshotPiece {
                position: meta.position,
                length_bytes: bytes.len() as u64,
                crc32: number as u32,
                offset: offset as u64,
                bytes: bytes[offset..end].to_vec().into(),
            };
            self.send(life, conn, Message::Frame(Frame { body: Body::Snapshot(piece), ..head.clone() }));
            offset = end;
        }
    }
}
