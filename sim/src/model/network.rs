//! The network between stores: connections that deliver in order, late, or not at all, and end at any time; requests that
//! may be lost.
//!
//! ```text
//!   Dial ──hello──▶ inbox of the acceptor ──▶ Input::Hello      one event per message; the message stays in the inbox of
//!   Send ──frame──▶ inbox of the other end ──▶ Input::Frame     the end that it goes to, so order never depends on events
//! ```
//!
//! A cut link holds messages back (TCP sends them again) until it heals or the connection is dropped. A killed process
//! leaves what its kernel had accepted, and then an end of file; a machine without power leaves silence for a while.

use super::life::Life;
use super::rng::Rng;
use leasehold_replication::{Body, ConnId, Frame, Hello, HelloAnswer, InviteAnswer, PeerState};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How slow and how lossy the network of a run is.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// The usual longest delay of a message, in microseconds.
    pub(crate) delay_us: u64,
    /// How many of 1000 messages take up to 100 times as long.
    pub(crate) late: u32,
    /// How many of 1000 requests are lost.
    pub(crate) lost: u32,
}

impl Weather {
    /// How long one message takes.
    pub(crate) fn delay(&self, rng: &mut Rng) -> Duration {
        let factor = if self.late > 0 && rng.chance(self.late) { 100 } else { 1 };
        rng.micros(50, self.delay_us * factor)
    }
}

/// What passes over a connection.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Hello(Box<Hello>),
    Answer(HelloAnswer),
    Frame(Frame),
    /// The other end closed, or the connection was dropped.
    End,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) life: Life,
    pub(crate) id: ConnId,
    pub(crate) inbox: VecDeque<Message>,
    /// Messages to this end arrive no earlier than this, which keeps the order.
    pub(crate) last_at: Duration,
    /// The process behind this end knows the connection and was not notified of its end.
    pub(crate) open: bool,
}

/// A connection: end 0 dialled, end 1 was dialled.
#[derive(Clone, Debug)]
pub(crate) struct Conn {
    pub(crate) ends: [End; 2],
    /// Since when messages are held back.
    pub(crate) stalled_since: Option<Duration>,
}

/// All connections and links.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    pub(crate) conns: BTreeMap<u64, Conn>,
    /// The dialler's name for a connection: (run of the dialler, its number) -> ours.
    pub(crate) dialled: BTreeMap<(Life, u64), u64>,
    next: u64,
    /// The links to this pod deliver this many bytes a second, one message after the other.
    pub(crate) slow: Option<(usize, u64)>,
    /// Until then, what was sent to it before is under way.
    slow_until: Duration,
    /// `cut_until[from][to]`: nothing passes before this moment.
    pub(crate) cut_until: Vec<Vec<Duration>>,
}

/// A request from one store to another, beside the connections.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// `POST /v1/claim`.
    Invite(leasehold_replication::Claim),
    /// `GET /v1/state`.
    State,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Invite(InviteAnswer),
    State(PeerState),
}

impl End {
    /// Nothing is on its way to it.
    pub(crate) fn new(life: Life, id: ConnId, open: bool) -> End {
        End { life, id, inbox: VecDeque::new(), last_at: Duration::ZERO, open }
    }
}

impl Network {
    /// No connections, all links whole.
    pub(crate) fn new(pods: usize, weather: Weather, slow: Option<(usize, u64)>) -> Network {
        Network {
            weather,
            conns: BTreeMap::new(),
            dialled: BTreeMap::new(),
            next: 0,
            slow,
            slow_until: Duration::ZERO,
            cut_until: vec![vec![Duration::ZERO; pods]; pods],
        }
    }

    /// Is the way from one pod to the other cut now?
    pub(crate) fn is_cut(&self, now: Duration, from: usize, to: usize) -> bool {
        self.cut_until[from][to] > now
    }

    /// Nothing passes from one pod to the other until then.
    pub(crate) fn cut(&mut self, from: usize, to: usize, until: Duration) {
        if from != to {
            self.cut_until[from][to] = until;
        }
    }

    /// Nothing passes between the two until then.
    pub(crate) fn cut_both(&mut self, a: usize, b: usize, until: Duration) {
        self.cut(a, b, until);
        self.cut(b, a, until);
    }

    /// When a message to that pod has left, if it is sent now.
    pub(crate) fn leaves(&mut self, now: Duration, to: usize, message: &Message) -> Duration {
        let Some((_, rate)) = self.slow.filter(|(slow, _)| *slow == to) else { return now };
        let bytes = match message {
            Message::Frame(Frame { body: Body::Append { entries, .. }, .. }) => {
                entries.iter().map(|entry| entry.record().len() as u64).sum()
            }
            _ => 0,
        };
        self.slow_until = self.slow_until.max(now) + Duration::from_micros((bytes + 50) * 1_000_000 / rate);
        self.slow_until
    }

    /// All links work.
    pub(crate) fn mend(&mut self) {
        self.slow = None;
        self.cut_until.iter_mut().flatten().for_each(|until| *until = Duration::ZERO);
    }

    /// The process that a message to this end goes to.
    pub(crate) fn receiver(&self, conn: u64, end: usize) -> Option<usize> {
        self.conns.get(&conn).map(|conn| conn.ends[end].life.pod)
    }

    /// A number that no connection and no request has yet.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The connection that a process calls this, and its end of it, while that is open.
    pub(crate) fn find(&self, life: Life, id: ConnId) -> Option<(u64, usize)> {
        match id {
            ConnId::Dialled(number) => self.dialled.get(&(life, number)).map(|conn| (*conn, 0)),
            ConnId::Accepted(conn) => Some((conn, 1)),
        }
        .filter(|(conn, end)| self.conns.get(conn).is_some_and(|c| c.ends[*end].life == life && c.ends[*end].open))
    }
}

/// The claim of a leader of another cluster, whose pods have the names of ours.
pub(crate) fn stranger() -> leasehold_replication::Claim {
    leasehold_replication::Claim {
        cluster_id: leasehold_replication::ClusterId(uuid::Uuid::from_u128(0x57)),
        term: leasehold_replication::Term(7),
        incarnation: leasehold_replication::Incarnation(uuid::Uuid::from_u128(0x58)),
        name: "pod-0".to_owned(),
        peer_address: "elsewhere:8090".to_owned(),
        addresses: Vec::new(),
    }
}
